"""The record a learning rule is: what it does to gradients, what it keeps, and the passes that it replaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from ..ir.program import Program, T
from ..lower.context import Context, clip_at
from ..model import Call, Model
from ..papers.gates import Gates
from ..papers.published import Published
from ..registry import LayerDef, Param, numerics_of, rules

Complaint = tuple[str, str, str]  # (layer, message, help); the layer may be "": it is about the rule


def _same(cx: Context, g: T) -> T:
    return g


def _odd(args: Call, at_most: int) -> int:
    return max(1, at_most - (at_most + 1) % 2)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a network learns.  Only ``on_wgrad`` must be given; all functions that take a Context append IR."""

    # -- numerics: hooks that back-propagation and the layers call
    # (cx, w, dw, fan_in) -> the weight gradient that the optimiser sees and, where every entry has one size, that size
    on_wgrad: Callable[[Context, T, T, int], tuple[T, float | None]]
    # (cx, g) -> the gradient that enters a layer's output
    on_grad: Callable[[Context, T], T] = _same
    # how gradients become whole numbers of 8 bits (`lower/whole.py`): stochastic or nearest; empty: they are floats
    rounding: Callable[[Context], str] = lambda cx: ""
    # (cx, v) -> how a real value that exists in memory is stored: what layers with real weights read and make, and
    # layers with binary ones of numbers, real pools, residual streams
    on_value: Callable[[Context, T], T] = _same
    # batch -> the factor of the loss's gradient; parameter gradients divide it out
    loss_scale: Callable[[int], float] = lambda batch: 1.0
    # (kind of layer, argument) -> what that argument is where the spec leaves it to the rule; of those that are not
    # here it is the first of the argument's choices
    layer_defaults: Mapping[tuple[str, str], Any] = field(default_factory=dict)

    # -- what it keeps
    # dtypes that full-size values crossing from forward to backward may have; None: any
    keep: tuple[str, ...] | None = None
    # a training step's forward pass is that of an evaluation: norms by running statistics, no dropout
    settled: bool = False
    # each block of layers is trained as soon as it is known: nothing waits for a backward pass, so there is no `keep`
    at_once: bool = False
    # states (`dense1.weight`) that stay as they start: every other weight and parameter has exactly one update
    freezes: Callable[[Model], Iterable[str]] = lambda model: ()

    # -- its own layers and passes
    # kind -> the record that replaces the registered one
    layers: Mapping[str, LayerDef] = field(default_factory=dict)
    # the Model that is expanded
    rewrite: Callable[[Model], Model] = lambda model: model
    # (cx, program) reports the gradient of every trained parameter (`cx.wgrad`) for the optimiser; None:
    # back-propagation (`lower/differentiate.py`)
    propagate: Callable[[Context, Program], None] | None = None
    # (cx, program) replaces propagation and updates: no optimiser, no parts of a batch
    backward: Callable[[Context, Program], None] | None = None
    # scalars that the trainer writes before each training step, and their dtypes
    inputs: tuple[tuple[str, str], ...] = (("lr", "f32"), ("step", "f32"))

    # -- what `check` asks
    # yields (argument, value, why) for arguments of the rule's own that the spec leaves open and the network decides
    settle: Callable[[Model], Iterable[tuple[str, Any, str]]] = lambda model: ()
    # yields what it cannot train
    validate: Callable[[Model], Iterable[Complaint]] = lambda model: ()
    # yields (code, layer, message, help) for what trains badly
    warnings: Callable[[Model], Iterable[tuple[str, str, str, str]]] = lambda model: ()
    # yields (setting, reason, help) for settings of `train` that it does not read
    ignores: Callable[[Model], Iterable[tuple[str, str, str]]] = lambda model: ()
    binary_labels: bool = False  # a last dense layer of one unit tells labels 0 and 1 apart
    needs_normalisation: bool = True  # warn about a binary layer that feeds `sign` without one
    # (args, at_most) -> the largest width of a hidden layer, at most this, that suits the rule: networks are scaled by
    # it.  By default odd, so that a layer of bits never sums up to 0
    width: Callable[[Call, int], int] = _odd

    # -- papers; both raise ValueError for a network that they do not cover, None: nobody has
    # boolean gates of a training step
    gates: Callable[[Model], Gates] | None = None
    # (model, training samples) -> the memory that a paper counts
    published: Callable[[Model, int | None], Published] | None = None

    def given(self, args: Call) -> Rule:
        """The record with a spec's arguments: with the numerics of the rule that its ``numerics`` names."""
        if (named := numerics_of(args)) is args:
            return self
        record = rules[named.name].impl
        found = replace(
            self,
            validate=lambda model: chain(self.validate(model), record.validate(model)),
            **{name: getattr(record, name) for name in OF_NUMERICS},
        )
        return replace(found, keep=None) if self.at_once else found

    def state_dtype(self, args: Call, role: str = "weight") -> str:
        """Storage of latent weights, parameters and optimiser state: the numerics' ``state`` argument.  Where that is
        i8, of what belongs to a binary weight alone; all else is f16.
        """
        state: str = numerics_of(args)["state"]
        return "f16" if state == "i8" and role != "weight" else state

    def decides(self, layer: str, p: Param) -> Any:
        """What an argument of a layer is that the spec leaves to the rule; None where there is nothing to decide."""
        if p.type != "name" or p.default is not None:
            return None
        return self.layer_defaults.get((layer, p.name), next(iter(p.choices), None))

    def weighs(self, model: Model) -> Iterable[tuple[str, str, str]]:
        """Yields (code, message, help) where ``class_weights`` are not one a class, or this rule does not carry the
        loss's gradient back, which they multiply."""
        weights, classes = len(model.class_weights), model.classes
        if weights and (self.backward is not None or self.propagate is not None):
            message = f"the rule `{model.rule.name}` cannot weigh classes: it does not carry the loss's gradient back"
            yield "B0501", message, "`sampling = balanced` shows rare classes as often as others, under every rule"
        elif weights not in (0, classes):
            message = f"`class_weights` has {weights} numbers for {classes} classes"
            yield "B0409", message, "give one number a class, in the order of the labels"


OF_NUMERICS = ("on_wgrad", "on_grad", "rounding", "on_value", "loss_scale", "layer_defaults", "keep")
NUMERICS = Param(
    "numerics",
    "call:rules",
    Call("standard"),
    "the rule whose gradients, storage and defaults of layers it has",
    ("standard", "edge"),
)


CLIP_AT = Param("clip_at", "float", 1.0, "the size of latent weights at which `clip` acts", above=0)


def cancel(cx: Context, w: T, g: T) -> T:
    """With ``clip = off`` a weight beyond [-clip_at, clip_at] gets no gradient (gradient cancellation); with clip it
    cannot be there.
    """
    if cx.numerics["clip"] or w.dtype == "bit":
        return g
    return (w.abs() <= clip_at(cx.numerics)).where(g, 0.0)
