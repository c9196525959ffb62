"""Fixed classifiers: C prototypes of D bits, built at compile time from a seed.

A record's ``impl(call, seed, number, classes, width)`` gives them, int8 [classes, width].
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .. import rng
from ..model import Call
from ..registry import About, Named, Param, classifiers

MAX_BITS = 1 << 26  # of a program's fixed matrices
MAX_ENTRIES, MAX_ROWS, MAX_TRIALS = 1 << 17, 4096, 1 << 25  # of frames, which take seconds to make
NARROW = 16  # times the trials: up to here what a flip changes is worth keeping for every entry
DRAWN = 1 << 20  # random numbers at a time
RANDOM = Call("random")
BEF = Call("bef", (("alpha", 0.0), ("trials", 40)))


@lru_cache(maxsize=64)
def random_matrix(seed: int, stream: int, rows: int, cols: int) -> np.ndarray:
    """int8 [rows, cols] of +-1."""
    n = rows * cols
    bits = np.concatenate([rng.signs(seed, stream, min(DRAWN, n - i), i) for i in range(0, n, DRAWN)])
    return np.where(bits, 1, -1).astype(np.int8).reshape(rows, cols)


def random_prototypes(seed: int, number: int, classes: int, width: int) -> np.ndarray:
    """int8 [classes, width] of +-1; ``number`` tells the classifiers of several layers apart."""
    return random_matrix(seed, rng.CLASSIFIERS[number], classes, width)


@lru_cache(maxsize=64)
def equiangular_frame(
    seed: int, number: int, classes: int, width: int, alpha: float = 0.0, trials: int = 40
) -> np.ndarray:
    """int8 [classes, width], after ``trials`` trials per entry.  ``alpha`` 0: 1 up to ten classes and 25 beyond, which
    keeps the spread of the products small."""
    rows = random_prototypes(seed, number, classes, width).astype(np.int32)
    pairs = classes * (classes - 1) // 2
    if not pairs or not trials:
        return rows.astype(np.int8)
    alpha = alpha or (1.0 if classes <= 10 else 25.0)
    f = _Frame(rows, width <= NARROW * trials)
    s1, s2 = f.sums()
    trials *= classes * width

    def change(d1: Any, d2: Any) -> Any:
        """How J changes with the sum of the products and with that of their squares."""
        new1, new2 = s1 + d1, s2 + d2
        return d1 + alpha * ((new2 / pairs - (new1 / pairs) ** 2) - (s2 / pairs - (s1 / pairs) ** 2))

    block = 64
    for first in range(0, 2 * trials, 2 * DRAWN):
        draws = rng.philox(seed, rng.FRAMES[number], min(2 * DRAWN, 2 * trials - first), first).astype(np.uint64)
        which, where = (((draws[i::2] * n) >> np.uint64(32)).astype(np.int64) for i, n in enumerate((classes, width)))
        t = 0
        while t < len(which):  # most flips are refused: judge many at once, up to the first that is not
            d1, d2 = f.flips(which[t : t + block], where[t : t + block])
            slack = 1e-9 * (abs(s2) + 1) * (1 + alpha)  # NumPy rounds a square as Python does not always
            for at in np.flatnonzero(change(d1, d2) < slack).tolist():
                if change(int(d1[at]), int(d2[at])) < 0:
                    s1, s2 = s1 + int(d1[at]), s2 + int(d2[at])
                    f.flip(int(which[t + at]), int(where[t + at]))
                    t, block = t + at + 1, max(64, 2 * at)
                    break
            else:
                t, block = t + block, min(1 << 16, 2 * block, max(64, DRAWN // classes))
    return f.rows.astype(np.int8)


class _Frame:
    """Rows of +-1, their products, and where it is ``kept`` of each entry (i, k) its pull: the sum over the other rows
    j of product[i][j] rows[j][k], at most classes * width."""

    def __init__(self, rows: np.ndarray, kept: bool) -> None:
        self.rows, self.columns, self.turned = rows, rows.sum(0), np.ascontiguousarray(rows.T)
        wide = rows.astype(np.float64)  # exact, and much faster than integers
        self.products = (wide @ wide.T).astype(np.int32)
        np.fill_diagonal(self.products, 0)
        self.pull = (self.products @ wide).astype(np.int32) if kept else None
        self.room = np.empty_like(self.pull) if kept else None

    def sums(self) -> tuple[int, int]:
        """Of the products of all pairs, and of their squares."""
        return int(self.products.sum(dtype=np.int64)) // 2, int((self.products.astype(np.int64) ** 2).sum()) // 2

    def flips(self, which: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How both sums change with one entry's flip, for many entries."""
        old = self.rows[which, where].astype(np.int64)
        pull = (
            np.einsum("ij,ij->i", self.products[which], self.turned[where])
            if self.pull is None
            else self.pull[which, where]
        )
        return -2 * old * (self.columns[where] - old), -4 * old * pull + 4 * (len(self.rows) - 1)

    def flip(self, i: int, k: int) -> None:
        """Change the sign of entry (i, k), and what follows from it."""
        old, row = int(self.rows[i, k]), self.rows[i]
        step = -2 * old * self.turned[k]  # of the products of row i
        step[i] = 0
        self.products[i] += step
        self.products[:, i] += step
        if self.pull is not None:
            self.pull += np.multiply.outer(step, row, out=self.room)
            self.pull[i] += step @ self.rows
            self.pull[:, k] -= 2 * old * self.products[i]
        self.rows[i, k] = self.turned[k, i] = -old
        self.columns[k] -= 2 * old


def too_large(call: Call, classes: int, widths: list[int]) -> tuple[str, str] | None:
    """Message and help where the classifiers of layers of these widths are too large to be made."""
    entries = classes * sum(widths)
    trials = dict(call.args).get("trials", 0)
    if trials and (entries > MAX_ENTRIES or classes > MAX_ROWS or trials * entries > MAX_TRIALS):
        fewer = MAX_TRIALS // entries if entries <= MAX_ENTRIES and classes <= MAX_ROWS else 0
        return (
            f"a classifier of {classes} x {sum(widths)} bits, with {trials} trials each, takes too long to make",
            (
                f"write `classifier = {call.name}(trials = {fewer})` or less"
                if fewer
                else "write `classifier = random`, or use fewer units"
            ),
        )
    if entries > MAX_BITS:
        return (
            f"fixed classifiers of {entries} bits are too large: at most 2^{MAX_BITS.bit_length() - 1}",
            "use fewer units",
        )
    return None


def _example(classifier: str) -> str:
    layers = "input u8[9] median(pad_odd = on); dense 105; sign; dense 4; loss;"
    return f"network tiny {{ {layers} }}\nrule bep(classifier = {classifier});\n"


classifiers.add(
    Named(
        "random",
        "independent random prototypes",
        (),
        lambda call, seed, number, classes, width: random_prototypes(seed, number, classes, width),
        About(
            formula="P[c, k] = +1 or -1 with equal probability, each for itself",
            source="2412.00119",
            gives="a fixed matrix of bits [classes, width]",
            example=_example("random"),
        ),
    )
)
classifiers.add(
    Named(
        "bef",
        "prototypes that are nearly equally far apart",
        (
            Param(
                "alpha",
                "float",
                0.0,
                "weight of the spread of the products; 0: 1 up to ten classes, 25 beyond",
                minimum=0,
            ),
            Param("trials", "int", 40, "trials per entry", minimum=0, maximum=10000),
        ),
        lambda call, seed, number, classes, width: equiangular_frame(
            seed, number, classes, width, call["alpha"], call["trials"]
        ),
        About(
            formula="J = sum + alpha variance of the products of all pairs of rows\n"
            "trials * classes * width random entries are flipped where that lowers J",
            source="2512.04189, appendix C",
            gives="a fixed matrix of bits [classes, width]",
            example=_example("bef(trials = 20)"),
        ),
    )
)
