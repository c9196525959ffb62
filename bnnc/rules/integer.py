"""What the integer rules (bep, local) share: integer hidden weights, layers without normalisation, the update.

A hidden weight H [fan_out, fan_in] is a whole number of B bits and its sign is the weight.  Every value in a training
step is an integer.

The same text trains with any rule: batch norm has no place here and is left out, and the last dense layer becomes a
classifier that is fixed when the program is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..ir.program import Counter, Program, T
from ..lower.context import Context
from ..model import Call, Layer, Model, TensorType
from ..papers import published
from ..registry import LayerDef, classifiers
from .base import Rule
from .settings import good_width, group_of, group_sizes, ignores, initial_std, settle, validate, warnings

UPDATE = (
    "winner    in each group the neuron with a* z < 0 and the smallest |z|\n"
    "update    its weights H += 2 a* a_in^T, a sum over the samples of a batch;\n"
    "          then with probability reinforce sqrt(E) sqrt(2 / (pi K_in)) each\n"
    "          H += 2 sgn(H), E the last epoch's error; then H to `bits` bits"
)


@dataclass(frozen=True)
class Hidden:
    """A trained layer as the backward pass sees it: names of its values, and its sizes."""

    name: str
    z: T
    a_in: T
    a_out: T
    h: T
    group: tuple[int, ...]

    @property
    def fan_in(self) -> int:
        """Terms of a sum of the layer."""
        return self.h.shape[1]


def hidden_weight(cx: Context, name: str, fan_out: int, fan_in: int) -> T:
    """The state H [fan_out, fan_in] in the narrowest integer that holds ``bits`` bits."""
    args = cx.rule_args
    dtype = "i8" if args["bits"] <= 8 else "i16"
    return cx.b.state(
        name, (fan_out, fan_in), dtype, "weight", "normal", float(initial_std(args)), 2 ** (args["bits"] - 1)
    )


# -- layers -----------------------------------------------------------------------------------------------------------
def dense_forward(cx: Context, layer: Layer, x: T) -> T:
    """z = sgn(H) a [batch, units], whole numbers; keeps z and the input."""
    h = hidden_weight(cx, f"{layer.name}.weight", layer["units"], x.shape[1])
    z = cx.b.op("contract", x, h.sign().named("wb"), form="nt", name="z")
    cx.save(z=z, a_in=x, h=h)
    return z


def sign_forward(cx: Context, layer: Layer, x: T) -> T:
    """bit [batch, width]: +1 where z >= 0."""
    return x.sign().named("out")


def margin(cx: Context, logits: T) -> T:
    """The label's logit less the best other one, [batch, 1]."""
    hot = cx.b.op("col", cols=logits.shape[1]).eq(cx.b["labels"])
    at_label = hot.where(logits, 0).sum(1).named("at_label")
    other = hot.where(-(1 << 24), logits).max(1).named("other")
    return (at_label - other).named("margin")


def predict(logits: T) -> T:
    """The best class; of one logit, 1 where it is not negative."""
    return (logits.argmax(1) if logits.shape[1] > 1 else (logits >= 0).where(1, 0)).named("pred")


def loss_forward(cx: Context, layer: Layer, x: T) -> T:
    """0-1 error; the margin is the label's logit less the best other one."""
    pred = predict(x)
    loss = pred.eq(cx.b["labels"]).where(0, 1).named("loss")
    if cx.training and x.shape[1] > 1:
        cx.save(margin=margin(cx, x))
    cx.b.results += [("loss", loss.name), ("pred", pred.name)]
    cx.scored(x, "scores")
    return loss


def prototypes(cx: Context, number: int, classes: int, width: int) -> np.ndarray:
    """int8 [classes, width] of +-1, of the classifier that the spec names;
    ``number`` tells those of several layers apart.
    """
    call = cx.rule_args["classifier"]
    out: np.ndarray = classifiers[call.name].impl(call, cx.model.seed, number, classes, width)
    return out


def classifier_forward(cx: Context, layer: Layer, x: T) -> T:
    """The fixed last layer: logits = P a, P [classes, width] embedded in the program."""
    p = cx.b.constant("classifier", prototypes(cx, 0, layer["units"], x.shape[1]))
    cx.save(p=p, a=x)
    return cx.b.op("contract", x, p, form="nt", name="logits")


def _same(t: TensorType, args: Call, body: tuple[Layer, ...]) -> TensorType:
    return t


LAYERS = {
    "dense": LayerDef("dense", "", (), infer=_same, forward=dense_forward),
    "sign": LayerDef("sign", "", (), infer=_same, forward=sign_forward),
    "loss": LayerDef("loss", "", (), infer=_same, forward=loss_forward, role="loss"),
    "classifier": LayerDef("classifier", "a fixed classifier", (), infer=_same, forward=classifier_forward),
}


def rewrite(model: Model) -> Model:
    """Leave batch norm out, and signs of what is bits already;
    the dense layer before the loss becomes the classifier.
    """
    layers: list[Layer] = []
    for y in model.layers:
        given = next((x for x in reversed(layers) if x.kind != "flatten"), None)
        if y.kind != "batchnorm" and not (y.kind == "sign" and given is not None and given.output.kind == "bit"):
            layers.append(y)
    last = max((i for i, y in enumerate(layers) if y.kind == "dense"), default=-1)
    if last >= 0:
        layers[last] = replace(layers[last], kind="classifier")
    return replace(model, layers=tuple(layers))


# -- update -----------------------------------------------------------------------------------------------------------
def hidden_layers(cx: Context, program: Program, schedule: bool, recurrent: bool = False) -> list[Hidden]:
    """The trained dense layers, first to last; in a recurrent network they stand behind its recurrent layer."""
    regions = {r.inputs[0]: r for r in program.regions if r.kind == "sign"}
    out: list[Hidden] = []
    for r in program.regions:
        if r.kind == "dense":
            z = cx.get(r, "z")
            out.append(
                Hidden(
                    r.layer.name,
                    z,
                    cx.get(r, "a_in"),
                    cx.b[regions[z.name].output],
                    cx.get(r, "h"),
                    group_sizes(z.shape[1], group_of(cx.rule_args, len(out) + recurrent), schedule, recurrent),
                )
            )
    return out


def rates(cx: Context, fan_ins: Iterable[int]) -> dict[int, T]:
    """Reinforcement probability per fan-in, in units of 2**-16: p_r sqrt(E) sqrt(2 / (pi K_in)),
    E last epoch's error.
    """
    p_r = cx.rule_args["reinforce"]
    out = {}
    for k in sorted(set(fan_ins)):
        scale = round(p_r * p_r * 2.0 / (math.pi * k) * 2.0**32)
        out[k] = cx.b.op("rate", cx.b["errors"], cx.b["samples"], scale=scale, name=f"rate{k}")
    return out


def any_of(cx: Context, trigger: T, layer: str = "") -> T:
    """Does any sample take part?  Their share goes to the log."""
    number = trigger.where(1, 0).sum(0).named("triggers")
    cx.b.results.append((Counter("trigger_rate", layer, share=True), number.name))
    return (number > 0).named("any")


def update(cx: Context, y: Hidden, target: T, trigger: T, rate: T | None, any_trigger: T) -> None:
    """H <- limit(reinforce(H + 2 sum over samples of (winner . a*) a_in^T))."""
    cx.b.layer = y.name
    mask = winners(cx, (target * y.z).named("stability"), y.group).both(trigger).named("mask")
    learn(cx, y.h, target, mask, y.a_in, rate, any_trigger)


def winners(cx: Context, stability: T, group: tuple[int, ...]) -> T:
    """In each group the neuron that is wrong and nearest to being right (bool, [batch, width])."""
    b = cx.b
    size = b.op("lookup", b["stage"], values=group, name="group") if len(group) > 1 else b.const(group[0])
    return b.op("winners", stability, size, name="winner")


def learn(cx: Context, weight: T, target: T, mask: T, a_in: T, rate: T | None, any_trigger: T) -> None:
    """``weight`` [fan_out, fan_in] follows the rows of ``target`` where ``mask`` is true, times ``a_in``."""
    b = cx.b
    delta = b.op("contract_gated", target, mask, a_in, form="tn", name="delta")
    b.phase = "update"
    h = weight + delta * 2
    if rate is not None:
        p = any_trigger.where(rate, 0).named("p")
        rows, cols, stream = *weight.shape, cx.update_stream(weight)
        hit = b.op("bernoulli", p, *cx.drawn_by(), rows=rows, cols=cols, stream=stream, name="hit")
        h = h + hit.where(h.clip(-1, 1) * 2, 0)
    top = 1 << (cx.rule_args["bits"] - 1)
    new = h.clip(-top, top - 1).to(weight.dtype).named(weight.name.split(".")[1] + "_new")
    b.update(weight, new)
    flips = new.sign().eq(weight.sign()).where(0, 1).sum(1).named("flips")
    b.results.append((Counter("flips", weight.name.removesuffix(".weight")), flips.name))
    b.phase = "backward"


INPUTS = (("tick", "i32"), ("seed", "i32"), ("errors", "i32"), ("samples", "i32"), ("stage", "i32"))


def integer_rule(backward: Callable[[Context, Program], None], *layers: LayerDef, **kw: Any) -> Rule:
    """A Rule record with these layers, inputs and checks; ``layers``: more that the rule can train."""

    def no_wgrad(cx: Context, w: T, dw: T, fan_in: int) -> tuple[T, float | None]:
        return dw, None

    return Rule(
        on_wgrad=no_wgrad,
        layer_defaults={("batchnorm", "kind"): "l2", ("sign", "surrogate"): "ste"},
        keep=None,
        backward=backward,
        layers={**LAYERS, **{y.name: y for y in layers}},
        rewrite=rewrite,
        settle=settle,
        validate=validate,
        warnings=warnings,
        ignores=ignores,
        inputs=INPUTS,
        needs_normalisation=False,
        published=published.local_errors,
        width=good_width,
        **kw,
    )
