"""Convolutions in groups, of bits or numbers: some columns of the result share a group, of some terms on the other
side."""

from __future__ import annotations

from typing import Any

from bnnc.ir.bounds import GROUP_STAGED, staged
from bnnc.ir.dtype import INTEGERS
from bnnc.sched.anchor import Convolve
from bnnc.sched.expr import Expr, bare

from ...printing import Printed
from ..expr import Printer
from ..names import literal
from .base import KernelText, Skeleton, bnnc_window, count, of_kind, some_lanes


def groups(s: Skeleton, x: Convolve) -> KernelText:
    """A convolution in groups: each lane gathers the terms of its own group, or has the only one."""
    back = x.form == "back"
    rows, cols = s.k.domain
    own, terms = cols // x.groups, x.a.shape[1] // x.groups
    depthwise = own == terms == 1
    alone = back and not depthwise
    pr, other = s.printer("v", "r"), s.printer("s" if alone else "v", "r")
    left, right = pr.print([x.a]), other.print([x.b])
    context: dict[str, Any] = {
        **s.product(),
        "window": bnnc_window(x.geometry),
        "positions": x.positions,
        "rows": rows,
        "cols": cols,
        "own": own,
    }
    skeleton = "convolve_depthwise" if depthwise else "convolve_groups"
    if x.form == "weight":
        gradient = other.veci(x.b) if _exact(x) else other.vec(x.b)
        return _weight(s, x, skeleton, context, (left, _value(pr, x.a, _exact(x))), (right, gradient), terms)
    numbers = staged(x.form, cols, x.a.shape[1], x.groups)
    s.holds(numbers <= 2 * GROUP_STAGED and cols <= 2 * GROUP_STAGED)
    exact, beyond = _exact(x), 0 if back else _beyond(x)
    more = {
        "n": some_lanes(cols, "c" if depthwise else "lane"),
        "back": back,
        "terms": terms,
        "step": 4 if back and "bit" in (x.a.dtype, x.b.dtype) else 1,
        "staged": numbers,
        "q": x.a.shape[1],
        "nq": some_lanes(x.a.shape[1]),
        "load": left,
        "value": _value(pr, x.a, exact),
        "b_code": right,
        "b_value": _weight_of(other, x.b, alone, exact),
        "of": of_kind(exact),
        "beyond": str(beyond) if exact else literal(float(beyond)),
    }
    return KernelText(skeleton, context | more)


def _weight(
    s: Skeleton,
    x: Convolve,
    skeleton: str,
    context: dict[str, Any],
    a: tuple[Printed, str],
    b: tuple[Printed, str],
    terms: int,
) -> KernelText:
    numbers = staged(x.form, s.k.domain[1], x.a.shape[1], x.groups)
    s.holds(numbers <= GROUP_STAGED)
    block = min(terms, 64)
    more = {
        "n": some_lanes(s.k.domain[1]),
        "channels": terms,
        "block": block,
        "count": count(terms, block),
        "step": 4 if x.a.dtype == "bit" else 1,
        "staged": numbers,
        "q": x.b.shape[0],
        "q_cols": x.a.shape[1],
        "na": some_lanes(x.a.shape[1]),
        "a_code": a[0],
        "a_value": a[1],
        "load": b[0],
        "value": b[1],
        "beyond": str(_beyond(x)) if _exact(x) else literal(float(_beyond(x))),
        "masked": x.a.dtype == "bit" and not _beyond(x),
        "of": of_kind(_exact(x)),
    }
    return KernelText(f"{skeleton}_weight", context | more)


def _exact(x: Convolve) -> bool:
    """Are the sums whole numbers?"""
    return x.result.dtype in INTEGERS


def _beyond(x: Convolve) -> int:
    """What lies beyond the edge of the left operand."""
    return (255 if x.a.dtype == "u8" else 1) * x.fill


def _weight_of(pr: Printer, e: Expr, alone: bool, exact: bool) -> str:
    """The right operand: a vector, or going back one element."""
    if alone:
        return bare(pr.whole(e) if exact else pr.num(e))
    return pr.veci(e) if exact else pr.vec(e)


def _value(pr: Printer, a: Expr, exact: bool) -> str:
    """The left operand; a u8 u stands for 2 u - 255."""
    if a.dtype == "u8":
        return f"2 * {pr.veci(a)} - 255" if exact else f"vtof(2 * {pr.veci(a)} - 255)"
    return pr.veci(a) if exact else pr.vec(a)
