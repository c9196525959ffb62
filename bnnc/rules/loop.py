"""sigprop_tl: two forward passes and no backward pass (SigpropTL of 2408.04460, whose code is PEPITA's).

The first pass is an evaluation; its error, sent through a fixed random matrix, disturbs the data, and a second pass
sees each sample twice, as it is and disturbed.  A layer's weights follow what the disturbance changes in its
activation, times what the layer read of the sample as it is.  The last block learns from the first pass, by the loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from ..ir.program import Program, Region, T
from ..lower.context import Context
from ..lower.differentiate import needs_grad
from ..model import Model
from ..registry import About, Named, Param, layers, rules
from .base import NUMERICS
from .feedback import ENTRIES, SOURCES, example, has_weights, projected, send_error, small_batches, walk
from .standard import STANDARD

TWICE = 2  # copies of a sample in the second pass, one after the other: as it is, then disturbed


def disturbed(cx: Context, x: T, error: T) -> T:
    """The data twice, [2 samples * pixels, channels]: each sample, then it with e F / sqrt(elements) added.  e is the
    mean loss's gradient as the authors coded it, or each sample's own (``compat = off``)."""
    b, flat = cx.b, cx.joined(cx.real(x), "flat")
    flat = flat if flat.dtype == "f32" else flat.to("f32")
    scale = (1 if cx.rule_args["compat"] else cx.batch) / cx.rule.loss_scale(cx.batch) / math.sqrt(flat.shape[1])
    delta = (projected(cx, error, "input", 0, flat.shape[1], "sent") * scale).named("delta")
    both = b.op("repeat", flat, steps=TWICE, name="both")
    second = b.op("step", rows=both.shape[0], steps=TWICE).eq(1)
    both = (both + second.where(b.op("repeat", delta, steps=TWICE), 0.0)).named("disturbed")
    return cx.parted(both, x, "pixels")


def difference(cx: Context, h: T) -> T:
    """What the disturbance takes from an activation, at the rows of the sample as it is; 0 at those of the other.  It
    is made of the activation where it is read.
    """
    pixels = h.shape[0] // cx.samples
    change = h - cx.b.op("second", h, rows=pixels, name="disturbed")
    return (change * (cx.rule.loss_scale(cx.batch) / pixels)).named("change")


def last_block(cx: Context, program: Program) -> T:
    """The gradients of the last layer with weights and of what follows it, by the loss; returns the error, the gradient
    of the logits [samples, classes]."""
    need, regions = needs_grad(program), program.regions
    last = max((i for i, r in enumerate(regions) if has_weights(cx, r)), default=0)
    before = {r.output for r in regions[:last]}
    error = send_error(cx, program)

    def wanted(region: Region) -> bool:
        x = region.inputs[0]
        return x in need and x not in before and not has_weights(cx, region)

    walk(cx, program.regions, wanted, ends=before)
    return error


def loop(cx: Context, program: Program) -> None:
    """The last block by the loss, then a second pass, and every other layer with weights by the change in it."""
    error = last_block(cx, program)
    first, *rest, _ = cx.model.layers
    cx.settled, cx.regions = False, []
    cx.forward(first, cx.b["x"])  # says what data stand for
    x = disturbed(cx, cx.b[program.regions[1].inputs[0]], error)
    cx.rows, cx.regions = TWICE * cx.model.part, []
    for layer in rest:
        x = cx.forward(layer, x)
    cx.b.phase = "backward"
    made = [r for r in cx.regions if has_weights(cx, r)]
    for region in made[:-1]:
        h = cx.b[activation(cx, region)]
        with cx.b.behind(h.name):
            cx.b.layer, cx.b.span = region.layer.name, region.layer.span
            cx.backward(region, difference(cx, h), wanted=False)


def activation(cx: Context, region: Region) -> str:
    """The output of the sign or relu that a layer with weights leads to, of the same shape and with no other such
    layer between; else its own."""
    value, shape = region.output, cx.b[region.output].shape
    for r in cx.regions[cx.regions.index(region) + 1 :]:
        if r.inputs[0] != value or has_weights(cx, r) or cx.b[r.output].shape != shape:
            continue
        if r.kind in ACTIVATIONS:
            return r.output
        value = r.output
    return region.output


ACTIVATIONS = ("sign", "relu")


def frozen(model: Model) -> Iterable[str]:
    """Shifts and factors of norms in front of the last layer with weights, which learn nothing."""
    flat = list(model.walk())
    last = max((i for i, y in enumerate(flat) if layers[y.kind].binary_weights), default=0)
    for y in flat[:last]:
        if layers[y.kind].normalises:
            yield f"{y.name}.beta"
            if y["scale"]:
                yield f"{y.name}.gamma"


rules.add(
    Named(
        "sigprop_tl",
        "two forward passes: the error disturbs the data, and layers learn from what that changes",
        (
            Param(
                "compat", "bool", True, "the error of the mean loss, as the authors coded it; off: each sample's own"
            ),
            ENTRIES,
            NUMERICS,
        ),
        replace(
            STANDARD,
            propagate=loop,
            settled=True,
            at_once=True,
            freezes=frozen,
            validate=small_batches,
            gates=None,
            published=None,
        ),
        About(
            formula="pass 1, as an evaluation:  e = dL/dlogits;  the last block by the loss\n"
            "x' = x + e F / sqrt(elements of x),  F fixed and random\n"
            "pass 2, of x and x' together:  dW_l = X_l^T (h_l - h'_l) / pixels\n"
            "h: the activation behind the layer, of x; h': of x'; X: what it read of x\n"
            "compat = off   e without the mean over the batch; norms learn no shift",
            source=f"2201.11665 (PEPITA); {SOURCES}",
            example=example("sigprop_tl(compat = off)"),
        ),
    )
)
