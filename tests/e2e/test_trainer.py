"""From a spec to a trained network, through the command line, on a small synthetic data set."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
from checks import command_line

import bnnc
from bnnc.backends.c import stack
from bnnc.backends.c.build import command, find_compiler
from bnnc.backends.c.targets import find_target
from bnnc.data import tensors

SPEC = """network tiny {
  input u8[5, 7];
  flatten;
  dense 40; batchnorm; sign;
  dense 33; batchnorm; sign;
  dense 6; batchnorm;
  loss;
}
rule edge;
train { batch = 20; epochs = 4; optimizer = adam(lr = 5e-3); schedule = cosine; seed = 3; }
data { train = npy("x.npy", "y.npy"); test = npy("xt.npy", "yt.npy"); }
"""
SPARE = 256 * 1024


def clusters(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Six classes around six fixed images."""
    middle = np.random.default_rng(99).integers(0, 256, (6, 5, 7))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 6, n)
    x = np.clip(middle[y] + rng.normal(0, 60, (n, 5, 7)), 0, 255)
    return x.astype(np.uint8), y.astype(np.uint8)


def shell(*args: Any, code: int = 0, **kw: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False, timeout=120, **kw)
    assert done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def compile_spec(folder: Path, text: str, *flags: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.bnn").write_text(text)
    command_line("compile", folder / "net.bnn", "-o", folder / "net", *flags)
    return folder / "net"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data and the compiled program, ``net``, for up to 4 threads."""
    folder = tmp_path_factory.mktemp("trainer")
    for name, n, seed in (("", 640, 1), ("t", 200, 2)):
        x, y = clusters(n, seed)
        np.save(folder / f"x{name}.npy", x)
        np.save(folder / f"y{name}.npy", y)
    compile_spec(folder, SPEC, "--threads", "4")
    return folder


def train(home: Path, out: Path, *flags: Any, **kw: Any) -> subprocess.CompletedProcess[str]:
    """On one thread, unless the flags say otherwise: the cores may be busy with other tests."""
    threads = () if "--threads" in flags else ("--threads", 1)
    return shell(home / "net", "train", "--data", home, "--out", out, *threads, *flags, **kw)


def records(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def state_of(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.rsplit("state ", 1)[1].strip()


# -- training --------------------------------------------------------------------------------------------------------


def test_train_logs_and_learns(home: Path, tmp_path: Path) -> None:
    done = train(home, tmp_path / "run", "--log", tmp_path / "log.jsonl", "--epochs", 12)
    log = records(tmp_path / "log.jsonl")
    assert [r["event"] for r in log] == ["start", *["epoch"] * 12, "end"]
    assert [r["epoch"] for r in log[1:-1]] == list(range(1, 13)) and log[1]["step"] == 640 // 20
    assert log[-1]["test_acc"] > 0.9 and log[-2]["loss"] < log[1]["loss"] and log[-1]["state"] == state_of(done)
    assert "epoch 12/12" in done.stdout and "memory: predicted" in done.stdout


def test_run_is_compile_and_train(home: Path, tmp_path: Path) -> None:
    run = [sys.executable, "-m", "bnnc", "run", "--threads", "4", home / "net.bnn"]
    done = shell(*run, "--", "--epochs", "2", "--threads", "1", "--out", "here", cwd=tmp_path)
    assert state_of(done) == state_of(train(home, tmp_path / "direct", "--epochs", 2)) and (tmp_path / "here").is_dir()
    assert "unknown flag" in shell(*run, "--", "--epoch=x", code=2, cwd=tmp_path).stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("--threads", 2),
        ("--threads", 3),
        ("--threads", 4),
        ("--isa", "base"),
        ("--isa", "avx2"),
        ("--isa", "avx512"),
        ("--isa", "base", "--threads", 4),
    ],
    ids=str,
)
def test_bits_depend_on_neither_threads_nor_instructions(home: Path, tmp_path: Path, flags: tuple[Any, ...]) -> None:
    if flags[0] == "--isa" and helpers.LEVELS.index(flags[1]) >= helpers.cpu_levels():
        pytest.skip(f"this CPU has no {flags[1]}")
    one = train(home, tmp_path / "one")
    assert state_of(train(home, tmp_path / "other", *flags)) == state_of(one)


def test_the_plan_knows_what_is_written(home: Path, tmp_path: Path) -> None:
    train(home, tmp_path / "run", "--epochs", 1)
    size = json.loads(command_line("plan", home / "net.bnn", "--json"))["checkpoint_bytes"]
    assert max(p.stat().st_size for p in (tmp_path / "run").glob("slot_*.bnnck")) == size
    assert f"{size * 60 / 2**20:.1f} MiB an hour" in command_line("plan", home / "net.bnn")


def test_native_build_gives_the_same_bits(home: Path, tmp_path: Path) -> None:
    native = compile_spec(tmp_path / "native", SPEC, "--target", "native")
    assert state_of(shell(native, "train", "--data", home, "--out", tmp_path / "a")) == state_of(
        train(home, tmp_path / "b")
    )


def test_resume_after_a_signal_gives_the_same_bits(home: Path, tmp_path: Path) -> None:
    epochs = ("--epochs", 500)
    whole = train(home, tmp_path / "whole", *epochs, "--quiet")
    log = tmp_path / "log.jsonl"
    argv = [home / "net", "train", "--data", home, "--out", tmp_path / "cut", *epochs, "--log", log, "--threads", 1]
    times = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen([str(a) for a in argv], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        seen = len(log.read_bytes().splitlines()) if log.exists() else 0
        while process.poll() is None and (not log.exists() or len(log.read_bytes().splitlines()) < seen + 5):
            time.sleep(0.001)
        process.send_signal(number)
        _, complaint = process.communicate(timeout=60)
        if process.returncode:
            times += 1
            assert process.returncode == 128 + number and "checkpoint" in complaint
    assert times, "the run ended before any signal came"
    last = shell(*argv)
    assert "resumed epoch" in last.stdout and state_of(last) == state_of(whole)
    assert [r["epoch"] for r in records(log) if r["event"] == "epoch"] == list(range(1, 501))


def test_finished_run_stays_as_it_is(home: Path, tmp_path: Path) -> None:
    first = train(home, tmp_path / "run")
    assert state_of(train(home, tmp_path / "run")) == state_of(first)
    assert state_of(train(home, tmp_path / "run", "--resume", "never", "--seed", 8)) != state_of(first)


# -- the other verbs -------------------------------------------------------------------------------------------------


def test_eval_sees_what_training_saw(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    train(home, tmp_path / "run", "--log", log)
    result = json.loads(shell(home / "net", "eval", "--data", home, "--out", tmp_path / "run", "--json").stdout)
    end = records(log)[-1]
    assert (result["test_acc"], result["state"], result["samples"]) == (end["test_acc"], end["state"], 200)


def test_predict_gives_what_eval_counts(home: Path, tmp_path: Path) -> None:
    train(home, tmp_path / "run")
    result = json.loads(shell(home / "net", "eval", "--data", home, "--out", tmp_path / "run", "--json").stdout)
    for flags in (("--data", home), ("--test", home / "xt.npy")):  # labels may be missing
        done = shell(home / "net", "predict", *flags, "--out", tmp_path / "run", "--threads", 2)
        hits = np.array(done.stdout.split(), int) == np.load(home / "yt.npy")
        assert len(hits) == 200 and hits.mean() == pytest.approx(result["test_acc"], rel=1e-5) and not done.stderr
    compiled_too = (sys.executable, "-m", "bnnc", "run", "--json", "--threads", 4, home / "net.bnn", "predict")
    again = shell(*compiled_too, "--out", tmp_path / "run", "--test", home / "xt.npy")
    assert [json.loads(line)["class"] for line in again.stdout.splitlines()] == [int(x) for x in done.stdout.split()]


def test_selftest_runs_every_instruction_set_on_all_threads_and_on_one(home: Path) -> None:
    def ways(*flags: Any) -> list[tuple[str, str, str, str]]:
        text = shell(home / "net", "selftest", *flags).stdout
        assert text.endswith("\nok\n") and "DIFFERS" not in text
        return re.findall(r"^steps (\d)  (\w+) +threads (\d)  state (\w{16})  ok$", text, re.M)

    here = [level for level in reversed(helpers.LEVELS[: helpers.cpu_levels()])]
    found = ways("--threads", 4)
    assert [f[:3] for f in found] == [("5", level, n) for n in "41" for level in here] and len(
        {f[3] for f in found}
    ) == 1
    assert [f[:3] for f in ways("--threads", 1, "--isa", "base", "--steps", 2)] == [("2", "base", "1")] * 2
    assert "takes 1 to 1000" in shell(home / "net", "selftest", "--steps", 0, code=2).stderr


def test_selftest_of_a_slow_network_says_what_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if helpers.cpu_levels() == 1:
        pytest.skip("one instruction set: nothing to leave out")
    monkeypatch.setenv("BNNC_CC", f"{find_compiler(find_target('host'))} -DBNNC_SELFTEST_SECONDS=0")
    compile_spec(tmp_path, SPEC)
    text = shell(tmp_path / "net", "selftest", "--threads", 2).stdout
    assert (
        len(re.findall("^steps", text, re.M)) == 2
        and f"{2 * helpers.cpu_levels() - 2} of {2 * helpers.cpu_levels()} ways" in text
    )
    assert (
        len(re.findall("^steps 1 ", shell(tmp_path / "net", "selftest", "--steps", 1).stdout, re.M))
        >= helpers.cpu_levels()
    )


def test_info_holds_the_plan(home: Path) -> None:
    planned = json.loads(command_line("plan", "--json", "--threads", "4", home / "net.bnn"))
    info = json.loads(shell(home / "net", "info", "--json").stdout)
    assert info == {k: planned[k] for k in info} and info["total_bytes"] == planned["total_bytes"]
    text = shell(home / "net", "info").stdout
    assert all(b["name"] in text for b in planned["buffers"])


def test_bench(home: Path) -> None:
    result = json.loads(shell(home / "net", "bench", "--json", "--steps", "20").stdout)
    assert result["steps"] == 20 and 0 < result["min_ms"] <= result["median_ms"]


def test_bench_predicts_the_step_and_each_kernel(home: Path) -> None:
    result = json.loads(shell(home / "net", "bench", "--json", "--kernels", "--steps", "5").stdout)
    kernels = result["kernels"]
    train = bnnc.load(home / "net.bnn").plan().planned.placed.train
    assert sorted(k["name"] for k in kernels) == sorted(k.name for k in train.kernels)
    assert sum(k["predicted_ms"] for k in kernels) == pytest.approx(result["predicted_ms"], rel=1e-4)
    measured = [k["measured_ms"] for k in kernels]
    assert measured == sorted(measured, reverse=True) and measured[-1] > 0
    plain = json.loads(shell(home / "net", "bench", "--json", "--steps", "5").stdout)
    assert plain["state"] == result["state"] and "kernels" not in plain
    text = shell(home / "net", "bench", "--kernels", "--steps", "5").stdout
    assert all(text.split().count(k["name"]) == 1 for k in kernels) and "at this machine's rates" in text


def test_help_fits_a_screen_and_stands_in_a_page(home: Path) -> None:
    text = shell(home / "net", "--help").stdout
    assert len(text.splitlines()) <= 40
    page = (Path(__file__).parents[2] / "docs/program.md").read_text(encoding="utf-8").split("```\n")[1]
    plain = [re.sub(r"(usage: )\w+|[0-9][0-9.e-]*", r"\1", t) for t in (page, text)]
    assert plain[0] == plain[1]


def test_export_and_init_round_trip(home: Path, tmp_path: Path) -> None:
    first = tmp_path / "w.safetensors"
    train(home, tmp_path / "a", "--export", first)
    weights = tensors.read(first)
    assert {"dense1.weight", "dense2.weight", "dense3.weight", "batchnorm1.beta"} <= set(weights)
    assert weights["dense1.weight"].shape == (35, 40)
    second = tmp_path / "w2.safetensors"
    train(home, tmp_path / "b", "--init", first, "--steps", 0, "--export", second)
    again = tensors.read(second)
    assert weights.keys() == again.keys() and all(np.array_equal(weights[n], again[n]) for n in weights)
    done = shell(home / "net", "eval", "--data", home, "--init", first, "--json")
    seen = shell(home / "net", "eval", "--data", home, "--out", tmp_path / "a", "--json")
    assert json.loads(done.stdout)["test_acc"] == json.loads(seen.stdout)["test_acc"]


# -- what is refused -------------------------------------------------------------------------------------------------


def test_wrong_data(home: Path, tmp_path: Path) -> None:
    x, y = np.load(home / "x.npy"), np.load(home / "y.npy")
    for name, a, b in (("shape", x[:, :4], y), ("label", x, y + 6), ("count", x, y[:-1]), ("few", x[:3], y[:3])):
        np.save(tmp_path / f"{name}_x.npy", a)
        np.save(tmp_path / f"{name}_y.npy", b)
        files = f"{tmp_path}/{name}_x.npy,{tmp_path}/{name}_y.npy"
        complaint = train(home, tmp_path / "run", "--train", files, code=5).stderr
        assert complaint.startswith("error: ") and "hint: " in complaint
    cut = tmp_path / "cut.npy"
    cut.write_bytes((home / "x.npy").read_bytes()[:-100])
    train(home, tmp_path / "run", "--train", f"{cut},{home}/y.npy", code=5)
    train(home, tmp_path / "run", "--train", f"{tmp_path}/none.npy,{home}/y.npy", code=5)


def test_checkpoint_of_another_spec(home: Path, tmp_path: Path, one_level: None) -> None:
    train(home, tmp_path / "run")
    other = compile_spec(tmp_path / "other", SPEC.replace("dense 40", "dense 48"))
    done = shell(other, "train", "--data", home, "--out", tmp_path / "run", code=6)
    assert "belongs to another network" in done.stderr
    shell(other, "train", "--data", home, "--out", tmp_path / "run", "--resume", "never")


def test_more_threads_than_planned(home: Path, tmp_path: Path) -> None:
    assert "compiled for 1 to 4" in train(home, tmp_path / "run", "--threads", 5, code=2).stderr


# -- memory ----------------------------------------------------------------------------------------------------------

MLP = """network mlp {
  input u8[28, 28] ENCODER; flatten;
  repeat 4 { dense 256; batchnorm; sign; }
  dense 10; batchnorm; loss;
}
rule RULE;
train { batch = 100; epochs = 1; }
"""
NETWORKS = {
    "tiny": (SPEC, (35,)),
    "mlp_edge": (MLP.replace("ENCODER", "sign(threshold = 128)").replace("RULE", "edge"), (784,)),
    "tiny_fitted": (SPEC.replace("[5, 7]", "[5, 7] thermometer(3, kind = gauss)"), (35,)),
    "mlp_fitted": (MLP.replace("ENCODER", "thermometer(2)").replace("RULE", "edge"), (784,)),
    "mlp_standard": (MLP.replace("ENCODER", "").replace("RULE", "standard"), (784,)),
}


def limit(total: int) -> None:
    for what in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        resource.setrlimit(what, (total, total))


@pytest.mark.optimized
@pytest.mark.parametrize(
    ("name", "threads"),
    [
        ("mlp_edge", 4),
        *(pytest.param(n, t, marks=pytest.mark.slow) for n, t in (("tiny", 1), ("tiny", 2), ("mlp_standard", 4))),
        *(
            pytest.param(n, 1, marks=pytest.mark.slow)
            for n in ("tiny_fitted", "mlp_edge", "mlp_standard", "mlp_fitted")
        ),
    ],
)
def test_memory_is_as_predicted(tmp_path: Path, name: str, threads: int) -> None:
    """The whole process: at most the prediction, at least the prediction less 256 KiB, and it runs under that limit."""
    text, shape = NETWORKS[name]
    program = bnnc.parse(text).compile(threads=threads)
    total = program.plan.total_bytes
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (300, *shape)).astype(np.uint8))
    np.save(tmp_path / "y.npy", rng.integers(0, 6, 300).astype(np.uint8))
    log = tmp_path / "log.jsonl"
    files = f"{tmp_path}/x.npy,{tmp_path}/y.npy"
    shell(
        program.binary,
        "train",
        "--train",
        files,
        "--test",
        files,
        "--out",
        tmp_path / "run",
        "--epochs",
        2,
        "--threads",
        threads,
        "--log",
        log,
        env={"PATH": os.defpath},
        preexec_fn=lambda: limit(total),
    )
    end = records(log)[-1]
    assert end["memory_predicted"] == total
    if not end["memory_measured"]:
        pytest.skip("this system does not tell a process how much memory it has")
    assert end["memory_measured"] <= total <= end["memory_measured"] + SPARE


@pytest.mark.optimized
@pytest.mark.parametrize(
    ("name", "threads"),
    [  # the same programs; in the slow tier those for other threads
        ("tiny_fitted", 1),
        ("mlp_edge", 4),
        *(pytest.param(n, t, marks=pytest.mark.slow) for n, t in (("tiny_fitted", 4), ("mlp_edge", 1))),
    ],
)
def test_predict_and_selftest_run_in_the_predicted_memory(tmp_path: Path, name: str, threads: int) -> None:
    text, shape = NETWORKS[name]
    program = bnnc.parse(text).compile(threads=threads)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (230, *shape)).astype(np.uint8))
    np.save(tmp_path / "y.npy", (np.arange(230) % 6).astype(np.uint8))
    own = ("--out", tmp_path / "run", "--threads", threads)
    shell(
        program.binary, "train", "--train", f"{tmp_path}/x.npy,{tmp_path}/y.npy", "--test", "none", "--steps", 2, *own
    )
    for verb in (("predict", "--test", tmp_path / "x.npy", *own), ("selftest", "--threads", threads)):
        done = shell(
            program.binary, *verb, env={"PATH": os.defpath}, preexec_fn=lambda: limit(program.plan.total_bytes)
        )
        assert len(done.stdout.splitlines()) == 230 or done.stdout.endswith("\nok\n")


@pytest.mark.parametrize(
    "name", helpers.with_slow(("mlp_edge", "mlp_standard", "tiny_fitted"), ("mlp_edge", "mlp_standard"))
)
def test_stack_bounds(tmp_path: Path, name: str) -> None:
    """The deepest path of calls fits in the stacks that the plan counts, with a signal on the first; every build checks
    it too.
    """
    planned = helpers.plan(NETWORKS[name][0])
    source = helpers.driver.emit_source(planned)
    source.write(tmp_path)
    argv = command(find_compiler(planned.target), planned.target, source.main, "program", (stack.FLAG,))
    shell(*argv, cwd=tmp_path)
    calls = stack.read(tmp_path / "program")
    assert calls is not None
    deepest = max(n for f, n in calls.frame.items() if stack.KERNEL.fullmatch(f.split(":")[-1].split(".")[0]))
    report = planned.report
    assert deepest < calls.depth("bnnc_worker") <= report.threads // report.workers
    assert (
        calls.depth("bnnc_worker") < calls.depth("bnnc_start") < calls.depth("bnnc_start") + stack.SIGNAL <= calls.main
    )
    assert calls.main <= stack.bounds(calls, False)[0] <= report.stack
