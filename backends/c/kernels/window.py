"""Pools: the maximum or the sum of each window, and where the maximum is."""

from __future__ import annotations

from bnnc.ir.dtype import INTEGERS
from bnnc.sched.anchor import Window

from .base import KernelText, Skeleton, bnnc_window, lanes


def window(s: Skeleton, x: Window) -> KernelText:
    """Sums or maxima over the windows of an image; a maximum may keep its place, in bits."""
    expr, adds = x.expr, x.adds
    bits, whole = expr.dtype == "bit" and not adds, expr.dtype in INTEGERS
    best = s.names.new("best")
    route = s.names.new("route") if any(c.how == "route" for c in x.accs) else ""
    accs = {i: f"(-({route} >> {c.plane} & 1))" if c.how == "route" else f"({best})" for i, c in enumerate(x.accs)}
    pr = s.printer("v", "r")
    inside = pr.print([expr])
    code, stores = s.outputs("v", "r", accs)
    rows, cols = s.k.out_shape
    context = {
        "window": bnnc_window(x.geometry),
        "positions": x.positions,
        "rows": rows,
        "cols": cols,
        "n": lanes(cols),
        "inside": inside,
        "value": inside.results[0] if bits else pr.veci(expr) if whole else pr.vec(expr),
        "ctype": "vi" if whole else "vf",
        "zero": "{0}" if whole else "vbc(0.0f)",
        "select": "vseli" if whole else "vsel",
        "best": best,
        "route": route,
        "bits": bits,
        "adds": adds,
        "code": code,
        "stores": stores,
    }
    return KernelText("window", context)
