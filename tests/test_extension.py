"""Adding a layer, a rule, an optimiser and a target is adding data: all four are made here, and no file of bnnc
changes.

The toys are unlike the built-in ones where it matters: a layer without a backward of its own, a rule that attenuates
differently and limits activation gradients, an optimiser without moments for some parameters, a target with other flags
and one instruction set.  The network that uses them all is compared with the interpreter kernel by kernel on both
backends, and trained.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import check_net, check_steps
from helpers import Library, assert_same, batch_of, codes_of, plan, spec
from triton_helpers import TritonLibrary

import bnnc
from bnnc import driver, registry
from bnnc.backends.c.targets import TARGETS, Level
from bnnc.diag import InternalError
from bnnc.ir import interp
from bnnc.ir.program import Program, T
from bnnc.lower.context import Context
from bnnc.model import Layer, TensorType
from bnnc.optim.base import Optimizer, store
from bnnc.registry import LayerDef, Named, Param
from bnnc.rules.base import Rule, cancel
from bnnc.rules.frame import random_prototypes

TEXT = """
network toys {
  input u8[40];
  dense 24; batchnorm; amplify start = 1.25; sign;
  dense 24; batchnorm; amplify; sign;
  dense 6; batchnorm;
  loss;
}
rule timid(limit = 0.01);
train { batch = 30; epochs = 4; optimizer = stubborn(rate = 0.02); }
"""


def files_of_bnnc() -> dict[str, str]:
    """Every source file of the package, hashed."""
    root = Path(bnnc.__file__).parents[1]
    folders = [root / n for n in ("bnnc", "backends", "templates", "grammar")]
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for f in folders
        for p in sorted(f.rglob("*"))
        if p.is_file() and "__pycache__" not in p.parts
    }


# -- what a user would put into a file of their own --------------------------------------------------------------------


def amplify(cx: Context, layer: Layer, x: T) -> T:
    """y = x * gain, one trained gain a channel.  No backward: it is derived from the operations."""
    gain = cx.param(f"{layer.name}.gain", x.shape[1], layer["start"])
    return (cx.real(x) * gain).named("y")


def timid_gradient(cx: Context, g: T) -> T:
    """Activation gradients are limited and stored as f16."""
    limit = cx.rule_args["limit"]
    return g.clip(-limit, limit).to("f16").named("limited")


def timid_weights(cx: Context, w: T, dw: T, fan_in: int) -> tuple[T, float | None]:
    """The sign of dW, attenuated by the cube root of the fan-in."""
    unit = fan_in ** (-1 / 3)
    return cancel(cx, w, dw.sign().named("direction") * unit), unit


def stubborn(cx: Context, w: T, role: str, g: T, unit: float | None, scalars: dict[str, T]) -> None:
    """signSGD: a fixed step against the gradient; parameters that are no weights take a tenth of it."""
    step = scalars["rate"] * (1.0 if role == "weight" else 0.1)
    store(cx, w, w - g.sign().named("against") * step, role)


def rate(cx: Context) -> dict[str, T]:
    return {"rate": (cx.b["lr"] * cx.opt_args["rate"] * 50.0).named("rate")}


def direct_feedback(cx: Context, program: Program) -> None:
    """Direct feedback alignment: the error of the logits reaches every activation through a fixed random matrix."""
    *below, loss = program.regions
    error = cx.backward(loss, cx.b[loss.output])
    assert error is not None
    cx.send(loss.inputs[0], error)
    for number, region in enumerate(reversed(below)):
        if region.kind == "sign":
            shape = cx.b[region.output].shape[1], error.shape[1]
            b = cx.b.constant(f"{region.layer.name}.feedback", random_prototypes(cx.model.seed, number, *shape))
            cx.send(region.output, cx.b.op("contract", error, b, form="nt", name="sent"))
        if (g := cx.gradient(region)) is not None:
            down = cx.backward(region, g, wanted=region.kind != "dense")
            if down is not None:
                cx.send(region.inputs[0], down)


def named_rule(rule: Rule) -> Named[Rule]:
    args = Param("state", "name", "f32", "", ("f32", "f16")), Param("clip", "bool", True)
    return Named("toy", "of a test", args, rule)


@pytest.fixture
def toys() -> Iterator[None]:
    registry.layers.add(
        LayerDef(
            "amplify",
            "a gain",
            (Param("start", "float", 1.0),),
            infer=lambda t, args, body: TensorType("real", t.shape),
            forward=amplify,
        )
    )
    registry.rules.add(
        Named(
            "timid",
            "one-bit gradients, limited",
            (
                Param("limit", "float", 1.0, above=0),
                Param("state", "name", "f32", "", ("f32", "f16")),
                Param("clip", "bool", True),
            ),
            Rule(
                on_wgrad=timid_weights,
                on_grad=timid_gradient,
                layer_defaults={("batchnorm", "kind"): "l1", ("sign", "surrogate"): "quadratic"},
            ),
        )
    )
    registry.optimizers.add(
        Named(
            "stubborn",
            "signSGD",
            (Param("rate", "float", 0.02, above=0), Param("lr", "float", 1.0, above=0)),
            Optimizer(update=stubborn, scalars=rate),
        )
    )
    TARGETS["toaster"] = replace(
        TARGETS["host"],
        name="toaster",
        doc="a test",
        flags=(*TARGETS["host"].flags, "-fno-tree-vectorize"),
        levels=(Level("plain"),),
        threads=1,
        stack=32768,
    )
    yield
    for table, name in (
        (registry.layers, "amplify"),
        (registry.rules, "timid"),
        (registry.optimizers, "stubborn"),
        (TARGETS, "toaster"),
    ):
        del table[name]  # type: ignore[attr-defined]


# -- the tests -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("toys")
def test_toys_compile_and_every_kernel_is_the_interpreters() -> None:
    before = files_of_bnnc()
    for text in (TEXT, TEXT.replace("limit = 0.01", "state = f16, clip = off"), TEXT.replace("u8[40]", "f32[40]")):
        lib = Library(plan(text, target="toaster", verify=2))
        assert check_net(lib, special=True) > 10
        check_steps(lib, 4)
    assert files_of_bnnc() == before


@pytest.mark.usefixtures("toys")
def test_toys_are_triton_kernels_too(tmp_path: Path) -> None:
    """The second backend prints the same expressions: each kernel is the interpreter's, and the trainer is written."""
    pytest.importorskip("triton")
    before = files_of_bnnc()
    planned = plan(TEXT.replace("batch = 30", "batch = 9"), target="triton")
    assert check_net(TritonLibrary(planned), special=True, threads=(1,)) > 10
    program = driver.build_source(driver.emit_source(planned), planned, tmp_path / "toys.py")
    assert "gain" in program.read_text()
    assert files_of_bnnc() == before


@pytest.mark.usefixtures("toys")
def test_who_needs_what_a_rule_does_not_keep_is_told_by_the_reader() -> None:
    """`amplify` has a derived backward, which reads the numbers that batchnorm gives it."""
    text = TEXT.replace("timid(limit = 0.01)", "edge").replace("stubborn(rate = 0.02)", "adam")
    with pytest.raises(bnnc.BnncError) as e:
        bnnc.parse(text)
    found = e.value.diagnostics[0]
    at = text.splitlines()[found.span.line - 1][found.span.col - 1 :]
    assert found.code == "B0503" and "`amplify" in found.message and at.startswith("amplify")


@pytest.mark.usefixtures("toys")
def test_toys_work_on_the_host_and_with_built_in_names() -> None:
    """Each toy with built-in company, at all instruction sets."""
    for text in (
        TEXT,
        TEXT.replace("rule timid(limit = 0.01)", "rule standard").replace("stubborn(rate = 0.02)", "adam"),
        TEXT.replace("stubborn(rate = 0.02)", "sgd").replace("amplify start = 1.25;", "").replace("amplify;", ""),
    ):
        lib = Library(plan(text))
        check_steps(lib, 2)


@pytest.mark.usefixtures("toys")
def test_toys_train() -> None:
    """The program's own step function on a task that can be learnt: the loss falls, and with every pass off it is the
    same.
    """
    results = []
    for disable in ((), ("simplify", "fuse", "sink", "place")):
        lib = Library(plan(TEXT, target="toaster", disable=disable))
        rng = np.random.default_rng(0)
        centres = rng.integers(0, 256, (6, 40))
        lib.set_states(interp.init_states(lib.train.program, 1))
        losses = []
        for t in range(60):
            inputs = batch_of(lib.planned, t)
            y = inputs["labels"]
            inputs["x"] = np.clip(centres[y[:, 0]] + rng.integers(-60, 61, (30, 40)), 0, 255).astype(np.uint8)
            inputs["lr"] = np.full((1, 1), 1 / (1 + t / 20), np.float32)
            losses.append(float(lib.step(lib.train, inputs)["loss"].mean()))
        results.append(lib.states())
        assert math.isfinite(sum(losses))
        assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5]), losses
    assert_same(results[0], results[1], "passes off:")


@pytest.mark.usefixtures("toys")
def test_the_derived_gradient_is_the_toys_own() -> None:
    """d loss / d gain by finite differences of the interpreted loss (f32, so a coarse bound), on a net without
    `sign`.
    """
    text = spec((5, 4), "f32", "standard", "sgd(lr = 1, momentum = 0)", 12).replace("  loss;", "  amplify;\n  loss;")
    p = plan(text).trace.results["differentiate"].train
    states, inputs = interp.init_states(p, 2), batch_of(plan(text), 1)
    inputs["lr"] = np.ones((1, 1), np.float32)
    loss = dict(p.results)["loss"]
    _, new = interp.step(p, {**states, **inputs})
    gradient = (states["amplify1.gain"] - new["amplify1.gain"])[0]
    for i in range(4):
        ends = []
        for h in (-0.01, 0.01):
            moved = states["amplify1.gain"].copy()
            moved[0, i] += h
            ends.append(interp.run(p, {**states, **inputs, "amplify1.gain": moved})[loss].astype(np.float64).mean())
        assert abs((ends[1] - ends[0]) / 0.02 - gradient[i]) < 1e-3


@pytest.mark.usefixtures("toys")
@pytest.mark.optimized
def test_toys_build_into_a_trainer(tmp_path: Path) -> None:
    planned = plan(TEXT, target="toaster")
    program = driver.build_source(driver.emit_source(planned), planned, tmp_path / "toys")
    assert program.stat().st_size > 10_000


def test_without_the_toys_the_spec_is_refused() -> None:
    assert {"B0202", "B0204"} <= set(codes_of(TEXT))


# -- rules that only replace the propagation, and what every rule must do ----------------------------------------------

PLAIN = """
network plain {
  input u8[40];
  dense 24; batchnorm; sign;
  dense 24; batchnorm; sign;
  dense 6; batchnorm;
  loss;
}
rule toy;
train { batch = 30; microbatch = 3; optimizer = sgd(lr = 0.1); }
"""
DEFAULTS = {("batchnorm", "kind"): "l2", ("sign", "surrogate"): "ste"}


@pytest.fixture
def rule(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Registers rule `toy`, made of the fields that are given."""

    def register(**fields: Any) -> None:
        made = Rule(on_wgrad=lambda cx, w, dw, fan_in: (dw, None), layer_defaults=DEFAULTS, **fields)
        monkeypatch.setitem(registry.rules, "toy", named_rule(made))

    return register


def test_what_a_rule_does_not_decide_is_the_first_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule without `layer_defaults`."""
    made = Rule(on_wgrad=lambda cx, w, dw, fan_in: (dw, None))
    monkeypatch.setitem(registry.rules, "toy", named_rule(made))
    planned = plan(PLAIN)
    assert {(y.kind, k): y[k] for y in planned.model.layers for kind, k in DEFAULTS if y.kind == kind} == DEFAULTS
    registry.rules["toy"] = named_rule(replace(made, layer_defaults=DEFAULTS))
    assert planned.trace.results["simplify"] == plan(PLAIN).trace.results["simplify"]


def losses(lib: Library, batches: int) -> list[float]:
    """Of batches in parts, on a task that can be learnt, as the program trains."""
    rng, parts = np.random.default_rng(0), lib.planned.model.microbatch
    centres = rng.integers(0, 256, (6, 40))
    lib.set_states(interp.init_states(lib.train.program, 1))
    found = []
    for t in range(parts * batches):
        inputs = batch_of(lib.planned, t)
        y = inputs["labels"]
        inputs["x"] = np.clip(centres[y[:, 0]] + rng.integers(-60, 61, (len(y), 40)), 0, 255).astype(np.uint8)
        inputs["lr"] = np.full((1, 1), 0.1, np.float32)
        found.append(float(lib.step(lib.train, inputs)["loss"].mean()))
    return found


def test_a_rule_that_replaces_the_propagation_trains_in_parts(rule: Callable[..., None]) -> None:
    """Direct feedback alignment is one function: the optimiser and the parts of a batch are bnnc's."""
    rule(propagate=direct_feedback)
    lib = Library(plan(PLAIN, verify=2))
    names = {v.name for v in lib.train.program.values}
    assert "sign1.feedback" in names and "sign2.feedback" in names and "dense1.weight.sum" in names
    check_steps(lib, 6)
    found = losses(lib, 40)
    assert np.mean(found[-9:]) < 0.5 * np.mean(found[:9]), found
    rule()
    assert losses(Library(plan(PLAIN)), 2)[3:] != found[3:6]


def test_a_rule_without_an_argument_that_is_read_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Rule(on_wgrad=lambda cx, w, dw, fan_in: (cancel(cx, w, dw), None), layer_defaults=DEFAULTS)
    for params, name in (((), "state"), (named_rule(made).params[:1], "clip")):
        monkeypatch.setitem(registry.rules, "toy", Named("toy", "of a test", params, made))
        with pytest.raises(InternalError, match=f"`toy` has no argument `{name}`"):
            plan(PLAIN)


def test_a_rule_that_forgets_parameters_is_told_which(rule: Callable[..., None]) -> None:
    """Whether the rule brings its propagation, or the whole backward pass."""

    def weights_only(cx: Context, program: Program) -> None:
        for s in program.trained:
            if s.role == "weight":
                cx.wgrad(s.name, cx.b[s.name] * 0.5)

    def own_updates(cx: Context, program: Program) -> None:
        cx.b.phase = "update"
        for s in program.trained:
            if s.role == "weight":
                cx.b.update(cx.b[s.name], cx.b[s.name] * 0.5)

    whole = PLAIN.replace("microbatch = 3; ", "")
    shifts = ("batchnorm1.beta", "batchnorm2.beta", "batchnorm3.beta")
    for text, fields in ((PLAIN, {"propagate": weights_only}), (whole, {"backward": own_updates})):
        rule(**fields)
        with pytest.raises(InternalError, match=r"`toy` updates `batchnorm1.beta` 0 times .* `freezes`"):
            plan(text)
        rule(**fields, freezes=lambda model: shifts)
        updated = [s for s, _ in plan(text).trace.results["differentiate"].train.updates]
        assert not {*shifts} & {*updated} and "dense1.weight" in updated


def test_a_rule_does_what_it_says_of_frozen_parameters(rule: Callable[..., None]) -> None:
    rule(freezes=lambda model: ["batchnorm1.beta"])
    with pytest.raises(InternalError, match=r"updates `batchnorm1.beta`, which its `freezes` says stays"):
        plan(PLAIN)
    rule(freezes=lambda model: ["dense9.weight"])
    with pytest.raises(InternalError, match=r"freezes \['dense9.weight'\], which this network does not train"):
        plan(PLAIN)


def test_one_parameter_is_updated_once(rule: Callable[..., None]) -> None:
    def twice(cx: Context, program: Program) -> None:
        cx.b.phase = "update"
        for s in (*program.trained, program.trained[0]):
            cx.b.update(cx.b[s.name], cx.b[s.name] * 0.5)

    rule(backward=twice)
    with pytest.raises(InternalError, match="updates `dense1.weight` 2 times"):
        plan(PLAIN.replace("microbatch = 3; ", ""))
