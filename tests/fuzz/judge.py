"""Judges a spec: does it mean one thing, whatever passes, instruction sets, threads and programs are asked?

Each trial below takes a :class:`Case` and raises if the promise that it is named after does not hold.  :func:`judge`
runs trials in turn and gives the first :class:`Failure`; :func:`blame` says which pass, or which option of the spec,
has to be taken away for it to go.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import random
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import compile_cache
import numpy as np
from helpers import LEVELS, Arrays, Library, assert_same, batch_of, cpu_levels, element_bytes, interpreted

from bnnc import driver, knobs
from bnnc.backends.c.build import verify_elf
from bnnc.data import pack, write_bnnd
from bnnc.diag import BnncError
from bnnc.front import fmt
from bnnc.inputs.encode import of_model
from bnnc.ir import interp
from bnnc.knobs import OPTIONAL
from bnnc.model import Model
from bnnc.plan.cost import added, kernel_costs

from .generate import Spec

POISON = 0xEE
TRITON_WORK = 400_000  # operations of a step that Triton's interpreter is asked for
OPTIMIZE = "-O1"  # where pytest does not say what; kernels as -O2 makes them are what the built program has


@dataclass(frozen=True)
class Failure:
    """``trial`` that failed, the exception's type and first line; ``kind`` is what a smaller spec must share."""

    trial: str
    error: str
    message: str

    @property
    def kind(self) -> tuple[str, str]:
        return self.trial.partition(" ")[0], self.error


@dataclass
class Case:
    """A spec and what was drawn to judge it: ``off`` a set of optional passes, a level and a number of threads."""

    text: str
    seed: int = 0

    def __post_init__(self) -> None:
        rng = random.Random(f"judge {self.seed}")
        every = [frozenset([p]) for p in OPTIONAL] + [frozenset(OPTIONAL), frozenset(("fuse", "sink"))]
        self.off: frozenset[str] = rng.choice(every)
        self.level = rng.randrange(cpu_levels())
        self.threads = rng.randint(1, 4)
        self.poison = rng.random() < 0.5

    @cached_property
    def model(self) -> Model:
        return driver.check_text(driver.Options(self.text))

    @cached_property
    def planned(self) -> driver.Planned:
        return driver.plan_text(driver.Options(self.text), knobs.Knobs(verify=2))

    def plan(self, off: frozenset[str] = frozenset(), target: str = "host", verify: int = 2) -> driver.Planned:
        if not off and target == "host":
            return self.planned
        return driver.plan_text(driver.Options(self.text, target=target), knobs.Knobs(disable=off, verify=verify))

    def library(self, off: frozenset[str], poison: bool) -> Library:
        """The kernels of one instruction set."""
        planned = self.plan(off, verify=1)
        one = replace(planned.target, levels=(planned.target.levels[self.level],))
        return Library(replace(planned, target=one), poison, os.environ.get(compile_cache.OPTIMIZE, OPTIMIZE))


# -- trials ----------------------------------------------------------------------------------------------------------
def front(case: Case) -> None:
    """``fmt`` keeps the Model, and formatting twice is formatting once."""
    text = fmt.format(driver.parse(case.text))
    again = driver.check_text(driver.Options(text))
    assert again == case.model, "the formatted text is another network"
    assert fmt.format(driver.parse(text)) == text, "formatting is not idempotent"


def plan(case: Case) -> None:
    """Every pass of the default pipeline keeps all bits, down to the bytes of the arena."""
    assert case.planned.report.total > 0


def passes(case: Case) -> None:
    """Each optional pass off, and all of them."""
    for off in (*(frozenset([p]) for p in OPTIONAL if p != "strip" or case.model.recompute), frozenset(OPTIONAL)):
        try:
            case.plan(off)
        except Exception as e:
            raise AssertionError(f"without {', '.join(sorted(off))}: {type(e).__name__}: {e}") from e


def steps(lib: Library, threads: int, count: int = 3) -> None:
    """States, loss and predictions are the interpreter's after every step; then those of an evaluation."""
    program = lib.train.program
    states = interp.init_states(program, 3)
    lib.arena[:] = POISON
    lib.set_states(states)
    for t in range(count):
        inputs = batch_of(lib.planned, t, t == 1)
        values, states = interp.step(program, {**states, **inputs})
        results = lib.step(lib.train, inputs, 0, nt=1 if t == 0 else threads)
        assert_same(lib.states(), states, f"step {t}:")
        assert_same(results, {role: values[v] for role, v in program.results}, f"step {t}:")
    inputs = batch_of(lib.planned, count)
    values = interpreted(lib.evaluate, states, inputs)
    assert_same(
        lib.step(lib.evaluate, inputs, 0, threads),
        {r: values[v] for r, v in lib.evaluate.program.results},
        "evaluation:",
    )
    assert_same(lib.states(), states, "after evaluation:")


def kernels(case: Case) -> None:
    """The C of the default pipeline against the interpreter; every byte of the arena is written in one step."""
    lib = case.library(frozenset(), False)
    steps(lib, case.threads)
    every_byte(lib)


def every_byte(lib: Library) -> None:
    states, inputs = interp.init_states(lib.train.program, 1), batch_of(lib.planned, 0)
    arenas = []
    for fill in (0x00, 0xFF):
        lib.arena[:] = fill
        lib.set_states(states)
        for side in (lib.train, lib.evaluate):
            lib.step(side, inputs)
        arenas.append(lib.arena.copy())
    used = np.zeros(lib.plan.arena_bytes, bool)
    for b in lib.plan.buffers:
        used[b.offset : b.end] |= element_bytes(b.storage)
    missed = np.flatnonzero((arenas[0] != arenas[1]) & used)
    assert not missed.size, f"bytes {missed[:8]} are not written, or depend on what was there"


def kernels_off(case: Case) -> None:
    """The same where some optional passes are off, or dead bytes are overwritten."""
    lib = case.library(case.off, case.poison)
    if not case.poison:
        steps(lib, case.threads)
        return
    states: Arrays = interp.init_states(lib.train.program, 5)
    lib.arena[:] = POISON
    lib.set_states(states)
    for t in range(3):
        inputs = batch_of(lib.planned, t)
        lib.load(lib.train, inputs)
        lib.c.bnnc_test_step(0)
        lib.load(lib.evaluate, batch_of(lib.planned, 9))
        lib.c.bnnc_test_step(1)
        _, states = interp.step(lib.train.program, {**states, **inputs})
    assert_same(lib.states(), states, "poisoned:")


def samples(model: Model, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Data as a user has it: before the encoder."""
    t = model.layers[0]["tensor"]
    rng = np.random.default_rng(seed)
    if t.kind == "u8":
        x = rng.integers(0, 256, (count, *t.shape)).astype(np.uint8)
    elif t.kind == "bit":
        x = rng.random((count, *t.shape)) < 0.5
    else:
        x = rng.normal(0, 1, (count, *t.shape)).astype(np.float32)
    e = of_model(model)
    if e is not None and x.ndim >= 1:
        flat = x.reshape(count, -1) if len(t.shape) == 1 else x.reshape(count, -1, t.shape[-1])
        for column, categories in zip(e.onehot, e.categories, strict=True):
            flat[..., column] = rng.integers(0, categories, flat[..., column].shape)
        if e.lengths and t.kind == "f32":
            x[np.arange(t.shape[0]) >= rng.integers(1, t.shape[0] + 1, count)[:, None]] = np.nan
    return x, (np.arange(count) % model.classes).astype(np.uint8)


def run(argv: Iterable[object], folder: Path, code: int | None = 0, **kw: object) -> str:
    done = subprocess.run(
        [str(a) for a in argv], cwd=folder, capture_output=True, text=True, check=False, timeout=300, **kw
    )  # type: ignore[call-overload]
    said = done.stdout + done.stderr
    assert code is None or done.returncode == code, f"exit code {done.returncode}: {said.strip().splitlines()[-1:]}"
    return str(said)


def program(case: Case) -> None:
    """The program: its ELF is the plan's; all levels and threads give the same states; the peak is at most the plan;
    one that is killed ends where one that was left alone does."""
    model = case.model
    planned = driver.plan_model(model, driver.Options(case.text, threads=4), case.planned.target, knobs.Knobs())
    with tempfile.TemporaryDirectory(prefix="bnnc-fuzz-") as tmp:
        folder = Path(tmp)
        planned, _ = driver.build_planned(planned, folder / "net")
        verify_elf(folder / "net", planned.report, planned.target)
        said = run([folder / "net", "selftest"], folder)
        assert "DIFFERS" not in said, said
        held = max(int(model.holdout * 4 * model.batch), math.ceil(1 / model.holdout)) if model.holdout else 0
        x, y = samples(model, max(2 * model.batch + 1, 16) + held, 1)
        np.save(folder / "x.npy", x)
        np.save(folder / "y.npy", y)
        given = "x.npy,y.npy"
        if x.dtype == bool:  # files of bits are bnnc's own
            write_bnnd(folder / "xy.bnnd", pack(folder / "x.npy", folder / "y.npy"))
            given = "xy.bnnd"
        train = [folder / "net", "train", "--train", given, "--test", given, "--epochs", 3]
        states = {}
        for level, threads in [(level, 1 + i) for i, level in enumerate(LEVELS[: cpu_levels()])] + [("base", 4)]:
            out = f"run-{level}-{threads}"
            said = run([*train, "--out", out, "--isa", level, "--threads", threads, "--log", f"{out}.log"], folder)
            states[level, threads] = said.rsplit("state ", 1)[1].split()[0]
            end = json.loads((folder / f"{out}.log").read_text().splitlines()[-1])
            assert end["memory_measured"] <= planned.report.total == end["memory_predicted"], end
        assert len(set(states.values())) == 1, f"levels and threads differ: {states}"
        again = [*train, "--out", "killed", "--threads", case.threads]
        for wait in (0.01, 0.03):
            with subprocess.Popen(
                [str(a) for a in again], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as p:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    p.wait(wait)
                p.send_signal(signal.SIGKILL)
        said = run(again, folder)
        if "state " in said:
            assert said.rsplit("state ", 1)[1].split()[0] in states.values(), "killed and resumed, it ends elsewhere"


def triton(case: Case) -> None:
    """Triton's interpreter, where the GPU target takes the network and a step is small."""
    from triton_helpers import TritonLibrary  # noqa: PLC0415

    planned = case.plan(target="triton", verify=1)
    work = added(kernel_costs(planned.placed.train))
    if work.operations + work.moved > TRITON_WORK:
        return
    lib = TritonLibrary(planned)
    steps(lib, 1, 1)


QUICK: tuple[Callable[[Case], None], ...] = (front, plan, passes)
C: tuple[Callable[[Case], None], ...] = (kernels, kernels_off)
ALL: tuple[Callable[[Case], None], ...] = (*QUICK, *C, program, triton)


def attempt(trial: Callable[[Case], None], case: Case) -> Failure | None:
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            trial(case)
    except Exception as e:  # whatever it is, it is the verdict
        lines = str(e).strip().splitlines() or [""]
        if isinstance(e, BnncError):
            lines = [f"{d.code}: {d.message}" for d in e.diagnostics][:1] + lines
        told = next((x for x in lines if "error:" in x), lines[0])
        return Failure(trial.__name__, type(e).__name__, told[:300])
    return None


def judge(text: str, seed: int = 0, trials: Iterable[Callable[[Case], None]] = ALL) -> Failure | None:
    """The first trial that a spec fails."""
    case = Case(text, seed)
    for trial in trials:
        if failure := attempt(trial, case):
            return failure
    return None


TRIALS = {t.__name__: t for t in ALL}


def still(failure: Failure, text: str, seed: int, disable: frozenset[str] = frozenset()) -> bool:
    """Does the trial fail alike, with these passes off too?"""
    case = Case(text, seed)
    if disable:
        normal = case.plan

        def plan_without(off: frozenset[str] = frozenset(), target: str = "host", verify: int = 2) -> driver.Planned:
            return driver.plan_text(
                driver.Options(text, target=target), knobs.Knobs(disable=off | disable, verify=verify)
            )

        case.plan = plan_without if normal else normal  # type: ignore[method-assign]
        case.__dict__["planned"] = None
        try:
            case.__dict__["planned"] = plan_without()
        except Exception as e:
            return (failure.trial, failure.error) == ("plan", type(e).__name__)
    found = attempt(TRIALS[failure.trial], case)
    return found is not None and found.kind == failure.kind


def blame(failure: Failure, spec: Spec, seed: int) -> str:
    """The pass that the failure names, or the passes and options without which it is gone."""
    if named := re.search(r"in pass `(\w+)`", failure.message):
        return f"pass {named[1]}"
    without = [p for p in OPTIONAL if not still(failure, spec.text(), seed, frozenset([p]))]
    options = []
    for key in [k for k in spec.train if k != "batch"]:
        less = spec.copy()
        del less.train[key]
        if not still(failure, less.text(), seed):
            options.append(f"{key} = {spec.train[key]}")
    told = [f"gone without pass {', '.join(without)}"] if without else ["with every optional pass off too"]
    return "; ".join(told + ([f"gone without {', '.join(options)}"] if options else []))


def shrink(failure: Failure, spec: Spec, seed: int, limit: int = 400) -> Spec:
    """A spec of which nothing can be taken away without the failure going, too."""
    tries = 0

    def smaller(of: Spec) -> Iterable[Spec]:
        if of.blocks:
            yield replace(of.copy(), blocks=[], nodes=[n for n in of.copy().nodes if n.name not in of.blocks[0]])
        for key in list(of.train):
            less = of.copy()
            del less.train[key]
            yield less
        if of.allow:
            yield replace(of.copy(), allow={})
        yield replace(of.copy(), rule=re.sub(r"\(.*", "", of.rule))
        yield replace(of.copy(), name="net")
        for path in list(_paths(of.nodes)):
            less = of.copy()
            nodes, i = _at(less.nodes, path)
            inner = nodes[i].body
            del nodes[i]
            yield less
            if inner:
                less = of.copy()
                nodes, i = _at(less.nodes, path)
                nodes[i : i + 1] = inner
                yield less
        for path in list(_paths(of.nodes)):
            count = len(_at(of.nodes, path)[0][_at(of.nodes, path)[1]].args)
            for j in range(count):
                less = of.copy()
                nodes, i = _at(less.nodes, path)
                del nodes[i].args[j]
                yield less
        for path in list(_paths(of.nodes)):
            nodes, i = _at(of.nodes, path)
            for j, arg in enumerate(nodes[i].args):
                for found in re.finditer(r"(?<![\w.])\d+(?![\w.])", arg):
                    n = int(found[0])
                    for m in (1, 2, 3, n // 2, n - 1):
                        if 0 < m < n:
                            less = of.copy()
                            there, k = _at(less.nodes, path)
                            there[k].args[j] = arg[: found.start()] + str(m) + arg[found.end() :]
                            yield less
        if "batch" in of.train:
            n = int(of.train["batch"])
            for m in (1, 2, 3, 4, n // 2, n - 1):
                if 0 < m < n:
                    less = of.copy()
                    less.train["batch"] = str(m)
                    yield less

    found = True
    while found and tries < limit:
        found = False
        for less in smaller(spec):
            if less.text() == spec.text():
                continue
            tries += 1
            if tries >= limit:
                break
            try:
                driver.check_text(driver.Options(less.text()))
            except BnncError:
                continue
            if still(failure, less.text(), seed):
                spec, found = less, True
                break
    return spec


def _paths(nodes: list, at: tuple[int, ...] = ()) -> Iterable[tuple[int, ...]]:  # type: ignore[type-arg]
    for i, n in enumerate(nodes):
        yield (*at, i)
        if n.body is not None:
            yield from _paths(n.body, (*at, i))


def _at(nodes: list, path: tuple[int, ...]) -> tuple[list, int]:  # type: ignore[type-arg]
    for i in path[:-1]:
        nodes = nodes[i].body
    return nodes, path[-1]


os.environ.setdefault("BNNC_CFLAGS", "-Werror")
