"""What a trained network takes for what: its program's ``eval``, and the samples that ``predict`` gets wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import data
from ..api import Program
from ..data import Dataset
from ..data.files import data_files
from ..diag import BnncError
from ..model import Model
from .picture import image_shape, inline, sample
from .run import Run

PAIRS, EACH = 6, 5  # pairs of classes whose samples are shown, and how many of each


@dataclass(frozen=True)
class Pair:
    """Samples of class ``true`` that were taken for ``said``; ``images``: (address, caption) of the first."""

    true: str
    said: str
    count: int
    images: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Confusion:
    """``facts``: what ``eval --json`` found; ``names`` of the classes; ``matrix``: i64[class, said], or None of many
    classes; ``problem``: why nothing was measured.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    matrix: np.ndarray | None = None
    pairs: tuple[Pair, ...] = ()
    problem: str = ""

    @property
    def accuracy(self) -> float:
        """Of the samples that were measured."""
        return float(self.facts.get("test_acc", self.facts.get("holdout_acc", 0.0)))

    @property
    def which(self) -> str:
        """Which samples those are."""
        return "test samples" if "test_acc" in self.facts else "held-out samples"


def confusion(program: Program, run: Run, folder: Path) -> Confusion:
    """Measured with a run's checkpoints and the data in ``folder``."""
    where = ["--out", str(run.folder), "--data", str(folder), *run.given]
    done = program.run(["eval", "--json", *where], check=False)
    if done.returncode:
        return Confusion(problem=done.stderr.strip().splitlines()[0] if done.stderr.strip() else "eval failed")
    facts = json.loads(done.stdout)
    names = tuple(str(c.get("name", c["class"])) for c in facts["classes"])
    matrix = np.array(facts["confusion"]) if "confusion" in facts else None
    pairs: tuple[Pair, ...] = ()
    if matrix is not None:
        wrong = matrix - np.diag(np.diag(matrix))
        most = [(int(i) // len(names), int(i) % len(names)) for i in np.argsort(-wrong, axis=None, kind="stable")]
        said = _said(program, where) if "test_acc" in facts else np.zeros(0, np.int64)
        seen = tested(program.model, folder, run.given)
        chosen = [(a, b) for a, b in most[:PAIRS] if wrong[a, b]]
        pairs = tuple(_pair(a, b, matrix, names, seen, said) for a, b in chosen)
    return Confusion(facts, names, matrix, pairs)


def _said(program: Program, where: Sequence[str]) -> np.ndarray:
    """The class of each test sample, i64[n], or nothing where there is none."""
    done = program.run(["predict", "--json", *where], check=False)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return np.array([json.loads(line)["class"] for line in lines], np.int64)


def tested(model: Model, folder: Path, given: Sequence[str]) -> Dataset | None:
    """The test samples as they were before any encoder, in the order in which the program takes them; None where they
    cannot be read.
    """
    flags = dict(zip(given[::2], given[1::2], strict=True))
    try:
        if name := flags.get("--test", flags.get("--train")):
            files, own = [_located(folder, f) for f in name.split(",")], "--test" in flags
        else:
            own = model.data.test is not None
            files = data_files(replace(model, data=replace(model.data, train=None)) if own else model, folder)
        d = data.pack(*files)
    except (BnncError, OSError):
        return None
    k = 0 if own else d.n - d.n_test
    return Dataset(d.x[k:], d.y[k:], classes=d.classes, names=d.names)


def _located(folder: Path, name: str) -> Path:
    return Path(name) if Path(name).exists() else folder / name


def _pair(a: int, b: int, matrix: np.ndarray, names: Sequence[str], seen: Dataset | None, said: np.ndarray) -> Pair:
    """With pictures, where there are the samples that the program measured, and they are pictures."""
    count = int(matrix[a, b])
    shape = image_shape(seen.kind, seen.shape) if seen is not None else None
    if seen is None or shape is None or len(said) != seen.n:
        return Pair(names[a], names[b], count)
    found = np.flatnonzero((seen.y == a) & (said == b))
    if len(found) != count:  # not the samples that were measured
        return Pair(names[a], names[b], count)
    images = tuple((inline(sample(seen.x[i], shape)), f"sample {i}") for i in found[:EACH])
    return Pair(names[a], names[b], count, images)
