"""Names of what holds values are data; texts are made of them."""

from __future__ import annotations

import copy
import pickle

import pytest

from bnnc.ir.dtype import Packing
from bnnc.ir.ref import Ref, Side


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        (Ref("dense1.weight"), "dense1.weight"),
        (Ref("dense1.weight", new=True), "dense1.weight.new"),
        (Ref("dense1.wb").packed(Packing.ROWS), "dense1.wb@0"),
        (Ref("dense1.wb", Packing.COLUMNS_ACROSS), "dense1.wb@2"),
        (Ref("conv1.y").again(3), "conv1.y~3"),
        (Ref("sign1.mask", Packing.ROWS, 2).on(Side.EVALUATION), "eval:sign1.mask@0~2"),
    ],
)
def test_a_text_says_what_a_name_is_made_of(ref: Ref, text: str) -> None:
    assert str(ref) == text


def test_names_that_are_equal_are_one_object() -> None:
    ref = Ref("sign1.mask", Packing.ROWS, 2, Side.EVALUATION)
    assert Ref("sign1.mask").on(Side.EVALUATION).packed(Packing.ROWS).again(2) is ref
    assert copy.deepcopy(ref) is ref and pickle.loads(pickle.dumps(ref)) is ref
    assert len({ref, ref.first, ref.on(Side.TRAIN), Ref("sign1.mask"), Ref("sign1.mask", new=True)}) == 5


def test_names_sort_as_their_texts() -> None:
    refs = [Ref("a.b"), Ref("a", Packing.ROWS), Ref("a"), Ref("a", copy=2), Ref("a", side=Side.EVALUATION)]
    assert list(map(str, sorted(refs))) == sorted(map(str, refs))


def test_a_value_has_a_layer_and_a_role() -> None:
    ref = Ref("bn.dx.2", Packing.ROWS, side=Side.EVALUATION)
    assert (ref.layer, ref.role) == ("bn", "dx.2")
    assert Ref("x").role == "x"
    assert str(Ref("conv1.y", Packing.ROWS, 3).first) == "conv1.y@0"
