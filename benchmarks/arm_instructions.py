"""Instructions of one training step for each ARM target, its vectors against plain C, counted by QEMU.

    python benchmarks/arm_instructions.py          # writes results/arm_instructions.json and .md (--table: the .md again)

The MLP of examples/mnist_mlp at batch 100, one thread, counted twice with different numbers of steps of `bench`; the difference
is the steps', with the random batch that each of them trains on.  The counts are repeatable; times under QEMU mean nothing.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import bnnc
from bnnc import driver
from bnnc.backends.c import build
from bnnc.backends.c.targets import TARGETS, Target

HERE = Path(__file__).resolve().parent
SPEC = HERE.parent / "examples" / "mnist_mlp" / "mnist_mlp.bnn"
SCALAR = ("-U__ARM_NEON",)
STEPS = (1, 6)
WIDTHS = {"aarch64": (128, 128), "ARMv7": (128, 32), "ARMv6": (32, 32)}  # bits of a vector of bits, and of one of floats


def count(target: Target, plugin: Path, binary: Path, steps: int) -> int:
    """Guest instructions of a whole run."""
    log = binary.with_suffix(".log")
    argv = [*target.emulator, "-plugin", str(plugin), "-d", "plugin", "-D", str(log), str(binary), "bench", "--steps", str(steps),
            "--threads", "1"]
    subprocess.run(argv, check=True, capture_output=True, env={})
    found = re.search(r"insns (\d+)", log.read_text())
    assert found, "QEMU ran without the plugin"
    return int(found[1])


def measure(target: Target, rule: str, flags: tuple[str, ...], plugin: Path, folder: Path) -> dict[str, Any]:
    net = bnnc.load(SPEC).with_(rule=rule)
    planned = driver.plan_text(net.options(target.name, threads=1))
    cc = shlex.join([*shlex.split(build.find_compiler(target)), *flags])
    binary = folder / "net"
    driver.emit_source(planned).write(folder / "c")
    build.run_compiler(build.command(cc, target, planned.model.name + ".c", str(binary)), folder / "c")
    few, many = (count(target, plugin, binary, n) for n in STEPS)
    return {"target": target.name, "isa": target.isa, "cpu": target.emulator[2], "rule": rule, "vectors": not flags,
            "batch": planned.model.batch, "instructions_per_step": (many - few) // (STEPS[1] - STEPS[0])}


def table(rows: list[dict[str, Any]]) -> str:
    """The results for people; the bound is that of ``bnnc.plan.cost`` for the target's vectors, WIDTHS."""
    text = [f"# {__doc__.splitlines()[0]}", "", "| target | CPU | rule | vectors | scalar | ratio | bound |",
            "| --- | --- | --- | ---: | ---: | ---: | ---: |"]
    for row in (r for r in rows if r["vectors"]):
        plain = [r for r in rows if not r["vectors"] and (r["target"], r["rule"]) == (row["target"], row["rule"])]
        n, m = row["instructions_per_step"], plain[0]["instructions_per_step"] if plain else None
        cost = bnnc.load(SPEC).with_(rule=row["rule"]).plan(row["target"]).planned.report.cost
        have = [f"{n / 1e6:.1f} M" if "NEON" in row["isa"] else "", f"{(m or n) / 1e6:.1f} M", f"{m / n:.2f}" if m else "",
                f"{cost.instructions(*next(w for isa, w in WIDTHS.items() if row['isa'].startswith(isa))) / 1e6:.1f} M"]
        text.append(f"| {row['target']} | {row['cpu']} | {row['rule']} | {' | '.join(have)} |")
    return "\n".join([*text, "", "MLP 784-256-256-256-256-10, batch 100, one thread; `python benchmarks/arm_instructions.py`.", "",
                      "Bound, for this way of computing, from the counts of `bnnc plan`: for each vector of bits in a product three "
                      "instructions, for four terms of an addition by sign in each lane one, for a vector of other operations or of "
                      "bytes moved one; nothing for loops, addresses, packing, or the tables of sums.  Vectors have 128 bits; floats "
                      "lie one by one on ARMv7, whose vectors take subnormal numbers for 0, and all is 32 bits wide on ARMv6, which "
                      "has no instruction that counts bits either.", ""])


def main() -> None:
    if sys.argv[1:] == ["--table"]:
        (HERE / "results" / "arm_instructions.md").write_text(table(json.loads((HERE / "results" / "arm_instructions.json").read_text())))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as tmp:
        plugin = Path(tmp) / "qemu_count.so"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", str(HERE / "qemu_count.c"), "-o", str(plugin)], check=True)
        for target in (t for t in TARGETS.values() if t.emulator):
            for rule in ("edge", "standard"):
                for flags in ((), SCALAR) if "NEON" in target.isa else ((),):
                    folder = Path(tmp) / f"{target.name}-{rule}-{len(flags)}"
                    folder.mkdir()
                    rows.append(measure(replace(target), rule, flags, plugin, folder))
                    print(rows[-1], flush=True)
    (HERE / "results" / "arm_instructions.json").write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "results" / "arm_instructions.md").write_text(table(rows))


if __name__ == "__main__":
    main()
