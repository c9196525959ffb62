"""A kernel's comment is its contract, read back from the emitted text: types and bytes are the plan's, and what the
interpreter sees on random data lies in the ranges.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from helpers import plan, sequence_spec, spec

from bnnc import driver
from bnnc.backends.c.bodies import Call, calls
from bnnc.ir.dtype import INTEGERS
from bnnc.plan.cost import kernel_costs
from bnnc.validate import inputs, run_kernels

NETS = {
    "edge": spec((70, 33, 33, 10), batch=20),
    "bytes": spec((70, 33, 10), kind="u8", rule="standard", batch=20),
    "bop": spec((33, 17, 10), optimizer="bop", kind="bit", batch=20),
    "bep": spec((40, 33, 10), kind="bit", rule="bep", batch=20, body="  dense 33; sign;\n").replace("batchnorm;", ""),
    "rnn": sequence_spec(6, 9, 35, 33, 3, "dense 15; sign;", batch=20),
}
OPERAND = re.compile(
    r"^ \*     (\w+) +(\w+)\[(\d+), (\d+)\][^;]*; (\d+) bytes (read and written|read|written)(?:; (-?\d+)\.\.(-?\d+))?$"
)


@dataclass(frozen=True)
class Operand:
    dtype: str
    shape: tuple[int, int]
    nbytes: int
    read: bool
    written: bool
    range: tuple[int, int] | None


def contracts(text: str) -> dict[str, dict[str, Operand]]:
    """Of each kernel, by name, its operands by what the function calls them."""
    out: dict[str, dict[str, Operand]] = {}
    for comment in re.findall(r"^/\*\n(.*?)^ \*/\nBNNC_KERNEL ", text, re.M | re.S):
        found = {}
        for m in filter(None, map(OPERAND.match, comment.splitlines())):
            how, ends = m[6], (int(m[7]), int(m[8])) if m[7] else None
            found[m[1]] = Operand(m[2], (int(m[3]), int(m[4])), int(m[5]), "read" in how, "written" in how, ends)
        whose, _, _ = comment.partition("\n *   ")
        for name in re.findall(r"\w+", re.sub(r"\([^)]*\)", "", whose)):
            out[name] = found
    return out


@pytest.mark.parametrize("name", NETS)
def test_contracts_are_the_plans(name: str) -> None:
    planned = plan(NETS[name])
    stated = contracts(driver.emit_source(planned).text[f"{planned.model.name}_kernels.h"])
    made = calls(planned.placed)
    costs = [c for ps in planned.placed.packed for c in kernel_costs(ps)]
    assert [x.name for x in made] and set(stated) == {x.name for x in made}
    for call, cost in zip(made, costs, strict=True):
        operands = stated[call.name]
        assert tuple(operands) == call.body.pointers
        for n in {*call.kernel.reads, *call.kernel.writes}:
            s, o = call.schedule.storage[n], operands[call.body.pointers[call.pointer[n]]]
            assert (o.dtype, o.shape, o.nbytes) == (s.dtype, s.shape, s.nbytes)
            assert (o.range is not None) == (s.dtype in INTEGERS and s.dtype != "bit")
            assert o.read if n in call.kernel.reads else o.written
        assert sum(o.nbytes * (o.read + o.written) for o in operands.values()) == cost.moved


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", NETS)
def test_what_the_interpreter_sees_lies_in_the_ranges(name: str, seed: int) -> None:
    planned = plan(NETS[name])
    stated = contracts(driver.emit_source(planned).text[f"{planned.model.name}_kernels.h"])
    seen = 0
    for ps in planned.placed.packed:
        program = ps.program
        env = inputs(program, seed)
        for s in program.states:  # what an update keeps them in
            if s.limit:
                env[s.name] = np.clip(env[s.name], -s.limit, s.limit - 1)
        values = env | run_kernels(ps, {}, dict(env))
        for call in (x for x in calls(planned.placed) if x.schedule is ps):
            seen += check(call, stated[call.name], values)
    assert seen > 5


def check(call: Call, operands: dict[str, Operand], values: dict[str, Any]) -> int:
    """How many operands lie in their ranges, which all must."""
    n = 0
    for name in {*call.kernel.reads, *call.kernel.writes}:
        o = operands[call.body.pointers[call.pointer[name]]]
        if o.range is not None and str(name) in values:
            x = values[str(name)]
            assert o.range[0] <= x.min() and x.max() <= o.range[1], (call.name, name)
            n += 1
    return n
