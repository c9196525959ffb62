"""Ops of fixed-point arithmetic: shifts, powers of two, rounding, and the noise of stochastic rounding.

A real number x near a whole one is first a whole number of units of 2**-FRACTION, then that is rounded: with noise u,
uniform in 0 .. 2**FRACTION - 1, ``(x + u) >> FRACTION`` is on average x / 2**FRACTION; with u = 2**(FRACTION - 1) it is
the nearest whole number, a half rounded up.  Everything here is exact, so every backend has the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import rng
from ..diag import InternalError
from .dtype import F32, INTEGERS, as_f32
from .num import ROUND
from .ops import Array, Shape, add_op, broadcast

FRACTION = 15  # bits behind the point, and of noise
ROUNDABLE = 1 << 22  # the largest size that `round` gives: beyond, the trick with which kernels round does not do


def _infer_shr(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    if any(v.dtype not in INTEGERS for v in vs):
        raise InternalError("shr takes integers")
    return broadcast(vs), "i32"


add_op(
    "shr",
    "map",
    _infer_shr,
    lambda xs, a, d: xs[0].astype(np.int32) >> xs[1].astype(np.int32),
    "floor(a / 2**b), 0 <= b <= 31",
)


def _infer_number(dtype: str, *, real: bool) -> Any:
    def infer(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
        (x,) = vs
        if x.dtype == "bool" or (x.dtype in INTEGERS) == real:
            raise InternalError(f"{x} is no {'real' if real else 'whole'} number")
        return x.shape, dtype

    return infer


def _run_round(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
    x = as_f32(xs[0])
    x = np.where(x > -ROUNDABLE, x, F32(-ROUNDABLE))
    x = np.where(x < ROUNDABLE, x, F32(ROUNDABLE))
    return np.asarray((x + ROUND) - ROUND).astype(np.int32)


add_op(
    "round",
    "map",
    _infer_number("i32", real=True),
    _run_round,
    "the nearest whole number, ties to even, limited to +-2**22 (NaN: -2**22)",
)
add_op(
    "exponent",
    "map",
    _infer_number("i32", real=True),
    lambda xs, a, d: ((as_f32(xs[0]).view(np.int32) >> 23) & 255) - 126,
    "the least e with |x| < 2**e, from x's bits: -126 for what is below 2**-126, 129 for what is no number",
)
add_op(
    "pow2",
    "map",
    _infer_number("f32", real=False),
    lambda xs, a, d: ((np.clip(xs[0].astype(np.int32), -126, 127) + 127) << 23).astype(np.int32).view(F32),
    "2**e in f32, e limited to -126 .. 127",
)


def _run_noise(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
    seed, tick = (int(x[0, 0]) for x in xs)
    return rng.noise(seed & 0xFFFFFFFF, attrs["stream"], tick, attrs["rows"], attrs["cols"])


add_op(
    "noise",
    "map",
    lambda vs, a: ((a["rows"], a["cols"]), "i32"),
    _run_noise,
    "whole numbers uniform in 0 .. 2**15 - 1, a function of (seed, stream, tick, element)",
)


def _infer_dither(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    if vs[0].shape != (1, 1) or vs[0].dtype not in INTEGERS:
        raise InternalError(f"{vs[0]} is no key")
    return (attrs["rows"], attrs["cols"]), "i32"


add_op(
    "dither",
    "map",
    _infer_dither,
    lambda xs, a, d: rng.dither(int(xs[0][0, 0]), a["rows"], a["cols"]),
    "whole numbers 0 .. 2**15 - 1, a lattice over the matrix: over all keys 0 .. 2**15 - 1, each is each of them once",
)
