"""The GPU programs without a GPU: the host program in C against a stand-in for the driver, the Python trainer in
Triton's interpreter.

The stand-in (``fake_cuda.c``) runs the C backend's kernels on what the host program put into device memory, so a whole
training run must end in the states of the C trainer, and checkpoints go from one program to the other.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import prepare
import pytest
import session
from helpers import Library, plan, sequence_spec, spec
from triton_helpers import QUICK

from bnnc import data, driver, knobs
from bnnc.backends import select
from bnnc.backends.c.targets import find_target
from bnnc.backends.triton import checkpoint, emit, host
from bnnc.data import tensors
from bnnc.diag import BnncError

HERE = Path(__file__).parent
NETS = {
    "floats": (
        spec((20, 9, 3), kind="sign", batch=10).replace("optimizer =", "epochs = 2; schedule = cosine; optimizer =")
    ),
    "integers": (
        spec((20, 9, 3), kind="sign", rule="bep(group = 3)", batch=10).replace("optimizer = adam; ", "epochs = 2; ")
    ),
    "encoded": (
        sequence_spec(4, 5, 9, 0, 3, batch=10, encoder="thermometer(3, kind = gauss)")
        .replace("f32[", "u8[")
        .replace("train { ", "train { epochs = 2; schedule = plateau(1, 0.5); ")
    ),
    "parts": spec((20, 9, 3), kind="sign", batch=12).replace("optimizer =", "epochs = 2; microbatch = 3; optimizer ="),
    "images": (
        """network net {
  input u8[4, 5, 1]; conv 5 kernel = 2; maxpool; batchnorm; sign; conv 3 kernel = 2 padding = same; batchnorm; sign;
  flatten;
  dense 3; batchnorm; loss; }
rule standard; train { epochs = 2; batch = 10; optimizer = adam; }
"""
    ),
    "strips": (
        """network net {
  input u8[4, 5, 1]; conv 8 kernel = 1; batchnorm; sign; conv 64 kernel = 1; batchnorm; sign;
  conv 8 kernel = 1; maxpool; batchnorm; sign;
  flatten; dense 3; batchnorm; loss; }
rule edge; train { epochs = 1; batch = 10; optimizer = adam; recompute = on; }
"""
    ),
    "residuals": (
        """network net {
  input u8[4, 5, 1]; conv 4 kernel = 2 weights = real; batchnorm; relu; maxpool 2 stride = 1; batchnorm;
  residual { sign clip = 1.25; conv 4 padding = same groups = 2; batchnorm; }
  residual { shortcut { avgpool 2; conv 6 kernel = 1 weights = real; batchnorm; }
             sign clip = 1.25; conv 6 kernel = 2 stride = 2 scale = mean; batchnorm; }
  globalavgpool; flatten; dense 3 weights = real bias = on; loss; }
rule edge(clip_at = 1.25); train { epochs = 2; batch = 10; optimizer = adam; }
"""
    ),
}


def text_of(net: str) -> str:
    return NETS[net] + 'data { train = npy("x.npy", "y.npy"); test = npy("xt.npy", "yt.npy"); }\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, one_level: None) -> Path:
    """Data, the stand-in for the driver."""
    at = tmp_path_factory.mktemp("gpu")
    rng = np.random.default_rng(0)
    centres = rng.random((3, 20)) < 0.5
    for name, n in (("", 40), ("t", 10)):
        y = rng.integers(0, 3, n).astype(np.uint8)
        np.save(at / f"x{name}.npy", np.where(centres[y] ^ (rng.random((n, 20)) < 0.1), 200, 50).astype(np.uint8))
        np.save(at / f"y{name}.npy", y)
    argv = [
        "gcc",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-o",
        str(at / "libcuda.so.1"),
        str(HERE / "fake_cuda.c"),
    ]
    subprocess.run([*argv, "-ldl"], check=True)
    return at


def built(net: str, target: str, folder: Path) -> tuple[driver.Planned, Path]:
    planned = plan(text_of(net), target=target)
    out = folder / f"{net}_{target.replace(':', '_')}"
    if not out.exists():
        driver.build_planned(planned, out)
    return planned, out


def run(
    program: Path, folder: Path, *args: str, net: str = "", code: int = 0, **env: str
) -> subprocess.CompletedProcess[str]:
    """A program with the stand-in's driver, or the Python trainer in the interpreter."""
    more = {"LD_LIBRARY_PATH": str(folder), **env}
    if net:
        # the C kernels on the arena of the GPU's plan, whose places and order are its own
        lib = Library(replace(plan(text_of(net), target="cuda"), target=find_target("host")))
        more |= {"FAKE_NET": str(lib.path), "FAKE_ARENA": str(lib.plan.arena_bytes)}
    argv = [str(program)]
    if program.name.endswith("triton"):
        argv = [sys.executable, "-W", "ignore", QUICK, *argv]
        more |= {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [*argv, *args], cwd=folder, env={**os.environ, **more}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def state(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.split("state ")[1].split()[0]


SLOW_FLOATS = [
    *(pytest.param(n, marks=pytest.mark.slow) for n in ("floats", "parts", "images", "residuals", "encoded")),
    "integers",
]
REAL = ("floats", "parts", "images", "residuals")  # nothing is counted


@pytest.mark.slow  # fast: test_a_trainer_asks_after_each_epoch
@pytest.mark.parametrize("net", [*REAL, "encoded", "integers"])
def test_the_python_trainer_is_the_c_trainer(net: str, folder: Path) -> None:
    """Two epochs: the same states, log (what was counted, too) and exported weights; each goes on from the other's
    checkpoint, also from one within an epoch, and both fit the encoder to the same thresholds."""
    _, c = built(net, "host", folder)
    _, py = built(net, "triton", folder)
    logs = [folder / f"{net}-{p}.jsonl" for p in "cp"]
    files = [folder / f"{net}-{p}.safetensors" for p in "cp"]
    a, b = (
        run(p, folder, "train", "--out", f"{net}-{p.name}", "--log", str(log), "--export", str(file))
        for p, log, file in ((c, logs[0], files[0]), (py, logs[1], files[1]))
    )
    assert state(a) == state(b)
    for x, y in zip(*([json.loads(line) for line in log.read_text().splitlines()] for log in logs), strict=True):
        for k in ("event", "epoch", "step", "test_samples", "state", "weights_hash", "hash", "train_samples", "batch"):
            assert x.get(k) == y.get(k), k
        for k in ("loss", "train_acc", "test_acc", "best_test_acc", "lr"):
            assert x.get(k, 0) == pytest.approx(y.get(k, 0), rel=1e-5), k
        for k in ("flips", "trigger_rate", "saturation", "stage"):
            assert x.get(k) == y.get(k) and ((k in x) == (x["event"] == "epoch" and net not in REAL) or k == "stage"), k
    want = tensors.read(files[0])
    got = tensors.read(files[1])
    assert list(got) == list(want) and all((got[n] == want[n]).all() and got[n].shape == want[n].shape for n in want)
    run(c, folder, "train", "--out", f"{net}-1", "--steps", "1")
    run(py, folder, "train", "--out", f"{net}-1", "--steps", "6", "--log", f"{net}-resumed.jsonl")
    first = [
        next(e for e in map(json.loads, log.read_text().splitlines()) if e["event"] == "epoch")
        for log in (logs[1], folder / f"{net}-resumed.jsonl")
    ]
    assert first[0] == {**first[1], "seconds": first[0]["seconds"], "samples_per_s": first[0]["samples_per_s"]}
    assert state(run(c, folder, "train", "--out", f"{net}-1")) == state(a)
    best = [folder / out / "best.bnnck" for out in (f"{net}-{c.name}", f"{net}-{py.name}", f"{net}-1")]
    assert [p.exists() for p in best] == [net == "encoded"] * 3
    assert len({p.read_bytes() for p in best if p.exists()}) <= 1
    of_both = [json.loads(run(p, folder, "eval", "--last", "--out", f"{net}-1", "--json").stdout) for p in (c, py)]
    last = json.loads(logs[0].read_text().splitlines()[-2])
    assert [(x["state"], x["weights_hash"]) for x in of_both] == [(state(a), last["weights_hash"])] * 2
    for more in ((), ("--test", "xt.npy"), ("--json",)):
        want, got = (run(p, folder, "predict", "--out", f"{net}-1", *more).stdout for p in (c, py))
        assert got == want and got.count("\n") == 10
    hits = np.array(run(c, folder, "predict", "--out", f"{net}-1").stdout.split(), int) == np.load(folder / "yt.npy")
    assert hits.mean() == pytest.approx(
        json.loads(run(c, folder, "eval", "--out", f"{net}-1", "--json").stdout)["test_acc"]
    )


@pytest.mark.parametrize("net", SLOW_FLOATS)
def test_the_host_program_is_the_c_trainer(net: str, folder: Path) -> None:
    """Images for this GPU, one allocation of the planned size, whole steps in one launch, the C trainer's states and
    files.
    """
    _, c = built(net, "host", folder)
    planned, gpu = built(net, "cuda", folder)
    log = folder / f"{net}.driver"
    a = run(c, folder, "train", "--out", f"{net}-hc", "--export", f"{net}-hc.safetensors")
    b = run(gpu, folder, "train", "--out", f"{net}-hg", "--export", f"{net}-hg.safetensors", net=net, FAKE_LOG=str(log))
    assert state(a) == state(b)
    assert (folder / f"{net}-hc.safetensors").read_bytes() == (folder / f"{net}-hg.safetensors").read_bytes()
    lines = log.read_text().splitlines()
    assert f"alloc {planned.report.total}" in lines and planned.report.total == emit.device(planned.placed).nbytes
    assert lines.count("image cubin sm_90") == 2
    assert sum(x.startswith("wait") for x in lines) == sum(x.startswith("launch") for x in lines), "once a step"
    steps = int(a.stdout.split(" steps")[0].split()[-1])
    assert (
        sum(x.startswith("launch train_step 7 256 ") for x in lines) == steps * planned.model.microbatch and steps >= 6
    )
    evaluated = 4 if net == "encoded" else 2 * -(-10 // planned.model.part)  # encoded: held-out samples, too
    assert sum(x.startswith("launch eval_step 7 256 ") for x in lines) == evaluated
    run(c, folder, "train", "--out", f"{net}-h1", "--steps", "4")
    run(gpu, folder, "train", "--out", f"{net}-h1", "--steps", "6", net=net)
    assert state(run(c, folder, "train", "--out", f"{net}-h1")) == state(a)
    assert state(run(gpu, folder, "eval", "--last", "--out", f"{net}-h1", net=net)) == state(a)
    args = ("predict", "--test", "xt.npy", "--out", f"{net}-h1")
    assert run(gpu, folder, *args, net=net).stdout == run(c, folder, *args).stdout
    ways = [
        re.findall(r"^steps (.*)  threads . +state (.*)  ok$", run(p, folder, "selftest", net=n).stdout, re.M)
        for p, n in ((c, ""), (gpu, net))
    ]
    assert [w for w, _ in ways[1]] == ["5  cuda    "] * 2 and len({s for w in ways for _, s in w}) == 1
    assert f"of memory {planned.report.total} " in run(gpu, folder, "info").stdout.replace("device memory", "of memory")


def test_no_copy_of_a_step_is_waited_for_by_itself(folder: Path) -> None:
    """What a step sends and fetches is queued around its launch, and waited for once: the host waits for as many other
    copies in a run of one step as in one of four.
    """
    _, gpu = built("integers", "cuda", folder)
    counts = []
    for steps in (1, 4):
        log = folder / f"copies-{steps}.driver"
        options = ("--out", f"copies-{steps}", "--steps", str(steps))
        run(gpu, folder, "train", *options, net="integers", FAKE_LOG=str(log))
        counts.append(Counter(line.split()[0] for line in log.read_text().splitlines()))
    one, four = counts
    assert one["copy"] == four["copy"] > 0, "of states and constants"
    assert four["launch"] - one["launch"] == four["wait"] - one["wait"] == 3


@pytest.mark.slow
def test_a_closed_pipe_or_terminal_stops_the_python_trainer(folder: Path, tmp_path: Path) -> None:
    """With a checkpoint, from which the same command goes on; `predict` ends too, and says so where a line is lost."""
    _, py = built("integers", "triton", folder)
    env = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    argv = [sys.executable, "-W", "ignore", str(py)]

    def begun(verb: str, *args: object) -> subprocess.Popen[str]:
        p = subprocess.Popen(
            [*argv, verb, *map(str, args)],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        assert p.stdout is not None and p.stdout.readline()
        return p

    for number in (signal.SIGPIPE, signal.SIGHUP):
        p = begun("train", "--out", tmp_path / f"{number}", "--epochs", 1000)
        assert p.stdout is not None
        if number == signal.SIGPIPE:
            p.stdout.close()
            p.stdout = None
        else:
            p.send_signal(number)
        _, complaint = p.communicate(timeout=60)
        assert (
            p.returncode == 128 + number
            and "the same command goes on from here" in complaint
            and "Error" not in complaint
        )
        assert "resumed epoch" in run(py, folder, "train", "--out", str(tmp_path / f"{number}"), "--steps", "0").stdout
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*argv, "predict", "--out", tmp_path / "1"],
            cwd=folder,
            env=env,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (
        done.returncode == 5
        and "cannot write to standard output: No space left" in done.stderr
        and "Exception" not in done.stderr
    )


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("host", 0),
        ("host", 128 + signal.SIGTERM),
        ("triton", 128 + signal.SIGTERM),
        pytest.param("triton", 0, marks=pytest.mark.slow),
    ],
)
def test_a_trainer_asks_after_each_epoch(target: str, code: int, folder: Path, tmp_path: Path) -> None:
    """A line goes on; the end of the input ends the run there, a signal stops it: both with that epoch's checkpoint and
    weights.
    """
    _, program = built("integers", target, folder)
    _, c = built("integers", "host", folder)
    argv, env = [str(program)], dict(os.environ)
    if target == "triton":
        argv = [sys.executable, "-W", "ignore", *argv]
        env |= {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}

    log, file, out = tmp_path / "log.jsonl", tmp_path / "w.safetensors", str(tmp_path / "run")
    p = subprocess.Popen(
        [
            *argv,
            "train",
            "--out",
            out,
            "--epochs",
            "1000",
            "--ask",
            "--quiet",
            "--log",
            str(log),
            "--export",
            str(file),
        ],
        cwd=folder,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert p.stdin is not None and p.stdout is not None
    for k in (1, 2):
        assert p.stdout.readline() == f"epoch {k} is done; a line goes on, the end of standard input stops\n"
        time.sleep(0.1)
        last = [json.loads(line) for line in log.read_text().splitlines()][-1]
        assert last["epoch"] == k, "it waits"
        if k == 1:
            p.stdin.write("yes\n")
            p.stdin.flush()
    p.send_signal(signal.SIGTERM) if code else p.stdin.close()
    p.stdout.read()
    assert p.wait(timeout=60) == code
    p.stdin.close(), p.stdout.close()
    assert state(run(c, folder, "eval", "--out", out)) == last["state"]
    assert (
        json.loads(run(c, folder, "eval", "--init", str(file), "--json").stdout)["weights_hash"] == last["weights_hash"]
    )
    assert state(run(c, folder, "train", "--out", str(tmp_path / "whole"), "--epochs", "2")) == last["state"]


def test_both_trainers_judge_checkpoints_alike(folder: Path, tmp_path: Path) -> None:
    """Every pair of a slot that is missing, empty, cut off, torn or damaged: resumed, begun anew or refused, in the
    same words.
    """
    _, c = built("integers", "host", folder)
    out = tmp_path / "run"
    for steps in (1, 2):
        run(c, folder, "train", "--out", str(out), "--steps", str(steps))
    paths = [out / f"slot_{s}.bnnck" for s in "ab"]
    whole = [p.read_bytes() for p in paths]
    _, _, _, spec_hash, _, length, *_ = checkpoint.HEADER.unpack(whole[0][:64])
    store_of = (out, spec_hash.decode(), length - checkpoint.CURSOR.size, 0)

    def damages(good: bytes) -> list[bytes | None]:
        torn = (good[:40], bytes(64) + good[64:], good[:9] + b"?" + good[10:])
        return [None, b"", *torn, good[:-1], good[:-1] + bytes([good[-1] ^ 1]), good]

    met = set()
    for contents in itertools.product(*map(damages, whole)):
        for p, content in zip(paths, contents, strict=True):
            p.unlink(missing_ok=True)
            if content is not None:
                p.write_bytes(content)
        store, words = checkpoint.Store(*store_of), ""
        try:
            what = "resumed" if store.load() else "anew"
            words = store.note
        except BnncError as e:
            what, words = "refused", f"error: {e.diagnostics[0].message}\n  hint: {e.diagnostics[0].help}"
        done = run(c, folder, "train", "--out", str(out), "--steps", "0", code=6 if what == "refused" else 0)
        assert ("resumed epoch" in done.stdout) == (what == "resumed") and done.stderr.strip() == words
        met.add((what, bool(words)))
    assert met == {("resumed", False), ("resumed", True), ("anew", False), ("anew", True), ("refused", True)}


@pytest.mark.slow
def test_the_python_trainer_runs_strips(folder: Path) -> None:
    """Several steps in one launch, each with its loops."""
    programs = [built("strips", target, folder)[1] for target in ("host", "triton")]
    a, b = (run(p, folder, "train", "--out", f"strips-{p.name}", "--steps", "2", "--test", "none") for p in programs)
    assert state(a) == state(b)


@pytest.mark.slow
def test_images_for_each_gpu_and_refusals(folder: Path) -> None:
    """Which of the images is loaded; each reason not to start has its message, and exit code 7 or 8."""
    _, gpu = built("floats", "cuda", folder)
    args = ("bench", "--steps", "1")
    for cc, image in (
        (80, "cubin sm_80"),
        (86, "cubin sm_80"),
        (89, "cubin sm_80"),
        (90, "cubin sm_90"),
        (100, "ptx"),
        (120, "ptx"),
    ):
        log = folder / f"cc{cc}"
        run(gpu, folder, *args, net="floats", FAKE_CC=str(cc), FAKE_LOG=str(log))
        assert [x for x in log.read_text().splitlines() if x.startswith("image")] == [f"image {image}"] * 2
    for code, message, env in (
        (7, "no kernels for it", {"FAKE_CC": "75"}),
        (7, "finds no GPU", {"FAKE_NO_DEVICE": "1"}),
        (7, "older than 12.0", {"FAKE_DRIVER": "11080"}),
        (7, "is for CUDA 12.4, older than 12.", {"FAKE_DRIVER": "12040", "FAKE_CC": "100"}),
        (8, "bytes a thread beside the plan", {"FAKE_LOCAL": "16"}),
        (8, "bytes of GPU memory", {"FAKE_MEMORY": "1000"}),
    ):
        assert message in run(gpu, folder, *args, net="floats", code=code, **env).stderr
    alone = run(gpu, folder, *args, "--kernels", net="floats", code=2)
    assert "does not run its kernels one by one" in alone.stderr and "hint:" in alone.stderr and not alone.stdout
    for more in ((), ("--kernels",)):
        missing = run(gpu, folder, *args, *more, code=7, LD_LIBRARY_PATH="")
        assert "needs an NVIDIA GPU and its driver" in missing.stderr and "hint:" in missing.stderr


@pytest.mark.slow
@pytest.mark.parametrize("net", ["integers", "strips"])
def test_one_launch_a_kernel(net: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step is not one launch: as many programs as a kernel has tiles, in the schedule's order; the same
    states.
    """
    monkeypatch.setattr(emit, "PERSISTENT_TERMS", 0)
    planned = plan(text_of(net), target="cuda:sm_90")
    gpu = driver.build_source(driver.emit_source(planned), planned, folder / f"many-{net}")
    _, c = built(net, "host", folder)
    log = folder / f"many-{net}.driver"
    a = run(c, folder, "train", "--out", f"many-{net}-c", "--steps", "2", "--test", "none")
    b = run(
        gpu, folder, "train", "--out", f"many-{net}-g", "--steps", "2", "--test", "none", net=net, FAKE_LOG=str(log)
    )
    assert state(a) == state(b)
    launched = [x.split() for x in log.read_text().splitlines() if x.startswith("launch")]
    train, _ = emit.entries(planned.placed)
    want = []
    for i, e in enumerate(train):  # a loop's kernels, once a strip
        first, strips = e.loop or (i, 1)
        some = [x for x in train if x.loop == e.loop] if e.loop else [e]
        want += (
            [["launch", x.name, str(x.tiles), str(32 * x.warps), str(s)] for s in range(strips) for x in some]
            if first == i
            else []
        )
    assert [[*x[:4], x[5]] for x in launched] == 2 * want and (net == "strips") == any(x[5] == "1" for x in launched)


def test_the_same_source_gives_the_same_images(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    planned = plan(text_of("integers"), target="cuda:sm_80")
    source = driver.emit_source(planned)
    assert driver.emit_source(planned) == source
    made = []
    for cache in ("a", "elsewhere/b"):
        monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / cache))
        made.append(host.images(source.text["net_kernels.py"], planned.target))
    assert made[0] == made[1] and b"net_kernels.py" not in made[0][1]


def test_a_mirror_beyond_2_gib_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3 GiB; one of 4 is refused before kernels are compiled, and so is one of 2 where addresses stay short."""

    def no_kernels(*_: object) -> tuple[str, bytes]:
        return host.IMAGES.format(
            archs=1,
            kernels=1,
            train=1,
            launches=1,
            ptx_driver=0,
            arch_list="{ 90, false }",
            table='    { "k", 1, 1, { { 0, 0, 0 } } },',
            order="    { 0, 0 }",
        ), b""

    def build(mib: int) -> None:
        planned = plan(spec((mib * 4, 3), kind="f32", batch=1 << 16), target="cuda:sm_90")
        assert planned.report.arena > mib << 20
        driver.build_source(driver.emit_source(planned), planned, tmp_path / "net")

    monkeypatch.setattr(host, "images", no_kernels)
    build(3072)
    assert (tmp_path / "net").exists()
    for mib, where in ((4100, "x86_64-linux-gnu"), (2100, "aarch64-linux-gnu")):
        monkeypatch.setattr(host, "machine", lambda cc, where=where: where)
        with pytest.raises(BnncError, match="B0710"):
            build(mib)


@pytest.mark.parametrize(
    ("versions", "cuda"),
    [((), 0), (("8.4",), 12040), (("8.7", "8.4"), 12080), (("99.0",), max(host.PTX_CUDA.values()))],
)
def test_ptx_says_which_driver_it_needs(versions: tuple[str, ...], cuda: int) -> None:
    assert host.ptx_driver([f"//\n.version {v}\n.target sm_80\n" for v in versions]) == cuda


def test_a_source_folder_is_built_again(tmp_path: Path) -> None:
    """`--source` and `bnnc build`: an edited trainer is what is built; one that is no Python is refused."""
    planned = plan(text_of("floats"), target="triton")
    source = driver.emit_source(planned, knobs.Knobs())
    source.write(tmp_path / "src")
    again, sizes, target = select.read_source(tmp_path / "src")
    assert (again.text[again.main], sizes.arena, target.name) == (
        source.text[source.main],
        planned.report.arena,
        "triton",
    )
    (tmp_path / "src" / source.main).write_text("def broken(:\n")
    again, sizes, target = select.read_source(tmp_path / "src")
    with pytest.raises(BnncError, match="B0713"):
        select.backend_of(target).build(again, sizes, target, tmp_path / "out")


def test_without_triton_the_python_trainer_says_so(folder: Path) -> None:
    _, py = built("floats", "triton", folder)
    code = (
        f"import importlib.util as u, runpy; u.find_spec = lambda n: None; runpy.run_path({str(py)!r},"
        " run_name='__main__')"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", code, "train"], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 7 and "pip install 'bnnc[gpu]'" in done.stderr and "Traceback" not in done.stderr


def test_without_a_gpu_the_python_trainer_says_so(folder: Path) -> None:
    _, py = built("floats", "triton", folder)
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "CUDA_VISIBLE_DEVICES": "",
        "TRITON_INTERPRET": "0",
    }
    done = subprocess.run(
        [sys.executable, str(py), "train"], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 7 and "B0714" in done.stderr and "Traceback" not in done.stderr
    assert data.pack(str(folder / "x.npy"), str(folder / "y.npy")).n == 40


@pytest.mark.slow  # fast: tests/unit/test_gpu_session.py
def test_a_session_runs_dry(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From prepare.py to gpu_session.json: the program ends in the C trainer's state on the stand-in's driver, and all
    that needs a GPU says that there is none.
    """
    spec_file = folder / "session.bnn"
    spec_file.write_text(text_of("integers").replace("epochs = 2", "epochs = 1"))
    lib = Library(plan(spec_file.read_text()))
    net = prepare.Net(text_of("integers"), 10, "small")
    prepare.prepare(tmp_path / "made", spec_file, {"tiny": net}, offline=True)
    for name, value in (
        ("LD_LIBRARY_PATH", str(folder)),
        ("FAKE_NET", str(lib.path)),
        ("FAKE_ARENA", str(lib.plan.arena_bytes)),
        ("PYTHONPATH", os.pathsep.join(p for p in sys.path if p)),
    ):
        monkeypatch.setenv(name, value)
    data = session.session(tmp_path / "made", tmp_path / "out")
    assert data == json.loads((tmp_path / "out/gpu_session.json").read_text())
    assert session.problems(data) == []
    done, *rest = data["parts"]
    assert done["status"] == "ok" and done["records"][0]["same_bits"]
    assert {p["status"] for p in rest} == {"no CUDA device"}
    made = json.loads((tmp_path / "made/session.json").read_text())["nets"]["tiny"]
    assert made["predicted"]["us"] > 0 and made["predicted"]["kernels"]
