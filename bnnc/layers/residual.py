"""residual: x + body(x) on a real-valued stream; gradients of the two branches add."""

from __future__ import annotations

from typing import Any

from ..ir.program import T
from ..model import Call, Layer, TensorType
from ..registry import LayerDef, ShapeError, layers


def _infer(t: TensorType, args: Call, body: TensorType | None = None) -> TensorType:
    if body is not None and body.shape != t.shape:
        raise ShapeError("B0305", f"residual adds its input {t} to its body's output {body}", "shapes differ",
                         f"make the body end with {list(t.shape)}")
    if body is not None and body.kind == "bit":
        raise ShapeError("B0306", "a residual body must end in a real value, not in bits", "ends in bits",
                         "move `sign;` to the start of the body")
    return TensorType("real", t.shape)


def forward(cx: Any, layer: Layer, x: T) -> T:
    from ..lower.expand import layer_forward  # noqa: PLC0415

    y = x
    for inner in layer.body:
        y = layer_forward(cx, inner, y)
    cx.b.layer, cx.b.span = layer.name, layer.span
    cx.saved = {"body": y.name}
    return (cx.real(x) + y).named("out")


def backward(cx: Any, region: Any, g: T, wanted: bool) -> T | None:
    cx.grads.setdefault(dict(region.saved)["body"], []).append(g)
    return g


layers.add(LayerDef("residual", "adds its input to what its body makes of it", (), _infer, forward, backward, role="container"))
