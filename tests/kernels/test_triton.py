"""Every Triton kernel against the interpreter, bit for bit, in Triton's interpreter mode; and compiled ahead of time.

The networks and checks are those of the C kernels (``test_locked.py``): integers, bits and floats must be equal to the
last bit, because the kernels add in the order that the IR states.  The interpreter runs programs one after another, so
it says nothing about races; the compiler says what it would reject.  What needs a GPU is in ``tests/gpu``.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from checks import check_kernel, check_large, check_net, check_steps, compiled, make_large
from helpers import Library, assert_equal, assert_same, batch_of, interpreted, plan, spec, with_slow
from nets import DENSE, INTEGER, LARGE_DENSE, SPECIAL, TRITON_DENSE, UNFUSED
from triton_helpers import TritonLibrary, interpreted_module

from bnnc import rng
from bnnc.backends.triton import compile as aot
from bnnc.backends.triton import emit, fit, split
from bnnc.backends.triton.device import Fitted, Pointer
from bnnc.backends.triton.split import parts
from bnnc.diag import BnncError
from bnnc.ir import interp, num
from bnnc.ir.ops import OPS
from bnnc.plan.report import totals
from bnnc.sched.anchor import Contract

MNIST = Path(__file__).parents[2] / "examples/mnist_mlp/mnist_mlp.bnn"


ONE_EACH = ("standard", "integer", "recurrent", "i8", "sigprop")


@pytest.mark.parametrize("net", with_slow(TRITON_DENSE, {*TRITON_DENSE} - {*ONE_EACH, "real", "recurrent", "hsic"}))
def test_kernels(net: str) -> None:
    lib = TritonLibrary(plan(TRITON_DENSE[net]))
    assert check_net(lib, special=False, threads=(1,)) > 10


@pytest.mark.slow
@pytest.mark.parametrize("net", DENSE)
def test_kernels_and_steps(net: str) -> None:
    """Kernel-locked, then free-running; every other step as three programs that share the tiles."""
    lib = TritonLibrary(plan(DENSE[net]))
    assert check_net(lib, net in SPECIAL, threads=(1,)) > 10
    check_steps(lib, 2, special=net in SPECIAL)


@pytest.mark.slow
@pytest.mark.parametrize("net", UNFUSED)
def test_with_every_value_in_memory(net: str) -> None:
    check_net(TritonLibrary(plan(DENSE[net], disable=("fuse", "sink", "simplify"))), special=True, threads=(3,))


@pytest.mark.parametrize("net", ["edge", "integer", "recurrent"])
def test_a_persistent_step_is_the_kernels_one_after_another(net: str) -> None:
    """One launch, one program: the same states and results, and the barrier is left as it was found."""
    lib = TritonLibrary(plan(TRITON_DENSE[net]))
    states = interp.init_states(lib.train.program, 3)
    lib.set_states(states)
    for t in range(2):
        inputs = batch_of(lib.planned, t)
        values, states = interp.step(lib.train.program, {**states, **inputs})
        results = lib.persistent(lib.train, inputs)
        assert_same(results, {role: values[v] for role, v in lib.train.program.results})
        assert_same(lib.states(), states)
    values = interpreted(lib.evaluate, states, inputs)
    results = lib.persistent(lib.evaluate, inputs)
    assert_same(results, {role: values[v] for role, v in lib.evaluate.program.results})
    assert not lib.memory[lib.plan.arena_bytes :][: emit.BARRIER_BYTES].any()


@pytest.mark.parametrize("net", with_slow(TRITON_DENSE, {*TRITON_DENSE} - {*ONE_EACH}))
def test_kernels_between_two_barriers_need_no_order_but_that_of_their_chain(net: str) -> None:
    """Each phase with its chains backwards gives the same states; and fewer phases than kernels are made."""
    lib = TritonLibrary(plan(TRITON_DENSE[net]))
    step, _ = emit.both_arranged(lib.planned.placed)
    found = [phase for _, phases in step.blocks for phase in phases]
    assert sorted(i for p in found for c in p for i in c) == list(range(len(step.kernels)))
    assert len(found) < len(step.kernels)
    states, inputs = interp.init_states(lib.train.program, 3), batch_of(lib.planned, 0)
    lib.set_states(states)
    lib.load(lib.train, inputs)
    for p in found:
        for k in (step.kernels[i][-1] for chain in reversed(p) for i in chain):
            lib.launch(k["name"], k["tiles"])
    assert_same(lib.states(), interp.step(lib.train.program, {**states, **inputs})[1])


@pytest.mark.slow
@pytest.mark.parametrize("net", INTEGER)
def test_integer_rules_give_the_weights_of_the_c_program(net: str) -> None:
    """20 steps on each backend, from the same first states: the same bits."""
    planned = plan(INTEGER[net])
    c, gpu = Library(planned), TritonLibrary(planned)
    states = interp.init_states(c.train.program, 5)
    c.set_states(states)
    gpu.set_states(states)
    for t in range(20):
        inputs = batch_of(planned, t)
        assert_same(gpu.step(gpu.train, inputs), c.step(c.train, inputs), f"step {t}:")
    assert_same(gpu.states(), c.states())
    assert any((gpu.states()[n] != states[n]).any() for n in states)


def test_a_wrong_kernel_is_found() -> None:
    planned = plan(TRITON_DENSE["edge"])
    lib = TritonLibrary(planned)
    values = dict(interpreted(lib.train, interp.init_states(lib.train.program, 7), batch_of(planned, 0)))
    i = next(i for i, k in enumerate(lib.train.packed.kernels) if isinstance(k.anchor, Contract))
    wrong = lib.train.value(lib.train.packed.kernels[i].writes[0])
    values[wrong] = values[wrong] + np.ones((), values[wrong].dtype)
    with pytest.raises(AssertionError, match="differ"):
        check_kernel(lib, lib.train, i, values, 0, 1)


# -- the functions that kernels call ---------------------------------------------------------------------------------


def micro(name: str, x: np.ndarray, out: type, n: int) -> np.ndarray:
    module = interpreted_module((Path(__file__).parent / "triton_micro.py").read_text(encoding="utf-8"))
    memory = np.zeros(x.nbytes + 4 * n, np.uint8)
    memory[: x.nbytes] = x.view(np.uint8)
    with np.errstate(all="ignore"):
        getattr(module, name)[(1,)](Pointer(memory), x.nbytes, n)
    return memory[x.nbytes :].view(out)


def test_tiles_go_to_the_programs_behind_those_of_the_kernel_before() -> None:
    """Of 5 programs, tile 0 is that of program SHIFT; each tile is one program's."""
    module = interpreted_module((Path(__file__).parent / "triton_micro.py").read_text(encoding="utf-8"))
    for shift in (0, 1, 4, 5, 13):
        memory = np.full(5, -1, np.int32)
        module.first_tile[(5,)](Pointer(memory.view(np.uint8)), shift)
        assert memory.tolist() == [(p - shift) % 5 for p in range(5)] and memory[shift % 5] == 0


def test_exp_log_and_powers_are_the_interpreters() -> None:
    draw = np.random.default_rng(0)
    special = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1e-40, 88, -87, 100, -100, 1], np.float32)
    x = np.concatenate([special, draw.uniform(-90, 90, 4096 - special.size).astype(np.float32)])
    y = np.concatenate([special, np.exp(draw.uniform(-88, 88, 4096 - special.size)).astype(np.float32)])
    n = np.concatenate([np.arange(64), draw.integers(0, 1 << 24, 960)]).astype(np.float32)
    with np.errstate(all="ignore"):
        assert_equal(micro("exp", x, np.float32, 4096), num.exp_f32(x), "exp")
        assert_equal(micro("log", y, np.float32, 4096), num.log_f32(y), "log")
        assert_equal(micro("powi", n, np.float32, 1024), num.powi_f32(np.float32(0.999), n), "powi")


def test_words_and_random_numbers_are_the_interpreters() -> None:
    words = rng.philox(1, 2, 1024)
    assert_equal(
        micro("popcount", words, np.int32, 1024), np.array([int(w).bit_count() for w in words], np.int32), "popcount"
    )
    errors = np.concatenate([[0, 1, 60000, 2**31 - 1], np.random.default_rng(1).integers(0, 60000, 1020)]).astype(
        np.int32
    )
    want = [OPS["rate"].run([np.array([[e]]), np.array([[60000]])], {"scale": 1 << 30}, "i32")[0, 0] for e in errors]
    assert_equal(micro("rate", errors, np.int32, 1024), np.array(want, np.int32), "rate")
    for p in (0, 1, 700, 32768, 65535, 65536, 70000):
        got = micro("bernoulli", np.array([p, -7, 12], np.int32), np.uint32, 64)
        bits = rng.bernoulli(-7 & 0xFFFFFFFF, 5, 12, p, 64, 32)
        assert_equal(got, np.packbits(bits, axis=1, bitorder="little").view(np.uint32)[:, 0], f"p = {p}")


def test_a_float_is_two_halves() -> None:
    """Scaled by a power of two per row: within 2**-22 of the row's largest; whatever the row's size, zeros and
    denormals too.
    """
    draw = np.random.default_rng(2)
    x = (draw.standard_normal((64, 32)) * 2.0 ** draw.integers(-110, 120, (64, 1))).astype(np.float32)
    x[0] = 0
    x[1] *= np.float32(2.0) ** draw.integers(-30, 1, 32).astype(np.float32)
    got = micro("split", x.reshape(-1), np.float32, x.size).reshape(x.shape).astype(np.float64)
    assert (np.abs(got - x) <= 2.0**-22 * np.abs(x).max(axis=1, keepdims=True)).all()


# -- large networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", with_slow(LARGE_DENSE, ["chunks", "standard", "whole-chunks"]))
def test_large_products_use_tensor_cores_within_a_bound(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_large(monkeypatch)
    lib = check_large(TritonLibrary(plan(LARGE_DENSE[net])))
    assert any(e.chunks for e in lib.entries) == net.endswith("chunks")
    assert ({"scales", "ADD"} <= set(re.findall(r"num\.(\w+)", lib.source))) == (net in ("standard", "edge"))


@pytest.mark.parametrize("net", ["edge", "whole"])
def test_large_sums_come_in_ranges(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of weights, of batch norm, and the largest of whole numbers; their partial sums lie where the plan has room."""
    make_large(monkeypatch)
    planned = plan(LARGE_DENSE[net], target="triton")
    memory, lib = emit.device(planned.placed), TritonLibrary(planned)
    two = {e.name.split("_")[0] for e in lib.entries if e.name.endswith("_sums")}
    assert two >= {"contract", "reduce"} and "part * " in lib.source
    assert planned.report.workspace == memory.nbytes - memory.workspace > 0
    assert planned.report.total == memory.nbytes and f"{planned.report.workspace}" in "".join(totals(planned.report))
    lib.memory[memory.workspace :] = 0xEE
    check_large(lib)
    assert (lib.memory[memory.workspace :] != 0xEE).mean() > 0.5


@pytest.mark.parametrize("net", ["edge", "whole"])
def test_a_gradient_of_one_range_is_done_at_once(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves no partial sums."""
    make_large(monkeypatch)
    monkeypatch.setattr(split, "TURNS", 64)
    lib = check_large(TritonLibrary(plan(LARGE_DENSE[net])))
    names = {e.name for e in lib.entries}
    assert {"contract_tn_dense2_weight_m_new_left", "contract_tn_dense2_weight_m_new"} <= names
    assert not any(n.startswith("contract") and n.endswith("_sums") for n in names)


def test_a_large_network_is_a_launch_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is shared out there, so no map of whose byte is whose is made: it would be larger than the arena."""
    make_large(monkeypatch)
    monkeypatch.delattr(emit, "Shares")
    placed = plan(LARGE_DENSE["edge"], target="triton").placed
    step = emit.both_arranged(placed)[0]
    phases = [phase for _, phases in step.blocks for phase in phases]
    assert phases == [[[i]] for i in range(len(placed.train.kernels))] and not step.shares
    train, evaluate = emit.entries(placed)
    assert len(train) == sum(map(len, step.kernels)) > len(phases) and train + evaluate


def test_ranges_follow_from_the_shape() -> None:
    """They cover all terms, are as long as each other but for the last, and no longer than makes work for a GPU."""
    for terms, tiles in ((4194304, 2), (4194304, 18), (262144, 288), (4096, 64), (1024, 1), (1 << 20, 1)):
        made = parts(terms, 32, tiles, 10)
        assert made is not None and made == parts(terms, 32, tiles, 10) and made.nbytes == 40 * made.count
        assert made.size % 32 == 0 and (made.count - 1) * made.size < terms <= made.count * made.size
        assert made.count == 2 or 400 < made.count * tiles <= 600 or made.size == 8 * 32
    assert parts(4096, 32, 400, 10) is None and parts(1000, 32, 1, 10) is None


# -- ahead of time ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(DENSE["rnn-wide"], id="rnn-wide", marks=pytest.mark.slow),
        *(
            pytest.param(TRITON_DENSE[n], id=n, marks=pytest.mark.slow)
            for n in ("integer", "dfa-normal", "hsic", "sigprop", "sigprop-tl")
        ),
    ],
)
def test_kernels_compile_without_spills(text: str) -> None:
    """Some of each skeleton, for each architecture; the registers, stack and scratch that the compiler reports."""
    images = compiled(text)
    for image in images.values():
        assert image.cubin[:4] == b"\x7fELF" and image.registers > 0 and image.stack == image.scratch == 0
    assert len(images) == 2 * sum(map(len, emit.entries(plan(text).placed)))


def test_another_pipeline_has_a_cache_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton keeps what it compiled by the text of functions, and not by the passes that it was told to run."""
    planned, keys = plan(TRITON_DENSE["edge"], target="triton"), list[tuple[str, ...]]()
    about = emit.net_record(planned.model, planned.placed, planned.report, planned.target)
    for key in (emit.KEY, emit.KEY, "0" * 16):
        monkeypatch.setattr(emit, "KEY", key)
        text = emit.module_text(planned.model, planned.placed, planned.report, about)
        module = aot.load_module(text, Path(tempfile.mkdtemp()), interpret=False)
        keys.append(tuple(getattr(module, n).cache_key for n in ("train_step", "eval_step", "train_steps")))
    first, again, other = keys
    assert first == again and not {*first} & {*other}


class StandIn:
    """A driver for a GPU of a generation, as far as compiling needs one."""

    def __init__(self, arch: int) -> None:
        self.arch = arch

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget  # noqa: PLC0415

        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _: int) -> int:
        return 0


WIDE = spec((512, 256, 10), rule="standard", optimizer="sgd", batch=256)


def wide_module(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, emit.Entry]:
    """Kernels of a large network, and its largest product: 53,248 bytes with three stages, 32,768 with two."""
    make_large(monkeypatch)
    planned = plan(WIDE, target="triton")
    source = emit.module_text(planned.model, planned.placed, planned.report)
    module = aot.load_module(source, Path(tempfile.mkdtemp()), interpret=False)
    i = next(
        i
        for i, k in enumerate(planned.placed.train.kernels)
        if isinstance(k.anchor, Contract) and min(*k.anchor.dims) >= 256 and k.where.phase == "forward"
    )
    return module, emit.entries(planned.placed)[0][i]


@pytest.mark.parametrize(("arch", "most"), [(80, 163 << 10), (86, 99 << 10), (90, 227 << 10), (86, 40 << 10)])
def test_both_targets_take_the_first_stage_that_fits(arch: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ahead of time, and as the Python trainer compiles on a GPU of a generation: the same options, no stack, no
    scratch, no more shared memory than there is.
    """
    import triton  # noqa: PLC0415

    module, entry = wide_module(monkeypatch)
    monkeypatch.setattr(aot, "SHARED", {arch: most})
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = False
        image = aot.compile_one(triton, module, entry, arch)
        monkeypatch.setattr(triton.runtime.driver, "_active", StandIn(arch))
        options = Fitted(vars(module), arch, most).options(
            entry.name, entry.tiles, entry.warps, (Pointer(np.zeros(64, np.uint8)),)
        )
    assert image.stack == image.scratch == 0 and image.shared <= most
    assert options == image.options
    assert options["num_stages"] == (3 if most > 53248 else 2)


def test_a_kernel_that_fits_nowhere_is_refused_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import triton  # noqa: PLC0415

    module, entry = wide_module(monkeypatch)
    monkeypatch.setattr(triton.runtime.driver, "_active", StandIn(86))
    with triton.knobs.runtime.scope(), pytest.raises(BnncError, match="bytes of shared memory, of 7") as e:
        triton.knobs.runtime.interpret = False
        Fitted(vars(module), 86, 7).options(entry.name, entry.tiles, entry.warps, (Pointer(np.zeros(64, np.uint8)),))
    assert e.value.diagnostics[0].code == "B0712"


@pytest.mark.slow
def test_a_kernel_that_spills_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 registers a thread are too few for a whole step."""
    monkeypatch.setattr(fit, "MOST_REGISTERS", 32)
    with pytest.raises(BnncError, match="B0712"):
        compiled(TRITON_DENSE["integer"], (80,), persistent=True)


@pytest.mark.slow
def test_a_kernel_that_wants_too_much_shared_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aot, "SHARED", {80: 0})
    with pytest.raises(BnncError, match="bytes of shared memory"):
        compiled(TRITON_DENSE["integer"], (80,))


@pytest.mark.slow
@pytest.mark.parametrize("net", ["bep-wide", "local", "rnn-wide", "rnn-horizon"])
def test_a_step_of_integers_compiles_without_spills(net: str) -> None:
    """All kernels in one, for each architecture, as small networks run them."""
    assert set(compiled(DENSE[net], persistent=True)) == {(n, a) for n in ("train_step", "eval_step") for a in (80, 90)}


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["edge", "standard"])
def test_the_example_compiles_without_spills_and_reproducibly(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = re.sub(r"rule edge;", f"rule {rule};", MNIST.read_text(encoding="utf-8"))
    twice = []
    for folder in ("a", "somewhere/else"):
        monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / folder))
        twice.append(compiled(text))
    assert twice[0] == twice[1]
    assert set(compiled(text, persistent=True)) == {(n, a) for n in ("train_step", "eval_step") for a in (80, 90)}
