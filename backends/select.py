"""Which backend serves a target.  Everything outside of ``backends/`` that depends on the target goes through this
table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bnnc.diag import did_you_mean, error
from bnnc.plan.report import Needs
from bnnc.source import Source

from .c import build as c_build
from .c import emit as c_emit
from .c import predicts as c_predicts
from .c import size as c_size
from .c import targets as c_targets
from .c.build import Sizes
from .triton import build as gpu_build
from .triton import emit as gpu_emit
from .triton import predict as gpu_predict
from .triton import targets as gpu_targets
from .triton.predict import Prediction


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What a family of targets answers; ``compiler`` is what ``foresee`` gave, ``placed`` the plan."""

    # its targets: the type of their records, all by name, and one by name or None
    record: type
    targets: Mapping[str, Any]
    find: Callable[[str], Any]
    # (target, cc) -> the compiler whose code a plan foresees, as text too
    foresee: Callable[..., Any]
    # (target) -> the compiler that is there, or nothing
    installed: Callable[[Any], str]
    # (target, placed, encoding, compiler) -> bytes beside the arena
    needs: Callable[..., Needs]
    # (placed) -> how a step starts on a device of its own, or nothing
    launches: Callable[[Any], str]
    # (packed) -> kernels that run before what is dead may be overwritten
    rest: Callable[[Any], int]
    # bytes of an arena that a program can have; 0: as many as there are
    largest: int
    # (model, placed, report, target, threads, poison) -> the text
    emit: Callable[..., Source]
    # (model, placed, report, target) -> a training step's time, kernel by kernel, or None where nothing predicts it
    predict: Callable[..., Prediction] | None
    # (target) -> what its programs can do of what not all can
    can: Callable[[Any], frozenset[str]]
    # (source, sizes, target, out, cc) -> the program
    build: Callable[..., Path]
    # of the text's files; (name, target) -> the one to build, and what the program is called
    suffixes: tuple[str, ...]
    main: Callable[[str, Any], str]
    program: Callable[[str, Any], str]


def c_emitted(model: Any, placed: Any, report: Any, target: Any, threads: int, poison: bool) -> Source:
    """A program that trains, or one that only predicts."""
    if placed.packed.predicts:
        return c_predicts.emit(model, placed, report, target)
    return c_emit.emit(model, placed, report, target, threads, poison)


AUGMENT, BALANCE = "augmentation", "balanced sampling"  # what is done with samples as they are read
PREDICTS, READS = frozenset({"scores", "program that only predicts"}), frozenset({AUGMENT, BALANCE})
BACKENDS = (
    Backend(
        record=c_targets.Target,
        targets=c_targets.TARGETS,
        find=c_targets.TARGETS.get,
        foresee=c_build.foresee,
        needs=c_size.needs,
        emit=c_emitted,
        predict=None,
        can=lambda target: PREDICTS if target.bare else PREDICTS | READS,
        build=c_build.build,
        suffixes=(".c", ".h", ".ld", ".txt"),
        main=lambda name, _: f"{name}.c",
        program=lambda name, target: f"{name}.elf" if target.bare else name,
        launches=lambda placed: "",
        rest=lambda packed: 0,
        installed=c_build.installed,
        largest=c_emit.MAX_ARENA,
    ),
    Backend(
        record=gpu_targets.Target,
        targets=gpu_targets.TARGETS,
        find=gpu_targets.find,
        foresee=lambda *_: None,
        needs=gpu_emit.needs,
        emit=gpu_emit.emit,
        predict=gpu_predict.predict,
        can=lambda target: READS if target.levels else frozenset({BALANCE}),
        build=gpu_build.build,
        suffixes=(".py", ".c", ".h"),
        main=gpu_targets.main,
        program=gpu_targets.program,
        launches=gpu_emit.launches,
        rest=gpu_emit.rest,
        installed=lambda target: "triton" if find_spec("triton") else "",
        largest=0,
    ),
)


def targets() -> dict[str, Any]:
    """Every target by name."""
    return {n: t for b in BACKENDS for n, t in b.targets.items()}


def find_target(name: str) -> Any:
    """Raises BnncError B0705 for an unknown name."""
    for b in BACKENDS:
        if (target := b.find(name)) is not None:
            return target
    known = targets()
    raise error(
        "B0705",
        f"unknown target `{name}`",
        exit_code=2,
        help=did_you_mean(name, known) or f"targets: {', '.join(known)}",
    )


def backend_of(target: Any) -> Backend:
    """The backend whose record a target is."""
    return next(b for b in BACKENDS if isinstance(target, b.record))


def refuse(target: Any, what: str) -> None:
    """Raises BnncError B0718 for a target whose programs cannot do it."""
    if what not in backend_of(target).can(target):
        raise error(
            "B0718",
            f"programs for target {target.name} make no {what}",
            exit_code=2,
            help="compile it for `host`: checkpoints are the same",
        )


def predict(model: Any, placed: Any, report: Any, target: Any) -> Prediction:
    """A training step's time.  Raises BnncError B0716 for a target of which none is predicted, B0711, B0712."""
    predicts = backend_of(target).predict
    if predicts is None:
        raise error(
            "B0716",
            f"nothing predicts the time of a step for target {target.name}",
            exit_code=2,
            help="compile it, and run its `bench --kernels`",
        )
    return predicts(model, placed, report, target)


def read_source(folder: Path) -> tuple[Source, Sizes, Any]:
    """A Source that was written to a folder, with the sizes of its plan and its target.

    Raises BnncError B0708, exit code 2, where the folder holds no such source.
    """
    plans = sorted(folder.glob("*.plan.json"))
    if len(plans) != 1:
        raise error(
            "B0708",
            f"{folder}: {'no' if not plans else 'more than one'} NAME.plan.json there",
            exit_code=2,
            help="give the folder that `bnnc compile FILE --source DIR` wrote",
        )
    name = plans[0].name.removesuffix(".plan.json")
    try:
        plan = json.loads(plans[0].read_text(encoding="utf-8"))
        target = find_target(plan["target"])
        backend = backend_of(target)
        paths = sorted(p for p in folder.rglob("*") if p.suffix in backend.suffixes)
        files = tuple((p.relative_to(folder).as_posix(), p.read_text(encoding="utf-8")) for p in paths)
        main = backend.main(name, target)
        if main not in dict(files):
            raise ValueError(f"{main} is missing")
        return Source(name, main, files), Sizes.read(plan), target
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise error(
            "B0708", f"{plans[0]}: not a plan that bnnc wrote ({e})", exit_code=2, help="write the source again"
        ) from e
