"""sigprop: targets go forward through the layers beside the samples, and each block tells classes apart by them.

A class's target is a random sample of signs, in the place of data.  At a block's end a sample's values should be most
like those of its own class's target: the block's loss is the cross entropy of their cosines.  Its gradient enters the
block from both sides, and goes no further.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..ir.program import Program, Region, T
from ..lower.context import Context
from ..registry import About, Named, Param, rules
from ..rng import FEEDBACK
from .base import NUMERICS
from .feedback import Ends, by_blocks, ends_of, example, hot, small_batches, walk, within
from .frame import random_matrix
from .standard import STANDARD

NEVER = -1e30  # the logit of a class that no sample of the batch has


@contextmanager
def beside(cx: Context) -> Iterator[None]:
    """What is built meanwhile sees a row a class: the targets."""
    phase, cx.rows, cx.aside = cx.b.phase, cx.model.classes, True
    yield
    cx.b.phase, cx.rows, cx.aside = phase, 0, False


def second_pass(cx: Context, program: Program, ends: Ends) -> tuple[list[Region], dict[str, str]]:
    """The targets through the layers, as far as one of ``ends`` is still to come: each layer's ops stand behind what
    its twin of the first pass reads.  Their regions, and the targets' value for each that a layer reads.
    """
    regions = program.regions
    reads, place = {r.layer.name: r.inputs[0] for r in regions}, {r.layer.name: i for i, r in enumerate(regions)}
    data, twins = cx.b[regions[1].inputs[0]], {}
    rows = cx.model.classes * (data.shape[0] // cx.samples)
    t = cx.b.constant("input.targets", random_matrix(cx.model.seed, FEEDBACK[0], rows, data.shape[1]))
    with beside(cx):
        cx.b.phase, cx.regions, first = "forward", [], 1
        for layer in cx.model.layers[1:-1]:
            twins[reads[layer.name]] = t.name
            if all(number < first or x in twins for x, (_, number) in ends.items()):
                break
            with cx.b.behind(reads[layer.name]):
                t = cx.forward(layer, t)
            first = place[layer.name] + 1
    return cx.regions, {**twins, **{reads[r.layer.name]: r.inputs[0] for r in cx.regions}}


def unit(z: T, name: str) -> tuple[T, T | float]:
    """(u, n): rows of length 1 and [rows, 1], what z is of them; of bits u is z, and n the square of one's length."""
    if z.dtype == "bit":
        return z, float(z.shape[1])
    n = (z * z).sum(1).sqrt().named("norm")
    n = (n > 0.0).where(n, 1e-6).named("norm")
    return (z / n).named(name), n


def logits_gradient(cx: Context, k: T) -> T:
    """Of the cross entropy whose logits are cosines k [samples, classes] / temperature, of the classes in the batch."""
    label, over = hot(cx).named("label"), 1.0 / cx.rule_args["temperature"]
    present = (label.sum(0) > 0.0).named("present")
    s = present.where(k * over, NEVER).named("logits")
    e = present.where((s - s.max(1).named("top")).exp(), 0.0).named("e")
    p = e / e.sum(1).named("total")
    return ((p - label) * (over * cx.rule.loss_scale(cx.batch) / cx.batch)).named("gk")


def pulls(cx: Context, h: T, t: T) -> tuple[T, T]:
    """The gradient of a block's loss in its values of the samples [samples, width], and of the targets."""
    b = cx.b
    (h, nh), (t, nt) = unit(h, "u"), unit(t, "ut")
    k = b.op("contract", h, t, form="nt", name="k")
    k = k if h.dtype == "f32" else (k / nh).named("cosine")
    gk = logits_gradient(cx, k)
    own = (gk * k).named("own")
    at_h = own.sum(1).named("own_h")  # before the product that it is subtracted from: they are one kernel
    turned = b.op("turn", gk, steps=gk.shape[0], name="gkt")
    at_t = b.op("turn", own.sum(0).named("own_t"), steps=1, name="own_t")
    dh = (b.op("contract", gk, t, form="nn", name="pull") - at_h * h) / nh
    dh = cx.rule.on_grad(cx, dh.named("dh"))
    dt = (b.op("contract", turned, h, form="nn", name="pull_t") - at_t * t) / nt
    return dh, cx.rule.on_grad(cx, dt.named("dt"))


def by_targets(cx: Context, program: Program) -> None:
    """Each block's loss, from behind it."""
    ends, first = ends_of(cx, program), {r.layer.name: r for r in program.regions}
    goes_on = within(cx, program, ends)
    regions, twins = second_pass(cx, program, ends)
    dropped = [twins[x] for x in ends]

    def signal(region: Region, number: int) -> T:
        x, y = cx.b[region.inputs[0]], cx.b[twins[region.inputs[0]]]
        h = cx.joined(x, "h")
        with beside(cx):
            t = cx.joined(y, "t")
        dh, dt = pulls(cx, h, t)
        with beside(cx):
            cx.send(y.name, cx.parted(dt, y, "dt_rows"))
            walk(cx, regions, lambda r: goes_on(first[r.layer.name]), ends=dropped)
            cx.b.layer, cx.b.span = region.layer.name, region.layer.span
        return cx.parted(dh, x, "dh_rows")

    by_blocks(cx, program, signal)


rules.add(
    Named(
        "sigprop",
        "targets go forward beside the samples, and each layer learns to tell classes apart by them",
        (
            Param("temperature", "float", 0.1, "of the softmax over cosines", minimum=1e-3),
            NUMERICS,
        ),
        replace(STANDARD, propagate=by_targets, at_once=True, validate=small_batches, gates=None, published=None),
        About(
            formula="t_0 [classes, data]: random signs;  h, t: a block's values of the samples and\n"
            "of the targets, which go through the layers by themselves (a norm takes the\n"
            "statistics of the targets, and remembers those of the samples)\n"
            "the block's loss = mean of -log softmax_c(cos(h_i, t_c) / temperature)_label,\n"
            "over classes c in the batch;  its gradient goes through h and through t\n"
            "a residual's input has a loss of its own; the last block has that of the net",
            source="2204.01723, target-input; its code takes the targets of all samples",
            example=example("sigprop"),
        ),
    )
)
