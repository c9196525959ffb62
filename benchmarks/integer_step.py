"""A training step of the integer rules: time against rule ``edge`` and PyTorch, increments and instructions.

*Time*: for each network and number of threads the programs of ``bep``, ``local`` and ``edge`` and the PyTorch peer
(float, same layers, eager and the whole step compiled) run in turn, round after round, each as a fresh process; a ratio
is taken within a round.  ``bench`` draws new samples with random labels for each step: every sample takes part, which
is the most work that the integer rules can have.

*Increments*: in the interpreter, on Random Prototypes (flip 0.46): how many times a weight is moved by an error in a
step, against the bound (triggered samples x K_in x K_out / gamma) and against a dense update (each sample moves each
weight).

*Instructions*: valgrind's callgrind, in the kernels of a training step only; two runs, their difference per step.

    python benchmarks/integer_step.py --rounds 5
    python benchmarks/integer_step.py --instructions-only      # keeps the other figures of the last run

Writes ``results/integer_step.json`` and ``.md`` beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from step_time import (
    HERE,
    bench_command,
    bnnc_step,
    build_bnnc,
    cell,
    machine,
    machine_line,
    output_of,
    spread,
    torch_step,
)

from bnnc import driver
from bnnc.data.generate import prototypes
from bnnc.ir import interp
from bnnc.lower.differentiate import differentiate
from bnnc.lower.expand import expand

NETWORKS = {  # name: widths, batch, arguments of the integer rules
    "784-525-525-10": ((784, 525, 525, 10), 100, ""),
    "256-135-135-10": ((256, 135, 135, 10), 100, "bits = 8"),
    "256-135-135-10, batch 10": ((256, 135, 135, 10), 10, "bits = 8"),
}
RULES = ("bep", "local", "edge")
LEVELS = ("base", "avx2")  # what valgrind can run
WINDOWS = ((1, 20), (41, 60))  # steps over which increments are averaged


def spec(widths: Sequence[int], rule: str, batch: int) -> str:
    first, *hidden, last = widths
    body = "".join(f"  dense {n}; batchnorm; sign;\n" for n in hidden)
    return (
        f"network net {{\n  input bit[{first}];\n{body}  dense {last}; batchnorm;\n  loss;\n}}\n"
        f"rule {rule};\ntrain {{ batch = {batch}; }}\n"
    )


def rule_text(rule: str, args: str) -> str:
    return f"{rule}({args})" if args and rule != "edge" else rule


# -- time --------------------------------------------------------------------------------------------------------------
def times(
    exes: dict[str, Path], widths: Sequence[int], batch: int, threads: int, rounds: int, steps: int
) -> dict[str, Any]:
    """Milliseconds of a step by program, and each over ``bep`` within a round."""
    ms: dict[str, list[float]] = {}
    for _ in range(rounds):
        for rule, exe in exes.items():
            ms.setdefault(rule, []).append(bnnc_step(exe, threads, steps)[0])
        for mode in ("eager", "compile-step"):
            ms.setdefault(f"torch {mode}", []).append(torch_step(batch, threads, steps, mode, widths)["median_ms"])
    return {
        "ms": {k: spread(v) for k, v in ms.items()},
        "over_bep": {k: spread([b / a for a, b in zip(ms["bep"], v, strict=True)]) for k, v in ms.items()},
    }


# -- increments --------------------------------------------------------------------------------------------------------
def increments(widths: Sequence[int], batch: int, rule: str) -> list[dict[str, float]]:
    """Per window of steps and in the mean: triggered (sample, layer) pairs, increments, their bound, a dense update."""
    model = driver.check_text(driver.Options(spec(widths, rule, batch)))
    program = differentiate(expand(model)).train
    data = prototypes(WINDOWS[-1][1] * batch // 10 * 10, 0, widths[0], 10, 0.46, 42)
    order = np.random.default_rng(0).permutation(len(data.y))
    masks = [op for op in program.ops if op.kind == "and"]
    groups = {op.layer: max(d for d in range(1, 106) if program.value[op.output].shape[1] % d == 0) for op in masks}
    fan_in = {op.layer: program.value[f"{op.layer}.weight"].shape[1] for op in masks}
    states = interp.init_states(program, 1)
    scalars = {k: np.array([[1]], np.int32) for k in ("seed", "errors", "samples")} | {
        "stage": np.zeros((1, 1), np.int32)
    }
    counts: dict[int, np.ndarray] = {}
    for t in range(1, WINDOWS[-1][1] + 1):
        at = order[(t - 1) * batch : t * batch]
        env = {
            **states,
            **scalars,
            "tick": np.array([[t]], np.int32),
            "x": np.where(data.x[at], 1, -1).astype(np.int8),
            "labels": data.y[at][:, None],
        }
        out, states = interp.step(program, env)
        triggered = [int(out[op.inputs[1]].sum()) for op in masks]
        counts[t] = np.array(
            [
                sum(triggered),
                sum(int(out[op.output].sum()) * fan_in[op.layer] for op in masks),
                sum(
                    n * fan_in[op.layer] * out[op.output].shape[1] // groups[op.layer]
                    for n, op in zip(triggered, masks, strict=True)
                ),
                sum(batch * fan_in[op.layer] * out[op.output].shape[1] for op in masks),
            ]
        )
    names = ("triggered", "increments", "bound", "dense")
    return [
        {
            "first": a,
            "last": b,
            **dict(zip(names, np.mean([counts[t] for t in range(a, b + 1)], axis=0).tolist(), strict=True)),
        }
        for a, b in WINDOWS
    ]


# -- instructions ------------------------------------------------------------------------------------------------------
def kernel_instructions(exe: Path, level: str, steps: int) -> dict[str, int]:
    """Instructions by function of kernels in a run of ``bench`` (which adds three steps to warm up)."""
    with tempfile.TemporaryDirectory() as tmp:
        out = Path(tmp) / "out"
        output_of(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={out}",
                *bench_command(exe, 1, steps),
                "--isa",
                level,
            ]
        )
        text = output_of(["callgrind_annotate", "--threshold=100", "--inclusive=yes", str(out)])
    found = re.findall(rf"^\s*([\d,]+)\s.*_kernels\.h:(\w+?)_{level}\b", text, re.M)
    return {name: int(n.replace(",", "")) for n, name in found}


def instructions(exe: Path, level: str, few: int = 5, many: int = 25) -> dict[str, Any]:
    """Per step: in all kernels, and in those that take the most."""
    a, b = (kernel_instructions(exe, level, n) for n in (few, many))
    each = {k: (b[k] - a.get(k, 0)) / (many - few) for k in b}
    most = sorted(each, key=lambda k: -each[k])[:5]
    return {"total": sum(each.values()), "most": {k: each[k] for k in most}}


# -- report ------------------------------------------------------------------------------------------------------------
def markdown(result: dict[str, Any]) -> str:
    out = [
        "# A training step of the integer rules",
        "",
        f"Written by `{result['command']}`. "
        + machine_line(result["machine"])
        + " The cores were shared with other work while this ran; a long step (PyTorch) "
        "is interrupted more than a short one, so its ratio is too high on a busy machine.",
    ]
    return "\n".join([*out, *time_table(result), *increment_table(result), *instruction_table(result)]) + "\n"


def time_table(result: dict[str, Any]) -> list[str]:
    names = list(result["times"][0]["ms"]) if result["times"] else []
    out = [
        "",
        "## Time",
        "",
        (
            f"Milliseconds a step, median [min - max] of {result['rounds']} rounds of fresh processes,"
            f" {result['steps']} steps each; below it the ratio to `bep` in the same round. Random labels: every sample"
            " takes part in every update. PyTorch trains the same layers in f32 with batch norm and Adam."
        ),
        "",
        "| network | threads | " + " | ".join(names) + " |",
        "|" + " --- |" * (len(names) + 2),
    ]
    for r in result["times"]:
        out += [
            f"| {r['network']} | {r['threads']} | " + " | ".join(cell(r["ms"][k], 3) for k in names) + " |",
            "| | over bep | " + " | ".join("1" if k == "bep" else cell(r["over_bep"][k], 1) for k in names) + " |",
        ]
    return out


def increment_table(result: dict[str, Any]) -> list[str]:
    out = [
        "",
        "## Increments",
        "",
        (
            "Moves of a hidden weight by an error, a step, on Random Prototypes (flip 0.46), counted in the"
            " interpreter. Bound: triggered samples x K_in x K_out / gamma, over layers; a group without a wrong neuron"
            " makes none. Dense: each sample moves each weight."
        ),
        "",
        "| network | rule | steps | triggered samples, over layers | increments | bound | dense | dense / increments |",
        "|" + " --- |" * 8,
    ]
    for r in result["increments"]:
        for w in r["windows"]:
            out.append(
                f"| {r['network']} | {r['rule']} | {w['first']}-{w['last']} | {w['triggered']:.1f} |"
                f" {w['increments']:,.0f} | {w['bound']:,.0f} | {w['dense']:,.0f} |"
                f" {w['dense'] / max(1, w['increments']):,.0f} |"
            )
    return out


def instruction_table(result: dict[str, Any]) -> list[str]:
    out = [
        "",
        "## Instructions",
        "",
        (
            f"{result['valgrind']}, callgrind: instructions a step in the kernels, one thread. `before`: the same"
            " measurement of the kernels as they first were (one popcount a word, one pass over the row a term, masks"
            " row by row)."
        ),
        "",
        "| network | rule | level | instructions | before | kernels that take the most |",
        "|" + " --- |" * 6,
    ]
    for r in result["instructions"]:
        before = f"{r['before']:,.0f}" if r.get("before") else "-"
        most = ", ".join(f"`{k}` {v:,.0f}" for k, v in list(r["most"].items())[:3])
        out.append(f"| {r['network']} | {r['rule']} | {r['level']} | {r['total']:,.0f} | {before} | {most} |")
    return out


def write(result: dict[str, Any], out: Path) -> None:
    """Both files; as far as it has come."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "integer_step.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (out / "integer_step.md").write_text(markdown(result), encoding="utf-8")


def options() -> argparse.Namespace:
    """Command line; see the module docstring."""
    p = argparse.ArgumentParser(description="time and count a training step of the integer rules")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--threads", default="1,2")
    p.add_argument("--networks", default=";".join(NETWORKS), help="some of the networks, with a semicolon between them")
    p.add_argument(
        "--instructions-only", action="store_true", help="measure instructions again, keep the rest of the last run"
    )
    p.add_argument(
        "--before",
        type=Path,
        help="a JSON file of this program with earlier instructions, to print beside the new ones",
    )
    p.add_argument("--out", type=Path, default=HERE / "results")
    return p.parse_args()


def first_result(a: argparse.Namespace) -> dict[str, Any]:
    """What the last run found, where its times are kept, or a record to be filled."""
    last = a.out / "integer_step.json"
    if a.instructions_only and last.exists():
        result: dict[str, Any] = json.loads(last.read_text(encoding="utf-8"))
    else:
        command = " ".join(["python", "benchmarks/integer_step.py", *map(shlex.quote, sys.argv[1:])])
        result = {"machine": machine(), "rounds": a.rounds, "steps": a.steps, "times": [], "increments": []}
        result["command"] = command
    asked = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True)
    return {**result, "valgrind": asked.stdout.strip(), "instructions": []}


def counted(name: str, exes: dict[str, Path], before: dict[tuple[str, str, str], float]) -> list[dict[str, Any]]:
    """Instructions of a network's programs at each level; ``before``: earlier ones, of the integer rules."""
    rows = []
    for rule, exe in exes.items():
        for level in LEVELS:
            row = {"network": name, "rule": rule, "level": level, **instructions(exe, level)}
            row["before"] = before.get((name, rule, level)) if rule != "edge" else None
            print(name, rule, level, f"{row['total']:,.0f} instructions a step", flush=True)
            rows.append(row)
    return rows


def built(name: str, threads: int, scratch: Path) -> dict[str, Path]:
    """A network's program for each rule."""
    (widths, batch, args), exes = NETWORKS[name], {}
    for rule in RULES:
        folder = scratch / re.sub(r"\W+", "_", f"{name} {rule}")
        folder.mkdir()
        (folder / "net.bnn").write_text(spec(widths, rule_text(rule, args), batch), encoding="utf-8")
        exes[rule] = build_bnnc(folder / "net.bnn", batch, threads, folder)
    return exes


def main() -> None:
    a = options()
    if not shutil.which("valgrind"):
        sys.exit("integer_step: no valgrind here, which counts the instructions")
    threads, result = [int(t) for t in a.threads.split(",")], first_result(a)
    earlier = json.loads(a.before.read_text(encoding="utf-8"))["instructions"] if a.before else []
    before = {(r["network"], r["rule"], r["level"]): r["total"] for r in earlier}
    os.environ.setdefault("BNNC_CC", "cc -g")  # callgrind names functions of loaded segments
    with tempfile.TemporaryDirectory() as scratch:
        for name in a.networks.split(";"):
            widths, batch, args = NETWORKS[name]
            exes = built(name, max(threads), Path(scratch))
            result["instructions"] += counted(name, exes, before)
            write(result, a.out)
            if a.instructions_only:
                continue
            for rule in ("bep", "local"):
                windows = increments(widths, batch, rule_text(rule, args))
                result["increments"].append({"network": name, "rule": rule, "windows": windows})
                print(name, rule, windows, flush=True)
            for t in threads:
                row = {"network": name, "threads": t, **times(exes, widths, batch, t, a.rounds, a.steps)}
                result["times"].append(row)
                print(name, t, {k: f"{v['median']:.3f}" for k, v in row["ms"].items()}, flush=True)
                write(result, a.out)


if __name__ == "__main__":
    main()
