"""Planning grows no faster than n log n in layers: Python calls are counted, which any machine counts alike.

``benchmarks/plan_time.py`` has the seconds.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from helpers import plan, with_slow

from bnnc import driver, knobs

FEW, MANY = 6, 24
NETS = {
    "dense": "input u8[64]; repeat {n} {{ dense 32; batchnorm; sign; }} dense 10; batchnorm; loss;",
    "conv": "input u8[8, 8, 3]; repeat {n} {{ conv 8 padding = same; batchnorm; sign; }}"
    " flatten; dense 10; batchnorm; loss;",
    "integers": "input bit[65]; repeat {n} {{ dense 33; sign; }} dense 10; loss;",
}
CASES = {
    "dense": ("dense", "edge", "off"),
    "dense in strips": ("dense", "edge", "on"),
    "conv": ("conv", "edge", "off"),
    "conv in strips": ("conv", "edge", "on"),
    "integers": ("integers", "bep(group = 3)", "off"),
}


def calls(name: str, n: int) -> int:
    """Python calls from the text to the plan."""
    layers, rule, recompute = CASES[name]
    text = f"network net {{ {NETS[layers].format(n=n)} }} rule {rule}; train {{ batch = 4; recompute = {recompute}; }}"
    count = 0

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        driver.plan_text(driver.Options(text), knobs.Knobs())
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("name", with_slow(CASES, ("dense", "conv", "dense in strips", "conv in strips")))
def test_planning_is_no_worse_than_n_log_n(name: str) -> None:
    few, many = calls(name, FEW), calls(name, MANY)
    assert many / few <= MANY * math.log(MANY) / (FEW * math.log(FEW)), (few, many)


def test_code_does_not_grow_with_the_window_of_a_global_pool() -> None:
    layers = "conv 3 3 padding = same; batchnorm; sign; globalavgpool; flatten; dense 4; loss"
    text = "network net {{ input bit[{0}, {0}, 2]; {1}; }} rule edge; train {{ batch = 2; }}"
    sources = [driver.emit_source(plan(text.format(n, layers))).text for n in (10, 40)]
    small, large = (sum(len(x) for name, x in s.items() if name.endswith("_kernels.h")) for s in sources)
    assert 0 < large < 1.1 * small
