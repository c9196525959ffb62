"""Program: a compiled trainer, run as a process, and what it reports."""

from __future__ import annotations

import json
import math
import os
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..data import doubts, tensors
from ..diag import InternalError, did_you_mean, error
from . import process
from .callbacks import Callback, each
from .notebook import table
from .predictor import Predictor


@dataclass(frozen=True)
class Epoch:
    """One epoch of training: means over its samples; accuracies are 0..1, None where not measured; ``lr`` is None for a
    rule without.

    ``state`` is a hash of all trained bits, the optimiser's too; ``weights_hash`` of the weights alone, as in
    :class:`Evaluation`.
    """

    epoch: int
    step: int
    loss: float
    train_acc: float
    seconds: float
    samples_per_s: float
    state: str
    weights_hash: str
    lr: float | None = None
    test_acc: float | None = None
    best_test_acc: float | None = None
    holdout_acc: float | None = None


@dataclass(frozen=True, repr=False)
class History:
    """What a training run reported.  ``state`` is a hash of all trained bits: equal states mean equal networks.

    ``best_epoch``: where samples were held out, the epoch of the best accuracy on them, ``best_holdout_acc``.
    """

    epochs: tuple[Epoch, ...]
    state: str
    seconds: float
    memory_predicted: int
    memory_measured: int
    test_acc: float | None = None
    best_test_acc: float | None = None
    best_epoch: int | None = None
    best_holdout_acc: float | None = None

    def __getitem__(self, key: str) -> list[Any]:
        """One field over all epochs, e.g. ``history["loss"]``."""
        return [getattr(e, key) for e in self.epochs]

    def __repr__(self) -> str:
        best = f", best epoch {self.best_epoch}" if self.best_epoch else ""
        test = f", test {100 * self.test_acc:.2f} %" if self.test_acc is not None else ""
        return f"History({len(self.epochs)} epochs{test}{best}, {self.seconds:.1f} s, state {self.state})"

    def _rows(self) -> tuple[list[str], list[list[Any]]]:
        """Names and values of what was measured, a row an epoch."""
        names = [n for n in Epoch.__dataclass_fields__ if any(getattr(e, n) is not None for e in self.epochs)]
        return names, [[getattr(e, n) for n in names] for e in self.epochs]

    def _repr_html_(self) -> str:
        """A line an epoch, for notebooks."""
        names, rows = self._rows()
        shown = [[f"{v:.4g}" if isinstance(v, float) else v for v in row] for row in rows]
        return f"<p>{escape(repr(self))}</p>{table(names, shown)}"

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row an epoch, by its number; what was not measured has no column.

        Raises ImportError without pandas.
        """
        import pandas  # noqa: PLC0415

        names, rows = self._rows()
        return pandas.DataFrame(rows, columns=names).set_index("epoch")


@dataclass(frozen=True)
class Evaluation:
    """Accuracy (0..1) and mean loss over some samples; ``float()`` of it is the accuracy.

    ``balanced_accuracy``: the mean over the classes that are there of the share that was found; ``recall`` and
    ``precision``: f64[classes], NaN for a class that is not there, or never said; ``confusion``: i64[class, said], None
    of more than 32 classes.  ``weights_hash``: equal weights, equal hash.
    """

    accuracy: float
    loss: float
    samples: int
    weights_hash: str
    balanced_accuracy: float = math.nan
    recall: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    precision: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    confusion: np.ndarray | None = field(default=None, repr=False, compare=False)

    def __float__(self) -> float:
        return float(self.accuracy)

    def _repr_html_(self) -> str:
        """What was found of each class, and what was taken for what, for notebooks."""
        head, rows = ["class", "recall", "precision"], []
        said = range(len(self.recall)) if self.confusion is not None else ()
        for c, (recall, precision) in enumerate(zip(self.recall, self.precision, strict=True)):
            row = [str(c), *("" if math.isnan(v) else f"{100 * v:.2f} %" for v in (recall, precision))]
            rows.append(row + ([str(n) for n in self.confusion[c]] if self.confusion is not None else []))
        return f"<p>{escape(repr(self))}</p>{table([*head, *(f'said {c}' for c in said)], rows)}"


class Program(Predictor):
    """A compiled trainer.  ``source`` maps paths to texts, ``binary`` is the executable, ``plan`` what it needs.

    Weights, checkpoints and data given as arrays lie in a private temporary folder.  A Program can be pickled and
    copied: the executable, weights and checkpoints go along (not the data), into a folder of the new one's own.
    """

    @property
    def _weights(self) -> Path:
        return self._work / "weights.safetensors"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program with its weights and checkpoints into one file: whole, or not at all.  Raises OSError."""
        temporary = f"{os.fspath(path)}.{os.getpid()}"
        try:
            Path(temporary).write_bytes(pickle.dumps(self))
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Program:
        """What :meth:`save` wrote, by the same version of bnnc.  It is a pickle and holds a program that will run: load
        what you trust.

        Raises OSError, and BnncError B0902 for what is no such file.
        """
        try:
            made = pickle.loads(Path(path).read_bytes())
        except (pickle.UnpicklingError, AttributeError, ImportError, EOFError, IndexError, TypeError) as e:
            made = e
        if not isinstance(made, Program):
            reason = f"{os.fspath(path)}: not a program that this version of bnnc has saved"
            raise error("B0902", reason, exit_code=2, help="compile it again, or use the version that saved it")
        return made

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        x_test: np.ndarray | None = None,
        y_test: np.ndarray | None = None,
        epochs: int | None = None,
        seed: int | None = None,
        threads: int | None = None,
        callback: Callback | Iterable[Callback] | None = None,
        resume: bool = False,
    ) -> History:
        """Train on arrays.  The weights are then those of the last epoch, or where the spec holds samples out those of
        the epoch that was best on them.

        Parameters
        ----------
        x : array, shape (n, *input shape) or (n, elements)
            uint8 for a ``u8`` input, real numbers for ``f32``, bool or -1/+1 for ``bit``; for an input that is
            encoded the values before encoding, to which thresholds are fitted, or the bits as bool.
        y : array, shape (n,)
            Whole numbers from 0, below the number of classes.
        x_test, y_test
            Samples to measure the accuracy on after each epoch; never trained on.
        epochs, seed, threads
            Replace what the spec and the plan say.
        callback
            Called with each :class:`Epoch` as it ends, one or several (:class:`EarlyStop` is one); the trainer waits
            for it.  Returning True stops training there, and so does an exception, which comes out of ``fit``: weights
            and checkpoint are those of that epoch, and ``resume`` goes on from it.  (An interrupt within an epoch
            leaves those of the step that it met.)
        resume
            Go on from the last ``fit`` of this Program (with the same data) up to ``epochs`` in total.  Otherwise
            training starts from :meth:`set_weights` if that was called since the last ``fit``, else afresh.

        Raises
        ------
        BnncError
            Samples or labels that do not fit (exit code 5), or what the trainer complained about.
        Exception
            What ``callback`` raises.
        """
        args = ["train", "--train", str(self._store("train", x, y)), "--out", str(self._work / "run")]
        doubts.warn(self.model, np.asarray(x))
        if (x_test is None) != (y_test is None):
            raise error("B0805", "x_test and y_test belong together", exit_code=5, help="give both, or none")
        if x_test is not None and y_test is not None:
            args += ["--test", str(self._store("test", x_test, y_test))]
        for flag, value in (("--epochs", epochs), ("--seed", seed), ("--threads", threads)):
            args += [] if value is None else [flag, str(value)]
        given = self._work / "given.safetensors"
        if not resume:
            args += ["--resume", "never"]
            args += ["--init", str(given)] if given.exists() else []
        log, told = self._work / "log.jsonl", each(callback) if callback is not None else None
        try:
            records = process.train(
                self.binary, [*args, "--export", str(self._weights)], log, told and (lambda r: told(_epoch(r)))
            )
        finally:
            if log.exists():  # training has begun
                given.unlink(missing_ok=True)
        return _history(records)

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> Evaluation:
        """Accuracy and loss of the present weights on samples; arrays as in :meth:`fit`.  Raises BnncError."""
        test = self._store("test", x, y)
        self._ensure_weights()
        done = self.run(
            ["eval", "--json", "--test", str(test), "--init", str(self._weights), "--cache", str(self._work)]
        )
        r = json.loads(done.stdout)
        there, found, said = (np.array([c[k] for c in r["classes"]], float) for k in ("samples", "found", "said"))
        with np.errstate(invalid="ignore"):
            recall, precision = found / there, found / said
        confusion = np.array(r["confusion"]) if "confusion" in r else None
        means = float(r["test_acc"]), float(r["loss"]), r["samples"]
        return Evaluation(*means, r["weights_hash"], float(r["balanced_acc"]), recall, precision, confusion)

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Weights, batch-norm parameters and statistics by name (``dense1.weight``), in the types they are stored in.

        Latent weights are float16 or float32 arrays (inputs, outputs), with ``state = i8`` float32: what they stand
        for.  Weights without a latent value are int8 -1/+1.
        """
        self._ensure_weights()
        return tensors.read(self._weights)

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Replace all weights; names and shapes as in :attr:`weights`.

        Raises BnncError B0806 for a name that is missing or unknown, or a shape that does not fit.
        """
        now = self.weights
        for name in (*weights, *now):
            if name not in now or name not in weights:
                what, known = ("is missing", weights) if name in now else ("is not one of this network's", now)
                raise error("B0806", f"the array `{name}` {what}", exit_code=5, help=did_you_mean(name, known))
            if np.size(weights[name]) != now[name].size or np.shape(weights[name])[:1] != now[name].shape[:1]:
                raise error(
                    "B0806",
                    f"`{name}` has shape {list(np.shape(weights[name]))}, expected {list(now[name].shape)}",
                    exit_code=5,
                    help="was it made by another network?",
                )
        arrays = {n: np.asarray(weights[n]).reshape(now[n].shape).astype(now[n].dtype) for n in now}
        tensors.write(self._weights, arrays)
        tensors.write(self._work / "given.safetensors", arrays)

    # -- private ----------------------------------------------------------------------------------------------------

    def _own(self) -> list[str]:
        self._ensure_weights()
        return ["--init", str(self._weights), "--cache", str(self._work)]

    def _ensure_weights(self) -> None:
        """Before any training: the weights that training would start from."""
        if self._weights.exists():
            return
        first = self.model.layers[0]
        n = 2 * self.model.batch + 1  # a batch is left when up to half of it is held out
        kind = {"u8": np.uint8, "f32": np.float32}.get(first.output.kind, np.bool_)
        blank = self._store("blank", np.zeros((n, first.output.elements), kind), np.zeros(n, np.uint8))
        self.run(
            [
                "train",
                "--train",
                str(blank),
                "--steps",
                "0",
                "--quiet",
                "--resume",
                "never",
                "--out",
                str(self._work / "blank"),
                "--export",
                str(self._weights),
            ]
        )


def _epoch(r: Mapping[str, Any]) -> Epoch:
    types = {"epoch": int, "step": int, "state": str, "weights_hash": str}
    return Epoch(**{"lr": None} | {k: types.get(k, float)(r[k]) for k in Epoch.__dataclass_fields__ if k in r})


def _history(records: list[dict[str, Any]]) -> History:
    end = next((r for r in reversed(records) if r["event"] == "end"), None)
    if end is None:
        raise InternalError("the trainer ended without a result")
    return History(
        tuple(_epoch(r) for r in records if r["event"] == "epoch"),
        end["state"],
        end["seconds"],
        end["memory_predicted"],
        end["memory_measured"],
        *(end.get(k) for k in ("test_acc", "best_test_acc", "best_epoch", "best_holdout_acc")),
    )
