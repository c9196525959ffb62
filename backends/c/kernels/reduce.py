"""Reductions of rows or columns, and of the steps of a sample."""

from __future__ import annotations

from typing import Any

from bnnc.diag import InternalError
from bnnc.ir.dtype import INTEGERS, LANES, Axis
from bnnc.sched.anchor import Acc, Fold, Reduce

from ..expr import Printer
from .base import KernelText, Skeleton, lanes

# From so many rows on, some rows of a block of columns are added before the next ones: a pass over all rows for each
# vector of columns fetches a cache line again for each of its vectors.  16 rows of 128 numbers of 16 bits are a page.
TALL, SOME, COLUMNS = 256, 16, 128


def reduce(s: Skeleton, x: Reduce) -> KernelText:
    """Rows are added a vector of columns at a time; columns, and a single column's rows, number by number."""
    rows, cols = s.k.domain
    one = x.axis is Axis.ROWS and cols == 1
    vectors = x.axis is Axis.ROWS and not one
    mode, inner = ("v", "r") if vectors else ("s", "r" if one else "c")
    accs = {i: s.names.new(f"acc{i}") for i in range(len(x.accs))}
    pr = s.printer(mode, inner)
    inside = pr.print([a.expr for a in x.accs], tuple(a.expr for a in x.accs if a.how != "sum"))
    if any(a.how == "argmax" for a in x.accs) and x.axis is Axis.ROWS:
        raise InternalError("argmax runs along columns")
    steps = [_step(s, a, accs[i], pr, vectors, inner) for i, a in enumerate(x.accs)]
    code, stores = s.outputs(mode, "r", accs)
    context = {
        "rows": rows,
        "cols": cols,
        "n": lanes(cols),
        "accs": [{"also": "", **step} for step in steps],
        "inside": inside,
        "code": code,
        "stores": stores,
    }
    if vectors and rows >= TALL and cols > LANES:
        tall = {"some": SOME, "columns": COLUMNS, "kept": [s.names.new(f"kept{i}") for i in accs]}
        return KernelText("reduce_rows_tall", context | tall)
    return KernelText("reduce_one" if one else x.title, context)


def _step(s: Skeleton, a: Acc, acc: str, pr: Printer, vectors: bool, at: str) -> dict[str, Any]:
    """One accumulator: its type, how it begins, what each turn of the loop does; the first one takes what comes."""
    whole = a.expr.dtype in INTEGERS
    x = pr.whole(a.expr) if whole else pr.num(a.expr)
    if vectors:
        ctype, zero, greater = ("vi", "{0}", "vmaxi") if whole else ("vf", "vbc(0.0f)", "vmax")
    else:
        ctype, zero, greater = ("int32_t", "0", "") if whole else ("float", "0.0f", "")
    made: dict[str, Any] = {"name": acc, "ctype": ctype, "init": zero, "none": "vbci(0)" if whole else zero}
    if a.how == "sum":
        return made | {"step": [f"{acc} += {x};"]}
    if a.how == "max" and vectors:
        return made | {"step": [f"{acc} = {at} == 0 ? {x} : {greater}({x}, {acc});"]}
    # choices and no branches: which number is the largest is what a processor cannot foresee
    more = s.names.new("more")
    if a.how == "max":
        choice = f"const {ctype} {more} = {x} > {acc} ? {x} : {acc};"
        return made | {"step": [choice, f"{acc} = {at} == 0 ? {x} : {more};"]}
    best = s.names.new("best")
    steps = [
        f"const bool {more} = ({x} > {best}) | ({at} == 0);",
        f"{best} = {more} ? {x} : {best};",
        f"{acc} = {more} ? {at} : {acc};",
    ]
    return {"name": acc, "ctype": "int32_t", "init": "0", "also": f"{ctype} {best} = {zero};", "step": steps}


def fold(s: Skeleton, x: Fold) -> KernelText:
    """Sums over the steps of a sample."""
    rows, cols = s.k.out_shape
    (acc,) = x.accs
    name = s.names.new("acc")
    pr = s.printer("v", "r")
    inside = pr.print([acc.expr])
    context = {
        "rows": rows,
        "cols": cols,
        "n": lanes(cols),
        "steps": x.steps,
        "inside": inside,
        "value": pr.veci(acc.expr),
        **s.epilogue(name),
    }
    return KernelText("fold", context)
