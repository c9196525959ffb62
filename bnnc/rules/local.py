"""local: local binary error signals (2412.00119).  Every layer has a fixed random classifier of its own and learns
alone.

With one unit in the last layer a classifier is one row P_l: y = P_l a_l, label 1 is y >= 0, the margin |y|, the target
+-P_l.
"""

from __future__ import annotations

import math

from ..ir.program import Program
from ..lower.context import Context
from ..model import Model
from ..papers.gates import local_errors
from ..registry import About, Named, Param, rules
from .frame import RANDOM
from .integer import UPDATE, any_of, hidden_layers, integer_rule, margin, predict, prototypes, rates, update
from .settings import PARAMS


def backward(cx: Context, program: Program) -> None:
    """The update of each layer from its own classifier [classes, width]; nothing is sent down."""
    args = cx.rule_args
    b = cx.b
    layers = hidden_layers(cx, program, False)
    last = next(r for r in program.regions if r.kind == "classifier")
    rate = rates(cx, (y.fan_in for y in layers)) if args["reinforce"] > 0 else {}
    b.phase = "backward"
    for number, y in enumerate(reversed(layers[args["freeze_first"] :])):
        b.layer = y.name
        p = cx.get(last, "p")
        if number:
            p = b.constant(f"{y.name}.classifier", prototypes(cx, number, p.shape[0], y.z.shape[1]))
        logits = b.op("contract", y.a_out, p, form="nt", name="logits")
        wrong = predict(logits).eq(b["labels"]).where(0, 1).named("wrong")
        size = margin(cx, logits) if p.shape[0] > 1 else logits.abs()
        near = (size <= math.floor(args["r"] * y.z.shape[1]) - 1).where(1, 0)
        trigger = ((wrong + near) > 0).named("trigger")
        any_trigger = any_of(cx, trigger, y.name)
        one = p.shape[0] == 1
        target = (
            (p * (b["labels"] * 2 - 1)).sign().named("target") if one else b.op("take", p, b["labels"], name="target")
        )
        update(cx, y, target, trigger, rate.get(y.fan_in), any_trigger)


def freezes(model: Model) -> list[str]:
    """The first hidden weight, where the rule's `freeze_first` is on."""
    first = next(layer for layer in model.layers if layer.kind == "dense")
    return [f"{first.name}.weight"] if model.rule["freeze_first"] else []


rules.add(
    Named(
        "local",
        "local binary errors: each layer learns from its own classifier",
        (
            Param(
                "r",
                "float",
                0.25,
                "margin below which a sample takes part, as a share of the width",
                minimum=0,
                maximum=1,
            ),
            *PARAMS,
            Param("classifier", "call:classifiers", RANDOM, "how the fixed classifiers are made"),
            Param("freeze_first", "bool", False, "leave the first layer as it starts"),
        ),
        integer_rule(backward, freezes=freezes, binary_labels=True, gates=local_errors),
        About(
            formula="trigger   at layer l: its classifier is wrong, or margin_l < floor(r K_l)\n"
            "target    a*_l = the label's prototype of that layer\n" + UPDATE,
            source="2412.00119; reinforcement: 1211.3024",
            takes="bits, and of layers dense, sign, loss; the last dense layer is a fixed classifier, and "
            "batch norm is left out",
            example="network tiny { input u8[9] median(pad_odd = on); dense 105; sign; dense 75; sign; "
            "dense 4; loss; }\n"
            "rule local;\n",
        ),
    )
)
