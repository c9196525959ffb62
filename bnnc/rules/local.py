"""local: local binary error signals (2412.00119).  Every layer has a fixed random classifier of its own and learns alone.

trigger at layer l   wrong there, or margin_l < floor(r K_l)
target               the label's prototype of that layer
"""

from __future__ import annotations

import math
from typing import Any

from ..gates import local_errors
from ..registry import Named, Param, rules
from .frame import random_prototypes
from .integer import PARAMS, hidden_layers, integer_rule, margin, rates, update


def backward(cx: Any, program: Any) -> None:
    args = cx.rule_args
    b = cx.b
    layers = hidden_layers(cx, program, False)
    last = next(r for r in program.regions if r.kind == "classifier")
    rate = rates(cx, (y.fan_in for y in layers)) if args["reinforce"] > 0 else {}
    b.phase = "backward"
    for number, y in enumerate(reversed(layers)):
        b.layer = y.name
        p = cx.get(last, "p")
        if number:
            p = b.constant(f"{y.name}.classifier", random_prototypes(cx.model.seed, number, p.shape[0], y.z.shape[1]))
        logits = b.op("contract", y.a_out, p, form="nt", name="logits")
        wrong = logits.argmax(1).eq(b["labels"]).where(0, 1).named("wrong")
        near = (margin(cx, logits) <= math.floor(args["r"] * y.z.shape[1]) - 1).where(1, 0)
        trigger = ((wrong + near) > 0).named("trigger")
        any_trigger = (trigger.where(1, 0).max(0) > 0).named("any")
        target = b.op("take", p, b["labels"], name="target")
        update(cx, y, target, trigger, rate.get(y.fan_in), any_trigger)


rules.add(Named("local", "local binary errors: every layer learns from a fixed random classifier of its own", (
    Param("r", "float", 0.25, "margin below which a sample takes part, as a share of the width", minimum=0, maximum=1),
    *PARAMS,
), integer_rule(backward, lambda cx, number, classes, width: random_prototypes(cx.model.seed, number, classes, width),
                gates=local_errors)))
