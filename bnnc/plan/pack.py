"""pack: Scheduled -> Packed.  Every value gets a storage format; one-bit values get the packing their readers want.

A product reads its one-bit operands word by word along the summed axis; which packing that is depends on the product
(:meth:`.Anchor.wants`).  Where readers want several, the producer stores several (``value@0``, ``value@2``); where the
producer cannot (a state, an input, an epilogue), a copying map kernel makes the other form just before its first
reader.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from ..ir.dtype import ONE_BIT, Packing
from ..ir.program import Both, Program
from ..ir.ref import Ref
from ..ir.sequence import ROWS
from ..sched.anchor import Map
from ..sched.expr import Expr
from ..sched.kernel import Kernel, Output, Schedule, Scheduled
from .types import Loop, Storage


@dataclass(frozen=True)
class PackedSchedule:
    """A Schedule whose kernels name storages.  ``constants``: storages that are embedded in the program, not placed.
    ``loops``: what runs strip by strip (:mod:`.strip`)."""

    schedule: Schedule
    kernels: tuple[Kernel, ...]
    storages: tuple[Storage, ...]
    constants: tuple[Storage, ...] = ()
    loops: tuple[Loop, ...] = ()

    @property
    def program(self) -> Program:
        return self.schedule.program

    @cached_property
    def storage(self) -> dict[str, Storage]:
        """Storages and constants by name."""
        return {s.name: s for s in (*self.storages, *self.constants)}

    def __str__(self) -> str:
        """Kernels in order, those of a loop over strips indented below it, then the storages."""
        out, loops = [f"packed {self.program.name}"], {loop.first: loop for loop in self.loops}
        inside = {i for loop in self.loops for i in range(loop.first, loop.last + 1)}
        for i, k in enumerate(self.kernels):
            if loop := loops.get(i):
                axis = ("rows", "columns")[loop.axis]
                held = f" holding {', '.join(sorted(loop.inside))}" if loop.inside else ""
                out.append(f"loop over {loop.parts} strips of {axis}: kernels {loop.first} to {loop.last}{held}")
            reads = ", ".join(f"%{n}" for n in k.reads)
            out.append(
                f"{'  ' * (i in inside)}{k.name}: {', '.join(f'%{n}' for n in k.writes)} <- {k.anchor.title}({reads})"
            )
        out += [f"storage %{s.name}: {s}, {s.nbytes} bytes" for s in self.storages]
        out += [f"constant %{s.name}: {s}, {s.nbytes} bytes" for s in self.constants]
        return "\n".join(out) + "\n"


@dataclass(frozen=True)
class Packed(Both[PackedSchedule]):
    """Both packed Schedules of a network."""


def _by_row(k: Kernel) -> list[str]:
    """One-bit values of which a map reads other rows than its own: they must be packed along columns."""
    return [a.attr for e in k.exprs() for x in e.walk() if x.op in ROWS for a in x.args if a.dtype in ONE_BIT]


def _reader(k: Kernel) -> str:
    return f"the {k.anchor.title} that makes {k.writes[0]}"


def _packing(packing: Packing) -> str:
    return {
        Packing.ROWS: "32 rows a word",
        Packing.COLUMNS: "32 columns a word",
        Packing.COLUMNS_ACROSS: "32 columns a word, words of all rows side by side",
    }[packing]


class _Packer:
    def __init__(self, s: Schedule) -> None:
        self.s, self.p = s, s.program
        self.constant = {c.name for c in s.program.constants}
        self.value = {**self.p.value, **{f"{st}.new": self.p.value[st] for st, _ in self.p.updates}}
        self.storages: dict[str, Storage] = {}
        self.kernels: list[Kernel] = []
        wants: dict[str, set[Packing]] = {}
        self.wanted: dict[tuple[str, Packing], str] = {}  # (value, packing): the first reader that wants it
        for k in s.kernels:
            for name, packing in (*k.anchor.wants(), *((name, Packing.COLUMNS) for name in _by_row(k))):
                wants.setdefault(name, set()).add(packing)
                self.wanted.setdefault((name, packing), _reader(k))
        made_by = {o.value: k for k in s.kernels for o in k.outputs}
        fixed = {n for n, _ in s.alias} | {v for _, v in self.p.results}
        self.free = {n for n in made_by if made_by[n].anchor.packs and n not in fixed}
        self.base = {n: next(iter(w)) if n in self.free and len(w) == 1 else Packing.COLUMNS for n, w in wants.items()}
        self.extra = {n: [p for p in Packing if p in w and p is not self.base[n]] for n, w in wants.items()}

    def explained(self, o: Output) -> Output:
        """With the reader that its packing is for."""
        packing = self.base.get(o.value, Packing.COLUMNS)
        reader = self.wanted.get((o.value, packing))
        return o.because(f"pack: {_packing(packing)}, for {reader}") if reader else o

    def stored(self, name: str, packing: Packing) -> str:
        """The storage of a value that holds this packing: its own, or a copy."""
        return name if packing is self.base.get(name, Packing.COLUMNS) else str(Ref(name, packing))

    def add(self, storage: str, packing: Packing = Packing.COLUMNS) -> None:
        """Make a storage, unless there is one; only bits have a packing."""
        v = self.value[Ref.parse(storage).value]
        packing = packing if v.dtype in ONE_BIT else Packing.COLUMNS
        self.storages.setdefault(storage, Storage(storage, v.dtype, v.shape, packing))

    def run(self) -> PackedSchedule:
        """The kernels, numbered anew with the copies that they need, and all storages."""
        for name in (*self.p.inputs, *(st.name for st in self.p.states)):
            self.add(name)
        for k in self.s.kernels:
            self.kernel(k)
        named = tuple(
            replace(k, name=f"k{i:02d}_{k.name.split('_', 1)[1] if k.name.startswith('k') else k.name}")
            for i, k in enumerate(self.kernels)
        )
        constant = {s.name: Ref.parse(s.name).value in self.constant for s in self.storages.values()}
        placed, embedded = (tuple(s for s in self.storages.values() if constant[s.name] == b) for b in (False, True))
        return PackedSchedule(self.s, named, placed, embedded)

    def kernel(self, k: Kernel) -> None:
        """Append a kernel that reads each operand in the packing that it wants, and before it the copies that are
        missing."""
        change = {}
        for name, packing in k.anchor.wants():
            storage = self.stored(name, packing)
            v = self.value[name]
            load = Expr("load", (), name, v.dtype, v.shape)
            if storage not in self.storages and name not in self.constant:
                made = Output(storage, load).because(f"pack: a copy, {_packing(packing)}, for {_reader(k)}")
                self.kernels.append(Kernel(Map(), v.shape, (made,), k.where, f"repack_{name.replace('.', '_')}"))
            self.add(storage, packing)
            change[name] = replace(load, attr=storage)
        for name in k.reads:
            if name in self.constant and name not in change:
                self.add(name)
        if change:
            k = replace(k, anchor=k.anchor.mapped(lambda e: e.substitute(change)))
        outputs = []
        for o in k.outputs:
            self.add(o.value, self.base.get(o.value, Packing.COLUMNS))
            outputs.append(self.explained(o))
            if o.value in self.free:
                for packing in self.extra.get(o.value, ()):
                    reason = f"pack: {_packing(packing)}, for {self.wanted[o.value, packing]}, beside {o.value}"
                    copy = str(Ref(o.value, packing))
                    outputs.append(replace(o, value=copy).because(reason))
                    self.add(copy, packing)
        self.kernels.append(replace(k, outputs=tuple(outputs)))


def pack(s: Scheduled) -> Packed:
    """Both Schedules with a storage for each value."""
    return Packed(s.model, _Packer(s.train).run(), _Packer(s.evaluate).run())
