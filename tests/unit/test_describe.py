"""describe: every name of the language is explained, its example is a spec without a fault, and the page is current."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bnnc import parse, registry
from bnnc.cli import cli
from bnnc.front import describe, sections
from bnnc.front.describe import Entry
from bnnc.model import Model, TensorType
from bnnc.registry import About, LayerDef, Param

ENTRIES = describe.entries()
KINDS = [kind for kind, _, _ in describe.GROUPS]
COMPUTED = {
    "layer",
    "rule",
    "optimiser",
    "schedule",
    "stop",
    "surrogate",
    "augmentation",
    "encoder",
    "data source",
    "classifier",
}


def by_name(kind: str, name: str) -> Entry:
    return next(e for e in ENTRIES if (e.kind, e.name) == (kind, name))


def uses(model: Model, e: Entry) -> bool:
    """Does the network use what is described?"""
    found = {
        "layer": lambda: {y.kind for y in model.walk()},
        "rule": lambda: {model.rule.name},
        "optimiser": lambda: {model.optimizer.name},
        "schedule": lambda: {model.schedule.name},
        "stop": lambda: {model.stop.name},
        "surrogate": lambda: {y["surrogate"] for y in model.walk() if y.kind == "sign"},
        "augmentation": lambda: {c.name for c in model.augment},
        "encoder": lambda: {model.layers[0]["encoder"].name},
        "data source": lambda: {c.name for c in (model.data.train, model.data.test) if c},
        "classifier": lambda: {model.rule["classifier"].name},
    }
    return e.name in found[e.kind]() if e.kind in found else e.name in e.example.replace("(", " ").split()


@pytest.mark.parametrize("e", ENTRIES, ids=lambda e: f"{e.kind} {e.name}".replace(" ", "_").replace("`", ""))
def test_an_entry_is_whole_and_its_example_uses_it_without_a_fault(e: Entry) -> None:
    assert e.doc and not e.doc.endswith(".") and e.example
    assert all(a.doc for a in e.arguments)
    if e.kind in COMPUTED:
        assert e.formula and e.source
    if e.kind in ("layer", "encoder"):
        assert {"takes", "gives"} <= dict(e.facts).keys()
    model = parse(e.example).model
    assert model.warnings == () and uses(model, e)
    long = [line for line in describe.text(e).splitlines() if len(line) > describe.WIDTH]
    assert not long


def test_every_setting_is_in_its_sections_example() -> None:
    for name in ("train", "allow", "data"):
        section = sections.SECTIONS[name]
        body = section.about.example.split(f"{name} {{")[1]
        assert [p.name for p in section.params if f"{p.name} = " not in body] == []


@pytest.mark.parametrize("name", ["maxpool", pytest.param("rnn", marks=pytest.mark.slow)])
def test_examples_compile(name: str, tmp_path: Path, one_level: None) -> None:
    parse(by_name("layer", name).example).compile(out=tmp_path / "net")
    done = subprocess.run([tmp_path / "net", "selftest"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_list_has_a_line_a_name() -> None:
    lines = describe.listing(ENTRIES).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [
        e.name for kind in KINDS for e in ENTRIES if e.kind == kind
    ]
    assert max(map(len, lines)) <= describe.WIDTH
    assert {e.kind for e in ENTRIES} == set(KINDS)


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs/language.md"
    assert page.read_text(encoding="utf-8") == describe.markdown(ENTRIES), (
        "make it anew: bnnc describe --markdown > docs/language.md"
    )


def test_arguments_are_those_of_the_records() -> None:
    units, weights, *_ = by_name("layer", "dense").arguments
    assert (units.values, units.default, units.positional) == ("a whole number from 1 to 1048576", "", True)
    assert (weights.values, weights.default, weights.positional) == ("binary or real", "binary", False)
    assert by_name("layer", "dense").usage == "dense <units> [name = value ...];"
    assert by_name("encoder", "thermometer").usage == "input <type> thermometer(<bits>, [name = value ...]);"
    kind = by_name("layer", "batchnorm").arguments[0]
    assert re.fullmatch(r"the rule's: l2 \(.*\bstandard\b.*\); bnn \(.*\bedge\b.*\)", kind.default)
    assert [a.default for a in by_name("rule", "bep").arguments if a.name in ("classifier", "group", "schedule")] == [
        "0",
        "bef",
        "off",
    ]
    assert dict(by_name("rule", "edge").facts)["keeps"] == "from forward to backward: bit and bool"


@pytest.fixture
def toy() -> Iterator[None]:
    registry.layers.add(
        LayerDef(
            "halve",
            "half of the value",
            (Param("times", "int", 1, "how often", minimum=1, maximum=9, positional=True),),
            infer=lambda t, args, body: TensorType("real", t.shape),
            forward=lambda cx, layer, x: cx.real(x) * 0.5 ** layer["times"],
            about=About(
                "y = x / 2^times", "a test", gives="real", example="network t { input u8[4]; halve 2; loss; }\n"
            ),
        )
    )
    yield
    del registry.layers["halve"]


@pytest.mark.usefixtures("toy")
def test_what_is_registered_is_described() -> None:
    result = CliRunner().invoke(cli, ["describe", "halve"], prog_name="bnnc")
    assert result.exit_code == 0
    assert result.output.startswith("halve, a layer\n\n  half of the value\n\n  written   halve [<times>];\n")
    for part in (
        "y = x / 2^times",
        "a whole number from 1 to 9; default: 1",
        "    network t { input u8[4]; halve 2; loss; }",
    ):
        assert part in result.output
    assert "\n  halve          half of the value\n" in describe.listing(describe.entries())


def test_a_name_of_two_things_is_described_twice_and_as_json() -> None:
    result = CliRunner().invoke(cli, ["describe", "sign", "--json"], prog_name="bnnc")
    layer, encoder = json.loads(result.stdout)
    assert (layer["kind"], encoder["kind"]) == ("layer", "encoder")
    assert layer["gives"] == "bit, of the same shape" and layer["formula"][0].startswith("y = +1")
    assert encoder["arguments"][0] == {
        "name": "threshold",
        "values": "a number",
        "default": "128",
        "doc": "in units of the data",
        "named": False,
    }


def test_an_unknown_name_has_a_nearest_one() -> None:
    result = CliRunner().invoke(cli, ["describe", "batchnrom"], prog_name="bnnc")
    assert result.exit_code == 2 and "did you mean `batchnorm`?" in result.output
