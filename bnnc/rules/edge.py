"""edge: low-memory training (Wang et al. 2102.04270, Algorithm 2).

Only bits cross from forward to backward, and in f16 what layers with real weights read.  With ``gradient = i8`` what
products leave and read on the way back are whole numbers of 8 bits (``lower/whole.py``).  The loss gradient is a batch
sum, not a mean, so that small f16 gradients do not underflow; only the sign of dW is used, and beta divides the factor
out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..ir.program import T
from ..lower.context import Context
from ..lower.whole import product_of, shifted
from ..model import Model
from ..papers.gates import real_gradients
from ..papers.published import low_memory
from ..registry import About, Named, Param, numerics_of, rules
from .base import CLIP_AT, Complaint, Rule, cancel


def on_grad(cx: Context, g: T) -> T:
    """The gradient of a layer's output [rows, cols] as it is stored: f16; of whole numbers i8, times a scale."""
    if product := product_of(cx, g):
        return shifted(cx, g, product)
    return g if g.dtype == "f16" else g.to("f16").named("dx_f16")


def on_value(cx: Context, v: T) -> T:
    """A real value as it is stored: f16; bits stay."""
    return v if v.dtype == "bit" else v.to("f16")


def rounding(cx: Context) -> str:
    """How gradients become whole numbers; empty: they are f16."""
    args = cx.numerics
    return str(args["rounding"]) if args["gradient"] == "i8" else ""


def on_wgrad(cx: Context, w: T, dw: T, fan_in: int) -> tuple[T, float | None]:
    """sgn(dW) / sqrt(fan-in) [fan_in, fan_out], and that size; for states of whole numbers the signs alone, as bits."""
    unit = 1.0 / math.sqrt(fan_in)
    dw, _ = cx.factors.get(dw.name, (dw, None))
    if cx.numerics["state"] == "i8":
        return dw.sign().named("dw_sign"), unit
    return cancel(cx, w, dw.sign().named("dw_sign") * unit), unit


def validate(model: Model) -> Iterable[Complaint]:
    """Latent weights of whole numbers end somewhere."""
    args = numerics_of(model.rule)
    if args["state"] == "i8" and not args["clip"]:
        message = "`clip = off` lets latent weights grow, but those of `state = i8` have an end"
        yield "", message, "leave `clip` out, or write `state = f16`"


rules.add(
    Named(
        "edge",
        "low memory: bits kept, f16 storage, 1-bit weight gradients",
        (
            Param(
                "state",
                "name",
                "f16",
                "storage of weights and optimiser state; i8: of binary weights and their first moment, all else f16",
                ("f16", "f32", "i8"),
            ),
            Param(
                "clip",
                "bool",
                True,
                "clip latent weights to [-1, 1] after each update; off: cancel gradients out there",
            ),
            CLIP_AT,
            Param(
                "gradient",
                "name",
                "f16",
                "activation gradients: f16, or whole numbers of 8 bits, whose products are exact",
                ("f16", "i8"),
            ),
            Param(
                "rounding",
                "name",
                "stochastic",
                "how i8 gradients are rounded: at random, right on average, or to the nearest (which"
                " learns less from images)",
                ("stochastic", "nearest"),
            ),
        ),
        Rule(
            on_wgrad=on_wgrad,
            on_grad=on_grad,
            rounding=rounding,
            loss_scale=lambda batch: float(batch),
            layer_defaults={("batchnorm", "kind"): "bnn", ("sign", "surrogate"): "ste"},
            keep=("bit", "bool"),
            gates=real_gradients,
            published=low_memory,
            on_value=on_value,
            validate=validate,
        ),
        About(
            formula="dW^ = sgn(dW) / sqrt(fan-in)            the weight gradient is one bit\n"
            "dX in f16; weights and optimiser state in `state`\n"
            "batch norm keeps sgn(a) in place of a   (batchnorm bnn)\n"
            "gradient = i8   dX, dY: whole numbers up to 127 times 2^e; products are exact\n"
            "                e of dX follows the step before, where at most 1 in 1024\n"
            "                is 64 and more; what is larger than 127 is cut off\n"
            "                (in front of data in bytes: what sums in 32 bits hold)\n"
            "                sums of branches, overlapping pools, real weights: f16\n"
            "state = i8: a latent weight is (q + 1/2) clip_at / 512, q = -128 .. 127,\n"
            "its first moment q c / 127, c = 1 / sqrt(fan-in), both rounded at random",
            source="2102.04270, Algorithm 2: lines 10-13, 16, 18",
            example="network tiny { input u8[9]; dense 8; batchnorm; sign; dense 4; batchnorm; loss; }\n"
            "rule edge;\ntrain { optimizer = adam(lr = 3e-3, v = elide); }\n",
        ),
    )
)
