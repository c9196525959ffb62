"""Ops over time.  A batch of n sequences of T steps is a matrix of n T rows, sample by sample: row b T + t is step t.

``split``, ``previous``, ``last``, ``repeat`` and ``second`` (class ``rows``) only choose which row a result comes
from; ``fold`` adds up a sample's rows; ``recur`` and ``recur_back`` (class ``recur``) walk through time.  All are exact
integer arithmetic.

    recur        z_t = a_t Wx^T + s_{t-1} Ws^T,   s_t = sign(z_t),  s_0 = +1            (binary Elman network,
                                                  2512.04189)
    recur_back   y_T = y,   y_t = sign(sum over open gates j of step t+1 of y_{t+1,j} Ws_j)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diag import InternalError
from .dtype import INTEGERS, NUMPY, sign
from .ops import Array, Shape, add_op

# element-wise but for the row
ROWS = ("split", "previous", "last", "repeat", "second", "join", "turn", "unwindow", "spread", "hit")
CUT = ("noise", "dither")  # functions of the element's place, which can be told where a strip begins
DRAWN = ("bernoulli", *CUT)
FROM_MEMORY = (*ROWS, "take", *DRAWN)  # map ops that read their operands elsewhere than at their own element


def _rows(v: Any, steps: int) -> int:
    if steps < 1 or v.shape[0] % steps:
        raise InternalError(f"{v} is not rows of {steps} steps")
    return int(v.shape[0] // steps)


def _infer_split(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    (x,) = vs
    if (
        x.shape[1] % a["steps"]
        or a["first"] + a["cols"] > x.shape[1] // a["steps"]
        or (x.dtype != "bit" and a["steps"] * a["cols"] != x.shape[1])
    ):
        raise InternalError(f"split {a} of {x}")
    return (x.shape[0] * a["steps"], a["cols"]), x.dtype


add_op(
    "split",
    "map",
    _infer_split,
    lambda xs, a, d: xs[0].reshape(xs[0].shape[0] * a["steps"], -1)[:, a["first"] : a["first"] + a["cols"]].copy(),
    "a row as one row a step: `cols` columns from column `first` of each (of numbers: all)",
)


def _infer_previous(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    _rows(vs[0], a["steps"])
    if vs[0].dtype != "bit":
        raise InternalError(f"previous of {vs[0]}")
    return vs[0].shape, "bit"


def _run_previous(xs: Sequence[Array], a: dict[str, Any], dtype: str) -> Array:
    out = np.roll(xs[0], 1, axis=0)
    out[:: a["steps"]] = 1
    return out


add_op("previous", "map", _infer_previous, _run_previous, "the row before; +1 at each sample's first step")
add_op(
    "last",
    "map",
    lambda vs, a: ((_rows(vs[0], a["steps"]), vs[0].shape[1]), vs[0].dtype),
    lambda xs, a, d: xs[0][a["steps"] - 1 - a.get("before", 0) :: a["steps"]].copy(),
    "the row of each sample's last step, or of one `before` it",
)
add_op(
    "repeat",
    "map",
    lambda vs, a: ((vs[0].shape[0] * a["steps"], vs[0].shape[1]), vs[0].dtype),
    lambda xs, a, d: np.repeat(xs[0], a["steps"], axis=0),
    "a row a sample as the same row at every step",
)
add_op(
    "second",
    "map",
    lambda vs, a: ((2 * a["rows"] * _rows(vs[0], 2 * a["rows"]), vs[0].shape[1]), vs[0].dtype),
    lambda xs, a, d: np.repeat(xs[0].reshape(-1, 2, a["rows"], xs[0].shape[1])[:, 1:], 2, axis=1).reshape(xs[0].shape),
    "of each two blocks of `rows` rows the second one, twice",
)
add_op(
    "step",
    "source",
    lambda vs, a: ((a["rows"], 1), "i32"),
    lambda xs, a, d: (np.arange(a["rows"], dtype=np.int32) % a["steps"])[:, None],
    "the row's step, 0 .. steps - 1",
)


def _infer_fold(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    (x,) = vs
    if x.dtype not in INTEGERS:
        raise InternalError(f"fold of {x}")
    return (_rows(x, a["steps"]), x.shape[1]), "i32"


add_op(
    "fold",
    "reduce",
    _infer_fold,
    lambda xs, a, d: xs[0].astype(np.int64).reshape(-1, a["steps"], xs[0].shape[1]).sum(axis=1).astype(np.int32),
    "the sum over a sample's steps, an exact i32",
)


def _infer_recur(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    x, wx, ws, *present = vs
    k = ws.shape[0]
    ok = all(v.dtype == "bit" for v in (x, wx, ws)) and ws.shape == (k, k) and wx.shape == (k, x.shape[1])
    if not ok or _rows(x, a["steps"]) < 1 or any(p.shape != (x.shape[0], 1) or p.dtype != "bit" for p in present):
        raise InternalError(f"recur of {[str(v) for v in vs]}")
    return (x.shape[0], k), "i16" if x.shape[1] + k <= 32767 else "i32"


def _run_recur(xs: Sequence[Array], a: dict[str, Any], dtype: str) -> Array:
    x, wx, ws = (v.astype(np.float64) for v in xs[:3])  # exact: |sum| < 2**53
    z = x @ wx.T
    s = np.ones((x.shape[0] // a["steps"], ws.shape[0]))
    for t in range(a["steps"]):
        z[t :: a["steps"]] += s @ ws.T
        if len(xs) > 3:
            z[t :: a["steps"]] *= xs[3][t :: a["steps"]] > 0
        s = sign(z[t :: a["steps"]]).astype(np.float64)
    return z.astype(NUMPY[dtype])


add_op(
    "recur",
    "recur",
    _infer_recur,
    _run_recur,
    "(a, Wx, Ws[, present]): sums of a recurrent layer of signs; a step that is not present has sum 0, so state +1",
)


def _infer_recur_back(vs: Sequence[Any], a: dict[str, Any]) -> tuple[Shape, str]:
    y, gate, ws, *state = vs
    if (
        gate.dtype != "bool"
        or any(v.dtype != "bit" for v in (y, ws, *state))
        or gate.shape[1] != ws.shape[0]
        or (y.shape != (_rows(gate, a["steps"]), ws.shape[0]) or any(s.shape != gate.shape for s in state))
    ):
        raise InternalError(f"recur_back of {[str(v) for v in vs]}")
    return gate.shape, "bit"


def _run_recur_back(xs: Sequence[Array], a: dict[str, Any], dtype: str) -> Array:
    y, gate, ws = xs[0], xs[1], xs[2].astype(np.float64)
    steps, out = a["steps"], np.ones(gate.shape, np.int8)
    out[steps - 1 :: steps] = y
    for t in range(steps - 2, a["first"] - 1, -1):
        v = np.where(gate[t + 1 :: steps], out[t + 1 :: steps], 0) @ ws
        out[t::steps] = sign(2 * v + xs[3][t::steps] if len(xs) > 3 else v)
    return out


add_op(
    "recur_back",
    "recur",
    _infer_recur_back,
    _run_recur_back,
    "(y, gate, Ws[, state]): targets going back in time from y at the last step to step `first`, +1 before it; a sum of"
    " 0 gives +1, or the state's own sign where it is given",
)
