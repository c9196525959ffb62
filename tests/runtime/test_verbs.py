"""The verbs predict and selftest, and what a closed terminal or pipe does; on the hand-written network of
dummy_net.c.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from runtime_builds import HERE, RUNTIME, Programs
from runtime_formats import bnnd, gz, idx, npy, read_safetensors, samples

from bnnc import rng
from bnnc.ir import num

X, Y = samples(1003, 1)
XT, YT = samples(205, 2)  # the last batch of 10 is half full
F = np.float32


@pytest.fixture(scope="module")
def programs(library_cache: Path) -> Programs:
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    return Programs(library_cache, ("free", "asan", "slow", "slow_asan", "u8", "f32"))


def run(program: Path, *args: object, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(program), *map(str, args)], capture_output=True, text=True, cwd=cwd, timeout=60, check=False
    )
    assert done.returncode == code, f"{program.name} {args}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr
    return done


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Path:
    """A folder with data and a trained run of each input kind."""
    at = tmp_path_factory.mktemp("verbs")
    for name, a in (
        ("train-images-idx3", X),
        ("train-labels-idx1", Y),
        ("t10k-images-idx3", XT),
        ("t10k-labels-idx1", YT),
    ):
        (at / f"{name}-ubyte").write_bytes(idx(a))
    (at / "xf.npy").write_bytes(npy(X.astype("<f4")))
    (at / "yf.npy").write_bytes(npy(Y))
    for name, flags in (
        ("free", ("--data", at)),
        ("u8", ("--train", at / "train-images-idx3-ubyte", "--test", "none")),
        ("f32", ("--train", f"{at}/xf.npy,{at}/yf.npy", "--test", "none")),
    ):
        run(programs[name], "train", *flags, "--epochs", 2, "--out", at / name, "--export", at / f"{name}.w")
    return at


# ---- predict ----


def classes(home: Path, kind: str, x: np.ndarray) -> np.ndarray:
    """dummy_net.c's forward pass in NumPy, each sum in its order."""
    w = read_safetensors(home / f"{kind}.w")
    v = {"free": np.where(x >= 128, F(1), F(-1)), "u8": x.astype(F) / F(128) - F(1), "f32": x.astype(F)}[kind]
    p = np.repeat(w["dense1.bias"].reshape(1, -1), len(x), axis=0)
    for i in range(x.shape[1]):
        p = p + w["dense1.weight"][None, :, i] * v[:, i, None]
    return p.argmax(axis=1)


def test_predict_gives_the_class_of_each_sample(programs: Programs, home: Path, tmp_path: Path) -> None:
    """Labels may be missing, in every format; the classes are those that eval counts."""

    def put(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    labelled = f"{put('xt', idx(XT))},{put('yt', idx(YT))}"
    alone = {
        "idx": put("alone", idx(XT)),
        "gz": put("alone.gz", gz(idx(XT))),
        "npy": put("xt.npy", npy(XT.reshape(-1, 37, 1))),
        "no labels beside it": put("my-images-idx3-ubyte", idx(XT)),
    }
    both = {
        "labels": labelled,
        "bnnd": put("xt.bnnd", bnnd(XT, YT, 0)),
        "bnndz": put("z.bnnd", bnnd(XT, YT, 0, compress=True)),
    }
    for kind in ("free", "u8"):
        want = classes(home, kind, XT)
        assert len(set(want)) > 2
        for name, file in {**alone, **both}.items():
            args = ("--out", home / kind, "--cache", tmp_path / f"cache-{kind}", "--test", file)
            done = run(programs[kind], "predict", *args)
            assert done.stdout == "".join(f"{c}\n" for c in want) and not done.stderr, (kind, name)
        result = json.loads(
            run(programs[kind], "eval", "--out", home / kind, "--cache", tmp_path, "--test", labelled, "--json").stdout
        )
        assert result["test_acc"] == pytest.approx(float((want == YT).mean()))
    assert {p.name for p in (tmp_path / "cache-free").iterdir()} == {"samples.bit.bnnd", "test.bit.bnnd"}
    assert not list((tmp_path / "cache-u8").glob("samples.u8.bnnd.*"))
    floats = put("xt.f4.npy", npy(XT.astype("<f4")))
    done = run(programs["f32"], "predict", "--init", home / "f32.w", "--out", tmp_path / "none", "--test", floats)
    assert (
        np.array_equal(np.array(done.stdout.split(), int), classes(home, "f32", XT))
        and not (tmp_path / "none").exists()
    )


def test_predict_of_the_specs_test_set_in_json(programs: Programs, home: Path, tmp_path: Path) -> None:
    done = run(
        programs["asan"],
        "predict",
        "--data",
        home,
        "--out",
        home / "free",
        "--cache",
        tmp_path / "c",
        "--json",
        "--threads",
        3,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"sample": i, "class": c} for i, c in enumerate(classes(home, "free", XT).tolist())
    ]
    (tmp_path / "data").mkdir()
    shutil.copy(home / "t10k-images-idx3-ubyte", tmp_path / "data")  # the labels that the spec names are not there
    again = run(
        programs["asan"],
        "predict",
        "--data",
        tmp_path / "data",
        "--out",
        home / "free",
        "--cache",
        tmp_path / "c",
        "--json",
    )
    assert again.stdout == done.stdout
    (tmp_path / "empty.npy").write_bytes(npy(XT[:0]))
    assert (
        run(
            programs["asan"], "predict", "--test", tmp_path / "empty.npy", "--out", home / "free", "--cache", tmp_path
        ).stdout
        == ""
    )


def test_predict_refusals(programs: Programs, home: Path, tmp_path: Path) -> None:
    (tmp_path / "xt").write_bytes(idx(XT))
    (tmp_path / "wide").write_bytes(idx(XT[:, :30]))
    (tmp_path / "few").write_bytes(idx(YT[:-1]))
    (tmp_path / "cut.gz").write_bytes(gz(idx(XT))[:-12])
    at, own = ("--test", tmp_path / "xt"), ("--out", home / "free", "--cache", tmp_path)
    for args, code, parts in (
        ((*at, "--out", tmp_path / "none"), 6, ["no checkpoint in", "--init"]),
        (("--test", "none", *own), 2, ["no test data", "--test FILE"]),
        (("--test", tmp_path / "wide", *own), 5, ["expected 37 values in a sample, found 30"]),
        (("--test", tmp_path / "nothing", *own), 5, ["no such file"]),
        (("--test", f"{tmp_path}/xt,{tmp_path}/few", *own), 5, ["205 samples", "204 labels"]),
        (("--test", f"{tmp_path}/xt,{tmp_path}/gone", *own), 5, ["cannot open the labels"]),
        (("--test", tmp_path / "cut.gz", *own), 5, ["ends too early"]),
        ((*at, "--init", tmp_path / "xt", "--cache", tmp_path), 5, ["xt"]),
        ((*at, "--log", "x"), 2, ["--log means nothing to predict"]),
    ):
        done = run(programs["asan"], "predict", *args, code=code)
        assert done.stdout == "" and all(p in done.stderr for p in parts), done.stderr
    assert "no labels" in run(programs["asan"], "eval", *at, *own, code=5).stderr


# ---- who reads the output ----


def _with(number: signal.Signals, how: signal.Handlers) -> Callable[[], None]:
    """For a new process: a signal has this meaning when it starts."""

    def set_it() -> None:
        signal.signal(number, how)

    return set_it


def test_lost_output_is_an_error(programs: Programs, home: Path, tmp_path: Path) -> None:
    args = ["--data", home, "--out", home / "free", "--cache", tmp_path]
    for verb in ("predict", "eval"):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [programs["asan"], verb, *args], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert done.returncode == 5 and "cannot write to standard output: no space left" in done.stderr, verb


def test_predict_ends_with_its_reader(programs: Programs, home: Path, tmp_path: Path) -> None:
    big = np.tile(XT, (400, 1))
    (tmp_path / "x").write_bytes(idx(big))
    argv = [programs["u8"], "predict", "--test", tmp_path / "x", "--out", home / "u8"]
    for ignored in (False, True):
        p = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_with(signal.SIGPIPE, signal.SIG_IGN if ignored else signal.SIG_DFL),
        )
        assert p.stdout is not None and p.stderr is not None
        p.stdout.readline()
        p.stdout.close()
        complaint = p.stderr.read()
        assert p.wait(timeout=30) == (5 if ignored else 141)
        assert ("nobody reads it any more" in complaint) == ignored


@pytest.mark.parametrize("name", ["slow", "slow_asan"])
def test_a_closed_pipe_stops_training_with_a_checkpoint(
    programs: Programs, home: Path, tmp_path: Path, name: str
) -> None:
    """``train | head``: 141 and a checkpoint, and the same command goes on; where SIGPIPE is ignored only the lines are
    lost.
    """
    argv = [str(a) for a in (programs[name], "train", "--data", home, "--epochs", 4, "--cache", tmp_path)]
    for how, code in ((signal.SIG_DFL, 141), (signal.SIG_IGN, 0)):
        out = tmp_path / f"run{code}"
        p = subprocess.Popen(
            [*argv, "--out", out],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_with(signal.SIGPIPE, how),
        )
        assert p.stdout is not None and p.stderr is not None
        while not p.stdout.readline().startswith("epoch"):
            pass
        p.stdout.close()
        complaint = p.stderr.read()
        assert p.wait(timeout=60) == code and ("checkpoint" in complaint) == (code == 141)
    last = run(programs[name], *argv[1:], "--out", tmp_path / "run141").stdout
    assert re.search(r"resumed epoch [23] ", last)
    finished = run(programs[name], *argv[1:], "--out", tmp_path / "run0").stdout
    assert last.rsplit("state ", 1)[1] == finished.rsplit("state ", 1)[1] and "resumed epoch 5" in finished


@pytest.mark.parametrize("name", ["slow", "slow_asan"])
def test_a_closed_terminal_stops_training_with_a_checkpoint(
    programs: Programs, home: Path, tmp_path: Path, name: str
) -> None:
    """129; but not where SIGHUP is ignored, as after nohup."""
    argv = [programs[name], "train", "--data", home, "--cache", tmp_path]
    for how, epochs, code in ((signal.SIG_DFL, "3000", 129), (signal.SIG_IGN, "2", 0)):
        main, child = os.openpty()
        p = subprocess.Popen(
            [*argv, "--out", tmp_path / f"run{code}", "--epochs", epochs],
            stdin=child,
            stdout=child,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_with(signal.SIGHUP, how),
        )
        os.close(child)
        os.read(main, 1)  # it has started
        time.sleep(0.1)
        p.send_signal(signal.SIGHUP)  # what Linux does to the processes of a terminal that is closed
        os.close(main)
        assert p.stderr is not None
        complaint = p.stderr.read()
        assert p.wait(timeout=60) == code and ("the same command goes on" in complaint) == (code == 129)
    assert list((tmp_path / "run129").glob("slot_*"))


# ---- selftest ----

COUNT = 4000


def answers() -> dict[str, int]:
    """The embedded answers, by NumPy, :mod:`bnnc.rng` and :mod:`bnnc.ir.num`."""
    i = np.arange(COUNT, dtype=np.uint32)
    up = (i * np.uint32(522241) & np.where(i % 2, ~np.uint32(0xFFF), ~np.uint32(0))).astype(np.uint32).view(F)
    with np.errstate(over="ignore"):
        half = up.astype(np.float16).view(np.uint16) | (-up).astype(np.float16).view(np.uint16).astype(np.uint32) << 16
    numbers = [(((i * 7 + k) & 0xFFFF).astype(np.uint16)).view(np.float16).astype(F).view(np.uint32) for k in (0, 1)]
    kat = "6627e8d5 e169c58d bc57ac4c 9b00dbd8 408f276d 41c83b0e a20bc7c6 6d5451fd d16cfe09 94fdcceb 5001e420 24126ea1"
    values = {
        "FNV-1a": np.array([0x85944171F73967E8], np.uint64),
        "Philox4x32-10": np.array([int(w, 16) for w in kat.split()], np.uint32),
        "random words": rng.philox(7, 3, COUNT),
        "uniform numbers": rng.uniform(7, 3, COUNT, 0.3),
        "normal numbers": rng.normal(7, 3, COUNT, 300),
        "random masks": np.packbits(rng.bernoulli(7, 3, 5, 1234, COUNT, 32), axis=1, bitorder="little"),
        "order of the samples": rng.order(7, 3, COUNT + 1, i),
        "learning rates": np.array([rng.cosine_lr(0.05, 0.1, t + 1, COUNT) for t in range(COUNT)], F),
        "float to half": half,
        "half to float": numbers[0] ^ numbers[1],
        "exp": num.exp_f32((i.astype(F) - F(2048)) * F(0.05)),
        "log": num.log_f32(up),
        "powers": num.powi_f32(np.full(COUNT, F(0.999)), i),
        "square roots": np.sqrt(up),
    }
    assert all(v.itemsize * v.size in (48, 8, 4 * COUNT) for v in values.values())
    crcs = {k: zlib.crc32(v.tobytes()) for k, v in values.items()}
    return {"CRC-32": zlib.crc32(b"123456789"), "Adler-32": zlib.adler32(b"123456789"), **crcs}


def test_the_known_answers_are_what_numpy_computes() -> None:
    text = (RUNTIME / "bnnc_selftest.h").read_text()
    assert {k: int(v, 16) for k, v in re.findall(r'\{"([^"]+)", (?:0x)?(\w+)\}', text)} == answers()


def test_selftest(programs: Programs, tmp_path: Path) -> None:
    """On all threads and on one, sanitized too; nothing is written; with other flags it is refused."""
    for name in ("free", "asan"):
        lines = run(programs[name], "selftest", "--threads", 3, cwd=tmp_path).stdout.splitlines()
        assert [x.split("  ")[0] for x in lines[: len(answers())] if x.endswith(" ok")] == list(answers()) and lines[
            -1
        ] == "ok"
        steps = [
            re.fullmatch(r"steps 5  test      threads (\d)  state ([0-9a-f]{16})  ok", x)
            for x in lines[len(answers()) : -1]
        ]
        assert [m and m[1] for m in steps] == ["3", "1"] and len({m[2] for m in steps if m}) == 1
    assert "ok" in run(programs["free"], "selftest", "--threads", 1, cwd=tmp_path).stdout
    assert not list(tmp_path.iterdir())
    assert "--data means nothing to selftest" in run(programs["free"], "selftest", "--data", tmp_path, code=2).stderr


@pytest.mark.parametrize(
    ("file", "right", "wrong", "seen"),
    [
        ("bnnc_rng.h", "0xCD9E8D57u", "0xCD9E8D59u", "Philox4x32-10            DIFFERS"),
        ("bnnc_num.h", "1.6666665459e-1f", "1.66667e-1f", "exp                      DIFFERS"),
        ("bnnc_num.h", "0xfffu + ((a >> 13) & 1u)", "0x1000u", "float to half            DIFFERS"),
        ("bnnc_crc.h", "0xEDB88320", "0xEDB88321", "CRC-32                   DIFFERS"),
        (
            "../dummy_net.c",
            "g = 0;\n            for (int b = 0;",
            "g = (float)(n == 1);\n            for (int b = 0;",
            "threads 1",
        ),
    ],
    ids=["generator", "exp", "rounding", "crc", "threads"],
)
def test_selftest_finds_what_is_wrong(tmp_path: Path, file: str, right: str, wrong: str, seen: str) -> None:
    """A machine that computes something else, played by an edited source."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    shutil.copytree(RUNTIME, tmp_path / "runtime")
    shutil.copy(HERE / "dummy_net.c", tmp_path)
    edited = tmp_path / "runtime" / file
    text = edited.read_text()
    assert text.count(right) >= 1
    edited.write_text(text.replace(right, wrong))
    argv = [
        "gcc",
        "-O1",
        "-ffp-contract=off",
        "-fno-math-errno",
        f"-I{tmp_path}/runtime",
        "dummy_net.c",
        "-o",
        "net",
        "-lpthread",
    ]
    subprocess.run(argv, check=True, cwd=tmp_path)
    done = run(tmp_path / "net", "selftest", "--threads", 2, code=9)
    line = next(x for x in done.stdout.splitlines() if seen in x)
    assert "DIFFERS" in line and "differ: what is trained here" in done.stderr and not done.stdout.endswith("\nok\n")
