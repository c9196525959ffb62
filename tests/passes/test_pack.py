"""pack: storage formats, and the second packing of bits that two kinds of product read."""

from __future__ import annotations

from programs import fused, module

from bnnc.ir.dtype import Packing
from bnnc.ir.ref import Ref
from bnnc.plan.pack import PackedSchedule, pack
from bnnc.plan.text import print_packed
from bnnc.sched.order import order
from bnnc.validate import validate

HEAD = """
    input %x: f32[40, 50]
    input %b: bit[40, 50]
    input %d: f32[40, 30]
    state %w: f32[50, 30] = ('weight', 'uniform', 0.5, 0)
    state %k: bit[50, 30] = ('weight', 'sign', 0.0, 1)
"""


def packed(text: str) -> PackedSchedule:
    p = pack(order(fused(HEAD + text)))
    validate(module(HEAD + text), p)
    return p.train


def axes(p: PackedSchedule) -> dict[str, int]:
    return {str(s.ref): s.packing.value for s in p.storages if s.one_bit}


def test_bits_that_only_products_over_rows_read_are_packed_along_rows() -> None:
    p = packed("""
        %s = sign(%w) : bit[50, 30]  @forward
        %y = contract(%b, %s) {form='nn'} : i16[40, 30]  @forward
        result loss %y
    """)
    assert axes(p) == {"b": 1, "k": 1, "s": 0}
    assert p.storage[Ref("s")].stride == 32  # columns padded to whole vectors of 16
    assert p.storage[Ref("s")].nbytes == 2 * 32 * 4
    assert p.storage[Ref("b")].nbytes == 40 * 2 * 4


def test_a_map_stores_both_packings_where_both_are_read() -> None:
    p = packed("""
        %s = sign(%x) : bit[40, 50]  @forward
        %y = contract(%s, %k) {form='nn'} : i16[40, 30]  @forward
        %g = contract(%s, %d) {form='tn'} : f32[50, 30]  @backward
        result loss %y
        result pred %g
    """)
    assert axes(p) == {"b": 1, "k": 1, "k@0": 0, "s": 1, "s@0": 0}
    makes = {str(n): k for k in p.kernels for n in k.writes}
    assert makes["s"] is makes["s@0"]
    tn = makes["g"]
    assert tn.anchor.operands[0].attr is Ref("s", Packing.ROWS)


def test_a_state_or_input_gets_a_copy_just_before_its_first_reader() -> None:
    p = packed("""
        %y = contract(%b, %k) {form='nn'} : i16[40, 30]  @forward
        %g = contract(%b, %d) {form='tn'} : f32[50, 30]  @backward
        result loss %y
        result pred %g
    """)
    names = [k.name for k in p.kernels]
    assert names == [
        "repack_b",
        "contract_tn_g",
        "repack_k",
        "contract_nn_y",
    ]  # `d` is large: be done with it
    assert p.kernels[3].reads == (Ref("b"), Ref("k", Packing.ROWS))
    assert p.kernels[1].reads == (Ref("b", Packing.ROWS), Ref("d"))


def test_a_matrix_times_itself_is_read_in_both_packings() -> None:
    p = packed("""
        %g = contract(%k, %k) {form='nt'} : i16[50, 50]  @forward
        %h = contract(%k, %k) {form='tn'} : i16[30, 30]  @forward
        result loss %g
        result pred %h
    """)
    lines = [x for x in print_packed(p).splitlines() if x.startswith(("storage %k", "kernel", "  "))]
    assert lines == [
        "storage %k@2: bit[50, 30] 32 columns a word, rows side by side  # 256 bytes",
        "storage %k@0: bit[50, 30] 32 rows a word  # 256 bytes",
        "kernel repack_k [50, 30]  @forward",
        "  %k@2: bit[50, 30] = %k",
        "kernel contract_nt_g [50, 50]  @forward",
        "  acc0 = contract(%k, %k@2) {form='nt'}",
        "  %g: i16[50, 50] = acc0",
        "kernel repack_k2 [50, 30]  @forward",
        "  %k@0: bit[50, 30] = %k",
        "kernel contract_tn_h [30, 30]  @forward",
        "  acc0 = contract(%k@0, %k) {form='tn'}",
        "  %h: i16[30, 30] = acc0",
    ]


def test_an_epilogue_stores_one_packing_and_a_kernel_copies_it() -> None:
    p = packed("""
        %y = contract(%b, %k) {form='nn'} : i16[40, 30]  @forward
        %s = sign(%y) : bit[40, 30]  @forward
        %g = contract(%s, %d) {form='tn'} : f32[30, 30]  @backward
        result loss %g
    """)
    assert axes(p)["s"] == 1
    assert axes(p)["s@0"] == 0
    assert any(k.name.endswith("repack_s") for k in p.kernels)


def test_masks_lie_along_columns() -> None:
    p = packed("""
        %z = const() {value=0.0} : f32[1, 1]  @forward
        %m = le(%x, %z) : bool[40, 50]  @forward
        %a = select(%m, %x, %z) : f32[40, 50]  @backward
        %s = reduce(%a) {axis=0, how='sum'} : f32[1, 50]  @backward
        result loss %s
        result pred %m
    """)
    assert p.storage[Ref("m")].packing is Packing.COLUMNS
