"""rnn: a binary Elman network that reads a sequence and gives its last state.

How it learns is a rule's business: a rule without a recurrent layer of its own cannot train it.
"""

from __future__ import annotations

from ..model import Call, Layer, TensorType
from ..registry import About, LayerDef, Param, ShapeError, layers


def _infer(t: TensorType, args: Call, body: tuple[Layer, ...]) -> TensorType:
    if len(t.shape) != 2:
        raise ShapeError(
            "B0311",
            f"`rnn` reads a sequence, got {t}",
            f"input here is {t}",
            "the input's shape must be [steps, features], e.g. `input u8[8, 8] thermometer(4);`, without `flatten`",
        )
    if args["horizon"] > t.shape[0]:
        raise ShapeError(
            "B0311",
            f"the horizon {args['horizon']} is longer than the sequence of {t.shape[0]} steps",
            "",
            f"use at most {t.shape[0]}, or leave it out to go back to the first step",
        )
    return TensorType("bit", (args["units"],))


layers.add(
    LayerDef(
        "rnn",
        "reads a sequence step by step, and gives its last binary state",
        (
            Param("units", "int", doc="width of the state", minimum=1, maximum=6144, positional=True),
            Param(
                "expand",
                "int",
                255,
                "width of the fixed random expansion of each step; 0: none",
                minimum=0,
                maximum=1 << 16,
                positional=True,
            ),
            Param("horizon", "int", 0, "how many steps errors go back in time; 0: all", minimum=0, maximum=1 << 16),
        ),
        infer=_infer,
        forward=None,
        input_kinds=("bit",),
        sequences=True,
        about=About(
            formula="a_t = sgn(E x_t)                     E [expand, features], fixed and random;\n"
            "                                     with `expand = 0` a_t = x_t\n"
            "s_t = sgn(W_x a_t + W_s s_{t-1})     s_0 = +1",
            source="2512.04189, the section on recurrent networks",
            takes="bit[steps, features], right after `input`",
            gives="bit[units], the state after the last step",
            example="network tiny { input f32[8, 3] thermometer(5); rnn 255; dense 105; sign; dense 4; loss; }\n"
            "rule bep;\n",
        ),
    )
)
