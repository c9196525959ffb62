"""The op table: for every op its class, its shape and dtype rule, and its meaning in NumPy.

``bnnc/ir/interp.py`` runs Programs with these functions, and everything else is compared with them.  Summation order is
part of the meaning (DESIGN: numbers): a sum adds in index order; a float x bit contraction adds groups of four terms,
``(t0 + t1) + (t2 + t3)``, to the accumulator, which is what makes table look-ups of signed sums exact.

Arithmetic on integers only (a ``bit`` counts as +-1) is exact i32 arithmetic; with any f32 or f16 operand it is f32.

Classes: ``map`` (element-wise with broadcasting), ``reduce`` (one axis), ``contract`` (matrix product), ``group``
(within groups of columns), ``recur`` (through time, see ``sequence.py``), ``source`` (no array inputs).
A map op that is added here needs one line in each backend's expression printer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import rng
from ..diag import InternalError
from .dtype import F32, INTEGERS, NUMPY, as_f32, sign
from .num import exp_f32, log_f32, powi_f32

Shape = tuple[int, int]
Array = np.ndarray


@dataclass(frozen=True, slots=True)
class OpSpec:
    """``infer(values, attrs) -> (shape, dtype)``; ``run(arrays, attrs, out_dtype) -> array``."""

    name: str
    cls: str
    infer: Callable[[Sequence[Any], dict[str, Any]], tuple[Shape, str]]
    run: Callable[[Sequence[Array], dict[str, Any], str], Array]
    doc: str = ""


OPS: dict[str, OpSpec] = {}
EXACT = (
    "add",
    "sub",
    "mul",
    "neg",
    "abs",
    "max",
    "min",
    "le",
    "ge",
    "gt",
    "eq",
    "sign",
)  # on integers: integer arithmetic


def add_op(name: str, cls: str, infer: Any, run: Any, doc: str = "") -> None:
    """Put an op into the table.  ``cls`` is one of the classes above; see OpSpec for ``infer`` and ``run``."""
    OPS[name] = OpSpec(name, cls, infer, run, doc)


def broadcast(values: Sequence[Any]) -> Shape:
    """The common shape of map operands: each axis equal, or 1."""
    rows, cols = (max(v.shape[i] for v in values) for i in (0, 1))
    for v in values:
        if v.shape[0] not in (1, rows) or v.shape[1] not in (1, cols):
            raise InternalError(f"cannot broadcast {[str(v) for v in values]}")
    return rows, cols


def _map(name: str, fn: Callable[..., Array], out: str = "f32", n: int = 2, doc: str = "") -> None:
    def infer(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
        if len(vs) != n or any(v.dtype == "bool" for v in vs):
            raise InternalError(f"{name} takes {n} numbers, not {[str(v) for v in vs]}")
        exact = name in EXACT and all(v.dtype in INTEGERS for v in vs)
        return broadcast(vs), "i32" if exact and out == "f32" else out

    def run(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
        if name in EXACT and all(x.dtype.kind in "iu" for x in xs):
            return fn(*(x.astype(np.int32) for x in xs))
        return fn(*(as_f32(x) for x in xs))

    add_op(name, "map", infer, run, doc)


_map("add", np.add)
_map("sub", np.subtract)
_map("mul", np.multiply)
_map("div", np.divide)
_map("neg", np.negative, n=1)
_map("abs", np.abs, n=1)
_map("sqrt", np.sqrt, n=1, doc="correctly rounded")
_map("max", lambda a, b: np.asarray(np.where(a > b, a, b)), doc="a > b ? a : b")
_map("min", lambda a, b: np.asarray(np.where(a < b, a, b)), doc="a < b ? a : b")
_map("exp", exp_f32, n=1, doc="bnnc's own polynomial, the same bits everywhere")
_map("log", log_f32, n=1, doc="bnnc's own polynomial, the same bits everywhere")
_map("powi", powi_f32, doc="a to a whole power b >= 0, by squaring, in f32")
_map("le", lambda a, b: a <= b, out="bool")
_map("ge", lambda a, b: a >= b, out="bool")
_map("gt", lambda a, b: a > b, out="bool")
_map("eq", lambda a, b: a == b, out="bool")
_map("sign", sign, out="bit", n=1, doc="+1 where x >= 0, else -1")


def _infer_select(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    if len(vs) != 3 or vs[0].dtype != "bool":
        raise InternalError("select takes a bool and two numbers")
    return broadcast(vs), "i32" if all(v.dtype in INTEGERS for v in vs[1:]) else "f32"


def _run_select(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
    return np.asarray(np.where(xs[0], xs[1].astype(NUMPY[dtype]), xs[2].astype(NUMPY[dtype])))


add_op("select", "map", _infer_select, _run_select, "c ? a : b")


def _infer_and(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    if any(v.dtype != "bool" for v in vs):
        raise InternalError("`and` takes bools")
    return broadcast(vs), "bool"


add_op("and", "map", _infer_and, lambda xs, a, d: xs[0] & xs[1])


def _infer_cast(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    to = attrs["dtype"]
    if to not in ("f16", "f32") and not (to in ("i8", "i16", "i32") and vs[0].dtype in (*INTEGERS, "bool")):
        raise InternalError(f"cast of {vs[0].dtype} to {to}")
    return vs[0].shape, to


def _run_cast(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
    if dtype in INTEGERS:
        if xs[0].size and not np.iinfo(NUMPY[dtype]).min <= xs[0].min() <= xs[0].max() <= np.iinfo(NUMPY[dtype]).max:
            raise InternalError(f"a value does not fit {dtype}")
        return xs[0].astype(NUMPY[dtype])
    with np.errstate(over="ignore"):
        return as_f32(xs[0]).astype(NUMPY[dtype])


add_op(
    "cast",
    "map",
    _infer_cast,
    _run_cast,
    "f32, f16: round to nearest even; integers: the value must fit; a bool becomes 0 or 1",
)
add_op(
    "copy",
    "map",
    lambda vs, a: (vs[0].shape, vs[0].dtype),
    lambda xs, a, d: xs[0].copy(),
    "the same value, stored again",
)
add_op(
    "const",
    "source",
    lambda vs, a: ((1, 1), "i32" if isinstance(a["value"], int) else "f32"),
    lambda xs, a, d: np.full((1, 1), a["value"], NUMPY[d]),
)
add_op(
    "col",
    "source",
    lambda vs, a: ((1, a["cols"]), "i32"),
    lambda xs, a, d: np.arange(a["cols"], dtype=np.int32)[None],
    "the column's number",
)


def _infer_reduce(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    (v,) = vs
    shape = (1, v.shape[1]) if attrs["axis"] == 0 else (v.shape[0], 1)
    if attrs["how"] == "argmax":
        return shape, "i32"
    if v.dtype in INTEGERS:
        return shape, "i32"
    if v.dtype == "bool":
        raise InternalError("cast a bool before reducing it")
    return shape, "f32"


def _run_reduce(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
    x = xs[0] if attrs["axis"] == 0 else xs[0].T
    if attrs["how"] == "argmax":
        x = x if x.dtype.kind in "iu" else as_f32(x)
        best, arg = x[0], np.zeros(x.shape[1], np.int32)
        for i in range(1, x.shape[0]):
            more = x[i] > best
            best, arg = np.where(more, x[i], best), np.where(more, i, arg).astype(np.int32)
        out = arg
    elif dtype == "i32" and attrs["how"] == "max":
        out = x.max(axis=0).astype(np.int32)
    elif dtype == "i32":
        out = x.astype(np.int64).sum(axis=0).astype(np.int32)
    elif attrs["how"] == "max":
        out = as_f32(x[0])
        for row in x[1:]:
            out = np.where(as_f32(row) > out, as_f32(row), out)
    else:
        out = np.zeros(x.shape[1], F32)
        for row in x:
            out = out + as_f32(row)
    return out[None, :] if attrs["axis"] == 0 else out[:, None]


add_op(
    "reduce",
    "reduce",
    _infer_reduce,
    _run_reduce,
    "sum, max or argmax (the first) over axis 0 (rows) or 1 (columns), in index order; a sum of integers is an"
    " exact i32",
)

FORMS = ("nn", "nt", "tn")


def contract_dims(a: Shape, b: Shape, form: str) -> tuple[int, int, int]:
    """(rows of the result, length of the sum, columns of the result) of ``a b``, ``a b^T`` or ``a^T b``."""
    m, q = (a[1], a[0]) if form == "tn" else a
    q2, n = (b[1], b[0]) if form == "nt" else b
    if q != q2:
        raise InternalError(f"contract {form} of {a} and {b}")
    return m, q, n


def exact_sum(a: Any, b: Any, terms: int, attrs: dict[str, Any]) -> str:
    """The dtype of a sum of products of whole numbers of at most 8 bits, where it is taken exactly: a u8 by bits, bits
    by bits, and an i8, whose entries are at most ``most`` in size, by bits or a u8; else empty.  Raises InternalError
    where it does not fit 32 bits.
    """
    sizes = {"bit": 1, "u8": 255, "i8": attrs.get("most", 128)}
    kinds = [v.dtype for v in (a, b)]
    if not (set(kinds) <= set(sizes) and ("i8" in kinds or kinds[1] == "bit")):
        return ""
    top = terms * sizes[kinds[0]] * sizes[kinds[1]]
    if top > 2**31 - 1:
        raise InternalError(f"a sum of {terms} terms does not fit 32 bits")
    return "i16" if top <= 32767 else "i32"


def _infer_contract(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    a, b = vs
    m, q, n = contract_dims(a.shape, b.shape, attrs["form"])
    if dtype := exact_sum(a, b, q, attrs):
        return (m, n), dtype
    if a.dtype == "bool" or b.dtype in ("bool", "u8"):
        raise InternalError(f"no contraction of {a.dtype} and {b.dtype}")
    return (m, n), "f32"


def _run_contract(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
    a, b = xs
    a = a.T if attrs["form"] == "tn" else a
    b = b.T if attrs["form"] == "nt" else b
    if dtype in ("i16", "i32"):
        return (a.astype(np.float64) @ b.astype(np.float64)).astype(NUMPY[dtype])  # exact: |sum| < 2**31 < 2**53
    grouped = xs[0].dtype == np.int8 or xs[1].dtype == np.int8
    fa, fb = as_f32(a), as_f32(b)
    acc = np.zeros((fa.shape[0], fb.shape[1]), F32)
    if not grouped:
        for q in range(fa.shape[1]):
            acc = acc + fa[:, q, None] * fb[None, q, :]
        return acc
    pad = -fa.shape[1] % 4
    fa, fb = np.pad(fa, ((0, 0), (0, pad))), np.pad(fb, ((0, pad), (0, 0)))
    for q in range(0, fa.shape[1], 4):
        t0, t1, t2, t3 = (fa[:, i, None] * fb[None, i, :] for i in range(q, q + 4))
        acc = acc + ((t0 + t1) + (t2 + t3))
    return acc


add_op(
    "contract",
    "contract",
    _infer_contract,
    _run_contract,
    "matrix product; bit x bit, u8 x bit and i8 (of at most `most` in size) x bit or u8 are exact integers, float x bit"
    " adds in groups of four, float x float in order",
)


def _infer_gated(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    a, gate, b = vs
    m, q, n = contract_dims(a.shape, b.shape, attrs["form"])
    if (a.dtype, gate.dtype, b.dtype) != ("bit", "bool", "bit") or gate.shape != a.shape or q > 32767 * 65536:
        raise InternalError("contract_gated takes bit, bool (same shape) and bit")
    return (m, n), "i16" if q <= 32767 else "i32"


def _run_gated(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
    return _run_contract([np.where(xs[1], xs[0], 0).astype(np.int8), xs[2]], attrs, dtype)


add_op(
    "contract_gated",
    "contract",
    _infer_gated,
    _run_gated,
    "a matrix product whose left operand is 0 where the gate is false: a sum of +-1 over the open gates, exact",
)


def _infer_winners(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    s, group = vs
    if s.dtype not in INTEGERS or group.shape != (1, 1):
        raise InternalError("winners takes integers and a group size")
    return s.shape, "bool"


def _run_winners(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
    s, size = xs[0].astype(np.int64), int(xs[1][0, 0])
    out = np.zeros(s.shape, bool)
    for first in range(0, s.shape[1], size):
        part = s[:, first : first + size]
        key = np.where(part < 0, part, np.iinfo(np.int64).min)  # the negative one nearest to zero, the first of equals
        best = key.argmax(axis=1)
        rows = np.nonzero(part.min(axis=1) < 0)[0]
        out[rows, first + best[rows]] = True
    return out


add_op(
    "winners",
    "group",
    _infer_winners,
    _run_winners,
    "in each row and each group of consecutive columns: the negative entry nearest to zero (the first of equals),"
    " if any",
)


def _infer_take(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    table, index = vs
    if index.shape[1] != 1 or index.dtype not in INTEGERS:
        raise InternalError("take wants one integer per row")
    return (index.shape[0], table.shape[1]), table.dtype


add_op("take", "map", _infer_take, lambda xs, a, d: xs[0][xs[1][:, 0].astype(np.int64)], "row index[r] of a table")
add_op(
    "lookup",
    "map",
    lambda vs, a: ((1, 1), "i32"),
    lambda xs, a, d: np.array([[a["values"][min(int(xs[0][0, 0]), len(a["values"]) - 1)]]], np.int32),
    "values[i], the last one beyond the end",
)


def _run_rate(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
    return np.array([[min(math.isqrt(attrs["scale"] * int(xs[0][0, 0]) // max(1, int(xs[1][0, 0]))), 65536)]], np.int32)


add_op(
    "rate",
    "map",
    lambda vs, a: ((1, 1), "i32"),
    _run_rate,
    "floor(sqrt(scale * a / b)), at most 65536: a probability in units of 2**-16",
)


def _run_bernoulli(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
    p, seed, tick = (int(x[0, 0]) for x in xs)
    return rng.bernoulli(seed & 0xFFFFFFFF, attrs["stream"], tick, p, attrs["rows"], attrs["cols"])


add_op(
    "bernoulli",
    "map",
    lambda vs, a: ((a["rows"], a["cols"]), "bool"),
    _run_bernoulli,
    "true with probability p / 2**16, a function of (seed, stream, tick, element)",
)
