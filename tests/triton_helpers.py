"""Generated Triton kernels on NumPy memory, in Triton's interpreter: no GPU, no torch.

:class:`TritonLibrary` has the interface of :class:`helpers.Library`, so the checks of the C kernels serve both
backends.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from helpers import Library, Side, sides

from bnnc import driver
from bnnc.backends.triton import emit
from bnnc.backends.triton.compile import load_module
from bnnc.backends.triton.device import Pointer, in_order
from bnnc.ir.ref import Ref
from bnnc.sched.kernel import Kernel

QUICK = str(Path(__file__).with_name("quick_triton.py"))  # before a generated trainer and its arguments


def interpreted_module(text: str) -> ModuleType:
    """Generated text as a module whose kernels are interpreted."""
    from quick_triton import quicken  # noqa: PLC0415  (it imports Triton)

    quicken()
    folder = tempfile.TemporaryDirectory(prefix="bnnc-test-")
    module = load_module(text, Path(folder.name), interpret=True)
    module.folder = folder  # type: ignore[attr-defined]  # Triton reads the text again at the first call
    return module


class TritonLibrary(Library):
    """Kernels on a block of memory of their own, laid out by the Plan."""

    def __init__(self, planned: driver.Planned) -> None:
        self.planned, self.plan = planned, planned.placed.plan
        self.source = emit.module_text(planned.model, planned.placed, planned.report)
        self.module = interpreted_module(self.source)
        device = emit.device(planned.placed)
        self.made = device.steps
        self.memory = np.zeros(device.nbytes, np.uint8)
        for _, at, raw in device.constants:
            self.memory[at : at + len(raw)] = np.frombuffer(raw, np.uint8)
        self.arena = self.memory[: self.plan.arena_bytes]
        self.train, self.evaluate = sides(planned)
        self.entries = [emit.Entry(*e) for e in (*self.module.TRAIN, *self.module.EVAL)]
        train, evaluate = (
            emit.by_kernel([emit.Entry(*e) for e in launched], ps, side)
            for launched, (ps, side) in zip(
                (self.module.TRAIN, self.module.EVAL), planned.placed.packed.sides, strict=True
            )
        )
        self.stages = train + evaluate
        self.levels = range(1)

    def reads(self, side: Side, k: Kernel) -> tuple[Ref, ...]:
        """Also for what else it stores, of its result."""
        made = next(x for x in self.made[bool(side.first)].kernels if x.name == k.name)
        return tuple(n for n in dict.fromkeys((*k.reads, *made.reads)) if n in side.packed.storage)

    def launch(self, name: str, grid: int, *strip: int) -> None:
        with np.errstate(all="ignore"):
            getattr(self.module, name)[(grid,)](Pointer(self.memory), *strip)

    def run(self, index: int, level: int = 0, nt: int = 1) -> None:
        """One kernel, all its tiles; ``nt`` programs where more than one is asked for."""
        for (name, tiles, *_), strip in in_order(self.stages[index]):
            self.launch(name, tiles if nt == 1 else nt, *strip)

    def step(self, side: Side, inputs: Any, level: int = 0, nt: int = 1) -> dict[str, np.ndarray]:
        self.load(side, inputs)
        launched = [e for some in self.stages[side.first :][: len(side.packed.kernels)] for e in some]
        for (name, tiles, *_), strip in in_order(launched):
            self.launch(name, tiles if nt == 1 else nt, *strip)
        return {role: self.read(side.place(Ref(v))) for role, v in side.program.results}

    def persistent(self, side: Side, inputs: Any) -> dict[str, np.ndarray]:
        """A whole step in one launch of one program."""
        self.load(side, inputs)
        self.launch("eval_step" if side.first else "train_step", 1)
        return {role: self.read(side.place(Ref(v))) for role, v in side.program.results}
