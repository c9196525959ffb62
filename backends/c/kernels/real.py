"""Convolutions of floats, one multiply and one add a term; of images of one pixel they are products of matrices."""

from __future__ import annotations

from typing import Any

from bnnc.ir.dtype import LANES, ceil_div
from bnnc.sched.anchor import Convolve

from ...printing import Printed
from ..expr import Printer
from ..names import literal
from .base import KernelText, Skeleton, bnnc_window, count, of_kind, some_lanes

ROWS = 128  # of the result, or terms of a tile, that lie on a thread's stack


def real(s: Skeleton, x: Convolve) -> KernelText:
    """A convolution or product of two numbers, one multiply and one add a term, in order."""
    left, right = s.printer("v", "r"), s.printer("v", "r")
    a_code, b_code = left.print([x.a]), right.print([x.b])
    rows, cols = s.k.domain
    context = {
        **s.product(),
        "window": bnnc_window(x.geometry),
        "positions": x.positions,
        "rows": rows,
        "cols": cols,
        "n": some_lanes(cols),
        "beyond": literal(float(x.fill)),
    }
    if x.form == "weight":
        return _weight(x, context, (a_code, left.vec(x.a)), (b_code, right.vec(x.b)))
    context |= {"b_code": b_code, "b_value": right.vec(x.b)}
    if x.form == "forward":
        return _forward(x, context, cols, a_code, left)
    return _back(x, context, (rows, cols), a_code, left)


def _weight(x: Convolve, context: dict[str, Any], a: tuple[Printed, str], b: tuple[Printed, str]) -> KernelText:
    channels = x.a.shape[1]
    block = min(channels, ROWS)
    more = {
        "channels": channels,
        "block": block,
        "span": ceil_div(x.positions, ceil_div(x.positions, max(1, ROWS // block))),
        "count": count(channels, block),
        "q": x.b.shape[0],
        "a_code": a[0],
        "a_value": a[1],
        "na": some_lanes(channels, "c", LANES if block < ROWS else ROWS),
        "load": b[0],
        "value": b[1],
    }
    return KernelText("convolve_real_weight", context | more)


def _forward(x: Convolve, context: dict[str, Any], cols: int, a_code: Printed, left: Printer) -> KernelText:
    more = {
        "channels": x.a.shape[1],
        "block": 6,
        "chunk": 64,
        "nq": some_lanes(x.a.shape[1]),
        "a_code": a_code,
        "a_value": left.vec(x.a),
        "nw": some_lanes(cols, "c", 32),
    }
    return KernelText("convolve_real", context | more)


def _back(x: Convolve, context: dict[str, Any], domain: tuple[int, int], a_code: Printed, left: Printer) -> KernelText:
    rows, cols = domain
    block = min(ROWS, ceil_div(cols, LANES) * LANES)
    more = {
        "of": of_kind(False),
        "pitch": x.b.shape[0] // x.positions,
        "q": x.a.shape[1],
        "nq": some_lanes(x.a.shape[1]),
        "block": block,
        "count": count(cols, block),
        "tiles": ceil_div(rows, LANES),
        "load": a_code,
        "value": left.vec(x.a),
    }
    return KernelText("convolve_real_back", context | more)
