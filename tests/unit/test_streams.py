"""Random streams: one table says whose each number is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bnnc
from bnnc import rng
from bnnc.diag import InternalError

ROOT = Path(bnnc.__file__).parents[1]


def test_streams_are_apart_and_fit_their_32_bits() -> None:
    rows = sorted(rng.STREAMS, key=lambda s: s.first)
    assert all(a.first + a.count <= b.first for a, b in zip(rows, rows[1:], strict=False))
    assert rows[0].first == 0 and rows[-1].first + rows[-1].count <= 1 << 32
    assert len({s.use for s in rows}) == len(rows)


def test_the_table_holds_every_row() -> None:
    assert {id(s) for s in vars(rng).values() if isinstance(s, rng.Streams)} == {id(s) for s in rng.STREAMS}


def test_a_use_stays_within_its_streams() -> None:
    assert rng.EXPANSIONS[0] == rng.CLASSIFIERS[0x7FF] + 1
    for number in (-1, 0x800):
        with pytest.raises(InternalError, match="2048 random streams for the fixed classifiers of layers, and no"):
            rng.CLASSIFIERS[number]


def test_no_stream_is_picked_by_hand() -> None:
    """No number that large stands in a layer, a rule or an optimiser; a state's and an update's are the table's."""
    found = []
    for folder in ("layers", "rules", "optim", "lower"):
        for p in sorted((ROOT / "bnnc" / folder).glob("*.py")):
            text = p.read_text("utf-8")
            found += [f"{p.name}: {n}" for n in re.findall(r"0[xX][0-9a-fA-F]{7,}|\b[0-9_]{9,}\b", text)]
    assert not found


def test_the_trainers_own_streams_are_those_of_the_runtime() -> None:
    text = (ROOT / "templates/c/runtime/bnnc_rng.h").read_text("utf-8")
    given = dict(re.findall(r"BNNC_STREAM_(\w+) = (-\d+)", text))
    assert {k: int(v) % (1 << 32) for k, v in given.items()} == {"ORDER": rng.ORDER[0], "HOLDOUT": rng.HOLDOUT[0]}


def test_a_plug_ins_streams_follow_from_its_name_alone() -> None:
    """The numbers are part of what is promised: another would train other bits."""
    kept = rng.streams("timid.kept")
    assert (kept[0], kept.count) == (0xFEE09000, 4096) and rng.streams("timid.kept") == kept
    assert rng.PLUGINS.first <= kept[0] and kept[4095] < rng.PLUGINS.first + rng.PLUGINS.count
    assert len({rng.streams(f"other.{n}")[0] for n in range(50)}) == 50


def test_two_names_with_the_same_streams_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[int, str] = {}
    monkeypatch.setattr(rng, "_named", {})
    with pytest.raises(ValueError, match="the random streams of `x[0-9]+` are those of `x[0-9]+`: choose another"):
        for n in range(5000):
            found[rng.streams(f"x{n}")[0]] = f"x{n}"
    assert len(found) > 20
