"""Rules that send no gradient down through weights: every block of layers learns from a signal at its own end.

A block begins behind a layer with weights and ends where the next one reads.  Within it gradients are exact: signs,
norms, pools and shortcuts pass them on as in back-propagation.  What a rule says is the signal G that arrives at a
block's end, and what a residual does with it:

    dfa    G = e F      e the gradient of the logits, F fixed and random; a residual's branches add up
    drtp   G = s F      s = the label, less 1/C; a residual cuts: its input has a signal of its own

What drtp needs is there as soon as the block's output is, so its updates stand in the Program right behind the forward
ops that end the block, and one block is alive at a time (``by_blocks``, which other rules share).  The last block has
the gradient of the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from ..diag import InternalError
from ..ir.program import Program, Region, T
from ..lower.context import Context
from ..lower.differentiate import needs_grad
from ..model import Model
from ..registry import About, Named, Param, numerics_of, rules
from ..rng import FEEDBACK
from .base import NUMERICS, Complaint
from .frame import random_matrix
from .standard import STANDARD

MOST = 8192  # samples of a batch whose sums of signals are numbers in f16


def has_weights(cx: Context, region: Region) -> bool:
    """Whether a block ends where this layer reads."""
    return cx.layer_def(region.kind).binary_weights


def walk(
    cx: Context,
    regions: Sequence[Region],
    wanted: Callable[[Region], bool],
    reach: Callable[[Region], None] = lambda region: None,
    ends: Iterable[str] = (),
) -> None:
    """Take gradients that were sent through regions, last to first, as far as they are ``wanted``; ``reach`` is told
    of each region that one came to.  What a residual sends to values that are ``ends`` is dropped.
    """
    for region in reversed(regions):
        if (grad := cx.gradient(region)) is not None:
            passes = wanted(region)
            down = cx.backward(region, grad, passes)
            for value in ends:
                cx.grads.pop(value, None)
            if passes and down is not None:
                cx.send(region.inputs[0], down)
            reach(region)


def send_error(cx: Context, program: Program) -> T:
    """The gradient of the logits [samples, classes], which is sent to them too."""
    loss = program.regions[-1]
    error = cx.backward(loss, cx.b[loss.output])
    if error is None:
        raise InternalError("a loss without a gradient")
    cx.send(loss.inputs[0], error)
    return error


# -- direct feedback alignment -----------------------------------------------------------------------------------------


def spread(cx: Context, signal: T, like: T) -> T:
    """A signal a sample [samples, channels] at every row (pixel) of a value, as the rule stores gradients."""
    signal, steps = cx.rule.on_grad(cx, signal), like.shape[0] // cx.samples
    return signal if steps == 1 else cx.b.op("repeat", signal, steps=steps, name="signals")


def projected(cx: Context, signal: T, layer: str, number: int, width: int, name: str) -> T:
    """A signal [samples, classes] times a fixed random F [classes, width]; ``number`` tells layers apart."""
    shape, called = (signal.shape[1], width), f"{layer}.feedback"
    if cx.rule_args["feedback"] == "signs":
        f = cx.b.constant(called, random_matrix(cx.model.seed, FEEDBACK[number], *shape))
    else:
        dtype = cx.rule.state_dtype(cx.rule_args, "fixed")
        f = cx.b.state(called, shape, dtype, "fixed", cx.rule_args["feedback"], 1.0)
    signal = signal if f.dtype == "bit" or signal.dtype != "bit" else signal.to("f32")
    return cx.b.op("contract", signal, f, form="nn", name=name)


def through(cx: Context, signal: T, region: Region, number: int) -> T:
    """A signal by the matrix of the block that ends at a region, of the size that gradients have on their way."""
    g = projected(cx, signal, region.layer.name, number, cx.b[region.inputs[0]].shape[1], "signal")
    return g * cx.rule.loss_scale(cx.batch) if signal.dtype == "bit" else g


def direct(cx: Context, program: Program) -> None:
    """Direct feedback alignment: what weights would send down, the loss's own gradient replaces, through F."""
    need, error = needs_grad(program), send_error(cx, program)
    numbers = {r.output: i for i, r in enumerate(program.regions)}
    sent = error.sign().named("error_sign") if cx.rule_args["error"] == "sign" else error

    def wanted(region: Region) -> bool:
        return region.inputs[0] in need and not has_weights(cx, region)

    def reach(region: Region) -> None:
        if has_weights(cx, region) and region.inputs[0] in need:
            x = cx.b[region.inputs[0]]
            cx.send(x.name, spread(cx, through(cx, sent, region, numbers[region.output]), x))

    walk(cx, program.regions, wanted, reach)


# -- signals that are there before the loss ----------------------------------------------------------------------------


Ends = dict[str, tuple[Region, int]]  # value -> the region that reads it, and its number


def ends_of(cx: Context, program: Program) -> Ends:
    """Values with which blocks end: what layers with weights read, or residuals, as far as something is trained."""
    need, ends = needs_grad(program), Ends()
    for number, region in enumerate(program.regions):
        x = region.inputs[0]
        if x in need and cx.layer_def(region.kind).role == "container":
            ends[x] = region, number  # not the layer in it that reads the same
        elif x in need and has_weights(cx, region):
            ends.setdefault(x, (region, number))
    return ends


def within(cx: Context, program: Program, ends: Ends) -> Callable[[Region], bool]:
    """Whether gradients go on through a region: in the block that it is in."""
    need = needs_grad(program)

    def wanted(region: Region) -> bool:
        x = region.inputs[0]  # a flatten that changes nothing gives what it reads
        return x in need and (x not in ends or x == region.output) and not has_weights(cx, region)

    return wanted


def by_blocks(cx: Context, program: Program, signal: Callable[[Region, int], T]) -> None:
    """Each block by itself, first to last: ``signal(region, number)`` is the gradient at the value that ``region``
    reads, with which it ends; then the last block by the loss.
    """
    ends = ends_of(cx, program)
    wanted = within(cx, program, ends)
    order = {op.output: i for i, op in enumerate(program.ops)}
    for value in sorted(ends, key=order.__getitem__):
        with cx.b.behind(value):
            cx.b.layer, cx.b.span = ends[value][0].layer.name, ends[value][0].layer.span
            cx.send(value, signal(*ends[value]))
            walk(cx, program.regions, wanted, ends=ends)
    send_error(cx, program)
    walk(cx, program.regions, wanted, ends=ends)


def hot(cx: Context) -> T:
    """1 at a sample's label, else 0, [samples, classes]."""
    return cx.b.op("col", cols=cx.model.classes).eq(cx.b["labels"]).to("f32")


def random_target(cx: Context, program: Program) -> None:
    """Direct random target projection: F on the labels, centred."""

    def signal(region: Region, number: int) -> T:
        target = ((hot(cx) - 1.0 / cx.model.classes) * cx.rule.loss_scale(cx.batch)).named("target")
        return spread(cx, through(cx, target, region, number), cx.b[region.inputs[0]])

    by_blocks(cx, program, signal)


# -- the rules ---------------------------------------------------------------------------------------------------------


def small_batches(model: Model) -> Iterator[Complaint]:
    """Sums of signals over larger batches would leave f16."""
    if numerics_of(model.rule).name == "edge" and model.batch > MOST:
        yield "", f"a batch of {model.batch} sums signals beyond f16", f"use a batch of at most {MOST}"


def example(rule: str) -> str:
    """A small spec of a rule without a backward pass."""
    return (
        "network tiny {\n  input u8[9];\n  dense 8;\n  batchnorm;\n  sign;\n  dense 8;\n  batchnorm;\n  sign;\n"
        f"  dense 4;\n  batchnorm;\n  loss;\n}}\nrule {rule};\n"
    )


SOURCES = "2408.04460, the comparative study; its code says what the paper leaves open"
ENTRIES = Param(
    "feedback",
    "name",
    "signs",
    "entries of F: +1 and -1, one bit each in the program; or normal or uniform (-1 to 1) numbers in its memory",
    ("signs", "normal", "uniform"),
)

rules.add(
    Named(
        "dfa",
        "direct feedback alignment: the error reaches each layer through a fixed random matrix",
        (
            Param("error", "name", "real", "the gradient of the logits, or its sign", ("real", "sign")),
            ENTRIES,
            NUMERICS,
        ),
        replace(STANDARD, propagate=direct, validate=small_batches, gates=None, published=None),
        About(
            formula="e = dL/dlogits;  G_l = e F_l     in place of dY W^T, the same at every pixel\n"
            "error = sign     G_l = sgn(e) F_l\n"
            "F_l [classes, channels]: fixed and random, for each layer with weights but the\n"
            "first; within a block gradients are exact; a residual's branches add up",
            source=f"1609.01596, equation 3; sign: 1909.01311; {SOURCES}",
            example=example("dfa"),
        ),
    )
)
rules.add(
    Named(
        "drtp",
        "direct random target projection: the label reaches each layer through a fixed random matrix",
        (ENTRIES, NUMERICS),
        replace(STANDARD, propagate=random_target, at_once=True, validate=small_batches, gates=None, published=None),
        About(
            formula="s = [c = label] - 1/C;  G_l = s F_l     at the end of each block, at once\n"
            "F_l as in dfa; a residual's input has a signal of its own, and no gradient\n"
            "passes it.  The last block learns from the loss",
            source=f"1909.01311; {SOURCES}",
            example=example("drtp"),
        ),
    )
)
