"""Generated C is laid out as the runtime is: it is what clang-format makes of it, but that a line is as long as its
expression, since a template cannot tell where one would be broken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import plan

from bnnc import driver, knobs

ROOT = Path(__file__).parents[2]
CONV = """
network conv {
  input u8[8, 8, 3];
  conv 16, 3;
  maxpool 2;
  batchnorm;
  sign;
  conv 20, 3;
  batchnorm;
  sign;
  flatten;
  dense 10;
  batchnorm;
  loss;
}
rule edge;
train { optimizer = adam; batch = 8; epochs = 1; seed = 1; %s }
"""
SPECS = {
    "mnist_mlp": (ROOT / "examples" / "mnist_mlp" / "mnist_mlp.bnn").read_text(encoding="utf-8"),
    "conv": CONV % "",
    "strips": CONV % "recompute = on;",
    "standard": (CONV % "").replace("rule edge", "rule standard"),
}


@pytest.fixture(scope="module")
def clang_format() -> str:
    beside = Path(sys.executable).parent / "clang-format"
    found = str(beside) if beside.exists() else shutil.which("clang-format")
    if not found:
        pytest.skip("clang-format is not installed: pip install -e '.[dev]'")
    return found


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's, without its limit of columns."""
    text, found = re.subn(r"^ColumnLimit: \d+$", "ColumnLimit: 0", (ROOT / ".clang-format").read_text(), flags=re.M)
    assert found == 1
    path = tmp_path_factory.mktemp("style") / "clang-format.yaml"
    path.write_text(text)
    return path


def files(name: str, poison: bool) -> Iterator[tuple[str, str]]:
    """NAME.c and NAME_kernels.h."""
    source = driver.emit_source(plan(SPECS[name]), knobs.Knobs(poison=poison))
    return ((path, text) for path, text in source.files if path.endswith((f"{source.name}.c", "_kernels.h")))


@pytest.mark.parametrize("poison", [False, True], ids=["", "poison"])
@pytest.mark.parametrize("name", SPECS)
def test_it_is_what_clang_format_makes_of_it(name: str, poison: bool, clang_format: str, style: Path) -> None:
    for path, text in files(name, poison):
        command = [clang_format, f"--style=file:{style}", f"--assume-filename={path}"]
        made = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
        assert text.splitlines() == made.splitlines()


@pytest.mark.parametrize("name", SPECS)
def test_nothing_is_written_that_says_nothing(name: str) -> None:
    """Shares of one tile, steps of one row, sums with 0, trailing and double blanks."""
    for _, text in files(name, False):
        assert "\n\n\n" not in text
        assert not [
            x for x in text.splitlines() if re.search(r"= tid / nt|[*/%] 1\b(?![.u])|[+-] 0\b(?![.xu])|[ \t]$", x)
        ]
