"""fuse: which values exist in memory, and which kernel makes them."""

from __future__ import annotations

from programs import EMPTY, HAND, fused, module, program, shown

from bnnc.ir.program import Module
from bnnc.sched.fuse import fuse
from bnnc.validate import validate

HEAD = """
    input %x: f32[4, 5]
    input %b: bit[4, 5]
    state %w: bit[5, 3] = ('weight', 'sign', 0.0, 0)
    state %v: f32[1, 3] = ('param', 'const', 0.0, 1)
"""


def kernels(text: str, on: bool = True) -> list[str]:
    validate(module(HEAD + text), fused(HEAD + text, on))
    return shown(fused(HEAD + text, on).train)


PRODUCT = """
    %y = contract(%x, %w) {form='nn'} : f32[4, 3]  @forward
    %z = add(%y, %v) : f32[4, 3]  @forward
    %s = sign(%z) : bit[4, 3]  @forward
"""


def test_an_epilogue_joins_its_product() -> None:
    assert kernels(PRODUCT + "    result pred %s") == ["contract: acc0 = %x x %w; %s = sign(acc0 + %v)"]


def test_the_sum_is_stored_only_if_somebody_else_reads_it() -> None:
    assert kernels(PRODUCT + "    result pred %s\n    result loss %y") == [
        "contract: acc0 = %x x %w; %y = acc0; %s = sign(acc0 + %v)"
    ]


def test_off_gives_one_kernel_an_op() -> None:
    assert kernels(PRODUCT + "    result pred %s", on=False) == [
        "contract: acc0 = %x x %w; %y = acc0",
        "map: %z = %y + %v",
        "map: %s = sign(%z)",
    ]


def test_a_prologue_is_computed_on_load() -> None:
    assert kernels("""
        %a = abs(%x) : f32[4, 5]  @forward
        %y = contract(%a, %w) {form='nn'} : f32[4, 3]  @forward
        result loss %y
    """) == ["contract: acc0 = abs(%x) x %w; %y = acc0"]


def test_cheap_values_are_computed_again_by_each_reader() -> None:
    got = kernels("""
        %a = abs(%x) : f32[4, 5]  @forward
        %y = contract(%a, %w) {form='nn'} : f32[4, 3]  @forward
        %m = reduce(%a) {axis=0, how='sum'} : f32[1, 5]  @forward
        result loss %y
        result pred %m
    """)
    assert got == ["contract: acc0 = abs(%x) x %w; %y = acc0", "reduce_rows: acc0 = sum abs(%x); %m = acc0"]


def test_bits_and_rounded_copies_are_stored() -> None:
    got = kernels("""
        %s = sign(%x) : bit[4, 5]  @forward
        %y = contract(%s, %w) {form='nn'} : i16[4, 3]  @forward
        %h = cast(%x) {dtype='f16'} : f16[4, 5]  @forward
        %m = reduce(%h) {axis=0, how='sum'} : f32[1, 5]  @forward
        result loss %y
        result pred %m
    """)
    assert got == [
        "map: %s = sign(%x); %h = f16(%x)",
        "contract: acc0 = %s x %w; %y = acc0",
        "reduce_rows: acc0 = sum %h; %m = acc0",
    ]


def test_reductions_over_one_extent_and_axis_share_a_loop() -> None:
    got = kernels("""
        %m = reduce(%x) {axis=0, how='sum'} : f32[1, 5]  @forward
        %n = reduce(%x) {axis=0, how='max'} : f32[1, 5]  @forward
        %o = reduce(%x) {axis=1, how='sum'} : f32[4, 1]  @forward
        result loss %m
        result pred %n
        result third %o
    """)
    assert got == [
        "reduce_rows: acc0 = sum %x; acc1 = max %x; %m = acc0; %n = acc1",
        "reduce_cols: acc0 = sum %x; %o = acc0",
    ]


def test_a_reduction_that_needs_another_one_runs_after_it() -> None:
    got = kernels("""
        %m = reduce(%x) {axis=0, how='sum'} : f32[1, 5]  @forward
        %a = sub(%x, %m) : f32[4, 5]  @forward
        %n = reduce(%a) {axis=0, how='sum'} : f32[1, 5]  @forward
        result loss %n
    """)
    assert got == ["reduce_rows: acc0 = sum %x; %m = acc0", "reduce_rows: acc0 = sum (%x - %m); %n = acc0"]


def test_reductions_of_two_phases_stay_apart() -> None:
    got = kernels("""
        %m = reduce(%x) {axis=0, how='sum'} : f32[1, 5]  @forward
        %n = reduce(%x) {axis=0, how='max'} : f32[1, 5]  @backward
        result loss %m
        result pred %n
    """)
    assert len(got) == 2


def test_an_update_waits_for_sink() -> None:
    text = (
        HEAD
        + """
        %g = contract(%x, %x) {form='tn'} : f32[5, 5]  @backward
        %s = reduce(%g) {axis=0, how='sum'} : f32[1, 5]  @backward
        result loss %s
    """
    )
    assert shown(fused(text).train)[0].startswith("contract")
    update = """
        state %u: f32[5, 5] = ('weight', 'uniform', 0.5, 2)
        %g = contract(%x, %x) {form='tn'} : f32[5, 5]  @backward
        %n = add(%u, %g) : f32[5, 5]  @update
        update %u <- %n
    """
    assert kernels(update) == ["contract: acc0 = %x x %x; %g = acc0", "map: %n = %u + %g"]


def test_what_nobody_reads_is_not_stored() -> None:
    m = Module(HAND, program(HEAD + "    %a = sign(%x) : bit[4, 5]  @forward\n    result loss %v"), EMPTY)
    assert shown(fuse(m).train) == []
