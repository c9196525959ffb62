"""Encoders that a trainer fits: what it learns is what it would learn from bits, and thresholds stay what they were."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnnc
from bnnc.data import Dataset, read_bnnd, tensors, write_bnnd
from bnnc.inputs.encode import of_model

LAYERS = (
    "flatten; dense 21; sign; dense 15; sign; dense 4; loss; }\nrule bep(bits = 8);\ntrain { batch = 10; epochs ="
    " 2; }\n"
)
INPUT = "f32[6, 4] thermometer(3, per = channel, onehot = [2], categories = [3], pad_odd = on, lengths = on)"
THRESHOLDS = "input.thresholds"


def sequences(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four classes, up to six steps, channel 2 a category."""
    r = np.random.default_rng(seed)
    y = (np.arange(n) % 4).astype(np.uint8)
    x = (r.normal(0, 1, (n, 6, 4)) + y[:, None, None]).astype(np.float32)
    x[:, :, 2] = r.choice([-1, 0, 5], (n, 6))
    x[np.arange(6) >= r.integers(2, 7, n)[:, None]] = np.nan
    return x, y


@pytest.fixture(scope="module")
def programs() -> Mapping[str, bnnc.Program]:
    net = {name: f"network {name} {{ input {text}; {LAYERS}" for name, text in (("raw", INPUT), ("bits", "bit[6, 14]"))}
    return {name: bnnc.parse(text).compile(target="native", threads=1) for name, text in net.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, n, seed in (("a", 90, 1), ("b", 90, 2), ("t", 30, 3)):
        x, y = sequences(n, seed)
        np.save(tmp_path / f"{name}.npy", x * (1 + seed))
        np.save(tmp_path / f"{name}y.npy", y)
    return tmp_path


def shell(program: bnnc.Program, folder: Path, *args: Any, code: int = 0) -> str:
    done = subprocess.run(
        [str(a) for a in (program.binary, *args)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def train(program: bnnc.Program, folder: Path, data: str, *flags: Any, out: str = "run") -> dict[str, np.ndarray]:
    """Trains, and returns the weights."""
    shell(
        program,
        folder,
        "train",
        "--train",
        f"{data}.npy,{data}y.npy",
        "--test",
        "t.npy,ty.npy",
        "--out",
        out,
        "--export",
        "w.safetensors",
        *flags,
    )
    return tensors.read(folder / "w.safetensors")


def fitted(program: bnnc.Program, folder: Path, data: str) -> np.ndarray:
    e = of_model(program.model)
    assert e is not None
    return e.fit(np.load(folder / f"{data}.npy"))


@pytest.mark.slow
def test_it_learns_what_it_would_from_the_same_bits(programs: Mapping[str, bnnc.Program]) -> None:
    """Arrays in, through both ways; the raw network has its thresholds besides."""
    (x, y), (xt, yt) = sequences(90, 1), sequences(30, 2)
    raw, bits = programs["raw"], programs["bits"]
    e = of_model(raw.model)
    assert e is not None
    thresholds = e.fit(x)
    a = raw.fit(x, y, xt, yt)
    b = bits.fit(e.encode(x, thresholds), y, e.encode(xt, thresholds), yt)
    assert [r.test_acc for r in a.epochs] == [r.test_acc for r in b.epochs]
    weights = raw.weights
    np.testing.assert_array_equal(weights.pop(THRESHOLDS), thresholds)
    assert set(weights) == set(bits.weights)
    for name, w in bits.weights.items():
        np.testing.assert_array_equal(weights[name], w)
    assert float(raw.evaluate(xt, yt)) == a.test_acc == float(raw.evaluate(e.encode(xt, thresholds), yt))
    raw.set_weights({**raw.weights, THRESHOLDS: thresholds + 1})
    assert float(raw.evaluate(xt, yt)) == float(bits.evaluate(e.encode(xt, thresholds + 1), yt))
    with pytest.raises(bnnc.BnncError, match="B0804"):
        raw.fit(x[:, :3], y)


def test_a_resumed_run_does_not_fit_again(programs: Mapping[str, bnnc.Program], folder: Path) -> None:
    program = programs["raw"]
    whole = train(program, folder, "a", out="whole")
    np.testing.assert_array_equal(whole[THRESHOLDS], fitted(program, folder, "a"))
    train(program, folder, "a", "--steps", 5)
    again = train(program, folder, "a")
    for name, w in whole.items():
        np.testing.assert_array_equal(again[name], w)
    train(program, folder, "a", "--steps", 5, out="other")
    changed = train(program, folder, "b", "--cache", "cache", out="other")  # other data goes on with the old thresholds
    np.testing.assert_array_equal(changed[THRESHOLDS], whole[THRESHOLDS])
    assert not np.array_equal(changed["dense1.weight"], whole["dense1.weight"])
    e, cache = of_model(program.model), read_bnnd(folder / "cache" / "train.bit.bnnd")
    assert e is not None
    np.testing.assert_array_equal(cache.x.reshape(90, 6, 14), e.encode(np.load(folder / "b.npy"), whole[THRESHOLDS]))
    fresh = train(program, folder, "b", "--resume", "never", out="other")
    np.testing.assert_array_equal(fresh[THRESHOLDS], fitted(program, folder, "b"))


def test_init_brings_its_thresholds(programs: Mapping[str, bnnc.Program], folder: Path) -> None:
    program = programs["raw"]
    first = train(program, folder, "a", out="first")
    (folder / "w.safetensors").rename(folder / "first.safetensors")
    tuned = train(program, folder, "b", "--init", "first.safetensors", out="tuned")
    np.testing.assert_array_equal(tuned[THRESHOLDS], first[THRESHOLDS])
    unfitted = np.full_like(first[THRESHOLDS], np.inf)  # as a network has that was trained on bits
    tensors.write(folder / "bits.safetensors", {**first, THRESHOLDS: unfitted})
    tuned = train(program, folder, "b", "--init", "bits.safetensors", out="new")
    np.testing.assert_array_equal(tuned[THRESHOLDS], fitted(program, folder, "b"))


def test_eval_takes_what_is_stored(programs: Mapping[str, bnnc.Program], folder: Path) -> None:
    program = programs["raw"]
    missing = shell(program, folder, "eval", "--test", "t.npy,ty.npy", code=6)
    assert "no checkpoint in run" in missing and "hint" in missing
    weights = train(program, folder, "a")
    tensors.write(folder / "bits.safetensors", {**weights, THRESHOLDS: np.full_like(weights[THRESHOLDS], np.inf)})
    last = json.loads(shell(program, folder, "eval", "--json", "--test", "t.npy,ty.npy"))
    from_file = shell(
        program, folder, "eval", "--json", "--test", "t.npy,ty.npy", "--init", "w.safetensors", "--out", "none"
    )
    assert json.loads(from_file)["test_acc"] == last["test_acc"] and json.loads(from_file)["state"] == last["state"]
    none = shell(program, folder, "eval", "--test", "t.npy,ty.npy", "--init", "bits.safetensors", code=5)
    assert "no thresholds were fitted" in none and "hint" in none
    e = of_model(program.model)
    assert e is not None
    x, y = np.load(folder / "t.npy"), np.load(folder / "ty.npy")
    write_bnnd(folder / "bits.bnnd", Dataset(e.encode(x, weights[THRESHOLDS]), y, classes=4))
    encoded = json.loads(shell(program, folder, "eval", "--json", "--test", "bits.bnnd"))
    assert encoded["test_acc"] == last["test_acc"]
    assert "thermometer" in shell(program, folder, "info") and THRESHOLDS in shell(program, folder, "info")


def test_a_test_split_is_not_fitted_to(programs: Mapping[str, bnnc.Program], folder: Path) -> None:
    x, y = (np.concatenate([np.load(folder / f"{n}{s}.npy") for n in "at"]) for s in ("", "y"))
    write_bnnd(folder / "both.bnnd", Dataset(x, y, classes=4, n_test=30), compress=True)
    shell(programs["raw"], folder, "train", "--train", "both.bnnd", "--export", "w.safetensors")
    split = tensors.read(folder / "w.safetensors")
    apart = train(programs["raw"], folder, "a", out="apart")
    for name, w in apart.items():
        np.testing.assert_array_equal(split[name], w)


def test_a_half_written_cache_is_made_again(programs: Mapping[str, bnnc.Program], folder: Path) -> None:
    program = programs["raw"]
    whole = train(program, folder, "a", "--cache", "cache", out="one")
    cache = folder / "cache" / "train.bit.bnnd"
    good = cache.read_bytes()
    for bad in (good[:-7], good[:50], b"", bytes([*good[:16], good[16] ^ 1, *good[17:]])):
        cache.write_bytes(bad)
        again = train(program, folder, "a", "--resume", "never", "--cache", "cache", out="one")
        assert cache.read_bytes() == good and np.array_equal(again["dense1.weight"], whole["dense1.weight"])
    assert [p.name for p in (folder / "cache").iterdir() if not p.name.endswith(".bit.bnnd")] == []
    message = shell(program, folder, "train", "--train", "a.npy,ty.npy", "--cache", "cache2", "--out", "two", code=5)
    assert "30 labels" in message and not (folder / "cache2").exists()


def test_digits_are_learnt() -> None:
    """scikit-learn's digits, 4 bits a pixel: published curves are at 96.9 % after 20 epochs."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = digits.data[order].reshape(-1, 8, 8).astype(np.uint8), digits.target[order]
    text = (
        "network digits { input u8[8, 8] thermometer(4); flatten; dense 255; sign; dense 255; sign; dense 10; loss; }\n"
        "rule bep(nu = 0.1, group = 51);\ntrain { batch = 100; epochs = 20; }\n"
    )
    history = bnnc.parse(text).compile(target="native", threads=1).fit(x[:1437], y[:1437], x[1437:], y[1437:])
    assert history.best_test_acc is not None and history.best_test_acc >= 0.95
