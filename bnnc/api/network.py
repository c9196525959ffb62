"""The Python interface: a spec as a :class:`Network`, its :class:`Plan`, and the :class:`Program` that it compiles to.

    import bnnc
    net = bnnc.load("net.bnn")
    net.plan().total_bytes                       # what the trainer will need, before anything is built
    prog = net.compile()
    prog.fit(x, y, epochs=3).epochs[-1].train_acc
    prog.evaluate(x_test, y_test).accuracy

Arrays are NumPy's.  Everything that trains or evaluates is the generated C program, started as a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import budget, data, driver, knobs, registry
from ..data import padding, tensors
from ..diag import BnncError, InternalError, Span, did_you_mean, error
from ..inputs.encode import of_model
from ..model import Model
from ..papers.gates import Gates
from ..papers.published import Published
from ..plan.types import Buffer
from ..rules.base import Rule
from . import process

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Plan:
    """What a program will need.  All sizes are bytes and known before anything is built."""

    planned: driver.Planned = field(repr=False)
    arena_bytes: int = 0
    total_bytes: int = 0
    choices: tuple[budget.Choice, ...] = field(default=(), repr=False)  # with a limit: every plan that the spec allows

    @classmethod
    def of(cls, planned: driver.Planned, choices: Sequence[budget.Choice] = ()) -> Plan:
        """The Plan of what the passes made."""
        return cls(planned, planned.report.arena, planned.report.total, tuple(choices))

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """Every buffer of the arena: name, storage (type and shape), offset, lifetime and the line of the spec."""
        return self.planned.placed.plan.buffers

    @property
    def gates(self) -> Gates | None:
        """Boolean gates of a training step as the papers count them, or None where nobody has for such a network."""
        count = self._rule.gates
        try:
            return count(self.planned.model) if count else None
        except ValueError:
            return None

    def literature(self, samples: int | None = None) -> Published | None:
        """The published accounting of this network, for so many training samples, or None where nobody covers it.

        Raises BnncError B0604 (usage) where the number of samples is needed and not given.
        """
        count = self._rule.published
        try:
            return count(self.planned.model, samples).beside(self.arena_bytes) if count else None
        except ValueError:
            return None

    @property
    def _rule(self) -> Rule:
        return registry.rules[self.planned.model.rule.name].impl

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data, as ``bnnc plan --json`` prints it."""
        return {
            **self.planned.report.to_json(),
            "compiler": self.planned.report.compiler,
            "threads": self.planned.threads,
        }


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


@dataclass(frozen=True)
class History:
    """What a training run reported.  ``state`` is a hash of all trained bits: equal states mean equal networks."""

    epochs: tuple[Epoch, ...]
    state: str
    seconds: float
    memory_predicted: int
    memory_measured: int
    test_acc: float | None = None
    best_test_acc: float | None = None

    def __getitem__(self, key: str) -> list[Any]:
        """One field over all epochs, e.g. ``history["loss"]``."""
        return [getattr(e, key) for e in self.epochs]


@dataclass(frozen=True)
class Evaluation:
    """Accuracy (0..1) and mean loss over some samples; ``float()`` of it is the accuracy.  ``weights_hash``: equal
    weights, equal hash.
    """

    accuracy: float
    loss: float
    samples: int
    weights_hash: str

    def __float__(self) -> float:
        return float(self.accuracy)


@dataclass(frozen=True)
class Network:
    """A checked spec.  Immutable: :meth:`with_` returns a changed copy."""

    model: Model
    text: str = field(repr=False)
    file: str = "<text>"
    overrides: tuple[tuple[str, Any], ...] = ()
    widths: tuple[tuple[str, int], ...] = ()

    @property
    def warnings(self) -> tuple[Any, ...]:
        """Diagnostics that do not stop the network from being compiled."""
        return self.model.warnings

    def options(
        self, target: str = "host", batch: int | None = None, threads: int | None = None, ram: str | int | None = None
    ) -> driver.Options:
        """What the passes are asked for."""
        overrides = {**dict(self.overrides), **({} if batch is None else {"batch": batch})}
        return driver.Options(
            self.text, self.file, target, threads, overrides, widths=dict(self.widths), region=_size(ram) or 0
        )

    def with_(self, **settings: Any) -> Network:
        """A variant with other settings, checked again.

        Parameters
        ----------
        **settings
            ``rule``, ``optimizer``, ``schedule``, ``batch``, ``epochs``, ``seed``, ``holdout`` or the name of a
            top-level ``let``; numbers, or texts as the spec writes them, e.g. ``rule="edge(state = f32)"``.

        Raises
        ------
        BnncError
            A setting that does not exist, or a network that cannot have it.
        """
        return replace(self, overrides=tuple({**dict(self.overrides), **settings}.items()))._checked()

    def with_widths(self, widths: Mapping[str, int]) -> Network:
        """A variant with other ``units`` of layers, by their names (``{"dense1": 128}``), checked again.  Raises
        BnncError.
        """
        return replace(self, widths=tuple({**dict(self.widths), **widths}.items()))._checked()

    def _checked(self) -> Network:
        return replace(self, model=driver.check_text(self.options()))

    def plan(
        self, target: str = "host", batch: int | None = None, threads: int | None = None, ram: str | int | None = None
    ) -> Plan:
        """The memory plan.

        Parameters
        ----------
        target
            One of ``bnnc targets``.
        batch, threads
            Replace the spec's batch and the target's number of threads.
        ram
            A limit, in bytes or as text (``"512KiB"``).

        Raises
        ------
        BnncError
            B0601, exit code 3: the plan's total exceeds ``ram``; the message holds ways out with their bytes.
        """
        options = self.options(target, batch, threads, ram)
        planned = driver.plan_text(options)
        _, taken, found = budget.fit(options, planned, _size(ram))
        return Plan.of(taken, found or (budget.choices(options, planned) if ram is not None else ()))

    def compile(
        self,
        target: str = "host",
        out: PathLike | None = None,
        threads: int | None = None,
        batch: int | None = None,
        ram: str | int | None = None,
        cache: bool = False,
    ) -> Program:
        """Generate the C and compile it.

        Parameters
        ----------
        target, threads, batch, ram
            As in :meth:`plan`.
        out
            Where to put the executable; by default a private temporary folder that lives as long as the Program.
        cache
            Keep executables in ``$XDG_CACHE_HOME/bnnc`` (``~/.cache/bnnc``), by the hash of their sources, and take
            them from there.

        Raises
        ------
        BnncError
            The plan's errors; B0706 or B0707, exit code 4, when there is no C compiler or it fails.
        """
        k = knobs.read()
        options = self.options(target, batch, threads, ram)
        planned = driver.plan_text(options, k)
        options, planned, found = budget.fit(options, planned, _size(ram))
        folder = tempfile.TemporaryDirectory(prefix="bnnc-")
        binary = Path(out).absolute() if out is not None else Path(folder.name) / planned.model.name
        stored = _cached(driver.emit_source(planned, k), k) if cache else None
        if stored is not None and (stored / "program").exists():
            planned = replace(
                planned, report=replace(planned.report, **json.loads((stored / "sizes.json").read_text()))
            )
            budget.check(options, planned, _size(ram))
            source = driver.emit_source(planned, k)
            binary.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(stored / "program", binary)
        else:
            planned, source = driver.build_planned(planned, binary, k, lambda p: budget.check(options, p, _size(ram)))
            if stored is not None:
                stored.mkdir(parents=True, exist_ok=True)
                (stored / "sizes.json").write_text(json.dumps({f: getattr(planned.report, f) for f in driver.SIZES}))
                shutil.copy2(binary, stored / "program.part")
                (stored / "program.part").replace(stored / "program")
        return Program(Plan.of(planned, found), source.text, binary, folder)


@dataclass(frozen=True)
class Program:
    """A compiled trainer.  ``source`` maps paths to texts, ``binary`` is the executable, ``plan`` what it needs.

    Weights, checkpoints and data given as arrays lie in a private temporary folder.  A Program can be pickled and
    copied: the executable, weights and checkpoints go along (not the data), into a folder of the new one's own.
    """

    plan: Plan
    source: dict[str, str] = field(repr=False)
    binary: Path
    folder: tempfile.TemporaryDirectory[str] = field(repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        kept = [p for p in self._work.rglob("*") if p.suffix in (".safetensors", ".bnnck", ".jsonl")]
        files = {str(p.relative_to(self._work)): p.read_bytes() for p in kept}
        return _unpickled, (self.plan, self.source, self.binary.name, self.binary.read_bytes(), files)

    @property
    def model(self) -> Model:
        """The Model that was compiled."""
        return self.plan.planned.model

    @cached_property
    def _work(self) -> Path:
        work = Path(self.folder.name) / "work"
        work.mkdir(exist_ok=True)
        return work

    @property
    def _weights(self) -> Path:
        return self._work / "weights.safetensors"

    def run(self, args: Sequence[str], check: bool = True) -> subprocess.CompletedProcess[str]:
        """Start the trainer with ``args`` (``["info", "--json"]``) and return when it has ended.

        Raises BnncError B0901 with the trainer's message and exit code when it fails, unless ``check`` is False.
        """
        done = subprocess.run([str(self.binary), *args], capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise process.failed(done.returncode, done.stderr)
        return done

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        x_test: np.ndarray | None = None,
        y_test: np.ndarray | None = None,
        epochs: int | None = None,
        seed: int | None = None,
        threads: int | None = None,
        callback: Callable[[Epoch], bool | None] | None = None,
        resume: bool = False,
    ) -> History:
        """Train on arrays.

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
            Called with each :class:`Epoch` as it ends; the trainer waits for it.  Returning True stops training there,
            and so does an exception, which comes out of ``fit``: weights and checkpoint are those of that epoch, and
            ``resume`` goes on from it.  (An interrupt within an epoch leaves those of the step that it met.)
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
        padding.warn(self.model, np.asarray(x))
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
        log = self._work / "log.jsonl"
        try:
            records = process.train(
                self.binary, [*args, "--export", str(self._weights)], log, callback and (lambda r: callback(_epoch(r)))
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
        return Evaluation(float(r["test_acc"]), float(r["loss"]), r["samples"], r["weights_hash"])

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Weights, batch-norm parameters and statistics by name (``dense1.weight``), in the types they are stored in.

        Latent weights are float16 or float32 arrays (inputs, outputs); weights without a latent value are int8 -1/+1.
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
        x = x.reshape(len(x), *shape) if len(shape) <= 4 else x.reshape(len(x), -1)
        if kind == "bit":
            if x.dtype != np.bool_:
                x = x >= (0.5 if x.size and x.min() >= 0 else 0.0)  # 0 and 1, or -1 and +1
        elif kind == "u8" and x.dtype != np.uint8 and not (e is not None and e.how == "sign"):
            if x.dtype.kind not in "iuf" or (x.size and (x.min() < 0 or x.max() > 255 or (x != np.floor(x)).any())):
                raise self._data_error(
                    "B0804",
                    f"samples are {x.dtype}, the network takes u8",
                    first.span,
                    "give whole numbers 0..255, or write `input f32[...]` in the spec",
                )
            x = x.astype(np.uint8)
        elif kind == "f32":
            x = x.astype(np.float32)
        if not encoded and e is not None and not e.fitted:
            x = e.encode(x)
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

    def _data_error(self, code: str, message: str, span: Span, help: str) -> BnncError:
        e = error(code, message, span, help=help, exit_code=5)
        e.sources[self.model.file] = self.model.source
        return e


def _unpickled(plan: Plan, source: dict[str, str], name: str, binary: bytes, files: Mapping[str, bytes]) -> Program:
    folder = tempfile.TemporaryDirectory(prefix="bnnc-")
    made = Program(plan, source, Path(folder.name) / name, folder)
    made.binary.write_bytes(binary)
    made.binary.chmod(0o755)
    for path, content in files.items():
        at = made._work / path
        at.parent.mkdir(exist_ok=True)
        at.write_bytes(content)
    return made


def _size(ram: str | int | None) -> int | None:
    return budget.parse_size(ram) if isinstance(ram, str) else ram


def _cached(source: Any, k: knobs.Knobs) -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    key = hashlib.sha256(repr((source.files, k.cc, k.cflags)).encode()).hexdigest()[:32]
    return Path(root) / "bnnc" / key


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
        end.get("test_acc"),
        end.get("best_test_acc"),
    )


def parse(text: str, file: str = "<text>") -> Network:
    """The Network of a spec's text.  Raises BnncError with every mistake in it."""
    return Network(driver.check_text(driver.Options(text, file)), text, file)


def load(path: PathLike) -> Network:
    """The Network of a ``.bnn`` file.

    Raises
    ------
    BnncError
        Every mistake in it, with its place; B0902, exit code 2, when the file cannot be read.
    """
    return parse(read_text(path), os.fspath(path))


def read_text(path: PathLike) -> str:
    """The text of a spec file.  Raises BnncError B0902 (usage)."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "not a text file"
        raise error("B0902", f"{os.fspath(path)}: {reason}", exit_code=2, help="give the path of a .bnn file") from e
