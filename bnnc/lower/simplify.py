"""simplify: Module -> Module without dead and duplicate ops.  Bit-exact, optional.

Two equal ops merge only within one phase: a value that is cheap to make again in the backward pass (the signs of the
weights) must not be kept alive from the forward pass.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir.ops import OPS
from ..ir.program import THRESHOLDS, Module, Program


def _merge(p: Program) -> Program:
    same: dict[tuple[object, ...], str] = {}
    name: dict[str, str] = {}
    ops = []
    for op in p.ops:
        inputs = tuple(name.get(i, i) for i in op.inputs)
        phase = "" if OPS[op.kind].cls == "source" else op.phase
        if (one := _neutral(p, op.kind, inputs)) is not None:
            name[op.output] = one
            continue
        key = (op.kind, inputs, op.attrs, phase, p.value[op.output].dtype)
        if key in same:
            name[op.output] = same[key]
        else:
            same[key] = op.output
            ops.append(replace(op, inputs=inputs))
    return replace(
        p,
        ops=tuple(ops),
        updates=tuple((s, name.get(v, v)) for s, v in p.updates),
        results=tuple((r, name.get(v, v)) for r, v in p.results),
    )


def _neutral(p: Program, kind: str, inputs: tuple[str, ...]) -> str | None:
    """The operand that ``x * 1`` or ``x / 1`` equals, bit for bit."""
    if kind not in ("mul", "div"):
        return None
    x, c = (p.producer.get(i) for i in inputs)
    if c is not None and c.kind == "const" and c["value"] == 1.0 and p.value[inputs[0]].dtype == "f32":
        return inputs[0]
    return None


def prune(p: Program) -> Program:
    """Without ops, values and constants that no result and no update needs."""
    live = {v for _, v in p.updates} | {v for _, v in p.results} | {THRESHOLDS}
    ops = []
    for op in reversed(p.ops):
        if op.output in live:
            ops.append(op)
            live.update(op.inputs)
    kept = live | set(p.inputs) | p.state_names
    constants = tuple(k for k in p.constants if k.name in live)
    return replace(
        p,
        ops=tuple(reversed(ops)),
        values=tuple(v for v in p.values if v.name in kept),
        regions=(),
        constants=constants,
    )


def simplify(module: Module) -> Module:
    """Both Programs simplified; every value that is left has the bits that it had."""
    return Module(module.model, *(prune(_merge(p)) for p in module))
