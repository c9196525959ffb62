"""expand: a Model's layers become the forward ops of two Programs over the same states."""

from __future__ import annotations

from bnnc.driver import Options, check_text
from bnnc.ir.program import Module
from bnnc.ir.text import print_program
from bnnc.lower.expand import expand


def expanded(layers: str, rule: str = "standard", train: str = "batch = 2") -> Module:
    return expand(check_text(Options(f"network n {{ input {layers} loss; }} rule {rule}; train {{ {train}; }}")))


def of(module: Module, layer: str, side: str = "train") -> list[str]:
    """What a layer became, without names of shared constants."""
    text = print_program(getattr(module, side))
    return [line.partition("  @")[0] for line in text.splitlines() if line.endswith(f" {layer}")]


def test_bits_times_bits_is_one_product() -> None:
    assert of(expanded("bit[4]; dense 3;"), "dense1") == [
        "%dense1.wb = sign(%dense1.weight) : bit[4, 3]",
        "%dense1.y = contract(%x, %dense1.wb) {form='nn'} : i16[2, 3]",
    ]


def test_bytes_are_multiplied_exactly_and_then_scaled_to_one() -> None:
    """x is 2 u / 255 - 1: the product of whole numbers first, then the scale and the columns' sums."""
    ops = of(expanded("u8[4]; dense 3;"), "dense1")
    assert ops[:3] == [
        "%dense1.wb = sign(%dense1.weight) : bit[4, 3]",
        "%dense1.y = contract(%x, %dense1.wb) {form='nn'} : i16[2, 3]",
        "%dense1.colsum = reduce(%dense1.wb) {axis=0, how='sum'} : i32[1, 3]",
    ]
    assert ops[-1] == "%dense1.yr = add(%dense1.mul, %dense1.shifted) : f32[2, 3]"


def test_both_programs_have_the_same_states_and_evaluation_updates_none() -> None:
    module = expanded("u8[4]; dense 3; batchnorm; sign; dense 2;")
    assert module.train.states[: len(module.evaluate.states)] == module.evaluate.states
    assert {s for s, _ in module.train.updates} == {"batchnorm1.mean", "batchnorm1.psi"}
    assert not module.evaluate.updates


def test_evaluation_normalises_with_what_training_has_kept() -> None:
    module = expanded("u8[4]; dense 3; batchnorm; sign; dense 2;")
    train, evaluate = ("\n".join(of(module, "batchnorm1", side)) for side in ("train", "evaluate"))
    assert "reduce(" in train and "reduce(" not in evaluate
    assert "%batchnorm1.sub = sub(%dense1.yr, %batchnorm1.mean) : f32[2, 3]" in evaluate


def test_a_forward_part_holds_no_backward_op() -> None:
    module = expanded("u8[4]; dense 3; batchnorm; sign; dense 2;")
    assert {op.phase for op in module.train.ops} == {"forward", "update"}
    assert {op.phase for op in module.evaluate.ops} == {"forward"}


def test_a_program_sees_a_part_of_the_batch() -> None:
    whole, part = (expanded("bit[4]; dense 3;", train=t) for t in ("batch = 6", "batch = 6; microbatch = 3"))
    assert whole.train.value["x"].shape == (6, 4) and part.train.value["x"].shape == (2, 4)
    assert "part" in part.train.inputs and "part" not in whole.train.inputs
