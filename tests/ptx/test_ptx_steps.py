"""Whole training steps as the PTX that is compiled for GPUs, in the emulator: the interpreter's bits, and no race.

Programs, or warps, go on in random order; memory knows who touched each byte (:mod:`ptx_memory`).  That says what the
compiler made of kernels, barriers and masks.  It says nothing of time, of the driver, or of how tensor cores round.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from checks import POISON, check_large, make_large
from helpers import assert_same, batch_of, interpreted, plan, spec
from nets import DENSE, LARGE_DENSE, LARGE_IMAGES, LATER, TRITON_DENSE, TRITON_IMAGES
from ptx_library import PtxKernels, PtxLibrary, compiled
from ptx_memory import Fault

from bnnc.backends.triton import emit, shares
from bnnc.ir import interp
from bnnc.ir.dtype import Axis
from bnnc.ir.ref import Side

SPILLS = ("groups-bits",)  # registers, in the step, which is refused (B0712)
REST = {n: t for n, t in (DENSE | TRITON_IMAGES).items() if n not in (*LATER, *SPILLS)}


def check(lib: PtxLibrary, steps: int) -> None:
    """Training steps and an evaluation, free-running: states and results are equal, nothing raced, and the barrier is
    left as it was found.
    """
    states = interp.init_states(lib.train.program, 3)
    lib.arena[:] = POISON
    lib.set_states(states)
    for t in range(steps):
        inputs = batch_of(lib.planned, t)
        values, states = interp.step(lib.train.program, {**states, **inputs})
        results = lib.persistent(lib.train, inputs)
        assert_same(results, {role: values[v] for role, v in lib.train.program.results}, f"step {t}:")
        assert_same(lib.states(), states, f"step {t}:")
    values = interpreted(lib.evaluate, states, inputs)
    results = lib.persistent(lib.evaluate, inputs)
    assert_same(results, {role: values[v] for role, v in lib.evaluate.program.results}, "evaluation:")
    assert not lib.races
    assert not lib.memory[lib.plan.arena_bytes :][: emit.BARRIER_BYTES].any()


@pytest.fixture
def shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks are shared out among programs as larger ones are, not done by one."""
    monkeypatch.setattr(shares, "SMALL", 0)
    monkeypatch.setattr(shares, "FEWEST", 2)


OWNERS = spec((64, 64, 32, 10), kind="bit", batch=9)


@pytest.mark.parametrize(("net", "arch"), [("edge", 90), ("integer", 80)])
def test_steps(net: str, arch: int) -> None:
    """By programs, then by warps."""
    lib = PtxLibrary(plan(TRITON_DENSE[net]), arch)
    check(lib, 2)
    lib.warps = True
    check(lib, 1)


@pytest.mark.usefixtures("shared_out")
def test_steps_of_programs_that_own_columns() -> None:
    """A layer's kernels run without a barrier of all programs between them: of those there are fewer than half as many
    as kernels."""
    planned = plan(OWNERS, target="triton")
    step = emit.arranged(planned.placed.train, planned.placed, Side.TRAIN)
    phases = sum(len(found) for _, found in step.blocks)
    assert sum(s.axis is Axis.COLUMNS and s.width in (2, 8) for s in step.shares.values()) > 10
    assert 2 * phases < len(step.kernels)
    lib = PtxLibrary(planned, 90, grid=7)
    check(lib, 2)
    lib.warps = True
    check(lib, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("shared_out")
@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("net", TRITON_DENSE)
def test_steps_by_warps(net: str, arch: int) -> None:
    check(PtxLibrary(plan(TRITON_DENSE[net]), arch, grid=3, warps=True), 1)


@pytest.mark.slow
@pytest.mark.parametrize(("net", "arch"), [(n, (80, 90)[i % 2]) for i, n in enumerate(REST)])
def test_steps_of_more_networks(net: str, arch: int) -> None:
    check(PtxLibrary(plan(REST[net]), arch), 1)


@pytest.mark.parametrize(
    ("net", "arch"),
    [
        ("whole", 80),
        pytest.param("edge", 90, marks=pytest.mark.slow),
        pytest.param("standard", 80, marks=pytest.mark.slow),
        pytest.param("image-whole", 90, marks=pytest.mark.slow),
        pytest.param("image-u8", 80, marks=pytest.mark.slow),
        pytest.param("image-bits", 90, marks=pytest.mark.slow),
        pytest.param("image-real", 80, marks=pytest.mark.slow),
    ],
)
def test_kernels_of_large_networks(net: str, arch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernel by kernel: on tensor cores, in two stages; whole numbers are equal, floats within their bound."""
    make_large(monkeypatch)
    kind, _, name = net.rpartition("-")
    lib = PtxKernels(plan((LARGE_IMAGES if kind else LARGE_DENSE)[name]), arch)
    check_large(lib)
    assert not lib.races


# -- what is wrong is found -------------------------------------------------------------------------------------------


def found(lib: PtxLibrary, text: str) -> set[str]:
    """What a training step with another PTX text shows: kinds of races, wrong bits, a fault."""
    states, inputs = interp.init_states(lib.train.program, 3), batch_of(lib.planned, 0)
    lib.set_states(states)
    lib.memory[lib.plan.arena_bytes :][: emit.BARRIER_BYTES] = 0
    lib.races.clear()
    good, lib.texts["train_step"] = lib.texts["train_step"], text
    try:
        lib.persistent(lib.train, inputs)
    except Fault as e:
        return {str(e)}
    finally:
        lib.texts["train_step"] = good
    want = interp.step(lib.train.program, {**states, **inputs})[1]
    wrong = any(not np.array_equal(v, want[n], equal_nan=v.dtype.kind == "f") for n, v in lib.states().items())
    return {r.what for r in lib.races} | ({"wrong bits"} if wrong else set())


def without(text: str, which: re.Match[str]) -> str:
    return text[: which.start()] + text[which.end() :]


WAIT = re.compile(r"(?P<read>gpu\.acquire.*?)\t@!?%p\d+ bra\s+\$\w+;\n", re.S)


@pytest.mark.usefixtures("shared_out")
def test_a_barrier_that_does_not_wait_is_found() -> None:
    """The branch back to where the grid's counter is read again is gone, at one barrier after the other."""
    lib = PtxLibrary(plan(OWNERS, target="triton"), 90)
    text = lib.texts["train_step"]
    sites = list(WAIT.finditer(text))
    assert len(sites) >= 4 and not found(lib, text)
    blind = [found(lib, text[: s.start()] + s["read"] + text[s.end() :]) for s in sites[:4]]
    assert sum(map(bool, blind)) >= 3


@pytest.mark.slow
@pytest.mark.usefixtures("shared_out")
def test_a_missing_barrier_of_a_program_is_found() -> None:
    """The threads of a program do not wait for each other between two kernels of the columns that it owns."""
    lib = PtxLibrary(plan(OWNERS, target="triton"), 90, warps=True)
    calls = list(re.finditer(r"(?m)^    tl\.debug_barrier\(\)\n", lib.source))
    assert len(calls) > 4 and not found(lib, lib.texts["train_step"])
    for call in calls[:3]:
        assert found(lib, compiled(without(lib.source, call), 90)["train_step"].ptx)


@pytest.mark.usefixtures("shared_out")
def test_a_missing_barrier_between_warps_is_found() -> None:
    """The bar.sync before a program arrives at the grid's barrier is gone."""
    lib = PtxLibrary(plan(TRITON_DENSE["edge"]), 90, grid=2, warps=True)
    text = lib.texts["train_step"]
    bars = list(re.finditer(r"\tbar\.sync \t0;\n", text))
    arrivals = [m.start() for m in re.finditer(r"atom\.global", text)]
    last = [[b for b in bars if b.start() < a][-1] for a in arrivals[:3]]
    assert not found(lib, text) and sum(map(bool, (found(lib, without(text, b)) for b in last))) >= 1


@pytest.mark.slow
def test_overwriting_what_other_warps_have_not_read_is_found() -> None:
    """As the kernels would be if not all threads read a small tile first."""
    planned = plan(TRITON_DENSE["edge"])
    lib = PtxLibrary(planned, 90, grid=2, warps=True)
    assert not found(lib, lib.texts["train_step"])
    early = re.sub(r" +tl\.debug_barrier\(\)\n", "", lib.source)
    assert early != lib.source
    assert "write after read" in found(lib, compiled(early, 90)["train_step"].ptx)
