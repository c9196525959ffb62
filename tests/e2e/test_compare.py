"""`bnnc compare` and `bnnc sweep` on a task of seconds: results, files, interruption, and that jobs decide nothing."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import helpers
import pytest

import bnnc
from bnnc import registry
from bnnc.data import write_bnnd
from bnnc.data.generate import prototypes

SPEC = """let width = 15;
network small {
  input bit[99];
  dense width; batchnorm; sign;
  dense 5; batchnorm;
  loss;
}
rule edge;
train { batch = 50; epochs = 3; optimizer = adam(lr = 1e-2); seed = 4; }
data { train = bnnd("small.bnnd"); }
"""
pytestmark = pytest.mark.usefixtures("one_level")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(helpers.CACHE))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "small.bnn").write_text(SPEC)
    write_bnnd(folder / "small.bnnd", prototypes(1000, 250, bits=99, classes=5, flip=0.3))
    return folder


def accuracies(result: bnnc.Result) -> list[tuple[str, int, list[float], str]]:
    return [(r.variant, r.seed, r.test_acc, r.state) for r in result.runs]


@pytest.mark.slow
def test_compare_is_interrupted_and_goes_on(home: Path, tmp_path: Path) -> None:
    """The first time it stops after one run; the second takes that run from the folder; jobs change nothing."""
    said: list[str] = []

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bnnc.compare(home / "small.bnn", ["edge", "local"], seeds=2, out=tmp_path / "a", jobs=1, progress=stop)
    kept = (tmp_path / "a/runs.jsonl").read_text()
    assert len(kept.splitlines()) == 1 and not (tmp_path / "a/results.csv").exists()
    rules = ["edge", "local", "local(group = 4)"]
    first = bnnc.compare(home / "small.bnn", rules, seeds=2, out=tmp_path / "a", jobs=1, progress=said.append)
    assert (tmp_path / "a/runs.jsonl").read_text().startswith(kept)
    assert said[0].startswith("1 of 4 runs taken from") and len(said) == 4
    assert [(r.variant, r.seed) for r in first.runs] == [("edge", 4), ("edge", 5), ("local", 4), ("local", 5)]
    assert len({r.state for r in first.runs}) == 4
    other = bnnc.compare(home / "small.bnn", ["local", "edge"], seeds=2, out=tmp_path / "b", jobs=3)
    assert sorted(accuracies(other)) == sorted(accuracies(first))
    assert first.rows[2].reason.startswith("the group size 4 does not divide 15") and first.rows[2].final is None
    for row in first.rows[:2]:
        assert (
            row.final is not None and row.best is not None and row.final.mean > 0.6 and row.best.mean >= row.final.mean
        )
        assert (
            0 < row.measured <= row.predicted
            and row.widths == (15,)
            and row.step_seconds == pytest.approx(row.epoch_seconds / 20)
        )
    edge, local = first.rows[:2]
    assert edge.gates is not None and local.gates is not None and edge.gates > 100 * local.gates
    again = bnnc.compare(home / "small.bnn", ["edge"], seeds=1, epochs=1, out=tmp_path / "a", jobs=1)
    assert len(again.runs[0].test_acc) == 1  # other epochs are other runs


def command(home: Path, *args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "bnnc", *map(str, args)], cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.slow
def test_compare_at_equal_memory(home: Path, tmp_path: Path) -> None:
    """A rule with less state gets wider layers; where none fits, the command fails and says why."""
    out = tmp_path / "out"
    ram = bnnc.load(home / "small.bnn").plan(threads=1).total_bytes + 20_000
    done = command(
        home,
        "compare",
        "small.bnn",
        "--rules",
        "edge,standard(state = f32)",
        "--ram",
        ram,
        "--seeds",
        1,
        "--epochs",
        1,
        "-o",
        out,
        "--json",
    )
    result = json.loads(done.stdout)
    edge, standard = result["rows"]
    assert edge["widths"][0] > standard["widths"][0] > 0 and result["ram_bytes"] == ram
    assert all(r["measured"] <= r["predicted"] <= ram for r in (edge, standard))
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert [r["rule"] for r in rows] == ["edge", "standard(state = f32)"] and rows[0]["widths"] == str(
        edge["widths"][0]
    )
    assert (out / "results.md").read_text().count("\n|") == 4 and (out / "plot.png").stat().st_size > 10_000
    done = command(home, "compare", "small.bnn", "--rules", "edge", "--ram", "200KiB", "-o", out, code=3)
    assert "B0905" in done.stderr and "even with the narrowest hidden layers" in done.stderr


@pytest.mark.slow
def test_compare_takes_every_rule(home: Path, tmp_path: Path) -> None:
    """With and without arguments, and calls in them."""
    rules = [
        "standard",
        "edge(state = f32)",
        "bep(group = 5)",
        "local(r = 0.5)",
        "dfa(error = sign, numerics = edge(clip = off))",
        "drtp(feedback = normal)",
        "hsic(gamma = 2, kind = bottleneck, ridge = 0.01)",
        "sigprop(temperature = 0.2)",
        "sigprop_tl(compat = off)",
    ]
    assert {rule.partition("(")[0] for rule in rules} == set(registry.rules)
    flags = ("--seeds", 1, "--epochs", 2, "--jobs", 2, "-o", tmp_path / "out", "--json")
    done = command(home, "compare", "small.bnn", "--rules", ",".join(rules), *flags)
    rows = json.loads(done.stdout)["rows"]
    assert [r["settings"]["rule"] for r in rows] == rules
    assert all(r["final"]["mean"] > 0.3 for r in rows), [r["final"] for r in rows]


@pytest.mark.slow
def test_sweep(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    args = (
        "sweep",
        "small.bnn",
        "--set",
        "width=7,15",
        "--set",
        "train.batch=50,0",
        "--seeds",
        2,
        "--epochs",
        2,
        "-o",
        out,
    )
    done = command(home, *args, code=1)
    assert "must be at least 1, got 0" in done.stderr  # a mistake, not a result
    monkeypatch.setenv("BNNC_DUMP", str(tmp_path / "dump"))
    done = command(home, *args[:4], *args[6:])
    for folder, width in (("001-width-7", 7), ("002-width-15", 15)):
        assert f", 99, {width}, " in (tmp_path / "dump" / folder / "source/small.c").read_text()
    monkeypatch.delenv("BNNC_DUMP")
    assert "15" in done.stdout and "[4/4]" in done.stderr and "Next: see" in done.stderr
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert [(r["width"], r["widths"]) for r in rows] == [("7", "7"), ("15", "15")]
    assert all(float(r["final_half"]) > 0 for r in rows) and (out / "plot.png").exists()
    again = command(home, *args[:4], *args[6:])
    assert "4 of 4 runs taken" in again.stderr and again.stdout == done.stdout


def test_a_signal_ends_it_and_its_trainers(home: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "bnnc", "sweep", "small.bnn", "--set", "train.seed=1", "-o", str(tmp_path / "x")]
    done = subprocess.run(argv, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "B0205" in done.stderr
    argv = [
        sys.executable,
        "-m",
        "bnnc",
        "compare",
        "small.bnn",
        "--rules",
        "edge",
        "--epochs",
        "1000000",
        "--seeds",
        "1",
        "--jobs",
        "1",
        "-o",
        str(tmp_path / "out"),
    ]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        argv,
        cwd=home,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # a shell's & ignores it
    while process.poll() is None and not list(tmp_path.glob("bnnc-run-*/log.jsonl")):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 128 + signal.SIGINT
    assert not list(tmp_path.glob("bnnc-run-*")) and not (tmp_path / "out/runs.jsonl").exists()
    assert "Traceback" not in process.communicate()[1]
