"""Final weights of rules, of gradients and of states in whole numbers, and of rules without a backward pass: the same
on every target, to the bit.

A few specs are trained on data from bnnc's own generator (:mod:`bnnc.rng`), so that no library's random numbers matter;
a hash of all weights is committed.  A target or backend takes part with one function in ``TRAINERS``: a network, its
samples and labels -> its weights by name.  ``pytest tests/golden --update-golden`` writes what the interpreter says.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import cross
import numpy as np
import pytest
from helpers import LEVELS, Arrays, cpu_levels, plan, spec
from triton_helpers import QUICK

from bnnc import driver, rng
from bnnc.backends.c.targets import TARGETS
from bnnc.data import Dataset, tensors, write_bnnd
from bnnc.ir import interp

GOLDEN = Path(__file__).with_name("final_weights.json")
SAMPLES, EPOCHS, SEED = 230, 6, 1


class Net(NamedTuple):
    text: str
    inputs: int
    classes: int
    batch: int


def net(widths: tuple[int, ...], rule: str, batch: int, optimizer: str = "adam") -> Net:
    return Net(spec(widths, "bit", rule, optimizer, batch), widths[0], widths[-1], batch)


NETS = {
    "bep": net((67, 35, 21, 5), "bep(group = 7)", 20),
    "bep-8-bits-keep": net(
        (40, 33, 15, 9, 4), "bep(bits = 8, tie = keep, nu = 0.1, classifier = random, r = 0.75)", 23
    ),
    "local": net((67, 35, 21, 5), "local", 20),
    "edge-i8": net((67, 35, 21, 5), "edge(gradient = i8)", 20),
    "dfa": net((67, 35, 21, 5), "dfa", 20),
    "dfa-normal": net((33, 18, 12, 3), "dfa(feedback = normal)", 10),
    "drtp": net((67, 35, 21, 5), "drtp(numerics = edge)", 20),
    "hsic": net((33, 18, 12, 3), "hsic(numerics = edge(state = f32))", 10),
    "sigprop": net((33, 18, 12, 3), "sigprop(numerics = edge)", 10),
    "sigprop-tl": net((33, 18, 12, 3), "sigprop_tl(compat = off, numerics = edge)", 10),
    "edge-i8-state": net((67, 35, 21, 5), "edge(state = i8)", 20, "adam(lr = 0.01, v = elide)"),
    "edge-i8-both": net((67, 35, 21, 5), "edge(gradient = i8, state = i8)", 20, "adam(lr = 0.01, v = elide)"),
    "hsic-i8-state": net((33, 18, 12, 3), "hsic(numerics = edge(state = i8))", 10, "sgd(lr = 0.5)"),
    "drtp-i8-state": net((33, 18, 12, 3), "drtp(numerics = edge(state = i8))", 10, "bop(gamma = 0.01)"),
    "local-5-bits": net((33, 18, 12, 3), "local(bits = 5, group = 3, reinforce = 0.1)", 10),
}
Train = Callable[[Net, np.ndarray, np.ndarray, Path], Arrays]


def samples(n: Net) -> tuple[np.ndarray, np.ndarray]:
    """(bool [SAMPLES, inputs], u8 [SAMPLES]): noisy copies of one random pattern a class."""
    centre = rng.signs(SEED, 101, n.classes * n.inputs).reshape(n.classes, n.inputs)
    y = (rng.philox(SEED, 102, SAMPLES) % np.uint32(n.classes)).astype(np.uint8)
    noise = rng.philox(SEED, 103, SAMPLES * n.inputs).reshape(SAMPLES, n.inputs) < 0.3 * 2**32
    return centre[y] ^ noise, y


def interpreted(n: Net, x: np.ndarray, y: np.ndarray, folder: Path) -> Arrays:
    """The trainer's loop with the interpreter's step."""
    planned = plan(n.text)
    model, program = planned.model, planned.trace.results["simplify"].train
    pred = dict(program.results)["pred"]
    states, tick, errors, seen = interp.init_states(program, SEED), 0, 1, 1
    for epoch in range(EPOCHS):
        wrong = 0
        for first in range(0, SAMPLES // n.batch * n.batch, n.batch):
            tick += 1
            at = rng.order(SEED, epoch, SAMPLES, np.arange(first, first + n.batch))
            whole = {"tick": tick, "seed": SEED, "errors": errors, "samples": seen, "stage": 0}
            real = {"lr": model.optimizer["lr"], "step": tick}
            env = {
                "x": np.where(x[at], 1, -1).astype(np.int8),
                "labels": y[at][:, None],
                **{k: np.array([[v]], np.int32) for k, v in whole.items() if k in program.inputs},
                **{k: np.array([[v]], np.float32) for k, v in real.items() if k in program.inputs},
            }
            out, states = interp.step(program, {**states, **env})
            wrong += int((out[pred][:, 0] != y[at]).sum())
        errors, seen = wrong, SAMPLES // n.batch * n.batch
    assert tick >= 50
    kept = {s.name: states[s.name] for s in program.states if s.exported}
    return {n: x[0] if len(x) == 1 else x for n, x in kept.items()}  # as a file of tensors has vectors


def program(*flags: str, target: str = "host") -> Train:
    """Trains with the generated program for a target, which QEMU runs where it is not for this machine."""

    def train(n: Net, x: np.ndarray, y: np.ndarray, folder: Path) -> Arrays:
        if target != "host":
            cross.need(TARGETS[target])
        elif not shutil.which("cc"):
            pytest.skip("no C compiler")
        write_bnnd(folder / "data.bnnd", Dataset(x, y, classes=n.classes))
        driver.build_planned(replace(plan(n.text, target), threads=4), folder / "net")
        argv = [
            *TARGETS[target].emulator,
            folder / "net",
            "train",
            "--train",
            folder / "data.bnnd",
            "--epochs",
            str(EPOCHS),
            "--seed",
            str(SEED),
            "--out",
            folder / "run",
            "--export",
            folder / "w",
            *flags,
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return tensors.read(folder / "w")

    return train


def triton_program(n: Net, x: np.ndarray, y: np.ndarray, folder: Path) -> Arrays:
    """Trains with the generated Python trainer, its kernels in Triton's interpreter."""
    write_bnnd(folder / "data.bnnd", Dataset(x, y, classes=n.classes))
    driver.build_planned(plan(n.text, target="triton"), folder / "net")
    env = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    argv = [sys.executable, "-W", "ignore", QUICK, folder / "net", "train", "--train", "data.bnnd"]
    done = subprocess.run(
        [*argv, "--epochs", str(EPOCHS), "--seed", str(SEED), "--out", "run", "--export", "w"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tensors.read(folder / "w")


TRAINERS: dict[str, Train] = {
    "interpreter": interpreted,
    **{f"host-{isa}": program("--isa", isa, "--threads", str(t)) for t, isa in enumerate(LEVELS[: cpu_levels()], 1)},
    "triton": triton_program,
    **{name: program("--threads", "2", target=name) for name in cross.ARM},
}


def stored(n: Net, weights: Arrays) -> Arrays:
    """In the types that a step has them in: a file holds what whole numbers stand for."""
    program = plan(n.text).trace.results["simplify"].train
    return {
        s.name: interp.nearest(s, weights[s.name], program.value[s.name].dtype) for s in program.states if s.exported
    }


def weights_hash(weights: Arrays) -> str:
    """Of all weights by name, as little-endian numbers of the type they are stored in."""
    h = hashlib.sha256()
    for name in sorted(weights):
        x = weights[name]
        h.update(f"{name} {x.dtype.name} {x.shape}\n".encode() + x.astype(x.dtype.newbyteorder("<")).tobytes())
    return h.hexdigest()[:32]


MARKS = {
    "triton": [pytest.mark.slow],
    **{f"host-{isa}": [pytest.mark.slow] for isa in LEVELS[: cpu_levels() - 1]},
    **{name: [pytest.mark.arm] for name in cross.ARM},
}


LATER = ("bep-8-bits-keep", "local-5-bits")
INTERPRETED = (  # in the fast tier, where kernel tests have their C
    *(
        "bep",
        "local",
        "dfa",
        "dfa-normal",
        "drtp",
        "drtp-i8-state",
        "edge-i8",
        "edge-i8-state",
        "hsic",
        "hsic-i8-state",
        "sigprop",
    ),
    "sigprop-tl",
)


def cases() -> Iterator[Any]:
    """Each net with each trainer."""
    for name, trainer in product(NETS, TRAINERS):
        later = name in LATER or (name in INTERPRETED and trainer.startswith("host"))
        marks = [*MARKS.get(trainer, ()), *([pytest.mark.slow] if later else ())]
        yield pytest.param(name, trainer, marks=marks, id=f"{name}-{trainer}")


@pytest.mark.parametrize(("name", "trainer"), list(cases()))
def test_final_weights(name: str, trainer: str, tmp_path: Path, update_golden: bool) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    n = NETS[name]
    got = weights_hash(stored(n, TRAINERS[trainer](n, *samples(n), tmp_path)))
    if update_golden and trainer == "interpreter":
        golden = {k: v for k, v in sorted({**golden, name: got}.items()) if k in NETS}
        GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    assert got == golden.get(name), f"{name}: if that is meant: pytest tests/golden --update-golden"


def test_every_golden_is_of_a_net_and_they_differ() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert set(golden) == set(NETS) and len(set(golden.values())) == len(NETS)
