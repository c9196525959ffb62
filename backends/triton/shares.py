"""How the kernels of a step are shared out among the programs of its one launch, and where all of these wait for each
other.

A program makes tiles of a result, or a *share*: some of its columns, or rows, from end to end.  Kernels of which each
program reads just what it wrote itself need no barrier of all programs between them, only one of the program's own
threads; so a layer's product, means, scale and signs run one after another where all of them are shared out by the same
columns.  Which bytes a program touches follows from its share and from how values are packed.  Two kernels that touch a
byte, one of them writing, are ordered by the grid's barrier, unless each such byte is the same program's in both.

Shares are chosen for the least time that a rough model predicts: what a barrier takes, and the work of the program that
has most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import NamedTuple

import numpy as np

from bnnc.ir.dtype import INTEGERS, NUMBER_BYTES, Axis, Packing, ceil_div
from bnnc.ir.ref import Ref
from bnnc.plan.types import Storage
from bnnc.sched.anchor import Contract, Map, Reduce
from bnnc.sched.expr import Expr
from bnnc.sched.kernel import Kernel

from .skeleton import THREADS, Memory, Share
from .turned import FOUR, Table, Turned

BARRIER = 1.4  # us, of all programs
KERNEL = 0.4  # us, of loads and stores that wait for each other, and of a program's own barrier
INSTRUCTION = 0.0011  # us, of a program's 8 warps
PROGRAMS = 132
NARROW, FEWEST = 2, 8  # columns or rows of a share, and how many shares: as little, or all in one
SMALL = 1 << 20  # terms of a kernel that one program may do alone
ROUGH = 1 << 22  # bytes beyond which no program has some for itself
BEAM, LONGEST = 8, 16  # choices that are gone on with, and kernels of a run

NOBODY, SEVERAL = -1, -2
APART, TOGETHER, ACROSS = range(3)  # how two kernels meet: not at all, in each program, across programs
HEAVY = {"div": 10, "sqrt": 10, "exp": 20, "log": 25, "powi": 90, "bernoulli": 400, "noise": 150, "rate": 100}


class Access(NamedTuple):
    """What a program touches of a storage: its share along an ``axis`` of that, or all of it."""

    ref: Ref
    axis: Axis | None
    writes: bool


def _loads(e: Expr, axis: Axis | None) -> list[Access]:
    """An expression's, over elements that are shared out along an axis."""
    far = e.elsewhere()
    return [
        Access(x.attr, axis if axis is not None and x.shape[axis] > 1 and x.attr not in far else None, False)
        for x in e.walk()
        if x.op == "load"
    ]


def accesses(k: Kernel, axis: Axis | None) -> list[Access]:
    """What a kernel touches, whose result is shared out along an axis, or by tiles."""
    operands: list[tuple[Expr, Axis | None]] = [(e, axis) for e in k.anchor.operands]
    if isinstance(k.anchor, Contract):
        form = k.anchor.form
        left = (Axis.COLUMNS if form == "tn" else Axis.ROWS) if axis is Axis.ROWS else None
        right = (Axis.ROWS if form == "nt" else Axis.COLUMNS) if axis is Axis.COLUMNS else None
        operands = [(e, right if e is k.anchor.b else left) for e in k.anchor.operands]
    read = [a for e, along in (*operands, *((o.expr, axis) for o in k.outputs)) for a in _loads(e, along)]
    return list(dict.fromkeys((*read, *(Access(o.ref, axis, True) for o in k.outputs))))


def _of_numbers(s: Storage, axis: Axis, width: int) -> np.ndarray:
    """For each number of a storage the program whose share it is in."""
    if isinstance(s, Turned | Table):
        return s.owners(axis, width)
    share = np.arange(s.shape[axis], dtype=np.int32) // width
    return np.broadcast_to(share[:, None] if axis is Axis.ROWS else share[None, :], s.shape).reshape(-1)


def owners(s: Storage, axis: Axis | None, width: int, writes: bool) -> np.ndarray:
    """For each byte of a storage the program whose share it is in.  Bits are read by words, and written by bytes."""
    if axis is None or s.nbytes > ROUGH:
        return np.full(s.nbytes, SEVERAL, np.int32)
    if not s.one_bit:
        return np.repeat(_of_numbers(s, axis, width), NUMBER_BYTES[s.dtype])
    down, out = s.packing is Packing.COLUMNS, np.full((s.stored_rows, s.stride, 4), NOBODY, np.int32)
    if axis is (Axis.ROWS if s.packing is Packing.ROWS else Axis.COLUMNS):
        if width < (unit := 8 if writes else 32):
            return np.full(s.nbytes, SEVERAL, np.int32)
        word = np.arange(s.stride if down else s.stored_rows, dtype=np.int32)[:, None] * 32
        share = (word + np.arange(0, 32, 8, dtype=np.int32) // unit * unit) // width
        out[:, : s.stride if down else s.across] = share[None] if down else share[:, None]
    elif down:
        out[:] = (np.arange(s.stored_rows, dtype=np.int32) // width)[:, None, None]
    else:
        out[:, : s.across] = (np.arange(s.across, dtype=np.int32) // width)[None, :, None]
    return out.reshape(-1)


@dataclass(frozen=True)
class _Touched:
    """Bytes of the arena that a kernel touches, and whose they are."""

    at: int
    end: int
    writes: bool
    owner: Callable[[], np.ndarray]


def choices(k: Kernel, mem: Memory) -> list[Share | None]:
    """How a kernel may be shared out; None: by tiles."""
    out: list[Share | None] = [None]
    x, of = k.anchor, k.out_shape
    if k.name in mem.schedule.strips or not isinstance(x, (Map, Reduce, Contract)):
        return out
    if isinstance(x, Contract) and any(o.row_sum for o in k.outputs):
        return out
    axes = [Axis(1 - x.axis)] if isinstance(x, Reduce) else [Axis.COLUMNS, Axis.ROWS]
    for axis in axes:
        width = max(NARROW, _least(k, mem, axis))
        while ceil_div(of[axis], width) >= FEWEST:
            if ceil_div(of[axis], width) <= 2 * PROGRAMS:
                out.append(Share(axis, width))
            width *= 2
    if _work(k, of[0] * of[1]) <= SMALL:
        out.append(Share(axes[0], 1 << max(5, (of[axes[0]] - 1).bit_length())))
    return out


def _least(k: Kernel, mem: Memory, axis: Axis) -> int:
    """The narrowest share: of which no two have bits in one byte; for whole numbers by tensor cores 16."""
    least = 16 if isinstance(k.anchor, Contract) and _by_dot(k.anchor) else 1
    for s in (mem.storages[o.ref] for o in k.outputs):
        if s.one_bit and (s.packing is Packing.ROWS) == (axis is Axis.ROWS) and s.shape[axis] > 1:
            least = max(least, 32 if s.shape[axis] % 32 else 8)
        if isinstance(s, Table) and s.along is axis:
            least = max(least, FOUR)
    return least


def _by_dot(x: Contract) -> bool:
    return x.result.dtype in INTEGERS and not (x.form != "tn" and x.a.dtype == "bit")


def _nodes(exprs: Sequence[Expr]) -> int:
    return sum(HEAVY.get(x.op, 3) for e in exprs for x in e.walk())


def _per_term(k: Kernel) -> float:
    """Instructions for each term of a product, or each element of a reduction."""
    x = k.anchor
    if isinstance(x, Contract):
        bits = [e.dtype == "bit" for e in (x.a, x.b)]
        return 0.2 if x.result.dtype in INTEGERS else 3.5 if any(bits) else 4
    return _nodes(x.operands) + 3 if isinstance(x, Reduce) else 4


def _work(k: Kernel, elements: int) -> int:
    """Terms of so many elements of the result."""
    if isinstance(k.anchor, Contract):
        return elements * k.anchor.dims[1]
    return elements * ceil_div(k.domain[0] * k.domain[1], k.out_shape[0] * k.out_shape[1])


def predicted(k: Kernel, elements: int) -> float:
    """us of a program that makes so many elements of the result."""
    turns = ceil_div(elements, THREADS)
    terms = _work(k, 1) if isinstance(k.anchor, (Contract, Reduce)) else 0
    return KERNEL + INSTRUCTION * turns * (_nodes([o.expr for o in k.outputs]) + 10 + terms * _per_term(k))


@dataclass(frozen=True)
class _Run:
    """Kernels between two barriers: how each is shared out, in which chain it is, and parts and us of each."""

    picks: tuple[Share | None, ...] = ()
    chains: tuple[int, ...] = ()
    loads: tuple[tuple[int, float], ...] = ()

    @cached_property
    def time(self) -> float:
        """us of the busiest program: chains follow one another along the programs, and round again."""
        chains: dict[int, list[tuple[int, float]]] = {}
        for chain, load in zip(self.chains, self.loads, strict=True):
            chains.setdefault(chain, []).append(load)
        all_, some, shift = 0.0, list[tuple[int, int, float]](), 0
        for loads in chains.values():
            for parts, us in loads:
                all_ += parts // PROGRAMS * us
                end = shift + parts % PROGRAMS
                some += [(at, to, us) for at, to in ((shift, end), (0, end - PROGRAMS)) if at < to]
            shift = (shift + max(parts for parts, _ in loads)) % PROGRAMS
        return all_ + max(
            (sum(us for at, to, us in some if at <= p < to) for p in {at for at, _, _ in some}), default=0.0
        )


class Shares:
    """Chooses for the kernels of a schedule, of which ``tiles`` says how many tiles each has."""

    def __init__(self, kernels: Sequence[Kernel], mem: Memory, tiles: Sequence[int]) -> None:
        self.kernels, self.mem, self.tiles = kernels, mem, tiles
        self.options = [choices(k, mem) for k in kernels]
        self.touched = cache(self._touched)
        self.owner = cache(self._owner)
        self.meet = cache(self._meet)
        self.load = cache(self._load)

    def _load(self, i: int, share: Share | None) -> tuple[int, float]:
        """Parts, and us of each."""
        k = self.kernels[i]
        of = k.out_shape
        parts = share.parts(of) if share else self.tiles[i]
        elements = share.width * of[1 - share.axis] if share and parts > 1 else ceil_div(of[0] * of[1], parts)
        return parts, predicted(k, elements)

    def _owner(self, ref: Ref, axis: Axis | None, width: int, writes: bool, alone: bool) -> np.ndarray:
        s = self.mem.storages[ref]
        return np.zeros(s.nbytes, np.int32) if alone else owners(s, axis, width, writes)

    def _touched(self, i: int, share: Share | None) -> list[_Touched]:
        k, width = self.kernels[i], share.width if share else 0
        alone = (share.parts(k.out_shape) if share else self.tiles[i]) == 1 and k.name not in self.mem.schedule.strips
        return [
            _Touched(
                at := self.mem.at(a.ref),
                at + self.mem.storages[a.ref].nbytes,
                a.writes,
                partial(self.owner, a.ref, a.axis, width, a.writes, alone),
            )
            for a in accesses(k, share.axis if share else None)
            if a.ref not in self.mem.schedule.embedded
        ]

    def _meet(self, i: int, one: Share | None, j: int, other: Share | None) -> int:
        """How kernel i and a later one j meet."""
        found = APART
        for a in self.touched(i, one):
            for b in self.touched(j, other):
                at, end = max(a.at, b.at), min(a.end, b.end)
                if at >= end or not (a.writes or b.writes):
                    continue
                x, y = a.owner()[at - a.at : end - a.at], b.owner()[at - b.at : end - b.at]
                both = (x != NOBODY) & (y != NOBODY)
                if both.any():
                    if ((x != y) | (x < 0))[both].any():
                        return ACROSS
                    found = TOGETHER
        return found

    def longer(self, run: _Run, first: int, j: int) -> list[_Run]:
        """A run that begins at kernel ``first`` with kernel j too, in each way that needs no barrier before it."""
        out = []
        for pick in self.options[j]:
            with_it = {j}
            for i, (one, chain) in enumerate(zip(run.picks, run.chains, strict=True), first):
                how = self.meet(i, one, j, pick)
                if how == ACROSS:
                    break
                if how == TOGETHER:
                    with_it.add(chain)
            else:
                mine = min(with_it)
                chains = (*(mine if c in with_it else c for c in run.chains), mine)
                out.append(_Run((*run.picks, pick), chains, (*run.loads, self.load(j, pick))))
        return out

    def choose(self, first: int, end: int) -> list[Share | None]:
        """For kernels ``first`` .. ``end - 1`` the shares of the least time, barriers included."""
        best: dict[int, tuple[float, list[Share | None]]] = {first: (0.0, [])}
        for i in range(first, end):
            before, picks = best[i]
            runs = [_Run()]
            for j in range(i, min(end, i + LONGEST)):
                longer = sorted((r for run in runs for r in self.longer(run, i, j)), key=lambda r: r.time)
                runs = longer[:BEAM]
                if not runs:
                    break
                time = before + BARRIER + runs[0].time
                if j + 1 not in best or time < best[j + 1][0]:
                    best[j + 1] = time, [*picks, *runs[0].picks]
        return best[end][1]

    def phases(self, picks: Sequence[Share | None], first: int) -> list[list[list[int]]]:
        """Kernels from ``first`` on, by number, between two barriers each, in chains: what a chain's programs do one
        after another.  A kernel is in the phase after the last one that holds a kernel before it which it meets across
        programs.
        """
        level: dict[int, int] = {}
        chain: dict[int, int] = {}
        for j, pick in enumerate(picks, first):
            met = {i: self.meet(i, picks[i - first], j, pick) for i in range(first, j)}
            level[j] = max((level[i] + (how == ACROSS) for i, how in met.items() if how != APART), default=0)
            with_it = {chain[i] for i, how in met.items() if how == TOGETHER and level[i] == level[j]}
            mine = min(with_it, default=j)
            chain |= {i: mine for i, c in chain.items() if c in with_it} | {j: mine}
        out = []
        for phase in range(max(level.values(), default=-1) + 1):
            inside = [i for i, at in level.items() if at == phase]
            out.append([[i for i in inside if chain[i] == c] for c in dict.fromkeys(chain[i] for i in inside)])
        return out

    def follow(self, chain: Sequence[int], picks: Sequence[Share | None]) -> list[int]:
        """The kernels of a chain before which the threads of a program wait for each other: what one reads another of
        them wrote, or the other way round.
        """
        out, since = [], list[int]()
        for j in chain:
            if any(self.meet(i, picks[i], j, picks[j]) == TOGETHER for i in since):
                out.append(j)
                since = []
            since.append(j)
        return out
