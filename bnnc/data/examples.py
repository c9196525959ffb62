"""The examples that come with bnnc: specs with what to expect, and small data for some."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..diag import did_you_mean, error
from ..front import ast
from ..front.parse import parse


@dataclass(frozen=True)
class Example:
    """``title``: the first line of its page; ``data``: bytes of the samples that it brings, 0: none."""

    name: str
    folder: Path
    title: str
    data: int


def _root() -> Path:
    """Beside the package in a checkout, in it where it is installed."""
    own = Path(__file__).parents[1]
    return own / "examples" if (own / "examples").is_dir() else own.parent / "examples"


def examples() -> list[Example]:
    """All there are, by name."""
    return [
        Example(
            folder.name,
            folder,
            (folder / "README.md").read_text(encoding="utf-8").splitlines()[0].lstrip("# "),
            sum(p.stat().st_size for p in folder.glob("*.bnnd")),
        )
        for folder in sorted(_root().iterdir())
        if (folder / "README.md").is_file()
    ]


def new(name: str, to: Path, example: str) -> Path:
    """A folder ``to`` with a network ``name`` that begins as an example: its spec, and the data that it brings; the
    spec's path.

    Raises BnncError: B0907 for an example that there is not, B0903 for a folder that holds something.
    """
    with tempfile.TemporaryDirectory(prefix="bnnc-") as folder:
        spec = copy(example, Path(folder) / "whole")
        text = spec.read_text(encoding="utf-8")
        network = next(x for x in parse(text).items if isinstance(x, ast.Stmt) and x.name == "network")
        at = network.args[0].span
        brought = [p for p in spec.parent.glob("*.bnnd") if f'"{p.name}"' in text]
        _new(to)
        to.mkdir(parents=True, exist_ok=True)
        for p in brought:
            shutil.copy(p, to)
        own = to / f"{name}.bnn"
        made = text[: at.start] + name + text[at.end :]
        own.write_text(made.replace(spec.name, own.name), encoding="utf-8")
    return own


def _new(to: Path) -> None:
    """Raises BnncError B0903 where a folder is there and not empty."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise error("B0903", f"{to} is there already, and not empty", exit_code=2, help="name a folder that is new")


def copy(name: str, to: Path) -> Path:
    """An example into a folder that is new, or empty; its first spec's path.

    Raises BnncError: B0907 for a name that there is not, B0903 for a folder that holds something.
    """
    known = {e.name: e for e in examples()}
    if name not in known:
        help = did_you_mean(name, known) or "`bnnc examples` lists them"
        raise error("B0907", f"there is no example `{name}`", exit_code=2, help=help)
    _new(to)
    skipped = shutil.ignore_patterns("__pycache__", "run", ".*")
    shutil.copytree(known[name].folder, to, ignore=skipped, dirs_exist_ok=True)
    own = to / f"{name}.bnn"
    return own if own.exists() else min(to.glob("*.bnn"))
