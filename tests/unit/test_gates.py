"""Gate counts of a training step: the published column of 2412.00119, and hand-computed counts of the other rules."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from helpers import sequence_spec, spec

import bnnc
from bnnc import registry
from bnnc.papers.gates import Gates

INPUTS = {"prototypes": 1000, "fashion": 784, "cifar10": 9216, "imagenette": 2304}


def count(widths: list[int], rule: str, batch: int = 100, optimizer: str = "adam") -> Gates:
    found = bnnc.parse(spec(widths, "bit", rule, optimizer, batch)).plan(threads=1).gates
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("data", "width", "depth", "printed"),
    [
        ("prototypes", 35, 2, "4.31e+07"),
        ("prototypes", 75, 2, "9.56e+07"),
        ("prototypes", 135, 2, "1.81e+08"),
        ("prototypes", 255, 2, "3.78e+08"),
        ("prototypes", 525, 2, "9.41e+08"),
        ("fashion", 35, 2, "3.44e+07"),
        ("fashion", 75, 2, "7.69e+07"),
        ("fashion", 135, 2, "1.48e+08"),
        ("fashion", 255, 2, "3.14e+08"),
        ("fashion", 525, 2, "8.10e+08"),
        ("fashion", 1035, 10, "1.22e+10"),
        ("cifar10", 35, 2, "3.74e+08"),
        ("imagenette", 35, 2, "9.56e+07"),
        ("imagenette", 525, 2, "1.73e+09"),
    ],
)
def test_gates_of_the_local_error_paper(data: str, width: int, depth: int, printed: str) -> None:
    """A batch of 100; the figures are those of the published formulas, to three digits."""
    assert f"{count([INPUTS[data], *[width] * depth, 10], 'local').total:.2e}" == printed


def test_back_projection_and_sparse_increments() -> None:
    b, k0, k1, k2, c, group, p_r = 7, 33, 15, 21, 4, 3, 0.5
    got = count([k0, k1, k2, c], f"bep(group = {group}, reinforce = {p_r})", b)
    weights = k0 * k1 + k1 * k2
    reinforced = sum(round(p_r * math.sqrt(2 / (math.pi * k)) * k * n) for k, n in ((k0, k1), (k1, k2)))
    assert got == Gates(
        xnor=b * (weights + k2 * c) + 9 * b * (k1 + k2) + 2 * weights + 2 * b * k1 * k2,
        popcount=b * (weights + k2 * c) + weights + b * (k1 * k2 + k2),
        increments=b * k0 * k1 // group + b * k1 * k2 // group + reinforced,
    )
    larger = count([k0, k1, k2, c], "bep(group = 3, reinforce = 0)", 2 * b)
    assert larger.increments == 2 * b * weights // group


@pytest.mark.parametrize(("optimizer", "work"), [("adam", 14), ("sgd", 2), ("bop", 5)])
@pytest.mark.parametrize("rule", ["standard", "edge"])
def test_real_gradients(rule: str, optimizer: str, work: int) -> None:
    k0, k1, k2, b = 33, 15, 4, 10
    assert count([k0, k1, k2], rule, b, optimizer) == Gates(
        floats=4 * b * k0 * k1 + 6 * b * k1 * k2 + work * (k0 * k1 + k1 * k2)
    )


def test_two_to_three_orders_and_weights() -> None:
    assert Gates(1, 2, 3, 4).total == 1 + 20 + 30 + 40_000
    ratio = count([784, 525, 525, 10], "standard").total / count([784, 525, 525, 10], "local").total
    assert 1e3 < ratio < 1e4


def test_a_rule_that_nobody_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = registry.rules["edge"]
    monkeypatch.setitem(registry.rules, "edge", replace(entry, impl=replace(entry.impl, gates=None)))
    assert bnnc.parse(spec()).plan(threads=1).gates is None


def test_gates_through_time() -> None:
    """By hand: 2 samples of 3 steps of 4 bits, expanded to 5, a state of 7, then 3 units, 2 classes; groups 7 and 3."""
    text = sequence_spec(3, 4, 7, 5, 2, "dense 3; sign;", batch=2, rule="bep(reinforce = 0)")
    count = bnnc.parse(text).plan(threads=1).gates
    assert count is not None
    forward, back = 6 * 4 * 5 + 6 * 12 * 7, 2 * 2 * 7 * 7  # expansion and recurrence; two steps back for two samples
    dense = 2 * 7 * 3 + 2 * 3 * 2 + 2 * 3 * 7  # forward, classifier, back
    others = 9 * (6 * 7 + 2 * 3) + 2 * (12 * 7 + 7 * 3)
    assert count.xnor == forward + back + dense + others + back + 2 * 7 * 3  # and the gates' AND
    assert count.popcount == forward + back + dense + 12 * 7 + 7 * 3 + 2 * 2 * 7 + 2 * 3
    assert count.increments == 2 * 3 * 12 * 7 // 7 + 2 * 7 * 3 // 3
