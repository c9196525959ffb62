"""The encoders in C against ``bnnc.inputs.encode``: thresholds and bits are the same, for every kind of data, file and
arena.
"""

from __future__ import annotations

import gzip
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runtime_builds import FREESTANDING, HERE, SANITIZED, STRICT
from runtime_formats import bnnd, npy

from bnnc import data
from bnnc.inputs.encode import KINDS, PER, Encoding

HOW = ("", "sign", "pad", "median", *KINDS)  # as bnnc_net.h counts them
BUILDS = {  # the thresholds before the scratch, behind it, and an arena too small for both
    "large": [*FREESTANDING],
    "behind": [*FREESTANDING, "-DARENA=65536", "-DKEPT_AT=57344"],
    "small": [*SANITIZED, "-DARENA=20480", "-DKEPT_AT=8192"],
}
R = np.random.default_rng(8)


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("probes")
    for name, flags in BUILDS.items():
        subprocess.run(["gcc", *STRICT, *flags, str(HERE / "encode_probe.c"), "-o", str(folder / name)], check=True)
    return {name: folder / name for name in BUILDS}


def run(probe: Path, folder: Path, e: Encoding, train: Path | str, test: Path | str, stored: Path | None = None) -> str:
    """What the probe complains about; empty: it has written its files."""
    kinds = {"f32": 0, "bit": 2, "u8": 3}
    rows, cols = e.table if e.fitted else (0, 0)
    args = [
        HOW.index(e.how),
        PER.index(e.per),
        int(e.pad_odd),
        int(e.lengths),
        kinds[e.data],
        e.steps,
        e.channels,
        e.bits,
        f"{e.threshold:g}",
        rows,
        cols,
        e.output.elements,
    ]
    for c, n in zip(e.onehot, e.categories, strict=True):
        args += ["-h", c, n]
    for q in e.normal_quantiles if e.how == "gauss" else ():
        args += ["-q", struct.pack(">d", q).hex()]
    args += ["-t", stored] if stored else []
    argv = [probe, folder, *args, "--", train, test]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode in (0, 5), done.stderr
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


def labels(x: np.ndarray) -> np.ndarray:
    return (np.arange(len(x)) % 4).astype(np.uint8)


def files(folder: Path, name: str, x: np.ndarray) -> str:
    (folder / f"{name}.npy").write_bytes(npy(x))
    (folder / f"{name}y.npy").write_bytes(npy(labels(x)))
    return f"{folder}/{name}.npy,{folder}/{name}y.npy"


def agrees(
    probe: Path, folder: Path, e: Encoding, x: np.ndarray, xt: np.ndarray, train: str = "", test: str = ""
) -> None:
    """Thresholds and bits of both sets; the files are written from the arrays unless they are given."""
    assert run(probe, folder, e, train or files(folder, "a", x), test or files(folder, "b", xt)) == ""
    thresholds = e.fit(x) if e.fitted else None
    if thresholds is not None:
        got = np.frombuffer((folder / "thresholds").read_bytes(), "<u4").reshape(e.table)
        np.testing.assert_array_equal(got, thresholds.view(np.uint32))
    for name, samples in (("train", x), ("test", xt)):
        got = data.read_bnnd(folder / f"{name}.bit.bnnd")
        np.testing.assert_array_equal(got.x, e.encode(samples, thresholds).reshape(len(samples), -1))
        np.testing.assert_array_equal(got.y, labels(samples))


def u8(n: int, *shape: int) -> np.ndarray:
    x = R.integers(0, 256, (n, *shape)).astype(np.uint8)
    x[..., 0] //= 90  # ties
    return x


def f32(n: int, *shape: int) -> np.ndarray:
    """Ties, both zeros, numbers far apart, neighbours in f32, and a constant column."""
    x = R.normal(0, 3, (n, *shape)).astype(np.float32)
    x[..., 0] = np.round(x[..., 0])
    x[R.random(x.shape) < 0.1] = -0.0
    x[R.random(x.shape) < 0.1] = 0.0
    x.reshape(-1)[R.integers(0, x.size, 6)] = 3e38, -3e38, 1e-40, -1e-40, 1, np.nextafter(np.float32(1), np.float32(2))
    x[..., -1] = -7.25
    return x


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("how", ["median", *KINDS])
@pytest.mark.parametrize("build", BUILDS)
def test_every_kind_and_per(probes: Mapping[str, Path], tmp_path: Path, build: str, how: str, per: str) -> None:
    for make, kind in ((u8, "u8"), (f32, "f32")):
        for bits, pad in ((1, True), (4, False)) if how != "median" else ((1, True), (1, False)):
            for shape in ((3, 5), (7,), (2, 3, 2)):
                e = Encoding(how, kind, shape, bits, per, pad_odd=pad)
                agrees(probes[build], tmp_path, e, make(43, *shape), make(9, *shape))


@pytest.mark.parametrize("build", BUILDS)
def test_one_hot_columns(probes: Mapping[str, Path], tmp_path: Path, build: str) -> None:
    """A new category of the test set has no bit; the order of the list does not matter to the bits' places."""

    def table(n: int, *new: float) -> np.ndarray:
        x = f32(n, 4)
        x[:, 1], x[:, 3] = R.choice([-1.5, 0, -0.0, 4, *new], n), R.choice([2, 3], n)
        return x

    for how in ("median", "quantile", "gauss"):
        e = Encoding(how, "f32", (4,), 1 if how == "median" else 3, "column", onehot=(3, 1), categories=(2, 5))
        agrees(probes[build], tmp_path, e, table(60), table(20, 77.0))
        bits = e.encode(np.float32([[0, 77, 0, 2]]), e.fit(table(60)))[0]
        assert not bits[e.bits : e.bits + 5].any() and bits[-2:].tolist() == [True, False]
    only = Encoding("median", "u8", (2, 2), onehot=(0, 1), categories=(3, 4), pad_odd=True)
    agrees(
        probes[build],
        tmp_path,
        only,
        R.integers(0, 3, (30, 2, 2)).astype("u1"),
        R.integers(0, 9, (9, 2, 2)).astype("u1"),
    )
    message = run(probes[build], tmp_path, replace(e, categories=(2, 2)), files(tmp_path, "a", table(60)), "none")
    assert "column 1 holds more different values than the 2" in message and "hint" in message
    with pytest.raises(ValueError, match="column 1 holds 3 different values, `categories` says 2"):
        replace(e, categories=(2, 2)).fit(table(60))


def sequences(n: int, steps: int, columns: int) -> np.ndarray:
    x = f32(n, steps, columns)
    for i, length in enumerate(R.integers(1, steps + 1, n)):
        x[i, length:] = np.nan
    return x


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("per", PER)
def test_sequences_of_different_lengths(probes: Mapping[str, Path], tmp_path: Path, build: str, per: str) -> None:
    for how in ("median", *KINDS):
        for pad in (False, True):
            e = Encoding(how, "f32", (9, 2), 1 if how == "median" else 3, per, pad_odd=pad, lengths=True)
            agrees(probes[build], tmp_path, e, sequences(31, 9, 2), sequences(9, 9, 2))
    short = sequences(31, 9, 2)
    short[:, 4:] = np.nan  # no sample has the first steps: their thresholds are 0
    agrees(probes[build], tmp_path, e, short, sequences(9, 9, 2))
    assert per != "column" or (e.fit(short)[:2] == 0).all()
    x = np.full((1, 9, 2), np.nan, np.float32)
    x[0, :2] = [[1, 2], [3, 4]]
    bits = e.encode(x, e.fit(short))[0]
    assert bits.shape == (9, 8) and not bits[:7].any() and bits[7:, 6:].all()


def test_what_is_not_a_number_is_refused(probes: Mapping[str, Path], tmp_path: Path) -> None:
    x = sequences(31, 9, 2)
    x[4, :3], x[4, 3:] = 1, np.nan
    x[4, 1, 1] = np.nan
    e = Encoding("median", "f32", (9, 2), lengths=True)
    message = run(probes["small"], tmp_path, e, files(tmp_path, "a", x), "none")
    assert (
        "sample 4, step 1, column 1 is not a finite number" in message and "in every column count as missing" in message
    )
    with pytest.raises(ValueError, match="sample 4, step 1, column 1 is not"):
        e.fit(x)
    whole = Encoding("median", "f32", (9, 2))  # short sequences, and nothing said of lengths
    message = run(probes["small"], tmp_path, whole, files(tmp_path, "a", x), "none")
    assert "steps after a sequence's end need `lengths = on` in the encoder" in message
    with pytest.raises(ValueError, match="is not a finite number; .*`lengths = on`"):
        whole.fit(x)
    x[2] = np.nan
    assert "sample 2 has no steps" in run(probes["small"], tmp_path, e, files(tmp_path, "a", x), "none")
    with pytest.raises(ValueError, match="sample 2 has no steps"):
        e.fit(x)
    bad = f32(9, 4)
    bad[5, 2] = np.inf
    e = Encoding("uniform", "f32", (4,), 2)
    assert "sample 5, step 0, column 2" in run(probes["small"], tmp_path, e, files(tmp_path, "a", bad), "none")
    with pytest.raises(ValueError, match="sample 5, step 0, column 2"):
        e.fit(bad)


def test_encoders_without_thresholds(probes: Mapping[str, Path], tmp_path: Path) -> None:
    for pad in (False, True):
        e = Encoding("sign", "f32", (3, 4), threshold=0.5, pad_odd=pad)
        x = f32(20, 3, 4)
        x[2, 1, 1] = np.nan  # its sign is -1
        agrees(probes["small"], tmp_path, e, x, f32(9, 3, 4))
        agrees(probes["small"], tmp_path, e, u8(20, 3, 4), u8(9, 3, 4))  # either is compared
    for shape in ((10,), (3, 7), (2, 8)):
        bits = [R.random((n, *shape)) < 0.5 for n in (20, 9)]
        for name, x in zip("ab", bits, strict=True):
            data.write_bnnd(tmp_path / f"{name}.bnnd", data.Dataset(x, labels(x)))
        e = Encoding("pad", "bit", shape, pad_odd=True)
        if shape[-1] % 2 == 0:
            agrees(probes["small"], tmp_path, e, *bits, f"{tmp_path}/a.bnnd", f"{tmp_path}/b.bnnd")
        assert e.output.shape == (*shape[:-1], shape[-1] | 1)


def test_every_form_of_file(probes: Mapping[str, Path], tmp_path: Path) -> None:
    """Compressed or not gives the same bits; a damaged one is noticed; what is bits already is taken as it is."""
    x, xt = u8(50, 6), u8(20, 6)
    e = Encoding("quantile", "u8", (6,), 3, "column")
    both, y = np.concatenate([x, xt]), labels(np.concatenate([x, xt]))
    test = files(tmp_path, "b", xt)
    (tmp_path / "raw").write_bytes(bnnd(x, labels(x), 0))
    (tmp_path / "small").write_bytes(bnnd(x, labels(x), 0, compress=True))
    (tmp_path / "z").write_bytes(gzip.compress(npy(x)))
    files(tmp_path, "a", x)
    for train in ("raw", "small", "z,ay.npy"):
        for build in BUILDS:
            agrees(probes[build], tmp_path, e, x, xt, train, test)
    (tmp_path / "damaged").write_bytes(bnnd(x, labels(x), 0, at_72=1))
    assert "damaged" in run(probes["small"], tmp_path, e, "damaged", test)
    data.write_bnnd(tmp_path / "bits", data.Dataset(e.encode(both, e.fit(x)), y))
    (tmp_path / "train.bit.bnnd").unlink()
    assert run(probes["small"], tmp_path, e, "bits", "bits") == ""
    assert not (tmp_path / "train.bit.bnnd").exists()
    (tmp_path / "none").write_bytes(np.full(e.table, np.inf, "<f4").tobytes())
    assert "no thresholds were fitted" in run(probes["small"], tmp_path, e, "bits", test, tmp_path / "none")
    assert "takes u8 samples, found f32" in run(probes["small"], tmp_path, e, files(tmp_path, "f", f32(9, 6)), test)
    assert "expected 6 values in a sample, found 5" in run(
        probes["small"], tmp_path, e, files(tmp_path, "f", u8(9, 5)), test
    )


def test_stored_thresholds_are_not_fitted_again(probes: Mapping[str, Path], tmp_path: Path) -> None:
    """And the cache follows them: its key holds thresholds."""
    x, other, xt = u8(50, 6), u8(50, 6) // 2, u8(20, 6)
    e = Encoding("median", "u8", (6,), per="column")
    test = files(tmp_path, "b", xt)
    agrees(probes["large"], tmp_path, e, x, xt, test=test)
    (tmp_path / "thresholds").rename(tmp_path / "stored")
    made = (tmp_path / "test.bit.bnnd").stat().st_mtime_ns
    assert run(probes["large"], tmp_path, e, files(tmp_path, "c", other), test, tmp_path / "stored") == ""
    np.testing.assert_array_equal(data.read_bnnd(tmp_path / "train.bit.bnnd").x, e.encode(other, e.fit(x)))
    assert (tmp_path / "test.bit.bnnd").stat().st_mtime_ns == made  # neither the file nor the thresholds have changed
    agrees(probes["large"], tmp_path, e, other, xt, test=test)
    assert (tmp_path / "test.bit.bnnd").stat().st_mtime_ns != made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_encoder(probes: Mapping[str, Path], tmp_path: Path, data: st.DataObject) -> None:
    draw = data.draw
    steps, channels = draw(st.integers(1, 5), "steps"), draw(st.integers(1, 5), "channels")
    onehot = draw(st.lists(st.integers(0, channels - 1), unique=True, max_size=2), "onehot")
    how, wide = draw(st.sampled_from(["median", *KINDS])), draw(st.booleans(), "f32")
    e = Encoding(
        how,
        "f32" if wide else "u8",
        (steps, channels),
        1 if how == "median" else draw(st.integers(1, 6), "bits"),
        draw(st.sampled_from(PER)),
        0,
        tuple(onehot),
        (12,) * len(onehot),
        draw(st.booleans(), "pad"),
        wide and draw(st.booleans(), "lengths"),
    )
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1), "seed"))
    choice = (
        np.float32([-0.0, 0, 1, -1, 1e-45, 2, -3e38, 3e38, 0.1, -5, 7])
        if wide
        else np.uint8([0, 1, 2, 3, 127, 128, 255])
    )
    x, xt = (r.choice(choice[: r.integers(1, len(choice) + 1)], (n, steps, channels)) for n in (r.integers(1, 30), 5))
    if e.lengths:
        for samples in (x, xt):
            samples[np.arange(steps) >= r.integers(1, steps + 1, len(samples))[:, None]] = np.nan
    agrees(probes[draw(st.sampled_from([*BUILDS]))], tmp_path, e, x, xt)
