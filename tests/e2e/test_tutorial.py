"""docs/tutorial.md, line by line: each command is run, and each line that is shown of its answer is in it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnnc.cli import commands

pytestmark = pytest.mark.usefixtures("one_level")
PAGE = (Path(__file__).parents[2] / "docs/tutorial.md").read_text(encoding="utf-8")


def steps() -> Iterator[tuple[str, list[str]]]:
    """(command, the lines shown below it)."""
    for block in re.findall(r"(?:^    .*\n)+", PAGE, re.MULTILINE):
        lines = [line[4:] for line in block.splitlines()]
        at = [i for i, line in enumerate(lines) if line.startswith("$ ")]
        for i, end in zip(at, [*at, len(lines)][1:], strict=True):
            yield lines[i][2:], lines[i + 1 : end]


def answer(command: str, capfd: pytest.CaptureFixture[str]) -> str:
    """What a command prints; those of bnnc run in this process, which saves its start."""
    words = shlex.split(command)
    if words[0] == "cd":
        os.chdir(words[1])
    elif words[0] == "bnnc":
        with pytest.raises(SystemExit):
            commands.cli(words[1:], prog_name="bnnc")
    else:
        subprocess.run(words, check=True)
    return "\n".join(capfd.readouterr())


@pytest.mark.slow
def test_every_line_of_the_tutorial(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = list(steps())
    assert len(found) >= 12
    for command, shown in found:
        got = answer(command, capfd)
        missing = [line for line in shown if line not in got]
        assert not missing, f"$ {command}\n{got}"
    spec = next(b for b in re.findall(r"(?:^    .*\n)+", PAGE, re.MULTILINE) if "network" in b)
    text = (tmp_path / "fashion/fashion_bep.bnn").read_text().replace("dense 263", "dense 525")
    assert "".join(line[4:] for line in spec.splitlines(keepends=True)) == text
