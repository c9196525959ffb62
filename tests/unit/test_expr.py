"""Expressions: what is one node, what it is called, and how people read it."""

from __future__ import annotations

import re

import pytest
from helpers import plan, spec

from bnnc import driver
from bnnc.ir.dtype import Packing
from bnnc.ir.ref import Ref, Side
from bnnc.sched.expr import LONG, Expr, Written, role
from bnnc.sched.text import print_schedule


def load(name: str) -> Expr:
    return Expr("load", (), Ref(name), "f32", (4, 8))


def op(name: str, *args: Expr, hint: str = "") -> Expr:
    return Expr(name, args, None, "f32", (4, 8), hint)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Ref("dense1.weight.m", side=Side.EVALUATION), "weight_m"),
        (Ref("dense1.wb", Packing.ROWS), "wb"),
        (Ref("loss1.mul.3"), "mul"),
        (Ref("conv1.y", copy=3), "y"),
        (Ref("labels"), "labels"),
    ],
)
def test_a_value_is_called_as_its_layer_does(value: Ref, name: str) -> None:
    assert role(value) == name


def test_a_name_tells_no_two_nodes_apart() -> None:
    a, b = op("abs", load("x"), hint="size"), op("abs", load("x"), hint="length")
    assert a == b and hash(a) == hash(b) and len({a, b}) == 1
    assert list(op("add", a, b).walk()) == [load("x"), a, op("add", a, a)]


def test_a_name_stays_where_a_value_is_put_in() -> None:
    e = op("add", op("abs", load("x"), hint="size"), load("y"), hint="sum").substitute({Ref("x"): load("z")})
    assert (e.hint, e.args[0].hint, str(e)) == ("sum", "size", "(abs(%z) + %y)")


def test_what_is_shared_is_written_once() -> None:
    size = op("abs", op("sub", load("x"), load("y"), hint="d"), hint="size")
    first, second = op("mul", size, size), op("add", size, load("y"))
    written = Written([first, second])
    assert (written.of(first), written.lines) == ("(size * size)", ["size = abs(%x - %y)"])
    assert (written.of(second), written.lines) == ("(size + %y)", ["size = abs(%x - %y)"])


def test_names_that_meet_are_numbered() -> None:
    a, b = (op("abs", load(x), hint="size") for x in "xy")
    e = op("add", op("mul", a, a), op("mul", b, b))
    written = Written([e])
    assert (written.of(e), written.lines) == (
        "((size * size) + (size2 * size2))",
        ["size = abs(%x)", "size2 = abs(%y)"],
    )


def test_of_two_long_texts_the_first_gets_a_name() -> None:
    """The same in every process, whose sets may have another order."""
    for i in range(20):
        first, second = (op("sqrt", load(f"{x * (LONG // 2)}{i:02}"), hint=x) for x in "ab")
        written = Written([e := op("add", first, second)])
        assert (written.of(e), [line[:4] for line in written.lines]) == (
            f"(a + sqrt(%{'b' * (LONG // 2)}{i:02}))",
            ["a = "],
        )


def test_no_text_is_long() -> None:
    e = load("x")
    for i in range(60):
        e = op("add", e, op("sqrt", load(f"value{i}")), hint="part")
    written = Written([e])
    assert len(written.of(e)) <= LONG and all(len(x) <= LONG + len("part99 = ") for x in written.lines)
    whole = written.of(e)  # nothing is lost
    for line in reversed(written.lines):
        name, _, text = line.partition(" = ")
        whole = re.sub(rf"\b{name}\b", f"({text})", whole)
    assert re.findall(r"value\d+", whole) == [f"value{i}" for i in range(60)]


def test_generated_kernels_are_written_in_the_names_of_the_network() -> None:
    """In C, in Triton, and in the comments of both."""
    text = spec((8, 6, 3))
    for target, kernels in (("host", "net_kernels.h"), ("triton", "net_triton.py")):
        source = driver.emit_source(driver.plan_text(driver.Options(text, target=target))).text[kernels]
        for name in ("psi_b", "weight_m_new", "weight_v_sqrt_new"):
            code = {"host": rf"^ +const vf {name} = ", "triton": rf"^ {{8,}}{name} = "}[target]
            comment = {"host": rf"^ \*   {name} = ", "triton": rf"^    {name} = "}[target]
            assert re.search(code, source, re.M) and re.search(comment, source, re.M), (target, name)
        assert not re.search(r"\bx\d+\b", source) and not re.search(r"\.\.\.$", source, re.M)


def test_dumps_fit_on_a_screen() -> None:
    orders = [plan(spec((8, 6, 3), rule=rule)).trace.results["order"] for rule in ("edge", "standard")]
    texts = [print_schedule(s) for both in orders for s in both]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 120
