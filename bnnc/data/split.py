"""A test split that each sample's own bytes decide: it stays where it is when others come, and equal samples are never
on both sides.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from ..diag import error
from .bnnd import Dataset


def split(d: Dataset, share: float) -> Dataset:
    """The same samples, those of the test split behind the others.  Raises as :func:`sides`."""
    order, n_test = sides(d.x, d.n_test, share)
    return replace(d, x=d.x[order], y=d.y[order], n_test=n_test)


def sides(x: np.ndarray, n_test: int, share: float) -> tuple[np.ndarray, int]:
    """(order i64[n], how many of the last are the test's) of samples (n, ...), of which ``n_test`` are one already.

    About ``share`` of them (0 to 1, not included): a sample is a test's where the first 8 bytes of its bytes' SHA-256,
    as a fraction of 2^64, are below ``share``.  Raises BnncError B0805 where there is a test split already, or where
    one side would be empty.
    """
    if not 0 < share < 1:
        raise error("B0805", f"a test split of {share:g} of the samples", exit_code=2, help="give 20%, say")
    if n_test:
        raise error("B0805", f"the last {n_test} samples are a test split already", exit_code=5, help="keep it")
    rows = np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint8)
    heads = b"".join(hashlib.sha256(row.tobytes()).digest()[:8] for row in rows)
    test = np.frombuffer(heads, ">u8") < share * 2.0**64
    if test.all() or not test.any():
        raise error(
            "B0805",
            f"{len(x)} samples are too few: none would be left to {'train on' if test.any() else 'test with'}",
            exit_code=5,
            help="more samples, or another share",
        )
    return np.concatenate([np.flatnonzero(~test), np.flatnonzero(test)]), int(test.sum())
