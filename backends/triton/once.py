"""Gradients that several programs read, and none holds: an operand of a float product that is an expression is computed
once, into memory behind the arena, instead of by each program for each of its terms.  So are the terms of several sums
over rows: these are added one after another, by a few threads, but computed by all of a program's.

The plan's arena has no such matrix, since C computes some rows at a time; a step of one launch has it where that takes
little memory beside the arena.  It lies column by column, so that threads read rows beside each other, and an owner of
columns writes one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bnnc.ir.dtype import FLOATS, Axis, round_up
from bnnc.ir.ref import Ref
from bnnc.plan.pack import PackedSchedule
from bnnc.plan.types import I, Loop, Storage
from bnnc.sched.anchor import Contract, Map, Reduce
from bnnc.sched.expr import Expr, Names
from bnnc.sched.kernel import Kernel, Output

MOST = 1 / 4  # of the arena, for all of them
SUMS = 2  # with as many, terms are worth it
REST = 5  # kernels that run before one may be overwritten: a product, two reductions and maps


@dataclass(frozen=True)
class Turned(Storage):
    """Numbers column by column."""

    def at(self, row: I, col: I) -> tuple[I, I]:
        return col * self.shape[0] + row, col


@dataclass(frozen=True)
class Once:
    """A schedule with these kernels, and the bytes of what they make, from the end of the device's memory on."""

    schedule: PackedSchedule
    offsets: dict[Ref, int]
    nbytes: int


def _numbers(k: Kernel) -> tuple[Expr, ...]:
    """The operand of a product that is worth it."""
    if not isinstance(k.anchor, Contract) or not {k.anchor.a.dtype, k.anchor.b.dtype} & {"bit"}:
        return ()
    e = k.anchor.b if k.anchor.a.dtype == "bit" else k.anchor.a
    return (e,) if e.dtype in FLOATS and e.op != "load" and not e.elsewhere() else ()


def _terms(k: Kernel) -> tuple[Expr, ...]:
    """Of sums over rows, those that are worth it."""
    x = k.anchor
    if not isinstance(x, Reduce) or x.axis is Axis.COLUMNS or len(x.accs) < SUMS:
        return ()
    if any(a.how != "sum" or a.dtype not in FLOATS or a.expr.elsewhere() for a in x.accs):
        return ()
    return tuple(e for e in dict.fromkeys(x.operands) if e.op != "load" and e.shape == k.domain)


def made_once(ps: PackedSchedule, most: int) -> Once:
    """With a kernel more before the first that reads what is computed once; where all of that takes more than ``most``
    bytes without terms of sums, or as it is.
    """
    for which in (lambda k: _numbers(k) or _terms(k)), _numbers:
        made = _made(ps, which)
        if made.nbytes <= most:
            return made
    return Once(ps, {}, 0)


def _made(ps: PackedSchedule, which: Callable[[Kernel], tuple[Expr, ...]]) -> Once:
    """With all that ``which`` says of each kernel."""
    names, made, refs, kernels = Names(k.name for k in ps.kernels), list[Storage](), dict[Expr, Ref](), list[Kernel]()
    moved: list[int] = []  # where each kernel is now
    for k in ps.kernels:
        exprs = which(k) if k.name not in ps.strips else ()
        if new := [e for e in exprs if e not in refs]:
            hints = [names.new(f"map_{k.where.layer}_{e.hint or 'x'}_once") for e in new]
            for e, name in zip(new, hints, strict=True):
                refs[e] = Ref(f"{name.removeprefix('map_').replace('_', '.', 1)}")
                made.append(Turned(refs[e], "f32", e.shape))
            if kernels and (last := _with(kernels[-1], {refs[e]: e for e in new}, ps)):
                kernels[-1] = last
            else:
                outputs = tuple(Output(refs[e], e) for e in new)
                kernels.append(Kernel(Map(), new[0].shape, outputs, k.where, hints[0]))
        moved.append(len(kernels))
        kernels.append(_reading(k, {e: refs[e] for e in exprs}))
    loops = tuple(Loop(moved[p.first], moved[p.last], p.axis, p.parts, p.inside) for p in ps.loops)
    offsets, nbytes = _places(kernels, made)
    changed = replace(ps, kernels=tuple(kernels), storages=(*ps.storages, *made), loops=loops)
    return Once(changed, offsets, nbytes)


def _with(k: Kernel, more: Mapping[Ref, Expr], ps: PackedSchedule) -> Kernel | None:
    """A product that stores this too, which is made of its result; None: it is not, or has another shape."""
    made = {o.ref: o.expr for o in k.outputs}
    fits = isinstance(k.anchor, Contract) and all(e.shape == k.out_shape for e in more.values())
    if not fits or k.name in ps.strips or not any(made.keys() & e.loads() for e in more.values()):
        return None
    return replace(k, outputs=(*k.outputs, *(Output(ref, e.substitute(made)) for ref, e in more.items())))


def _reading(k: Kernel, made: Mapping[Expr, Ref]) -> Kernel:
    """A kernel that loads what is made."""
    loads = {e: Expr("load", (), ref, "f32", e.shape, e.hint) for e, ref in made.items()}
    return replace(k, anchor=k.anchor.mapped(lambda x: loads.get(x, x))) if made else k


def _places(kernels: list[Kernel], made: list[Storage]) -> tuple[dict[Ref, int], int]:
    """Where each lies, from 0 on, and the end: the lowest place that is free while it is read, and for a while more;
    that of the like which no product reads at once, since an owner of columns only writes over its own.
    """
    taken: list[tuple[int, int, int, bool]] = []  # (last, at, end, for products)
    out: dict[Ref, int] = {}
    for s in made:
        uses = [i for i, k in enumerate(kernels) if s.ref in (*k.reads, *k.writes)]
        at = 0
        for last, lo, hi, shared in sorted(taken, key=lambda t: t[1]):
            like = not shared and (lo, hi) == (at, at + s.nbytes)
            if last + (0 if like else REST) >= uses[0] and at < hi and lo < at + s.nbytes:
                at = round_up(hi, 64)
        out[s.ref] = at
        products = any(isinstance(k.anchor, Contract) and s.ref in k.reads for k in kernels)
        taken.append((uses[-1], at, at + s.nbytes, products))
    return out, round_up(max((end for *_, end, _ in taken), default=0), 64)
