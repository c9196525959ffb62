"""sign: the binary activation, with the surrogate that stands in for its derivative; and relu.

The paper's Algorithms 1-2 print no mask; the authors' code has one and so has this (removing it costs accuracy).
"""

from __future__ import annotations

from ..ir.program import Region, T
from ..lower.context import Context
from ..model import Layer, TensorType
from ..registry import About, LayerDef, Named, Param, Surrogate, layers, surrogates


def _within(cx: Context, layer: Layer, z: T) -> dict[str, T]:
    return {"mask": (z.abs() <= layer["clip"]).named("mask")}


def _straight(cx: Context, region: Region, g: T) -> T:
    mask = cx.get(region, "mask")
    return cx.each(g, lambda x: mask.where(x, x.zero).named("g"))


def _parabola(cx: Context, region: Region, g: T) -> T:
    return (g * (2.0 - 2.0 * cx.get(region, "z").abs()).maximum(0.0)).named("g")


def _signed(surrogate: str) -> str:
    return f"network tiny {{ input u8[9]; dense 8; batchnorm; sign {surrogate}; dense 4; batchnorm; loss; }}\n"


for _record in (
    Named(
        "ste",
        "the gradient where |z| <= clip: the straight-through estimator",
        (),
        Surrogate(_within, _straight),
        About(formula="dz = g where |z| <= clip, else 0", source="1602.02830, section 1.3", example=_signed("ste")),
    ),
    Named(
        "identity",
        "the gradient as it is",
        (),
        Surrogate(lambda cx, layer, z: {}, lambda cx, region, g: g),
        About(formula="dz = g", source="1308.3432, the straight-through estimator", example=_signed("identity")),
    ),
    Named(
        "quadratic",
        "the derivative of a parabola; keeps z, a real number",
        (),
        Surrogate(lambda cx, layer, z: {"z": z}, _parabola),
        About(
            formula="dz = g max(0, 2 - 2|z|)",
            source="1808.00278",
            example=_signed("quadratic").rstrip() + " rule standard;\n",
        ),
    ),
):
    surrogates.add(_record)


def forward(cx: Context, layer: Layer, x: T) -> T:
    """bit [rows, cols] of x; in training what the surrogate keeps."""
    z = cx.real(x)
    if cx.training and (kept := surrogates[layer["surrogate"]].impl.keep(cx, layer, z)):
        cx.save(**kept)
    return cx.b.op("copy", z, name="out") if z.dtype == "bit" else z.sign().named("out")


def backward(cx: Context, region: Region, g: T, wanted: bool) -> T | None:
    """The gradient g [rows, cols] through the surrogate; None where nobody wants it."""
    return surrogates[region.layer["surrogate"]].impl.gradient(cx, region, g) if wanted else None


layers.add(
    LayerDef(
        "sign",
        "binary activation: +1 where the value is at least 0, else -1",
        (
            Param(
                "surrogate",
                "name",
                None,
                "what replaces its derivative",
                surrogates,
                positional=True,
            ),
            Param("clip", "float", 1.0, "where `ste` ends: larger values pass no gradient", above=0),
        ),
        infer=lambda t, args, body: TensorType("bit", t.shape),
        forward=forward,
        backward=backward,
        about=About(
            formula="y = +1 where z >= 0 (-0 too), else -1\n"
            "ste        dz = g where |z| <= clip, else 0    straight-through estimator\n"
            "identity   dz = g\n"
            "quadratic  dz = g max(0, 2 - 2|z|)             keeps z, a real number",
            source="ste: 1602.02830, section 1.3 (ResNetE, 1906.08637: clip 1.25); quadratic: 1808.00278",
            gives="bit, of the same shape",
            example="network tiny { input u8[9]; dense 8; batchnorm; sign surrogate = ste clip = 1.25; dense 4; "
            "batchnorm; loss; }\n",
        ),
    )
)


def relu_forward(cx: Context, layer: Layer, x: T) -> T:
    """f32 [rows, cols], and a mask of where it is above 0."""
    z = cx.real(x)
    if cx.training:
        cx.save(mask=(z > 0.0).named("mask"))
    return z.maximum(0.0).named("out")


def relu_backward(cx: Context, region: Region, g: T, wanted: bool) -> T | None:
    """The gradient g [rows, cols] where the value is above 0; None where nobody wants it."""
    mask = cx.get(region, "mask")
    return cx.each(g, lambda x: mask.where(x, x.zero).named("g")) if wanted else None


layers.add(
    LayerDef(
        "relu",
        "the larger of the value and 0",
        (),
        infer=lambda t, args, body: TensorType("real", t.shape),
        forward=relu_forward,
        backward=relu_backward,
        about=About(
            formula="y = max(z, 0);  dz = g where z > 0, else 0",
            source="Nair and Hinton, ICML 2010",
            gives="real, of the same shape",
            example="network tiny {\n  input u8[9];\n  dense 8 weights = real;\n  batchnorm;\n  relu;\n"
            "  dense 4 weights = real;\n  loss;\n}\n"
            "rule standard;\n",
        ),
    )
)
