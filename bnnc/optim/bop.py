"""Bop, the binary optimiser (Helwegen et al. 1906.02107): no latent weight, a bit flips when its momentum agrees with
it.

m <- (1 - gamma) m + gamma g;  flip w where w m >= tau c
c is the gradient's size: 1/sqrt(fan-in) for a 1-bit gradient (so tau is a share of what m can reach), 1 otherwise.
The momentum decides before it is rounded to its storage.  With the default numbers gamma**2 is tau: gradients +c, -c
leave a momentum at the threshold, and how f16 rounds gamma c says whether the weight flips.
Everything that is not a binary weight is trained by Adam.
"""

from __future__ import annotations

from typing import Any

from ..ir.program import T
from ..model import Call
from ..registry import Named, Param, optimizers
from . import adam
from .base import Optimizer, advance, moment

ADAM = Call("adam", (("lr", 1e-2), ("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8), ("v", "keep")))


def update(cx: Any, w: T, role: str, g: T, unit: float | None, s: dict[str, T]) -> None:
    if role != "weight":
        adam.update(cx, w, role, g, unit, s, ADAM)
        return
    gamma, tau = cx.opt_args["gamma"], cx.opt_args["tau"] * (unit or 1.0)
    m = moment(cx, w, "m")
    m2 = advance(cx, m, m * (1.0 - gamma) + g * gamma)
    cx.b.update(w, ((w * m2) >= tau).where(-w, w).sign().named("weight_new"))


optimizers.add(
    Named(
        "bop",
        "the binary optimiser: one bit per weight and a momentum, no latent weights",
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
        Optimizer(update, lambda cx: adam.scalars(cx, ADAM), lambda args, state: "bit", work=5),
    )
)
