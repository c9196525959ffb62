"""Whole steps of a network as compiled PTX, in the emulator: the interface of :class:`helpers.Library`."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from ptx_machine import Launch, Program
from ptx_memory import Race
from ptx_parse import parse
from triton_helpers import TritonLibrary

from bnnc import driver
from bnnc.backends.triton import compile as aot
from bnnc.backends.triton.fit import Image


@cache
def translated(text: str) -> Program:
    """A PTX text, translated once."""
    return Program(parse(text))


def compiled(source: str, arch: int) -> dict[str, Image]:
    """Both steps of a module of kernels, one launch each."""
    one_launch = re.sub(r"^PERSISTENT = .*", "PERSISTENT = True", source, flags=re.M)
    return {name: image for (name, _), image in aot.compile_text(one_launch, (arch,))[2].items()}


class PtxLibrary(TritonLibrary):
    """Its steps are one launch of ``grid`` programs; ``warps``: each warp for itself.  ``races`` holds what was found,
    ``ran`` how often each program of the last launch ran each block.

    ``texts`` may be changed, to see that it is.
    """

    def __init__(self, planned: driver.Planned, arch: int, grid: int = 5, warps: bool = False) -> None:
        super().__init__(planned)
        self.grid, self.warps, self.seed, self.races = grid, warps, 0, list[Race]()
        made = compiled(self.source, arch)
        self.images = made
        self.texts = {name: image.ptx for name, image in made.items()}

    def launch(self, name: str, grid: int, *_: Any) -> None:
        """A whole step, with a seed of its own."""
        counter = self.plan.arena_bytes
        run = Launch(
            translated(self.texts[name]),
            self.memory,
            self.grid,
            shared=self.images[name].shared,
            barrier=range(counter, counter + 8),
            warps=self.warps,
        )
        run.run(self.seed)
        self.seed += 1
        self.races += run.races
        self.ran = [c.ran for c in run.ctas]


class PtxKernels(TritonLibrary):
    """Its kernels are launches of their own, as those of large networks are: of as many programs as there are tiles."""

    def __init__(self, planned: driver.Planned, arch: int, warps: bool = False) -> None:
        super().__init__(planned)
        self.warps, self.seed, self.races = warps, 0, list[Race]()
        self.images = {name: image for (name, _), image in aot.compile_text(self.source, (arch,))[2].items()}

    def launch(self, name: str, grid: int, *_: Any) -> None:
        image = self.images[name]
        run = Launch(translated(image.ptx), self.memory, grid, shared=image.shared, warps=self.warps)
        run.run(self.seed)
        self.seed += 1
        self.races += run.races
