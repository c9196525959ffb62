"""differentiate: Module -> Module, the train Program with its backward and update ops.

Walks the forward Regions in reverse.  A layer's own ``backward`` builds its gradient; a layer without one is
differentiated op by op (``derive.py``).  The rule transforms activation and weight gradients on the way, or brings a
propagation of its own (``propagate``); then the optimiser turns each weight gradient into new states.  Or the rule
supplies all of it (``backward``).
Afterwards, whatever the rule: every trained parameter has exactly one update, or the rule says that it freezes it, and
what crosses from forward to backward is what the rule's ``keep`` promises.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir.bounds import verify_bounds
from ..ir.program import Module, Program
from ..ir.ref import Ref
from ..ir.verify import verify_keep, verify_updates
from .context import Context
from .expand import make_context


def needs_grad(program: Program) -> set[str]:
    """Values that depend on a trained parameter: only these get an input gradient."""
    trained = {s.name for s in program.trained}
    out: set[str] = set()
    for op in program.ops:
        if any(i in trained or i in out for i in op.inputs):
            out.add(op.output)
    return out


def back_propagate(cx: Context, program: Program) -> None:
    """The chain rule over Regions, last to first: how gradients reach the parameters unless a rule says otherwise."""
    need = needs_grad(program)
    loss = program.regions[-1]
    cx.send(loss.output, cx.b[loss.output])
    for region in reversed(program.regions):
        grad = cx.gradient(region)
        if grad is None:
            continue
        wanted = region.inputs[0] in need
        g = cx.backward(region, grad, wanted)
        if wanted and g is not None:
            cx.send(region.inputs[0], g)


def at_the_last_part(cx: Context, first: int) -> None:
    """From update ``first`` on, states change at the last part of a batch only."""
    last = cx.b["part"] >= cx.model.microbatch - 1.0
    for i in range(first, len(cx.b.updates)):
        state, new = (cx.b[n] for n in cx.b.updates[i])
        kept = last.where(new, state)
        kept = kept if kept.dtype == new.dtype else kept.sign() if new.dtype == "bit" else kept.to(new.dtype)
        cx.b.updates[i] = (state.name, kept.named(f"{new.name.split('.', 1)[-1]}_kept").name)


def by_gradients(cx: Context, program: Program) -> None:
    """Gradients of all trained parameters, by the rule's propagation, and the optimiser's updates by them."""
    parts = cx.model.microbatch > 1
    if parts:
        whole = cx.rule.on_wgrad
        cx.rule = replace(cx.rule, on_wgrad=lambda cx, w, dw, fan_in: whole(cx, w, cx.summed(w.name, dw), fan_in))
    cx.b.phase, cx.b.layer = "update", "optimizer"
    scalars = cx.opt.scalars(cx)
    cx.b.phase = "backward"
    (cx.rule.propagate or back_propagate)(cx, program)
    cx.b.phase = "update"
    for s in reversed(program.trained):
        if s.name not in cx.param_grads:
            continue  # frozen, or verify_updates complains
        grad, unit = cx.param_grads[s.name]
        cx.b.layer = Ref(s.name).layer
        done = len(cx.b.updates)
        cx.opt.update(cx, cx.b[s.name], s.role, grad, unit, scalars)
        if parts:
            at_the_last_part(cx, done)


def differentiate(module: Module) -> Module:
    """Add backward and update ops to the train Program.

    Raises BnncError B0503 when a rule's `keep` is broken, B0702 for operands that no backend's kernels hold.
    """
    model = module.model
    cx = make_context(model, module.train, True)
    if cx.rule.backward:
        cx.b.phase = "backward"
        cx.rule.backward(cx, module.train)
    else:
        by_gradients(cx, module.train)
    out = cx.b.finish()
    verify_updates(out, frozenset(cx.rule.freezes(model)), model.rule.name)
    verify_keep(out)
    done = replace(module, train=out)
    verify_bounds(done)
    return done
