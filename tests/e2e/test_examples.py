"""The commands of each example's README, as they stand there but for one epoch: they work, and the data are what is
said.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {"FOLDER": "data that are not shipped"}  # a word of a command, and why it cannot be run here


def commands(example: str) -> list[str]:
    text = (EXAMPLES / example / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    ((?:bnnc|python) .*)$", text, re.M)
    return [c for c in (y.split("#")[0].strip() for y in lines) if not NEEDS.keys() & set(c.split())]


def run(command: str, folder: Path) -> str:
    """What it prints; training is cut to one epoch."""
    program, *args = shlex.split(command)
    if args[0] == "run" and "eval" not in args:
        args += [*([] if "--" in args else ["--"]), "--epochs", "1"]
    argv = [sys.executable, *(["-m", "bnnc"] if program == "bnnc" else []), *args]
    path = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert "warning[" not in done.stderr, done.stderr
    return done.stdout


def power(folder: Path) -> None:
    """Files as those of ItalyPowerDemand, with numbers drawn here."""
    rng = np.random.default_rng(0)
    for part, n in (("TRAIN", 67), ("TEST", 1029)):
        table = np.column_stack([np.arange(n) % 2 + 1, rng.normal(0, 1, (n, 24))])
        np.savetxt(folder / f"ItalyPowerDemand_{part}.tsv", table, fmt=["%d"] + ["%.6f"] * 24, delimiter="\t")


@pytest.mark.slow
@pytest.mark.parametrize("example", ["prototypes_bep", "rnn_digits", "fashion_bep", "digits_local", "rnn_power"])
def test_the_commands_of_the_readme(tmp_path: Path, example: str) -> None:
    if "digits" in example:
        pytest.importorskip("sklearn.datasets")
    for name in {example, "digits_local"}:
        shutil.copytree(EXAMPLES / name, tmp_path / name)
    home = tmp_path / example
    todo = commands(example)
    if example == "rnn_power":
        power(home)
        todo.insert(0, "python prepare.py .")
    text = "".join(run(c, home) for c in todo)
    assert "test " in text and "state " in text and len(todo) >= 1


def test_folds_are_fair(tmp_path: Path) -> None:
    """Every sample is in one test split, and every fold has its share of both classes."""
    from bnnc.data import read_bnnd

    power(tmp_path)
    subprocess.run(
        [sys.executable, str(EXAMPLES / "rnn_power" / "prepare.py"), "."],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
    )
    sets = [read_bnnd(tmp_path / f"power_{k}.bnnd") for k in range(3)]
    tests = np.concatenate([s.x.reshape(-1, 24)[len(s.x) - s.n_test :] for s in sets])
    assert len(tests) == len(np.unique(tests, axis=0)) == 1096
    for s in sets:
        assert abs(int(s.y[len(s.y) - s.n_test :].sum()) - s.n_test / 2) <= 1
