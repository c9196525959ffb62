"""A network in torch, in f64, from bnnc's Model: what the oracles of rules without a backward pass share.

Cuts say what a rule says: a function that hands its input on and, going back, returns the rule's signal in the place of
what arrives.  Of `hsic` the signal is autograd's derivative of the definition with traces, not of the closed form that
bnnc computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import batch_of, plan

from bnnc import registry
from bnnc.ir import interp
from bnnc.ir.interp import constant_array
from bnnc.lower.differentiate import differentiate
from bnnc.lower.expand import expand
from bnnc.model import Call, Layer

torch = pytest.importorskip("torch", reason="the oracle needs torch (extra `oracle`)")
import torch.nn.functional as tf  # noqa: E402

torch.set_num_threads(1)

NETS = {
    "dense": """
  input u8[40];
  dense 24; batchnorm; sign;
  dense 17; batchnorm; sign identity;
  dense 5; batchnorm;
""",
    "convolutional": """
  input u8[6, 6, 3];
  conv 6 padding = same; batchnorm; sign;
  conv 8 padding = same; maxpool 2; batchnorm; sign;
  conv 10; batchnorm; sign;
  flatten;
  dense 12; batchnorm; sign;
  dense 5; batchnorm;
""",
    "residual": """
  input u8[6, 6, 3];
  conv 6 padding = same weights = real; batchnorm;
  residual { sign; conv 6 padding = same; batchnorm; sign quadratic; conv 6 padding = same; batchnorm; }
  residual {
    shortcut { avgpool 2; conv 9 kernel = 1 weights = real; batchnorm; }
    sign; conv 9 stride = 2 pad = 1; batchnorm;
  }
  residual { conv 9 kernel = 1 weights = real; batchnorm; sign; conv 9 padding = same; batchnorm; }
  globalavgpool; flatten;
  dense 5 weights = real bias = on;
""",
    "real": """
  input u8[6, 6, 3];
  conv 6 padding = same; batchnorm scale = on;
  conv 8 padding = same; layernorm;
  residual {
    layernorm scale = off; conv 8 kernel = 1 bias = on; sign; conv 8 kernel = 1 bias = on; batchnorm scale = on; sign;
    conv 8 padding = same groups = 8;
  }
  layernorm;
  conv 4 kernel = 1 weights = real; batchnorm; sign;
  flatten; layernorm;
  dense 12 bias = on; sign identity;
  dense 5; batchnorm scale = on;
""",
    "choices": """
  input u8[6, 6, 3];
  conv 6 padding = same weights = real; batchnorm; sign;
  conv 8 padding = same weights = real; batchnorm; relu;
  conv 8 padding = same; batchnorm; relu; maxpool 2;
  conv 7 padding = same; batchnorm; sign; flatten;
  dense 12 weights = real; batchnorm; relu;
  dense 9 bias = on; batchnorm; sign quadratic;
  dense 8; layernorm; relu;
  dense 6 weights = real bias = on; sign identity;
  dense 5; batchnorm;
""",
    "mixing": """
  input u8[6, 6, 3];
  conv 8 kernel = 2 stride = 2 weights = real bias = on; tokens;
  residual { layernorm; transpose; conv 11 kernel = 1 bias = on; sign identity; conv 9 kernel = 1; transpose; }
  residual { layernorm; conv 7 kernel = 1 bias = on; sign quadratic; conv 8 kernel = 1; }
  layernorm; globalavgpool; flatten;
  dense 5 weights = real bias = on;
""",
    "odd": """
  input u8[40];
  dense 9; batchnorm;
  residual { residual { flatten; } residual { dense 9; } sign; dense 9; }
  residual { flatten; batchnorm; }
  flatten; sign;
  dense 5; batchnorm;
""",
}
BOUND = {"real": 1e-4}  # a chain of twelve layers of f32 numbers
RULES = ["standard", "dfa", "dfa(error = sign)", "drtp", "hsic(gamma = 20)", "hsic(gamma = 2)"]
RULES.append("hsic(kind = bottleneck, gamma = 2, sigma = 0.5, ridge = 0.1)")  # f32 tells no small ridge from its errors
REAL_FEEDBACK = ["dfa(feedback = normal)", "dfa(error = sign, feedback = normal)", "drtp(feedback = uniform)"]
SPEC = "network net {{ {layers} loss; }}\nrule {rule};\ntrain {{ batch = 8; optimizer = sgd; }}\n"


class Cut(torch.autograd.Function):
    """Its input; going back, another signal in the place of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, signal: Any) -> Any:
        ctx.save_for_backward(signal)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return ctx.saved_tensors[0], None


class Sign(torch.autograd.Function):
    """+1 or -1; back: `ste` 1[|z| <= 1], `quadratic` max(0, 2 - 2|z|), `identity` 1."""

    @staticmethod
    def forward(ctx: Any, z: Any, surrogate: str) -> Any:
        ctx.save_for_backward(z)
        ctx.surrogate = surrogate
        return torch.where(z >= 0, 1.0, -1.0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        size = ctx.saved_tensors[0].abs()
        return g * {"ste": (size <= 1).to(g.dtype), "quadratic": (2 - 2 * size).clamp(min=0)}.get(
            ctx.surrogate, 1
        ), None


class Bits(torch.autograd.Function):
    """The norm that keeps signs q of x~ = a / psi: dy = v - mean v - mean(v q) q, v = g / psi."""

    @staticmethod
    def forward(ctx: Any, x: Any, normed: Any, psi: Any, over: tuple[int, ...]) -> Any:
        ctx.save_for_backward(torch.where(normed >= 0, 1.0, -1.0).to(x.dtype), psi)
        ctx.over = over
        return normed.detach().clone()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        q, psi = ctx.saved_tensors
        v = g / psi
        mean = (v.mean(ctx.over, keepdim=True), (v * q).mean(ctx.over, keepdim=True))
        return v - mean[0] - mean[1] * q, None, None, None


class Net:
    """The Model's layers in torch, images as [samples, channels, rows, columns].  ``cut(x, layer)`` stands where a
    layer reads that is no first one and has weights, or is a residual.  With ``half`` real values are rounded to f16
    where `edge` stores them."""

    def __init__(self, p: dict[str, Any], cut: Callable[[Any, Layer], Any], half: bool = False) -> None:
        self.p, self.cut, self.first, self.last, self.half = p, cut, True, None, half

    def stored(self, v: Any) -> Any:
        return v + (v.half().double() - v).detach() if self.half else v

    def weights(self, layer: Layer) -> Any:
        w = self.p[f"{layer.name}.weight"]
        return w if layer["weights"] == "real" else w + (torch.where(w >= 0, 1.0, -1.0) - w).detach()

    def conv(self, x: Any, layer: Layer) -> Any:
        k, stride = layer["kernel"], layer["stride"]
        kernel = self.weights(layer).view(k, k, -1, layer["channels"]).permute(3, 2, 0, 1)
        pad = layer["pad"] or ((k - 1) // 2 if layer["padding"] == "same" else 0)
        bias = self.p[f"{layer.name}.bias"] if layer["bias"] else None
        return tf.conv2d(x, kernel, bias, stride=stride, padding=pad, groups=layer["groups"])

    def norm(self, x: Any, layer: Layer) -> Any:
        """Over all but the channels; of `layernorm` over these."""
        over = tuple(i for i in range(x.dim()) if (i == 1) == (layer.kind == "layernorm"))
        a = x - x.mean(over, keepdim=True)
        if dict(layer.args.args).get("kind") == "bnn":
            psi, shift = a.abs().mean(over, keepdim=True), self.p[f"{layer.name}.beta"]
            return Bits.apply(x, a / psi, psi, over) + (shift[..., None, None] if x.dim() == 4 else shift)
        gamma = self.p.get(f"{layer.name}.gamma", torch.ones(1).double())
        gamma, beta = (v[..., None, None] if x.dim() == 4 else v for v in (gamma, self.p[f"{layer.name}.beta"]))
        normed = a / (a.square().mean(over, keepdim=True) + 1e-5).sqrt()
        return gamma * (self.stored(normed) if layer.kind == "layernorm" else normed) + beta

    def run(self, layers: tuple[Layer, ...], x: Any) -> Any:
        for layer in layers:
            x = self.layer(layer, x)
        return x

    def weighted(self, x: Any, layer: Layer) -> Any:
        x, self.first = x if self.first else self.stored(x), False
        if layer.kind == "conv":
            y = self.conv(x, layer)
        else:
            y = x @ self.weights(layer)
            y = y + self.p[f"{layer.name}.bias"] if layer["bias"] else y
        return self.stored(y) if "real" in (layer["weights"], layer.input.kind) else y

    def layer(self, layer: Layer, x: Any) -> Any:
        if layer.kind in ("dense", "conv", "residual") and not self.first and x is not self.last:
            x = cut = self.cut(x, layer)
            self.last = (
                cut
                if layer.kind == "residual" and cut.grad_fn is not None and cut.grad_fn.name() == "CutBackward"
                else self.last
            )
        if layer.kind in ("dense", "conv"):
            return self.weighted(x, layer)
        match layer.kind:
            case "batchnorm" | "layernorm":
                return self.norm(x, layer)
            case "sign":
                return Sign.apply(x, layer["surrogate"])
            case "relu":
                return tf.relu(x)
            case "maxpool":
                return self.stored(tf.max_pool2d(x, layer["kernel"]))
            case "avgpool":
                return self.stored(tf.avg_pool2d(x, layer["kernel"]))
            case "globalavgpool":
                return self.stored(x.mean((2, 3), keepdim=True))
            case "tokens":
                return x.flatten(2)[..., None]
            case "transpose":
                return x.flatten(2).transpose(1, 2)[..., None]
            case "flatten":
                return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x
            case "residual":
                short = layer.body[0] if layer.body[0].kind == "shortcut" else None
                side = self.run(short.body, x) if short else x
                return self.stored(side + self.run(layer.body[1:] if short else layer.body, x))
            case "input" | "loss":
                return x
        raise AssertionError(layer.kind)


def hsic(z: Any, data: Any, hot: Any, rule: Call) -> Any:
    """What the rule minimises at a block that ends with z, in a batch of such data and labels."""
    return cosine_hsic(z, hot, rule["gamma"]) if rule["kind"] == "cosine" else normalised_hsic(z, data, hot, rule)


def cosine_hsic(z: Any, hot: Any, gamma: float) -> Any:
    """HSIC(K, K) - gamma HSIC(L, K) with cosine kernels and the biased estimator tr(A H D H) / B^2."""
    n = len(z)
    u = z.flatten(1) / z.flatten(1).norm(dim=1, keepdim=True)
    t = hot - 1 / hot.shape[1]
    t = t / t.norm(dim=1, keepdim=True)
    h = torch.eye(n, dtype=z.dtype) - 1 / n
    k, label = u @ u.T, t @ t.T
    return (torch.trace(k @ h @ k @ h) - gamma * torch.trace(label @ h @ k @ h)) / n**2


def normalised_hsic(z: Any, data: Any, hot: Any, rule: Call) -> Any:
    """nHSIC(Z, X) - gamma nHSIC(Z, T), as the authors have it: kernels centred on one side, and their inverses."""
    n = len(z)
    eye = torch.eye(n, dtype=z.dtype)

    def information(x: Any) -> Any:
        x = x.flatten(1)
        apart = (x[:, None] - x).square().sum(2)
        k = torch.exp(-apart / (2 * rule["sigma"] ** 2 * x.shape[1])) @ (eye - 1 / n)
        return k @ torch.linalg.inv(k + rule["ridge"] * n * eye)

    r = information(z)
    return (r * information(data).T).sum() - rule["gamma"] * (r * information(hot).T).sum()


class Case:
    """A step of the interpreter, and what the reference needs of it."""

    def __init__(self, net: str, rule: str) -> None:
        self.planned = plan(SPEC.format(layers=NETS[net], rule=rule))
        self.model = self.planned.model
        self.program = differentiate(expand(self.model)).train
        program, inputs, rng = self.program, batch_of(self.planned, 1), np.random.default_rng(0)
        states = interp.init_states(program, 3)
        self.trained = [s.name for s in program.states if s.role in ("weight", "param")]
        states |= {n: rng.normal(0, 0.3, states[n].shape).astype(states[n].dtype) for n in self.trained}
        self.states = states
        self.values, self.new = interp.step(program, {**states, **{n: inputs[n] for n in program.inputs}})
        self.lr = float(inputs["lr"][0, 0])
        self.p = {n: torch.tensor(states[n].astype(np.float64)) for n in self.trained}
        for n in self.trained:
            self.p[n] = (self.p[n].squeeze(0) if n.split(".")[1] != "weight" else self.p[n]).requires_grad_()
        self.labels = torch.tensor(inputs["labels"][:, 0].astype(np.int64))
        x = torch.tensor(inputs["x"].astype(np.float64) * 2 / 255 - 1)
        shape = self.model.layers[0].output.shape
        self.x = x.view(-1, *shape).permute(0, 3, 1, 2) if len(shape) == 3 else x

    def feedback(self, layer: Layer) -> Any:
        """[classes, channels] of the layer's fixed signs, or numbers."""
        name = f"{layer.name}.feedback"
        if name in self.states:
            return torch.tensor(self.states[name].astype(np.float64))
        c = next(c for c in self.program.constants if c.name == name)
        return torch.tensor(constant_array(self.program.value[name], c).astype(np.float64))

    @property
    def half(self) -> bool:
        """Whether numbers are stored in f16."""
        return registry.numerics_of(self.model.rule).name == "edge"

    def logits(self, cut: Callable[[Any, Layer], Any]) -> Any:
        return Net(self.p, cut, self.half).run(self.model.layers, self.x)

    def signal(self) -> Callable[[Any, Layer], Any]:
        """What arrives at a layer that is a cut."""
        rule, classes = self.model.rule, self.model.classes
        hot = tf.one_hot(self.labels, classes).double()

        def through(signal: Any, x: Any, layer: Layer) -> Any:
            g = signal @ self.feedback(layer)
            return g[..., None, None].expand_as(x) if x.dim() == 4 else g

        if rule.name == "drtp":
            return lambda x, layer: through(hot - 1 / classes, x, layer)
        if rule.name == "dfa":
            e = (torch.softmax(self.logits(lambda x, layer: x), 1) - hot).detach() / len(hot)
            e = torch.where(e >= 0, 1.0, -1.0).double() if rule["error"] == "sign" else e
            return lambda x, layer: through(e, x, layer)

        def dependence(x: Any, layer: Layer) -> Any:
            z = x.detach().requires_grad_()
            return torch.autograd.grad(hsic(z, self.x, hot, rule), z)[0]

        return dependence

    def gradients(self) -> None:
        """Fill in those of all parameters."""
        name = self.model.rule.name
        signal, adds = (None if name in ("standard", "edge") else self.signal()), name == "dfa"

        def cut(x: Any, layer: Layer) -> Any:
            return x if signal is None or layer.kind == "residual" and adds else Cut.apply(x, signal(x, layer).detach())

        tf.cross_entropy(self.logits(cut), self.labels).backward()


def assert_gradients(case: Case, net: str) -> None:
    """All that a step changes its parameters by is what the reference's gradients say."""
    largest = max(float(case.p[n].grad.norm()) for n in case.trained)
    for n in case.trained:  # the first step of SGD is -lr times the gradient
        want = case.p[n].grad.numpy()
        got = (case.new[f"{n}.u"] / -case.lr).reshape(want.shape)
        size = max(np.linalg.norm(want), 0.1 * largest)  # a shift in front of a norm has none
        assert np.linalg.norm(got - want) < BOUND.get(net, 1e-5) * size, n


def assert_signs(case: Case, doubt: float = 0.0) -> None:
    """Under `edge`: a step moves each weight of a binary layer by the same size against the sign of the reference's
    gradient, where f16 leaves no doubt about it, and all else as f16 has its gradient.  ``doubt`` is the share that f16
    may leave.
    """
    role = {s.name: s.role for s in case.program.states}
    grads = {n: case.p[n].grad.numpy() for n in case.trained if case.p[n].grad is not None and f"{n}.u" in case.new}
    largest = max(float(np.linalg.norm(g)) for n, g in grads.items() if role[n] == "param")
    for n, want in grads.items():
        got = (case.new[f"{n}.u"].astype(np.float64) / -case.lr).reshape(want.shape)
        if role[n] == "weight":
            sure = np.abs(want) > 0.02 * np.sqrt(np.mean(want**2))
            assert len(np.unique(np.abs(got))) == 1 and sure.mean() > 0.1, n
            assert (np.sign(got) != np.sign(want))[sure].mean() <= doubt, n
        else:
            assert np.linalg.norm(got - want) < max(1e-2, doubt) * max(np.linalg.norm(want), 0.1 * largest), n
