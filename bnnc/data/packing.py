"""Makes a Dataset of other people's files, and a ``.bnnd`` of that: which files hold samples, labels and class names,
and how the samples become what a network takes.  The codes of its complaints are those of :mod:`bnnc.data.bnnd`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..diag import error
from ..front.encoder import parse_encoder
from ..inputs.encode import Encoding
from ..model import TensorType
from .bnnd import KIND_OF, MAGIC, Dataset, as_samples, read_bnnd, write_bnnd
from .folders import read_folder
from .readers import (
    CIFAR_RECORD,
    IMAGES,
    Source,
    fail,
    guard,
    images_in,
    is_cifar,
    labels,
    read_cifar,
    read_idx,
    read_images,
    read_npy,
    read_npz,
)
from .split import sides
from .table import Columns, Table, label_column, read_table

_NPZ_NAMES = (
    ("x_train", "y_train"),
    ("X_train", "y_train"),
    ("train_images", "train_labels"),
    ("x", "y"),
    ("X", "y"),
    ("images", "labels"),
)
_NPZ_TEST = (("x_test", "y_test"), ("X_test", "y_test"), ("test_images", "test_labels"))
_IDX = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
_TOGETHER: tuple[
    tuple[list[str], list[str]], ...
] = (  # what a folder holds: the training split's files, and the test split's
    (_IDX[:2], _IDX[2:]),
    ([f"{name}.gz" for name in _IDX[:2]], [f"{name}.gz" for name in _IDX[2:]]),
    (["x_train.npy", "y_train.npy"], ["x_test.npy", "y_test.npy"]),
    (["x.npy", "y.npy"], []),
    (["data_batch_*.bin"], ["test_batch.bin"]),
)
_NEED = (
    "pack one file (.npz, .csv, .bnnd), a folder of images, two files (samples and labels, idx or .npy), or CIFAR-10's"
    " .bin files; or a folder that holds such files: x.npy and y.npy, say"
)


@dataclass(frozen=True)
class How:
    """How files are read: ``columns`` of tables, the ``size`` of images, and whether there are labels."""

    columns: Columns = Columns()
    size: tuple[int, int] | None = None
    labelled: bool = True


class Loaded(NamedTuple):
    """What files hold: samples, labels, the same of a test split or None, class names, whether the samples came from
    text; columns of categories (:class:`bnnc.data.table.Table`), names of arrays that were left out, and of a table's
    columns."""

    x: Any
    y: Any
    x_test: Any = None
    y_test: Any = None
    names: tuple[str, ...] = ()
    text: bool = False
    categories: tuple[tuple[int, str, int], ...] = ()
    ignored: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


def _load(sources: Sequence[Source], how: How, names: tuple[str, ...] | None) -> Loaded:
    if sources and all(map(is_cifar, sources)):
        xs, ys = zip(*map(read_cifar, sources), strict=True)
        return Loaded(np.concatenate(xs), np.concatenate(ys), names=_cifar_names(Path(sources[0])))
    if len(sources) not in (1, 2):
        raise error("B0805", f"{len(sources)} files were given to pack", help=_NEED, exit_code=5)
    if len(sources) == 1 and (whole := _load_one(sources[0], how, names)) is not None:
        return whole
    arrays = [read_npy(s) if _magic(s)[:6] == b"\x93NUMPY" else read_idx(s) for s in sources]
    x = as_samples(sources[0], arrays[0])
    return Loaded(x, labels(sources[1], arrays[1], len(x)) if arrays[1:] else np.zeros(len(x), np.uint8))


def _cifar_names(path: Path) -> tuple[str, ...]:
    """Those of the file that CIFAR-10's archive has beside its samples, () where it is not there."""
    beside = path.with_name("batches.meta.txt")
    return tuple(beside.read_text(encoding="utf-8").split()) if beside.is_file() else ()


def _magic(source: Source) -> bytes:
    """A file's first eight bytes.  Raises BnncError where it cannot be read."""
    with guard(source, "data"), open(source, "rb") as f:
        return f.read(8)


def _load_one(source: Source, how: How, names: tuple[str, ...] | None) -> Loaded | None:
    """As :func:`_load`, of one file or folder with samples and labels; None where it has samples alone."""
    if os.path.isdir(source):
        return _from_folder(Path(source), how, names)
    magic, suffix = _magic(source), Path(source).suffix.lower()
    if suffix in IMAGES and not how.labelled:
        return _unlabelled([Path(source)], how)
    if magic == MAGIC:
        d = read_bnnd(source)
        k = d.n - d.n_test
        return Loaded(d.x[:k], d.y[:k], d.x[k:], d.y[k:], d.names, columns=d.columns)
    if magic[:2] == b"PK":
        return _from_npz(source, how.labelled)
    if suffix in (".csv", ".tsv", ".txt"):
        return _from_table(read_table(source, how.columns, names))
    if suffix == ".bin":
        raise fail(
            "B0802",
            source,
            f"not made of CIFAR-10's records of {CIFAR_RECORD:,} bytes: it has {os.path.getsize(source):,}",
            "fetch it again; of other formats, give .npz",
        )
    if how.labelled:
        raise fail("B0805", source, "one file alone must be .npz, .csv or .bnnd", _NEED)
    return None


def _together(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files of samples and labels that a folder holds under customary names, and those of a test split."""
    for both in _TOGETHER:
        train, test = ([f for name in part for f in sorted(folder.glob(name))] for part in both)
        if train and len(train) >= len(both[0]):
            return train, test if len(test) == len(both[1]) else []
    return [], []


def _from_folder(path: Path, how: How, names: tuple[str, ...] | None) -> Loaded:
    """FOLDER/CLASS/IMAGE, or FOLDER/train/CLASS/IMAGE and FOLDER/test/CLASS/IMAGE; of images without labels
    FOLDER/IMAGE; or files with customary names."""
    if not how.labelled and (loose := images_in(path)):
        return _unlabelled(loose, how)
    files, tests = _together(path)
    if files:
        whole, other = _load(files, how, names), _load(tests, how, None) if tests else None
        return whole._replace(x_test=other.x, y_test=other.y) if other else whole
    if not (path / "train").is_dir() or not (path / "test").is_dir():
        x, y, known = read_folder(path, names, how.size)
        return Loaded(x, y, names=known)
    x, y, known = read_folder(path / "train", names, how.size)
    size = x.shape[1:] if x.ndim == 3 else how.size  # recordings as long as those to train on
    return Loaded(x, y, *read_folder(path / "test", known, size)[:2], known)


def _from_table(t: Table) -> Loaded:
    """Classes that are numbers are called so where columns have names: a file holds these behind those."""
    numbers = map(str, range(int(t.y.max()) + 1)) if t.columns else ()
    return Loaded(t.x, t.y, names=t.names or tuple(numbers), text=True, categories=t.categories, columns=t.columns)


def _unlabelled(images: Sequence[Path], how: How) -> Loaded:
    x = read_images(images, how.size)
    return Loaded(x, np.zeros(len(x), np.uint8))


def _from_npz(path: Source, labelled: bool) -> Loaded:
    arrays = read_npz(path)
    pairs = [
        next(((a, b) for a, b in known if a in arrays and (b in arrays or not labelled)), None)
        for known in (_NPZ_NAMES, _NPZ_TEST)
    ]
    if pairs[0] is None:
        raise fail(
            "B0805",
            path,
            f"no x and y among its arrays: {', '.join(sorted(arrays)) or '(none)'}",
            "name them x_train and y_train (and x_test, y_test), or x and y; or x alone, with --label none",
        )

    def samples(pair: tuple[str, str] | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        if pair is None:
            return None, None
        x = as_samples(path, arrays[pair[0]])
        return x, labels(path, arrays[pair[1]], len(x)) if labelled else np.zeros(len(x), np.uint8)

    (x, y), (xt, yt) = map(samples, pairs)
    names = arrays["class_names"].ravel().astype(str).tolist() if "class_names" in arrays else ()
    ignored = arrays.keys() - {n for pair in pairs for n in pair or ()} - {"class_names"}
    return Loaded(x, y, xt, yt, tuple(names), ignored=tuple(sorted(ignored)))


def pack(
    *sources: Source,
    encoder: str = "none",
    compress: bool = False,
    test: Sequence[Source] = (),
    label: str | int = "last",
    output: Source | None = None,
    labelled: bool = True,
    names: Sequence[str] = (),
    split: float = 0,
    columns: Sequence[str] = (),
    drop: Sequence[str] = (),
    size: tuple[int, int] | None = None,
) -> Dataset:
    """Read training files (and ``test`` files of the same kind), encode, and write ``output`` if it is given.

    ``sources``: one ``.npz`` (x_train, y_train, x_test, y_test, or x, y), one ``.csv``, one ``.bnnd``, a folder of
    images, CIFAR-10's ``.bin`` files, or samples and labels (idx or ``.npy``).  u8 stays u8, bool becomes bits, other
    numbers f32; a CSV of whole numbers 0..255 is u8.
    ``encoder``: as a spec writes it, ``thermometer(4)``; fitted to the training samples.  ``compress`` matters only
    with ``output``.  Not ``labelled``: of samples alone (idx, ``.npy``, an image,
    a folder of them) every label is 0.  ``names``: of the classes,
    in the order of their labels; otherwise those of the folders, of a CSV's labels, of an ``.npz``'s ``class_names``,
    or of CIFAR-10's ``batches.meta.txt`` beside it.  ``split``: the share that becomes the test split, by a
    hash of each sample (:func:`bnnc.data.split.sides`).
    ``label``, ``columns``, ``drop``: of a CSV (:class:`bnnc.data.table.Columns`); ``none``: there are no labels, of no
    kind of file.  ``size``: (height, width) to which images are scaled.  Raises BnncError.
    """
    how = How(Columns(label, tuple(columns), tuple(drop)), size, labelled and label != "none")
    x, y, n_test, found = _load_both(sources, test, how)
    known = tuple(names) or found.names
    if split:
        order, n_test = sides(x, n_test, split)
        x, y = x[order], y[order]
    e = parse_encoder(encoder, TensorType(KIND_OF.get(x.dtype.name, "f32"), x.shape[1:]))
    if e is not None:
        x = _encoded(sources[0], x, e, n_test)
    sign = e if e is not None and e.how == "sign" and not e.pad_odd else None
    data = Dataset(
        x,
        y,
        "sign" if sign else "none",
        float(np.float32(sign.threshold)) if sign else 0.0,
        max(int(y.max()) + 1, len(known)),
        n_test,
        known,
        label_column(sources[0], label) if found.text else "",
        found.categories,
        found.ignored,
        found.columns,
    )
    if output is not None:
        write_bnnd(output, data, compress=compress)
    return data


def _load_both(
    sources: Sequence[Source], test: Sequence[Source], how: How
) -> tuple[np.ndarray, np.ndarray, int, Loaded]:
    """(x, y, how many of them are test samples, what the training files hold)."""
    found = _load(sources, how, None)
    x, y, xt, yt, text = found.x, found.y, found.x_test, found.y_test, found.text
    if test:
        other = _load(test, how, found.names or None)
        xt, yt, text = other.x, other.y, text and other.text
    n_test = len(xt) if xt is not None else 0
    if n_test:
        x, y = _joined((test or sources)[0], (x, y), (xt, yt))
    x = as_samples(sources[0], x)
    return x.astype(np.uint8) if text and are_bytes(x) else x, y, n_test, found


def are_bytes(x: np.ndarray) -> bool:
    """Whole numbers 0..255?"""
    return bool(x.min() >= 0 and x.max() <= 255 and (x == np.floor(x)).all())


def _joined(
    source: Source, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Samples and labels of both splits, the test split behind; numbers become f32 where the splits differ."""
    (x, y), (xt, yt) = train, test
    if len(x) and xt.shape[1:] != x.shape[1:]:
        raise fail(
            "B0804",
            source,
            f"test samples have shape {list(xt.shape[1:])}, training samples {list(x.shape[1:])}",
            "both splits need the same shape",
        )
    if xt.dtype != x.dtype:
        x, xt = x.astype(np.float32), xt.astype(np.float32)
    return np.concatenate([x, xt]), np.concatenate([y, yt])


def _encoded(source: Source, x: np.ndarray, e: Encoding, n_test: int) -> np.ndarray:
    """The samples in bits, by an encoder that is fitted to all but the test split."""
    try:
        return e.encode(x, e.fit(x[: len(x) - n_test]) if e.fitted else None)
    except ValueError as problem:
        raise fail("B0804", source, str(problem), "change the samples or the encoder") from problem
