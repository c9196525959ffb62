"""Encoders: how samples become bits.  This is the meaning; a trainer (``bnnc_encode.h``) computes the same bits.

A sample of shape ``[..., C]`` is steps of C channels: the channel is the index on the last axis (so a grey image has
one where it is written ``u8[28, 28, 1]``), a column is one element.  The bits of an element lie side by side on the
last axis,
``[T, F]`` becomes ``[T, F * bits]``; a one-hot channel has its categories' bits in its place.  ``pad_odd`` adds a +1
where the last axis would be even; ``lengths`` then adds a bit that says whether the step exists.

Values are f32, -0 is 0.  Thresholds come from all values that share them, per ``global``, ``channel`` or ``column``;
with n of them and k = 1 .. bits they are, in f64 and rounded to f32 once,

    median     the mean of the sorted values' numbers (n - 1) // 2 and n // 2
    quantile   the sorted values' number k (n - 1) // (bits + 1)
    uniform    min + k (max - min) / (bits + 1)
    gauss      mean + deviation * (the normal distribution's quantile k / (bits + 1)); sums in the order of the samples

and 0 where there is no value.  A bit is +1 where the value is above the median, or at least the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from ..model import MAX_ELEMENTS, Call, Model, TensorType
from ..registry import ShapeError, encoders

KINDS = ("quantile", "uniform", "gauss")
PER = ("global", "channel", "column")


@dataclass(frozen=True)
class Encoding:
    """An encoder and the samples that it takes: ``data`` (u8, f32 or bit) of ``shape``.

    ``how``: ``sign``, ``median``, one of KINDS, or ``pad`` for data that is bits.  ``onehot``: channels of categories,
    and in ``categories`` how many each may have.  ``lengths``: steps at a sample's end that are NaN in every channel do
    not exist; the others move to the end, and those that are missing, now in front, have no bit set.
    """

    how: str
    data: str
    shape: tuple[int, ...]
    bits: int = 1
    per: str = "global"
    threshold: float = 0.0
    onehot: tuple[int, ...] = ()
    categories: tuple[int, ...] = ()
    pad_odd: bool = False
    lengths: bool = False

    @property
    def fitted(self) -> bool:
        """Whether there are thresholds that training data decides."""
        return self.how not in ("sign", "pad")

    @property
    def steps(self) -> int:
        """Rows of a sample: all axes but the last."""
        return math.prod(self.shape[:-1])

    @property
    def channels(self) -> int:
        """The last axis of a sample before it is encoded."""
        return self.shape[-1]

    @cached_property
    def numeric(self) -> tuple[int, ...]:
        """The channels that are not one-hot."""
        return tuple(c for c in range(self.channels) if c not in self.onehot)

    @property
    def output(self) -> TensorType:
        """The type of an encoded sample."""
        n = len(self.numeric) * self.bits + sum(self.categories)
        return TensorType("bit", (*self.shape[:-1], n + (self.pad_odd and n % 2 == 0) + self.lengths))

    @property
    def groups(self) -> int:
        """How many sets of thresholds there are: the first rows of the table; each one-hot channel has one of the
        others.
        """
        return {
            "global": min(1, len(self.numeric)),
            "channel": len(self.numeric),
            "column": self.steps * len(self.numeric),
        }[self.per]

    @property
    def table(self) -> tuple[int, int]:
        """Rows and columns of the thresholds; what a row does not use is +inf, as is everything before a fit."""
        return self.groups + len(self.onehot), max(self.bits if self.numeric else 0, *self.categories, 1)

    @property
    def normal_quantiles(self) -> tuple[float, ...]:
        """Of the normal distribution at k / (bits + 1), ascending."""
        return tuple(NormalDist().inv_cdf(k / (self.bits + 1)) for k in range(1, self.bits + 1))

    # --- the meaning --------------------------------------------------------------------------------------------------

    def fit(self, x: np.ndarray) -> np.ndarray:
        """The thresholds, f32 of shape :attr:`table`, for training samples (n, *shape).

        Raises ValueError for a value that is not finite, or more categories than there is room for.
        """
        v, exists = self._values(x)
        out = np.full(self.table, np.inf, np.float32)
        n = v[:, :, self.numeric]
        if self.per == "global":
            groups = [n[exists].ravel()] if self.numeric else []
        elif self.per == "channel":
            groups = [n[:, :, c][exists] for c in range(len(self.numeric))]
        else:
            groups = [n[exists[:, t], t, c] for t in range(self.steps) for c in range(len(self.numeric))]
        for row, values in zip(out, groups, strict=False):
            row[: self.bits] = self._thresholds(values)
        for row, c, most in zip(out[self.groups :], self.onehot, self.categories, strict=True):
            found = np.unique(v[:, :, c][exists])
            if len(found) > most:
                raise ValueError(f"column {c} holds {len(found)} different values, `categories` says {most}")
            row[: len(found)] = found
        return out

    def _thresholds(self, values: np.ndarray) -> np.ndarray:
        n, k = len(values), np.arange(1, self.bits + 1)
        if not n:
            return np.zeros(self.bits, np.float32)
        v = values.astype(np.float64)
        if self.how == "uniform":
            return (v.min() + k * (v.max() - v.min()) / (self.bits + 1)).astype(np.float32)
        if self.how == "gauss":
            mean = np.add.accumulate(v)[-1] / n
            deviation = np.sqrt(np.add.accumulate((v - mean) ** 2)[-1] / n)
            return (mean + deviation * np.array(self.normal_quantiles)).astype(np.float32)
        v.sort()
        return (
            v[k * (n - 1) // (self.bits + 1)] if self.how == "quantile" else (v[[(n - 1) // 2]] + v[n // 2]) / 2
        ).astype(np.float32)

    def encode(self, x: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
        """bool (n, *output shape), True for +1, of samples (n, *shape); ``thresholds`` are what :meth:`fit` gave.

        Raises ValueError for samples of another size, and for values that are not finite.
        """
        v, exists = self._values(x)
        table = np.full(self.table, self.threshold, np.float32) if thresholds is None else thresholds
        if self.fitted and not (thresholds is not None and np.isfinite(table[0, 0])):
            raise ValueError("this encoder has seen no training data: fit it first")
        width = len(self.numeric)
        step = np.arange(self.steps) if self.per == "column" else np.zeros(self.steps, int)
        parts = []
        for c in range(self.channels):
            value = v[:, :, c, None]
            if c in self.onehot:
                i = self.onehot.index(c)
                parts.append(value == table[self.groups + i, : self.categories[i]])
            else:
                own = table[step * width + (0 if self.per == "global" else self.numeric.index(c)), : self.bits]
                parts.append(value > own if self.how in ("median", "pad") else value >= own)
        out = np.concatenate(parts, axis=2)
        if self.pad_odd and out.shape[2] % 2 == 0:
            out = np.pad(out, ((0, 0), (0, 0), (0, 1)), constant_values=True)
        out &= exists[:, :, None]
        if self.lengths:
            out = np.concatenate([out, exists[:, :, None]], axis=2)
        return out.reshape(len(out), *self.output.shape)

    def _values(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, steps, channels) f32 in their places, and which steps exist, (n, steps)."""
        x = np.asarray(x)
        if x.size != len(x) * self.steps * self.channels:
            raise ValueError(f"samples of shape {list(x.shape[1:])}, expected {list(self.shape)}")
        v = x.reshape(len(x), self.steps, self.channels).astype(np.float32) + np.float32(0)
        exists = np.ones(v.shape[:2], bool)
        if self.lengths:
            gone = np.isnan(v).all(axis=2)[:, ::-1]
            exists = ~np.logical_and.accumulate(gone, axis=1)  # in place after the move: the last steps
            if not exists.any(axis=1).all():
                raise ValueError(f"sample {np.argmin(exists.any(axis=1))} has no steps: all its values are NaN")
            source = np.arange(self.steps) - (~exists).sum(axis=1)[:, None]
            exists = source >= 0
            v = np.where(
                exists[:, :, None], np.take_along_axis(v, np.maximum(source, 0)[:, :, None], axis=1), np.float32(0)
            )
        if self.how != "sign" and not np.isfinite(v).all():
            i, t, c = np.argwhere(~np.isfinite(v))[0].tolist()
            t -= int((~exists[i]).sum())
            way = "; steps after a sequence's end need `lengths = on` in the encoder"
            raise ValueError(
                f"sample {i}, step {t}, column {c} is not a finite number"
                f"{way if self.steps > 1 and not self.lengths else ''}"
            )
        return v, exists


# --- from a spec's words ----------------------------------------------------------------------------------------------


def settled(call: Call, tensor: TensorType) -> Call:
    """``call`` with what the data's form decides where the spec leaves it open: which values share a median.  Bytes are
    pixels of one scale and share it; real numbers are measurements, and each column has a scale, or a time, of its
    own.
    """
    if dict(call.args).get("per", "") is not None:
        return call
    return call.with_(per="column" if tensor.kind == "f32" else "global")


def encoding(call: Call, tensor: TensorType) -> Encoding | None:
    """What the encoder ``call`` does to samples of type ``tensor``; None where numbers stay numbers.  Raises
    ShapeError.
    """
    make = encoders[call.name].impl
    if make is None:
        return None
    e: Encoding = make(dict(settled(call, tensor).args), tensor)
    if tensor.kind == "bit" and e.how != "pad":
        raise ShapeError("B0304", "bit data needs no encoder", "already bits", f"remove the `{call.name}(...)`")
    if tensor.kind != "bit" and e.how == "pad":
        raise ShapeError(
            "B0304",
            f"`{call.name}` takes bit data, got {tensor}",
            "not bits yet",
            "write e.g. `sign(threshold = 128, pad_odd = on)`",
        )
    if e.lengths and (tensor.kind != "f32" or len(tensor.shape) != 2):
        raise ShapeError(
            "B0304",
            f"`lengths = on` takes f32 data with two axes, got {tensor}",
            "no sequence of steps",
            "write `f32[steps, columns]`, or leave `lengths` out",
        )
    _check_onehot(e, tensor)
    if e.output.elements > MAX_ELEMENTS:
        raise ShapeError("B0307", f"the encoded sample {e.output} is too large", "", "use fewer bits")
    return e


def of_model(model: Model) -> Encoding | None:
    """The encoder of a network's input layer, or None."""
    return encoding(model.layers[0]["encoder"], model.layers[0]["tensor"])


def _check_onehot(e: Encoding, tensor: TensorType) -> None:
    if len(e.onehot) != len(e.categories):
        raise ShapeError(
            "B0312",
            f"`onehot` names {len(e.onehot)} columns, `categories` gives {len(e.categories)}",
            "lists of different length",
            "give one number of categories for each one-hot column",
        )
    for i, c in enumerate(e.onehot):
        if c >= e.channels:
            raise ShapeError(
                "B0312",
                f"there is no column {c} in {tensor}",
                f"the last axis has {e.channels}",
                f"columns count from 0 to {e.channels - 1}",
            )
        if c in e.onehot[:i]:
            raise ShapeError("B0312", f"the column {c} is one-hot twice", "given twice", "remove one of the two")
