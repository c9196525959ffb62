"""Anchors: what the loops of a kernel compute before anything is stored.  A kernel has one.

    Map         nothing: an element of the output follows from the expressions alone
    Reduce      sums, maxima, their places: over the rows or the columns of the domain
    Fold        sums over the steps of a sample
    Window      sums and maxima over the windows of an image
    Group       the winner of each group of columns
    Contract    the product of two matrices, perhaps with a gate on the left one
    Convolve    a convolution or one of its two gradients
    Recur       a recurrence through time, or its way back

An anchor says everything that the passes and backends ask of it: what it loads, what work it is, which bits it computes
(``run``, by the op table), how its one-bit operands want to be packed, how it is cut into strips.  A new one is one
class in this package, named in ``ANCHORS``, and one skeleton in each backend.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...diag import InternalError
from ...ir.program import Op, Value
from ..expr import Expr, Shape
from .accumulation import Acc, Accumulation, Fold, Group, Reduce, Window
from .base import ELEMENTS, Anchor, Map, NoStrip, Result, Strip, Terms
from .product import Contract, Convolve, Product, Recur

__all__ = [
    "ANCHORS",
    "ELEMENTS",
    "Acc",
    "Accumulation",
    "Anchor",
    "Contract",
    "Convolve",
    "Fold",
    "Group",
    "Map",
    "NoStrip",
    "Product",
    "Recur",
    "Reduce",
    "Result",
    "Strip",
    "Terms",
    "Window",
    "anchor_of",
]

ANCHORS: tuple[type[Anchor], ...] = (Map, Reduce, Fold, Window, Group, Contract, Convolve, Recur)
_OF = {op: anchor for anchor in ANCHORS for op in anchor.ops}


def anchor_of(op: Op, inputs: Sequence[Expr], made: Value) -> tuple[Anchor, Shape]:
    """The anchor that computes an op, with its domain."""
    if op.kind not in _OF:
        raise InternalError(f"no anchor for {op.kind}")
    return _OF[op.kind].of(op, inputs, made)
