"""The peer: one training step of a binary MLP (784-256-256-256-256-10) in plain PyTorch on the CPU, timed.

Custom autograd sign with the hard-tanh gradient, weights re-signed in each forward, BatchNorm1d, cross-entropy, Adam
with default options, weights clamped to [-1, 1] after each update; f32 data of MNIST's shape in memory, three quarters
of the pixels zero.  ``--compile``: forward and loss through torch.compile (the optimiser and the clamp stay eager);
``--compile-step``: the whole step, optimiser and clamp included.  Prints one JSON object; times in milliseconds.

    python benchmarks/torch_peer.py --batch 100 --threads 1 --steps 200 --compile
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Sign(torch.autograd.Function):
    """+1 where ``v >= 0``, else -1; the gradient passes where ``|v| <= 1``."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return torch.where(v >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        return g * (v.abs() <= 1)


class BinaryLinear(nn.Linear):
    """A linear layer without bias on the signs of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, Sign.apply(self.weight))


class Mlp(nn.Module):
    """Binary linear layers, batch norm after each, sign between them."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = list(zip(widths, widths[1:], strict=False))
        self.linear = nn.ModuleList(BinaryLinear(k, n, bias=False) for k, n in sizes)
        self.norm = nn.ModuleList(nn.BatchNorm1d(n) for _, n in sizes)

    def forward(self, x: Tensor) -> Tensor:
        for i, (linear, norm) in enumerate(zip(self.linear, self.norm, strict=True)):
            x = norm(linear(x if i == 0 else Sign.apply(x)))
        return x


def peak_rss_mib() -> float:
    """Peak resident set of this process in MiB (VmHWM of /proc/self/status)."""
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM"))


def run(widths: Sequence[int], batch: int, threads: int, steps: int, mode: str, warm_up: int = 20) -> dict[str, Any]:
    """Train ``warm_up + steps`` batches; ``mode``: eager, compile or compile-step.  Returns what ``main`` prints."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    pool = max(2, 1000 // batch)  # few samples, made one batch at a time: they count in the resident set
    shape = (batch, widths[0])
    data = [torch.randint(0, 256, shape) / 255 * (torch.rand(shape) < 0.25) for _ in range(pool)]
    labels = [torch.randint(0, widths[-1], (batch,)) for _ in range(pool)]
    model = Mlp(widths)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(x), y)

    forward = torch.compile(loss_of) if mode == "compile" else loss_of

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = forward(x, y)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for layer in model.linear:
                layer.weight.clamp_(-1, 1)
        return loss

    train = torch.compile(step) if mode == "compile-step" else step
    start = time.perf_counter()
    for i in range(warm_up):
        loss = train(data[i % pool], labels[i % pool])
    before = time.perf_counter() - start
    times = []
    for i in range(steps):
        start = time.perf_counter()
        loss = train(data[i % pool], labels[i % pool])
        times.append(1e3 * (time.perf_counter() - start))
    return {"peer": f"torch-{mode}", "torch": torch.__version__, "batch": batch, "threads": threads, "steps": steps,
            "median_ms": statistics.median(times), "min_ms": min(times), "warm_up_s": before,
            "loss": float(loss.detach()), "peak_rss_mib": peak_rss_mib()}


def main() -> None:
    """Command line; see the module docstring."""
    p = argparse.ArgumentParser(description="time PyTorch's training step of the binary MLP")
    p.add_argument("--widths", default="784,256,256,256,256,10")
    p.add_argument("--batch", type=int, default=100)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--steps", type=int, default=200)
    p.add_argument("--compile", action="store_const", dest="mode", const="compile", default="eager")
    p.add_argument("--compile-step", action="store_const", dest="mode", const="compile-step")
    a = p.parse_args()
    print(json.dumps(run([int(n) for n in a.widths.split(",")], a.batch, a.threads, a.steps, a.mode)))


if __name__ == "__main__":
    main()
