"""bnnc's trainer against PyTorch, step by step: paired runs, alternating, on one machine.

For each (batch, threads, PyTorch mode) the trainer and ``torch_peer.py`` run in turn, A B A B, each as a fresh process;
a ratio is taken within a pair, and its median [min - max] over the pairs is reported.  Memory is the peak resident set
(VmHWM) of each process, taken in separate runs.  Writes ``results/step_time.json`` and ``.md`` beside this file, for
other networks than the perceptron ``step_time_NETWORK``.

    python benchmarks/step_time.py --pairs 5                     # compiles examples/mnist_mlp for each batch, then
                                                                 measures
    python benchmarks/step_time.py --exe 100=out/mlp             # a ready executable for batch 100
    python benchmarks/step_time.py --network cnv,binarynet       # CIFAR-10's networks at batch 100, about 25 minutes
    python benchmarks/step_time.py --rule "edge(gradient = i8)" --isa avx2 --batches 1000 --threads 1 --name whole_avx2
                                                                 # another rule, and both held to one instruction set

``build_bnnc``, ``bnnc_step`` and ``bnnc_peak_mib`` are all that knows how bnnc is called.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# what holds PyTorch, its compiler, MKL and oneDNN to an instruction set
ISAS = {
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "avx512": {},
}
MODES = {"eager": (), "compile": ("--compile",), "compile-step": ("--compile-step",)}


@dataclass(frozen=True)
class Network:
    """What is measured."""

    title: str
    example: str
    batches: str
    steps: int
    warm_up: int  # steps of PyTorch's
    modes: str
    peer: tuple[str, ...] = ()

    @property
    def spec(self) -> Path | None:
        folder = HERE.parent / "examples" / self.example
        return next(
            iter([f for f in (folder / f"{self.example}.bnn", *sorted(folder.glob("*.bnn"))) if f.exists()]), None
        )


NETWORKS = {
    "mlp": Network("the binary MLP 784-256-256-256-256-10", "mnist_mlp", "100,1000", 200, 20, ",".join(MODES)),
    "cnv": Network("CNV on CIFAR-10's shape", "cnv_cifar10", "100", 10, 3, "eager,compile", ("--network", "cnv")),
    "binarynet": Network(
        "BinaryNet on CIFAR-10's shape", "binarynet_cifar10", "100", 4, 2, "eager,compile", ("--network", "binarynet")
    ),
}


def output_of(command: Sequence[str], cwd: Path | None = None) -> str:
    """Standard output of a command; exits with its standard error if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"step_time: `{Path(command[0]).name} {' '.join(command[1:])}` failed:\n{done.stderr[-2000:]}")
    return done.stdout


def build_bnnc(spec: Path, batch: int, threads: int, out: Path, rule: str = "") -> Path:
    """Compile ``spec`` for a batch size, with another rule if one is given, into the folder ``out``; returns the
    executable.

    The newest executable file that the compiler leaves in ``out`` is taken.
    """
    out.mkdir(parents=True, exist_ok=True)
    output_of(
        [
            sys.executable,
            "-m",
            "bnnc",
            "compile",
            str(spec),
            "--batch",
            str(batch),
            "--threads",
            str(threads),
            *(["--rule", rule] if rule else []),
            "-o",
            str(out / f"{spec.stem}_{batch}"),
        ]
    )
    scripts = (".so", ".sh", ".py")
    made = [f for f in out.rglob("*") if f.is_file() and os.access(f, os.X_OK) and f.suffix not in scripts]
    if not made:
        sys.exit(f"step_time: `bnnc compile {spec.name}` left no executable")
    return max(made, key=lambda f: f.stat().st_mtime)


def bench_command(exe: Path, threads: int, steps: int, isa: str = "") -> list[str]:
    """The trainer's own benchmark; it prints one JSON object."""
    chosen = ["--isa", isa] if isa else []
    return [str(exe), "bench", "--steps", str(steps), "--threads", str(threads), *chosen, "--json"]


def bnnc_step(exe: Path, threads: int, steps: int, isa: str = "") -> tuple[float, float]:
    """Median milliseconds of one training step, and the least that it could take: what the plan counts at the rates of
    inner loops that the trainer measures first."""
    answer = json.loads(output_of(bench_command(exe, threads, steps, isa)).strip().splitlines()[-1])
    return float(answer["median_ms"]), float(answer["predicted_ms"])


def bnnc_peak_mib(exe: Path, threads: int, steps: int) -> float:
    """Peak resident set of the trainer in MiB, polled from /proc while it runs.

    VmHWM starts anew at exec; the maximum in getrusage would include the Python process that forks.
    """
    child = subprocess.Popen(bench_command(exe, threads, steps), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0.0
    while child.poll() is None:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        if lines.get("Name", "").strip() == exe.name[:15] and "VmHWM" in lines:
            peak = max(peak, int(lines["VmHWM"].split()[0]) / 1024)
        time.sleep(0.001)
    if child.returncode or not peak:
        sys.exit(f"step_time: no memory figure from `{exe.name} bench` (exit code {child.returncode})")
    return peak


def torch_step(
    batch: int,
    threads: int,
    steps: int,
    mode: str,
    widths: Sequence[int] = (),
    more: Sequence[str] = (),
    isa: str = "avx512",
) -> dict[str, Any]:
    """``torch_peer.py`` in a fresh process, its BLAS and OpenMP pools held to ``threads``; ``more`` arguments of it."""
    shape = ("--widths", ",".join(map(str, widths))) if widths else ()
    env_threads = {k: str(threads) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} | ISAS[isa]
    command = [
        "env",
        *(f"{k}={v}" for k, v in env_threads.items()),
        sys.executable,
        str(HERE / "torch_peer.py"),
        "--batch",
        str(batch),
        "--threads",
        str(threads),
        "--steps",
        str(steps),
        *MODES[mode],
        *shape,
        *more,
    ]
    return json.loads(output_of(command).strip().splitlines()[-1])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def measure(
    network: Network, exe: Path, batch: int, threads: int, mode: str, pairs: int, steps: int, isa: str = ""
) -> dict[str, Any]:
    """Alternating pairs for one configuration: times (ms), ratios peer / bnnc, share of the floor."""
    ours, floors, theirs, peaks = [], [], [], []
    for _ in range(pairs):
        step, floor = bnnc_step(exe, threads, steps, isa)
        ours.append(step)
        floors.append(floor)
        more = (*network.peer, "--warm-up", str(network.warm_up))
        peer = torch_step(batch, threads, steps, mode, more=more, isa=isa or "avx512")
        theirs.append(peer["median_ms"])
        peaks.append(peer["peak_rss_mib"])
    peak = bnnc_peak_mib(exe, threads, steps)
    return {
        "batch": batch,
        "threads": threads,
        "mode": mode,
        "pairs": pairs,
        "steps": steps,
        "bnnc_ms": spread(ours),
        "torch_ms": spread(theirs),
        "speedup": spread([b / a for a, b in zip(ours, theirs, strict=True)]),
        "floor_ms": spread(floors),
        "floor_share": spread([f / a for f, a in zip(floors, ours, strict=True)]),
        "bnnc_peak_mib": peak,
        "torch_peak_mib": statistics.median(peaks),
        "memory_ratio": statistics.median(peaks) / peak,
    }


def machine() -> dict[str, Any]:
    """CPU name, cores, load and versions; no host name and no path."""
    cpu = platform.processor() or "unknown"
    if (info := Path("/proc/cpuinfo")).exists():
        named = [x for x in info.read_text().splitlines() if x.startswith(("model name", "Model"))]
        cpu = named[0].split(":", 1)[1].strip() if named else cpu
    cc = shutil.which("cc") or shutil.which("gcc")
    bnnc = output_of(
        [
            sys.executable,
            "-c",
            (
                "from importlib.metadata import version as v\n"
                "try: print(v('bnnc'))\nexcept Exception: print('from the source tree')"
            ),
        ]
    ).strip()
    torch = output_of([sys.executable, "-c", "import torch; print(torch.__version__)"]).strip()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_at_start": os.getloadavg()[0],
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch,
        "bnnc": bnnc,
        "cc": output_of([cc, "--version"]).splitlines()[0] if cc else "none",
    }


def cell(s: dict[str, float], digits: int = 2) -> str:
    """A spread as text."""
    return f"{s['median']:.{digits}f} [{s['min']:.{digits}f} - {s['max']:.{digits}f}]"


def machine_line(m: dict[str, Any]) -> str:
    return (
        f"Machine: {m['cpu']}, {m['cores']} cores, {m['system']}, load {m['load_at_start']:.1f} at the start. "
        f"bnnc {m['bnnc']}, {m['cc']}, Python {m['python']}, PyTorch {m['torch']}."
    )


def markdown(network: Network, result: dict[str, Any]) -> str:
    """The result as the text of the ``.md`` file."""
    rows = []
    for r in result["rows"]:
        share = f"{100 * r['floor_share']['median']:.0f} % ({r['floor_ms']['median']:.2f} ms)"
        rows.append(
            f"| {r['batch']} | {r['threads']} | {r['mode']} | {cell(r['bnnc_ms'])} | {cell(r['torch_ms'])} "
            f"| **{cell(r['speedup'])}** | {share} | {r['bnnc_peak_mib']:.1f} | {r['torch_peak_mib']:.0f} "
            f"| {r['memory_ratio']:.0f} |"
        )
    return "\n".join(
        [
            f"# Step time of {network.title}: bnnc's trainer and PyTorch",
            "",
            (
                "Written by `benchmarks/step_time.py`. Milliseconds a training step; median [min - max] over"
                f" {result['pairs']} alternating pairs of fresh processes, {result['steps']} steps each. Speed-up:"
                " PyTorch over bnnc within a pair. Memory: peak resident set."
            ),
            "",
            machine_line(result["machine"]),
            *([f"Rule: `{result['rule']}`."] if result["rule"] else []),
            *([f"Instruction set of both: {result['isa']}."] if result["isa"] else []),
            "",
            (
                "| batch | threads | PyTorch mode | bnnc ms | PyTorch ms | speed-up | share of the floor | bnnc MiB "
                "| PyTorch MiB | memory ratio |"
            ),
            "|" + " --- |" * 10,
            *rows,
            "",
            (
                "Share of the floor: the least that a step could take, over what it takes, within a run. That least is"
                " what the plan counts (products by kind, operations, bytes; `bnnc/plan/cost.py`) at the rates of one"
                " inner loop of each kind, which the trainer measures on the same threads just before (`bench`,"
                " `bnnc_rate.h`): sums from tables of four signed terms, popcounts, one multiply and one add, all from"
                " the first-level cache; no packing, no gathering, no waiting."
            ),
            "",
            (
                "PyTorch trains the standard rule in f32, on f32 inputs in memory; `compile` compiles forward and loss,"
                " `compile-step` the whole step with the optimiser."
            ),
            "",
        ]
    )


def measure_all(network: Network, a: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Every configuration of one network."""
    batches, threads = ([int(v) for v in text.split(",")] for text in (a.batches or network.batches, a.threads))
    steps, ready = (
        a.steps or network.steps,
        {int(k): Path(v).resolve() for k, v in (item.split("=", 1) for item in a.exe)},
    )
    spec = a.spec or network.spec
    if spec is None and not set(batches) <= set(ready):
        sys.exit(f"step_time: no .bnn file in examples/{network.example}: give --spec or --exe")
    result: dict[str, Any] = {"machine": machine(), "pairs": a.pairs, "steps": steps, "rows": []}
    result |= {"rule": a.rule, "isa": a.isa}
    for batch in batches:
        exe = ready.get(batch) or build_bnnc(spec, batch, max(threads), scratch / f"{spec.stem}_{batch}", a.rule)
        for t in threads:
            for mode in (a.modes or network.modes).split(","):
                row = measure(network, exe, batch, t, mode, a.pairs, steps, a.isa)
                result["rows"].append(row)
                s = row["speedup"]
                print(
                    f"{network.example}, batch {batch}, {t} thread(s), {mode}: bnnc {row['bnnc_ms']['median']:.2f} ms,"
                    f" PyTorch {row['torch_ms']['median']:.2f} ms, {s['median']:.2f}x [{s['min']:.2f} -"
                    f" {s['max']:.2f}], {row['bnnc_peak_mib']:.1f} / {row['torch_peak_mib']:.0f} MiB",
                    flush=True,
                )
    return result


def main() -> None:
    """Command line; see the module docstring."""
    p = argparse.ArgumentParser(description="time bnnc's trainer against PyTorch in alternating pairs")
    p.add_argument("--network", default="mlp", help=f"of {', '.join(NETWORKS)} (default mlp)")
    p.add_argument("--spec", type=Path, help="the .bnn file (default: the network's example)")
    p.add_argument("--exe", action="append", default=[], metavar="BATCH=PATH", help="a ready executable for a batch")
    p.add_argument("--batches", help="default: mlp 100,1000, others 100")
    p.add_argument("--threads", default="1,2")
    p.add_argument("--rule", default="", help="instead of the spec's")
    p.add_argument("--isa", default="", choices=["", *ISAS], help="the instruction set of both (default: the best)")
    p.add_argument("--name", default="", help="what the files' names end with")
    p.add_argument("--modes", help=f"of {', '.join(MODES)} (default: mlp all, others the first two)")
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--steps", type=int, help="default: mlp 200, cnv 10, binarynet 4")
    p.add_argument("--out", type=Path, default=HERE / "results")
    a = p.parse_args()
    names = a.network.split(",")
    if a.pairs < 1 or not set(names) <= set(NETWORKS) or not set((a.modes or "eager").split(",")) <= set(MODES):
        p.error(f"--pairs is at least 1; --network is of {', '.join(NETWORKS)}; --modes are of {', '.join(MODES)}")
    if len(names) > 1 and (a.spec or a.exe):
        p.error("--spec and --exe go with one network")
    a.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            result = measure_all(NETWORKS[name], a, Path(scratch))
        file = a.out / "_".join(["step_time", *([name] if name != "mlp" else []), *([a.name] if a.name else [])])
        file.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        file.with_suffix(".md").write_text(markdown(NETWORKS[name], result), encoding="utf-8")


if __name__ == "__main__":
    main()
