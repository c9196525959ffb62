"""Fixed classifiers: C prototypes of D bits, built at compile time from a seed.

random   independent +-1 entries (local error signals, 2412.00119)
bef      binary equiangular frame (BEP, 2512.04189, appendix C): coordinate descent on
         J = sum of products + alpha * variance of products over all pairs of rows, accepting flips that lower J
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .. import rng
from ..model import Call
from ..registry import Named, Param, classifiers

CLASSIFIER_STREAM = 0xF0000000  # + the layer's number: apart from the streams of initial weights
RANDOM = Call("random")
BEF = Call("bef", (("alpha", 0.0), ("trials", 40)))


@lru_cache(maxsize=64)
def random_prototypes(seed: int, number: int, classes: int, width: int) -> np.ndarray:
    """int8 [classes, width] of +-1."""
    bits = rng.signs(seed, CLASSIFIER_STREAM + number, classes * width)
    return np.where(bits, 1, -1).astype(np.int8).reshape(classes, width)


@lru_cache(maxsize=64)
def equiangular_frame(seed: int, number: int, classes: int, width: int, alpha: float = 0.0, trials: int = 40) -> np.ndarray:
    """int8 [classes, width], after ``trials`` trials per entry.  ``alpha`` 0: 1 up to ten classes and 25 beyond, which keeps
    the spread of the products small."""
    rows = random_prototypes(seed, number, classes, width).astype(int).tolist()
    gram = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
    pairs = classes * (classes - 1) // 2
    if pairs == 0:
        return np.array(rows, np.int8)
    alpha = alpha or (1.0 if classes <= 10 else 25.0)
    s1 = sum(gram[i][j] for i in range(classes) for j in range(i))
    s2 = sum(gram[i][j] ** 2 for i in range(classes) for j in range(i))
    trials *= classes * width
    draws = rng.philox(seed, CLASSIFIER_STREAM + 0x1000 + number, 2 * trials).astype(np.uint64)
    which, where = ((draws[0::2] * classes) >> np.uint64(32)).tolist(), ((draws[1::2] * width) >> np.uint64(32)).tolist()
    for i, k in zip(which, where, strict=True):
        flip = -2 * rows[i][k]
        change = [flip * rows[j][k] for j in range(classes)]
        d1 = sum(change) - change[i]
        d2 = sum((2 * gram[i][j] + change[j]) * change[j] for j in range(classes) if j != i)
        new1, new2 = s1 + d1, s2 + d2
        if d1 + alpha * ((new2 / pairs - (new1 / pairs) ** 2) - (s2 / pairs - (s1 / pairs) ** 2)) < 0:
            rows[i][k] = -rows[i][k]
            for j in range(classes):
                if j != i:
                    gram[i][j] += change[j]
                    gram[j][i] = gram[i][j]
            s1, s2 = new1, new2
    return np.array(rows, np.int8)


classifiers.add(Named("random", "independent random prototypes", (),
                      lambda call, seed, number, classes, width: random_prototypes(seed, number, classes, width)))
classifiers.add(Named("bef", "prototypes that are nearly equally far apart", (
    Param("alpha", "float", 0.0, "weight of the spread of the products; 0: 1 up to ten classes, 25 beyond", minimum=0),
    Param("trials", "int", 40, "trials per entry", minimum=0, maximum=10000),
), lambda call, seed, number, classes, width: equiangular_frame(seed, number, classes, width, call["alpha"], call["trials"])))
