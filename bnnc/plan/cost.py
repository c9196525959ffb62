"""What a training step costs, counted from its kernels: a model of the work, not what a program executes.

Products are counted by term; an operation of an expression once an element; each buffer that a kernel reads or writes
is moved once.  What loops, packing and addresses take is not counted, so no program that computes in this way does with
less.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

from ..ir.ops import contract_dims
from ..sched.expr import Expr
from ..sched.kernel import Kernel
from .pack import PackedSchedule

LEAVES = ("load", "const", "col", "acc", "step")
BITS = ("bit", "bool")


@dataclass(frozen=True)
class Cost:
    """``bits``: terms of products of bits, a u8 being 8 of them; ``signed``: a number added or subtracted by a bit;
    ``numbers``: a number times a number, added; ``elements``: operations of expressions; ``moved``: bytes."""

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


def _terms(k: Kernel) -> int:
    """Terms of the products that a kernel makes."""
    rows, cols = k.domain
    if k.operands:  # through time: each step of a sample meets each matrix of weights once
        return rows * sum(e.shape[0] * e.shape[1] for e in k.operands if e.dtype == "bit" and e.shape[0] != rows)
    if k.a is None or k.b is None:
        return 0
    if k.geometry is None:
        m, q, n = contract_dims(k.a.shape, k.b.shape, k.form)
        return m * q * n
    if k.form == "weight":
        return k.b.shape[0] * k.b.shape[1] * k.geometry.positions * (k.a.shape[1] // k.groups)
    if k.form == "forward":
        return k.geometry.samples(k.a.shape[0]) * k.geometry.out_pixels * k.b.shape[0] * k.b.shape[1]
    return k.a.shape[0] * k.geometry.positions * k.b.shape[1] * (cols // k.groups)


def _operations(e: Expr) -> int:
    return sum(x.op not in LEAVES for x in e.walk())


def kernel_cost(k: Kernel, ps: PackedSchedule, strips: int = 1) -> Cost:
    """Of one kernel; in a loop, of all its strips: what does not move with them is read for each."""
    terms, kinds = _terms(k), {e.dtype in BITS for e in (k.a, k.b) if e is not None}
    one_bit = kinds == {True} or bool(k.operands)
    whole = k.a is not None and k.b is not None and {k.a.dtype, k.b.dtype} == {"u8", "bit"}
    rows, cols = k.out_shape
    elements = rows * cols * sum(_operations(o.expr) for o in k.outputs)
    elements += (
        k.domain[0] * k.domain[1] * sum(1 + _operations(c.expr) for c in k.accs if k.a is None and not k.operands)
    )
    elements += sum(e.shape[0] * e.shape[1] * _operations(e) for e in (k.a, k.b, k.gate) if e is not None)
    moving = dict(k.moves)
    moved = sum(ps.storage[n].nbytes * (1 if n in moving else strips) for n in {*k.reads, *k.writes})
    terms, elements = terms * strips, elements * strips
    return Cost(
        bits=8 * terms if whole else terms if one_bit else 0,
        signed=terms if kinds == {True, False} and not whole else 0,
        numbers=terms if kinds == {False} else 0,
        elements=elements,
        moved=moved,
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
