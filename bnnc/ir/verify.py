"""Structural checks of a Program, run after every pass that makes one.  Raises InternalError: a failure is bnnc's
bug.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from ..diag import InternalError, error
from .ops import OPS
from .program import Program

PHASES = ("forward", "backward", "update")


def verify_program(p: Program) -> None:
    """Every value defined once and before its use, with the shape and dtype the op table gives; updates fit their
    states.
    """
    defined = set(p.inputs) | p.state_names | {k.name for k in p.constants}
    if len(defined) != len(p.inputs) + len(p.states) + len(p.constants):
        raise InternalError(f"{p.name}: an input or state is named twice")
    for op in p.ops:
        for i in op.inputs:
            if i not in defined:
                raise InternalError(f"{p.name}: {op.kind} -> {op.output} reads {i} before it is defined")
        if op.output in defined or op.phase not in PHASES:
            raise InternalError(f"{p.name}: {op.output} is defined twice or has phase {op.phase!r}")
        v = p.value[op.output]
        if OPS[op.kind].infer([p.value[i] for i in op.inputs], dict(op.attrs)) != (v.shape, v.dtype):
            raise InternalError(f"{p.name}: {v} is not what {op.kind} gives")
        defined.add(op.output)
    for state, new in p.updates:
        if (
            state not in p.state_names
            or new not in defined
            or p.value[state].shape != p.value[new].shape
            or p.value[state].dtype != p.value[new].dtype
        ):
            raise InternalError(f"{p.name}: update {state} <- {new}")
    for _, name in p.results:
        if name not in defined:
            raise InternalError(f"{p.name}: result {name} is not defined")


def verify_updates(p: Program, frozen: Collection[str], rule: str) -> None:
    """A training step updates each trained parameter exactly once, or the rule says that it freezes it."""
    updates = Counter(state for state, _ in p.updates)
    for s in p.trained:
        if s.name in frozen and updates[s.name]:
            raise InternalError(f"the rule `{rule}` updates `{s.name}`, which its `freezes` says stays as it starts")
        if s.name not in frozen and updates[s.name] != 1:
            raise InternalError(
                f"the rule `{rule}` updates `{s.name}` {updates[s.name]} times in a step: report its gradient once "
                f"(cx.wgrad), update it once (cx.b.update), or name it in the rule's `freezes`"
            )
    if unknown := sorted(set(frozen) - {s.name for s in p.trained}):
        raise InternalError(f"the rule `{rule}` freezes {unknown}, which this network does not train")


def verify_keep(p: Program) -> None:
    """What the rule promises to keep is checked against what is really retained (full-size values; vectors are free).

    A layer may keep more for itself: the dtypes ``keeps`` of its Region's ``static`` are free for values that no other
    layer's backward reads.
    """
    if p.keep is None:
        return
    batch_inputs = set(p.inputs)
    also = {r.layer.name: dict(r.static).get("keeps", ()) for r in p.regions}
    readers = {i: [y for y in p.ops if y.phase != "forward" and i in y.inputs] for i in (v.name for v in p.retained())}
    for v in p.retained():
        if (
            v.shape[0] > 1
            and v.shape[1] > 1
            and v.name not in batch_inputs
            and v.name not in p.state_names
            and v.dtype not in p.keep
            and (more := [y for y in readers[v.name] if v.dtype not in also.get(y.layer, ())])
        ):
            op = more[0]
            raise error(
                "B0503",
                f"the rule keeps only {' and '.join(p.keep)} values from forward to backward, "
                f"but `{op.layer}` needs {v.dtype}[{v.shape[0]}, {v.shape[1]}] (`{v.name}`)",
                op.span,
                label="this layer's backward reads it",
                help="leave out arguments such as `kind` and `surrogate` (the rule has its own), or `rule standard;`",
            )
