"""Data files: round trips, malformed input, determinism and counts."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bnnc
from bnnc import data
from bnnc.data.files import training_samples
from bnnc.diag import BnncError

EXAMPLE = Path(__file__).parents[2] / "examples" / "mnist_mlp" / "mnist_1bit.bnnd"
RNG = np.random.default_rng(7)


def idx_bytes(a: np.ndarray, code: int = 8, type_: str = ">u1") -> bytes:
    return bytes([0, 0, code, a.ndim]) + struct.pack(f">{a.ndim}I", *a.shape) + a.astype(type_).tobytes()


def sample(kind: str, shape: tuple[int, ...] = (5, 3), n: int = 11, n_test: int = 4) -> data.Dataset:
    make: dict[str, Callable[[], np.ndarray]] = {
        "u8": lambda: RNG.integers(0, 256, (n, *shape), dtype=np.uint8),
        "bit": lambda: RNG.integers(0, 2, (n, *shape)).astype(bool),
        "f32": lambda: RNG.normal(size=(n, *shape)).astype(np.float32),
    }
    y = RNG.integers(0, 3, n).astype(np.uint8)
    return data.Dataset(make[kind](), y, "sign" if kind == "bit" else "none", 0.25 * (kind == "bit"), 3, n_test)


def refused(code: str, f: Callable[[], object], *words: str) -> BnncError:
    with pytest.raises(BnncError) as e:
        f()
    assert e.value.exit_code == 5
    (d,) = e.value.diagnostics
    assert d.code == code, str(e.value)
    assert d.help
    for w in words:
        assert w in str(e.value)
    return e.value


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("shape", [(1,), (8,), (13,), (5, 3), (2, 3, 4), (2, 2, 3, 3)])
@pytest.mark.parametrize("kind", data.KINDS)
def test_bnnd_round_trip(tmp_path: Path, kind: str, shape: tuple[int, ...], compress: bool) -> None:
    d, p = sample(kind, shape), tmp_path / "a.bnnd"
    assert data.write_bnnd(p, d, compress) == p.stat().st_size
    r = data.read_bnnd(p)
    assert r.x.dtype == d.x.dtype
    np.testing.assert_array_equal(r.x, d.x)
    np.testing.assert_array_equal(r.y, d.y)
    assert (r.encoder, r.threshold, r.classes, r.n_test) == (d.encoder, d.threshold, 3, 4)
    assert os.listdir(tmp_path) == ["a.bnnd"]


def test_bnnd_layout_is_the_documented_one(tmp_path: Path) -> None:
    """Byte for byte, from the table in the module's docstring: this is the contract with the C runtime."""
    x = np.zeros((3, 2, 5), bool)
    x[0, 0, 0] = x[0, 1, 4] = x[2, 1, 3] = True
    p = tmp_path / "a.bnnd"
    data.write_bnnd(p, data.Dataset(x, np.array([1, 0, 6], np.uint8), "sign", 128.0, 7, 1))
    records = bytes([1, 2, 1, 0, 0, 0, 0, 1, 6])
    head = (
        b"BNNDATA1"
        + struct.pack("<12IfIQIII", 96, 1, 3, 10, 3, 7, 2, 2, 5, 1, 1, 1, 128.0, 0, 9, zlib.crc32(records), 1, 0)
        + bytes(8)
    )
    assert len(head) == 92
    assert p.read_bytes() == head + struct.pack("<I", zlib.crc32(head)) + records


def test_compressed_payload_is_one_raw_deflate_stream(tmp_path: Path) -> None:
    d = sample("u8")
    data.write_bnnd(tmp_path / "a", d)
    data.write_bnnd(tmp_path / "b", d, compress=True)
    a, b = ((tmp_path / f).read_bytes() for f in "ab")
    assert zlib.decompress(b[96:], wbits=-15) == a[96:]
    assert a[72:76] == b[72:76]


def test_same_input_same_bytes(tmp_path: Path) -> None:
    d = sample("bit", (28, 28), 50)
    out = []
    for name in ("a", "other name"):
        data.write_bnnd(tmp_path / name, d, compress=True)
        out.append((tmp_path / name).read_bytes())
    assert out[0] == out[1]
    strided = data.Dataset(np.asfortranarray(d.x), d.y[::-1][::-1], d.encoder, d.threshold, d.classes, d.n_test)
    data.write_bnnd(tmp_path / "c", strided, compress=True)
    assert (tmp_path / "c").read_bytes() == out[0]


@pytest.mark.parametrize("kind", data.KINDS)
@pytest.mark.parametrize("compress", [False, True])
def test_no_single_byte_change_or_cut_goes_unnoticed(tmp_path: Path, kind: str, compress: bool) -> None:
    p, q = tmp_path / "a", tmp_path / "b"
    d = sample(kind, (5,), 4, 1)
    data.write_bnnd(p, d, compress)
    raw, rng = p.read_bytes(), random.Random(3)
    for i in range(len(raw)):
        q.write_bytes(raw[:i] + bytes([raw[i] ^ 1 << rng.randrange(8)]) + raw[i + 1 :])
        if compress and i >= 96:  # a deflate stream has a few unused bits
            with contextlib.suppress(BnncError):
                np.testing.assert_array_equal(data.read_bnnd(q).x, d.x)
        else:
            refused("B0802", lambda: data.read_bnnd(q), str(q))
        q.write_bytes(raw[:i])
        refused("B0802", lambda: data.info(q))
    q.write_bytes(raw + b"\0")
    refused("B0802", lambda: data.read_bnnd(q), "more")


def forge(raw: bytes, at: int, value: bytes) -> bytes:
    head = (raw[:at] + value + raw[at + len(value) :])[:92]
    return head + struct.pack("<I", zlib.crc32(head)) + raw[96:]


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (8, 100, "version"),
        (12, 3, "version"),
        (16, 0, "contradiction"),
        (16, 1 << 31, "payload"),
        (20, 1 << 31, "contradiction"),
        (24, 7, "contradiction"),
        (28, 0, "range"),
        (28, 300, "range"),
        (28, 1, "label"),
        (32, 0, "version"),
        (32, 9, "version"),
        (36, 6, "contradiction"),
        (52, 1, "range"),
        (56, 0x7FC00000, "range"),
        (60, 2, "version"),
        (60, 1, "bnnd"),
        (64, 1, "payload"),
        (72, 5, "checksum"),
        (76, 99, "range"),
    ],
)
def test_a_header_that_lies_with_a_right_checksum(tmp_path: Path, at: int, value: int, words: str) -> None:
    p = tmp_path / "a"
    d = sample("u8", (5,), 8)
    d.y[0] = 2
    data.write_bnnd(p, d)
    p.write_bytes(forge(p.read_bytes(), at, struct.pack("<I", value)))
    assert words in str(refused("B0802", lambda: data.read_bnnd(p)))


def test_padding_bits_and_false_compressed_sizes_are_refused(tmp_path: Path) -> None:
    p = tmp_path / "a"
    data.write_bnnd(p, sample("bit", (5,), 2, 0))
    raw = bytearray(p.read_bytes())
    raw[96] |= 0x80
    p.write_bytes(forge(bytes(raw), 72, struct.pack("<I", zlib.crc32(bytes(raw[96:])))))
    refused("B0802", lambda: data.read_bnnd(p), "padding")
    data.write_bnnd(p, sample("u8", (5,), 2, 0), compress=True)
    p.write_bytes(forge(p.read_bytes(), 16, struct.pack("<I", 1 << 31)))
    refused("B0802", lambda: data.read_bnnd(p), "cannot hold")


@pytest.mark.parametrize("packed", [False, True])
def test_idx(tmp_path: Path, packed: bool) -> None:
    wrap = (lambda b: gzip.compress(b)) if packed else (lambda b: b)
    a = RNG.integers(0, 256, (6, 4, 3))
    p = tmp_path / "images"  # gzip is told by content, not by name
    p.write_bytes(wrap(idx_bytes(a)))
    got = data.read_idx(p)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, a)
    p.write_bytes(wrap(idx_bytes(a - 100, 0x0D, ">f4")))
    np.testing.assert_array_equal(data.read_idx(p), (a - 100).astype(np.float32))
    for bad in (
        b"",
        b"\0\0",
        b"\0\0\x08\x05" + bytes(40),
        b"\0\0\x07\x01\0\0\0\1x",
        idx_bytes(a)[:-1],
        idx_bytes(a) + b"!",
        b"\0\0\x08\x03" + b"\xff" * 12,
        b"\0\0\x08\x03\0\0",
    ):
        p.write_bytes(wrap(bad))
        refused("B0802", lambda: data.read_idx(p), str(p))
    labels = RNG.integers(
        0, 3, 6
    )  # of a label file too, however little is cut off: the last 8 bytes are checksum and length
    for whole, cut in itertools.product((gzip.compress(idx_bytes(a)), gzip.compress(idx_bytes(labels))), range(1, 13)):
        p.write_bytes(whole[:-cut])
        refused("B0802", lambda: data.read_idx(p))


def test_npy_and_npz(tmp_path: Path) -> None:
    a = RNG.normal(size=(3, 4))
    p, z = tmp_path / "a.npy", tmp_path / "a.npz"
    for order in "CF":
        np.save(p, np.array(a, order=order))
        np.testing.assert_array_equal(data.read_npy(p), a)
    raw = p.read_bytes()
    for bad in (
        b"",
        raw[:20],
        raw[:-1],
        raw + b"x",
        raw.replace(b"(3, 4)", b"(9, 9)"),
        raw.replace(b"(3, 4)", b"(3,-4)"),
        b"\x93NUMPY\x01\x00\x05\x00{'a':",
        raw.replace(b"'<f8'", b"'<q9'"),
    ):
        p.write_bytes(bad)
        refused("B0802", lambda: data.read_npy(p), str(p))
    np.save(p, np.array([{}], object), allow_pickle=True)
    refused("B0802", lambda: data.read_npy(p), "not numbers")
    np.savez_compressed(z, x=a, classes=np.array(["u", "v"]), odd=np.array([None]))
    got = data.read_npz(z)
    assert sorted(got) == ["classes", "x"]
    np.testing.assert_array_equal(got["x"], a)
    whole = z.read_bytes()
    rng = random.Random(1)
    for _ in range(200):
        b = bytearray(whole)
        b[rng.randrange(len(b))] ^= 1 << rng.randrange(8)
        z.write_bytes(bytes(b[: rng.choice([len(b), rng.randrange(len(b))])]))
        try:
            data.read_npz(z)
        except BnncError as e:
            assert e.exit_code == 5


def test_csv(tmp_path: Path) -> None:
    p = tmp_path / "a.csv"

    def read(text: str, **kw: object) -> tuple[list[list[float]], list[int], tuple[str, ...]]:
        p.write_text(text, encoding="utf-8")
        x, y, names = data.read_csv(p, **kw)  # type: ignore[arg-type]
        assert (x.dtype, y.dtype) == (np.float32, np.uint8)
        return x.tolist(), y.tolist(), names

    assert read("1,2.5,0\n3,4,1\n") == ([[1, 2.5], [3, 4]], [0, 1], ())
    assert read("\ufeffa;b;c\r\n1;2;0\r\n\r\n3;4;1\r\n", label="b") == ([[1, 0], [3, 1]], [2, 4], ())
    assert read("0,1,label\n1,2,0\n3,4,1\n") == ([[1, 2], [3, 4]], [0, 1], ())
    assert read("label\tp\n7\t1\n", label=0) == ([[1]], [7], ())
    assert read('1,"iris b"\n2,iris a\n') == ([[1], [2]], [1, 0], ("iris a", "iris b"))
    assert read("1,b\n", names=("a", "b", "c")) == ([[1]], [1], ("a", "b", "c"))
    refused("B0803", lambda: read("1,d\n", names=("a", "b")), "class `d`", "training file")
    refused("B0804", lambda: read("1,2,0\n1,,0\n"), ":2:", "no value in column `1`")
    refused("B0804", lambda: read("1,2,0\n1,2\n"), ":2:", "2 columns")
    refused("B0804", lambda: read(""), "no samples")
    refused("B0804", lambda: read("a,b\n"), "no samples")
    refused("B0804", lambda: read("1\n2\n"), "no samples")
    refused("B0805", lambda: read("a,b\n1,2\n", label="c"), "no column `c`", "a, b")
    refused("B0805", lambda: read("1,2\n", label=2))
    refused("B0803", lambda: read("1,256\n"), "label 256")
    p.write_bytes(b"\xff\xfe\x00")
    refused("B0802", lambda: data.read_csv(p))


def test_the_labels_column_of_a_csv(tmp_path: Path) -> None:
    """A file without one is refused where its last column cannot be classes; else it is said which column was taken."""
    p = tmp_path / "a.csv"

    def read(text: str, **kw: object) -> tuple[list[int], tuple[str, ...]]:
        p.write_text(text, encoding="utf-8")
        _, y, names = data.read_csv(p, **kw)  # type: ignore[arg-type]
        return y.tolist(), names

    numbers = "".join(f"{i},{i / 7}\n" for i in range(1, 201))
    refused(
        "B0803",
        lambda: read(numbers),
        "column 1 (the last; columns are counted from 0)",
        "real numbers",
        "0.14285714285714285",
        ":1:",
        "--label",
    )
    refused("B0803", lambda: read("a,width\n" + numbers), "column 1 `width` (the last", ":2:")
    refused("B0803", lambda: read("l,w\n0.5,7\n", label="l"), "column 0 `l` (columns are counted from 0)", "0.5")
    refused("B0803", lambda: read("1,2\n3,1.5\n"), ":2:", "1.5")
    refused("B0803", lambda: read("1,1e-3\n3,high\n"), ":1:", "1e-3")
    refused("B0803", lambda: read("1,a\n2,\n"), ":2:", "no label", "column 1")
    refused(
        "B0803",
        lambda: read("".join(f"{i},n{i}\n" for i in range(257))),
        "257 different labels",
        "at most 256",
        "column 1",
    )
    refused("B0803", lambda: read("1,7\n2,999\n"), "999", "column 1", "--label")
    assert read("1,-1\n2,1\n") == ([0, 1], ("-1", "1")) and read("1,1e1\n2,2.0\n") == ([10, 2], ())
    assert read("1,2.5T\n2,3T\n3,nan\n") == ([0, 1, 2], ("2.5T", "3T", "nan")), "names, not numbers"
    p.write_text("a,b,kind\n1,2,0\n3,4,1\n")
    assert data.pack(p).labels_from == "column 2 `kind` (the last; columns are counted from 0)"
    assert data.pack(p, label="b").labels_from == "column 1 `b` (columns are counted from 0)"
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3)), y=np.arange(2))
    assert data.pack(tmp_path / "a.npz").labels_from == ""
    data.write_bnnd(tmp_path / "a.bnnd", data.pack(p))


def test_pack_merges_the_test_split_and_encodes(tmp_path: Path) -> None:
    x, y = RNG.integers(0, 256, (9, 4, 4)), RNG.integers(0, 4, 9)
    y[8] = 9  # only the test split has class 9
    names = {"xi": idx_bytes(x[:6]), "yi": idx_bytes(y[:6]), "xt": idx_bytes(x[6:]), "yt": idx_bytes(y[6:])}
    for k, v in names.items():
        (tmp_path / k).write_bytes(v)
    f = {k: tmp_path / k for k in names}
    out = tmp_path / "o.bnnd"
    d = data.pack(f["xi"], f["yi"], test=(f["xt"], f["yt"]), encoder="sign(128)", compress=True, output=out)
    assert (d.kind, d.n, d.n_test, d.classes, d.encoder, d.threshold) == ("bit", 9, 3, 10, "sign", 128)
    np.testing.assert_array_equal(d.x, x >= 128)
    h = data.info(out)
    assert h["counts"] == np.bincount(y[:6], minlength=10).tolist()
    assert h["counts_test"] == np.bincount(y[6:], minlength=10).tolist()
    assert (h["n_train"], h["kind"], h["shape"], h["compression"]) == (6, "bit", (4, 4), "deflate")
    assert h["file_bytes"] == out.stat().st_size == 96 + h["stored_bytes"]
    assert h["payload_bytes"] == 9 * 3
    again = data.pack(out, output=tmp_path / "again")
    np.testing.assert_array_equal(again.x, d.x)
    refused("B0304", lambda: data.pack(out, encoder="sign"), "needs no encoder")
    refused("B0803", lambda: data.pack(f["xi"], f["yt"]), "3 labels for 6 samples")
    (tmp_path / "wide").write_bytes(idx_bytes(RNG.integers(0, 9, (3, 5, 4))))
    refused("B0804", lambda: data.pack(f["xi"], f["yi"], test=(tmp_path / "wide", f["yt"])), "[5, 4]", "[4, 4]")


def test_pack_npz_npy_and_csv(tmp_path: Path) -> None:
    x, y = RNG.normal(size=(5, 3)), np.arange(5)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    d = data.pack(tmp_path / "a.npz")
    assert (d.kind, d.n, d.n_test, d.classes) == ("f32", 7, 2, 5)
    np.savez(tmp_path / "b.npz", x=(x * 50).astype(np.int16), y=y[:, None])
    assert data.pack(tmp_path / "b.npz", encoder="sign(0)").kind == "bit"
    np.savez(tmp_path / "c.npz", a=x)
    refused("B0805", lambda: data.pack(tmp_path / "c.npz"), "arrays: a")
    np.save(tmp_path / "x.npy", x > 0)
    np.save(tmp_path / "y.npy", y.astype(np.float64))
    assert data.pack(tmp_path / "x.npy", tmp_path / "y.npy").kind == "bit"
    (tmp_path / "d.csv").write_text("0,255,cat\n7,8,dog\n")
    (tmp_path / "e.csv").write_text("1,2,dog\n")
    d = data.pack(tmp_path / "d.csv", test=[tmp_path / "e.csv"])
    assert (d.kind, d.classes, d.y.tolist(), d.n_test) == ("u8", 2, [0, 1, 1], 1)
    (tmp_path / "e.csv").write_text("1.5,2,dog\n")
    assert data.pack(tmp_path / "d.csv", test=[tmp_path / "e.csv"]).kind == "f32"


def cifar_bytes(x: np.ndarray, y: np.ndarray) -> bytes:
    """Written as the format's page says: 1 byte label, 1024 reds row by row, 1024 greens, 1024 blues."""
    return b"".join(
        bytes([int(k)]) + bytes(int(v) for c in range(3) for v in image[..., c].ravel())
        for image, k in zip(x, y, strict=True)
    )


def test_cifar(tmp_path: Path) -> None:
    x, y = RNG.integers(0, 256, (7, 32, 32, 3), dtype=np.uint8), np.array([3, 9, 0, 0, 1, 2, 3], np.uint8)
    files = [tmp_path / f"data_batch_{i}.bin" for i in (1, 2, 3)]
    for f, at in zip(files, (slice(3), slice(3, 5), slice(5, 7)), strict=True):
        f.write_bytes(cifar_bytes(x[at], y[at]))
    assert files[0].stat().st_size == 3 * 3073
    d = data.pack(*files[:2], test=files[2:], output=tmp_path / "o")
    assert (d.kind, d.shape, d.n_test, d.classes) == ("u8", (32, 32, 3), 2, 10)
    np.testing.assert_array_equal(d.x, x)
    np.testing.assert_array_equal(d.y, y)
    np.testing.assert_array_equal(data.read_bnnd(tmp_path / "o").x, x)
    text = (
        f'data {{ train = cifar10("{files[0].name}"); }}\nnetwork net {{ input u8[32, 32, 3]; flatten; dense 10;'
        " batchnorm; loss; }\nrule edge;\ntrain { batch = 2; }\n"
    )
    assert training_samples(bnnc.parse(text).model, tmp_path) == 3
    files[0].write_bytes(cifar_bytes(x, y)[:-1])
    refused("B0802", lambda: data.pack(files[0]), "3,073 bytes", "21,510")
    files[0].write_bytes(cifar_bytes(x, y + 1))
    refused("B0802", lambda: data.pack(files[0]), "record 1 has label 10")


def test_folders_of_images(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow (extra `images`)")
    x = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    names = ["b/2.png", "a/1.PNG", "b/1.bmp", "a/0.png", "c/9.png", "c/8.ppm"]
    for name, pixels in zip(names, x, strict=True):
        for split, keep in (("train", name[0] != "c"), ("test", name[0] == "b")):
            (tmp_path / split / name[0]).mkdir(parents=True, exist_ok=True)
            if keep:
                image.fromarray(pixels).save(tmp_path / split / name)
    (tmp_path / "train" / "a" / "notes.txt").write_text("no image")
    d = data.pack(tmp_path / "train", output=tmp_path / "o")
    assert (d.kind, d.shape, d.n_test, d.classes, d.y.tolist()) == ("u8", (5, 4, 3), 0, 2, [0, 0, 1, 1])
    np.testing.assert_array_equal(d.x, x[[3, 1, 2, 0]])
    both = data.pack(tmp_path)
    assert (both.n_test, both.y.tolist()) == (2, [0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(both.x, data.pack(tmp_path / "train", test=[tmp_path / "test"]).x)
    image.fromarray(x[0, ..., 0]).save(tmp_path / "train" / "a" / "grey.png")
    np.testing.assert_array_equal(data.pack(tmp_path / "train").x[2], np.repeat(x[0, ..., :1], 3, axis=2))
    grey = tmp_path / "grey" / "0"
    grey.mkdir(parents=True)
    image.fromarray(x[0, ..., 0]).save(grey / "a.png")
    assert data.pack(grey.parent).shape == (5, 4, 1)
    image.fromarray(x[0, :4]).save(tmp_path / "train" / "a" / "small.png")
    refused("B0804", lambda: data.pack(tmp_path / "train"), "small.png", "4 x 4", "4 x 5")
    (grey / "b.png").write_bytes(b"no image")
    refused("B0802", lambda: data.pack(grey.parent), "b.png")
    refused("B0804", lambda: data.pack(grey), "FOLDER/CLASS")
    (grey / "b.png").unlink()
    for unlabelled in (grey, grey / "a.png"):
        one = data.pack(unlabelled, labelled=False)
        assert one.n == 1 and np.array_equal(one.x[0, ..., 0], x[0, ..., 0])
    refused("B0805", lambda: data.pack(grey / "a.png"), "one file alone")
    image.fromarray(x[0]).save(tmp_path / "test" / "c" / "more.png")
    (tmp_path / "train" / "a" / "small.png").unlink()
    refused("B0803", lambda: data.pack(tmp_path), "class `c`")


def test_bad_sources_and_values(tmp_path: Path) -> None:
    y = tmp_path / "y.npy"
    np.save(y, np.arange(2))

    def pack_x(x: np.ndarray, labels: object = None) -> data.Dataset:
        np.save(tmp_path / "x.npy", x)
        if labels is not None:
            np.save(y, np.array(labels))
        return data.pack(tmp_path / "x.npy", y)

    refused("B0804", lambda: pack_x(np.array([[1.0], [np.nan]])), "sample 1", "not finite")
    refused("B0804", lambda: pack_x(np.array([[1.0], [1e39]])), "not finite")
    refused("B0804", lambda: pack_x(np.array([[1], [1 << 25]])), "2^24")
    refused("B0804", lambda: pack_x(np.array([1.0, 2.0])), "shape [2]")
    refused("B0804", lambda: pack_x(np.zeros((2, 0))), "shape")
    refused("B0804", lambda: pack_x(np.array([["a"], ["b"]])), "type")
    for labels in ([-1, 0], [0.5, 0], [0, 256]):
        refused("B0803", lambda labels=labels: pack_x(np.zeros((2, 1)), labels), "whole number 0..255")
    refused("B0803", lambda: pack_x(np.zeros((2, 1)), [[1, 2], [3, 4]]), "shape [2, 2]")
    refused("B0801", lambda: data.pack(tmp_path / "none.npz"), "no such file")
    refused("B0801", lambda: data.read_idx(tmp_path), "folder")
    (tmp_path / "file").touch()
    refused("B0801", lambda: data.write_bnnd(tmp_path / "file" / "a", sample("u8")), "cannot be written")
    refused("B0805", lambda: data.pack(y, y, y), "3 files")
    refused("B0805", lambda: data.pack(y), "one file alone")
    refused("B0802", lambda: data.info(y), "BNNDATA1")
    bad = data.Dataset(np.zeros((2, 1), np.uint8), np.array([0, 3], np.uint8), classes=2)
    refused("B0803", lambda: data.write_bnnd(tmp_path / "a", bad), "highest label 3")
    refused("B0805", lambda: data.write_bnnd(tmp_path / "a", data.Dataset(bad.x, bad.y, "sign")), "does not fit")


def test_preview_draws_two_rows_a_line(tmp_path: Path) -> None:
    x = np.zeros((2, 3, 4), bool)
    x[1] = [[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 1, 1]]
    p = tmp_path / "a"
    data.write_bnnd(p, data.Dataset(x, np.array([0, 5], np.uint8), "sign", 1.0, 6, 1))
    assert data.preview(p, 1) == "sample 1 of 2 (test), label 5, bit[3, 4]\n▀▄█\n▀▀▀▀"
    assert data.preview(p, -1) == data.preview(p, 1)
    refused("B0805", lambda: data.preview(p, 2), "0..1")
    for kind, shape in (("u8", (16, 16, 3)), ("u8", (3, 8, 8)), ("f32", (49,)), ("f32", (100, 1)), ("u8", (2, 5, 6))):
        data.write_bnnd(p, sample(kind, shape))
        assert f"{kind}{list(shape)}" in data.preview(p)


@pytest.mark.skipif(not EXAMPLE.exists(), reason="the packed example is not in this checkout")
def test_the_packed_example_has_the_published_counts() -> None:
    h = data.info(EXAMPLE)
    assert (h["n_train"], h["n_test"], h["shape"], h["kind"], h["threshold"]) == (60000, 10000, (28, 28), "bit", 128.0)
    assert h["counts"] == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert h["counts_test"] == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert h["file_bytes"] < 4_000_000


@pytest.mark.slow
@pytest.mark.skipif("BNNC_DATA" not in os.environ, reason="set BNNC_DATA to a folder with mnist/*.gz (full MNIST)")
def test_packing_mnist_again_gives_the_example(tmp_path: Path) -> None:
    m = Path(os.environ["BNNC_DATA"]) / "mnist"
    train, t10k = ([m / f"{s}-images-idx3-ubyte.gz", m / f"{s}-labels-idx1-ubyte.gz"] for s in ("train", "t10k"))
    d = data.pack(*train, test=t10k, encoder="sign(128)", compress=True, output=tmp_path / "o")
    example = data.read_bnnd(EXAMPLE)
    np.testing.assert_array_equal(d.x, example.x)
    np.testing.assert_array_equal(d.y, example.y)
