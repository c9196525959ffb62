"""sink: Scheduled -> Scheduled with updates moved into the kernel that makes their gradient, where that is legal.

The gradient then lives in registers only.  Legal if (1) the update reads, at its own extent, nothing that is made after
the gradient's kernel, (2) every other reader of the old state can run before that kernel, and (3) no other kernel needs
the gradient; where (3) fails the gradient is stored as well.
"""

from __future__ import annotations

from dataclasses import replace

from .fuse import drop_unread
from .kernel import Expr, Kernel, Output, Schedule, Scheduled


def _depends(kernels: list[Kernel], start: int) -> set[int]:
    """Indices of kernels that need, directly or not, what kernel ``start`` makes."""
    tainted, out = set(kernels[start].writes), set()
    for i in range(start + 1, len(kernels)):
        if tainted & set(kernels[i].reads):
            out.add(i)
            tainted |= set(kernels[i].writes)
    return out


def _target(kernels: list[Kernel], i: int, state_of: dict[str, str], made_by: dict[str, int]) -> int | None:
    """The anchor kernel into which map kernel ``i`` can move, or None."""
    k = kernels[i]
    sources = [made_by[n] for n in k.reads if n in made_by]
    if k.kind != "map" or not all(o.value in state_of for o in k.outputs) or not sources:
        return None
    at = max(sources)
    anchor = kernels[at]
    if not anchor.accs or anchor.out_shape != k.domain:
        return None
    later = _depends(kernels, at) - {i}
    states = {state_of[o.value] for o in k.outputs}
    if any(states & set(kernels[j].reads) for j in later):  # would read the new weights
        return None
    return at


def sink_one(s: Schedule) -> Schedule:
    kernels = list(s.kernels)
    state_of = {new: state for state, new in s.program.updates}
    required = set(state_of) | {v for _, v in s.program.results}
    i = 0
    while i < len(kernels):
        made_by = {n: j for j, k in enumerate(kernels) for n in k.writes}
        at = _target(kernels, i, state_of, made_by)
        if at is None:
            i += 1
            continue
        anchor = kernels[at]
        inside = {c.value: Expr("acc", (), n, c.dtype, anchor.out_shape) for n, c in enumerate(anchor.accs)}
        inside |= {o.value: o.expr for o in anchor.outputs}
        moved = tuple(Output(o.value, o.expr.substitute(inside)) for o in kernels[i].outputs)
        kernels[at] = replace(anchor, outputs=(*anchor.outputs, *moved))
        del kernels[i]
    return replace(s, kernels=tuple(drop_unread(kernels, required)))


def sink(s: Scheduled) -> Scheduled:
    return replace(s, train=sink_one(s.train))
