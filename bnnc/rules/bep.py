"""bep: binary error propagation (2512.04189) for multi-layer perceptrons, and with an rnn layer through time
(recurrent.py). No float, no batch norm, no learning rate.

Ties of the back-projection: `plus` is the paper's sign(0) = +1, `keep` takes the current activation (no opinion).
"""

from __future__ import annotations

import math

from ..ir.program import Program
from ..lower.context import Context
from ..model import Model
from ..papers.gates import Gates, added, propagated_errors
from ..papers.gates import through_time as through_time_gates
from ..registry import About, Named, Param, rules
from .frame import BEF
from .integer import UPDATE, any_of, hidden_layers, integer_rule, rates, update
from .recurrent import LAYER, recurrent_layer
from .recurrent import backward as through_time
from .settings import PARAMS, group_of, group_sizes


def backward(cx: Context, program: Program) -> None:
    """Targets from the last hidden layer down, and the update of each layer [fan_out, fan_in]."""
    args = cx.rule_args
    b = cx.b
    rnn = recurrent_layer(cx, program)
    layers = hidden_layers(cx, program, args["schedule"], rnn is not None)
    nu, keep = args["nu"] or 0.25, args["tie"] == "keep"
    if rnn:
        nu = args["nu"] or min(max(1.6 / math.sqrt(rnn.hs.shape[0]), 0.02), 0.1)
        keep = args["tie"] != "plus"
    loss, last = program.regions[-1], next(r for r in program.regions if r.kind == "classifier")
    b.layer, b.phase = "trigger", "backward"
    width = cx.get(last, "a").shape[1]
    trigger = (cx.get(loss, "margin") <= math.ceil(args["r"] * width) - 1).named("trigger")
    any_trigger = any_of(cx, trigger)
    fan_ins = [y.fan_in for y in layers] + ([h.shape[1] for h in (rnn.hx, rnn.hs)] if rnn else [])
    rate = rates(cx, fan_ins) if args["reinforce"] > 0 else {}
    target = b.op("take", cx.get(last, "p"), b["labels"], name="target")
    for y in reversed(layers):
        b.layer = y.name
        below = None
        if y is not layers[0] or rnn:
            gate = (y.z.abs() <= math.floor(nu * y.fan_in)).named("gate")
            v = b.op("contract_gated", target, gate, y.h.sign().named("wb_back"), form="nn", name="v")
            below = ((v * 2 + y.a_in) if keep else v).sign().named("target")
        update(cx, y, target, trigger, rate.get(y.fan_in), any_trigger)
        if below is not None:
            target = below
    if rnn:
        through_time(cx, rnn, target, trigger, rate, any_trigger, nu, keep, args["schedule"])


def gates(model: Model) -> Gates:
    """A training step in Boolean gates, layers and time together."""
    rnn = next((y for y in model.layers if y.kind == "rnn"), None)
    dense = [(y.input.elements, y["units"]) for y in model.layers if y.kind == "dense"]
    widths = [*([rnn["units"]] if rnn else []), *(n for _, n in dense[:-1])]
    groups = [group_sizes(n, group_of(model.rule, i), False, rnn is not None)[0] for i, n in enumerate(widths)]
    batch, p_r = model.batch, model.rule["reinforce"]
    if rnn is None:
        return propagated_errors(batch, dense, groups, p_r)
    steps, features = rnn.input.shape
    return added(
        (
            propagated_errors(batch, dense, groups[1:], p_r, True),
            through_time_gates(
                batch, steps, features, rnn["expand"], rnn["units"], groups[0], p_r, rnn["horizon"] or steps
            ),
        )
    )


rules.add(
    Named(
        "bep",
        "binary error propagation: whole-number weights, no floats",
        (
            Param(
                "r",
                "float",
                0.5,
                "margin below which a sample takes part, as a share of the last width",
                minimum=0,
                maximum=1,
            ),
            Param(
                "nu",
                "float",
                0.0,
                "gate threshold, as a share of the fan-in; 0: 0.25, with rnn 1.6 / sqrt(units) from 0.02 to 0.1",
                minimum=0,
                maximum=1,
            ),
            *PARAMS,
            Param("classifier", "call:classifiers", BEF, "how the fixed classifier is made"),
            Param(
                "tie",
                "name",
                "auto",
                "what a back-projection of 0 becomes; auto: plus, with rnn keep",
                ("auto", "plus", "keep"),
            ),
            Param("schedule", "bool", False, "larger groups when the held-out accuracy stagnates"),
        ),
        integer_rule(backward, LAYER, gates=gates),
        About(
            formula="trigger   a sample takes part where its margin < r K_L               (eq. 1)\n"
            "targets   a*_L = the label's prototype\n"
            "          a*_l = sgn(W_{l+1}^T (g_{l+1} . a*_{l+1}))            (eqs. 2, 5)\n"
            "gate      g_{l,j} = 1 where |z_{l,j}| <= nu K_{l-1}             (eq. 7)\n" + UPDATE,
            source="2512.04189, equations 1-9; reinforcement: 1211.3024",
            takes="bits, and of layers dense, sign, an rnn at the start, loss; the last dense layer is a fixed "
            "classifier, and batch norm is left out",
            example="network tiny { input u8[9] median(pad_odd = on); dense 105; sign; dense 75; sign; "
            "dense 4; loss; }\n"
            "rule bep(r = 0.75);\n",
        ),
    )
)
