"""order: topological, states overwritten after their last read, a copy where that is impossible."""

from __future__ import annotations

from dataclasses import replace

import pytest
from programs import fused, module

from bnnc.diag import InternalError
from bnnc.ir.ref import Ref
from bnnc.sched.kernel import Schedule
from bnnc.sched.order import order
from bnnc.validate import validate

HEAD = """
    input %x: f32[4, 5]
    state %w: f32[1, 5] = ('param', 'const', 0.5, 0)
    state %u: f32[1, 5] = ('param', 'const', 0.5, 1)
"""
A, B, U, W = map(Ref, "abuw")
NEW_U = Ref("u", new=True)


def ordered(text: str, shuffle: bool = False) -> Schedule:
    s = fused(HEAD + text, on=False)
    if shuffle:
        s = replace(s, train=replace(s.train, kernels=tuple(reversed(s.train.kernels))))
    out = order(s)
    validate(module(HEAD + text), out)
    return out.train


READ_AFTER_WRITE = """
    %n = neg(%w) : f32[1, 5]  @update
    %r = mul(%x, %w) : f32[4, 5]  @forward
    %s = reduce(%r) {axis=0, how='sum'} : f32[1, 5]  @forward
    update %w <- %n
    result loss %s
"""


def test_the_write_in_place_comes_after_the_last_read() -> None:
    s = ordered(READ_AFTER_WRITE)
    assert [k.writes[0] for k in s.kernels] == [
        Ref("r"),
        Ref("n"),
        Ref("s"),
    ]  # as soon as it may: an update frees its gradient
    assert s.in_place == ((Ref("n"), W),)


def test_data_order_does_not_depend_on_the_order_given() -> None:
    a, b = ordered(READ_AFTER_WRITE), ordered(READ_AFTER_WRITE, shuffle=True)
    assert [k.writes for k in a.kernels] == [k.writes for k in b.kernels]


def test_names_say_position_anchor_and_value() -> None:
    assert [k.name for k in ordered(READ_AFTER_WRITE).kernels] == ["map_r", "map_n", "reduce_rows_s"]


def test_states_that_need_each_others_old_value_swap_through_a_copy() -> None:
    """w <- -u, u <- -w: whichever is written first, the other one needs its old value; one new value is copied at the
    end.
    """
    s = ordered("""
        %a = neg(%u) : f32[1, 5]  @update
        %b = neg(%w) : f32[1, 5]  @update
        update %w <- %a
        update %u <- %b
    """)
    assert dict(s.alias) == {A: W, NEW_U: U}
    assert [(k.reads, k.writes) for k in s.kernels] == [((W,), (B,)), ((U,), (A,)), ((B,), (NEW_U,))]


def test_one_value_for_two_states_is_stored_twice() -> None:
    s = ordered("""
        %a = neg(%u) : f32[1, 5]  @update
        update %w <- %a
        update %u <- %a
    """)
    assert dict(s.alias) == {A: W, NEW_U: U}
    assert s.kernels[-1].writes == (NEW_U,)


def test_a_state_replaced_by_another_state() -> None:
    s = ordered("    update %w <- %u\n")
    assert dict(s.alias) == {Ref("w", new=True): W}


def test_a_cycle_is_an_internal_error() -> None:
    s = fused(
        HEAD + "    %a = neg(%w) : f32[1, 5]  @update\n    %b = neg(%a) : f32[1, 5]  @update\n    result loss %b",
        on=False,
    )
    first, second = s.train.kernels
    looped = replace(
        first,
        outputs=(
            replace(
                first.outputs[0],
                expr=second.outputs[0].expr.substitute({A: replace(second.outputs[0].expr.args[0], attr=B)}),
            ),
        ),
    )
    with pytest.raises(InternalError, match="cycle"):
        order(replace(s, train=replace(s.train, kernels=(looped, second))))


WIDE_THEN_NARROW = """
    input %d: f32[4, 500]
    %a = exp(%d) : f32[4, 500]  @forward
    %b = exp(%a) : f32[4, 500]  @forward
    %s = reduce(%b) {axis=1, how='sum'} : f32[4, 1]  @forward
    %c = neg(%d) : f32[4, 500]  @forward
    %t = reduce(%c) {axis=1, how='sum'} : f32[4, 1]  @forward
    %u2 = reduce(%a) {axis=1, how='max'} : f32[4, 1]  @forward
    result loss %s
    result pred %t
    result more %u2
"""


def test_an_order_that_needs_less_memory_is_found() -> None:
    """The branch that ends in few numbers while its source is needed anyway goes first."""
    names = [str(k.writes[0]) for k in ordered(WIDE_THEN_NARROW).kernels]
    assert names == ["c", "t", "a", "b", "s", "u2"]  # `d` is gone when `b` is made beside `a`
