"""Shared by the tests: short specs, the middle passes, generated code as a library, and its arena as arrays.

A :class:`Library` is the generated C compiled with ``-DBNNC_LIBRARY``: its kernels are called one by one through
``bnnc_test_kernel(level, index, tid, nt)`` on the arena that the Plan laid out.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

import compile_cache
import numpy as np

from bnnc import driver, knobs
from bnnc.backends.c.targets import PORTABLE, Target, find_target
from bnnc.diag import BnncError
from bnnc.ir import interp, ref
from bnnc.ir.program import Module, Program
from bnnc.ir.ref import Ref
from bnnc.model import Model
from bnnc.plan.codec import decode, encode
from bnnc.plan.pack import PackedSchedule
from bnnc.plan.types import Buffer, Storage
from bnnc.sched.kernel import Kernel
from bnnc.source import Source

Arrays = dict[str, np.ndarray]
LEVELS = tuple(level.name for level in PORTABLE)
NEEDS = {  # beyond the level before, as Linux calls it
    "avx2": {"avx2", "f16c", "popcnt", "bmi1", "bmi2"},
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vpopcntdq"},
}
CACHE = Path(tempfile.gettempdir())  # where libraries are kept; conftest sets it to a folder of this session
RULES = {"standard": "l2", "edge": "bnn"}


def spec(
    widths: Iterable[int] = (70, 33, 10),
    kind: str = "u8",
    rule: str = "edge",
    optimizer: str = "adam",
    batch: int = 20,
    norm: str = "",
    surrogate: str = "",
    loss: str = "",
    body: str = "",
    name: str = "net",
) -> str:
    """A perceptron as a spec: ``kind`` is ``u8``, ``f32``, ``bit`` or ``sign`` (u8 encoded to bits); ``rule`` and
    ``optimizer`` may carry arguments.  ``body`` replaces the hidden layers.
    """
    first, *hidden, last = widths
    data = {"sign": f"u8[{first}] sign(threshold = 100)"}.get(kind, f"{kind}[{first}]")
    bn, act = f"batchnorm{' ' + norm if norm else ''};", f"sign{' ' + surrogate if surrogate else ''};"
    body = body or "".join(f"  dense {n}; {bn} {act}\n" for n in hidden)
    return (
        f"network {name} {{\n  input {data};\n{body}  dense {last}; {bn}\n  loss{' ' + loss if loss else ''};\n}}\n"
        f"rule {rule};\ntrain {{ batch = {batch}; optimizer = {optimizer}; }}\n"
    )


def sequence_spec(
    steps: int,
    features: int,
    units: int,
    expand: int,
    classes: int,
    dense: str = "",
    batch: int = 7,
    rule: str = "bep",
    horizon: int = 0,
    encoder: str = "",
) -> str:
    """A recurrent network as a spec; ``dense``: hidden layers after the last state; ``encoder`` makes the data f32."""
    data = f"f32[{steps}, {features}] {encoder}" if encoder else f"bit[{steps}, {features}]"
    return (
        f"network net {{\n  input {data};\n  rnn {units} expand = {expand} horizon = {horizon};\n  {dense}\n  dense"
        f" {classes};\n  loss;\n}}\nrule {rule};\ntrain {{ batch = {batch}; }}\n"
    )


def plan(
    text: str, target: str = "host", disable: Iterable[str] = (), verify: int = 1, **overrides: Any
) -> driver.Planned:
    """All passes up to the Plan."""
    return driver.plan_text(
        driver.Options(text, target=target, overrides=overrides), knobs.Knobs(disable=frozenset(disable), verify=verify)
    )


def plan_of(model: Model, target: str = "host", disable: Iterable[str] = ()) -> driver.Planned:
    """As :func:`plan` for a Model."""
    return driver.plan_model(model, driver.Options(""), find_target(target), knobs.Knobs(disable=frozenset(disable)))


# -- arrays ----------------------------------------------------------------------------------------------------------


def batch_of(planned: driver.Planned, seed: int, special: bool = False) -> Arrays:
    """Inputs of a step: seeded data, labels, learning rate and step number.

    ``special`` puts constant columns (zero variance) and, into f32 data, -0.0, NaN and both infinities.
    """
    program = planned.placed.program
    rng, v = np.random.default_rng(seed), program.value["x"]
    if v.dtype == "u8":
        x = rng.integers(0, 256, v.shape).astype(np.uint8)
        x[:, ::3] = 255 * (rng.random(x[:, ::3].shape) < 0.3)
    elif v.dtype == "bit":
        x = rng.choice(np.array([-1, 1], np.int8), v.shape)
    else:
        x = rng.standard_normal(v.shape).astype(np.float32)
    if special:
        x[:, ::2] = x[:1, ::2]
        if v.dtype == "f32":
            x[:, 1::4] = -0.0
            if v.shape[0] > 2:
                x[1, 0], x[1, -1], x[2, 0] = np.nan, np.inf, -np.inf
    classes = planned.model.classes
    labels = rng.integers(0, classes, program.value["labels"].shape).astype(np.uint8)
    return {
        "x": x,
        "labels": labels,
        "lr": np.full((1, 1), 0.003 * (1 + seed % 3), np.float32),
        "step": np.full((1, 1), 1 + seed, np.float32),
        "part": np.full((1, 1), seed % planned.model.microbatch, np.float32),
        # of rules without floats
        "tick": np.full((1, 1), 1 + seed, np.int32),
        "seed": np.full((1, 1), 7, np.int32),
        "errors": np.full((1, 1), 3, np.int32),
        "samples": np.full((1, 1), 4, np.int32),
        "stage": np.full((1, 1), seed % 2, np.int32),
    }


def equal(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Per element: the same bits, or both NaN (whose sign and payload mean nothing)."""
    if got.dtype != want.dtype or got.shape != want.shape:
        raise TypeError(f"{got.dtype}{got.shape} is not {want.dtype}{want.shape}")
    if got.dtype.kind != "f":
        return got == want
    bits = f"u{got.dtype.itemsize}"
    return (np.ascontiguousarray(got).view(bits) == np.ascontiguousarray(want).view(bits)) | (
        np.isnan(got) & np.isnan(want)
    )


def assert_equal(got: np.ndarray, want: np.ndarray, what: str) -> None:
    """Raises AssertionError with the first place where the two differ."""
    same = equal(got, want)
    if not same.all():
        at = tuple(int(i) for i in np.argwhere(~same)[0])
        raise AssertionError(
            f"{what}: {int((~same).sum())} of {same.size} differ, first at {at}: {got[at]!r}, expected {want[at]!r}"
        )


def assert_same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], what: str = "") -> None:
    assert set(a) == set(b)
    for name in a:
        assert_equal(a[name], b[name], f"{what} {name}")


# -- the generated C as a library ------------------------------------------------------------------------------------


OPTIMIZE = os.environ.get(compile_cache.OPTIMIZE, "-Og")  # the slow tier has -O2, as in programs

EVERY_LEVEL = OPTIMIZE == "-O2"  # of libraries: the slow tier

SANITIZED = [  # of hosted programs
    "-O1" if OPTIMIZE == "-O2" else "-Og",
    "-g1",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
]


def at_level(planned: driver.Planned, level: int) -> driver.Planned:
    """For one of its target's instruction sets alone."""
    return replace(planned, target=replace(planned.target, levels=(planned.target.levels[level],)))


def some_level(planned: driver.Planned) -> int:
    """An instruction set of this CPU's: always the same for a network, and each of them for some."""
    return zlib.crc32(str(planned.model).encode()) % cpu_levels()


def compiler(target: Target) -> str:
    from bnnc.backends.c.build import find_compiler  # noqa: PLC0415

    return find_compiler(target)


def compile_library(source: Source, target: Target, optimize: str = OPTIMIZE) -> Path:
    """The shared library of a Source, compiled once per session for each text and set of flags."""
    from bnnc.backends.c.build import WARNINGS  # noqa: PLC0415

    argv = compile_cache.instead([*compiler(target).split(), *target.flags], optimize)
    argv += [*WARNINGS, "-DBNNC_LIBRARY", "-shared", "-fPIC", source.main, "-o"]
    key = hashlib.sha256(repr((argv, source.files)).encode()).hexdigest()[:24]
    out = CACHE / f"{key}.so"
    if not out.exists():
        with tempfile.TemporaryDirectory(prefix="bnnc-test-") as tmp:
            source.write(Path(tmp))
            done = compile_cache.compiled([*argv, "net.so"], Path(tmp))
            assert done.returncode == 0, done.stderr
            part = CACHE / f"{key}.{os.getpid()}.part"
            shutil.move(Path(tmp) / "net.so", part)
            part.replace(out)
    return out


@dataclass
class Side:
    """One of the two schedules as the library numbers its kernels, with the Program that it computes."""

    packed: PackedSchedule
    side: ref.Side
    first: int
    program: Program

    def place(self, storage: Ref) -> Ref:
        """The Plan's buffer of a schedule's storage."""
        return self.packed.place(storage, self.side)

    def value(self, storage: Ref) -> str:
        """The Program's value that a storage holds."""
        return dict(self.program.updates)[storage.value] if storage.new else storage.value


def sides(planned: driver.Planned) -> tuple[Side, Side]:
    """Both, in the order of their kernels."""
    (train, first), (evaluate, second) = planned.placed.packed.sides
    of: Module = planned.trace.results["simplify"]
    return Side(train, first, 0, of.train), Side(evaluate, second, len(train.kernels), of.evaluate)


class Library:
    """Kernels on an arena of its own (each Library loads a private copy of the shared object)."""

    def __init__(
        self, planned: driver.Planned, poison: bool = False, optimize: str = OPTIMIZE, every_level: bool = False
    ) -> None:
        """``every_level``: all instruction sets of the target; else one, so that it compiles in a third of the time."""
        if not (every_level or EVERY_LEVEL) and planned.target.levels == PORTABLE:
            planned = at_level(planned, some_level(planned))
        self.planned, self.plan = planned, planned.placed.plan
        self.source = driver.emit_source(planned, knobs.Knobs(poison=poison))
        self.path = compile_library(self.source, planned.target, optimize)
        with tempfile.TemporaryDirectory(prefix="bnnc-test-") as tmp:  # a private copy: dlopen shares by file
            copy = shutil.copy(self.path, Path(tmp) / "net.so")
            self.c = ctypes.CDLL(str(copy))
        self.c.bnnc_test_arena.restype = ctypes.POINTER(ctypes.c_uint8)
        self.arena = np.ctypeslib.as_array(self.c.bnnc_test_arena(), (self.plan.arena_bytes,))
        self.train, self.evaluate = sides(planned)
        self.levels = range(min(self.c.bnnc_test_levels(), len(planned.target.levels)))

    @cached_property
    def buffer(self) -> dict[Ref, Buffer]:
        return self.plan.buffer

    def write(self, place: Ref, x: np.ndarray) -> None:
        b = self.buffer[place]
        self.arena[b.offset : b.end] = np.frombuffer(encode(b.storage, x), np.uint8)

    def raw(self, place: Ref) -> bytes:
        b = self.buffer[place]
        return self.arena[b.offset : b.end].tobytes()

    def read(self, place: Ref) -> np.ndarray:
        return decode(self.buffer[place].storage, self.raw(place))

    def reads(self, side: Side, k: Kernel) -> tuple[Ref, ...]:
        """What running a kernel reads."""
        return k.reads

    def run(self, index: int, level: int = 0, nt: int = 1) -> None:
        """One kernel; the shares of its threads one after the other, last thread first."""
        for tid in reversed(range(nt)):
            assert self.c.bnnc_test_kernel(level, index, tid, nt) == 0

    def states(self) -> Arrays:
        return {s.name: self.read(Ref(s.name)) for s in self.train.program.states}

    def set_states(self, states: Mapping[str, np.ndarray]) -> None:
        for s in self.train.program.states:
            self.write(Ref(s.name), states[s.name])

    def load(self, side: Side, inputs: Mapping[str, np.ndarray]) -> None:
        """Write a step's inputs as the trainer does: just before its first kernel."""
        for n in side.program.inputs:
            self.write(side.place(Ref(n)), inputs[n])

    def in_order(self, side: Side) -> Iterator[int]:
        """Kernels as they run, those of a loop once a strip; each must run before the next is asked for."""
        loops = any(p.loops for p in self.planned.placed.packed)
        i, end = side.first, side.first + len(side.packed.kernels)
        while i < end:
            yield i
            i = self.c.bnnc_test_next(i) if loops else i + 1

    def step(self, side: Side, inputs: Mapping[str, np.ndarray], level: int = 0, nt: int = 1) -> Arrays:
        """All kernels of a side in order; its results (loss, pred)."""
        self.load(side, inputs)
        for i in self.in_order(side):
            self.run(i, level, nt)
        return {role: self.read(side.place(Ref(v))) for role, v in side.program.results}


def with_slow(names: Iterable[str], slow: Iterable[str]) -> list[Any]:
    """Parameters for these names; those in ``slow`` are for the slow tier."""
    import pytest  # noqa: PLC0415

    names, slow = list(names), set(slow)
    assert slow <= set(names), slow - set(names)
    return [pytest.param(n, marks=pytest.mark.slow if n in slow else ()) for n in names]


def levels_of(names: Iterable[str] = LEVELS) -> list[Any]:
    """Parameters for the instruction sets of target host; a level that this CPU lacks is skipped with its name."""
    import pytest  # noqa: PLC0415

    have = cpu_levels()
    return [
        pytest.param(i, id=n, marks=() if i < have else pytest.mark.skip(reason=f"this CPU has no {n}"))
        for i, n in enumerate(names)
    ]


def cpu_levels() -> int:
    """How many of LEVELS this machine can run (as bnnc_cpu.h decides)."""
    try:
        flags = set(
            next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
        )
    except (OSError, StopIteration):
        return 1
    return 1 + len(list(takewhile(lambda level: flags >= NEEDS[level], LEVELS[1:])))


def interpreted(side: Side, states: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Every value of a Program."""
    return interp.run(side.program, {**states, **{n: inputs[n] for n in side.program.inputs}})


def kernels(lib: Library) -> Iterator[tuple[Side, int, Kernel]]:
    for side in (lib.train, lib.evaluate):
        for i, k in enumerate(side.packed.kernels):
            yield side, side.first + i, k


def element_bytes(s: Storage) -> np.ndarray:
    """A mask over a storage's bytes: those that hold elements (for bits: those words), not column padding."""
    mask = np.ones(s.nbytes, bool)
    if s.padding:
        mask.reshape(-1, s.stride, 4)[:, s.across :] = False
    return mask


def codes_of(text: str) -> list[str]:
    """The error codes of a spec that does not compile."""
    try:
        plan(text)
    except BnncError as e:
        return [d.code for d in e.diagnostics]
    return []
