"""Kernel and Schedule: what is computed in one loop nest, and in which order.

A kernel has one *anchor* (none for an element-wise map), element-wise expressions on what the anchor loads, and
expressions on what is stored (:mod:`.expr`); the anchor's result is an ``acc`` node.
A Schedule holds no text, no storage and no offsets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from ..diag import NOWHERE, Span
from ..ir.image import Geometry
from ..ir.ops import contract_dims
from ..ir.program import Module, Program
from .expr import Expr, Shape


@dataclass(frozen=True)
class Acc:
    """One accumulator of a reduction: ``how`` (sum, max, argmax, or route and a plane) over ``expr``, giving
    ``dtype``.
    """

    how: str
    expr: Expr
    dtype: str
    value: str  # the IR value it computes


@dataclass(frozen=True)
class Output:
    """``value[row, col] = expr`` over the kernel's out domain; ``row_sum``: ``value[row] =`` the sum of ``expr`` over
    the columns, of integers, in a kernel that has a whole row at hand (:attr:`Kernel.whole_rows`)."""

    value: str
    expr: Expr
    row_sum: bool = False


@dataclass(frozen=True)
class Kernel:
    """``kind``: map, reduce_rows (over axis 0), reduce_cols (over axis 1), fold (over the ``steps`` rows of a sample),
    group (within groups of columns), contract, recur or recur_back (through time, on ``operands``, in ``steps`` down to
    ``first``), convolve (``form``: forward, back or weight; ``a``, ``b``, ``geometry``, ``groups``, ``fill``) or window
    (of ``geometry``).

    ``domain``: extent of a map or of what a reduction reads.  A contraction has ``form``, operands ``a`` and ``b`` as
    expressions, perhaps a ``gate`` on ``a``, and one accumulator whose ``value`` is the product.  A group kernel has
    the size of its groups in ``gate``.

    In a loop over strips ``domain`` and shapes are one strip's, and ``moves`` says which storages the kernel sees a
    strip of: their columns, their rows, or the rows of ``taps`` (of a filter: the strip's channels at each position).
    """

    kind: str
    domain: Shape
    outputs: tuple[Output, ...]
    accs: tuple[Acc, ...] = ()
    form: str = ""
    a: Expr | None = None
    b: Expr | None = None
    gate: Expr | None = None
    phase: str = "forward"
    layer: str = ""
    span: Span = field(default=NOWHERE, compare=False)
    name: str = ""
    operands: tuple[Expr, ...] = ()
    steps: int = 0
    first: int = 0
    geometry: Geometry | None = None
    groups: int = 1
    fill: int = 0
    moves: tuple[tuple[str, str], ...] = ()

    @property
    def out_shape(self) -> Shape:
        """(rows, cols) of what is stored: the domain without the axis that a reduction sums over."""
        rows, cols = self.domain
        if self.kind == "window" and self.geometry is not None:
            return self.geometry.samples(rows) * self.geometry.out_pixels, cols
        return {"reduce_rows": (1, cols), "reduce_cols": (rows, 1), "fold": (rows // (self.steps or 1), cols)}.get(
            self.kind, self.domain
        )

    @property
    def whole_rows(self) -> bool:
        """Does one thread make a row of the result from end to end?"""
        return self.kind == "contract" and self.form == "tn" and self.gate is not None

    @property
    def dims(self) -> tuple[int, int, int]:
        """(M, Q, N) of a contraction."""
        assert self.a is not None and self.b is not None
        return contract_dims(self.a.shape, self.b.shape, self.form)

    def exprs(self) -> list[Expr]:
        """Every expression: operands, what accumulators take, what is stored."""
        accs = [c.expr for c in self.accs] if self.a is None and not self.operands else []
        return [e for e in (self.a, self.b, self.gate) if e is not None] + [
            *self.operands,
            *accs,
            *(o.expr for o in self.outputs),
        ]

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """Names of all values that it loads, each once, in order."""
        return tuple(dict.fromkeys(name for e in self.exprs() for name in e.loads()))

    @cached_property
    def writes(self) -> tuple[str, ...]:
        """Names of the values that it stores."""
        return tuple(o.value for o in self.outputs)


@dataclass(frozen=True)
class Schedule:
    """Kernels of one Program in order.  ``alias``: values that live in their state's buffer (in-place updates)."""

    program: Program
    kernels: tuple[Kernel, ...]
    alias: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        out = [f"schedule {self.program.name}"]
        for k in self.kernels:
            out.append(
                f"kernel {k.name} {k.kind}{' ' + k.form if k.form else ''} {list(k.domain)} @{k.phase} {k.layer}"
            )
            if k.a is not None:
                out.append(f"  acc0 = {k.a} x {k.b}" + (f" where {k.gate}" if k.gate else ""))
            elif k.operands:
                out.append(f"  acc0 = {k.kind}({', '.join(map(str, k.operands))})")
            else:
                out += [f"  acc{i} = {c.how} {c.expr}" for i, c in enumerate(k.accs)]
            out += [f"  %{o.value} = {'sum over the row of ' * o.row_sum}{o.expr}" for o in k.outputs]
        out += [f"in place %{v} -> %{s}" for v, s in self.alias]
        return "\n".join(out) + "\n"


@dataclass(frozen=True)
class Scheduled:
    """The two Schedules of a Module."""

    module: Module
    train: Schedule
    evaluate: Schedule

    def __iter__(self) -> Iterator[Schedule]:
        return iter((self.train, self.evaluate))

    def __str__(self) -> str:
        return f"{self.train}\n{self.evaluate}"
