"""Anchors: every op that is not element-wise has one, every backend has a skeleton for each, and what they say of
themselves agrees.
"""

from __future__ import annotations

import numpy as np
import pytest

from bnnc.backends.c.kernels import SKELETONS as C
from bnnc.backends.triton.kernels import SKELETONS as TRITON
from bnnc.diag import InternalError
from bnnc.ir.dtype import Axis
from bnnc.ir.image import Geometry
from bnnc.ir.ops import OPS
from bnnc.ir.program import Op, Value
from bnnc.ir.ref import Ref
from bnnc.sched.anchor import (
    ANCHORS,
    Acc,
    Anchor,
    Contract,
    Convolve,
    Fold,
    Group,
    Map,
    Recur,
    Reduce,
    Result,
    Terms,
    Window,
    anchor_of,
)
from bnnc.sched.expr import Expr


def load(name: str, dtype: str, rows: int, cols: int) -> Expr:
    return Expr("load", (), Ref(name), dtype, (rows, cols))


BITS, SIGNS, NUMBERS = load("a", "bit", 8, 6), load("b", "bit", 6, 4), load("d", "f32", 8, 4)
IMAGE = Geometry(2, 2, 1, 1)  # two samples
MADE = Result("f32")
SOME: list[tuple[Anchor, tuple[int, int]]] = [
    (Map(), (8, 6)),
    (Reduce((Acc("f32", "sum", NUMBERS),), Axis.ROWS), (8, 4)),
    (Reduce((Acc("f32", "max", NUMBERS), Acc("i32", "argmax", NUMBERS)), Axis.COLUMNS), (8, 4)),
    (Fold((Acc("i32", "sum", load("i", "i16", 8, 4)),), 2), (8, 4)),
    (Window((Acc("f32", "max", NUMBERS),), Geometry(2, 2, 2, 2, 2)), (8, 4)),
    (
        Group((Acc("bool", "winners", load("i", "i16", 8, 4)),), Expr("load", (), Ref("size"), "i32", (1, 1))),
        (8, 4),
    ),
    (Contract(Result("i16"), BITS, SIGNS, "nn"), (8, 4)),
    (Contract(MADE, BITS, NUMBERS, "tn"), (6, 4)),
    (Contract(Result("i16"), BITS, load("c", "bit", 8, 4), "tn", load("g", "bool", 8, 6)), (6, 4)),
    (Convolve(Result("i16"), BITS, SIGNS, "forward", IMAGE), (8, 4)),
    (Convolve(MADE, NUMBERS, SIGNS, "back", IMAGE), (8, 6)),
    (Convolve(MADE, BITS, NUMBERS, "weight", IMAGE), (6, 4)),
    (Recur(Result("i16"), "recur", (BITS, load("w", "bit", 4, 6), load("s", "bit", 4, 4)), 2), (8, 4)),
]
KINDS = [f"{i}_{anchor.title.replace(' ', '_')}" for i, (anchor, _) in enumerate(SOME)]


def test_every_op_that_is_not_element_wise_has_one_anchor() -> None:
    ops = [op for anchor in ANCHORS for op in anchor.ops]
    assert sorted(ops) == sorted(n for n, op in OPS.items() if op.cls not in ("map", "source"))
    with pytest.raises(InternalError, match="no anchor for add"):
        anchor_of(Op("add", (), "y"), [], Value("y", (1, 1), "f32"))


@pytest.mark.parametrize("skeletons", [C, TRITON], ids=["c", "triton"])
def test_every_backend_has_a_skeleton_for_each(skeletons: dict[type[Anchor], object]) -> None:
    assert tuple(skeletons) == ANCHORS


def test_all_of_them_are_tested_here() -> None:
    assert {type(anchor) for anchor, _ in SOME} == set(ANCHORS)


@pytest.mark.parametrize(("anchor", "domain"), SOME, ids=KINDS)
def test_results_have_the_shape_and_dtype_that_are_promised(anchor: Anchor, domain: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)

    def value(e: Expr) -> np.ndarray:
        if e.attr is Ref("size"):
            return np.full((1, 1), 2, np.int32)
        if e.dtype == "bit":
            return rng.choice(np.array([-1, 1], np.int8), e.shape)
        return rng.integers(-9, 9, e.shape).astype({"f32": np.float32, "i16": np.int16, "bool": np.bool_}[e.dtype])

    made = anchor.run(value, domain)
    assert len(made) == len(anchor.results) == len(anchor.describe())
    assert all(x.shape == anchor.out_shape(domain) for x in made)
    dtypes = {"f32": np.float32, "i16": np.int16, "i32": np.int32, "bool": np.bool_}
    assert [x.dtype for x in made] == [dtypes[r.dtype] for r in anchor.results]


@pytest.mark.parametrize(("anchor", "domain"), SOME, ids=KINDS)
def test_an_anchor_says_the_ops_that_it_is_made_of(anchor: Anchor, domain: tuple[int, int]) -> None:
    made = None
    for e in anchor.calls(domain):
        assert OPS[e.op].infer(e.args, dict(e.attr or ())) == (e.shape, e.dtype)
        part, there = anchor_of(Op(e.op, (), "y", e.attr or ()), e.args, Value("y", e.shape, e.dtype))
        assert there == domain
        made = part if made is None else made.joined(part)
    assert made == (None if isinstance(anchor, Map) else anchor)


@pytest.mark.parametrize(("anchor", "domain"), SOME, ids=KINDS)
def test_a_change_reaches_every_operand(anchor: Anchor, domain: tuple[int, int]) -> None:
    assert anchor.mapped(lambda e: e) == anchor
    changed = anchor.mapped(lambda e: Expr("load", (), Ref(f"{e.attr}2"), e.dtype, e.shape))
    assert [e.attr for e in changed.operands] == [Ref(f"{e.attr}2") for e in anchor.operands]
    assert {n for n, _ in anchor.wants()} <= {e.attr for e in anchor.operands}
    assert {e for e, _ in anchor.evaluated(domain)} <= set(anchor.operands)


def test_terms_are_counted_by_what_is_multiplied() -> None:
    found = {kind: anchor.terms(domain) for kind, (anchor, domain) in zip(KINDS, SOME, strict=True)}
    assert found["0_map"] == Terms()
    assert found["2_reduce_cols"] == Terms(added=2 * 8 * 4)
    assert found["6_contract_nn"] == Terms(bits=8 * 6 * 4) == found["9_convolve_forward"]
    assert found["7_contract_tn"] == Terms(signed=6 * 8 * 4) == found["10_convolve_back"] == found["11_convolve_weight"]
    assert found["12_recur"] == Terms(bits=8 * (4 * 6 + 4 * 4))
    bytes_ = Contract(MADE, load("u", "u8", 8, 6), SIGNS, "nn")
    assert bytes_.terms((8, 4)) == Terms(bits=8 * 8 * 6 * 4)
    assert Contract(MADE, NUMBERS, NUMBERS, "tn").terms((4, 4)) == Terms(numbers=4 * 8 * 4)
