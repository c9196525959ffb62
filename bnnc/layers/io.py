"""input and flatten."""

from __future__ import annotations

from ..inputs.encode import encoding
from ..ir.program import Region, T
from ..lower.context import Context
from ..model import Call, Layer, TensorType
from ..registry import About, LayerDef, Param, ShapeError, layers


def _infer_input(_: TensorType, args: Call, body: tuple[Layer, ...]) -> TensorType:
    tensor = args["tensor"]
    if tensor.kind not in ("u8", "f32", "bit"):
        raise ShapeError(
            "B0303",
            f"input takes u8, f32 or bit data, not `{tensor.kind}`",
            "not a data type",
            "write e.g. `input u8[28, 28];`",
        )
    e = encoding(args["encoder"], tensor)
    return e.output if e else tensor


def _forward_input(cx: Context, layer: Layer, x: T) -> T:
    if layer.output.kind == "u8":
        cx.affine[x.name] = (2.0 / 255.0, -1.0)
    return x


layers.add(
    LayerDef(
        "input",
        "the data: u8 (scaled to -1..1), f32, bit; or encoded as bits",
        (
            Param("tensor", "tensor", doc="type and shape of one sample, e.g. u8[28, 28]", positional=True),
            Param(
                "encoder",
                "encoder",
                Call("scale"),
                "how data becomes network values: scale, or an encoder to bits",
                positional=True,
            ),
        ),
        infer=_infer_input,
        forward=_forward_input,
        backward=lambda cx, region, grad, wanted: None,
        role="input",
        about=About(
            formula="scale    u8: x = (2 u - 255) / 255;  f32 and bit as they are\n"
            "encoder  bits, in place of each value, on the last axis",
            source="a definition of bnnc",
            takes="samples of the type that is written; the first layer of every network",
            gives="what it takes, or with an encoder bit",
            example="network tiny { input u8[3, 3] median; flatten; dense 4; batchnorm; loss; }\n",
        ),
    )
)


def _flatten(cx: Context, layer: Layer, x: T) -> T:
    """Images have a row a pixel; what is one row a sample already stays as it is."""
    return cx.joined(x, "out")


def _unflatten(cx: Context, region: Region, g: T, wanted: bool) -> T | None:
    return cx.each(g, lambda x: cx.parted(x, cx.b[region.inputs[0]], "g")) if wanted else g


layers.add(
    LayerDef(
        "flatten",
        "give up the sample's shape: [28, 28] becomes [784]",
        (),
        infer=lambda t, args, body: TensorType(t.kind, (t.elements,)),
        forward=_flatten,
        backward=_unflatten,
        about=About(
            formula="y[(i * columns + j) * channels + c] = x[i, j, c]",
            source="a definition of bnnc",
            gives="the same kind with one axis, the last axis of x running fastest",
            example="network tiny { input u8[3, 3]; flatten; dense 4; batchnorm; loss; }\n",
        ),
    )
)
