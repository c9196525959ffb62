"""The record a learning rule is: hooks that ``differentiate`` calls, and one promise (``keep``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..gates import Gates
from ..ir.program import T
from ..model import Call, Model
from ..published import Published, low_memory
from ..registry import Param


def _same(cx: Any, g: T) -> T:
    return g


def _odd(args: Call, at_most: int) -> int:
    return max(1, at_most - (at_most + 1) % 2)


@dataclass(frozen=True)
class Rule:
    """``on_grad(cx, g)`` transforms the gradient that enters a layer's output; ``on_wgrad(cx, w, dw, fan_in)`` returns
    the weight gradient and, where every entry has one size, that size.  ``loss_scale(batch)`` multiplies the loss's
    gradient (parameter gradients divide it out).  ``on_value(cx, v)`` says how a real value that exists in memory is
    stored: what layers with real weights read and make, real pools, residual streams.  ``keep``: dtypes that full-size
    values crossing from forward to backward may have, or None for any.  ``backward(cx, program)`` replaces
    back-propagation altogether.

    A rule whose layers differ from the usual ones gives its own (``layers``: kind -> LayerDef) and may rewrite the
    Model before it is expanded.  ``settle(model)`` yields (argument, value, why) for arguments of its own that the spec
    leaves open and the network decides; ``check`` puts them into the Model.  ``validate(model)`` yields (layer,
    message, help) for what it cannot train, ``warnings(model)`` (code, layer, message, help) for what trains badly,
    ``ignores(model)`` (setting, reason, help) for settings of `train` that it does not read.  ``inputs``: scalars that
    the trainer writes before each training step.

    ``gates(model)`` counts a training step as the papers do (None: nobody has), and ``published(model, samples)`` is
    the published memory accounting that covers such networks; both raise ValueError for one that they do not cover.
    ``width(args, at_most)``: the largest width of a hidden layer, at most this, that suits the rule (default: odd
    numbers, so that a layer of bits never sums up to 0); for networks whose widths are scaled (``bnnc/experiment.py``).
    """

    on_wgrad: Callable[[Any, T, T, int], tuple[T, float | None]]
    on_grad: Callable[[Any, T], T] = _same
    loss_scale: Callable[[int], float] = lambda batch: 1.0
    layer_defaults: dict[tuple[str, str], Any] = field(default_factory=dict)
    keep: tuple[str, ...] | None = None
    backward: Callable[..., None] | None = None
    layers: dict[str, Any] = field(default_factory=dict)
    rewrite: Callable[[Any], Any] = lambda model: model
    settle: Callable[[Model], Any] = lambda model: ()
    validate: Callable[[Any], Any] = lambda model: ()
    warnings: Callable[[Any], Any] = lambda model: ()
    ignores: Callable[[Any], Any] = lambda model: ()
    binary_labels: bool = False  # a last dense layer of one unit tells labels 0 and 1 apart
    inputs: tuple[tuple[str, str], ...] = (("lr", "f32"), ("step", "f32"))
    gates: Callable[[Model], Gates] | None = None
    published: Callable[[Model, int | None], Published] = low_memory
    width: Callable[[Call, int], int] = _odd
    needs_normalisation: bool = True  # warn about a binary layer that feeds `sign` without one
    on_value: Callable[[Any, T], T] = _same

    def state_dtype(self, args: Call) -> str:
        """Storage of latent weights, parameters and optimiser state: the rule's ``state`` argument."""
        return args["state"]

    def defaults(self, layer: str, param: str) -> Any:
        """What a layer's argument is when the spec leaves it to the rule."""
        return self.layer_defaults.get((layer, param))


CLIP_AT = Param("clip_at", "float", 1.0, "the size of latent weights at which `clip` acts", above=0)


def clip_at(cx: Any) -> float:
    """Where latent weights end; 1 for a rule without that argument."""
    return float(dict(cx.rule_args.args).get(CLIP_AT.name, CLIP_AT.default))


def cancel(cx: Any, w: T, g: T) -> T:
    """With ``clip = off`` a weight beyond [-clip_at, clip_at] gets no gradient (gradient cancellation); with clip it
    cannot be there.
    """
    if cx.rule_args["clip"] or w.dtype == "bit":
        return g
    return (w.abs() <= clip_at(cx)).where(g, 0.0)
