"""Encoders that turn tables of numbers into bits, fitted on training data; host side only.

``fit(x)`` gives the encoder that knows the training data ``x`` (n, columns); its ``encode(x)`` gives int8 of +1 and -1,
(n, bits).  Encoders are frozen: fitting makes a new one.  ``encode(x) > 0`` is what :class:`bnnc.data.Dataset` holds.

    Columns((((0, 1, 2), Thermometer(32)), ((3,), OneHot()))).fit(train).encode(test)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Protocol

import numpy as np

KINDS = ("uniform", "gauss", "quantile")


class Encoder(Protocol):
    """What every encoder here is."""

    def fit(self, x: np.ndarray) -> Encoder: ...

    def encode(self, x: np.ndarray) -> np.ndarray: ...


def _table(x: np.ndarray, columns: int | None = None) -> np.ndarray:
    """``x`` as (n, columns); raises ValueError for another number of columns than was fitted, or no samples to fit."""
    x = np.asarray(x)
    x = x.reshape(len(x), math.prod(x.shape[1:]))
    if columns is not None and x.shape[1] != columns:
        raise ValueError(f"fitted on {columns} columns, found {x.shape[1]}")
    if columns is None and not len(x):
        raise ValueError("nothing to fit: no samples")
    return x


def _numbers(x: np.ndarray, columns: int | None = None) -> np.ndarray:
    table = _table(x, columns).astype(np.float64)
    if not np.isfinite(table).all():
        raise ValueError("a value is not a finite number")
    return table


def _signs(x: np.ndarray) -> np.ndarray:
    return np.where(x, 1, -1).astype(np.int8)


def _unfitted() -> ValueError:
    return ValueError("this encoder has seen no training data: use what `fit` returns")


@dataclass(frozen=True)
class Median:
    """One bit a column: +1 where the value is above the median, of all values or of the column's."""

    per_column: bool = False
    thresholds: tuple[float, ...] = ()  # one a column

    def fit(self, x: np.ndarray) -> Median:
        table = _numbers(x)
        medians = np.median(table, axis=0) if self.per_column else np.full(table.shape[1], np.median(table))
        return replace(self, thresholds=tuple(medians.tolist()))

    def encode(self, x: np.ndarray) -> np.ndarray:
        if not self.thresholds:
            raise _unfitted()
        return _signs(_numbers(x, len(self.thresholds)) > np.array(self.thresholds))


@dataclass(frozen=True)
class Thermometer:
    """``bits`` thresholds a column, ascending; bit k of a column is +1 where the value is at least threshold k.

    With k = 1 .. bits and q = k / (bits + 1), a column's thresholds are
    uniform    min + q (max - min)
    gauss      mean + std * (the normal distribution's quantile q)
    quantile   the sorted values' number floor(q (n - 1))
    """

    bits: int
    kind: str = "quantile"
    thresholds: tuple[tuple[float, ...], ...] = ()  # one row a column

    def __post_init__(self) -> None:
        if self.bits < 1 or self.kind not in KINDS:
            raise ValueError(f"{self.bits} bits of kind `{self.kind}`: at least 1, of {', '.join(KINDS)}")

    def fit(self, x: np.ndarray) -> Thermometer:
        table, k = _numbers(x), np.arange(1, self.bits + 1)
        if self.kind == "uniform":
            low, high = table.min(axis=0)[:, None], table.max(axis=0)[:, None]
            rows = low + k * (high - low) / (self.bits + 1)
        elif self.kind == "gauss":
            quantile = np.array([NormalDist().inv_cdf(i / (self.bits + 1)) for i in k.tolist()])
            rows = table.mean(axis=0)[:, None] + table.std(axis=0)[:, None] * quantile
        else:
            rows = np.sort(table, axis=0)[k * (len(table) - 1) // (self.bits + 1)].T
        return replace(self, thresholds=tuple(map(tuple, rows.tolist())))

    def encode(self, x: np.ndarray) -> np.ndarray:
        if not self.thresholds:
            raise _unfitted()
        table = _numbers(x, len(self.thresholds))
        return _signs(table[:, :, None] >= np.array(self.thresholds)).reshape(len(table), -1)


@dataclass(frozen=True)
class OneHot:
    """For columns of categories: one bit for each value that the training data has, in order; a new value is all -1."""

    categories: tuple[tuple[float | str, ...], ...] = ()  # one row a column

    def fit(self, x: np.ndarray) -> OneHot:
        return replace(self, categories=tuple(tuple(np.unique(column).tolist()) for column in _table(x).T))

    def encode(self, x: np.ndarray) -> np.ndarray:
        if not self.categories:
            raise _unfitted()
        table = _table(x, len(self.categories))
        return _signs(np.concatenate([table[:, i, None] == np.array(c) for i, c in enumerate(self.categories)], axis=1))


@dataclass(frozen=True)
class PadOdd:
    """Bits as they are, and one column of +1 where their number is even: a sum of an odd number of signs is never 0."""

    columns: int = 0

    def fit(self, x: np.ndarray) -> PadOdd:
        return replace(self, columns=_table(x).shape[1])

    def encode(self, x: np.ndarray) -> np.ndarray:
        if not self.columns:
            raise _unfitted()
        bits = _signs(_table(x, self.columns) > 0)
        return bits if self.columns % 2 else np.pad(bits, ((0, 0), (0, 1)), constant_values=1)


@dataclass(frozen=True)
class Columns:
    """An encoder for each group of columns; the bits one group after the other."""

    parts: tuple[tuple[tuple[int, ...], Encoder], ...]

    def fit(self, x: np.ndarray) -> Columns:
        table = _table(x)
        return Columns(tuple((columns, encoder.fit(table[:, columns])) for columns, encoder in self.parts))

    def encode(self, x: np.ndarray) -> np.ndarray:
        table = np.asarray(x).reshape(len(x), math.prod(np.shape(x)[1:]))
        return np.concatenate([encoder.encode(table[:, columns]) for columns, encoder in self.parts], axis=1)
