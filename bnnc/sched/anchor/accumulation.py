"""Anchors that go through a domain and add up, or compare, an expression at each element."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import astuple, dataclass, replace
from math import prod
from typing import Self

import numpy as np

from ...diag import InternalError
from ...ir.dtype import INTEGERS, Axis
from ...ir.image import Geometry, geometry
from ...ir.ops import Array
from ...ir.program import Op, Value
from ..expr import Expr, Shape
from .base import ELEMENTS, Anchor, Evaluate, Made, NoStrip, Result, Strip, Terms


@dataclass(frozen=True)
class Acc(Result):
    """One accumulator: ``how`` (sum, max, argmax, route, winners) over ``expr``; of a route, the ``plane`` of bits."""

    how: str
    expr: Expr
    plane: int = 0

    def describe(self, show: Callable[[Expr], str]) -> str:
        """What is done to which expression, as people write it."""
        return f"{self.how}{self.plane if self.how == 'route' else ''} {show(self.expr)}"


@dataclass(frozen=True)
class Accumulation(Anchor):
    """Accumulators over the elements of the domain, at each of which their expressions are computed."""

    accs: tuple[Acc, ...]

    @property
    def results(self) -> tuple[Result, ...]:
        return self.accs

    @property
    def operands(self) -> tuple[Expr, ...]:
        return tuple(c.expr for c in self.accs)

    def mapped(self, change: Callable[[Expr], Expr]) -> Self:
        return replace(self, accs=tuple(replace(c, expr=change(c.expr)) for c in self.accs))

    def joined(self, other: Accumulation) -> Self:
        """With the accumulators of another one that walks alike."""
        return replace(self, accs=(*self.accs, *other.accs))

    def evaluated(self, domain: Shape) -> tuple[tuple[Expr, Shape], ...]:
        return tuple((c.expr, domain) for c in self.accs)

    def run(self, value: Evaluate, domain: Shape) -> list[Array]:
        return super().run(lambda e: np.broadcast_to(value(e), domain), domain)

    def terms(self, domain: Shape) -> Terms:
        return Terms(added=prod(domain) * len(self.accs))

    def describe(self, show: Callable[[Expr], str] = str, sizes: bool = False) -> list[str]:
        return [c.describe(show) for c in self.accs]


@dataclass(frozen=True)
class Reduce(Accumulation):
    """Along an axis of the domain."""

    axis: Axis

    ops = ("reduce",)
    joins = True

    @classmethod
    def of(cls, op: Op, inputs: Sequence[Expr], made: Value) -> tuple[Anchor, Shape]:
        return cls((Acc(made.dtype, op["how"], inputs[0]),), Axis(op["axis"])), inputs[0].shape

    def call(self, n: int) -> Made:
        return "reduce", (self.accs[n].expr,), {"how": self.accs[n].how, "axis": int(self.axis)}

    @property
    def title(self) -> str:
        return "reduce_rows" if self.axis is Axis.ROWS else "reduce_cols"

    @property
    def walk(self) -> Hashable:
        return self.title

    def out_shape(self, domain: Shape) -> Shape:
        return (1, domain[1]) if self.axis is Axis.ROWS else (domain[0], 1)

    def narrow(self, strip: Strip) -> Self:
        if self.axis is Axis.COLUMNS or strip.axis is Axis.ROWS:
            raise NoStrip
        return self.mapped(strip.cut)

    def summed(self, strip: Strip, domain: Shape) -> tuple[Self, Shape]:
        if self.axis is Axis.COLUMNS or any(c.how not in ("sum", "max") or c.dtype not in INTEGERS for c in self.accs):
            raise NoStrip
        return self.mapped(strip.cut), (strip.share(domain[0]), domain[1])


@dataclass(frozen=True)
class Fold(Accumulation):
    """Over the ``steps`` rows of each sample."""

    steps: int

    ops = ("fold",)

    @classmethod
    def of(cls, op: Op, inputs: Sequence[Expr], made: Value) -> tuple[Anchor, Shape]:
        return cls((Acc(made.dtype, "sum", inputs[0]),), op["steps"]), inputs[0].shape

    def call(self, n: int) -> Made:
        return "fold", (self.accs[n].expr,), {"steps": self.steps}

    def out_shape(self, domain: Shape) -> Shape:
        return domain[0] // self.steps, domain[1]


@dataclass(frozen=True)
class Window(Accumulation):
    """Over each window of an image; the accumulators have one expression."""

    geometry: Geometry

    ops = ("window",)
    cheap = True
    joins = True

    @classmethod
    def of(cls, op: Op, inputs: Sequence[Expr], made: Value) -> tuple[Anchor, Shape]:
        attrs = dict(op.attrs)
        acc = Acc(made.dtype, op["how"], inputs[0], attrs.get("plane", 0))
        return cls((acc,), geometry(attrs)), inputs[0].shape

    def call(self, n: int) -> Made:
        c = self.accs[n]
        plane = {"plane": c.plane} if c.how == "route" else {}
        return "window", (c.expr,), {"how": c.how, "geometry": astuple(self.geometry), **plane}

    @property
    def expr(self) -> Expr:
        """What all its accumulators look at."""
        return self.accs[0].expr

    @property
    def adds(self) -> bool:
        """Does it find sums, not maxima?"""
        adds = self.accs[0].how == "sum"
        if any((c.how == "sum") != adds for c in self.accs):
            raise InternalError("a window kernel finds sums or maxima, not both")
        return adds

    @property
    def walk(self) -> Hashable:
        return self.geometry, self.expr

    @property
    def positions(self) -> int:
        return self.geometry.positions

    def out_shape(self, domain: Shape) -> Shape:
        return self.geometry.samples(domain[0]) * self.geometry.out_pixels, domain[1]

    def narrow(self, strip: Strip) -> Self:
        return self.mapped(strip.cut)


@dataclass(frozen=True)
class Group(Accumulation):
    """Within groups of ``size`` columns."""

    size: Expr

    ops = ("winners",)
    packs = True

    @classmethod
    def of(cls, op: Op, inputs: Sequence[Expr], made: Value) -> tuple[Anchor, Shape]:
        x, size = inputs
        return cls((Acc(made.dtype, op.kind, x),), size), made.shape

    def call(self, n: int) -> Made:
        return self.accs[n].how, (self.accs[n].expr, self.size), {}

    @property
    def operands(self) -> tuple[Expr, ...]:
        return self.size, *super().operands

    @property
    def walk(self) -> Hashable:
        return ELEMENTS

    def mapped(self, change: Callable[[Expr], Expr]) -> Self:
        return replace(super().mapped(change), size=change(self.size))
