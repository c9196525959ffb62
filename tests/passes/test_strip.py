"""strip: loops over strips of a matrix, and values that are made again, where that lowers the peak.  What the kernels
of its loops compute is in ``tests/kernels/test_strips.py``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import plan
from nets import STRIPS, on

from bnnc.ir.dtype import Axis
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


@pytest.mark.parametrize("name", ["rows", "pool-overlap"])
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
