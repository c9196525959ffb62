"""standard: binary-network training with real-valued gradients (Courbariaux & Bengio 1602.02830; Wang et al. Algorithm
1).
"""

from __future__ import annotations

from ..ir.program import T
from ..lower.context import Context
from ..papers.gates import real_gradients
from ..papers.published import low_memory
from ..registry import About, Named, Param, rules
from .base import CLIP_AT, Rule, cancel


def on_wgrad(cx: Context, w: T, dw: T, fan_in: int) -> tuple[T, float | None]:
    """dW [fan_in, fan_out] in f32, 0 where it is cancelled; no one size."""
    return cancel(cx, w, dw), None


STANDARD = Rule(
    on_wgrad=on_wgrad,
    layer_defaults={("batchnorm", "kind"): "l2", ("sign", "surrogate"): "ste"},
    gates=real_gradients,
    published=low_memory,
)
rules.add(
    Named(
        "standard",
        "back-propagation with real gradients and f32 state",
        (
            Param("state", "name", "f32", "storage of weights and optimiser state", ("f32", "f16")),
            Param(
                "clip",
                "bool",
                True,
                "clip latent weights to [-1, 1] after each update; off: cancel gradients out there",
            ),
            CLIP_AT,
        ),
        STANDARD,
        About(
            formula="X^ = sgn(z),  W^ = sgn(W);  gradients in f32, straight through the signs\n"
            "clip = on    W <- the optimiser's new W, within [-clip_at, clip_at]\n"
            "clip = off   dW = 0 where |W| > clip_at",
            source="1602.02830, Algorithm 1; 2102.04270, Algorithm 1",
            example="network tiny { input u8[9]; dense 8; batchnorm; sign; dense 4; batchnorm; loss; }\n"
            "rule standard(clip = off);\n",
        ),
    )
)
