"""The manual page is what the commands say of themselves, and troff has nothing to say against it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bnnc.cli import cli

PAGE = Path(__file__).parents[2] / "docs/bnnc.1"


def test_the_page_is_what_the_commands_say() -> None:
    assert CliRunner().invoke(cli, ["man"]).output == PAGE.read_text(encoding="utf-8"), (
        "make it anew: bnnc man > docs/bnnc.1"
    )


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_troff_shows_every_command_and_flag() -> None:
    made = ["groff", "-man", "-Tascii", "-P-cbou", "-ww", str(PAGE)]
    shown = subprocess.run(made, capture_output=True, text=True, check=True)
    words = set(re.findall(r"[\w-]+", shown.stdout))
    data = cli.commands["data"]
    assert isinstance(data, click.Group) and shown.stderr == ""
    for name, command in {**cli.commands, **data.commands}.items():
        flags = [flag for option in command.params if isinstance(option, click.Option) for flag in option.opts]
        assert not {name, *flags} - words, name
