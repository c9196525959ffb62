"""freeze: a network that only predicts gives the classes and scores of the evaluation, bit for bit."""

from __future__ import annotations

import nets
import numpy as np
import pytest

from bnnc import driver
from bnnc.diag import BnncError
from bnnc.ir import interp
from bnnc.ir.program import Program
from bnnc.ir.text import print_program

RNG = np.random.default_rng(11)
ALL = nets.DENSE | nets.IMAGES | nets.REAL
QUICK = ("edge-adam-keep", "standard-l1", "local-one-output", "rnn", "edge-hinge", "pool-integers", "numbers")
TINY = (
    "network tiny { input bit[8]; dense 3; batchnorm; sign; dense 2; loss squared_hinge; }\n"
    "rule standard; train { batch = 4; }\n"
)


def trained(p: Program) -> dict[str, np.ndarray]:
    """States as training might leave them; some norms turn the order round by no channel, or by a small psi all."""
    states = interp.init_states(p, 1)
    for s in p.states:
        v = states[s.name]
        if s.role == "stat":
            states[s.name] = (RNG.normal(size=v.shape) * 3).astype(v.dtype)
        elif s.role == "param" and v.dtype.kind == "f":
            states[s.name] = RNG.normal(size=v.shape).astype(v.dtype)
    return states


def frozen(text: str) -> tuple[Program, Program, dict[str, np.ndarray]]:
    """The evaluation, the step that only predicts, and the states."""
    p = driver.plan_text(driver.Options(text, scores=True)).trace.results["expand"].evaluate
    states = trained(p)
    weights = {s.name: states[s.name] for s in p.states if s.exported}
    planned = driver.plan_text(driver.Options(text, weights=weights))
    assert planned.placed.plan.state_bytes == 0 and planned.report.batch == 1
    return p, planned.trace.results["freeze"].train, states


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in ALL if n not in QUICK)])
def test_every_prediction_keeps_its_bits(name: str) -> None:
    p, f, states = frozen(ALL[name])
    v, labels = p.value["x"], p.value["labels"]
    rows = v.shape[0] // labels.shape[0]
    x = {
        "u8": RNG.integers(0, 256, v.shape).astype(np.uint8),
        "bit": np.where(RNG.random(v.shape) < 0.5, 1, -1).astype(np.int8),
        "f32": RNG.normal(size=v.shape).astype(np.float32),
    }[v.dtype]
    want = interp.run(p, {"x": x, "labels": np.zeros(labels.shape, np.uint8), **states})
    assert not f.states and "labels" not in f.value
    for i in range(min(3, labels.shape[0])):
        got = interp.run(f, {"x": x[i * rows : (i + 1) * rows]})
        for role, n in f.results:
            given = want[dict(p.results)[role]][i : i + 1]
            assert got[n].tobytes() == given.tobytes(), role


def test_signs_of_whole_numbers_are_thresholds() -> None:
    """No float is left before the last sign; a column whose factor is negative is turned round."""
    text = TINY.replace("batchnorm;", "batchnorm scale = on;", 1)
    p, _, states = frozen(text)
    weights = {s.name: states[s.name] for s in p.states if s.exported}
    weights |= {
        "batchnorm1.mean": np.array([[1.5, -2.25, 0.0]], np.float32),
        "batchnorm1.psi": np.array([[2.0, 1.0, 1.0]], np.float32),
        "batchnorm1.beta": np.array([[0.0, 0.5, 100.0]], np.float32),
        "batchnorm1.gamma": np.array([[1.0, -2.0, 1.0]], np.float32),
    }
    f = driver.plan_text(driver.Options(text, weights=weights)).trace.results["freeze"].train
    constants = {c.name: interp.constant_array(f.value[c.name], c)[0].tolist() for c in f.constants}
    assert constants["sign1.out.turned"] == [1, -1, 1]
    assert constants["sign1.out.at_least"][:2] == [2, 2]  # x >= 1.5; 2 (x + 2.25) <= 0.5, so -x >= 2
    assert constants["sign1.out.at_least"][2] < -8  # whatever x is
    shown = print_program(f)
    assert "%sign1.mul = mul(%dense1.y, %sign1.out.turned) : i32" in shown and "batchnorm1" not in shown


def test_latent_weights_of_8_bits_may_be_given_as_what_they_stand_for() -> None:
    """As `--export` writes them: the same constants."""
    text = TINY.replace("standard; train {", "edge(state = i8); train { optimizer = sgd;")
    p, f, states = frozen(text)
    weights = {s.name: interp.real(s, states[s.name]) for s in p.states if s.exported}
    assert weights["dense1.weight"].dtype == np.float32 and states["dense1.weight"].dtype == np.int8
    assert driver.plan_text(driver.Options(text, weights=weights)).trace.results["freeze"].train == f


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"dense1.weight": None}, "`dense1.weight` is missing"),
        ({"dense1.weight": np.zeros((8, 4), np.float32)}, r"`dense1.weight` has shape \[8, 4\]"),
        ({"dense1.weight": np.zeros((8, 3), np.int16)}, "`dense1.weight` is int16"),
        ({"dense1.weight": np.full((8, 3), np.nan, np.float32)}, "`dense1.weight` holds values that are no numbers"),
    ],
)
def test_weights_of_another_network(change: dict[str, np.ndarray | None], why: str) -> None:
    p, _, states = frozen(TINY)
    weights = {s.name: states[s.name] for s in p.states if s.exported} | change
    with pytest.raises(BnncError, match=why) as e:
        driver.plan_text(driver.Options(TINY, weights={n: x for n, x in weights.items() if x is not None}))
    assert e.value.exit_code == 6
