"""Golden texts: what the passes make of five small specs, and a hash of every file that is emitted for them.

A difference is not a bug by itself; it must be one that the commit meant to make.  ``pytest tests/golden
--update-golden`` writes the files anew, and the diff shows what changed.  A missing or a superfluous file fails.
"""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

import pytest
from helpers import plan, spec

from bnnc import driver

HERE = Path(__file__).parent
SPECS = {
    "edge": spec((8, 6, 3), batch=4, name="edge"),
    "standard": spec((8, 6, 3), rule="standard", kind="f32", batch=4, name="standard"),
    "bop": spec((8, 6, 3), optimizer="bop", kind="bit", batch=4, name="bop"),
    "sgd": spec(
        (8, 6, 3),
        rule="standard",
        optimizer="sgd",
        norm="l1",
        surrogate="quadratic",
        loss="squared_hinge",
        batch=4,
        name="sgd",
    ),
    "residual": spec(
        (8, 6, 3),
        rule="standard",
        batch=4,
        name="residual",
        body="  dense 6; batchnorm;\n  residual { sign; dense 6; batchnorm; }\n  sign;\n",
    ),
}
pytestmark = pytest.mark.usefixtures("told")  # the plan foresees gcc 12's code, whatever compiler is here
PASSES = ("simplify", "order", "place")


def dump(name: str, of: str) -> str:
    (show,) = (p.show for p in driver.PIPELINE if p.name == of)
    return f"{SPECS[name]}\n# {of}\n{show(plan(SPECS[name]).trace.results[of])}"


def manifest() -> str:
    rows = []
    for name in SPECS:
        rows += [
            f"{hashlib.sha256(t.encode()).hexdigest()[:32]}  {name}/{f}"
            for f, t in driver.emit_source(plan(SPECS[name])).files
            if not f.startswith("runtime/")
        ]
    return "\n".join(rows) + "\n"


def compare(path: Path, text: str, update: bool) -> None:
    if update:
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing: pytest tests/golden --update-golden"
    want = path.read_text(encoding="utf-8")
    if text != want:
        diff = list(difflib.unified_diff(want.splitlines(), text.splitlines(), "golden", "now", lineterm="", n=1))
        pytest.fail(
            f"{path.name} differs; if that is meant: pytest tests/golden --update-golden\n" + "\n".join(diff[:60]),
            pytrace=False,
        )


@pytest.mark.parametrize("of", PASSES)
@pytest.mark.parametrize("name", SPECS)
def test_dumps(name: str, of: str, update_golden: bool) -> None:
    compare(HERE / f"{name}.{of}.txt", dump(name, of), update_golden)


def test_emitted_files(update_golden: bool) -> None:
    """Process replay: a change that is meant to be a refactoring must leave the manifest as it is."""
    compare(HERE / "manifest.txt", manifest(), update_golden)


def test_no_orphans() -> None:
    wanted = {f"{n}.{p}.txt" for n in SPECS for p in PASSES} | {"manifest.txt"}
    assert {p.name for p in HERE.glob("*.txt")} == wanted
