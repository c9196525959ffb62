"""What single PTX instructions compute, on arrays with one element a lane.  Registers are unsigned arrays; a float is
its bits.
"""

from __future__ import annotations

import numpy as np

U8, U16, U32, U64 = np.uint8, np.uint16, np.uint32, np.uint64
I8, I16, I32, I64 = np.int8, np.int16, np.int32, np.int64
F16, F32, F64 = np.float16, np.float32, np.float64
Array = np.ndarray
LANE = np.arange(32)
ROW, QUAD = LANE >> 2, LANE & 3  # of a lane in the matrices of mma: its group, and its place there


def shl(a: Array, n: Array) -> Array:
    """Left by ``n``, 0 from the width on."""
    width = a.dtype.itemsize * 8
    return np.where(n < width, a << np.minimum(n, width - 1).astype(a.dtype), a.dtype.type(0))


def shr(a: Array, n: Array) -> Array:
    """Right by ``n``, 0 from the width on; signed: the sign."""
    width = a.dtype.itemsize * 8
    moved = a >> np.minimum(n, width - 1).astype(a.dtype)
    return moved if a.dtype.kind == "i" else np.where(n < width, moved, a.dtype.type(0))


def quotient(a: Array, b: Array) -> Array:
    """Of signed numbers, towards 0."""
    q = np.abs(a.astype(I64)) // np.abs(b.astype(I64))
    return np.where((a < 0) != (b < 0), -q, q).astype(a.dtype)


def remainder(a: Array, b: Array) -> Array:
    """Of signed numbers, with the sign of ``a``."""
    r = np.abs(a.astype(I64)) % np.abs(b.astype(I64))
    return np.where(a < 0, -r, r).astype(a.dtype)


def bfe(a: Array, first: int, n: int) -> Array:
    """``n`` bits from ``first`` on; signed numbers: with their sign."""
    width = a.dtype.itemsize * 8
    assert n > 0 and first + n <= width
    return (a << a.dtype.type(width - first - n)) >> a.dtype.type(width - n)


def bfi(a: Array, b: Array, first: int, n: int) -> Array:
    """b, with the lowest ``n`` bits of a from ``first`` on."""
    assert n > 0 and first + n <= 32
    mask = ((1 << n) - 1) << first
    return (b & U32(~mask & 0xFFFFFFFF)) | ((a << U32(first)) & U32(mask))


def prmt(a: Array, b: Array, choice: int) -> Array:
    """Four of the eight bytes of b, a; bit 3 of a choice: its sign, eight times."""
    pair = (b.astype(U64) << U64(32)) | a.astype(U64)
    out = np.zeros(np.shape(pair), U32)
    for i in range(4):
        c = (choice >> (4 * i)) & 15
        byte = ((pair >> U64(8 * (c & 7))) & U64(255)).astype(U32)
        out |= ((byte >> U32(7)) * U32(255) if c & 8 else byte) << U32(8 * i)
    return out


def funnel(low: Array, high: Array, n: Array, left: bool) -> Array:
    """The upper (lower) word of high:low, moved left (right) by ``n`` % 32."""
    n = (n & U32(31)).astype(U64)
    pair = (high.astype(U64) << U64(32)) | low.astype(U64)
    return ((pair << n) >> U64(32) if left else pair >> n).astype(U32)


def fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c, rounded once: the product is exact in double precision, the sum is rounded to odd there."""
    p, c = a.astype(F64) * b.astype(F64), np.asarray(c, F64)
    s = p + c
    t = s - p
    error = (p - (s - t)) + (c - t)
    bits = s.view(I64)
    inexact = np.isfinite(s) & (error != 0) & (bits & 1 == 0)
    return np.where(inexact, bits + np.where((error > 0) == (s > 0), 1, -1), bits).view(F64).astype(F32)


def largest(a: Array, b: Array) -> Array:
    """As max.f32: of a number and a NaN the number, of zeros +0."""
    return np.where((a == 0) & (b == 0), (a.view(U32) & b.view(U32)).view(F32), np.fmax(a, b))


def smallest(a: Array, b: Array) -> Array:
    """As min.f32: of zeros -0."""
    return np.where((a == 0) & (b == 0), (a.view(U32) | b.view(U32)).view(F32), np.fmin(a, b))


def to_int(x: Array) -> Array:
    """f32 -> i32, towards 0, to the nearest there is; NaN: 0."""
    return (
        np.clip(np.nan_to_num(np.trunc(x.astype(F64)), posinf=2.0**31, neginf=-(2.0**31)), -(2**31), 2**31 - 1)
        .astype(I64)
        .astype(I32)
    )


def half(x: Array, k: int) -> Array:
    """The lower (0) or upper (1) half of words."""
    return (x >> U32(16 * k)).astype(U16)


def pair(low: Array, high: Array) -> Array:
    """Words of two halves."""
    return low.astype(U32) | (high.astype(U32) << U32(16))


def shfl_bfly(a: Array, mask: int) -> Array:
    """Of a warp's lanes, the one whose number differs by ``mask``."""
    return a[np.arange(a.size) ^ mask]


def shfl_idx(a: Array, lane: Array, c: int) -> Array:
    """Of a warp's lanes, the one of a number, within segments."""
    i, fixed = np.arange(a.size), c >> 8 & 31
    lane = np.broadcast_to(lane, a.shape).astype(I64)
    return a[(i & ~31) | (i & fixed) | (lane & 31 & ~fixed)]


def redux_add(a: Array) -> Array:
    """The sum over each warp."""
    return np.repeat(a.reshape(-1, 32).sum(1, dtype=U32), 32)


def redux_max(a: Array) -> Array:
    """The largest number of each warp."""
    return np.repeat(a.reshape(-1, 32).max(1), 32)


# -- matrices of tensor cores; a register has four int8 or two f16 -----------------------------------------------------


def _fragment(registers: list[Array], places: list[tuple[int, int]], shape: tuple[int, int], kind: type) -> Array:
    """Matrices [warps, *shape] from what lanes hold: register i begins at ``places[i]``, along the second axis."""
    each = 4 // np.dtype(kind).itemsize
    out = np.zeros((registers[0].size // 32, *shape), kind)
    for x, (row, col) in zip(registers, places, strict=True):
        parts = np.ascontiguousarray(x).view(kind).reshape(-1, 32, each)
        for k in range(each):
            out[:, ROW + row, QUAD * each + k + col] = parts[:, :, k]
    return out


def rows16(registers: list[Array], kind: type) -> Array:
    """The left operand of mma: [warps, 16, 32 bytes]."""
    wide = 16 // np.dtype(kind).itemsize
    return _fragment(registers, [(0, 0), (8, 0), (0, wide), (8, wide)], (16, 2 * wide), kind)


def cols8(registers: list[Array], kind: type) -> Array:
    """The right operand of mma: [warps, 32 bytes, 8]."""
    wide = 16 // np.dtype(kind).itemsize
    return _fragment(registers, [(0, 0), (0, wide)], (8, 2 * wide), kind).transpose(0, 2, 1)


def spread16(c: Array) -> list[Array]:
    """What lanes hold of results [warps, 16, n]."""
    return [c[:, ROW + 8 * (i >> 1 & 1), 8 * (i >> 2) + 2 * QUAD + (i & 1)].reshape(-1) for i in range(c.shape[2] // 2)]


def added(products: Array, sums: list[Array]) -> list[Array]:
    """Whole products added to accumulators, which saturate; or floats, in f32."""
    parts = spread16(products)
    if products.dtype == F32:
        return [(c.view(F32) + p).view(U32) for c, p in zip(sums, parts, strict=True)]
    wide = (np.clip(c.view(I32).astype(I64) + p, -(2**31), 2**31 - 1) for c, p in zip(sums, parts, strict=True))
    return [x.astype(I32).view(U32) for x in wide]


def mma(a: list[Array], b: list[Array], c: list[Array], kind: type) -> list[Array]:
    """16 x 8 sums of 32 bytes' terms; floats are exact but for one rounding at the end (tensor cores are not)."""
    left, right = rows16(a, kind), cols8(b, kind)
    wide = I32 if kind == I8 else F64
    return added((left.astype(wide) @ right.astype(wide)).astype(I32 if kind == I8 else F32), c)
