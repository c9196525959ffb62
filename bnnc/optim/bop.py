"""Bop, the binary optimiser: no latent weight, a bit flips when its momentum agrees with it.

With a 1-bit gradient tau is a share of what the momentum can reach.  The momentum decides before it is rounded to its
storage.  With the default numbers gamma**2 is tau: gradients +c, -c leave a momentum at the threshold, and how f16
rounds gamma c says whether the weight flips.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..ir.program import T
from ..lower.context import Context
from ..model import Call, Model
from ..registry import About, Named, Param, optimizers
from ..rules.base import Complaint
from . import adam, whole
from .base import Optimizer, advance, moment

ADAM = Call("adam", (("lr", 1e-2), ("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8), ("decay", 0.0), ("v", "keep")))


def update(cx: Context, w: T, role: str, g: T, unit: float | None, s: dict[str, T]) -> None:
    """A weight of bits flips where its momentum agrees with it; anything else follows Adam."""
    if role != "weight":
        adam.update(cx, w, role, g, unit, s, ADAM)
        return
    gamma, tau = cx.opt_args["gamma"], cx.opt_args["tau"] * (unit or 1.0)
    if whole.wanted(cx.model):
        m = whole.moment(cx, w, "m", g, whole.noise(cx, w), gamma, steps(cx.opt_args))
        flips = (w * m) >= math.ceil(min(cx.opt_args["tau"], 1.01) * steps(cx.opt_args) * whole.ONE)
        cx.b.update(w, flips.where(-w, w).sign().named("weight_new"))
        return
    m = moment(cx, w, "m")
    m2 = advance(cx, m, m * (1.0 - gamma) + g * gamma)
    cx.b.update(w, ((w * m2) >= tau).where(-w, w).sign().named("weight_new"))


def steps(args: Call) -> float:
    """Of a momentum of whole numbers, how many c is: a gradient counts one, unless the threshold is then beyond 100;
    the momentum ends at 127.  So only its decay is rounded, which is less than a gradient's part.
    """
    gamma, tau = args["gamma"], args["tau"]
    return max(float(whole.MOST), 1 / gamma if tau <= 100 * gamma else 100 / tau)


def validate(model: Model) -> Iterable[Complaint]:
    """A momentum of whole numbers must decay."""
    return whole.complaints(model, "gamma", model.optimizer["gamma"])


optimizers.add(
    Named(
        "bop",
        "binary optimiser: one bit and a momentum a weight, none latent",
        (
            Param("tau", "float", 1e-6, "threshold, in units of the gradient's size", minimum=0, positional=True),
            Param(
                "gamma",
                "float",
                1e-3,
                "how fast the momentum follows the gradient",
                above=0,
                maximum=1,
                positional=True,
            ),
            Param("lr", "float", 1e-2, "learning rate of what is not a binary weight (Adam)", above=0),
        ),
        Optimizer(
            update=update,
            scalars=lambda cx: adam.scalars(cx, ADAM),
            weight_dtype=lambda args, state: "bit",
            validate=validate,
            work=5,
        ),
        About(
            formula="m <- (1 - gamma) m + gamma g;  w <- -w where w m >= tau c\n"
            "c = 1 / sqrt(fan-in) where g is one bit (+-c), else 1\n"
            "what is no binary weight follows adam(lr)",
            source="1906.02107, Algorithm 1",
            takes="the gradient g of each weight and parameter",
            gives="a new w; kept for each binary weight: one bit and m",
            example="network tiny { input u8[9]; dense 8; batchnorm; sign; dense 4; batchnorm; loss; }\n"
            "rule edge;\ntrain { optimizer = bop(tau = 1e-6, gamma = 1e-3); batch = 50; }\n",
        ),
    )
)
