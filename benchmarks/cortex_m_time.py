"""Time of a training step and of a prediction on a Cortex-M4 and M7, calculated: instructions that QEMU counts, times
the cycles that Arm publishes.

    python benchmarks/cortex_m_time.py             # writes results/cortex_m_time.json and .md (--table: the .md again)
    python benchmarks/cortex_m_time.py net.bnn     # one of your own, its data beside it

No such processor was there.  Programs are counted twice, with one epoch and with two (for predictions: with some
samples and twice as many); the difference is the steps', reading samples, and the line at an epoch's end, included.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import bnnc
from bnnc.data import Dataset, write_bnnd

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
QEMU = "qemu-system-arm -M mps2-an386 -nographic -monitor none -serial none -semihosting -d plugin"
MLP = (
    "network {0} {{ input u8[64] {1}; dense 64; {2}sign; dense 10; {2}loss; }}\n"
    'rule {3}; train {{ batch = 40; epochs = 1; }} data {{ train = bnnd("digits.bnnd"); }}\n'
)
BN = "batchnorm; "
CONV = (
    "network conv {{ input u8[8, 8, 1]; conv 16 kernel = 3 padding = same; batchnorm; sign; maxpool; flatten; dense 10;"
    ' batchnorm; loss; }}\nrule {0}; train {{ batch = 40; epochs = 1; }} data {{ train = bnnd("digits.bnnd"); }}\n'
)
SPECS = {
    "mlp, edge": MLP.format("mlp", "sign(threshold = 8)", BN, "edge"),
    "mlp, edge(gradient = i8)": MLP.format("mlp", "sign(threshold = 8)", BN, "edge(gradient = i8)"),
    "mlp, edge, cosine": MLP.format("mlp", "sign(threshold = 8)", BN, "edge").replace(
        "1;", "1; schedule = cosine(0.1);"
    ),
    "mlp, standard": MLP.format("mlp", "sign(threshold = 8)", BN, "standard"),
    "mlp, bep": MLP.format("mlp", "sign(threshold = 8, pad_odd = on)", "", "bep"),
    "mlp on u8, edge": MLP.format("mlp", "", BN, "edge"),
    "conv, edge": CONV.format("edge"),
}
SAMPLES = 400
# Arm Cortex-M4 Processor Technical Reference Manual (100166), tables 3-1 and 7-1: from no stall to every stall that a
# table or a note to it names, memory without wait states.  P, a refill of the pipeline, is 1 to 3.
CYCLES: tuple[tuple[str, tuple[int, int]], ...] = (
    (r"v(div|sqrt)\.", (14, 14)),
    (r"v(n?ml[as]|fn?m[as])\.", (3, 4)),
    (r"v(add|sub|n?mul|neg|abs)\.", (1, 2)),
    (r"v(ldr|str) d", (2, 3)),
    (r"v(ldr|str) s", (1, 2)),
    (r"v", (1, 1)),
    (r"(ldr|str)d", (3, 3)),
    (r"ldr\S* pc", (3, 5)),
    (r"(ldr|str)", (1, 2)),
    (r"[su]div", (2, 12)),
    (r"it", (0, 1)),
    (r"tb[bh]", (3, 5)),
    (r"cbn?z|b(eq|ne|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)\b", (1, 4)),
    (r"(b|bl|bx|blx)\b", (2, 4)),
    (r"", (1, 1)),
)
DOUBLE = re.compile(r"__(aeabi_(d\w+|\w+2d)|\w*df\w*)")  # functions of libgcc
CLOCKS = {"M4": (168, 1.0), "M7": (480, 5.01 / 3.42)}  # MHz, and CoreMark/MHz against the M4's, as Arm publishes both


def cycles(text: str) -> tuple[int, int]:
    """Of an instruction, at least and at most."""
    if m := re.match(r"(push|pop|ldm\w*|stm\w*|vpush|vpop|vldm\w*|vstm\w*)\S* .*\{(.*)\}", text):
        n = sum(2 if r.startswith("d") else 1 for r in re.split(r", *", m[2]))
        jump = (1, 3) if "pc" in m[2] else (0, 0)
        return 1 + n + jump[0], 1 + n + jump[1]
    return next(c for pattern, c in CYCLES if re.match(pattern, text))


def mix(program: Path, plugin: Path) -> Counter[tuple[str, bool]]:
    """How often each instruction ran, and whether it is the compiler's library's for ``double``."""
    log = program.with_suffix(".log")
    argv = [*QEMU.split(), "-D", str(log), "-plugin", str(plugin), "-kernel", str(program)]
    subprocess.run(argv, check=True, capture_output=True)
    nm = subprocess.run(["arm-none-eabi-nm", "-n", program], check=True, capture_output=True, text=True).stdout
    found = dict[int, list[str]]()
    for at, name in re.findall(r"^(\w+) [tTW] (\S+)$", nm, re.M):
        found.setdefault(int(at, 16) & ~1, []).append(name)
    starts, ran = list(found), Counter[tuple[str, bool]]()
    for n, at, text in (line.split(" ", 2) for line in log.read_text().splitlines()):
        names = found[starts[bisect_right(starts, int(at, 16)) - 1]]
        ran[text, any(DOUBLE.fullmatch(name) for name in names)] += int(n)
    return ran


Mix = Counter[tuple[str, bool]]


def row(what: str, few: Mix, many: Mix, times: int) -> dict[str, Any]:
    more = {key: n - few[key] for key, n in many.items()}
    low, high = (sum(n * cycles(text)[i] for (text, _), n in more.items()) / times for i in (0, 1))
    double = sum(n for (_, wide), n in more.items() if wide) / times
    total = sum(more.values()) / times
    return {"what": what, "instructions": total, "double": double, "cycles_least": low, "cycles_most": high}


def measured(name: str, spec: Path, plugin: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """A row of a training step, and one of a prediction."""
    net = bnnc.load(spec)
    ends = []
    for epochs in (1, 2):
        p = net.with_(epochs=epochs).compile("cortex-m", folder / "net.elf")
        ends.append(mix(folder / "net.elf", plugin))
    data = bnnc.data.read_bnnd(spec.parent / str(p.model.data.train.args[0][1]))
    batch = p.model.batch
    steps = (data.n - data.n_test) // batch
    yield row(name, *ends, steps) | {"batch": batch, "bytes": p.plan.total_bytes, "kind": "step"}


def predicted(name: str, spec: Path, plugin: Path, folder: Path) -> dict[str, Any]:
    net, ends = bnnc.load(spec), []
    host = net.compile(threads=1)
    host.run(["train", "--data", str(spec.parent), "--out", str(folder / "run"), "--quiet", "--resume", "never"])
    data = bnnc.data.read_bnnd(spec.parent / "digits.bnnd")
    for n_test in (50, 100):
        write_bnnd(spec.parent / "digits.bnnd", Dataset(data.x, data.y, classes=data.classes, n_test=n_test))
        p = net.predictor(folder / "run", "cortex-m", folder / "net.elf")
        ends.append(mix(folder / "net.elf", plugin))
    write_bnnd(spec.parent / "digits.bnnd", data)
    return row(name, *ends, 50) | {"batch": 1, "bytes": p.plan.total_bytes, "kind": "prediction"}


def table(rows: list[dict[str, Any]]) -> str:
    """The results for people."""
    head = " | ".join(f"{core} at {mhz} MHz" for core, (mhz, _) in CLOCKS.items())
    text = [
        f"# {(__doc__ or '').split('.')[0].replace(chr(10), ' ')}.",
        "",
        f"| network, rule | what | batch | RAM, bytes | instructions | of `double` | cycles of an M4 | {head} |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        ends = (r["cycles_least"], r["cycles_most"])
        cells = [r["what"], r["kind"], str(r["batch"]), *(f"{r[k]:,.0f}" for k in ("bytes", "instructions", "double"))]
        cells += [" to ".join(f"{c:,.0f}" for c in ends)]
        for mhz, faster in CLOCKS.values():
            cells.append(" to ".join(f"{c / mhz / faster / 1000:.3g}" for c in ends) + " ms")
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join([*text, "", NOTE, ""])


NOTE = """\
Digits of 64 pixels, MLP 64-64-10; `python benchmarks/cortex_m_time.py`. Counted by QEMU, not measured: no such
processor there. Cycles are those of Arm's Cortex-M4 Processor Technical Reference Manual (100166, tables 3-1 and
7-1), from none of the stalls that it names to all of them, for memory without wait states: flash that needs some,
without a cache, makes it slower. For the M7 Arm publishes no such table; its column is the M4's cycles divided by
5.01 / 3.42, the ratio of what Arm publishes of both in CoreMark per MHz, and no more than a guess. 168 and 480 MHz
are an STM32F4's and an STM32H7's; other clocks in proportion."""


def main() -> None:
    if sys.argv[1:] == ["--table"]:
        (RESULTS / "cortex_m_time.md").write_text(table(json.loads((RESULTS / "cortex_m_time.json").read_text())))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        plugin = folder / "qemu_mix.so"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", str(HERE / "qemu_mix.c"), "-o", str(plugin)], check=True)
        for file in sys.argv[1:]:
            rows += measured(Path(file).stem, Path(file).resolve(), plugin, folder)
            print(table(rows[-1:]))
        if rows:
            return
        from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]

        d = load_digits()
        x, y = d.images[:SAMPLES].astype(np.uint8), d.target[:SAMPLES].astype(np.uint8)
        write_bnnd(folder / "digits.bnnd", Dataset(x, y, classes=10))
        for name, text in SPECS.items():
            spec = folder / "net.bnn"
            spec.write_text(text)
            rows += measured(name, spec, plugin, folder)
            rows.append(predicted(name, spec, plugin, folder))
            print(rows[-2:], flush=True)
    (RESULTS / "cortex_m_time.json").write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "cortex_m_time.md").write_text(table(rows))


if __name__ == "__main__":
    main()
