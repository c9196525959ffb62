"""The generated C on its own: `cc net.c -lm -lpthread` builds it, sanitizers find nothing, and it trains to the same bits."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

import bnnc

SPEC = """network tiny {
  input INPUT;
  flatten;
  dense 40; batchnorm; sign;
  dense 35; batchnorm; sign;
  dense 6; batchnorm;
  loss;
}
rule RULE;
train { batch = 20; epochs = 2; seed = 3; optimizer = OPTIMIZER; }
data { train = npy("x.npy", "y.npy"); test = npy("xt.npy", "yt.npy"); }
"""
CASES = {
    "edge": ("u8[5, 7]", "edge", "adam"),
    "standard": ("u8[5, 7]", "standard", "sgd"),
    "bop": ("u8[5, 7] sign(120)", "edge", "bop"),
    "integer": ("u8[5, 7] sign(120)", "bep(bits = 8, group = 5)", "adam"),
}
BUILDS = {
    "plain": ["-O2"],
    "sanitized": ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
}


def data(folder: Path) -> None:
    middle = np.random.default_rng(99).integers(0, 256, (6, 5, 7))
    rng = np.random.default_rng(1)
    for suffix, n in (("", 400), ("t", 100)):
        y = rng.integers(0, 6, n).astype(np.uint8)
        np.save(folder / f"x{suffix}.npy", np.clip(middle[y] + rng.normal(0, 60, (n, 5, 7)), 0, 255).astype(np.uint8))
        np.save(folder / f"y{suffix}.npy", y)


def run(binary: Path, folder: Path, *flags: str) -> str:
    """Train; the hash of the trained state."""
    done = subprocess.run([str(binary), "train", "--data", ".", "--out", f"run_{binary.name}", "--threads", "2", *flags], cwd=folder,
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.rsplit("state ", 1)[1].strip()


@pytest.mark.parametrize("name", CASES)
def test_hosted_builds_train_to_the_same_bits(tmp_path: Path, name: str) -> None:
    kind, rule, optimizer = CASES[name]
    data(tmp_path)
    net = bnnc.parse(SPEC.replace("INPUT", kind).replace("RULE", rule).replace("OPTIMIZER", optimizer))
    program = net.compile(out=tmp_path / "freestanding", threads=2)
    want = run(Path(program.binary), tmp_path)
    for path, text in program.source.items():
        (tmp_path / "c" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "c" / path).write_text(text)
    for build, flags in BUILDS.items():
        out = tmp_path / build
        command = ["cc", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", *flags, "tiny.c", "-o", str(out), "-lm", "-lpthread"]
        made = subprocess.run(command, cwd=tmp_path / "c", capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        assert run(out, tmp_path) == want, f"{build} trains to other bits"
