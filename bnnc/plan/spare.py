"""spare: Packed -> Packed in which a step needs less memory at its peak for next to no time: what `strip` does without
``recompute = on``.

    by samples     a product that is read at once, by a pool or by the map that makes bits, exists for some samples
    packed later   a second packing of bits is copied from the first just before it is read  (``strip.py``)
    not stored     bits are made where they are read, while the numbers are there that they are made of

No product is computed twice.  What is less than a page, or a hundredth of the memory, states and all, is let alone, and
so is a schedule that does not spare four pages and that part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..ir.dtype import Axis
from ..ir.ref import Ref
from ..sched.anchor import Map
from ..sched.expr import Expr
from ..sched.kernel import Kernel, Output
from .draft import Draft, Illegal, Node
from .pack import Packed, PackedSchedule
from .place import live_bytes
from .strip import Stripper, Way

LEAST, WORTH = 4096, 1 / 100  # bytes: code may grow by a page too


class Sparer(Stripper):
    """The search with other ways."""

    least, worth = LEAST, WORTH

    def ways(self, peak: int) -> Sequence[Way]:
        return self.by_samples, self.repacked, self.unstored

    def by_samples(self, d: Draft, value: Ref) -> Draft | None:
        """``d`` with ``value`` made for some samples at a time, for all its readers together."""
        if value not in d.writers or [axis for axis, _, _ in self.runs(d, value)[1]] != [Axis.ROWS]:
            return None
        return self.around(d, value)

    def unstored(self, d: Draft, value: Ref) -> Draft | None:
        """``d`` where the bits ``value`` are made where they are read, of what their maker reads.

        q = y > mu;  sum q;  dw = x q      sum (y > mu);  dw = x (y > mu)               value = q
        """
        if value not in d.writers or self.is_kept(value) or not self.storage_of(value).one_bit:
            return None
        at = d.writers[value][-1]
        maker, places = d.nodes[at], d.readers.get(value, [])
        if not isinstance(maker.kernel.anchor, Map) or not places or any(i in d.loop_of for i in (at, *places)):
            return None
        readers = [d.nodes[i] for i in places]
        expr = next(o.expr for o in maker.kernel.outputs if o.ref is value)
        if expr.elsewhere() or any(self.reads_memory(node.kernel, value) for node in readers):
            return None
        d, expr = self.held(d, maker, expr, places[-1])
        reason = f"strip: {value} is made where it is read, while what it is made of is there"
        changed = {node: self.node(_inline(node.kernel, value, expr, reason)) for node in readers}
        return self.without_unread(d.swap(changed), maker).pruned(self.is_kept)

    def reads_memory(self, k: Kernel, value: Ref) -> bool:
        """Does a kernel need ``value`` in memory: as an operand, or at other elements than the one that it computes?"""
        return any(n is value for n, _ in k.anchor.wants()) or any(value in e.elsewhere() for e in k.exprs())

    def held(self, d: Draft, maker: Node, expr: Expr, last: int) -> tuple[Draft, Expr]:
        """``d`` with copies, and the expression of them, of vectors that it reads and that are overwritten between
        ``maker`` and the node ``last``.  Raises Illegal where a matrix is.
        """
        first = d.place[maker]
        spoilt = [n for n in expr.loads() if any(first < i <= last for i in d.writers.get(n, ()))]
        copies: dict[Ref, Expr] = {}
        for n in spoilt:
            s, copy = self.storage_of(n), n.again(2)
            if min(s.shape) > 1 or copy in d.writers:
                raise Illegal
            load = Expr("load", (), n, s.dtype, s.shape)
            output = Output(copy, load).because("strip: a copy, read after the state has its new value")
            name = f"hold_{str(n).replace('.', '_')}"
            d = d.insert(first, [self.node(Kernel(Map(), s.shape, (output,), maker.kernel.where, name))])
            copies[n] = replace(load, attr=copy)
        return d, expr.substitute(copies)


def _inline(k: Kernel, value: Ref, expr: Expr, reason: str) -> Kernel:
    """The kernel with ``expr`` for loads of ``value``."""

    def written(e: Expr) -> Expr:
        return e.substitute({value: expr})

    outputs = tuple(replace(o, expr=written(o.expr)).because(reason) for o in k.outputs)
    return replace(k, anchor=k.anchor.mapped(written), outputs=outputs)


def _spared(ps: PackedSchedule, limit: int = 0) -> PackedSchedule:
    """A schedule that needs less, or where that is little, or it needs ``limit`` bytes at most, the same."""
    search, before = Sparer(ps, samples_first=True), max(live_bytes(ps)[0])
    if before <= limit:
        return ps
    made = search.run(limit)
    spared = before - max(limit, *live_bytes(made)[0])
    return made if spared >= max(4 * LEAST, (before + search.states) * WORTH) else ps


def spare(p: Packed) -> Packed:
    """Both schedules; the evaluation only as far as the training step's peak asks for."""
    train = _spared(p.train)
    if p.predicts:
        return replace(p, train=train)
    evaluate = _spared(p.evaluate, max(live_bytes(train)[0]))
    return p if train is p.train and evaluate is p.evaluate else replace(p, train=train, evaluate=evaluate)
