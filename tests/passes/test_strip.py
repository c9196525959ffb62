"""strip: loops over strips of a matrix, and values that are made again, where that lowers the peak.  What the kernels
of its loops compute is in ``tests/kernels/test_strips.py``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import plan
from nets import STRIPS, on

from bnnc.ir.dtype import INTEGERS, Axis
from bnnc.ir.ref import Ref, Side
from bnnc.plan.check import check_plan
from bnnc.plan.place import live_bytes, place, timeline
from bnnc.plan.types import Loop


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
