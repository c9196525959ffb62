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
from functools import partial
from typing import Any

import numpy as np

from ..diag import NOWHERE, InternalError
from ..ir.dtype import round_up
from ..ir.program import Program
from ..ir.ref import Ref, Side
from ..model import Model
from .pack import Packed, PackedSchedule
from .types import Buffer, Plan, Step, Storage


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
    def evaluate(self) -> PackedSchedule:
        return self.packed.evaluate

    @property
    def program(self) -> Program:
        """The training step's: its states are the network's."""
        return self.packed.train.program

    def __str__(self) -> str:
        rows = ["id,lower,upper,size,offset"]  # minimalloc's CSV: [lower, upper) in time
        rows += [f"{b.name},{b.first},{b.last + 1},{b.nbytes},{b.offset}" for b in self.plan.buffers]
        return "\n".join(rows) + "\n"


REST_SHARE = 1 / 32  # of the arena, that rests may take


def _align(nbytes: int) -> int:
    return 64 if nbytes >= 1024 else 4


def timeline(ps: PackedSchedule, side: Side) -> list[Step]:
    """Steps of one schedule: load, kernels, done.  In-place outputs appear as their states.  What a loop over strips
    makes for others is all there when it begins, and what it reads when it ends."""
    p, constants, place = ps.program, ps.embedded, partial(ps.place, side=side)
    fitted = tuple(Ref(s.name) for s in p.states if s.role == "encoder")
    steps = [Step("load", fitted, tuple(place(Ref(n)) for n in p.inputs), side=side)]
    for k in ps.kernels:
        reads = tuple(place(n) for n in k.reads if n not in constants)
        steps.append(Step(k.name, reads, tuple(map(place, k.writes)), k.where.layer, k.where.span, side))
    for loop in ps.loops:
        body = ps.kernels[loop.first : loop.last + 1]
        made, used = (
            [
                place(n)
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
    steps.append(Step("done", tuple(place(Ref(n)) for n in p.returned), (), side=side))
    return steps


def _lifetimes(steps: list[Step]) -> dict[Ref, tuple[int, int]]:
    life: dict[Ref, tuple[int, int]] = {}
    for t, s in enumerate(steps):
        for n in (*s.writes, *s.reads):
            life[n] = (life[n][0] if n in life else t, t)
    return life


def live_bytes(ps: PackedSchedule) -> tuple[list[int], dict[Ref, tuple[int, int]]]:
    """Bytes that are alive at each time of one schedule, states apart, and when each buffer lives."""
    steps = timeline(ps, Side.TRAIN)
    storage, states = ps.storage, ps.states
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
ORDERS: dict[str, Callable[[int, int, int, Ref], Any]] = {
    "largest": lambda size, first, last, n: (-size, first - last, n),
    "longest alive": lambda size, first, last, n: (first - last, -size, n),
    "most bytes by time": lambda size, first, last, n: (size * (first - last - 1), n),
    "earliest": lambda size, first, last, n: (first, -size, n),
    "alive at the end": lambda size, first, last, n: (-last, -size, n),
}


def _offsets(
    refs: list[Ref], storages: dict[Ref, Storage], life: dict[Ref, tuple[int, int]], floor: int, reuse: bool
) -> dict[Ref, int]:
    """Each buffer in turn at the lowest offset that is free during its life; without ``reuse`` after all before it."""
    out: dict[Ref, int] = {}
    top = floor
    starts, stops, places, ends = (np.zeros(len(refs), np.int64) for _ in range(4))  # of the buffers that have a place
    for i, n in enumerate(refs):
        size, (first, last) = storages[n].nbytes, life[n]
        if reuse:
            met = np.flatnonzero((starts[:i] <= last) & (stops[:i] >= first))
            at = _first_fit(size, _align(size), list(zip(places[met].tolist(), ends[met].tolist(), strict=True)), floor)
        else:
            at = round_up(top, _align(size))
        out[n], top = at, max(top, at + size)
        starts[i], stops[i], places[i], ends[i] = first, last, at, at + size
    return out


def _end(offsets: dict[Ref, int], storages: dict[Ref, Storage]) -> int:
    return max((at + storages[n].nbytes for n, at in offsets.items()), default=0)


def _storages(packed: Packed) -> dict[Ref, Storage]:
    """As in the timeline: a state has one storage, what either step makes has its own."""
    found: dict[Ref, Storage] = {}
    for ps, side in packed.sides:
        for s in ps.storages:
            ref = s.ref if s.ref in ps.states else s.ref.on(side)
            found.setdefault(ref, s if ref is s.ref else replace(s, ref=ref))
    return found


def _place_states(states: list[Ref], storages: dict[Ref, Storage], steps: list[Step]) -> list[Buffer]:
    """States from the arena's begin, alive all the time: most aligned first, so that no byte is lost between them."""
    spans = {s.layer: s.span for s in steps if s.layer}
    buffers: list[Buffer] = []
    end = 0
    for n in sorted(states, key=lambda n: (-_align(storages[n].nbytes), -storages[n].nbytes, n)):
        s, align, layer = storages[n], _align(storages[n].nbytes), n.layer
        buffers.append(
            Buffer(s, round_up(end, align), 0, len(steps) - 1, "state", align, layer, spans.get(layer, NOWHERE))
        )
        end = buffers[-1].end
    return buffers


def _best_offsets(
    life: dict[Ref, tuple[int, int]], storages: dict[Ref, Storage], floor: int, reuse: bool
) -> dict[Ref, int]:
    """Of the orders that are tried, the first of those whose arena is smallest."""
    found = []
    for key in list(ORDERS.values())[: None if reuse else 1]:
        refs = sorted(life, key=lambda n: key(storages[n].nbytes, *life[n], n))
        found.append(_offsets(refs, storages, life, floor, reuse))
    return min(found, key=lambda offsets: _end(offsets, storages))


def _place_rest(
    packed: Packed, steps: list[Step], offsets: dict[Ref, int], life: dict[Ref, tuple[int, int]], of: dict[Ref, Storage]
) -> list[Buffer]:
    """Buffers at these offsets; each stands where its layer does in the spec, or else the kernel that makes it."""
    external = {
        Ref(n, side=side)
        for ps, side in packed.sides
        for n in (*ps.program.inputs, *(v for _, v in ps.program.results))
    }
    maker = {n: s for s in reversed(steps) for n in s.writes}
    own, buffers = {y.name: y.span for y in packed.model.walk()}, []
    for n, offset in offsets.items():
        made = maker.get(n)
        layer, span = (made.layer, made.span) if made else ("", steps[0].span)
        layer, span = (n.layer, own[n.layer]) if n.layer in own else (layer, span)
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


def place(packed: Packed, reuse: bool = True, rest: int = 0) -> Placed:
    """``rest``: kernels that run before what is dead may be overwritten, or fewer where that takes much more memory.
    Raises InternalError if a buffer has no storage.
    """
    steps = [step for ps, side in packed.sides for step in timeline(ps, side)]
    storages = _storages(packed)
    states = packed.train.states
    life = {n: ends for n, ends in _lifetimes(steps).items() if n not in states}
    if missing := [n for n in life if n not in storages]:
        raise InternalError(f"no storage for {list(map(str, missing))}")
    buffers = _place_states([Ref(s.name) for s in packed.train.program.states], storages, steps)
    state_bytes = buffers[-1].end if buffers else 0
    offsets = _best_offsets(life, storages, state_bytes, reuse)
    most = _end(offsets, storages) * (1 + REST_SHARE)
    for longer in range(rest, 0, -1):
        held = {n: (first, last + longer) for n, (first, last) in life.items()}
        if _end(rested := _best_offsets(held, storages, state_bytes, reuse), storages) <= most:
            offsets = rested
            break
    buffers += _place_rest(packed, steps, offsets, life, storages)
    arena = round_up(max(b.end for b in buffers), 64)
    return Placed(packed, Plan(tuple(buffers), tuple(steps), arena, state_bytes, *_peak(buffers, len(steps))))
