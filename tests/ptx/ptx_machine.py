"""A machine for the PTX of one kernel, on NumPy arrays: programs, and warps, in random order.

    launch = Launch(Program(parse(text)), memory, grid=5, parameters=[BASE], shared=4096, barrier=range(64))
    launch.run(seed=1)
    launch.races  # nothing, or what raced, and where

A unit is a program whose threads go in lockstep, or, ``warps=True``, one warp.  A unit runs until it does what others
may see (a barrier, an atomic operation, a read that acquires); then a random one goes on.  Lanes that went apart run by
turns, those that are furthest behind first.

What it does not know it refuses.  It says nothing of time, of the driver, of weak memory's reorderings between two
barriers, of how tensor cores round floats.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from types import CodeType
from typing import Any

import numpy as np
import ptx_arith
from ptx_arith import F32, I8, I32, LANE, Array, added, rows16
from ptx_memory import BASE, Fault, Memory, Race, Shadow, Who
from ptx_parse import Instruction, Kernel, UnknownPtx
from ptx_translate import WARP, translate

NUMBERS = {n: v for n, v in vars(ptx_arith).items() if not n.startswith("_")}
KIND: dict[str, Any] = {"d": np.uint64, "h": np.uint16, "r": np.uint32, "p": np.bool_}
EAGER = 0.9  # of the time a program that is eager goes first
SPIN = 5_000  # turns in which nothing in global memory changes: the launch is stuck


@dataclass(frozen=True)
class Block:
    """Instructions that run together: what they are as code; ``kind``: code, seen (others may see it), bra, bar, ret;
    ``makes``: the registers they may change.
    """

    kind: str
    end: int
    code: CodeType | None = None
    makes: tuple[str, ...] = ()
    together: bool = True
    guard: str = ""
    to: int = 0


class Program:
    """A kernel's blocks, by where they begin."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        ends = [*kernel.starts[1:], len(kernel.instructions)]
        self.blocks = {a: self._block(kernel.instructions[a:b], b) for a, b in zip(kernel.starts, ends, strict=True)}

    def _block(self, some: Sequence[Instruction], end: int) -> Block:
        first = some[0]
        if first.head == "bra" and first.op in ("bra", "bra.uni"):
            return Block("bra", end, guard=first.guard, to=self.kernel.labels[first.args[0]])
        if first.text == "ret" or (first.op, first.args) == ("bar.sync", ("0",)):
            return Block("bar" if first.head == "bar" else "ret", end)
        lines = [translate(x) for x in some]
        code = compile("\n".join(lines), f"block {end}", "exec")
        makes = tuple(sorted(set(code.co_names) & self.kernel.registers))
        together = any(x.head in WARP for x in some)
        return Block("seen" if first.stops else "code", end, code, makes, together)


@dataclass
class Cta:
    """One program of a launch: its shared memory, how many barriers it has reached, how often its units ran each
    block.
    """

    number: int
    shared: Memory
    epoch: int = 0
    phase: int = 0
    units: list[Unit] = field(default_factory=list)
    ran: Counter[int] = field(default_factory=Counter)


class Unit:
    """Lanes that go together: registers, where they are, copies that are on their way."""

    def __init__(self, launch: Launch, cta: Cta, warp: int, lanes: int) -> None:
        self.launch, self.cta, self.warp, self.lanes = launch, cta, warp, lanes
        self.at, self.state = 0, "ready"
        self.apart: Array | None = None  # where each lane is, while they differ
        self.active: Array | None = None
        self.groups: list[list[tuple[Any, ...]]] = [[]]
        threads = np.arange(warp * lanes, (warp + 1) * lanes, dtype=np.uint32)
        self.names: dict[str, Any] = dict(NUMBERS)
        self.names |= {r: np.zeros(lanes, KIND[r[0]]) for r in launch.program.kernel.registers}
        self.names |= {"unit": self, "full": partial(_full, lanes), "TID": threads}
        self.names |= {"CTA": np.full(lanes, cta.number, np.uint32), "CTAS": np.full(lanes, launch.grid, np.uint32)}

    @property
    def who(self) -> Who:
        return Who(self.cta.epoch, self.cta.number, self.cta.phase, self.warp)

    # -- what translated code calls -----------------------------------------------------------------------------------
    def parameter(self, i: int) -> int:
        """A kernel's argument; Triton's two scratch pointers behind them are 0."""
        return self.launch.parameters[i] if i < len(self.launch.parameters) else 0

    def _memory(self, space: str) -> Memory:
        return self.cta.shared if space == "shared" else self.launch.memory

    def _some(self, guard: Array | None) -> Array:
        """The lanes that take part."""
        some = np.ones(self.lanes, bool) if guard is None else np.broadcast_to(guard, self.lanes)
        return some if self.active is None else some & self.active

    def load(
        self,
        space: str,
        address: Array,
        size: int,
        count: int,
        guard: Array | None,
        old: list[Array] | None,
        kind: type,
    ) -> list[Array]:
        """``count`` words of each lane; lanes that take no part keep what they had."""
        memory, some = self._memory(space), self._some(guard)
        at = memory.offsets(np.broadcast_to(address, self.lanes)[some], size * count, size * count)
        out = []
        for k in range(count):
            value = np.zeros(self.lanes, kind) if old is None else old[k].astype(kind)
            value[some] = memory.load(at + k * size, size, self.who, self.at)
            out.append(value)
        return out

    def store(self, space: str, address: Array, size: int, values: list[Array], guard: Array | None) -> None:
        """As :meth:`load`."""
        memory, some = self._memory(space), self._some(guard)
        at = memory.offsets(np.broadcast_to(address, self.lanes)[some], size * len(values), size * len(values))
        for k, v in enumerate(values):
            memory.store(at + k * size, size, np.broadcast_to(v, self.lanes)[some], self.who, self.at)

    def atomic_add(self, address: Array, value: Array, guard: Array | None, old: Array, orders: bool) -> Array:
        """One lane after another; one that reaches the grid's barrier begins an epoch of its program, and must order
        what is before it."""
        out, memory, value = old.copy(), self.launch.memory, np.broadcast_to(value, self.lanes)
        for lane in np.flatnonzero(self._some(guard)):
            at = int(memory.offsets(np.broadcast_to(address, self.lanes)[[lane]], 4, 4)[0])
            words = memory.view(4)
            out[lane] = words[at // 4]
            words[at // 4] += value[lane]
            memory.changes += 1
            if memory.silent and at == memory.silent.start:
                if not orders:
                    raise UnknownPtx("an arrival that orders nothing")
                self.launch.arrivals[self.cta.number, self.cta.epoch] = self.cta.phase
                self.cta.epoch += 1
                memory.floor = min(c.epoch for c in self.launch.ctas)
        return out

    def copy(self, to: Array, source: Array, size: int, valid: Array, guard: Array | None) -> None:
        """Of the next group: ``valid`` bytes, all or none; none: zeros."""
        if set(np.unique(valid).tolist()) - {0, size}:
            raise UnknownPtx("cp.async of a part")
        wide = [np.broadcast_to(x, self.lanes).copy() for x in (to, source, valid)]
        self.groups[-1].append((*wide, size, self._some(guard).copy()))

    def commit(self) -> None:
        self.groups.append([])

    def wait(self, pending: int) -> None:
        """Copies arrive as late as they may."""
        while len(self.groups) - 1 > pending:
            for to, source, valid, size, some in self.groups.pop(0):
                there = some & (valid > 0)
                zeros = [np.zeros(self.lanes, np.uint32)] * (size // 4)
                words = self.load("global", source, 4, size // 4, there, zeros, np.uint32)
                self.store("shared", to, 4, words, some)

    def _rows(self, address: Array, k: int) -> Array:
        """Where the eight rows of matrix k are, for each warp."""
        rows = np.broadcast_to(address, self.lanes).reshape(-1, 32)[:, 8 * k : 8 * k + 8]
        return self.cta.shared.offsets(rows, 16, 16)

    def load_matrix(self, address: Array, count: int, turned: bool) -> list[Array]:
        """ldmatrix."""
        out, memory = [], self.cta.shared
        for k in range(count):
            rows = self._rows(address, k)
            memory.touch(rows.reshape(-1), 16, self.who, self.at)
            m = memory.view(2)[(rows // 2)[:, :, None] + np.arange(8)]
            m = m.transpose(0, 2, 1) if turned else m
            out.append(ptx_arith.pair(m[:, LANE // 4, 2 * (LANE % 4)], m[:, LANE // 4, 2 * (LANE % 4) + 1]).reshape(-1))
        return out

    def store_matrix(self, address: Array, values: list[Array], turned: bool) -> None:
        """stmatrix."""
        for k, v in enumerate(values):
            rows = self._rows(address, k)
            m = np.zeros((len(rows), 8, 8), np.uint16)
            for h in range(2):
                m[:, LANE // 4, 2 * (LANE % 4) + h] = ptx_arith.half(v, h).reshape(-1, 32)
            m = m.transpose(0, 2, 1) if turned else m
            at = rows[:, :, None] + 2 * np.arange(8)
            self.cta.shared.store(at.reshape(-1), 2, m.reshape(-1), self.who, self.at)

    def _tile(self, descriptor: Array, rows: int, kind: type, turned: bool = False) -> Array:
        """A matrix [warps, rows, 32 bytes] that descriptors name, with its swizzle; ``turned``: whose columns are in
        memory side by side, of f16: 8 of them, ``width`` bytes long, are a piece, with others behind them and beside.
        """
        out = []
        for d in map(int, np.broadcast_to(descriptor, self.lanes)[::32]):
            width = {1: 128, 2: 64, 3: 32}.get(d >> 62)
            if width is None or d >> 49 & 7:
                raise UnknownPtx(f"wgmma descriptor {d:x}")
            (start, beside, behind), r, k = (
                ((d >> n & 0x3FFF) << 4 for n in (0, 16, 32)),
                np.arange(rows)[:, None],
                np.arange(32)[None, :],
            )
            at = start + r // 8 * behind + r % 8 * width + k
            if turned:
                r, k = 2 * r + k % 2, k // 2
                at = start + r // width * beside + r % width + k // 8 * behind + k % 8 * width
            at ^= at >> 3 & (width // 16 - 1) << 4
            memory = self.cta.shared
            memory.offsets(at.reshape(-1), 1, 1)
            memory.touch(at.reshape(-1), 1, self.who, self.at)
            out.append(memory.data[at].view(kind))
        return np.stack(out)

    def wgmma(
        self, sums: list[Array], a: Any, b: Array, keep: Any, n: int, kind: type, turned: list[int]
    ) -> list[Array]:
        """64 x n sums by four warps: 16 rows each.  ``turned``: which of the operands in shared memory are."""
        wide, result = (I32, I32) if kind == I8 else (np.float64, F32)
        right = self._tile(b, n, kind, bool(turned[-1])).transpose(0, 2, 1)
        if isinstance(a, list):
            left = rows16(a, kind)
        else:
            whole, first = self._tile(a, 64, kind, bool(turned[0])), self.warp * self.lanes // 32
            rows = [16 * ((first + w) % 4) for w in range(len(whole))]
            left = np.stack([m[r : r + 16] for m, r in zip(whole, rows, strict=True)])
        products = (left.astype(wide) @ right.astype(wide)).astype(result)
        return added(products, [np.where(keep, s, np.uint32(0)) for s in sums])

    # -- running ------------------------------------------------------------------------------------------------------
    def go(self) -> None:
        """To where others may see something, or one of its lanes ends."""
        while True:
            block = self.launch.program.blocks[self.at]
            self.cta.ran[self.at] += 1
            if self.apart is not None:
                self._apart(block)
            elif block.kind == "bra":
                self._branch(block)
            elif block.code is not None:
                exec(block.code, self.names)  # noqa: S102
                self.at = block.end
                if block.kind == "seen":
                    return
            else:
                self.at, self.state = block.end, block.kind
                return

    def _taken(self, block: Block) -> Array:
        guard = block.guard.removeprefix("~")
        p = np.broadcast_to(self.names[guard], self.lanes) if guard else np.ones(self.lanes, bool)
        return ~p if block.guard.startswith("~") else p

    def _branch(self, block: Block) -> None:
        taken = self._taken(block)
        if taken.all() or not taken.any():
            self.at = block.to if taken.any() else block.end
        else:
            self.apart = np.where(taken, block.to, block.end)
            self.at = self._behind()

    def _behind(self) -> int:
        """Where lanes are apart, the place from which some go on: the furthest behind, but for those that have to wait
        for the others.  (Code of a branch may lie behind all else, and jump back.)
        """
        places = np.unique(self.apart)
        blocks = [self.launch.program.blocks[int(at)] for at in places]
        alone = [b.kind == "bra" or (b.kind == "code" and not b.together) for b in blocks]
        return int(places[alone.index(True) if any(alone) else 0])

    def _apart(self, block: Block) -> None:
        """One block for the lanes at one place."""
        assert self.apart is not None
        here = self.apart == self.at
        if block.kind == "bra":
            self.apart = np.where(here, np.where(self._taken(block), block.to, block.end), self.apart)
        elif block.kind == "code" and block.code is not None and not block.together:
            before = {r: self.names[r] for r in block.makes}
            self.active = here
            exec(block.code, self.names)  # noqa: S102
            self.active = None
            self.names |= {r: np.where(here, self.names[r], old) for r, old in before.items()}
            self.apart = np.where(here, block.end, self.apart)
        else:
            raise Fault(f"lanes are apart where they must be together, at {self.at}")
        self.at = self._behind()
        if (self.apart == self.at).all():
            self.apart = None


def _full(lanes: int, value: Any) -> Array:
    value = np.asarray(value)
    return value if value.ndim else np.full(lanes, value)


class Launch:
    """A kernel on a grid.  ``memory``: the device's bytes, changed in place; ``parameters``: what the kernel is given,
    addresses from ``BASE`` on; ``barrier``: where the grid's barrier has its words.
    """

    def __init__(
        self,
        program: Program,
        memory: Array,
        grid: int,
        parameters: Sequence[int] = (BASE,),
        shared: int = 0,
        barrier: range = range(0),
        warps: bool = False,
    ) -> None:
        self.program, self.grid, self.parameters = program, grid, list(parameters)
        self.memory = Memory("global", BASE, memory, Shadow(memory.size), barrier, floor=0)
        lanes = 32 if warps else 32 * program.kernel.warps
        self.arrivals: dict[tuple[int, int], int] = {}  # (program, epoch) -> its phase when it came to the barrier
        self.ctas = []
        for i in range(grid):
            own = Memory(
                "shared", 0, np.zeros(shared + 16, np.uint8), Shadow(shared + 16) if warps else None, quietly=True
            )
            cta = Cta(i, own)
            cta.units = [Unit(self, cta, w, lanes) for w in range(32 * program.kernel.warps // lanes)]
            self.ctas.append(cta)

    def run(self, seed: int = 0, eager: int = -1) -> None:
        """To the end; ``eager``: a program that mostly goes first, and of it its first warps.  Raises Fault."""
        draw, ready = random.Random(seed), [u for c in self.ctas for u in c.units]
        turns = changes = 0
        with np.errstate(all="ignore"):
            while ready:
                i = self._next(ready, eager, draw)
                ready[i], ready[-1] = ready[-1], ready[i]
                unit = ready[-1]
                unit.go()
                turns, changes = turns + 1 if changes == self.memory.changes else 0, self.memory.changes
                if unit.state != "ready":
                    ready.pop()
                    ready += self._released(unit.cta)
                if turns > SPIN:
                    raise Fault(f"deadlock: {self.program.kernel.name} goes round at {unit.at}")
        if stuck := [(u.cta.number, u.warp, u.at) for c in self.ctas for u in c.units if u.state != "ret"]:
            raise Fault(f"deadlock: programs, warps and where they wait: {stuck[:5]}")

    @staticmethod
    def _next(ready: Sequence[Unit], eager: int, draw: random.Random) -> int:
        """Which unit goes on, by its place."""
        if eager >= 0 and draw.random() < EAGER:
            mine = [i for i, u in enumerate(ready) if u.cta.number == eager]
            if mine:
                return min(mine, key=lambda i: ready[i].warp)
        return draw.randrange(len(ready))

    @staticmethod
    def _released(cta: Cta) -> list[Unit]:
        """The units that go on because the last of their program has come to its barrier."""
        if any(u.state != "bar" for u in cta.units):
            return []
        cta.phase += 1
        for u in cta.units:
            u.state = "ready"
        return list(cta.units)

    @property
    def races(self) -> list[Race]:
        """All that was found, each place in the code once."""
        return [r for m in (self.memory, *(c.shared for c in self.ctas)) for r in m.races.values()]
