"""sigprop_tl: every gradient of a step against torch in f64, from the definition: two passes, and the outer product of
what a layer read with what the disturbance changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import plan
from torch_nets import NETS, SPEC, Case, Net, assert_signs, torch

from bnnc.ir import interp
from bnnc.ir.interp import constant_array
from bnnc.model import Layer

tf = torch.nn.functional
ACTS, WEIGHTS = ("sign", "relu"), ("dense", "conv")


class Settled(Net):
    """By running statistics, as an evaluation."""

    def norm(self, x: Any, layer: Layer) -> Any:
        if layer.kind == "layernorm":
            return super().norm(x, layer)
        gamma = self.p.get(f"{layer.name}.gamma", torch.ones(1).double())
        parts = (self.p[f"{layer.name}.{n}"] for n in ("mean", "psi", "beta"))
        mean, psi, beta, gamma = (v[..., None, None] if x.dim() == 4 else v for v in (*parts, gamma))
        return gamma * (x - mean) / psi + beta


class Watched(Net):
    """Remembers what layers with weights read, and the activation that each leads to before the next such layer."""

    def __init__(self, p: dict[str, Any], half: bool) -> None:
        super().__init__(p, lambda x, layer: x, half)
        self.read: dict[str, Any] = {}
        self.act: dict[str, Any] = {}
        self.waits: list[tuple[Any, str]] = []  # (value, the layer with weights that leads to it)

    def run(self, layers: tuple[Layer, ...], x: Any) -> Any:
        for layer in layers:
            from_ = next((name for value, name in self.waits if value is x), "")
            if layer.kind in WEIGHTS:
                self.read[layer.name] = x
            x = self.layer(layer, x)
            if layer.kind in WEIGHTS:
                self.act[layer.name] = x
                self.waits.append((x, layer.name))
            elif from_ and layer.kind != "residual" and x.shape == self.act[from_].shape:
                if layer.kind in ACTS:
                    self.act[from_] = x
                else:
                    self.waits.append((x, from_))
        return x


def flat(model: Any) -> list[Layer]:
    return [y for y in model.walk() if y.kind in WEIGHTS]


def second_pass(case: Case, sent: Any, stop: Any) -> None:
    """The gradients of all layers with weights but the last, by what the disturbance changes."""
    p, model = case.p, case.model
    with torch.no_grad():
        seen = Watched(p, case.half)
        seen.run(model.layers, torch.cat([case.x, case.x + sent]))
    half = len(case.x)
    for layer in flat(model)[:-1]:
        change = seen.act[layer.name][:half] - seen.act[layer.name][half:]
        pixels = change[0, 0].numel() if change.dim() == 4 else 1
        x = seen.read[layer.name][:half]
        w = torch.zeros_like(p[f"{layer.name}.weight"]).requires_grad_()
        made = Net({**p, f"{layer.name}.weight": w}, stop, case.half)
        made.weights = lambda y, w=w: w  # type: ignore[method-assign]
        made.layer({"dense": layer, "conv": layer}[layer.kind], x).backward(change.detach() / pixels)
        p[f"{layer.name}.weight"].grad = w.grad
        if layer["bias"]:
            p[f"{layer.name}.bias"].grad = change.sum(tuple(i for i in range(change.dim()) if i != 1)) / pixels


CASES = [
    (net, arguments)
    for arguments in ("compat = on", "compat = off", "compat = off, numerics = edge")
    for net in ("dense", "convolutional", "residual", "mixing", "choices")
    if (net, "edge" in arguments) != ("mixing", True)  # numbers in f16 beside 0: one sign more or less is a change
]


@pytest.mark.parametrize(("net", "arguments"), CASES)
def test_every_gradient_is_the_definitions(net: str, arguments: str) -> None:
    case = Case(net, f"sigprop_tl({arguments})")
    p, model, program = case.p, case.model, case.program
    for s in program.states:
        if s.role == "stat":
            p[s.name] = torch.tensor(case.states[s.name].astype(np.float64)).squeeze(0)
    last = flat(model)[-1]

    def stop(x: Any, layer: Layer) -> Any:
        return x.detach() if layer.name == last.name else x

    logits = Settled(p, stop, case.half).run(model.layers, case.x)
    logits.retain_grad()
    tf.cross_entropy(logits, case.labels).backward()
    error = logits.grad * (1 if "compat = on" in arguments else len(logits))
    f = next(c for c in program.constants if c.name == "input.feedback")
    signs = torch.tensor(constant_array(program.value[f.name], f).astype(np.float64))
    sent = error @ signs / signs.shape[1] ** 0.5
    if case.x.dim() == 4:
        n, c, h, w = case.x.shape
        sent = sent.view(n, h, w, c).permute(0, 3, 1, 2)
    second_pass(case, sent, stop)
    if case.half:
        assert_signs(case, 0.1 if net == "residual" else 0.0)  # h - h' of numbers in f16
        return
    largest = max(float(p[n].grad.norm()) for n in case.trained if p[n].grad is not None)
    for n in case.trained:
        if f"{n}.u" not in case.new:
            assert n.split(".")[1] in ("beta", "gamma")  # norms in front of the last layer learn nothing
            continue
        want = p[n].grad.numpy()
        got = (case.new[f"{n}.u"] / -case.lr).reshape(want.shape)
        assert np.linalg.norm(got - want) < 1e-5 * max(np.linalg.norm(want), 0.1 * largest), n


def test_the_disturbance_changes_something() -> None:
    """Else every gradient above would be 0, and equal."""
    case = Case("dense", "sigprop_tl(compat = off)")
    assert np.abs(case.new["dense1.weight.u"]).max() > 0 and np.abs(case.new["dense2.weight.u"]).max() > 0


def test_running_statistics_are_those_of_the_second_pass() -> None:
    planned = plan(SPEC.format(layers=NETS["dense"], rule="sigprop_tl"))
    program = planned.trace.results["simplify"].train
    updated = {s for s, _ in program.updates}
    assert {"batchnorm1.mean", "batchnorm2.psi", "batchnorm3.mean", "batchnorm3.beta"} <= updated
    assert not {"batchnorm1.beta", "batchnorm2.beta"} & updated
    assert interp.init_states(program, 1)["batchnorm1.psi"].min() == 1
