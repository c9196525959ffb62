"""`allow { ... }` with `--ram`: the gentlest plan that fits is taken, and `explain --peak` says where the memory
goes.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner

from bnnc import budget, parse
from bnnc.cli import cli
from bnnc.diag import BnncError
from bnnc.plan.cost import step_cost

pytestmark = pytest.mark.usefixtures("plans_once")

NET = """network small {
  input u8[12, 12, 3];
  conv 64 padding = same; batchnorm; sign;
  conv 64 padding = same; maxpool; batchnorm; sign;
  flatten; dense 5; batchnorm; loss;
}
rule edge;
train { batch = 20; }
"""
ALLOW = "allow { recompute = on; optimizer = adam(v = elide); optimizer = bop; batch = 10; }\n"


@pytest.fixture(scope="module")
def totals() -> dict[str, int]:
    """Bytes of every plan that ALLOW gives, planned one by one."""
    out = {}
    for recompute, optimizer, batch in product(("off", "on"), ("adam", "adam(v = elide)", "bop"), (20, 10)):
        changes = [f"recompute = {recompute}"] * (recompute == "on") + [f"optimizer = {optimizer}"] * (
            optimizer != "adam"
        )
        net = parse(NET).with_(recompute=recompute, optimizer=optimizer, batch=batch)
        out[", ".join(changes + [f"batch = {batch}"] * (batch == 10)) or "as the spec is"] = net.plan().total_bytes
    return out


def test_all_combinations_are_planned(totals: dict[str, int]) -> None:
    plan = parse(NET + ALLOW).plan(ram=max(totals.values()))
    assert {c.text: c.total for c in plan.choices} == totals
    assert budget.taken(plan.choices, plan.planned) == ""  # the spec fits as it is


def test_what_keeps_the_learning_comes_first(totals: dict[str, int]) -> None:
    """A byte less than the spec needs: recomputing, though another optimiser would cost fewer operations."""
    plan = parse(NET + ALLOW).plan(ram=totals["as the spec is"] - 1)
    assert budget.taken(plan.choices, plan.planned) == "recompute = on" and plan.total_bytes == totals["recompute = on"]
    cheaper = min(plan.choices, key=lambda c: c.operations)
    assert cheaper.learning and cheaper.total < totals["as the spec is"]
    assert step_cost(plan.planned.placed.train).operations > cheaper.cost.operations


def test_then_what_the_spec_names_first(totals: dict[str, int]) -> None:
    limit = totals["recompute = on"] - 1
    plan = parse(NET + ALLOW).plan(ram=limit)
    one = [c for c in plan.choices if c.total <= limit and c.learning == 1]
    assert plan.planned is min(one, key=lambda c: (c.rank, c.operations)).planned
    assert "elide" in budget.taken(plan.choices, plan.planned)  # named before bop, which would cost fewer operations


def test_nothing_that_is_allowed_fits(totals: dict[str, int]) -> None:
    with pytest.raises(BnncError) as e:
        parse(NET + ALLOW).plan(ram=min(totals.values()) - 1)
    assert e.value.exit_code == 3 and e.value.diagnostics[0].code == "B0601"
    notes = [text for _, text in e.value.diagnostics[0].notes]
    assert notes[0] == "the least that `allow` gives: recompute = on, optimizer = bop, batch = 10"


def test_without_allow_nothing_is_changed(totals: dict[str, int]) -> None:
    with pytest.raises(BnncError) as e:
        parse(NET).plan(ram=totals["as the spec is"] - 1)
    notes = "\n".join(text for _, text in e.value.diagnostics[0].notes)
    assert f"way out: recompute = on: {budget.spaced(totals['recompute = on'])} B, fits" in notes


def test_the_front_holds_what_nothing_beats(totals: dict[str, int]) -> None:
    bop_first = "allow { optimizer = bop; recompute = on; optimizer = adam(v = elide); batch = 10; }\n"
    found = list(parse(NET + bop_first).plan(ram=max(totals.values())).choices)
    front = budget.front(found)
    assert 2 < len(front) < len(found)
    for c in found:
        beaten = any(
            d.total <= c.total
            and d.operations <= c.operations
            and (d.learning, d.rank) <= (c.learning, c.rank)
            and (d.total, d.operations, d.learning, d.rank) != (c.total, c.operations, c.learning, c.rank)
            for d in found
        )
        assert beaten != (c in front)


RULES = "allow { rule = edge(state = i8); optimizer = adam(v = elide); rule = edge(gradient = i8); }\n"


def test_rules_are_allowed() -> None:
    """Each that the optimiser can have: `state = i8` has no second moment."""
    net = parse(NET + RULES)
    found = {c.text: c.total for c in budget.choices(net.options(), net.plan().planned)}
    one, other, elide = "rule = edge(state = i8)", "rule = edge(gradient = i8)", "optimizer = adam(v = elide)"
    assert set(found) == {"as the spec is", other, elide, f"{one}, {elide}", f"{other}, {elide}"}
    both = net.with_(rule="edge(state = i8)", optimizer="adam(v = elide)").plan().total_bytes
    assert found[f"{one}, {elide}"] == both < found[elide]
    taken = net.plan(ram=both)
    assert (taken.total_bytes, budget.taken(taken.choices, taken.planned)) == (both, f"{one}, {elide}")


def test_a_rule_that_no_allowed_optimiser_can_have_says_why() -> None:
    notes = notes_of(NET + "allow { rule = edge(state = i8); recompute = on; }\n", 1000)
    assert any(n.startswith("no way out: rule = edge(state = i8): `state = i8`") for n in notes)


@pytest.mark.parametrize("rule", ["edge", "drtp(numerics = edge)"])
def test_explain_peak_knows_whole_numbers(rule: str) -> None:
    """Each option of the numbers, with an optimiser that it can have, and what they save together."""
    net = parse(NET.replace("rule edge", f"rule {rule}"))
    found = {w.change: w.arena for w in budget.what_if(net.options(), net.plan().planned)}
    other, elide = rule.replace("edge", "edge(state = i8)"), "adam(v = elide)"
    state = found[f"rule {other}, optimizer = {elide}"]
    assert state == net.with_(rule=other, optimizer=elide).plan().arena_bytes
    if rule == "edge":  # drtp holds one block's gradients at a time: the peak is not there
        together = found[f"rule edge(state = i8, gradient = i8), optimizer = {elide}"]
        assert together < min(state, found["rule edge(gradient = i8)"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("allow { recompute; }", "B0206"),
        ("allow { rule edge; }", "B0206"),
        ("allow { rule = edgy; }", "B0204"),
        ("allow { rule = edge(state = i9); }", "B0403"),
        ("allow { epochs = 3; }", "B0206"),
        ("allow 3 { }", "B0408"),
        ("allow { batch = 0; }", "B0402"),
        ("allow { optimizer = ada; }", "B0204"),
    ],
)
def test_mistakes(text: str, code: str) -> None:
    with pytest.raises(BnncError) as e:
        parse(NET + text)
    assert [d.code for d in e.value.diagnostics] == [code]


def test_a_checkpoint_does_not_know_of_recomputing() -> None:
    a, b = parse(NET), parse(NET + ALLOW).with_(recompute="on")
    assert a.model.hash == b.model.hash
    assert a.plan().planned.placed.plan.state_bytes == b.plan().planned.placed.plan.state_bytes


def test_explain_peak(tmp_path: Path) -> None:
    file = tmp_path / "net.bnn"
    file.write_text(NET, encoding="utf-8")
    shown = CliRunner().invoke(cli, ["explain", "--peak", str(file)])
    found = json.loads(CliRunner().invoke(cli, ["explain", "--peak", str(file), "--json"]).stdout)
    plan = parse(NET).plan().planned.placed.plan
    assert shown.exit_code == 0 and plan.steps[plan.peak_step].name in shown.stdout
    assert found["live_bytes"] == plan.lower_bound == sum(b["bytes"] for b in found["live"])
    changes = {c["change"]: c for c in found["changes"]}
    assert changes["recompute = on"]["arena"] == parse(NET).with_(recompute="on").plan().arena_bytes < plan.arena_bytes
    assert changes["optimizer = bop"]["learns_differently"]
    assert [c["arena"] for c in found["changes"]] == sorted(c["arena"] for c in found["changes"])


# -- what cannot learn -------------------------------------------------------------------------------------------------

SMALL = "network net { input u8[60]; dense 900; batchnorm; sign; dense 10; batchnorm; loss; }\nrule edge;\n"
IMAGES = "network net { input u8[8, 8, 1]; conv 64; batchnorm; sign; flatten; dense 10; loss; }\nrule edge;\n"


def notes_of(text: str, ram: int) -> list[str]:
    with pytest.raises(BnncError) as e:
        parse(text).plan(ram=ram)
    (d,) = e.value.diagnostics
    assert d.code == "B0601"
    return [note for _, note in d.notes]


def test_a_batch_that_cannot_learn_is_no_way_out() -> None:
    """It is named with the reason; all together takes the least batch that can."""
    notes = notes_of(SMALL + "train { batch = 4; }", 1000)
    reason = (
        "`batchnorm1` would see 2 values of each channel in a step, and from fewer than 3 hardly anything is learnt"
    )
    assert f"no way out: batch = 2: {reason}" in notes and f"no way out: microbatch = 2: {reason}" in notes
    assert not any(n.startswith(("way out: batch", "way out: microbatch")) for n in notes)
    assert any(n.startswith("way out: all together (batch = 3, ") for n in notes)
    fits = parse(SMALL + "train { batch = 4; }").plan(batch=2).total_bytes
    notes = notes_of(SMALL + "train { batch = 4; }", fits)
    assert any(n.startswith("no way out: batch = 2 (the largest that fits): ") for n in notes)


def test_pixels_are_rows_of_a_channel_too() -> None:
    """A convolution's normalisation has 36 values of a channel for one sample; a rule without one is free."""
    notes = notes_of(IMAGES + "train { batch = 2; }", 1000)
    assert any(n.startswith("way out: all together (batch = 1, ") for n in notes) and not any(
        n.startswith("no way out") for n in notes
    )
    bits = (
        "network net { input bit[65]; dense 65; batchnorm; sign; dense 10; loss; }\nrule local;\ntrain { batch = 2; }"
    )
    assert not any(n.startswith("no way out: batch") for n in notes_of(bits, 1000))


def test_what_is_allowed_is_not_taken_where_it_cannot_learn() -> None:
    text = SMALL + "train { batch = 12; }\nallow { batch = 2; batch = 4; microbatch = 6; }"
    net = parse(text)
    least = net.plan(batch=4).total_bytes
    plan = net.plan(ram=least)
    assert plan.planned.model.batch == 4 and all(c.planned.model.part > 2 for c in plan.choices)
    notes = notes_of(text, net.plan(batch=2).total_bytes)
    assert any(n.startswith("no way out: batch = 2: ") for n in notes)


@pytest.mark.parametrize(
    ("text", "train", "warned"),
    [
        (SMALL, "batch = 2;", True),
        (SMALL, "batch = 3;", False),
        (SMALL, "batch = 6; microbatch = 3;", True),
        (SMALL, "batch = 6; microbatch = 2;", False),
        (IMAGES, "batch = 1;", False),
        (IMAGES.replace("dense 10;", "dense 10; batchnorm;"), "batch = 1;", True),
        (SMALL.replace("rule edge", "rule local").replace("u8[60]", "bit[60]"), "batch = 2;", False),
    ],
)
def test_check_warns_of_a_batch_that_cannot_learn(text: str, train: str, warned: bool) -> None:
    found = [d for d in parse(text + f"train {{ {train} }}").warnings if d.code == "B0511"]
    assert len(found) == warned
    if found:
        batch, least = found[0].help.split("`")[1], found[0].help.split("`")[1].split()[2].rstrip(";")
        assert batch.startswith("batch = ") and not [
            d for d in parse(text + f"train {{ {train} }}").with_(batch=int(least)).warnings if d.code == "B0511"
        ]
