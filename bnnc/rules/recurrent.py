"""bep through time for the rnn layer (2512.04189, section on recurrent networks; ambiguities A6, A9 and A15 of bnnc's
notes).

targets   y_T from above;  y_t = sign(W_s^T (g_{t+1} . y_{t+1})),  g_{t,j} = 1 where |z_{t,j}| <= nu (K_x + K_s)
mask      the winner of each group by the stability summed over time: one mask a sample, shared by all steps and both
          weights
update    H_x += 2 sum_t (M . y_t) a_t^T;   H_s += 2 sum_t (M . y_t) s_{t-1}^T
Truncated (`horizon`): only the last steps have targets, count in the sum and are learnt from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..inputs.encode import of_model
from ..ir.program import Program, T
from ..lower.context import Context
from ..model import Layer
from ..registry import LayerDef
from ..rng import EXPANSIONS
from .frame import random_matrix
from .integer import hidden_weight, learn, winners
from .settings import group_of, group_sizes


@dataclass(frozen=True)
class Recurrent:
    """The rnn layer as the backward pass sees it."""

    name: str
    z: T
    a: T
    state: T
    hx: T
    hs: T
    present: T | None
    steps: int
    first: int  # the earliest step with a target

    @property
    def fan_in(self) -> int:
        """Terms of a sum at one step: of the input and of the state before."""
        return self.hx.shape[1] + self.hs.shape[1]


def forward(cx: Context, layer: Layer, x: T) -> T:
    """The last state, bit [batch, units]; keeps sums, inputs and states of all steps."""
    steps, features = layer.input.shape
    units, expand, b = layer["units"], layer["expand"], cx.b
    encoding = of_model(cx.model)
    lengths = encoding is not None and encoding.lengths
    present = b.op("split", x, steps=steps, first=features - 1, cols=1, name="present") if lengths else None
    a = b.op("split", x, steps=steps, first=0, cols=features - lengths, name="x")
    if expand:
        e = b.constant(f"{layer.name}.expansion", random_matrix(cx.model.seed, EXPANSIONS[0], expand, a.shape[1]))
        a = b.op("contract", a, e, form="nt", name="expanded").sign().named("a")
    hx = hidden_weight(cx, f"{layer.name}.weight_x", units, a.shape[1])
    hs = hidden_weight(cx, f"{layer.name}.weight_s", units, units)
    given = (present,) if present else ()
    z = b.op("recur", a, hx.sign().named("wx"), hs.sign().named("ws"), *given, steps=steps, name="z")
    state = z.sign().named("state")
    cx.save(z=z, a=a, state=state, hx=hx, hs=hs, **({"present": present} if present else {}))
    return b.op("last", state, steps=steps, name="out")


def recurrent_layer(cx: Context, program: Program) -> Recurrent | None:
    """The network's rnn layer, if it has one."""
    for r in program.regions:
        if r.kind == "rnn":
            steps, horizon = r.layer.input.shape[0], r.layer["horizon"]
            present = cx.get(r, "present") if "present" in dict(r.saved) else None
            z, a, state, hx, hs = (cx.get(r, n) for n in ("z", "a", "state", "hx", "hs"))
            return Recurrent(r.layer.name, z, a, state, hx, hs, present, steps, steps - horizon if horizon else 0)
    return None


def backward(
    cx: Context,
    y: Recurrent,
    target: T,
    trigger: T,
    rates: dict[int, T],
    any_trigger: T,
    nu: float,
    keep: bool,
    schedule: bool,
) -> None:
    """Targets of all steps from that of the last state [batch, units], and the update of both weights."""
    b = cx.b
    b.layer = y.name
    gate = (y.z.abs() <= math.floor(nu * y.fan_in)).named("gate")
    own = (y.state,) if keep else ()
    targets = b.op(
        "recur_back", target, gate, y.hs.sign().named("ws_back"), *own, steps=y.steps, first=y.first, name="targets"
    )
    stability = targets * y.z
    learnt = None
    if y.first:
        learnt = (b.op("step", steps=y.steps, rows=y.z.shape[0]) >= y.first).named("learnt")
        stability = learnt.where(stability, 0)
    total = b.op("fold", stability, steps=y.steps, name="stability")
    groups = group_sizes(y.hs.shape[0], group_of(cx.rule_args, 0), schedule, True)
    mask = winners(cx, total, groups).both(trigger).named("mask")
    mask = b.op("repeat", mask, steps=y.steps, name="masks")
    for part in (learnt, (y.present > 0) if y.present else None):
        mask = mask.both(part).named("masks") if part else mask
    learn(cx, y.hx, targets, mask, y.a, rates.get(y.hx.shape[1]), any_trigger)
    before = b.op("previous", y.state, steps=y.steps, name="before")
    learn(cx, y.hs, targets, mask, before, rates.get(y.hs.shape[1]), any_trigger)


LAYER = LayerDef("rnn", "", (), infer=lambda t, args, body: t, forward=forward)
