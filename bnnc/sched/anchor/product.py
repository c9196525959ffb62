"""Anchors that are products of matrices: of two, of images and filters, through time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from math import prod
from typing import Any, ClassVar, Self

from ...ir.dtype import INTEGERS, ONE_BIT, Axis, Packing, ceil_div
from ...ir.image import Geometry, geometry
from ...ir.ops import contract_dims
from ...ir.program import Op, Value
from ...ir.ref import Ref
from ..expr import Expr, Shape
from .base import Anchor, Made, NoStrip, Result, Strip, Terms

ROWS, COLUMNS, ACROSS = Packing
Pairs = dict[str, tuple[Packing, Packing]]  # packing of the left and the right operand, by form


def _multiplied(a: Expr, b: Expr, terms: int) -> Terms:
    """So many terms of a product, by what its sides are."""
    if {a.dtype, b.dtype} == {"u8", "bit"}:
        return Terms(bits=8 * terms)
    one_bit = {e.dtype in ONE_BIT for e in (a, b)}
    if one_bit == {True}:
        return Terms(bits=terms)
    if True not in one_bit:
        return Terms(numbers=terms)
    halves = "i8" in (a.dtype, b.dtype)  # of 16 bits: two sums in the place of one
    return Terms(signed=ceil_div(terms, 2) if halves else terms)


@dataclass(frozen=True)
class Product(Anchor):
    """Sums of products of operands that are matrices of their own."""

    result: Result

    @property
    def results(self) -> tuple[Result, ...]:
        return (self.result,)

    def evaluated(self, domain: Shape) -> tuple[tuple[Expr, Shape], ...]:
        return tuple((e, e.shape) for e in self.operands)


@dataclass(frozen=True)
class Contract(Product):
    """``a b``, ``a b^T`` or ``a^T b`` (``form`` nn, nt, tn); with a ``gate``, terms of ``a`` count where it is open."""

    a: Expr
    b: Expr
    form: str
    gate: Expr | None = None

    ops = ("contract", "contract_gated")
    # packing of (left, right): of a number and bits; of bits, perhaps with a gate, or a u8 and bits
    NUMBER: ClassVar[Pairs] = {"nn": (COLUMNS, ROWS), "nt": (COLUMNS, COLUMNS), "tn": (ROWS, COLUMNS)}
    BITS: ClassVar[Pairs] = {"nn": (COLUMNS, ROWS), "nt": (COLUMNS, ACROSS), "tn": (ROWS, COLUMNS)}

    @classmethod
    def of(cls, op: Op, inputs: Sequence[Expr], made: Value) -> tuple[Anchor, Shape]:
        a, *gate, b = inputs
        return cls(Result(made.dtype), a, b, op["form"], *gate), made.shape

    def call(self, n: int) -> Made:
        form = {"form": self.form}
        if self.gate is None:
            return "contract", (self.a, self.b), form
        return "contract_gated", (self.a, self.gate, self.b), form

    @property
    def title(self) -> str:
        return f"contract {self.form}"

    @property
    def operands(self) -> tuple[Expr, ...]:
        return (self.a, self.b) if self.gate is None else (self.a, self.b, self.gate)

    @property
    def dims(self) -> tuple[int, int, int]:
        """Rows of the result, terms of a sum, columns of the result."""
        return contract_dims(self.a.shape, self.b.shape, self.form)

    def extents(self, domain: Shape) -> tuple[int, ...]:
        return self.dims

    @property
    def whole_rows(self) -> bool:
        return self.form == "tn" and self.gate is not None

    def mapped(self, change: Callable[[Expr], Expr]) -> Self:
        gate = None if self.gate is None else change(self.gate)
        return replace(self, a=change(self.a), b=change(self.b), gate=gate)

    def terms(self, domain: Shape) -> Terms:
        return _multiplied(self.a, self.b, prod(self.dims))

    def wants(self) -> list[tuple[Ref, Packing]]:
        bits = self.b.dtype == "bit" and self.a.dtype in ("bit", "u8")
        left, right = (self.BITS if bits else self.NUMBER)[self.form]
        wanted = zip(self.operands, (left, right, left), strict=False)
        return [(e.attr, packing) for e, packing in wanted if e.dtype in ONE_BIT and e.op == "load"]

    def describe(self, show: Callable[[Expr], str] = str, sizes: bool = False) -> list[str]:
        size = "  (M Q N = {} {} {})".format(*self.dims) if sizes else ""
        return [f"{show(self.a)} x {show(self.b)}{size}" + (f" where {show(self.gate)}" if self.gate else "")]


@dataclass(frozen=True)
class Convolve(Product):
    """A convolution (``form`` forward), its input's gradient (back: ``a`` is the output's) or its weight's (weight:
    ``b`` is)."""

    a: Expr
    b: Expr
    form: str
    geometry: Geometry
    groups: int = 1
    fill: int = 0

    ops = ("convolve", "convolve_back", "convolve_weight")
    WANTED: ClassVar[Pairs] = {"forward": (COLUMNS, ROWS), "back": (COLUMNS, COLUMNS), "weight": (COLUMNS, COLUMNS)}

    @classmethod
    def of(cls, op: Op, inputs: Sequence[Expr], made: Value) -> tuple[Anchor, Shape]:
        form, g = op.kind.partition("_")[2] or "forward", geometry(dict(op.attrs))
        a, b = inputs
        return cls(Result(made.dtype), a, b, form, g, op["groups"], op["fill"]), made.shape

    def call(self, n: int) -> Made:
        attrs = {"geometry": astuple(self.geometry), "groups": self.groups, "fill": self.fill}
        return "convolve" if self.form == "forward" else f"convolve_{self.form}", self.operands, attrs

    @property
    def title(self) -> str:
        return f"convolve {self.form}"

    @property
    def operands(self) -> tuple[Expr, ...]:
        return self.a, self.b

    @property
    def positions(self) -> int:
        return self.geometry.positions

    def mapped(self, change: Callable[[Expr], Expr]) -> Self:
        return replace(self, a=change(self.a), b=change(self.b))

    def terms(self, domain: Shape) -> Terms:
        a, b, g = self.a.shape, self.b.shape, self.geometry
        if self.form == "forward":
            n = g.samples(a[0]) * g.out_pixels * b[0] * b[1]
        elif self.form == "back":
            n = a[0] * g.positions * b[1] * (domain[1] // self.groups)
        else:
            n = b[0] * b[1] * g.positions * (a[1] // self.groups)
        return _multiplied(self.a, self.b, n)

    def wants(self) -> list[tuple[Ref, Packing]]:
        left, right = self.WANTED[self.form]
        left = ROWS if self.form == "weight" and self.geometry.aligned else left  # a shift along the rows
        return [(e.attr, packing) for e, packing in ((self.a, left), (self.b, right)) if e.dtype == "bit"]

    def describe(self, show: Callable[[Expr], str] = str, sizes: bool = False) -> list[str]:
        return [f"{show(self.a)} * {show(self.b)}" + (f"  ({self.geometry})" if sizes else "")]

    def narrow(self, strip: Strip) -> Self:
        if self.groups > 1 or (strip.axis is Axis.ROWS and self.form == "weight"):
            raise NoStrip
        if strip.axis is Axis.ROWS:
            return replace(self, a=strip.cut(self.a), b=strip.fixed(self.b))
        a = strip.fixed(self.a)
        return replace(self, a=a, b=strip.taps(self.b) if self.form == "back" else strip.cut(self.b))

    def summed(self, strip: Strip, domain: Shape) -> tuple[Self, Shape]:
        if self.form != "weight" or self.groups > 1 or self.result.dtype not in INTEGERS:
            raise NoStrip
        strip.share(self.b.shape[0])
        return self.mapped(strip.cut), domain


@dataclass(frozen=True)
class Recur(Product):
    """Through time, ``steps`` rows a sample: forward (``op`` recur), or back (recur_back) down to step ``first``."""

    op: str
    inputs: tuple[Expr, ...]
    steps: int
    first: int = 0

    ops = ("recur", "recur_back")
    WANTED: ClassVar[dict[str, tuple[Packing, ...]]] = {
        "recur": (COLUMNS, ACROSS, ACROSS, COLUMNS),
        "recur_back": (COLUMNS, COLUMNS, ROWS, COLUMNS),
    }

    @classmethod
    def of(cls, op: Op, inputs: Sequence[Expr], made: Value) -> tuple[Anchor, Shape]:
        first: Any = dict(op.attrs).get("first", 0)
        return cls(Result(made.dtype), op.kind, tuple(inputs), op["steps"], first), made.shape

    def call(self, n: int) -> Made:
        first = {"first": self.first} if self.op == "recur_back" else {}
        return self.op, self.inputs, {"steps": self.steps, **first}

    @property
    def title(self) -> str:
        return self.op

    @property
    def operands(self) -> tuple[Expr, ...]:
        return self.inputs

    def mapped(self, change: Callable[[Expr], Expr]) -> Self:
        return replace(self, inputs=tuple(map(change, self.inputs)))

    def terms(self, domain: Shape) -> Terms:
        """Each step of a sample meets each matrix of weights once."""
        rows = domain[0]
        return Terms(bits=rows * sum(prod(e.shape) for e in self.inputs if e.dtype == "bit" and e.shape[0] != rows))

    def wants(self) -> list[tuple[Ref, Packing]]:
        return [(e.attr, packing) for e, packing in zip(self.inputs, self.WANTED[self.op], strict=False)]

    def describe(self, show: Callable[[Expr], str] = str, sizes: bool = False) -> list[str]:
        return [f"{self.op}({', '.join(map(show, self.inputs))})" + (f", {self.steps} steps" if sizes else "")]
