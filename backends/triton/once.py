"""Gradients that several programs read, and none holds: an operand of a float product that is an expression is computed
once, into memory behind the arena, instead of by each program for each of its terms.  So are the terms of several sums
over rows: these are added one after another, by a few threads, but computed by all of a program's.

The plan's arena has no such matrix, since C computes some rows at a time; a step of one launch has it where that takes
little memory beside the arena.  It lies column by column, so that threads read rows beside each other, and an owner of
columns writes one piece (:class:`.turned.Turned`).  A matrix that a product with signs reads often is there as a table
instead: the sums of each four of its terms, with each choice of signs (:class:`.turned.Table`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bnnc.ir.dtype import FLOATS, Axis, round_up
from bnnc.ir.ref import Ref
from bnnc.plan.pack import PackedSchedule
from bnnc.plan.types import Loop, Storage
from bnnc.sched.anchor import Contract, Map, Reduce
from bnnc.sched.expr import Expr, Names
from bnnc.sched.kernel import Kernel, Output, Where

from .turned import Table, Turned

MOST = 1 / 2  # of the arena, for all of them
SUMS = 2  # with as many, terms are worth it
WIDE, TERMS = 64, 32  # columns of a matrix, and of what is made with it, and terms: with as many, a table is worth it
REST = 5  # kernels that run before one may be overwritten: a product, two reductions and maps


@dataclass(frozen=True)
class Once:
    """A schedule with these kernels, and the bytes of what they make, from the end of the device's memory on."""

    schedule: PackedSchedule
    offsets: dict[Ref, int]
    nbytes: int


@dataclass(frozen=True)
class Wanted:
    """An expression, and how it is to lie: column by column, or as a table of sums of four along an axis."""

    expr: Expr
    along: Axis | None = None

    def storage(self, ref: Ref) -> Storage:
        """Of what is made of it."""
        if self.along is None:
            return Turned(ref, "f32", self.expr.shape)
        return Table(ref, "f32", self.expr.shape, along=self.along)


def _numbers(k: Kernel) -> tuple[Wanted, ...]:
    """The operand of a product that is worth it."""
    if not isinstance(k.anchor, Contract) or not {k.anchor.a.dtype, k.anchor.b.dtype} & {"bit"}:
        return ()
    e = k.anchor.b if k.anchor.a.dtype == "bit" else k.anchor.a
    return (Wanted(e),) if e.dtype in FLOATS and e.op != "load" and not e.elsewhere() else ()


def _tables(k: Kernel) -> tuple[Wanted, ...]:
    """As a table, where so many programs make it, and so many terms and results use it, that it takes less time."""
    found = _numbers(k)
    if not found or not isinstance(k.anchor, Contract):
        return ()
    e, x = found[0].expr, k.anchor
    along = Axis.ROWS if x.form == "tn" else Axis.COLUMNS
    if e is x.b:
        along = Axis.COLUMNS if x.form == "nt" else Axis.ROWS
    small = e.shape[1] < WIDE or x.dims[1] < TERMS or min(k.out_shape) < WIDE
    return found if small else (Wanted(e, along),)


def _terms(k: Kernel) -> tuple[Wanted, ...]:
    """Of sums over rows, those that are worth it."""
    x = k.anchor
    if not isinstance(x, Reduce) or x.axis is Axis.COLUMNS or len(x.accs) < SUMS:
        return ()
    if any(a.how != "sum" or a.dtype not in FLOATS or a.expr.elsewhere() for a in x.accs):
        return ()
    return tuple(Wanted(e) for e in dict.fromkeys(x.operands) if e.op != "load" and e.shape == k.domain)


def made_once(ps: PackedSchedule, most: int) -> Once:
    """With a kernel more before the first that reads what is computed once; where all of that takes more than ``most``
    bytes without tables, without terms of sums, or as it is.
    """
    for which in (lambda k: _tables(k) or _terms(k)), (lambda k: _numbers(k) or _terms(k)), _numbers:
        made = _made(ps, which)
        if made.nbytes <= most:
            return made
    return Once(ps, {}, 0)


def _made(ps: PackedSchedule, which: Callable[[Kernel], tuple[Wanted, ...]]) -> Once:
    """With all that ``which`` says of each kernel."""
    names, made, refs, kernels = Names(k.name for k in ps.kernels), list[Storage](), dict[Wanted, Ref](), list[Kernel]()
    wanted = [which(k) if k.name not in ps.strips else () for k in ps.kernels]
    alike: dict[Expr, dict[Wanted, None]] = {}  # of an expression all that is made, at once
    for w in (w for some in wanted for w in some):
        alike.setdefault(w.expr, {})[w] = None
    moved: list[int] = []  # where each kernel is now
    for k, some in zip(ps.kernels, wanted, strict=True):
        new = [w for e in dict.fromkeys(w.expr for w in some) for w in alike.pop(e, {})]
        for w in new:
            what = f"{k.where.layer}_{w.expr.hint or 'x'}_{'once' if w.along is None else 'table'}"
            refs[w] = Ref(names.new(f"map_{what}").removeprefix("map_").replace("_", ".", 1))
            made.append(w.storage(refs[w]))
        kernels = _joined(kernels, {refs[w]: w for w in new}, k.where, ps)
        moved.append(len(kernels))
        kernels.append(_reading(k, {w.expr: refs[w] for w in some}))
    loops = tuple(Loop(moved[p.first], moved[p.last], p.axis, p.parts, p.inside) for p in ps.loops)
    offsets, nbytes = _places(kernels, made)
    changed = replace(ps, kernels=tuple(kernels), storages=(*ps.storages, *made), loops=loops)
    return Once(changed, offsets, nbytes)


def _joined(kernels: list[Kernel], new: Mapping[Ref, Wanted], where: Where, ps: PackedSchedule) -> list[Kernel]:
    """And what makes these: the product before, or kernels of their own, one for all that lies column by column."""
    plain = {ref: w.expr for ref, w in new.items() if w.along is None}
    if plain and kernels and (last := _with(kernels[-1], plain, ps)):
        kernels, plain = [*kernels[:-1], last], {}
    apart = [{ref: w.expr} for ref, w in new.items() if w.along is not None] + [plain] * bool(plain)
    return kernels + [_maps(some, where) for some in apart]


def _maps(made: Mapping[Ref, Expr], where: Where) -> Kernel:
    """A kernel of its own, called by the first that it makes."""
    first = next(iter(made))
    outputs = tuple(Output(ref, e) for ref, e in made.items())
    return Kernel(Map(), made[first].shape, outputs, where, f"map_{first}".replace(".", "_", 1))


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
