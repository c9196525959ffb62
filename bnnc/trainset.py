"""Registered schedules, encoders and data sources: names and parameters only; the trainer's C runtime executes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .encode import KINDS, PER, Encoding
from .model import TensorType
from .registry import Named, Param, encoders, schedules, sources

schedules.add(Named("constant", "the learning rate never changes", ()))
schedules.add(
    Named(
        "step",
        "multiply the rate by `factor` every `every` epochs",
        (
            Param("every", "int", 10, "epochs between two drops", minimum=1, positional=True),
            Param("factor", "float", 0.5, "what the rate is multiplied by", above=0, maximum=1, positional=True),
        ),
    )
)
schedules.add(
    Named(
        "cosine",
        "half a cosine from the optimiser's rate down to `final` times it, over all epochs",
        (
            Param(
                "final",
                "float",
                0.0,
                "share of the rate that is left at the end",
                minimum=0,
                maximum=1,
                positional=True,
            ),
        ),
    )
)
schedules.add(
    Named(
        "plateau",
        "multiply the rate by `factor` when the accuracy on the held-out part of the training set "
        "has not improved for `patience` epochs (never looks at the test set)",
        (
            Param("patience", "int", 10, "epochs without improvement", minimum=1, positional=True),
            Param("factor", "float", 0.5, "what the rate is multiplied by", above=0, maximum=1, positional=True),
        ),
    )
)


def _encoding(how: str) -> Callable[[dict[str, Any], TensorType], Encoding]:
    """Arguments are Encoding's fields; an argument ``kind`` replaces ``how``."""
    return lambda args, t: Encoding(args.pop("kind", how), t.kind, t.shape, **args)


_PAD = Param("pad_odd", "bool", False, "add one constant +1 where the number of bits on the last axis is even")
_COLUMNS = (
    Param(
        "onehot", "ints", (), "indices on the last axis of columns that hold categories: one bit a category", minimum=0
    ),
    Param(
        "categories", "ints", (), "how many different values each of these columns may hold", minimum=1, maximum=65536
    ),
    _PAD,
    Param(
        "lengths",
        "bool",
        False,
        "f32[steps, columns] only: steps that are all NaN at the end do not exist; the others move to "
        "the end, and a last bit of each step says whether it exists",
    ),
)
encoders.add(Named("scale", "map u8 0..255 linearly to [-1, 1]; f32 is taken as it is", ()))
encoders.add(
    Named(
        "sign",
        "one bit per element: +1 where the value is at least `threshold`, else -1",
        (Param("threshold", "float", 128.0, "in units of the data", positional=True), _PAD),
        _encoding("sign"),
    )
)
encoders.add(
    Named(
        "median",
        "one bit per element: +1 above the median of the training samples",
        (
            Param(
                "per",
                "name",
                None,
                "which values share a median: all (of u8 data, unless it is given), those of one index on the last "
                "axis, those of one element (of f32 data)",
                PER,
            ),
            *_COLUMNS,
        ),
        _encoding("median"),
    )
)
encoders.add(
    Named(
        "thermometer",
        "`bits` bits per element: +1 where the value reaches a threshold fitted to the training samples",
        (
            Param("bits", "int", doc="thresholds per element", minimum=1, maximum=1024, positional=True),
            Param(
                "kind",
                "name",
                "quantile",
                "thresholds at equal shares of the values, of their range, or of a normal distribution",
                KINDS,
            ),
            Param(
                "per",
                "name",
                "column",
                "which values share thresholds: all, those of one index on the last axis, those of one element",
                PER,
            ),
            *_COLUMNS,
        ),
        _encoding(""),
    )
)
encoders.add(
    Named(
        "pad_odd",
        "bit data as it is, and one constant +1 where the last axis is even: no sum of the bits is 0",
        (),
        lambda args, t: Encoding("pad", t.kind, t.shape, pad_odd=True),
    )
)

_FILES = (
    Param("images", "str", doc="file with the samples", positional=True),
    Param("labels", "str", doc="file with the labels", positional=True),
)
sources.add(Named("idx", "the MNIST family's format, plain or .gz: one file of samples, one of labels", _FILES))
sources.add(Named("npy", "NumPy .npy arrays: samples (n, ...) u8 or f32, labels (n,) u8", _FILES))
sources.add(
    Named(
        "cifar10",
        "CIFAR-10's own binary format, labels included; several files put together with `cat` are one",
        (Param("file", "str", doc="a .bin file of records of 3073 bytes", positional=True),),
    )
)
sources.add(
    Named(
        "bnnd",
        "bnnc's packed format, written by `bnnc data pack`: samples and labels in one file",
        (Param("file", "str", doc="the .bnnd file", positional=True),),
    )
)
