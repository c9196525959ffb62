"""Expressions as text: what a vocabulary says, and where a node is computed."""

from __future__ import annotations

import re

import pytest

from bnnc.backends.c.expr import Scalars, Vectors
from bnnc.backends.printing import Printer, Variables
from bnnc.backends.triton import expr as triton
from bnnc.diag import InternalError
from bnnc.ir.dtype import Packing
from bnnc.ir.ref import Ref
from bnnc.plan.types import Storage
from bnnc.sched.expr import Expr

SHAPE = (8, 40)
STORAGES = {
    "x": Storage(Ref("x"), "f32", SHAPE),
    "scale": Storage(Ref("scale"), "f32", (1, 40)),
    "count": Storage(Ref("count"), "i32", SHAPE),
    "seen": Storage(Ref("seen"), "bit", SHAPE, Packing.ROWS),
}


def load(name: str) -> Expr:
    s = STORAGES[name]
    return Expr("load", (), Ref(name), s.dtype, s.shape)


def const(x: float) -> Expr:
    return Expr("const", (), x)


def op(name: str, *args: Expr, dtype: str = "f32", attr: object = None) -> Expr:
    return Expr(name, args, attr, dtype, max((a.shape for a in args), key=lambda s: s[0] * s[1]))


def printers() -> dict[str, Printer]:
    given = ({s.ref: s for s in STORAGES.values()}, {s.ref: n for n, s in STORAGES.items()})
    return {
        "scalars": Scalars("c", Variables(STORAGES, STORAGES), *given),
        "vectors": Vectors("r", Variables(STORAGES, STORAGES), *given),
        "triton": triton.Printer(triton.Frame(looped="r"), Variables(STORAGES, STORAGES), *given),
    }


@pytest.mark.parametrize(
    ("e", "scalars", "vectors", "tensors"),
    [
        (
            op("max", load("x"), const(0.0)),
            "(x[r * 40 + c] > 0.0f ? x[r * 40 + c] : 0.0f)",
            "vmax(vld_f32(x + r * 40 + c, n), vbc(0.0f))",
            "tl.where(tl.load(x + r * 40 + c) > 0.0, tl.load(x + r * 40 + c), 0.0)",
        ),
        (
            op("abs", load("count"), dtype="i32"),
            "(count[r * 40 + c] < 0 ? -count[r * 40 + c] : count[r * 40 + c])",
            "vabsi(vld_i32(count + r * 40 + c, n))",
            "tl.abs(tl.load(count + r * 40 + c))",
        ),
        (
            load("seen"),
            "(int)((*(seen + r / 32 * 48 + c) >> (r & 31)) & 1u)",
            "vld_bits0(seen + r / 32 * 48 + c, r)",
            "num.bit(tl.load(seen + (r >> 5) * 48 + c), r)",
        ),
        (  # constants are scalars until a vector is wanted
            op("mul", op("mul", const(2.0), const(3.0)), load("x")),
            "((2.0f * 3.0f) * x[r * 40 + c])",
            "((2.0f * 3.0f) * vld_f32(x + r * 40 + c, n))",
            "((num.const(2.0) * 3.0) * tl.load(x + r * 40 + c))",
        ),
    ],
)
def test_vocabularies(e: Expr, scalars: str, vectors: str, tensors: str) -> None:
    """Names that hoisting gives are put back, so that a text is seen whole."""
    for (name, printer), want in zip(printers().items(), (scalars, vectors, tensors), strict=True):
        printed = printer.print([e])
        text = printed.results[0]
        for line in reversed(printed.lines):
            left, _, value = line.removesuffix(";").partition(" = ")
            text = re.sub(rf"\b{left.split()[-1]}\b", f"({value})", text)
        assert text == want, name


def test_what_a_row_needs_once_is_computed_outside_the_loop_over_it() -> None:
    e = op("mul", load("x"), op("sqrt", load("scale")))
    outer = {"scalars": "body", "vectors": "outer", "triton": "pre"}
    for name, printer in printers().items():
        out = printer.print([e])
        lines = {level: getattr(out, level) for level in ("pre", "outer", "body")}
        where = outer[name]
        assert [level for level, found in lines.items() if any("sqrt" in x for x in found)] == (
            [where] if where != "body" else []
        ), (name, lines, out.results)


def test_an_op_without_a_word_is_a_mistake_of_the_backend() -> None:
    for printer in printers().values():
        with pytest.raises(InternalError, match="cannot print `cosine`"):
            printer.print([op("cosine", load("x"))])
