"""dropout: values that are left out at random in training.

The mask is a function of (seed, layer, step, element), so the backward pass draws it again: nothing is stored.
"""

from __future__ import annotations

from ..ir.program import Region, T
from ..lower.context import Context
from ..model import Layer, TensorType
from ..registry import About, LayerDef, Param, layers
from ..rng import DROPOUT


def _thinned(cx: Context, layer: Layer, number: int, x: T) -> T:
    b = cx.b
    p = round((1.0 - layer["rate"]) * 65536)
    kept = b.op(
        "bernoulli",
        b.const(p),
        *cx.drawn_by(),
        rows=x.shape[0],
        cols=x.shape[1],
        stream=DROPOUT[number],
        name="kept",
    )
    return kept.where(x * (65536.0 / p), 0.0)


def forward(cx: Context, layer: Layer, x: T) -> T:
    """f32 [rows, cols]: thinned out in training, as it is in evaluation."""
    if cx.settled:
        return cx.real(x) * 1.0
    cx.static["number"] = len(cx.regions)
    return _thinned(cx, layer, len(cx.regions), cx.real(x)).named("out")


def backward(cx: Context, region: Region, g: T, wanted: bool) -> T | None:
    """The gradient g [rows, cols] under the mask, which is drawn again."""
    return _thinned(cx, region.layer, dict(region.static)["number"], g).named("g") if wanted else None


layers.add(
    LayerDef(
        "dropout",
        "sets values to 0 at random in training, scales the others up",
        (Param("rate", "float", 0.5, "share of values that become 0", minimum=0, maximum=0.99, positional=True),),
        infer=lambda t, args, body: TensorType("real", t.shape),
        forward=forward,
        backward=backward,
        settles=True,
        about=About(
            formula="training    y = 0 with probability rate, else x / (1 - rate);  dx likewise\nevaluation  y = x",
            source="1207.0580, in the form that scales in training",
            gives="real, of the same shape",
            example="network tiny { input u8[9]; dense 8; batchnorm; dropout 0.2; sign; dense 4; batchnorm; loss; }\n",
        ),
    )
)
