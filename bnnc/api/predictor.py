"""Predictor: a compiled program that says what samples are, run as a process; what a trainer is too."""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from .. import data
from ..diag import BnncError, Span, error
from ..inputs.encode import Encoding, of_model
from ..model import Model
from . import process
from .plan import Plan


@dataclass(frozen=True, repr=False)
class Predictor:
    """A compiled program.  ``source`` maps paths to texts, ``binary`` is the executable, ``plan`` what it needs.

    Data given as arrays lie in a private temporary folder.  It can be pickled and copied: the executable, weights and
    checkpoints go along (not the data), into a folder of the new one's own.
    """

    plan: Plan
    source: dict[str, str] = field(repr=False)
    binary: Path
    folder: tempfile.TemporaryDirectory[str] = field(repr=False, compare=False)

    def __repr__(self) -> str:
        r = self.plan.planned.report
        return f"{type(self).__name__}({self.model.name}, target {r.target}, needs {r.total:,} bytes)"

    def _repr_html_(self) -> str:
        """The plan, for notebooks."""
        return f"<p>{escape(repr(self))}</p>{self.plan._repr_html_()}"

    def __reduce__(self) -> tuple[Any, ...]:
        kept = [p for p in self._work.rglob("*") if p.suffix in (".safetensors", ".bnnck", ".jsonl")]
        files = {str(p.relative_to(self._work)): p.read_bytes() for p in kept}
        return _unpickled, (type(self), self.plan, self.source, self.binary.name, self.binary.read_bytes(), files)

    @property
    def model(self) -> Model:
        """The Model that was compiled."""
        return self.plan.planned.model

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, in the order of their numbers; empty where weights came without names."""
        return self.model.class_names

    @cached_property
    def _work(self) -> Path:
        work = Path(self.folder.name) / "work"
        work.mkdir(exist_ok=True)
        return work

    def run(self, args: Sequence[str], check: bool = True) -> subprocess.CompletedProcess[str]:
        """Start the trainer with ``args`` (``["info", "--json"]``) and return when it has ended.

        Raises BnncError B0901 with the trainer's message and exit code when it fails, unless ``check`` is False.
        """
        done = subprocess.run([str(self.binary), *args], capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise process.failed(done.returncode, done.stderr, self.binary)
        return done

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The class of each sample under the present weights, i64[n]; samples as in :meth:`fit`.  Raises BnncError."""
        return np.array([said["class"] for said in self._said(x)], np.int64)

    def scores(self, x: np.ndarray) -> np.ndarray:
        """What the loss compares the classes by, f32[n, classes], the largest is that of the class: of
        ``softmax_cross_entropy`` logits, of ``squared_hinge`` margins, which training wants at least 1 at the label and
        at most -1 elsewhere, of a rule of whole numbers sums of votes.  (A network of one output for two classes has
        one, which is not negative for class 1.)

        Raises BnncError B0718 for a program that was compiled without ``scores=True``.
        """
        if not any(role in ("logits", "scores") for role in self._results):
            reason = "the program was compiled without scores"
            raise error(
                "B0718", reason, exit_code=2, help="`net.compile(scores=True)`; weights go from one to the other"
            )
        return np.array([said["scores"] for said in self._said(x, "--proba")], np.float32)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """The probability of each class, f64[n, classes]: the softmax of :meth:`scores`.

        Raises BnncError B0718 as :meth:`scores` does, and for a loss whose scores are no logits.
        """
        z = self.scores(x).astype(np.float64)
        if "logits" not in self._results:
            reason = f"the loss of {self.model.name} knows no probabilities"
            raise error("B0718", reason, exit_code=2, help="`scores`; or `loss softmax_cross_entropy` in the spec")
        e = np.exp(z - z.max(1, keepdims=True))
        return np.asarray(e / e.sum(1, keepdims=True))

    @property
    def _results(self) -> dict[Any, str]:
        """What an evaluation gives back."""
        return dict(self.plan.planned.placed.packed.sides[-1][0].program.results)

    def _said(self, x: np.ndarray, *more: str) -> list[dict[str, Any]]:
        """What `predict` says of each sample."""
        test = self._store("predict", x, np.zeros(len(np.asarray(x)), np.uint8))
        done = self.run(["predict", "--json", "--test", str(test), *self._own(), *more])
        return [json.loads(line) for line in done.stdout.splitlines()]

    def _own(self) -> list[str]:
        """The flags that say which weights."""
        return []

    def _store(self, name: str, x: np.ndarray, y: np.ndarray) -> Path:
        """Write samples in the form that the trainer streams without a copy."""
        first, e, x, y = self.model.layers[0], of_model(self.model), np.asarray(x), np.asarray(y)
        encoded = e is None or (x.dtype == np.bool_ and x.size == len(x) * first.output.elements)
        kind, shape = (
            (first.output.kind, first.output.shape) if encoded else (first["tensor"].kind, first["tensor"].shape)
        )
        if x.ndim < 2 or x.size != len(x) * math.prod(shape):
            raise self._data_error(
                "B0804",
                f"samples have shape {list(x.shape)}, the network takes (n, {', '.join(map(str, shape))})",
                first.span,
                "one sample a row",
            )
        x = self._of_kind(kind, x.reshape(len(x), *shape) if len(shape) <= 4 else x.reshape(len(x), -1), e)
        if not encoded and e is not None and not e.fitted and not self.model.augment:
            x = e.encode(x)
        if len(y) != len(x):
            reason, hint = f"{len(y):,} labels for {len(x):,} samples", "samples and labels must come in pairs"
            raise self._data_error("B0803", reason, first.span, hint)
        path = self._work / f"{name}.bnnd"
        classes = self.model.classes
        if y.size and y.dtype.kind in "buif" and int(y.max()) >= classes:
            raise self._data_error(
                "B0803",
                f"label {int(y.max())} in a network of {classes} classes, 0 to {classes - 1}",
                self.model.layers[-1].span,
                "number the classes from 0",
            )
        data.write_bnnd(path, data.Dataset(x, y, classes=classes))
        return path

    def _of_kind(self, kind: str, x: np.ndarray, e: Encoding | None) -> np.ndarray:
        """Samples as bits, u8 or f32; what the encoder `sign` reads may stay as it is."""
        if kind == "bit":
            return x if x.dtype == np.bool_ else x >= (0.5 if x.size and x.min() >= 0 else 0.0)  # 0 and 1, or -1 and +1
        if kind == "f32":
            return x.astype(np.float32)
        if kind != "u8" or x.dtype == np.uint8 or (e is not None and e.how == "sign"):
            return x
        if x.dtype.kind not in "iuf" or (x.size and (x.min() < 0 or x.max() > 255 or (x != np.floor(x)).any())):
            raise self._data_error(
                "B0804",
                f"samples are {x.dtype}, the network takes u8",
                self.model.layers[0].span,
                "give whole numbers 0..255, or write `input f32[...]` in the spec",
            )
        return x.astype(np.uint8)

    def _data_error(self, code: str, message: str, span: Span, help: str) -> BnncError:
        e = error(code, message, span, help=help, exit_code=5)
        e.sources[self.model.file] = self.model.source
        return e


def _unpickled(
    kind: type[Predictor], plan: Plan, source: dict[str, str], name: str, binary: bytes, files: Mapping[str, bytes]
) -> Predictor:
    folder = tempfile.TemporaryDirectory(prefix="bnnc-")
    made = kind(plan, source, Path(folder.name) / name, folder)
    made.binary.write_bytes(binary)
    made.binary.chmod(0o755)
    for path, content in files.items():
        at = made._work / path
        at.parent.mkdir(exist_ok=True)
        at.write_bytes(content)
    return made
