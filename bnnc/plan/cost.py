"""What a training step costs, counted from its kernels: a model of the work, not what a program executes.

Products are counted by term; an operation of an expression once an element; each buffer that a kernel reads or writes
is moved once.  What loops, packing and addresses take is not counted, so no program that computes in this way does with
less.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from math import prod

from ..sched.expr import Expr
from ..sched.kernel import Kernel
from .pack import PackedSchedule

LEAVES = ("load", "const", "col", "acc", "step")


@dataclass(frozen=True)
class Cost:
    """``bits``: terms of products of bits, a u8 being 8 of them; ``signed``: a number added or subtracted by a bit,
    two of 8 bits being one; ``numbers``: a number times a number, added; ``elements``: operations of expressions;
    ``moved``: bytes."""

    bits: int = 0
    signed: int = 0
    numbers: int = 0
    elements: int = 0
    moved: int = 0

    @property
    def operations(self) -> int:
        """All kinds added up, bytes aside."""
        return self.bits + self.signed + self.numbers + self.elements

    def instructions(self, width: int, floats: int = 0) -> float:
        """The fewest with vectors of ``width`` bits, ``floats`` bits for numbers (0: as many): three for a vector of
        bits (exclusive or, count, add), one for four terms of a lane where signs choose (a table of sums), two for a
        product, one for an operation, one for a vector moved."""
        lanes = (floats or width) / 32
        return (
            3 * self.bits / width
            + self.signed / (4 * lanes)
            + 2 * self.numbers / lanes
            + self.elements / lanes
            + 8 * self.moved / width
        )


def _operations(e: Expr) -> int:
    return sum(x.op not in LEAVES for x in e.walk())


def kernel_cost(k: Kernel, ps: PackedSchedule, strips: int = 1) -> Cost:
    """Of one kernel; in a loop, of all its strips: what does not move with them is read for each."""
    terms = k.anchor.terms(k.domain)
    elements = terms.added + prod(k.out_shape) * sum(_operations(o.expr) for o in k.outputs)
    elements += sum(prod(extent) * _operations(e) for e, extent in k.anchor.evaluated(k.domain))
    moving = dict(k.moves)
    return Cost(
        bits=terms.bits * strips,
        signed=terms.signed * strips,
        numbers=terms.numbers * strips,
        elements=elements * strips,
        moved=sum(ps.storage[n].nbytes * (1 if n in moving else strips) for n in {*k.reads, *k.writes}),
    )


def added(costs: Iterable[Cost]) -> Cost:
    """Costs added kind by kind."""
    return Cost(*(sum(column) for column in zip(*map(astuple, costs), strict=True)))


def kernel_costs(ps: PackedSchedule) -> list[Cost]:
    """Of each kernel of a step."""
    strips = {i: loop.parts for loop in ps.loops for i in range(loop.first, loop.last + 1)}
    return [kernel_cost(k, ps, strips.get(i, 1)) for i, k in enumerate(ps.kernels)]


def step_cost(ps: PackedSchedule) -> Cost:
    """Of all kernels of a step."""
    return added(kernel_costs(ps))
