"""Pictures as PNG files inside a page: samples, and bits of weights."""

from __future__ import annotations

import base64
import math
import struct
import zlib

import numpy as np

LARGE = 320  # pixels of the longer side of a sample that stands alone


def png(x: np.ndarray) -> bytes:
    """The file of u8[height, width] (grey) or u8[height, width, 3]."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = x.shape[:2]
    lines = np.concatenate([np.zeros((height, 1), np.uint8), x.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if x.ndim == 3 else 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def inline(x: np.ndarray) -> str:
    """The same as the address of an image."""
    return "data:image/png;base64," + base64.b64encode(png(x)).decode()


def image_shape(kind: str, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(height, width, channels) of samples that a person would call pictures: u8 or bits with two axes, a last one of
    1, 3 or 4 channels, or a square that was laid flat; None of others.
    """
    if kind not in ("u8", "bit"):
        return None
    if len(shape) == 1:
        side = math.isqrt(shape[0])
        return (side, side, 1) if side >= 8 and side * side == shape[0] else None
    height, width, channels = (*shape, 1)[:3] if len(shape) <= 3 else (0, 0, 0)
    return (height, width, channels) if min(height, width) >= 6 and channels in (1, 3, 4) else None


def sample(x: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A sample as u8 to look at."""
    x = np.where(x, 255, 0).astype(np.uint8) if x.dtype == np.bool_ else x
    x = x.reshape(shape)[..., :3]
    return x if x.shape[2] == 3 else x[..., 0]


def large(x: np.ndarray, kind: str) -> bytes:
    """A PNG file of one sample of ``kind``, its pixels as squares that an eye can see; numbers that are no picture go
    from black, the least, to white, a row a step, and each axis but the last beside the others."""
    if shape := image_shape(kind, x.shape):
        flat = sample(x, shape)
    else:
        v = np.nan_to_num(x.astype(np.float64)).reshape(len(x) if x.ndim > 1 else 1, -1)
        flat = np.rint(255 * (v - v.min()) / (float(np.ptp(v)) or 1.0)).astype(np.uint8)
    k = max(1, LARGE // max(flat.shape[:2]))
    return png(flat.repeat(k, axis=0).repeat(k, axis=1))


def bits(w: np.ndarray) -> np.ndarray:
    """The signs of a unit's weights (height, width, channels, bits a number): white is +1.  Three channels are red,
    green and blue; of others, and where several bits stand for a number, the share that is +1.
    """
    share = (w > 0).mean(axis=3)
    return np.rint(255 * (share if share.shape[2] == 3 else share.mean(axis=2))).astype(np.uint8)
