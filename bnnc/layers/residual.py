"""residual: x + body(x) on a real-valued stream; gradients of the two branches add.

A ``shortcut`` at the start of the body replaces x in that sum by what its own body makes of x (a projection, where the
shape changes).  It passes x on to the rest of the body.
"""

from __future__ import annotations

from ..ir.program import Region, T
from ..lower.context import Context
from ..model import Call, Layer, TensorType
from ..registry import About, LayerDef, ShapeError, layers


def _infer(t: TensorType, args: Call, body: tuple[Layer, ...]) -> TensorType:
    if not body:
        return TensorType("real", t.shape)
    if late := [y for y in body[1:] if y.kind == "shortcut"]:
        raise ShapeError(
            "B0316",
            "a `shortcut` stands at the start of a residual's body",
            f"`{late[0].name}` comes later",
            "move it to the start of the body: it sees what the residual sees",
        )
    side, out = _side(t, body), body[-1].output
    if out.shape != side.shape:
        what = "its shortcut's output" if side is not t else "its input"
        raise ShapeError(
            "B0305",
            f"residual adds {what} {side} to its body's output {out}",
            "shapes differ",
            f"make the body end with {list(side.shape)}"
            + ("" if side is not t else f", or begin it with a `shortcut {{ ... }}` that ends with {list(out.shape)}"),
        )
    if "bit" in (out.kind, side.kind if side is not t else ""):
        where = "body" if out.kind == "bit" else "shortcut"
        raise ShapeError(
            "B0306",
            f"a residual {where} must end in a real value, not in bits",
            "ends in bits",
            f"move `sign;` to the start of the {where}",
        )
    return TensorType("real", out.shape)


def _side(t: TensorType, body: tuple[Layer, ...]) -> TensorType:
    """The type of what is added to the body's output: the residual's own input, or its shortcut's output."""
    return body[0].body[-1].output if body[0].kind == "shortcut" and body[0].body else t


def forward(cx: Context, layer: Layer, x: T) -> T:
    """The body's output added to x, or to what the shortcut makes of x: [rows, channels]."""
    y = side = x
    for inner in layer.body:
        if inner.kind == "shortcut":
            for other in inner.body:
                side = cx.forward(other, side)
        else:
            y = cx.forward(inner, y)
    cx.b.layer, cx.b.span = layer.name, layer.span
    cx.saved = {"body": y.name, **({"side": side.name} if layer.body[0].kind == "shortcut" else {})}
    return cx.rule.on_value(cx, (cx.real(side) + y).named("out"))


def backward(cx: Context, region: Region, g: T, wanted: bool) -> T | None:
    """g [rows, channels] goes into both branches; without a shortcut it is x's gradient too."""
    for _, name in region.saved:
        cx.send(name, g)
    return g if len(region.saved) == 1 else None


layers.add(
    LayerDef(
        "residual",
        "adds its input to what its body makes of it",
        (),
        infer=_infer,
        forward=forward,
        backward=backward,
        role="container",
        about=About(
            formula="y = x + body(x), or shortcut(x) + body(x);  dx = the sum of both gradients",
            source="1512.03385, equation 1",
            gives="real, of the shape in which body and input (or shortcut) end",
            example="network tiny {\n  input u8[9];\n  dense 8;\n  batchnorm;\n"
            "  residual { sign; dense 8; batchnorm; }\n  sign;\n  dense 4;\n  batchnorm;\n  loss;\n}\n",
        ),
    )
)
layers.add(
    LayerDef(
        "shortcut",
        "first in a residual: what is added in place of its input",
        (),
        infer=lambda t, args, body: t,
        forward=lambda cx, layer, x: x,
        role="branch",
        about=About(
            formula="y = x to the rest of the body; its own layers make what is added to it",
            source="1512.03385, equation 2",
            gives="to the rest of the body: what the residual takes",
            example="network tiny {\n  input u8[9];\n  dense 8;\n  batchnorm;\n  residual {\n"
            "    shortcut { dense 16 weights = real; batchnorm; }\n    sign;\n    dense 16;\n    batchnorm;\n  }\n"
            "  sign;\n  dense 4;\n  batchnorm;\n  loss;\n}\n",
        ),
    )
)
