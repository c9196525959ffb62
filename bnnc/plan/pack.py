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
from ..ir.program import Both
from ..ir.ref import Ref, Side
from ..ir.sequence import ROWS
from ..sched.anchor import Map
from ..sched.expr import Expr
from ..sched.kernel import Kernel, Output, Schedule, Scheduled, named
from .types import Loop, Storage


@dataclass(frozen=True)
class PackedSchedule(Schedule):
    """A Schedule whose kernels name storages.  ``constants``: storages that are embedded in the program, not placed.
    ``loops``: what runs strip by strip (:mod:`.strip`)."""

    storages: tuple[Storage, ...] = ()
    constants: tuple[Storage, ...] = ()
    loops: tuple[Loop, ...] = ()

    @cached_property
    def storage(self) -> dict[Ref, Storage]:
        """How a value lies, in memory or in the program."""
        return {s.ref: s for s in (*self.storages, *self.constants)}

    @cached_property
    def states(self) -> frozenset[Ref]:
        """What both sides share."""
        return frozenset(map(Ref, self.program.state_names))

    @cached_property
    def embedded(self) -> frozenset[Ref]:
        """The constants."""
        return frozenset(s.ref for s in self.constants)

    @cached_property
    def strips(self) -> dict[str, int]:
        """Of each kernel in a loop, by its name."""
        return {k.name: loop.parts for loop in self.loops for k in self.kernels[loop.first : loop.last + 1]}

    def place(self, n: Ref, side: Side) -> Ref:
        """The buffer of a storage on a side of the plan; a constant is called so there too."""
        n = self.alias.get(n, n)
        return n if n in self.states or n in self.embedded else n.on(side)


@dataclass(frozen=True)
class Packed(Both[PackedSchedule]):
    """Both packed Schedules of a network."""

    @property
    def sides(self) -> tuple[tuple[PackedSchedule, Side], ...]:
        """Without the evaluation of a network that only predicts."""
        return tuple((ps, side) for ps, side in super().sides if ps.kernels)

    @property
    def predicts(self) -> bool:
        """Is there one step, which predicts?"""
        return not self.evaluate.kernels


def _by_row(k: Kernel) -> list[Ref]:
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
        self.constant = {Ref(c.name) for c in s.program.constants}
        self.storages: dict[Ref, Storage] = {}
        self.kernels: list[Kernel] = []
        wants: dict[Ref, set[Packing]] = {}
        self.wanted: dict[tuple[Ref, Packing], str] = {}  # (value, packing): the first reader that wants it
        for k in s.kernels:
            for name, packing in (*k.anchor.wants(), *((name, Packing.COLUMNS) for name in _by_row(k))):
                wants.setdefault(name, set()).add(packing)
                self.wanted.setdefault((name, packing), _reader(k))
        made_by = {o.ref: k for k in s.kernels for o in k.outputs}
        fixed = {n for n, _ in s.in_place} | {Ref(v) for _, v in self.p.results}
        self.free = {n for n in made_by if made_by[n].anchor.packs and n not in fixed}
        self.base = {n: next(iter(w)) if n in self.free and len(w) == 1 else Packing.COLUMNS for n, w in wants.items()}
        self.extra = {n: [p for p in Packing if p in w and p is not self.base[n]] for n, w in wants.items()}

    def explained(self, o: Output) -> Output:
        """With the reader that its packing is for."""
        packing = self.base.get(o.ref, Packing.COLUMNS)
        reader = self.wanted.get((o.ref, packing))
        return o.because(f"pack: {_packing(packing)}, for {reader}") if reader else o

    def stored(self, value: Ref, packing: Packing) -> Ref:
        """The storage of a value that holds this packing: its own, or a copy."""
        return value if packing is self.base.get(value, Packing.COLUMNS) else value.packed(packing)

    def add(self, ref: Ref, packing: Packing = Packing.COLUMNS) -> None:
        """Make a storage, unless there is one; only bits have a packing."""
        v = self.p.value[ref.value]
        packing = packing if v.dtype in ONE_BIT else Packing.COLUMNS
        self.storages.setdefault(ref, Storage(ref, v.dtype, v.shape, packing))

    def run(self) -> PackedSchedule:
        """The kernels with the copies that they need, and all storages."""
        for name in (*self.p.inputs, *(st.name for st in self.p.states)):
            self.add(Ref(name))
        for k in self.s.kernels:
            self.kernel(k)
        constant = {n: Ref(n.value) in self.constant for n in self.storages}
        placed, embedded = (tuple(s for n, s in self.storages.items() if constant[n] == b) for b in (False, True))
        return PackedSchedule(self.p.declared(), named(self.kernels), self.s.in_place, placed, embedded)

    def kernel(self, k: Kernel) -> None:
        """Append a kernel that reads each operand in the packing that it wants, and before it the copies that are
        missing."""
        k, change = self.operands(k)
        for name in k.reads:
            if name in self.constant and name not in change:
                self.add(name)
        outputs = []
        for o in k.outputs:
            self.add(o.ref, self.base.get(o.ref, Packing.COLUMNS))
            outputs.append(self.explained(o))
            if o.ref in self.free:
                for packing in self.extra.get(o.ref, ()):
                    reason = f"pack: {_packing(packing)}, for {self.wanted[o.ref, packing]}, beside {o.ref}"
                    copy = o.ref.packed(packing)
                    outputs.append(replace(o, ref=copy).because(reason))
                    self.add(copy, packing)
        self.kernels.append(replace(k, outputs=tuple(outputs)))

    def operands(self, k: Kernel) -> tuple[Kernel, dict[Ref, list[Expr]]]:
        """The kernel with its anchor's one-bit operands as they are stored, and those by value: one an operand that
        the value is, since a product of a value with itself wants it twice, packed otherwise.
        """
        change: dict[Ref, list[Expr]] = {}
        for name, packing in k.anchor.wants():
            storage = self.stored(name, packing)
            v = self.p.value[name.value]
            load = Expr("load", (), name, v.dtype, v.shape)
            if storage not in self.storages and name not in self.constant:
                made = Output(storage, load).because(f"pack: a copy, {_packing(packing)}, for {_reader(k)}")
                title = f"repack_{str(name).replace('.', '_')}"
                self.kernels.append(Kernel(Map(), v.shape, (made,), k.where, title))
            self.add(storage, packing)
            change.setdefault(name, []).append(replace(load, attr=storage))
        if change:
            todo, first = {n: [*es] for n, es in change.items()}, {n: es[0] for n, es in change.items()}

            def packed(e: Expr) -> Expr:
                if e.op != "load" or e.attr not in change:
                    return e.substitute(first)
                return todo[e.attr].pop(0)

            k = replace(k, anchor=k.anchor.mapped(packed))
        return k, change


def pack(s: Scheduled) -> Packed:
    """Both Schedules with a storage for each value."""
    return Packed(s.model, _Packer(s.train).run(), _Packer(s.evaluate).run())
