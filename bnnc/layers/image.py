"""Layers on images [height, width, channels], and their kin on sequences [steps, channels]: convolution, pools.

A sequence is an image one pixel wide, so a layer whose name ends in ``1d`` is the other one with windows of that width.

With binary weights a u8 input u stands for (2 u - 255) / 255, in -1 .. 1, so that its sums are whole numbers and a
padding of zero is exact.  What crosses to the backward pass of a maximum is its place, in bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

from ..ir.image import Geometry
from ..ir.program import Region, T
from ..lower.context import Context
from ..lower.whole import for_weight, limits, operand
from ..model import Call, Layer, TensorType
from ..registry import About, LayerDef, Param, ShapeError, layers
from .dense import (
    WEIGHTS,
    bias_grad,
    biased,
    binary_input,
    check_sum,
    check_weights,
    made,
    met,
    real_forward,
    real_input,
    scaled,
    unscaled,
)

LINE = "1d"  # how the name of a layer on sequences ends
Infer = Callable[[TensorType, Call, tuple[Layer, ...]], TensorType]
FILL = {"zero": 0, "plus": 1, "minus": -1}


def image_of(name: str, t: TensorType) -> tuple[int, int, int]:
    """(height, width, channels) of a sample; of a sequence the width is 1.  Raises ShapeError B0313 for a shape that
    the layer does not take.
    """
    line = name.endswith(LINE)
    if len(t.shape) != (2 if line else 3):
        shape, example = (
            ("[steps, channels]", "f32[128, 3]") if line else ("[height, width, channels]", "u8[28, 28, 1]")
        )
        raise ShapeError(
            "B0313",
            f"`{name}` works on {'sequences' if line else 'images'}, got {t}",
            f"input here is {t}",
            f"the shape must be {shape}, e.g. `input {example};`, without `flatten`",
        )
    return (t.shape[0], 1, t.shape[1]) if line else (t.shape[0], t.shape[1], t.shape[2])


def geometry_of(name: str, t: TensorType, args: Call) -> Geometry:
    """Where the layer's windows lie; ShapeError where there is none."""
    height, width, _ = image_of(name, t)
    line, stride = name.endswith(LINE), args["stride"]
    ky = args["kernel"]
    kx = 1 if line else dict(args.args).get("width") or ky
    edges = [args["pad"]] * 2 + [0 if line else args["pad"]] * 2
    if args["padding"] == "same":
        edges = []
        for size, k in ((height, ky), (width, kx)):
            total = max(0, ((size - 1) // stride) * stride + k - size)
            edges += [total // 2, total - total // 2]
    g = Geometry(height, width, ky, kx, stride, *edges)
    beyond = max(edges[:2]) >= ky or max(edges[2:]) >= kx
    if g.out_height < 1 or g.out_width < 1 or beyond:
        image = f"a sequence of {height} steps" if line else f"an image of {height} x {width}"
        what = f"a padding of {max(edges)}" if beyond else image
        raise ShapeError(
            "B0314",
            f"a window of {f'{ky} steps' if line else f'{ky} x {kx}'} does not fit {what}",
            f"input here is {t}",
            "use a padding smaller than the window" if beyond else "use a smaller window, or `padding = same`",
        )
    return g


def _shape(name: str, g: Geometry, channels: int) -> tuple[int, ...]:
    """Of what a layer gives, for each sample."""
    return (g.out_height, channels) if name.endswith(LINE) else (g.out_height, g.out_width, channels)


def _infer_conv(name: str) -> Infer:
    def infer(t: TensorType, args: Call, body: tuple[Layer, ...]) -> TensorType:
        g, channels, groups = geometry_of(name, t, args), args["channels"], args["groups"]
        check_weights(name, args)
        if t.shape[-1] % groups or channels % groups:
            raise ShapeError(
                "B0314",
                f"{groups} groups do not divide {t.shape[-1]} and {channels} channels",
                f"input here is {t}",
                "use a number that divides both",
            )
        check_sum(name, t, args, g.positions * t.shape[-1] // groups)
        return TensorType("real", _shape(name, g, channels))

    return infer


def _attrs(layer: Layer) -> dict[str, Any]:
    return {
        "geometry": astuple(geometry_of(layer.kind, layer.input, layer.args)),
        "groups": layer["groups"],
        "fill": FILL[layer["fill"]],
    }


def _signs(x: T, w: T, name: str) -> T:
    """The signs of the weights, as bits; where they meet numbers, as numbers that are made where they are read."""
    wb = w.sign() if w.dtype == "bit" else w.sign().named(name)
    return wb if x.dtype in ("bit", "u8") else wb.to("f32")


def conv_forward(cx: Context, layer: Layer, x: T) -> T:
    """Y [windows, channels out] of x [pixels, channels in]."""
    terms = geometry_of(layer.kind, layer.input, layer.args).positions * x.shape[1] // layer["groups"]
    if layer["weights"] == "real":
        return real_forward(cx, layer, x, terms, layer["channels"], "convolve", **_attrs(layer))
    w = cx.weight(layer.name, terms, layer["channels"])
    x = binary_input(cx, x)
    y = cx.b.op("convolve", x, _signs(x, w, "wb"), name="y", **_attrs(layer))
    y = (y * (1.0 / 255.0)).named("yr") if x.dtype == "u8" else y
    return made(cx, biased(cx, layer, scaled(cx, layer, w, y)))


def _real_conv_backward(cx: Context, region: Region, dy: T, wanted: bool) -> T | None:
    w, attrs = cx.b[f"{region.layer.name}.weight"], _attrs(region.layer)
    dx = cx.rule.on_grad(cx, cx.b.op("convolve_back", dy, w, name="dx", **attrs)) if wanted else None
    cx.real_wgrad(w, cx.b.op("convolve_weight", real_input(cx, region), dy, name="dw", **attrs))
    bias_grad(cx, region, dy)
    return dx


def conv_backward(cx: Context, region: Region, dy: T, wanted: bool) -> T | None:
    """dX [pixels, channels in] through the rule's ``on_grad``; dW [fan-in, channels out] through its ``on_wgrad``."""
    if region.layer["weights"] == "real":
        return _real_conv_backward(cx, region, dy, wanted)
    bias_grad(cx, region, dy)
    dy, scale = operand(cx, unscaled(cx, region, dy))
    name, attrs = region.layer.name, _attrs(region.layer)
    x, w = met(cx, region), cx.b[f"{name}.weight"]
    dx = None
    if wanted:
        bits = w.sign() if w.dtype == "bit" else w.sign().named("wb_back")
        signs = _signs(x, w, "wb_back") if scale is None else bits
        dx = cx.b.op("convolve_back", dy, signs, name="dx", **attrs, **limits(cx, dy, scale))
        dx = cx.rule.on_grad(cx, cx.times(dx, scale))
    right, also = for_weight(cx, x, dy, scale)
    dw, unit = cx.b.op("convolve_weight", x, right, name="dw", **attrs, **also), 1.0 / 255.0
    if x.dtype == "u8":
        dw, scale = (dw * unit, None) if scale is None else (dw, scale * unit)
    cx.binary_wgrad(w, cx.times(dw, scale))
    return dx


WINDOW = (
    Param(
        "padding",
        "name",
        "valid",
        "where windows may reach beyond the edge: valid nowhere, same as far as stride asks",
        ("valid", "same"),
    ),
    Param("pad", "int", 0, "pixels added at every edge, where `padding` is valid", minimum=0, maximum=256),
)

KERNEL = Param("kernel", "int", 3, "height and width of the window", minimum=1, maximum=255, positional=True)
WIDTH = Param("width", "int", 0, "width of the window; 0: as its height", minimum=0, maximum=255)
STRIDE = Param("stride", "int", 1, "pixels from one window to the next", minimum=1, maximum=255)
CONV = """network tiny {{
  input {input};
  {conv} padding = same;
  batchnorm;
  sign;
  flatten;
  dense 4;
  batchnorm;
  loss;
}}
"""


def _add_conv(name: str, doc: str, window: tuple[Param, ...], axes: str, positions: str, example: str) -> None:
    layers.add(
        LayerDef(
            name,
            doc,
            (
                Param("channels", "int", doc="number of output channels", minimum=1, maximum=1 << 16, positional=True),
                *window,
                *WINDOW,
                Param("fill", "name", "zero", "what lies beyond the edge: nothing, +1 or -1", tuple(FILL)),
                Param("groups", "int", 1, "channels in as many groups that do not mix", minimum=1, maximum=1 << 16),
                *WEIGHTS,
            ),
            infer=_infer_conv(name),
            forward=conv_forward,
            backward=conv_backward,
            binary_weights=True,
            images=True,
            about=About(
                formula="Y = X * sgn(W);  dX = dY * sgn(W)^T;  dW = X^T * dY\n"
                f"W [{positions} * channels in / groups, channels]; weights, bias, scale\n"
                "as in dense.  Beyond the edge a term does not exist, or (fill) is a sign",
                source="2102.04270, Algorithms 1-2, with convolutions for products",
                takes=f"bit, real, f32 or u8 [{axes}, channels]",
                gives=f"real[{axes}, channels]; with `padding = same` {axes.replace(', ', ' and ')} are divided by the"
                " stride",
                example=example,
            ),
        )
    )


_add_conv(
    "conv",
    "convolution of images",
    (KERNEL, WIDTH, STRIDE),
    "rows, columns",
    "kernel * width",
    CONV.format(input="u8[8, 8, 1]", conv="conv 16 3"),
)
_add_conv(
    "conv1d",
    "convolution of sequences, along the steps",
    (replace(KERNEL, doc="steps of the window"), replace(STRIDE, doc="steps from one window to the next")),
    "steps",
    "kernel",
    CONV.format(input="f32[32, 3] thermometer(4)", conv="conv1d 16 5"),
)


def _pool_geometry(layer: Layer) -> Geometry:
    if "kernel" not in dict(layer.args.args):
        height, width, _ = image_of(layer.kind, layer.input)
        return Geometry(height, width, height, width, max(height, width))  # one window, which no other one overlaps
    return geometry_of(layer.kind, layer.input, _pool_args(layer.args))


def _pool_args(args: Call) -> Call:
    return args.with_(stride=args["stride"] or args["kernel"])


def _infer_pool(name: str, kind: str = "") -> Infer:
    def infer(t: TensorType, args: Call, body: tuple[Layer, ...]) -> TensorType:
        g = geometry_of(name, t, _pool_args(args))
        if not kind and t.kind == "u8":
            raise ShapeError(
                "B0302", f"`{name}` takes what the network made, got {t}", f"input here is {t}", "move it after a layer"
            )
        return TensorType(kind or t.kind, _shape(name, g, t.shape[-1]))

    return infer


def max_forward(cx: Context, layer: Layer, x: T) -> T:
    """[windows, channels]; in training keeps the place of each maximum, a bool for each bit of its number."""
    g = _pool_geometry(layer)
    if cx.training:
        cx.save(
            **{
                f"route{p}": cx.b.op("window", x, how="route", plane=p, geometry=astuple(g), name=f"route{p}")
                for p in range(max(1, (g.positions - 1).bit_length()))
            }
        )
    return cx.rule.on_value(cx, cx.b.op("window", x, how="max", geometry=astuple(g), name="out"))


def max_backward(cx: Context, region: Region, g: T, wanted: bool) -> T | None:
    """g [windows, channels] at the first of equals, else 0: [pixels, channels]."""
    if not wanted:
        return None
    route = [cx.get(region, role) for role, _ in region.saved]
    window = _pool_geometry(region.layer)
    if window.disjoint:
        hit = cx.b.op("hit", *route, geometry=astuple(window), name="hit")
        return cx.each(
            g, lambda x: hit.where(cx.b.op("spread", x, geometry=astuple(window), name="spread"), x.zero).named("g")
        )
    return cx.b.op("unwindow", cx.rule.on_grad(cx, g), *route, geometry=astuple(window), name="g")


def mean_forward(cx: Context, layer: Layer, x: T) -> T:
    """[windows, channels], f32 or what the rule stores."""
    g = _pool_geometry(layer)
    total = cx.b.op("window", cx.real(x), how="sum", geometry=astuple(g), name="sum")
    return cx.rule.on_value(cx, (total * (1.0 / g.positions)).named("out"))


def mean_backward(cx: Context, region: Region, g: T, wanted: bool) -> T | None:
    """An equal share of g [windows, channels] at each pixel of its window: [pixels, channels]."""
    if not wanted:
        return None
    window = _pool_geometry(region.layer)
    return (
        cx.b.op("unwindow", cx.rule.on_grad(cx, g), geometry=astuple(window), name="shares") * (1.0 / window.positions)
    ).named("g")


def _infer_global(name: str) -> Infer:
    def infer(t: TensorType, args: Call, body: tuple[Layer, ...]) -> TensorType:
        *axes, channels = t.shape if image_of(name, t) else ()
        return TensorType("real", (*(1 for _ in axes), channels))

    return infer


NO_PADDING = (
    Param("padding", "name", "valid", "windows stay within the image", ("valid",)),
    Param("pad", "int", 0, "none", minimum=0, maximum=0),
)
MADE = ("bit", "real")
POOLED = """network tiny {{
  input {input};
  {conv};
  batchnorm;
  {pool}
  flatten;
  dense 4{real};
  {norm}loss;
}}
"""


def _add_pool(name: str, doc: str, params: tuple[Param, ...], gives: str, about: About) -> None:
    """Of bits and maxima too where it ``gives`` what it takes, else (``real``) the mean."""
    ways = (max_forward, max_backward) if not gives else (mean_forward, mean_backward)
    infer = _infer_pool(name, gives) if params else _infer_global(name)
    layers.add(
        LayerDef(
            name,
            doc,
            params,
            infer=infer,
            forward=ways[0],
            backward=ways[1],
            input_kinds=MADE,
            images=True,
            about=about,
        )
    )


for _end, _axes, _one, _size, _unit, _input, _conv in (
    ("", "rows, columns", "1, 1", "kernel^2", "height and width", "u8[8, 8, 1]", "conv 16"),
    (LINE, "steps", "1", "kernel", "steps", "f32[32, 3] thermometer(4)", "conv1d 16 5"),
):
    _kernel = Param("kernel", "int", 2, f"{_unit} of the window", minimum=1, maximum=255, positional=True)
    _stride = Param(
        "stride", "int", 0, "from one window to the next; 0: as many as the window has", minimum=0, maximum=255
    )
    _net = {"input": _input, "conv": _conv, "real": "", "norm": "batchnorm;\n  "}
    _add_pool(
        f"maxpool{_end}",
        "maximum over each window: of bits, whether one of them is +1",
        (_kernel, _stride, *WINDOW),
        "",
        About(
            formula="y = max of the window;  dx = g at the first of equals, in order, else 0",
            source="1602.02830, the pools of BinaryNet",
            takes=f"bit or real [{_axes}, channels]",
            gives=f"what it takes, bit or real: [{_axes}, channels]",
            example=POOLED.format(pool=f"sign;\n  maxpool{_end} 2;", **_net),
        ),
    )
    _add_pool(
        f"avgpool{_end}",
        "the mean over each window",
        (_kernel, _stride, *NO_PADDING),
        "real",
        About(
            formula=f"y = sum of the window / {_size};  dx = sum over its windows of g / {_size}",
            source="1906.08637, the shortcuts of ResNetE",
            takes=f"bit or real [{_axes}, channels]",
            gives=f"real[{_axes}, channels]",
            example=POOLED.format(pool=f"avgpool{_end} 2;\n  sign;", **_net),
        ),
    )
    _add_pool(
        f"globalavgpool{_end}",
        f"the mean over all of a sample, [{_one}, channels]",
        (),
        "real",
        About(
            formula="y = mean of a channel;  dx = g / their number",
            source="1312.4400, section 3.2",
            takes=f"bit or real [{_axes}, channels]",
            gives=f"real[{_one}, channels]",
            example=POOLED.format(pool=f"globalavgpool{_end};", **{**_net, "real": " weights = real", "norm": ""}),
        ),
    )
