"""The files that a spec names as its data."""

from __future__ import annotations

from pathlib import Path

from ..diag import error
from ..model import Model
from . import bnnd, readers


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
