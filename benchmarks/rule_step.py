"""A training step of the rules that send no gradient through weights, against back-propagation of the same numerics.

For each network the programs of ``edge`` and of ``dfa``, ``drtp`` and ``hsic`` with ``numerics = edge`` run in turn,
round after round, each as a fresh process on one thread; a ratio is taken within a round, and its median [min - max]
over the rounds is reported.  Writes ``results/rule_step.json`` and ``.md`` beside this file.

    python benchmarks/rule_step.py --rounds 9
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from step_time import HERE, NETWORKS, bench_command, cell, machine, machine_line, output_of, spread

import bnnc

BASE = "edge"
RULES = (BASE, *(f"{rule}(numerics = edge)" for rule in ("dfa", "drtp", "hsic")))
STEPS = {"mlp": 400, "cnv": 8, "binarynet": 4}
BATCH = 100


def built(network: str, scratch: Path) -> dict[str, Path]:
    """A network's program for each rule."""
    spec = NETWORKS[network].spec
    if spec is None:
        sys.exit(f"rule_step: no .bnn file in examples/{NETWORKS[network].example}")
    net = bnnc.load(spec).with_(batch=BATCH)
    files = {rule: scratch / f"{network}-{i}" for i, rule in enumerate(RULES)}
    for rule, file in files.items():
        net.with_(rule=rule).compile(out=file, threads=1)
    return files


def measure(network: str, programs: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Milliseconds of a step by rule, and each over ``edge`` within a round."""
    told: dict[str, list[dict[str, float]]] = {rule: [] for rule in programs}
    for _ in range(rounds):
        for rule, program in programs.items():
            answer = output_of(bench_command(program, 1, STEPS[network])).strip().splitlines()[-1]
            told[rule].append({k: float(v) for k, v in json.loads(answer).items() if k.endswith("_ms")})

    def over_edge(key: str) -> dict[str, dict[str, float]]:
        return {r: spread([x[key] / y[key] for x, y in zip(v, told[BASE], strict=True)]) for r, v in told.items()}

    return {
        "network": network,
        "steps": STEPS[network],
        "ms": {r: spread([x["median_ms"] for x in v]) for r, v in told.items()},
        "least_ms": {r: spread([x["min_ms"] for x in v]) for r, v in told.items()},
        "floor_ms": {r: spread([x["predicted_ms"] for x in v]) for r, v in told.items()},
        "over_edge": over_edge("median_ms"),
        "least_over_edge": over_edge("min_ms"),
    }


def markdown(result: dict[str, Any]) -> str:
    """The result as the text of the ``.md`` file."""
    lines = [
        "# A training step without back-propagation",
        "",
        f"Written by `{result['command']}`. " + machine_line(result["machine"]),
        "",
        f"Batch {BATCH}, one thread; median [min - max] of {result['rounds']} rounds of fresh processes, in which each"
        " rule has its turn. Ratio: to `edge` in the same round, of the median step and of the fastest, which other"
        " work on the machine disturbs least. Floor: the least that the step could take (`step_time.md`).",
        "",
        "| network | rule | ms a step | ratio to `edge` | fastest, ms | ratio of the fastest | floor, ms | steps |",
        "|" + " --- |" * 8,
    ]
    for r in result["networks"]:
        for rule, ms in r["ms"].items():
            lines.append(
                f"| {NETWORKS[r['network']].title} | `{rule}` | {cell(ms)} | **{cell(r['over_edge'][rule])}** |"
                f" {r['least_ms'][rule]['min']:.2f} | {cell(r['least_over_edge'][rule])} |"
                f" {r['floor_ms'][rule]['median']:.2f} | {r['steps']} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    p = argparse.ArgumentParser(description="time a step of the rules without back-propagation against edge's")
    p.add_argument("--networks", default="mlp,cnv", help=f"of {', '.join(STEPS)} (default mlp,cnv)")
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--out", type=Path, default=HERE / "results")
    a = p.parse_args()
    names = a.networks.split(",")
    if a.rounds < 1 or not set(names) <= set(STEPS):
        p.error(f"--rounds is at least 1; --networks are of {', '.join(STEPS)}")
    command = " ".join(["python", "benchmarks/rule_step.py", *map(shlex.quote, sys.argv[1:])])
    result: dict[str, Any] = {"command": command, "machine": machine(), "rounds": a.rounds, "networks": []}
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            found = measure(name, built(name, Path(scratch)), a.rounds)
            result["networks"].append(found)
            print(name, {rule: cell(v) for rule, v in found["over_edge"].items()}, flush=True)
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "rule_step.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (a.out / "rule_step.md").write_text(markdown(result), encoding="utf-8")


if __name__ == "__main__":
    main()
