"""Names of storages are written and read in one place."""

from __future__ import annotations

import pytest

from bnnc.ir.dtype import Packing
from bnnc.ir.ref import Ref


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("dense1.weight", Ref("dense1.weight")),
        ("dense1.wb@0", Ref("dense1.wb", Packing.ROWS)),
        ("dense1.wb@2", Ref("dense1.wb", Packing.COLUMNS_ACROSS)),
        ("conv1.y~3", Ref("conv1.y", copy=3)),
        ("eval:sign1.mask@0~2", Ref("sign1.mask", Packing.ROWS, 2, "eval:")),
        ("x", Ref("x")),
    ],
)
def test_a_name_is_what_it_was_made_of(text: str, ref: Ref) -> None:
    assert Ref.parse(text) == ref
    assert str(ref) == text


def test_a_value_has_a_layer_and_a_role() -> None:
    assert (Ref.parse("eval:bn.dx.2@0").layer, Ref.parse("eval:bn.dx.2@0").role) == ("bn", "dx.2")
    assert Ref.parse("x").role == "x"
    assert str(Ref.parse("conv1.y@0~3").first) == "conv1.y@0"
