"""sigprop: every gradient of a step against torch's autograd in f64, from the definition: samples and targets go
through the same layers, and each block's loss is the cross entropy of the cosines of what comes out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import codes_of, plan
from torch_nets import NETS, SPEC, Case, Net, assert_gradients, assert_signs, torch

from bnnc.ir import interp
from bnnc.ir.interp import constant_array
from bnnc.model import Layer

tf = torch.nn.functional
WARMTH = 0.3


def ends(case: Case, x: Any) -> tuple[dict[str, Any], Any]:
    """What each layer with weights, or residual, reads, by the layer's name; the last layer's values."""
    found: dict[str, Any] = {}

    def cut(value: Any, layer: Layer) -> Any:
        found[layer.name] = value
        return value.detach()

    last = Net(case.p, cut, case.half).run(case.model.layers, x)
    return found, last


def targets(case: Case) -> Any:
    """The samples of signs that stand for classes, as the network reads data."""
    c = next(c for c in case.program.constants if c.name == "input.targets")
    t = torch.tensor(constant_array(case.program.value[c.name], c).astype(np.float64))
    shape = case.model.layers[0].output.shape
    return t.view(-1, *shape).permute(0, 3, 1, 2) if len(shape) == 3 else t


def objective(case: Case) -> Any:
    h, logits = ends(case, case.x)
    t, _ = ends(case, targets(case))
    present = sorted(set(case.labels.tolist()))
    label = torch.tensor([present.index(c) for c in case.labels.tolist()])
    loss = tf.cross_entropy(logits, case.labels)
    for name in h:
        u, v = (tf.normalize(z.flatten(1)) for z in (h[name], t[name]))
        loss = loss + tf.cross_entropy((u @ v.T)[:, present] / WARMTH, label)
    return loss


@pytest.mark.parametrize("net", NETS)
def test_every_gradient_is_autograds(net: str) -> None:
    case = Case(net, f"sigprop(temperature = {WARMTH})")
    objective(case).backward()
    assert_gradients(case, net)


@pytest.mark.parametrize("net", [n for n in NETS if n not in ("real", "odd")])
def test_signs_of_gradients_are_autograds(net: str) -> None:
    """With the numerics of edge."""
    case = Case(net, f"sigprop(temperature = {WARMTH}, numerics = edge)")
    objective(case).backward()
    assert_signs(case)


def test_targets_are_one_sample_a_class_and_count_in_no_statistic() -> None:
    """The running statistics are those of back-propagation."""
    case, plain = Case("dense", "sigprop"), Case("dense", "standard")
    assert case.program.value["input.targets"].shape == (5, 40)
    for name in ("batchnorm1.mean", "batchnorm2.psi", "batchnorm3.mean"):
        assert (case.new[name] == plain.new[name]).all()


def test_it_takes_the_batch_in_parts() -> None:
    text = SPEC.format(layers=NETS["dense"], rule="sigprop(numerics = edge)")
    assert codes_of(text.replace("batch = 8;", "batch = 8; microbatch = 2;")) == []
    assert codes_of(text.replace("batch = 8;", "batch = 8193;")) == ["B0501"]


def test_classes_that_no_sample_has_do_not_count() -> None:
    """With one class in the batch the blocks learn nothing, and the last one does."""
    program = plan(SPEC.format(layers=NETS["dense"], rule="sigprop")).trace.results["simplify"].train
    values = {n: np.zeros(program.value[n].shape, interp.NUMPY[program.value[n].dtype]) for n in program.inputs}
    values["x"][:] = np.arange(8)[:, None] * np.arange(40)[None] % 7
    values["lr"][:] = 1
    _, new = interp.step(program, {**interp.init_states(program, 1), **values})
    assert not new["dense1.weight.u"].any() and new["dense3.weight.u"].any()
