"""pack: Scheduled -> Packed.  Every value gets a storage format; one-bit values get the packing their readers want.

A popcount product wants its left operand packed along columns and its right one along rows; a grouped-add product wants
the bits of the summed axis in one word.  Where readers want both, the producer stores both; where the producer cannot
(a state, an input, an epilogue), a copying map kernel makes the second form (``value@0``) just before its first reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..sched.kernel import Expr, Kernel, Output, Schedule, Scheduled
from .types import Storage

WANTED = {"nn": (1, 0), "nt": (1, 1), "tn": (0, 1)}  # packed axis of (left, right) that holds the summed axis


@dataclass(frozen=True)
class PackedSchedule:
    """A Schedule whose kernels name storages."""

    schedule: Schedule
    kernels: tuple[Kernel, ...]
    storages: tuple[Storage, ...]

    @property
    def storage(self) -> dict[str, Storage]:
        return {s.name: s for s in self.storages}


@dataclass(frozen=True)
class Packed:
    """Both packed Schedules of a Module."""

    scheduled: Scheduled
    train: PackedSchedule
    evaluate: PackedSchedule

    def __iter__(self) -> Iterator[PackedSchedule]:
        return iter((self.train, self.evaluate))

    def __str__(self) -> str:
        return "\n".join(f"{p.schedule.program.name}\n" + "\n".join(f"  {s.name}: {s}, {s.nbytes} bytes" for s in p.storages)
                         for p in self)


def _bit_operands(k: Kernel) -> list[tuple[str, int]]:
    """(value, wanted axis) of one-bit contraction operands."""
    if k.kind != "contract":
        return []
    out = []
    for e, axis in zip((k.a, k.b), WANTED[k.form], strict=True):
        if e is not None and e.dtype == "bit" and e.op == "load":
            out.append((e.attr, axis))
    return out


def pack_one(s: Schedule) -> PackedSchedule:
    p = s.program
    base = {**{n: n for n in p.value}, **{f"{st}.new": st for st, _ in p.updates}}
    made_by = {o.value: i for i, k in enumerate(s.kernels) for o in k.outputs}
    wants: dict[str, set[int]] = {}
    for k in s.kernels:
        for name, axis in _bit_operands(k):
            wants.setdefault(name, set()).add(axis)
    kernels: list[Kernel] = []
    storages: dict[str, Storage] = {}
    fixed = set(p.inputs) | p.state_names | {n for n, _ in s.alias} | {v for _, v in p.results}
    only0 = {n for n, w in wants.items() if w == {0} and n in made_by and n not in fixed
             and s.kernels[made_by[n]].kind == "map"}  # packed along rows only
    done: set[str] = set()

    def stored(name: str, axis: int) -> str:
        """The storage a reader uses for (value, axis)."""
        return f"{name}@0" if axis == 0 and name not in only0 else name

    def add(name: str, axis: int) -> None:
        v = p.value[base[name.removesuffix("@0")]]
        storages.setdefault(name, Storage(name, v.dtype, v.shape, axis if v.dtype in ("bit", "bool") else 1))

    for name in (*p.inputs, *(st.name for st in p.states)):
        add(name, 1)
    for k in s.kernels:
        for name, axis in _bit_operands(k):
            copy = stored(name, axis)
            if axis == 0 and name not in only0 and copy not in done:  # not made by its producer: copy it now
                v = p.value[name]
                kernels.append(Kernel("map", v.shape, (Output(copy, Expr("load", (), name, v.dtype, v.shape)),), phase=k.phase,
                                      layer=k.layer, span=k.span, name=f"repack_{name.replace('.', '_')}"))
                add(copy, 0)
                done.add(copy)
        axes = dict(_bit_operands(k))
        change = {n: Expr("load", (), stored(n, a), p.value[n].dtype, p.value[n].shape) for n, a in axes.items()}
        if k.kind == "contract":
            assert k.a is not None and k.b is not None
            k = replace(k, a=k.a.substitute(change), b=k.b.substitute(change))
        outputs = list(k.outputs)
        for o in k.outputs:
            add(o.value, 0 if o.value in only0 else 1)
            if 0 in wants.get(o.value, set()) and o.value not in only0 and o.value not in fixed and k.kind == "map":
                outputs.append(Output(f"{o.value}@0", o.expr))
                add(f"{o.value}@0", 0)
                done.add(f"{o.value}@0")
        kernels.append(replace(k, outputs=tuple(outputs)))
    named = tuple(replace(k, name=f"k{i:02d}_{k.name.split('_', 1)[1] if k.name.startswith('k') else k.name}")
                  for i, k in enumerate(kernels))
    return PackedSchedule(s, named, tuple(storages.values()))


def pack(s: Scheduled) -> Packed:
    return Packed(s, pack_one(s.train), pack_one(s.evaluate))
