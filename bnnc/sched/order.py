"""order: Scheduled -> Scheduled in the order of execution, kernels named, in-place updates decided.

Topological in data; a kernel that overwrites a state comes after every reader of the old value.  Among ready kernels an
update goes first (it frees its gradient), then program order.  Where a search finds an order whose values need fewer
bytes at the worst moment, that one is taken.  Where in-place order is impossible the new value gets a buffer of its own
and is copied at the end.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..diag import InternalError
from ..ir.dtype import value_bytes
from ..ir.program import Program
from ..ir.ref import Ref
from .anchor import Map
from .expr import Expr
from .kernel import Kernel, Output, Schedule, Scheduled, Where, named

SEARCHED = 256  # kernels of the longest schedule that is searched: an order is a string of bytes
BEAM = 48  # orders that are kept after each kernel
BRANCHES = 8  # ready kernels that each of them may go on with


def _edges(kernels: list[Kernel], alias: Mapping[Ref, Ref]) -> list[set[int]]:
    """For each kernel, those that must run before it."""
    made_by = {n: i for i, k in enumerate(kernels) for n in k.writes}
    before: list[set[int]] = [set() for _ in kernels]
    for i, k in enumerate(kernels):
        before[i] |= {made_by[n] for n in k.reads if n in made_by} - {i}
    readers = _readers(kernels)
    for new, state in alias.items():
        writer = made_by[new]
        before[writer] |= readers.get(state, set()) - {writer}
    return before


def _readers(kernels: list[Kernel]) -> dict[Ref, set[int]]:
    readers: dict[Ref, set[int]] = {}
    for i, k in enumerate(kernels):
        for n in k.reads:
            readers.setdefault(n, set()).add(i)
    return readers


def _after(before: list[set[int]]) -> list[set[int]]:
    """For each kernel, those that must run after it."""
    after: list[set[int]] = [set() for _ in before]
    for i, some in enumerate(before):
        for j in some:
            after[j].add(i)
    return after


def _reaches(after: list[set[int]], start: int, ends: set[int]) -> bool:
    """Must one of ``ends`` run after ``start``?"""
    seen, todo = {start}, [start]
    while todo:
        new = after[todo.pop()] - seen
        if new & ends:
            return True
        seen |= new
        todo += new
    return False


def _topological(kernels: list[Kernel], before: list[set[int]], updates: set[Ref]) -> list[int] | None:
    """Of the kernels that may run, an update goes first, then the one that stands first."""
    order: list[int] = []
    after, waits = _after(before), [len(b) for b in before]
    ready = [(not set(k.writes) <= updates, i) for i, k in enumerate(kernels) if not waits[i]]
    heapq.heapify(ready)
    while ready:
        i = heapq.heappop(ready)[1]
        order.append(i)
        for j in after[i]:
            waits[j] -= 1
            if not waits[j]:
                heapq.heappush(ready, (not set(kernels[j].writes) <= updates, j))
    return order if len(order) == len(kernels) else None


class _Bytes:
    """How many bytes of temporaries are alive while kernels run in some order.  States have their place already."""

    def __init__(self, kernels: list[Kernel], p: Program, alias: Mapping[Ref, Ref]) -> None:
        values = {Ref(v.name): v for v in p.values if v.name not in p.state_names}
        size = {n: value_bytes(v.shape, v.dtype) for n, v in values.items() if n not in alias}
        kept = {Ref(v) for _, v in p.results} | {Ref("labels")}
        readers = dict.fromkeys(size, 0)  # as bits: one a kernel
        for i, k in enumerate(kernels):
            for n in k.reads:
                if n in size:
                    readers[n] |= 1 << i
        constants = {Ref(c.name) for c in p.constants}
        size |= dict.fromkeys(constants & set(size), 0)
        self.made = [sum(size.get(n, 0) for n in k.writes) for k in kernels]
        ends = [[n for n in {*k.reads, *k.writes} if n in size and n not in kept] for k in kernels]
        self.ends = [[(readers[n], size[n]) for n in some] for some in ends]  # a value dies when its readers have run
        self.start = sum(size[Ref(n)] for n in p.inputs)

    def run(self, i: int, done: int, live: int) -> tuple[int, int]:
        """Bytes while kernel ``i`` runs after the kernels ``done`` (bits), and after it."""
        during, left = live + self.made[i], ~(done | 1 << i)
        return during, during - sum([size for readers, size in self.ends[i] if not readers & left])

    def peak(self) -> int:
        """The most bytes that are alive at once when all kernels run as they stand."""
        done, live, peak = 0, self.start, 0
        for i in range(len(self.made)):
            during, live = self.run(i, done, live)
            done, peak = done | 1 << i, max(peak, during)
        return peak


def _thrifty(before: list[set[int]], cost: _Bytes) -> list[int]:
    """An order that needs clearly less memory at its worst moment than the kernels as they stand, or else that one: a
    beam search over which kernels are done.  Of equals, the one that is nearest to it."""
    as_is = list(range(len(before)))
    if len(before) > SEARCHED:
        return as_is
    needs, after = [sum(1 << j for j in b) for b in before], _after(before)
    limit = cost.peak() * 31 // 32  # what saves less than a thirty-second is not worth another order
    start = sum(1 << i for i in as_is if not needs[i])
    # which kernels are done -> the peak, what is alive, the order, and the kernels that are ready (bits)
    beam: dict[int, tuple[int, int, bytes, int]] = {0: (0, cost.start, b"", start)}
    for _ in as_is:
        grown: dict[int, tuple[int, int, bytes, int]] = {}
        for done, (peak, live, order, ready) in beam.items():
            for i in itertools.islice(_bits(ready), BRANCHES):
                during, left = cost.run(i, done, live)
                if during >= limit:
                    continue
                key, most, longer = done | 1 << i, max(peak, during), order + bytes((i,))
                if key not in grown or (most, longer) < (grown[key][0], grown[key][2]):
                    more = sum([1 << j for j in after[i] if not needs[j] & ~key])
                    grown[key] = most, left, longer, ready & ~(1 << i) | more
        beam = dict(sorted(grown.items(), key=lambda x: x[1])[:BEAM])
    return [i for _, _, order, _ in beam.values() for i in order] or as_is


def _bits(word: int) -> Iterator[int]:
    """The places of its ones, from the lowest on."""
    while word:
        low = word & -word
        yield low.bit_length() - 1
        word ^= low


def order_one(s: Schedule) -> Schedule:
    """One Schedule in the order of execution.  Raises InternalError for a cycle."""
    kernels = list(s.kernels)
    updates = [(Ref(state), Ref(new)) for state, new in s.program.updates]
    alias: dict[Ref, Ref] = {}
    plain: list[tuple[Ref, Ref]] = []
    made_by = {n: i for i, k in enumerate(kernels) for n in k.writes}
    readers, after = _readers(kernels), _after(_edges(kernels, alias))
    for state, new in updates:
        if new in alias or new not in made_by:  # one value updates two states, or a state is replaced by another
            plain.append((state, new))
            continue
        first = readers.get(state, set()) - {made_by[new]}  # must run before the state is overwritten
        if _reaches(after, made_by[new], first):
            plain.append((state, new))
        else:
            alias[new] = state
            for i in first:
                after[i].add(made_by[new])
    news = {new for _, new in updates}
    order = _topological(kernels, _edges(kernels, alias), news)
    if order is None:
        raise InternalError("the schedule has a cycle")
    kernels = [kernels[i] for i in order]
    out = [kernels[i] for i in _thrifty(_edges(kernels, alias), _Bytes(kernels, s.program, alias))]
    for state, new in plain:
        v, made = s.program.value[new.value], Ref(state.value, new=True)
        out.append(
            Kernel(
                Map(),
                v.shape,
                (Output(made, Expr("load", (), new, v.dtype, v.shape)),),
                Where("update", state.layer),
            )
        )
        alias[made] = state
    return replace(s, kernels=named(out), in_place=tuple(alias.items()))


def order(s: Scheduled) -> Scheduled:
    """Evaluation is ordered too; it has no updates."""
    return replace(s, train=order_one(s.train), evaluate=order_one(s.evaluate))
