"""How large the operands of ops may be: what a thread's stack holds in every backend's kernels.

``check`` looks at these after ``differentiate``, so that a network that it accepts has kernels on every target.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..diag import BnncError, Diagnostic
from .dtype import FLOATS, LANES, ceil_div
from .image import geometry
from .program import Module, Op, Program

PLANE_BYTES = 8192  # bit planes of a row of u8, or of the bits under a window
GROUP_COLUMNS = 6144  # units of a layer with groups, or of a recurrent one
SCATTER_TERMS = 8192  # samples (times steps) of an update by winners
GROUP_STAGED = 1024  # numbers of a convolution in groups that lie beside each other
SIDE = 4000  # pixels a side of an image: to here the kernels' division is exact


def staged(form: str, columns: int, left: int, groups: int) -> int:
    """Numbers that a convolution in ``groups`` of [.., left] by [.., columns] lays beside each other at a time."""
    own, terms = columns // groups, left // groups
    if form == "weight":
        return ((own + LANES - 2) // own + 1) * terms + 2 * LANES
    return max(((ceil_div(columns, LANES) * LANES - 1) // own + 1) * terms, ceil_div(left, LANES) * LANES)


def _convolution(op: Op, a: Any, b: Any, columns: int) -> Iterator[tuple[str, str]]:
    """``a`` and ``b``: the operands' Values; ``columns``: of the result."""
    form, g, groups = op.kind.removeprefix("convolve").removeprefix("_"), geometry(dict(op.attrs)), op["groups"]
    if groups > 1:
        small = staged(form, columns, a.shape[1], groups) <= GROUP_STAGED * (1 if form == "weight" else 2)
        if not (small and (form == "weight" or columns <= 2 * GROUP_STAGED)):
            yield "a convolution in groups has too many channels here", "use fewer channels, or no groups"
        return
    if b.dtype in FLOATS and (a.dtype in FLOATS or form != "weight"):
        return
    if max(g.height, g.width, g.out_height, g.out_width) > SIDE:
        yield f"an image has at most {SIDE} pixels a side here", "use smaller images"
    terms, planes = b.shape[0], 8 if a.dtype == "u8" else 1
    if not form and planes * 4 * ceil_div(terms, 32) > PLANE_BYTES:
        yield f"a window of {terms} terms is too large here", "use a smaller window or fewer channels"


def _of_op(op: Op, program: Program) -> Iterator[tuple[str, str]]:
    """What is wrong and what helps, for each bound that an op exceeds."""
    values = [program.value[i] for i in op.inputs]
    out = program.value[op.output]
    if op.kind.startswith("convolve"):
        yield from _convolution(op, values[0], values[1], out.shape[1])
    elif op.kind == "contract" and op["form"] == "nn" and values[0].dtype == "u8" and values[1].dtype == "bit":
        if (terms := values[0].shape[1]) > PLANE_BYTES:
            yield (
                f"a u8 input has at most {PLANE_BYTES} elements here, not {terms}",
                "encode it to bits: `input u8[...] sign(threshold = 128);`",
            )
    elif op.kind == "contract_gated" and op["form"] == "tn" and (terms := values[0].shape[0]) > SCATTER_TERMS:
        yield (
            f"an update adds up at most {SCATTER_TERMS} samples (times steps) here, not {terms}",
            "use a smaller batch",
        )
    elif op.kind in ("winners", "recur", "recur_back") and (units := out.shape[1]) > GROUP_COLUMNS:
        layer = "a layer with groups" if op.kind == "winners" else "a recurrent layer"
        yield f"{layer} has at most {GROUP_COLUMNS} units here, not {units}", "use a narrower layer"


def verify_bounds(module: Module) -> None:
    """Raises BnncError B0702, one a layer and bound."""
    found: dict[tuple[str, str], Diagnostic] = {}
    for program in module:
        spans = {r.layer.name: r.layer.span for r in program.regions}
        for op in program.ops:
            for message, help in _of_op(op, program):
                span = spans.get(op.layer, op.span)
                found.setdefault((op.layer, message), Diagnostic("B0702", message, span, help=help))
    if found:
        raise BnncError(tuple(found.values()))
