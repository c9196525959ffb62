"""``bnnc deploy`` prints the commands that bring a program to a Raspberry Pi, and runs them when asked."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = """network tiny {
  input u8[9];
  dense 4; batchnorm;
  loss;
}
data { train = npy("x.npy", "y.npy"); test = npy("x.npy", "y.npy"); }
"""


def deploy(folder: Path, *args: str, code: int = 0, path: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    done = subprocess.run(
        [sys.executable, "-m", "bnnc", "deploy", "net/spec.bnn", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the spec, and programs called scp and ssh that write down what they are asked; ssh fails for
    `down`.
    """
    (tmp_path / "net").mkdir()
    (tmp_path / "net/spec.bnn").write_text(SPEC)
    (tmp_path / "bin").mkdir()
    for name in ("scp", "ssh"):
        tool = tmp_path / "bin" / name
        note = f'printf "%s|" {name} "$@" >> {tmp_path}/asked; echo >> {tmp_path}/asked'
        tool.write_text(f'#!/bin/sh\n[ "$1" = pi@down ] && exit 255\n{note}\n')
        tool.chmod(0o755)
    return tmp_path


def test_the_commands_are_printed_and_nothing_is_done(home: Path) -> None:
    lines = deploy(home, "pi@zero", path=str(home / "bin")).stdout.splitlines()
    assert [shlex.split(x) for x in lines] == [
        ["bnnc", "compile", "net/spec.bnn", "--target", "rpi", "-o", "tiny"],
        ["ssh", "pi@zero", "mkdir -p bnnc"],
        ["scp", "--", "tiny", "net/x.npy", "net/y.npy", "pi@zero:bnnc/"],
        ["ssh", "-t", "pi@zero", "cd bnnc && exec ./tiny train --data . --out run"],
    ]
    assert not (home / "asked").exists() and not (home / "tiny").exists()
    assert json.loads(deploy(home, "pi@zero", "--json").stdout)["commands"][0] == shlex.split(lines[0])


def test_run_compiles_copies_and_trains(home: Path) -> None:
    deploy(home, "pi@zero", "--run", "--target", "host", "--folder", "a/b", path=str(home / "bin"))
    assert (home / "tiny").exists() and (home / "asked").read_text().splitlines() == [
        "ssh|pi@zero|mkdir -p a/b|",
        "scp|--|tiny|net/x.npy|net/y.npy|pi@zero:a/b/|",
        "ssh|-t|pi@zero|cd a/b && exec ./tiny train --data . --out run|",
    ]


def test_what_fails_or_is_dangerous_is_refused(home: Path) -> None:
    assert (
        "exit code 255" in deploy(home, "pi@down", "--run", "--target", "host", code=4, path=str(home / "bin")).stderr
    )
    for args in (("pi@a;rm",), ("pi@a", "--folder", "x y"), ("pi@a", "--folder=-x"), ("pi@a", "--target", "rpy")):
        assert not deploy(home, *args, code=2).stdout


@pytest.mark.parametrize("now", [(), ("--run",)])
def test_a_program_goes_into_a_folder_of_its_name_unless_one_is_in_the_way_there(
    home: Path, now: tuple[str, ...]
) -> None:
    (home / "tiny").mkdir()
    assert "-o tiny/tiny\n" in deploy(home, "pi@zero").stdout
    (home / "tiny/tiny").mkdir()
    done = deploy(home, "pi@zero", "--target", "host", *now, code=2, path=str(home / "bin"))
    assert "B0903" in done.stderr and "tiny/tiny is a folder" in done.stderr and not done.stdout
    assert sorted(p.name for p in home.iterdir()) == ["bin", "net", "tiny"] and not (home / "asked").exists()


def test_the_next_line_is_the_whole_command(home: Path) -> None:
    last = deploy(home, "pi@zero", "--target", "rpi5", "--folder", "a/b").stderr.splitlines()[-1]
    assert last == "Next: bnnc deploy net/spec.bnn pi@zero --target rpi5 --folder a/b --run"
