"""What a function of NAME_kernels.h promises, as the comment above it: who runs it, the equations, and of each operand
its type, the bytes that are read and written, and of whole numbers the range that no data leaves.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

from bnnc.ir.dtype import INTEGERS
from bnnc.ir.ref import Ref
from bnnc.plan.place import Placed
from bnnc.plan.ranges import Range, hull, ranges

from .bodies import Body, Call

WIDTH = 112
Ranges = Mapping[str, Mapping[Ref, Range]]  # by program and storage


def all_ranges(placed: Placed) -> Ranges:
    """Of every value of both steps."""
    return {ps.program.name: ranges(ps) for ps in placed.packed}


def contract(body: Body, users: list[Call], found: Ranges) -> list[str]:
    """The lines of the comment."""
    lines = textwrap.wrap(_whose(users), WIDTH)
    for text in equations(body, users[0]):
        lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="      ", break_long_words=False)
    return [*(x.replace("*/", "* /") for x in lines), *(f"    {x}" for x in operands(body, users, found))]


def _whose(users: list[Call]) -> str:
    """The kernels, and the lines of the spec that they are for."""
    by_line: dict[tuple[str, int], list[str]] = {}
    for x in users:
        by_line.setdefault((x.kernel.where.phase, x.line), []).append(x.name)
    return "; ".join(
        f"{', '.join(names)} ({phase}{f', line {line}' if line else ''})" for (phase, line), names in by_line.items()
    )


def equations(body: Body, call: Call) -> list[str]:
    """What is computed, in the names that the function uses: a state has one before and after, so `=` is C's."""
    name = {str(n): body.pointers[i] for n, i in call.pointer.items()}
    named = (re.sub(r"%([\w.:@~-]+)", lambda m: name.get(m[1], m[1]), x) for x in call.kernel.equations(sizes=True))
    return [x for x in named if len({*x.split(" = ")}) > 1]  # what is shared may be an output, whose name it has then


def operands(body: Body, users: list[Call], found: Ranges) -> list[str]:
    """A line each: name, type, bytes, range."""
    wide = max(map(len, body.pointers))
    return [f"{p:<{wide}}  {_operand(i, users, found)}" for i, p in enumerate(body.pointers)]


def _operand(i: int, users: list[Call], found: Ranges) -> str:
    first, names = users[0], [n for n, at in users[0].pointer.items() if at == i]
    s = first.schedule.storage[names[0]]
    moved = [w for w, of in (("read", first.kernel.reads), ("written", first.kernel.writes)) if {*of} & {*names}]
    text = f"{s}; {s.nbytes} bytes {' and '.join(moved)}"
    if s.dtype not in INTEGERS or s.dtype == "bit":
        return text
    of = [found[x.schedule.program.name][n] for x in users for n, at in x.pointer.items() if at == i]
    return f"{text}; {'..'.join(map(str, hull(*of)))}"
