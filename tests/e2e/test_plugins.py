"""Plug-ins: the page that builds one, as it stands; mistakes with their place; the hash, and installed packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
CODE, SPEC = re.findall(r"```(?:python)?\n(.*?)```", PAGE, re.S)
pytestmark = pytest.mark.usefixtures("one_level")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "timid.py").write_text(CODE)
    (tmp_path / "net.bnn").write_text(SPEC)
    shutil.copy(ROOT / "examples/fashion_bep/fashion_1500.bnnd", tmp_path)
    return tmp_path


def go(folder: Path, *args: str, code: int = 0, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bnnc", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "BNNC_VERIFY": "2", **env},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_pages_plug_in_trains(folder: Path) -> None:
    for command in re.findall(r"^    bnnc (--plugin .*)$", PAGE, re.M):
        said = go(folder, *command.split())
    best = float(re.findall(r"test (\d+\.\d+) %", said)[-1])
    assert best > 50, "it learns"
    assert "one-bit gradients of weights" in go(folder, "--plugin", "timid.py", "describe", "timid")
    assert "a triangle" in go(folder, "--plugin", "timid.py", "describe", "triangle")
    assert "or   bnnc --plugin timid.py run net.bnn eval" in said
    assert "unknown rule `timid`" in go(folder, "check", "net.bnn", code=1)


def test_its_source_is_part_of_a_specs_hash_where_it_is_used(folder: Path) -> None:
    code = "import bnnc, sys; [bnnc.plugin(p) for p in sys.argv[2:]]; print(bnnc.load(sys.argv[1]).model.hash)"

    def hash_of(spec: str, *plugins: str, **env: str) -> str:
        argv = [sys.executable, "-c", code, spec, *plugins]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True, env={**os.environ, **env})
        return done.stdout

    plain = SPEC.replace("timid(limit = 0.05)", "standard").replace("signsgd(lr = 0.01)", "sgd")
    (folder / "other.bnn").write_text(plain)
    (folder / "plain.bnn").write_text(plain.replace("triangle", "quadratic"))
    assert hash_of("plain.bnn") == hash_of("plain.bnn", "timid.py")
    bent = hash_of("other.bnn", "timid.py")
    first = hash_of("net.bnn", "timid.py")
    assert first == hash_of("net.bnn", BNNC_PLUGINS="timid.py") == hash_of("net.bnn", "timid.py", "timid.py")
    (folder / "timid.py").write_text(CODE.replace("-1 / 3", "-1 / 2"))
    assert hash_of("net.bnn", "timid.py") != first and hash_of("other.bnn", "timid.py") != bent


@pytest.mark.parametrize(
    ("before", "after", "line", "what"),
    [
        ("g.clip(-limit, limit)", "g.clop(-limit, limit)", "return g.clop", "limited"),
        ('Param("limit", "float", 1.0,', 'Param("limit", "float", 1.0 / 0,', "1.0 / 0", "ZeroDivisionError"),
        ("def rate(", "def rate(:", "def rate(:", ""),
    ],
)
def test_a_mistake_has_its_place(folder: Path, before: str, after: str, line: str, what: str) -> None:
    (folder / "timid.py").write_text(CODE.replace(before, after))
    number = (folder / "timid.py").read_text()[: (folder / "timid.py").read_text().index(line)].count("\n") + 1
    said = go(folder, "--plugin", "timid.py", "plan", "net.bnn", code=2)
    assert "B0909" in said and f"timid.py:{number}: " in said and what in said and "bug in bnnc" not in said
    assert "B0909" in go(folder, "--plugin", "nowhere.py", "plan", "net.bnn", code=2)


def test_a_mended_plug_in_is_loaded(folder: Path) -> None:
    """In one process, as in a notebook: what went wrong before it registered anything leaves nothing behind."""
    code = """import bnnc, pathlib
at = pathlib.Path("timid.py")
good = at.read_text()
at.write_text("1 / 0")
try:
    bnnc.plugin(at)
except bnnc.BnncError as e:
    print(e.diagnostics[0].code)
at.write_text(good)
bnnc.plugin(at)
print(bnnc.load("net.bnn").model.rule.name)
"""
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["B0909", "timid"]


def test_an_installed_package_is_loaded(folder: Path) -> None:
    site = folder / "site"
    (site / "timid-1.dist-info").mkdir(parents=True)
    (site / "timid-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: timid\nVersion: 1\n")
    (site / "timid-1.dist-info/entry_points.txt").write_text("[bnnc]\ntimid = timid\n")
    shutil.move(folder / "timid.py", site / "timid.py")
    go(folder, "plan", "net.bnn", PYTHONPATH=str(site))
    (site / "timid.py").write_text("1 / 0\n")
    assert "timid.py:1: ZeroDivisionError" in go(folder, "plan", "net.bnn", PYTHONPATH=str(site), code=2)
