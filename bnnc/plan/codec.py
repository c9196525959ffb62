"""Arrays to and from storage formats: what the bytes of a buffer mean.  Used by tests, tools and the Python API."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir.dtype import NUMPY
from .types import WORD, Storage

ELEMENTS = 1 << 20  # whose places are in memory at a time


def _number(s: Storage) -> np.dtype[np.generic]:
    return np.dtype(NUMPY[s.dtype]).newbyteorder("<")


def _places(s: Storage) -> Iterator[tuple[slice, np.ndarray]]:
    """Some rows at a time, which bit of the buffer each element is."""
    rows, cols = s.shape
    step = max(1, ELEMENTS // cols)
    for first in range(0, rows, step):
        some = slice(first, min(first + step, rows))
        word, bit = s.at(np.arange(some.start, some.stop)[:, None], np.arange(cols)[None, :])
        yield some, word * WORD + bit % WORD


def encode(s: Storage, x: np.ndarray) -> bytes:
    """The bytes of ``x`` (rows, cols) in storage ``s``; bits are +-1 or bool arrays."""
    if not s.one_bit:
        return np.ascontiguousarray(x, dtype=_number(s)).tobytes()
    bits = np.zeros(8 * s.nbytes, bool)
    for rows, places in _places(s):
        bits[places] = np.asarray(x[rows]) > 0
    return np.packbits(bits, bitorder="little").tobytes()


def decode(s: Storage, raw: bytes) -> np.ndarray:
    """The array that ``raw`` holds; bits come back as int8 +-1 (``bit``) or bool."""
    if not s.one_bit:
        return np.frombuffer(raw, _number(s)).reshape(s.shape).astype(NUMPY[s.dtype])
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
    out = np.empty(s.shape, bool)
    for rows, places in _places(s):
        out[rows] = bits[places]
    return out if s.dtype == "bool" else np.where(out, 1, -1).astype(np.int8)
