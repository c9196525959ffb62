"""The architectures of the study of learning rules (2408.04460) at full size: their parameters are those of the
authors' models, every rule plans them, and they compile.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cross import need

import bnnc
from bnnc.backends.c.targets import TARGETS

EXAMPLES = Path(__file__).parents[2] / "examples"
# example -> parameters, weights of one bit, layers of such weights
MODELS = {
    "vgg19_imagenette": (139_622_218, 139_554_816, 17),
    "mobilenetv2_imagenette": (2_236_682, 2_188_896, 51),
    "mixer_imagenette": (7_279_098, 6_833_664, 48),
}
RULES = (
    "standard",
    "edge",
    "dfa(numerics = edge)",
    "drtp(numerics = edge)",
    "hsic(numerics = edge)",
    "sigprop(numerics = edge)",
    "sigprop_tl(numerics = edge)",
)


def load(name: str) -> bnnc.Network:
    return bnnc.load(EXAMPLES / name / f"{name}.bnn")


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_the_models(name: str) -> None:
    program = load(name).plan().planned.placed.program
    sizes = {s.name: program.value[s.name].shape for s in program.trained}
    binary = [sizes[s.name] for s in program.trained if s.role == "weight"]
    assert (
        sum(rows * cols for rows, cols in sizes.values()),
        sum(rows * cols for rows, cols in binary),
        len(binary),
    ) == MODELS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_block_at_a_time_needs_least(name: str) -> None:
    """Of what is no state: drtp ends each block at once; dfa keeps what all blocks wait for, but makes no dX."""
    plans = {rule: load(name).with_(rule=rule).plan().planned.placed.plan for rule in RULES}
    temporary = {rule: p.arena_bytes - p.state_bytes for rule, p in plans.items()}
    assert temporary["drtp(numerics = edge)"] <= temporary["dfa(numerics = edge)"] <= temporary["edge"]
    assert temporary["edge"] < temporary["standard"]
    if name == "mixer_imagenette":  # twenty-four pairs of layers, of which one is alive
        assert temporary["drtp(numerics = edge)"] < temporary["edge"] / 10


@pytest.mark.parametrize("rule", ["bep", "local"])
@pytest.mark.parametrize("name", MODELS)
def test_integer_rules_say_what_they_cannot_train(name: str, rule: str) -> None:
    """One error a part of the network, all of one code, each with what to do."""
    with pytest.raises(bnnc.BnncError) as refused:
        load(name).with_(rule=rule)
    found = refused.value.diagnostics
    assert {d.code for d in found} == {"B0501"} and all(d.help for d in found)
    parts = {"vgg19": ("conv", "maxpool"), "mobilenetv2": ("conv", "residual"), "mixer": ("conv", "tokens", "residual")}
    for part in parts[name.split("_")[0]]:
        assert f"this rule has no `{part}`" in {d.message for d in found}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_they_compile(name: str, tmp_path: Path) -> None:
    made = load(name).compile(out=tmp_path / "program")
    assert Path(made.binary).stat().st_size < 4 << 20


@pytest.mark.slow
@pytest.mark.arm
@pytest.mark.parametrize("name", MODELS)
def test_they_compile_for_a_raspberry_pi(name: str, tmp_path: Path) -> None:
    need(TARGETS["rpi"])
    made = load(name).compile(out=tmp_path / "program", target="rpi")
    assert Path(made.binary).stat().st_size < 4 << 20
