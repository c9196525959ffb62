"""docs/passes.md: one small network before and after each pass, as ``BNNC_DUMP`` writes them.

python tests/passes/passes_page.py     makes the page anew; test_passes_page.py compares it
"""

from __future__ import annotations

import difflib
import tempfile
from itertools import takewhile
from pathlib import Path

from bnnc import driver
from bnnc.knobs import Knobs
from bnnc.passes import Pass

PAGE = Path(__file__).parents[2] / "docs" / "passes.md"
SPEC = """\
network tiny {
  input bit[4, 4, 16];
  conv 64 3 padding = same;
  maxpool 2;
  sign identity;
  flatten;
  dense 4;
  loss squared_hinge;
}
rule edge;
train { optimizer = sgd(momentum = 0); batch = 16; recompute = on; }
"""
INTRODUCTION = """\
# The passes, one by one

One small network on its way through the compiler.  `BNNC_DUMP=DIR bnnc plan tiny.bnn` writes all of it, and for the
evaluation step too; here is the training step, whole or what a pass changes of it.  What a pass is for stands in
[ARCHITECTURE.md](../ARCHITECTURE.md), what its words mean in the [glossary](glossary.md).  The page is made by
`python tests/passes/passes_page.py`, and a test compares them.
"""
WHOLE, CHANGES = "whole", "changes"
PASSES = {  # what of the dump is shown, and what to look at
    "parse": (WHOLE, "The spec in canonical form, as `bnnc fmt` prints it. Names mean nothing yet."),
    "check": (WHOLE, "Each layer has a name, every argument a value, and a type goes in and comes out."),
    "expand": (
        WHOLE,
        "Layers are gone; there are operations on matrices. A row of `%pixels` is a pixel. `sign` under `edge` would "
        "keep a mask; "
        "`identity` keeps nothing. What a maximum keeps are the two bits of its place, `route0` and `route1`.",
    ),
    "differentiate": (
        CHANGES,
        "From the loss back: `dx` and `dw` of each layer, the sign of `dw` times 1/sqrt(fan-in) as `edge` has it, then "
        "the update of both "
        "weights. The pool's gradient is two maps, `hit` and `spread`.",
    ),
    "simplify": (
        CHANGES,
        "Constants that are the same are one. `%dense1.wb_back` stays beside `%dense1.wb`: it is of another phase, and "
        "to keep the first one until then "
        "would take memory.",
    ),
    "fuse": (
        WHOLE,
        "A kernel is one anchor (`acc0` is its sum) with expressions on what it loads and stores; what it stores has "
        "its type there. The gradient of the sums, `select(hit, spread, 0.0)`, is no value any more: it is written "
        "into the product that reads it.",
    ),
    "sink": (
        CHANGES,
        "The update of a weight moves into the kernel that makes its gradient: the gradient is never in memory, and "
        "`dw_sign` is gone.",
    ),
    "order": (
        WHOLE,
        "The order of execution. A weight is overwritten after its last reader, so it needs no second buffer (`in "
        "place`).",
    ),
    "pack": (
        CHANGES,
        "Kernels read and write storages now. `%pixels@0` is the second form of the same bits, 32 rows a word, for the "
        "product that sums over rows; the kernel that makes the first makes this too.",
    ),
    "strip": (
        CHANGES,
        "With `recompute = on`: the convolution and the pool run over one quarter of the samples after the other, "
        "so a quarter of `conv1.y` exists at a time.",
    ),
    "place": (
        WHOLE,
        "Every buffer with its life in the timeline and its place in the arena; those that never meet share bytes.",
    ),
}


def training(dump: str) -> list[str]:
    """The lines of a dump up to the evaluation step."""
    lines = takewhile(lambda line: line.split()[1:2] != ["evaluate"], dump.splitlines())
    return "\n".join(lines).rstrip().splitlines()


def dumps() -> dict[str, list[str]]:
    """The dump of each pass, by its name."""
    with tempfile.TemporaryDirectory() as folder:
        driver.plan_text(driver.Options(SPEC, "tiny.bnn"), Knobs(dump=folder))
        return {p.name.split(".")[1]: training(p.read_text()) for p in sorted(Path(folder).glob("*.txt"))}


def section(p: Pass, before: list[str], after: list[str]) -> str:
    how, watch = PASSES[p.name]
    shown, language = after, ""
    if how == CHANGES:
        diff = list(difflib.unified_diff(before, after, lineterm="", n=1))[2:]
        shown, language = [line if not line.startswith("@@") else "..." for line in diff], "diff"
    optional = ", optional" if p.optional else ""
    body = "\n".join(shown)
    return f"## {p.name}\n\n{p.takes} to {p.gives}{optional}: {p.doc}.\n\n{watch}\n\n```{language}\n{body}\n```\n"


def page() -> str:
    """The text of docs/passes.md."""
    made, before, out = dumps(), SPEC.splitlines(), [INTRODUCTION, f"```\n{SPEC}```\n"]
    for p in driver.PIPELINE:
        out.append(section(p, before, made[p.name]))
        before = made[p.name]
    return "\n".join(out)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
