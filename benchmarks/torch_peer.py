"""The peer: one training step of a binary network in plain PyTorch on the CPU, timed.

``mlp``: 784-256-256-256-256-10.  ``cnv``, ``binarynet``: the networks of ``examples/cnv_cifar10`` and
``examples/binarynet_cifar10``.  Custom autograd sign with the hard-tanh gradient, weights re-signed in each forward,
batch norm, cross-entropy, Adam with default options, weights clamped to [-1, 1] after each update; f32 data of MNIST's
or CIFAR-10's shape in memory (MNIST: three quarters of the pixels zero).  ``--compile``: forward and loss through
torch.compile (the optimiser and the clamp stay eager); ``--compile-step``: the whole step, optimiser and clamp
included.  Prints one JSON object; times in milliseconds.

    python benchmarks/torch_peer.py --batch 100 --threads 1 --steps 200 --compile
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class _SignSte(torch.autograd.Function):
    """+1 where ``v >= 0``, else -1; the gradient passes where ``|v| <= 1``."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return torch.where(v >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        return g * (v.abs() <= 1)


class Sign(nn.Module):
    """The sign as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return _SignSte.apply(x)


class BinaryLinear(nn.Linear):
    """A linear layer without bias on the signs of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, _SignSte.apply(self.weight))


class BinaryConv(nn.Conv2d):
    """A 3 x 3 convolution without bias on the signs of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, _SignSte.apply(self.weight), None, self.stride, self.padding)


class Mlp(nn.Module):
    """Binary linear layers, batch norm after each, sign between them."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = list(zip(widths, widths[1:], strict=False))
        self.linear = nn.ModuleList(BinaryLinear(k, n, bias=False) for k, n in sizes)
        self.norm = nn.ModuleList(nn.BatchNorm1d(n) for _, n in sizes)

    def forward(self, x: Tensor) -> Tensor:
        for i, (linear, norm) in enumerate(zip(self.linear, self.norm, strict=True)):
            x = norm(linear(x if i == 0 else _SignSte.apply(x)))
        return x


def cnv() -> nn.Sequential:
    """No padding; the pools behind the signs."""
    layers: list[nn.Module] = []
    for i, (k, n) in enumerate(itertools.pairwise((3, 64, 64, 128, 128, 256, 256))):
        layers += [
            BinaryConv(k, n, 3, bias=False),
            nn.BatchNorm2d(n),
            Sign(),
            *([nn.MaxPool2d(2)] if i in (1, 3) else []),
        ]
    return nn.Sequential(*layers, nn.Flatten(), Mlp((256, 512, 512, 10)))


def binarynet() -> nn.Sequential:
    """Padded to keep the size; the pools before the batch norms."""
    layers: list[nn.Module] = []
    for i, (k, n) in enumerate(itertools.pairwise((3, 128, 128, 256, 256, 512, 512))):
        layers += [
            BinaryConv(k, n, 3, padding=1, bias=False),
            *([nn.MaxPool2d(2)] if i % 2 else []),
            nn.BatchNorm2d(n),
            Sign(),
        ]
    return nn.Sequential(*layers, nn.Flatten(), Mlp((8192, 1024, 1024, 10)))


IMAGES = {"cnv": cnv, "binarynet": binarynet}


def peak_rss_mib() -> float:
    """Peak resident set of this process in MiB (VmHWM of /proc/self/status)."""
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM"))


def training_step(model: nn.Module, mode: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A step of Adam on binary weights, which stay within -1 .. 1; it returns the loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    weights = [layer.weight for layer in model.modules() if isinstance(layer, BinaryLinear | BinaryConv)]

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(x), y)

    forward = torch.compile(loss_of) if mode == "compile" else loss_of

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = forward(x, y)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for weight in weights:
                weight.clamp_(-1, 1)
        return loss

    return torch.compile(step) if mode == "compile-step" else step


def run(
    network: str, widths: Sequence[int], batch: int, threads: int, steps: int, mode: str, warm_up: int
) -> dict[str, Any]:
    """Train ``warm_up + steps`` batches; ``widths``: of the perceptron, the last one also says how many classes;
    ``mode``: eager, compile or compile-step.  Returns what ``main`` prints."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    image = network in IMAGES
    pool = (
        2 if image else max(2, 1000 // batch)
    )  # few samples, made one batch at a time: they count in the resident set
    shape = (batch, 3, 32, 32) if image else (batch, widths[0])
    data = [torch.randint(0, 256, shape) / 255 * (1.0 if image else torch.rand(shape) < 0.25) for _ in range(pool)]
    labels = [torch.randint(0, widths[-1], (batch,)) for _ in range(pool)]
    train = training_step(IMAGES[network]() if image else Mlp(widths), mode)
    start = time.perf_counter()
    for i in range(warm_up):
        loss = train(data[i % pool], labels[i % pool])
    before = time.perf_counter() - start
    times = []
    for i in range(steps):
        start = time.perf_counter()
        loss = train(data[i % pool], labels[i % pool])
        times.append(1e3 * (time.perf_counter() - start))
    return {
        "peer": f"torch-{mode}",
        "torch": torch.__version__,
        "network": network,
        "batch": batch,
        "threads": threads,
        "steps": steps,
        "median_ms": statistics.median(times),
        "min_ms": min(times),
        "warm_up_s": before,
        "loss": float(loss.detach()),
        "peak_rss_mib": peak_rss_mib(),
    }


def main() -> None:
    """Command line; see the module docstring."""
    p = argparse.ArgumentParser(description="time PyTorch's training step of a binary network")
    p.add_argument("--network", choices=("mlp", *IMAGES), default="mlp")
    p.add_argument("--widths", default="784,256,256,256,256,10", help="of the perceptron")
    p.add_argument("--batch", type=int, default=100)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--steps", type=int, default=200)
    p.add_argument("--warm-up", type=int, default=20)
    p.add_argument("--compile", action="store_const", dest="mode", const="compile", default="eager")
    p.add_argument("--compile-step", action="store_const", dest="mode", const="compile-step")
    a = p.parse_args()
    print(
        json.dumps(
            run(a.network, [int(n) for n in a.widths.split(",")], a.batch, a.threads, a.steps, a.mode, a.warm_up)
        )
    )


if __name__ == "__main__":
    main()
