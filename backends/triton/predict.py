"""How long a training step should take on a GPU, kernel by kernel, from its compiled code.

A kernel takes the longest of what the busiest multiprocessor computes (:mod:`.timing`; programs go there in waves) and
of its bytes at the memory's rate, and then a launch.  Where a step is one launch, the parts between its barriers take
as long as their busiest programs.  The constants are in the GPU's record (:mod:`.targets`), none of them measured here:
a prediction may be off by half, either way, and more where warps wait for each other.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from bnnc.ir.dtype import ceil_div, round_up
from bnnc.ir.ref import Side
from bnnc.model import Model
from bnnc.plan.cost import kernel_costs
from bnnc.plan.place import Placed
from bnnc.plan.report import Report

from . import emit
from .compile import compile_one, load_module, require_triton
from .fit import Image
from .paths import Paths, reads
from .sass import disassembled, parse
from .targets import H200, Gpu, Target
from .timing import Timing, Work, joined, works

FRAME = re.compile(r"net_kernels\.py:(\d+):")
FEW = 24  # instructions: with less of a kernel the compiler moved a part of it out of there


@dataclass(frozen=True)
class Row:
    """A kernel: ``part``: its launch, or its place between barriers; ``programs`` that have something to do;
    ``instructions`` of a warp of the busiest one; ``nbytes`` that it reads and writes; ``limit``: what takes the time.
    """

    name: str
    part: int
    programs: int
    instructions: int
    nbytes: int
    limit: str
    us: float


@dataclass(frozen=True)
class Prediction:
    """A step's kernels, and its time: ``parts``, one after another, with barriers between them, or each a launch, which
    take ``waits_us``.
    """

    gpu: Gpu
    rows: tuple[Row, ...]
    parts: int
    one_launch: bool
    waits_us: float
    us: float
    unknown: int  # branches that depend on data

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        rows = [{**vars(r), "us": round(r.us, 3)} for r in self.rows]
        return {
            "gpu": self.gpu.name,
            "us": round(self.us, 3),
            "one_launch": self.one_launch,
            "parts": self.parts,
            "waits_us": round(self.waits_us, 3),
            "branches_on_data": self.unknown,
            "kernels": rows,
        }


def predict(model: Model, placed: Placed, report: Report, target: Target) -> Prediction:
    """Compiles what a training step launches for the target's (newest) GPU.  Raises BnncError B0711, B0712."""
    gpu = target.levels[-1].gpu if target.levels else H200
    text = emit.module_text(model, placed, report)
    triton = require_triton()
    far = gpu.hit if placed.plan.arena_bytes < gpu.cache else gpu.miss
    with (
        tempfile.TemporaryDirectory(prefix="bnnc-") as tmp,
        triton.knobs.runtime.scope(),
        triton.knobs.compilation.scope(),
    ):
        triton.knobs.compilation.disable_line_info = False  # from which kernel an instruction comes
        module = load_module(text, Path(tmp), interpret=False)
        moved = _moved(placed, [emit.Entry(*e) for e in module.TRAIN])
        step = _OneLaunch if module.PERSISTENT else _Launches
        return step(triton, module, text, gpu, far, moved).prediction()


def _moved(placed: Placed, launched: Sequence[emit.Entry]) -> dict[str, int]:
    """Bytes that each launch of a training step moves; what makes a gradient once, those of its reader."""
    ps = placed.train
    stages = emit.by_kernel(launched, ps, Side.TRAIN)
    nbytes = emit.moved(ps, placed, Side.TRAIN, [cost.moved for cost in kernel_costs(ps)])
    given = ((some, [ns[0]] * (len(some) - len(ns)) + ns) for some, ns in zip(stages, nbytes, strict=True))
    return {e.name: n for some, ns in given for e, n in zip(some, ns, strict=True)}


@dataclass(frozen=True)
class _Step:
    """A module of kernels that is compiled for a GPU; ``moved``: bytes of each kernel."""

    triton: Any
    module: ModuleType
    text: str
    gpu: Gpu
    far: int
    moved: Mapping[str, int]

    def compiled(self, entry: emit.Entry) -> Image:
        return compile_one(self.triton, self.module, entry, self.gpu.arch)

    def paths(self, image: Image, programs: int) -> Paths:
        code = parse(disassembled(self.triton, image.cubin))
        return Paths(code, self.gpu.arch, programs, 32 * image.warps)

    def seconds(self, cycles: float) -> float:
        return cycles / self.gpu.clock

    def row(self, name: str, part: int, programs: int, count: int, times: Mapping[str, float], runs: int = 1) -> Row:
        """``times``: seconds, by what takes them; ``runs``: how often a kernel runs, of whose bytes each is a part."""
        nbytes = self.moved[name]
        times = {**times, "bandwidth": nbytes / runs / self.gpu.bandwidth}
        limit = max(times, key=lambda k: times[k])
        return Row(name, part, programs, count * runs, nbytes, limit, 1e6 * times[limit] * runs)


class _Launches(_Step):
    """A launch a kernel."""

    def prediction(self) -> Prediction:
        entries = [emit.Entry(*e) for e in self.module.TRAIN]
        made = [self.kernel(i, e) for i, e in enumerate(entries)]
        rows = tuple(r for r, _ in made)
        launches = sum(e.runs for e in entries)
        waits = 1e6 * launches * self.gpu.launch
        us, unknown = sum(r.us for r in rows) + waits, sum(n for _, n in made)
        return Prediction(self.gpu, rows, launches, False, waits, us, unknown)

    def kernel(self, i: int, entry: emit.Entry) -> tuple[Row, int]:
        image = self.compiled(entry)
        paths = self.paths(image, entry.tiles)
        program = entry.tiles // 2  # all do the same, but for masks
        way = sum(paths.run(program), Counter[tuple[int, int]]())
        timing = Timing(paths, self.gpu, self.far, reads(paths, {program: {b for _, b in way}}, 500), {})
        work = works(timing.costs(way), way)[""]
        times = {k: self.seconds(c) for k, c in self.waves(image, entry, work).items()}
        row = self.row(entry.name, i, entry.tiles, work.count, times, entry.runs)
        return row, len(paths.unknown)

    def waves(self, image: Image, entry: emit.Entry, work: Work) -> dict[str, float]:
        """Cycles of the busiest multiprocessor: as many programs after another as do not fit at once, or all that its
        units have to do.
        """
        g, warps = self.gpu, image.warps
        registers = round_up(image.registers * 32, 256) * warps
        fit = min(g.programs, g.threads // (32 * warps), g.registers // registers, g.shared // (image.shared + 1024))
        n = ceil_div(entry.tiles, g.processors)
        cycles, unit = work.shared(warps)
        quarters = min(4, warps * min(n, fit)) / 4  # that have a warp at all
        return {"waiting": ceil_div(n, fit) * work.alone, unit: n * cycles / quarters}


class _OneLaunch(_Step):
    """One launch a step, a program a multiprocessor."""

    def prediction(self) -> Prediction:
        image = self.compiled(emit.PERSISTENT[0])
        paths = self.paths(image, self.gpu.processors)
        names = kernels_of_lines(image.ptx, self.text, self.moved)
        ways = [paths.run(p) for p in range(self.gpu.processors)]
        ran = {p: {b for counts in way for _, b in counts} for p, way in enumerate(ways)}
        timing = Timing(paths, self.gpu, self.far, reads(paths, ran, 20_000), names)
        costs = timing.costs(sum((c for way in ways for c in way), Counter[tuple[int, int]]()))
        did = [[works(costs, counts) for counts in way] for way in ways]
        rows, total = list[Row](), 0.0
        for part in range(len(did[0])):
            mine = [d[part] for d in did]
            rows += self.part(part, mine, image.warps)
            programs = (max(self.times(joined(list(w.values())), image.warps).values()) for w in mine)
            total += max(*programs, sum(self.moved[r.name] for r in rows if r.part == part) / self.gpu.bandwidth)
        barriers = (len(did[0]) - 2) * self.gpu.barrier + self.seconds(self.far)  # nobody waits at num.grid_done
        rows = [_one([r for r in rows if r.name == name]) for name in self.moved]
        us = 1e6 * (total + barriers + self.gpu.launch)
        return Prediction(self.gpu, tuple(rows), len(did[0]) - 1, True, 1e6 * barriers, us, len(paths.unknown))

    def times(self, work: Work, warps: int) -> dict[str, float]:
        cycles, unit = work.shared(warps)
        return {"waiting": self.seconds(work.alone), unit: self.seconds(cycles)}

    def part(self, part: int, did: Sequence[Mapping[str, Work]], warps: int) -> list[Row]:
        """The kernels that lie between two barriers, each by the program that has most to do of it."""
        rows = []
        for name in {n: None for d in did for n in d}:
            some = [d[name] for d in did if name in d]
            work = max(some, key=lambda w: w.count)
            if name and work.count >= FEW:
                busy = sum(w.count > work.count / 8 for w in some)
                rows.append(self.row(name, part, busy, work.count, self.times(work, warps)))
        return rows


def _one(rows: Sequence[Row]) -> Row:
    """Of a kernel that runs several times, or of which a part was moved ahead of a barrier."""
    most = max(rows, key=lambda r: r.instructions)
    return replace(most, instructions=sum(r.instructions for r in rows), us=sum(r.us for r in rows))


def kernels_of_lines(ptx: str, text: str, names: Mapping[str, Any]) -> dict[int, str]:
    """By line of the PTX: the kernel from whose function in the module's text it comes, if it is one of ``names``."""
    inside, kernel = dict[int, str](), ""
    for i, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"def (\w+)\(", line):
            kernel = found[1] if found[1] in names else ""
        inside[i] = kernel
    out, now = dict[int, str](), ""
    for i, line in enumerate(ptx.splitlines(), 1):
        if ".loc" in line and (frames := FRAME.findall(line)):
            now = next((k for f in frames if (k := inside.get(int(f), ""))), "")
        out[i] = now
    return out
