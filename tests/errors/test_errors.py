"""One mistake a file: NAME.bnn has it, NAME.err is the whole message.  NAME starts with the code that must come out.

``BNNC_UPDATE_GOLDEN=1`` writes the .err files anew (read the diff before committing it); refused under CI.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bnnc.codes import CODES
from bnnc.diag import BnncError, Diagnostic, render
from bnnc.front.check import check
from bnnc.front.parse import parse

HERE = Path(__file__).parent
SPECS = sorted(HERE.glob("*.bnn"))


def diagnose(text: str, name: str) -> list[Diagnostic]:
    try:
        return list(check(parse(text, name), text, name).warnings)
    except BnncError as e:
        assert e.exit_code == 1 and e.sources == {name: text}
        return list(e.diagnostics)


@pytest.mark.parametrize("spec", SPECS, ids=lambda p: p.stem)
def test_message(spec: Path) -> None:
    text = spec.read_text(encoding="utf-8")
    found = diagnose(text, spec.name)
    assert [d.code for d in found] == [spec.stem[:5]]
    message = render(found, {spec.name: text}) + "\n"
    golden = spec.with_suffix(".err")
    if os.environ.get("BNNC_UPDATE_GOLDEN") == "1":
        assert os.environ.get("CI", "") in ("", "false"), "goldens are not written under CI"
        golden.write_text(message, encoding="utf-8")
    assert message == golden.read_text(encoding="utf-8")


def test_every_message_has_its_spec() -> None:
    assert {p.stem for p in HERE.glob("*.err")} == {p.stem for p in SPECS}


@pytest.mark.parametrize("spec", SPECS, ids=lambda p: p.stem)
def test_wording(spec: Path) -> None:
    """Lower case, no full stop, and always a way out."""
    (d,) = diagnose(spec.read_text(encoding="utf-8"), spec.name)
    for text in (d.message, d.label, d.help, *(t for _, t in d.notes)):
        assert not text.endswith(".") and text[:1] == text[:1].lower()
    assert d.help


def test_every_code_with_an_example_has_a_spec() -> None:
    assert {c.code for c in CODES.values() if c.failing} <= {p.stem[:5] for p in SPECS}
