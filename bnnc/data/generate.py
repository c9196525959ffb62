"""Data sets that are made, not found: the Random Prototypes task of the integer rules' papers.

Host side only; the arrays depend on nothing but the arguments.
"""

from __future__ import annotations

import numpy as np

from .bnnd import Dataset

_PATIENCE = 1000  # duplicates in a row after which there is no hope for another sample


def prototypes(
    n_train: int, n_test: int, bits: int = 1000, classes: int = 10, flip: float = 0.46, seed: int = 42
) -> Dataset:
    """Random Prototypes: a sample is the +-1 prototype of its class with each bit flipped with probability ``flip``.

    From one ``default_rng(seed)``: the prototypes, then class by class and sample by sample one vector of ``bits``
    uniform numbers, a bit is flipped where its number is below ``flip``.  A sample that is not new is drawn again.
    All classes are of one size, in the training part and in the test part; of each class the first samples are for
    training.  Raises ValueError where sizes are not multiples of ``classes`` or there are too few different samples.
    """
    if not 1 <= classes <= 256 or bits < 1 or not 0 <= flip <= 1:
        raise ValueError(f"{classes} classes (1 to 256), {bits} bits (at least 1), flip = {flip} (0 to 1)")
    if n_train % classes or n_test % classes or n_train < 0 or n_test < 0:
        raise ValueError(f"{n_train} and {n_test} samples cannot be shared equally among {classes} classes")
    rng = np.random.default_rng(seed)
    centre = rng.choice(np.array([-1, 1], np.int8), (classes, bits)) > 0
    per_class, fit = (n_train + n_test) // classes, n_train // classes
    x = np.empty((classes, per_class, bits), np.bool_)
    seen: set[bytes] = set()
    for c in range(classes):
        for i in range(per_class):
            x[c, i] = _fresh(rng, centre[c], flip, seen)
    y = np.repeat(np.arange(classes, dtype=np.uint8)[:, None], per_class, axis=1)
    return Dataset(
        np.concatenate([x[:, :fit].reshape(-1, bits), x[:, fit:].reshape(-1, bits)]),
        np.concatenate([y[:, :fit].ravel(), y[:, fit:].ravel()]),
        classes=classes,
        n_test=n_test,
    )


def _fresh(rng: np.random.Generator, centre: np.ndarray, flip: float, seen: set[bytes]) -> np.ndarray:
    for _ in range(_PATIENCE):
        x = centre ^ (rng.random(len(centre)) < flip)
        key = np.packbits(x).tobytes()
        if key not in seen:
            seen.add(key)
            return x
    raise ValueError("too few different samples: more bits, or a flip probability nearer to 0.5")
