"""Adam.

v is stored as its square root: an f16 v would underflow for 1-bit gradients (spec of the low-memory rule, section 4.1).
``v = elide`` keeps no second moment for 1-bit gradients: every entry is +-c, so v^ is c^2 exactly unless a weight's
gradient was cancelled, and the step is lr/(1-b1^t) m/c.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..ir.program import T
from ..lower.context import Context
from ..model import Call, Model
from ..registry import About, Named, Param, optimizers
from ..rules.base import Complaint
from . import whole
from .base import DECAY, Optimizer, advance, decayed, moment, store


def scalars(cx: Context, args: Call | None = None) -> dict[str, T]:
    """[1, 1]: ``rate`` = lr / (1 - b1^t) and ``root`` = 1 / sqrt(1 - b2^t); the rate in whole numbers, where weights
    are.
    """
    args = args or cx.opt_args
    t, lr = cx.b["step"], cx.b["lr"]
    rate = (lr / (1.0 - cx.b.op("powi", args["beta1"], t))).named("rate")
    root = (1.0 / (1.0 - cx.b.op("powi", args["beta2"], t)).sqrt()).named("root")
    return {"rate": rate, "root": root, **(whole.rate_of(cx, rate) if whole.wanted(cx.model) else {})}


def update(cx: Context, w: T, role: str, g: T, unit: float | None, s: dict[str, T], args: Call | None = None) -> None:
    """w, m and, unless elided, the root of v: each of the shape of g, stored in the rule's state dtype."""
    args = args or cx.opt_args
    b1, b2 = args["beta1"], args["beta2"]
    if w.dtype == "i8":
        u = whole.noise(cx, w)
        whole.descend(cx, w, whole.moment(cx, w, "m", g, u, 1.0 - b1), u, s)
        return
    g = decayed(cx, w, g, args["decay"])
    m = moment(cx, w, "m")
    m2 = advance(cx, m, m * b1 + g * (1.0 - b1))
    if args["v"] == "elide" and unit is not None:
        store(cx, w, w - (s["rate"] * (1.0 / unit)).named("rate_c") * m2, role)
        return
    r = moment(cx, w, "v_sqrt")
    r2 = advance(cx, r, ((r * r) * b2 + (g * g) * (1.0 - b2)).sqrt())
    store(cx, w, w - (s["rate"] * m2) / (r2 * s["root"] + args["eps"]), role)


def validate(model: Model) -> Iterable[Complaint]:
    """With a decay no gradient has one size; in whole numbers there is no second moment."""
    args = model.optimizer
    if args["decay"] and args["v"] == "elide":
        yield "", "`v = elide` needs gradients of one size, and `decay` adds to them", "leave one of the two out"
    if whole.wanted(model) and args["v"] == "keep":
        message = "`state = i8` has no second moment, but `v = keep` asks for one"
        yield "", message, "write `adam(v = elide)`: the gradients of binary weights are one bit"
    yield from whole.complaints(model, "beta1", 1.0 - args["beta1"])


PARAMS = (
    Param("lr", "float", 1e-3, "learning rate", above=0, positional=True),
    Param("beta1", "float", 0.9, "decay of the first moment", minimum=0, maximum=0.999999),
    Param("beta2", "float", 0.999, "decay of the second moment", minimum=0, maximum=0.999999),
    Param("eps", "float", 1e-8, "added to the root of the second moment", minimum=0),
    DECAY,
    Param("v", "name", "keep", "elide: no second moment where the gradient is one bit", ("keep", "elide")),
)
optimizers.add(
    Named(
        "adam",
        "Adam; `v = elide` drops the second moment of 1-bit gradients",
        PARAMS,
        Optimizer(update=update, scalars=scalars, validate=validate, work=14),
        About(
            formula="m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2\n"
            "w <- w - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)\n"
            "decay   g + decay w in place of g, for the weights of a layer\n"
            "v = elide, where g is +-c:  w <- w - lr / (1 - b1^t) m / c",
            source="1412.6980, Algorithm 1",
            takes="the gradient g of each weight and parameter, in step t = 1, 2, ...",
            gives="a new w; kept for each: m, and the root of v",
            example="network tiny { input u8[9]; dense 8; batchnorm; sign; dense 4; batchnorm; loss; }\n"
            "rule edge;\ntrain { optimizer = adam(lr = 3e-3, v = elide); }\n",
        ),
    )
)
