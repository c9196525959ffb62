"""Gradients in whole numbers against exact rational arithmetic: the quantiser, and what each step of a network stores.

Everything is compared as fractions, which share nothing with the op table.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from helpers import Arrays, batch_of, plan, spec

from bnnc import rng
from bnnc.ir import interp
from bnnc.ir.fixed import FRACTION, ROUNDABLE
from bnnc.ir.ops import OPS
from bnnc.ir.program import Program, State
from bnnc.lower.context import new_program
from bnnc.lower.expand import make_context
from bnnc.lower.whole import fitting, for_weight

ONE = 1 << FRACTION
DRAWS = 1_000_000
MOST = 127


def op(name: str, *x: np.ndarray, dtype: str = "i32", **attrs: int) -> np.ndarray:
    return np.asarray(OPS[name].run(list(x), attrs, dtype))


def one(x: float, dtype: type = np.int32) -> np.ndarray:
    return np.full((1, 1), x, dtype)


# -- the ops -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("x", [0, 1, -1, ONE // 3, -ONE // 7, ONE // 2, 5 * ONE - 1, -100 * ONE + 12345])
def test_rounding_at_random_is_right_on_average(x: int) -> None:
    """Over all noise exactly; over a million draws, a thousand elements in each of a thousand steps, to a thousandth of
    a step.
    """
    every = np.arange(ONE, dtype=np.int32)[None]
    assert Fraction(int(op("shr", one(x) + every, one(FRACTION)).sum()), ONE) == Fraction(x, ONE)
    keys = [rng.noise(3, rng.ROUNDING[5], t, 1, 1) for t in range(DRAWS // 1000)]
    of_gradients = np.stack([op("dither", key, rows=40, cols=25) for key in keys])
    for drawn in (of_gradients, rng.noise(3, rng.UPDATES[5], 1, 1000, DRAWS // 1000)):
        mean = Fraction(int(op("shr", one(x) + drawn, one(FRACTION)).sum()), DRAWS)
        assert abs(mean - Fraction(x, ONE)) <= Fraction(1, 1000)


@pytest.mark.parametrize("clip_at", [1.0, 0.3, 1e-30, 1e6])
def test_a_latent_weight_is_the_nearest_to_what_it_stands_for(clip_at: float) -> None:
    s = State("w", "weight", "const", step=clip_at / 512)
    every = np.arange(-128, 128, dtype=np.int8)
    real = interp.real(s, every)
    assert real.dtype == np.float32 and ((real >= 0) == (every >= 0)).all()
    np.testing.assert_array_equal(interp.nearest(s, real, "i8"), every)
    between = (real[:-1].astype(np.float64) + real[1:]) / 2
    np.testing.assert_array_equal(interp.nearest(s, between + clip_at / 6e3, "i8"), every[1:])
    np.testing.assert_array_equal(interp.nearest(s, between - clip_at / 6e3, "i8"), every[:-1])
    np.testing.assert_array_equal(interp.nearest(s, np.array([np.inf, -np.inf, -0.0]), "i8"), [127, -128, 0])


@pytest.mark.parametrize("shift", range(FRACTION + 1))
def test_a_product_is_shifted_without_bias(shift: int) -> None:
    """``u`` is uniform in 0 .. 2**shift - 1, so that the mean over all of them is exact."""
    u = op("shr", np.arange(ONE, dtype=np.int32)[None], one(FRACTION - shift))
    counts = np.bincount(u[0], minlength=1 << shift)
    assert len(counts) == 1 << shift and (counts == ONE >> shift).all()
    for x in (-1000, -1, 0, 77, 31111):
        assert Fraction(int(op("shr", x + u, one(shift)).sum()), ONE) == Fraction(x, 1 << shift)


def test_noise_is_uniform_and_of_its_element() -> None:
    drawn = rng.noise(1, 2, 3, 1000, 1000)
    assert drawn.min() >= 0 and drawn.max() < ONE
    count = np.bincount(drawn.ravel() >> 7, minlength=256)  # 256 classes: chi squared has mean 255, deviation 22.6
    assert ((count - DRAWS / 256) ** 2 / (DRAWS / 256)).sum() < 255 + 4 * 22.6
    assert (rng.noise(1, 2, 3, 13, 7) == drawn[:13, :7]).all()
    others = [rng.noise(2, 2, 3, 100, 9), rng.noise(1, 3, 3, 100, 9), rng.noise(1, 2, 4, 100, 9)]
    assert all((x != drawn[:100, :9]).mean() > 0.99 for x in others)
    assert (rng.noise(1, 2, 3, 9, 9) != rng.noise(1, 2, 3, 9, 9).T)[~np.eye(9, dtype=bool)].mean() > 0.9


def test_dither_is_uniform_over_its_keys_and_along_rows() -> None:
    """A key moves all numbers round alike; of any 64 rows of a column a sixteenth of the range has its share."""
    first, rng_ = op("dither", one(0), rows=3000, cols=300), np.random.default_rng(4)
    assert first.min() >= 0 and first.max() < ONE
    for key in rng_.integers(0, ONE, 9):
        assert (op("dither", one(key), rows=3000, cols=300) == (first + key) % ONE).all()
    for row, col in zip(rng_.integers(0, 3000 - 64, 50), rng_.integers(0, 300, 50), strict=True):
        shares = np.bincount(first[row : row + 64, col] >> (FRACTION - 4), minlength=16)
        assert shares.min() >= 3 and shares.max() <= 5
    assert len(np.unique(first[0])) > 295, "columns differ"


def test_exponents_and_powers_of_two() -> None:
    for e in range(-126, 128):
        p = op("pow2", one(e), dtype="f32")[0, 0]
        assert Fraction(float(p)) == Fraction(2) ** e
        below, above = np.nextafter(p, np.float32(0)), np.nextafter(p, np.float32(np.inf))
        assert op("exponent", one(p, np.float32))[0, 0] == min(e + 1, 128)
        assert op("exponent", one(-above, np.float32))[0, 0] == min(e + 1, 128)
        assert op("exponent", one(below, np.float32))[0, 0] == max(e, -126)
    for x, e in ((0.0, -126), (-0.0, -126), (1e-45, -126), (np.inf, 129), (np.nan, 129)):
        assert op("exponent", one(x, np.float32))[0, 0] == e
    assert op("pow2", one(-200), dtype="f32")[0, 0] == 2.0**-126 and op("pow2", one(999), dtype="f32")[0, 0] == 2.0**127


def test_round_takes_the_nearest_and_of_two_the_even_one() -> None:
    x = np.array([[0.5, 1.5, -0.5, -2.5, 2.4999998, -0.0, 4194303.5, 1e9, -1e9, np.inf, -np.inf, np.nan]], np.float32)
    want = [0, 2, 0, -2, 2, 0, ROUNDABLE, ROUNDABLE, -ROUNDABLE, ROUNDABLE, -ROUNDABLE, -ROUNDABLE]
    assert op("round", x).tolist() == [want]


def test_shr_rounds_down() -> None:
    assert op("shr", np.array([[7, -7, -1, 2**31 - 1, -(2**31)]], np.int32), one(2)).tolist() == [
        [1, -2, -1, 2**29 - 1, -(2**29)]
    ]


# -- a network ---------------------------------------------------------------------------------------------------------
class Step(NamedTuple):
    program: Program
    values: Arrays
    new: Arrays

    def scale(self, name: str) -> Fraction:
        """What a stored gradient counts: the factor that it is multiplied with."""
        (other,) = {
            op.inputs[1]
            for op in self.program.ops
            if op.kind == "mul" and op.inputs[0] == name and self.program.value[op.inputs[1]].shape == (1, 1)
        }
        scale = Fraction(float(self.values[other][0, 0]))
        assert scale.numerator == 1 or scale.denominator == 1, "a power of two"
        return scale

    def exact(self, name: str) -> np.ndarray:
        return np.vectorize(lambda x: Fraction(float(x)), otypes=[object])(self.values[name])


@cache
def steps(rounding: str) -> list[Step]:
    """A few of a network whose gradients lie behind norms, behind none, and behind the loss."""
    text = spec((24, 40, 20, 7), rule=f"edge(gradient = i8, rounding = {rounding})", batch=30)
    planned = plan(text)
    program = planned.trace.results["differentiate"].train
    states, out = interp.init_states(program, 5), []
    for t in range(4):
        values, states = interp.step(program, {**states, **batch_of(planned, t)})
        out.append(Step(program, values, states))
    return out


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("layer", ["dense3", "dense2"])
def test_an_input_gradient_is_the_shifted_exact_sum(rounding: str, layer: str) -> None:
    for s in steps(rounding):
        dy = {"dense3": "dense3.dy8", "dense2": "batchnorm2.dy8"}[layer]
        signs = np.where(s.values[f"{layer}.weight"] >= 0, 1, -1).astype(int)
        sums = s.values[dy].astype(int) @ signs.T
        assert (s.values[f"{layer}.dx"] == sums).all()
        shift, dx = int(s.values[f"{layer}.shift"][0, 0]), s.values[f"{layer}.dx8"].astype(int)
        assert s.scale(f"{layer}.dx8") == s.scale(dy) * 2**shift
        uncut = abs(sums) < MOST << shift
        error = (dx * 2**shift - sums)[uncut]
        assert (abs(error) < 1 << shift).all() if rounding == "stochastic" else (2 * abs(error) <= 1 << shift).all()
        assert (dx[~uncut] == MOST * np.sign(sums[~uncut])).all() and abs(dx).max() <= MOST
        large = (abs(dx) >= 64).sum()
        change = int(large > dx.size // 1024 + 8) - int(large <= dx.size // 16384)
        assert s.new[f"{layer}.shift"][0, 0] == max(shift + change, 0)


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("layer", ["2", "1"])
def test_a_norm_passes_on_the_exact_gradient_to_a_step(rounding: str, layer: str) -> None:
    """dy = (g - mean g - q mean(g q)) / psi, in fractions: what is lost are fixed point's 15 bits and one rounding."""
    for s in steps(rounding):
        above = f"dense{int(layer) + 1}.dx8"
        g = np.where(s.values[f"sign{layer}.mask"], s.values[above], 0).astype(object) * s.scale(above)
        q, inv = s.values[f"batchnorm{layer}.q"].astype(object), s.exact(f"batchnorm{layer}.inv")
        rows = Fraction(len(g))
        want = inv * (g - g.sum(0) / rows - (g * q).sum(0) / rows * q)
        dy, scale = s.values[f"batchnorm{layer}.dy8"].astype(int), s.scale(f"batchnorm{layer}.dy8")
        cut = abs(dy) == MOST
        error = abs(dy * scale - want)[~cut].max() / scale
        assert error <= (1 if rounding == "stochastic" else Fraction(1, 2)) + Fraction(200, ONE)
        assert (dy[cut] * want[cut] / scale >= MOST * (MOST - 1)).all()
        assert abs(dy).max() <= MOST and abs(dy).mean() > 4 and cut.mean() < 0.01, "the range is used"


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
def test_the_losses_gradient_is_rounded_by_its_largest(rounding: str) -> None:
    for s in steps(rounding):
        want, dy, scale = s.exact("batchnorm3.dy"), s.values["dense3.dy8"].astype(int), s.scale("dense3.dy8")
        error = abs(dy * scale - want).max() / scale
        assert error <= (1 if rounding == "stochastic" else Fraction(1, 2)) + Fraction(1, ONE)
        assert MOST >= abs(dy).max() >= MOST // 2


def test_of_a_weights_gradient_the_exact_sign_is_left() -> None:
    for s in steps("stochastic"):
        x, dy = s.values["sign1.out"].astype(int), s.values["batchnorm2.dy8"].astype(int)
        assert (s.values["dense2.dw"] == x.T @ dy).all()
        assert (s.values["dense2.dw_sign"] == np.where(x.T @ dy >= 0, 1, -1)).all()
        pixels, dy = s.values["x"].astype(int), s.values["batchnorm1.dy8"].astype(int)
        assert (s.values["dense1.dw"] == pixels.T @ dy).all()
        real = (2 * pixels - 255).T @ dy
        assert (s.values["dense1.dw_sign"] == np.where(real >= 0, 1, -1))[abs(real) > 1].all()


IMAGES = """network net {
  input u8[62, 62, 3];
  conv 4; batchnorm; sign;
  conv 3 stride = 5; batchnorm; sign;
  flatten; dense 5; batchnorm;
  loss;
}
rule edge(gradient = i8);
train { batch = 20; optimizer = adam; }
"""


def test_sums_over_many_pixels_fit_without_bias() -> None:
    """255 * 127 * 72,000 would not fit 32 bits: entries are smaller, and right on average.  (Gradients of weights
    that lean to one side by a quarter of a step cost images five points of a hundred.)
    """
    planned = plan(IMAGES)
    program = planned.trace.results["differentiate"].train
    s = Step(program, interp.run(program, {**interp.init_states(program, 5), **batch_of(planned, 1)}), {})
    dy, rows = s.values["batchnorm1.dy8"].astype(int), 72_000
    most = (2**31 - 1) // (rows * 255)
    assert len(dy) == rows and most // 2 < abs(dy).max() <= most < MOST and program.value["conv1.dw"].dtype == "i32"
    g = np.where(s.values["sign1.mask"], s.values["conv2.dx8"], 0) * float(s.scale("conv2.dx8"))
    q, inv = s.values["batchnorm1.q"].astype(float), s.values["batchnorm1.inv"].astype(float)
    want = inv * (g - g.mean(0) - (g * q).mean(0) * q) / float(s.scale("batchnorm1.dy8"))
    error = (dy - want)[abs(dy) < most]
    assert abs(error).max() < 1.01 and abs(error.mean()) < 0.005
    pixels = 2 * s.values["x"].astype(int).reshape(20, 62, 62, 3) - 255
    for k, (up, along) in enumerate(((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2))):
        met = pixels[:, up : up + 60, along : along + 60].reshape(rows, 3)
        assert (s.values["conv1.dw"][3 * k : 3 * k + 3] == met.T @ dy).all()


def test_sums_that_would_not_fit_are_of_real_numbers() -> None:
    model = plan(spec((3, 4, 2), rule="edge(gradient = i8)")).model
    cx = make_context(model, new_program("train", None), True)
    b = cx.b
    x, dy, scale = b.input("x", (180_000, 1), "u8"), b.input("dy", (180_000, 1), "i8"), b.input("scale", (1, 1), "f32")
    right, also = for_weight(cx, x, dy, scale)
    assert right.dtype == "f32" and not also
    cx.sizes["dy"] = most = fitting(x, 180_000)
    assert most == 46 and for_weight(cx, x, dy, scale) == (dy, {"most": most})
    assert b.op("contract", x, dy, form="tn", most=most).dtype == "i32"
    few = b.input("few", (60, 1), "bit"), b.input("few_dy", (60, 1), "i8")
    assert for_weight(cx, *few, scale) == (few[1], {"most": MOST})
