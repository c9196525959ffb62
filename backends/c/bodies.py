"""Kernels as C functions, each distinct one once: kernels that differ only by where their operands lie share a body.

A body is ``static void NAME(const uint32_t *at, int tid, int nt)``; ``at`` holds the arena offsets of its operands, a
row of the step's table.  Text, time to compile and the code that the plan counts go down together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from bnnc.ir.ref import Ref
from bnnc.plan.pack import PackedSchedule
from bnnc.plan.place import Placed
from bnnc.sched.expr import Names, role
from bnnc.sched.kernel import Kernel

from ..render import render
from .kernels import POINTER, Memory, kernel_text
from .names import KEYWORDS, ident, operand


@dataclass(frozen=True)
class Body:
    """A function's ``name``, without the instruction set's, and its ``text``: declarations and loops, in which
    ``pointers`` are the operands.  ``shared``: by several kernels, so it reads ``at``."""

    name: str
    text: str
    pointers: tuple[str, ...] = ()
    shared: bool = True


@dataclass(frozen=True)
class Call:
    """A kernel of a step: ``body`` on ``operands``, places in the plan.  ``pointer``: which of the body's a storage
    has.
    """

    name: str
    kernel: Kernel
    schedule: PackedSchedule
    operands: tuple[Ref, ...]
    pointer: dict[Ref, int]
    body: Body

    @property
    def line(self) -> int:
        """Of the spec; 0: of none."""
        return self.kernel.where.line


def identifiers(placed: Placed) -> dict[Ref, str]:
    """For each buffer and embedded constant an identifier of its own: layers may be named so that simple ones would
    meet.
    """
    names = Names()
    places = (*placed.plan.buffer, *(s.ref for ps in placed.packed for s in ps.constants))
    return {n: names.new(ident(n)) for n in dict.fromkeys(places)}


class _Itself:
    """A plan as a key: equal ones may differ in the spec's lines and the names of what is computed."""

    def __init__(self, placed: Placed) -> None:
        self.placed = placed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.placed is other.placed

    def __hash__(self) -> int:
        return id(self.placed)


def unnamed(placed: Placed) -> tuple[Call, ...]:
    """The kernels of the training step, then those of the evaluation step, with bodies that have no names yet.  They
    are what the plan counts, and then what the text is made of.
    """
    return _unnamed(_Itself(placed))


@lru_cache(maxsize=2)
def _unnamed(plan: _Itself) -> tuple[Call, ...]:
    idents = identifiers(plan.placed)
    return tuple(x for ps, side in plan.placed.packed.sides for x in _calls(Memory(ps, side, idents)))


def calls(placed: Placed) -> list[Call]:
    """The kernels of the training step, then those of the evaluation step."""
    idents, made = identifiers(placed), unnamed(placed)
    names, bodies = set[str](), dict[Body, Body]()
    for body, users in distinct(made).items():
        name = function_name(users[0].kernel)
        name = next(x for x in (name, *(f"{name}_{n}" for n in range(2, len(made) + 2))) if x not in names)
        names.add(name)
        named = replace(_named(body, users[0]), name=name, shared=len(users) > 1)
        bodies[body] = named if named.shared else replace(named, text=_alone(named.text, users[0].operands, idents))
    return [replace(x, body=bodies[x.body]) for x in made]


def distinct(made: Sequence[Call]) -> dict[Body, list[Call]]:
    """Each body with the kernels that run it, in their order."""
    out: dict[Body, list[Call]] = {}
    for call in made:
        out.setdefault(call.body, []).append(call)
    return out


def _calls(memory: Memory) -> list[Call]:
    out, ps = [], memory.schedule
    for k in ps.kernels:
        skeleton, operands = kernel_text(k, memory)
        loops = render(f"c/kernels/{skeleton.template}.c.j2", **skeleton.context)
        lines = [*(f"    {d}" for d in operands.decls), *(x for x in loops.splitlines() if x.strip())]
        name, body = f"{memory.side.prefix}{k.name}", Body("", "\n".join(lines) + "\n")
        pointer = {n: int(p.removeprefix(POINTER)) for n, p in operands.pointers.items()}
        out.append(Call(name, k, ps, tuple(operands.places), pointer, body))
    return out


def _named(body: Body, call: Call) -> Body:
    """With pointers named by what a kernel's operands are to their layers, apart from all words of the text."""
    names = Names((*KEYWORDS, "at", *re.findall(r"\b[A-Za-z_]\w*", body.text)))
    first = {i: n for n, i in reversed(call.pointer.items())}
    pointers = tuple(names.new(operand(first[i])) for i in range(len(first)))
    text = re.sub(rf"\b{POINTER}(\d+)\b", lambda m: pointers[int(m[1])], body.text)
    return replace(body, text=text, pointers=pointers)


def _alone(text: str, operands: tuple[Ref, ...], idents: Mapping[Ref, str]) -> str:
    """The text of a function that one kernel runs: constants in the place of ``at`` make it smaller and faster."""
    return re.sub(r"\bat\[(\d+)\]", lambda m: f"AT_{idents[operands[int(m[1])]]}", text)


def function_name(k: Kernel) -> str:
    """``contract_nn_y_100x784x256``: the anchor, what it makes first, extents."""
    extents = k.anchor.extents(k.domain)
    made = role(k.outputs[0].ref)
    return "_".join((*k.anchor.title.split(), made, "x".join(map(str, extents))))
