"""differentiate: backward ops, and one update for every trained parameter.  ``tests/oracle`` compares the gradients
with torch's; here is what is written, and in which order.
"""

from __future__ import annotations

from bnnc.driver import Options, check_text
from bnnc.ir.program import Program
from bnnc.ir.text import print_program
from bnnc.lower.differentiate import differentiate
from bnnc.lower.expand import expand


def trained(layers: str, rule: str = "standard", train: str = "batch = 2; optimizer = sgd(momentum = 0)") -> Program:
    text = f"network n {{ input {layers} loss; }} rule {rule}; train {{ {train}; }}"
    return differentiate(expand(check_text(Options(text)))).train


def of(program: Program, layer: str, phase: str) -> list[str]:
    lines = print_program(program).splitlines()
    return [line.partition("  @")[0] for line in lines if line.endswith(f"@{phase} {layer}")]


def test_a_product_has_two_gradients_of_which_the_first_layer_needs_one() -> None:
    p = trained("bit[4]; dense 3; batchnorm; sign; dense 2;")
    assert of(p, "dense2", "backward") == [
        "%dense2.wb_back = sign(%dense2.weight) : bit[3, 2]",
        "%dense2.dx = contract(%loss1.dz, %dense2.wb_back) {form='nt'} : f32[2, 3]",
        "%dense2.dw = contract(%sign1.out, %loss1.dz) {form='tn'} : f32[3, 2]",
    ]
    assert of(p, "dense1", "backward") == [
        "%dense1.dw = contract(%x, %batchnorm1.dy) {form='tn'} : f32[4, 3]",
    ]


def test_a_sign_lets_a_gradient_through_where_its_input_is_small() -> None:
    p = trained("bit[4]; dense 3; batchnorm; sign; dense 2;")
    assert of(p, "sign1", "backward")[-1] == "%sign1.g = select(%sign1.mask, %dense2.dx, %sign1.c.2) : f32[2, 3]"


def test_layers_come_backwards_and_updates_last() -> None:
    p = trained("bit[4]; dense 3; batchnorm; sign; dense 2;")
    backward = [op.layer for op in p.ops if op.phase == "backward"]
    assert list(dict.fromkeys(backward)) == ["loss1", "dense2", "sign1", "batchnorm1", "dense1"]
    written = [op.output for op in p.ops if op.phase == "update"]
    last = max(i for i, op in enumerate(p.ops) if op.phase == "backward")
    assert all(p.ops.index(p.producer[n]) > last for n in written if n.endswith(("weight_new", "beta_new")))


def test_every_trained_parameter_has_one_update() -> None:
    for rule in ("standard", "edge", "local", "bep"):
        layers = "bit[5]; dense 3; sign; dense 3;" if rule in ("local", "bep") else "u8[4]; dense 3; batchnorm;"
        p = trained(layers, rule, "batch = 2")
        states = [s for s, _ in p.updates]
        assert len(states) == len(set(states))
        assert {s.name for s in p.states if s.role == "weight"} <= set(states), rule


def test_a_part_of_a_batch_adds_its_gradient_and_the_last_one_moves_the_weights() -> None:
    p = trained("bit[4]; dense 3;", train="batch = 6; microbatch = 3; optimizer = sgd(momentum = 0)")
    new = dict(p.updates)
    assert p.producer[new["dense1.weight"]].kind == "select"
    assert "dense1.weight.sum" in new
