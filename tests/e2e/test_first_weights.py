"""`--export` of one program as `--init` of another whose latent weights are stored in another type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import command_line
from helpers import spec
from triton_helpers import QUICK

import bnnc
from bnnc.data import Dataset, tensors, write_bnnd
from bnnc.diag import BnncError
from bnnc.ir import interp
from bnnc.ir.program import State

WIDTHS, SAMPLES = (35, 40, 33, 5), 40
RULES = {"halves": "edge", "whole": "edge(gradient = i8, state = i8)"}
NO_STEP = "in whole numbers, whose step is not in the file: " + interp.NO_STEP
STEP = 1 / 512  # of `state = i8` where latent weights are clipped to [-1, 1]
Weights = dict[str, np.ndarray]


def program(folder: Path, name: str, target: str = "host") -> Path:
    """A trainer of one of ``RULES``, and the data that all of them read."""
    r = np.random.default_rng(5)
    x, y = r.random((SAMPLES, WIDTHS[0])) < 0.5, r.integers(0, 5, SAMPLES).astype(np.uint8)
    write_bnnd(folder / "d.bnnd", Dataset(x, y, classes=5))
    (folder / f"{name}.bnn").write_text(spec(WIDTHS, "bit", RULES[name], "adam(lr = 0.01, v = elide)", 10))
    command_line("compile", folder / f"{name}.bnn", "--target", target, "-o", folder / f"{name}-{target}")
    return folder / f"{name}-{target}"


def run(path: Path, *args: Any, code: int = 0) -> subprocess.CompletedProcess[str]:
    script = path.suffix == ".py" or path.read_bytes()[:4] != b"\x7fELF"
    env = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [*([sys.executable, "-W", "ignore", QUICK] if script else []), path, *args]
    done = subprocess.run(
        list(map(str, command)), cwd=path.parent, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stderr
    return done


def again(path: Path, first: str, export: str) -> Weights:
    """What a program exports that starts from a file and makes no step."""
    train = ("train", "--train", "d.bnnd", "--resume", "never", "--steps", "0", "--out", f"{path.name}.run")
    run(path, *train, "--init", first, "--export", export)
    return tensors.read(path.parent / export)


def test_halves_become_whole_numbers_and_whole_numbers_halves(tmp_path: Path, one_level: None) -> None:
    halves, whole = (program(tmp_path, name) for name in RULES)
    run(halves, "train", "--train", "d.bnnd", "--epochs", "2", "--out", "h", "--export", "h.w")
    first = tensors.read(tmp_path / "h.w")
    coarse = again(whole, "h.w", "w.w")
    assert coarse.keys() == first.keys()  # what gradients in whole numbers are shifted by is no part of the network
    for name, x in first.items():
        kept, v = coarse[name], x.astype(np.float64)
        if not name.endswith(".weight"):
            np.testing.assert_array_equal(kept, x)
            continue
        assert x.dtype == np.float16 and kept.dtype == np.float32 and np.abs(x).max() > 0.25
        np.testing.assert_array_equal(kept >= 0, x >= 0)
        np.testing.assert_array_equal(kept, (np.clip(np.floor(v / STEP), -128, 127) + 0.5) * STEP)
    back = again(halves, "w.w", "b.w")
    assert all(np.array_equal(back[n], coarse[n]) for n in back)
    assert all(np.array_equal(x, coarse[n]) for n, x in again(whole, "b.w", "w2.w").items())
    seen = {
        (p.name, f): json.loads(run(p, "eval", "--test", "d.bnnd", "--init", f, "--json").stdout)["loss"]
        for p in (halves, whole)
        for f in ("h.w", "w.w")
    }
    assert len(set(seen.values())) == 1, "the signs are the same"


def test_whole_numbers_are_given_as_they_are_stored_too(tmp_path: Path, one_level: None) -> None:
    """As files hold them that older programs have exported, signs for one; and what is refused."""
    whole = program(tmp_path, "whole")
    run(whole, "train", "--train", "d.bnnd", "--steps", "3", "--out", "h", "--export", "w")
    w = tensors.read(tmp_path / "w")
    name, x = "dense1.weight", w["dense1.weight"]
    tensors.write(tmp_path / "i", {**w, name: interp.nearest(State("", "", "", step=STEP), x, "i8")})
    np.testing.assert_array_equal(again(whole, "i", "same")[name], x)
    for wrong, why in (
        (np.where(x < 0, np.float16(np.nan), x).astype("f2"), "dense1.weight holds nan, expected numbers"),
        (np.full(x.shape, 300, "i2"), "dense1.weight holds 300, expected whole numbers from -128 to 127"),
    ):
        tensors.write(tmp_path / "n", {**w, name: wrong})
        said = run(whole, "eval", "--test", "d.bnnd", "--init", "n", code=5).stderr
        assert why in said and "hint: " in said
    halves = program(tmp_path, "halves")  # which does not know what a step of them is worth
    assert NO_STEP in run(halves, "eval", "--test", "d.bnnd", "--init", "i", code=5).stderr.replace("\n  hint:", ":")
    with pytest.raises(BnncError, match="`dense1.weight` is int8, the network's f16") as refused:
        bnnc.load(tmp_path / "halves.bnn").predictor(tensors.read(tmp_path / "i"))
    assert interp.NO_STEP in str(refused.value)
    tensors.write(tmp_path / "s", {**w, name: np.where(x < 0, -1, 1).astype("i1")})  # signs need no step
    np.testing.assert_array_equal(again(halves, "s", "h2")[name], np.where(x < 0, -1, 1))


@pytest.mark.slow
def test_the_python_trainer_has_the_same_bits(tmp_path: Path) -> None:
    """Of all states, and of what they become; the same refusals."""
    halves, c, python = program(tmp_path, "halves"), *(program(tmp_path, "whole", t) for t in ("host", "triton"))
    run(halves, "train", "--train", "d.bnnd", "--steps", "5", "--out", "h", "--export", "h.w")
    ours, theirs = again(c, "h.w", "c.w"), again(python, "h.w", "p.w")
    assert all(np.array_equal(x, theirs[n]) and x.dtype == theirs[n].dtype for n, x in ours.items())
    steps = ("train", "--train", "d.bnnd", "--resume", "never", "--epochs", "1", "--init", "h.w", "--log", "l")
    seen = []
    for path in (c, python):
        run(path, *steps, "--out", f"{path.name}.run")
        seen.append(json.loads((tmp_path / "l").read_text().splitlines()[-1])["state"])
    assert seen[0] == seen[1]
    w = tensors.read(tmp_path / "h.w")
    tensors.write(tmp_path / "n", {**w, "dense2.weight": np.full((40, 33), np.nan, "f4")})
    tensors.write(tmp_path / "m", {**w, "dense2.weight": np.full((40, 33), 300, "i2")})
    for path in (c, python):
        for f, why in (("n", "holds nan, expected numbers"), ("m", "300, expected whole numbers from -128 to 127")):
            assert (
                f"tensor dense2.weight {'holds ' * (f == 'm')}{why}"
                in run(path, *steps[:-4], "--init", f, code=5).stderr
            )
    whole = interp.nearest(State("", "", "", step=STEP), w["dense2.weight"], "i8")
    tensors.write(tmp_path / "i", {**w, "dense2.weight": whole})
    said = run(program(tmp_path, "halves", "triton"), *steps[:-4], "--init", "i", code=5).stderr
    assert f"tensor dense2.weight holds {whole[np.abs(whole) > 1][0]} {NO_STEP.partition(':')[0]}" in said
    assert f"help: {interp.NO_STEP}" in said
