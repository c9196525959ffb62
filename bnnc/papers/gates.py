"""Boolean gates of one training step, as the papers on integer rules count them (2412.00119 and its published code).

An XNOR is 1 gate, an element of a popcount 10, an increment of an integer 10, a float addition or multiplication
10,000. The counts are the papers' model of the work, not what a program executes: no load, no loop and no packing is
counted.
Letters: B batch, K_in and K_out of a layer, K_L last hidden width, C classes.

A rule's record names its count (``Rule.gates``); each function raises ValueError for a network that it does not cover.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

from ..model import Model
from ..registry import optimizers
from .memory import chain_from_model

WEIGHTS = {"xnor": 1, "popcount": 10, "increments": 10, "floats": 10_000}


@dataclass(frozen=True, slots=True)
class Gates:
    """How often each operation happens in a step.  ``xnor`` holds every other gate of two bits too (AND,
    comparison).
    """

    xnor: int = 0
    popcount: int = 0
    increments: int = 0
    floats: int = 0

    @property
    def total(self) -> int:
        """All of them, weighted as the papers do."""
        return sum(n * w for n, w in zip(astuple(self), WEIGHTS.values(), strict=True))


def added(parts: Iterable[Gates]) -> Gates:
    """Counts added kind by kind."""
    return Gates(*(sum(column) for column in zip(*map(astuple, parts), strict=True)))


def bit_products(rows: int, k_in: int, k_out: int) -> Gates:
    """``rows`` vectors of K_in bits times a bit matrix: one XNOR and one popcount element a term."""
    return Gates(xnor=rows * k_in * k_out, popcount=rows * k_in * k_out)


def hidden_pairs(model: Model) -> list[tuple[int, int]]:
    """(K_in, K_out) of the trained layers of a network whose last layer is a fixed classifier."""
    stages = chain_from_model(model).stages
    if any(s.weights != s.inputs * s.channels for s in stages):
        raise ValueError("only networks that are fully connected have been counted")
    return [(s.inputs, s.channels) for s in stages[:-1]]


def per_layer(batch: int, k_in: int, k_out: int) -> Gates:
    """What both integer rules do in a trained layer besides increments: the forward product, 9 B K_out for thresholds,
    stabilities and the group mask, and 2 K_in K_out XNOR with K_in K_out popcount elements for the signs of an
    update.
    """
    return added((bit_products(batch, k_in, k_out), Gates(9 * batch * k_out + 2 * k_in * k_out, k_in * k_out)))


def local_errors(model: Model) -> Gates:
    """The published count: for each trained layer ``per_layer``, its own classifier (B K_out C) and 4 K_in K_out
    increments, a dense update; then the output's forward product and classifier (B K_L C and B C C)."""
    batch, classes, pairs = model.batch, model.layers[-1].input.elements, hidden_pairs(model)
    parts = [bit_products(batch, pairs[-1][1], classes), bit_products(batch, classes, classes)]
    for k_in, k_out in pairs:
        parts += [
            per_layer(batch, k_in, k_out),
            bit_products(batch, k_out, classes),
            Gates(increments=4 * k_in * k_out),
        ]
    return added(parts)


def back_projection(rows: int, k_in: int, k_out: int) -> Gates:
    """Of ``rows`` gated targets: XNOR, AND with the gate and popcount elements, and popcount elements to count open
    gates.
    """
    return added((bit_products(rows, k_out, k_in), Gates(rows * k_in * k_out, rows * k_out)))


def reinforced(p_r: float, k_in: int, k_out: int) -> Gates:
    """Expected increments at an error rate of 1: p_r sqrt(2 / (pi K_in)) K_in K_out."""
    return Gates(increments=round(p_r * math.sqrt(2 / (math.pi * k_in)) * k_in * k_out))


def propagated_errors(
    batch: int, dense: Sequence[tuple[int, int]], groups: Sequence[int], p_r: float, down: bool = False
) -> Gates:
    """2512.04189, where the terms above apply, with every sample of the batch triggered (an upper bound: n = B).

    For each trained layer ``per_layer``, and increments of the winners' rows only, n K_in K_out / group, with the
    reinforcement.  One classifier, the last of ``dense`` (each K_in, K_out): B K_L C.  For each trained layer but the
    first (with ``down`` also for that one) the back-projection.
    """
    parts = [bit_products(batch, *dense[-1])]
    for i, ((k_in, k_out), group) in enumerate(zip(dense[:-1], groups, strict=True)):
        parts += [
            per_layer(batch, k_in, k_out),
            Gates(increments=batch * k_in * k_out // group),
            reinforced(p_r, k_in, k_out),
        ]
        if i or down:
            parts.append(back_projection(batch, k_in, k_out))
    return added(parts)


def through_time(
    batch: int, steps: int, features: int, expand: int, units: int, group: int, p_r: float, learnt: int
) -> Gates:
    """A recurrent layer of T steps: the fixed expansion's product (T B F K_x); ``per_layer`` with K_in = K_x + K_s for
    T B rows; T - 1 back-projections of K_s by K_s; increments of the winners' rows at each of the ``learnt`` steps that
    errors reach, and the reinforcement of both weights."""
    k_x = expand or features
    return added(
        (
            bit_products(batch * steps, features, expand),
            per_layer(batch * steps, k_x + units, units),
            back_projection(batch * (learnt - 1), units, units),
            reinforced(p_r, k_x, units),
            reinforced(p_r, units, units),
            Gates(increments=batch * learnt * (k_x + units) * units // group),
        )
    )


def real_gradients(model: Model) -> Gates:
    """Back-propagation in floats, the comparison of 2412.00119: for each layer 2 B K_in K_out multiplications (forward,
    weight gradient), as many again for the input's gradient (not the first layer), as many additions, and the
    optimiser's operations on each weight.  Products of bits are counted as floats too, and normalisation not at all."""
    count = 0
    work = optimizers[model.optimizer.name].impl.work
    for i, s in enumerate(chain_from_model(model).stages):
        count += (2 * (3 if i else 2) * model.batch * s.uses + work) * s.weights
    return Gates(floats=count)
