"""What the Python trainer says of classes, as ``bnnc_measure.h``: pairs of as many as its scratch holds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bnnc.backends.triton.measure import PAIRS, balanced, by_class, table

RUNTIME = Path(__file__).parents[2] / "templates/c/runtime"


def test_pairs_are_told_of_as_many_classes_as_in_c() -> None:
    on_linux = max(map(int, re.findall(r"BNNC_IO_BYTES = (\d+)", (RUNTIME / "bnnc_sys_common.h").read_text())))
    assert on_linux == PAIRS**2 * 4
    for n in (3, PAIRS, PAIRS + 1):
        confusion = np.arange(n * n).reshape(n, n)
        found = by_class(confusion, ("a", "b"))
        assert found.get("confusion") == (confusion.tolist() if n <= PAIRS else None)
        assert [c["samples"] for c in found["classes"]] == confusion.sum(1).tolist()
        assert found["classes"][1]["name"] == "b" and "name" not in found["classes"][2]


def test_a_class_that_is_not_there_does_not_count() -> None:
    confusion = np.array([[3, 1, 0], [0, 0, 0], [1, 0, 1]])
    assert balanced(confusion) == (3 / 4 + 1 / 2) / 2
    lines = table(confusion, ())
    assert lines[4].split() == ["1", "0", "-", "0.00", "%"] and lines[-1].split() == ["2", "1", "0", "1"]
