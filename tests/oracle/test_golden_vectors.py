"""One step of the integer rules, worked out by hand: K = [5, 4, 3], C = 3, two samples, no reinforcement.

In the interpreter; tests/kernels proves that C computes what the interpreter does.  Weights are [fan_out, fan_in] as in the
papers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnnc import driver
from bnnc.ir import interp
from bnnc.ir.program import Module, Program
from bnnc.lower.differentiate import differentiate
from bnnc.lower.expand import expand
from bnnc.lower.simplify import simplify

H1 = [[4, 1, 2, 4, 1], [2, 3, -2, -4, -2], [-2, 3, 4, -4, 0], [3, -3, 3, -3, 0]]
H2 = [[3, -2, -1, -2], [2, -2, 4, 0], [0, 0, 1, 0]]
P = [[1, 1, -1], [-1, 1, 1], [1, -1, 1]]
P1 = [[1, -1, 1, 1], [-1, 1, 1, -1], [1, 1, -1, -1]]
X = [[-1, -1, -1, -1, -1], [-1, -1, 1, 1, -1]]
Y = [0, 2]
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


def with_constants(p: Program, **matrices: list[list[int]]) -> Program:
    """The Program with its classifiers replaced by the vectors' own."""
    def rows(m: list[list[int]]) -> tuple[str, ...]:
        return tuple(f"{sum(1 << c for c, v in enumerate(row) if v > 0):x}" for row in m)

    return replace(p, constants=tuple(replace(c, rows=rows(matrices[c.name.replace(".", "_")])) for c in p.constants))


def environment() -> dict[str, np.ndarray]:
    env = {"x": np.array(X, np.int8), "labels": np.array(Y, np.uint8)[:, None], "dense1.weight": np.array(H1, np.int8),
           "dense2.weight": np.array(H2, np.int8)}
    return env | {k: np.array([[v]], np.int32) for k, v in dict(tick=1, seed=1, errors=1, samples=1, level=0).items()}


def program(rule: str) -> Module:
    model = driver.check_text(driver.Options(SPEC.replace("RULE", rule)))
    return simplify(differentiate(expand(model), model))


def test_back_propagated_targets() -> None:
    p = program("bep(r = 0.5, nu = 0.5, reinforce = 0, bits = 4, group = [2, 3])").train
    p = with_constants(p, classifier=P)
    out, new = interp.step(p, environment())
    assert out["dense1.z"].tolist() == [[-5, 1, -1, -1], [-1, -3, -1, -1]]
    assert out["dense2.z"].tolist() == [[0, -4, -2], [2, -2, -4]]
    assert out["loss1.margin"].tolist() == [[0], [0]]
    assert out["dense2.gate"].astype(int).tolist() == [[1, 0, 1], [1, 1, 0]]
    assert out["dense2.v"].tolist() == [[0, -2, -2, -2], [0, 0, -2, -2]]
    assert out["dense2.target"].tolist() == [[1, -1, -1, -1], [1, 1, -1, -1]]
    assert new["dense1.weight"].tolist() == [[2, -1, 4, 6, -1], [4, 5, 0, -2, 0], [-2, 3, 4, -4, 0], [3, -3, 3, -3, 0]]
    assert new["dense2.weight"].tolist() == [[3, -2, -1, -2], [0, 0, 2, -2], [-2, -2, -1, -2]]
    assert out["dense1.flips"][:, 0].tolist() == [2, 2, 0, 0] and out["dense2.flips"][:, 0].tolist() == [0, 2, 4]  # sign(0) = +1
    assert out["trigger.triggers"].item() == 2


def test_local_errors() -> None:
    p = program("local(r = 0.25, reinforce = 0, bits = 4, group = [2, 3])").train
    p = with_constants(p, classifier=P, dense1_classifier=P1)
    out, new = interp.step(p, environment())
    logits = next(op.output for op in p.ops if op.kind == "contract" and op.layer == "dense1" and op.phase == "backward")
    assert out[logits].tolist() == [[-4, 2, 2], [-2, 0, 0]]
    assert (new["dense1.weight"].astype(int) - np.array(H1)).tolist() == [
        [-2, -2, 2, 2, -2], [2, 2, 2, 2, 2], [-2, -2, -2, -2, -2], [0, 0, 0, 0, 0]]
