"""Updates in whole numbers (`state = i8`) against exact rational arithmetic.

What a state should become is a fraction of its steps, computed here from the spec's numbers with `fractions`.  The
interpreter rounds it with 15 random bits, so that its mean over all of them is that fraction, but for how finely rates
and decays are written.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from helpers import plan, spec

from bnnc.ir.fixed import FRACTION
from bnnc.ir.ops import OPS

FINE = Fraction(1, 1 << 12)  # of what a weight moves by: a rate has 15 bits, a share of a gradient is one of 2**15
TINY = Fraction(1, 1 << 16)  # of a step: half of what 15 bits of noise can tell
DRAWS = 1 << 22


def dropped(x: Fraction) -> int:
    return x.numerator // x.denominator


# -- one update, many draws -------------------------------------------------------------------------------------------

ALL = np.arange(1 << FRACTION, dtype=np.int32).reshape(-1, 64)  # each value that the noise can have, once


def update(
    optimizer: str, w: int, m: int, g: int, lr: float, t: int, clip_at: float = 1.0, every: bool = True
) -> dict[str, list[int]]:
    """By the optimiser's own program: how many of many equal weights (`w`) and moments move by how much.  ``every``:
    with each value of the noise once, else with DRAWS that are drawn; the result is (sum of moves, smallest, largest,
    how many).
    """
    text = spec((64, 5), rule=f"edge(state = i8, clip_at = {clip_at})", optimizer=optimizer, batch=2)
    program = plan(text).trace.results["differentiate"].train
    shape = ALL.shape if every else (DRAWS // 64, 64)
    wanted = {s: n for s, n in program.updates if s.startswith("dense1.weight")}
    sign = next(o.output for o in program.ops if o.output.endswith("dw_sign"))
    values = {s: np.full(shape, m if "." in s[13:] else w, np.int8) for s in wanted}
    values |= {n: np.full((1, 1), x, np.float32) for n, x in (("lr", lr), ("step", t))}
    values |= {n: np.full((1, 1), x, np.int32) for n, x in (("tick", t), ("seed", 4))} | {
        sign: np.full(shape, g, np.int8)
    }
    needed = set(wanted.values())
    for o in reversed(program.ops):  # what the updates are made of, from the gradient's sign on
        if o.output in needed and o.output not in values:
            needed.update(o.inputs)
    for o in program.ops:
        if o.output in needed - {*values}:
            attrs = dict(o.attrs) | ({"rows": shape[0], "cols": shape[1]} if o.kind == "noise" else {})
            run = OPS[o.kind].run([values[i] for i in o.inputs], attrs, program.value[o.output].dtype)
            values[o.output] = ALL if o.kind == "noise" and every else run
    moves = {s.rpartition(".")[2]: values[n].astype(np.int64) - values[s] for s, n in wanted.items()}
    return {n: [int(x.sum()), int(x.min()), int(x.max()), x.size] for n, x in moves.items()}


def assert_mean(got: list[int], exact: Fraction, off: Fraction) -> None:
    """Each move is one of the two whole numbers that are next to the exact one, and the mean is near it."""
    total, least, most, n = got
    assert dropped(exact - off) <= least <= most <= dropped(exact + off) + 1
    assert abs(Fraction(total, n) - exact) <= off, (Fraction(total, n) - exact, off)


CASES = [
    (0, 0, 1, 1e-3, 1),
    (0, 0, -1, 3e-3, 2),
    (-1, 5, 1, 1e-3, 900),
    (77, -127, -1, 1e-2, 50),
    (-77, 127, 1, 1e-5, 4000),
    (3, 64, -1, 1e-6, 9),
    (126, -1, -1, 0.0, 3),
    (-127, 90, 1, 3e-4, 20000),
    (100, 127, 1, 0.7, 7),
]
DRAWN = Fraction(1, 1000)  # four deviations of a mean over 2**22 draws


@pytest.mark.parametrize("every", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("q", "m", "g", "lr", "t"), CASES)
def test_adam_has_no_bias(q: int, m: int, g: int, lr: float, t: int, every: bool) -> None:
    """Over every value of the noise the means are exact, to the precision in which rates and decays are written; and
    over four million draws they are within 1e-3 of a step.
    """
    got = update("adam(v = elide)", q, m, g, lr, t, every=every)
    beta = Fraction(9, 10)
    average = beta * m + (1 - beta) * 127 * g  # in steps
    moved = -512 * Fraction(lr) / (1 - beta**t) * average / 127
    moved = min(max(moved, Fraction(-128 - q)), Fraction(127 - q))
    drawn = 0 if every else DRAWN
    assert_mean(got["m"], average - m, 254 * TINY + drawn)
    assert_mean(got["weight"], moved, TINY + abs(moved) * FINE + drawn)


@pytest.mark.parametrize("clip_at", [1.0, 0.25])
@pytest.mark.parametrize(("q", "m", "g", "lr", "t"), CASES)
def test_sgd_has_no_bias(q: int, m: int, g: int, lr: float, t: int, clip_at: float) -> None:
    got = update("sgd(momentum = 0.75)", q, m, g, 100 * lr, t, clip_at)
    average = Fraction(3, 4) * m + Fraction(1, 4) * 127 * g
    moved = -512 / Fraction(clip_at) * 100 * Fraction(lr) * 4 * average / 127 / 8  # of 64 inputs: c is 1/8
    moved = min(max(moved, Fraction(-128 - q)), Fraction(127 - q))
    assert_mean(got["u"], average - m, 254 * TINY)
    assert_mean(got["weight"], moved, TINY + abs(moved) * FINE)


def test_sgd_without_momentum_has_no_bias() -> None:
    got = update("sgd(momentum = 0)", -3, 0, -1, 0.01, 1)
    assert [*got] == ["weight"]
    assert_mean(got["weight"], 512 * Fraction(1, 100) / 8, TINY + FINE)


@pytest.mark.parametrize(("gamma", "tau", "steps"), [("1e-3", "1e-6", 1000), ("0.4", "0", 127), ("1e-3", "0.5", 200)])
def test_bops_momentum_has_no_bias(gamma: str, tau: str, steps: int) -> None:
    """A gradient is one step where gamma is small and the threshold too; the momentum ends at 127 steps."""
    share = Fraction(gamma)
    for m, g in ((0, 1), (20, -1), (-100, -1), (100, 1), (127, 1), (-127, -1)):
        got = update(f"bop(gamma = {gamma}, tau = {tau})", 1, m, g, 0.1, 1)["m"]
        moved = min(max((1 - share) * m + share * steps * g, Fraction(-127)), Fraction(127)) - m
        assert_mean(got, moved, (abs(m) + 127) * TINY)


@pytest.mark.parametrize("w", [1, -1])
@pytest.mark.parametrize(
    ("m", "g"), [(9, 1), (10, 1), (11, 1), (11, -1), (12, -1), (-12, 1), (-12, -1), (-9, -1), (-1, 1)]
)
def test_bop_flips_by_its_momentum_before_it_is_rounded(w: int, m: int, g: int) -> None:
    """Of 10,000 steps in c the threshold is 10."""
    total, *_, n = update("bop(gamma = 1e-4, tau = 1e-3)", w, m, g, 0.1, 1)["weight"]
    flips = w * (m * (1 - Fraction(1, 10000)) + g) >= 10
    assert total == (-2 * w * n if flips else 0)
