"""Ops on images.  A batch of n images of H x W pixels is a matrix of n H W rows, sample by sample, pixels row by row;
columns are channels.

A convolution's weight is a matrix too: a row is (kernel position, channel), positions row by row; a column is an output
channel.

    convolve         y[n o] = sum of x[n p] w[k] over kernel positions k and channels, p the pixel that k meets at
                     output o
    convolve_back    the transposed map: dx from dy;  convolve_weight: dw from x and dy
    window           max, sum or the place of the first maximum over a window;  unwindow: the gradient's way back, and
                     for windows
                     that do not overlap hit and spread, which commute with element-wise ops

Beyond the image's edge lie pixels of the value ``fill``: 0 (no bit: such a term does not exist), 1 or -1.  A u8 operand
u stands for the whole number 2 u - 255, so that 0 means zero there too.  A weight of bits: sums of bits and of u8 are
exact; ``convolve_back`` adds position by position, a position's channels in groups of four.  A weight of floats (f32,
or f16 widened): both add position by position, channels in order, one multiply and one add a term.  ``convolve_weight``
adds the output pixels in order, four at a time, or one at a time for a u8 or float x.  A float gradient beyond the edge
is 0, and so is an x where ``fill`` is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..diag import InternalError
from .dtype import F32, FLOATS, INTEGERS, NUMPY, as_f32
from .ops import Array, Shape, add_op, exact_sum


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a window of ``ky`` x ``kx`` pixels moves over images of ``height`` x ``width`` pixels; the last four are the
    pixels added at each edge."""

    height: int
    width: int
    ky: int
    kx: int
    stride: int = 1
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    @property
    def out_height(self) -> int:
        """Windows from top to bottom."""
        return (self.height + self.top + self.bottom - self.ky) // self.stride + 1

    @property
    def out_width(self) -> int:
        """Windows from left to right."""
        return (self.width + self.left + self.right - self.kx) // self.stride + 1

    @property
    def pixels(self) -> int:
        """Of an image: rows of a matrix that it takes."""
        return self.height * self.width

    @property
    def out_pixels(self) -> int:
        """Windows in an image."""
        return self.out_height * self.out_width

    @property
    def positions(self) -> int:
        """Pixels in a window."""
        return self.ky * self.kx

    @property
    def padded(self) -> bool:
        """Does any window reach beyond the image?"""
        return (
            self.top > 0
            or self.left > 0
            or (self.out_height - 1) * self.stride + self.ky > self.top + self.height
            or (self.out_width - 1) * self.stride + self.kx > self.left + self.width
        )

    @property
    def disjoint(self) -> bool:
        """Is no pixel in two windows?"""
        return self.ky <= self.stride and self.kx <= self.stride

    @property
    def aligned(self) -> bool:
        """Do output rows meet input rows in steps of one, so that a position is a shift of the whole batch?"""
        return self.stride == 1 and (self.out_height, self.out_width) == (self.height, self.width)

    def samples(self, rows: int) -> int:
        """Images in so many rows of pixels.  Raises InternalError where they are no whole number."""
        if self.out_height < 1 or self.out_width < 1 or rows % self.pixels:
            raise InternalError(f"{rows} rows are not images of {self}")
        return rows // self.pixels

    def sources(self, samples: int) -> Array:
        """int64 [samples * output pixels, positions]: the row that a window meets at a position, or -1 beyond the
        edge.
        """
        y = np.arange(self.out_height)[:, None] * self.stride + np.arange(self.ky)[None] - self.top
        x = np.arange(self.out_width)[:, None] * self.stride + np.arange(self.kx)[None] - self.left
        row = y[:, None, :, None] * self.width + x[None, :, None, :]
        ok = ((y >= 0) & (y < self.height))[:, None, :, None] & ((x >= 0) & (x < self.width))[None, :, None, :]
        one = np.where(ok, row, -1).reshape(self.out_pixels, self.positions)
        first = (np.arange(samples) * self.pixels)[:, None, None]
        return np.where(one[None] >= 0, one[None] + first, -1).reshape(samples * self.out_pixels, self.positions)

    def targets(self, samples: int) -> Array:
        """int64 [samples * pixels, positions]: the output row that meets a pixel at a position, or -1 where none
        does.
        """
        out = np.full((samples * self.pixels, self.positions), -1)
        source = self.sources(samples)
        o, k = np.nonzero(source >= 0)
        out[source[o, k], k] = o
        return out


def geometry(attrs: dict[str, Any]) -> Geometry:
    """The Geometry in an op's attributes."""
    return Geometry(*attrs["geometry"])


def as_number(x: Array) -> Array:
    """An operand's values: whole numbers for u8, else as they are, f64 or f32."""
    return 2.0 * x.astype(np.float64) - 255 if x.dtype == np.uint8 else x


def _picked(x: Array, rows: Array, beyond: float = 0) -> Array:
    """x[rows], ``beyond`` where a row is -1."""
    return np.where(rows[..., None] >= 0, x[rows], np.asarray(beyond, x.dtype))


def _channels(x: Any, w: Any, g: Geometry, groups: int) -> int:
    """Channels a group of a convolution's input."""
    c = x.shape[1] // groups
    if x.shape[1] % groups or w.shape[1] % groups or w.shape[0] != g.positions * c:
        raise InternalError(f"convolution of {x} by {w} in {groups} groups")
    return int(c)


def _infer_convolve(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    x, w = vs
    g = geometry(a)
    q = _channels(x, w, g, a["groups"]) * g.positions * (255 if x.dtype == "u8" else 1)
    exact = w.dtype == "bit"
    if (
        x.dtype not in (("bit", "u8") if exact else FLOATS)
        or w.dtype not in ("bit", *FLOATS)
        or (exact and q > 2**31 - 1)
        or a["fill"] not in (-1, 0, 1)
    ):
        raise InternalError(f"convolution of {x} by {w}")
    return (g.samples(x.shape[0]) * g.out_pixels, w.shape[1]), "f32" if not exact else "i16" if q <= 32767 else "i32"


def _groups(parts: int, *arrays: Array) -> list[list[Array]]:
    """Each array's columns in ``parts`` pieces, piece by piece."""
    return [list(piece) for piece in zip(*(np.split(x, parts, axis=1) for x in arrays), strict=True)]


def _run_convolve(xs: Sequence[Array], a: dict[str, Any], dtype: str) -> Array:
    g = geometry(a)
    rows = g.sources(g.samples(xs[0].shape[0]))
    fill = a["fill"] * (255 if xs[0].dtype == np.uint8 else 1)
    if dtype == "f32":
        return np.concatenate(
            [
                _in_order(_picked(as_f32(x), rows, fill).reshape(len(rows), -1), as_f32(w))
                for x, w in _groups(a["groups"], *xs)
            ],
            axis=1,
        )
    out = [
        _picked(as_number(x).astype(np.float64), rows, fill).reshape(len(rows), -1) @ w.astype(np.float64)
        for x, w in _groups(a["groups"], *xs)
    ]
    return np.concatenate(out, axis=1).astype(NUMPY[dtype])  # exact: |sum| < 2**31 < 2**53


def _in_order(x: Array, w: Array) -> Array:
    """x w in f32, one multiply and one add a term, in order."""
    acc = np.zeros((len(x), w.shape[1]), F32)
    for q in range(len(w)):
        acc = acc + x[:, q, None] * w[None, q]
    return acc


add_op(
    "convolve",
    "convolve",
    _infer_convolve,
    _run_convolve,
    "(x, w): convolution of bits or u8 with bits, exact integers; of floats with floats, f32 in order",
)


def _infer_back(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    dy, w = vs
    g, n = geometry(a), dy.shape[0] // geometry(a).out_pixels
    exact = exact_sum(dy, w, g.positions * (w.shape[1] // a["groups"]), a) if dy.dtype == "i8" else ""
    if (
        w.dtype not in ("bit", *FLOATS)
        or (dy.dtype in INTEGERS and not exact)
        or dy.shape != (n * g.out_pixels, w.shape[1])
        or w.shape[0] % g.positions
    ):
        raise InternalError(f"convolve_back of {dy} by {w}")
    return (n * g.pixels, w.shape[0] // g.positions * a["groups"]), exact or "f32"


def _run_back(xs: Sequence[Array], a: dict[str, Any], dtype: str) -> Array:
    g = geometry(a)
    rows = g.targets(xs[0].shape[0] // g.out_pixels)
    out = []
    if dtype in INTEGERS:
        for dy, w in _groups(a["groups"], xs[0].astype(np.float64), xs[1].astype(np.float64)):
            kernel = w.reshape(g.positions, -1, w.shape[1])
            out.append(sum(_picked(dy, rows[:, k]) @ kernel[k].T for k in range(g.positions)))
        return np.concatenate(out, axis=1).astype(NUMPY[dtype])
    for dy, w in _groups(a["groups"], as_f32(xs[0]), as_f32(xs[1])):
        kernel = w.reshape(g.positions, -1, w.shape[1])
        if xs[1].dtype != np.int8:
            taps = [_picked(dy, rows[:, k]) for k in range(g.positions)]
            out.append(_in_order(np.concatenate(taps, axis=1), kernel.transpose(0, 2, 1).reshape(-1, kernel.shape[1])))
            continue
        pad = ((0, 0), (0, -w.shape[1] % 4))
        acc = np.zeros((len(rows), kernel.shape[1]), F32)
        for k in range(g.positions):
            t, s = np.pad(_picked(dy, rows[:, k]), pad), np.pad(kernel[k], pad)
            for q in range(0, t.shape[1], 4):
                t0, t1, t2, t3 = (t[:, i, None] * s[None, :, i] for i in range(q, q + 4))
                acc = acc + ((t0 + t1) + (t2 + t3))
        out.append(acc)
    return np.concatenate(out, axis=1)


add_op(
    "convolve_back",
    "convolve",
    _infer_back,
    _run_back,
    "(dy, w): the gradient of a convolution's input: f32, or of an i8 by bits exact integers",
)


def _infer_weight(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    x, dy = vs
    g = geometry(a)
    exact = exact_sum(x, dy, dy.shape[0], a) if dy.dtype == "i8" else ""
    if (
        (dy.dtype in INTEGERS and not exact)
        or dy.shape[0] != g.samples(x.shape[0]) * g.out_pixels
        or (x.shape[1] % a["groups"])
        or (dy.shape[1] % a["groups"])
    ):
        raise InternalError(f"convolve_weight of {x} and {dy}")
    return (g.positions * (x.shape[1] // a["groups"]), dy.shape[1]), exact or "f32"


def _run_weight(xs: Sequence[Array], a: dict[str, Any], dtype: str) -> Array:
    g = geometry(a)
    rows = g.sources(g.samples(xs[0].shape[0]))
    four = 4 if xs[0].dtype == np.int8 else 1
    out = []
    if dtype in INTEGERS:
        for x, dy in _groups(a["groups"], as_number(xs[0]).astype(np.float64), xs[1].astype(np.float64)):
            left = _picked(x, rows, a["fill"] * (255 if xs[0].dtype == np.uint8 else 1))
            out.append(np.einsum("rkc,rn->kcn", left, dy).reshape(-1, dy.shape[1]))
        return np.concatenate(out, axis=1).astype(NUMPY[dtype])  # exact: |sum| < 2**31 < 2**53
    for x, dy in _groups(a["groups"], as_f32(as_number(xs[0])), as_f32(xs[1])):
        left = _picked(x, rows, a["fill"] * (255 if xs[0].dtype == np.uint8 else 1))
        right = np.broadcast_to(dy[:, None], (*rows.shape, dy.shape[1]))
        if four > 1 and not a["fill"]:
            right = np.where(rows[..., None] >= 0, right, F32(0))
        pad = ((0, -len(rows) % four), (0, 0), (0, 0))
        left, right = np.pad(left, pad)[..., None], np.pad(right, pad)[:, :, None]
        acc = np.zeros((g.positions, x.shape[1], dy.shape[1]), F32)
        for r in range(0, len(left), four):
            t = [left[i] * right[i] for i in range(r, r + four)]
            acc = acc + ((t[0] + t[1]) + (t[2] + t[3]) if four > 1 else t[0])
        out.append(acc.reshape(-1, dy.shape[1]))
    return np.concatenate(out, axis=1)


add_op(
    "convolve_weight",
    "convolve",
    _infer_weight,
    _run_weight,
    "(x, dy): the gradient of a convolution's weight: f32, or of bits or a u8 by an i8 exact integers",
)

HOW = ("max", "sum", "route")


def _infer_window(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    (x,) = vs
    g = geometry(a)
    shape = (g.samples(x.shape[0]) * g.out_pixels, x.shape[1])
    if a["how"] not in HOW or x.dtype == "bool" or (a["how"] == "route") != ("plane" in a):
        raise InternalError(f"window {a} of {x}")
    if a["how"] == "route":
        return shape, "bool"
    if a["how"] == "sum":
        return shape, "i32" if x.dtype in INTEGERS else "f32"
    return shape, "f32" if x.dtype == "f16" else x.dtype


def _run_window(xs: Sequence[Array], a: dict[str, Any], dtype: str) -> Array:
    g = geometry(a)
    x = xs[0] if xs[0].dtype.kind in "iu" else as_f32(xs[0])
    rows = g.sources(g.samples(len(x)))
    best = np.zeros((len(rows), x.shape[1]), np.int64 if x.dtype.kind in "iu" else F32)
    arg, first = np.zeros(best.shape, np.int64), np.ones((len(rows), 1), bool)
    for k in range(g.positions):
        inside = rows[:, k, None] >= 0
        t = x[rows[:, k]].astype(best.dtype)
        if a["how"] == "sum":
            best = np.where(inside, best + t, best)
            continue
        more = inside & (first | (t > best))
        best, arg, first = np.where(more, t, best), np.where(more, k, arg), first & ~inside
    return arg >> a["plane"] & 1 == 1 if a["how"] == "route" else best.astype(NUMPY[dtype])


add_op(
    "window",
    "window",
    _infer_window,
    _run_window,
    "over each window, pixels beyond the edge left out: the maximum (of bits: or), the sum in order (of integers:"
    " exact), or bit `plane` of the first maximum's position",
)


def _infer_unwindow(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    gy, *route = vs
    g, n = geometry(a), gy.shape[0] // geometry(a).out_pixels
    if (
        gy.dtype in (*INTEGERS, "bool")
        or any(r.shape != gy.shape or r.dtype != "bool" for r in route)
        or (route and 1 << len(route) < g.positions)
        or gy.shape[0] != n * g.out_pixels
    ):
        raise InternalError(f"unwindow of {gy}")
    return (n * g.pixels, gy.shape[1]), "f32"


def _run_unwindow(xs: Sequence[Array], a: dict[str, Any], dtype: str) -> Array:
    g = geometry(a)
    gy = as_f32(xs[0])
    position = sum((r.astype(np.int64) << i for i, r in enumerate(xs[1:])), np.zeros(gy.shape, np.int64))
    rows = g.targets(len(gy) // g.out_pixels)
    acc = np.zeros((len(rows), gy.shape[1]), F32)
    for k in reversed(range(g.positions)):  # the first window that meets a pixel does so at the last position
        r = rows[:, k, None]
        acc = acc + np.where((r >= 0) & ((position[rows[:, k]] == k) if len(xs) > 1 else True), gy[rows[:, k]], F32(0))
    return acc


add_op(
    "unwindow",
    "map",
    _infer_unwindow,
    _run_unwindow,
    "(g[, route...]): each pixel's sum, in order, of g over the windows it is in; with routes, of those that it is the"
    " maximum of",
)


def _window_of(rows: int, g: Geometry) -> Array:
    """int64 [rows]: the output row of the only window that a pixel is in, or the nearest one's where it is in none."""
    r = np.arange(rows)
    oy = np.minimum((r // g.width % g.height + g.top) // g.stride, g.out_height - 1)
    ox = np.minimum((r % g.width + g.left) // g.stride, g.out_width - 1)
    return (r // g.pixels * g.out_height + oy) * g.out_width + ox


def _infer_spread(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    g, n = geometry(a), vs[0].shape[0] // geometry(a).out_pixels
    if not g.disjoint or any(v.shape != (n * g.out_pixels, vs[0].shape[1]) for v in vs):
        raise InternalError(f"windows {g} of {[str(v) for v in vs]}")
    return (n * g.pixels, vs[0].shape[1]), vs[0].dtype


def _run_spread(xs: Sequence[Array], a: dict[str, Any], dtype: str) -> Array:
    g = geometry(a)
    return xs[0][_window_of(len(xs[0]) // g.out_pixels * g.pixels, g)]


add_op(
    "spread",
    "map",
    _infer_spread,
    _run_spread,
    "each pixel has the value of the window that it is in; windows do not overlap",
)


def _run_hit(xs: Sequence[Array], a: dict[str, Any], dtype: str) -> Array:
    g = geometry(a)
    rows = g.targets(len(xs[0]) // g.out_pixels)
    position = sum((r.astype(np.int64) << i for i, r in enumerate(xs)), np.zeros(xs[0].shape, np.int64))
    return np.any([(rows[:, k, None] >= 0) & (position[rows[:, k]] == k) for k in range(g.positions)], axis=0)


def _infer_hit(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    if any(v.dtype != "bool" for v in vs) or 1 << len(vs) < geometry(a).positions:
        raise InternalError(f"routes {[str(v) for v in vs]}")
    return _infer_spread(vs, a)


add_op("hit", "map", _infer_hit, _run_hit, "(route...): is the pixel the first maximum of the window that it is in?")


def _infer_join(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    (x,) = vs
    if x.shape[0] % a["steps"]:
        raise InternalError(f"{x} is not rows of {a['steps']}")
    return (x.shape[0] // a["steps"], a["steps"] * x.shape[1]), x.dtype


add_op(
    "join",
    "map",
    _infer_join,
    lambda xs, a, d: xs[0].reshape(xs[0].shape[0] // a["steps"], -1).copy(),
    "each `steps` rows side by side as one",
)


def _infer_turn(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    (x,) = vs
    if x.shape[0] % a["steps"] or x.dtype in ("bit", "bool"):
        raise InternalError(f"turn {a} of {x}")
    return (x.shape[0] // a["steps"] * x.shape[1], a["steps"]), x.dtype


def _run_turn(xs: Sequence[Array], a: dict[str, Any], dtype: str) -> Array:
    return xs[0].reshape(-1, a["steps"], xs[0].shape[1]).transpose(0, 2, 1).reshape(-1, a["steps"]).copy()


add_op("turn", "map", _infer_turn, _run_turn, "each `steps` rows of numbers transposed: a row a column, a column a row")
