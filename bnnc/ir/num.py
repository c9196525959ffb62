"""exp, log and powi in f32 with a fixed sequence of operations: the C runtime (bnnc_num.h) does the same, bit for bit.

The polynomials are minimax-like fits on the reduced range (Cephes coefficients); errors stay within 2 ulp, which the
oracle tests check.  No fused multiply-add, no library function.
"""

from __future__ import annotations

import numpy as np

F = np.float32
LOG2E, LN2_HI, LN2_LO = F(1.44269504088896341), F(0.693359375), F(-2.12194440e-4)
EXP_MIN, EXP_MAX = F(-87.0), F(88.0)
EXP_POLY = tuple(
    F(c) for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
LOG_POLY = tuple(
    F(c)
    for c in (
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    )
)
ROUND = F(12582912.0)  # 1.5 * 2**23: adding and taking away rounds to the nearest integer


def exp_f32(x: np.ndarray) -> np.ndarray:
    """e**x for f32, the argument clamped to [-87, 88] (so the result is normal and finite; NaN clamps to -87)."""
    x = np.where(x > EXP_MIN, x, EXP_MIN).astype(F)
    x = np.where(x < EXP_MAX, x, EXP_MAX).astype(F)
    n = (x * LOG2E + ROUND) - ROUND
    r = (x - n * LN2_HI) - n * LN2_LO
    p = np.full_like(r, EXP_POLY[0])
    for c in EXP_POLY[1:]:
        p = p * r + c
    y = (p * (r * r) + r) + F(1.0)
    return y * ((n.astype(np.int32) + 127) << 23).astype(np.int32).view(F)


def log_f32(x: np.ndarray) -> np.ndarray:
    """ln x for positive normal f32; smaller arguments are taken as the smallest normal number."""
    x = np.where(x > F(1.17549435e-38), x, F(1.17549435e-38)).astype(F)
    bits = x.view(np.int32)
    e = ((bits >> 23) - 126).astype(np.int32)
    m = ((bits & 0x007FFFFF) | 0x3F000000).astype(np.int32).view(F)  # in [0.5, 1)
    small = m < F(0.707106781186547524)
    e = e - small.astype(np.int32)
    m = np.where(small, m + m, m).astype(F) - F(1.0)
    z = m * m
    p = np.full_like(m, LOG_POLY[0])
    for c in LOG_POLY[1:]:
        p = p * m + c
    fe = e.astype(F)
    y = (m * z) * p
    y = y + fe * LN2_LO
    y = y - F(0.5) * z
    return (m + y) + fe * LN2_HI


def powi_f32(base: np.ndarray, n: np.ndarray) -> np.ndarray:
    """base**n for whole n >= 0 by repeated squaring in f32; both arguments broadcast."""
    base, n = np.broadcast_arrays(base, n)
    b, out, k = base.astype(F).copy(), np.ones(base.shape, F), n.astype(np.int64)
    while np.any(k > 0):
        out = np.where(k & 1, out * b, out).astype(F)
        b, k = b * b, k >> 1
    return out
