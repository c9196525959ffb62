"""Kernels that walk through time."""

from __future__ import annotations

from bnnc.ir.bounds import GROUP_COLUMNS
from bnnc.ir.dtype import ceil_div
from bnnc.sched.anchor import Recur

from .base import KernelText, Skeleton, lanes


def recur(s: Skeleton, x: Recur) -> KernelText:
    """Some samples at a time; the carried state lies in a local array."""
    rows, cols = s.k.domain
    s.holds(cols <= GROUP_COLUMNS)
    inputs = x.inputs[0].shape[1]
    context = {
        **s.product(),
        "rows": rows // x.steps,
        "cols": cols,
        "n": lanes(cols),
        "steps": x.steps,
        "first": x.first,
        "operand": [{"ptr": s.pointers[e.attr], "stride": s.mem.storages[e.attr].stride} for e in x.inputs],
        "inputs": inputs,
        "words": ceil_div(cols, 32),
        "block": 4,
        "input_words": ceil_div(inputs, 32),
    }
    return KernelText(x.op, context)
