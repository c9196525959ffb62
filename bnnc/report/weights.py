"""The first layer's weights as pictures of bits, from a run's checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..api import Plan
from ..api.weights import store_of
from ..layers.image import geometry_of
from ..model import Model
from ..plan.codec import decode
from ..plan.types import Buffer
from .picture import bits, image_shape, inline

MOST = 64  # units that are drawn


@dataclass(frozen=True)
class Weights:
    """``images``: (address, caption) of the first units; ``rows``: the picture has a row a unit, not a picture each;
    ``epoch``: after which they are.
    """

    buffer: str
    images: tuple[tuple[str, str], ...]
    units: int
    rows: bool
    epoch: int


def states(plan: Plan, folder: Path) -> tuple[int, dict[str, np.ndarray]]:
    """(epochs, arrays by buffer) of a folder's best checkpoint, else its latest; (0, {}) where it has none.

    Raises BnncError B0807 for another network's, or a damaged one.
    """
    store = store_of(plan.planned, folder)
    found = store.load_best() or store.load()
    if found is None:
        return 0, {}
    cursor, raw = found
    kept = [b for b in plan.planned.placed.plan.buffers if b.region == "state"]
    return cursor.epoch, {b.name: decode(b.storage, raw[b.offset : b.end]) for b in kept}


def first(plan: Plan) -> tuple[Buffer, int] | None:
    """The weights of the first layer that has some, and which axis counts its units; None where none has."""
    named = plan.planned.placed.plan.named
    for layer in plan.planned.model.walk():
        if (b := named.get(f"{layer.name}.weight")) is not None:
            inputs, axis = layer.input.elements, 0 if b.storage.dtype == "i16" else 1
            return b, (1 - axis if b.storage.shape[axis] == inputs != b.storage.shape[1 - axis] else axis)
    return None


def pictures(plan: Plan, folder: Path) -> Weights | None:
    """Those of a run; None where it has no checkpoint yet, or no layer weights."""
    found, (epoch, arrays) = first(plan), states(plan, folder)
    if found is None or not arrays:
        return None
    b, axis = found
    w = arrays[b.name] if axis == 0 else arrays[b.name].T  # (units, inputs)
    shown, shape = w[:MOST], _window(plan, b)
    x = shown.reshape(len(shown), *shape) if shape else _pixels(plan.planned.model, shown)
    if x is None:
        images = [(inline((255 * (shown > 0)).astype(np.uint8)), f"units 0 to {len(shown) - 1}, a row each")]
    else:
        images = [(inline(bits(p)), _caption(i, u)) for i, (p, u) in enumerate(zip(x, shown, strict=True))]
    return Weights(b.name, tuple(images), len(w), x is None, epoch)


def _pixels(model: Model, w: np.ndarray) -> np.ndarray | None:
    """Weights (units, inputs) of the network's inputs as (units, height, width, channels, bits a number), where the
    samples are pictures; a bit that evens the number of inputs out is left away.
    """
    raw, encoded = model.layers[0]["tensor"], model.layers[0].output.shape
    shape = image_shape(raw.kind, raw.shape)
    if shape is None or w.shape[1] != math.prod(encoded):
        return None
    each = encoded[-1] // raw.shape[-1]
    return w.reshape(len(w), *encoded)[..., : each * raw.shape[-1]].reshape(len(w), *shape, each)


def _window(plan: Plan, b: Buffer) -> tuple[int, int, int, int] | None:
    """(height, width, channels, 1) of a convolution's window, None of other layers."""
    layer = next(y for y in plan.planned.model.walk() if y.name == b.layer)
    given = dict(layer.args.args)
    if len(layer.input.shape) != 3 or "kernel" not in given:
        return None
    g = geometry_of(layer.kind, layer.input, layer.args)
    return g.ky, g.kx, layer.input.shape[2] // given.get("groups", 1), 1


def _caption(unit: int, w: np.ndarray) -> str:
    return f"unit {unit}: {int((w > 0).sum())} of {w.size} are +1"
