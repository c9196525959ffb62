"""How long machine code takes on one multiprocessor: a model, not a simulation of one.

A multiprocessor has four quarters.  A warp's instructions are issued in order, each once what it reads is there; its
blocks one after another.  Warps of a quarter share its units: each unit is busy for some cycles with an instruction of
a warp.  What a program takes is the longer of both: its warps' own time, and the busiest unit's.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .paths import ARRIVALS, READS, Paths, Reads
from .sass import Instruction
from .targets import Gpu

QUARTERS = 4
DEPTH = 4  # blocks that are looked back on


class Unit(NamedTuple):
    """Which unit an instruction takes, for how many cycles, and after how many its result is there."""

    name: str
    busy: float
    ready: int


# Cycles from "Throughput of Native Arithmetic Instructions" (CUDA C++ Programming Guide, 8.0 and 9.0): 32 lanes divided
# by a quarter's results a cycle; a memory instruction takes its unit, which all quarters share, for one cycle a 128
# bytes.
ALU, FMA, MAD, XU = Unit("integer", 2, 5), Unit("float", 1, 5), Unit("float", 2, 5), Unit("special", 8, 18)
LSU, UNIFORM, CONTROL = Unit("memory unit", 4, 30), Unit("issue", 1, 8), Unit("issue", 1, 1)
SHUFFLED = Unit("memory unit", 8, 30)
OF_UNITS = (
    (FMA, "FADD FMUL FFMA HADD2 HMUL2 HFMA2 HSETP2 HMNMX2"),
    (MAD, "IMAD"),
    (XU, "MUFU I2F F2I POPC FLO BREV F2F FRND"),
    (LSU, "LDS SHFL LDSM STS STSM STG LDG LDGSTS ATOMG LD ST RED ATOMS"),
    (SHUFFLED, "REDUX"),
    (Unit("issue", 1, 30), "BAR"),
    (CONTROL, "BRA EXIT CALL RET BSSY BSYNC WARPSYNC NOP DEPBAR LDGDEPBAR WARPGROUP BREAK YIELD"),
    (CONTROL, "MEMBAR ERRBAR CGAERRBAR CCTL FENCE"),
    (UNIFORM, "R2UR S2UR VOTEU LDC ULDC S2R"),
)
UNITS = {head: unit for unit, heads in OF_UNITS for head in heads.split()}
CYCLES_OF_A_JUMP = 8


def unit(x: Instruction, gpu: Gpu) -> Unit:
    """What an instruction takes."""
    if x.head.endswith("MMA") and x.head != "HFMA2":
        return _tensor(x, gpu)
    found = UNITS.get(x.head, UNIFORM if x.head.startswith("U") else ALU)
    if found is FMA:
        return FMA._replace(busy=32 / gpu.floats)
    if found.name == "memory unit" and x.head != "SHFL":
        wide = 4 if "128" in x.parts else 2 if "64" in x.parts else 1
        if x.head in ("LDSM", "STSM"):
            wide = int(x.op[-1]) if x.op[-2:] in (".2", ".4") else 1
        fast = x.head in (*ARRIVALS, "STG", "STS", "STSM") or "STRONG" in x.parts  # nothing waits, or a barrier does
        return Unit(found.name, found.busy * wide, 1 if fast else found.ready)
    return found


def _tensor(x: Instruction, gpu: Gpu) -> Unit:
    """Products: their multiply-adds against a quarter's peak."""
    rate = (gpu.int8 if x.head in ("IMMA", "IGMMA") else gpu.f16) / 2 / (gpu.processors * gpu.clock * QUARTERS)
    if x.head in ("HGMMA", "IGMMA"):  # of four warps; a quarter has 16 rows
        m, n, k = map(int, re.search(r"(\d+)x(\d+)x(\d+)", x.op).groups())  # type: ignore[union-attr]
        busy = m * n * k / QUARTERS / rate
        return Unit("tensor cores", busy, int(busy) + 30)
    shape = re.search(r"\.(16|8)(8|16)(\d+)", x.op)
    m, n, k = map(int, shape.groups()) if shape else (16, 8, 16)
    busy = m * n * k / (rate * gpu.small_mma)
    return Unit("tensor cores", busy, int(busy) + 28)


@dataclass
class State:
    """Cycles until registers are there, and until copies have come, from a block's end on."""

    ready: dict[str, float] = field(default_factory=dict)
    copies: list[float] = field(default_factory=list)
    latest: float = 0  # cycles that a copy takes


@dataclass
class Cost:
    """Of one run of a block, by kernel: ``alone``: cycles of a warp; ``count``: its instructions; ``busy``: cycles of
    each unit.
    """

    alone: dict[str, float] = field(default_factory=dict)
    count: Counter[str] = field(default_factory=Counter)
    busy: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, kernel: str, cycles: float, busy: Mapping[str, float]) -> None:
        """An instruction."""
        self.alone[kernel] = self.alone.get(kernel, 0) + cycles
        self.count[kernel] += 1
        units = self.busy.setdefault(kernel, defaultdict(float))
        for name, n in busy.items():
            units[name] += n


class Timing:
    """Costs of a kernel's blocks.  ``far``: cycles until what lies in memory is there; ``reads``: what reads touch, by
    instruction; ``names``: by PTX line, which kernel of a step it belongs to.
    """

    def __init__(self, paths: Paths, gpu: Gpu, far: int, reads: Mapping[int, Reads], names: Mapping[int, str]) -> None:
        self.paths, self.gpu, self.far, self.reads, self.names = paths, gpu, far, reads, names

    def run(self, first: int, state: State) -> Cost:
        """A block in order, after what ``state`` says, which becomes what is left."""
        cost, now = Cost(), 0.0
        for i in range(first, self.paths.blocks[first].end):
            x = self.paths.code.instructions[i]
            u, more = self._unit(i, x)
            start = max(now + 1, self._waits(x, state))
            self._leave(x, u, start, state)
            end = start + (CYCLES_OF_A_JUMP if x.head == "BRA" and not x.guard else u.ready if x.head == "BAR" else 0)
            cost.add(self.names.get(x.line, ""), end - now, {u.name: u.busy, "issue": 1, **more})
            now = end
        state.ready = {r: t - now for r, t in state.ready.items() if t > now}
        state.copies = [t - now for t in state.copies]
        return cost

    def _unit(self, i: int, x: Instruction) -> tuple[Unit, dict[str, float]]:
        """What an instruction takes, and what a read takes of the second-level cache, which gives 64 bytes a cycle."""
        u = unit(x, self.gpu)
        if x.head not in READS or "STRONG" in x.parts:
            return u, {}
        read = self.reads.get(i, Reads())
        latency = self.gpu.near * read.seen + self.far * (1 - read.seen)
        far = QUARTERS * read.sectors * (1 - read.seen) / 2
        return Unit(u.name, max(u.busy, read.lines), int(latency)), {"second cache": far}

    @staticmethod
    def _leave(x: Instruction, u: Unit, start: float, state: State) -> None:
        """What an instruction leaves to those behind it."""
        if x.head == "LDGSTS":
            state.latest = max(state.latest, u.ready)
        if x.head == "LDGDEPBAR":
            state.copies.append(start + state.latest)
        for r in x.writes:
            state.ready[r] = start + u.ready

    @staticmethod
    def _waits(x: Instruction, state: State) -> float:
        """Until what it reads is there: registers, or copies, but for the last ones."""
        if x.head == "DEPBAR":
            most = int(x.args[1], 0) if len(x.args) > 1 else 0
            return max(state.copies[: len(state.copies) - most], default=0.0)
        own = x.writes if x.head.endswith("GMMA") else ()  # products that add up in place
        return max((state.ready.get(r, 0.0) for r in x.reads if r not in own), default=0.0)

    def costs(self, counts: Mapping[tuple[int, int], int]) -> dict[int, Cost]:
        """Of each block that runs, after the ones that most often ran before it."""
        before: dict[int, tuple[int, int]] = {}
        for (a, b), n in counts.items():
            before[b] = max(before.get(b, (0, -1)), (n, a))
        out = {}
        for b in before:
            way = [b]
            while len(way) < DEPTH and before[way[-1]][1] >= 0:
                way.append(before[way[-1]][1])
            state = State()
            for at in reversed(way):
                cost = self.run(at, state)
            out[b] = cost
        return out


@dataclass
class Work:
    """What one program does of one kernel; as :class:`Cost`, added up."""

    alone: float = 0
    count: int = 0
    busy: dict[str, float] = field(default_factory=dict)

    def shared(self, warps: int) -> tuple[float, str]:
        """Cycles of the busiest unit of a quarter, of which ``warps`` are a program's; which one."""
        name, cycles = max(self.busy.items(), key=lambda x: x[1], default=("issue", 0))
        return cycles * warps / QUARTERS, name


def works(costs: Mapping[int, Cost], counts: Mapping[tuple[int, int], int]) -> dict[str, Work]:
    """What a program does that runs its blocks so often, by kernel."""
    out: dict[str, Work] = {}
    for (_, b), n in counts.items():
        cost = costs[b]
        for kernel, cycles in cost.alone.items():
            work = out.setdefault(kernel, Work())
            work.alone += n * cycles
            work.count += n * cost.count[kernel]
            for name, busy in cost.busy[kernel].items():
                work.busy[name] = work.busy.get(name, 0) + n * busy
    return out


def joined(some: Sequence[Work]) -> Work:
    """What one program does of several kernels."""
    busy = {name: sum(w.busy.get(name, 0) for w in some) for name in {n: None for w in some for n in w.busy}}
    return Work(sum(w.alone for w in some), sum(w.count for w in some), busy)
