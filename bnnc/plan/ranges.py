"""Between which whole numbers a value lies, whatever the data: intervals, from the states' limits through every kernel.

A float has none.  Where nothing is known an interval is the dtype's, so each one holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..ir.dtype import INTEGERS, NUMPY
from ..ir.fixed import FRACTION, ROUNDABLE
from ..ir.ref import Ref
from ..sched.anchor import Acc, Anchor, Contract, Convolve, Fold, Reduce, Window
from ..sched.expr import Expr, Shape
from ..sched.kernel import Kernel
from .pack import PackedSchedule

Range = tuple[int, int]
# of ops whose result does not follow from whole numbers
UNITS = 0, (1 << FRACTION) - 1
DRAWN = {"noise": UNITS, "dither": UNITS, "round": (-ROUNDABLE, ROUNDABLE), "exponent": (-126, 129)}


def whole(dtype: str) -> Range:
    """All that a dtype holds."""
    info = np.iinfo(NUMPY[dtype])
    return (-1, 1) if dtype == "bit" else (int(info.min), int(info.max))


def hull(*ranges: Range) -> Range:
    """The smallest range that holds all of these."""
    return min(lo for lo, _ in ranges), max(hi for _, hi in ranges)


def _product(a: Range, b: Range) -> Range:
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


def _sum(n: int, x: Range) -> Range:
    return n * x[0], n * x[1]


def _held(found: Range | None, dtype: str) -> Range:
    """What was found, if the dtype holds it: else nothing is known."""
    all_ = whole(dtype)
    return found if found and all_[0] <= found[0] and found[1] <= all_[1] else all_


def of_expr(e: Expr, loads: Mapping[Ref, Range], accs: Sequence[Range | None]) -> Range | None:
    """Of an expression; None of a float."""
    if e.dtype == "bool":
        return 0, 1
    if e.dtype not in INTEGERS:
        return None
    args = [of_expr(a, loads, accs) for a in e.args]
    return _held(_of_node(e, args, loads, accs), e.dtype)


def _of_node(
    e: Expr, args: list[Range | None], loads: Mapping[Ref, Range], accs: Sequence[Range | None]
) -> Range | None:
    if e.op == "load":
        return loads.get(e.attr)
    if e.op == "acc":
        return accs[e.attr]
    if e.op == "const":
        return int(e.attr), int(e.attr)
    if e.op in DRAWN:
        return DRAWN[e.op]
    known = [a for a in args if a is not None]
    if not known or len(known) < len(args):
        return None
    return _of_numbers(e.op, known)


def _shifted(x: Range, by: Range) -> Range:
    """Of x / 2**by, rounded down; how far is known where it is a shift of 32 bits."""
    if not 0 <= by[0] <= by[1] <= 31:
        return hull(x, (-1, 0)) if x[0] < 0 else (0, x[1])
    ends = [a >> b for a in x for b in by]
    return min(ends), max(ends)


def _of_numbers(op: str, x: list[Range]) -> Range | None:
    """Of an op on whole numbers."""
    match op:
        case "add":
            return x[0][0] + x[1][0], x[0][1] + x[1][1]
        case "sub":
            return x[0][0] - x[1][1], x[0][1] - x[1][0]
        case "mul":
            return _product(x[0], x[1])
        case "neg":
            return -x[0][1], -x[0][0]
        case "abs":
            return max(0, x[0][0], -x[0][1]), max(abs(x[0][0]), abs(x[0][1]))
        case "max":
            return max(x[0][0], x[1][0]), max(x[0][1], x[1][1])
        case "min":
            return min(x[0][0], x[1][0]), min(x[0][1], x[1][1])
        case "shr":
            return _shifted(x[0], x[1])
        case "select":
            return hull(x[1], x[2])
        case "cast" | "copy" | "previous" | "last" | "repeat" | "second" | "turn":
            return x[0]
    return None


def _results(anchor: Anchor, domain: Shape, loads: Mapping[Ref, Range]) -> list[Range | None]:
    """Of each result of an anchor."""
    return [_held(_result(anchor, domain, r, loads), r.dtype) if r.dtype in INTEGERS else None for r in anchor.results]


def _result(anchor: Anchor, domain: Shape, r: object, loads: Mapping[Ref, Range]) -> Range | None:
    if isinstance(anchor, Contract):
        return _products(anchor.dims[1], anchor, loads)
    if isinstance(anchor, Convolve):
        return _products(_terms_of(anchor), anchor, loads)
    return _accumulated(anchor, domain, r, loads) if isinstance(r, Acc) else None


def _terms_of(x: Convolve) -> int:
    """Of a sum of a convolution or one of its gradients."""
    return x.positions * (x.a.shape[1] // x.groups) if x.form == "back" else x.b.shape[0]


def _products(terms: int, anchor: Contract | Convolve, loads: Mapping[Ref, Range]) -> Range | None:
    """Of a sum of products, of which a gate, or an edge, may leave terms out."""
    a, b = (of_expr(e, loads, ()) for e in (anchor.a, anchor.b))
    return None if a is None or b is None else _sum(terms, hull(_product(a, b), (0, 0)))


def _accumulated(anchor: Anchor, domain: Shape, acc: Acc, loads: Mapping[Ref, Range]) -> Range | None:
    if isinstance(anchor, Reduce) and acc.how == "argmax":
        return 0, domain[anchor.axis] - 1
    x = of_expr(acc.expr, loads, ())
    if x is None or acc.how == "max":
        return x
    terms = domain[anchor.axis] if isinstance(anchor, Reduce) else anchor.steps if isinstance(anchor, Fold) else 0
    terms = terms or (anchor.positions if isinstance(anchor, Window) else 0)
    return _sum(terms, hull(x, (0, 0))) if acc.how == "sum" and terms else None


def _outputs(k: Kernel, loads: Mapping[Ref, Range]) -> dict[Ref, Range]:
    """Of what a kernel stores."""
    accs, out = _results(k.anchor, k.domain, loads), {}
    for o in k.outputs:
        x = of_expr(o.expr, loads, accs)
        if x is not None and o.expr.dtype != "bool":
            out[o.ref] = _held(_sum(k.domain[1], x), o.expr.dtype) if o.row_sum else x
    return out


def ranges(ps: PackedSchedule) -> dict[Ref, Range]:
    """Of every value of a schedule that is whole numbers or bits, by storage."""
    program = ps.program
    limit = {s.name: s.limit for s in program.states}
    found: dict[Ref, Range] = {}
    for name, s in ps.storage.items():
        if s.dtype in INTEGERS:
            n = limit.get(name.value, 0)
            found[name] = (-n, n - 1) if n else whole(s.dtype)
    strips = ps.strips
    for k in ps.kernels:
        for _ in range(strips.get(k.name, 1) if k.running else 1):  # each strip adds to the sums of those before
            found |= {name: x for name, x in _outputs(k, found).items() if name in found}
    return found
