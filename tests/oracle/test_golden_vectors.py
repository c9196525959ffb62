"""One step of the integer rules, worked out by hand: K = [5, 4, 3], C = 3, two samples, no reinforcement.

In the interpreter and in C.  Weights are [fan_out, fan_in] as in the papers.
"""

from __future__ import annotations

import helpers
import numpy as np
import pytest

from bnnc import driver
from bnnc.ir import interp
from bnnc.ir.program import Program
from bnnc.rules import integer, local

H1 = [[4, 1, 2, 4, 1], [2, 3, -2, -4, -2], [-2, 3, 4, -4, 0], [3, -3, 3, -3, 0]]
H2 = [[3, -2, -1, -2], [2, -2, 4, 0], [0, 0, 1, 0]]
P = [[1, 1, -1], [-1, 1, 1], [1, -1, 1]]
P1 = [[1, -1, 1, 1], [-1, 1, 1, -1], [1, 1, -1, -1]]
X = [[-1, -1, -1, -1, -1], [-1, -1, 1, 1, -1]]
Y = [0, 2]
AFTER_BEP = {
    "dense1.weight": [[2, -1, 4, 6, -1], [4, 5, 0, -2, 0], [-2, 3, 4, -4, 0], [3, -3, 3, -3, 0]],
    "dense2.weight": [[3, -2, -1, -2], [0, 0, 2, -2], [-2, -2, -1, -2]],
}
LOCAL_CHANGE = [[-2, -2, 2, 2, -2], [2, 2, 2, 2, 2], [-2, -2, -2, -2, -2], [0, 0, 0, 0, 0]]  # of the first layer
RULES = {
    "bep": "bep(r = 0.5, nu = 0.5, reinforce = 0, bits = 4, group = [2, 3])",
    "local": "local(r = 0.25, reinforce = 0, bits = 4, group = [2, 3])",
}
SPEC = """network golden {
  input bit[5];
  dense 4; sign;
  dense 3; sign;
  dense 3;
  loss;
}
rule RULE;
train { batch = 2; }
"""


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors' own classifiers."""

    def prototypes(cx: object, number: int, classes: int, width: int) -> np.ndarray:
        return np.array(P1 if number else P, np.int8)

    monkeypatch.setattr(integer, "prototypes", prototypes)
    monkeypatch.setattr(local, "prototypes", prototypes)


def environment() -> dict[str, np.ndarray]:
    env = {
        "x": np.array(X, np.int8),
        "labels": np.array(Y, np.uint8)[:, None],
        "dense1.weight": np.array(H1, np.int8),
        "dense2.weight": np.array(H2, np.int8),
    }
    return env | {k: np.array([[v]], np.int32) for k, v in dict(tick=1, seed=1, errors=1, samples=1, stage=0).items()}


def planned(rule: str) -> driver.Planned:
    return helpers.plan(SPEC.replace("RULE", RULES[rule]))


def step(rule: str) -> tuple[Program, interp.Env, interp.Env]:
    """The Program of a training step, all its values, and the states after it."""
    p = planned(rule).trace.results["simplify"].train
    return p, *interp.step(p, environment())


def test_back_propagated_targets(vectors: None) -> None:
    _, out, new = step("bep")
    assert out["dense1.z"].tolist() == [[-5, 1, -1, -1], [-1, -3, -1, -1]]
    assert out["dense2.z"].tolist() == [[0, -4, -2], [2, -2, -4]]
    assert out["loss1.margin"].tolist() == [[0], [0]]
    assert out["dense2.gate"].astype(int).tolist() == [[1, 0, 1], [1, 1, 0]]
    assert out["dense2.v"].tolist() == [[0, -2, -2, -2], [0, 0, -2, -2]]
    assert out["dense2.target"].tolist() == [[1, -1, -1, -1], [1, 1, -1, -1]]
    assert {k: new[k].tolist() for k in AFTER_BEP} == AFTER_BEP
    assert out["dense1.flips"][:, 0].tolist() == [2, 2, 0, 0] and out["dense2.flips"][:, 0].tolist() == [
        0,
        2,
        4,
    ]  # sign(0) = +1
    assert out["trigger.triggers"].item() == 2


def test_local_errors(vectors: None) -> None:
    p, out, new = step("local")
    logits = next(
        op.output for op in p.ops if op.kind == "contract" and op.layer == "dense1" and op.phase == "backward"
    )
    assert out[logits].tolist() == [[-4, 2, 2], [-2, 0, 0]]
    assert (new["dense1.weight"].astype(int) - np.array(H1)).tolist() == LOCAL_CHANGE


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("level", helpers.levels_of())
@pytest.mark.parametrize("rule", RULES)
def test_c_computes_the_vectors(vectors: None, rule: str, level: int, threads: int) -> None:
    """The generated program's training step, with the vectors' weights, samples and classifiers."""
    lib = helpers.Library(planned(rule), every_level=True)
    lib.arena[:] = 0xEE
    env = environment()
    lib.set_states(env)
    lib.step(lib.train, env, level, threads)
    after = {k: x.tolist() for k, x in lib.states().items()}
    if rule == "bep":
        assert after == AFTER_BEP
    else:
        assert (np.array(after["dense1.weight"]) - np.array(H1)).tolist() == LOCAL_CHANGE
        helpers.assert_same(lib.states(), {k: step(rule)[2][k] for k in after})
