"""What ``predict --test`` names and a program does not read itself: photos, recordings, rows of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import data
from ..data.bnnd import names_in
from ..data.readers import IMAGES, fail, images_in, read_images
from ..data.sound import SOUNDS, read_sounds
from ..data.table import Columns, header, read_table
from ..inputs.encode import of_model
from ..model import Model

TABLES = (".csv", ".tsv")


def packed(at: Path, run: Path, model: Model, to: Path) -> tuple[str, ...] | None:
    """Write the samples that ``at`` holds as a file ``to`` that the program reads; what each is called, () where its
    place tells, or None where ``at`` is a file for the program itself.

    Images get the size and the channels that the network takes, and the columns of a table with a header are those of
    the table that the ``run`` has learned.  Raises BnncError.
    """
    suffix = at.suffix.lower()
    if not at.is_dir() and suffix not in (*IMAGES, *SOUNDS, *TABLES):
        return None
    x, names = (_rows(at, run, model), ()) if suffix in TABLES and not at.is_dir() else _files(at, model)
    tensor = model.layers[0]["tensor"]
    if x[0].size != tensor.elements:
        what = f"{x[0].size} values in a sample" if x.ndim < 4 else f"{'x'.join(map(str, x.shape[1:]))} pixels"
        shape = ", ".join(map(str, tensor.shape))
        raise fail("B0804", at, f"{what}, the network takes [{shape}]", "its `input` line gives the shape")
    if tensor.kind == "u8" and not data.are_bytes(x):
        raise fail("B0804", at, "not only whole numbers 0..255, and the network takes no others", "check the columns")
    x = x.astype("u1" if tensor.kind == "u8" else "f4")
    data.write_bnnd(to, data.Dataset(x, np.zeros(len(x), np.uint8), classes=model.classes))
    return names


def _files(at: Path, model: Model) -> tuple[np.ndarray, tuple[str, ...]]:
    """Images or recordings as the network takes them, and their names in the folder."""
    tensor, folders = model.layers[0]["tensor"], sorted(d for d in at.iterdir() if d.is_dir()) if at.is_dir() else []
    heard = tensor.kind == "f32" and len(tensor.shape) == 2
    kinds = SOUNDS if heard else IMAGES
    files = [at] if not at.is_dir() else images_in(at, kinds) or [f for d in folders for f in images_in(d, kinds)]
    if not files:
        raise fail("B0804", at, "nothing in it that the network takes", f"files that end in {', '.join(kinds)}")
    size = tensor.shape[:2] if len(tensor.shape) > 1 else None
    names = tuple(str(f.relative_to(at)) for f in files) if at.is_dir() else ()
    if heard:
        return read_sounds(files, tensor.shape[0]), names
    channels = (*tensor.shape, 1)[2] if size else 0
    return read_images(files, size, channels), names


def _rows(at: Path, run: Path, model: Model) -> np.ndarray:
    """Rows of a table: by the names of the columns where both tables have some, else by their places, and then without
    the last column where it is one too many."""
    known = run / "classes.txt"
    columns = names_in(known.read_text(encoding="utf-8", errors="replace"))[1] if known.is_file() else ()
    t = read_table(at, Columns("none", columns if header(at) else ()))
    x = t.x[:, : model.layers[0]["tensor"].elements] if len(t.x[0]) == model.layers[0]["tensor"].elements + 1 else t.x
    e = of_model(model)
    for place, name, _ in t.categories:
        if place < len(x[0]) and place not in (e.onehot if e else ()):
            raise fail("B0804", at, f"column `{name}` holds words, and numbers in training", "numbers have a point")
    return x
