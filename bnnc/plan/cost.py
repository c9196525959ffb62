"""What a step costs: operations and bytes moved, from the schedule alone.

An operation is a term of a sum (a multiplication and an addition, or an exclusive or and a count) or an element-wise node.
Bytes moved are those of every storage that a kernel touches, once a kernel: what passes between the memory and the
processor where nothing stays in a cache from one kernel to the next.  In a loop over strips, what does not move with the
strips is read for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..sched.kernel import Kernel
from .pack import PackedSchedule


@dataclass(frozen=True)
class Cost:
    """Of one step."""

    operations: int
    bytes: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.operations + other.operations, self.bytes + other.bytes)


def _terms(k: Kernel) -> int:
    """Terms of the sums that a kernel's anchor forms."""
    rows, cols = k.domain
    if k.kind == "contract":
        m, q, n = k.dims
        return m * q * n
    if k.kind == "convolve" and k.a is not None and k.b is not None and k.geometry is not None:
        if k.form == "weight":
            return rows * cols * k.b.shape[0]
        pixels = rows if k.form == "forward" else k.a.shape[0]
        return pixels * k.geometry.positions * (k.a.shape[1] // k.groups) * cols
    if k.kind == "window" and k.geometry is not None:
        return k.out_shape[0] * cols * k.geometry.positions * len(k.accs)
    if k.operands:
        return rows * cols * (cols + k.operands[0].shape[1])
    return rows * cols * len(k.accs)


def kernel_cost(k: Kernel, ps: PackedSchedule, strips: int = 1) -> Cost:
    """One kernel, all strips of it."""
    nodes = {e for o in k.outputs for e in o.expr.walk()} | {e for c in k.accs for e in c.expr.walk() if k.a is None}
    operations = _terms(k) + sum(e.shape[0] * e.shape[1] for e in nodes if e.op not in ("load", "acc", "const"))
    moving = {n for n, _ in k.moves}
    touched = sum(ps.storage[n].nbytes * (1 if n in moving else strips) for n in {*k.reads, *k.writes})
    return Cost(operations * strips, touched)


def step_cost(ps: PackedSchedule) -> Cost:
    """One training or evaluation step."""
    strips = {i: loop.parts for loop in ps.loops for i in range(loop.first, loop.last + 1)}
    return sum((kernel_cost(k, ps, strips.get(i, 1)) for i, k in enumerate(ps.kernels)), Cost(0, 0))
