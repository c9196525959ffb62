"""The backward of a layer that has none of its own: its forward ops, last to first, by the derivative of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..diag import InternalError
from ..ir.program import Op, Region, T

if TYPE_CHECKING:
    from .context import Context

Vjp = Callable[[T, Op, list[T], T], list[T | None]]  # (grad, op, inputs, output) -> a gradient per input


def _unbroadcast(g: T, like: T) -> T:
    """Sum a gradient over the axes along which its operand was broadcast."""
    if like.shape[0] == 1 and g.shape[0] != 1:
        g = g.sum(0)
    if like.shape[1] == 1 and g.shape[1] != 1:
        g = g.sum(1)
    return g


VJP: dict[str, Vjp] = {
    "add": lambda g, op, x, y: [g, g],
    "sub": lambda g, op, x, y: [g, -g],
    "mul": lambda g, op, x, y: [g * x[1], g * x[0]],
    "div": lambda g, op, x, y: [g / x[1], -(g * y) / x[1]],
    "neg": lambda g, op, x, y: [-g],
    "abs": lambda g, op, x, y: [g * x[0].sign()],
    "sqrt": lambda g, op, x, y: [g * 0.5 / y],
    "exp": lambda g, op, x, y: [g * y],
    "log": lambda g, op, x, y: [g / x[0]],
    "max": lambda g, op, x, y: [(x[0] > x[1]).where(g, 0.0), (x[0] > x[1]).where(0.0, g)],
    "min": lambda g, op, x, y: [(x[0] > x[1]).where(0.0, g), (x[0] > x[1]).where(g, 0.0)],
    "select": lambda g, op, x, y: [None, x[0].where(g, 0.0), x[0].where(0.0, g)],
    "cast": lambda g, op, x, y: [g],
    "copy": lambda g, op, x, y: [g],
}


def _vjp(b_grad: T, op: Op, inputs: list[T], output: T) -> list[T | None]:
    if op.kind == "reduce" and op["how"] == "sum":
        return [b_grad]  # stays reduced: map ops broadcast it
    if op.kind == "contract" and op["form"] == "nn":
        b = b_grad.b
        return [b.op("contract", b_grad, inputs[1], form="nt"), b.op("contract", inputs[0], b_grad, form="tn")]
    if op.kind not in VJP:
        raise InternalError(f"no derivative for `{op.kind}`: give the layer its own backward")
    return VJP[op.kind](b_grad, op, inputs, output)


def derive(cx: Context, region: Region, grad: T) -> T | None:
    """Backward of a Region by the op table; trained parameters report their gradients.  Returns the input's
    gradient.
    """
    made = {op.output: op for op in region.ops}
    grads: dict[str, list[T]] = {region.output: [grad]}
    for op in reversed(region.ops):
        if op.output not in grads or op.kind in ("const", "col"):
            continue
        g = total(grads[op.output])
        inputs = [cx.b[i] for i in op.inputs]
        for x, gx in zip(inputs, _vjp(g, op, inputs, cx.b[op.output]), strict=True):
            if gx is not None and (x.name not in made or made[x.name].kind != "const"):
                grads.setdefault(x.name, []).append(_unbroadcast(gx, x))
    for s in cx.b.base.states:
        if s.name in grads and s.role in ("weight", "param") and s.name.startswith(region.layer.name + "."):
            cx.wgrad(s.name, total(grads[s.name]) / cx.rule.loss_scale(cx.batch))
    source = region.inputs[0]
    return total(grads[source]) if source in grads else None


def total(grads: list[T]) -> T:
    """The sum of several gradients of one value, in their order."""
    total = grads[0]
    for g in grads[1:]:
        total = total + g
    return total
