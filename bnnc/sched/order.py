"""order: Scheduled -> Scheduled in the order of execution, kernels named, in-place updates decided.

Topological in data; a kernel that overwrites a state comes after every reader of the old value.  Among ready kernels an
update goes first (it frees its gradient), then program order.  Where a search finds an order whose values need fewer bytes
at the worst moment, that one is taken.  Where in-place order is impossible the new value gets a buffer of its own and is
copied at the end.
"""

from __future__ import annotations

from dataclasses import replace

from ..diag import InternalError
from ..ir.dtype import value_bytes
from ..ir.program import Program
from .kernel import Expr, Kernel, Output, Schedule, Scheduled

SEARCHED, BEAM, BRANCHES = 256, 48, 8  # kernels of a schedule that is searched; orders that are kept; ways to go on from each


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


class _Bytes:
    """How many bytes of temporaries are alive while kernels run in some order.  States have their place already."""

    def __init__(self, kernels: list[Kernel], p: Program, alias: dict[str, str]) -> None:
        self.kernels = kernels
        self.size = {v.name: value_bytes(v.shape, v.dtype) for v in p.values if v.name not in p.state_names and v.name not in alias}
        kept = {v for _, v in p.results} | {"labels"}
        self.readers: dict[str, int] = {n: 0 for n in self.size}  # as bits: one a kernel
        for i, k in enumerate(kernels):
            for n in k.reads:
                if n in self.size:
                    self.readers[n] |= 1 << i
        self.ends = [[n for n in {*k.reads, *k.writes} if n in self.size and n not in kept] for k in kernels]
        constants = {c.name for c in p.constants}
        self.size |= dict.fromkeys(constants & set(self.size), 0)
        self.start = sum(self.size[n] for n in p.inputs)

    def run(self, i: int, done: int, live: int) -> tuple[int, int]:
        """Bytes while kernel ``i`` runs after the kernels ``done`` (bits), and after it."""
        during = live + sum(self.size.get(n, 0) for n in self.kernels[i].writes)
        done |= 1 << i
        return during, during - sum(self.size[n] for n in self.ends[i] if not self.readers[n] & ~done)

    def peak(self, order: list[int]) -> int:
        done, live, peak = 0, self.start, 0
        for i in order:
            during, live = self.run(i, done, live)
            done, peak = done | 1 << i, max(peak, during)
        return peak


def _thrifty(first: list[int], before: list[set[int]], cost: _Bytes) -> list[int]:
    """An order that needs clearly less memory at its worst moment than ``first``, or else ``first``: a beam search over which
    kernels are done.  Of equals, the one that is nearest to ``first``."""
    if len(first) > SEARCHED:
        return first
    rank = {i: r for r, i in enumerate(first)}
    needs = [sum(1 << j for j in b) for b in before]
    limit = cost.peak(first) * 31 // 32
    beam: dict[int, tuple[int, int, tuple[int, ...]]] = {0: (0, cost.start, ())}  # done -> peak, live, order as ranks
    for _ in first:
        grown: dict[int, tuple[int, int, tuple[int, ...]]] = {}
        for done, (peak, live, order) in beam.items():
            ready = [i for i in first if not done >> i & 1 and not needs[i] & ~done]
            for i in ready[:BRANCHES]:
                during, after = cost.run(i, done, live)
                if during >= limit:
                    continue
                found = (max(peak, during), after, (*order, rank[i]))
                key = done | 1 << i
                if key not in grown or (found[0], found[2]) < (grown[key][0], grown[key][2]):
                    grown[key] = found
        beam = dict(sorted(grown.items(), key=lambda x: x[1])[:BEAM])
    return [first[r] for _, _, order in beam.values() for r in order] or first


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
    order = _thrifty(order, _edges(kernels, alias), _Bytes(kernels, s.program, alias))
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
