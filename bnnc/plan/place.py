"""place: Packed -> Plan.  Lifetimes, then an offset for every buffer in one arena.

Persistent state comes first and is contiguous (it is the checkpoint's payload).  The rest is placed one by one at the
lowest offset where it overlaps nothing that is alive at the same time: largest first, or in another order (ORDERS)
where that makes the arena smaller.  The training and the evaluation step never run
together, so their buffers share the space.  ``off``: no reuse, every buffer has its own bytes.

Time 0 is the loading of the batch, then one time a kernel, then the reading of the results; evaluation follows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..diag import NOWHERE, InternalError
from ..ir.dtype import round_up
from ..ir.program import Program
from ..ir.ref import Ref
from ..model import Model
from .pack import Packed, PackedSchedule
from .types import Buffer, Plan, Step, Storage

EVAL = "eval:"


@dataclass(frozen=True)
class Placed:
    """The Plan with the schedules it places."""

    packed: Packed
    plan: Plan

    @property
    def model(self) -> Model:
        return self.packed.model

    @property
    def train(self) -> PackedSchedule:
        return self.packed.train

    @property
    def program(self) -> Program:
        """The training step's: its states are the network's."""
        return self.packed.train.program

    def __str__(self) -> str:
        rows = ["id,lower,upper,size,offset"]  # minimalloc's CSV: [lower, upper) in time
        rows += [f"{b.name},{b.first},{b.last + 1},{b.nbytes},{b.offset}" for b in self.plan.buffers]
        return "\n".join(rows) + "\n"


def _align(nbytes: int) -> int:
    return 64 if nbytes >= 1024 else 4


def timeline(ps: PackedSchedule, prefix: str) -> list[Step]:
    """Steps of one schedule: load, kernels, done.  In-place outputs appear under their state's name.  What a loop over
    strips makes for others is all there when it begins, and what it reads when it ends."""
    alias = dict(ps.schedule.alias)
    states = ps.program.state_names

    def name(n: str) -> str:
        n = alias.get(n, n)
        return n if n in states else prefix + n

    p = ps.program
    constants = {s.name for s in ps.constants}
    steps = [Step(f"{prefix}load", tuple(s.name for s in p.states if s.role == "encoder"), tuple(map(name, p.inputs)))]
    for k in ps.kernels:
        reads = tuple(name(n) for n in k.reads if n not in constants)
        steps.append(Step(prefix + k.name, reads, tuple(map(name, k.writes)), k.where.layer, k.where.span))
    for loop in ps.loops:
        body = ps.kernels[loop.first : loop.last + 1]
        made, used = (
            [
                name(n)
                for n in dict.fromkeys(n for k in body for n in (*k.writes, *(k.reads if both else ())))
                if n not in constants | loop.inside
            ]
            for both in (False, True)
        )
        begin = steps[loop.first + 1]
        steps[loop.first + 1] = replace(begin, writes=tuple(dict.fromkeys((*begin.writes, *made))))
        end = steps[loop.last + 1]
        if loop.first == loop.last:  # what one kernel makes, it does not read
            used = [n for n in used if n not in made]
        steps[loop.last + 1] = replace(end, reads=tuple(dict.fromkeys((*end.reads, *used))))
    steps.append(
        Step(f"{prefix}done", (*(name(v) for _, v in p.results), name("labels")), ())
    )  # the accuracy needs both
    return steps


def _lifetimes(steps: list[Step]) -> dict[str, tuple[int, int]]:
    life: dict[str, tuple[int, int]] = {}
    for t, s in enumerate(steps):
        for n in (*s.writes, *s.reads):
            life[n] = (life[n][0] if n in life else t, t)
    return life


def live_bytes(ps: PackedSchedule) -> tuple[list[int], dict[str, tuple[int, int]]]:
    """Bytes that are alive at each time of one schedule, states apart, and when each buffer lives."""
    steps = timeline(ps, "")
    storage, states = ps.storage, ps.program.state_names
    life = {n: ends for n, ends in _lifetimes(steps).items() if n not in states}
    change = [0] * (len(steps) + 1)
    for n, (first, last) in life.items():
        change[first] += storage[n].nbytes
        change[last + 1] -= storage[n].nbytes
    return list(itertools.accumulate(change))[:-1], life


def _first_fit(size: int, align: int, taken: list[tuple[int, int]], floor: int) -> int:
    at = round_up(floor, align)
    for lo, hi in sorted(taken):
        if at + size <= lo:
            break
        at = max(at, round_up(hi, align))
    return at


# The orders in which buffers are placed: sort keys of (bytes, first time, last time, name).
ORDERS: dict[str, Callable[[int, int, int, str], Any]] = {
    "largest": lambda size, first, last, n: (-size, first - last, n),
    "longest alive": lambda size, first, last, n: (first - last, -size, n),
    "most bytes by time": lambda size, first, last, n: (size * (first - last - 1), n),
    "earliest": lambda size, first, last, n: (first, -size, n),
    "alive at the end": lambda size, first, last, n: (-last, -size, n),
}


def _offsets(
    names: list[str], storages: dict[str, Storage], life: dict[str, tuple[int, int]], floor: int, reuse: bool
) -> dict[str, int]:
    """Each buffer in turn at the lowest offset that is free during its life; without ``reuse`` after all before it."""
    out: dict[str, int] = {}
    top = floor
    starts, stops, places, ends = (np.zeros(len(names), np.int64) for _ in range(4))  # of the buffers that have a place
    for i, n in enumerate(names):
        size, (first, last) = storages[n].nbytes, life[n]
        if reuse:
            met = np.flatnonzero((starts[:i] <= last) & (stops[:i] >= first))
            at = _first_fit(size, _align(size), list(zip(places[met].tolist(), ends[met].tolist(), strict=True)), floor)
        else:
            at = round_up(top, _align(size))
        out[n], top = at, max(top, at + size)
        starts[i], stops[i], places[i], ends[i] = first, last, at, at + size
    return out


def _end(offsets: dict[str, int], storages: dict[str, Storage]) -> int:
    return max((at + storages[n].nbytes for n, at in offsets.items()), default=0)


def _both(packed: Packed) -> tuple[tuple[PackedSchedule, str], ...]:
    return (packed.train, ""), (packed.evaluate, EVAL)


def _storages(packed: Packed) -> dict[str, Storage]:
    """By the names of the timeline: a state has one storage, what either step makes has its own."""
    found: dict[str, Storage] = {}
    for ps, prefix in _both(packed):
        for s in ps.storages:
            name = s.name if s.name in ps.program.state_names else prefix + s.name
            found.setdefault(name, replace(s, name=name))
    return found


def _place_states(names: list[str], storages: dict[str, Storage], steps: list[Step]) -> list[Buffer]:
    """States from the arena's begin, alive all the time: most aligned first, so that no byte is lost between them."""
    spans = {s.layer: s.span for s in steps if s.layer}
    buffers: list[Buffer] = []
    end = 0
    for n in sorted(names, key=lambda n: (-_align(storages[n].nbytes), -storages[n].nbytes, n)):
        s, align, layer = storages[n], _align(storages[n].nbytes), Ref.parse(n).layer
        buffers.append(
            Buffer(s, round_up(end, align), 0, len(steps) - 1, "state", align, layer, spans.get(layer, NOWHERE))
        )
        end = buffers[-1].end
    return buffers


def _best_offsets(
    life: dict[str, tuple[int, int]], storages: dict[str, Storage], floor: int, reuse: bool
) -> dict[str, int]:
    """Of the orders that are tried, the first of those whose arena is smallest."""
    found = []
    for key in list(ORDERS.values())[: None if reuse else 1]:
        names = sorted(life, key=lambda n: key(storages[n].nbytes, *life[n], n))
        found.append(_offsets(names, storages, life, floor, reuse))
    return min(found, key=lambda offsets: _end(offsets, storages))


def _place_rest(
    packed: Packed, steps: list[Step], offsets: dict[str, int], life: dict[str, tuple[int, int]], of: dict[str, Storage]
) -> list[Buffer]:
    """Buffers at these offsets; each stands where the kernel that makes it does in the spec."""
    external = {
        prefix + n for ps, prefix in _both(packed) for n in (*ps.program.inputs, *(v for _, v in ps.program.results))
    }
    maker = {n: s for s in reversed(steps) for n in s.writes}
    buffers = []
    for n, offset in offsets.items():
        made = maker.get(n)
        layer, span = (made.layer, made.span) if made else ("", steps[0].span)
        region = "io" if n in external else "temp"
        buffers.append(Buffer(of[n], offset, *life[n], region, _align(of[n].nbytes), layer, span))
    return buffers


def _peak(buffers: list[Buffer], times: int) -> tuple[int, int]:
    """The most bytes that are alive at once, and the first time at which they are."""
    change = [0] * (times + 1)
    for b in buffers:
        change[b.first] += b.nbytes
        change[b.last + 1] -= b.nbytes
    weight = list(itertools.accumulate(change))[:-1]
    return max(weight), weight.index(max(weight))


def place(packed: Packed, reuse: bool = True) -> Placed:
    """Raises InternalError if a buffer has no storage."""
    steps = timeline(packed.train, "") + timeline(packed.evaluate, EVAL)
    storages = _storages(packed)
    states = packed.train.program.state_names
    life = {n: ends for n, ends in _lifetimes(steps).items() if n not in states}
    if missing := [n for n in life if n not in storages]:
        raise InternalError(f"no storage for {missing}")
    buffers = _place_states([s.name for s in packed.train.program.states], storages, steps)
    state_bytes = buffers[-1].end if buffers else 0
    offsets = _best_offsets(life, storages, state_bytes, reuse)
    buffers += _place_rest(packed, steps, offsets, life, storages)
    arena = round_up(max(b.end for b in buffers), 64)
    return Placed(packed, Plan(tuple(buffers), tuple(steps), arena, state_bytes, *_peak(buffers, len(steps))))
