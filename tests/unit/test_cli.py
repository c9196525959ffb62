"""The command line: what goes to which stream, exit codes, and what a user reads."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnnc import __version__, cli, data, driver
from bnnc import parse as parse_network
from bnnc.backends import select
from bnnc.backends.c.targets import TARGETS
from bnnc.budget import front, spaced
from bnnc.cli import show
from bnnc.data import read_bnnd
from bnnc.data.generate import prototypes
from bnnc.diag import InternalError
from bnnc.plan.check import PlanError
from bnnc.plan.place import place

SPEC = "network toy { input u8[6]; dense 8; batchnorm; sign; dense 3; batchnorm; loss; }\nrule edge;\n"
pytestmark = pytest.mark.usefixtures("one_level", "plans_once")


@pytest.fixture
def net(tmp_path: Path) -> str:
    path = tmp_path / "net.bnn"
    path.write_text(SPEC)
    return str(path)


@pytest.fixture
def bnnc(capsys: pytest.CaptureFixture[str]):
    """Runs a command; returns (exit code, standard output, standard error)."""

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as e:
            cli.cli(args=list(args), prog_name="bnnc")
        return (int(e.value.code or 0), *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    "verb", ["check", "fmt", "plan", "compile", "run", "build", "explain", "compare", "sweep", "describe"]
)
def test_help_is_short_and_has_an_example(bnnc, verb: str) -> None:
    code, out, _ = bnnc(verb, "--help")
    assert code == 0 and f"Example: bnnc {verb} " in out and len(out.splitlines()) <= 30


def test_help_lists_every_command_once_and_whole(bnnc) -> None:
    lines = bnnc("--help")[1].splitlines()
    for name in cli.cli.commands:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith(".") and not line.endswith("..."), f"say it on one line: {line}"


def test_exit_codes_are_documented(bnnc) -> None:
    _, out, _ = bnnc("--help")
    assert "Exit codes: 0 done, 1 the spec is wrong, 2 usage, 3 over the memory budget, 4" in out


def test_unknown_command(bnnc) -> None:
    code, out, err = bnnc("chek")
    assert (code, out) == (2, "") and "did you mean `check`?" in err


def test_check(bnnc, net: str) -> None:
    code, out, err = bnnc("check", net)
    assert code == 0 and "toy: no mistakes" in out and "Next: bnnc plan" in err
    code, out, _ = bnnc("check", "--json", net)
    assert json.loads(out)["name"] == "toy" and json.loads(out)["chosen"] == []


def test_check_shows_what_was_chosen(bnnc, tmp_path: Path) -> None:
    file = tmp_path / "few.bnn"
    file.write_text(
        "network few { input f32[9] median; dense 15; sign; dense 3; loss; } rule bep; train { batch = 10; }"
    )
    _, out, _ = bnnc("check", str(file))
    assert (
        "chosen: per = column of `median`: the data is f32\n" in out
        and "chosen: std = 16 of `bep`: a batch of 10, at most 16" in out
    )
    _, out, _ = bnnc("check", "--json", str(file))
    assert [c.split(" of ")[0] for c in json.loads(out)["chosen"]] == ["per = column", "std = 16"]


def test_mistakes(bnnc, tmp_path: Path) -> None:
    bad = tmp_path / "bad.bnn"
    bad.write_text(SPEC.replace("dense 8", "dens 8").replace("edge", "egde"))
    code, out, err = bnnc("plan", str(bad))
    assert (code, out) == (1, "") and "bad.bnn:1:28" in err and err.count("did you mean") == 2
    assert "Traceback" not in err
    code, out, _ = bnnc("plan", str(bad), "--json")
    report = json.loads(out)
    assert code == 1 and [d["code"] for d in report["diagnostics"]] == ["B0202", "B0204"]
    assert report["diagnostics"][0]["range"]["start"]["line"] == 1


def test_missing_file(bnnc) -> None:
    code, _, err = bnnc("check", "/nowhere/net.bnn")
    assert code == 2 and "B0902" in err


def test_standard_input(bnnc, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(SPEC))
    assert bnnc("check", "-")[0] == 0


def test_fmt(bnnc, net: str) -> None:
    text = Path(net).read_text()
    messy = text.replace(" dense 8;", "   dense   8 ;")
    Path(net).write_text(messy)
    assert bnnc("fmt", "--check", net)[0] == 1
    code, canonical, _ = bnnc("fmt", net)
    assert code == 0 and Path(net).read_text() == messy
    assert bnnc("fmt", "-w", net)[0] == 0 and Path(net).read_text() == canonical
    assert bnnc("fmt", "--check", net)[0] == 0
    assert "beta1 = 0.9" in bnnc("fmt", "--explicit", net)[1]


def test_plan_table(bnnc, net: str) -> None:
    code, out, err = bnnc("plan", net)
    assert code == 0 and "\x1b" not in out
    for part in (
        "toy · rule edge · adam · batch 100 · target host",
        "dense1.weight",
        "lower bound",
        "not counted:",
        "rule standard would need",
        "forward ",
        "█",
    ):
        assert part in out
    assert "Next: bnnc run" in err
    assert "rule standard would need" not in bnnc("plan", "--rule", "standard", net)[1]


LONG = f"""network net {{ input u8[784]; dense 2048 name = {"n" * 24}; batchnorm; sign; dense 10; batchnorm; loss; }}
rule edge;
train {{ batch = 100; }}
allow {{ recompute = on; optimizer = adam(v = elide); optimizer = bop; batch = 50; }}
"""


def test_a_plan_says_when_no_program_can_be_that_large(bnnc, tmp_path: Path) -> None:
    spec = tmp_path / "net.bnn"
    spec.write_text(
        "network n { input u8[224, 224, 3]; conv 64 padding = same; batchnorm; sign; flatten; dense 2; batchnorm;"
        " loss; } train { batch = 500; }"
    )
    code, out, _ = bnnc("plan", str(spec))
    assert code == 0 and "no program: one for host has at most 1.98 GiB of arrays; use a smaller batch" in out
    assert json.loads(bnnc("plan", str(spec), "--json")[1])["largest_arena_bytes"] == 2**31 - 2**24
    code, _, err = bnnc("compile", str(spec), "--emit-only", "--source", str(tmp_path / "src"))
    assert code == 1 and "B0710" in err and not (tmp_path / "src").exists()
    assert "no program" not in bnnc("plan", str(spec), "--batch", "5")[1]


@pytest.mark.parametrize(
    ("spec", "width"),
    [
        *(pytest.param(SPEC, width, id=f"short-{width}") for width in (80, 100, 120, 0)),
        *(pytest.param(LONG, width, id=f"long-{width}") for width in (0,)),
        *(pytest.param(LONG, width, id=f"long-{width}", marks=pytest.mark.slow) for width in (80, 100, 120)),
    ],
)
def test_tables_in_a_terminal(bnnc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, width: int) -> None:
    """Names, lines, types and numbers are whole at every width, and words and numbers of notes are not broken; 0: a
    pipe.
    """
    (tmp_path / "net.bnn").write_text(spec)
    if width:
        monkeypatch.setattr(
            show, "console", lambda: show.Screen(width=width, force_terminal=True, color_system=None, highlight=False)
        )
    p = parse_network(spec).plan()
    code, out, _ = bnnc(
        "plan", str(tmp_path / "net.bnn"), "--all", "--ram", f"{p.total_bytes - 1}" if spec is LONG else "1GB"
    )
    lines = out.splitlines()
    p = p if spec is SPEC else parse_network(spec).plan(ram=p.total_bytes - 1)
    assert code == 0 and "…" not in out and show.JOINT not in out
    for b in p.buffers:
        kind = f"{b.storage.dtype}[{', '.join(map(str, b.storage.shape))}]"
        line = str(b.span.line) if b.span.known else ""
        assert any(
            re.match(rf"{re.escape(b.name)} +{line} +{re.escape(kind)} +{spaced(b.nbytes)}( |$)", x) for x in lines
        ), b.name
    blocks = sum("█" in x or "·" in x for x in lines if x.count("│"))
    assert blocks >= len(p.buffers) or (spec is LONG and width == 80)
    words = {w for part in (show.not_counted(p), show.card(p), show.cost(p)) for w in show.whole(part).split()}
    texts = [w.replace(show.JOINT, " ") for w in words]
    assert all(any(t in x for x in lines) for t in texts)
    assert all(
        any(spaced(n) in x for x in lines) for n in (p.total_bytes, p.arena_bytes, p.planned.placed.plan.lower_bound)
    )
    if width and spec is SPEC:
        assert max(len(x) for x in lines) <= width
    if spec is LONG:
        assert all(
            any(spaced(c.total) in x and c.text in x and ("differs" if c.learning else "same") in x for x in lines)
            for c in front(list(p.choices))
        )
    code, out, _ = bnnc("explain", "--peak", str(tmp_path / "net.bnn"))
    base = parse_network(spec).plan().buffers
    assert (
        code == 0 and "…" not in out and all(spaced(b.nbytes) in out for b in base if b.name.endswith("dense1.weight"))
    )


def test_plan_json_and_csv(bnnc, net: str) -> None:
    plan = json.loads(bnnc("plan", net, "--json", "--batch", "10", "--threads", "1")[1])
    assert plan["batch"] == 10 and plan["thread_stack_bytes"] == 0 and plan["threads"] == 1
    assert plan["arena_bytes"] >= max(b["offset"] + b["bytes"] for b in plan["buffers"])
    lines = bnnc("plan", net, "--csv")[1].splitlines()
    assert lines[0] == "id,lower,upper,size,offset" and len(lines) == 1 + len(plan["buffers"])


def test_plan_literature(bnnc) -> None:
    example = Path(__file__).parents[2] / "examples/mnist_mlp/mnist_mlp.bnn"
    code, out, _ = bnnc("plan", str(example), "--literature")
    assert code == 0 and "7.409" in out and "2.664" in out
    figures = json.loads(bnnc("plan", str(example), "--literature", "--json")[1])["literature_mib"]
    assert figures["allocated"] < figures["proposed"] < figures["standard"]


def test_plan_literature_of_an_integer_rule(bnnc, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples/mnist_mlp/mnist_mlp.bnn"
    code, out, _ = bnnc("plan", str(example), "--literature", "--rule", "local")
    assert code == 0 and "all 60000 samples" in out and "a batch at a time" in out
    lone = tmp_path / "lone.bnn"
    lone.write_text(example.read_text())
    code, out, err = bnnc("plan", str(lone), "--literature", "--rule", "local")
    assert (code, out) == (2, "") and "B0604" in err and "--samples N" in err
    figures = json.loads(bnnc("plan", str(lone), "--literature", "--rule", "local", "--samples", "60000", "--json")[1])
    assert f"{figures['literature_mb']['total']:.3f}" == "6.384"  # 5.880 data, 0.400 weights, 0.103 activations
    same = ("plan", str(lone), "--literature", "--rule", "local", "--data", str(example.parent), "--json")
    assert json.loads(bnnc(*same)[1])["literature_mb"] == figures["literature_mb"]


def test_plan_gates(bnnc, net: str) -> None:
    gates = json.loads(bnnc("plan", net, "--json")[1])["gates"]
    assert set(gates) == {"edge", "standard"} and gates["edge"]["total"] == 10_000 * gates["edge"]["floats"] > 0
    example = Path(__file__).parents[2] / "examples/mnist_mlp/mnist_mlp.bnn"
    out = bnnc("plan", str(example), "--rule", "local")[1]
    assert "takes every product of a rule with real gradients for floats" in " ".join(out.split())
    assert "4.73e+08" in out and "4 344x" in out


def test_over_budget(bnnc, net: str) -> None:
    code, out, err = bnnc("plan", net, "--ram", "100KiB")
    assert (code, out) == (3, "") and "B0601" in err and "at its peak" in err and "no single change" in err
    assert bnnc("compile", net, "--ram", "100KiB")[0] == 3 and bnnc("run", "--ram", "100KiB", net)[0] == 3
    assert bnnc("plan", net, "--ram", "lots")[0] == 2
    assert bnnc("plan", net, "--ram", "2MiB")[0] == 0


def test_unknown_target(bnnc, net: str) -> None:
    code, _, err = bnnc("plan", net, "--target", "hots")
    assert code == 2 and "did you mean `host`?" in err


def test_another_system(bnnc, net: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is told before a compiler complains; what does not run here works."""
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    code, _, err = bnnc("compile", net, "-o", str(tmp_path / "x"))
    assert code == 4 and "B0717" in err and "this is Darwin" in err and "container" in err
    assert bnnc("plan", net)[0] == 0
    assert bnnc("compile", net, "--emit-only", "--source", str(tmp_path / "c"), "--target", "rpi")[0] == 0


def test_no_compiler(bnnc, net: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BNNC_CC", "no-such-compiler")
    code, _, err = bnnc("compile", net, "-o", str(tmp_path / "x"))
    assert code == 4 and "B0706" in err and not (tmp_path / "x").exists()


def test_a_warning_stops_nobody(bnnc, net: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BNNC_CFLAGS", "-Wpadded -Werror=padded")
    code, _, err = bnnc("compile", net, "-o", str(tmp_path / "x"))
    assert code == 4 and "B0707" in err and "-Wpadded" in err and not (tmp_path / "x").exists()
    monkeypatch.setenv("BNNC_CFLAGS", "-Wpadded")
    assert bnnc("compile", net, "-o", str(tmp_path / "x"))[0] == 0 and (tmp_path / "x").exists()


def test_emit_edit_and_build(bnnc, net: str, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    assert bnnc("compile", net, "--emit-only", "--source", str(folder))[0] == 0
    main = folder / "toy.c"
    main.write_text(main.read_text() + "\n/* edited */\n")
    code, _, err = bnnc("build", str(folder), "-o", str(tmp_path / "toy"))
    assert code == 0 and (tmp_path / "toy").exists() and "Next: " in err
    main.write_text(main.read_text() + "\nint broken(void) { return oops; }\n")
    code, _, err = bnnc("build", str(folder), "-o", str(tmp_path / "toy2"))
    assert code == 4 and "oops" in err and not (tmp_path / "toy2").exists()
    assert bnnc("build", str(tmp_path / "nothing"))[0] == 2


def test_json_of_every_verb(bnnc, net: str, tmp_path: Path) -> None:
    """Standard output is one JSON value; what people read goes to standard error."""
    text = Path(net).read_text()
    code, out, err = bnnc("fmt", net, "--json")
    found = json.loads(out)
    assert code == 0 and found["text"] == bnnc("fmt", net)[1] and found["canonical"] == (found["text"] == text)
    code, out, err = bnnc("fmt", "--check", "--json", net)
    assert (code, json.loads(out)["canonical"]) == (
        0 if found["canonical"] else 1,
        found["canonical"],
    ) and "canonical" in err
    folder, program = str(tmp_path / "c"), str(tmp_path / "toy")
    emitted = json.loads(bnnc("compile", net, "--emit-only", "--source", folder, "--json")[1])
    assert (emitted["source"], emitted["executable"], emitted["name"]) == (folder, None, "toy")
    code, out, err = bnnc("build", folder, "-o", program, "--json")
    assert json.loads(out) == {
        "executable": program,
        "source": folder,
        "target": "host",
        "arena_bytes": emitted["arena_bytes"],
    }
    assert code == 0 and "as planned" in err
    code, out, err = bnnc("compile", net, "-o", program, "--json")
    assert (
        json.loads(out)["executable"] == program
        and json.loads(out)["total_bytes"] >= emitted["total_bytes"]
        and "Next: " in err
    )
    assert json.loads(bnnc("explain", "B0301", "--json")[1])["title"] in bnnc("explain", "B0301")[1]
    code, out, _ = bnnc("explain", "B9", "--json")
    assert code == 2 and json.loads(out)["exit_code"] == 2


def test_run_json(net: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The trainer's own output, too."""

    def run(*args: str) -> tuple[dict[str, Any], str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as e:
            cli.cli(args=["run", "--json", net, *args, "--out", str(tmp_path / "run")], prog_name="bnnc")
        out, err = capfd.readouterr()
        assert not e.value.code, err
        return json.loads(out), err

    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (300, 6)).astype(np.uint8))
    np.save(tmp_path / "y.npy", rng.integers(0, 3, 300).astype(np.uint8))
    Path(net).write_text(SPEC + 'data { train = npy("x.npy", "y.npy"); test = npy("x.npy", "y.npy"); }\n')
    end, err = run("--epochs", "2")
    assert end["event"] == "end" and end["epochs"] == 2 and "epoch" in err and "Next: " in err
    assert run("eval")[0]["state"] == end["state"]


def test_explain(bnnc) -> None:
    assert "B0301" in bnnc("explain", "b0301")[1]
    code, _, err = bnnc("explain", "B0310x")
    assert code == 2 and "did you mean `B0310`?" in err


@pytest.mark.parametrize("verb", ["targets", "passes", "version"])
def test_lists(bnnc, verb: str) -> None:
    code, out, _ = bnnc(verb)
    assert code == 0 and out.strip()
    json.loads(bnnc(verb, "--json")[1])


def test_data(bnnc, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, n in (("a", 30), ("b", 10)):
        np.save(tmp_path / f"{name}x.npy", rng.integers(0, 256, (n, 4, 4)).astype(np.uint8))
        np.save(tmp_path / f"{name}y.npy", rng.integers(0, 3, n).astype(np.uint8))
    files = [str(tmp_path / f) for f in ("ax.npy", "ay.npy", "bx.npy", "by.npy", "out.bnnd")]
    code, out, _ = bnnc(
        "data", "pack", *files[:2], "--test", *files[2:4], "--encode", "sign(128)", "--compress", "-o", files[4]
    )
    assert code == 0 and "30 training and 10 test samples, bit[4, 4], 3 classes" in out
    facts = json.loads(bnnc("data", "info", files[4], "--json")[1])
    assert facts["n"] == 40 and facts["n_test"] == 10 and facts["threshold"] == 128
    assert "sample 2 of 40" in bnnc("data", "preview", files[4], "--index", "2")[1]
    code, _, err = bnnc("data", "info", files[0])
    assert code == 5 and "B0802" in err


def test_data_pack_encodes(bnnc, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(24).reshape(8, 3), y=np.arange(8) % 2)
    out = str(tmp_path / "a.bnnd")
    assert (
        "bit[7]"
        in bnnc("data", "pack", str(tmp_path / "a.npz"), "--encode", "thermometer(2, pad_odd = on)", "-o", out)[1]
    )
    code, _, err = bnnc("data", "pack", str(tmp_path / "a.npz"), "--encode", "thermometer(two)", "-o", out)
    assert code == 5 and "B0201" in err and "--> --encode:1:13" in err


def test_data_make_prototypes(bnnc, tmp_path: Path) -> None:
    file = str(tmp_path / "p.bnnd")
    flags = ("--train", "40", "--test", "10", "--bits", "33", "--classes", "5", "--flip", "0.3", "--seed", "7")
    code, out, _ = bnnc("data", "make", "prototypes", *flags, "-o", file)
    assert code == 0 and "40 training and 10 test samples, bit[33], 5 classes" in out
    d = read_bnnd(file)
    want = prototypes(40, 10, bits=33, classes=5, flip=0.3, seed=7)
    assert (d.x == want.x).all() and (d.y == want.y).all() and d.n_test == 10
    code, _, err = bnnc("data", "make", "prototypes", "--train", "41", "-o", file)
    assert code == 5 and "B0805" in err and "cannot be shared equally" in err
    assert "arXiv 2412.00119" in bnnc("data", "make", "prototypes", "--help")[1]


def plan_that_fails(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], where: Callable[[driver.Options], bool]
) -> None:
    """Make the pass `place` fail for some options."""

    def run(packed: Any, options: driver.Options) -> Any:
        if where(options):
            raise error("dense2.wb is read before it is written")
        return place(packed)

    monkeypatch.setattr(driver, "MIDDLE", tuple(replace(p, run=run) if p.name == "place" else p for p in driver.MIDDLE))


@pytest.mark.parametrize(
    "wrong", [PlanError, KeyError, RecursionError, ZeroDivisionError, InternalError, NotImplementedError]
)
def test_a_bug_in_bnnc_is_reported_as_one(bnnc, net: str, monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    """The pass, the version, the spec and the command, and exit code 70, whatever a stage raises."""
    monkeypatch.setenv("BNNC_VERIFY", "0")
    plan_that_fails(monkeypatch, partial(wrong, "order") if wrong is PlanError else wrong, lambda options: True)
    code, out, err = bnnc("plan", net, "--rule", "edge(state = f32)")
    assert (code, out) == (70, "") and "bug in bnnc" in err and "BNNC_DUMP=DIR" in err and "Traceback" not in err
    assert (
        f"internal error in pass `place`: {wrong.__name__}: " in err and f"version:   bnnc {__version__}, Python" in err
    )
    assert "pass:      place, unit/test_cli.py:" in err
    assert re.search(rf"reproduce: .*BNNC_VERIFY=0 bnnc plan {net} --rule 'edge\(state = f32\)'\n", err)
    assert f"spec:      {net}, sha256 {hashlib.sha256(SPEC.encode()).hexdigest()[:16]}" in err
    code, out, _ = bnnc("plan", net, "--json")
    found = json.loads(out)
    assert code == found["exit_code"] == 70 and found["internal_error"]["pass"].startswith("place, ")


@pytest.mark.parametrize(
    ("module", "name", "stage"),
    [
        (select.backend_of(TARGETS["host"]), "emit", "emit"),
        (select.backend_of(TARGETS["host"]), "needs", "report"),
        (select.backend_of(TARGETS["host"]), "build", "build"),
        (show, "plan_table", "none"),
    ],
)
def test_no_stage_leaves_a_traceback(
    bnnc, net: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: Any, name: str, stage: str
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("x")

    if module is show:
        monkeypatch.setattr(show, name, broken)
    else:
        monkeypatch.setattr(select, "backend_of", lambda target: replace(module, **{name: broken}))
    code, _, err = bnnc(
        *(("plan", net) if stage in ("none", "report") else ("compile", net, "-o", str(tmp_path / "program")))
    )
    assert code == 70 and f"pass:      {stage}, unit/test_cli.py:" in err and "KeyError: 'x'" in err


def test_ways_out_go_on_behind_a_bug(bnnc, net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that bnnc cannot plan is named, and the others are tried."""
    want = bnnc("plan", net, "--ram", "10KiB")[2].splitlines()
    plan_that_fails(monkeypatch, KeyError, lambda options: options.overrides.get("optimizer") == "bop")
    code, _, err = bnnc("plan", net, "--ram", "10KiB")
    rest = [line for line in want if "way out: " in line and "bop" not in line and "all together" not in line]
    assert code == 3 and rest and set(rest) <= set(err.splitlines())
    assert "no way out: optimizer = bop: internal error in pass `place`: KeyError" in err and "please report it" in err


def test_knobs_that_mean_nothing(bnnc, net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNNC_DISABLE", "fuze")
    code, _, err = bnnc("plan", net)
    assert code == 2 and "did you mean `fuse`?" in err


@pytest.mark.parametrize("stream", ["stdout", "both"])
def test_a_closed_pipe_ends_every_command_quietly(net: str, tmp_path: Path, stream: str) -> None:
    """``| head -1``: exit code 141, as of other tools, and no word of it."""
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 3), np.uint8), y=np.arange(4) % 2)
    data.pack(tmp_path / "d.npz", output=tmp_path / "d.bnnd")
    commands = [
        ["data", "info", "d.bnnd"],
        ["plan", net],
        ["fmt", net],
        ["--help"],
        ["plan", "--help"],
        ["targets", "--json"],
        ["explain", "B0301"],
        ["check", "none.bnn"],
    ]
    reader, writer = os.pipe()
    os.close(reader)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "bnnc", *c],
            stdout=writer,
            stderr=writer if stream == "both" else subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for c in (commands[:7] if stream == "stdout" else commands[-1:])
    ]
    os.close(writer)
    for p in started:
        said = p.communicate(timeout=120)[1] or ""
        assert p.returncode == 141 and "Error" not in said and "Exception" not in said and "Traceback" not in said, (
            p.args,
            said,
        )
