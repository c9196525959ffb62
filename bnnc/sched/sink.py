"""sink: Scheduled -> Scheduled with updates moved into the kernel that makes their gradient, where that is legal.

The gradient then lives in registers only.  Legal if (1) the update reads, at its own extent, nothing that is made after
the gradient's kernel, (2) every other reader of the old state can run before that kernel, and (3) no other kernel needs
the gradient; where (3) fails the gradient is stored as well.  Integer sums along the rows of what the update makes go with
it where that kernel has whole rows at hand.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir.dtype import INTEGERS
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


def _row_sums(kernels: list[Kernel], i: int) -> set[int]:
    """Kernels that do nothing but sum rows of what map kernel ``i`` makes."""
    made = set(kernels[i].writes)
    return {j for j, k in enumerate(kernels) if k.kind == "reduce_cols" and set(k.reads) <= made
            and all(c.how == "sum" and c.expr.dtype in INTEGERS for c in k.accs) and all(o.expr.op == "acc" for o in k.outputs)}


def _target(kernels: list[Kernel], i: int, state_of: dict[str, str], made_by: dict[str, int], sums: set[int],
            results: set[str]) -> int | None:
    """The anchor kernel into which map kernel ``i``, with the row sums ``sums`` of it, can move, or None."""
    k = kernels[i]
    sources = [made_by[n] for n in k.reads if n in made_by]
    if k.kind != "map" or not sources:
        return None
    at = max(sources)
    anchor = kernels[at]
    if not anchor.accs or anchor.out_shape != k.domain or (sums and not anchor.whole_rows):
        return None
    if set(anchor.writes) & set().union(*(o.expr.elsewhere() for o in k.outputs)):
        return None
    helpers = set(k.writes) - set(state_of)  # what only the sums may read
    if len(helpers) == len(k.writes) or helpers & results or any(helpers & set(x.reads) for j, x in enumerate(kernels) if j not in sums):
        return None
    later = _depends(kernels, at) - {i} - sums
    states = {state_of[n] for n in k.writes if n in state_of}
    if any(states & set(kernels[j].reads) for j in later):  # would read the new weights
        return None
    return at


def _scalars_first(kernels: list[Kernel], states: set[str]) -> list[Kernel]:
    """Kernels of single numbers (a learning rate) as early as what they read allows, so that no update waits for one."""
    out: list[Kernel] = []
    for k in kernels:
        at = len(out)
        if k.kind == "map" and k.domain == (1, 1) and not states & {*k.reads, *k.writes}:
            at = 1 + max((i for i, x in enumerate(out) if set(x.writes) & set(k.reads)), default=-1)
        out.insert(at, k)
    return out


def _sink_once(kernels: list[Kernel], state_of: dict[str, str], results: set[str]) -> list[Kernel] | None:
    """One walk over the kernels; None where nothing moved."""
    kernels = list(kernels)
    i, given = 0, len(kernels)
    while i < len(kernels):
        made_by = {n: j for j, k in enumerate(kernels) for n in k.writes}
        sums = _row_sums(kernels, i) if kernels[i].kind == "map" else set()
        at = _target(kernels, i, state_of, made_by, sums, results)
        if at is None:
            i += 1
            continue
        anchor = kernels[at]
        inside = {c.value: Expr("acc", (), n, c.dtype, anchor.out_shape) for n, c in enumerate(anchor.accs)}
        inside |= {o.value: o.expr for o in anchor.outputs if not o.row_sum}
        moved = [Output(o.value, o.expr.substitute(inside)) for o in kernels[i].outputs]
        inside = {o.value: o.expr for o in moved}
        moved = [o for o in moved if o.value in state_of] + [
            Output(o.value, kernels[j].accs[o.expr.attr].expr.substitute(inside), True) for j in sorted(sums) for o in kernels[j].outputs]
        kernels[at] = replace(anchor, outputs=(*anchor.outputs, *moved))
        kernels = [k for j, k in enumerate(kernels) if j != i and j not in sums]
    return kernels if len(kernels) < given else None


def sink_one(s: Schedule) -> Schedule:
    state_of = {new: state for state, new in s.program.updates}
    kernels = _scalars_first(list(s.kernels), {*state_of, *state_of.values()})
    results = {v for _, v in s.program.results}
    required = set(state_of) | results
    while (fewer := _sink_once(kernels, state_of, results)) is not None:  # what one sinks may let another sink
        kernels = fewer
    return replace(s, kernels=tuple(drop_unread(kernels, required)))


def sink(s: Scheduled) -> Scheduled:
    return replace(s, train=sink_one(s.train))
