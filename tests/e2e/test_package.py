"""What `pip install bnnc` brings: the wheel holds everything that a command needs, and runs in a bare environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="77")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SHIPPED = ("bnnc/", "backends/", "templates/", "grammar/", "examples/")
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"


def build(kind: str, source: Path, to: Path) -> Path:
    """A wheel or an sdist, with the setuptools that is here: no network."""
    argv = [sys.executable, "-c", BUILD, f"build_{kind}", str(to)]
    done = subprocess.run(argv, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return to / done.stdout.splitlines()[-1]


def tracked() -> list[str]:
    """The files that git has."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an sdist of the files that git has, so of what a release would be made of."""
    home = tmp_path_factory.mktemp("package")
    tree = home / "tree"
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes())
    sdist = build("sdist", tree, home)
    with tarfile.open(sdist) as tar:
        tar.extractall(home / "unpacked", filter="data")
    return build("wheel", next((home / "unpacked").iterdir()), home)


def test_the_wheel_holds_what_is_needed_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as z:
        names = set(z.namelist())
        facts = message_from_bytes(z.read(next(n for n in names if n.endswith(".dist-info/METADATA"))))
    wanted = {name if name.startswith("bnnc/") else f"bnnc/{name}" for name in tracked() if name.startswith(SHIPPED)}
    assert len(wanted) > 300 and wanted <= names
    assert {n.split("/")[0] for n in names} == {"bnnc", "bnnc-0.1.0.dist-info", "bnnc-0.1.0.data"}
    assert [n for n in names if ".data/" in n] == ["bnnc-0.1.0.data/data/share/man/man1/bnnc.1"]
    assert not [n for n in names if "tests/" in n or "__pycache__" in n or n.endswith((".o", ".so"))]
    assert facts["License-Expression"] == "MIT" and facts["Requires-Python"] == ">=3.11"
    versions = {c.rpartition(" ")[2] for c in facts.get_all("Classifier") if "Python :: 3." in c}
    assert versions == {"3.11", "3.12", "3.13", "3.14"}
    needed = [re.split("[<>=]", r)[0] for r in facts.get_all("Requires-Dist") if "extra ==" not in r]
    assert needed == ["lark", "jinja2", "numpy", "click", "rich", "pyelftools"]


def test_the_wheel_runs_in_a_bare_environment(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies are lent by the tests' environment, whose own bnnc (a finder, not a folder) is not."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv/bin/python"
    pip = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, str(wheel)], check=True)
    lent = next(p for p in sys.path if p.endswith("site-packages"))
    env = {**os.environ, "PYTHONPATH": lent, "PATH": f"{tmp_path / 'venv/bin'}{os.pathsep}{os.environ['PATH']}"}

    def go(*args: str) -> str:
        done = subprocess.run(["bnnc", *args], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = subprocess.run(
        [python, "-c", "import bnnc; print(bnnc.__file__)"], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert str(tmp_path / "venv") in where.stdout
    assert (tmp_path / "venv/share/man/man1/bnnc.1").read_text(encoding="utf-8") == go("man")  # `man bnnc` finds it
    assert go("--version").split() == ["bnnc,", "version", "0.1.0"]
    go("examples", "fashion_bep", "-o", "fashion")
    go("run", "fashion/fashion_bep.bnn", "--", "--epochs", "1")
    found = json.loads(go("run", "--json", "fashion/fashion_bep.bnn", "eval"))
    assert found["samples"] == 500 and found["epoch"] == 1
    go("report", "run/fashion_bep")
    assert (tmp_path / "run/fashion_bep/report.html").stat().st_size > 50_000
    assert "complete" in go("completion", "zsh")
