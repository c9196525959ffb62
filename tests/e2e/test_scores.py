"""How sure a network is: `predict --proba` and `Program.scores` are the interpreter's numbers, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bnnc
from bnnc import driver
from bnnc.ir import interp

RNG = np.random.default_rng(3)
N = 37  # no multiple of a batch
CLASSES = "network n {{ input {x}; {body} }}\n{rule} train {{ batch = 8; epochs = 2; }}\n"
NETS = {  # spec, role, and how many scores there are
    "softmax": (
        CLASSES.format(x="f32[9]", body="dense 16; batchnorm; sign; dense 4; batchnorm; loss;", rule=""),
        "logits",
        4,
    ),
    "hinge": (
        CLASSES.format(x="u8[9]", body="dense 16; batchnorm; sign; dense 4; batchnorm; loss squared_hinge;", rule=""),
        "scores",
        4,
    ),
    "votes": (
        CLASSES.format(x="bit[9]", body="dense 33; sign; dense 3; loss;", rule="rule bep;"),
        "scores",
        3,
    ),
}


def samples(kind: str) -> np.ndarray:
    """Of an input of 9 values."""
    if kind == "f32":
        return RNG.normal(size=(N, 9)).astype(np.float32)
    return RNG.integers(0, 256, (N, 9)).astype(np.uint8) if kind == "u8" else RNG.random((N, 9)) < 0.5


def scores_of(program: bnnc.Program, x: np.ndarray) -> tuple[np.ndarray, str]:
    """What the evaluation Program gives back, as NumPy runs it on whole batches, and what it is called."""
    module = driver.plan_text(driver.Options(program.model.source, scores=True)).trace.results["expand"]
    p, weights = module.evaluate, program.weights
    states = {
        n: weights[n].astype(v.dtype).reshape(v.shape) if n in weights else v
        for n, v in interp.init_states(p, 0).items()
    }
    role, name = next((r, v) for r, v in p.results if r in ("logits", "scores"))
    out = []
    given = np.where(x, 1, -1).astype(np.int8) if x.dtype == np.bool_ else x
    for at in range(0, len(x), 8):
        rows = given[np.arange(at, at + 8) % len(x)]
        out.append(interp.run(p, {"x": rows, "labels": np.zeros((8, 1), np.uint8), **states})[name])
    return np.concatenate(out)[: len(x)].astype(np.float32), role


@pytest.mark.parametrize("name", ["softmax", *(pytest.param(n, marks=pytest.mark.slow) for n in ("hinge", "votes"))])
def test_scores_are_the_interpreters(name: str, tmp_path: Path) -> None:
    text, role, count = NETS[name]
    program = bnnc.parse(text).compile(scores=True)
    x = samples(program.model.layers[0].output.kind)
    program.fit(x, RNG.integers(0, max(2, count), N))
    want, called = scores_of(program, x)
    got = program.scores(x)
    assert called == role and got.shape == (N, count) and (got.view(np.uint32) == want.view(np.uint32)).all()
    assert (got.argmax(1) == program.predict(x)).all()
    own = ("--test", str(program._work / "predict.bnnd"), "--init", str(program._weights))
    lines = [line.split("\t") for line in program.run(["predict", "--proba", *own]).stdout.splitlines()]
    shown = [json.loads(line) for line in program.run(["predict", "--proba", "--json", *own]).stdout.splitlines()]
    assert [int(k) for k, _ in lines] == [s["class"] for s in shown] == got.argmax(1).tolist()
    if role == "logits":
        p = program.predict_proba(x)
        z = got.astype(np.float64)
        np.testing.assert_allclose(p, np.exp(z) / np.exp(z).sum(1, keepdims=True), rtol=1e-12)
        np.testing.assert_allclose([float(v) for _, v in lines], p.max(1), rtol=1e-5)
        np.testing.assert_allclose([s["probability"] for s in shown], p.max(1), rtol=1e-5)
    else:
        np.testing.assert_allclose([float(v) for _, v in lines], got.max(1), rtol=1e-5)
        assert [s["score"] for s in shown] == pytest.approx(got.max(1).tolist(), rel=1e-5)
        with pytest.raises(bnnc.BnncError, match="knows no probabilities"):
            program.predict_proba(x)


def test_who_gives_no_scores_says_so() -> None:
    net = bnnc.parse(NETS["softmax"][0])
    for target in ("cuda", "triton"):
        with pytest.raises(bnnc.BnncError, match="make no scores"):
            net.compile(target, scores=True)
