"""``microbatch = k``: a batch in parts whose gradients add up; weights move once a batch."""

from __future__ import annotations

import numpy as np
import pytest
from checks import check_net, check_steps
from helpers import Library, batch_of, codes_of, plan, spec
from triton_helpers import TritonLibrary

import bnnc
from bnnc import rng
from bnnc.ir import interp
from bnnc.lower.differentiate import differentiate
from bnnc.lower.expand import expand

REAL = "  dense 9 weights = real; relu;\n  dense 7 weights = real bias = on; relu;\n"


def in_parts(text: str, parts: int) -> str:
    return text.replace("train {", f"train {{ microbatch = {parts};")


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "sgd(momentum = 0)"])
def test_the_sum_of_parts_is_the_batch(optimizer: str) -> None:
    """Without normalisation the parts' gradients add up to the batch's, but for f32's rounding."""
    text = (
        f"network net {{ input f32[12];\n{REAL}  dense 5 weights = real; loss; }}\nrule standard;\n"
        f"train {{ batch = 12; optimizer = {optimizer}; }}\n"
    )
    whole, part = plan(text), plan(in_parts(text, 4))
    program = part.trace.results["simplify"].train
    assert program.value["x"].shape[0] == 3
    inputs = batch_of(whole, 1)
    start = interp.init_states(program, 3)
    _, want = interp.step(whole.trace.results["simplify"].train, {**start, **inputs})
    states = start
    for k in range(4):
        assert k == 0 or all((states[n] == start[n]).all() for n in want)
        some = {
            "x": inputs["x"][3 * k : 3 * k + 3],
            "labels": inputs["labels"][3 * k : 3 * k + 3],
            "part": np.full((1, 1), k, np.float32),
        }
        _, states = interp.step(program, {**states, **inputs, **some})
    for n in want:
        assert np.allclose(states[n], want[n], rtol=1e-3, atol=2e-6), n
        assert not (states[n] == start[n]).all()


@pytest.mark.parametrize(
    ("rule", "optimizer"),
    [
        ("edge", "adam"),
        ("edge", "bop(tau = 0.001, gamma = 0.4)"),
        ("edge(state = i8)", "adam(v = elide)"),
        ("standard", "sgd"),
    ],
)
def test_c_computes_what_the_interpreter_says(rule: str, optimizer: str) -> None:
    """Two batches of three parts, every state after every part."""
    planned = plan(in_parts(spec((33, 17, 5), rule=rule, optimizer=optimizer, batch=21), 3))
    check_steps(Library(planned), 6)


@pytest.mark.parametrize(
    ("rule", "optimizer"),
    [
        ("edge", "bop(tau = 0.001, gamma = 0.4)"),
        pytest.param("edge", "adam", marks=pytest.mark.slow),
        pytest.param("standard", "sgd", marks=pytest.mark.slow),
    ],
)
def test_the_gpu_computes_what_the_interpreter_says(rule: str, optimizer: str) -> None:
    lib = TritonLibrary(plan(in_parts(spec((20, 9, 5), rule=rule, optimizer=optimizer, batch=12), 3)))
    assert check_net(lib, special=False, threads=(1,)) > 10
    check_steps(lib, 4)


def test_the_trainer_goes_through_the_batch_in_its_order(one_level: None) -> None:
    """The weights of the executable after an epoch are the interpreter's, fed the same samples part by part."""
    rand = np.random.default_rng(5)
    x, y = rand.integers(0, 256, (50, 11)).astype(np.uint8), rand.integers(0, 4, 50).astype(np.uint8)
    net = bnnc.parse(in_parts(spec((11, 8, 4), kind="u8", batch=12), 3).replace("train {", "train { seed = 3;"))
    program = net.compile()
    program.fit(x, y, epochs=1)
    train = differentiate(expand(program.model)).train
    states = interp.init_states(train, 3)
    for step in range(len(y) // 12):
        for k in range(3):
            index = rng.order(3, 0, len(y), np.arange(12 * step + 4 * k, 12 * step + 4 * k + 4))
            scalars = {"lr": program.model.optimizer["lr"], "step": step + 1, "part": k}
            env = {n: np.array([[v]], np.float32) for n, v in scalars.items()}
            _, states = interp.step(train, {**states, **env, "x": x[index], "labels": y[index][:, None]})
    for name, w in program.weights.items():
        assert (w == states[name]).all(), name


def test_the_plan_needs_less_and_says_what_it_means() -> None:
    text = spec((64, 64, 64, 10), batch=400)
    whole, part = plan(text), plan(in_parts(text, 8))
    assert part.report.arena < whole.report.arena
    sums = [b for b in part.placed.plan.buffers if b.name.endswith(".sum")]
    assert {b.name for b in sums} >= {"dense1.weight.sum", "batchnorm1.beta.sum"} and all(
        b.region == "state" for b in sums
    )


def test_mistakes() -> None:
    assert codes_of(in_parts(spec((8, 5), batch=10), 3)) == ["B0409"]
    assert codes_of(in_parts(spec((9, 15, 4), kind="bit", rule="local", batch=10), 2)) == ["B0409"]
