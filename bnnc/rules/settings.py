"""What the arguments of the integer rules (bep, local) mean, and which networks they suit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..model import Call, Layer, Model
from ..registry import Param
from .base import Complaint
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


# -- what they cannot train -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Network:
    """A model's layers as an integer rule sees them: batch norm and flattening are nothing to it."""

    model: Model
    layers: list[Layer]
    dense: list[Layer]
    recurrent: list[Layer]

    @property
    def trained(self) -> list[Layer]:
        """Layers with weights of their own: all but the last, whose classifier is fixed."""
        return [*self.recurrent, *self.dense[:-1]]


def validate(model: Model) -> Iterable[Complaint]:
    """What an integer rule cannot train, as (layer, message, help)."""
    layers = [layer for layer in model.layers if layer.kind not in ("batchnorm", "flatten")]
    net = _Network(
        model,
        layers,
        [layer for layer in layers if layer.kind == "dense"],
        [layer for layer in layers if layer.kind == "rnn"],
    )
    for complaints in (_shape, _kinds, _recurrence, _arguments, _matrices, _groups):
        yield from complaints(net)


def _shape(net: _Network) -> Iterator[Complaint]:
    """Bits, hidden layers with signs, a dense layer, the loss."""
    first, last, dense = net.layers[0], net.layers[-1], net.dense
    if first.output.kind != "bit":
        yield first.name, "this rule needs bits as input", "encode the data: `input u8[...] sign(threshold = 128);`"
    if len(dense) + len(net.recurrent) < 2 or not dense or net.layers[-2] is not dense[-1]:
        yield (
            last.name,
            "this rule needs at least one hidden layer, and a dense layer before the loss",
            "write `dense N; sign; dense CLASSES; loss ...;`",
        )
    for a, b in zip(net.layers, net.layers[1:], strict=False):
        if a.kind == "dense" and a is not dense[-1] and b.kind != "sign":
            yield b.name, f"this rule needs `sign` after a hidden dense layer, not `{b.kind}`", "add `sign;`"


def _kinds(net: _Network) -> Iterator[Complaint]:
    for layer in net.layers[1:]:
        if layer.kind not in ("dense", "sign", "loss", "rnn"):
            yield layer.name, f"this rule has no `{layer.kind}`", "remove it, or use another rule"
        elif layer.kind == "dense" and (layer["weights"], layer["scale"]) != ("binary", "off"):
            message = "this rule has weights of whole numbers, and no scale of them"
            yield layer.name, message, "leave `weights` and `scale` out"


def _recurrence(net: _Network) -> Iterator[Complaint]:
    for layer in net.recurrent:
        if layer is not net.layers[1]:
            message = "`rnn` must be the first layer after the input"
            yield layer.name, message, "move it there: it reads the encoded data"


def _arguments(net: _Network) -> Iterator[Complaint]:
    args = dict(net.model.rule.args)
    if args.get("schedule") and net.model.schedule.name != "plateau":
        yield (
            "",
            "`schedule = on` follows the held-out accuracy, but nothing here watches it",
            "write `schedule = plateau;` in `train { }`",
        )
    if args.get("freeze_first") and len(net.trained) == 1:
        message = "`freeze_first` leaves nothing to train: there is one hidden layer"
        yield net.trained[0].name, message, "remove it, or add a layer"


def _matrices(net: _Network) -> Iterator[Complaint]:
    """Fixed matrices that would be too large: classifiers, one or one a layer, and expansions."""
    rule, dense = net.model.rule, net.dense
    every = "freeze_first" in dict(rule.args)
    widths = [layer.input.elements for layer in (dense[1:] if every else dense[-1:])]
    if dense and (wrong := too_large(rule["classifier"], dense[-1]["units"], widths)):
        yield dense[-1].name, *wrong
    for layer in net.recurrent:
        if (bits := layer["expand"] * layer.input.shape[1]) > MAX_BITS:
            yield (
                layer.name,
                f"an expansion of {bits} bits is too large: at most 2^{MAX_BITS.bit_length() - 1}",
                f"write `expand = {MAX_BITS // layer.input.shape[1]}` or less",
            )


def _groups(net: _Network) -> Iterator[Complaint]:
    sizes = net.model.rule["group"]
    if len(sizes) not in (1, len(net.trained)):
        message = f"`group` lists {len(sizes)} sizes for {len(net.trained)} hidden layers"
        yield "", message, "give one size, or one for each layer"
        return
    for i, layer in enumerate(net.trained):
        group, units = group_of(net.model.rule, i), layer["units"]
        if group and units % group:
            fitting = ", ".join(str(d) for d in divisors(units) if d > 1)
            yield layer.name, f"the group size {group} does not divide {units}", f"use one of {fitting}, or 0"


# -- what trains badly ------------------------------------------------------------------------------------------------
Warned = tuple[str, str, str, str]  # (code, layer, message, help)


def warnings(model: Model) -> Iterable[Warned]:
    """What trains badly, as (code, layer, message, help)."""
    dense = [layer for layer in model.layers if layer.kind == "dense"]
    before = next((layer for layer in model.layers if layer.kind == "rnn"), model.layers[0])
    yield from _even_sums(before, dense)
    yield from _batches(model)
    if before.kind == "rnn":
        yield from _long_sequences(before, model.layers[0]["tensor"].shape[1])
    if "nu" in dict(model.rule.args):
        yield from _shut_gates(model.rule["nu"], dense)


def _even_sums(before: Layer, dense: list[Layer]) -> Iterator[Warned]:
    """``before``: what the first of the dense layers reads."""
    for layer, reader in zip((before, *dense), dense[:-1], strict=False):
        k = layer.output.elements
        if k % 2 == 0:
            fix = _odd_input(layer) if layer.kind == "input" else f"write `{layer.kind} {k + 1};`"
            message = f"`{reader.name}` sums {k} bits: an even number, so sums can be 0 and count as +1"
            yield "B0504", layer.name, message, fix


def _odd_input(layer: Layer) -> str:
    """How the data's bits become an odd number."""
    encoder, tensor = layer["encoder"], layer["tensor"]
    if encoder.name == "pad_odd" or dict(encoder.args).get("pad_odd"):  # it pads each row
        return f"give a sample one axis, which is padded as a whole: `{tensor.kind}[{tensor.elements}]`"
    where = f"`input {tensor} pad_odd;`" if encoder.name == "scale" else "`pad_odd = on` in the encoder"
    return f"add a constant bit to the data: {where}"


def _batches(model: Model) -> Iterator[Warned]:
    args, std = model.rule, initial_std(model.rule)
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


def _long_sequences(layer: Layer, columns: int) -> Iterator[Warned]:
    steps = layer.input.shape[0]
    if steps > MANY_STEPS:
        several = math.ceil(steps / 10)
        yield (
            "B0509",
            layer.name,
            f"a sequence of {steps} steps: what its first ones say is lost before the last state",
            f"put several steps into one, e.g. {several} of {columns} columns: samples of shape"
            f" [{steps // several}, {several * columns}]",
        )


def _shut_gates(nu: float, dense: list[Layer]) -> Iterator[Warned]:
    for layer in dense[1:-1]:
        fan_in = layer.input.elements
        if 0 < nu * fan_in < 1:
            message = f"`nu = {nu:g}` times the fan-in {fan_in} is below 1: every gate is shut"
            yield "B0507", layer.name, message, f"set `nu` to {math.ceil(1e4 / fan_in) / 1e4:g} or more"


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
