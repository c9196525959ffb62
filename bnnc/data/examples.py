"""The examples that come with bnnc: specs with what to expect, and small data for some."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..diag import did_you_mean, error


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


def copy(name: str, to: Path) -> Path:
    """An example into a folder that is new, or empty; its first spec's path.

    Raises BnncError: B0907 for a name that there is not, B0903 for a folder that holds something.
    """
    known = {e.name: e for e in examples()}
    if name not in known:
        help = did_you_mean(name, known) or "`bnnc examples` lists them"
        raise error("B0907", f"there is no example `{name}`", exit_code=2, help=help)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise error("B0903", f"{to} is there already, and not empty", exit_code=2, help="name a folder that is new")
    skipped = shutil.ignore_patterns("__pycache__", "run", ".*")
    shutil.copytree(known[name].folder, to, ignore=skipped, dirs_exist_ok=True)
    own = to / f"{name}.bnn"
    return own if own.exists() else min(to.glob("*.bnn"))
