"""The op table: for every op its class, its shape and dtype rule, and its meaning in NumPy.

``bnnc/ir/interp.py`` runs Programs with these functions, and everything else is compared with them.  Summation order is
part of the meaning (DESIGN: numbers): a sum adds in index order; a float x bit contraction adds groups of four terms,
``(t0 + t1) + (t2 + t3)``, to the accumulator, which is what makes table look-ups of signed sums exact.

Classes: ``map`` (element-wise with broadcasting), ``reduce`` (one axis), ``contract`` (matrix product), ``source``
(no inputs).  A map op that is added here needs one line in each backend's expression printer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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


def _add(name: str, cls: str, infer: Any, run: Any, doc: str = "") -> None:
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
        return broadcast(vs), out

    def run(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
        return fn(*(as_f32(x) for x in xs))

    _add(name, "map", infer, run, doc)


_map("add", np.add)
_map("sub", np.subtract)
_map("mul", np.multiply)
_map("div", np.divide)
_map("neg", np.negative, n=1)
_map("abs", np.abs, n=1)
_map("sqrt", np.sqrt, n=1, doc="correctly rounded")
_map("max", lambda a, b: np.where(a > b, a, b), doc="a > b ? a : b")
_map("min", lambda a, b: np.where(a < b, a, b), doc="a < b ? a : b")
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
    return broadcast(vs), "f32"


_add("select", "map", _infer_select, lambda xs, a, d: np.where(xs[0], as_f32(xs[1]), as_f32(xs[2])), "c ? a : b")


def _infer_cast(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    if attrs["dtype"] not in ("f16", "f32"):
        raise InternalError(f"cast to {attrs['dtype']}")
    return vs[0].shape, attrs["dtype"]


def _run_cast(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
    with np.errstate(over="ignore"):
        return as_f32(xs[0]).astype(NUMPY[dtype])


_add("cast", "map", _infer_cast, _run_cast, "round to nearest even; a bool becomes 0 or 1")
_add("copy", "map", lambda vs, a: (vs[0].shape, vs[0].dtype), lambda xs, a, d: xs[0].copy(), "the same value, stored again")
_add("const", "source", lambda vs, a: ((1, 1), "f32"), lambda xs, a, d: np.full((1, 1), a["value"], F32))
_add("col", "source", lambda vs, a: ((1, a["cols"]), "i32"), lambda xs, a, d: np.arange(a["cols"], dtype=np.int32)[None],
     "the column's number")


def _infer_reduce(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    (v,) = vs
    shape = (1, v.shape[1]) if attrs["axis"] == 0 else (v.shape[0], 1)
    if attrs["how"] == "argmax":
        return shape, "i32"
    if attrs["how"] == "sum" and v.dtype in INTEGERS:
        return shape, "i32"
    if v.dtype == "bool":
        raise InternalError("cast a bool before reducing it")
    return shape, "f32"


def _run_reduce(xs: Sequence[Array], attrs: dict[str, Any], dtype: str) -> Array:
    x = xs[0] if attrs["axis"] == 0 else xs[0].T
    if attrs["how"] == "argmax":
        best, arg = as_f32(x[0]), np.zeros(x.shape[1], np.int32)
        for i in range(1, x.shape[0]):
            more = as_f32(x[i]) > best
            best, arg = np.where(more, as_f32(x[i]), best), np.where(more, i, arg).astype(np.int32)
        out = arg
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


_add("reduce", "reduce", _infer_reduce, _run_reduce,
     "sum, max or argmax (the first) over axis 0 (rows) or 1 (columns), in index order; a sum of integers is an exact i32")

FORMS = ("nn", "nt", "tn")


def contract_dims(a: Shape, b: Shape, form: str) -> tuple[int, int, int]:
    """(rows of the result, length of the sum, columns of the result) of ``a b``, ``a b^T`` or ``a^T b``."""
    m, q = (a[1], a[0]) if form == "tn" else a
    q2, n = (b[1], b[0]) if form == "nt" else b
    if q != q2:
        raise InternalError(f"contract {form} of {a} and {b}")
    return m, q, n


def _infer_contract(vs: Sequence[Any], attrs: dict[str, Any]) -> tuple[Shape, str]:
    a, b = vs
    m, q, n = contract_dims(a.shape, b.shape, attrs["form"])
    if a.dtype in ("bit", "u8") and b.dtype == "bit":
        top = q * (255 if a.dtype == "u8" else 1)
        if top > 2**31 - 1:
            raise InternalError(f"a sum of {q} terms does not fit 32 bits")
        return (m, n), "i16" if top <= 32767 else "i32"
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


_add("contract", "contract", _infer_contract, _run_contract,
     "matrix product; bit x bit and u8 x bit are exact integers, float x bit adds in groups of four, float x float in order")
