"""The files that a spec names as its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..diag import error
from ..model import Model
from . import bnnd, readers

RUNS = 64


def data_files(model: Model, folder: Path) -> list[Path]:
    """The files that the spec's data sources name, in ``folder``, ``.gz`` appended where only that exists.

    Raises BnncError B0801 (exit code 5) for a file that is not there, B0805 for a spec without data.
    """
    found = []
    for call in (c for c in (model.data.train, model.data.test) if c is not None):
        for name in (v for _, v in call.args if isinstance(v, str)):
            at = folder / name
            at = at if at.exists() else at.with_name(at.name + ".gz")
            if not at.exists():
                raise error(
                    "B0801",
                    f"{folder / name}: there is no such file",
                    call.span,
                    exit_code=5,
                    help="name the folder that the data is in with `--data DIR`",
                )
            found.append(at)
    if not found:
        raise error(
            "B0805", "the spec names no data", exit_code=5, help='add e.g. `data { train = bnnd("FILE.bnnd"); }`'
        )
    return found


def training_samples(model: Model, folder: Path) -> int:
    """How many training samples the spec's data holds.  Raises BnncError where its files cannot be read."""
    files = data_files(model, folder)
    if files[0].suffix == ".bnnd":
        facts = bnnd.info(files[0])
        return int(facts["n"] - (facts["n_test"] if model.data.test is None else 0))
    if readers.is_cifar(files[0]):
        return files[0].stat().st_size // readers.CIFAR_RECORD
    read = readers.read_npy if files[1].suffix == ".npy" else readers.read_idx
    return len(read(files[1]))


def some_samples(path: Path, most: int) -> np.ndarray | None:
    """Training samples (n, ...) of a file, of about ``most`` bytes together: runs of neighbours from all over it, for
    what need not know them all.  None where the file's records lie at no known places (text, folders, gzip).

    Raises BnncError for what is not of its format; what is behind its header is not checked.
    """

    def rows(n: int, nbytes: int) -> np.ndarray:
        run = max(1, most // (RUNS * max(1, nbytes)))
        first = np.linspace(0, max(0, n - run), RUNS).astype(np.int64)
        return np.unique(np.minimum(first[:, None] + np.arange(run), n - 1))

    with readers.guard(path, "data"), open(path, "rb") as f:
        magic = f.read(8)
        f.seek(0)
        if magic == bnnd.MAGIC:
            return bnnd.some(path, rows)
        if magic[:6] == b"\x93NUMPY":
            x = np.load(path, mmap_mode="r", allow_pickle=False)
        elif magic[:2] == b"\0\0":
            dtype, dims = readers.idx_header(f)
            x = np.memmap(path, dtype, "r", f.tell(), dims)
        else:
            return None
        taken = x[rows(len(x), x[:1].nbytes)]
    return bnnd.as_samples(path, taken.astype(taken.dtype.newbyteorder("="), copy=False))
