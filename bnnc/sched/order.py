"""order: Scheduled -> Scheduled in the order of execution, kernels named, in-place updates decided.

Topological in data; a kernel that overwrites a state comes after every reader of the old value.  Among ready kernels an
update goes first (it frees its gradient), then program order.  Where in-place order is impossible the new value gets a
buffer of its own and is copied at the end.
"""

from __future__ import annotations

from dataclasses import replace

from ..diag import InternalError
from .kernel import Expr, Kernel, Output, Schedule, Scheduled


def _edges(kernels: list[Kernel], alias: dict[str, str]) -> list[set[int]]:
    """For each kernel, those that must run before it."""
    made_by = {n: i for i, k in enumerate(kernels) for n in k.writes}
    before: list[set[int]] = [set() for _ in kernels]
    for i, k in enumerate(kernels):
        before[i] |= {made_by[n] for n in k.reads if n in made_by} - {i}
    for new, state in alias.items():
        writer = made_by[new]
        before[writer] |= {i for i, k in enumerate(kernels) if state in k.reads} - {writer}
    return before


def _topological(kernels: list[Kernel], before: list[set[int]], updates: set[str]) -> list[int] | None:
    order: list[int] = []
    left = set(range(len(kernels)))
    while left:
        ready = [i for i in left if not before[i] & left]
        if not ready:
            return None
        ready.sort(key=lambda i: (not set(kernels[i].writes) <= updates, i))
        order.append(ready[0])
        left.remove(ready[0])
    return order


def order_one(s: Schedule) -> Schedule:
    kernels = list(s.kernels)
    updates = s.program.updates
    alias: dict[str, str] = {}
    plain: list[tuple[str, str]] = []
    made = {n for k in kernels for n in k.writes}
    for state, new in updates:
        if new in alias or new not in made:  # one value updates two states, or a state is replaced by another
            plain.append((state, new))
            continue
        trial = {**alias, new: state}
        if _topological(kernels, _edges(kernels, trial), set()) is None:
            plain.append((state, new))
        else:
            alias = trial
    news = {new for _, new in updates}
    order = _topological(kernels, _edges(kernels, alias), news)
    if order is None:
        raise InternalError("the schedule has a cycle")
    out = [kernels[i] for i in order]
    for state, new in plain:
        v = s.program.value[new]
        out.append(Kernel("map", v.shape, (Output(f"{state}.new", Expr("load", (), new, v.dtype, v.shape)),), phase="update",
                          layer=state.split(".")[0]))
        alias[f"{state}.new"] = state
    return replace(s, kernels=tuple(_named(k, i) for i, k in enumerate(out)), alias=tuple(alias.items()))


def _named(k: Kernel, i: int) -> Kernel:
    """``k07_contract_tn_dense2_weight``: position, anchor, and what it makes first."""
    first = k.outputs[0].value.replace(".", "_")
    return replace(k, name=f"k{i:02d}_{k.kind}{'_' + k.form if k.form else ''}_{first}")


def order(s: Scheduled) -> Scheduled:
    """Evaluation is ordered too; it has no updates."""
    return replace(s, train=order_one(s.train), evaluate=order_one(s.evaluate))
