"""What is done with training samples as they are read: augmentation and balanced sampling.

A C trainer's weights equal, bit for bit, those of the interpreter on the samples that bnnc/inputs/augment.py and
bnnc/rng.py say; a run that is cut goes on to the same bits; an epoch counts its classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import with_slow

import bnnc
from bnnc import rng
from bnnc.diag import BnncError
from bnnc.inputs import augment
from bnnc.inputs.encode import of_model
from bnnc.ir import interp

N, TEST = 61, 12
CASES = {  # input, shape of the data, settings
    "pixels": ("u8[6, 5]", (6, 5), "augment = [shift(2), flip];"),
    "colours": ("u8[6, 5, 3] median", (6, 5, 3), "augment = [flip, shift(1)];"),
    "steps": ("f32[7, 3] thermometer(3)", (7, 3), "augment = [timeshift(2), jitter(0.2)]; microbatch = 2;"),
    "numbers": ("f32[9]", (9,), "augment = jitter(0.5);"),
    "turns": ("u8[6, 5]", (6, 5), "sampling = balanced;"),
    "both": ("f32[7, 3]", (7, 3), "augment = jitter(0.3); sampling = balanced; holdout = 20%;"),
}


def network(case: str) -> bnnc.Network:
    inp, _, settings = CASES[case]
    return bnnc.parse(
        f"network net {{ input {inp}; flatten; dense 9; batchnorm; sign; dense 3; batchnorm; loss; }}\n"
        f'train {{ batch = 10; epochs = 3; {settings} }}\ndata {{ train = bnnd("d.bnnd"); }}\n'
    )


def samples(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Of three classes with shares of 70, 20 and 10 per cent."""
    r = np.random.default_rng(3)
    inp, shape, _ = CASES[case]
    x = r.integers(0, 256, (N, *shape)).astype("u1") if inp[0] == "u" else r.standard_normal((N, *shape)).astype("f4")
    return x, r.choice(3, N, p=[0.7, 0.2, 0.1]).astype("u1")


def interpreted(net: bnnc.Network, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """The trainer's loop: samples that the definitions in Python give, and the interpreter's step."""
    model, program = net.model, net.plan().planned.trace.results["simplify"].train
    a, e, seed = augment.of_model(model), of_model(model), model.seed
    n_hold = int(np.float32(model.holdout) * np.float64(len(x)))
    fit = rng.holdout(seed, len(x), model.holdout)[0] if n_hold else np.arange(len(x))
    table = e.fit(x) if e is not None else None
    states, tick = interp.init_states(program, seed), 0
    if "input.thresholds" in states:
        states["input.thresholds"] = table
    for epoch in range(model.epochs):
        places = np.arange(len(fit) // model.batch * model.batch, dtype=np.uint32)
        whole = rng.balanced(seed, epoch, y[fit]) if model.sampling == "balanced" else None
        order = fit[rng.order(seed, epoch, len(fit), places) if whole is None else whole[places]]
        for at in places.reshape(-1, model.part):
            tick += at[0] % model.batch == 0
            seen = x[order[at]]
            seen = a.apply(seen, seed, epoch, at) if a else seen
            bits = np.where(e.encode(seen, table), 1, -1).astype(np.int8) if e is not None else seen
            env = {"x": bits.reshape(len(at), -1), "labels": y[order[at]][:, None]}
            env |= {"part": at[0] % model.batch // model.part, "lr": model.optimizer["lr"], "step": tick}
            real = {k: v if isinstance(v, np.ndarray) else np.array([[v]], np.float32) for k, v in env.items()}
            states = interp.step(program, {**states, **{k: real[k] for k in program.inputs}})[1]
    return {s.name: states[s.name] for s in program.states if s.exported}


@pytest.mark.parametrize("case", with_slow(CASES, {*CASES} - {"colours", "both"}))
def test_the_trainer_sees_what_is_defined(case: str, one_level: None) -> None:
    """To the bit, in all weights, after 18 steps; and the plan's memory holds."""
    net, (x, y) = network(case), samples(case)
    program = net.compile(threads=1)
    history = program.fit(x, y)
    want = interpreted(net, x, y)
    got = program.weights
    assert history.memory_measured <= history.memory_predicted
    assert set(got) == set(want) and all(np.array_equal(got[n].reshape(w.shape), w) for n, w in want.items())


@pytest.mark.parametrize("case", with_slow(("colours", "both"), ("colours",)))
def test_a_run_that_is_cut_goes_on_to_the_same_bits(case: str, one_level: None, tmp_path: Path) -> None:
    """Within an epoch, where what is drawn, and whose turn it is, follow from the place alone."""
    program, (x, y) = network(case).compile(threads=1), samples(case)
    args = ["train", "--train", str(program._store("train", x, y))]
    whole = program.run([*args, "--out", str(tmp_path / "whole")]).stdout
    for steps in ("3", "8", "99"):
        cut = program.run([*args, "--out", str(tmp_path / "cut"), "--steps", steps]).stdout
    assert whole.splitlines()[-1] == cut.splitlines()[-1] and cut.splitlines()[-1].startswith("state ")


def test_only_training_is_augmented(one_level: None) -> None:
    net, (x, y) = network("steps"), samples("steps")
    program, plain = net.compile(threads=1), net.with_(augment="[]").compile(threads=1)
    program.fit(x, y)
    plain.set_weights(program.weights)
    assert program.evaluate(x, y) == plain.evaluate(x, y) and np.array_equal(program.predict(x), plain.predict(x))


def test_bits_cannot_be_augmented_any_more(one_level: None) -> None:
    program, (x, y) = network("colours").compile(threads=1), samples("colours")
    with pytest.raises(BnncError, match="the network takes u8 samples, found bit"):
        program.fit(x > 99, y)


@pytest.mark.parametrize(("case", "target"), [("pixels", "cortex-m"), ("turns", "cortex-m"), ("numbers", "triton")])
def test_what_cannot_do_it_says_so(case: str, target: str) -> None:
    with pytest.raises(BnncError) as e:
        network(case).plan(target)
    assert e.value.diagnostics[0].code == "B0718"
