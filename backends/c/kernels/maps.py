"""Element-wise kernels, and the winners of groups."""

from __future__ import annotations

from bnnc.ir.bounds import GROUP_COLUMNS
from bnnc.ir.dtype import Packing
from bnnc.sched.anchor import Group, Map

from .base import KernelText, Skeleton, lanes


def elements(s: Skeleton, x: Map) -> KernelText:
    """Element by element; scalars where there is one column, and no bits."""
    rows, cols = s.k.domain
    storages = {o.ref: s.mem.storages[o.ref] for o in s.k.outputs}
    if cols == 1 and not any(o.one_bit for o in storages.values()):
        printed, stores = s.outputs("s", "r", {})
        return KernelText("map_scalar", {"rows": rows, "code": printed, "stores": stores})
    masks = {v: s.names.new("w") for v, o in storages.items() if o.one_bit and o.packing is Packing.ROWS}
    printed, stores = s.outputs("v", "r", {}, tuple(masks))
    words = [{"var": w, **word} for w, word in zip(masks.values(), s.words(printed, tuple(masks)), strict=True)]
    context = {"rows": rows, "cols": cols, "n": lanes(cols), "code": printed, "stores": stores, "words": words}
    return KernelText("map", context)


def group(s: Skeleton, x: Group) -> KernelText:
    """In each group of columns of a row, the entry that wins."""
    rows, cols = s.k.domain
    (acc,), size = x.accs, x.size
    s.holds(cols <= GROUP_COLUMNS)
    pr = s.printer("v", "r")
    load = pr.print([acc.expr])
    assert size.op in ("load", "const")
    mask = s.names.new("won")
    packed = tuple(o.ref for o in s.k.outputs if s.mem.storages[o.ref].packing is Packing.ROWS)
    code, stores = s.outputs("v", "r", {0: mask}, packed)
    context = {
        "rows": rows,
        "cols": cols,
        "n": lanes(cols),
        "load": load,
        "value": pr.veci(acc.expr),
        "size": f"{s.pointers[size.attr]}[0]" if size.op == "load" else size.attr,
        "mask": mask,
        "code": code,
        "stores": stores,
        "words": s.words(code, packed),
    }
    return KernelText("group", context)
