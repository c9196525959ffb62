"""Updates in whole numbers: latent weights and first moments of 8 bits (`state = i8`), rounded stochastically.

    latent weight   q = -128 .. 127 stands for (q + 1/2) clip_at / 512: no value is 0, so sgn(q) is the weight's sign
                    and both signs are alike; it ends at a quarter of clip_at
    first moment    q = -127 .. 127 stands for q c / 127; 0 at the start.  A gradient is +-c, so an average of them
                    never leaves [-c, c].  One that is only compared with a threshold may have smaller steps, and ends
                    at 127 of them
    rounding        a new value is exact in 2**-15 of a step, x; it is stored as floor(x + u), u = 0 .. 2**15 - 1 of
                    these, whose expectation is x: what is less than a step is seen as a chance
    u               a function of (seed, step, weight, element), so the order of elements is nobody's business; the
                    weight and its moment share it
    gamma           (1 - beta1, 1 - momentum, or Bop's own) in units of 2**-15
    rate            the scalar that a weight's step is computed with has 15 significant bits and an exponent, both new
                    in each step: a decaying rate loses nothing

A moment is used before it is rounded, so that its first steps count as they would in real numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..ir.fixed import FRACTION
from ..ir.program import T
from ..lower.context import Context, latent_step
from ..lower.whole import MOST
from ..model import Model
from ..registry import numerics_of
from ..rules.base import Complaint

ONE = 1 << FRACTION  # a step of a state, in the units that new values are computed in


def wanted(model: Model) -> bool:
    """Are latent weights and moments whole numbers?"""
    return dict(numerics_of(model.rule).args).get("state") == "i8"


def refused(model: Model) -> Iterable[Complaint]:
    """What an optimiser without whole numbers says of them."""
    if wanted(model):
        name = model.optimizer.name
        yield "", f"`state = i8` has no `{name}`", "write `adam(v = elide)`, `sgd` or `bop`, or leave `state` out"


def complaints(model: Model, decay: str, gamma: float) -> Iterable[Complaint]:
    """What no moment of whole numbers can do; ``decay``: the argument that ``gamma`` follows from."""
    if wanted(model) and rounded(gamma) < 1:
        message = f"`{decay}` makes a moment follow gradients by {gamma:.2g}: less than the 2^-15 of `state = i8`"
        yield "", message, f"choose a `{decay}` that makes it {1 / ONE:.2g} or more, or write `state = f16`"


def rounded(share: float) -> int:
    """A share in the units of new values."""
    return int(share * ONE + 0.5)


def rate_of(cx: Context, rate: T) -> dict[str, T]:
    """``rate`` (f32 [1, 1]), what a latent weight moves by where the moment is at its end, as whole numbers: ``factor``
    / 2**(``by`` + 1) of the weight's units for each 2**-8 of a moment's step.
    """
    x = rate * (128.0 / MOST / latent_step(cx.numerics))
    by = (14 - cx.b.op("exponent", x)).clip(0, 29).named("rate_by")
    factor = cx.b.op("round", x * cx.b.op("pow2", by + 1)).clip(0, 32768)
    return {"factor": factor.named("rate_factor"), "by": by}


def noise(cx: Context, w: T) -> T:
    """Of each element of a weight."""
    return cx.noise(w.shape, cx.update_stream(w))


def moment(cx: Context, w: T, suffix: str, g: T, u: T, gamma: float, steps: float = MOST) -> T:
    """Moves the moment of ``w`` [its shape], of which c is ``steps`` steps, by ``gamma`` towards the gradient's signs
    ``g``; its new value, in units of 2**-15 steps, before the noise ``u`` rounds it.
    """
    m = cx.b.state(f"{w.name}.{suffix}", w.shape, "i8", "moment")
    new = m * (ONE - rounded(gamma)) + g * (MOST * rounded(gamma) if steps == MOST else rounded(gamma * steps))
    new = new.named(f"{suffix}_exact")
    stored = (new + u).shr(FRACTION)
    stored = stored.clip(-MOST, MOST) if steps > MOST else stored
    cx.b.update(m, stored.to("i8").named(f"weight_{suffix}_new"))
    return new


def descend(cx: Context, w: T, new: T, u: T, rate: dict[str, T]) -> None:
    """Moves the latent weights ``w`` against a moment, as :func:`moment` gives it where c is 127 steps."""
    step = ((rate["factor"] * (new + 64).shr(7)).shr(rate["by"]) + 1).shr(1).named("weight_step")
    moved = (w * ONE - step + u).shr(FRACTION)
    cx.b.update(w, moved.clip(-128, 127).to("i8").named("weight_new"))
