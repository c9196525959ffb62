"""Storage formats: which bit of which word an element is, said once and used by both backends and by the codec."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from bnnc.ir.dtype import Packing
from bnnc.ir.ref import Ref
from bnnc.plan.codec import decode, encode
from bnnc.plan.types import WORD, Storage

SHAPES = [(1, 1), (3, 70), (70, 3), (1, 33), (33, 1), (64, 64)]


def storage(dtype: str, shape: tuple[int, int], packing: Packing = Packing.COLUMNS) -> Storage:
    return Storage(Ref("x"), dtype, shape, packing)


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


@pytest.mark.parametrize("dtype", ["bit", "bool"])
@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize("shape", [*SHAPES, (50, 37), (130, 100), (8, 31), (31, 8)], ids=str)
def test_whole_arrays_are_packed_as_the_storage_says_of_each_element(
    shape: tuple[int, int], packing: Packing, dtype: str
) -> None:
    """`Storage.at`, which both backends print, decides; padding is 0, and what lies in it is not read."""
    s, rng = storage(dtype, shape, packing), np.random.default_rng(3)
    bits = rng.integers(0, 2, shape) > 0
    word, bit = s.at(np.arange(shape[0])[:, None], np.arange(shape[1])[None, :])
    place = word * WORD + bit % WORD
    flat = np.zeros(8 * s.nbytes, bool)
    flat[place] = bits
    x = bits if dtype == "bool" else np.where(bits, 1, -1).astype(np.int8)
    assert encode(s, x) == np.packbits(flat, bitorder="little").tobytes()
    noise = rng.integers(0, 2, flat.shape) > 0
    noise[place] = bits
    back = decode(s, np.packbits(noise, bitorder="little").tobytes())
    np.testing.assert_array_equal(back, x)
    assert back.dtype == x.dtype


@pytest.mark.parametrize("packing", Packing)
def test_a_data_set_is_packed_without_an_index_for_each_bit(packing: Packing) -> None:
    """Images of 784 pixels: what they take beside the array itself stays below two bytes a bit."""
    x = np.zeros((6000, 784), np.int8)
    s = storage("bit", x.shape, packing)
    tracemalloc.start()
    try:
        encode(s, x)
        assert tracemalloc.get_traced_memory()[1] < 2 * x.size
    finally:
        tracemalloc.stop()
