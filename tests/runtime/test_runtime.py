"""The C runtime of the trainers, tested through a hand-written network (dummy_net.c) and small C programs."""

from __future__ import annotations

import json
import math
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import cross
import numpy as np
import pytest
from helpers import LEVELS, cpu_levels
from runtime_builds import FREESTANDING, HERE, STRICT, Programs
from runtime_formats import bnnd, cifar, gz, idx, npy, read_safetensors, safetensors, samples

from bnnc import rng

N, N_TEST = 1003, 205
X, Y = samples(N, 1)
XT, YT = samples(N_TEST, 2)


@pytest.fixture(scope="session")
def programs(library_cache: Path) -> Programs:
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    return Programs(library_cache)


def run(program: Path, *args: object, code: int = 0, cwd: Path | None = None) -> str:
    r = subprocess.run([str(program), *map(str, args)], capture_output=True, text=True, cwd=cwd, timeout=60)
    assert r.returncode == code, f"{program.name} {args}: exit {r.returncode}\n{r.stdout}{r.stderr}"
    return r.stdout + r.stderr


def state(text: str) -> str:
    found = re.search(r"^state ([0-9a-f]{16})$", text, re.M)
    assert found, text
    return found[1]


@pytest.fixture()
def data(tmp_path: Path) -> Path:
    d = tmp_path / "data"
    d.mkdir()
    for name, a in (
        ("train-images-idx3", X),
        ("train-labels-idx1", Y),
        ("t10k-images-idx3", XT),
        ("t10k-labels-idx1", YT),
    ):
        (d / f"{name}-ubyte").write_bytes(idx(a))
    return d


@pytest.fixture()
def train(tmp_path: Path, data: Path, programs) -> Callable[..., str]:
    """train(program, *flags): a run in a folder of its own unless --out says otherwise."""
    count = iter(range(1000))

    def go(name: str, *args: object, code: int = 0) -> str:
        out = () if "--out" in args else ("--out", tmp_path / f"run{next(count)}")
        source = () if "--data" in args else ("--data", data)
        return run(programs[name], "train", *source, *out, *args, code=code, cwd=tmp_path)

    return go


# ---- random numbers ----


def words(text: str) -> np.ndarray:
    return np.array([int(w, 16) for w in text.split()], np.uint32)


def test_philox_known_answers(programs):
    ones = 0xFFFFFFFF
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
    for args, want in (
        ((0,) * 6, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ones,) * 6, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (pi, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ):
        assert run(programs["probe"], "philox", *args).strip() == want
        assert [f"{w:08x}" for w in rng.philox4x32([args[:4]], args[4:])[0]] == want.split()


def test_streams_agree(programs):
    assert (words(run(programs["probe"], "stream", 7, 3, 1001)) == rng.philox(7, 3, 1001)).all()
    assert (rng.philox(7, 3, 1001)[13:57] == rng.philox(7, 3, 44, 13)).all()
    got = [line.split() for line in run(programs["probe"], "uniform", 7, 3, 999).splitlines()]
    values = rng.uniform(7, 3, 999, 0.3)
    assert ([int(w, 16) for w, _ in got] == values.view(np.uint32)).all()
    assert ([b == "1" for _, b in got] == rng.signs(7, 3, 999)).all()
    assert values.min() >= -0.3 and values.max() < 0.3 and abs(values.mean()) < 0.03


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 65, 1003, 60000])
def test_order_is_a_permutation_and_agrees(programs, n):
    for seed, epoch in ((1, 0), (1, 1), (99, 41)):
        got = np.array(run(programs["probe"], "order", seed, epoch, n).split(), np.uint32)
        assert (got == rng.order(seed, epoch, n, np.arange(n))).all()
        assert (np.sort(got) == np.arange(n)).all()
    if n > 1000:
        other = rng.order(1, 1, n, np.arange(n))
        assert (got == other).mean() < 0.01 and abs(np.corrcoef(other, np.arange(n))[0, 1]) < 0.1


def test_holdout_is_disjoint():
    fit, held = rng.holdout(5, 1003, 0.25)
    assert len(held) == 250 and not set(fit) & set(held) and len(set(fit)) == 753


def test_cosine_agrees(programs):
    got = words(run(programs["probe"], "cosine", "0.05", "0.1", 2500))
    want = np.array([rng.cosine_lr(0.05, 0.1, t, 2500) for t in range(1, 2503)], np.float32)
    assert (got == want.view(np.uint32)).all()
    exact = [0.05 * (0.1 + 0.9 * (0.5 + 0.5 * math.cos(math.pi * (t - 1) / 2500))) for t in range(1, 2501)]
    assert np.allclose(want[:2500], exact, rtol=1e-6) and want[-1] == want[-2]


def test_text(programs):
    lines = run(programs["probe"], "format").splitlines()
    values = [
        0,
        1,
        -1,
        0.5,
        1e-5,
        1.5e-7,
        123456,
        1234567,
        99999.95,
        999999.5,
        0.000123456789,
        3.14159265,
        1e15,
        2.5e20,
        1e-30,
        100,
        0.1,
        65504,
    ]
    for line, v in zip(lines, values, strict=False):
        general, fixed = line.split()
        assert float(general) == float(f"{v:.5e}") or math.isclose(float(general), v, rel_tol=5e-6), line
        assert v >= 1e14 or math.isclose(float(fixed), v, abs_tol=5.01e-4), line
    assert lines[4].split()[0] == "1e-05" and lines[13].split()[0] == "2.5e+20" and lines[16].split()[0] == "0.1"
    assert (
        lines[-1]
        == '-42|42|9223372036854775808|0000beef|0000000000abcdef|    7|7    |ab    |    ab|"a\\"\\\\\\n\\u0001z"|null|%'
    )


def test_half_precision(programs):
    lines = run(programs["probe"], "half").splitlines()
    all_halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    up = words(" ".join(lines[:65536])).view(np.float32)
    assert ((up == all_halves.astype(np.float32)) | np.isnan(all_halves)).all() and (
        np.isnan(up) == np.isnan(all_halves)
    ).all()
    pairs = [line.split() for line in lines[65536:]]
    f = np.array([int(a, 16) for a, _ in pairs], np.uint32).view(np.float32)
    with np.errstate(over="ignore"):
        want = f.astype(np.float16)
    got = np.array([int(b) for _, b in pairs], np.uint16)
    assert ((got == want.view(np.uint16)) | np.isnan(want)).all() and np.isnan(
        got.view(np.float16)[np.isnan(want)]
    ).all()


# ---- inflate ----


def deflate_cases() -> dict[str, bytes]:
    r = np.random.default_rng(3)
    return {
        "empty": b"",
        "one": b"x",
        "zeros": bytes(100000),
        "random": r.bytes(70000),
        "text": b"the quick brown fox " * 3000,
        "skewed": r.geometric(0.03, 90000).clip(0, 255).astype("u1").tobytes(),
        "far": r.bytes(32768) * 3,
        "pixels": X.tobytes(),
    }


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_inflate_agrees_with_zlib(programs, tmp_path, kind):
    for name, plain in deflate_cases().items():
        for level, strategy in ((0, 0), (1, 0), (9, 0), (6, zlib.Z_FIXED), (6, zlib.Z_HUFFMAN_ONLY)):
            c = zlib.compressobj(level, zlib.DEFLATED, {1: -15, 2: 15, 3: 31}[kind], 9, strategy)
            (tmp_path / "z").write_bytes(
                c.compress(plain[: len(plain) // 2])
                + c.flush(zlib.Z_FULL_FLUSH)
                + c.compress(plain[len(plain) // 2 :])
                + c.flush()
            )
            r = subprocess.run([programs["probe"], "inflate", str(kind), tmp_path / "z"], capture_output=True)
            assert r.returncode == 0 and r.stdout == plain, (name, level, strategy, r.stderr)


def test_inflate_gzip_extras(programs, tmp_path):
    full = (
        bytes([31, 139, 8, 2 | 4 | 8 | 16])
        + bytes(6)
        + b"\x03\x00abc"
        + b"name\0"
        + b"comment\0"
        + b"\0\0"
        + gz(b"hello ")[10:]
    )
    (tmp_path / "z").write_bytes(full + gz(b"world") + bytes(7))
    r = subprocess.run([programs["probe_asan"], "inflate", "3", tmp_path / "z"], capture_output=True)
    assert r.stdout == b"hello world", r.stderr


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_inflate_survives_damage(programs, tmp_path, kind):
    for name, plain in (("text", deflate_cases()["skewed"][:4000]), ("zeros", bytes(3000))):
        c = zlib.compressobj(9, zlib.DEFLATED, {1: -15, 2: 15, 3: 31}[kind])
        (tmp_path / name).write_bytes(c.compress(plain) + c.flush())
        text = run(programs["probe_asan"], "fuzz", kind, tmp_path / name, 10000, tmp_path / "scratch")
        good = int(text.split()[0])
        assert kind == 1 or good < 200, text  # a checksum tells; damage to a gzip header's time or name does no harm


def test_inflate_reports(programs, tmp_path):
    whole = gz(b"some text, some text, some text")
    for damage, why in (
        (whole[:-9], "ends too early"),
        (whole[:-6] + b"\0" + whole[-5:], "checksum"),
        (b"\x1f\x8b\x07" + whole[3:], "not a gzip"),
    ):
        (tmp_path / "z").write_bytes(damage)
        assert why in run(programs["probe"], "inflate", 3, tmp_path / "z", code=1)


def test_inflate_refuses_what_rfc_1951_does_not_define(programs, tmp_path):
    def bits(*fields: tuple[int, int]) -> bytes:
        value = at = 0
        for field, width in fields:
            value, at = value | field << at, at + width
        return value.to_bytes((at + 7) // 8 + 8, "little")

    c = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=b"never sent, never sent, never sent")
    dynamic = ((1, 1), (2, 2))
    cases = [
        (c.compress(b"x never sent, never sent") + c.flush(), "before the data's start"),
        (bits((1, 1), (3, 2)), "unknown kind of block"),
        (bits((1, 1), (0, 2), (0, 5), (5, 16), (5, 16)), "damaged length"),
        (bits(*dynamic, (30, 5), (0, 5), (0, 4)), "too many codes"),
        (bits(*dynamic, (0, 5), (0, 5), (15, 4), *[(1, 3)] * 19), "set of code lengths"),
        (bits(*dynamic, (0, 5), (0, 5), (0, 4), *[(7, 3)] * 4), "set of code lengths"),
        (bits(*dynamic, (0, 5), (0, 5), (0, 4), (1, 3), (0, 3), (0, 3), (1, 3), (1, 1)), "without a first"),
        (bits((1, 1), (1, 2), (0b01100011, 8)), "invalid length code"),
    ]
    for data, why in cases:
        (tmp_path / "z").write_bytes(data)
        assert why in run(programs["probe_asan"], "inflate", 1, tmp_path / "z", code=1), why


# ---- store and pool ----


def test_store_survives_power_cuts(programs):
    assert run(programs["store"]).startswith("ok")


def test_pool(programs):
    for threads in (1, 2, 3, 4, 8):
        assert run(programs["pool"], threads, 600).startswith("ok")


def test_pool_under_tsan(programs):
    r = subprocess.run([programs["pool_tsan"], "3", "300"], capture_output=True, text=True)
    if "unexpected memory mapping" in r.stderr:
        pytest.skip("this kernel's address layout is not for this sanitizer")
    assert r.returncode == 0, r.stderr


# ---- training ----


def test_builds_and_threads_give_the_same_bits(train):
    hashes = {
        state(train(name, "--threads", threads))
        for name, threads in (
            ("free", 1),
            ("free", 2),
            ("free", 3),
            ("free", 4),
            ("hosted", 1),
            ("hosted", 4),
            ("asan", 1),
            ("asan", 3),
        )
    }
    hashes |= {state(train("free", "--isa", "base"))}
    assert len(hashes) == 1
    assert state(train("free", "--seed", 2)) not in hashes


@pytest.mark.arm
@pytest.mark.parametrize(
    ("cpu", "gcc", "qemu", "flags"),
    [
        ("aarch64", "aarch64-linux-gnu-gcc", "qemu-aarch64", ["-mno-outline-atomics"]),
        ("arm", "arm-linux-gnueabihf-gcc", "qemu-arm", ["-marm"]),
        ("thumb", "arm-linux-gnueabihf-gcc", "qemu-arm", ["-mthumb"]),
    ],
)
def test_arm_gives_the_same_bits(train, tmp_path, data, cpu, gcc, qemu, flags):
    cross.need_tools(gcc, qemu)
    program = tmp_path / f"{cpu}.elf"
    subprocess.run([gcc, *STRICT, *FREESTANDING, *flags, HERE / "dummy_net.c", "-o", program], check=True)
    args = (program, "train", "--data", data, "--threads", 3, "--out", tmp_path / "arm", "--export", tmp_path / "a")
    assert state(run(Path(shutil.which(qemu)), *args)) == state(train("free", "--export", tmp_path / "b"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    p = subprocess.Popen(
        [qemu, *map(str, args), "--resume", "never", "--epochs", "100000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    time.sleep(0.3)
    number = signal.SIGTERM if cpu == "thumb" else signal.SIGHUP
    p.send_signal(number)
    assert "checkpoint" in p.communicate(timeout=20)[1] and p.returncode == 128 + number


def test_it_learns(train):
    text = train("free")
    assert float(re.search(r"best (\d+\.\d+) %", text)[1]) > 90
    assert re.search(
        r"^epoch  1/3  loss \d\.\d{4}  train \d+\.\d\d %  test \d+\.\d\d %  best \d+\.\d\d %  lr \S+  "
        r"\d+ samples/s  \d+\.\d s  ETA ",
        text,
        re.M,
    )


def reference(steps: int, total: int, seed: int) -> dict[str, np.ndarray]:
    """dummy_net.c in NumPy, each sum in the C program's order: weights after some steps of the first epoch."""
    f = np.float32
    w = rng.uniform(seed, 7, 4 * 37, f(0.2)).reshape(4, 37)
    bias, stored = np.zeros(4, f), np.zeros((4, 37), np.int16)
    for t in range(steps):
        index = rng.order(seed, 0, N, np.arange(t * 10, t * 10 + 10))
        x, y = np.where(X[index] >= 128, f(1), f(-1)), Y[index]
        p = np.repeat(bias[None], 10, axis=0)
        for i in range(37):
            p = p + w[None, :, i] * x[:, i, None]
        p = np.maximum(f(1) + (p - p.max(axis=1, keepdims=True)) / f(256), f(0))
        for _ in range(8):
            p = p * p
        total_p = ((p[:, 0] + p[:, 1]) + p[:, 2]) + p[:, 3]
        d = p / total_p[:, None] - np.eye(4, dtype=f)[y]
        lr = rng.cosine_lr(0.05, 0.1, t + 1, total)
        g_bias, g = np.zeros(4, f), np.zeros((4, 37), f)
        for b in range(10):
            g_bias, g = g_bias + d[b], g + d[b][:, None] * x[b][None]
        bias = bias - lr * g_bias / f(10)
        m = stored.astype(f) / f(4096) * f(0.9) + g / f(10)
        stored = np.clip((m * f(4096)).astype(np.int32), -32768, 32767).astype(np.int16)
        w = w - lr * m
    return {"dense1.weight": w, "dense1.bias": bias}


def test_the_run_is_what_python_computes(train, tmp_path):
    for seed, steps in ((1, 1), (5, 100)):
        train("free", "--seed", seed, "--steps", steps, "--export", tmp_path / "w")
        got = read_safetensors(tmp_path / "w")
        for name, want in reference(steps, 3 * (N // 10), seed).items():
            assert (got[name].view(np.uint32) == want.view(np.uint32)).all(), (name, seed)


def test_formats_train_to_the_same_bits(train, tmp_path):
    def put(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    both_x, both_y = np.concatenate([X, XT]), np.concatenate([Y, YT])
    labels, labels8 = put("y.npy", npy(Y)), put("y8.npy", npy(Y.astype("<i8")))
    test = f"{put('xt', idx(XT))},{put('yt', idx(YT))}"
    pair = {
        "idx": f"{put('x', idx(X))},{put('y', idx(Y))}",
        "idx.gz": f"{put('x.gz', gz(idx(X)))},{put('y.gz', gz(idx(Y)))}",
        "npy": f"{put('x.npy', npy(X.reshape(N, 37, 1)))},{labels}",
        "npy i8": f"{tmp_path}/x.npy,{labels8}",
        "npy i4": f"{tmp_path}/x.npy,{put('y4.npy', npy(Y.astype('<i4')))}",
    }
    packed = {
        f"bnnd {k} {c}": (
            put(f"{k}{c}.bnnd", bnnd(X, Y, k, compress=bool(c))),
            put(f"s{k}{c}.bnnd", bnnd(both_x, both_y, k, compress=bool(c), n_test=N_TEST)),
        )
        for k in (0, 1, 2)
        for c in (0, 1)
    }
    floats = {"npy f4": f"{put('xf.npy', npy(X.astype('<f4')))},{labels}"}
    test_f = f"{put('xtf.npy', npy(XT.astype('<f4')))},{put('yt.npy', npy(YT))}"
    for program, sources, test_source, kinds in (
        ("free", {**pair, **floats}, test, "012"),
        ("u8", pair, test, "0"),
        ("f32", floats, test_f, "2"),
    ):
        results = {}
        for name, source in sources.items():
            results[name] = train(program, "--train", source, "--test", test_source)
        for name, (alone, split) in packed.items():
            if name[5] in kinds:
                results[name] = train(program, "--train", alone, "--test", test_source)
                results[name + " split"] = train(program, "--train", split)
        figures = {name: (state(t), re.search(r"test (\S+) %  best", t)[1]) for name, t in results.items()}
        assert len(set(figures.values())) == 1, figures


@pytest.mark.parametrize(("program", "kind"), [("cifar", 0), ("cifar_bits", 1)])
def test_cifar_trains_to_the_same_bits_as_bnnd(train, tmp_path, program, kind):
    """Label 0 and black pixels first: the file begins as an idx file does."""
    x, y = np.random.default_rng(3).integers(0, 256, (40, 32, 32, 3), np.uint8), (np.arange(40) % 10).astype("u1")
    x[0, 0] = 0
    (tmp_path / "batch.bin").write_bytes(cifar(x, y))
    (tmp_path / "batch.bnnd").write_bytes(bnnd(x.reshape(40, -1), y, kind, classes=10))
    args = ("--epochs", 2, "--cache", tmp_path / "cache")
    own, packed = (
        train(program, "--train", f, "--test", f, *args) for f in (tmp_path / "batch.bin", tmp_path / "batch.bnnd")
    )
    assert state(own) == state(packed)
    spool = tmp_path / "cache" / f"train.{('u8', 'bit')[kind]}.bnnd"
    assert spool.read_bytes()[96:] == (tmp_path / "batch.bnnd").read_bytes()[96:]
    y[7] = 10
    (tmp_path / "label.bin").write_bytes(cifar(x, y))
    refusal(train(program, "--train", tmp_path / "label.bin", code=5), "sample 7 has label 10", "10 classes")
    (tmp_path / "cut.bin").write_bytes(cifar(x, y)[:-1])
    refusal(train(program, "--train", tmp_path / "cut.bin", code=5), "cut.bin", "hint")
    refusal(train("u8", "--train", tmp_path / "batch.bin", code=5), "expected 37 values in a sample, found 3072")


def test_spool_is_made_once_and_follows_the_source(train, tmp_path, data):
    cache = tmp_path / "cache" / "deep"
    args = ("--cache", cache, "--epochs", 1)
    assert train("free", *args).count("(once)") == 2
    assert "(once)" not in train("free", *args)
    spool = (cache / "train.bit.bnnd").read_bytes()
    assert spool[96:] == bnnd(X, Y, 1)[96:] and len(list(cache.iterdir())) == 2
    x = X.copy()
    x[5, 5] ^= 0x80
    (data / "train-images-idx3-ubyte").write_bytes(idx(x))
    assert train("free", *args).count("(once)") == 1
    (cache / "test.bit.bnnd").write_bytes((cache / "test.bit.bnnd").read_bytes()[:-3])
    assert train("free", *args).count("(once)") == 1
    damaged = bytearray((cache / "train.bit.bnnd").read_bytes())
    damaged[300] ^= 1
    (cache / "train.bit.bnnd").write_bytes(damaged)
    assert "checksum" in train("free", *args, code=5)


def test_names_are_found(train, data, tmp_path):
    plain = state(train("free", "--epochs", 1))
    for name in list(data.iterdir()):
        name.with_name(name.name + ".gz").write_bytes(gz(name.read_bytes()))
        name.unlink()
    assert state(train("free", "--epochs", 1)) == plain
    assert (
        state(
            train(
                "free",
                "--epochs",
                1,
                "--train",
                data / "train-images-idx3-ubyte",
                "--test",
                data / "t10k-images-idx3-ubyte.gz",
            )
        )
        == plain
    )


def test_an_epoch_reads_each_record_once(train, programs, tmp_path, data):
    def bytes_read(epochs: int) -> int:
        p = subprocess.Popen(
            [
                programs["free"],
                "train",
                "--data",
                data,
                "--cache",
                tmp_path / "cache",
                "--out",
                tmp_path / "io",
                "--resume",
                "never",
                "--epochs",
                str(epochs),
            ],
            stdout=subprocess.DEVNULL,
        )
        os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT)
        text = Path(f"/proc/{p.pid}/io").read_text()
        assert p.wait() == 0
        return int(re.search(r"rchar: (\d+)", text)[1])

    bytes_read(1)
    record = 6  # 37 bits and a label; the test set's last batch is filled up
    assert bytes_read(6) - bytes_read(1) == 5 * record * (N // 10 * 10 + (N_TEST + 9) // 10 * 10)


def test_without_a_test_set(train, tmp_path):
    text = train("free", "--test", "none", "--epochs", 2)
    assert "test" not in text.split("isa")[1] and state(text) == state(train("free", "--epochs", 2, "--eval-every", 5))


def test_plateau_and_holdout(train, tmp_path):
    text = train("plateau", "--epochs", 12, "--log", tmp_path / "log")
    rates = [json.loads(line)["lr"] for line in (tmp_path / "log").read_text().splitlines() if '"epoch",' in line]
    assert len(rates) == 12 and rates[0] == pytest.approx(0.05) and rates[-1] < 0.03 and "held out" in text
    start = json.loads((tmp_path / "log").read_text().splitlines()[0])
    assert (start["train_samples"], start["holdout_samples"]) == (N - 250, 250)


def test_step_schedule(train, tmp_path, data):
    source = ("--train", data / "train-images-idx3-ubyte", "--test", data / "t10k-images-idx3-ubyte")
    train("u8", *source, "--epochs", 5, "--log", tmp_path / "log")
    rates = [json.loads(line)["lr"] for line in (tmp_path / "log").read_text().splitlines() if '"epoch",' in line]
    assert rates == [0.05, 0.05, 0.025, 0.025, 0.0125]


def test_log_is_json_and_goes_on(train, tmp_path):
    log = tmp_path / "log.jsonl"
    args = ("--log", log, "--out", tmp_path / "run", "--quiet")
    text = train("free", *args, "--steps", 150)
    assert len(text.splitlines()) == 3
    text = train("free", *args)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [e["event"] for e in events] == ["start", "epoch", "end", "start", "epoch", "epoch", "end"]
    assert events[3]["resumed_epoch"] == 2 and events[-1]["state"] == state(text) == events[-2]["state"]


def test_memory_stays_within_the_prediction(train):
    for name in ("free", "u8"):
        source = () if name == "free" else ("--train", "data/train-images-idx3-ubyte")
        text = train(name, "--threads", 4, *source)
        predicted, measured = map(
            int, re.search(r"memory: predicted (\d+) bytes, measured peak (\d+) bytes", text).groups()
        )
        assert 0 < measured <= predicted


def test_nothing_but_static_memory(programs):
    symbols = subprocess.run(["nm", programs["free"]], capture_output=True, text=True).stdout
    assert "bnnc_arena" in symbols
    assert not re.search(r"\b(malloc|calloc|realloc|free|mmap|brk|sbrk)\b", symbols)
    headers = subprocess.run(["readelf", "-lWd", programs["free"]], capture_output=True, text=True).stdout
    assert "INTERP" not in headers and "NEEDED" not in headers and "LOAD" in headers


def test_terminal_has_a_live_line(programs, data, tmp_path):
    main, child = pty.openpty()
    p = subprocess.Popen(
        [programs["slow"], "train", "--data", data, "--out", tmp_path / "run", "--epochs", "2"], stdout=child
    )
    os.close(child)
    text = b""
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:
            break
        if not part:
            break
        text += part
    assert p.wait() == 0
    assert text.count(b"\r") > 3 and re.search(
        rb"\repoch  1/2  step \d+/100  loss \S+  train \S+ %  \d+ samples/s  ETA [^\r]*\x1b\[K", text
    )


# ---- checkpoints ----


def test_resume_gives_the_same_bits(train, tmp_path):
    whole = state(train("free"))
    for stops in ((1,), (57,), (99, 100, 101), (3, 150, 299), (300,)):
        for stop in stops:
            train("free", "--out", tmp_path / f"s{stops}", "--steps", stop)
        text = train("free", "--out", tmp_path / f"s{stops}")
        assert state(text) == whole and "resumed epoch" in text
    plateau = state(train("plateau", "--epochs", 9))
    for stop in (31, 150, 333):
        train("plateau", "--epochs", 9, "--out", tmp_path / "p", "--steps", stop)
    assert state(train("plateau", "--epochs", 9, "--out", tmp_path / "p")) == plateau


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "slow"), (signal.SIGINT, "slow"), (signal.SIGKILL, "slow")]
)
def test_resume_after_a_signal(train, programs, data, tmp_path, number, name):
    whole = state(train("free"))
    out, interrupted = tmp_path / "run", 0
    for wait in (0.05, 0.12, 0.2, 0.27, 0.0, 0.0, 0.0, 0.0):
        p = subprocess.Popen(
            [programs[name], "train", "--data", data, "--out", out, "--save-every-steps", "7"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if wait:
            time.sleep(wait)
            p.send_signal(number)
        text, errors = p.communicate(timeout=30)
        if p.returncode == 0:
            break
        interrupted += 1
        if number == signal.SIGKILL:
            assert p.returncode == -9
        elif "checkpoint" in errors:
            assert p.returncode == 128 + number and "the same command goes on from here" in errors
    assert interrupted >= 3 and state(text) == whole


def test_checkpoint_refusals(train, programs, tmp_path, data):
    out = tmp_path / "run"
    train("free", "--out", out, "--epochs", 1)
    train("free", "--out", out, "--epochs", 2)
    assert "belongs to another network" in train("plateau", "--out", out, code=6)
    assert "seed 1, not 2" in train("free", "--out", out, "--seed", 2, code=6)
    assert "0 held out, now there are" in train(
        "free", "--out", out, "--train", f"{tmp_path}/data/t10k-images-idx3-ubyte", code=6
    )
    a, b = (out / f"slot_{s}.bnnck" for s in "ab")
    good = a.read_bytes()
    a.write_bytes(good[:700] + bytes([good[700] ^ 1]) + good[701:])
    assert "resumed epoch" in train("free", "--out", out)  # one slot is enough
    for slot in (a, b):
        slot.write_bytes(slot.read_bytes()[:-5])
    assert "both checkpoints" in train("free", "--out", out, code=6)
    assert "both checkpoints" in train("free", "--out", out, code=6)
    a.unlink()
    for refused in (
        train("free", "--out", out, code=6),
        run(programs["free"], "eval", "--data", data, "--out", out, code=6),
    ):
        assert (
            f"{b} is damaged, and there is no other checkpoint" in refused
            and "train --resume never starts again" in refused
        )
    fresh = train("free", "--out", out, "--resume", "never")
    assert "resumed" not in fresh and state(fresh) == state(train("free"))
    (tmp_path / "file").write_bytes(b"")
    assert "hint" in train("free", "--out", tmp_path / "file" / "run", code=5)


def test_the_only_checkpoint_is_damaged(train, tmp_path):
    """Refused, and left as it is; but what a power cut in the first save can leave is begun anew, with a note."""
    whole = state(train("free", "--out", tmp_path / "run", "--epochs", 1))
    a, b = (tmp_path / "run" / f"slot_{s}.bnnck" for s in "ab")
    good = a.read_bytes()
    assert b.stat().st_size == 0
    for damaged in (good[:700] + bytes([good[700] ^ 1]) + good[701:], good[:-5], good[:600]):
        for missing in (False, True):
            a.write_bytes(damaged)
            b.unlink(missing_ok=True) if missing else b.write_bytes(b"")
            text = train("free", "--out", tmp_path / "run", "--epochs", 1, code=6)
            refusal(text, f"{a} is damaged, and there is no other checkpoint", "train --resume never starts again")
            assert a.read_bytes() == damaged
    assert state(train("free", "--out", tmp_path / "run", "--epochs", 1, "--resume", "never")) == whole
    for torn in (bytes(64) + good[64:], bytes(512) + good[512:700], good[:20] + bytes(44) + good[64:], good[:40]):
        a.write_bytes(torn)
        b.write_bytes(b"")
        text = train("free", "--out", tmp_path / "run", "--epochs", 1)
        assert (
            f"note: {a} is incomplete" in text
            and "starts again" in text
            and "resumed" not in text
            and state(text) == whole
        )
    for nothing in (b"", None):
        a.unlink() if nothing is None else a.write_bytes(nothing)
        assert "note" not in train("free", "--out", tmp_path / "run", "--epochs", 1)


# ---- refusals ----


def refusal(text: str, *parts: str) -> None:
    assert text.startswith("error: ") or "\nerror: " in text, text
    for part in parts:
        assert part in text, (part, text)
    assert "Sanitizer" not in text


def test_data_refusals(train, tmp_path):
    def put(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    y = put("y", idx(Y))
    x = put("x", idx(X))
    bad = Y.copy()
    bad[700] = 4
    minus = Y.astype("<i4")
    minus[3] = -1
    cases = [
        (tmp_path / "none", ["no such file", "--data FOLDER"]),
        (f"{x},{tmp_path}/none", ["cannot open the labels", "no such file"]),
        (tmp_path, ["is a folder"]),
        (f"{put('short', idx(X)[:-1])},{y}", ["is truncated", "expected 37111 bytes", "found 37110"]),
        (f"{put('long', idx(X) + b'1')},{y}", ["is too long"]),
        (f"{put('shortgz', gz(idx(X))[:-9])},{y}", ["ends too early"]),
        (f"{put('crcgz', gz(idx(X))[:-8] + bytes(8))},{y}", ["checksum"]),
        (f"{put('lessgz', gz(idx(X)[:-100]))},{y}", ["is truncated", "promises more"]),
        (f"{put('moregz', gz(idx(X) + bytes(9)))},{y}", ["more data than its header promises"]),
        (
            f"{put('text', b'hello, world')},{y}",
            ["neither idx nor .npy nor .bnnd nor CIFAR-10's .bin (it starts with 68656c6c)"],
        ),
        (f"{put('empty', b'')},{y}", ["is truncated"]),
        (f"{put('float_idx', bytes([0, 0, 13, 1]) + idx(X)[4:])},{y}", ["type 0x0000000d"]),
        (f"{put('wide', idx(X.repeat(2, axis=1)))},{y}", ["expected 37 values in a sample, found 74"]),
        (f"{x},{put('fewer', idx(Y[:-1]))}", ["1003 samples", "1002 labels"]),
        (f"{x},{put('badlabel', idx(bad))}", ["sample 700 has label 4", "4 classes (labels 0 to 3)"]),
        (f"{x},{put('minus.npy', npy(minus))}", ["sample 3 has label -1"]),
        (f"{x},{put('wide.npy', npy(Y.astype('<i8') + (1 << 40)))}", ["has label 10995"]),
        (f"{x},{put('twod.npy', npy(X))}", ["expected a list of integer labels, found 37"]),
        (f"{x},{put('floaty.npy', npy(Y.astype('f4')))}", ["expected a list of integer labels"]),
        (put("alone", idx(X)), ["no labels", "--train IMAGES,LABELS"]),
        (f"{put('few', idx(X[:9]))},{put('fewy', idx(Y[:9]))}", ["9 samples to train on, fewer than one batch of 10"]),
        (f"{put('f8.npy', npy(X.astype('f8')))},{y}", ["expected little-endian u1 or f4"]),
        (f"{put('fortran.npy', npy(np.asfortranarray(X)))},{y}", ["in C order"]),
        (f"{put('i4.npy', npy(X.astype('<i4')))},{y}", ["samples must be u1 or f4, found i4"]),
        (f"{put('zero.npy', npy(np.array(3, 'u1')))},{y}", ["a single number"]),
        (f"{put('npyhead', npy(X)[:60])},{y}", ["is truncated"]),
        (put("t.bnnd", bnnd(X, Y, 1, threshold=100.0)), ["threshold 100", "compiled for 128"]),
        (put("head.bnnd", bnnd(X, Y, 1)[:50] + b"?" + bnnd(X, Y, 1)[51:]), ["header is damaged"]),
        (put("magic.bnnd", b"BNNDATA2" + bnnd(X, Y, 1)[8:]), ["not a version of .bnnd"]),
        (put("rec.bnnd", bnnd(X, Y, 1, at_24=7)), ["contradicts itself"]),
        (put("ntest.bnnd", bnnd(X, Y, 1, at_76=N + 1)), ["contradicts itself"]),
        (put("cut.bnnd", bnnd(X, Y, 1)[:-1]), ["is truncated"]),
        (put("flip.bnnd", bnnd(X, Y, 1)[:-9] + b"??" + bnnd(X, Y, 1)[-7:]), ["checksum of its samples"]),
        (put("label.bnnd", bnnd(X, bad, 1)), ["sample 700 has label 4"]),
        (put("labelz.bnnd", bnnd(X, bad, 1, compress=True)), ["sample 700 has label 4"]),
        (put("cutz.bnnd", bnnd(X, Y, 1, compress=True, at_64=9)[:105]), ["ends too early"]),
        (put("crcz.bnnd", bnnd(X, Y, 1, compress=True, at_72=1)), ["damaged", "checksum"]),
    ]
    for source, parts in cases:
        refusal(train("asan", "--train", source, code=5), *parts)
    refusal(train("u8", "--train", tmp_path / "t.bnnd", code=5), "takes u8 samples, found bit")
    refusal(train("f32", "--train", f"{x},{y}", code=5), "takes f32 samples, found u8")
    refusal(train("asan", "--cache", "/proc/none", code=5), "cannot write the data cache", "--cache")
    assert not list(tmp_path.glob("run*/slot_*")) and not list(
        tmp_path.glob("run*/*.bnnd.*")
    )  # all before the first step


@pytest.mark.parametrize("program", ["asan", "u8"])
def test_gzip_files_cut_anywhere_near_their_end(train, tmp_path, program):
    """A member's last eight bytes are its checksum and length: of samples and labels alike."""
    whole = {
        "x": gz(idx(X)),
        "y": gz(idx(Y)),
        "y8": gz(npy(Y.astype("<i8"))),
        "z": gz(bnnd(X, Y, 1 if program == "asan" else 0)),
    }
    for name, content in whole.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "plain").write_bytes(idx(X))
    for name, source in (("x", "x,y"), ("y", "x,y"), ("y", "plain,y"), ("y8", "plain,y8"), ("z", "z")):
        given = ",".join(str(tmp_path / f) for f in source.split(","))
        for content, why in (
            (whole[name] + gz(b"!"), "more data"),
            *((whole[name][:-cut], "ends too early") for cut in range(1, 13)),
        ):
            (tmp_path / name).write_bytes(content)
            refusal(train(program, "--train", given, "--test", "none", "--steps", 1, code=5), f"/{name}", why)
        (tmp_path / name).write_bytes(whole[name])
        train(program, "--train", given, "--test", "none", "--steps", 1)


def test_damaged_headers_do_no_harm(train, programs, tmp_path):
    sources = {
        "x.npy": npy(X),
        "x.idx": idx(X),
        "x.bnnd": bnnd(X, Y, 1),
        "z.bnnd": bnnd(X, Y, 1, compress=True),
        "x.gz": gz(idx(X)),
    }
    (tmp_path / "y").write_bytes(idx(Y))
    r = np.random.default_rng(4)
    for name, whole in sources.items():
        for _ in range(8):
            data = bytearray(whole)
            for at in r.integers(0, 128, 3):
                data[at] = r.integers(256)
            (tmp_path / name).write_bytes(data)
            p = subprocess.run(
                [
                    programs["asan"],
                    "train",
                    "--train",
                    f"{tmp_path / name},{tmp_path / 'y'}",
                    "--out",
                    tmp_path / "run",
                    "--resume",
                    "never",
                    "--steps",
                    "1",
                    "--quiet",
                ],
                capture_output=True,
                text=True,
                timeout=20,
            )
            assert p.returncode in (0, 5) and "Sanitizer" not in p.stderr and "runtime error" not in p.stderr, p.stderr


def test_too_little_memory(train, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  16 kB\nMemFree:  9 kB\nMemAvailable:        100 kB\nBuffers: 1 kB\n")
    refusal(train("asan", code=8), "this network needs", "the machine has 0.1 MiB free", "no batch is small enough")


def test_isa(programs, train):
    refusal(train("free", "--isa", "sse9", code=2), ", ".join(LEVELS))
    env = {**os.environ, "BNNC_ISA": "base"}
    text = subprocess.run([programs["free"], "bench", "--json"], env=env, capture_output=True, text=True).stdout
    assert json.loads(text)["isa"] == "base"
    flags = Path("/proc/cpuinfo").read_text()
    if "avx512_vpopcntdq" not in flags:
        refusal(train("free", "--isa", "avx512", code=7), "asks for avx512", "has only")
    level = json.loads(run(programs["free"], "bench", "--json", "--steps", 3))["isa"]
    assert level == LEVELS[cpu_levels() - 1]


# ---- command line ----


def test_help(programs):
    text = run(programs["free"], "--help")
    lines = text.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    assert run(programs["free"], "train", "--help") == text
    for flag in re.findall(
        r'\{"(--[a-z-]+)", ', (Path(__file__).parents[2] / "templates/c/runtime/bnnc_cli.h").read_text()
    ):
        assert flag in text or flag in ("--json", "--save-every-steps"), flag
    assert run(programs["free"], "--version") == "dummy 0123456789abcdef (bnnc 0.1.0, target test)\n"


def test_usage_errors(programs, train):
    for args, parts in (
        (["trian"], ["unknown verb trian", "did you mean train?"]),
        ([], ["nothing to do"]),
        (["train", "--epoch", "3"], ["unknown flag --epoch", "did you mean --epochs?"]),
        (["train", "--xyzzyplugh"], ["unknown flag", "--help lists them all"]),
        (["train", "--epochs"], ["--epochs needs a value"]),
        (["train", "--epochs=-3"], ["not a whole number"]),
        (["train", "--lr", "fast"], ["not a number"]),
        (["train", "--threads", "9"], ["compiled for 1 to 4"]),
        (["train", "--resume", "maybe"], ["neither auto nor never"]),
        (["info", "--epochs", "3"], ["means nothing to info"]),
        (["train", "--quiet=yes"], ["takes no value"]),
        (["bench", "--steps", "5000"], ["1 to 1000"]),
    ):
        refusal(run(programs["asan"], *args, code=2), *parts)
    refusal(run(programs["u8"], "train", code=2), "no training data")


def test_info_eval_bench(programs, train, tmp_path, data):
    assert json.loads(run(programs["free"], "info", "--json")) == {"name": "dummy"}
    text = run(programs["free"], "info")
    assert "dense1.momentum" in text and "no memory table" in text
    trained = train("free", "--out", tmp_path / "run")
    text = run(programs["free"], "eval", "--data", data, "--out", tmp_path / "run")
    assert (
        state(text) == state(trained)
        and re.search(r"test (\S+) %", text)[1] == re.search(r"test (\S+) %  best \S+ %  \S+ s$", trained, re.M)[1]
    )
    result = json.loads(run(programs["free"], "eval", "--data", data, "--out", tmp_path / "run", "--json"))
    assert result["samples"] == N_TEST and f"{result['test_acc'] * 100:.2f}" in text
    assert "no checkpoint" in run(
        programs["free"], "eval", "--data", data, "--out", tmp_path / "none", "--cache", tmp_path, code=6
    )
    bench = json.loads(run(programs["free"], "bench", "--json", "--steps", 9, "--threads", 2))
    assert bench["median_ms"] >= bench["min_ms"] > 0 and bench["threads"] == 2
    assert bench["state"] == json.loads(run(programs["free"], "bench", "--json", "--steps", 9, "--threads", 1))["state"]


# ---- safetensors ----


def test_first_weights(train, tmp_path):
    train("free", "--steps", 0, "--export", tmp_path / "w")
    w = read_safetensors(tmp_path / "w")
    assert (w["dense1.weight"].ravel() == rng.uniform(1, 7, 4 * 37, 0.2)).all()
    assert ((w["dense1.flips"].ravel() > 0) == rng.signs(1, 9, 3 * 37)).all()
    assert w["dense1.bias"].shape == (4,) and set(w) == {"dense1.weight", "dense1.bias", "dense1.flips"}


def test_export_and_init(train, programs, tmp_path, data):
    text = train("free", "--export", tmp_path / "a.safetensors", "--out", tmp_path / "run")
    line = run(
        programs["free"],
        "eval",
        "--data",
        data,
        "--cache",
        tmp_path / "run",
        "--init",
        tmp_path / "a.safetensors",
        "--export",
        tmp_path / "b.safetensors",
    ).splitlines()[0]
    assert f"test {re.search('done:.* test ([0-9.]+) %  best', text)[1]} %" in line
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    w = read_safetensors(tmp_path / "a.safetensors")
    halves = {
        **w,
        "dense1.weight": w["dense1.weight"].astype("f2").reshape(4, 37, 1),
        "dense1.flips": w["dense1.flips"].astype("f4"),
    }
    (tmp_path / "h").write_bytes(safetensors({**halves, "dense1.momentum": np.zeros((4, 37), "f4")}))
    train("asan", "--init", tmp_path / "h", "--steps", 0, "--export", tmp_path / "c.safetensors")
    back = read_safetensors(tmp_path / "c.safetensors")
    assert (back["dense1.weight"] == w["dense1.weight"].astype("f2").astype("f4")).all() and (
        back["dense1.flips"] == w["dense1.flips"]
    ).all()


def test_init_refusals(train, programs, tmp_path):
    w = {
        "dense1.weight": np.zeros((4, 37), "f4"),
        "dense1.bias": np.zeros(4, "f4"),
        "dense1.flips": np.ones((3, 37), "i1"),
    }
    whole = safetensors(w)
    cases = [
        (safetensors({k: v for k, v in w.items() if k != "dense1.bias"}), "dense1.bias is missing"),
        (safetensors({**w, "dense2.weight": w["dense1.bias"]}), "no tensor named dense2.weight"),
        (safetensors({**w, "dense1.weight": np.zeros((37, 4), "f4")}), "expected shape [4, 37]"),
        (safetensors({**w, "dense1.weight": np.zeros((4, 28), "f4")}), "112 values in 2 dimensions"),
        (safetensors({**w, "dense1.weight": np.zeros((4, 37), "f8")}), "type F64, expected F32 or F16"),
        (whole[:-1], "truncated"),
        (whole[:60], "not a safetensors"),
        (b"", "not a safetensors"),
        (b"\0" * 8, "damaged header"),
        (struct.pack("<Q", 1 << 40) + whole[8:], "not a safetensors"),
    ]
    for content, why in cases:
        (tmp_path / "w").write_bytes(content)
        refusal(train("asan", "--init", tmp_path / "w", "--steps", 0, code=5), why)
    refusal(train("asan", "--init", tmp_path / "none", "--steps", 0, code=5), "no such file")
    r = np.random.default_rng(6)
    for i in range(40):
        data = bytearray(whole)
        for at in r.integers(0, 330, 1 + i % 4):
            data[at] = r.choice(np.frombuffer(b'{}[]",:0123456789\\ \xff\0', "u1"))
        (tmp_path / "w").write_bytes(data)
        p = subprocess.run(
            [
                programs["asan"],
                "eval",
                "--test",
                f"{tmp_path}/data/t10k-images-idx3-ubyte",
                "--cache",
                tmp_path,
                "--init",
                tmp_path / "w",
            ],
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert p.returncode in (0, 5) and "Sanitizer" not in p.stderr and "runtime error" not in p.stderr, p.stderr
