"""Makes power_0.bnnd, power_1.bnnd and power_2.bnnd: three folds over the union of ItalyPowerDemand's two files.

    python prepare.py FOLDER     # holds ItalyPowerDemand_TRAIN and _TEST as .txt, .tsv or .ts, from
                                 timeseriesclassification.com
    python prepare.py            # the copy inside the package aeon, if that is installed

A fold's test samples are every third of each class, in an order drawn once; the other two thirds are for training.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bnnc.data import Dataset, write_bnnd

NAME, STEPS, SAMPLES, FOLDS = "ItalyPowerDemand", 24, 1096, 3


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(x f32 [n, 24], label numbers [n]) of a file of the archive: label first, or last and after a colon (.ts)."""
    lines = [y.replace(",", " ") for y in path.read_text().splitlines() if y.strip() and y[0] not in "@#"]
    if path.suffix == ".ts":
        lines = [" ".join(y.split(":")[::-1]) for y in lines]
    table = np.array([y.split() for y in lines], np.float64)
    return table[:, 1:].astype(np.float32), table[:, 0].astype(int)


def find(folder: Path, part: str) -> Path:
    for suffix in (".txt", ".tsv", ".ts"):
        if (path := folder / f"{NAME}_{part}{suffix}").is_file():
            return path
    raise SystemExit(
        f"{folder} holds no {NAME}_{part}.txt, .tsv or .ts\nhint: get {NAME} from https://timeseriesclassification.com"
    )


def load(folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """All samples f32 [1096, 24], those of the training file first, and classes 0 and 1."""
    if folder:
        parts = [read(find(folder, part)) for part in ("TRAIN", "TEST")]
        x, y = (np.concatenate(p) for p in zip(*parts, strict=True))
    else:
        try:
            from aeon.datasets import load_italy_power_demand  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise SystemExit(
                f"aeon is not installed\nhint: python prepare.py FOLDER, where FOLDER holds the files of {NAME}"
            ) from None
        x, y = load_italy_power_demand()
    x, y = np.asarray(x, np.float32).reshape(len(x), -1), np.asarray(y).astype(int) - 1
    if x.shape != (SAMPLES, STEPS):
        raise SystemExit(f"{NAME} has {SAMPLES} series of {STEPS} values, these are {x.shape[0]} of {x.shape[1]}")
    return x, y.astype(np.uint8)


def folds(y: np.ndarray) -> np.ndarray:
    """The fold of each sample: shares of each class differ by at most one."""
    order = np.random.default_rng(0).permutation(len(y))
    fold = np.empty(len(y), int)
    for c in np.unique(y):
        own = order[y[order] == c]
        fold[own] = np.arange(len(own)) % FOLDS
    return fold


def main() -> None:
    x, y = load(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    fold = folds(y)
    for k in range(FOLDS):
        order = np.concatenate([np.flatnonzero(fold != k), np.flatnonzero(fold == k)])
        n_test = int((fold == k).sum())
        write_bnnd(f"power_{k}.bnnd", Dataset(x[order], y[order], classes=2, n_test=n_test))
        print(f"power_{k}.bnnd: {len(y) - n_test} training and {n_test} test samples")


if __name__ == "__main__":
    main()
