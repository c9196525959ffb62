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

from .. import rng
from ..ir.program import Counter, Program, T
from ..lower.context import Context
from ..model import Call, Layer, Model, TensorType
from ..papers import published
from ..registry import LayerDef, Param, classifiers
from .base import Rule
from .frame import MAX_BITS, too_large

MANY_STEPS = 32  # published results on Sequential MNIST end at 28 (2512.04189, Fig. 3)

PARAMS = (
    Param("bits", "int", 16, "width of a hidden weight", minimum=4, maximum=16),
    Param(
        "std",
        "int",
        0,
        "deviation of the initial hidden weights; 0: min(64, 2**(bits-1) / 2), and without rnn in batches of up to "
        "16 at most 16",
        minimum=0,
        maximum=16384,
    ),
    Param("reinforce", "float", 0.5, "reinforcement probability p_r", minimum=0, maximum=1),
    Param(
        "group",
        "ints",
        (0,),
        "group size, one number or one a layer; 0: the largest divisor of the width up to 105, with rnn 15",
        minimum=0,
    ),
)

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


def divisors(n: int) -> list[int]:
    """All of them, ascending."""
    return [d for d in range(1, n + 1) if n % d == 0]


def group_sizes(width: int, group: int, schedule: bool, recurrent: bool = False) -> tuple[int, ...]:
    """The group size to start with and those that follow when training stagnates; by default smaller in recurrent
    networks.
    """
    if group == 0:
        group = max(d for d in divisors(width) if d <= (15 if recurrent else 105))
    return tuple(d for d in divisors(width) if d >= group) if schedule else (group,)


def group_of(args: Call, layer: int) -> int:
    """The group size that the spec gives to a hidden layer (counted from 0)."""
    sizes: tuple[int, ...] = args["group"]
    return sizes[layer] if len(sizes) > 1 else sizes[0]


def good_width(args: Call, at_most: int) -> int:
    """The largest odd width, at most this, that can be cut into groups: of the given size, or of 35 to 105 neurons
    (smaller widths are one group).  A prime width would leave groups of one, which learn badly.

    at most 256, group 0: 255, which is 3 groups of 85 (257 and 251 are prime; 253 is 11 x 23, groups of 23)
    at most 256, group 50: 250, since the given size is even
    """
    if group := math.lcm(*(g or 1 for g in args["group"])) if any(args["group"]) else 0:
        return max(group, at_most // group * group - (group if group % 2 and at_most // group % 2 == 0 else 0))
    odd = range(at_most - (at_most + 1) % 2, 0, -2)
    return next((n for n in odd if group_sizes(n, 0, False)[0] >= min(n, 35)), 1)


def initial_std(args: Call) -> int:
    """Deviation of the first hidden weights."""
    return args["std"] or min(64, 2 ** (args["bits"] - 1) // 2)


FEW = 16  # samples of a batch, and the deviation of first weights that goes with so few


def settle(model: Model) -> Iterable[tuple[str, Any, str]]:
    """Arguments that the spec leaves open and the network decides, as (argument, value, why).  A step changes a weight
    by at most two a sample, so in small batches weights of 64 take most of the training to turn round.  Whether bits
    are encoded here or were before makes no difference.  A recurrent network is left as it is: its weights are shared
    by all steps, which add up too.
    """
    usual, std = initial_std(model.rule), min(FEW, initial_std(model.rule))
    if not model.rule["std"] and model.batch <= FEW and std < usual and not any(y.kind == "rnn" for y in model.layers):
        yield "std", std, f"a batch of {model.batch}, at most {FEW}"


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


def validate(model: Model) -> Iterable[tuple[str, str, str]]:
    """What an integer rule cannot train, as (layer, message, help)."""
    kinds = [y for y in model.layers if y.kind not in ("batchnorm", "flatten")]
    if kinds[0].output.kind != "bit":
        yield kinds[0].name, "this rule needs bits as input", "encode the data: `input u8[...] sign(threshold = 128);`"
    dense = [y for y in kinds if y.kind == "dense"]
    recurrent = [y for y in kinds if y.kind == "rnn"]
    if len(dense) + len(recurrent) < 2 or not dense or kinds[-2] is not dense[-1]:
        yield (
            kinds[-1].name,
            "this rule needs at least one hidden layer, and a dense layer before the loss",
            "write `dense N; sign; dense CLASSES; loss ...;`",
        )
    for a, b in zip(kinds, kinds[1:], strict=False):
        if a.kind == "dense" and a is not dense[-1] and b.kind != "sign":
            yield b.name, f"this rule needs `sign` after a hidden dense layer, not `{b.kind}`", "add `sign;`"
    for y in kinds[1:]:
        if y.kind not in ("dense", "sign", "loss", "rnn"):
            yield y.name, f"this rule has no `{y.kind}`", "remove it, or use another rule"
        elif y.kind == "dense" and (y["weights"], y["scale"]) != ("binary", "off"):
            yield (
                y.name,
                "this rule has weights of whole numbers, and no scale of them",
                "leave `weights` and `scale` out",
            )
    for y in recurrent:
        if y is not kinds[1]:
            yield y.name, "`rnn` must be the first layer after the input", "move it there: it reads the encoded data"
    if dict(model.rule.args).get("schedule") and model.schedule.name != "plateau":
        yield (
            "",
            "`schedule = on` follows the held-out accuracy, but nothing here watches it",
            "write `schedule = plateau;` in `train { }`",
        )
    trained = [*recurrent, *dense[:-1]]
    if dict(model.rule.args).get("freeze_first") and len(trained) == 1:
        yield (
            trained[0].name,
            "`freeze_first` leaves nothing to train: there is one hidden layer",
            "remove it, or add a layer",
        )
    every = dict(model.rule.args).get("freeze_first") is not None  # a classifier a layer
    if dense and (
        wrong := too_large(
            model.rule["classifier"],
            dense[-1]["units"],
            [y.input.elements for y in (dense[1:] if every else dense[-1:])],
        )
    ):
        yield dense[-1].name, *wrong
    for y in recurrent:
        if (bits := y["expand"] * y.input.shape[1]) > MAX_BITS:
            yield (
                y.name,
                f"an expansion of {bits} bits is too large: at most 2^{MAX_BITS.bit_length() - 1}",
                f"write `expand = {MAX_BITS // y.input.shape[1]}` or less",
            )
    sizes = model.rule["group"]
    if len(sizes) not in (1, len(trained)):
        yield (
            "",
            f"`group` lists {len(sizes)} sizes for {len(trained)} hidden layers",
            "give one size, or one for each layer",
        )
        return
    for i, y in enumerate(trained):
        group = group_of(model.rule, i)
        if group and y["units"] % group:
            yield (
                y.name,
                f"the group size {group} does not divide {y['units']}",
                f"use one of {', '.join(str(d) for d in divisors(y['units']) if d > 1)}, or 0",
            )


def warnings(model: Model) -> Iterable[tuple[str, str, str, str]]:
    """What trains badly, as (code, layer, message, help)."""
    args, std = model.rule, initial_std(model.rule)
    dense = [y for y in model.layers if y.kind == "dense"]
    before = next((y for y in model.layers if y.kind == "rnn"), model.layers[0])
    for y, next_y in zip((before, *dense), dense[:-1], strict=False):
        k = y.output.elements
        if k % 2 == 0:
            fix = f"write `{y.kind} {k + 1};`"
            if y.kind == "input":
                encoder = y["encoder"]
                bits = encoder.name == "scale"
                fix = "add a constant bit to the data: " + (
                    f"`input {y['tensor']} pad_odd;`" if bits else "`pad_odd = on` in the encoder"
                )
                if encoder.name == "pad_odd" or dict(encoder.args).get("pad_odd"):  # it pads each row
                    fix = (
                        "give a sample one axis, which is padded as a whole:"
                        f" `{y['tensor'].kind}[{y['tensor'].elements}]`"
                    )
            yield (
                "B0504",
                y.name,
                f"`{next_y.name}` sums {k} bits: an even number, so sums can be 0 and count as +1",
                fix,
            )
    if model.batch > 2 * std:
        yield (
            "B0505",
            "",
            f"a batch of {model.batch} is large for weights that start with a deviation of {std}",
            f"set `batch = {2 * std};` or less, or a larger `std`" + (" and `bits`" if args["bits"] < 8 else ""),
        )
    most = 0.5 * model.batch / 100
    if model.batch < 100 and args["reinforce"] > most:
        yield (
            "B0506",
            "",
            f"`reinforce = {args['reinforce']:g}` is too strong for a batch of {model.batch}: it acts once a step",
            f"write `{args.name}(reinforce = {most:g})` or less",
        )
    if before.kind == "rnn" and before.input.shape[0] > MANY_STEPS:
        steps, columns = before.input.shape[0], model.layers[0]["tensor"].shape[1]
        several = math.ceil(steps / 10)
        yield (
            "B0509",
            before.name,
            f"a sequence of {steps} steps: what its first ones say is lost before the last state",
            (
                f"put several steps into one, e.g. {several} of {columns} columns: samples of shape"
                f" [{steps // several}, {several * columns}]"
            ),
        )
    if "nu" in dict(args.args):
        for y in dense[1:-1]:
            if 0 < args["nu"] * y.input.elements < 1:
                yield (
                    "B0507",
                    y.name,
                    f"`nu = {args['nu']:g}` times the fan-in {y.input.elements} is below 1: every gate is shut",
                    f"set `nu` to {math.ceil(1e4 / y.input.elements) / 1e4:g} or more",
                )


def ignores(model: Model) -> Iterable[tuple[str, str, str]]:
    """Settings that an integer rule does not read, as (setting, reason, help)."""
    yield (
        "optimizer",
        "its weights are whole numbers, which move by 2 at a time",
        "leave `optimizer` out, or use a rule that follows gradients",
    )
    own = dict(model.rule.args).get("schedule")
    if not own:
        grow = (
            ""
            if own is None
            else f", or write `{model.rule.name}(schedule = on)` and `schedule = plateau;` for groups that grow"
        )
        yield "schedule", "it has no learning rate", f"leave `schedule` out{grow}"


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
    size = b.op("lookup", b["level"], values=group, name="group") if len(group) > 1 else b.const(group[0])
    return b.op("winners", stability, size, name="winner")


def learn(cx: Context, weight: T, target: T, mask: T, a_in: T, rate: T | None, any_trigger: T) -> None:
    """``weight`` [fan_out, fan_in] follows the rows of ``target`` where ``mask`` is true, times ``a_in``."""
    b = cx.b
    delta = b.op("contract_gated", target, mask, a_in, form="tn", name="delta")
    b.phase = "update"
    h = weight + delta * 2
    if rate is not None:
        p = any_trigger.where(rate, 0).named("p")
        stream = rng.UPDATES[next(i for i, s in enumerate(b.states) if s.name == weight.name)]
        hit = b.op(
            "bernoulli", p, b["seed"], b["tick"], rows=weight.shape[0], cols=weight.shape[1], stream=stream, name="hit"
        )
        h = h + hit.where(h.clip(-1, 1) * 2, 0)
    top = 1 << (cx.rule_args["bits"] - 1)
    new = h.clip(-top, top - 1).to(weight.dtype).named(weight.name.split(".")[1] + "_new")
    b.update(weight, new)
    flips = new.sign().eq(weight.sign()).where(0, 1).sum(1).named("flips")
    b.results.append((Counter("flips", weight.name.removesuffix(".weight")), flips.name))
    b.phase = "backward"


INPUTS = (("tick", "i32"), ("seed", "i32"), ("errors", "i32"), ("samples", "i32"), ("level", "i32"))


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
