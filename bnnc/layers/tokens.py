"""tokens and transpose: pixels as tokens, and layers that mix these in place of channels.

A convolution of one pixel mixes the channels of each token; behind a ``transpose`` it mixes the tokens of each channel.
"""

from __future__ import annotations

from ..ir.program import Region, T
from ..lower.context import Context
from ..model import Call, Layer, TensorType
from ..registry import About, LayerDef, layers
from .image import image_of


def _infer_tokens(t: TensorType, args: Call, body: tuple[Layer, ...]) -> TensorType:
    height, width, channels = image_of("tokens", t)
    return TensorType(t.kind, (height * width, 1, channels))


def _infer_transpose(t: TensorType, args: Call, body: tuple[Layer, ...]) -> TensorType:
    height, width, channels = image_of("transpose", t)
    return TensorType(t.kind, (channels, 1, height * width))


def forward(cx: Context, layer: Layer, x: T) -> T:
    """[samples * channels, tokens] of x [samples * tokens, channels]."""
    return cx.b.op("turn", x, steps=x.shape[0] // cx.samples, name="out")


def backward(cx: Context, region: Region, g: T, wanted: bool) -> T | None:
    """[samples * tokens, channels] of g [samples * channels, tokens]."""
    return cx.b.op("turn", g, steps=g.shape[0] // cx.samples, name="g") if wanted else None


MIXER = (
    "network tiny {\n  input u8[8, 8, 1];\n  conv 16 kernel = 4 stride = 4 weights = real;\n  tokens;\n"
    "  residual { layernorm; transpose; conv 9 1; batchnorm; sign; conv 4 1; transpose; }\n"
    "  residual { layernorm; conv 9 1; batchnorm; sign; conv 16 1; }\n"
    "  layernorm;\n  globalavgpool;\n  flatten;\n  dense 4 weights = real;\n  loss;\n}\nrule standard;\n"
)

layers.add(
    LayerDef(
        "tokens",
        "an image's pixels as one column of tokens",
        (),
        infer=_infer_tokens,
        forward=lambda cx, layer, x: x,
        backward=lambda cx, region, g, wanted: g,
        input_kinds=("bit", "real"),
        images=True,
        about=About(
            formula="y[i * columns + j, 0, c] = x[i, j, c]",
            source="2105.01601, figure 1",
            gives="the same kind, [tokens, 1, channels]",
            example=MIXER,
        ),
    )
)
layers.add(
    LayerDef(
        "transpose",
        "tokens become channels, and channels tokens",
        (),
        infer=_infer_transpose,
        forward=forward,
        backward=backward,
        input_kinds=("real",),
        images=True,
        about=About(
            formula="y[c, 0, t] = x[t, c], t the pixels row by row;  dx the other way round",
            source="2105.01601, figure 1",
            gives="real[channels, 1, tokens]",
            example=MIXER,
        ),
    )
)
