"""What a draft may become: values that are made strip by strip, made again, measured apart, packed later
(``strip.py`` chooses)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..ir.dtype import Axis
from ..ir.ref import Ref
from ..sched.anchor import Map
from ..sched.expr import Expr
from ..sched.kernel import Kernel
from .draft import Draft, Footprint, Illegal, Node
from .narrow import MOVE, renamed
from .pack import PackedSchedule
from .running import grows, running, sums
from .types import Storage

WIDTH = 16  # the narrowest strip of columns: the lanes of a vector; half a word, where no bits outside the loop are cut
SMALL = 200  # bits that are fewer bytes than this part of the states are not worth a kernel that copies them
Run = tuple[Axis, tuple[int, ...], list[Node]]  # nodes that can share a loop, and over how many strips of which axis


def _again(name: str) -> str:
    return f"{name.removesuffix('_again')}_again"


class Ways:
    """The changes of one schedule's drafts, each a new draft.  ``samples_first``: what can be cut either way is cut
    into samples, not into channels.  Each gives None, or raises Illegal, where it cannot be.
    """

    def __init__(self, ps: PackedSchedule, samples_first: bool = False) -> None:
        self.ps, self.storage, self.samples_first = ps, dict(ps.storage), samples_first
        p = ps.program
        samples = p.value["labels" if "labels" in p.value else dict(p.results)["pred"]].shape[0]
        self.row_ways = tuple(n for n in range(2, samples + 1) if samples % n == 0)  # strips of some samples
        self.alias = ps.alias
        values = (*p.inputs, *p.state_names, *(v for _, v in (*p.results, *p.updates)))
        self.kept = {*map(Ref, values), *self.alias}
        self.states = sum(self.storage[n].nbytes for n in ps.states)
        self.grown: dict[Node, tuple[Node, Node, Node]] = {}

    def node(self, k: Kernel) -> Node:
        """A kernel with what it reads and writes in memory: a state's new value is the state."""
        return Node(k, self.alias)

    def is_kept(self, n: Ref) -> bool:
        """Is it a state, an input or a result, which no strip may hold?"""
        return n in self.kept or Ref(n.value) in self.kept

    def storage_of(self, n: Ref) -> Storage:
        """A storage by name; what is made again is stored as it was the first time."""
        return self.storage[n] if n in self.storage else self.storage[n.first]

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

    def runs(self, d: Draft, value: Ref) -> tuple[Draft, list[Run]]:
        """The readers of ``value`` in runs that can share a loop with a maker, and ``d`` where the sums of some grow
        strip by strip.
        """
        maker = d.nodes[d.writers[value][0]]
        columns = self.column_ways(maker)
        columns = columns if columns and self.legal(maker, value, Axis.COLUMNS, columns[-1]) else ()
        rows = tuple(n for n in self.row_ways if self.legal(maker, value, Axis.ROWS, n))
        d = self.with_growing(d, value, columns, rows)
        runs: list[Run] = []
        for node in (d.nodes[i] for i in d.readers.get(value, ())):
            axis, ways = self.strips(node, value, columns, rows)
            both = tuple(n for n in ways if n in runs[-1][1]) if runs and runs[-1][0] is axis else ()
            if both and not self.waits(d, {maker, *runs[-1][2]}, node, axis, both[-1]):
                runs[-1] = (axis, both, [*runs[-1][2], node])
            else:
                runs.append((axis, ways, [node]))
        return d, runs

    def strips(
        self, node: Node, value: Ref, columns: tuple[int, ...], rows: tuple[int, ...]
    ) -> tuple[Axis, tuple[int, ...]]:
        """Of which axis, and how many, a reader of ``value`` takes, of those that its maker gives."""
        ways = tuple(n for n in rows if self.legal(node, value, Axis.ROWS, n))
        if columns and not (ways and self.samples_first) and self.legal(node, value, Axis.COLUMNS, columns[-1]):
            return Axis.COLUMNS, columns
        return Axis.ROWS, ways

    def with_growing(self, d: Draft, value: Ref, columns: tuple[int, ...], rows: tuple[int, ...]) -> Draft:
        """``d`` where all readers of ``value`` take strips of samples, those that add them up too; as it is where some
        cannot, or where strips of channels do and come first.
        """
        readers = [d.nodes[i] for i in d.readers.get(value, ())]
        rest = [node for node in readers if not any(self.legal(node, value, Axis.ROWS, n) for n in rows)]
        if columns and not self.samples_first and all(self.legal(x, value, Axis.COLUMNS, columns[-1]) for x in rest):
            return d
        if not rows or not all(grows(node.kernel) for node in rest):
            return d
        grown = {node: self.growing(node) for node in rest}
        if all(any(self.legal(add, value, Axis.ROWS, n) for n in rows) for _, add, _ in grown.values()):
            for node, (begin, add, end) in grown.items():
                d = d.spread(node, begin, add, end)
        return d

    def growing(self, node: Node) -> tuple[Node, Node, Node]:
        """A node as three: before a loop over samples, in it, and behind it."""
        if node not in self.grown:
            same = sum(made.kernel.writes[0].first is node.kernel.writes[0].first for made in self.grown)
            at = sums(node.kernel, same + 1)
            self.storage |= {s.ref: s for s in at}
            begin, add, end = running(node.kernel, at)
            self.grown[node] = self.node(begin), self.node(add), self.node(end)
        return self.grown[node]

    def waits(self, d: Draft, members: set[Node], node: Node, axis: Axis, parts: int) -> bool:
        """Must ``node``, with the loop that it is in, stand behind one that has no such strips and needs a member?"""
        cut = d.loop_of.get(d.place[node])
        needed = [*d.nodes[cut.first : cut.last + 1]] if cut else [node]
        behind, late = Footprint(), []
        for other in d.nodes[min(d.place[x] for x in members) : d.place[needed[0]]]:
            if other in members or behind.met(other):
                behind.add(other)
                late += [] if other in members else [other]
        for other in reversed(late):
            if any(x.needs(other) for x in needed):
                needed.append(other)
                if not self.cuttable(other, axis, parts):
                    return True
        return False

    def cuttable(self, node: Node, axis: Axis, parts: int) -> bool:
        """Has it so many strips?"""
        try:
            node.narrow(axis, parts)
        except Illegal:
            return False
        return True

    def around(self, d: Draft, value: Ref) -> Draft | None:
        """``d`` with ``value`` made for a strip at a time: for its first readers, and again for those that need other
        strips.
        """
        if value not in d.writers or self.is_kept(value):
            return None
        maker, (d, runs) = d.nodes[d.writers[value][0]], self.runs(d, value)
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
        at = d.loop_of[at].first if at in d.loop_of else at
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
        copy = self.node(Kernel(Map(), s.shape, (late,), kernel.where, f"repack_{str(base).replace('.', '_')}"))
        at = d.readers[value][0]
        at = d.loop_of[at].first if at in d.loop_of else at
        fewer = replace(kernel, outputs=tuple(o for o in kernel.outputs if o is not output))
        return d.swap({maker: self.node(fewer)}).insert(at, [copy])
