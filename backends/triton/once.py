"""Gradients that several programs read, and none holds: an operand of a float product that is an expression is computed
once, into memory behind the arena, instead of by each program for each of its terms.

The plan's arena has no such matrix, since C computes some rows at a time; a step of one launch has it where that takes
little memory beside the arena.  It lies column by column, so that threads read rows beside each other, and an owner of
columns writes one piece.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bnnc.ir.dtype import FLOATS, round_up
from bnnc.ir.ref import Ref
from bnnc.plan.pack import PackedSchedule
from bnnc.plan.types import I, Loop, Storage
from bnnc.sched.anchor import Contract, Map
from bnnc.sched.expr import Expr, Names
from bnnc.sched.kernel import Kernel, Output

MOST = 1 / 8  # of the arena, for all of them
REST = 3  # kernels that run before one may be overwritten


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


def _number(k: Kernel) -> Expr | None:
    """The operand that is worth it."""
    if not isinstance(k.anchor, Contract) or not {k.anchor.a.dtype, k.anchor.b.dtype} & {"bit"}:
        return None
    e = k.anchor.b if k.anchor.a.dtype == "bit" else k.anchor.a
    return e if e.dtype in FLOATS and e.op != "load" and not e.elsewhere() else None


def made_once(ps: PackedSchedule, most: int) -> Once:
    """With a kernel more before the first that reads an operand that is computed once; as it is, where all of them
    take more than ``most`` bytes.
    """
    names, made, refs, kernels = Names(k.name for k in ps.kernels), list[Storage](), dict[Expr, Ref](), list[Kernel]()
    moved: list[int] = []  # where each kernel is now
    for k in ps.kernels:
        e = _number(k) if k.name not in ps.strips else None
        if e is not None and e not in refs:
            name = names.new(f"map_{k.where.layer}_{e.hint or 'x'}_once")
            refs[e] = Ref(f"{name.removeprefix('map_').replace('_', '.', 1)}")
            kernels.append(Kernel(Map(), e.shape, (Output(refs[e], e),), k.where, name))
            made.append(Turned(refs[e], "f32", e.shape))
        moved.append(len(kernels))
        kernels.append(k if e is None else _reading(k, e, refs[e]))
    loops = tuple(Loop(moved[p.first], moved[p.last], p.axis, p.parts, p.inside) for p in ps.loops)
    offsets, nbytes = _places(kernels, made)
    if nbytes > most:
        return Once(ps, {}, 0)
    changed = replace(ps, kernels=tuple(kernels), storages=(*ps.storages, *made), loops=loops)
    return Once(changed, offsets, nbytes)


def _reading(k: Kernel, e: Expr, ref: Ref) -> Kernel:
    """A kernel that loads its operand."""
    load = Expr("load", (), ref, "f32", e.shape, e.hint)
    return replace(k, anchor=k.anchor.mapped(lambda x: load if x == e else x))


def _places(kernels: list[Kernel], made: list[Storage]) -> tuple[dict[Ref, int], int]:
    """Where each lies, from 0 on, and the end: the lowest place that is free while it is read, and for a while more."""
    taken: list[tuple[int, int, int, int]] = []  # (first, last, at, end)
    out: dict[Ref, int] = {}
    for s in made:
        uses = [i for i, k in enumerate(kernels) if s.ref in (*k.reads, *k.writes)]
        at = 0
        for _, last, lo, hi in sorted(taken, key=lambda t: t[2]):
            if last + REST >= uses[0] and at < hi and lo < at + s.nbytes:
                at = round_up(hi, 64)
        out[s.ref] = at
        taken.append((uses[0], uses[-1], at, at + s.nbytes))
    return out, round_up(max((end for *_, end in taken), default=0), 64)
