"""How many signs of weights' gradients `edge(gradient = i8)` gets wrong, beside `edge` from the same state.

    python benchmarks/gradient_signs.py --data FILE.bnnd --weights FILE.safetensors     # prints a table

The weights are those that a trainer of the spec has exported (`train --export FILE.safetensors`); without, the first
ones.  Computed by the interpreter, which takes a minute or so a batch.  Of each layer: the share of signs that are
wrong; the same, each counted by the size of `edge`'s gradient; gradients of 0, which count as positive; and by how
many of its deviations a column's sum of whole numbers, which is 0 in real numbers, lies from 0: what leans to one side.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import bnnc
from bnnc.data import read_bnnd
from bnnc.data.tensors import read
from bnnc.ir import interp
from bnnc.ir.program import Program
from bnnc.lower.differentiate import differentiate
from bnnc.lower.expand import expand

SPEC = Path(__file__).resolve().parents[1] / "examples" / "cnv_cifar10" / "cnv_half.bnn"
RULES = ("edge", "edge(gradient = i8)", "edge(gradient = i8, rounding = nearest)")
SETTLING = 8  # steps after which the powers of two of input gradients fit; all states but these stay
Arrays = dict[str, np.ndarray]


def program(spec: Path, rule: str) -> Program:
    """A training step of 100 samples under a rule."""
    model = bnnc.load(spec).with_(rule=rule, optimizer="adam(lr = 1e-3, v = elide)", batch=100).model
    return differentiate(expand(model)).train


def start(p: Program, weights: Arrays) -> Arrays:
    """All states: the first ones, and of those that were exported these."""
    first = interp.init_states(p, 1)
    return first | {k: v.reshape(first[k].shape) for k, v in weights.items() if k in first}


def values(p: Program, states: Arrays, x: np.ndarray, labels: np.ndarray, tick: int) -> tuple[Arrays, Arrays]:
    """Of a step on one batch."""
    scalars = {"lr": np.float32(1e-3), "step": np.float32(2), "seed": np.int32(1), "tick": np.int32(tick)}
    given = {"x": x.reshape(p.value["x"].shape), "labels": labels.reshape(-1, 1).astype(np.uint8)}
    given |= {k: np.full((1, 1), v) for k, v in scalars.items() if k in p.inputs}
    return interp.step(p, states | given)


def row(layer: str, found: Arrays, want: np.ndarray, dy: np.ndarray) -> list[float]:
    """The figures of one layer, in the order of the table's columns."""
    dw = found[f"{layer}.dw"]
    wrong = (dw >= 0) != (want >= 0)
    lean = np.abs(dy.sum(0, dtype=np.float64)) / (dy.std(0, dtype=np.float64) + 1e-9) / np.sqrt(len(dy))
    return [wrong.mean(), (wrong * np.abs(want)).sum() / np.abs(want).sum(), (dw == 0).mean(), lean.mean()]


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--spec", type=Path, default=SPEC)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--weights", type=Path)
    args.add_argument("--batches", type=int, default=2)
    a = args.parse_args()
    data, weights = read_bnnd(a.data), read(a.weights) if a.weights else {}
    programs = {rule: program(a.spec, rule) for rule in RULES}
    states = {rule: start(p, weights) for rule, p in programs.items()}
    rows: dict[tuple[str, str], list[list[float]]] = {}
    for t in range(a.batches):
        batch = slice(100 * t, 100 * t + 100)
        exact, _ = values(programs["edge"], states["edge"], data.x[batch], data.y[batch], t)
        for rule in RULES[1:]:
            p = programs[rule]
            for turn in range(1 if weights or t else SETTLING):
                found, new = values(p, states[rule], data.x[batch], data.y[batch], 100 * t + turn)
                states[rule] |= {k: v for k, v in new.items() if k.endswith(".shift")}
            for op in p.ops:
                if op.output.endswith(".dw"):
                    layer, dy = op.layer, found[op.inputs[1]]
                    rows.setdefault((layer, rule), []).append(row(layer, found, exact[op.output], dy))
    print("| layer | rule | wrong | of their size | 0 | lean |\n|---|---|---:|---:|---:|---:|")
    for (layer, rule), each in sorted(rows.items()):
        wrong, size, zero, lean = np.mean(each, axis=0)
        print(f"| {layer} | `{rule}` | {wrong:.2%} | {size:.2%} | {zero:.2%} | {lean:.2f} |")


if __name__ == "__main__":
    main()
