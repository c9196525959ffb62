"""What layers, rules and optimisers see while IR is built: a Builder plus the Model's choices.

A layer's forward makes ops with ``cx.b`` (or with operators of ``T``), states with ``weight``, ``param`` and ``stat``,
and names what its backward reads with ``save``.  Gradients travel as messages: ``send`` adds to the gradient of a
value, ``gradient`` takes what was sent to a region's output, ``backward`` turns it into that of its input, ``wgrad``
reports that of a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import registry
from ..diag import InternalError
from ..ir.dtype import INTEGERS
from ..ir.program import Builder, Program, Region, T
from ..model import Call, Layer, Model
from ..registry import LayerDef
from ..rng import UPDATES
from .derive import derive, total

if TYPE_CHECKING:
    from ..optim.base import Optimizer
    from ..rules.base import Rule


def clip_at(numerics: Call) -> float:
    """Where latent weights end; 1 for a rule without that argument."""
    return float(dict(numerics.args).get("clip_at", 1.0))


def latent_step(numerics: Call) -> float:
    """What a latent weight of whole numbers, q = -128 .. 127, counts in: it stands for (q + 1/2) of it, so that none is
    0 and sign(q) is the weight's sign.  All lie within a quarter of ``clip_at``: the noise of rounding is a matter of
    how fine the steps are, and few weights that still change are further out.
    """
    return clip_at(numerics) / 512


def glorot(fan_in: int, fan_out: int) -> float:
    """The limit of Glorot's uniform initialisation."""
    return math.sqrt(6.0 / (fan_in + fan_out))


@dataclass
class Context:
    """The state of one Program under construction; ``forward`` moves ``saved`` and ``static`` into a layer's Region."""

    b: Builder
    model: Model
    training: bool  # the train Program, or the evaluation one
    settled: bool  # the pass is as an evaluation's: norms by running statistics, no dropout
    rule: Rule
    opt: Optimizer
    affine: dict[str, tuple[float, float]] = field(default_factory=dict)  # raw input value -> (scale, shift) to reals
    saved: dict[str, str] = field(default_factory=dict)  # of the layer that is being expanded: role -> value
    static: dict[str, Any] = field(default_factory=dict)  # of that layer: what its backward must know beside values
    regions: list[Region] = field(default_factory=list)
    grads: dict[str, list[T]] = field(default_factory=dict)  # value -> what was sent to it and is not yet taken
    factors: dict[str, tuple[T, T]] = field(default_factory=dict)  # gradient -> whole numbers, and times which [1, 1]
    sizes: dict[str, int] = field(default_factory=dict)  # of whole numbers that are smaller than others: the largest
    param_grads: dict[str, tuple[T, float | None]] = field(default_factory=dict)  # parameter -> gradient, its unit
    scores: bool = False  # an evaluation that gives back more than the class
    # of a second pass, which has the states of the first
    rows: int = 0  # what it sees at once, where that is not a batch or a part of it
    aside: bool = False  # its running statistics do not count, and its gradients add to those that are reported later
    shares: dict[str, T] = field(default_factory=dict)  # parameter -> what adds to its gradient

    @property
    def rule_args(self) -> Call:
        """The rule's arguments, every default filled in."""
        return self.model.rule

    @property
    def numerics(self) -> Call:
        """The arguments about numbers: the rule's own, or those of the rule that its ``numerics`` names."""
        return registry.numerics_of(self.rule_args)

    @property
    def opt_args(self) -> Call:
        """The optimiser's arguments, every default filled in."""
        return self.model.optimizer

    @property
    def samples(self) -> int:
        """How many rows of data a pass sees at once: a batch, or a part of it, or what a second pass has."""
        return self.rows or self.model.part

    @property
    def batch(self) -> int:
        """How many make a batch."""
        return self.model.batch

    def layer_def(self, kind: str) -> LayerDef:
        """The layer's record: the rule's own, or the registered one."""
        return self.rule.layers.get(kind) or registry.layers[kind]

    def forward(self, layer: Layer, x: T) -> T:
        """Append one layer's forward ops and record its Region."""
        forward = self.layer_def(layer.kind).forward
        if forward is None:
            raise InternalError(f"the rule `{self.model.rule.name}` brings no `{layer.kind}`")
        b = self.b
        outer = (b.layer, b.span, self.saved, self.static)
        b.layer, b.span, self.saved, self.static = layer.name, layer.span, {}, {}
        first = len(b.ops)
        y = forward(self, layer, x)
        saved, static = tuple(self.saved.items()), tuple(self.static.items())
        self.regions.append(Region(layer.kind, layer, (x.name,), y.name, tuple(b.ops[first:]), saved, static))
        b.layer, b.span, self.saved, self.static = outer
        return y

    def scored(self, z: T, role: str) -> None:
        """What a loss compares the classes by is a result, f32 or i32, where that is asked for: ``logits``, of which a
        softmax makes probabilities, or ``scores``."""
        if self.scores:
            whole = z.dtype in INTEGERS
            z = z if z.dtype in ("f32", "i32") else z.to("i32" if whole else "f32").named("scores")
            self.b.results.append((role, z.name))

    def send(self, value: str, g: T) -> None:
        """Add ``g`` to the gradient of a value."""
        self.grads.setdefault(value, []).append(g)

    def gradient(self, region: Region) -> T | None:
        """Take what was sent to a region's output, summed; None where nothing was."""
        self.b.layer, self.b.span = region.layer.name, region.layer.span
        found = self.grads.pop(region.output, [])
        return self.rule.on_grad(self, total(found)) if len(found) > 1 else found[0] if found else None

    def times(self, whole: T, scale: T | None) -> T:
        """Whole numbers times a scale [1, 1], as a gradient of which both are known; themselves without a scale."""
        if scale is None:
            return whole
        g = whole * scale
        self.factors[g.name] = whole, scale
        return g

    def each(self, g: T, change: Callable[[T], T]) -> T:
        """``change(g)``, a map that commutes with a scale."""
        whole, scale = self.factors.get(g.name, (g, None))
        return self.times(change(whole), scale)

    def over_rows(self, g: T) -> T:
        """The sum of a gradient over its rows [1, cols], of whole numbers exact."""
        whole, scale = self.factors.get(g.name, (g, None))
        return whole.sum(0) if scale is None else whole.sum(0) * scale

    def backward(self, region: Region, grad: T, wanted: bool = True) -> T | None:
        """A layer's backward, its own or the derived one: see LayerDef."""
        self.b.layer, self.b.span = region.layer.name, region.layer.span
        d = self.layer_def(region.kind)
        own = None if self.settled and d.settles else d.backward
        return own(self, region, grad, wanted) if own else derive(self, region, grad)

    def save(self, **values: T) -> None:
        """Name forward values that the layer's backward reads (``cx.get(region, role)``)."""
        self.saved.update({role: v.name for role, v in values.items()})

    def get(self, region: Region, role: str) -> T:
        """A value that the layer saved under ``role``.  Raises InternalError where it did not."""
        for r, name in region.saved:
            if r == role:
                return self.b[name]
        raise InternalError(f"{region.layer.name} did not save `{role}`")

    def real(self, x: T) -> T:
        """A raw data value as the network's real number, e.g. u8 0..255 as -1..1."""
        if x.name not in self.affine:
            return x
        scale, shift = self.affine[x.name]
        return x * scale + shift

    def joined(self, x: T, name: str) -> T:
        """One row a sample: rows of an image's pixels side by side."""
        steps = x.shape[0] // self.samples
        return x if steps == 1 else self.b.op("join", x, steps=steps, name=name)

    def parted(self, x: T, like: T, name: str) -> T:
        """One row a sample as the rows of ``like``, which may be pixels."""
        steps = like.shape[0] // self.samples
        return x if steps == 1 else self.b.op("split", x, steps=steps, first=0, cols=like.shape[1], name=name)

    def drawn_by(self) -> tuple[T, T]:
        """(seed, tick) [1, 1]: what a step's random numbers follow from, beside their stream."""
        for name in ("seed", "tick"):
            if name not in self.b.values:
                self.b.input(name, (1, 1), "i32")
        return self.b["seed"], self.b["tick"]

    def noise(self, shape: tuple[int, int], stream: int, name: str = "noise") -> T:
        """What is added to units of 2**-FRACTION [rows, cols] before they are cut off, to round them at random."""
        rows, cols = shape
        return self.b.op("noise", *self.drawn_by(), rows=rows, cols=cols, stream=stream, name=name)

    def number_of(self, w: T) -> int:
        """Which state it is, from 0: a number for its random streams."""
        return next(i for i, s in enumerate(self.b.states) if s.name == w.name)

    def update_stream(self, w: T) -> int:
        """The random stream of a state's updates."""
        return UPDATES[self.number_of(w)]

    def weight(self, layer: str, fan_in: int, fan_out: int) -> T:
        """A binary layer's weight [fan_in, fan_out]: latent f32/f16/i8, or a bit where the optimiser keeps no latent.

        Glorot's uniform initialisation, the limit clipped to 1 (sign does not depend on it).
        """
        bound = min(1.0, glorot(fan_in, fan_out))
        dtype = self.opt.weight_dtype(self.opt_args, self.rule.state_dtype(self.rule_args))
        step = latent_step(self.numerics) if dtype == "i8" else 0.0
        if step:
            bound = min(bound / step, 128.0)
        init = ("sign", 0.0) if dtype == "bit" else ("uniform", bound)
        return self.state(f"{layer}.weight", (fan_in, fan_out), dtype, "weight", *init, step=step)

    def state(
        self, name: str, shape: tuple[int, int], dtype: str, role: str, init: str, value: float, step: float = 0.0
    ) -> T:
        """A state of a layer; in a second pass the one that the first has made."""
        if self.rows and name in self.b.values:
            return self.b[name]
        return self.b.state(name, shape, dtype, role, init, value, step=step)

    def latent(self, w: T) -> T:
        """The real numbers that a binary layer's latent weights stand for."""
        return (w + 0.5) * latent_step(self.numerics) if w.dtype == "i8" else w

    def real_weight(self, layer: str, fan_in: int, fan_out: int) -> T:
        """A real layer's weight [fan_in, fan_out], trained and stored as other parameters are: never clipped, never a
        bit.
        """
        dtype = self.rule.state_dtype(self.rule_args, "param")
        return self.state(f"{layer}.weight", (fan_in, fan_out), dtype, "param", "uniform", glorot(fan_in, fan_out))

    def operand(self, x: T) -> T:
        """What a layer with real weights reads: data as real numbers (made again where they are read), else a stored
        value.
        """
        if x.name in self.b.inputs:
            return self.real(x)
        v = self.rule.on_value(self, x)
        return v.to("f32") if v.dtype in ("i16", "i32") else v

    def binary_wgrad(self, w: T, dw: T) -> None:
        """Report the gradient [fan-in, units] of a binary layer's weight, as the rule has it."""
        if self.aside:
            self.shares[w.name] = dw
            return
        if w.name in self.shares:
            dw = dw + self.shares.pop(w.name)
        self.wgrad(w.name, *self.rule.on_wgrad(self, w, dw, w.shape[0]))

    def real_wgrad(self, w: T, dw: T) -> None:
        """Report the gradient of a real weight."""
        self.wgrad(w.name, dw / self.rule.loss_scale(self.batch))

    def param(self, name: str, cols: int, value: float = 0.0) -> T:
        """A trained vector per channel, constant at the start."""
        return self.state(name, (1, cols), self.rule.state_dtype(self.rule_args, "param"), "param", "const", value)

    def stat(self, name: str, cols: int, value: float) -> T:
        """A running statistic per channel, always f32."""
        return self.state(name, (1, cols), "f32", "stat", "const", value)

    def wgrad(self, name: str, grad: T, unit: float | None = None) -> None:
        """Report a parameter's gradient; ``unit`` is its size where every entry is +-unit."""
        if grad.shape != self.b[name].shape:
            raise InternalError(f"the gradient {grad.value} is not of the shape of {self.b[name].value}")
        if self.aside:
            self.shares[name] = grad
            return
        if name in self.shares:
            grad = grad + self.shares.pop(name)
        self.param_grads[name] = (grad if f"{name}.sum" in self.b.values else self.summed(name, grad), unit)

    def summed(self, name: str, grad: T) -> T:
        """The gradient's sum over the parts of the batch so far, kept as f32 from part to part; itself for whole
        batches.
        """
        if self.model.microbatch == 1:
            return grad
        phase, self.b.phase = self.b.phase, "update"
        kept = self.b.state(f"{name}.sum", grad.shape, "f32", "moment")
        total = ((self.b["part"] <= 0.0).where(0.0, kept) + grad).named("sum_new")
        self.b.update(kept, total)
        self.b.phase = phase
        return total


def new_program(name: str, keep: tuple[str, ...] | None) -> Program:
    """A Program without values; ``keep`` as in Rule."""
    return Program(name, (), (), (), (), keep=keep)
