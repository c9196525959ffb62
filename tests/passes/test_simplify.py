"""simplify: dead, duplicate and neutral ops go; a duplicate in another phase stays."""

from __future__ import annotations

from programs import EMPTY, HAND, program

from bnnc.ir.program import Module
from bnnc.ir.text import print_program
from bnnc.ir.verify import verify_program
from bnnc.lower.simplify import simplify
from bnnc.validate import validate

HEAD = """
    input %x: f32[4, 5]
    state %w: f32[5, 3] = ('weight', 'uniform', 0.5, 0)
"""


def ops(text: str) -> list[str]:
    """The op lines and the updates and results that are left; the pass preserves all bits (checked)."""
    before = Module(HAND, program(HEAD + text), EMPTY)
    after = simplify(before)
    verify_program(after.train)
    validate(before, after)
    assert {v.name for v in after.train.values} == {o.output for o in after.train.ops} | {"x", "w"}
    return [line.split(" : ")[0] for line in print_program(after.train).splitlines()[3:]]


def test_dead_ops_go_with_all_that_only_they_need() -> None:
    assert ops("""
        %a = abs(%x) : f32[4, 5]  @forward
        %b = neg(%a) : f32[4, 5]  @forward
        %c = sqrt(%b) : f32[4, 5]  @forward
        result loss %b
    """) == ["%a = abs(%x)", "%b = neg(%a)", "result loss %b"]


def test_an_update_is_not_dead() -> None:
    assert ops("""
        %n = neg(%w) : f32[5, 3]  @update
        update %w <- %n
    """) == ["%n = neg(%w)", "update %w <- %n"]


def test_duplicates_merge_within_a_phase_and_through_their_readers() -> None:
    assert ops("""
        %a = abs(%x) : f32[4, 5]  @forward one
        %b = abs(%x) : f32[4, 5]  @forward two
        %c = neg(%a) : f32[4, 5]  @forward
        %d = neg(%b) : f32[4, 5]  @forward
        %e = add(%c, %d) : f32[4, 5]  @forward
        result loss %e
        result pred %d
    """) == ["%a = abs(%x)", "%c = neg(%a)", "%e = add(%c, %c)", "result loss %e", "result pred %c"]


def test_duplicates_in_two_phases_stay() -> None:
    """The backward pass makes the signs of the weights again: keeping the forward ones alive would cost memory."""
    text = """
        %f = sign(%w) : bit[5, 3]  @forward
        %y = contract(%x, %f) {form='nn'} : f32[4, 3]  @forward
        %b = sign(%w) : bit[5, 3]  @backward
        %g = contract(%y, %b) {form='nt'} : f32[4, 5]  @backward
        result loss %g
    """
    assert [o.split(" =")[0] for o in ops(text)[:-1]] == ["%f", "%y", "%b", "%g"]


def test_constants_merge_over_all_phases() -> None:
    assert ops("""
        %one = const() {value=2.0} : f32[1, 1]  @forward
        %a = mul(%x, %one) : f32[4, 5]  @forward
        %two = const() {value=2.0} : f32[1, 1]  @update
        %b = add(%a, %two) : f32[4, 5]  @update
        result loss %b
    """) == ["%one = const() {value=2.0}", "%a = mul(%x, %one)", "%b = add(%a, %one)", "result loss %b"]


def test_ops_that_differ_in_attributes_or_order_stay() -> None:
    assert (
        len(
            ops("""
        %a = reduce(%x) {axis=0, how='sum'} : f32[1, 5]  @forward
        %b = reduce(%x) {axis=0, how='max'} : f32[1, 5]  @forward
        %c = sub(%a, %b) : f32[1, 5]  @forward
        %d = sub(%b, %a) : f32[1, 5]  @forward
        %e = add(%c, %d) : f32[1, 5]  @forward
        result loss %e
    """)
        )
        == 6
    )


def test_times_one_and_divided_by_one_are_the_identity() -> None:
    assert ops("""
        %one = const() {value=1.0} : f32[1, 1]  @forward
        %a = mul(%x, %one) : f32[4, 5]  @forward
        %b = div(%a, %one) : f32[4, 5]  @forward
        %c = neg(%b) : f32[4, 5]  @forward
        result loss %c
    """) == ["%c = neg(%x)", "result loss %c"]


def test_one_divided_by_x_and_other_factors_are_not() -> None:
    assert (
        len(
            ops("""
        %one = const() {value=1.0} : f32[1, 1]  @forward
        %two = const() {value=2.0} : f32[1, 1]  @forward
        %a = div(%one, %x) : f32[4, 5]  @forward
        %b = mul(%a, %two) : f32[4, 5]  @forward
        result loss %b
    """)
        )
        == 5
    )


def test_one_times_an_integer_is_a_conversion_and_stays() -> None:
    text = """
        %s = sign(%x) : bit[4, 5]  @forward
        %one = const() {value=1.0} : f32[1, 1]  @forward
        %a = mul(%s, %one) : f32[4, 5]  @forward
        result loss %a
    """
    assert len(ops(text)) == 4


def test_a_matrix_times_a_wide_one_does_not_shrink() -> None:
    """x [4, 1] times ones [1, 5] is [4, 5]; only a scalar 1 is neutral."""
    assert "%a = mul(%n, %o)" in ops("""
        %n = reduce(%x) {axis=1, how='sum'} : f32[4, 1]  @forward
        %c = col() {cols=5} : i32[1, 5]  @forward
        %z = const() {value=0.0} : f32[1, 1]  @forward
        %e = mul(%c, %z) : f32[1, 5]  @forward
        %o = add(%e, %e) : f32[1, 5]  @forward
        %a = mul(%n, %o) : f32[4, 5]  @forward
        result loss %a
    """)
