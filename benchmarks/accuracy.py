"""Best test accuracy on full 8-bit MNIST: each rule with each optimiser, through the compiled trainer.

    python benchmarks/accuracy.py --data MNIST_FOLDER            # 50 epochs each; writes results/accuracy.json and .md

Batch 100, cosine schedule over all epochs, seed 1 unless --seeds says more.  The folder holds the four idx files, plain or
.gz.  The test set is only looked at, never used to choose anything but the "best" column, as the published figures do.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bnnc

HERE = Path(__file__).resolve().parent
SPEC = HERE.parent / "examples" / "mnist_mlp" / "mnist_mlp_u8.bnn"
RUNS = (
    ("edge", "adam(lr = 1e-3)"),
    ("edge", "adam(lr = 1e-3, v = elide)"),
    ("edge", "sgd(lr = 0.1)"),
    ("edge", "bop(tau = 0.01, gamma = 1e-4)"),
    ("standard", "adam(lr = 1e-3)"),
    ("standard", "sgd(lr = 1.0)"),
    ("standard", "bop(tau = 1e-7, gamma = 1e-4)"),
)


def train(rule: str, optimizer: str, seed: int, epochs: int, data: Path) -> dict[str, Any]:
    """Compile and train once; the last and the best test accuracy in percent, seconds, and bytes."""
    net = bnnc.load(SPEC).with_(rule=rule, optimizer=optimizer, seed=seed, epochs=epochs)
    with tempfile.TemporaryDirectory() as tmp:
        program = net.compile(out=Path(tmp) / "net")
        log = Path(tmp) / "log.jsonl"
        start = time.perf_counter()
        subprocess.run([str(program.binary), "train", "--data", str(data), "--out", str(Path(tmp) / "run"), "--cache", str(Path(tmp)),
                        "--threads", "1", "--quiet", "--log", str(log)], check=True)
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        tests = [100.0 * r["test_acc"] for r in rows if r["event"] == "epoch" and "test_acc" in r]
        return {"rule": rule, "optimizer": optimizer, "seed": seed, "epochs": epochs, "best": max(tests), "last": tests[-1],
                "seconds": round(time.perf_counter() - start, 1), "arena_bytes": net.plan(threads=1).arena_bytes}


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--epochs", type=int, default=50)
    args.add_argument("--seeds", type=int, default=1)
    args.add_argument("--out", type=Path, default=HERE / "results")
    a = args.parse_args()
    results = []
    for rule, optimizer in RUNS:
        for seed in range(1, a.seeds + 1):
            results.append(train(rule, optimizer, seed, a.epochs, a.data))
            print(results[-1], file=sys.stderr)
    a.out.mkdir(parents=True, exist_ok=True)
    about = {"command": f"python benchmarks/accuracy.py --data MNIST --epochs {a.epochs} --seeds {a.seeds}", "version": bnnc.__version__,
             "machine": platform.machine()}
    (a.out / "accuracy.json").write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    lines = ["# Test accuracy on MNIST, 784-256x4-10, 8-bit input, batch 100", "", f"`{about['command']}`", "",
             "| rule | optimiser | epochs | best test % | last test % | arena bytes | seconds, 1 thread |",
             "|---|---|---|---|---|---|---|"]
    lines += [f"| {r['rule']} | `{r['optimizer']}` | {r['epochs']} | {r['best']:.2f} | {r['last']:.2f} | {r['arena_bytes']:,} "
              f"| {r['seconds']} |" for r in results]
    (a.out / "accuracy.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
