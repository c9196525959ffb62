"""What training samples say against a network, before it is trained.

A recurrent layer gives its last state.  A last step that most samples share, as where short sequences are filled up
with zeros, acts on all of them alike; in a layer of bits, where it is half of the sum, that leaves units which say the
same of every sample.

Quantiles of values of which most are the least one, as of pixels that are 0, are that value too: a thermometer of them
sets the same bits of every sample.

Bytes that are taken as they are become numbers from -1 to 1, whatever part of 0..255 they use.  Where that is small,
each weight that flips moves its sum by nearly 2 in every sample, and what tells samples apart is far less than that.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import registry
from ..diag import BnncError, Diagnostic
from ..inputs.encode import Encoding, of_model
from ..model import Layer, Model
from . import packing
from .files import data_files, some_samples

SAMPLED = 1 << 26  # bytes of a file beyond which so many are looked at
FEW = 1 << 20  # as many are enough for the range that bytes have
RANGE = 64  # of 256 values; 8 x 8 digits of 0 to 128 still learn nearly as well as those of 0 to 240
MOST = 0.5  # a last step that more of the samples than this have in common is no accident


def reader(model: Model) -> Layer | None:
    """The layer that reads samples as sequences, if there is one."""
    return next((y for y in model.walk() if registry.layers[y.kind].sequences), None)


def shared(model: Model) -> Encoding | None:
    """The encoder, if its thresholds are quantiles that several elements share."""
    e = of_model(model)
    return e if e is not None and e.how == "quantile" and e.per != "column" else None


def of_samples(model: Model, x: np.ndarray) -> list[Diagnostic]:
    """Warnings of training samples ``x`` (n, ...): B0808, B0810, B0811."""
    return [*alike(model, x), *coinciding(model, x), *narrow(model, x)]


def raw(model: Model) -> bool:
    """Does the first layer see bytes as they are?"""
    return model.layers[0].output.kind == "u8"


def narrow(model: Model, x: np.ndarray) -> list[Diagnostic]:
    """B0811 if the samples ``x`` are bytes that the network takes as they are, and differ by less than RANGE."""
    if not raw(model) or x.dtype != np.uint8 or not x.size or int(x.max()) - int(x.min()) > RANGE:
        return []
    return [
        Diagnostic(
            "B0811",
            f"samples lie between {x.min()} and {x.max()}, where bytes have 0 to 255: the first layer learns badly",
            model.layers[0].span,
            help="`thermometer(4)` or `median`, which find thresholds themselves; or bytes that use more of 0 to 255",
            severity="warning",
        )
    ]


def coinciding(model: Model, x: np.ndarray) -> list[Diagnostic]:
    """B0810 if most of the thresholds that elements of the samples ``x`` share are the least of the values."""
    e, first = shared(model), model.layers[0]
    if e is None or not len(x) or x.dtype == np.bool_ or x.size != len(x) * e.steps * e.channels:
        return []
    v = x.reshape(-1, e.channels)[:, e.numeric]
    at, least = np.arange(1, e.bits + 1), 0
    groups = [v.ravel()] if e.per == "global" else list(v.T)
    for values in groups:
        there = values[~np.isnan(values)] if values.dtype.kind == "f" else values
        if there.size:  # threshold k is the sorted values' number k (n - 1) // (bits + 1)
            least += int(((there == there.min()).sum() > at * (there.size - 1) // (e.bits + 1)).sum())
    if least <= MOST * len(groups) * e.bits:
        return []
    return [
        Diagnostic(
            "B0810",
            f"{least} of the {len(groups) * e.bits} thresholds are the least of the values: their bits are set in every"
            " sample",
            first.span,
            help="`kind = uniform`, whose thresholds lie at equal distances; or one bit an element: `median`",
            severity="warning",
        )
    ]


def alike(model: Model, x: np.ndarray) -> list[Diagnostic]:
    """B0808 if most of the samples ``x`` (n, ...) of a network with a recurrent layer end with the same step."""
    layer, first, encoding = reader(model), model.layers[0], of_model(model)
    shape = next((t.shape for t in (first["tensor"], first.output) if x.size == len(x) * math.prod(t.shape)), ())
    if layer is None or len(shape) != 2 or len(x) < 2:
        return []
    x = x.reshape(len(x), *shape)
    lengths, last = encoding is not None and encoding.lengths and x.dtype.kind == "f", x[:, -1]
    if lengths:
        exists = ~np.isnan(x).all(axis=2)
        last = x[np.arange(len(x)), np.where(exists.any(axis=1), shape[0] - 1 - exists[:, ::-1].argmax(axis=1), 0)]
    share = np.unique(last, axis=0, return_counts=True)[1].max() / len(x)
    if share <= MOST:
        return []
    way = (
        "make all values of steps that do not exist NaN"
        if lengths
        else (
            "where steps do not exist, give f32 samples with NaN in all values, and write `lengths = on` in the"
            " encoder; or fill up in front"
        )
    )
    return [
        Diagnostic(
            "B0808",
            f"{100 * share:.0f} % of the training samples end with the same step: the last state tells them apart "
            "badly",
            layer.span,
            help=way,
            severity="warning",
        )
    ]


def warn(model: Model, x: np.ndarray) -> None:
    """The same as a Python warning, to whoever called the caller."""
    for d in of_samples(model, x):
        warnings.warn(f"{d.code}: {d.message}; {d.help}", stacklevel=3)


def warnings_of(model: Model, file: str) -> list[Diagnostic]:
    """The warnings of a spec in ``file``, and of the training files beside it."""
    return [*model.warnings, *of_files(model, Path(file).parent)]


def of_files(model: Model, folder: Path) -> list[Diagnostic]:
    """The same of the spec's training files in ``folder``; nothing where they cannot be read: the trainer says why."""
    whole = reader(model) is not None or shared(model) is not None
    if not whole and not raw(model):
        return []
    try:
        files = data_files(replace(model, data=replace(model.data, test=None)), folder)
        if not whole:
            x = some_samples(files[0], FEW)
            return [] if x is None else narrow(model, x)
        if files[0].stat().st_size > SAMPLED and (x := some_samples(files[0], SAMPLED)) is not None:
            return of_samples(model, x)
        d = packing.pack(*files)
    except BnncError:
        return []
    return of_samples(model, d.x[: d.n - d.n_test])
