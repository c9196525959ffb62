"""Programs and Schedules as text: parse(print(x)) == x, what is no such text, and what verify refuses."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from fuzz.generate import draw
from helpers import plan, spec, with_slow
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import STRIPS, on
from programs import program

from bnnc.diag import InternalError
from bnnc.ir.program import Builder, Counter, Module, Program
from bnnc.ir.ref import Ref
from bnnc.ir.text import parse_program, print_program
from bnnc.ir.verify import verify_program
from bnnc.plan.pack import PackedSchedule
from bnnc.plan.text import parse_packed, print_packed
from bnnc.sched.anchor import ANCHORS
from bnnc.sched.kernel import Schedule
from bnnc.sched.text import parse_schedule, print_schedule

ROOT = Path(__file__).parents[2]


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
    ("text", "place", "reason"),
    [
        ("gibberish", "2, column 1", "nothing known begins like this"),
        ("%a = add(%b) : f32[1]  @forward", "2, column 19", "a matrix has rows and columns"),
        ("%a = add(%b) : f8[1, 1]  @forward", "2, column 16", "expected a dtype: bit, bool"),
        ("%a = add(%b, c) : f32[1, 1]  @forward", "2, column 14", "expected `%` and a name"),
        ("%a = add(%b) {k=[1]} : f32[1, 1]  @forward", "2, column 17", "expected a number, a text in quotes"),
        ("%a = add(%b) : f32[1, 1]  # no phase", "2, column 27", "expected `@` and a phase"),
        ("input x: f32[1, 1]", "2, column 7", "expected `%` and a name"),
        ("\n  # a comment\n  state %a: f32[1, 1] = 3", "4, column 25", "expected (role, how it starts"),
        ("update %a %b %c %d", "2, column 11", "expected `<-`"),
        ("update %a <- %b %c", "2, column 17", "expected the end of the line"),
        ("result loss", "2, column 12", "expected `%` and a name"),
        ("update %a <- %b\ninput %x: f32[1, 1]", "3, column 1", "nothing known begins like this"),
    ],
)
def test_other_text_is_refused(text: str, place: str, reason: str) -> None:
    with pytest.raises(InternalError, match=re.escape(f"line {place}: {reason}")):
        parse_program("program train keep=None\n" + text)


def test_the_first_line_says_what_it_is() -> None:
    for parse, form in ((parse_program, "program"), (parse_schedule, "schedule"), (parse_packed, "packed")):
        with pytest.raises(InternalError, match=f"line 1, column 1: expected `{form}`"):
            parse("model train keep=None\n")  # type: ignore[operator]


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


# -- Schedules, packed or not ------------------------------------------------------------------------------------------


@cache
def forms(text: str) -> tuple[tuple[str, Schedule], ...]:
    """Each Schedule that the passes make of a spec, by the pass."""
    results = plan(text).trace.results
    return tuple((name, s) for name in ("fuse", "sink", "order", "pack", "strip") for s in results[name])


def comes_back(text: str) -> None:
    """Every Schedule of a spec is what its text says, and is printed as that again."""
    for name, s in forms(text):
        packed = isinstance(s, PackedSchedule)
        printed = print_packed(s) if isinstance(s, PackedSchedule) else print_schedule(s)
        again = parse_packed(printed) if packed else parse_schedule(printed)
        assert again == s, name
        assert (print_packed(again) if isinstance(again, PackedSchedule) else print_schedule(again)) == printed


EXAMPLES = {p.stem: p for p in sorted((ROOT / "examples").rglob("*.bnn"))}
QUICK = ("digits_bep", "digits_local", "rnn_digits", "rnn_power", "mnist_mlp", "resnete_cifar10")
KEPT = {p.stem: p for p in sorted((ROOT / "tests" / "fuzz" / "corpus").glob("*.bnn"))}


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in EXAMPLES])
def test_round_trip_of_the_schedules_of_examples(name: str) -> None:
    comes_back(EXAMPLES[name].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [n if i % 3 else pytest.param(n, marks=pytest.mark.slow) for i, n in enumerate(KEPT)])
def test_round_trip_of_the_schedules_of_kept_specs(name: str) -> None:
    comes_back(KEPT[name].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", with_slow(STRIPS, list(STRIPS)[1::2]))
def test_round_trip_of_loops_over_strips(name: str) -> None:
    comes_back(on(STRIPS[name]))


@pytest.mark.parametrize(
    "seed", [n if n in (0, 1, 3, 5) else pytest.param(n, marks=pytest.mark.slow) for n in range(60)]
)
def test_round_trip_of_the_schedules_of_random_specs(seed: int) -> None:
    comes_back(draw(seed).spec.text())


def test_quick_round_trips_meet_all_anchors_and_moves() -> None:
    texts = (EXAMPLES["rnn_digits"].read_text(encoding="utf-8"), on(STRIPS["rows"]))
    kernels = [k for text in texts for _, s in forms(text) for k in s.kernels]
    assert {type(k.anchor) for k in kernels} == set(ANCHORS)
    assert {move for k in kernels for _, move in k.moves} == {"rows", "columns", "taps"}
    assert any(o.row_sum for k in kernels for o in k.outputs) and any(n.copy > 1 for k in kernels for n in k.writes)


SCHEDULE = """schedule train keep=None
input %x: f32[4, 5]
state %w: f32[5, 3] = ('weight', 'uniform', 0.5)
kernel [4, 3]  @forward fc1
  acc0 = contract(%x, %w) {form='nn'}
"""


def test_a_schedule_may_be_written_by_hand() -> None:
    """Comments and blank lines mean nothing; a type may stand where it follows, and must where it does not."""
    s = parse_schedule(
        SCHEDULE
        + """
          half = acc0 * 0.5              # a name is what a value is called in texts
          %y: f32[4, 3] = half + (half * half) : f32[4, 3]
          %total: f32[4, 1] = row_sum(max(half, -1.0))
        update %w <- %y
        in place %y -> %w
        """
    )
    (k,) = s.kernels
    y, total = k.outputs
    assert (y.expr.op, y.expr.args[0].hint, y.expr.args[0], k.where.layer) == (
        "add",
        "half",
        y.expr.args[1].args[0],
        "fc1",
    )
    assert total.row_sum and total.expr.args[1].attr == -1.0
    assert s.alias == {Ref("y"): Ref("w")} and s.program.value["total"].shape == (4, 1)
    assert parse_schedule(print_schedule(s)) == s


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("  %y = acc0", "6, column 3", "what type has %y?  `%y: f32[4, 6] = ...`"),
        ("  %y: f32[4, 3] = acc1", "6, column 19", "no acc1 stands above"),
        ("  %y: f32[4, 3] = %z", "6, column 19", "nothing stores %z"),
        ("  %y: f32[4, 3] = acc0 + %x", "6, column 19", "cannot broadcast"),
        ("  %y: f32[4, 3] = acc0 + 1.0 + 2.0", "6, column 30", "expected the end of the line"),
        ("  %y: f32[4, 3] = half", "6, column 19", "no name `half` stands above"),
        ("  %y: f32[4, 3] = halve(acc0)", "6, column 19", "no op `halve`"),
        ("  %y: f32[4, 3] = max(acc0, 1.0", "6, column 32", "expected `,` or `)`"),
        ("  %y: f32[4, 3] = (acc0 + 1.0", "6, column 30", "expected `)`"),
        ("  %y: f32[4, 3] = acc0\n  %y: f32[4, 4] = acc0", "7, column 3", "%y is f32[4, 3]"),
        ("  a = acc0\n  a = acc0", "7, column 3", "`a` is taken"),
        ("  acc1 = contract(%x, %w) {form='nn'}", "6, column 10", "this kernel is a contract nn"),
        ("  acc2 = contract(%x, %w) {form='nn'}", "6, column 10", "the next accumulator is acc1"),
        (
            "kernel [4, 4]  @forward\n  acc0 = contract(%x, %w) {form='nn'}",
            "7, column 10",
            "of this domain it is f32[4, 4]",
        ),
        ("kernel [4, 3]  @forward\n  acc0 = %x", "7, column 10", "no anchor for load"),
        ("loop over 2 strips of rows", "6, column 1", "nothing known begins like this"),
    ],
)
def test_a_mistake_in_a_schedule_is_told_with_its_place(text: str, place: str, reason: str) -> None:
    with pytest.raises(InternalError, match=re.escape(f"line {place}: {reason}")):
        parse_schedule(SCHEDULE + text)


PACKED = """packed train keep=None
input %x: f32[4, 32]
storage %y: f32[4, 16]
"""


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("kernel [4, 32]  @forward\n  %z: f32[4, 32] = %x", "5, column 3", "%z has no storage"),
        ("storage %b: bit[4, 32] 32 rows", "4, column 24", "expected the end of the line"),
        ("loop over 2 strips of words", "4, column 23", "expected rows or columns"),
        ("loop over 2 strips of columns\nkernel [4, 16]  @forward", "5, column 1", "expected a kernel of the loop"),
        (
            "loop over 2 strips of columns\n  kernel [4, 16]  @forward\n    strips of %x by word",
            "6, column 18",
            "expected `by` and rows, columns or taps",
        ),
        ("result loss %z", "5, column 1", "%z has no storage"),
    ],
)
def test_a_mistake_in_a_packed_schedule_is_told_with_its_place(text: str, place: str, reason: str) -> None:
    with pytest.raises(InternalError, match=re.escape(f"line {place}: {reason}")):
        parse_packed(PACKED + text + "\n")
