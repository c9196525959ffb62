"""Encoders against their formulas, written out again with other means."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from bnnc.encode import Columns, Median, OneHot, PadOdd, Thermometer

R = np.random.default_rng(3)
TRAIN, TEST = R.normal(5, [[1, 10, 0.1]], (41, 3)), R.normal(5, 4, (17, 3))


def test_median():
    whole, column = Median().fit(TRAIN), Median(per_column=True).fit(TRAIN)
    assert (whole.encode(TEST) == np.where(np.median(TRAIN) < TEST, 1, -1)).all()
    assert (column.encode(TEST) == np.where(np.median(TRAIN, axis=0) < TEST, 1, -1)).all()
    assert column.encode(TRAIN).sum(axis=0).tolist() == [-1, -1, -1]  # the median itself is not above
    assert whole.encode(TEST).dtype == np.int8
    images = R.integers(0, 256, (9, 4, 5), dtype=np.uint8)
    assert Median().fit(images).encode(images).shape == (9, 20)


@pytest.mark.parametrize("bits", [1, 2, 7, 32])
@pytest.mark.parametrize("kind", ["uniform", "gauss", "quantile"])
def test_thermometer(kind, bits):
    got = Thermometer(bits, kind).fit(TRAIN).encode(TEST)
    assert got.shape == (17, 3 * bits) and set(np.unique(got)) <= {-1, 1}
    for c in range(3):
        v = TRAIN[:, c]
        for k in range(1, bits + 1):
            q = k / (bits + 1)
            if kind == "uniform":
                t = v.min() + k * (v.max() - v.min()) / (bits + 1)
            elif kind == "gauss":
                t = v.mean() + v.std() * math.sqrt(2) * _erfinv(2 * q - 1)
            else:
                t = sorted(v)[math.floor(k * 40 / (bits + 1))]
            assert (got[:, c * bits + k - 1] == np.where(TEST[:, c] >= t, 1, -1)).all(), (c, k)
    steps = np.diff(got.reshape(17, 3, bits).astype(int), axis=2)
    assert (steps <= 0).all()  # a thermometer has no gaps


def _erfinv(y: float) -> float:
    """By bisection of math.erf."""
    low, high = -6.0, 6.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < y else (low, middle)
    return (low + high) / 2


def test_one_bit_of_quantile_splits_at_the_median():
    fitted = Thermometer(1).fit(TRAIN)
    assert [t for (t,) in fitted.thresholds] == np.median(TRAIN, axis=0).tolist()


def test_one_hot():
    x = np.array([["red", "s"], ["blue", "m"], ["red", "l"]])
    fitted = OneHot().fit(x)
    assert fitted.categories == (("blue", "red"), ("l", "m", "s"))
    assert fitted.encode(np.array([["red", "m"], ["green", "s"]])).tolist() == [[-1, 1, -1, 1, -1], [-1, -1, -1, -1, 1]]
    assert OneHot().fit(np.array([[3], [1]])).encode(np.array([[1], [2]])).tolist() == [[1, -1], [-1, -1]]


def test_pad_odd():
    even, odd = np.array([[1, -1], [-1, -1]], np.int8), np.array([[1, -1, 1]], np.int8)
    assert PadOdd().fit(even).encode(even).tolist() == [[1, -1, 1], [-1, -1, 1]]
    assert (PadOdd().fit(odd).encode(odd) == odd).all()


def test_columns():
    x = np.concatenate([TRAIN, R.integers(0, 3, (41, 1))], axis=1)
    fitted = Columns((((0, 2), Thermometer(4)), ((3,), OneHot()), ((1,), Median()))).fit(x)
    parts = [Thermometer(4).fit(TRAIN[:, [0, 2]]), OneHot().fit(x[:, [3]]), Median().fit(TRAIN[:, [1]])]
    want = [parts[0].encode(TRAIN[:, [0, 2]]), parts[1].encode(x[:, [3]]), parts[2].encode(TRAIN[:, [1]])]
    assert (fitted.encode(x) == np.concatenate(want, axis=1)).all() and fitted.encode(x).shape == (41, 8 + 3 + 1)


@pytest.mark.parametrize("encoder", [Median(), Thermometer(3), OneHot(), PadOdd()])
def test_misuse(encoder):
    with pytest.raises(ValueError, match="no training data"):
        encoder.encode(TEST)
    with pytest.raises(ValueError, match="fitted on 3 columns, found 2"):
        encoder.fit(TRAIN).encode(TEST[:, :2])
    with pytest.raises(ValueError, match="no samples"):
        encoder.fit(TRAIN[:0].reshape(0, 3))
    with pytest.raises(FrozenInstanceError):
        encoder.bits = 3


def test_wrong_numbers():
    for kind, bits in (("uniform", 0), ("cubic", 3)):
        with pytest.raises(ValueError, match="bits of kind"):
            Thermometer(bits, kind)
    with pytest.raises(ValueError, match="finite"):
        Thermometer(3).fit(np.array([[1.0], [np.nan]]))
