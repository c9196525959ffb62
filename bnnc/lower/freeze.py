"""freeze: Module -> Module of a network that only predicts.  In the place of ``differentiate``.

Afterwards nothing is learnt: states are constants, what follows from constants alone is one, the loss and the labels
are gone.  Where a sign is of a whole number x, through operations with constants that never turn its order round (batch
norm by running statistics), it is that of x or -x less a threshold: the least x for which the operations as they are
give +1, found by bisection with the interpreter's own functions.  So every prediction keeps its bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..diag import error
from ..ir.dtype import FLOATS, NUMPY
from ..ir.interp import NO_STEP, constant_array, nearest
from ..ir.ops import OPS
from ..ir.program import THRESHOLDS, Builder, Constant, Module, Op, Program, State, Value, constant_rows
from .simplify import prune

MONOTONE = ("add", "sub", "mul", "neg", "max", "min", "cast")  # in each operand, the others being constant
# Whole numbers that a threshold is looked for among: no sum is larger (ir/bounds.py), and differences fit 32 bits.
LARGEST = 1 << 30
Arrays = dict[str, np.ndarray]


def taken(p: Program, weights: Mapping[str, np.ndarray]) -> Arrays:
    """The network's states, as they are stored.  Raises BnncError B0806 for one that is missing or of another shape or
    type, and thresholds that were never fitted."""
    out: Arrays = {}
    for s in p.states:
        v = p.value[s.name]
        if not s.exported:
            continue
        x = weights.get(s.name)
        if x is None or x.size != v.shape[0] * v.shape[1]:
            raise error(
                "B0806",
                f"the array `{s.name}` {'is missing' if x is None else f'has shape {list(x.shape)}'}",
                exit_code=6,
                help=f"weights of this network have it, {v.dtype}{list(v.shape)}",
            )
        if not _may_be(s, v, x.dtype):
            way = f"if its step is missing, {NO_STEP}" if x.dtype == np.int8 and v.dtype in FLOATS else "other weights"
            raise error("B0806", f"`{s.name}` is {x.dtype}, the network's {v.dtype}", exit_code=6, help=way)
        if s.name != THRESHOLDS and not np.isfinite(x).all():
            raise error(
                "B0806",
                f"`{s.name}` holds values that are no numbers",
                exit_code=6,
                help="its training went astray: train again with a smaller rate",
            )
        out[s.name] = nearest(s, x.reshape(v.shape), v.dtype)
    if THRESHOLDS in out and not np.isfinite(out[THRESHOLDS].flat[0]):
        raise error(
            "B0806",
            "the encoder has no thresholds: what was trained on was bits already",
            exit_code=6,
            help="train on samples that are not encoded",
        )
    return out


def _may_be(s: State, v: Value, given: np.dtype[np.generic]) -> bool:
    return given == NUMPY[v.dtype] or (given.kind == "f" and (v.dtype in FLOATS or s.step > 0))


def _run(p: Program, op: Op, given: list[np.ndarray]) -> np.ndarray:
    v = p.value[op.output]
    with np.errstate(all="ignore"):
        return np.asarray(OPS[op.kind].run(given, dict(op.attrs), v.dtype), NUMPY[v.dtype])


def folded(p: Program, known: Arrays) -> Program:
    """Without the ops that follow from what is ``known``, to which their values are added."""
    ops = []
    for op in p.ops:
        source = OPS[op.kind].cls == "source"
        if all(i in known for i in op.inputs):
            known[op.output] = np.broadcast_to(_run(p, op, [known[i] for i in op.inputs]), p.value[op.output].shape)
        if source or op.output not in known:
            ops.append(op)
    return replace(p, ops=tuple(ops))


def _chain(p: Program, known: Arrays, sign: Op) -> tuple[list[Op], Value]:
    """The ops between a whole number and its sign, the last first, and that number's value; none where it is another
    kind of number, or what is between might turn its order round."""
    chain: list[Op] = []
    v = p.value[sign.inputs[0]]
    while v.dtype in FLOATS and (op := p.producer.get(v.name)) is not None:
        own = [i for i in op.inputs if i not in known]
        divided = op.kind == "div" and op.inputs[1] in known
        constants = [known[i] for i in op.inputs if i in known]
        if len(own) != 1 or not (op.kind in MONOTONE or divided) or not all(map(_a_row, constants)):
            return [], v
        chain.append(op)
        v = p.value[own[0]]
    return (chain if v.dtype in ("i16", "i32") else []), v


def _a_row(x: np.ndarray) -> bool:
    return x.shape[0] == 1 and bool(np.isfinite(x.astype(np.float64)).all())


def _thresholds(p: Program, known: Arrays, chain: list[Op], v: Value, sign: Op) -> tuple[np.ndarray, np.ndarray]:
    """(t i32[1, cols], turned bool[1, cols]): the sign is +1 where x >= t, of turned columns where -x >= t."""
    most = 32767 if v.dtype == "i16" else LARGEST - 1
    cols = v.shape[1]

    def positive(x: np.ndarray) -> np.ndarray:
        now: np.ndarray = x.astype(NUMPY[v.dtype])
        name = v.name
        for op in reversed(chain):
            now = _run(p, op, [now if i == name else known[i] for i in op.inputs])
            name = op.output
        return np.broadcast_to(_run(p, sign, [now]) > 0, (1, cols))

    low, high = np.full((1, cols), -most, np.int64), np.full((1, cols), most, np.int64)
    first, last = positive(low), positive(high)
    never = ~first & ~last
    high = np.where(first == last, low, high)  # nothing to look for
    while (apart := high - low > 1).any():
        middle = (low + high) // 2
        same = positive(middle) == first
        low, high = np.where(apart & same, middle, low), np.where(apart & ~same, middle, high)
    t = np.where(first & ~last, 1 - high, np.where(never, most + 1, np.where(last & ~first, high, -most)))
    return t.astype(np.int32), first & ~last


def by_thresholds(p: Program, known: Arrays) -> Program:
    """Signs of whole numbers, compared with thresholds that are added to what is ``known``."""
    b = Builder(replace(p, ops=()))
    for op in p.ops:
        chain, v = _chain(p, known, op) if op.kind == "sign" else ([], p.value[op.output])
        if not chain:
            b.ops.append(op)
            continue
        b.phase, b.layer, b.span = op.phase, op.layer, op.span
        t, turned = _thresholds(p, known, chain, v, op)
        x = b[v.name]
        narrow = t.max() <= 32767 and t.min() >= -32767
        constants = (
            ("turned", np.where(turned, -1, 1).astype(np.int8), "bit"),
            ("at_least", t.astype(np.int16) if narrow else t, "i16" if narrow else "i32"),
        )
        for what, array, dtype in constants:
            if what == "turned" and not turned.any():
                continue
            name = f"{op.output}.{what}"
            known[name], b.values[name] = array, Value(name, array.shape, dtype)
            x = x * b[name] if what == "turned" else x - b[name]
        b.ops.append(replace(op, inputs=(x.name,)))
    return b.finish()


def freeze(module: Module, weights: Mapping[str, np.ndarray]) -> Module:
    """The step with these weights in it.  Raises BnncError B0806 for weights of another network."""
    p = module.train
    known: Arrays = taken(p, weights) | {c.name: constant_array(p.value[c.name], c) for c in p.constants}
    p = replace(p, states=(), regions=(), results=tuple(r for r in p.results if r[0] != "loss"))
    p = prune(by_thresholds(folded(prune(p), known), known))
    sources = {op.output for op in p.ops}
    read = {i for op in p.ops for i in op.inputs} - sources | {THRESHOLDS}
    constants = tuple(
        Constant(n, constant_rows(x > 0 if p.value[n].dtype == "bit" else np.ascontiguousarray(x)))
        for n, x in known.items()
        if n in read and n in p.value
    )
    inputs = ("x",)
    values = tuple(v for v in p.values if v.name != "labels")
    return replace(module, train=replace(p, constants=constants, inputs=inputs, values=values))
