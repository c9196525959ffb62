"""Which encoder for which data: the same small network on what each makes of a sensor's windows, tables and images.

    python benchmarks/encoders.py --data FOLDER        # writes results/encoders.md

FOLDER holds ``har/sp_sw_har_1s.npz`` (six subjects are the test part), ``tabular/{LetterRecognition,Satellite,
Ionosphere}.npz`` (a third of the rows, drawn by a fixed generator, is the test part) and ``mnist/`` (the first 3,000
training images).  Two layers of 128 under ``edge``, three seeds; accuracies are of the last epoch.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path

import numpy as np

import bnnc

HERE = Path(__file__).resolve().parent
SEEDS = (1, 2, 3)
ENCODERS = ("median", "median(per = channel)", "thermometer(2)", "thermometer(4)", "thermometer(8)", "thermometer(16)")
ENCODERS += ("thermometer(8, kind = uniform)", "thermometer(8, kind = gauss)")
PIXELS = ("sign(128)", "median", "thermometer(2, per = global)", "thermometer(4, per = global)", "scale")
Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def har(data: Path) -> Parts:
    """By subject: f32[100, 6]."""
    z = np.load(data / "har" / "sp_sw_har_1s.npz")
    x, xt = ((z[f"x_{part}"] / z["scale"]).astype(np.float32) for part in ("train", "test"))
    return x, z["y_train"], xt, z["y_test"]


def table(data: Path, name: str, most: int = 4000) -> Parts:
    """At most so many rows to train on."""
    z = np.load(data / "tabular" / f"{name}.npz")
    x, y = z["x"].astype(np.float32), z["y"].astype(np.uint8)
    order, n = np.random.default_rng(7).permutation(len(y)), len(y) * 2 // 3
    return x[order[:n][:most]], y[order[:n][:most]], x[order[n:]], y[order[n:]]


def mnist(data: Path, n: int = 3000) -> Parts:
    """The first ``n`` training images: u8[28, 28]."""

    def idx(name: str, head: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((data / "mnist" / f"{name}.gz").read_bytes()), np.uint8, offset=head)

    x, xt = (idx(f"{part}-images-idx3-ubyte", 16).reshape(-1, 28, 28) for part in ("train", "t10k"))
    y, yt = (idx(f"{part}-labels-idx1-ubyte", 8) for part in ("train", "t10k"))
    return x[:n], y[:n], xt, yt


def accuracies(parts: Parts, encoder: str, epochs: int) -> tuple[list[float], int]:
    """In per cent, one a seed; and the bytes of the arena."""
    x, y, xt, yt = parts
    kind, classes = "u8" if x.dtype == np.uint8 else "f32", int(y.max()) + 1
    text = f"""network net {{ input {kind}[{", ".join(map(str, x.shape[1:]))}] {encoder}; flatten;
      repeat 2 {{ dense 128; batchnorm; sign; }} dense {classes}; batchnorm; loss; }}
    rule edge;
    train {{ epochs = {epochs}; schedule = cosine; batch = 50; }}"""
    program, found = bnnc.parse(text).compile(), []
    for seed in SEEDS:
        program.fit(x, y, seed=seed)
        found.append(100 * program.evaluate(xt, yt).accuracy)
    return found, program.plan.arena_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "encoders.md")
    o = parser.parse_args()
    sets = {
        "HAR": (har(o.data), ENCODERS, 6),
        "LetterRecognition": (table(o.data, "LetterRecognition"), ENCODERS, 20),
        "Satellite": (table(o.data, "Satellite"), ENCODERS, 20),
        "Ionosphere": (table(o.data, "Ionosphere"), ENCODERS, 60),
        "MNIST": (mnist(o.data), PIXELS, 20),
    }
    rows = [
        "| data | samples | epochs | encoder | test accuracy, % | each seed | arena, B |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (parts, encoders, epochs) in sets.items():
        for encoder in encoders:
            found, arena = accuracies(parts, encoder, epochs)
            each = " ".join(f"{a:.2f}" for a in found)
            rows.append(
                f"| {name} | {len(parts[1])} | {epochs} | `{encoder}` | {np.mean(found):.2f} | {each} | {arena} |"
            )
            sys.stdout.write(rows[-1] + "\n")
            sys.stdout.flush()
    head = "# Encoders\n\n`python benchmarks/encoders.py --data data`\n\n"
    note = (
        "Two layers of 128, `rule edge`, Adam, cosine schedule, batch 50, three seeds; the same on every machine.\n\n"
    )
    o.out.write_text(head + note + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
