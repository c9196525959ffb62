"""Augmentation: what a step of training sees of a sample.  This is the meaning; a trainer (``bnnc_augment.h``) computes
the same bits.

A sample is changed as it is read, before an encoder sees it, and nothing is stored: its random words are a function of
(seed, epoch, its place in the epoch), Philox with the key (seed, AUGMENT) and the counter (place, epoch, block, 3).
Word 0 of block 0 moves rows, or steps, word 1 columns, word 2 mirrors; element e's noise is word e % 4 of block
1 + e // 4.  A sample is moved, then mirrored, then jittered, in whatever order a spec says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from .. import rng
from ..model import Call, Model, TensorType
from ..registry import About, Named, Param, ShapeError, augments

IMAGES = {"shift", "flip"}
# the deviation of a sum of four bytes
BYTES = (4 * (2**16 - 1) / 12) ** 0.5


@dataclass(frozen=True)
class Augmentation:
    """``shape``: (rows, columns, channels) of a sample, of a sequence (steps, 1, channels).  ``rows`` and ``columns``:
    how far it moves at most; ``clamp``: beyond an edge is what lies at it, else 0.  ``noise``: f32, what the sum of
    four random bytes less its mean is multiplied with."""

    data: str  # u8 or f32
    shape: tuple[int, int, int]
    rows: int = 0
    columns: int = 0
    clamp: bool = False
    mirror: bool = False
    noise: float = 0.0

    @property
    def nbytes(self) -> int:
        """Of one sample, as it is in a file."""
        return prod(self.shape) * (1 if self.data == "u8" else 4)

    def apply(self, x: np.ndarray, seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
        """Samples (n, ...) as the steps see them that have them at ``places`` u32[n] of an epoch; a new array of x's
        type and shape."""
        h, w, _ = self.shape
        v = x.reshape(-1, *self.shape)
        words = _words(seed, epoch, places, 0)
        i = np.arange(h) + _within(words[:, 0], self.rows)[:, None]
        j = np.arange(w) + np.zeros((len(v), 1), int)
        if self.mirror:
            j = np.where(words[:, 2:3] >> 31 == 1, w - 1 - j, j)
        j += _within(words[:, 1], self.columns)[:, None]
        there = ((i >= 0) & (i < h))[:, :, None] & ((j >= 0) & (j < w))[:, None, :]
        out = v[np.arange(len(v))[:, None, None], np.clip(i, 0, h - 1)[:, :, None], np.clip(j, 0, w - 1)[:, None, :]]
        if not self.clamp:
            out = np.where(there[..., None], out, out.dtype.type(0))
        if self.noise:
            out = out + self._noise(seed, epoch, places).reshape(out.shape)
        return out.reshape(x.shape)

    def _noise(self, seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
        """f32 [n, elements]."""
        n = prod(self.shape)
        blocks = [_words(seed, epoch, places, 1 + k) for k in range(-(-n // 4))]
        word = np.concatenate(blocks, axis=1)[:, :n]
        total = np.stack([word >> 8 * k & 0xFF for k in range(4)]).astype(np.int32).sum(axis=0) - 510
        return total.astype(np.float32) * np.float32(self.noise)


def _words(seed: int, epoch: int, places: np.ndarray, block: int) -> rng.U32:
    """u32 [n, 4]."""
    p = np.asarray(places, np.uint64)
    counter = np.stack([p, np.full_like(p, epoch), np.full_like(p, block), np.full_like(p, 3)], axis=1)
    return rng.philox4x32(counter, (seed, rng.AUGMENT[0]))


def _within(word: rng.U32, most: int) -> np.ndarray:
    """Whole numbers, uniform in -most .. most."""
    return ((word >> 16).astype(np.int64) * (2 * most + 1) >> 16) - most


# --- from a spec's words ----------------------------------------------------------------------------------------------


def _augmented(data: str, augment: str) -> str:
    layers = f"input {data}; flatten; dense 8; batchnorm; sign; dense 4; batchnorm; loss;"
    return f"network tiny {{ {layers} }}\ntrain {{ augment = {augment}; }}\n"


def _far(what: str, doc: str) -> Param:
    return Param(what, "int", doc=doc, minimum=1, maximum=255, positional=True)


for _record in (
    Named[None](
        "shift",
        "move an image by up to `pixels`, up or down and sideways; what comes in is 0",
        (_far("pixels", "how far at most"),),
        about=About(
            formula="y[i, j] = x[i + a, j + b], or 0 beyond the edge\n"
            "a, b whole numbers, uniform in -pixels .. pixels\n"
            "so y is a crop of x with `pixels` rows and columns of 0 added at each side",
            source="1512.03385, section 4.2: four pixels added at each side, and a crop",
            takes="u8 or f32 [rows, columns] or [rows, columns, channels]",
            known=("crop", "random crop", "translate"),
            example=_augmented("u8[28, 28]", "shift(2)"),
        ),
    ),
    Named[None](
        "flip",
        "mirror one image in two, left to right",
        (),
        about=About(
            formula="y[i, j] = x[i, columns - 1 - j] with probability 1/2, else x",
            source="1512.03385, section 4.2",
            takes="u8 or f32 [rows, columns] or [rows, columns, channels]",
            known=("mirror",),
            example=_augmented("u8[32, 32, 3]", "[shift(4), flip]"),
        ),
    ),
    Named[None](
        "timeshift",
        "move a sequence in time by up to `steps`; its ends are held",
        (_far("steps", "how far at most"),),
        about=About(
            formula="y[t] = x[t + a], with t + a kept within 0 .. T - 1\na a whole number, uniform in -steps .. steps",
            source="a definition of bnnc",
            takes="u8 or f32 [steps, channels]",
            example=_augmented("f32[100, 6]", "timeshift(5)"),
        ),
    ),
    Named[None](
        "jitter",
        "add noise to each number",
        (Param("std", "float", doc="its deviation, in units of the data", above=0, positional=True),),
        about=About(
            formula="y = x + std (b1 + b2 + b3 + b4 - 510) / 147.8\nb1 .. b4 random bytes, so about normal",
            source="1706.00527, section 3.1; the distribution is bnnc's",
            takes="f32 of any shape",
            example=_augmented("f32[100, 6]", "[jitter(0.05), timeshift(5)]"),
        ),
    ),
):
    augments.add(_record)


def _refused(by_name: Mapping[str, Call], tensor: TensorType, encoder: Call) -> tuple[str, str] | None:
    """Why samples cannot be augmented so, and what to do."""
    steps, image = "timeshift" in by_name, bool(by_name.keys() & IMAGES)
    kinds = ("f32",) if "jitter" in by_name else ("u8", "f32")
    if steps and image:
        return " are of images and of sequences", "choose those of what the samples are"
    if tensor.kind not in kinds:
        return f": samples must be {' or '.join(kinds)}, got {tensor}", "give the data as numbers"
    if image and len(tensor.shape) not in (2, 3):
        way = "write e.g. `input u8[28, 28]; flatten;`"
        return f": samples must be [rows, columns] or [rows, columns, channels], got {tensor}", way
    if steps and len(tensor.shape) != 2:
        return f": samples must be [steps, channels], got {tensor}", "write e.g. `input f32[100, 6]; flatten;`"
    if dict(encoder.args).get("lengths"):
        return ": sequences that end early cannot be augmented", "leave `lengths` out"
    return None


def augmentation(calls: Iterable[Call], tensor: TensorType, encoder: Call) -> Augmentation | None:
    """What ``calls`` do to samples of type ``tensor``; None where there are none.  Raises ShapeError B0317."""
    by_name = {c.name: c for c in calls}
    if not by_name:
        return None
    if (why := _refused(by_name, tensor, encoder)) is not None:
        raise ShapeError("B0317", " and ".join(f"`{n}`" for n in by_name) + why[0], help=why[1])

    def given(name: str, argument: str) -> float:
        return by_name[name][argument] if name in by_name else 0

    last = (*tensor.shape, 1) if by_name.keys() & IMAGES else (prod(tensor.shape[:-1]), 1, tensor.shape[-1])
    far, steps = int(given("shift", "pixels")), int(given("timeshift", "steps"))
    return Augmentation(
        tensor.kind,
        (last[0], last[1], last[2]),
        steps or far,
        far,
        bool(steps),
        "flip" in by_name,
        float(np.float32(given("jitter", "std") / BYTES)),
    )


def of_model(model: Model) -> Augmentation | None:
    """What training does to a network's samples, or None."""
    return augmentation(model.augment, model.layers[0]["tensor"], model.layers[0]["encoder"])
