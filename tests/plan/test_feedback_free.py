"""What rules without a backward pass need on CNV and BinaryNet, batch 100, in the numbers of `edge`: all counted."""

from __future__ import annotations

from pathlib import Path

import pytest

import bnnc

EXAMPLES = Path(__file__).parents[2] / "examples"
MIB = 1 << 20


def total(name: str, rule: str, less: bool = False) -> float:
    """MiB of the process that trains an example by a rule; ``less``: strip by strip, and without Adam's v."""
    text = (EXAMPLES / name / f"{name}.bnn").read_text(encoding="utf-8")
    text = text.replace("rule edge;", f"rule {rule}(numerics = edge);")
    if less:
        text = text.replace(
            "optimizer = adam(lr = 1e-3);", "optimizer = adam(lr = 1e-3, v = elide); recompute = on;", 1
        )
    return bnnc.parse(text).plan().total_bytes / MIB


@pytest.mark.parametrize(
    ("name", "rule", "most"),
    [
        ("cnv_cifar10", "dfa", 23.1),
        ("cnv_cifar10", "drtp", 21.4),
        ("cnv_cifar10", "hsic", 24.3),
        ("cnv_cifar10", "sigprop_tl", 34.0),
        ("binarynet_cifar10", "dfa", 110.8),
        ("binarynet_cifar10", "drtp", 107.7),
        ("binarynet_cifar10", "hsic", 114.4),
        ("binarynet_cifar10", "sigprop_tl", 144.9),
    ],
)
def test_a_step_needs_at_most(name: str, rule: str, most: float) -> None:
    assert total(name, rule) <= most


@pytest.mark.parametrize(("name", "most"), [("cnv_cifar10", 9.7), ("binarynet_cifar10", 59.8)])
def test_strip_by_strip_it_needs_at_most(name: str, most: float) -> None:
    """The statistics of channels some channels at a time, then the bits of some samples at a time."""
    assert total(name, "drtp", less=True) <= most


def test_a_block_does_not_wait_for_a_vector_of_its_own() -> None:
    """A residual makes its input again, of a norm's shift, long after the block with that norm is done."""
    plan = bnnc.load(EXAMPLES / "resnete_cifar10" / "resnete_cifar10.bnn").with_(rule="drtp").plan().planned.placed.plan
    first = plan.named["conv1.y"]
    assert plan.steps[first.last].name.endswith("conv1_weight_m_new")
    assert first.last < plan.named["conv2.y"].first


def test_what_all_pixels_of_a_sample_have_is_not_spread_over_them() -> None:
    """The gradient behind a pool follows from a sample's signal where it is read."""
    plan = (
        bnnc.load(EXAMPLES / "binarynet_cifar10" / "binarynet_cifar10.bnn").with_(rule="drtp(numerics = edge)").plan()
    )
    assert not {"batchnorm2.dy", "batchnorm4.dy"} & set(plan.planned.placed.plan.named)
