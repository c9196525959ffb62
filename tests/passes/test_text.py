"""Programs as text: parse(print(p)) == p, and what verify refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import plan, spec
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import program

from bnnc.diag import InternalError
from bnnc.ir.program import Builder, Counter, Module, Program
from bnnc.ir.text import parse_program, print_program
from bnnc.ir.verify import verify_program


def same(a: Program, b: Program) -> bool:
    """Equal but for spans (not compared) and Regions; values may be listed in another order."""
    return replace(a, regions=(), values=()) == replace(b, regions=(), values=()) and a.value == b.value


@pytest.mark.parametrize("name", ["expand", "differentiate", "simplify"])
@pytest.mark.parametrize("rule", ["edge", "standard(state = f16, clip = off)"])
def test_round_trip_of_what_passes_make(rule: str, name: str) -> None:
    module: Module = plan(spec(rule=rule)).trace.results[name]
    for p in module:
        text = print_program(p)
        again = parse_program(text)
        assert same(again, p)
        assert print_program(again) == text
        verify_program(again)


SHAPES = [(1, 1), (1, 5), (4, 1), (4, 5)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_round_trip_of_random_programs(data: st.DataObject) -> None:
    b = Builder(Program("train", (), (), (), ()))
    values = [b.input("x", (4, 5), data.draw(st.sampled_from(["f32", "u8", "bit", "f16"])))]
    values.append(b.state("l.w", (5, 4), "f32", "weight", "uniform", 0.5))
    for _ in range(data.draw(st.integers(1, 25))):
        b.layer, b.phase = (
            data.draw(st.sampled_from(["", "dense1", "loss"])),
            data.draw(st.sampled_from(["forward", "backward", "update"])),
        )
        x = data.draw(st.sampled_from(values))
        kind = data.draw(st.sampled_from(["const", "col", "sign", "cast", "reduce", "add", "contract", "abs"]))
        if kind == "const":
            y = b.const(data.draw(st.floats(allow_nan=False, width=32)))
        elif kind == "col":
            y = b.op("col", cols=data.draw(st.integers(1, 9)))
        elif kind == "cast":
            y = b.op("cast", x, dtype=data.draw(st.sampled_from(["f16", "f32"])))
        elif kind == "reduce":
            y = b.op(
                "reduce",
                x,
                how=data.draw(st.sampled_from(["sum", "max", "argmax"])),
                axis=data.draw(st.sampled_from([0, 1])),
            )
        elif kind == "add":
            y = x + data.draw(st.sampled_from([v for v in values if v.shape == x.shape]))
        elif kind == "contract":
            y = b.op("contract", values[0], values[1], form="nn")
        else:
            y = b.op(kind, x)
        values.append(y)
    b.results += [("loss", values[-1].name), (Counter("flips", "dense1", share=True), values[0].name)]
    p = b.finish(keep=data.draw(st.sampled_from([None, ("bit", "bool")])))
    verify_program(p)
    assert same(parse_program(print_program(p)), p)


@pytest.mark.parametrize(
    "text",
    [
        "gibberish",
        "%a = add(%b) : f32[1]  @forward",
        "input x: f32[1, 1]",
        "update %a %b %c %d",
        "%a = add(%b) : f32[1, 1] @forward",
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises((InternalError, ValueError)):
        parse_program("program train keep=None\n" + text)


HEAD = """
    input %x: f32[4, 5]
    state %w: f32[1, 5] = ('param', 'const', 0.0, 0)
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%y = add(%x, %z) : f32[4, 5]  @forward", "before it is defined"),
        ("%y = neg(%x) : f32[5, 5]  @forward", "is not what neg gives"),
        ("%y = neg(%x) : f16[4, 5]  @forward", "is not what neg gives"),
        ("%y = neg(%x) : f32[4, 5]  @sideways", "has phase 'sideways'"),
        ("%y = neg(%x) : f32[4, 5]  @forward\n    %y = abs(%x) : f32[4, 5]  @forward", "defined twice"),
        ("%y = neg(%x) : f32[4, 5]  @forward\n    update %w <- %y", "update w"),
        ("%y = neg(%w) : f32[1, 5]  @forward\n    update %x <- %y", "update x"),
        ("result loss %nothing", "result nothing"),
    ],
)
def test_verify_refuses(text: str, message: str) -> None:
    with pytest.raises(InternalError, match=message):
        program(HEAD + "    " + text)
