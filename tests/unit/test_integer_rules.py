"""Options and counters of the integer rules, in the interpreter: classifiers, group sizes, labels 0 and 1, what is
counted.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from helpers import batch_of, codes_of, plan, spec

from bnnc import rng
from bnnc.diag import BnncError
from bnnc.driver import Options, check_text
from bnnc.front import fmt
from bnnc.ir import interp
from bnnc.ir.interp import constant_array
from bnnc.ir.program import Counter
from bnnc.rules.frame import equiangular_frame, random_prototypes
from bnnc.sched.anchor import Group

integer = partial(spec, kind="bit", batch=20)


def run(
    text: str, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray], dict[str, str]]:
    """(states before, states after, all values, results by role) of one step of the schedules' Program."""
    planned = plan(text)
    p = planned.trace.results["simplify"].train
    before = interp.init_states(p, 7)
    values, after = interp.step(p, {**before, **batch_of(planned, seed)})
    return before, after, values, dict(p.results)


def classifier(text: str, name: str = "classifier") -> np.ndarray:
    p = plan(text).placed.program
    return constant_array(p.value[name], next(c for c in p.constants if c.name == name))


# -- counters ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", ["bep", "local", "bep(bits = 5, std = 2)"])
def test_flips_are_the_signs_that_change(rule):
    before, after, values, results = run(integer((33, 21, 15, 4), rule=rule))
    total = 0
    for layer in ("dense1", "dense2"):
        w = f"{layer}.weight"
        changed = (before[w] >= 0) != (after[w] >= 0)
        assert (values[results[Counter("flips", layer)]][:, 0] == changed.sum(axis=1)).all()
        total += changed.sum()
    assert total > 0


def test_triggers_are_the_samples_that_take_part():
    _, _, values, results = run(integer((33, 21, 15, 4), rule="bep"))
    assert values[results[Counter("trigger_rate", share=True)]].item() == values["trigger.trigger"].sum() > 0
    _, _, values, results = run(integer((33, 21, 15, 4), rule="local"))
    for layer in ("dense1", "dense2"):
        assert values[results[Counter("trigger_rate", layer, share=True)]].item() == values[f"{layer}.trigger"].sum()


@pytest.mark.parametrize("disable", [("sink",), ("fuse",), ("fuse", "sink"), ("simplify", "place")])
def test_counters_are_the_same_without_the_optional_passes(disable):
    """verify=2 interprets before and after each pass, the planned arena included, and compares all results."""
    for rule in ("bep", "local(classifier = bef)"):
        plan(integer((33, 21, 15, 4), rule=rule), disable=disable, verify=2)
        plan(integer((33, 21, 15, 4), rule=rule), verify=2)


def test_flips_ride_on_the_update():
    kernels = plan(integer((70, 35, 15, 4), rule="bep")).placed.train.kernels
    updates = [k for k in kernels if any(o.ref.role == "weight_new" for o in k.outputs)]
    assert len(updates) == 2 and all([o.row_sum for o in k.outputs] == [False, True] for k in updates)


# -- group sizes and classifiers ---------------------------------------------------------------------------------------
def test_each_layer_has_its_group_size():
    def sizes(group: str) -> list[int]:
        kernels = plan(integer((33, 105, 75, 4), rule=f"bep(group = {group})")).placed.train.kernels
        return [
            k.anchor.size.attr
            for k in sorted((k for k in kernels if isinstance(k.anchor, Group)), key=lambda k: k.where.layer)
        ]

    assert (
        sizes("15") == [15, 15]
        and sizes("[105, 25]") == [105, 25]
        and sizes("[0, 5]") == [105, 5]
        and sizes("0") == [105, 75]
    )


@pytest.mark.parametrize("group", ["[3, 5, 7]", "[3, 4]", "4", "[]"])
def test_group_sizes_must_fit(group):
    assert codes_of(integer((33, 21, 15, 4), rule=f"bep(group = {group})"))[:1] == ["B0501"]


def test_a_classifier_is_what_the_spec_names():
    text = integer((33, 21, 45, 12), rule="RULE")
    given = {
        r: classifier(text.replace("RULE", r))
        for r in (
            "bep",
            "bep(classifier = bef)",
            "bep(classifier = bef(alpha = 25))",
            "bep(classifier = bef(alpha = 1))",
            "bep(classifier = bef(trials = 0))",
            "bep(classifier = random)",
            "local",
            "local(classifier = bef)",
        )
    }
    same = {r: [q for q in given if (given[q] == given[r]).all()] for r in given}
    frame, random = "bep(classifier = bef)", "bep(classifier = random)"
    assert same[frame] == [
        "bep",
        frame,
        "bep(classifier = bef(alpha = 25))",
        "local(classifier = bef)",
    ]  # twelve classes: 25
    assert same[random] == ["bep(classifier = bef(trials = 0))", random, "local"]
    off = {r: np.abs(p.astype(int) @ p.T - 45 * np.eye(12, dtype=int)).max() for r, p in given.items()}
    assert off["bep"] < off[random]


def test_the_frame_of_ten_classes_has_alpha_1():
    text = integer((33, 21, 45, 10), rule="bep(classifier = bef(ALPHA))")
    assert (classifier(text.replace("ALPHA", "alpha = 1")) == classifier(text.replace("ALPHA", "trials = 40"))).all()


@pytest.mark.parametrize(
    "classes, width, alpha, trials",
    [
        (10, 45, 0.0, 40),
        (3, 7, 0.0, 40),
        (2, 1, 0.0, 9),
        (17, 33, 3.3, 20),
        (9, 16, 1000.0, 20),
        (24, 31, 0.0, 10),
        (5, 9, 1e-3, 40),
        (5, 99, 0.0, 2),
        (12, 65, 0.0, 4),
        (1, 9, 0.0, 40),
    ],
)
def test_a_frame_is_made_by_coordinate_descent(classes, width, alpha, trials):
    """Flip by flip, as the method is written down."""
    rows = random_prototypes(3, 1, classes, width).astype(int).tolist()
    pairs, weight = classes * (classes - 1) // 2, alpha or (1.0 if classes <= 10 else 25.0)
    n = trials * classes * width
    draws = [int(x) for x in rng.philox(3, rng.FRAMES[1], 2 * n)]

    def sums() -> tuple[int, int]:
        products = [sum(a * b for a, b in zip(rows[i], rows[j], strict=True)) for i in range(classes) for j in range(i)]
        return sum(products), sum(p * p for p in products)

    s1, s2 = sums()
    for t in range(n if pairs else 0):
        i, k = draws[2 * t] * classes >> 32, draws[2 * t + 1] * width >> 32
        change = [-2 * rows[i][k] * row[k] for row in rows]
        own = [sum(a * b for a, b in zip(rows[i], row, strict=True)) for row in rows]
        d1 = sum(c for j, c in enumerate(change) if j != i)
        d2 = sum((2 * own[j] + c) * c for j, c in enumerate(change) if j != i)
        new1, new2 = s1 + d1, s2 + d2
        if d1 + weight * ((new2 / pairs - (new1 / pairs) ** 2) - (s2 / pairs - (s1 / pairs) ** 2)) < 0:
            rows[i][k], s1, s2 = -rows[i][k], new1, new2
            assert t % 50 or sums() == (s1, s2)
    assert equiangular_frame(3, 1, classes, width, alpha, trials).tolist() == rows


@pytest.mark.parametrize(
    "layers, rule, wanted",
    [
        ("dense 60000; sign; dense 256;", "bep", "random"),
        ("dense 500; sign; dense 256;", "bep(classifier = bef(trials = 300))", "trials = 262"),
        ("dense 9; sign; dense 65536;", "bep", "random"),
        ("dense 60000; sign; dense 2048;", "local", "fewer units"),
        ("rnn 15 expand = 65536; dense 3;", "bep", "expand = 33554"),
        ("dense 60000; sign; dense 60000; sign; dense 600;", "local", "fewer units"),
    ],
)
def test_fixed_matrices_have_a_bound_that_check_tells(layers, rule, wanted):
    with pytest.raises(BnncError) as e:
        check_text(
            Options(f"network net {{ input bit[{'4, 2000' if 'rnn' in layers else 9}]; {layers} loss; }} rule {rule};")
        )
    assert [d.code for d in e.value.diagnostics] == ["B0501"] and wanted in e.value.diagnostics[0].help


def test_hidden_layers_have_classifiers_of_their_own():
    text = integer((33, 45, 45, 4), rule="local(classifier = bef)")
    assert (classifier(text) != classifier(text, "dense1.classifier")).any()


def test_a_call_is_written_as_a_spec_reads_it():
    rule = check_text(Options(integer((33, 21, 15, 4), rule="bep(group = [7, 5], classifier = bef(trials = 3))"))).rule
    again = check_text(Options(integer((33, 21, 15, 4), rule=rule.text))).rule
    assert again == rule and again["group"] == (7, 5) and again["classifier"]["trials"] == 3


# -- first weights -----------------------------------------------------------------------------------------------------
FEW = "network n { input f32[9] median; dense 15; sign; dense 3; loss; } rule RULE; train { batch = BATCH; }"


def first_deviation(text: str) -> float:
    return {s.init_value for s in plan(text).trace.results["simplify"].train.states if s.init == "normal"}.pop()


@pytest.mark.parametrize("rule", ["bep", "local"])
@pytest.mark.parametrize("data", ["f32[9] median", "bit[9]"])
@pytest.mark.parametrize(
    ("args", "batch", "std"),
    [
        ("", 1, 16),
        ("", 16, 16),
        ("", 17, 64),
        ("", 100, 64),
        ("std = 64", 10, 64),
        ("std = 5", 100, 5),
        ("bits = 5", 10, 8),
        ("bits = 8", 10, 16),
    ],
)
def test_small_batches_start_with_small_weights(rule, data, args, batch, std):
    text = FEW.replace("RULE", f"{rule}({args})").replace("BATCH", str(batch)).replace("f32[9] median", data)
    assert first_deviation(text) == std
    model = check_text(Options(text))
    assert [c for c in model.chosen if c.startswith("std")] == (
        [f"std = {std} of `{rule}`: a batch of {batch}, at most 16"] if std == 16 else []
    )
    assert check_text(Options(fmt.explicit(text))) == model


def test_a_recurrent_network_starts_as_ever():
    text = (
        FEW.replace("RULE", "bep")
        .replace("BATCH", "10")
        .replace("f32[9] median", "f32[9, 1] median")
        .replace("dense 15", "rnn 15", 1)
    )
    text = text.replace("rnn 15; sign", "rnn 15; dense 9; sign")
    assert first_deviation(text) == 64 and check_text(Options(text)).rule["std"] == 0


def test_another_batch_decides_anew():
    text = FEW.replace("RULE", "bep").replace("BATCH", "10")
    small, large = check_text(Options(text)), check_text(Options(text, overrides={"batch": 100}))
    assert (small.rule["std"], large.rule["std"]) == (16, 0)


# -- labels 0 and 1 ----------------------------------------------------------------------------------------------------
def test_one_output():
    """Spec section 2: y = P a; wrong, or |y| < floor(r K): a* = P or -P; label 1 is y >= 0."""
    text = integer((33, 21, 15, 1), rule="local(r = 0.25)", batch=40)
    _, _, v, _ = run(text)
    label = np.where(v["labels"] == 1, 1, -1)
    for layer, a, k, r in (("dense2", v["sign2.out"], 15, 3), ("dense1", v["sign1.out"], 21, 5)):
        p = classifier(text, "classifier" if layer == "dense2" else f"{layer}.classifier")
        assert p.shape == (1, k)
        y = a.astype(int) @ p.T
        trigger = (np.where(y >= 0, 1, -1) != label) | (np.abs(y) < r)
        assert (v[f"{layer}.trigger"] == trigger).all() and trigger.sum() > 0
        assert (v[f"{layer}.target"] == label * p).all()
    assert (v["loss1.pred"] == (y_last(v, text) >= 0)).all()


def y_last(v: dict[str, np.ndarray], text: str) -> np.ndarray:
    return v["sign2.out"].astype(int) @ classifier(text).T


def test_one_output_is_two_classes():
    assert check_text(Options(integer((33, 21, 1), rule="local"))).classes == 2


@pytest.mark.parametrize("rule", ["bep", "edge", "standard"])
def test_other_rules_refuse_one_output(rule):
    assert codes_of(integer((33, 21, 1), rule=rule)) == ["B0508"]


def test_freeze_first():
    before, after, _, results = run(integer((33, 21, 15, 4), rule="local(freeze_first = on)"))
    assert (before["dense1.weight"] == after["dense1.weight"]).all() and (
        before["dense2.weight"] != after["dense2.weight"]
    ).any()
    assert Counter("flips", "dense1") not in results and Counter("trigger_rate", "dense2", share=True) in results


# -- warnings ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("widths", "rule", "batch", "codes"),
    [
        ((33, 21, 15, 4), "bep", 100, []),
        ((33, 21, 15, 4), "local", 100, []),
        ((33, 21, 16, 4), "bep", 100, []),
        ((33, 20, 15, 4), "local", 100, ["B0504"]),
        ((32, 21, 15, 4), "bep", 100, ["B0504"]),
        ((33, 21, 15, 4), "bep(bits = 8)", 100, []),
        ((33, 21, 15, 4), "bep(bits = 6)", 100, ["B0505"]),
        ((33, 21, 15, 4), "bep(std = 50)", 100, []),
        ((33, 21, 15, 4), "bep(std = 49)", 100, ["B0505"]),
        ((33, 21, 15, 4), "local", 50, ["B0506"]),
        ((33, 21, 15, 4), "local(reinforce = 0.25)", 50, []),
        ((33, 21, 15, 4), "bep(nu = 0.04)", 100, ["B0507"]),
        ((33, 21, 15, 4), "bep(nu = 0.05)", 100, []),
        ((33, 21, 4), "bep(nu = 0)", 100, []),
    ],
)
def test_warnings(widths, rule, batch, codes):
    text = spec(widths, kind="bit", rule=rule, batch=batch)
    assert [d.code for d in check_text(Options(text)).warnings] == [*codes, "B0510"]  # `optimizer = adam`
    assert [d.code for d in check_text(Options(text.replace("optimizer = adam;", ""))).warnings] == codes


@pytest.mark.parametrize(
    ("rule", "train", "overrides", "ignored"),
    [
        ("bep", "optimizer = sgd; schedule = cosine;", {}, ["optimizer", "schedule"]),
        ("local", "schedule = plateau;", {}, ["schedule"]),
        ("bep(schedule = on)", "schedule = plateau;", {}, []),
        ("bep", "", {"optimizer": "bop"}, ["optimizer"]),
        ("edge", "optimizer = sgd; schedule = cosine;", {}, []),
        ("edge", "optimizer = sgd;", {"rule": "bep"}, ["optimizer"]),
    ],
)
def test_settings_that_a_rule_does_not_read(rule, train, overrides, ignored):
    text = integer((33, 21, 15, 4), rule=rule).replace("optimizer = adam;", train)
    model = check_text(Options(text, overrides=overrides))
    found = [d for d in model.warnings if d.code == "B0510"]
    assert sorted(d.message.split("`")[3] for d in found) == ignored and all(d.help for d in found)
    for d in found:
        key = d.message.split("`")[3]
        assert d.span.file == f"--{key}" if key in overrides else text[d.span.start :].startswith(f"{key} = ")


def test_the_help_of_a_shut_gate_opens_it():
    text = integer((33, 2025, 15, 4), rule="bep(nu = NU, reinforce = 0.1)").replace("optimizer = adam;", "")
    (warning,) = check_text(Options(text.replace("NU", "0.0001"))).warnings
    assert not check_text(Options(text.replace("NU", warning.help.split()[3]))).warnings
