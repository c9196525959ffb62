"""A schedule in the making, for ``strip``: kernels in an order, loops over some of them, and what may move where.

``needs`` orders two kernels: one must stay behind another that makes or reads what it overwrites, or makes what it
reads.  Drafts are frozen; every change gives a new one, or raises Illegal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from ..ir.dtype import Axis
from ..ir.ref import Ref
from ..sched.anchor import NoStrip
from ..sched.kernel import Kernel
from .narrow import Narrow


class Illegal(Exception):
    """Kernels cannot run strip by strip together."""


class Node:
    """A kernel at its place in a draft, and what is asked of it again and again.

    ``reads`` and ``writes`` are places: what is written in place of a state stands there under the state's name.  Nodes
    are equal only to themselves, and drafts that differ elsewhere share them.
    """

    def __init__(self, kernel: Kernel, alias: Mapping[Ref, Ref]) -> None:
        self.kernel = kernel
        self.reads = frozenset(alias.get(n, n) for n in kernel.reads)
        self.writes = frozenset(alias.get(n, n) for n in kernel.writes)
        self._narrow: dict[tuple[Axis, int], Narrow | None] = {}

    def narrow(self, axis: Axis, parts: int) -> Narrow:
        """The kernel for one of ``parts`` strips.  Raises Illegal where it cannot be cut so."""
        key = axis, parts
        if key not in self._narrow:
            try:
                self._narrow[key] = Narrow(self.kernel, axis, parts)
            except NoStrip:
                self._narrow[key] = None
        found = self._narrow[key]
        if found is None:
            raise Illegal
        return found

    def needs(self, before: Node) -> bool:
        """Must this stay behind ``before``?"""
        return not (
            self.writes.isdisjoint(before.writes)
            and self.writes.isdisjoint(before.reads)
            and self.reads.isdisjoint(before.writes)
        )


class Footprint:
    """The places of several nodes: ``met`` tells whether another must stay behind any of them."""

    def __init__(self) -> None:
        self.touched: set[Ref] = set()
        self.written: set[Ref] = set()

    def add(self, node: Node) -> None:
        """Take the places of a node in."""
        self.touched |= node.reads | node.writes
        self.written |= node.writes

    def met(self, node: Node) -> bool:
        """Must ``node`` stay behind any of those that were added?"""
        return not (node.writes.isdisjoint(self.touched) and node.reads.isdisjoint(self.written))


@dataclass(frozen=True)
class Cut:
    """A loop in the making: nodes ``first`` to ``last`` run over ``parts`` strips of ``axis``, or over fewer; ``ways``
    are the numbers of strips that all its kernels allow, few to many.
    """

    first: int
    last: int
    axis: Axis
    parts: int
    ways: tuple[int, ...]

    def moved(self, by: int) -> Cut:
        """The same loop, its nodes ``by`` positions later."""
        return replace(self, first=self.first + by, last=self.last + by)


@dataclass(frozen=True)
class Draft:
    """Whole kernels in order, and the loops over them, which do not overlap."""

    nodes: tuple[Node, ...]
    cuts: tuple[Cut, ...] = ()

    # -- where things are -----------------------------------------------------------------------------------------
    @cached_property
    def place(self) -> dict[Node, int]:
        """Node -> its position."""
        return {node: i for i, node in enumerate(self.nodes)}

    @cached_property
    def readers(self) -> Mapping[Ref, list[int]]:
        """Place in memory -> the nodes that read it."""
        found = defaultdict(list)
        for i, node in enumerate(self.nodes):
            for n in node.reads:
                found[n].append(i)
        return found

    @cached_property
    def writers(self) -> Mapping[Ref, list[int]]:
        """Place in memory -> the nodes that write it: one, but for states."""
        found = defaultdict(list)
        for i, node in enumerate(self.nodes):
            for n in node.writes:
                found[n].append(i)
        return found

    @cached_property
    def loop_of(self) -> dict[int, Cut]:
        """Position of a node -> the loop that it is in; those outside of loops are missing."""
        return {i: c for c in self.cuts for i in range(c.first, c.last + 1)}

    # -- changes --------------------------------------------------------------------------------------------------
    def swap(self, new: Mapping[Node, Node]) -> Draft:
        """With other nodes in the place of some."""
        nodes = list(self.nodes)
        for old, node in new.items():
            nodes[self.place[old]] = node
        return replace(self, nodes=tuple(nodes))

    def insert(self, at: int, new: Sequence[Node]) -> Draft:
        """With nodes before position ``at``, which is in no loop or begins one."""
        cuts = tuple(c if c.last < at else c.moved(len(new)) for c in self.cuts)
        return Draft((*self.nodes[:at], *new, *self.nodes[at:]), cuts)

    def spread(self, node: Node, begin: Node, among: Node, end: Node) -> Draft:
        """With three nodes in the place of one: the second where it stood, the others before and behind its loop."""
        d = self.swap({node: among})
        at = self.place[node]
        cut = self.loop_of.get(at)
        first, last = (cut.first, cut.last) if cut else (at, at)
        return d.insert(last + 1, [end]).insert(first, [begin])

    def gather(self, nodes: Iterable[Node], axis: Axis, ways: tuple[int, ...]) -> Draft:
        """With these nodes next to each other in a loop; whatever must run between them joins it.

        a  x  b  y  c      where x reads nothing of a, y reads b, and c reads y
        x [a  b  y  c]     gathered a, b, c: x goes before the loop, y joins it
        """
        members = {self.place[node] for node in nodes}
        apart = [c for c in self.cuts if not any(c.first <= i <= c.last for i in members)]
        for c in self.cuts:
            if c not in apart:  # a loop with a member becomes part of this one
                if c.axis is not axis:
                    raise Illegal
                members |= set(range(c.first, c.last + 1))
                ways = tuple(w for w in ways if w in c.ways)
        if not ways:
            raise Illegal
        loop_of = {i: c for c in apart for i in range(c.first, c.last + 1)}
        # Nodes keep their order among the early, the members and the late, and `needs` only ever points back: so the
        # new order is legal as soon as no member needs a late node.
        while True:
            early, late, between = self.split_between(members, loop_of)
            if not between:
                break
            if any(i in loop_of for i in between):
                raise Illegal
            members |= between
        order = [*early, *sorted(members), *late]
        start = min(members) + len(early)
        new = Cut(start, start + len(members) - 1, axis, ways[-1], ways)
        return self.reordered(min(members), order, apart, new)

    def split_between(self, members: set[int], loop_of: Mapping[int, Cut]) -> tuple[list[int], list[int], set[int]]:
        """What lies between the first and the last member: what can run before all members, what must run behind one
        of them, and what of the latter a later member needs.  Raises Illegal where a loop would be torn apart.
        """
        early: list[int] = []
        late: list[int] = []
        between: set[int] = set()
        behind, held = Footprint(), Footprint()  # of members so far and late nodes; of late nodes alone
        for i in range(min(members), max(members) + 1):
            node, loop = self.nodes[i], loop_of.get(i)
            if i in members:
                if held.met(node):
                    between |= {j for j in late if node.needs(self.nodes[j])}
                behind.add(node)
                continue
            begun = loop is not None and i > loop.first
            follows = bool(begun and late and late[-1] == i - 1)  # the rest of a loop that is late
            if follows or behind.met(node):
                if begun and not follows:
                    raise Illegal
                late.append(i)
                behind.add(node)
                held.add(node)
            else:
                early.append(i)
        return early, late, between

    def reordered(self, first: int, order: Sequence[int], cuts: Sequence[Cut], new: Cut | None = None) -> Draft:
        """With the nodes from ``first`` on in this order; loops move with their nodes, and ``new`` is one more.  Raises
        Illegal where loops would overlap.
        """
        at = {old: first + i for i, old in enumerate(order)}
        moved = [c.moved(at.get(c.first, c.first) - c.first) for c in cuts]
        if new and any(c.first <= new.last and new.first <= c.last for c in moved):
            raise Illegal
        nodes = (*self.nodes[:first], *(self.nodes[i] for i in order), *self.nodes[first + len(order) :])
        return Draft(nodes, (*moved, *([new] if new else [])))

    def delayed(self, maker: Node, last: Node) -> Draft:
        """With whatever overwrites what ``maker`` reads behind the node ``last``.  Raises Illegal where that fails."""
        first, end = sorted((self.place[maker], self.place[last]))
        late: list[int] = []
        held = Footprint()
        for i in range(first + 1, end + 1):
            node = self.nodes[i]
            if not node.writes.isdisjoint(maker.reads) or held.met(node):
                late.append(i)
                held.add(node)
        if not late:
            return self
        if end in late or any(i in self.loop_of for i in range(first, end + 1)):
            raise Illegal
        early = [i for i in range(first, end + 1) if i not in set(late)]
        return self.reordered(first, [*early, *late], self.cuts)

    def pruned(self, kept: Callable[[Ref], bool]) -> Draft:
        """Without nodes whose values nobody reads any more (``kept``: what is read from outside); a loop that is left
        with one node is none.
        """
        count = Counter(n for node in self.nodes for n in node.reads)
        dead: set[int] = set()
        todo = list(range(len(self.nodes)))
        while todo:
            i = todo.pop()
            node = self.nodes[i]
            if i in dead or any(count[n] or kept(n) for n in node.writes):
                continue
            dead.add(i)
            count.subtract(node.reads)
            todo += [j for n in node.reads for j in self.writers.get(n, ())]
        before = [0, *accumulate(i in dead for i in range(len(self.nodes)))]
        cuts = (replace(c, first=c.first - before[c.first], last=c.last - before[c.last + 1]) for c in self.cuts)
        return Draft(
            tuple(node for i, node in enumerate(self.nodes) if i not in dead),
            tuple(c for c in cuts if c.first < c.last),
        )
