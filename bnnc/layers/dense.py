"""dense: a fully connected layer with binary weights.

forward   W^ = sgn(W);  Y = X W^                                    (Wang et al. 2102.04270, Algorithms 1-2, lines 3-4)
backward  dX = dY W^^T (line 14);  dW = X^T dY (line 15), straight through the sign of the weights
A u8 input stays u8: with x = a u + b,  X W^ = a (U W^) + b colsum(W^), and the integer product is exact.
"""

from __future__ import annotations

from typing import Any

from ..ir.program import T
from ..model import Call, Layer, TensorType
from ..registry import LayerDef, Param, layers


def _infer(t: TensorType, args: Call, body: Any = None) -> TensorType:
    return TensorType("real", (args["units"],))


def forward(cx: Any, layer: Layer, x: T) -> T:
    w = cx.weight(layer.name, x.shape[1], layer["units"])
    wb = w.sign() if w.dtype == "bit" else w.sign().named("wb")
    y = cx.b.op("contract", x, wb, form="nn", name="y")
    if x.name in cx.affine:
        scale, shift = cx.static["affine"] = cx.affine[x.name]
        ones = (wb.sum(0).named("colsum") * shift).named("shifted")
        y = (y * scale + ones).named("yr")
    return y


def backward(cx: Any, region: Any, dy: T, wanted: bool) -> T | None:
    """dX [batch, fan_in] through the rule's ``on_grad``; dW [fan_in, fan_out] through its ``on_wgrad``."""
    name = region.layer.name
    x, w = cx.b[region.inputs[0]], cx.b[f"{name}.weight"]
    dx = None
    if wanted:
        wb = w.sign() if w.dtype == "bit" else w.sign().named("wb_back")
        dx = cx.rule.on_grad(cx, cx.b.op("contract", dy, wb, form="nt", name="dx"))
    affine = dict(region.static).get("affine")
    ones = dy.sum(0) * affine[1] if affine else None  # the gradient through the input's shift
    dw = cx.b.op("contract", x, dy, form="tn", name="dw")
    if affine:
        dw = dw * affine[0] + ones
    cx.wgrad(w.name, *cx.rule.on_wgrad(cx, w, dw, w.shape[0]))
    return dx


layers.add(LayerDef(
    "dense", "fully connected layer with binary weights and no bias",
    (Param("units", "int", doc="number of outputs", minimum=1, maximum=1 << 20, positional=True),),
    _infer, forward, backward, flat_input=True, binary_weights=True))
