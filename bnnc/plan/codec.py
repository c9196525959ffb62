"""Arrays to and from storage formats: what the bytes of a buffer mean.  Used by tests, tools and the Python API."""

from __future__ import annotations

import numpy as np

from ..ir.dtype import NUMPY
from .types import Storage


def encode(s: Storage, x: np.ndarray) -> bytes:
    """The bytes of ``x`` (rows, cols) in storage ``s``; bits are +-1 or bool arrays."""
    rows, cols = s.shape
    if not s.one_bit:
        return np.ascontiguousarray(x, dtype=np.dtype(NUMPY[s.dtype]).newbyteorder("<")).tobytes()
    bits = np.asarray(x) > 0
    if s.axis == 0:
        bits = np.pad(bits, ((0, 0), (0, s.stride - cols))).T
    elif s.axis == 2:
        bits = np.pad(bits, ((0, s.stride - rows), (0, 0)))
    packed = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 32)))
    words = np.ascontiguousarray(np.packbits(packed, axis=1, bitorder="little")).view("<u4")
    return np.ascontiguousarray(words if s.axis == 1 else words.T).tobytes()


def decode(s: Storage, raw: bytes) -> np.ndarray:
    """The array that ``raw`` holds; bits come back as int8 +-1 (``bit``) or bool."""
    rows, cols = s.shape
    if not s.one_bit:
        return np.frombuffer(raw, np.dtype(NUMPY[s.dtype]).newbyteorder("<")).reshape(rows, cols).astype(NUMPY[s.dtype])
    words = np.frombuffer(raw, "<u4")
    if s.axis != 1:
        words = np.ascontiguousarray(words.reshape(s.stored_rows, s.stride).T)
        bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
        bits = bits[:cols, :rows].T if s.axis == 0 else bits[:rows, :cols]
    else:
        bits = np.unpackbits(words.reshape(rows, -1).copy().view(np.uint8), axis=1, bitorder="little")[:, :cols]
    return bits.astype(bool) if s.dtype == "bool" else np.where(bits, 1, -1).astype(np.int8)
