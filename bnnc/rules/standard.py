"""standard: binary-network training with real-valued gradients (Courbariaux & Bengio 1602.02830; Wang et al. Algorithm
1).
"""

from __future__ import annotations

from typing import Any

from ..gates import real_gradients
from ..ir.program import T
from ..registry import Named, Param, rules
from .base import CLIP_AT, Rule, cancel


def on_wgrad(cx: Any, w: T, dw: T, fan_in: int) -> tuple[T, float | None]:
    return cancel(cx, w, dw), None


rules.add(
    Named(
        "standard",
        "back-propagation with real gradients, l2 batch norm and f32 state",
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
        Rule(
            on_wgrad, layer_defaults={("batchnorm", "kind"): "l2", ("sign", "surrogate"): "ste"}, gates=real_gradients
        ),
    )
)
