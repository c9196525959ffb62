"""Programs that only predict say what the trainer's `predict` says, bit for bit, of samples as they are measured."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import nets
import numpy as np
import pytest

import bnnc
from bnnc.ir import interp
from bnnc.lower.expand import expand

RNG = np.random.default_rng(5)
N = 21
NETS = {name: nets.PREDICTING[name] for name in ("encoded", "hinge", "sums", "images", "series", "classes")}

MINE = r"""#include <stdio.h>
#include "net.h"
int main(void) {
    static RAW raw[net_values];
    while (fread(raw, sizeof raw, 1, stdin) == 1) {
        printf("%d", (int)net_predict(raw));
        for (int i = 0; i < net_n_scores; i++) printf(" %.9g", (double)net_scores()[i]);
        puts("");
    }
}
"""


def samples(net: bnnc.Network) -> np.ndarray:
    """As they are measured; of a series some end early."""
    t = net.model.layers[0]["tensor"]
    if t.kind == "u8":
        return RNG.integers(0, 256, (N, *t.shape)).astype(np.uint8)
    x = RNG.normal(size=(N, *t.shape)).astype(np.float32)
    for i in range(N if len(t.shape) == 2 else 0):
        x[i, RNG.integers(1, 7) :] = np.nan
    if "onehot" in net.text:
        x[:, 2] = RNG.integers(0, 3, N)
    return x


@pytest.mark.parametrize("name", ["encoded", *(pytest.param(n, marks=pytest.mark.slow) for n in list(NETS)[1:])])
def test_it_says_what_the_trainer_says(name: str, tmp_path: Path) -> None:
    net = bnnc.parse(NETS[name])
    trainer, x = net.compile(scores=True), samples(net)
    trainer.fit(x, RNG.integers(0, 4, N))
    classes, scores = trainer.predict(x), trainer.scores(x)
    p = net.predictor(trainer.weights)
    assert (p.predict(x) == classes).all() and p.scores(x).tobytes() == scores.tobytes()
    assert p.plan.arena_bytes < trainer.plan.arena_bytes / 5
    np.save(tmp_path / "x.npy", x.reshape(N, -1))
    shown = p.run(["predict", "--test", str(tmp_path / "x.npy"), "--isa", "base"]).stdout
    assert [int(k) for k in shown.split()] == classes.tolist()
    assert net.predictor(trainer._work / "run").source == p.source  # the checkpoint holds the same
    assert_library(p, x, classes, scores, tmp_path)


def assert_library(p: bnnc.Predictor, x: np.ndarray, classes: np.ndarray, scores: np.ndarray, folder: Path) -> None:
    """NAME_predict and NAME_scores, from a program of one's own, compiled as strictly as users may."""
    for path, text in p.source.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "x.raw").write_bytes(x.tobytes())
    raw = "uint8_t" if x.dtype == np.uint8 else "float"
    (folder / "mine.c").write_text(MINE.replace("RAW", raw))
    strict = "gcc -O1 -std=gnu11 -ffp-contract=off -fno-math-errno -Wall -Wextra -Werror -Wconversion"
    library = [*strict.split(), "-DBNNC_LIBRARY", "net.c", "mine.c", "-o", "mine", "-lm"]
    subprocess.run(library, cwd=folder, check=True, capture_output=True)
    done = subprocess.run(["./mine"], cwd=folder, stdin=(folder / "x.raw").open(), check=True, capture_output=True)
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    assert [int(r[0]) for r in rows] == classes.tolist()
    assert np.array([r[1:] for r in rows], np.float32).tobytes() == scores.tobytes()


@pytest.mark.slow
def test_kernels_in_loops() -> None:
    """With `recompute = on` kernels run for one strip after the other."""
    net = bnnc.parse(nets.STRIPS["columns"]).with_(recompute="on")
    p = expand(net.model, True).evaluate
    states = interp.init_states(p, 1)
    predictor = net.predictor({s.name: states[s.name] for s in p.states if s.exported})
    assert predictor.plan.planned.placed.train.loops
    shape, labels = p.value["x"].shape, p.value["labels"].shape
    x = RNG.integers(0, 256, shape).astype(np.uint8)
    want = interp.run(p, {"x": x, "labels": np.zeros(labels, np.uint8), **states})
    scores = next(want[n] for role, n in p.results if role in ("logits", "scores"))
    assert predictor.scores(x.reshape(labels[0], -1)).tobytes() == scores.tobytes()


@pytest.mark.slow
def test_the_command_line(tmp_path: Path) -> None:
    """Compiled from a run's folder; its plan; a file that is not the network's; bits that are bits already."""
    (tmp_path / "net.bnn").write_text(NETS["encoded"])
    net, x = bnnc.load(tmp_path / "net.bnn"), RNG.normal(size=(N, 9)).astype(np.float32)
    trainer = net.compile()
    trainer.fit(x, RNG.integers(0, 4, N))
    run, spec = trainer._work / "run", tmp_path / "net.bnn"

    def bnnc_says(*argv: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "bnnc", *map(str, argv)]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done

    infer = ("--mode", "infer", "--weights")
    made = json.loads(bnnc_says("compile", spec, *infer, run, "--json", "-o", "net").stdout)
    planned = json.loads(bnnc_says("plan", spec, *infer, run, "--json").stdout)
    assert made["arena_bytes"] == planned["arena_bytes"] == 64 and made["state_bytes"] == 0
    assert "arena" in bnnc_says("plan", spec, *infer, run / "slot_a.bnnck").stdout
    assert "belong together" in bnnc_says("compile", spec, "--mode", "infer", code=2).stderr
    assert "no checkpoint there" in bnnc_says("compile", spec, *infer, tmp_path, code=6).stderr
    assert "GPU" in bnnc_says("explain", "B0718").stdout
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "wrong.npy", x[:, :8])
    ask = [str(tmp_path / "net"), "predict", "--test"]
    done = subprocess.run([*ask, "x.npy"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [int(k) for k in done.stdout.split()] == trainer.predict(x).tolist()
    wrong = subprocess.run([*ask, "wrong.npy"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode == 5 and "expected samples of 9 values" in wrong.stderr
    info = subprocess.run([tmp_path / "net", "info"], capture_output=True, text=True, check=True)
    assert re.search(r"^arena +64 ", info.stdout, re.M)
