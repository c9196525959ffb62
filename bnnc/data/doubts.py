"""What training samples say against a network, before it is trained.

A recurrent layer gives its last state.  A last step that most samples share, as where short sequences are filled up
with zeros, acts on all of them alike; in a layer of bits, where it is half of the sum, that leaves units which say the
same of every sample.

Quantiles of values of which most are the least one, as of pixels that are 0, are that value too: a thermometer of them
sets the same bits of every sample.
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
MOST = 0.5  # a last step that more of the samples than this have in common is no accident


def reader(model: Model) -> Layer | None:
    """The layer that reads samples as sequences, if there is one."""
    return next((y for y in model.walk() if registry.layers[y.kind].sequences), None)


def shared(model: Model) -> Encoding | None:
    """The encoder, if its thresholds are quantiles that several elements share."""
    e = of_model(model)
    return e if e is not None and e.how == "quantile" and e.per != "column" else None


def of_samples(model: Model, x: np.ndarray) -> list[Diagnostic]:
    """Warnings of training samples ``x`` (n, ...): B0808, B0810."""
    return [*alike(model, x), *coinciding(model, x)]


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
    if reader(model) is None and shared(model) is None:
        return []
    try:
        files = data_files(replace(model, data=replace(model.data, test=None)), folder)
        if files[0].stat().st_size > SAMPLED and (x := some_samples(files[0], SAMPLED)) is not None:
            return of_samples(model, x)
        d = packing.pack(*files)
    except BnncError:
        return []
    return of_samples(model, d.x[: d.n - d.n_test])
