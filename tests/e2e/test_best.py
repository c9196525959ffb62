"""The network that held-out samples liked best: kept whatever ends a run, what `eval`, `predict` and `--export` take,
and what `stop = early` waits for.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnnc
from bnnc import data
from bnnc.backends.triton.checkpoint import Store
from bnnc.data import tensors

pytestmark = pytest.mark.usefixtures("one_level")

SPEC = """network net { input f32[4] median; dense 15; batchnorm; sign; dense 3; batchnorm; loss; }
rule edge;
train { batch = 10; epochs = 8; holdout = 0.25; optimizer = adam(lr = 1e-2); STOP }
data { train = bnnd("train.bnnd"); test = bnnd("test.bnnd"); }
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes that overlap, so that accuracies go up and down, and the program, with and without a stop."""
    home = tmp_path_factory.mktemp("best")
    rng = np.random.default_rng(0)
    for name, n in (("train", 120), ("test", 40)):
        y = rng.integers(0, 3, n)
        x = rng.normal(0, 1, (n, 4)) + np.eye(3, 4)[y]
        data.write_bnnd(home / f"{name}.bnnd", data.Dataset(x.astype(np.float32), y.astype(np.uint8)))
    for name, stop in (("net", ""), ("early", "stop = early(patience = 2);")):
        build(SPEC.replace("STOP", stop), home / name)
    return home


def build(text: str, out: Path) -> None:
    program = bnnc.parse(text).compile()  # its folder goes with it
    shutil.copy(program.binary, out)


def go(home: Path, *args: object, program: str = "net", code: int = 0) -> str:
    argv = [f"./{program}", *map(str, args)]
    done = subprocess.run(argv, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def log_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def measured(home: Path, *args: object, program: str = "net") -> dict[str, Any]:
    """What `eval` says of a run's network."""
    found: dict[str, Any] = json.loads(go(home, "eval", "--json", *args, program=program))
    return found


def test_the_best_network_is_kept_and_used(home: Path) -> None:
    said = go(home, "train", "--out", "a", "--log", "a.jsonl", "--export", "a.safetensors")
    *_, end = log = log_of(home / "a.jsonl")
    epochs = [e for e in log if e["event"] == "epoch"]
    best = max(epochs, key=lambda e: e["holdout_acc"])  # the first of equals
    assert len(epochs) == 8 and best["epoch"] < 8, "else this test shows nothing"
    assert (end["best_epoch"], end["best_holdout_acc"]) == (best["epoch"], best["holdout_acc"])
    assert f"epoch {best['epoch']} was best: held out {100 * best['holdout_acc']:.2f} %" in said

    chosen, last, held = (measured(home, "--out", "a", *m) for m in ((), ("--last",), ("--test", "none")))
    assert (chosen["epoch"], chosen["state"], chosen["test_acc"]) == (best["epoch"], best["state"], best["test_acc"])
    assert (last["epoch"], last["state"], last["test_acc"]) == (8, end["state"], end["test_acc"])
    assert (held["state"], held["holdout_acc"]) == (best["state"], best["holdout_acc"])
    text = go(home, "eval", "--out", "a")
    assert f"\nepoch {best['epoch']}, the best on held-out samples (--last: the last one)\n" in text
    assert "best on held-out" not in go(home, "eval", "--out", "a", "--last")
    of_best, of_last = (go(home, "predict", "--out", "a", *m) for m in ((), ("--last",)))
    hits = np.array(of_best.split(), int) == data.read_bnnd(home / "test.bnnd").y
    assert of_best != of_last and hits.mean() == best["test_acc"]

    assert measured(home, "--init", "a.safetensors")["weights_hash"] == best["weights_hash"] != last["weights_hash"]
    go(home, "eval", "--out", "a", "--last", "--export", "last.safetensors")
    one, other = (tensors.read(home / f"{n}.safetensors") for n in ("a", "last"))
    assert any((one[n] != other[n]).any() for n in one)
    cursor = Store(home / "a", best_spec(), (home / "a/best.bnnck").stat().st_size - 512 - 112, 0).load_best()
    assert cursor is not None and cursor[0].best_epoch == cursor[0].epoch == best["epoch"]


def best_spec() -> str:
    return bnnc.parse(SPEC.replace("STOP", "")).model.hash


def test_an_early_stop_waits_for_the_hold_out(home: Path) -> None:
    said = go(home, "train", "--out", "e", "--log", "e.jsonl", "--epochs", "60", "--eval-every", "50", program="early")
    *epochs, end = [e for e in log_of(home / "e.jsonl") if e["event"] != "start"]
    held = [e["holdout_acc"] for e in epochs]
    best = held.index(max(held))
    assert len(epochs) == best + 3 < 60 and end["best_epoch"] == best + 1
    assert all(max(held[: k + 1]) > max(held[: max(0, k - 1)], default=-1) for k in range(1, best + 1)), "not before"
    assert "stopped early" in said and [("test_acc" in e) for e in epochs] == [False] * (len(epochs) - 1) + [True]
    again = go(home, "train", "--out", "e", "--epochs", "60", program="early")
    assert f"state {end['state']}" in again and f"done: {len(epochs)} epochs" in again
    assert "stopped early" not in go(home, "train", "--out", "e8", "--epochs", "1", program="early")


def test_a_run_that_was_killed_keeps_the_same_best_network(home: Path) -> None:
    go(home, "train", "--out", "whole", "--epochs", "6")
    for _ in range(40):
        p = subprocess.Popen(
            ["./net", "train", "--out", "torn", "--epochs", "6", "--save-every", "0"],
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.01)
        p.send_signal(signal.SIGKILL)
        if p.wait() == 0:
            break
    go(home, "train", "--out", "torn", "--epochs", "6")
    assert (home / "torn/best.bnnck").read_bytes() == (home / "whole/best.bnnck").read_bytes()


def test_fit_ends_with_the_best_weights(home: Path) -> None:
    d, t = (data.read_bnnd(home / f"{n}.bnnd") for n in ("train", "test"))
    program = bnnc.parse(SPEC.replace("STOP", "")).compile()
    history = program.fit(d.x, d.y, t.x, t.y)
    best = max(history.epochs, key=lambda e: e.holdout_acc or 0)
    assert (history.best_epoch, history.best_holdout_acc) == (best.epoch, best.holdout_acc)
    found = program.evaluate(t.x, t.y)
    assert (found.weights_hash, found.accuracy) == (best.weights_hash, best.test_acc)


def test_a_network_learns_more_and_from_fewer_samples_than_a_batch(home: Path) -> None:
    """As docs/program.md has it: weights go on with other data, and into a program with a smaller batch."""
    go(home, "train", "--out", "first", "--epochs", "4", "--export", "first.safetensors")
    go(home, "train", "--out", "more", "--init", "first.safetensors", "--epochs", "2", "--lr", "0.0005")
    go(home, "train", "--out", "same", "--init", "first.safetensors", "--steps", "0")
    first, same, more = (
        measured(home, *m) for m in (("--init", "first.safetensors"), ("--out", "same"), ("--out", "more"))
    )
    assert first["weights_hash"] == same["weights_hash"] != more["weights_hash"] and more["epoch"] in (1, 2)
    d = data.read_bnnd(home / "train.bnnd")
    data.write_bnnd(home / "eight.bnnd", data.Dataset(d.x[:8], d.y[:8], classes=3))
    given = ("train", "--init", "first.safetensors", "--train", "eight.bnnd", "--epochs", "1")
    assert "fewer than one batch of 10" in go(home, *given, "--out", "eight", code=5)
    program = bnnc.parse(SPEC.replace("STOP", "")).compile(batch=3)
    shutil.copy(program.binary, home / "net3")
    assert "done: 1 epochs, 2 steps" in go(home, *given, "--out", "eight", program="net3")
    assert "another network, rule or batch size" in go(home, "eval", "--last", "--out", "first", program="net3", code=6)


def test_another_runs_best_network_is_forgotten(home: Path) -> None:
    go(home, "train", "--out", "f", "--epochs", "3")
    go(home, "train", "--out", "f", "--resume", "never", "--steps", "2")
    assert not (home / "f/best.bnnck").exists() and measured(home, "--out", "f")["epoch"] == 0


@pytest.mark.parametrize("at", [600, 8])
def test_a_damaged_best_network_is_an_error(home: Path, at: int) -> None:
    go(home, "train", "--out", f"d{at}", "--epochs", "2")
    path = home / f"d{at}/best.bnnck"
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(bytes(raw))
    for verb in ("eval", "predict"):
        message = go(home, verb, "--out", f"d{at}", code=6)
        assert f"d{at}/best.bnnck is damaged" in message and "--last" in message
    assert measured(home, "--out", f"d{at}", "--last")["epoch"] == 2


def test_no_early_stop_without_held_out_samples(home: Path) -> None:
    d = data.read_bnnd(home / "train.bnnd")
    data.write_bnnd(home / "few.bnnd", data.Dataset(d.x[:11], d.y[:11], classes=3))
    text = SPEC.replace("STOP", "stop = early;").replace("0.25", "0.01")
    build(text, home / "few")
    assert "too few to hold some out" in go(home, "train", "--train", "few.bnnd", program="few", code=5)
    with pytest.raises(bnnc.BnncError, match="`stop = early` needs held-out samples"):
        bnnc.parse(SPEC.replace("STOP", "stop = early;").replace("0.25", "0"))
    assert bnnc.parse(SPEC.replace("STOP", "stop = early;").replace("holdout = 0.25;", "")).model.holdout == 0.1
