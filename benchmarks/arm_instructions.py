"""Instructions of one training step for each ARM target, its vectors against plain C, counted by QEMU.

    python benchmarks/arm_instructions.py          # writes results/arm_instructions.json and .md (--table: the .md
                                                   again)
    python benchmarks/arm_instructions.py --of cnv_cifar10 10 rpi rpi5  # another example's rows, under two rules, at a
                                                                        # batch of 10

The MLPs of examples/mnist_mlp (on bits, and on 8-bit pixels) at batch 100, one thread, counted twice with different
numbers of steps of `bench`; the difference is the steps', with the random batch that each of them trains on.  The
counts are repeatable; times under QEMU mean nothing.  What is counted takes the place of its older rows, others stay.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import bnnc
from bnnc import driver
from bnnc.backends.c import build
from bnnc.backends.c.targets import TARGETS, Target
from bnnc.sched.anchor import Contract, Convolve

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
NETS = (
    ("mnist_mlp", "edge"),
    ("mnist_mlp", "edge(gradient = i8)"),
    ("mnist_mlp", "edge(gradient = i8, rounding = nearest)"),
    ("mnist_mlp", "standard"),
    ("mnist_mlp_u8", "edge"),
)
COLUMNS = ("target", "level", "cpu", "network", "batch", "rule")
KEY = ("target", "level", "network", "rule", "batch")
SCALAR = ("-U__ARM_NEON",)
STEPS = (1, 6)
WIDTHS = {
    "aarch64": (128, 128),
    "ARMv7": (128, 32),
    "ARMv6": (32, 32),
}  # bits of a vector of bits, and of one of floats


def spec(name: str) -> Path:
    """An example's file."""
    return next(EXAMPLES.glob(f"*/{name}.bnn"))


def count(target: Target, cpu: str, isa: str, plugin: Path, binary: Path, steps: int) -> int:
    """Guest instructions of a whole run."""
    log = binary.with_suffix(".log")
    argv = [
        target.emulator[0],
        "-cpu",
        cpu,
        "-plugin",
        str(plugin),
        "-d",
        "plugin",
        "-D",
        str(log),
        str(binary),
        "bench",
        "--steps",
        str(steps),
        "--threads",
        "1",
        "--isa",
        isa,
        "--quiet",
    ]
    subprocess.run(argv, check=True, capture_output=True, env={})
    found = re.search(r"insns (\d+)", log.read_text())
    assert found, "QEMU ran without the plugin"
    return int(found[1])


def measure(
    target: Target,
    name: str,
    rule: str,
    flags: tuple[str, ...],
    plugin: Path,
    folder: Path,
    steps: tuple[int, int] = STEPS,
    batch: int | None = None,
) -> list[dict[str, Any]]:
    """A row for each level of a target; with ``flags`` the text without vectors, one row."""
    planned = driver.plan_text(bnnc.load(spec(name)).with_(rule=rule).options(target.name, batch, threads=1))
    cc = shlex.join([*shlex.split(build.find_compiler(target)), *flags])
    binary = folder / "net"
    driver.emit_source(planned).write(folder / "c")
    build.run_compiler(build.command(cc, target, planned.model.name + ".c", str(binary)), folder / "c")
    rows = []
    for level in target.levels[:1] if flags else target.levels:
        cpu = level.cpu or target.emulator[2]
        few, many = (count(target, cpu, "auto" if flags else level.name, plugin, binary, n) for n in steps)
        rows.append(
            {
                "target": target.name,
                "isa": target.isa,
                "level": "scalar" if flags else level.name,
                "cpu": cpu,
                "network": name,
                "rule": rule,
                "batch": planned.model.batch,
                "instructions_per_step": (many - few) // (steps[1] - steps[0]),
            }
        )
    return rows


def _key(row: dict[str, Any]) -> tuple[str | int, ...]:
    return tuple(row[k] for k in KEY)


def bound(row: dict[str, Any]) -> float:
    """That of ``bnnc.plan.cost`` for the target's vectors, WIDTHS; a vector of 16 products of bytes with bits is one
    instruction at level dotprod, and 24 instructions for each 128 where they are products of eight bit planes."""
    net = bnnc.load(spec(row["network"])).with_(rule=row["rule"])
    planned = net.plan(row["target"], batch=row["batch"]).planned
    products = [
        k.anchor.terms(k.domain).bits / 8
        for k in planned.placed.train.kernels
        if isinstance(k.anchor, Contract | Convolve) and (k.anchor.a.dtype, k.anchor.b.dtype) == ("u8", "bit")
    ]
    less = sum(products) * (24 / 128 - 1 / 16) if row["level"] == "dotprod" else 0
    return planned.report.cost.instructions(*next(w for isa, w in WIDTHS.items() if row["isa"].startswith(isa))) - less


def table(rows: list[dict[str, Any]]) -> str:
    """The results for people."""
    text = [
        f"# {__doc__.splitlines()[0]}",
        "",
        "| target | level | CPU | network | batch | rule | instructions | without vectors | ratio | bound |",
        "| --- | --- | --- | --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    of = {_key(r): r["instructions_per_step"] for r in rows}
    for row in (
        r
        for r in rows
        if r["level"] != "scalar" or not any(x["target"] == r["target"] and x["level"] != "scalar" for x in rows)
    ):
        n, plain = row["instructions_per_step"], of.get(_key(row | {"level": "scalar"}))
        have = [
            f"{n / 1e6:.1f} M",
            *([f"{plain / 1e6:.1f} M", f"{plain / n:.2f}"] if plain and plain != n else ["", ""]),
            f"{bound(row) / 1e6:.1f} M",
        ]
        text.append(f"| {' | '.join(str(row[k]) for k in COLUMNS)} | {' | '.join(have)} |")
    return "\n".join(
        [
            *text,
            "",
            "One thread; `python benchmarks/arm_instructions.py`, and with `--of cnv_cifar10 10 rpi rpi5 rpi-zero`. MLP"
            " 784-256-256-256-256-10. A Cortex-A53 (Pi 3, Zero 2) has no dotprod: its level is `neon`.",
            "",
            (
                "Bound, for this way of computing, from the counts of `bnnc plan`: for each vector of bits in a product"
                " three instructions (a byte is eight bits; with dotprod one instruction for 16 bytes), for four terms"
                " of an addition by sign in each lane one, for a vector of other operations or of bytes moved one;"
                " nothing for loops, addresses, packing, or the tables of sums.  Vectors have 128 bits; floats lie one"
                " by one on ARMv7, whose vectors take subnormal numbers for 0, and all is 32 bits wide on ARMv6, which"
                " has no instruction that counts bits either."
            ),
            "",
        ]
    )


def record(rows: list[dict[str, Any]]) -> None:
    """Rows take the place of those of the same network, rule, batch, target and level; then the table is made anew."""
    file = HERE / "results" / "arm_instructions.json"
    kept = {_key(r): r for r in json.loads(file.read_text())} | {_key(r): r for r in rows}
    file.write_text(json.dumps([*kept.values()], indent=1) + "\n")
    file.with_suffix(".md").write_text(table([*kept.values()]))


def main() -> None:
    if sys.argv[1:] == ["--table"]:
        record([])
        return
    other = sys.argv[2] if sys.argv[1:2] == ["--of"] else ""
    targets = [TARGETS[n] for n in sys.argv[4:]] if other else [t for t in TARGETS.values() if t.emulator]
    with tempfile.TemporaryDirectory() as tmp:
        plugin = Path(tmp) / "qemu_count.so"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", str(HERE / "qemu_count.c"), "-o", str(plugin)], check=True)
        for target in targets:
            for name, rule in [(other, r) for _, r in NETS[:2]] if other else NETS:
                for flags in ((), SCALAR) if "NEON" in target.isa and not other else ((),):
                    folder = Path(tmp) / f"{target.name}-{name}-{rule}-{len(flags)}"
                    folder.mkdir()
                    steps, batch = ((1, 2), int(sys.argv[3])) if other else (STEPS, None)
                    rows = measure(target, name, rule, flags, plugin, folder, steps, batch)
                    print(*rows, sep="\n", flush=True)
                    record(rows)


if __name__ == "__main__":
    main()
