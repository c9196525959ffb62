"""The life of a buffer: which kernels make and read it, why it exists and is packed so, when it is alive, what shares
its bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..sched.kernel import Kernel
from .pack import PackedSchedule
from .place import EVAL, Placed
from .types import Buffer


@dataclass(frozen=True)
class Life:
    """``made``: kernels with what they compute; ``why``: what the passes decided, in their order; ``alive``: the first
    and the last step of it, of ``steps``; ``strips``: into how many a loop cuts it, holding one at a time, else 1.
    """

    buffer: Buffer
    made: tuple[tuple[str, str], ...]
    why: tuple[str, ...]
    read: tuple[str, ...]
    alive: tuple[str, str]
    steps: int
    strips: int
    shares: tuple[str, ...]


def _sides(placed: Placed, b: Buffer) -> list[tuple[PackedSchedule, str]]:
    """The schedules that a buffer may be of, with the prefix of their steps: a state is of both."""
    both = list(zip(placed.packed, ("", EVAL), strict=True))
    return [x for x in both if b.region == "state" or b.name.startswith(EVAL) == (x[1] == EVAL)]


def _value(k: Kernel, value: str) -> str:
    """What a kernel computes for a value, with the names in it."""
    lines = dict(line.split(" = ", 1) for line in k.equations())
    said, todo = [f"%{value} = {lines[f'%{value}']}"], [lines[f"%{value}"]]
    while todo:
        for name in re.findall(r"(?<![%.\w])[a-z]\w*", todo.pop()):
            if name in lines:
                todo.append(text := lines.pop(name))
                said.append(f"{name} = {text}")
    return said[0] + (f", where {', '.join(said[1:])}" if said[1:] else "")


def life(placed: Placed, name: str) -> Life:
    """That of a buffer of the plan; KeyError where there is none of this name."""
    plan, b = placed.plan, placed.plan.buffer[name]
    made: list[tuple[str, str]] = []
    why: list[str] = []
    read: list[str] = []
    strips = 1
    for ps, prefix in _sides(placed, b):
        alias = {v: state for v, state in ps.schedule.alias}
        own = name.removeprefix(EVAL) if b.region != "state" else name
        for k in ps.kernels:
            outputs = [o for o in k.outputs if alias.get(o.value, o.value) == own]
            made += [(prefix + k.name, _value(k, o.value)) for o in outputs]
            why += [reason for o in outputs for reason in o.why]
            read += [prefix + k.name] if own in k.reads else []
        strips = next((loop.parts for loop in ps.loops if own in loop.inside), strips)
    return Life(
        b,
        tuple(made),
        tuple(dict.fromkeys(why)),
        tuple(read),
        (plan.steps[b.first].name, plan.steps[b.last].name),
        len(plan.steps),
        strips,
        tuple(o.name for o in plan.buffers if o is not b and o.offset < b.end and b.offset < o.end),
    )
