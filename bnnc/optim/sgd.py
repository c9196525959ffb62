"""SGD with momentum in Keras's form.

In whole numbers (`state = i8`) the momentum is kept as an average of gradients, (1 - momentum) / lr of Keras's: the
same steps as long as lr is, and where lr changes the whole momentum follows it at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..ir.program import T
from ..lower.context import Context
from ..model import Model
from ..registry import About, Named, Param, optimizers
from ..rules.base import Complaint
from . import whole
from .base import DECAY, Optimizer, advance, decayed, moment, store


def update(cx: Context, w: T, role: str, g: T, unit: float | None, s: dict[str, T]) -> None:
    """w and, with momentum, u: of the shape of g, stored in the rule's state dtype."""
    lr, momentum = cx.b["lr"], cx.opt_args["momentum"]
    if w.dtype == "i8" and unit is not None:
        u = whole.noise(cx, w)
        m = whole.moment(cx, w, "u", g, u, 1.0 - momentum) if momentum else g * (whole.MOST * whole.ONE)
        whole.descend(cx, w, m, u, whole.rate_of(cx, (lr * (unit / (1.0 - momentum))).named("rate")))
        return
    g = decayed(cx, w, g, cx.opt_args["decay"])
    if momentum == 0.0:
        store(cx, w, w - lr * g, role)
        return
    u = moment(cx, w, "u")
    u2 = advance(cx, u, u * momentum - lr * g)
    store(cx, w, w + u2, role)


def validate(model: Model) -> Iterable[Complaint]:
    """In whole numbers there is no decay."""
    if whole.wanted(model) and model.optimizer["decay"]:
        message = "`decay` adds real numbers to gradients, which are one bit where `state = i8`"
        yield "", message, "leave `decay` out, or write `state = f16`"
    yield from whole.complaints(model, "momentum", 1.0 - model.optimizer["momentum"])


optimizers.add(
    Named(
        "sgd",
        "stochastic gradient descent with momentum",
        (
            Param("lr", "float", 0.1, "learning rate", above=0, positional=True),
            Param("momentum", "float", 0.9, "0 keeps no state", minimum=0, maximum=0.999999, positional=True),
            DECAY,
        ),
        Optimizer(update=update, validate=validate),
        About(
            formula="u <- momentum u - lr g;  w <- w + u\n"
            "decay   g + decay w in place of g, for the weights of a layer\n"
            "state = i8:  m <- momentum m + (1 - momentum) g\n"
            "             w <- w - lr / (1 - momentum) m",
            source="Keras's SGD, without Nesterov",
            takes="the gradient g of each weight and parameter",
            gives="a new w; kept for each: u, unless momentum is 0",
            example="network tiny { input u8[9]; dense 8; batchnorm; sign; dense 4; batchnorm; loss; }\n"
            "train { optimizer = sgd(lr = 0.1, momentum = 0.9); }\n",
        ),
    )
)
