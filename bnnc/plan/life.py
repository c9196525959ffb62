"""The life of a buffer: which kernels make and read it, why it exists and is packed so, when it is alive, what shares
its bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..ir.ref import Ref, Side
from ..sched.kernel import Kernel
from .pack import PackedSchedule
from .place import Placed
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


def _sides(placed: Placed, b: Buffer) -> list[tuple[PackedSchedule, Side]]:
    """The schedules that a buffer may be of: a state is of both."""
    return [x for x in placed.packed.sides if b.region == "state" or b.ref.side is x[1]]


def _value(k: Kernel, value: Ref) -> str:
    """What a kernel computes for a value, with the names in it."""
    lines = dict(line.split(" = ", 1) for line in k.equations())
    said, todo = [f"%{value} = {lines[f'%{value}']}"], [lines[f"%{value}"]]
    while todo:
        for name in re.findall(r"(?<![%.\w])[a-z]\w*", todo.pop()):
            if name in lines:
                todo.append(text := lines.pop(name))
                said.append(f"{name} = {text}")
    return said[0] + (f", where {', '.join(said[1:])}" if said[1:] else "")


def sections(placed: Placed) -> tuple[tuple[str, int, int], ...]:
    """(name, first step, step behind the last) of the timeline's parts: forward, backward with updates, test.  What an
    optimiser computes once, its rate, may run before all else.
    """
    kernels, steps = placed.train.kernels, len(placed.plan.steps)
    behind = [i for i, k in enumerate(kernels) if k.where.phase != "forward"]
    first = next((i for i in behind if kernels[i].where.phase == "backward"), behind[0] if behind else len(kernels))
    middle = 1 + first
    end = len(kernels) + 2
    return ("forward", 0, middle), ("back+update", middle, end), ("test", end, steps)


def life(placed: Placed, b: Buffer) -> Life:
    """That of a buffer of the plan."""
    plan = placed.plan
    made: list[tuple[str, str]] = []
    why: list[str] = []
    read: list[str] = []
    strips = 1
    for ps, side in _sides(placed, b):
        own = b.ref.on(Side.TRAIN)  # in the schedule
        for k in ps.kernels:
            outputs, step = [o for o in k.outputs if ps.place(o.ref, side) is b.ref], f"{side.value}{k.name}"
            made += [(step, _value(k, o.ref)) for o in outputs]
            why += [reason for o in outputs for reason in o.why]
            read += [step] if own in k.reads else []
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
