"""A page of predictions: `bnnc plan FILE --target cuda:sm_90 --time --json > plan.json`, then
`python benchmarks/gpu_model.py 'RULE=plan.json' ... [--out benchmarks/results/gpu_model.md]`.

What `bnnc plan --time` predicts of a training step on a GPU from its compiled code, kernel by kernel, the longest
first.  It is a model: nothing on the page was measured on a GPU.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

SHARE = 0.01  # of a step: kernels that take less are summed up
FEW = 100  # programs: less leave a GPU idle
INTRO = """# Time of a step on a GPU, by the model

**A prediction, not a measurement: no kernel here has run on a GPU.** For each network

    bnnc plan FILE --target cuda:sm_90 --time --json [--batch N] [--rule RULE] > plan.json

then `python benchmarks/gpu_model.py 'RULE=plan.json' ...`. ARCHITECTURE.md describes the model; its constants are
published ones (`backends/triton/targets.py`).
"""
HEAD = """| kernel | us | programs | instructions of a warp | MB moved | limit |
| --- | ---: | ---: | ---: | ---: | --- |"""


def page(plans: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """The lines of the page, of (rule, plan)."""
    out = [INTRO]
    for rule, p in plans:
        t, us = p["time"], p["time"]["us"]
        few = max((r["us"] for r in t["kernels"] if r["programs"] < FEW), default=0.0)
        rows = sorted(t["kernels"], key=lambda r: -r["us"])
        large = [r for r in rows if r["us"] >= SHARE * us]
        rest = rows[len(large) :]
        out += [
            f"## {p['name']}, batch {p['batch']}, `{rule}`: {us / 1e3:.3g} ms",
            "",
            f"{t['gpu']}; {t['parts']} {'parts between barriers' if t['one_launch'] else 'launches'}, which alone take"
            f" {t['waits_us']:.0f} us; {p['total_bytes'] / 1e6:,.1f} MB of memory in all, of which"
            f" {p.get('workspace_bytes', 0) / 1e6:,.1f} MB are workspace. The longest kernel of fewer than {FEW}"
            f" programs takes {100 * few / us:.1f} % of the step.",
            "",
            HEAD,
            *(
                f"| {r['name']} | {r['us']:,.1f} | {r['programs']} | {r['instructions']} | {r['nbytes'] / 1e6:,.1f} |"
                f" {r['limit']} |"
                for r in large
            ),
            f"| {len(rest)} more | {sum(r['us'] for r in rest):,.1f} | | | | |",
            "",
        ]
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("plans", nargs="+", metavar="RULE=FILE")
    p.add_argument("--out", type=Path)
    given = p.parse_args()
    named = (x.rpartition("=") for x in given.plans)
    text = (
        "\n".join(page([(rule, json.loads(Path(f).read_text(encoding="utf-8"))) for rule, _, f in named])).rstrip()
        + "\n"
    )
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
