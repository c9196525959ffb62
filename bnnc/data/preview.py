"""One sample of a ``.bnnd`` file as text: images and bits drawn, tables and series as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from .bnnd import read_bnnd
from .readers import Source, fail

BARS = "▁▂▃▄▅▆▇█"
IMAGE = 8  # from so many rows and columns on bytes are an image
STEPS, PER_LINE, WIDTH = 6, 6, 48  # of a series the first steps; numbers of a table in a line; of a curve
LINE = 100  # characters of a table's line


def preview(path: Source, index: int = 0) -> str:
    """Sample ``index`` of a ``.bnnd`` file (negative: from the end).

    Images and bits are drawn in half-block characters, two rows a line: up to 4 channels are averaged; one axis becomes
    a square, or lines of 64; set is what lies above the middle of the range.  Of f32, and of bytes that are no image,
    the numbers are shown: all of a table's, of a series each channel's range and curve, and its first steps.
    """
    d = read_bnnd(path)
    if not -d.n <= index < d.n:
        raise fail("B0805", path, f"no sample {index}", f"the file holds samples 0..{d.n - 1}")
    index %= d.n
    x = d.x[index]
    split = "test" if index >= d.n - d.n_test else "train"
    name = f" ({d.names[d.y[index]]})" if d.names else ""
    title = f"sample {index} of {d.n} ({split}), label {d.y[index]}{name}, {d.kind}{list(d.shape)}"
    side = math.isqrt(x.size)
    image = d.kind == "u8" and (min(x.shape[:2]) >= IMAGE if x.ndim > 1 else side >= IMAGE and side * side == x.size)
    if d.kind == "bit" or image or x.ndim > 2:
        return "\n".join([title, *_drawn(x.astype(np.float64))])
    return "\n".join([title, *(_table(x, d.columns) if x.ndim == 1 else _series(x))])


def _drawn(x: np.ndarray) -> Iterator[str]:
    """Two rows a line."""
    if x.ndim == 3 and min(x.shape[0], x.shape[2]) <= 4:
        x = x.mean(axis=0 if x.shape[0] <= x.shape[2] else 2)
    side = math.isqrt(x.size)
    width = x.shape[-1] if x.ndim > 1 and x.shape[-1] > 1 else side if side * side == x.size else min(64, x.size)
    on = (x > (x.min() + x.max()) / 2).ravel()
    on = np.pad(on, (0, -on.size % (2 * width))).reshape(-1, width)
    return ("".join(" ▀▄█"[c] for c in line).rstrip() for line in on[::2] + 2 * on[1::2])


def _table(x: np.ndarray, columns: Sequence[str]) -> Iterator[str]:
    """A row's numbers behind the names, or numbers, of their columns."""
    cells = [f"{name}: {v:.6g}" for name, v in zip(columns or range(len(x)), x.tolist(), strict=True)]
    room = max(map(len, cells))
    per_line = max(1, min(PER_LINE, LINE // (room + 2)))
    for i in range(0, len(cells), per_line):
        yield "  ".join(f"{c:{room}}" for c in cells[i : i + per_line]).rstrip()


def _series(x: np.ndarray) -> Iterator[str]:
    """Of each channel the range, the mean and a curve; then the first steps.  Steps that are NaN do not exist."""
    there = x[~np.isnan(x).all(axis=1)] if x.dtype.kind == "f" else x
    for c, v in enumerate(there.T.astype(np.float64)):
        points = v[np.linspace(0, len(v) - 1, min(len(v), WIDTH)).astype(int)] if len(v) else v
        low, mean, high = (v.min(), v.mean(), v.max()) if len(v) else (math.nan,) * 3
        yield f"channel {c}: {low:.4g} to {high:.4g}, mean {mean:.4g}  {curve(points.tolist())}"
    for t, row in enumerate(there[:STEPS].tolist()):
        yield f"step {t}: " + "  ".join(f"{v:.6g}" for v in row)
    if len(there) > STEPS:
        yield f"... {len(there)} steps" + (f" of {len(x)}" if len(there) < len(x) else "")


def curve(values: Sequence[float]) -> str:
    """Values as a line of small bars."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    step = (high - low) / (len(BARS) - 1) or 1.0
    return "".join(BARS[round((v - low) / step)] for v in values)
