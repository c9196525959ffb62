"""One kernel over one strip of its matrix at a time, for loops over strips (``strip.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..ir.dtype import Axis
from ..ir.ref import Ref
from ..ir.sequence import CUT
from ..sched.anchor import NoStrip, Strip
from ..sched.expr import Expr, Shape
from ..sched.kernel import Kernel

MOVE = tuple(axis.text for axis in Axis)  # how what is cut along an axis moves from strip to strip
# ops that know where in the matrix they are, and cannot be told of a strip
PLACED = frozenset(
    ("col", "step", "bernoulli", "take", "lookup", "rate")
    + ("split", "previous", "last", "repeat", "second", "join", "turn")
)


def part(shape: Shape, axis: Axis, parts: int) -> Shape:
    """(rows, cols) of one of ``parts`` strips along an axis."""
    rows, cols = shape
    return (rows // parts, cols) if axis is Axis.ROWS else (rows, cols // parts)


class Narrow(Strip):
    """One kernel as it is for a strip.  Raises NoStrip where it cannot be cut so."""

    def __init__(self, k: Kernel, axis: Axis, parts: int) -> None:
        self.axis, self.parts, self.moves = axis, parts, {}  # type: tuple[Axis, int, dict[Ref, str]]
        self.extent = k.domain[axis]
        if any(o.row_sum for o in k.outputs):
            raise NoStrip
        if k.running and axis is Axis.ROWS:  # what it adds up is cut, the sums are not
            (anchor, domain), see, move = k.anchor.summed(self, k.domain), self.fixed, ""
        else:
            self.share(self.extent)
            anchor, domain, see, move = k.anchor.narrow(self), part(k.domain, axis, parts), self.cut, MOVE[axis]
        outputs = tuple(replace(o, expr=see(o.expr)) for o in k.outputs)
        for o in k.outputs:
            self.note(o.ref, move)
        self.kernel = replace(k, anchor=anchor, domain=domain, outputs=outputs, moves=tuple(self.moves.items()))

    def share(self, extent: int) -> int:
        if extent % self.parts:
            raise NoStrip
        return extent // self.parts

    def note(self, ref: Ref, move: str) -> None:
        """Say how the kernel sees a storage move: ``rows``, ``columns``, ``taps``, or "" for all of it.  Raises NoStrip
        where it sees one in two ways."""
        if self.moves.setdefault(ref, move) != move:
            raise NoStrip

    def fixed(self, e: Expr) -> Expr:
        for n in e.loads():
            self.note(n, "")
        return e

    def taps(self, e: Expr) -> Expr:
        self.note(e.attr, "taps")
        return e

    def cut(self, e: Expr) -> Expr:
        size = e.shape[self.axis]
        moving = size == self.extent if self.axis is Axis.COLUMNS else size > 1
        if e.op in PLACED or size % self.parts and size > 1 or not moving and size > 1:
            raise NoStrip
        if e.op == "load":
            self.note(e.attr, MOVE[self.axis] if moving else "")
        shape = part(e.shape, self.axis, self.parts) if moving else e.shape
        if e.op in CUT:
            e = replace(e, attr=(*e.attr, ("move", MOVE[self.axis])))
        return replace(e, args=tuple(self.cut(a) for a in e.args), shape=shape)


def renamed(k: Kernel, names: Mapping[Ref, Ref]) -> Kernel:
    """The kernel with other storages in its loads."""

    def other(e: Expr) -> Expr:
        return e.substitute(
            {x.attr: replace(x, attr=names[x.attr]) for x in e.walk() if x.op == "load" and x.attr in names}
        )

    return replace(k, anchor=k.anchor.mapped(other), outputs=tuple(replace(o, expr=other(o.expr)) for o in k.outputs))
