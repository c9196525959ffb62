"""Networks of the ResNetE and Bi-Real kind: every gradient of a step against torch's autograd in f64, written a second
way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import batch_of, codes_of, plan

from bnnc.ir import interp
from bnnc.lower.differentiate import differentiate
from bnnc.lower.expand import expand

torch = pytest.importorskip("torch", reason="the oracle needs torch (extra `oracle`)")
import torch.nn.functional as tf  # noqa: E402

torch.set_num_threads(1)

SPEC = """
let clip = {clip};
network net {{
  input u8[8, 8, 3];
  conv 6 kernel = 3 stride = 2 padding = same weights = real; batchnorm; {relu} maxpool 3 stride = 2 padding = same;
  {norm}
  residual {{ sign {surrogate} clip = clip; conv 6 padding = same scale = {scale}; batchnorm; }}
  residual {{
    shortcut {{ avgpool 2; conv 10 kernel = 1 weights = real; batchnorm; }}
    sign {surrogate} clip = clip; conv 10 stride = 2 padding = same scale = {scale}; batchnorm;
  }}
  {relu} globalavgpool; flatten;
  dense 5 weights = real bias = on;
  loss;
}}
rule {rule};
train {{ batch = 12; optimizer = sgd; }}
"""
RESNETE = {"clip": 1.25, "relu": "relu;", "norm": "batchnorm;", "surrogate": "ste", "scale": "off"}
BIREAL = {"clip": 1, "relu": "", "norm": "", "surrogate": "quadratic", "scale": "mean"}


class Sign(torch.autograd.Function):
    """+1 or -1; back: ``ste`` 1[|z| <= clip], ``quadratic`` max(0, 2 - 2|z|)."""

    @staticmethod
    def forward(ctx: Any, z: Any, surrogate: str, clip: float) -> Any:
        ctx.save_for_backward(z)
        ctx.how = surrogate, clip
        return torch.where(z >= 0, 1.0, -1.0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (z,), (surrogate, clip) = ctx.saved_tensors, ctx.how
        factor = (z.abs() <= clip).to(g.dtype) if surrogate == "ste" else (2 - 2 * z.abs()).clamp(min=0)
        return g * factor, None, None


def norm(y: Any, beta: Any) -> Any:
    over = (0, 2, 3)
    a = y - y.mean(over, keepdim=True)
    return a / (a.square().mean(over, keepdim=True) + 1e-5).sqrt() + beta.view(1, -1, 1, 1)


def kernel_of(w: Any, k: int) -> Any:
    return w.view(k, k, -1, w.shape[1]).permute(3, 2, 0, 1)


def forward(p: dict[str, Any], image: Any, kind: dict[str, Any]) -> Any:
    def binary(x: Any, name: str, stride: int) -> Any:
        w = p[f"{name}.weight"]
        signs = w + (torch.where(w >= 0, 1.0, -1.0) - w).detach()
        x = tf.pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
        total = tf.conv2d(x, kernel_of(signs, 3), stride=stride)
        return total * w.abs().mean(0).detach().view(1, -1, 1, 1) if kind["scale"] == "mean" else total

    def act(x: Any) -> Any:
        return torch.relu(x) if kind["relu"] else x

    numbers = iter(range(1, 9))

    def bn(y: Any) -> Any:
        return norm(y, p[f"batchnorm{next(numbers)}.beta"])

    x = act(bn(tf.conv2d(tf.pad(image, (0, 1, 0, 1)), kernel_of(p["conv1.weight"], 3), stride=2)))
    x = tf.max_pool2d(tf.pad(x, (0, 1, 0, 1), value=-1e9), 3, 2)
    x = bn(x) if kind["norm"] else x
    x = x + bn(binary(Sign.apply(x, kind["surrogate"], kind["clip"]), "conv2", 1))
    side = bn(tf.conv2d(tf.avg_pool2d(x, 2), kernel_of(p["conv3.weight"], 1)))
    x = side + bn(binary(Sign.apply(x, kind["surrogate"], kind["clip"]), "conv4", 2))
    return act(x).mean((2, 3)) @ p["dense1.weight"] + p["dense1.bias"]


@pytest.mark.parametrize("kind", [RESNETE, BIREAL], ids=["resnete", "bireal"])
def test_every_gradient_is_autograds(kind: dict[str, Any]) -> None:
    planned = plan(SPEC.format(rule="standard", **kind))
    raw = expand(planned.model)
    program = differentiate(raw).train
    states, inputs = interp.init_states(program, 3), batch_of(planned, 1)
    rng = np.random.default_rng(0)
    trained = [s.name for s in program.states if s.role in ("weight", "param")]
    states |= {
        n: rng.normal(0, 0.3, states[n].shape).astype(np.float32) for n in trained
    }  # shifts too; some weights beyond 1
    values, new = interp.step(program, {**states, **{n: inputs[n] for n in program.inputs}})
    p = {
        n: (
            torch.tensor(states[n].astype(np.float64)).squeeze(0)
            if n.split(".")[1] in ("beta", "bias")
            else torch.tensor(states[n].astype(np.float64))
        )
        for n in trained
    }
    for t in p.values():
        t.requires_grad_()
    image = torch.tensor(inputs["x"].astype(np.float64) * 2 / 255 - 1).view(12, 8, 8, 3).permute(0, 3, 1, 2)
    labels = torch.tensor(inputs["labels"][:, 0].astype(np.int64))
    loss = tf.cross_entropy(forward(p, image, kind), labels)
    loss.backward()
    assert values[dict(program.results)["loss"]].mean() == pytest.approx(loss.item(), rel=1e-5)
    lr = float(inputs["lr"][0, 0])
    for n in trained:  # the first step of SGD is -lr times the gradient
        got = (new[f"{n}.u"] / -lr).reshape(p[n].shape)
        np.testing.assert_allclose(
            got, p[n].grad.numpy(), rtol=2e-3, atol=2e-4 * max(1.0, float(p[n].grad.abs().max())), err_msg=n
        )
        assert np.abs(got).max() > 0, n


def test_what_edge_keeps() -> None:
    """Bits, and in f16 what real weights read; the derivative 2 - 2|z| needs a real number, which this rule does not
    keep.
    """
    planned = plan(SPEC.format(rule="edge", **RESNETE))
    program = differentiate(expand(planned.model)).train
    wide = (
        {v.name for v in program.retained() if min(v.shape) > 1 and v.dtype not in ("bit", "bool")}
        - {"x"}
        - program.state_names
    )
    assert {(program.value[n].dtype, program.producer[n].layer) for n in wide} == {
        ("f16", "avgpool1"),
        ("f16", "globalavgpool1"),
    }
    assert codes_of(SPEC.format(rule="edge", **BIREAL)) == ["B0503"]


def test_edges_gradients_are_near_standards() -> None:
    """The same network and batch norm by both rules: f16 storage moves the gradients of real weights little, and scales
    them alike.
    """
    grads = []
    for rule in ("edge(state = f32)", "standard"):
        text = SPEC.format(rule=rule, **RESNETE).replace("batchnorm;", "batchnorm bnn;")
        planned = plan(text)
        program = differentiate(expand(planned.model)).train
        inputs = batch_of(planned, 1)
        _, new = interp.step(program, {**interp.init_states(program, 3), **{n: inputs[n] for n in program.inputs}})
        grads.append(
            {
                n: new[f"{n}.u"]
                for n in ("conv1.weight", "conv3.weight", "dense1.weight", "dense1.bias", "batchnorm1.beta")
            }
        )
    for n, g in grads[0].items():
        want = grads[1][n]
        assert np.abs(g - want).max() < 0.05 * np.abs(want).max(), n
