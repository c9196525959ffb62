"""Kernels that differ by places alone share a function, which is compiled, and counted, once."""

from __future__ import annotations

import re

import pytest
from helpers import plan, sequence_spec, spec

from bnnc.backends.c import stack
from bnnc.backends.c.bodies import calls, distinct
from bnnc.backends.c.fits import GCC
from bnnc.backends.c.size import bodies_bytes
from bnnc.backends.c.targets import TARGETS
from bnnc.driver import emit_source

NETS = {
    "edge": spec((70, 33, 33, 33, 10)),
    "standard": spec((33, 33, 33, 10), rule="standard", kind="f32"),
    "rnn": sequence_spec(6, 9, 35, 33, 3, "dense 15; sign;", batch=20),
}


@pytest.mark.parametrize("name", NETS)
def test_each_function_is_emitted_once_and_read_by_its_own_words(name: str) -> None:
    planned = plan(NETS[name])
    made = calls(planned.placed)
    found = distinct(made)
    text = emit_source(planned).text[f"{planned.model.name}_kernels.h"]
    assert re.findall(r"^BNNC_KERNEL BNNC_AT_LEVEL\((\w+)\)", text, re.M) == [b.name for b in found]
    for body, users in found.items():
        declared = re.findall(r"\*restrict (\w+) = ", body.text)
        assert tuple(declared) == body.pointers and len(set(declared)) == len(declared)
        assert not [p for p in declared if re.search(rf"\b(int|float|v[fiu]|u?int\d+_t) \*?{p}\b(?! = \()", body.text)]
        assert stack.KERNEL.fullmatch(f"{body.name}_avx2") and ("at[" in body.text) == body.shared == (len(users) > 1)
        assert {len(x.operands) for x in users} == {body.text.count("(bnnc_arena + ")}


def test_equal_layers_add_calls_but_no_functions() -> None:
    three, four = (calls(plan(spec((70, *[33] * n, 10))).placed) for n in (3, 4))
    assert len(four) > len(three) and len(distinct(four)) == len(distinct(three))
    host, fit = TARGETS["host"], GCC["x86"]
    # which evaluation kernels are fused may differ a little
    assert bodies_bytes(four, host, fit, False) < 1.01 * bodies_bytes(three, host, fit, False)


def test_equal_layers_add_no_loops_over_tiles_in_triton() -> None:
    """What kernels share is a function of their pointers; a kernel of one more equal layer is a call of it."""
    for n in (3, 4):
        text = emit_source(plan(spec((70, *[33] * n, 10)), target="triton")).text["net_triton.py"]
        kernels = re.findall(r"^def \w+\(arena", text, re.M)
        loops = re.findall(r"^    for t in .*\n(?: {8}.*\n)+", text, re.M)
        assert len(set(loops)) == len(loops) < len(kernels) - 10 * (n - 2)
        if n == 3:
            before = set(loops)
    assert len(set(loops) - before) == 1  # what an evaluation makes of all norms at once


def test_an_evaluation_shares_with_training() -> None:
    made = calls(plan(spec((70, 33, 10))).placed)
    assert any({x.name.startswith("eval_") for x in users} == {True, False} for users in distinct(made).values())
