"""Whole steps of a network as compiled PTX, in the emulator: the interface of :class:`helpers.Library`."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ptx_machine import Launch, Program
from ptx_memory import BASE, Race
from ptx_parse import parse
from triton_helpers import TritonLibrary

from bnnc import driver
from bnnc.backends.triton import compile as aot
from bnnc.backends.triton.fit import Image, ladder
from bnnc.backends.triton.pipeline import one_launch


@cache
def translated(text: str) -> Program:
    """A PTX text, translated once."""
    return Program(parse(text))


def compiled(source: str, arch: int) -> dict[str, Image]:
    """Both steps of a module of kernels, one launch each."""
    one_launch = re.sub(r"^PERSISTENT = .*", "PERSISTENT = True", source, flags=re.M)
    return {name: image for (name, _), image in aot.compile_text(one_launch, (arch,))[2].items()}


class PtxLibrary(TritonLibrary):
    """Its steps are one launch of ``grid`` programs; ``warps``: each warp for itself, ``eager``: a program that mostly
    goes first.  ``races`` holds what was found, ``last`` the last launch.

    ``texts`` may be changed, to see that it is.
    """

    def __init__(self, planned: driver.Planned, arch: int, grid: int = 5, warps: bool = False) -> None:
        super().__init__(planned)
        self.grid, self.warps, self.seed, self.eager, self.races = grid, warps, 0, -1, list[Race]()
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
        run.run(self.seed, self.eager)
        self.seed += 1
        self.races += run.races
        self.last = run


class PtxKernels(TritonLibrary):
    """Its kernels are launches of their own, as those of large networks are: of as many programs as there are tiles."""

    def __init__(self, planned: driver.Planned, arch: int, warps: bool = False) -> None:
        super().__init__(planned)
        self.warps, self.seed, self.races = warps, 0, list[Race]()
        launches = re.sub(r"^PERSISTENT = .*", "PERSISTENT = False", self.source, flags=re.M)
        self.images = {name: image for (name, _), image in aot.compile_text(launches, (arch,))[2].items()}

    def launch(self, name: str, grid: int, *strip: int) -> None:
        image = self.images[name]
        given = {"parameters": (BASE, *strip), "shared": image.shared, "warps": self.warps}
        run = Launch(translated(image.ptx), self.memory, grid, **given)
        run.run(self.seed)
        self.seed += 1
        self.races += run.races


def alone(text: str, name: str, kinds: Mapping[str, str], **constants: int) -> Any:
    """One function of a module, compiled as a trainer compiles it; what has no kind is a pointer to i32."""
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.compiler import ASTSource  # noqa: PLC0415

    triton = aot.require_triton()
    with tempfile.TemporaryDirectory(prefix="bnnc-test-") as tmp, triton.knobs.runtime.scope():
        function = getattr(aot.load_module(text, Path(tmp), interpret=False), name)
        signature = {n: "constexpr" if n in constants else kinds.get(n, "*i32") for n in function.arg_names}
        given = {(i,): constants[n] for i, n in enumerate(signature) if n in constants}
        source = ASTSource(fn=function, signature=signature, constexprs=given, attrs={(0,): [["tt.divisibility", 16]]})
        triton.knobs.runtime.add_stages_inspection_hook = one_launch
        return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=next(ladder(8, 0)))
