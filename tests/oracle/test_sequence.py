"""BEP through time in the interpreter against a reference that loops over samples and steps, and the sequence ops'
meaning.

The reference is written from the paper's equations (2512.04189) and knows nothing of the IR: one sample at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from helpers import batch_of, plan, sequence_spec

from bnnc.ir import interp
from bnnc.ir.ops import OPS

Array = np.ndarray


def sgn(x: Array) -> Array:
    return np.where(x >= 0, 1, -1)


def winner_mask(s: Array, size: int) -> Array:
    out = np.zeros(len(s), bool)
    for first in range(0, len(s), size):
        wrong = [j for j in range(first, first + size) if s[j] < 0]
        if wrong:
            out[min(wrong, key=lambda j: (abs(s[j]), j))] = True
    return out


def reference(
    x: Sequence[Array],
    labels: Array,
    h: dict[str, Array],
    e: Array | None,
    p: Array,
    bits: int,
    groups: tuple[int, int],
    nu: float,
    r: float,
    keep: bool,
    horizon: int,
) -> dict[str, Array]:
    """New weights after one step without reinforcement.  x: n sequences [T, F]; h: hx, hs, hy (or none)."""
    w = {k: sgn(v) for k, v in h.items()}
    delta = {k: np.zeros(v.shape, int) for k, v in h.items()}
    for sample, label in zip(x, labels, strict=True):
        a = [sgn(e @ v) if e is not None else v for v in sample]
        s, z = [np.ones(len(w["hs"]), int)], [np.zeros(len(w["hs"]), int)]
        for t in range(len(a)):
            z.append(w["hx"] @ a[t] + w["hs"] @ s[-1])
            s.append(sgn(z[-1]))
        top, zy = s[-1], None
        if "hy" in w:
            zy = w["hy"] @ s[-1]
            top = sgn(zy)
        logits = p @ top
        if logits[label] - max(v for c, v in enumerate(logits) if c != label) >= r * p.shape[1]:
            continue
        target = p[label]
        if zy is not None:
            mask = winner_mask(target * zy, groups[1])
            delta["hy"] += 2 * np.outer(mask * target, s[-1])
            v = w["hy"].T @ (target * (abs(zy) <= math.floor(nu * w["hy"].shape[1])))
            target = sgn(2 * v + s[-1] if keep else v)
        y = {len(a): target}
        fan_in = w["hx"].shape[1] + w["hs"].shape[1]
        start = max(1, len(a) - horizon + 1) if horizon else 1
        for t in range(len(a) - 1, start - 1, -1):
            v = w["hs"].T @ (y[t + 1] * (abs(z[t + 1]) <= math.floor(nu * fan_in)))
            y[t] = sgn(2 * v + s[t] if keep else v)
        mask = winner_mask(sum(y[t] * z[t] for t in y), groups[0])
        for t in y:
            delta["hx"] += 2 * np.outer(mask * y[t], a[t - 1])
            delta["hs"] += 2 * np.outer(mask * y[t], s[t - 1])
    top_value = 1 << (bits - 1)
    return {k: np.clip(h[k] + delta[k], -top_value, top_value - 1) for k in h}


@pytest.mark.parametrize("tie", ["plus", "keep"])
@pytest.mark.parametrize(
    ("steps", "features", "units", "expand", "dense", "horizon", "nu"),
    [
        (5, 9, 21, 33, 15, 0, 0.1),
        (4, 7, 15, 0, 0, 0, 0.4),
        (6, 3, 33, 17, 9, 2, 0.2),
        (1, 8, 9, 5, 3, 1, 1.0),
        (7, 2, 1, 1, 0, 3, 0.5),
    ],
)
def test_one_step_is_the_papers(
    steps: int, features: int, units: int, expand: int, dense: int, horizon: int, nu: float, tie: str
) -> None:
    hidden = f"dense {dense}; sign;" if dense else ""
    text = sequence_spec(
        steps,
        features,
        units,
        expand,
        3,
        hidden,
        11,
        f"bep(nu = {nu}, tie = {tie}, reinforce = 0, bits = 6, std = 6)",
        horizon,
    )
    planned = plan(text)
    program = planned.trace.results["simplify"].train
    inputs, states = batch_of(planned, 1), interp.init_states(program, 5)
    values, new = interp.step(program, {**states, **{n: inputs[n] for n in program.inputs}})
    names = {"hx": "rnn1.weight_x", "hs": "rnn1.weight_s", **({"hy": "dense1.weight"} if dense else {})}
    constant = {c.name: interp.constant_array(program.value[c.name], c).astype(int) for c in program.constants}

    def group(width: int) -> int:
        return max(d for d in range(1, 16) if width % d == 0)

    want = reference(
        inputs["x"].astype(int).reshape(11, steps, features),
        inputs["labels"][:, 0],
        {k: states[n].astype(int) for k, n in names.items()},
        constant.get("rnn1.expansion"),
        constant["classifier"],
        6,
        (group(units), group(dense) if dense else 0),
        nu,
        0.5,
        tie == "keep",
        horizon,
    )
    for k, n in names.items():
        np.testing.assert_array_equal(new[n], want[k], n)
    assert any((new[n] != states[n]).any() for n in names.values())


@pytest.mark.parametrize(
    ("steps", "features", "units", "expand", "dense", "horizon"),
    [(6, 3, 21, 33, 15, 0), (9, 2, 15, 0, 0, 0), (7, 4, 33, 17, 9, 3)],
)
def test_twenty_steps_of_sequences_of_all_lengths(
    steps: int, features: int, units: int, expand: int, dense: int, horizon: int
) -> None:
    """`lengths`: each sample by itself is a sequence as long as it is.  What lies in the steps before it is of no
    importance.
    """
    bits = 2
    hidden, rule = f"dense {dense}; sign;" if dense else "", "bep(nu = 0.2, reinforce = 0, bits = 8, std = 6)"
    planned = plan(
        sequence_spec(
            steps, features, units, expand, 3, hidden, 11, rule, horizon, f"thermometer({bits}, lengths = on)"
        )
    )
    program = planned.trace.results["simplify"].train
    states, moved = interp.init_states(program, 5), 0
    names = {"hx": "rnn1.weight_x", "hs": "rnn1.weight_s", **({"hy": "dense1.weight"} if dense else {})}
    constant = {c.name: interp.constant_array(program.value[c.name], c).astype(int) for c in program.constants}
    sizes = [max(d for d in range(1, 16) if n % d == 0) for n in (units, dense or 1)]
    for t in range(20):
        rng = np.random.default_rng(t)
        lengths = rng.integers(1, steps + 1, 11)
        x = rng.choice(np.array([-1, 1], np.int8), (11, steps, features * bits + 1))
        x[:, :, -1] = np.where(np.arange(steps) >= steps - lengths[:, None], 1, -1)
        inputs = {**batch_of(planned, t), "x": x.reshape(11, -1)}
        _, new = interp.step(program, {**states, **{n: inputs[n] for n in program.inputs}})
        want = reference(
            [v[steps - n :, :-1].astype(int) for v, n in zip(x, lengths, strict=True)],
            inputs["labels"][:, 0],
            {k: states[n].astype(int) for k, n in names.items()},
            constant.get("rnn1.expansion"),
            constant["classifier"],
            8,
            (sizes[0], sizes[1]),
            0.2,
            0.5,
            True,
            horizon,
        )
        for k, n in names.items():
            np.testing.assert_array_equal(new[n], want[k], f"{n}, step {t}")
            moved += int((new[n] != states[n]).sum())
        states = new
    assert moved > 1000


def test_a_step_that_does_not_exist_changes_nothing() -> None:
    """Sequences moved to the end of the steps: the state before them stays +1, whatever lies there."""
    rng = np.random.default_rng(0)
    wx, ws = (rng.choice(np.array([-1, 1], np.int8), s) for s in ((5, 3), (5, 5)))
    x = rng.choice(np.array([-1, 1], np.int8), (8, 3))  # two samples of four steps
    present = np.array([[-1], [-1], [1], [1], [1], [1], [1], [1]], np.int8)
    z = OPS["recur"].run([x, wx, ws, present], {"steps": 4}, "i16")
    short = OPS["recur"].run([x[2:4], wx, ws], {"steps": 2}, "i16")
    assert (z[:2] == 0).all()
    np.testing.assert_array_equal(z[2:4], short)
    np.testing.assert_array_equal(z[4:], OPS["recur"].run([x[4:], wx, ws], {"steps": 4}, "i16"))


def test_rows() -> None:
    x = np.array([[1, -1, 1, 1, -1, -1]], np.int8)
    split = OPS["split"].run([x], {"steps": 2, "first": 1, "cols": 2}, "bit")
    np.testing.assert_array_equal(split, [[-1, 1], [-1, -1]])
    np.testing.assert_array_equal(OPS["previous"].run([split], {"steps": 2}, "bit"), [[1, 1], [-1, 1]])
    np.testing.assert_array_equal(OPS["last"].run([split], {"steps": 2}, "bit"), [[-1, -1]])
    blocks = np.arange(8, dtype=np.int8).reshape(8, 1)
    np.testing.assert_array_equal(OPS["second"].run([blocks], {"rows": 2}, "i8").T, [[2, 3, 2, 3, 6, 7, 6, 7]])
    np.testing.assert_array_equal(OPS["repeat"].run([split], {"steps": 2}, "bit"), split[[0, 0, 1, 1]])
    np.testing.assert_array_equal(OPS["fold"].run([split], {"steps": 2}, "i32"), [[-2, 0]])
