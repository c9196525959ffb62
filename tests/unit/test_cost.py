"""The cost of a step, against counts by hand."""

from __future__ import annotations

import re
from dataclasses import astuple

import pytest

import bnnc
from bnnc.driver import emit_source
from bnnc.plan.cost import Cost, added

MLP = (
    "network n {{ input {0}; dense 32; batchnorm; sign; dense 10; batchnorm; loss; }}\nrule standard;\ntrain {{ batch ="
    " 8; }}"
)
CONV = """network n { input u8[6, 5, 3];
  conv 8, kernel = 3, padding = same; batchnorm; sign; flatten; dense 4; batchnorm;
  loss; }
train { batch = 2; }"""


def cost(text: str) -> Cost:
    return bnnc.parse(text).plan().planned.report.cost


def test_products_of_a_perceptron_are_counted_by_term() -> None:
    """Forward bits x bits; the gradients float x bits: of all weights, and of the second layer's inputs."""
    bits = cost(MLP.format("bit[100]"))
    assert bits.bits == 8 * (100 * 32 + 32 * 10) and bits.signed == 8 * (100 * 32 + 2 * 32 * 10) and bits.numbers == 0
    whole = cost(MLP.format("u8[100]"))
    assert (
        whole.bits == 8 * (8 * 100 * 32 + 32 * 10) and whole.signed == 8 * 2 * 32 * 10 and whole.numbers == 8 * 100 * 32
    )


def test_sums_of_whole_numbers_are_two_in_the_place_of_one() -> None:
    whole = cost(MLP.format("bit[100]").replace("rule standard", "rule edge(gradient = i8)"))
    assert whole.signed == 8 * (100 * 32 + 2 * 32 * 10) // 2 and whole.numbers == 0


def test_convolutions_meet_every_pixel_with_every_position() -> None:
    c = cost(CONV)
    first, last = 2 * 30 * (9 * 3) * 8, 2 * 240 * 4
    assert c.bits == 8 * first + last and c.numbers == first and c.signed == 2 * last


def test_bytes_are_those_of_the_buffers_that_kernels_touch() -> None:
    p = bnnc.parse(MLP.format("bit[100]")).plan().planned
    train = p.placed.train
    assert p.report.cost.moved == sum(train.storage[n].nbytes for k in train.kernels for n in {*k.reads, *k.writes})
    assert (
        p.report.cost.moved > p.placed.plan.state_bytes
        and p.report.to_json()["step_cost"]["moved"] == p.report.cost.moved
    )


def test_instructions_at_least() -> None:
    c = Cost(bits=1280, signed=160, numbers=40, elements=400, moved=1600)
    assert c.instructions(128) == 3 * 10 + 10 + 20 + 100 + 100 and added([c, c]) == Cost(2560, 320, 80, 800, 3200)
    assert c.operations == 1880


def test_the_program_holds_what_the_plan_counts() -> None:
    """Its table of costs, which `bench` predicts with, adds up to the plan's."""
    planned = bnnc.parse(CONV).plan().planned
    source = emit_source(planned)
    rows = re.findall(
        r"^    K\(((?!eval_)\w+), \w+, (\d+), ([-0-9.,ef ]+), (?:AT\(|NULL)", source.text[source.main], re.M
    )
    assert [name for name, _, _ in rows] == [k.name for k in planned.placed.train.kernels]
    columns = zip(*([float(x.rstrip("f")) for x in counts.split(", ")] for _, _, counts in rows), strict=True)
    assert [sum(c) for c in columns] == pytest.approx(astuple(planned.report.cost), rel=1e-6)
