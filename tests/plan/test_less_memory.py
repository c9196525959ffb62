"""What `recompute`, eliding and whole numbers leave of the memory at batch 100: README's table, and the least that the
process of an MLP needs.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

import bnnc
from bnnc import driver

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
SPECS = {
    "MLP": "mnist_mlp/mnist_mlp_u8",
    "MLP of bits": "mnist_mlp/mnist_mlp",
    "CNV": "cnv_cifar10/cnv_cifar10",
    "BinaryNet": "binarynet_cifar10/binarynet_cifar10",
}
ADAM, ELIDE = "adam(lr = 1e-3)", "adam(lr = 1e-3, v = elide)"
WHOLE = "edge(gradient = i8, state = i8)"
# columns of the table: rule, recompute, whether the second moment is elided
COLUMNS = (
    ("edge", "off", False),
    ("edge", "on", False),
    ("edge", "on", True),
    ("edge(state = i8)", "on", True),
    (WHOLE, "on", True),
)


@cache
def planned(network: str, rule: str, optimizer: str, recompute: str, target: str = "host") -> driver.Planned:
    net = bnnc.load(ROOT / "examples" / f"{SPECS[network]}.bnn")
    return net.with_(rule=rule, optimizer=optimizer, recompute=recompute, batch=100).plan(target, threads=1).planned


def arena(network: str, rule: str, optimizer: str, recompute: str) -> float:
    """MiB of weights, optimiser state, activations, statistics and the batch."""
    return planned(network, rule, optimizer, recompute).report.arena / MIB


def rows() -> dict[str, list[str]]:
    """README's table: of each network and optimiser the arenas, as they are written there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (\w+, (?:Adam|Bop)) \| [\d.]+ \|(.*)\|$", text, re.M)
    return {name: [x.strip() for x in cells.split("|")] for name, cells in found}


@pytest.mark.parametrize("row", [pytest.param(r, marks=pytest.mark.slow if "BinaryNet" in r else ()) for r in rows()])
def test_the_table_in_the_readme(row: str) -> None:
    network, optimizer = row.split(", ")
    cells = rows()[row]
    assert len(cells) == len(COLUMNS)
    for cell, (rule, recompute, elided) in zip(cells, COLUMNS, strict=True):
        if cell:
            chosen = "bop" if optimizer == "Bop" else ELIDE if elided else ADAM
            found = arena(network, rule, chosen, recompute)
            assert cell == f"{found:.{len(cell.partition('.')[2])}f}", (rule, recompute, chosen)


@pytest.mark.parametrize(
    ("network", "recompute", "most"),
    [
        ("MLP", "off", 1.10),
        ("MLP of bits", "off", 1.10),
        ("CNV", "off", 22),
        ("CNV", "on", 11.5),
        pytest.param("BinaryNet", "off", 66, marks=pytest.mark.slow),
        pytest.param("BinaryNet", "on", 44, marks=pytest.mark.slow),
    ],
)
def test_in_whole_numbers_it_needs_at_most(network: str, recompute: str, most: float) -> None:
    """Gradients and states of 8 bits; of convolutional networks with code, stacks and what the system maps."""
    p = planned(network, WHOLE, ELIDE, recompute)
    assert p.report.arena <= most * MIB
    assert p.report.total <= most * MIB or "MLP" in network


@pytest.mark.parametrize("target", ["rpi", "rpi2"])
def test_the_process_of_an_mlp_needs_at_most(target: str) -> None:
    """On a Raspberry Pi, whose system counts as far as it is in memory, with everything."""
    assert planned("MLP of bits", WHOLE, ELIDE, "off", target).report.total <= 1.10 * MIB


def test_the_least_that_the_process_of_an_mlp_needs() -> None:
    """On a PC 1.10 MiB are too few, with code, stack and the 132 KiB that its system maps, used or not: beside the
    states there is no room for a batch with the signs that its weight gradients read.
    """
    p = planned("MLP of bits", WHOLE, ELIDE, "on")
    plan, program = p.placed.plan, p.placed.program
    without = p.report.total - plan.arena_bytes + plan.state_bytes
    read = sum(plan.named[n].nbytes for n in ("x", *(f"sign{i}.out" for i in range(1, 5))))
    assert sum(program.value[s.name].shape[0] * program.value[s.name].shape[1] for s in program.trained) > 399_000
    assert without + read > 1.10 * MIB
    assert p.report.total <= 1.21 * MIB
