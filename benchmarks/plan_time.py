"""Seconds that planning takes by the number of layers: `python benchmarks/plan_time.py [--out
benchmarks/results/plan_time.md]`.

Processor time of one process, the best of three, from the text to the plan with its report: what `bnnc plan` needs for
the spec's own rule.  The last column is the time at 80 layers over that at 10 layers; 8 log(80) / log(10) = 15.2 is
what n log n gives.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from bnnc import driver

LAYERS = (10, 20, 40, 80)
DENSE = (
    "network net {{ input u8[784]; repeat {n} {{ dense 256; batchnorm; sign; }} dense 10; batchnorm; loss; }}\nrule"
    " edge;\n"
)
CONV = (
    "network net {{ input u8[32, 32, 3]; repeat {n} {{ conv 64 padding = same; batchnorm; sign; }} flatten; dense 10;"
    " batchnorm; loss; }}\nrule edge;\n"
)
BEP = "network net {{ input bit[785]; repeat {n} {{ dense 255; sign; }} dense 10; loss; }}\nrule bep;\n"
NETS = {
    "dense": DENSE,
    "conv": CONV,
    "dense, recompute": DENSE + "train {{ recompute = on; }}\n",
    "conv, recompute": CONV + "train {{ recompute = on; }}\n",
    "dense, bep": BEP,
}
EXAMPLES = Path(__file__).parents[1] / "examples"


def seconds(text: str) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        driver.plan_text(driver.Options(text))
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", type=Path)
    out = p.parse_args().out
    seconds(DENSE.format(n=1))
    rows = [
        "# Planning time",
        "",
        "`python benchmarks/plan_time.py`: seconds of processor time by the number of layers with weights.",
        "",
        f"| network | {' | '.join(map(str, LAYERS))} | 80 over 10 |",
        "| --- |" + " ---: |" * (len(LAYERS) + 1),
    ]
    for name, text in NETS.items():
        times = [seconds(text.format(n=n)) for n in LAYERS]
        rows.append(f"| {name} | {' | '.join(f'{t:.2f}' for t in times)} | {times[-1] / times[0]:.1f} |")
        print(rows[-1], flush=True)
    rows += ["", "| example | seconds |", "| --- | ---: |"]
    for path in sorted(EXAMPLES.glob("*/*.bnn")):
        rows.append(f"| {path.name} | {seconds(path.read_text(encoding='utf-8')):.2f} |")
        print(rows[-1], flush=True)
    if out:
        out.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
