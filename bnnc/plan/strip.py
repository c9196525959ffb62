"""strip: Packed -> Packed in which neighbouring kernels run over one strip of a matrix after the other (``recompute =
on``).

What only the kernels of such a loop read exists for one strip at a time: for 16 columns, say, or for the images of a
few samples. A convolution's sums, their statistics, the pools and the signs work column by column, so a strip of
channels goes through all of them before the next one begins, and nothing is computed twice.  A reader that needs all
columns at once (the convolution further back) makes the value again, for some samples at a time.  Every element comes
from the same operations in the same order as without strips, so the bits stay the same.

Loops are added greedily where most bytes are alive, as long as the peak falls; then each gets as few strips as that
peak, or a given limit, allows.  The search runs twice, and the smaller arena is taken: once with channels first, once
with samples first, where statistics of a value get strips of channels of their own (``measured``) and what is packed
along channels is made of some samples after them.  Here is the search; ``draft.py`` moves kernels, ``narrow.py`` cuts
one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

from ..ir.dtype import Axis
from ..ir.ref import Ref
from ..sched.anchor import Map
from ..sched.expr import Expr
from ..sched.kernel import Kernel
from .draft import Cut, Draft, Illegal, Node
from .narrow import MOVE, part, renamed
from .pack import Packed, PackedSchedule
from .place import live_bytes, place
from .types import Loop, Storage

WIDTH = 16  # the narrowest strip of columns: the lanes of a vector; half a word, where no bits outside the loop are cut
TRIED = 12  # buffers at the peak that are tried
SMALL = 200  # bits that are fewer bytes than this part of the states are not worth a kernel that copies them


def _again(name: str) -> str:
    return f"{name.removesuffix('_again')}_again"


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


class Stripper:
    """The search of one schedule.  Buffers of fewer bytes than ``least``, or than this part (``worth``) of all memory,
    are let alone.  ``samples_first``: what can be cut either way is cut into samples, not into channels.
    """

    least, worth = 0, 0.0

    def __init__(self, ps: PackedSchedule, samples_first: bool = False) -> None:
        self.ps, self.storage, self.samples_first = ps, ps.storage, samples_first
        p = ps.program
        samples = p.value["labels"].shape[0]
        self.row_ways = tuple(n for n in range(2, samples + 1) if samples % n == 0)  # strips of some samples
        self.alias = ps.alias
        values = (*p.inputs, *p.state_names, *(v for _, v in (*p.results, *p.updates)))
        self.kept = {*map(Ref, values), *self.alias}
        self.unweighed = ps.states | ps.embedded
        self.states = sum(self.storage[n].nbytes for n in ps.states)
        self.bodies: dict[tuple[tuple[Node, ...], Axis, int], _Body | None] = {}

    def node(self, k: Kernel) -> Node:
        """A kernel with what it reads and writes in memory: a state's new value is the state."""
        return Node(k, self.alias)

    def is_kept(self, n: Ref) -> bool:
        """Is it a state, an input or a result, which no strip may hold?"""
        return n in self.kept or Ref(n.value) in self.kept

    def storage_of(self, n: Ref) -> Storage:
        """A storage by name; what is made again is stored as it was the first time."""
        return self.storage[n] if n in self.storage else self.storage[n.first]

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
            whole = any(moves[n] - {*MOVE} or len(moves[n]) > 1 for n in written)
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
        for n in (*(self.alias.get(v, v) for v in (Ref(v) for _, v in p.results)), Ref("labels")):
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
        named = tuple(
            replace(
                k,
                name=f"k{i:02d}_{k.name.split('_', 1)[1]}",
                moves=tuple((n, m) for n, m in k.moves if m and n not in inside.get(i, ())),
            )
            for i, k in enumerate(kernels)
        )
        used = {n for k in named for n in (*k.reads, *k.writes)}
        used |= {s.ref for s in self.ps.storages if s.ref in self.kept}
        return replace(
            self.ps,
            kernels=named,
            loops=tuple(sorted(loops, key=lambda x: x.first)),
            storages=tuple(s for n, s in storage.items() if n in used and n not in self.ps.embedded),
        )

    # -- a loop around a value ----------------------------------------------------------------------------------------
    def column_ways(self, node: Node) -> tuple[int, ...]:
        """Into how many strips of whole words a node's columns can be cut, few to many; none where the last word is not
        full."""
        words, rest = divmod(node.kernel.domain[1], WIDTH)
        return () if rest else tuple(n for n in range(2, words + 1) if words % n == 0)

    def legal(self, node: Node, value: Ref, axis: Axis, parts: int) -> bool:
        """Can the kernel be cut so that ``value`` is, too?"""
        try:
            return node.narrow(axis, parts).moves.get(value) == MOVE[axis]
        except Illegal:
            return False

    def runs(self, d: Draft, value: Ref) -> list[tuple[Axis, tuple[int, ...], list[Node]]]:
        """The readers of ``value`` in runs that can share a loop with a maker: axis, numbers of strips, readers."""
        maker = d.nodes[d.writers[value][0]]
        columns = self.column_ways(maker)
        columns = columns if columns and self.legal(maker, value, Axis.COLUMNS, columns[-1]) else ()
        rows = tuple(n for n in self.row_ways if self.legal(maker, value, Axis.ROWS, n))
        runs: list[tuple[Axis, tuple[int, ...], list[Node]]] = []
        for node in (d.nodes[i] for i in d.readers.get(value, ())):
            axis, ways = Axis.ROWS, tuple(n for n in rows if self.legal(node, value, Axis.ROWS, n))
            if columns and not (ways and self.samples_first) and self.legal(node, value, Axis.COLUMNS, columns[-1]):
                axis, ways = Axis.COLUMNS, columns
            if runs and runs[-1][0] is axis and (both := tuple(n for n in ways if n in runs[-1][1])):
                runs[-1] = (axis, both, [*runs[-1][2], node])
            else:
                runs.append((axis, ways, [node]))
        return runs

    def around(self, d: Draft, value: Ref) -> Draft | None:
        """``d`` with ``value`` made for a strip at a time: for its first readers, and again for those that need other
        strips.
        """
        if value not in d.writers or self.is_kept(value):
            return None
        maker, runs = d.nodes[d.writers[value][0]], self.runs(d, value)
        if not all(ways for _, ways, _ in runs) or (len(runs) > 1 and len(maker.kernel.writes) > 1):
            return None
        if len(runs) > 1:
            d = d.delayed(maker, runs[-1][2][-1])
        for n, (axis, ways, readers) in enumerate(runs):
            if n:
                d, maker, readers = self.again(d, maker, value, value.again(n + 1), readers)
            d = d.gather((maker, *readers), axis, ways)
        return d

    def again(
        self, d: Draft, maker: Node, value: Ref, name: Ref, readers: list[Node]
    ) -> tuple[Draft, Node, list[Node]]:
        """``d`` with ``value`` made a second time, as ``name``, just before ``readers``; the new nodes."""
        (old,) = maker.kernel.outputs
        reason = f"strip: made again, since {readers[0].kernel.writes[0]} needs other strips of {value.first}"
        copy = self.node(
            replace(maker.kernel, outputs=(replace(old, ref=name).because(reason),), name=_again(maker.kernel.name))
        )
        at = min(d.place[node] for node in readers)
        if at in d.loop_of:
            raise Illegal
        changed = [self.node(renamed(node.kernel, {value: name})) for node in readers]
        return d.swap(dict(zip(readers, changed, strict=True))).insert(at, [copy]), copy, changed

    # -- a value made again -------------------------------------------------------------------------------------------
    def remade(self, d: Draft, value: Ref, peak: int) -> Draft | None:
        """``d`` where ``value`` is not kept over kernel ``peak`` but made again, with the sums that it is made of, for
        its readers from there on.

            y = conv;  mask = y > 0;  peak;  dy = mask . g                       value = mask
            y = conv;                 peak;  y~3 = conv;  mask~3 = y~3 > 0;  dy = mask~3 . g
        """
        if value not in d.writers or d.writers[value][-1] >= peak or self.is_kept(value):
            return None
        maker = d.nodes[d.writers[value][-1]]
        readers = self.later(d, value, peak)
        if not readers or not maker.kernel.anchor.cheap:
            return None
        chain = self.chain(d, maker, self.alike(d, maker, readers, peak))
        names = self.names(d, chain)
        copies = self.copies(d, chain, names)
        at = self.earliest_place(d, chain, copies, readers[0], peak)
        d, changed = self.rewire(d, [d.nodes[i] for i in readers], {v: names[v] for v in chain[maker]})
        d = self.without_unread(d.insert(at, copies), maker)
        ways = self.column_ways(copies[-1])
        together = [
            *copies,
            *(node for node in changed if ways and self.legal(node, names[value], Axis.COLUMNS, ways[-1])),
        ]
        if ways and len(together) > 1:
            d = d.gather(together, Axis.COLUMNS, ways)
        return d.pruned(self.is_kept)

    def later(self, d: Draft, value: Ref, peak: int) -> list[int]:
        """Its readers from ``peak`` on."""
        return [i for i in d.readers.get(value, ()) if i >= peak]

    def alike(self, d: Draft, maker: Node, readers: Sequence[int], peak: int) -> list[Ref]:
        """What a node makes that only some of these readers, and nobody else, read from ``peak`` on."""
        later = {n: set(self.later(d, n, peak)) for n in maker.kernel.writes if not self.is_kept(n)}
        return [n for n, at in later.items() if at and at <= set(readers)]

    def chain(self, d: Draft, maker: Node, values: list[Ref]) -> dict[Node, list[Ref]]:
        """What must be made again to have ``values`` of ``maker`` again, by the nodes that make it, first to last: the
        numbers too, not bits or vectors, that are not kept and that these need.
        """
        chain, todo = {maker: values}, [maker]
        while todo:
            for n in todo.pop().kernel.reads:
                if n not in d.writers or self.is_kept(n):
                    continue
                s, source = self.storage_of(n), d.nodes[d.writers[n][-1]]
                if min(s.shape) > 1 and not s.one_bit:
                    if source not in chain:
                        todo.append(source)
                    chain.setdefault(source, []).append(n)
        return dict(sorted(chain.items(), key=lambda item: d.place[item[0]]))

    # -- a value measured apart -------------------------------------------------------------------------------------
    def measured(self, d: Draft, value: Ref) -> Draft | None:
        """``d`` where ``value`` is made for its sums, some columns at a time, and again for its other readers, some
        samples at a time.

            y = conv;                     mu = sum y;     z = y - mu                value = y
            y~2 = conv;  mu = sum y~2;    y = conv;       z = y - mu
        """
        if value not in d.writers or self.is_kept(value):
            return None
        maker, readers = d.nodes[d.writers[value][-1]], [d.nodes[i] for i in d.readers.get(value, ())]
        columns, rows = self.column_ways(maker), self.row_ways
        rest = [node for node in readers if rows and self.legal(node, value, Axis.ROWS, rows[-1])]
        sums = [node for node in readers if node not in rest]
        if not (sums and rest and columns and maker.kernel.anchor.cheap):
            return None
        chain = self.chain(d, maker, [value])
        names = self.names(d, chain)
        copies = self.copies(d, chain, names)
        d, changed = self.rewire(d, sums, {value: names[value]})
        d = d.insert(self.place_before(d, maker, copies), copies).gather((*copies, *changed), Axis.COLUMNS, columns)
        return d.gather((maker, *rest), Axis.ROWS, rows).pruned(self.is_kept)

    def place_before(self, d: Draft, maker: Node, copies: list[Node]) -> int:
        """Where the copies go: before ``maker``, or the loop that it is in.  Raises Illegal where what they read is
        made, or overwritten, behind that place.
        """
        at = d.place[maker]
        at = d.loop_of[at].first if at in d.loop_of else at
        made = {n for copy in copies for n in copy.writes}
        if any(j >= at for copy in copies for n in copy.reads - made for j in d.writers.get(n, ())):
            raise Illegal
        return at

    def names(self, d: Draft, chain: dict[Node, list[Ref]]) -> dict[Ref, Ref]:
        """Names for what is made again: ``conv1.y~3``, and ``~4`` where there is one already."""
        times = Counter(n.first for n in d.writers)
        return {v: v.again(2 + times[v.first]) for values in chain.values() for v in values}

    def copies(self, d: Draft, chain: dict[Node, list[Ref]], names: Mapping[Ref, Ref]) -> list[Node]:
        """The nodes of the chain again, for these of their values and under these names."""
        copies = []
        for node, values in chain.items():
            kept = tuple(o for o in node.kernel.outputs if o.ref in values)
            k = renamed(replace(node.kernel, outputs=kept, name=_again(node.kernel.name)), names)
            reason = "strip: made again after the peak, over which it is not kept"
            outputs = tuple(replace(o, ref=names[o.ref]).because(reason) for o in k.outputs)
            copies.append(self.node(replace(k, outputs=outputs)))
        return copies

    def earliest_place(self, d: Draft, chain: dict[Node, list[Ref]], copies: list[Node], reader: int, peak: int) -> int:
        """Where the copies go: before the first reader, and before anything overwrites what they read; at a loop's
        begin.  Raises Illegal where that is before the peak.
        """
        sources = {n: d.place[node] for node, copy in zip(chain, copies, strict=True) for n in copy.reads}
        spoilt = [j for n, i in sources.items() for j in d.writers.get(n, ()) if j > i]
        at, first = (d.loop_of[i].first if i in d.loop_of else i for i in (min([reader, *spoilt]), reader))
        if at < min(first, peak):
            raise Illegal
        return at

    def rewire(self, d: Draft, readers: Sequence[Node], names: Mapping[Ref, Ref]) -> tuple[Draft, list[Node]]:
        """``d`` with these readers of other names; the new nodes."""
        changed = [self.node(renamed(node.kernel, names)) for node in readers]
        return d.swap(dict(zip(readers, changed, strict=True))), changed

    def without_unread(self, d: Draft, maker: Node) -> Draft:
        """``d`` whose ``maker`` gives only what is still read; all of it where that is nothing."""
        still = tuple(o for o in maker.kernel.outputs if o.ref in d.readers or self.is_kept(o.ref))
        if not still or len(still) == len(maker.kernel.outputs):
            return d
        return d.swap({maker: self.node(replace(maker.kernel, outputs=still))})

    # -- a packing of its own time ------------------------------------------------------------------------------------
    def repacked(self, d: Draft, value: Ref) -> Draft | None:
        """``d`` where another packing of bits is not made with them but copied from them before its first reader."""
        if value.packing is None or value not in d.writers:
            return None
        base, maker = Ref(value.value, None, value.copy), d.nodes[d.writers[value][-1]]
        kernel, large = maker.kernel, self.storage_of(value).nbytes * SMALL > self.states
        if base not in maker.writes or value not in d.readers or not large:
            return None
        s, (output,) = self.storage_of(base), (o for o in kernel.outputs if o.ref is value)
        load = Expr("load", (), base, s.dtype, s.shape)
        late = replace(output, expr=load).because("strip: copied before it is read")
        copy = self.node(Kernel(Map(), s.shape, (late,), kernel.where, f"k_repack_{str(base).replace('.', '_')}"))
        at = d.readers[value][0]
        at = d.loop_of[at].first if at in d.loop_of else at
        fewer = replace(kernel, outputs=tuple(o for o in kernel.outputs if o is not output))
        return d.swap({maker: self.node(fewer)}).insert(at, [copy])

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
        here = [n for n in here if self.bytes_of(n, None) >= least]
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
        limit = max(live_bytes(train)[0])
        tried = [Stripper(p.evaluate, first).run(limit) for first in (False, True)]
        evaluate = min(tried, key=lambda ps: max(limit, *live_bytes(ps)[0]))
        found.append(replace(p, train=train, evaluate=evaluate))
    return min(found, key=lambda p: place(p).plan.arena_bytes)
