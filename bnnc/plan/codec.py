"""Arrays to and from storage formats: what the bytes of a buffer mean.  Used by tests, tools and the Python API.

`Storage.at` says which bit an element is; here whole rows of bits become words at once, and a test compares the two.
"""

from __future__ import annotations

import numpy as np

from ..ir.dtype import NUMPY, Packing, ceil_div
from .types import WORD, Storage


def _number(s: Storage) -> np.dtype[np.generic]:
    return np.dtype(NUMPY[s.dtype]).newbyteorder("<")


def encode(s: Storage, x: np.ndarray) -> bytes:
    """The bytes of ``x`` (rows, cols) in storage ``s``; bits are +-1 or bool arrays."""
    if not s.one_bit:
        return np.ascontiguousarray(x, dtype=_number(s)).tobytes()
    bits = np.asarray(x) > 0
    bits = bits.T if s.packing is Packing.ROWS else bits
    octets = np.packbits(bits, axis=1, bitorder="little")
    padded = np.zeros((len(bits), 4 * ceil_div(bits.shape[1], WORD)), np.uint8)
    padded[:, : octets.shape[1]] = octets
    words = padded.view("<u4")
    if s.packing is Packing.COLUMNS:
        return words.tobytes()
    out = np.zeros((s.stored_rows, s.stride), "<u4")
    out[:, : s.across] = words.T
    return out.tobytes()


def decode(s: Storage, raw: bytes) -> np.ndarray:
    """The array that ``raw`` holds; bits come back as int8 +-1 (``bit``) or bool."""
    if not s.one_bit:
        return np.frombuffer(raw, _number(s)).reshape(s.shape).astype(NUMPY[s.dtype])
    words = np.frombuffer(raw, "<u4").reshape(s.stored_rows, s.stride)
    octets = np.ascontiguousarray(words if s.packing is Packing.COLUMNS else words[:, : s.across].T).view(np.uint8)
    packed = s.shape[0 if s.packing is Packing.ROWS else 1]
    bits = np.unpackbits(octets, axis=1, count=packed, bitorder="little").view(bool)
    bits = bits.T if s.packing is Packing.ROWS else bits
    return np.ascontiguousarray(bits) if s.dtype == "bool" else np.where(bits, np.int8(1), np.int8(-1))
