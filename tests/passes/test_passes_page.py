"""docs/passes.md is what the passes make today."""

from __future__ import annotations

from passes_page import PAGE, PASSES, dumps, page

from bnnc import driver


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "make it anew: python tests/passes/passes_page.py"


def test_every_pass_changes_something() -> None:
    """Each has its section, and a network with which it does something."""
    assert list(PASSES) == [p.name for p in driver.PIPELINE] == list(dumps())
    assert all(len(lines) > 4 for lines in dumps().values())
