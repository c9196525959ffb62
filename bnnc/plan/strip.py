"""strip: Packed -> Packed in which neighbouring kernels run over one strip of a matrix after the other (``recompute =
on``).

What only the kernels of such a loop read exists for one strip at a time: for 16 columns, say, or for the images of a
few samples. A convolution's sums, their statistics, the pools and the signs work column by column, so a strip of
channels goes through all of them before the next one begins, and nothing is computed twice.  A reader that needs all
columns at once (the convolution further back) makes the value again, for some samples at a time.  Every element comes
from the same operations in the same order as without strips, so the bits stay the same.  Sums and maxima of whole
numbers are the same in any order: they grow from one strip of samples to the next (``running.py``); who needs the whole
sum waits behind the loop, and what it is made with is made again.

Loops are added greedily where most bytes are alive, as long as the peak falls; then each gets as few strips as that
peak, or a given limit, allows.  The search runs twice, and the smaller arena is taken: once with channels first, once
with samples first, where statistics of a value get strips of channels of their own (``measured``) and what is packed
along channels is made of some samples after them.  Here is the search; ``ways.py`` has what it tries, ``draft.py``
moves kernels, ``narrow.py`` cuts one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

from ..ir.dtype import Axis
from ..ir.ref import Ref
from ..sched.kernel import named
from .draft import Cut, Draft, Illegal, Node
from .narrow import MOVE, part
from .pack import Packed, PackedSchedule
from .place import live_bytes, place
from .types import Loop
from .ways import Ways

TRIED = 12  # buffers at the peak that are tried


@dataclass(frozen=True)
class _Body:
    """The kernels of a loop over so many strips: what they write that may exist for one strip only, and what may not
    lie outside the loop, since a strip of it begins inside a word.
    """

    written: tuple[Ref, ...]
    torn: frozenset[Ref]


@dataclass(frozen=True)
class Weight:
    """What a draft needs: bytes alive at each time, as ``place.live_bytes`` counts them, and when each buffer lives."""

    alive: list[int]
    life: dict[Ref, tuple[int, int]]
    loops: list[Loop]

    @property
    def score(self) -> tuple[int, int]:
        """The peak, then the sum over time, in bytes: less is better."""
        return max(self.alive), sum(self.alive)


Way = Callable[[Draft, Ref], Draft | None]


class Stripper(Ways):
    """The search of one schedule.  Buffers of fewer bytes than ``least``, or than this part (``worth``) of all memory,
    are let alone.
    """

    least, worth = 0, 0.0

    def __init__(self, ps: PackedSchedule, samples_first: bool = False) -> None:
        super().__init__(ps, samples_first)
        self.unweighed = ps.states | ps.embedded
        self.bodies: dict[tuple[tuple[Node, ...], Axis, int], _Body | None] = {}

    # -- what a draft is ----------------------------------------------------------------------------------------------
    def body(self, nodes: tuple[Node, ...], axis: Axis, parts: int) -> _Body | None:
        """None where what the loop writes would not lie in strips.  Raises Illegal where a kernel cannot be cut."""
        key = nodes, axis, parts
        if key not in self.bodies:
            moves: dict[Ref, set[str]] = {}
            for node in nodes:
                for n, move in node.narrow(axis, parts).moves.items():
                    moves.setdefault(self.alias.get(n, n), set()).add(move)
            written = {n for node in nodes for n in node.writes}
            torn = {n for n, ways in moves.items() if any(w and self.storage_of(n).pace(w, parts) < 0 for w in ways)}
            sums = {n for node in nodes if node.kernel.running and axis is Axis.ROWS for n in node.writes}
            whole = any(moves[n] - {*MOVE} or len(moves[n]) > 1 for n in written - sums)
            whole |= any(not node.kernel.running and node.reads & sums for node in nodes)
            inside = tuple(n for n in sorted(written) if not self.is_kept(n))
            self.bodies[key] = None if whole else _Body(inside, frozenset(torn))
        return self.bodies[key]

    def loop(self, d: Draft, cut: Cut, parts: int) -> Loop | None:
        """The loop over so many strips; None where that cannot be."""
        body = self.body(d.nodes[cut.first : cut.last + 1], cut.axis, parts)
        if body is None:
            return None
        read = d.readers
        within = (n for n in body.written if n not in read or (cut.first <= read[n][0] and read[n][-1] <= cut.last))
        inside = frozenset(within)
        return Loop(cut.first, cut.last, cut.axis, parts, inside) if body.torn <= inside else None

    def loops(self, d: Draft) -> list[Loop]:
        """Each loop over as many strips as it can have.  Raises Illegal where strips would meet."""
        found = []
        for cut in d.cuts:
            tried = (self.loop(d, cut, parts) for parts in reversed(cut.ways) if parts <= cut.parts)
            loop = next((loop for loop in tried if loop is not None), None)
            if loop is None:
                raise Illegal
            found.append(loop)
        return found

    def weigh(self, d: Draft) -> Weight | None:
        """None where the draft's loops cannot be.  What a loop makes for others is there from its first kernel on, and
        what it reads until its last.
        """
        try:
            loops = self.loops(d)
        except Illegal:
            return None
        loop_of = {i: loop for loop in loops for i in range(loop.first, loop.last + 1)}
        p, end = self.ps.program, len(d.nodes) + 1
        life: dict[Ref, tuple[int, int]] = {Ref(n): (0, 0) for n in p.inputs}
        for i, node in enumerate(d.nodes):
            loop = loop_of.get(i)
            for names, written in ((node.writes, True), (node.reads, False)):
                for n in names:
                    first = last = i + 1
                    if loop is not None and n not in loop.inside:
                        first, last = loop.first + 1 if written else first, loop.last + 1
                    if n in life:
                        first, last = min(first, life[n][0]), max(last, life[n][1])
                    life[n] = first, last
        for n in (self.alias.get(v, v) for v in map(Ref, p.returned)):
            life[n] = (life[n][0] if n in life else end, end)
        for n in self.unweighed & life.keys():
            del life[n]
        change = [0] * (end + 2)
        narrow = {n: loop for loop in loops for n in loop.inside}
        for n, (first, last) in life.items():
            size = self.bytes_of(n, narrow.get(n))
            change[first] += size
            change[last + 1] -= size
        return Weight(list(accumulate(change))[:-1], life, loops)

    def bytes_of(self, n: Ref, loop: Loop | None) -> int:
        """Of a buffer, or of one strip of it."""
        s = self.storage_of(n)
        return (s if loop is None else replace(s, shape=part(s.shape, loop.axis, loop.parts))).nbytes

    def made(self, d: Draft) -> PackedSchedule:
        """The schedule with its loops, each over as many strips as it can have.  Raises Illegal where strips would
        meet.
        """
        loops = self.loops(d)
        kernels, storage = [node.kernel for node in d.nodes], dict(self.storage)
        inside: dict[int, frozenset[Ref]] = {}
        for n in (n for k in kernels for n in k.writes if n not in storage):
            storage[n] = replace(storage[n.first], ref=n)  # made another time
        for loop in loops:
            for i in range(loop.first, loop.last + 1):
                kernels[i], inside[i] = d.nodes[i].narrow(loop.axis, loop.parts).kernel, loop.inside
            for n in loop.inside:
                storage[n] = replace(storage[n], shape=part(storage[n].shape, loop.axis, loop.parts))
        made = named(
            replace(k, moves=tuple((n, m) for n, m in k.moves if m and n not in inside.get(i, ())))
            for i, k in enumerate(kernels)
        )
        used = {n for k in made for n in (*k.reads, *k.writes)}
        used |= {s.ref for s in self.ps.storages if s.ref in self.kept}
        return replace(
            self.ps,
            kernels=made,
            loops=tuple(sorted(loops, key=lambda x: x.first)),
            storages=tuple(s for n, s in storage.items() if n in used and n not in self.ps.embedded),
        )

    # -- the search ---------------------------------------------------------------------------------------------------
    def ways(self, peak: int) -> Sequence[Way]:
        """What is tried around each of the largest buffers that are alive at kernel ``peak`` - 1."""
        first = (self.measured,) if self.samples_first else ()
        return *first, self.around, partial(self.remade, peak=peak - 1), self.repacked

    def tried(self, d: Draft, now: Weight) -> Iterator[Draft]:
        """Drafts with one loop more, around each of the largest buffers that are alive at the peak."""
        peak = now.alive.index(max(now.alive))
        inside = {n for loop in now.loops for n in loop.inside}
        least = max(self.least, (max(now.alive) + self.states) * self.worth)
        here = [n for n, (first, last) in now.life.items() if first <= peak <= last and n not in inside]
        here = [n for n in here if self.bytes_of(n, None) >= least and len(d.writers.get(n, ())) < 2]
        largest = sorted(here, key=lambda n: (-self.bytes_of(n, None), n))[:TRIED]
        for way in self.ways(peak):
            for name in largest:
                try:
                    new = way(d, name)
                except Illegal:
                    continue
                if new is not None:
                    yield new

    def run(self, limit: int = 0) -> PackedSchedule:
        """The schedule whose peak is lowest; as few strips as that peak, or ``limit`` bytes, allows."""
        d, now = self.lowest(Draft(tuple(map(self.node, self.ps.kernels))), limit)
        limit = max(limit, max(now.alive))
        for i, cut in enumerate(d.cuts):
            for parts in cut.ways:
                new = replace(d, cuts=(*d.cuts[:i], replace(cut, parts=parts), *d.cuts[i + 1 :]))
                weight = self.weigh(new)
                if weight and max(weight.alive) <= limit:
                    d = new
                    break
        return self.made(d)

    def lowest(self, d: Draft, limit: int) -> tuple[Draft, Weight]:
        """The draft whose peak is lowest, or not above ``limit``: the first change that lowers it, again and again."""
        now = self.weigh(d)
        assert now is not None  # no loop, so none that cannot be
        while max(now.alive) > limit:
            for new in self.tried(d, now):
                weight = self.weigh(new)
                if weight and weight.score < now.score:
                    d, now = new, weight
                    break
            else:
                break
        return d, now


def strip(p: Packed) -> Packed:
    """Both schedules, of both searches those whose arena is smaller; the evaluation only as far as the training step's
    peak asks for."""
    found = []
    for samples_first in (False, True):
        train = Stripper(p.train, samples_first).run()
        if p.predicts:
            found.append(replace(p, train=train))
            continue
        limit = max(live_bytes(train)[0])
        tried = [Stripper(p.evaluate, first).run(limit) for first in (False, True)]
        evaluate = min(tried, key=lambda ps: max(limit, *live_bytes(ps)[0]))
        found.append(replace(p, train=train, evaluate=evaluate))
    return min(found, key=lambda p: place(p).plan.arena_bytes)
