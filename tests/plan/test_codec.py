"""Storage formats: which bit of which word an element is, said once and used by both backends and by the codec."""

from __future__ import annotations

import numpy as np
import pytest

from bnnc.ir.dtype import Packing
from bnnc.plan.codec import decode, encode
from bnnc.plan.types import Storage

SHAPES = [(1, 1), (3, 70), (70, 3), (1, 33), (33, 1), (64, 64)]


def storage(dtype: str, shape: tuple[int, int], packing: Packing = Packing.COLUMNS) -> Storage:
    return Storage("x", dtype, shape, packing)


@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_element_is_one_bit(shape: tuple[int, int], packing: Packing) -> None:
    """The definition at the top of plan/types.py, element by element."""
    s = storage("bit", shape, packing)
    rng = np.random.default_rng(1)
    for r, c in rng.integers(0, shape, (20, 2)):
        x = np.full(shape, -1, np.int8)
        x[r, c] = 1
        words = np.frombuffer(encode(s, x), "<u4")
        row, place, col = {
            Packing.ROWS: (r // 32, r % 32, c),
            Packing.COLUMNS: (r, c % 32, c // 32),
            Packing.COLUMNS_ACROSS: (c // 32, c % 32, r),
        }[packing]
        assert np.flatnonzero(words).tolist() == [row * s.stride + col]
        assert words[words > 0].tolist() == [1 << place]


@pytest.mark.parametrize("dtype", ["bit", "bool", "u8", "i32", "f16", "f32"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_arrays_come_back(dtype: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    numbers = rng.integers(0, 2, shape)
    x = {"bit": np.where(numbers, 1, -1).astype(np.int8), "bool": numbers > 0}.get(dtype, numbers)
    for packing in Packing if dtype in ("bit", "bool") else (Packing.COLUMNS,):
        s = storage(dtype, shape, packing)
        raw = encode(s, x)
        assert len(raw) == s.nbytes
        np.testing.assert_array_equal(decode(s, raw), x)


def test_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.where(np.random.default_rng(3).integers(0, 2, (50, 37)), 1, -1).astype(np.int8)
    whole = {packing: encode(storage("bit", (50, 37), packing), x) for packing in Packing}
    monkeypatch.setattr("bnnc.plan.codec.ELEMENTS", 100)
    for packing in Packing:
        s = storage("bit", (50, 37), packing)
        assert encode(s, x) == whole[packing]
        np.testing.assert_array_equal(decode(s, whole[packing]), x)
