"""strip: loops over strips of a matrix, and values that are made again, where that lowers the peak.  What the kernels
of its loops compute is in ``tests/kernels/test_strips.py``.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from helpers import plan
from nets import STRIPS, on

from bnnc.ir.dtype import INTEGERS, Axis
from bnnc.ir.ref import Ref, Side
from bnnc.plan.check import check_plan
from bnnc.plan.place import live_bytes, place, timeline
from bnnc.plan.strip import Stripper
from bnnc.plan.text import parse_packed, print_packed
from bnnc.plan.types import Loop
from bnnc.validate import inputs, run_kernels

pytestmark = pytest.mark.usefixtures("plans_once")

# -- on Schedules written by hand --------------------------------------------------------------------------------------

GIVEN = """packed train keep=None
input %x: bit[8, 64]
input %labels: u8[8, 1]
state %w: bit[64, 96] = ('weight', 'sign')
state %v: bit[32, 96] = ('weight', 'sign')
state %p: f32[8, 200] = ('param', 'const')
"""
ONE_PIXEL = "{fill=0, geometry=(1, 1, 1, 1, 1, 0, 0, 0, 0), groups=1}"  # y = x w, as a convolution
Y = f"""
kernel conv_y [8, 96]  @forward conv1
  acc0 = convolve(%x, %w) {ONE_PIXEL}
  %y: i16[8, 96] = acc0
"""
SIGN = """
kernel map_s [8, 96]  @forward sign1
  %s: bit[8, 96] = sign(%y)
result loss %s
"""
CENTRED = """
kernel sum_y [8, 96]  @forward norm1
  acc0 = reduce(%y) {axis=0, how='sum'}
  %sum: i32[1, 96] = acc0
kernel map_s [8, 96]  @forward norm1
  %s: bit[8, 96] = sign((%y * 8) - %sum)
result loss %s
"""


def stripped(text: str, samples_first: bool = False, limit: int = 0, given: str = GIVEN) -> str:
    """The loops and kernels, and what these store, that a search makes of kernels, and which compute the same.  Values
    lie in memory as their first types say, ``@0`` with 32 rows a word.
    """
    found = re.findall(r"^ *%(\S+): (.*?) =", text, re.M)
    storages = "".join(f"storage %{n}: {t}{' 32 rows a word' * n.endswith('@0')}\n" for n, t in found)
    before = parse_packed(given + storages + text)
    after = Stripper(before, samples_first).run(limit)
    a, b = (run_kernels(ps, {}, inputs(ps.program, 3)) for ps in (before, after))
    assert np.array_equal(a["result loss"], b["result loss"])
    assert max(live_bytes(after)[0]) <= max(limit, *live_bytes(before)[0])
    assert parse_packed(print_packed(after)) == after
    lines = (x for x in print_packed(after).splitlines() if re.match(" *(loop|kernel|strips|%)", x))
    return "\n".join(re.sub(r"  @.*| = .*", "", x) for x in lines)


def test_what_is_read_once_exists_for_a_strip_of_channels() -> None:
    want = """\
loop over 3 strips of columns, one strip of %y
  kernel conv_y [8, 32]
    strips of %w by columns
    %y: i16[8, 32]
  kernel map_s [8, 32]
    strips of %s by columns
    %s: bit[8, 32]"""
    assert stripped(Y + SIGN) == want


def test_samples_may_be_cut_first() -> None:
    want = """\
loop over 8 strips of rows, one strip of %y
  kernel conv_y [1, 96]
    strips of %x by rows
    %y: i16[1, 96]
  kernel map_s [1, 96]
    strips of %s by rows
    %s: bit[1, 96]"""
    assert stripped(Y + SIGN, samples_first=True) == want


def test_no_more_strips_than_a_limit_asks_for() -> None:
    want = """\
loop over 2 strips of rows, one strip of %y
  kernel conv_y [4, 96]
    strips of %x by rows
    %y: i16[4, 96]
  kernel map_s [4, 96]
    strips of %s by rows
    %s: bit[4, 96]"""
    assert stripped(Y + SIGN, samples_first=True, limit=1000) == want


def test_statistics_of_a_channel_go_through_the_same_loop() -> None:
    """Nothing is computed twice: the sums of a strip of channels are all there before its signs are made."""
    want = """\
loop over 3 strips of columns, one strip of %sum, %y
  kernel conv_y [8, 32]
    strips of %w by columns
    %y: i16[8, 32]
  kernel sum_y [8, 32]
    %sum: i32[1, 32]
  kernel map_s [8, 32]
    strips of %s by columns
    %s: bit[8, 32]"""
    assert stripped(Y + CENTRED) == want


def test_with_samples_first_statistics_have_channels_of_their_own() -> None:
    """The order of a sum of floats is part of its meaning, so its samples are not cut."""
    floats = CENTRED.replace("reduce(%y)", "reduce(%y * 1.0)").replace("i32[1, 96]", "f32[1, 96]")
    want = """\
loop over 3 strips of columns, one strip of %y
  kernel conv_y [8, 32]
    strips of %w by columns
    %y: i16[8, 32]
  kernel sum_y [8, 32]
    strips of %sum by columns
    %sum: f32[1, 32]
loop over 4 strips of rows, one strip of %y~2
  kernel conv_y_again [2, 96]
    strips of %x by rows
    %y~2: i16[2, 96]
  kernel map_s [2, 96]
    strips of %s by rows
    %s: bit[2, 96]"""
    assert stripped(Y + floats, samples_first=True) == want


def test_with_samples_first_sums_of_whole_numbers_grow() -> None:
    """They are exact in any order: one kernel begins them, one reads them behind the loop."""
    want = """\
kernel begin_sum_y [1, 96]
  %sum.grown: i32[1, 96]
loop over 4 strips of rows, one strip of %y
  kernel conv_y [2, 96]
    strips of %x by rows
    %y: i16[2, 96]
  kernel sum_y [2, 96]
    %sum.grown: i32[1, 96]
kernel end_sum_y [1, 96]
  %sum: i32[1, 96]
loop over 8 strips of rows, one strip of %y~2
  kernel conv_y_again [1, 96]
    strips of %x by rows
    %y~2: i16[1, 96]
  kernel map_s [1, 96]
    strips of %s by rows
    %s: bit[1, 96]"""
    assert stripped(Y + CENTRED, samples_first=True) == want


def test_a_reader_that_needs_all_channels_makes_the_value_again() -> None:
    """The convolution further back cannot be cut into channels of what it reads; it is into samples."""
    back = f"""
kernel sum_y [8, 96]  @forward norm1
  acc0 = reduce(%y) {{axis=0, how='sum'}}
  %sum: i32[1, 96] = acc0
kernel back [8, 32]  @backward conv2
  acc0 = convolve_back(f16(%y - %sum), %v) {ONE_PIXEL}
  %dx: f32[8, 32] = acc0
result loss %dx
"""
    want = """\
loop over 3 strips of columns, one strip of %y
  kernel conv_y [8, 32]
    strips of %w by columns
    %y: i16[8, 32]
  kernel sum_y [8, 32]
    strips of %sum by columns
    %sum: i32[1, 32]
loop over 8 strips of rows, one strip of %y~2
  kernel conv_y_again [1, 96]
    strips of %x by rows
    %y~2: i16[1, 96]
  kernel back [1, 32]
    strips of %dx by rows
    %dx: f32[1, 32]"""
    assert stripped(Y + back) == want


def test_bits_are_made_again_behind_the_peak() -> None:
    """``e`` is large, and the mask that is read behind it follows from sums that cost little memory in strips."""
    peak = """
kernel map_mask [8, 96]  @forward sign1
  %mask: bool[8, 96] = %y > 0
kernel map_e [8, 200]  @forward loss1
  %e: f32[8, 200] = exp(%p)
kernel sum_e [8, 200]  @forward loss1
  acc0 = reduce(%e * %e) {axis=1, how='sum'}
  %total: f32[8, 1] = acc0
kernel map_dy [8, 96]  @backward sign1
  %dy: f32[8, 96] = select(%mask, %total, 0.0)
kernel sum_dy [8, 96]  @backward sign1
  acc0 = reduce(%dy * %dy) {axis=1, how='sum'}
  %n: f32[8, 1] = acc0
result loss %n
"""
    want = """\
kernel map_e [8, 200]
  %e: f32[8, 200]
kernel sum_e [8, 200]
  %total: f32[8, 1]
loop over 3 strips of columns, one strip of %mask~3, %y~3
  kernel conv_y_again [8, 32]
    strips of %w by columns
    %y~3: i16[8, 32]
  kernel map_mask_again [8, 32]
    %mask~3: bool[8, 32]
  kernel map_dy [8, 32]
    strips of %dy by columns
    %dy: f32[8, 32]
kernel sum_dy [8, 96]
  %n: f32[8, 1]"""
    assert stripped(Y + peak) == want


def test_a_second_packing_is_copied_when_it_is_read() -> None:
    """The numbers that the bits are made of are large: to keep them over the peak would cost more."""
    numbers = GIVEN.replace("bit[8, 64]", "f32[8, 64]")
    pack = """
kernel map_s [8, 64]  @forward sign1
  s = sign(%x)
  %s: bit[8, 64] = s
  %s@0: bit[8, 64] = s
kernel map_e [8, 200]  @forward loss1
  %e: f32[8, 200] = exp(%p)
kernel sum_e [8, 200]  @forward loss1
  acc0 = reduce(%e * %e) {axis=1, how='sum'}
  %total: f32[8, 1] = acc0
kernel contract_dw [64, 1]  @backward dense1
  acc0 = contract(%s@0, %total) {form='tn'}
  %dw: f32[64, 1] = acc0
kernel contract_z [8, 1]  @backward dense1
  acc0 = contract(%s, %dw) {form='nn'}
  %z: f32[8, 1] = acc0
result loss %z
"""
    want = """\
kernel map_s [8, 64]
  %s: bit[8, 64]
kernel map_e [8, 200]
  %e: f32[8, 200]
kernel sum_e [8, 200]
  %total: f32[8, 1]
kernel repack_s [8, 64]
  %s@0: bit[8, 64]
kernel contract_dw [64, 1]
  %dw: f32[64, 1]
kernel contract_z [8, 1]
  %z: f32[8, 1]"""
    assert stripped(pack, given=numbers) == want


def test_what_a_step_gives_back_is_never_a_strip() -> None:
    given_back = """
kernel map_s [8, 96]  @forward sign1
  %s: bit[8, 96] = sign(%y)
result loss %s
result pred %y
"""
    want = """\
kernel conv_y [8, 96]
  %y: i16[8, 96]
kernel map_s [8, 96]
  %s: bit[8, 96]"""
    assert stripped(Y + given_back) == want


def test_a_kernel_that_knows_its_column_is_not_cut_into_columns() -> None:
    """Nor into samples here: the row of numbers is made once, and read by all."""
    placed = """
kernel map_s [8, 96]  @forward sign1
  %s: bit[8, 96] = sign(%y + col)
result loss %s
"""
    want = """\
kernel conv_y [8, 96]
  %y: i16[8, 96]
kernel map_s [8, 96]
  %s: bit[8, 96]"""
    assert stripped(Y + placed) == want


# -- on networks -------------------------------------------------------------------------------------------------------


def test_weights_that_are_signed_again_are_signed_once() -> None:
    """A value whose readers all stand behind the peak is made there only, and one kernel is no loop."""
    packed = plan(on(STRIPS["integer"])).placed.packed
    assert any(n.copy > 1 for k in packed.train.kernels for n in k.writes)
    for ps in packed:
        p, read = ps.program, {n for k in ps.kernels for n in k.reads}
        kept = {*ps.alias, *ps.states, *(Ref(v) for _, v in (*p.results, *p.updates))}
        assert all(any(n in read | kept for n in k.writes) for k in ps.kernels)
        assert all(loop.first < loop.last for loop in ps.loops)


def test_a_kernel_alone_in_a_loop_reads_nothing_that_it_makes() -> None:
    """Its strips are written from the loop's first step on; the plan's checker wants a value written before it is
    read.
    """
    packed = plan(STRIPS["integer"]).placed.packed
    (i,) = (i for i, k in enumerate(packed.train.kernels) if k.writes == (Ref("dense2.wb"),))
    train = replace(packed.train, loops=(Loop(i, i, Axis.COLUMNS, 2),))
    step = timeline(train, Side.TRAIN)[i + 1]
    assert step.reads == (Ref("dense2.weight"),) and step.writes == (Ref("dense2.wb"),)
    check_plan(place(replace(packed, train=train)).plan)


def test_both_axes_and_second_makings_occur() -> None:
    """The networks above are not all of one kind."""
    packed = [plan(on(text)).placed.train for text in STRIPS.values()]
    assert {loop.axis for ps in packed for loop in ps.loops} == {*Axis}
    assert any(n.copy > 1 for ps in packed for k in ps.kernels for n in k.writes)
    assert any(ps.storage[n].shape[1] == 16 for ps in packed for loop in ps.loops for n in loop.inside)


def test_sums_of_whole_numbers_grow_strip_by_strip() -> None:
    """A maximum of the whole matrix stands between two loops over samples: its sums begin before the first and are read
    behind it, and what they are made of is made again for the second, in which a weight's gradient grows.
    """
    ps = plan(on(STRIPS["i8"])).placed.train
    grown = [i for i, k in enumerate(ps.kernels) if k.running]
    assert [ps.kernels[i].anchor.title for i in grown] == ["reduce_rows", "convolve weight"]
    loops = [next(loop for loop in ps.loops if loop.first <= i <= loop.last) for i in grown]
    assert [loop.axis for loop in loops] == [Axis.ROWS] * 2 and loops[0].last < loops[1].first
    assert {n.first for n in loops[0].inside} & {n.first for n in loops[1].inside}
    for i, loop in zip(grown, loops, strict=True):
        for n in ps.kernels[i].writes:
            places = [j for j, k in enumerate(ps.kernels) if n in (*k.reads, *k.writes)]
            assert [j for j in places if loop.first <= j <= loop.last] == [i]
            assert places[0] < loop.first and loop.last < places[-1] and n not in ps.kernels[places[-1]].writes


@pytest.mark.parametrize("name", STRIPS)
def test_the_order_of_a_sum_of_floats_stays(name: str) -> None:
    for ps in plan(on(STRIPS[name])).placed.packed:
        grown = [k for k in ps.kernels if k.running]
        assert all(r.dtype in INTEGERS for k in grown for r in k.anchor.results)
        assert not grown or "i8" in name


@pytest.mark.parametrize("name", ["rows", "pool-overlap", "i8"])
def test_the_pass_keeps_all_bits(name: str) -> None:
    """Interpreted before and after, down to the arena's bytes."""
    plan(on(STRIPS[name]), verify=2)


@pytest.mark.parametrize("name", STRIPS)
def test_the_peak_falls(name: str) -> None:
    before, after = (plan(text).placed for text in (STRIPS[name], on(STRIPS[name])))
    a, b = (max(live_bytes(p.packed.train)[0]) for p in (before, after))
    assert b < a or name == "odd-channels"
    assert after.plan.arena_bytes <= before.plan.arena_bytes
    assert after.plan.state_bytes == before.plan.state_bytes
