"""What each environment variable does: a test for each knob (``bnnc/knobs.py``)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers import spec

from bnnc import cli, compare, driver, knobs, parse, passes, sweep
from bnnc.data import write_bnnd
from bnnc.data.generate import prototypes
from bnnc.passes import Pass, run_passes
from bnnc.study.experiment import Experiment

SPEC = """
    network toy { input u8[12, 12, 3]; conv 64 kernel = 3; batchnorm; sign; conv 64 kernel = 3; maxpool 2; batchnorm;
                  sign; flatten; dense 10; batchnorm; loss; }
    rule edge;
    train { batch = 20; recompute = on; }
    allow { batch = 10; }
"""
NAMES = [p.name for p in driver.PIPELINE]
TRAINED = {"test_acc": [0.5], "train_acc": [0.5], "best": 0.5, "epoch_seconds": [1.0], "steps": 1, "predicted": 1}
TRAINED |= {"measured": 1, "state": "0"}


@pytest.fixture
def net(tmp_path: Path) -> str:
    path = tmp_path / "toy.bnn"
    path.write_text(SPEC)
    return str(path)


def bnnc(*args: str) -> None:
    """Run a command that succeeds."""
    with pytest.raises(SystemExit) as e:
        cli.cli(args=list(args), prog_name="bnnc")
    assert not e.value.code


def dumped(folder: Path) -> dict[str, str]:
    return {p.name.split(".")[1]: p.read_text() for p in sorted(folder.glob("*.txt"))}


def test_dump_is_one_numbering_of_what_was_asked_for(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the spec's rule, although `plan` also plans another rule to compare with."""
    monkeypatch.setenv("BNNC_DUMP", str(tmp_path / "d"))
    bnnc("plan", net)
    assert [p.name for p in sorted((tmp_path / "d").iterdir())] == [
        f"{10 * i:03d}.{n}.txt" for i, n in enumerate(NAMES)
    ]
    assert "\nrule = edge(" in dumped(tmp_path / "d")["check"]
    bnnc("plan", net, "--rule", "standard")
    assert "\nrule = standard(" in dumped(tmp_path / "d")["check"]
    bnnc("check", net)
    assert "\nrule = edge(" in dumped(tmp_path / "d")["check"]


def test_dump_is_of_the_plan_that_a_limit_leads_to(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = driver.plan_text(driver.Options(SPEC)).report.total
    monkeypatch.setenv("BNNC_DUMP", str(tmp_path / "d"))
    bnnc("plan", net, "--ram", str(total - 1))
    assert "\nbatch = 10," in dumped(tmp_path / "d")["check"]
    bnnc("compile", net, "--ram", str(total - 1), "--emit-only", "--source", str(tmp_path / "c"))
    source = (tmp_path / "d/source/toy.c").read_text()
    assert source == (tmp_path / "c/toy.c").read_text()


def test_dumps_of_a_comparison_do_not_overwrite_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder a row, of the network that the row is about; a rule that is refused leaves what it came to."""
    net = parse(spec((20, 15, 5), "bit", "edge") + 'data { train = bnnd("d.bnnd"); }')
    write_bnnd(tmp_path / "d.bnnd", prototypes(20, 10, bits=20, classes=5))
    monkeypatch.setenv("BNNC_DUMP", str(tmp_path / "d"))
    monkeypatch.setattr(Experiment, "train", lambda self, v, seed: {"variant": v.label, "seed": seed, **TRAINED})
    rules = ["edge", "edge(state = f32)", "bep(group = 8)", "standard"]
    compare(net, rules, seeds=2, data=tmp_path, out=tmp_path / "out")
    folders = ["001-edge", "002-edge-state-f32", "003-bep-group-8", "004-standard"]
    assert sorted(p.name for p in (tmp_path / "d").iterdir() if p.is_dir()) == folders
    made = {f: dumped(tmp_path / "d" / f) for f in folders}
    assert all("\nrule = " + f[4:].split("-")[0] + "(" in made[f]["check"] for f in folders if f != "003-bep-group-8")
    assert "state=f32" not in made["001-edge"]["check"] and "state=f32" in made["002-edge-state-f32"]["check"]
    assert list(made["003-bep-group-8"]) == ["parse"] and list(made["004-standard"]) == NAMES
    sweep(net, {"train.batch": ["10", "5"]}, seeds=1, data=tmp_path, out=tmp_path / "out")
    assert "\nbatch = 5," in dumped(tmp_path / "d/002-train.batch-5")["check"]


def test_each_ir_is_readable(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Model a layer a line, and a loop over strips with the kernels in it."""
    monkeypatch.setenv("BNNC_DUMP", str(tmp_path / "d"))
    bnnc("plan", net)
    text = dumped(tmp_path / "d")
    assert "\n  conv1: conv(channels=64" in text["check"] and "-> real[10, 10, 64]  line 2\n" in text["check"]
    assert "loop over" not in text["pack"]
    loop = (
        r"\nloop over \d+ strips of (rows|columns), one strip of %\S.*"
        r"\n  kernel \w+ \[\d+, \d+\]  @forward \w+\n    strips of %"
    )
    assert re.search(loop, text["strip"])
    assert all(len(t.splitlines()) > 10 for t in text.values() if t != "(unchanged)\n")


def test_disable_leaves_a_pass_out(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNNC_DUMP", str(tmp_path / "d"))
    monkeypatch.setenv("BNNC_DISABLE", "simplify, sink,strip")
    bnnc("plan", net)
    same = [n for n, t in dumped(tmp_path / "d").items() if t == "(unchanged)\n"]
    assert {"simplify", "sink", "strip"} <= set(same)


def test_time_names_every_pass(net: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNNC_TIME", "1")
    bnnc("plan", net)
    out, err = capsys.readouterr()
    timed = re.findall(r"^(\w+) +\d+\.\d{3} s$", err, re.M)
    assert [n for n in timed if n in NAMES][-len(NAMES) :] == NAMES and timed[-1] == "report" and " s\n" not in out
    monkeypatch.setenv("BNNC_TIME", "0")
    bnnc("plan", net)
    assert not re.search(r"^place +\d", capsys.readouterr().err, re.M)


@pytest.mark.parametrize(("level", "calls"), [("0", []), ("1", ["verify"]), ("2", ["verify", "validate"])])
def test_verify_has_three_levels(level: str, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(passes, "validate", lambda *_: made.append("validate"))
    k = knobs.read({"BNNC_VERIFY": level})
    p: Any = Pass("p", "a", "b", "", lambda ir, o: ir, lambda ir: made.append("verify"), "bits")
    run_passes((p,), 1, None, k)
    assert made == calls


def test_poison_overwrites_dead_buffers(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, found in (("0", False), ("1", True)):
        monkeypatch.setenv("BNNC_POISON", value)
        folder = tmp_path / value
        bnnc("compile", net, "--emit-only", "--source", str(folder))
        assert ("net_poison(" in (folder / "toy.c").read_text()) is found
