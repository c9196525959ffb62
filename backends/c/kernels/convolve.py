"""Convolutions of bits, and of a u8 or float with bits.

form       left x right          skeleton
forward    bit x bit, u8 x bit   convolve           as popcount, on the bits under a window
back       float x bit           convolve_back      as grouped, position by position
weight     bit x float           convolve_weight    as grouped
weight     u8 x number           convolve_weight_bytes  as outer, two vectors at a time; exact for an i8
back, weight, of an i8 and bits  convolve_whole_*   likewise, in 16 bits: exact
any        float x float         convolve_real*     one multiply and one add per term
any        in groups             convolve_groups*   a lane gathers its group's values
any        in groups of one      convolve_depthwise*  lanes of one side meet the same lanes of the other
"""

from __future__ import annotations

from typing import Any

from bnnc.diag import InternalError, error
from bnnc.ir.bounds import PLANE_BYTES, SIDE
from bnnc.ir.dtype import FLOATS, INTEGERS, LANES, ceil_div
from bnnc.ir.image import Geometry
from bnnc.sched.anchor import Convolve

from ..names import literal
from .base import SHORT, KernelText, Skeleton, bnnc_window, count, lanes, of_kind, some_lanes
from .groups import groups
from .real import real

# Of a tile, in a thread's stack: a sum is a vector of up to 64 bytes.
WINDOW_SUMS = 192  # sums of a weight's gradient: channels times positions of a window
WHOLE_SUMS = 320  # the same of whole numbers: tables are made for five positions of nine, not for three
BACK_SUMS = 256  # sums of an input's gradient; with more than half of them the tables are of 16 terms, not of 32
BACK_BYTES = 112 * 1024  # the gradients of a band of rows of pixels, as f32 or i16
BACK_PIXELS = 64  # pixels of a band, up to a row more, so that its edges are few


def back_band(g: Geometry, channels: int, rows: int, cols: int, whole: bool) -> int:
    """How many rows of pixels an input gradient takes at a time; 0: it looks each pixel's windows up.

    A band of 2 rows, under windows 3 high, needs the gradients of 4 rows of windows.  They are computed once, and each
    position of the window is then a shift of them:

        rows of windows   a  b  c  d
        rows of pixels       1  2         1 meets a, b, c;  2 meets b, c, d

    Each of ``channels`` has (band + ky - 1) lines of ``width`` numbers and a margin for shifts to the side.  No band
    is taken where a shift does not do (a stride, results larger than the image), where fewer than half of the pixels
    have a window, and where the band would take more than BACK_BYTES or a 16th of the result (f32[rows, cols]).
    Whole numbers are half as large and lanes twice as many: there the least band is taken that is nearly the best of
    those with room, by how many lanes are computed for a pixel, a row that two bands need counting a tenth of one.
    """
    if g.stride != 1 or g.out_height > g.height or g.out_width > g.width or 2 * g.out_pixels < g.pixels:
        return 0
    margin = g.kx - 1 + g.left + LANES
    room = min(BACK_BYTES, 4 * rows * cols // 16) // ((2 if whole else 4) * channels) - margin  # of a channel
    band = most = min(room // g.width - (g.ky - 1), rows // g.width)
    if not whole:
        band = min(most, ceil_div(BACK_PIXELS, g.width))
    elif most > 0:
        tile = 2 * LANES
        cost = {b: (ceil_div(b * g.width, tile) * tile / g.width + (g.ky - 1) / 10) / b for b in range(1, most + 1)}
        band = next(b for b, x in cost.items() if x <= 1.03 * min(cost.values()))
    return band if band * g.width >= LANES else 0


def convolve(s: Skeleton, x: Convolve) -> KernelText:
    """A convolution or one of its gradients, by what its operands hold.  Raises InternalError for bits that are not in
    memory."""
    a, b, g = x.a, x.b, x.geometry
    if x.groups > 1:
        return groups(s, x)
    if any(e.dtype == "bit" and e.op != "load" for e in (a, b)):
        raise InternalError("one-bit operands of a convolution must be in memory")
    if b.dtype in FLOATS and (a.dtype in FLOATS or x.form != "weight"):
        return real(s, x)
    s.holds(max(g.height, g.width, g.out_height, g.out_width) <= SIDE)
    rows, cols = s.k.domain
    context = {
        **s.product(),
        "window": bnnc_window(g),
        "positions": g.positions,
        "rows": rows,
        "cols": cols,
        "n": lanes(cols),
        "fill": x.fill,
        "masked": g.padded and not x.fill,
        "kx": g.kx,
        "top": g.top,
        "side": g.left,
        "height": g.height,
        "width": g.width,
        "out_height": g.out_height,
        "out_width": g.out_width,
    }
    return {"forward": _forward, "back": _back, "weight": _weight}[x.form](s, x, context)


def _forward(s: Skeleton, x: Convolve, context: dict[str, Any]) -> KernelText:
    q, planes = x.b.shape[0], 8 if x.a.dtype == "u8" else 1
    words = ceil_div(q, 32)
    s.holds(x.a.op == "load" and planes * 4 * words <= PLANE_BYTES)
    more = {
        "q": q,
        "words": words,
        "block": 4 if 16 * planes * words <= PLANE_BYTES else 1,
        "planes": planes,
        "channels": x.a.shape[1],
        **s.operand("a", x.a),
        **s.operand("b", x.b),
    }
    return KernelText("convolve", context | more)


def _back(s: Skeleton, x: Convolve, context: dict[str, Any]) -> KernelText:
    """Lanes are pixels; the gradient is read at the output pixel that meets each of them."""
    g, q, pr = x.geometry, x.a.shape[1], s.printer("v", "r")
    load, whole = pr.print([x.a]), x.result.dtype in INTEGERS
    rows, cols = s.k.domain
    block = min(BACK_SUMS, ceil_div(cols, LANES) * LANES)
    band, images = back_band(g, q, rows, cols, whole), rows // g.pixels
    tile = 2 * LANES if whole else LANES
    more = {
        "q": q,
        "nq": lanes(q),
        "block": block,
        "count": count(cols, block),
        "tiles": g.pixels * ceil_div(images, tile) if images >= LANES else ceil_div(rows, tile),
        "images": images,
        "many": images >= LANES,
        "pixels": g.pixels,
        "out_pixels": g.out_pixels,
        "load": load,
        "value": pr.veci(x.a) if whole else pr.vec(x.a),
        **(
            {"long": g.positions * q > SHORT, "high": False, "held": True, "some": some_lanes(cols, "c", 2 * LANES)}
            if whole
            else {"of": of_kind(False)}
        ),
        "pitch": x.b.shape[0] // g.positions,
        "bits": s.pointers[x.b.attr],
        "stride": s.mem.storages[x.b.attr].stride,
        "ky": g.ky,
        "pixel_rows": rows // g.width,
        "band": band,
        "terms": 32 if block <= BACK_SUMS // 2 else 16,
    }
    name = f"convolve_{'whole_' if whole else ''}back{'' if band else '_window'}"
    return KernelText(name, context | more)


def _weight(s: Skeleton, x: Convolve, context: dict[str, Any]) -> KernelText:
    """Sums over output pixels; lanes are output channels."""
    a, g, pr = x.a, x.geometry, s.printer("v", "r")
    load, whole = pr.print([x.b]), x.result.dtype in INTEGERS
    channels = a.shape[1]
    block = (64 if channels > 32 else 32) if a.dtype == "bit" else min(32, channels)
    if a.op != "load" or a.dtype not in ("bit", "u8"):
        message = f"the C backend has no kernel for a convolution of {a.dtype}"
        raise error("B0701", message, s.k.where.span, help="put `sign;` before it")
    more = {
        "q": x.b.shape[0],
        "channels": channels,
        "block": block,
        "count": count(channels, block),
        "side_by_side": next(n for n in (4, 3, 2, 1) if channels % n == block % n == 0),
        "span": ceil_div(g.positions, ceil_div(g.positions, (WHOLE_SUMS if whole else WINDOW_SUMS) // block)),
        "signs": a.dtype == "bit",
        "load": load,
        "value": pr.veci(x.b) if whole else pr.vec(x.b),
        "of": of_kind(whole),
        "whole": whole,
        "edges": g.padded,
        "aligned": g.aligned,
        "stride": g.stride,
        "words": ceil_div(a.shape[0], 32),
        **s.operand("a", a),
        "beyond": str(255 * x.fill) if whole else literal(255.0 * x.fill),
    }
    if a.dtype != "bit":
        cols = s.k.domain[1]
        vectors = 2 if cols >= 4 * LANES and cols % (2 * LANES) == 0 else 1
        return KernelText("convolve_weight_bytes", context | more | {"vectors": vectors})
    if not whole:
        return KernelText("convolve_weight", context | more)
    exact = {
        "some": some_lanes(s.k.domain[1], "c", 2 * LANES),
        "long": x.b.shape[0] > SHORT,
        "high": False,
        "held": False,
    }
    return KernelText("convolve_whole_weight", context | more | exact)
