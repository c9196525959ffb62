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
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from .. import budget, driver, knobs
from ..cache import shelf
from ..data import tensors
from ..diag import error
from ..model import Model
from ..source import whole
from . import build, onnx
from .build import Part
from .notebook import table
from .plan import Plan
from .predictor import Predictor
from .program import Program
from .weights import Weights, names_beside, read_weights

PathLike = str | os.PathLike[str]

PROGRAMS = 64  # that are kept

FORMATS = "NAME.onnx, .npz or .safetensors; C is written by `bnnc compile --mode infer --emit-only`"


@dataclass(frozen=True, repr=False, init=False)
class Network:
    """A checked spec.  Immutable: :meth:`with_` returns a changed copy.  ``dumps``: the folder below that of
    ``BNNC_DUMP`` where its passes are written, where it is one network of several.  ``prefix``: what its files and C
    functions are named by, if not by the network's name (:meth:`called`)."""

    model: Model
    text: str = field(repr=False)
    file: str
    overrides: tuple[tuple[str, Any], ...]
    widths: tuple[tuple[str, int], ...]
    dumps: str = field(repr=False, compare=False)
    prefix: str

    def __init__(
        self,
        model: Model | Sequence[Part],
        text: str = "",
        file: str = "<text>",
        overrides: tuple[tuple[str, Any], ...] = (),
        widths: tuple[tuple[str, int], ...] = (),
        dumps: str = "",
        prefix: str = "",
        *,
        name: str = "net",
        rule: Part | str | None = None,
        data: Mapping[str, Part] | None = None,
        **train: Any,
    ) -> None:
        """From layers of :mod:`bnnc.build`, the network that :attr:`text` says: equal to :func:`parse` of it.

        Parameters
        ----------
        model
            Layers from ``input`` to ``loss``, in order.  (A Model, with its text, is what bnnc itself gives.)
        name, rule, data, **train
            As in a spec: the network's name; a rule; ``train`` and ``test`` sources; settings of ``train``, as
            ``epochs=20`` or ``optimizer=b.adam(lr=3e-3)``.

        Raises
        ------
        BnncError
            Every mistake, with its place in the text.
        """
        if not isinstance(model, Model):
            text = build.text(model, name, rule, data or {}, train)
            model = driver.check_text(driver.Options(text, file))
        given = (("model", model), ("text", text), ("file", file), ("overrides", overrides), ("widths", widths))
        for k, v in (*given, ("dumps", dumps), ("prefix", prefix)):
            object.__setattr__(self, k, v)

    def __repr__(self) -> str:
        m = self.model
        return (
            f"Network({m.name}: {m.layers[0]['tensor']} -> {m.classes} classes, {sum(1 for _ in m.walk())} layers, "
            f"rule {m.rule.name}, {m.optimizer.name}, batch {m.batch})"
        )

    def _repr_html_(self) -> str:
        """The layers as a table, for notebooks."""
        rows = [(y.name, y.kind, y.input, y.output) for y in self.model.walk()]
        return f"<p>{escape(repr(self))}</p>{table(('layer', 'kind', 'takes', 'gives'), rows)}"

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
            self.text,
            self.file,
            target,
            threads,
            overrides,
            widths=dict(self.widths),
            region=_size(ram) or 0,
            called=self.prefix,
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

    def called(self, prefix: str) -> Network:
        """A copy whose files and C functions begin with ``prefix`` instead of the network's name, so that two of one
        name can be in one program: ``net.called("wake").predictor(...)`` has ``wake.h`` and ``wake_predict``.
        Checkpoints and hashes are the same.
        """
        return replace(self, prefix=prefix, model=replace(self.model, called=prefix))

    def _checked(self) -> Network:
        return replace(self, model=driver.check_text(self.options(), self._knobs()))

    def _knobs(self) -> knobs.Knobs:
        return knobs.read().below(self.dumps)

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
        planned = driver.plan_text(options, self._knobs())
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
        scores: bool = False,
    ) -> Program:
        """Generate the C and compile it.

        Parameters
        ----------
        target, threads, batch, ram
            As in :meth:`plan`.
        out
            Where to put the executable; by default a private temporary folder that lives as long as the Program.
        cache
            Keep executables in ``$XDG_CACHE_HOME/bnnc`` (``~/.cache/bnnc``), the last 64, by the hash of their sources,
            and take them from there.
        scores
            The program can say how sure it is: :meth:`Program.scores`, :meth:`Program.predict_proba`, and its
            ``predict --proba``.

        Raises
        ------
        BnncError
            The plan's errors; B0706 or B0707, exit code 4, when there is no C compiler or it fails.
        """
        k = self._knobs()
        options = replace(self.options(target, batch, threads, ram), scores=scores)
        planned = driver.plan_text(options, k)
        options, planned, found = budget.fit(options, planned, _size(ram))
        folder = tempfile.TemporaryDirectory(prefix="bnnc-")
        binary = Path(out).absolute() if out is not None else Path(folder.name) / planned.model.prefix
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
                (stored / "sizes.json").write_text(json.dumps({f: getattr(planned.report, f) for f in driver.SIZES}))
                with whole(stored / "program") as part:
                    shutil.copy2(binary, part)
        return Program(Plan.of(planned, found), source.text, binary, folder)

    def planned_predictor(self, weights: Weights, target: str = "host", batch: int | None = None) -> driver.Planned:
        """What :meth:`predictor` compiles, planned."""
        k = self._knobs()
        trains = driver.plan_text(self.options(batch=batch), k)
        found = read_weights(weights, trains), names_beside(weights, trains.model.classes)
        options = replace(self.options(target, batch), weights=found[0], class_names=found[1])
        return driver.plan_text(options, k)

    def predictor(
        self, weights: Weights, target: str = "host", out: PathLike | None = None, batch: int | None = None
    ) -> Predictor:
        """Compile a program that predicts with these weights, and nothing else: they are constants in it, batch norm is
        thresholds where that keeps every bit, and its plan is its own.  So are the names of the classes that a run's
        ``classes.txt`` holds (:attr:`Predictor.class_names`).

        Parameters
        ----------
        weights
            :attr:`Program.weights`; or the path of a run's folder, a checkpoint or a ``.safetensors`` file.
        target, out
            As in :meth:`compile`; targets in C only.
        batch
            Of the program that wrote the checkpoint, where it was not the spec's.

        Raises
        ------
        BnncError
            B0806, B0807 for weights of another network, or a checkpoint that is damaged; B0803 for names of
            other classes; B0718 for a GPU target.
        """
        planned = self.planned_predictor(weights, target, batch)
        folder = tempfile.TemporaryDirectory(prefix="bnnc-")
        binary = Path(out).absolute() if out is not None else Path(folder.name) / planned.model.prefix
        planned, source = driver.build_planned(planned, binary, self._knobs())
        return Predictor(Plan.of(planned, ()), source.text, binary, folder)

    def export(self, weights: Weights, path: PathLike, batch: int | None = None) -> None:
        """Write what was learnt in a format of others, by the suffix of ``path``, whole or not at all.

        Parameters
        ----------
        weights, batch
            As in :meth:`predictor`.
        path
            ``.onnx``: the network that predicts (:mod:`bnnc.api.onnx`; needs the package onnx).  ``.npz``,
            ``.safetensors``: the arrays, bits as i8 of -1 and +1.

        Raises
        ------
        BnncError
            B0718 for another suffix, and what ONNX cannot have; what :meth:`predictor` raises.
        """
        at = Path(path)
        if at.suffix not in (".onnx", ".npz", ".safetensors"):
            raise error("B0718", f"{at}: no format is called so", exit_code=2, help=FORMATS)
        if at.suffix == ".onnx":
            planned = self.planned_predictor(weights, "host", batch)
            with whole(at) as part:
                onnx.write(planned, part)
            return
        arrays: Any = read_weights(weights, driver.plan_text(self.options(batch=batch), self._knobs()))
        if at.suffix == ".safetensors":
            tensors.write(at, arrays)
            return
        with whole(at) as part, part.open("wb") as f:
            np.savez(f, **arrays)


def _size(ram: str | int | None) -> int | None:
    return budget.parse_size(ram) if isinstance(ram, str) else ram


def _cached(source: Any, k: knobs.Knobs) -> Path | None:
    key = hashlib.sha256(repr((source.files, k.cc, k.cflags)).encode()).hexdigest()[:32]
    return shelf("programs", key, PROGRAMS)


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
