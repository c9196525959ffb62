"""Best test accuracy, each rule with each optimiser, through the compiled trainer: full 8-bit MNIST, or CIFAR-10.

    python benchmarks/accuracy.py --data MNIST_FOLDER                      # 50 epochs each; accuracy.json and .md
    python benchmarks/accuracy.py --network cnv_half --data FILE.bnnd      # 15 epochs each; accuracy_cnv_half.json and
    .md
    python benchmarks/accuracy.py --network mlp_whole --data MNIST_FOLDER --seeds 3   # `edge` in whole numbers
    python benchmarks/accuracy.py --network cnv_half_whole --data FILE.bnnd --seeds 3

Written to a new folder, accuracy-1 or the next that is free, unless told; benchmarks/results holds those of --out
benchmarks/results.

Batch 100, seed 1 unless --seeds says more.  MNIST's folder holds the four idx files, plain or .gz; CIFAR-10's file is
what ``bnnc data pack data_batch_*.bin --test test_batch.bin -o FILE.bnnd`` wrote.  The test set is only looked at,
never used to choose anything but the "best" column, as the published figures do.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bnnc
from bnnc import data as datafiles
from bnnc.study.results import interval

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"


@dataclass(frozen=True)
class Task:
    """A spec, how to name its data to the trainer, how many epochs, and (rule, optimiser) pairs."""

    title: str
    spec: Path
    flag: str
    epochs: int
    runs: tuple[tuple[str, str], ...]


WHOLE = tuple(
    (rule, "adam(lr = 1e-3, v = elide)")
    for rule in (
        "edge",
        "edge(gradient = i8)",
        "edge(gradient = i8, rounding = nearest)",
        "edge(state = i8)",
        "edge(gradient = i8, state = i8)",
    )
)
TASKS = {
    "mlp": Task(
        "MNIST, 784-256x4-10, 8-bit input, batch 100",
        EXAMPLES / "mnist_mlp" / "mnist_mlp_u8.bnn",
        "--data",
        50,
        (
            ("edge", "adam(lr = 1e-3)"),
            ("edge", "adam(lr = 1e-3, v = elide)"),
            ("edge", "sgd(lr = 0.1)"),
            ("edge", "bop(tau = 0.01, gamma = 1e-4)"),
            ("standard", "adam(lr = 1e-3)"),
            ("standard", "sgd(lr = 1.0)"),
            ("standard", "bop(tau = 1e-7, gamma = 1e-4)"),
        ),
    ),
    "cnv_half": Task(
        "CIFAR-10, CNV of half width, no augmentation, batch 100",
        EXAMPLES / "cnv_cifar10" / "cnv_half.bnn",
        "--train",
        15,
        (
            ("standard", "adam(lr = 1e-3)"),
            ("edge", "adam(lr = 1e-3)"),
        ),
    ),
}
TASKS |= {f"{name}_whole": replace(task, runs=WHOLE) for name, task in TASKS.items()}


def train(task: Task, rule: str, optimizer: str, seed: int, epochs: int, data: Path) -> dict[str, Any]:
    """Compile and train once; the last and the best test accuracy in percent, seconds, and bytes."""
    net = bnnc.load(task.spec).with_(rule=rule, optimizer=optimizer, seed=seed, epochs=epochs)
    with tempfile.TemporaryDirectory() as tmp:
        program = net.compile(out=Path(tmp) / "net")
        log = Path(tmp) / "log.jsonl"
        start = time.perf_counter()
        subprocess.run(
            [
                str(program.binary),
                "train",
                task.flag,
                str(data),
                "--out",
                str(Path(tmp) / "run"),
                "--cache",
                str(Path(tmp)),
                "--threads",
                "1",
                "--quiet",
                "--log",
                str(log),
            ],
            check=True,
        )
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        tests = [100.0 * r["test_acc"] for r in rows if r["event"] == "epoch" and "test_acc" in r]
        return {
            "rule": rule,
            "optimizer": optimizer,
            "seed": seed,
            "epochs": epochs,
            "best": max(tests),
            "last": tests[-1],
            "seconds": round(time.perf_counter() - start, 1),
            "arena_bytes": net.plan(threads=1).arena_bytes,
        }


def of(runs: list[dict[str, Any]], what: str) -> str:
    """The mean over seeds, in percent; with its interval if there are some."""
    return interval([r[what] / 100 for r in runs]).percent()


def table(task: Task, command: str, results: list[dict[str, Any]]) -> list[str]:
    """The results for people, a row a rule and optimiser."""
    rows = [
        (of_rule, list(runs)) for of_rule, runs in itertools.groupby(results, lambda r: (r["rule"], r["optimizer"]))
    ]
    lines = [
        f"# Test accuracy on {task.title}",
        "",
        f"`{command}`",
        "",
        "| rule | optimiser | epochs | best test % | last test % | arena bytes | seconds, 1 thread |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {rule} | `{optimizer}` | {runs[0]['epochs']} | {of(runs, 'best')} | {of(runs, 'last')} |"
        f" {runs[0]['arena_bytes']:,} | {statistics.median(r['seconds'] for r in runs)} |"
        for (rule, optimizer), runs in rows
    ]
    if (seeds := len(rows[0][1])) > 1:
        lines += ["", f"{seeds} seeds: mean ± 95 % interval (Student's t); the median of seconds."]
    return lines


def new_folder() -> Path:
    """The first of accuracy-1, accuracy-2, ... here that there is not, made."""
    for n in itertools.count(1):
        with contextlib.suppress(FileExistsError):
            (folder := Path(f"accuracy-{n}")).mkdir()
            return folder
    raise AssertionError


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--network", choices=list(TASKS), default="mlp")
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--epochs", type=int, help="default: 50 of MNIST, 15 of CIFAR-10")
    args.add_argument("--seeds", type=int, default=1)
    args.add_argument("--jobs", type=int, default=1, help="runs at a time; each has one thread")
    args.add_argument("--out", type=Path, help="folder for the results (default: a new one, accuracy-N)")
    a = args.parse_args()
    a.out = a.out or new_folder()
    task, file = TASKS[a.network], a.out / ("accuracy" if a.network == "mlp" else f"accuracy_{a.network}")
    epochs = a.epochs or task.epochs
    runs = [(task, *run, seed, epochs, a.data) for run in task.runs for seed in range(1, a.seeds + 1)]
    results = []
    with ThreadPoolExecutor(a.jobs) as pool:
        for result in pool.map(lambda run: train(*run), runs):
            results.append(result)
            print(result, file=sys.stderr, flush=True)
    a.out.mkdir(parents=True, exist_ok=True)
    about = {
        "command": (
            f"python benchmarks/accuracy.py --network {a.network} --data {a.data.name} --epochs {epochs} --seeds"
            f" {a.seeds}{f' --jobs {a.jobs}' if a.jobs > 1 else ''}"
        ),
        "version": bnnc.__version__,
        "machine": platform.machine(),
    }
    file.with_suffix(".json").write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    lines = table(task, about["command"], results)
    if a.jobs > 1:
        lines += ["", f"{a.jobs} runs at a time share the machine: the seconds are not those of a program alone."]
    if a.data.suffix == ".bnnd":
        facts = datafiles.info(a.data)
        lines += ["", f"{facts['n_train']:,} training and {facts['n_test']:,} test images."]
    file.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print(f"results: {file}.json, {file}.md", file=sys.stderr)


if __name__ == "__main__":
    main()
