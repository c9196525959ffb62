"""Memory in the books of a real Linux kernel for ARM (benchmarks/arm_rss.py): at most the plan's total, and 128 KiB
less at most.
"""

from __future__ import annotations

from pathlib import Path

import arm_rss
import cross
import pytest

import bnnc
from bnnc.backends.c.targets import TARGETS

pytestmark = pytest.mark.arm


@pytest.fixture(scope="module")
def kernel() -> Path:
    cross.need(TARGETS["rpi"], system="qemu-system-aarch64")
    try:
        return arm_rss.fetch_kernel()
    except RuntimeError as e:
        pytest.skip(f"Debian's arm64 kernel cannot be fetched: {e}")


@pytest.mark.parametrize(("rule", "batch"), [("edge", 100), ("standard", 1000)])
def test_the_peak_is_as_planned(kernel: Path, tmp_path: Path, rule: str, batch: int) -> None:
    net = bnnc.load(arm_rss.EXAMPLES / "mnist_mlp" / "mnist_mlp.bnn").with_(rule=rule)
    r = arm_rss.measure(kernel, net, arm_rss.mnist(tmp_path), batch)
    assert (
        r["planned"] - arm_rss.WITHIN <= r["peak"] <= r["planned"] and r["arena"] < r["peak"] and r["own"] == r["peak"]
    )


def test_with_a_smaller_limit_it_does_not_even_start(kernel: Path, tmp_path: Path) -> None:
    net = bnnc.load(arm_rss.EXAMPLES / "mnist_mlp" / "mnist_mlp.bnn")
    with pytest.raises(RuntimeError, match="the guest did not train"):
        arm_rss.measure(kernel, net, arm_rss.mnist(tmp_path), 100, less=arm_rss.GAP)
