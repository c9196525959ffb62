"""Whole training steps as the PTX that is compiled for GPUs, in the emulator: the interpreter's bits, and no race.

Programs, or warps, go on in random order; memory knows who touched each byte (:mod:`ptx_memory`).  That says what the
compiler made of kernels, barriers and masks.  It says nothing of time, of the driver, or of how tensor cores round.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import spin
from checks import POISON, check_large, make_large
from helpers import assert_equal, assert_same, batch_of, interpreted, plan, spec
from nets import DENSE, LARGE_DENSE, LARGE_IMAGES, LATER, SMALL_STRIPS, TRITON_DENSE, TRITON_IMAGES, on
from ptx_library import PtxKernels, PtxLibrary, alone, compiled
from ptx_machine import Launch, Program
from ptx_memory import BASE, Fault
from ptx_parse import parse
from triton_helpers import TritonLibrary

from bnnc.backends.triton import emit, once, shares, split
from bnnc.ir import interp
from bnnc.ir.dtype import Axis
from bnnc.ir.ref import Ref
from bnnc.plan.codec import encode

EXAMPLES = Path(__file__).parents[2] / "examples"
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


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 90])
def test_the_whole_perceptron_on_as_many_programs_as_a_gpu_has(arch: int) -> None:
    """`mnist_mlp` as it is trained, with all that is shared out, computed once and looked up in tables there."""
    lib = PtxLibrary(plan((EXAMPLES / "mnist_mlp/mnist_mlp.bnn").read_text(encoding="utf-8"), target="triton"), arch)
    assert "dy_table" in lib.source
    lib.grid = 132
    check(lib, 1)


@pytest.fixture
def shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks are shared out among programs as larger ones are, and compute once what they can, as tables."""
    monkeypatch.setattr(emit, "MOST_ONCE", 10)
    monkeypatch.setattr(once, "WIDE", 1)
    monkeypatch.setattr(once, "TERMS", 1)
    monkeypatch.setattr(shares, "SMALL", 0)
    monkeypatch.setattr(shares, "FEWEST", 2)


OWNERS = spec((64, 64, 32, 10), kind="bit", batch=21)


@pytest.mark.parametrize(("net", "arch"), [("edge", 90), pytest.param("integer", 80, marks=pytest.mark.slow)])
def test_steps(net: str, arch: int) -> None:
    """By programs, then by warps."""
    lib = PtxLibrary(plan(TRITON_DENSE[net]), arch)
    check(lib, 2)
    lib.warps = True
    check(lib, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("shared_out")
def test_steps_of_programs_that_own_columns() -> None:
    """A layer's kernels run without a barrier of all programs between them: of those there are fewer than half as many
    as kernels."""
    planned = plan(OWNERS, target="triton")
    step, _ = emit.both_arranged(planned.placed)
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
@pytest.mark.parametrize(("net", "arch"), [(n, (80, 90)[i % 2]) for some in (REST, LATER) for i, n in enumerate(some)])
def test_steps_of_more_networks(net: str, arch: int) -> None:
    check(PtxLibrary(plan((REST | DENSE)[net]), arch), 1)


@pytest.mark.parametrize(
    ("net", "arch"),
    [
        pytest.param("whole", 80, marks=pytest.mark.slow),
        pytest.param("whole-chunks", 90, marks=pytest.mark.slow),
        pytest.param("chunks", 80, marks=pytest.mark.slow),
        pytest.param("image-whole-chunks", 90, marks=pytest.mark.slow),
        pytest.param("image-chunks", 90, marks=pytest.mark.slow),
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
    name = net.removeprefix("image-")
    lib = PtxKernels(plan((LARGE_DENSE if name == net else LARGE_IMAGES)[name]), arch)
    check_large(lib)
    assert not lib.races


@pytest.mark.slow
@pytest.mark.parametrize(("net", "arch"), [("edge", 80), ("whole", 90)])
def test_gradients_of_one_range(net: str, arch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make_large(monkeypatch)
    monkeypatch.setattr(split, "TURNS", 64)
    lib = PtxKernels(plan(LARGE_DENSE[net]), arch)
    check_large(lib)
    assert not lib.races


def check_kernels(lib: PtxKernels) -> None:
    """A training step of a launch a kernel."""
    states, inputs = interp.init_states(lib.train.program, 3), batch_of(lib.planned, 0)
    lib.arena[:] = POISON
    lib.set_states(states)
    values, states = interp.step(lib.train.program, {**states, **inputs})
    results = lib.step(lib.train, inputs)
    assert_same(results, {role: values[v] for role, v in lib.train.program.results})
    assert_same(lib.states(), states)
    assert not lib.races


@pytest.mark.slow
@pytest.mark.parametrize(("net", "arch"), [("edge", 80), ("integer", 90)])
def test_a_launch_a_kernel(net: str, arch: int) -> None:
    check_kernels(PtxKernels(plan(TRITON_DENSE[net]), arch))


@pytest.mark.slow
def test_a_launch_a_kernel_and_strip() -> None:
    check_kernels(PtxKernels(plan(on(next(iter(SMALL_STRIPS.values())))), 90))


@pytest.mark.slow
@pytest.mark.parametrize("net", ["edge", "integer"])
def test_many_steps_a_launch(net: str) -> None:
    """Three steps on samples that lie in device memory: states, losses and predictions are those of steps alone."""
    planned, steps = plan(TRITON_DENSE[net], target="triton"), 3
    about = emit.net_record(planned.model, planned.placed, planned.report, planned.target)
    text = emit.module_text(planned.model, planned.placed, planned.report, about)
    made = alone(text, "train_steps", {"arena": "*u8", "samples": "*u8", "labels": "*u8", "steps": "i32"})
    functions = [made.asm[form].count("tt.func ") for form in ("ttir", "ttgir")]
    assert functions == [1 + len(emit.entries(planned.placed)[0]), 1]  # kernels are apart until accesses have layouts
    lib = TritonLibrary(planned)
    storage = lib.buffer[lib.train.place(Ref("x"))].storage
    states = interp.init_states(lib.train.program, 3)
    lib.set_states(states)
    batches = [batch_of(planned, t) for t in range(steps)]
    names, part = dict(lib.train.program.results), about["batch"]
    wanted: dict[str, list[np.ndarray]] = {"loss": [], "pred": []}
    for inputs in batches:
        values, states = interp.step(lib.train.program, {**states, **inputs})
        for role, rows in wanted.items():
            rows.append(np.ascontiguousarray(values[names[role]]).view(np.int32).reshape(-1))
    scalars = [np.array([inputs[n].reshape(-1)[:1].view(np.int32)[0] for n in about["scalars"]]) for inputs in batches]
    given = (
        np.frombuffer(b"".join(encode(storage, inputs["x"]) for inputs in batches), np.uint8),
        np.concatenate([inputs["labels"].reshape(-1) for inputs in batches]),
        np.arange(steps * part, dtype=np.int32),
        np.concatenate(scalars).astype(np.int32),
        *(np.zeros(steps * part, np.int32) for _ in range(2)),
        np.zeros(steps * max(1, sum(c[3] for c in about["counters"])), np.int32),
    )
    at, parts = [0], [lib.memory]
    for array in given:
        raw = array.view(np.uint8).reshape(-1)
        at.append(at[-1] + parts[-1].size)
        parts.append(np.pad(raw, (0, -raw.size % 64)))
    memory, counter = np.concatenate(parts), planned.placed.plan.arena_bytes
    program = Program(parse(made.asm["ptx"]))
    addresses = [*(BASE + a for a in at), steps]
    run = Launch(program, memory, 4, addresses, made.metadata.shared, range(counter, counter + 8))
    run.run(1)
    lib.memory[:] = memory[: lib.memory.size]
    assert_same(lib.states(), states)
    for role, k in (("loss", 5), ("pred", 6)):
        assert_equal(memory[at[k] :][: 4 * steps * part].view(np.int32), np.concatenate(wanted[role]), role)
    assert not run.races and not memory[counter:][: emit.BARRIER_BYTES].any()


@pytest.mark.slow
def test_a_kernel_of_nothing_but_barriers() -> None:
    """What a session on a GPU times (benchmarks/gpu_session): each program's word is the number of turns."""
    programs, turns = 4, 3
    memory = np.zeros(64 + 256 * programs, np.uint8)
    made = alone(Path(spin.__file__).read_text(), "spin", {}, TURNS=turns)
    run = Launch(Program(parse(made.asm["ptx"])), memory, programs, (BASE, BASE + 64), made.metadata.shared, range(8))
    run.run(2)
    assert memory[64:].view(np.int32)[::64].tolist() == [turns] * programs and not run.races and not memory[:64].any()


# -- what is wrong is found -------------------------------------------------------------------------------------------


def found(lib: PtxLibrary, text: str, eager: int = -1) -> set[str]:
    """What a training step with another PTX text shows: kinds of races, wrong bits, a fault."""
    states, inputs = interp.init_states(lib.train.program, 3), batch_of(lib.planned, 0)
    lib.set_states(states)
    lib.memory[lib.plan.arena_bytes :][: emit.BARRIER_BYTES] = 0
    lib.races.clear()
    good, lib.texts["train_step"] = lib.texts["train_step"], text
    lib.eager = eager
    try:
        lib.persistent(lib.train, inputs)
    except Fault as e:
        return {str(e)}
    finally:
        lib.texts["train_step"], lib.eager = good, -1
    want = interp.step(lib.train.program, {**states, **inputs})[1]
    wrong = any(not np.array_equal(v, want[n], equal_nan=v.dtype.kind == "f") for n, v in lib.states().items())
    return {r.what for r in lib.races} | ({"wrong bits"} if wrong else set())


def without(text: str, which: re.Match[str]) -> str:
    return text[: which.start()] + text[which.end() :]


WAIT = re.compile(r"(?P<read>gpu\.acquire.*?)\t@!?%p\d+ bra\s+\$\w+;\n", re.S)


SITES = [slice(0, 1), pytest.param(slice(1, None), marks=pytest.mark.slow)]


@pytest.mark.slow
@pytest.mark.usefixtures("shared_out")
def test_a_barrier_that_does_not_wait_is_found() -> None:
    """The branch back to where the grid's counter is read again is gone, at one barrier after the other: found, with a
    program ahead of the others that touches memory behind it.  Where none does the barrier orders nothing.
    """
    lib = PtxLibrary(plan(OWNERS, target="triton"), 90)
    text = lib.texts["train_step"]
    assert not found(lib, text)
    behind: dict[int, set[int]] = {}
    for who in lib.last.memory.touched:
        behind.setdefault(who.epoch, set()).add(who.program)
    sites = list(WAIT.finditer(text))
    assert len(sites) >= 4 and {e for _, e in lib.last.arrivals} == set(range(len(sites)))
    for epoch, s in enumerate(sites, 1):
        blind, programs = text[: s.start()] + s["read"] + text[s.end() :], sorted(behind.get(epoch, ()))
        assert any(found(lib, blind, p) for p in programs) == bool(programs), epoch


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
@pytest.mark.parametrize("some", SITES)
def test_a_missing_barrier_between_warps_is_found(some: slice) -> None:
    """The bar.sync before a program arrives at the grid's barrier is gone: found, with a first warp ahead of the others
    that touch memory before it.  Where none does it orders nothing.
    """
    lib = PtxLibrary(plan(TRITON_DENSE["edge"]), 90, grid=2, warps=True)
    text = lib.texts["train_step"]
    assert not found(lib, text)
    before: dict[int, set[int]] = {}
    for who in lib.last.memory.touched:
        if who.warp and who.phase == lib.last.arrivals.get((who.program, who.epoch), 0) - 1:
            before.setdefault(who.epoch, set()).add(who.program)
    bars = list(re.finditer(r"\tbar\.sync \t0;\n", text))
    arrivals = [m.start() for m in re.finditer(r"atom\.global", text)]
    assert {e for _, e in lib.last.arrivals} == set(range(len(arrivals) - 1)) and before
    for epoch, a in list(enumerate(arrivals[:-1]))[some]:
        (last,) = [b for b in bars if b.start() < a][-1:]
        programs = sorted(before.get(epoch, ()))
        assert any(found(lib, without(text, last), p) for p in programs) == bool(programs), epoch


@pytest.mark.slow
def test_overwriting_what_other_warps_have_not_read_is_found() -> None:
    """As the kernels would be if not all threads read a small tile first."""
    planned = plan(TRITON_DENSE["edge"])
    lib = PtxLibrary(planned, 90, grid=2, warps=True)
    assert not found(lib, lib.texts["train_step"])
    early = re.sub(r" +tl\.debug_barrier\(\)\n", "", lib.source)
    assert early != lib.source
    assert "write after read" in found(lib, compiled(early, 90)["train_step"].ptx)
