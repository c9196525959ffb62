"""BNNC_VERIFY=2: every pass is run before and after on the same inputs, and a pass that changes a value is caught.

The Programs are interpreted, the Schedules run kernel by kernel, and the Plan on the bytes of its arena.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from helpers import plan, spec
from programs import EMPTY, HAND, fused, module, program

from bnnc import driver, knobs
from bnnc import validate as validation
from bnnc.diag import InternalError
from bnnc.ir.program import Module
from bnnc.passes import run_passes
from bnnc.plan.types import Plan
from bnnc.sched.expr import Expr
from bnnc.sched.kernel import Kernel
from bnnc.sched.order import order
from bnnc.validate import observe, validate

ALL = ("simplify", "fuse", "sink", "place")


@pytest.mark.parametrize("disable", [(), ALL, *((p,) for p in ALL)], ids=lambda d: "-".join(d) or "none")
@pytest.mark.parametrize(
    "net",
    [
        spec((33, 17, 10)),
        spec((33, 17, 10), rule="standard", kind="f32"),
        spec((33, 17, 10), optimizer="bop", kind="bit"),
        spec((17, 9, 10), rule="standard", norm="l1", surrogate="quadratic", loss="squared_hinge", optimizer="sgd"),
        spec((5, 1, 2), batch=1),
    ],
    ids=["edge", "standard", "bop", "sgd", "one"],
)
def test_every_pass_keeps_all_bits(net: str, disable: tuple[str, ...]) -> None:
    plan(net, verify=2, disable=disable)


def test_the_environment_asks_for_it() -> None:
    assert knobs.read({"BNNC_VERIFY": "2"}).verify == 2


def run_with(name: str, broken: Callable[[Any], Any]) -> None:
    """The middle passes with one whose result is tampered with."""
    model = driver.check_text(driver.Options(spec((33, 17, 10), rule="standard", kind="f32")))

    def run(ir: Any, o: Any) -> Any:
        return broken(original.run(ir, o))

    original = next(p for p in driver.MIDDLE if p.name == name)
    passes = tuple(replace(p, run=run, verify=None) if p.name == name else p for p in driver.MIDDLE)
    run_passes(passes, model, driver.Options(""), knobs.Knobs(verify=2))


def swap_subtraction(m: Module) -> Module:
    ops = list(m.train.ops)
    i = next(i for i, op in enumerate(ops) if op.kind == "sub")
    ops[i] = replace(ops[i], inputs=ops[i].inputs[::-1])
    return replace(m, train=replace(m.train, ops=tuple(ops)))


def lose_update(m: Module) -> Module:
    return replace(m, train=replace(m.train, updates=m.train.updates[1:]))


def kernel_with(s: Any, i: int, k: Kernel) -> Any:
    return replace(s, train=replace(s.train, kernels=(*s.train.kernels[:i], k, *s.train.kernels[i + 1 :])))


def change_constant(s: Any) -> Any:
    """The first constant in any stored expression, doubled."""
    for i, k in enumerate(s.train.kernels):
        for j, o in enumerate(k.outputs):
            for e in o.expr.walk():
                if e.op == "const" and e.attr not in (0.0, 1.0):

                    def twice(x: Expr, e: Expr = e) -> Expr:
                        return replace(e, attr=2 * e.attr) if x == e else replace(x, args=tuple(map(twice, x.args)))

                    out = (*k.outputs[:j], replace(o, expr=twice(o.expr)), *k.outputs[j + 1 :])
                    return kernel_with(s, i, replace(k, outputs=out))
    raise AssertionError("no constant")


def swap_states(s: Any) -> Any:
    """Two updates in place that go to each other's state."""
    (a, x), (b, y), *rest = sorted(s.train.in_place, key=lambda pair: not pair[1].value.startswith("batchnorm1.beta."))
    return replace(s, train=replace(s.train, in_place=((a, y), (b, x), *rest)))


def move_buffer(placed: Any) -> Any:
    """One temporary on top of another one that is alive at the same time."""
    plan_: Plan = placed.plan
    temps = [b for b in plan_.live(plan_.peak_step) if b.region == "temp"]
    moved = replace(temps[1], offset=temps[0].offset)
    return replace(
        placed, plan=replace(plan_, buffers=tuple(moved if b.name == moved.name else b for b in plan_.buffers))
    )


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("simplify", swap_subtraction),
        ("simplify", lose_update),
        ("fuse", change_constant),
        ("sink", change_constant),
        ("order", swap_states),
        ("pack", change_constant),
        ("place", move_buffer),
    ],
    ids=lambda x: x if isinstance(x, str) else x.__name__,
)
def test_a_pass_that_changes_a_value_is_named(name: str, broken: Callable[[Any], Any]) -> None:
    with pytest.raises(InternalError, match=f"in pass `{name}`: InternalError: train: .*(changed|is gone)"):
        run_with(name, broken)


def test_minus_zero_is_a_change() -> None:
    """x + 0 is not the identity: it turns -0.0 into 0.0; x * 1 is."""
    head = "input %x: f32[1, 1]\n"
    a = program(
        head + "%z = const() {value=-0.0} : f32[1, 1]  @forward\n%y = abs(%z) : f32[1, 1]  @forward\nresult loss %y"
    )
    b = program(
        head + "%z = const() {value=-0.0} : f32[1, 1]  @forward\n%y = neg(%z) : f32[1, 1]  @forward\nresult loss %y"
    )
    c = program(
        head + "%z = const() {value=-0.0} : f32[1, 1]  @forward\n%y = copy(%z) : f32[1, 1]  @forward\nresult loss %y"
    )
    validate(Module(HAND, a, EMPTY), Module(HAND, b, EMPTY))
    with pytest.raises(InternalError, match="train: result loss changed"):
        validate(Module(HAND, a, EMPTY), Module(HAND, c, EMPTY))


def test_updates_in_place_take_effect_at_once() -> None:
    text = """
        input %x: f32[4, 5]
        state %w: f32[1, 5] = ('param', 'const', 0.5, 0)
        %n = neg(%w) : f32[1, 5]  @update
        %r = mul(%x, %w) : f32[4, 5]  @forward
        update %w <- %n
        result loss %r
    """
    s = order(fused(text, on=False))
    validate(module(text), s)
    late = replace(s, train=replace(s.train, kernels=s.train.kernels[::-1]))
    with pytest.raises(InternalError, match="r changed|result loss changed"):
        validate(module(text), late)


def test_each_form_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pass gave is known when the next is validated; what a pass left as it was is not run again."""
    ran: list[str] = []

    def counted(ir: Any, env: Any) -> Any:
        ran.append(type(ir).__name__)
        return observe(ir, env)

    monkeypatch.setattr(validation, "observe", counted)
    plan(spec((9, 5, 3), batch=4), verify=2, disable=("sink",))
    assert ran == [*["Module"] * 3, *["Scheduled"] * 2, "Packed", "Placed"]  # sink and strip left it as it was


def test_what_cannot_be_run_is_said() -> None:
    with pytest.raises((InternalError, AttributeError)):
        validate("text", "text")
