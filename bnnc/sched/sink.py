"""sink: Scheduled -> Scheduled with updates moved into the kernel that makes their gradient, where that is legal.

The gradient then lives in registers only.  Legal if (1) the update reads, at its own extent, nothing that is made after
the gradient's kernel, (2) every other reader of the old state can run before that kernel (of a vector: none of the
forward pass stands behind it), and (3) no other kernel needs the gradient; where (3) fails the gradient is stored as
well.  Integer sums along the rows of what the update makes go with it where that kernel has whole rows at hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..ir.dtype import INTEGERS, Axis
from ..ir.ref import Ref
from .anchor import Map, Reduce
from .fuse import drop_unread
from .kernel import Kernel, Output, Schedule, Scheduled


class _Sinker:
    """One walk over the kernels of a schedule: a kernel that moves leaves its place empty, so that numbers stay."""

    def __init__(self, kernels: list[Kernel], state_of: dict[Ref, Ref], results: set[Ref]) -> None:
        self.kernels: list[Kernel | None] = list(kernels)
        self.state_of, self.results = state_of, results
        self.made_by = {n: i for i, k in enumerate(kernels) for n in k.writes}
        self.readers: dict[Ref, set[int]] = {}
        for i, k in enumerate(kernels):
            for n in k.reads:
                self.readers.setdefault(n, set()).add(i)

    def at(self, i: int) -> Kernel:
        """The kernel at place ``i``, which must not have moved away."""
        k = self.kernels[i]
        assert k is not None
        return k

    def reading(self, refs: Iterable[Ref]) -> set[int]:
        """Places of the kernels that load any of these."""
        return {i for n in refs for i in self.readers.get(n, ())}

    def replace(self, i: int, k: Kernel | None) -> None:
        """Put another kernel at place ``i``, or leave it empty; readers and makers follow."""
        for n in self.at(i).reads:
            self.readers[n].discard(i)
        self.kernels[i] = k
        for n in k.reads if k else ():
            self.readers.setdefault(n, set()).add(i)
        self.made_by |= dict.fromkeys(k.writes if k else (), i)

    def depends(self, start: int) -> set[int]:
        """Kernels that need, directly or not, what kernel ``start`` makes."""
        out: set[int] = set()
        todo = [start]
        while todo:
            i = todo.pop()
            new = {j for j in self.reading(self.at(i).writes) if j > i} - out
            out |= new
            todo += new
        return out

    def row_sums(self, i: int) -> set[int]:
        """Kernels that do nothing but sum rows of what map kernel ``i`` makes."""
        made = set(self.at(i).writes)
        return {
            j
            for j in self.reading(made)
            if isinstance(a := (k := self.at(j)).anchor, Reduce)
            and a.axis is Axis.COLUMNS
            and set(k.reads) <= made
            and all(c.how == "sum" and c.expr.dtype in INTEGERS for c in a.accs)
            and all(o.expr.op == "acc" for o in k.outputs)
        }

    def target(self, i: int, sums: set[int]) -> int | None:
        """The anchor kernel into which map kernel ``i``, with the row sums ``sums`` of it, can move, or None."""
        k = self.at(i)
        sources = [self.made_by[n] for n in k.reads if n in self.made_by]
        if not isinstance(k.anchor, Map) or not sources:
            return None
        at = max(sources)
        host = self.at(at)
        if not host.anchor.results or host.out_shape != k.domain or (sums and not host.anchor.whole_rows):
            return None
        if set(host.writes) & set().union(*(o.expr.elsewhere() for o in k.outputs)):
            return None
        helpers = set(k.writes) - set(self.state_of)  # what only the sums may read
        if len(helpers) == len(k.writes) or helpers & self.results or self.reading(helpers) - sums:
            return None
        return None if self.spoilt(k, at, {i} | sums) else at

    def spoilt(self, k: Kernel, at: int, own: set[int]) -> bool:
        """Would others than ``own`` read new weights, if kernel ``at`` made what ``k`` does?  Or would it wait for them
        in the forward pass, which keeps matrices to spare a vector?"""
        others = self.reading(self.state_of[n] for n in k.writes if n in self.state_of) - own
        if others & self.depends(at):
            return True
        return min(k.domain) == 1 and any(j > at and self.at(j).where.phase == "forward" for j in others)

    def move(self, i: int, at: int, sums: set[int]) -> None:
        """Kernel ``i`` and the row sums of it become outputs of the kernel ``at``."""
        host = self.at(at)
        inside = {o.ref: o.expr for o in host.outputs if not o.row_sum}
        reason = f"sink: made in the kernel of {host.writes[0]}, where its gradient is in registers"
        moved = [replace(o, expr=o.expr.substitute(inside)).because(reason) for o in self.at(i).outputs]
        inside = {o.ref: o.expr for o in moved}
        moved = [o for o in moved if o.ref in self.state_of] + [
            Output(o.ref, self.at(j).anchor.operands[o.expr.attr].substitute(inside), True, (*o.why, reason))
            for j in sorted(sums)
            for o in self.at(j).outputs
        ]
        for j in (i, *sums):
            self.replace(j, None)
        self.replace(at, replace(host, outputs=(*host.outputs, *moved)))


def _scalars_first(kernels: list[Kernel], states: set[Ref]) -> list[Kernel]:
    """Kernels of single numbers (a learning rate) as early as what they read allows, so that no update waits for
    one.
    """
    out: list[Kernel] = []
    for k in kernels:
        at = len(out)
        if isinstance(k.anchor, Map) and k.domain == (1, 1) and not states & {*k.reads, *k.writes}:
            at = 1 + max((i for i, x in enumerate(out) if set(x.writes) & set(k.reads)), default=-1)
        out.insert(at, k)
    return out


def _sink_once(kernels: list[Kernel], state_of: dict[Ref, Ref], results: set[Ref]) -> list[Kernel] | None:
    """One walk over the kernels; None where nothing moved."""
    s, moved = _Sinker(kernels, state_of, results), False
    for i in range(len(kernels)):
        if s.kernels[i] is None or not isinstance(s.at(i).anchor, Map):
            continue
        sums = s.row_sums(i)
        at = s.target(i, sums)
        if at is not None:
            s.move(i, at, sums)
            moved = True
    return [k for k in s.kernels if k is not None] if moved else None


def sink_one(s: Schedule) -> Schedule:
    """One Schedule with updates in the kernels that make their gradients, until nothing moves any more."""
    state_of = {Ref(new): Ref(state) for state, new in s.program.updates}
    kernels = _scalars_first(list(s.kernels), {*state_of, *state_of.values()})
    results = {Ref(v) for _, v in s.program.results}
    required = set(state_of) | results
    while (fewer := _sink_once(kernels, state_of, results)) is not None:  # what one sinks may let another sink
        kernels = fewer
    return s.with_kernels(drop_unread(kernels, required))


def sink(s: Scheduled) -> Scheduled:
    """The training Schedule sunk; the evaluation step has no updates."""
    return replace(s, train=sink_one(s.train))
