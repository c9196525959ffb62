"""dense: a fully connected layer with binary weights, or with real ones.

A u8 input stays u8: with x = a u + b,  X W^ = a (U W^) + b colsum(W^), and the integer product is exact.
With real weights every gradient is exact, and the input is kept in full for dW.
"""

from __future__ import annotations

from typing import Any

from ..ir.program import Region, T
from ..lower.context import Context
from ..lower.whole import for_weight, limits, operand
from ..model import Call, Layer, TensorType
from ..registry import About, LayerDef, Param, ShapeError, layers


def _infer(t: TensorType, args: Call, body: tuple[Layer, ...]) -> TensorType:
    check_weights("dense", args)
    check_sum("dense", t, args, t.elements)
    return TensorType("real", (args["units"],))


def check_sum(name: str, t: TensorType, args: Call, terms: int) -> None:
    """ShapeError where a sum of so many terms, which binary weights make of whole numbers, does not fit 32 bits."""
    size = {"u8": 255, "bit": 1}.get(t.kind, 0) if args["weights"] == "binary" else 0
    if terms * size > 2**31 - 1:
        raise ShapeError(
            "B0307",
            f"`{name}` sums {terms} values of {t.kind}, which 32 bits do not hold",
            f"input here is {t}",
            f"at most {(2**31 - 1) // size} values go into a sum",
        )


def scaled(cx: Context, layer: Layer, w: T, y: T) -> T:
    """``scale = mean``: the sums of a unit (a column) times the mean of its latent weights' sizes."""
    if layer["scale"] == "off":
        return y
    mean = cx.latent(w).abs().mean(0).named("scale")
    cx.save(scale=mean)
    return (y * mean).named("ys")


def unscaled(cx: Context, region: Region, dy: T) -> T:
    """The gradient of the sums from that of what ``scaled`` made of them."""
    return (dy * cx.get(region, "scale")).named("dys") if region.layer["scale"] != "off" else dy


def real_forward(cx: Context, layer: Layer, x: T, fan_in: int, units: int, op: str, **attrs: Any) -> T:
    """``op(x, W) + b`` with real weights [fan_in, units]."""
    v = kept(cx, x) if x.name not in cx.b.inputs else cx.operand(x)
    if x.name in cx.affine:
        cx.static["affine"] = cx.affine[x.name]
    v = v.to("f32") if v.dtype == "bit" else v
    y = cx.b.op(op, v, cx.real_weight(layer.name, fan_in, units), name="y", **attrs)
    return cx.rule.on_value(cx, biased(cx, layer, y))


def biased(cx: Context, layer: Layer, y: T) -> T:
    """With the trained number of each unit added, where there is one."""
    return (y + cx.param(f"{layer.name}.bias", y.shape[1])).named("yb") if layer["bias"] else y


def real_input(cx: Context, region: Region) -> T:
    """What the weights of a real layer met in the forward pass."""
    if region.saved:
        return cx.get(region, "x")
    x, (scale, shift) = cx.b[region.inputs[0]], dict(region.static).get("affine", (1.0, 0.0))
    return x * scale + shift if scale != 1.0 else x


def binary_input(cx: Context, x: T) -> T:
    """What binary weights meet: bits and data as they are, numbers that the network made as the rule stores them."""
    if x.dtype in ("bit", "u8") or x.name in cx.b.inputs:
        return x
    return kept(cx, x)


def kept(cx: Context, x: T) -> T:
    """What the network made, as the rule stores it; the layer's backward has it as `x`."""
    v = cx.operand(x)
    cx.save(x=v)
    cx.static["keeps"] = (v.dtype,)
    return v


def made(cx: Context, y: T) -> T:
    """What binary weights make: of numbers that the network made, as the rule stores them."""
    return cx.rule.on_value(cx, y) if "x" in cx.saved else y


def met(cx: Context, region: Region) -> T:
    """What the binary weights of a layer met in the forward pass."""
    return cx.get(region, "x") if "x" in dict(region.saved) else cx.b[region.inputs[0]]


def bias_grad(cx: Context, region: Region, dy: T) -> None:
    """Report the gradient of the bias [1, units], where there is one."""
    if region.layer["bias"]:
        cx.wgrad(f"{region.layer.name}.bias", cx.over_rows(dy) / cx.rule.loss_scale(cx.batch))


def _real_backward(cx: Context, region: Region, dy: T, wanted: bool) -> T | None:
    w = cx.b[f"{region.layer.name}.weight"]
    dx = cx.rule.on_grad(cx, cx.b.op("contract", dy, w, form="nt", name="dx")) if wanted else None
    cx.real_wgrad(w, cx.b.op("contract", real_input(cx, region), dy, form="tn", name="dw"))
    bias_grad(cx, region, dy)
    return dx


def forward(cx: Context, layer: Layer, x: T) -> T:
    """Y [batch, units] of x [batch, fan_in]: whole numbers of bits, f32 of all else, with real weights or a scale."""
    if layer["weights"] == "real":
        return real_forward(cx, layer, x, x.shape[1], layer["units"], "contract", form="nn")
    x, raw = binary_input(cx, x), x
    w = cx.weight(layer.name, x.shape[1], layer["units"])
    wb = w.sign() if w.dtype == "bit" else w.sign().named("wb")
    y = cx.b.op("contract", x, wb, form="nn", name="y")
    if raw.name in cx.affine:
        scale, shift = cx.static["affine"] = cx.affine[raw.name]
        ones = (wb.sum(0).named("colsum") * shift).named("shifted")
        y = (y * scale + ones).named("yr")
    return made(cx, biased(cx, layer, scaled(cx, layer, w, y)))


def backward(cx: Context, region: Region, dy: T, wanted: bool) -> T | None:
    """dX [batch, fan_in] through the rule's ``on_grad``; dW [fan_in, fan_out] through its ``on_wgrad``."""
    if region.layer["weights"] == "real":
        return _real_backward(cx, region, dy, wanted)
    bias_grad(cx, region, dy)
    dy, scale = operand(cx, unscaled(cx, region, dy))
    name = region.layer.name
    x, w = met(cx, region), cx.b[f"{name}.weight"]
    dx = None
    if wanted:
        wb = w.sign() if w.dtype == "bit" else w.sign().named("wb_back")
        dx = cx.b.op("contract", dy, wb, form="nt", name="dx", **limits(cx, dy, scale))
        dx = cx.rule.on_grad(cx, cx.times(dx, scale))
    affine = dict(region.static).get("affine")
    right, also = for_weight(cx, x, dy, scale)
    ones = right.sum(0) * affine[1] if affine else None  # the gradient through the input's shift
    dw = cx.b.op("contract", x, right, form="tn", name="dw", **also)
    if affine:
        dw = dw * affine[0] + ones
    cx.binary_wgrad(w, cx.times(dw, scale))
    return dx


WEIGHTS = (
    Param("weights", "name", "binary", "of one bit, or real numbers", ("binary", "real")),
    Param("bias", "bool", False, "add a trained number to each output"),
    Param(
        "scale", "name", "off", "mean: binary weights count as large as their latent ones on average", ("off", "mean")
    ),
)


def check_weights(name: str, args: Call) -> None:
    """ShapeError for an option of the other kind of weights."""
    if args["scale"] != "off" and args["weights"] == "real":
        raise ShapeError("B0315", "`scale` is not for real weights", f"`{name}` has real weights", "leave it out")


layers.add(
    LayerDef(
        "dense",
        "fully connected layer",
        (Param("units", "int", doc="number of outputs", minimum=1, maximum=1 << 20, positional=True), *WEIGHTS),
        infer=_infer,
        forward=forward,
        backward=backward,
        flat_input=True,
        binary_weights=True,
        about=About(
            formula="Y = X sgn(W)                    X [batch, fan-in], W [fan-in, units]\n"
            "dX = dY sgn(W)^T;  dW = X^T dY  straight through the sign of the weights\n"
            "weights = real   Y = X W        in f32\n"
            "bias = on        Y + b          a number a unit, 0 at the start\n"
            "scale = mean     Y = X sgn(W) mean|W|, over a unit's inputs; going back\n"
            "                 the mean counts as a constant",
            source="2102.04270, Algorithms 1-2, lines 3-4 and 14-15; scale: 1603.05279, 1808.00278",
            gives="real[units]",
            example="network tiny { input u8[9]; dense 8; batchnorm; sign; dense 4 weights = real bias = on; loss; }\n",
        ),
    )
)
