"""Gradients in whole numbers: an i8 matrix times one power of two.

Which matrices exist in memory, and what each is made of, for ``dense; batchnorm bnn; sign`` between two others:

    dX8   what a product leaves, shifted: (dY8' W'^T + u) >> s, u in 0 .. 2**s - 1; its scale is that of dY8' times 2**s
    dY8   what batch norm leaves: (k_c dX8 - c_c - d_c q + u) >> 15, of three whole numbers a channel
    dW    X^T dY8, of which only the sign leaves the kernel

The sums are exact, so their order is no part of their meaning.  All that batch norm asks of a channel are two sums and
a maximum of whole numbers; from these it finds the power of two that brings its result to 8 bits, and k, c and d.

Gradients have long tails.  Were the largest of millions to fit, most would be 0 or 1, and the sign of a weight's
gradient, a sum of many, would be that of their rounding; where few samples are left to learn from, the largest are all
there is.  So the largest of some thousands fit, and the few that are larger are cut off:

- How far a product is shifted must be known before its first result is stored.  So it is a state, and follows how many
  results of the step before were large (64 and more): more than 1 in 1,024 (and 8) make it grow by 1, not 1 in 16,384
  make it fall.  It starts where signs that know nothing of each other would bring it.
- Behind a norm the mean of what the channels may reach fits.

What is added before a cut is no random number of each element but a lattice over the matrix, moved by a random key for
each matrix and step: right on average over the keys, spread evenly along rows, over which a weight's gradient adds up,
and an addition instead of ten rounds of multiplications (``rng.dither``; its signs are as often right).

Only signs of weights' gradients leave, so what leans to one side, however little, is all that a sum over many rows
shows.  So nothing is rounded twice: where a sum of bytes times 8 bits over all pixels would not fit 32 bits, dY8 has
fewer bits from the start (``fitting``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..ir.fixed import FRACTION
from ..ir.image import geometry
from ..ir.program import Op, T
from ..rng import ROUNDING

if TYPE_CHECKING:
    from .context import Context

MOST = 127  # the largest size of an entry
BITS = 7  # of a size


def _noise(cx: Context, x: T) -> T | int:
    """What is added to units of 2**-FRACTION [rows, cols] before they are cut off."""
    if cx.rule.rounding(cx) == "nearest":
        return 1 << (FRACTION - 1)
    number = sum(op.kind == "dither" for op in cx.b.ops)
    rows, cols = x.shape
    return cx.b.op("dither", cx.noise((1, 1), ROUNDING[number], "key"), rows=rows, cols=cols)


def _cut(x: T, shift: T | int, name: str, most: int = MOST) -> T:
    """x [rows, cols] shifted down, as i8 of at most this size."""
    return x.b.op("shr", x, shift).clip(-most, most).to("i8").named(name)


def product_of(cx: Context, g: T) -> Op | None:
    """The product of whole numbers that a gradient is a scale times, if it is one."""
    if g.name not in cx.factors:
        return None
    whole, _ = cx.factors[g.name]
    op = next(op for op in reversed(cx.b.ops) if op.output == whole.name)
    return op if op.kind in ("contract", "convolve_back") else None


def _terms(cx: Context, product: Op) -> int:
    """Of a sum of an input's gradient."""
    attrs, columns = dict(product.attrs), cx.b[product.inputs[0]].shape[1]
    return columns // attrs["groups"] * geometry(attrs).positions if "geometry" in attrs else columns


def shifted(cx: Context, x: T, product: Op) -> T:
    """What a product of whole numbers leaves [rows, cols], as it is stored."""
    b, (whole, scale) = cx.b, cx.factors[x.name]
    first = float(round(math.log2(_terms(cx, product)) / 2))
    state = b.state(f"{b.layer}.shift", (1, 1), "f32", "moment", "const", first)
    with b.behind(product.inputs[0]):  # it is there before the product is
        shift = b.op("round", state, name="shift_now")
        rest = FRACTION - shift
    dx = _cut(whole + b.op("shr", _noise(cx, whole), rest), shift, "dx8")
    large, n = b.op("shr", dx.abs(), BITS - 1).sum(0).sum(1).named("dx_large"), x.shape[0] * x.shape[1]
    step = (large >= n // 1024 + 9).where(1, (large <= n // 16384).where(-1, 0))
    grown = (shift + step).clip(0, FRACTION)
    phase, b.phase = b.phase, "update"
    b.update(state, grown.to("f32").named("shift_new"))
    b.phase = phase
    return cx.times(dx, scale * b.op("pow2", shift))


def _down(cx: Context, size: T, most: int = MOST) -> T:
    """The least e that brings numbers of at most this size [1, 1] to at most ``most`` when they are divided by 2**e."""
    bits = most.bit_length()
    return cx.b.op("exponent", size * (2.0**bits / most)) - bits


def _up(cx: Context, e: T) -> T:
    """The factor that makes units of 2**-FRACTION of what 2**e divides."""
    return cx.b.op("pow2", FRACTION - e)


def rounded(cx: Context, x: T) -> T:
    """Real numbers [rows, cols] as whole ones times a power of two, by their largest size."""
    e = _down(cx, x.abs().max(0).max(1).named("dy_most"))
    units = cx.b.op("round", x * _up(cx, e))
    return cx.times(_cut(units + _noise(cx, x), FRACTION, "dy8"), cx.b.op("pow2", e))


def fitting(x: T, rows: int) -> int:
    """The largest size of whole numbers [rows, ..] whose products with x, summed over rows, fit 32 bits."""
    return min(MOST, (2**31 - 1) // (rows * (255 if x.dtype == "u8" else 1)))


def centred(cx: Context, g: T, q: T, factor: T, most: int = MOST) -> T:
    """``f (g - mean of g - q mean of g q)`` of whole numbers g times a scale [rows, cols], of the signs q, with a
    factor f for each channel; rounded to whole numbers times another scale, and cut off where they leave +-``most``.
    """
    b, (whole, scale) = cx.b, cx.factors[g.name]
    rows = float(whole.shape[0])
    mean, along = (whole.sum(0) / rows).named("mean_w"), ((whole * q).sum(0) / rows).named("mean_wq")
    top = whole.abs().max(0)
    size = (factor.abs() * (top + mean.abs() + along.abs())).mean(1).named("dy_most")
    e = _down(cx, size, most)
    up = factor * _up(cx, e)
    k, c, d = (b.op("round", x, name=n) for x, n in ((up, "k"), (up * mean, "c"), (up * along, "d")))
    units = whole * k - c - d * q
    dy = _cut(units + _noise(cx, units), FRACTION, "dy8", most)
    cx.sizes[dy.name] = most
    return cx.times(dy, scale * b.op("pow2", e))


def operand(cx: Context, dy: T) -> tuple[T, T | None]:
    """A gradient as products read it: with floats as it is, else whole numbers of 8 bits and their scale."""
    if not cx.rule.rounding(cx):
        return dy, None
    whole, scale = cx.factors[(dy if dy.name in cx.factors else rounded(cx, dy)).name]
    return whole.to("i8"), scale


def limits(cx: Context, dy: T, scale: T | None) -> dict[str, int]:
    """The attributes of a product that reads dy, whole numbers of this scale: their largest size."""
    return {} if scale is None else {"most": cx.sizes.get(dy.name, MOST)}


def for_weight(cx: Context, x: T, dy: T, scale: T | None) -> tuple[T, dict[str, int]]:
    """What a weight's gradient reads beside x [rows, ..]: the operand ``dy``, attributes of the product.  Whole numbers
    are read as real ones where x is real, or the sums over all rows would not fit 32 bits.
    """
    also = limits(cx, dy, scale)
    if scale is None or (x.dtype in ("bit", "u8") and also["most"] <= fitting(x, dy.shape[0])):
        return dy, also
    return dy.to("f32"), {}
