"""spare: without `recompute`, what costs next to nothing.  Its kernels are compared in tests/kernels/test_strips.py."""

from __future__ import annotations

import pytest
from helpers import plan
from nets import DENSE, SPARED

from bnnc.ir.dtype import Axis
from bnnc.ir.ref import Ref
from bnnc.plan.pack import PackedSchedule


def train(name: str, disable: tuple[str, ...] = ()) -> PackedSchedule:
    return plan(SPARED[name], disable=disable).placed.train


def maker(ps: PackedSchedule, value: str) -> int:
    return next(i for i, k in enumerate(ps.kernels) if value in map(str, k.writes))


@pytest.mark.parametrize("name", SPARED)
def test_a_product_before_a_pool_exists_for_some_samples(name: str) -> None:
    ps = train(name)
    (loop,) = ps.loops
    assert loop.axis is Axis.ROWS and loop.inside == {Ref("conv2.y")}
    assert not train(name, ("strip",)).loops


def test_no_product_is_computed_twice() -> None:
    for name in SPARED:
        ps, whole = train(name), train(name, ("strip",))
        products = [
            [k.writes[0] for k in p.kernels if k.anchor.title.startswith(("conv", "contract"))] for p in (ps, whole)
        ]
        assert products[0] == products[1]


def test_another_packing_is_made_where_it_is_read() -> None:
    whole, ps = train("drtp", ("strip",)), train("drtp")
    assert maker(whole, "sign1.out@0") == maker(whole, "sign1.out")
    late = maker(ps, "sign1.out@0")
    assert late > maker(ps, "sign1.out") and Ref("sign1.out").packed(
        ps.storage[ps.kernels[late].writes[0]].packing
    ) in {n for k in ps.kernels[late + 1 : late + 2] for n in k.reads}


def test_bits_are_made_where_they_are_read() -> None:
    """q and the mask of a block that is done while its sums are there; of the shift, which is overwritten meanwhile, a
    copy is held.
    """
    whole, ps = train("drtp", ("strip",)), train("drtp")
    bits = {Ref("batchnorm1.q"), Ref("sign1.mask")}
    assert bits <= set(whole.storage) and not bits & set(ps.storage)
    shift, held = Ref("batchnorm1.beta"), Ref("batchnorm1.beta").again(2)
    update = next(i for i, k in enumerate(ps.kernels) if shift in {ps.alias.get(n) for n in k.writes})
    assert maker(ps, str(held)) < update < max(i for i, k in enumerate(ps.kernels) if held in k.reads)


@pytest.mark.parametrize("name", SPARED)
def test_the_pass_keeps_all_bits(name: str) -> None:
    """Interpreted before and after, down to the arena's bytes."""
    plan(SPARED[name], verify=2)


def test_small_networks_stay_as_they_are() -> None:
    for name in ("edge-adam-keep", "standard-l1"):
        assert plan(DENSE[name]).placed.train == plan(DENSE[name], disable=("strip",)).placed.train
