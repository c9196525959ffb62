"""What is kept in the user's cache changes nothing, whole, damaged, or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers import spec

from bnnc import driver
from bnnc.backends import render
from bnnc.cache import cache_folder, shelf
from bnnc.front import parse


def emitted(monkeypatch: pytest.MonkeyPatch, home: Path) -> dict[str, str]:
    """A small program's text, by a process that has parsed and rendered nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    parse._lark.cache_clear()
    render.environment.cache_clear()
    return driver.emit_source(driver.plan_text(driver.Options(spec((7, 5, 3))))).text


def test_the_cache_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (no_folder := tmp_path / "file").touch()
    text = emitted(monkeypatch, no_folder)  # where nothing can be kept
    assert cache_folder("grammar") is None
    home = tmp_path / "home"
    assert emitted(monkeypatch, home) == text
    kept = [f for f in home.rglob("*") if f.is_file()]
    assert {f.parent.relative_to(home).as_posix() for f in kept} == {"bnnc/grammar", "bnnc/templates"}
    assert emitted(monkeypatch, home) == text
    half = {f: f.stat().st_size // 2 for f in kept}
    for f in kept:
        f.write_bytes(f.read_bytes()[: half[f]])  # the plug was pulled
    assert emitted(monkeypatch, home) == text
    assert all(f.stat().st_size > half[f] + 1 for f in kept)  # made anew


def test_another_grammar_has_tables_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    parse._lark.cache_clear()
    parse._lark()
    (kept,) = (tmp_path / "bnnc" / "grammar").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(b"0" * 64 + whole[64:])  # the tables of a grammar with another hash
    parse._lark.cache_clear()
    parse._lark()
    assert kept.read_bytes()[:64] == whole[:64]


def test_a_shelf_keeps_what_was_asked_for_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for n, key in enumerate("abcab"):  # c is older than the second b
        folder = shelf("programs", key, 3)
        assert folder is not None
        (folder / "program").write_text(key)
        os.utime(folder, (n, n))
    assert shelf("programs", "d", 3) is not None
    assert sorted(f.name for f in (tmp_path / "bnnc" / "programs").iterdir()) == ["a", "b", "d"]
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert shelf("programs", "d", 3) is None
