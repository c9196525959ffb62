"""Dtypes of IR values, and what each means in NumPy.

``bit`` is {-1, +1}; ``bool`` is a mask; ``i16``/``i32`` hold exact sums; ``f16`` is a storage format whose arithmetic
is done in f32.  Which packing into words a value has is decided in ``plan/pack.py``.
"""

from __future__ import annotations

from enum import Enum, IntEnum

import numpy as np

NUMPY: dict[str, type] = {
    "bit": np.int8,
    "bool": np.bool_,
    "u8": np.uint8,
    "i8": np.int8,
    "i16": np.int16,
    "i32": np.int32,
    "f16": np.float16,
    "f32": np.float32,
}
ONE_BIT = ("bit", "bool")
FLOATS = ("f16", "f32")
INTEGERS = ("u8", "i8", "i16", "i32", "bit")
NUMBER_BYTES = {"u8": 1, "i8": 1, "i16": 2, "i32": 4, "f16": 2, "f32": 4}
F32 = np.float32


class Axis(IntEnum):
    """Of a matrix; as a number, the index of its extent in a shape."""

    ROWS = 0
    COLUMNS = 1

    __hash__ = int.__hash__

    @property
    def text(self) -> str:
        """What there are strips of."""
        return self.name.lower()


class Packing(Enum):
    """How bits lie in words of 32; the number stands in names of storages (``dense1.wb@0``)."""

    ROWS = 0  # of rows below each other: one word a column
    COLUMNS = 1  # of columns beside each other, row after row
    COLUMNS_ACROSS = 2  # of columns beside each other; the same words of all rows lie beside each other


LANES = 16  # of the widest vectors, to which rows are filled up


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)


def round_up(n: int, unit: int) -> int:
    """The least multiple of ``unit`` that is not less than ``n``."""
    return -(-n // unit) * unit


def value_bytes(shape: tuple[int, int], dtype: str) -> int:
    """Bytes of a value that is stored row by row, bits in words of 32: without what a backend pads."""
    return 4 * shape[0] * ceil_div(shape[1], 32) if dtype in ONE_BIT else shape[0] * shape[1] * NUMBER_BYTES[dtype]


def sign(x: np.ndarray) -> np.ndarray:
    """+1 where ``x >= 0`` (so also for -0.0), else -1 (so also for NaN); int8."""
    return np.where(np.asarray(x) >= 0, 1, -1).astype(np.int8)


def as_f32(x: np.ndarray) -> np.ndarray:
    """The value every arithmetic op sees: f32 (i32 beyond 2**24 rounds to nearest, as the C cast does)."""
    return x.astype(np.float32)
