"""What all anchors answer, and the one that adds nothing up."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from ...diag import InternalError
from ...ir.dtype import NUMPY, Axis, Packing
from ...ir.ops import OPS, Array
from ...ir.program import Op, Value
from ...ir.ref import Ref
from ..expr import Expr, Shape

Evaluate = Callable[[Expr], Array]
Made = tuple[str, tuple[Expr, ...], dict[str, Any]]  # an op, what it reads, its attributes
ELEMENTS = "elements"  # the walk over a matrix, element by element


@dataclass(frozen=True)
class Result:
    """What an anchor computes; expressions on what is stored name it by its number (``acc``)."""

    dtype: str


@dataclass(frozen=True)
class Terms:
    """How many terms an anchor adds: of products of bits (a u8 is 8 of them), of a number and a bit, of two numbers,
    and of no product."""

    bits: int = 0
    signed: int = 0
    numbers: int = 0
    added: int = 0


class Strip(Protocol):
    """A strip of a kernel's rows or columns.  Each method gives an operand as the strip sees it, or raises NoStrip."""

    axis: Axis

    def cut(self, e: Expr) -> Expr:
        """What has the whole extent moves with the strip, what is broadcast stays."""

    def fixed(self, e: Expr) -> Expr:
        """The operand is read from end to end."""

    def taps(self, e: Expr) -> Expr:
        """The rows of the strip's channels move at each position of a filter."""

    def share(self, extent: int) -> int:
        """A strip's part of the rows or columns."""


class NoStrip(Exception):
    """A kernel cannot run strip by strip."""


@dataclass(frozen=True)
class Anchor:
    """What all anchors answer.  ``domain`` is the kernel's: the extent of a map or product, or of what is reduced."""

    ops: ClassVar[tuple[str, ...]] = ()  # of the op table
    packs: ClassVar[bool] = False  # bits are stored in whichever packing their readers want
    cheap: ClassVar[bool] = False  # may be computed again where that saves memory
    joins: ClassVar[bool] = False  # several that walk alike are one kernel

    @classmethod
    def of(cls, op: Op, inputs: Sequence[Expr], made: Value) -> tuple[Anchor, Shape]:
        """The anchor of an op with its domain."""
        raise InternalError(f"{cls.__name__} has no op {op.kind}")

    @property
    def title(self) -> str:
        """What dumps and names of kernels call it."""
        return type(self).__name__.lower()

    @property
    def results(self) -> tuple[Result, ...]:
        """What it computes; ``acc`` counts them from 0."""
        return ()

    def call(self, n: int) -> Made:
        """What computes result ``n``: what :meth:`of` was given."""
        raise InternalError(f"{type(self).__name__} has no result {n}")

    def calls(self, domain: Shape) -> tuple[Expr, ...]:
        """Each result as an expression: its op on the operands."""
        made = ((*self.call(n), r.dtype) for n, r in enumerate(self.results))
        shape = self.out_shape(domain)
        return tuple(
            Expr(op, args, tuple(sorted(attrs.items())) or None, dtype, shape) for op, args, attrs, dtype in made
        )

    @property
    def operands(self) -> tuple[Expr, ...]:
        """What it loads."""
        return ()

    @property
    def walk(self) -> Hashable:
        """Kernels of the same walk, domain and phase may become one; None: nothing joins this one."""
        return None

    @property
    def whole_rows(self) -> bool:
        """Does one thread make a row of the result from end to end?"""
        return False

    @property
    def positions(self) -> int:
        """Of a window."""
        return 1

    def mapped(self, change: Callable[[Expr], Expr]) -> Self:
        """With each operand changed."""
        return self

    def out_shape(self, domain: Shape) -> Shape:
        """(rows, cols) of each result."""
        return domain

    def extents(self, domain: Shape) -> tuple[int, ...]:
        """Of its loops."""
        return domain

    def evaluated(self, domain: Shape) -> tuple[tuple[Expr, Shape], ...]:
        """Operands, and over which extent each is computed."""
        return ()

    def terms(self, domain: Shape) -> Terms:
        """How many terms it adds in one run."""
        return Terms()

    def wants(self) -> list[tuple[Ref, Packing]]:
        """One-bit operands, and the packing that each is read in."""
        return []

    def describe(self, show: Callable[[Expr], str] = str, sizes: bool = False) -> list[str]:
        """Each result, as people write it."""
        return []

    def run(self, value: Evaluate, domain: Shape) -> list[Array]:
        """The results, from the op table's functions."""
        calls = ((e.op, [value(a) for a in e.args], dict(e.attr or ()), e.dtype) for e in self.calls(domain))
        return [np.asarray(OPS[op].run(xs, attrs, dtype), NUMPY[dtype]) for op, xs, attrs, dtype in calls]

    def narrow(self, strip: Strip) -> Self:
        """As it is in a strip."""
        raise NoStrip

    def summed(self, strip: Strip, domain: Shape) -> tuple[Self, Shape]:
        """As it is in a strip of the rows that it adds up, where the sums of strips add up to the same bits; with its
        domain there.
        """
        raise NoStrip


@dataclass(frozen=True)
class Map(Anchor):
    """Element by element: there is nothing to add up."""

    packs = True
    cheap = True

    @property
    def walk(self) -> Hashable:
        return ELEMENTS

    def narrow(self, strip: Strip) -> Self:
        return self
