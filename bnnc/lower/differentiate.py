"""differentiate: Module -> Module, the train Program with its backward and update ops.

Walks the forward Regions in reverse.  A layer's own ``backward`` builds its gradient; a layer without one is
differentiated op by op from the table below.  The rule transforms activation and weight gradients on the way, or
supplies the whole backward pass and its updates; otherwise the optimiser turns each weight gradient into new states.
Afterwards: every trained parameter has exactly one update, and what crosses from forward to backward is what the rule's
``keep`` promises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..diag import InternalError
from ..ir.bounds import verify_bounds
from ..ir.program import Module, Op, Program, Region, T
from ..ir.verify import verify_keep
from ..model import Model
from .context import Context
from .expand import make_context

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


def derive(cx: Context, region: Region, grad: T, program: Program) -> T | None:
    """Backward of a Region by the op table; trained parameters report their gradients.  Returns the input's
    gradient.
    """
    first, last = region.ops
    grads: dict[str, list[T]] = {region.output: [grad]}
    for op in reversed(program.ops[first:last]):
        if op.output not in grads or op.kind in ("const", "col"):
            continue
        g = _sum(grads[op.output])
        inputs = [cx.b[i] for i in op.inputs]
        for x, gx in zip(inputs, _vjp(g, op, inputs, cx.b[op.output]), strict=True):
            if gx is not None and (x.name not in program.producer or program.producer[x.name].kind != "const"):
                grads.setdefault(x.name, []).append(_unbroadcast(gx, x))
    for s in program.states:
        if s.name in grads and s.role in ("weight", "param") and s.name.startswith(region.layer.name + "."):
            cx.wgrad(s.name, _sum(grads[s.name]) / cx.rule.loss_scale(cx.batch))
    source = region.inputs[0]
    return _sum(grads[source]) if source in grads else None


def _sum(grads: list[T]) -> T:
    total = grads[0]
    for g in grads[1:]:
        total = total + g
    return total


def _needs_grad(program: Program) -> set[str]:
    """Values that depend on a trained parameter: only these get an input gradient."""
    trained = {s.name for s in program.states if s.role in ("weight", "param")}
    out: set[str] = set()
    for op in program.ops:
        if any(i in trained or i in out for i in op.inputs):
            out.add(op.output)
    return out


def back_propagate(cx: Context, program: Program) -> None:
    """The chain rule over Regions, last to first: the backward of every rule that does not supply its own."""
    need = _needs_grad(program)
    for region in reversed(program.regions):
        layer = cx.layer_def(region.kind)
        cx.b.layer, cx.b.span = region.layer.name, region.layer.span
        wanted = region.inputs[0] in need
        if layer.role == "loss":
            g = layer.backward(cx, region, None, wanted)  # type: ignore[misc]
        elif region.output in cx.grads:
            found = cx.grads.pop(region.output)
            grad = _sum(found) if len(found) == 1 else cx.rule.on_grad(cx, _sum(found))
            g = layer.backward(cx, region, grad, wanted) if layer.backward else derive(cx, region, grad, program)
        else:
            continue
        if wanted and g is not None:
            cx.grads.setdefault(region.inputs[0], []).append(g)


def at_the_last_part(cx: Context, first: int) -> None:
    """From update ``first`` on, states change at the last part of a batch only."""
    last = cx.b["part"] >= cx.model.microbatch - 1.0
    for i in range(first, len(cx.b.updates)):
        state, new = (cx.b[n] for n in cx.b.updates[i])
        kept = last.where(new, state)
        kept = kept if kept.dtype == new.dtype else kept.sign() if new.dtype == "bit" else kept.to(new.dtype)
        cx.b.updates[i] = (state.name, kept.named(f"{new.name.split('.', 1)[-1]}_kept").name)


def _finished(cx: Context, module: Module) -> Module:
    out = cx.b.finish()
    verify_keep(out)
    done = Module(out, module.evaluate)
    verify_bounds(done)
    return done


def differentiate(module: Module, model: Model) -> Module:
    """Add backward and update ops to the train Program.

    Raises BnncError B0503 when a rule's `keep` is broken, B0702 for operands that no backend's kernels hold.
    """
    train = module.train
    cx = make_context(model, train, True)
    if cx.rule.backward:
        cx.b.phase = "backward"
        cx.rule.backward(cx, train)
        return _finished(cx, module)
    if model.microbatch > 1:
        whole = cx.rule.on_wgrad
        cx.rule = replace(cx.rule, on_wgrad=lambda cx, w, dw, fan_in: whole(cx, w, cx.summed(w.name, dw), fan_in))
    cx.b.phase, cx.b.layer = "update", "optimizer"
    scalars = cx.opt.scalars(cx)
    cx.b.phase = "backward"
    back_propagate(cx, train)
    trained = [s for s in train.states if s.role in ("weight", "param")]
    if missing := [s.name for s in trained if s.name not in cx.param_grads]:
        raise InternalError(f"no gradient for {missing}")
    cx.b.phase = "update"
    for s in reversed(trained):
        grad, unit = cx.param_grads[s.name]
        cx.b.layer = s.name.split(".")[0]
        done = len(cx.b.updates)
        cx.opt.update(cx, cx.b[s.name], s.role, grad, unit, scalars)
        if model.microbatch > 1:
            at_the_last_part(cx, done)
    return _finished(cx, module)
