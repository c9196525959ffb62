"""A table with words, from `init` to the class of one row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bnnc.cli import commands

pytestmark = pytest.mark.usefixtures("one_level")


def test_a_row_of_a_table_with_words_is_predicted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class follows from a word and a number; rows come with and without a header and a label."""
    monkeypatch.chdir(tmp_path)
    r = np.random.default_rng(0)
    rows = [(r.random(), r.choice(["red", "blue", "green"]), r.random() * 3) for _ in range(300)]
    lines = [f"{f:.3f},{c},{h:.3f},{'worn' if (c == 'red') == (h > 1.5) else 'fine'}" for f, c, h in rows]
    Path("pump.csv").write_text("\n".join(("flow,colour,heat,state", *lines)) + "\n")
    Path("one.csv").write_text("0.5,red,2.9\n")
    Path("two.csv").write_text("flow,colour,heat,state\n0.5,red,0.1,?\n0.5,blue,2.9,?\n")
    Path("other.csv").write_text("id;heat;colour;flow\n17;0,1;red;0,5\n18;2,9;red;0,5\n")
    Path("short.csv").write_text("flow,colour\n0.5,red\n")
    Path("words.csv").write_text("0.5,red,hot\n")

    def bnnc(*words: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as e:
            commands.cli(words, prog_name="bnnc")
        said = capfd.readouterr()
        assert e.value.code == code, said.err
        return said.out + said.err

    assert "columns of words: 1 `colour` (3)" in bnnc("init", "pump", "--data", "pump.csv")
    bnnc("run", "pump/pump.bnn", "--", "--epochs", "30", "--quiet")
    assert "worn" in bnnc("run", "pump/pump.bnn", "predict", "--test", "one.csv").split()
    found = bnnc("run", "--json", "pump/pump.bnn", "predict", "--test", "two.csv")
    assert [json.loads(line)["name"] for line in found.splitlines() if line[0] == "{"] == ["fine", "fine"]
    asked = ("run", "pump/pump.bnn", "predict", "--test")
    said = bnnc(*asked, "other.csv").split()
    assert [word for word in said if word in ("fine", "worn")] == ["fine", "worn"]  # by the columns' names
    assert "no column `heat`" in bnnc(*asked, "short.csv", code=5)
    assert "column `2` holds words" in bnnc(*asked, "words.csv", code=5)
