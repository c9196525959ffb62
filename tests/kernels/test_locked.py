"""Every C kernel against the interpreter, bit for bit.

*Kernel-locked*: each kernel of the training and of the evaluation step gets the interpreter's values as its inputs, in
an arena that is otherwise poisoned; what it stores must be the interpreter's value to the last bit (a NaN equals a
NaN), and no byte outside of its outputs may change.  Run at every instruction set of this CPU, on one thread and as
three shares.

*Step-locked*: whole steps from the same states, no help in between; all states equal bit for bit after each of them.
That also holds free-running, because the order of every sum is part of the meaning: there is no drift to allow for.

No test here has a tolerance.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from helpers import (
    Library,
    Side,
    assert_equal,
    assert_same,
    batch_of,
    cpu_levels,
    element_bytes,
    equal,
    interpreted,
    levels_of,
    plan,
    sequence_spec,
    spec,
    with_slow,
)

from bnnc.backends.c.targets import Level
from bnnc.ir import interp
from bnnc.plan.codec import encode
from bnnc.sched.anchor import Contract

POISON = 0xEE

NETS: dict[str, str] = {
    # rules, optimisers and where their state lives
    "edge-adam-keep": spec((70, 33, 17, 10), batch=37),
    "edge-adam-elide": spec((70, 33, 10), optimizer="adam(v = elide)", batch=37),
    "edge-sgd": spec((70, 33, 10), optimizer="sgd", batch=37),
    "edge-sgd-plain": spec((70, 33, 10), optimizer="sgd(momentum = 0)", batch=37),
    "edge-bop": spec((70, 33, 10), optimizer="bop(tau = 0.05, gamma = 0.4)", batch=37),
    "edge-f32-state": spec((33, 17, 10), rule="edge(state = f32)", batch=37),
    "edge-clip-off": spec((33, 17, 10), rule="edge(clip = off)", optimizer="sgd(lr = 1)", batch=37),
    "standard-adam": spec((70, 33, 17, 10), rule="standard", batch=37),
    "standard-sgd": spec((33, 17, 10), rule="standard", optimizer="sgd", batch=37),
    "standard-sgd-plain": spec((33, 17, 10), rule="standard", optimizer="sgd(momentum = 0)", batch=37),
    "standard-bop": spec((33, 17, 10), rule="standard", optimizer="bop(tau = 0.001, gamma = 0.4)", batch=37),
    "standard-f16-state": spec((33, 17, 10), rule="standard(state = f16)", batch=37),
    "standard-clip-off": spec((33, 17, 10), rule="standard(clip = off)", optimizer="sgd(lr = 1)", batch=37),
    # normalisations, surrogates, losses
    "standard-l1": spec((33, 17, 10), rule="standard", norm="l1", batch=37),
    "standard-bnn": spec((33, 17, 10), rule="standard", norm="bnn", batch=37),
    "standard-quadratic": spec((33, 17, 10), rule="standard", surrogate="quadratic", batch=37),
    "standard-identity": spec((33, 17, 10), rule="standard", surrogate="identity", batch=37),
    "edge-identity": spec((33, 17, 10), surrogate="identity", batch=37),
    "standard-hinge": spec((33, 17, 10), rule="standard", loss="squared_hinge", batch=37),
    "edge-hinge": spec((33, 17, 10), loss="squared_hinge", batch=37),
    "standard-residual": spec(
        (33, 17, 10),
        rule="standard",
        batch=19,
        body="  dense 17; batchnorm;\n"
        "  residual { sign; dense 17; batchnorm; }\n  residual { sign; dense 17; batchnorm; }\n  sign;\n",
    ),
    # rules without floats
    "bep": spec((70, 33, 15, 9, 3), kind="bit", rule="bep", batch=37),
    "bep-small-words": spec((33, 15, 9, 3), kind="sign", rule="bep(bits = 5, group = 3, tie = keep)", batch=33),
    "bep-wide": spec((256, 135, 75, 10), kind="bit", rule="bep", batch=100),
    "bep-nine-words": spec((257, 15, 3), kind="bit", rule="bep", batch=9),
    "bep-width-1": spec((33, 1, 5, 2), kind="bit", rule="bep(bits = 8)", batch=1),
    "local-one-class": spec((31, 9, 1), kind="bit", rule="local(group = 1)", batch=22),
    "bep-batch-1": spec((1, 1, 1, 2), kind="bit", rule="bep", batch=1),
    "bep-long-sums": spec((2100, 6, 1100, 3), kind="bit", rule="bep(group = 2, bits = 16)", batch=70),
    "local": spec((70, 33, 15, 9, 3), kind="bit", rule="local", batch=37),
    "local-no-reinforcement": spec((31, 21, 15, 4), kind="bit", rule="local(reinforce = 0, bits = 8)", batch=10),
    "bep-group-list": spec(
        (70, 48, 15, 9, 3), kind="bit", rule="bep(group = [16, 0, 3], classifier = random)", batch=37
    ),
    "local-bef": spec((40, 33, 15, 12), kind="bit", rule="local(classifier = bef(alpha = 3, trials = 5))", batch=20),
    "local-freeze-first": spec((40, 33, 15, 3), kind="bit", rule="local(freeze_first = on)", batch=20),
    "local-one-output": spec((37, 33, 15, 1), kind="bit", rule="local(bits = 8)", batch=33),
    "sign-twice": spec(
        (33, 17, 5), batch=9, body="  dense 17; batchnorm; sign; residual { sign; dense 17; batchnorm; } sign;\n"
    ),
    "local-batch-of-one": spec((3, 33, 33, 33, 1), kind="bit", rule="local(group = 0, bits = 4)", batch=1),
    "local-one-output-deep": spec((40, 33, 48, 15, 1), kind="bit", rule="local(group = 3, r = 0.5)", batch=20),
    # through time
    "rnn": sequence_spec(5, 9, 21, 33, 3, "dense 15; sign;", batch=7),
    "rnn-no-expansion": sequence_spec(3, 40, 35, 0, 4, batch=9, rule="bep(bits = 8, tie = plus, group = 5)"),
    "rnn-horizon": sequence_spec(6, 5, 33, 17, 2, "dense 9; sign;", batch=5, rule="bep(nu = 0.3)", horizon=2),
    "rnn-one-step": sequence_spec(1, 33, 15, 31, 3, batch=4),
    "rnn-batch-1": sequence_spec(4, 3, 1, 1, 2, batch=1, rule="bep(nu = 1)"),
    "rnn-wide": sequence_spec(4, 32, 135, 65, 10, "dense 75; sign;", batch=33),
    # inputs
    "edge-f32-input": spec((70, 33, 10), kind="f32", batch=37),
    "edge-bit-input": spec((70, 33, 10), kind="bit", batch=37),
    "edge-sign-encoder": spec((70, 33, 10), kind="sign", batch=37),
    "standard-f32-input": spec((70, 33, 10), kind="f32", rule="standard", batch=37),
    "standard-bit-input": spec((33, 17, 10), kind="bit", rule="standard", batch=37),
    # boundary shapes: widths 1, K not a multiple of 32, N = 10, 17, 33, batch 1, 33, 100, whole tiles
    "edge-width-1": spec((5, 1, 1, 2), batch=3),
    "standard-width-1": spec((1, 1, 2), rule="standard", kind="f32", batch=3),
    "edge-fan-in-1": spec((1, 2), batch=1),
    "bop-fan-in-1": spec((1, 1, 2), rule="standard", optimizer="bop", batch=2),
    "edge-batch-1": spec((33, 17, 10), batch=1),
    "standard-batch-1": spec((33, 17, 10), rule="standard", batch=1),
    "edge-batch-33": spec((65, 33, 10), batch=33),
    "edge-batch-100": spec((31, 33, 10), batch=100),
    "edge-long-sums": spec((140, 35, 3), batch=300),  # more rows and terms than one block or chunk of any skeleton
    "edge-wide-first": spec((300, 3), kind="f32", batch=6),
    "edge-whole-tiles": spec((64, 32, 16), kind="bit", batch=32),
    "standard-wide": spec((130, 130, 10), rule="standard", kind="f32", batch=16),
    "edge-two-classes": spec((33, 17, 2), batch=18),
}
UNFUSED = (
    "edge-adam-keep",
    "standard-adam",
    "edge-bop",
    "standard-quadratic",
    "bep",
    "local-one-output-deep",
    "rnn",
    "rnn-horizon",
)
SPECIAL = (
    "edge-f32-input",
    "standard-f32-input",
    "edge-adam-keep",
    "standard-l1",
    "standard-width-1",
    "edge-sign-encoder",
)


def check_kernel(lib: Library, side: Side, index: int, values: dict[str, np.ndarray], level: int, nt: int) -> None:
    """One kernel on the interpreter's values; raises AssertionError naming the kernel and the value."""
    k = side.packed.kernels[index - side.first]
    what = f"{side.program.name} {k.name} level {level} threads {nt}:"
    lib.arena[:] = POISON
    constants = {s.name for s in side.packed.constants}
    for n in k.reads:
        if n not in constants:
            lib.write(side.place(n), values[side.value(n)])
    before = lib.arena.copy()
    lib.run(index, level, nt)
    for n in k.writes:
        b = lib.buffer[side.place(n)]
        want = values[side.value(n)]
        got, raw = lib.read(side.place(n)), np.frombuffer(lib.raw(side.place(n)), np.uint8)
        assert_equal(got, np.asarray(want, got.dtype), f"{what} {n}")
        if b.storage.one_bit:  # pad bits are 0
            mask = element_bytes(b.storage)
            np.testing.assert_array_equal(
                raw[mask], np.frombuffer(encode(b.storage, want), np.uint8)[mask], f"{what} padding of {n}"
            )
        before[b.offset : b.end] = raw
    changed = np.flatnonzero(before != lib.arena)
    assert changed.size == 0, f"{what} also writes byte {changed[:8]}"


def check_net(lib: Library, special: bool, threads: tuple[int, ...] = (1, 3)) -> int:
    """Kernel-locked at all levels, from states after two steps (so that moments are not zero); how many kernel runs."""
    states, count = interp.init_states(lib.train.program, 7), 0
    for t in range(2):
        _, states = interp.step(lib.train.program, {**states, **batch_of(lib.planned, t)})
    inputs = batch_of(lib.planned, 2, special)
    for side in (lib.train, lib.evaluate):
        values = interpreted(side, states, inputs)
        for i in range(len(side.packed.kernels)):
            for level in lib.levels:
                for nt in threads:
                    check_kernel(lib, side, side.first + i, values, level, nt)
                    count += 1
    return count


def check_steps(lib: Library, steps: int, special: bool = False) -> None:
    """Free-running from the initial states: states, loss and predictions equal after every step, then evaluation."""
    for level in lib.levels:
        states = interp.init_states(lib.train.program, 3)
        lib.arena[:] = POISON
        lib.set_states(states)
        for t in range(steps):
            inputs = batch_of(lib.planned, t, special and t == 1)
            values, states = interp.step(lib.train.program, {**states, **inputs})
            results = lib.step(lib.train, inputs, level, nt=1 + 2 * (t % 2))
            assert_same(lib.states(), states, f"level {level}, step {t}:")
            assert_same(
                results, {role: values[v] for role, v in lib.train.program.results}, f"level {level}, step {t}:"
            )
        inputs = batch_of(lib.planned, steps)
        values = interpreted(lib.evaluate, states, inputs)
        results = lib.step(lib.evaluate, inputs, level)
        assert_same(results, {role: values[v] for role, v in lib.evaluate.program.results}, "evaluation")
        assert_same(lib.states(), states, "evaluation changes no state:")


LATER = (  # what others that stay are close to
    "edge-sgd-plain",
    "edge-f32-state",
    "standard-sgd-plain",
    "standard-f16-state",
    "standard-clip-off",
    "standard-identity",
    "edge-identity",
    "edge-hinge",
    "bep-small-words",
    "bep-nine-words",
    "bep-long-sums",
    "local-no-reinforcement",
    "local-freeze-first",
    "rnn-one-step",
    "rnn-wide",
    "standard-bit-input",
    "standard-batch-1",
    "edge-batch-33",
    "edge-long-sums",
    "standard-wide",
)


@pytest.mark.parametrize("net", with_slow(NETS, LATER))
def test_kernels_and_steps(net: str) -> None:
    lib = Library(plan(NETS[net]))
    assert check_net(lib, net in SPECIAL) > 10
    check_steps(lib, 5)
    if net in SPECIAL:
        check_steps(lib, 3, special=True)


@pytest.mark.parametrize("net", with_slow(UNFUSED, UNFUSED[1:4] + UNFUSED[5:6] + UNFUSED[7:]))
def test_with_every_value_in_memory(net: str) -> None:
    """Fusion, sinking and simplification off: each op is a kernel of its own, so each op's code is met alone."""
    lib = Library(plan(NETS[net], disable=("fuse", "sink", "simplify")))
    check_net(lib, special=True, threads=(3,))
    check_steps(lib, 2)


@pytest.mark.parametrize("level", levels_of())
def test_every_level_of_this_cpu_is_tested(level: int) -> None:
    """The library and /proc/cpuinfo agree on what can run here; a level that is missing is reported as a skip."""
    lib = Library(plan(NETS["edge-width-1"]))
    assert level in lib.levels
    assert len(lib.levels) == cpu_levels()


@pytest.mark.parametrize("net", ["edge-adam-keep", "edge-bop", "standard-f32-input"])
def test_without_vectors(net: str) -> None:
    """The text for a machine without vector instructions (one lane) gives the same bits."""
    planned = plan(NETS[net])
    host = planned.target
    plain = replace(host, name="plain", flags=(*host.flags, "-U__SSE2__"), levels=(Level("base"),))
    lib = Library(replace(planned, target=plain))
    check_net(lib, special=net in SPECIAL, threads=(3,))
    check_steps(lib, 2)


def test_special_values_reach_the_kernels() -> None:
    """The special batches do what they are for: NaN and infinities in sums, -0.0 at a sign, zero variance."""
    lib = Library(plan(NETS["standard-f32-input"]))
    values = interpreted(lib.train, interp.init_states(lib.train.program, 7), batch_of(lib.planned, 2, special=True))
    x = values["x"]
    assert np.isnan(x).any() and np.isinf(x).any() and (np.signbit(x) & (x == 0)).any()
    assert any(np.isnan(v).any() for n, v in values.items() if v.dtype == np.float32 and n != "x")
    lib = Library(plan(NETS["edge-adam-keep"]))
    inputs = batch_of(lib.planned, 2)
    inputs["x"][:] = 128
    psi = interpreted(lib.train, interp.init_states(lib.train.program, 7), inputs)["batchnorm1.psi_b"]
    assert not psi.any()


def test_constant_batches() -> None:
    """Zero variance in every channel of the first layer (all samples equal), edge and standard."""
    for net in ("edge-adam-keep", "standard-adam", "standard-l1"):
        lib = Library(plan(NETS[net]))
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
    planned = plan(NETS["edge-width-1"])
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
