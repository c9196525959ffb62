"""Programs for the Raspberry Pis, under QEMU: they train, evaluate and resume to the bits of the host's program."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import cross
import numpy as np
import pytest
from nets import BYTES, FLOAT, NUMBERS

import bnnc
from bnnc.backends.c import build
from bnnc.backends.c.targets import TARGETS
from bnnc.data import Dataset, read_bnnd, write_bnnd
from bnnc.diag import BnncError

pytestmark = pytest.mark.arm
EXAMPLE = Path(__file__).parents[2] / "examples" / "mnist_mlp"
INTEGER = """network mnist_integer {
  input bit[784] pad_odd;
  repeat 2 { dense 255; sign; }
  dense 10;
  loss;
}
rule RULE;
train { batch = 100; epochs = 10; seed = 1; }
"""
SPECS = {
    "edge": FLOAT,
    "standard": FLOAT.replace("rule edge;", "rule standard;"),
    "bop": FLOAT.replace("adam(lr = 3e-3)", "bop(tau = 1e-7, gamma = 1e-3)"),
    "bep": INTEGER.replace("RULE", "bep"),
    "local": INTEGER.replace("RULE", "local"),
}
STEPS, TRAIN, TEST = 50, 5000, 200
OLDER = {"rpi5": "cortex-a53", "rpi2": "arm1176", "rpi-zero": "arm926"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first images of MNIST and the host's final state for each spec."""
    folder = tmp_path_factory.mktemp("arm")
    whole = read_bnnd(EXAMPLE / "mnist_1bit.bnnd")
    at = [*range(TRAIN), *range(whole.n - TEST, whole.n)]
    write_bnnd(folder / "data.bnnd", Dataset(whole.x[at], whole.y[at], whole.encoder, whole.threshold, 10, TEST))
    return folder


def program(home: Path, spec: str, target: str) -> Path:
    """Compiled once for all tests of this file."""
    out = home / f"{spec}-{target}"
    if not out.exists():
        bnnc.parse(SPECS[spec]).compile(target, out, threads=2)
    return out


def train(home: Path, out: Path, spec: str, target: str, *flags: object) -> subprocess.CompletedProcess[str]:
    return cross.run(
        TARGETS[target],
        program(home, spec, target),
        "train",
        "--train",
        home / "data.bnnd",
        "--out",
        out,
        "--quiet",
        *flags,
    )


@pytest.mark.parametrize("target", cross.ARM)
@pytest.mark.parametrize("spec", SPECS)
def test_fifty_steps_give_the_bits_of_the_host(home: Path, tmp_path: Path, spec: str, target: str) -> None:
    cross.need(TARGETS[target])
    flags = ("--steps", STEPS)
    host = train(home, home / f"run-{spec}", spec, "host", *flags)
    done = train(home, tmp_path / "run", spec, target, *flags, "--threads", 2)
    assert cross.state_of(done) == cross.state_of(host)
    facts = build.read_elf(program(home, spec, target))
    assert not facts.allocators and facts.loaded <= bnnc.parse(SPECS[spec]).plan(target, threads=2).total_bytes
    asked = ("eval", "--train", home / "data.bnnd", "--json")
    here = cross.run(TARGETS["host"], program(home, spec, "host"), *asked, "--out", home / f"run-{spec}").stdout
    there = cross.run(TARGETS[target], program(home, spec, target), *asked, "--out", tmp_path / "run").stdout
    assert here.split('"seconds"')[0] == there.split('"seconds"')[0] and '"test_acc":0' in here


@pytest.mark.parametrize("target", cross.ARM)
def test_a_batch_of_one_compiles(tmp_path: Path, target: str) -> None:
    """Sums of one term, of which compilers see more than of others."""
    cross.need(TARGETS[target])
    for rule in ("bep", "local", "edge"):
        norm = "" if rule != "edge" else "batchnorm; "
        text = (
            f"network one {{ input bit[35]; dense 17; {norm}sign; dense 5; {norm}loss; }}\nrule {rule};\ntrain {{ batch"
            " = 1; }\n"
        )
        net = bnnc.parse(text)
        found = []
        for name in (target, "host"):
            program = net.compile(name, tmp_path / name, threads=1).binary
            found.append(json.loads(cross.run(TARGETS[name], program, "bench", "--steps", 3, "--json").stdout)["state"])
        assert found[0] == found[1]


@pytest.mark.parametrize("target", ["rpi", "rpi2", "rpi-zero"])
@pytest.mark.parametrize("example", ["mnist_mlp/mnist_mlp_u8", "cnv_cifar10/cnv_cifar10", "rnn_digits/rnn_digits"])
def test_the_plan_before_the_build_is_the_programs(tmp_path: Path, example: str, target: str) -> None:
    """Its bound of the code holds: `bnnc plan` says what `bnnc compile` will."""
    cross.need(TARGETS[target])
    net = bnnc.load(EXAMPLE.parent / f"{example}.bnn")
    assert net.compile(target, tmp_path / "net").plan.total_bytes == net.plan(target).total_bytes


@pytest.mark.parametrize("target", cross.ARM)
def test_predict_and_selftest_give_what_the_host_gives(home: Path, tmp_path: Path, target: str) -> None:
    """Classes of samples without labels; known answers, and the same fingerprint in every way to run a step."""
    cross.need(TARGETS[target])
    np.save(tmp_path / "x.npy", read_bnnd(home / "data.bnnd").x[-130:].reshape(130, -1).astype(np.uint8) * 255)
    spec = "edge"
    train(home, tmp_path / "run", spec, "host", "--steps", 10)
    found = []
    for t in ("host", target):

        def run(*argv: object, t: str = t) -> str:
            return cross.run(TARGETS[t], program(home, spec, t), *argv).stdout

        classes = run("predict", "--test", tmp_path / "x.npy", "--out", tmp_path / "run", "--threads", 2)
        answers, _, ways = run("selftest", "--threads", 2).partition("steps ")
        states = set(re.findall("state (.*)  ok", ways))
        assert (
            classes.count("\n") == 130 and answers.count(" ok\n") > 10 and len(states) == 1 and ways.endswith("\nok\n")
        )
        found.append((classes, answers, states))
    assert found[0] == found[1]


def test_a_convolutional_network_gives_the_bits_of_the_host(tmp_path: Path) -> None:
    """The example's, at a batch that QEMU can bear: eight convolutions and products, two steps and an evaluation."""
    cross.need(TARGETS["rpi"])
    rng = np.random.default_rng(0)
    write_bnnd(
        tmp_path / "data.bnnd",
        Dataset(
            rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8),
            np.arange(12, dtype=np.uint8) % 10,
            classes=10,
            n_test=4,
        ),
    )
    net, states = bnnc.load(EXAMPLE.parent / "cnv_cifar10" / "cnv_cifar10.bnn"), []
    for target in ("host", "rpi"):
        p = net.compile(target, tmp_path / target, threads=2, batch=4)
        done = cross.run(
            TARGETS[target],
            tmp_path / target,
            "train",
            "--train",
            tmp_path / "data.bnnd",
            "--out",
            tmp_path / f"run-{target}",
            "--steps",
            2,
            "--quiet",
        )
        assert "test " in done.stdout and build.read_elf(tmp_path / target).loaded <= p.plan.total_bytes
        states.append(cross.state_of(done))
    assert states[0] == states[1]


@pytest.fixture(scope="module")
def bytes_(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small images of random bytes."""
    path, rng = tmp_path_factory.mktemp("bytes") / "data.bnnd", np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 19, 19, 3), dtype=np.uint8), np.arange(40, dtype=np.uint8) % 10
    write_bnnd(path, Dataset(x, y, classes=10, n_test=10))
    return path


@pytest.mark.parametrize("spec", [BYTES, NUMBERS], ids=["image", "numbers"])
def test_one_program_takes_the_instructions_that_the_cpu_has(spec: str, bytes_: Path, tmp_path: Path) -> None:
    """Products of bytes: the level is that of the CPU, or the one asked for; what is not there is refused; the bits are
    the host's.
    """
    cross.need(TARGETS["rpi"])
    for target in ("host", "rpi", "rpi5"):
        bnnc.parse(spec).compile(target, tmp_path / target, threads=2)
    flags = ("train", "--train", bytes_, "--quiet", "--resume", "never", "--steps", 3, "--out", tmp_path / "run")
    want = cross.state_of(cross.run(TARGETS["host"], tmp_path / "host", *flags))
    names = {}
    for target, cpu, isa in (
        ("rpi", "cortex-a53", "auto"),
        ("rpi", "cortex-a76", "auto"),
        ("rpi", "cortex-a76", "neon"),
        ("rpi5", "cortex-a76", "auto"),
    ):

        def run(*argv: object, code: int = 0, at: tuple[str, str] = (target, cpu)) -> subprocess.CompletedProcess[str]:
            return cross.run(TARGETS[at[0]], tmp_path / at[0], *argv, cpu=at[1], code=code)

        assert cross.state_of(run(*flags, "--isa", isa)) == want
        names[target, cpu, isa] = json.loads(run("bench", "--steps", 1, "--json", "--isa", isa).stdout)["isa"]
        if isa == "auto" and target == "rpi":
            assert f"isa {names[target, cpu, isa]}" in run("bench", "--steps", 1).stdout
        if cpu == "cortex-a53":
            done = run("bench", "--isa", "dotprod", code=7)
            assert "this CPU (or its operating system) has only neon" in done.stderr and not done.stdout
    assert list(names.values()) == ["neon", "dotprod", "neon", "dotprod"]


@pytest.mark.parametrize("target", cross.ARM)
def test_killed_and_resumed(home: Path, tmp_path: Path, target: str) -> None:
    """SIGKILL in the middle, SIGTERM later, then to the end: the same bits as without; checkpoints of the host fit
    too.
    """
    cross.need(TARGETS[target])
    flags = ("--steps", 120)
    whole = train(home, tmp_path / "whole", "bep", "host", *flags)
    argv = [
        *TARGETS[target].emulator,
        program(home, "bep", target),
        "train",
        "--train",
        home / "data.bnnd",
        "--out",
        tmp_path / "cut",
        "--save-every-steps",
        10,
        *flags,
    ]
    times = 0
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = newest(tmp_path / "cut")
        process = subprocess.Popen([str(a) for a in argv], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while process.poll() is None and newest(tmp_path / "cut") == before:
            time.sleep(0.002)
        process.send_signal(number)
        times += process.wait() in (-signal.SIGKILL, 128 + signal.SIGTERM)
    assert times == 2
    train(home, tmp_path / "cut", "bep", "host", "--steps", 110)
    assert cross.state_of(train(home, tmp_path / "cut", "bep", target, *flags)) == cross.state_of(whole)


def newest(folder: Path) -> int:
    return max((p.stat().st_mtime_ns for p in folder.glob("*.bnnc*") if p.is_file()), default=0)


@pytest.mark.parametrize("target", OLDER)
def test_an_older_cpu_is_refused(home: Path, target: str) -> None:
    cross.need(TARGETS[target])
    done = cross.run(TARGETS[target], program(home, "bep", target), "info", cpu=OLDER[target], code=7)
    assert "newer CPU" in done.stderr and "bnnc targets" in done.stderr and not done.stdout


@pytest.mark.parametrize(("target", "spec"), [*((t, "edge") for t in cross.ARM), ("rpi", "bytes")])
def test_zig_makes_the_same_bits(home: Path, bytes_: Path, tmp_path: Path, target: str, spec: str) -> None:
    """What `pip install bnnc[arm]` brings; `rpi` at each of its levels."""
    cross.need(TARGETS[target], compiler=False)
    text, data, steps = (SPECS["edge"], home / "data.bnnd", 20) if spec == "edge" else (BYTES, bytes_, 3)
    cross.by_zig(TARGETS[target], tmp_path / "net", bnnc.parse(text).plan(target, threads=2).planned)
    flags = ("train", "--train", data, "--quiet", "--steps", steps)
    bnnc.parse(text).compile("host", tmp_path / "host", threads=2)
    want = cross.run(TARGETS["host"], tmp_path / "host", *flags, "--out", tmp_path / "a")
    for cpu in dict.fromkeys(level.cpu for level in TARGETS[target].levels):
        done = cross.run(TARGETS[target], tmp_path / "net", *flags, "--out", tmp_path / f"b{cpu}", cpu=cpu)
        assert cross.state_of(done) == cross.state_of(want)


@pytest.mark.parametrize("target", ["rpi", "rpi2"])
def test_a_board_compiles_for_itself(home: Path, tmp_path: Path, target: str) -> None:
    """The target `host` with the gcc of a Raspberry Pi, without options."""
    board = TARGETS[target]
    cc = board.compilers[0].split()[0]
    cross.need_compiler(replace(board, compilers=(cc,)))
    planned = bnnc.parse(SPECS["edge"]).plan("host").planned
    build.build(bnnc.driver.emit_source(planned), planned.report, planned.target, tmp_path / "net", cc)
    flags = ("train", "--train", home / "data.bnnd", "--quiet", "--steps", 20, "--threads", 2)
    done = cross.run(board, tmp_path / "net", *flags, "--out", tmp_path / "a")
    host = cross.run(TARGETS["host"], program(home, "edge", "host"), *flags, "--out", tmp_path / "b")
    assert cross.state_of(done) == cross.state_of(host)


@pytest.mark.parametrize("target", cross.ARM)
def test_without_a_compiler_the_message_says_how_to_get_one(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BnncError) as e:
        build.find_compiler(TARGETS[target])
    d = e.value.diagnostics[0]
    assert d.code == "B0706" and e.value.exit_code == 4 and 'pip install "bnnc[arm]"' in d.help and "zig" in d.message
