"""`local` with one output: labels 0 and 1 of real data, learnt by the executable; its weights are the interpreter's."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import bnnc
from bnnc import rng
from bnnc.ir import interp
from bnnc.lower.differentiate import differentiate
from bnnc.lower.expand import expand

datasets = pytest.importorskip("sklearn.datasets")
TEXT = """
network NAME {
  input u8[FEATURES] sign(threshold = 128);
  dense 75; sign; dense 45; sign;
  dense 1; loss;
}
rule local(group = [25, 15], bits = 8, reinforce = 0.25, OPTIONS);
train { batch = 50; epochs = 12; seed = 3; }
"""
pytestmark = [pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"), pytest.mark.usefixtures("one_level")]


def bits(x: np.ndarray, thresholds: int) -> np.ndarray:
    """Each column as a thermometer of its own quantiles, 0 or 255."""
    at = np.quantile(x, np.linspace(0, 1, thresholds + 2)[1:-1], axis=0)
    return np.where(x[:, :, None] >= at.T[None], 255, 0).astype(np.uint8).reshape(len(x), -1)


def cancer() -> tuple[np.ndarray, np.ndarray]:
    """Breast cancer Wisconsin: 569 samples, 30 features, 63 % of label 1."""
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return bits(x, 5), y.astype(np.uint8)


def three_or_not() -> tuple[np.ndarray, np.ndarray]:
    """Digits: is it a 3?  10 % are, so always no is right in 90 %; every second other digit is left out: 82 %."""
    x, y = datasets.load_digits(return_X_y=True)
    keep = (y == 3) | (np.arange(len(y)) % 2 == 0)
    return bits(x + 0.01 * np.arange(64) % 1, 3)[keep], (y[keep] == 3).astype(np.uint8)


def network(name: str, features: int, options: str = "r = 0.25") -> bnnc.Network:
    return bnnc.parse(TEXT.replace("NAME", name).replace("FEATURES", str(features)).replace("OPTIONS", options))


@pytest.mark.parametrize(("data", "least"), [(cancer, 0.92), pytest.param(three_or_not, 0.93, marks=pytest.mark.slow)])
def test_two_classes_are_learnt(data, least):
    x, y = data()
    order = np.random.default_rng(0).permutation(len(y))
    test, fit = order[: len(y) // 4], order[len(y) // 4 :]
    program = network(data.__name__, x.shape[1]).compile()
    before = program.evaluate(x[test], y[test]).accuracy
    history = program.fit(x[fit], y[fit])
    after = program.evaluate(x[test], y[test])
    assert after.accuracy >= least > before, (before, after, history)


def test_the_executable_computes_what_the_interpreter_says():
    x, y = cancer()
    x, y = x[:200], y[:200]
    net = network("same", x.shape[1], "freeze_first = on")
    program = net.compile()
    program.fit(x, y, epochs=1)
    model = program.model
    train = differentiate(expand(model)).train
    start = states = interp.init_states(train, 3)
    pm1 = np.where(x >= 128, 1, -1).astype(np.int8)
    scalars = {"seed": 3, "errors": 1, "samples": 1, "stage": 0}
    for step in range(len(y) // 50):
        index = rng.order(3, 0, len(y), np.arange(50 * step, 50 * step + 50))
        env = {k: np.array([[v]], np.int32) for k, v in {**scalars, "tick": step + 1}.items()}
        _, states = interp.step(train, {**states, **env, "x": pm1[index], "labels": y[index][:, None]})
    for name, w in program.weights.items():
        assert (w == states[name]).all(), name
        assert (w == start[name]).all() == (name == "dense1.weight")
