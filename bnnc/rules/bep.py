"""bep: binary error propagation for multi-layer perceptrons (2512.04189).  No float, no batch norm, no learning rate.

trigger   margin < r K_L                                             (eq. 1)
targets   a*_L = the label's prototype;  a*_l = sign(W_{l+1}^T (g_{l+1} . a*_{l+1}))      (eqs. 2, 5)
gate      g_{l,j} = 1 where |z_{l,j}| <= nu K_{l-1}                  (eq. 7)
update    the winner of each group learns (eqs. 8, 9; see rules/integer.py)
Ties of the back-projection: `plus` is the paper's sign(0) = +1, `keep` takes the current activation (no opinion).
"""

from __future__ import annotations

import math
from typing import Any

from ..gates import Gates, hidden_pairs, propagated_errors
from ..model import Model
from ..registry import Named, Param, rules
from .frame import equiangular_frame, random_prototypes
from .integer import PARAMS, group_sizes, hidden_layers, integer_rule, rates, update


def backward(cx: Any, program: Any) -> None:
    args = cx.rule_args
    b = cx.b
    layers = hidden_layers(cx, program, args["schedule"])
    loss, last = program.regions[-1], next(r for r in program.regions if r.kind == "classifier")
    b.layer, b.phase = "trigger", "backward"
    trigger = (cx.get(loss, "margin") <= math.ceil(args["r"] * layers[-1].z.shape[1]) - 1).named("trigger")
    any_trigger = (trigger.where(1, 0).max(0) > 0).named("any")
    rate = rates(cx, (y.fan_in for y in layers)) if args["reinforce"] > 0 else {}
    target = b.op("take", cx.get(last, "p"), b["labels"], name="target")
    for y in reversed(layers):
        b.layer = y.name
        below = None
        if y is not layers[0]:
            gate = (y.z.abs() <= math.floor(args["nu"] * y.fan_in)).named("gate")
            v = b.op("contract_gated", target, gate, y.h.sign().named("wb_back"), form="nn", name="v")
            below = ((v * 2 + y.a_in) if args["tie"] == "keep" else v).sign().named("target")
        update(cx, y, target, trigger, rate.get(y.fan_in), any_trigger)
        if below is not None:
            target = below


def prototypes(cx: Any, number: int, classes: int, width: int) -> Any:
    make = equiangular_frame if cx.rule_args["classifier"] == "bef" else random_prototypes
    return make(cx.model.seed, number, classes, width)


def gates(model: Model) -> Gates:
    groups = (group_sizes(n, model.rule["group"], False)[0] for _, n in hidden_pairs(model))
    return propagated_errors(model, groups, model.rule["reinforce"])


rules.add(Named("bep", "binary error propagation: integer weights, binary errors, no floats", (
    Param("r", "float", 0.5, "margin below which a sample takes part, as a share of the last width", minimum=0, maximum=1),
    Param("nu", "float", 0.25, "gate threshold, as a share of the fan-in", minimum=0, maximum=1),
    *PARAMS,
    Param("classifier", "name", "bef", "how the fixed classifier is made", ("bef", "random")),
    Param("tie", "name", "plus", "what a back-projection of 0 becomes", ("plus", "keep")),
    Param("schedule", "bool", False, "larger groups when the held-out accuracy stagnates"),
), integer_rule(backward, prototypes, gates=gates)))
