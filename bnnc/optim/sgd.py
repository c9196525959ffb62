"""SGD with momentum in Keras's form."""

from __future__ import annotations

from ..ir.program import T
from ..lower.context import Context
from ..registry import About, Named, Param, optimizers
from .base import DECAY, Optimizer, advance, decayed, moment, store


def update(cx: Context, w: T, role: str, g: T, unit: float | None, s: dict[str, T]) -> None:
    """w and, with momentum, u: of the shape of g, stored in the rule's state dtype."""
    lr, momentum = cx.b["lr"], cx.opt_args["momentum"]
    g = decayed(cx, w, g, cx.opt_args["decay"])
    if momentum == 0.0:
        store(cx, w, w - lr * g, role)
        return
    u = moment(cx, w, "u")
    u2 = advance(cx, u, u * momentum - lr * g)
    store(cx, w, w + u2, role)


optimizers.add(
    Named(
        "sgd",
        "stochastic gradient descent with momentum",
        (
            Param("lr", "float", 0.1, "learning rate", above=0, positional=True),
            Param("momentum", "float", 0.9, "0 keeps no state", minimum=0, maximum=0.999999, positional=True),
            DECAY,
        ),
        Optimizer(update=update),
        About(
            formula="u <- momentum u - lr g;  w <- w + u\n"
            "decay   g + decay w in place of g, for the weights of a layer",
            source="Keras's SGD, without Nesterov",
            takes="the gradient g of each weight and parameter",
            gives="a new w; kept for each: u, unless momentum is 0",
            example="network tiny { input u8[9]; dense 8; batchnorm; sign; dense 4; batchnorm; loss; }\n"
            "train { optimizer = sgd(lr = 0.1, momentum = 0.9); }\n",
        ),
    )
)
