"""expand: Model -> Module (two Programs: a training step's forward part, and an evaluation step).

Afterwards: forward tensor ops only, SSA, each stamped with its layer and span; each layer is a Region that
``differentiate`` will walk backwards.  Non-goals: gradients, storage.

    dense 256;   ->   %dense1.wb = sign(%dense1.weight);  %dense1.y = contract(%x, %dense1.wb) {form='nn'}
"""

from __future__ import annotations

import math
from dataclasses import replace

from .. import registry
from ..inputs.encode import of_model
from ..ir.program import NOTHING, THRESHOLDS, Builder, Module, Program, T
from ..model import Model
from .context import Context, new_program


def make_context(model: Model, base: Program, training: bool) -> Context:
    """A Context that appends to ``base``, with the Model's rule and optimiser."""
    rule = registry.rule_of(model.rule)
    opt = registry.optimizers[model.optimizer.name].impl
    return Context(Builder(base), model, training, not training or rule.settled, rule, opt)


def _inputs(cx: Context, model: Model, training: bool) -> tuple[T, int]:
    """What is written before a step: the batch, labels, and what a training step reads besides.  The batch, and into
    how many pixels its rows must be split, 0 where they are that already."""
    t = model.layers[0].output
    dtype = {"u8": "u8", "bit": "bit"}.get(t.kind, "f32")
    images = any(cx.layer_def(y.kind).images for y in model.walk())
    pixels = t.elements // t.shape[-1] if images else 1
    whole = 1 if dtype == "bit" else pixels  # bits arrive packed sample by sample
    x = cx.b.input("x", (model.part * whole, t.elements // whole), dtype)
    cx.b.input("labels", (model.part, 1), "u8")
    for name, scalar in (*cx.rule.inputs, *([("part", "f32")] if model.microbatch > 1 else [])) if training else ():
        cx.b.input(name, (1, 1), scalar)
    return x, pixels if whole != pixels else 0


def _expand_one(model: Model, training: bool, scores: bool = False) -> Program:
    rule = registry.rule_of(model.rule)
    model = rule.rewrite(model)
    program = new_program("train" if training else "evaluate", rule.keep if training else None)
    cx = make_context(model, program, training)
    cx.scores = scores
    x, pixels = _inputs(cx, model, training)
    for layer in model.layers:
        x = cx.forward(layer, x)
        if layer is model.layers[0] and pixels:
            x = cx.b.op("split", x, steps=pixels, first=0, cols=x.shape[1] // pixels, name="pixels")
    if (e := of_model(model)) and e.fitted:
        cx.b.state(THRESHOLDS, e.table, "f32", "encoder", "const", math.inf)  # last: it shifts no weight's stream
    return cx.b.finish(regions=tuple(cx.regions))


def expand(model: Model, scores: bool = False) -> Module:
    """Both Programs of a Model.  Their states are the same list: evaluation sees the optimiser's later, unused.
    ``scores``: an evaluation gives back what the classes are compared by, too."""
    train, evaluate = _expand_one(model, True), _expand_one(model, False, scores)
    return Module(model, train, replace(evaluate, keep=None))


def expand_one_step(model: Model) -> Module:
    """Of a network that only predicts: an evaluation of one sample, with scores, in the place of the training step; its
    states become constants in ``freeze``."""
    model = replace(model, batch=1, microbatch=1)
    return Module(model, replace(_expand_one(model, False, True), keep=None), NOTHING)
