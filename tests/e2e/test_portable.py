"""The generated C on its own: `cc net.c -lm -lpthread` builds it, sanitizers find nothing, and it trains to the same
bits. It refuses a machine with too little memory, and what it proposes fits there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers import SANITIZED

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
    "sanitized": [*SANITIZED, "-Wall", "-Wextra", "-Werror"],
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
    done = subprocess.run(
        [str(binary), "train", "--data", ".", "--out", f"run_{binary.name}", "--threads", "2", *flags],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.rsplit("state ", 1)[1].strip()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_hosted_builds_train_to_the_same_bits(tmp_path: Path, name: str, one_level: None) -> None:
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
        command = [
            "cc",
            "-std=gnu11",
            "-ffp-contract=off",
            "-fno-math-errno",
            *flags,
            "tiny.c",
            "-o",
            str(out),
            "-lm",
            "-lpthread",
        ]
        made = subprocess.run(command, cwd=tmp_path / "c", capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        for _ in range(3):  # threads that share memory by mistake differ from run to run
            assert run(out, tmp_path, "--resume", "never") == want, f"{build} trains to other bits"


def test_with_too_little_memory_it_names_a_batch_that_fits(tmp_path: Path, one_level: None) -> None:
    data(tmp_path)
    text = (
        SPEC.replace("INPUT", "u8[5, 7]")
        .replace("RULE", "edge")
        .replace("OPTIMIZER", "adam")
        .replace("batch = 20", "batch = 400")
    )
    net = bnnc.parse(text)
    program = net.compile(out=tmp_path / "net", threads=1)
    for path, content in program.source.items():
        (tmp_path / "c" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "c" / path).write_text(content)
    made = subprocess.run(
        ["cc", "-std=gnu11", "-O1", '-DBNNC_MEMINFO="meminfo"', "tiny.c", "-o", "../small", "-lm", "-lpthread"],
        cwd=tmp_path / "c",
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    plan = program.plan.planned
    free = plan.report.total - (plan.report.arena - plan.placed.plan.state_bytes) // 2 >> 10 << 10
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {free >> 10} kB\n")
    argv = [str(tmp_path / "small"), "train", "--data", ".", "--out", "run"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = re.search(
        r"needs ([0-9.]+) MiB of memory, the machine has .*--ram (\d+)KiB --batch (\d+)", done.stderr, re.S
    )
    assert done.returncode == 8 and found and not (tmp_path / "run").exists(), done.stderr
    assert found[1] == f"{plan.report.total / 2**20:.1f}" and int(found[2]) == free >> 10
    assert net.plan(batch=int(found[3]), threads=1, ram=free).total_bytes <= free and 150 < int(found[3]) < 250
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {(plan.report.total >> 10) + 1} kB\n")
    assert subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False).returncode == 0
