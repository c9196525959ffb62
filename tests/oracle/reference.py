"""One training step and evaluation of a binary MLP by torch.autograd: the oracle for bnnc's interpreter and C.

It shares no code with bnnc and imports only torch and NumPy.  Each layer is a small ``autograd.Function`` that holds
the one backward rule that is not the derivative of its forward; autograd composes them.

Network: ``y = x . sign(W)``, ``z = norm(y) + beta`` after every dense layer, ``x = sign(z)`` between them; the last z
are the logits.  ``sign(v) = +1 if v >= 0 else -1``, so sign(-0.0) = +1 and sign(NaN) = -1.

Rules.  ``standard``: all values f32 (Algorithm 1 of arXiv 2102.04270 with the sign's mask).  ``edge``: Algorithm 2 with
1-bit weight gradients ``sign(dW) / sqrt(fan_in)``; the loss is a sum over the batch (loss scale S = B, taken out of
dbeta again); the gradient that leaves a dense layer towards its input is rounded to f16; W, beta, m, u and sqrt(v) are
stored as f16, rounded once, after the update, which itself is computed from unrounded f32 values.  The running
statistics stay f32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

NORMS = ("l2", "l1", "bnn")
SURROGATES = ("ste", "identity", "quadratic")
L2_EPS = 1e-5  # under the root
L1_FLOOR = 1e-5  # a channel whose psi is not above it is constant: its output is beta, its gradient 0
RUNNING = 0.9


def sign(v: Tensor) -> Tensor:
    """+1 where ``v >= 0``, else -1, in ``v``'s dtype and shape."""
    return torch.where(v >= 0, 1.0, -1.0).to(v.dtype)


def half(v: Tensor) -> Tensor:
    """``v`` rounded to the nearest float16 (ties to even), in ``v``'s own dtype."""
    return v.to(torch.float16).to(v.dtype)


class BinaryDense(torch.autograd.Function):
    """``y = x . sign(W)``; dW = x^T dY straight through; dX = dY . sign(W)^T, rounded to f16 if ``narrow``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, narrow: bool) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.narrow = narrow
        return x @ sign(w)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x, w = ctx.saved_tensors
        dx = dy @ sign(w).T if ctx.needs_input_grad[0] else None
        return (half(dx) if ctx.narrow and dx is not None else dx), x.T @ dy, None


class BinarySign(torch.autograd.Function):
    """``sign(z)``; backward factor: ``ste`` 1[|z| <= 1], ``identity`` 1, ``quadratic`` max(0, 2 - 2|z|)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, surrogate: str) -> Tensor:
        ctx.save_for_backward(z)
        ctx.surrogate = surrogate
        return sign(z)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (z,) = ctx.saved_tensors
        if ctx.surrogate == "ste":
            return torch.where(z.abs() <= 1, g, torch.zeros_like(g)), None
        if ctx.surrogate == "quadratic":
            return g * (2 - 2 * z.abs()).clamp(min=0), None
        return g, None


def spread(a: Tensor, kind: str) -> Tensor:
    """psi of the centred values ``a`` (N, channels): root mean square with eps for l2, mean magnitude for l1, bnn."""
    return (a.square().mean(0) + L2_EPS).sqrt() if kind == "l2" else a.abs().mean(0)


def inverse(psi: Tensor, kind: str) -> Tensor:
    """1 / psi; for l1 and bnn 0 where psi is not above the floor."""
    if kind == "l2":
        return 1 / psi
    return torch.where(psi > L1_FLOOR, 1 / psi.clamp(min=L1_FLOOR), torch.zeros_like(psi))


class Normalise(torch.autograd.Function):
    """``(y - mean) / psi`` over the batch, without beta: returns (x~, mean, psi); backward of l2, l1 or bnn."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, kind: str) -> tuple[Tensor, Tensor, Tensor]:
        mean = y.mean(0)
        a = y - mean
        psi = spread(a, kind)
        inv = inverse(psi, kind)
        x = a * inv
        ctx.save_for_backward(x, a, inv)
        ctx.kind = kind
        ctx.mark_non_differentiable(mean, psi)
        return x, mean, psi

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        x, a, inv = ctx.saved_tensors
        v, q = g * inv, sign(a)
        if ctx.kind == "l2":
            return v - v.mean(0) - (v * x).mean(0) * x, None
        if ctx.kind == "l1":
            return v - v.mean(0) - (v * x).mean(0) * (q - q.mean(0)), None
        return v - v.mean(0) - (v * q).mean(0) * q, None


def mean_loss(kind: str, logits: Tensor, y: Tensor) -> Tensor:
    """Mean over the batch of the softmax cross-entropy, or of the squared hinge on +-1 targets summed over classes."""
    if kind == "softmax":
        return torch.nn.functional.cross_entropy(logits, y)
    targets = 2 * torch.nn.functional.one_hot(y, logits.shape[1]).to(logits.dtype) - 1
    return (1 - targets * logits).clamp(min=0).square().sum(1).mean()


class Net:
    """A binary MLP with its training state; one :meth:`step` is one batch.

    ``widths``: input, hidden ..., classes.  ``norm``: l2, l1 or bnn (default: l2 for standard, bnn for edge).
    ``optimizer``: adam, sgd or bop.  ``v="elide"``: Adam without second moment for the weights of rule edge.
    ``input_kind``: u8 (scaled to [-1, 1]), bit (bool, or +-1) or f32.  ``dtype``: of all arithmetic, default f32.
    """

    def __init__(
        self,
        widths: Sequence[int],
        norm: str | None = None,
        rule: str = "standard",
        optimizer: str = "adam",
        surrogate: str = "ste",
        loss: str = "softmax",
        input_kind: str = "u8",
        *,
        clip: bool = True,
        v: str = "keep",
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        momentum: float = 0.9,
        gamma: float = 1e-3,
        tau: float = 1e-6,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        norm = norm or {"standard": "l2", "edge": "bnn"}[rule]
        for value, known in (
            (norm, NORMS),
            (rule, ("standard", "edge")),
            (optimizer, ("adam", "sgd", "bop")),
            (surrogate, SURROGATES),
            (loss, ("softmax", "hinge")),
            (input_kind, ("u8", "bit", "f32")),
            (v, ("keep", "elide")),
        ):
            if value not in known:
                raise ValueError(f"{value!r} is not one of {known}")
        if v == "elide" and (rule != "edge" or optimizer != "adam"):
            raise ValueError("v=elide needs 1-bit gradients and Adam")
        self.widths, self.norm, self.rule, self.optimizer = tuple(widths), norm, rule, optimizer
        self.surrogate, self.loss, self.input_kind, self.clip, self.v = surrogate, loss, input_kind, clip, v
        self.betas, self.eps, self.momentum, self.gamma, self.tau, self.dtype = betas, eps, momentum, gamma, tau, dtype
        self.narrow = rule == "edge"
        self.layers = range(1, len(widths))
        self.tensors: dict[str, Tensor] = {}
        for i, (k, n) in enumerate(zip(widths, widths[1:], strict=False), 1):
            shapes = {f"W{i}": (k, n), f"beta{i}": (n,), f"mean{i}": (n,), f"psi{i}": (n,)}
            for p in (f"W{i}", f"beta{i}"):
                shapes |= {f"{p}.{s}": shapes[p] for s in self.slots(p)}
            for name, shape in shapes.items():
                full = 1.0 if name.startswith(("psi", "W")) and "." not in name else 0.0
                self.tensors[name] = torch.full(shape, full, dtype=dtype)

    def slots(self, name: str) -> str:
        """The optimiser's state of a parameter: ``m`` and ``v`` (Adam), ``u`` (momentum), ``m`` (Bop, elided v)."""
        if self.optimizer == "sgd":
            return "u"
        return "m" if name.startswith("W") and (self.optimizer == "bop" or self.v == "elide") else "mv"

    def init(self, seed: int) -> Net:
        """W from N(0, 1 / fan_in) (its sign for Bop), beta 0; returns self."""
        rng = np.random.default_rng(seed)
        draw = {
            f"W{i}": rng.normal(0, 1 / math.sqrt(k), (k, n))
            for i, (k, n) in enumerate(zip(self.widths, self.widths[1:], strict=False), 1)
        }
        return self.load(draw)

    def load(self, weights: dict[str, np.ndarray]) -> Net:
        """Set any of ``W1`` (fan_in, units), ``beta1`` (units,), ``mean1``, ``psi1``, ``W1.m`` ... (layers from 1).

        Rule edge rounds what it stores as f16, and its ``.v`` is sqrt(v).  Bop takes the sign of W.  Returns self.
        """
        for name, value in weights.items():
            t = torch.from_numpy(np.array(value, np.float64)).to(self.dtype)
            if name not in self.tensors or t.shape != self.tensors[name].shape:
                raise ValueError(f"{name} {tuple(t.shape)} does not belong to this network")
            self.store(name, sign(t) if self.optimizer == "bop" and name[0] == "W" and "." not in name else t)
        return self

    def is_half(self, name: str) -> bool:
        return self.narrow and not name.startswith(("mean", "psi"))

    def store(self, name: str, value: Tensor) -> None:
        self.tensors[name] = half(value) if self.is_half(name) else value.clone()

    def state(self) -> dict[str, np.ndarray]:
        """All parameters, running statistics and optimiser state; float16 where that is the storage type."""
        arrays = {k: t.numpy().copy() for k, t in self.tensors.items()}
        return {k: a.astype(np.float16) if self.is_half(k) else a for k, a in arrays.items()}

    def encode(self, x: np.ndarray) -> Tensor:
        """(N, ...) samples as (N, K) in the arithmetic dtype."""
        x = np.asarray(x).reshape(len(x), -1)
        if self.input_kind == "u8":
            return torch.from_numpy(x.astype(np.uint8)).to(self.dtype) * (2 / 255) - 1
        if x.dtype == np.bool_:
            x = np.where(x, 1.0, -1.0)
        return torch.from_numpy(x.astype(np.float64)).to(self.dtype)

    def step(self, x: np.ndarray, y: np.ndarray, lr: float, t: int) -> dict[str, Any]:
        """Train on one batch; ``t`` counts from 1.  Returns NumPy values, lists by layer from the first:

        ``loss`` (mean over the batch), ``correct`` (count), ``logits`` (B, classes); ``y``, ``z`` (B, units); ``dX``:
        gradients at the inputs of layers 2, 3, ... (B, K); ``dW_raw`` (K, units): x^T dY; ``dW``: what the optimiser
        gets; ``dbeta`` (units,); ``state``: as :meth:`state`, after the update.  dX and dW_raw carry the loss scale.
        """
        h, labels, batch = self.encode(x), torch.from_numpy(np.asarray(y, np.int64)), len(x)
        leaves = {p: self.tensors[p].clone().requires_grad_() for i in self.layers for p in (f"W{i}", f"beta{i}")}
        ys, zs, hs = [], [], []
        for i in self.layers:
            pre = BinaryDense.apply(h, leaves[f"W{i}"], self.narrow)
            unit, mean, psi = Normalise.apply(pre, self.norm)
            z = unit + leaves[f"beta{i}"]
            for name, s in ((f"mean{i}", mean), (f"psi{i}", psi)):
                self.tensors[name] = RUNNING * self.tensors[name] + (1 - RUNNING) * s.detach()
            ys.append(pre.detach().numpy())
            zs.append(z.detach().numpy())
            if i != self.layers[-1]:
                h = BinarySign.apply(z, self.surrogate)
                h.retain_grad()
                hs.append(h)
        loss = mean_loss(self.loss, z, labels)
        (loss * batch if self.narrow else loss).backward()
        out: dict[str, Any] = {
            "loss": float(loss.detach()),
            "logits": zs[-1],
            "y": ys,
            "z": zs,
            "correct": int((zs[-1].argmax(1) == labels.numpy()).sum()),
            "dX": [h.grad.numpy() for h in hs],
            "dW_raw": [],
            "dW": [],
            "dbeta": [],
        }
        for i in self.layers:
            raw, w = leaves[f"W{i}"].grad, self.tensors[f"W{i}"]
            g = sign(raw) / math.sqrt(w.shape[0]) if self.narrow else raw
            if not self.clip:
                g = torch.where(w.abs() > 1, torch.zeros_like(g), g)
            beta = leaves[f"beta{i}"].grad / (batch if self.narrow else 1)
            for key, value in (("dW_raw", raw), ("dW", g), ("dbeta", beta)):
                out[key].append(value.numpy().copy())
            self.update(f"W{i}", g, lr, t)
            self.update(f"beta{i}", beta, lr, t)
        out["state"] = self.state()
        return out

    def update(self, name: str, g: Tensor, lr: float, t: int) -> None:
        """The optimiser's update of one parameter from its gradient, and the clip of weights to [-1, 1]."""
        w, new = self.tensors[name], {}
        weights = name.startswith("W")
        c = 1 / math.sqrt(w.shape[0]) if weights and self.narrow else 1.0
        if self.optimizer == "sgd":
            new["u"] = self.momentum * self.tensors[f"{name}.u"] - lr * g
            w = w + new["u"]
        elif self.optimizer == "bop" and weights:
            new["m"] = (1 - self.gamma) * self.tensors[f"{name}.m"] + self.gamma * g
            w = torch.where(w * new["m"] >= self.tau * c, -w, w)
        else:
            b1, b2 = self.betas
            new["m"] = b1 * self.tensors[f"{name}.m"] + (1 - b1) * g
            rate = lr / (1 - b1**t)
            if "v" in self.slots(name):
                stored = self.tensors[f"{name}.v"]
                v = b2 * (stored.square() if self.narrow else stored) + (1 - b2) * g.square()
                w = w - rate * (new["m"] / (v.sqrt() / math.sqrt(1 - b2**t) + self.eps))
                new["v"] = v.sqrt() if self.narrow else v
            else:
                w = w - rate * (new["m"] / c)
        if weights and self.clip:
            w = w.clamp(-1, 1)
        self.store(name, w)
        for slot, value in new.items():
            self.store(f"{name}.{slot}", value)

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        """With the running statistics: ``loss`` (mean), ``correct``, ``accuracy``, ``logits`` (N, classes), ``labels``
        (N,): the first of the highest logits.
        """
        h, labels = self.encode(x), np.asarray(y, np.int64)
        z = h
        for i in self.layers:
            a = h @ sign(self.tensors[f"W{i}"]) - self.tensors[f"mean{i}"]
            z = a * inverse(self.tensors[f"psi{i}"], self.norm) + self.tensors[f"beta{i}"]
            h = sign(z)
        logits = z.numpy()
        correct = int((logits.argmax(1) == labels).sum())
        return {
            "loss": float(mean_loss(self.loss, z, torch.from_numpy(labels))),
            "correct": correct,
            "accuracy": correct / len(labels),
            "logits": logits,
            "labels": logits.argmax(1),
        }


def fit(
    net: Net, x: np.ndarray, y: np.ndarray, epochs: int, batch: int, rate: Callable[[int], float], seed: int = 0
) -> None:
    """Train for whole batches only, shuffled by ``seed``; ``rate(epoch)`` is the learning rate."""
    rng, t = np.random.default_rng(seed), 0
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for at in range(0, len(x) - batch + 1, batch):
            t += 1
            pick = order[at : at + batch]
            net.step(x[pick], y[pick], rate(epoch), t)
