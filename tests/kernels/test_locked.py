"""Every C kernel against the interpreter, bit for bit.

*Kernel-locked*: each kernel of the training and of the evaluation step gets the interpreter's values as its inputs, in
an arena that is otherwise poisoned; what it stores must be the interpreter's value to the last bit (a NaN equals a
NaN), and no byte outside of its outputs may change.  Run on one thread and as three shares, at one instruction set of
this CPU, that another network may not have; the networks of EVERY_LEVEL, and in the slow tier all, at every one.

*Step-locked*: whole steps from the same states, no help in between; all states equal bit for bit after each of them.
That also holds free-running, because the order of every sum is part of the meaning: there is no drift to allow for.

No test here has a tolerance.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from checks import check_kernel, check_net, check_steps
from helpers import (
    Arrays,
    Library,
    assert_equal,
    batch_of,
    cpu_levels,
    equal,
    interpreted,
    levels_of,
    plan,
    sides,
    some_level,
    spec,
    with_slow,
)
from nets import DENSE, EVERY_LEVEL, LATER_IN_C, SPECIAL, UNFUSED

from bnnc.backends.c.targets import Level
from bnnc.driver import Planned
from bnnc.ir import interp
from bnnc.sched.anchor import Contract


@pytest.mark.parametrize("net", with_slow(DENSE, LATER_IN_C))
def test_kernels_and_steps(net: str) -> None:
    lib = Library(plan(DENSE[net]), every_level=net in EVERY_LEVEL)
    assert check_net(lib, net in SPECIAL) > 10
    check_steps(lib, 5)
    if net in SPECIAL:
        check_steps(lib, 3, special=True)


@pytest.mark.parametrize("net", with_slow(UNFUSED, UNFUSED[1:4] + UNFUSED[5:6] + UNFUSED[7:]))
def test_with_every_value_in_memory(net: str) -> None:
    """Fusion, sinking and simplification off: each op is a kernel of its own, so each op's code is met alone."""
    lib = Library(plan(DENSE[net], disable=("fuse", "sink", "simplify")))
    check_net(lib, special=True, threads=(3,))
    check_steps(lib, 2)


@cache
def levels_of_some() -> list[int]:
    """Of each network among the first that is tested at one level: that level."""
    return [some_level(plan(text)) for name, text in [*DENSE.items()][:16] if name not in EVERY_LEVEL]


@pytest.mark.parametrize("level", levels_of())
def test_every_level_of_this_cpu_is_tested(level: int) -> None:
    """The library and /proc/cpuinfo agree on what can run here; a level that is missing is reported as a skip.  Of the
    networks that are tested at one level some are at this.
    """
    at = levels_of_some()
    assert at.count(level) > len(at) // 8
    lib = Library(plan(DENSE["edge-width-1"]), every_level=True)
    assert level in lib.levels
    assert len(lib.levels) == cpu_levels()


@pytest.mark.parametrize("net", ["edge-adam-keep", "edge-bop", "standard-f32-input"])
def test_without_vectors(net: str) -> None:
    """The text for a machine without vector instructions (one lane) gives the same bits."""
    planned = plan(DENSE[net])
    host = planned.target
    plain = replace(host, name="plain", flags=(*host.flags, "-U__SSE2__"), levels=(Level("base"),))
    lib = Library(replace(planned, target=plain))
    check_net(lib, special=net in SPECIAL, threads=(3,))
    check_steps(lib, 2)


def test_special_values_reach_the_kernels() -> None:
    """The special batches do what they are for: NaN and infinities in sums, -0.0 at a sign, zero variance."""

    def values_of(net: str, inputs: Callable[[Planned], Arrays]) -> Arrays:
        planned = plan(DENSE[net])
        train, _ = sides(planned)
        return interpreted(train, interp.init_states(train.program, 7), inputs(planned))

    def grey(planned: Planned) -> Arrays:
        return batch_of(planned, 2) | {"x": np.full_like(batch_of(planned, 2)["x"], 128)}

    values = values_of("standard-f32-input", lambda planned: batch_of(planned, 2, special=True))
    x = values["x"]
    assert np.isnan(x).any() and np.isinf(x).any() and (np.signbit(x) & (x == 0)).any()
    assert any(np.isnan(v).any() for n, v in values.items() if v.dtype == np.float32 and n != "x")
    assert not values_of("edge-adam-keep", grey)["batchnorm1.psi_b"].any()


def test_constant_batches() -> None:
    """Zero variance in every channel of the first layer (all samples equal), edge and standard."""
    for net in ("edge-adam-keep", "standard-adam", "standard-l1"):
        lib = Library(plan(DENSE[net]))
        states = interp.init_states(lib.train.program, 7)
        inputs = batch_of(lib.planned, 2)
        inputs["x"][:] = inputs["x"][:1]
        values = interpreted(lib.train, states, inputs)
        for i in range(len(lib.train.packed.kernels)):
            for level in lib.levels:
                check_kernel(lib, lib.train, i, values, level, 1)


def test_a_nan_equals_a_nan_and_zero_has_a_sign() -> None:
    """The comparison itself: -0.0 is not 0.0, any NaN is a NaN."""
    a = np.array([0.0, np.nan, 1.0], np.float32)
    b = np.array([-0.0, -np.nan, 1.0], np.float32)
    assert equal(a, b).tolist() == [False, True, True]
    with pytest.raises(AssertionError, match="1 of 3 differ, first at"):
        assert_equal(a, b, "x")


def test_a_wrong_kernel_is_found() -> None:
    """The harness fails when a kernel computes something else: one changed constant in the emitted text."""
    planned = plan(DENSE["edge-width-1"])
    lib = Library(planned)
    states = interp.init_states(lib.train.program, 7)
    values = dict(interpreted(lib.train, states, batch_of(planned, 0)))
    k = next(i for i, k in enumerate(lib.train.packed.kernels) if isinstance(k.anchor, Contract))
    wrong = lib.train.value(lib.train.packed.kernels[k].writes[0])
    values[wrong] = values[wrong] + np.ones((), values[wrong].dtype)
    with pytest.raises(AssertionError, match="differ"):
        check_kernel(lib, lib.train, k, values, 0, 1)


@pytest.mark.slow
def test_random_networks() -> None:
    """40 networks of random shapes and choices, step-locked at all levels; the seed is in the failure's spec."""
    rng = random.Random(20240607)
    for _ in range(40):
        rule = rng.choice(("edge", "standard"))
        text = spec(
            [rng.choice((1, 2, 7, 16, 17, 31, 33, 48, 65, 70)) for _ in range(rng.randint(1, 3))]
            + [rng.choice((2, 7, 16, 33, 70))],
            rng.choice(("u8", "f32", "bit", "sign")),
            rule + rng.choice(("", "(state = f16)", "(state = f32)", "(clip = off)")),
            rng.choice(("adam", "adam(v = elide)", "sgd", "sgd(momentum = 0)", "bop")),
            rng.choice((1, 2, 15, 16, 33, 40)),
            rng.choice(("", "l1", "bnn") if rule == "standard" else ("",)),
            rng.choice(("", "ste", "identity")),
            rng.choice(("", "squared_hinge")),
        )
        lib = Library(plan(text, disable=rng.choice(((), ("fuse", "sink"), ("sink",), ("simplify",)))))
        try:
            check_steps(lib, 2)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{text}") from e
