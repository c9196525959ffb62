"""Kernel and Schedule: what is computed in one loop nest, and in which order.

A kernel has one anchor (:mod:`.anchor`), element-wise expressions on what that loads, and expressions on what is stored
(:mod:`.expr`); the anchor's results are ``acc`` nodes in them.
A Schedule holds no text, no storage and no offsets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..diag import NOWHERE, Span
from ..ir.program import Both, Program
from ..ir.ref import Ref
from .anchor import Anchor
from .expr import Expr, Names, Shape, Written, bare


@dataclass(frozen=True)
class Output:
    """``ref[row, col] = expr`` over the kernel's out domain; ``row_sum``: ``ref[row] =`` the sum of ``expr`` over
    the columns, of integers, in a kernel that has a whole row at hand (:attr:`.Anchor.whole_rows`)."""

    ref: Ref
    expr: Expr
    row_sum: bool = False
    why: tuple[str, ...] = field(default=(), compare=False)  # what each pass decided about it, and for which reason

    def because(self, reason: str) -> Output:
        """With one reason more: ``pass: what and why``."""
        return replace(self, why=(*self.why, reason))


@dataclass(frozen=True)
class Where:
    """Where a kernel comes from: the phase of the step, the layer and its place in the spec."""

    phase: str = "forward"
    layer: str = ""
    span: Span = field(default=NOWHERE, compare=False)

    @property
    def line(self) -> int:
        """Of the spec; 0 where no layer of the spec is meant."""
        return self.span.line if self.layer and self.span.known else 0

    def __str__(self) -> str:
        return f"{self.layer}, line {self.line}" if self.line else self.layer


@dataclass(frozen=True)
class Kernel:
    """One loop nest: ``domain`` is the extent of a map or product, or of what is reduced (:mod:`.anchor`).

    In a loop over strips ``domain`` and shapes are one strip's, and ``moves`` says which storages the kernel sees a
    strip of: their columns, their rows, or the rows of ``taps`` (of a filter: the strip's channels at each position).
    """

    anchor: Anchor
    domain: Shape
    outputs: tuple[Output, ...]
    where: Where = Where()
    name: str = ""
    moves: tuple[tuple[Ref, str], ...] = ()

    @property
    def out_shape(self) -> Shape:
        """(rows, cols) of what is stored: the domain without the axis that a reduction sums over."""
        return self.anchor.out_shape(self.domain)

    def exprs(self) -> list[Expr]:
        """Every expression: what the anchor loads, what is stored."""
        return [*self.anchor.operands, *(o.expr for o in self.outputs)]

    def equations(self, sizes: bool = False) -> list[str]:
        """What it computes, line by line: names for what is shared, the anchor's results, the outputs."""
        written = Written(self.exprs())
        results = self.anchor.describe(written.of, sizes)
        lines = written.lines + [f"acc{i} = {text}" for i, text in enumerate(results)]
        for o in self.outputs:
            known, text = len(written.lines), bare(written.of(o.expr))
            lines += written.lines[known:]
            lines.append(f"%{o.ref} = {'sum over the row of ' if o.row_sum else ''}{text}")
        return lines

    @cached_property
    def reads(self) -> tuple[Ref, ...]:
        """All values that it loads, each once, in order."""
        return tuple(dict.fromkeys(name for e in self.exprs() for name in e.loads()))

    @cached_property
    def writes(self) -> tuple[Ref, ...]:
        """The values that it stores."""
        return tuple(o.ref for o in self.outputs)

    @cached_property
    def running(self) -> bool:
        """Does it add its sums to those that are in memory: of the strips before?"""
        return any(o.ref in o.expr.loads() for o in self.outputs)


def named(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    """Each with a name of its own, which others of its schedule do not change: the one it has, or the anchor and what
    is made first (``contract_tn_dense2_weight``).  Only of equal ones the second has a number.
    """
    names, out = Names(), []
    for k in kernels:
        made = re.sub(r"\W", "_", str(k.writes[0]))
        out.append(replace(k, name=names.new(k.name or f"{k.anchor.title.replace(' ', '_')}_{made}")))
    return tuple(out)


@dataclass(frozen=True)
class Schedule:
    """Kernels of one Program in order, of which what a step is given, holds and gives back is left (``declared``).
    ``in_place``: values that live in their state's buffer.
    """

    program: Program
    kernels: tuple[Kernel, ...]
    in_place: tuple[tuple[Ref, Ref], ...] = ()

    @cached_property
    def alias(self) -> dict[Ref, Ref]:
        """What is made in place of a state."""
        return dict(self.in_place)

    def with_kernels(self, kernels: Sequence[Kernel]) -> Schedule:
        """With other kernels, and the values that these store."""
        stored = (n.value for k in kernels for n in k.writes)
        return replace(self, program=self.program.declared(stored), kernels=tuple(kernels))


@dataclass(frozen=True)
class Scheduled(Both[Schedule]):
    """The two Schedules of a network."""
