"""``recompute = on``: loops over strips of columns and of samples, and values that are made again, train the same
bits; which they are is in ``tests/passes/test_strip.py``.
"""

from __future__ import annotations

import pytest
from checks import check_steps, make_large, no_spills
from helpers import Library, assert_same, batch_of, plan, with_slow
from nets import SMALL_STRIPS, SPARED, STRIPS, on
from triton_helpers import TritonLibrary, interpreted_module

from bnnc.backends.triton import emit
from bnnc.backends.triton.device import Interpreted
from bnnc.ir import interp
from bnnc.ir.ref import Ref

QUICK = ("columns", "rows", "real")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in STRIPS if n != "odd-channels"]
)
def test_the_same_bits(name: str) -> None:
    """Against the interpreter after each of three steps, and where dead buffers are overwritten."""
    planned = plan(on(STRIPS[name]))
    check_steps(Library(planned), 3)
    lib = Library(planned, poison=True)
    states, inputs = interp.init_states(lib.train.program, 3), batch_of(planned, 0)
    _, after = interp.step(lib.train.program, {**states, **inputs})
    lib.set_states(states)
    lib.load(lib.train, inputs)
    lib.c.bnnc_test_step(0)  # as the trainer runs it
    assert_same(lib.states(), after)
    values = interp.run(lib.evaluate.program, {**after, **{n: inputs[n] for n in lib.evaluate.program.inputs}})
    lib.load(lib.evaluate, inputs)
    lib.c.bnnc_test_step(1)
    assert_same(
        {r: lib.read(lib.evaluate.place(Ref(v))) for r, v in lib.evaluate.program.results},
        {r: values[v] for r, v in lib.evaluate.program.results},
    )


@pytest.mark.parametrize("name", SPARED)
def test_the_same_bits_without_recompute(name: str) -> None:
    """Loops over samples, packings that are copied later, bits that are made where they are read."""
    check_steps(Library(plan(SPARED[name]), poison=True), 3)


@pytest.mark.parametrize("name", with_slow(SMALL_STRIPS, ("windows", "both")))
def test_the_same_bits_on_a_gpu(name: str) -> None:
    """One launch a kernel and strip."""
    lib = TritonLibrary(plan(on(SMALL_STRIPS[name])))
    assert len({k.loop for k in lib.entries}) > 2
    check_steps(lib, 1)


@pytest.mark.slow
@pytest.mark.parametrize("one", [True, False])
def test_a_step_as_the_trainer_runs_it(one: bool) -> None:
    """In one launch, which holds the loops, or as the device goes through them."""
    lib = TritonLibrary(p := plan(on(SMALL_STRIPS["both"])))
    states, inputs = interp.init_states(lib.train.program, 3), batch_of(p, 0)
    lib.set_states(states)
    lib.load(lib.train, inputs)
    if one:
        lib.launch("train_step", 1)
    else:
        net = emit.net_record(p.model, p.placed, p.report, p.target)
        device = Interpreted(vars(interpreted_module(emit.module_text(p.model, p.placed, p.report, net))))
        device.write(0, lib.memory)
        device.step("train")
        lib.memory[:] = device.memory
    assert_same(lib.states(), interp.step(lib.train.program, {**states, **inputs})[1])


@pytest.mark.slow
def test_the_same_bits_on_tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """With strips and without; a strip's products are as large as the whole's."""
    make_large(monkeypatch)
    text = SMALL_STRIPS["both"].replace("conv 8", "conv 16")
    libs = [TritonLibrary(plan(x)) for x in (text, on(text))]
    inputs = batch_of(libs[0].planned, 0)
    for lib in libs:
        lib.set_states(interp.init_states(lib.train.program, 3))
        lib.step(lib.train, inputs)
    assert all("out_dtype=tl.int32" in lib.source and "num.scales" in lib.source for lib in libs)
    assert_same(libs[0].states(), libs[1].states())
    assert [any(k.loop for k in lib.entries) for lib in libs] == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize("persistent", [False, True])
def test_kernels_compile_without_spills(persistent: bool) -> None:
    no_spills(on(SMALL_STRIPS["both"]), persistent)
