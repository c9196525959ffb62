"""Sums and maxima of whole numbers over one strip of rows after the other, for loops over strips (``strip.py``).

They are exact in any order, so what each strip gives is added to what is in memory, and the bits are those of one sum.
A kernel that adds up becomes three:

    m = max |x|;  y = f(m, sum x)        m.grown = least;  m.grown1 = 0
                                         for each strip:  m.grown = max(m.grown, max |x|);  m.grown1 = m.grown1 + sum x
                                         m = m.grown;  y = f(m.grown, m.grown1)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir.dtype import INTEGERS, NUMPY
from ..ir.ref import Ref
from ..sched.anchor import Acc, Map, Result
from ..sched.expr import Expr
from ..sched.kernel import Kernel, Output
from .types import Storage


def _how(r: Result) -> str:
    """The op that puts two strips' results together."""
    return "max" if isinstance(r, Acc) and r.how == "max" else "add"


def grows(k: Kernel) -> bool:
    """Does it add up whole numbers?"""
    return bool(k.anchor.results) and not k.running and all(r.dtype in INTEGERS for r in k.anchor.results)


def sums(k: Kernel, copy: int) -> list[Storage]:
    """Where its results are while they grow; ``copy`` tells kernels apart that make one value."""
    names = [f"{k.writes[0].value}.grown{n or ''}" for n in range(len(k.anchor.results))]
    return [Storage(Ref(n, copy=copy), r.dtype, k.out_shape) for n, r in zip(names, k.anchor.results, strict=True)]


def running(k: Kernel, at: list[Storage]) -> tuple[Kernel, Kernel, Kernel]:
    """What stands before the loop, in it, and behind it; ``at``: where its results grow."""
    loads = [Expr("load", (), s.ref, s.dtype, s.shape) for s in at]
    begin, add = [], []
    for i, (r, load) in enumerate(zip(k.anchor.results, loads, strict=True)):
        op = _how(r)
        first = int(np.iinfo(NUMPY[r.dtype]).min) if op == "max" else 0
        new = Expr(op, (load, Expr("acc", (), i, r.dtype, load.shape)), None, "i32", load.shape)
        if r.dtype != "i32":
            new = Expr("cast", (new,), (("dtype", r.dtype),), r.dtype, load.shape)
        begin.append(Output(load.attr, Expr("const", (), first, r.dtype)).because("strip: where sums begin"))
        add.append(Output(load.attr, new).because(f"strip: it grows strip by strip, for {k.writes[0]}"))
    table = dict(enumerate(loads))
    end = tuple(replace(o, expr=o.expr.substitute(table, "acc")) for o in k.outputs)
    return (
        Kernel(Map(), k.out_shape, tuple(begin), k.where, f"begin_{k.name}"),
        replace(k, outputs=tuple(add)),
        Kernel(Map(), k.out_shape, end, k.where, f"end_{k.name}"),
    )
