"""Training steps per second on a GPU: bnnc's Triton kernels against idiomatic PyTorch, in one run.

    python benchmarks/gpu_step_time.py                            # all of it, about 15 minutes on one GPU
    python benchmarks/gpu_step_time.py --only small --batch 100   # 784-256x4-10

``gpu_session/`` is a short session of the most telling parts of this, and of more.

Three networks, 784-256x4-10 and 784-4096x3-10 at batches of 100 and 10,000, and BinaryNet of
``examples/binarynet_cifar10`` at 100 and 4096; u8 pixels, Adam, rule edge; the batch lies where a step reads it, of
bnnc and of its peers.  bnnc: a step as the plan says (one cooperative launch, or a CUDA graph of one launch a kernel);
where it is one launch, also as a graph, and many steps a launch.
PyTorch: eager, torch.compile, and the whole step as a CUDA graph; f32, and bf16 by autocast.  Memory is the peak of
torch's allocator (bnnc: its one allocation).  Beside each time stands the floor that an H200's arithmetic or memory
(an A100's, if the GPU is older) sets for the network.  Writes ``results/gpu_step_time.json`` and ``.md``; without a GPU
it says so and ends with exit code 7.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_peer import IMAGES, BinaryConv, BinaryLinear, Mlp

from bnnc import driver
from bnnc.backends.triton.compile import load_module
from bnnc.backends.triton.device import Gpu
from bnnc.backends.triton.skeleton import terms
from bnnc.backends.triton.targets import A100, H200
from bnnc.diag import BnncError

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"


@dataclass(frozen=True)
class Timing:
    """Milliseconds a step (median over rounds) and bytes of device memory at the peak."""

    name: str
    ms: float
    nbytes: int


def timed(step: Callable[[], Any], steps: int, rounds: int = 5) -> float:
    """Median milliseconds of a step over rounds of ``steps``, by the GPU's clock."""
    for _ in range(3):
        step()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(steps):
            step()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / steps)
    return statistics.median(times)


@dataclass(frozen=True)
class Network:
    """``spec(batch)``: what bnnc compiles; ``model()``: its peer, which takes samples of shape ``sample``; ten
    classes.
    """

    spec: Callable[[int], str]
    model: Callable[[], nn.Module]
    sample: tuple[int, ...]
    batches: tuple[int, ...]


def mlp(*widths: int) -> Network:
    hidden = "".join(f"  dense {n}; batchnorm; sign;\n" for n in widths[1:-1])

    def spec(batch: int) -> str:
        return (
            f"network bench {{\n  input u8[{widths[0]}];\n{hidden}  dense {widths[-1]}; batchnorm;\n  loss;\n}}\n"
            f"rule edge;\ntrain {{ batch = {batch}; optimizer = adam; }}\n"
        )

    return Network(spec, lambda: Mlp(widths), widths[:1], (100, 10_000))


def example(name: str, peer: str, batches: tuple[int, ...]) -> Network:
    text = (EXAMPLES / name / f"{name}.bnn").read_text(encoding="utf-8")
    return Network(
        lambda batch: re.sub(r"batch = \d+", f"batch = {batch}", text),
        IMAGES[peer],
        (3, 32, 32),
        batches,
    )


NETS = {
    "small": mlp(784, 256, 256, 256, 256, 10),
    "wide": mlp(784, 4096, 4096, 4096, 10),
    "binarynet": example("binarynet_cifar10", "binarynet", (100, 4096)),
}


def bnnc(planned: driver.Planned, steps: int) -> list[Timing]:
    """A step on the batch that lies in the network's input, as the plan runs it; where that is one launch, also as a
    graph of one launch a kernel, and many steps a launch on resident samples, as the trainer does.
    """
    source = driver.emit_source(planned)
    with tempfile.TemporaryDirectory(prefix="bnnc-") as tmp:
        names = vars(load_module(source.text[source.main], Path(tmp), interpret=False))
        rows = [one_step(Gpu(names), steps)]
        if names["PERSISTENT"]:
            rows += [one_step(Gpu(names, False), steps), many_steps(Gpu(names), steps)]
        return rows


def fill(gpu: Gpu) -> tuple[np.ndarray, np.ndarray]:
    """A batch of noise in the network's input, and the batch."""
    net, draw = gpu.module["NET"], np.random.default_rng(0)
    x = draw.integers(0, 256, (net["batch"], net["elements"]), np.uint8)
    labels = draw.integers(0, net["classes"], net["batch"], np.uint8)
    for name, raw in (("x", x), ("labels", labels)):
        gpu.write(net["at"]["train"][name], raw.reshape(-1))
    for name, value in (("lr", 1e-3), ("step", 1.0)):
        gpu.write(net["scalars"][name], np.array([value], np.float32).view(np.uint8))
    return x, labels


def one_step(gpu: Gpu, steps: int) -> Timing:
    fill(gpu)
    name = "bnnc, one launch" if gpu.persistent else "bnnc, graph"
    return Timing(name, timed(lambda: gpu.step("train"), steps), gpu.nbytes)


def many_steps(gpu: Gpu, steps: int) -> Timing:
    """Samples are gathered, and losses and predictions fetched, in the time that is measured."""
    gpu.keep(*fill(gpu))
    net = gpu.module["NET"]
    order = np.tile(np.arange(net["batch"], dtype=np.int32), (steps, 1))
    given = {"lr": 1e-3, "step": 1.0}
    scalars = np.tile(np.array([given.get(n, 0.0) for n in net["scalars"]], np.float32), (steps, 1))
    ms = timed(lambda: gpu.steps(order, scalars.view(np.uint32)), 1) / steps
    return Timing(f"bnnc, {steps} a launch", ms, gpu.nbytes + gpu.extra)


def peer(network: Network, batch: int, mode: str, half: bool, steps: int) -> Timing:
    """``mode``: eager, compile or graph.  Images lie channels last."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(0)
    layout = torch.channels_last if len(network.sample) == 3 else torch.contiguous_format
    model = network.model().cuda().to(memory_format=layout)
    weights = [m.weight for m in model.modules() if isinstance(m, BinaryLinear | BinaryConv)]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, capturable=mode == "graph", foreach=True)
    x = (torch.randint(0, 256, (batch, *network.sample), device="cuda").float() / 127.5 - 1).to(memory_format=layout)
    y = torch.randint(0, 10, (batch,), device="cuda")

    def forward() -> Tensor:
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            return nn.functional.cross_entropy(model(x), y)

    run = torch.compile(forward) if mode == "compile" else forward

    def step() -> None:
        optimizer.zero_grad(set_to_none=mode != "graph")
        run().backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_clamp_min_(weights, -1)
            torch._foreach_clamp_max_(weights, 1)

    launch: Callable[[], Any] = step
    if mode == "graph":
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        launch = graph.replay
    ms = timed(launch, steps)
    return Timing(f"torch {mode} {'bf16' if half else 'f32'}", ms, torch.cuda.max_memory_allocated())


def floors(planned: driver.Planned) -> dict[str, float]:
    """Milliseconds that such a GPU needs at least: forward products in int8, backward ones as f32 additions, or all
    state read and written once.
    """
    about = H200 if torch.cuda.get_device_capability() >= (9, 0) else A100
    kernels = planned.placed.train.kernels
    forward, backward = (
        sum(terms(k) for k in kernels if (k.where.phase == "forward") == first) for first in (True, False)
    )
    return {
        "arithmetic_ms": 1e3 * (2 * forward / about.int8 + 2 * backward / about.f32),
        "memory_ms": 1e3 * 2 * planned.placed.plan.state_bytes / about.bandwidth,
    }


def measure(name: str, batch: int) -> dict[str, Any]:
    network = NETS[name]
    planned = driver.plan_text(driver.Options(network.spec(batch), target="triton"))
    steps = 200 if name == "small" and batch == 100 else 20
    rows = bnnc(planned, steps)
    rows += [
        peer(network, batch, mode, half, steps) for mode in ("eager", "compile", "graph") for half in (False, True)
    ]
    best = min(r.ms for r in rows if r.name.startswith("bnnc"))
    floor = floors(planned)
    for r in rows:
        print(
            f"{name:9} {batch:6}  {r.name:20} {r.ms:9.4f} ms  {1e3 / r.ms:10.1f} steps/s  {r.nbytes / 2**20:9.1f} MiB  "
            f"{r.ms / best:6.2f} x bnnc",
            flush=True,
        )
    print(
        f"{name:9} {batch:6}  floors: arithmetic {floor['arithmetic_ms']:.4f} ms, memory {floor['memory_ms']:.4f} ms;"
        f" bnnc is at {max(floor.values()) / best:.2f} of the larger",
        flush=True,
    )
    return {"net": name, "batch": batch, "floors": floor, "rows": [vars(r) for r in rows]}


def driver_version() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split()[0] if done.returncode == 0 and done.stdout else "unknown"


def main() -> None:
    """Command line; see the module docstring."""
    p = argparse.ArgumentParser(description="GPU training steps: bnnc against PyTorch")
    p.add_argument("--only", choices=tuple(NETS), help="one of the networks")
    p.add_argument("--batch", type=int, action="append", help="instead of the network's own")
    p.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    a = p.parse_args()
    if not torch.cuda.is_available():
        print("gpu_step_time: there is no GPU, or torch was built without CUDA; nothing was measured", file=sys.stderr)
        sys.exit(7)
    import triton  # noqa: PLC0415

    machine = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda,
        "driver": driver_version(),
        "python": sys.version.split()[0],
    }
    results = []
    for name in [a.only] if a.only else NETS:
        for batch in a.batch or NETS[name].batches:
            try:
                results.append(measure(name, batch))
            except (BnncError, torch.cuda.OutOfMemoryError) as e:
                print(f"{name} {batch}: {e}", file=sys.stderr)
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "gpu_step_time.json").write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    lines = [
        f"# Steps on {machine['gpu']}",
        "",
        f"torch {machine['torch']}, triton {machine['triton']}, CUDA {machine['cuda']}",
        "",
        "| network | batch | program | ms | steps/s | MiB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r['net']} | {r['batch']} | {t['name']} | {t['ms']:.4f} | {1e3 / t['ms']:.1f} | {t['nbytes'] / 2**20:.1f} |"
        for r in results
        for t in r["rows"]
    ]
    (a.out / "gpu_step_time.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
