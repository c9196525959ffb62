"""The record an optimiser is, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..ir.program import T
from ..ir.ref import Ref
from ..lower.context import Context, clip_at
from ..model import Call, Model
from ..registry import Param
from ..rules.base import Complaint
from .whole import refused


def _latent(args: Call, state: str) -> str:
    return state


def _no_scalars(cx: Context) -> dict[str, T]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How gradients become new weights."""

    # (cx, w, role, grad, unit, scalars) adds moments as states and calls `cx.b.update` for each new value.  ``role`` is
    # `weight` (of a binary layer) or `param`; ``unit`` the size of every entry of a 1-bit gradient, else None.  Where
    # the rule stores states as i8 (``whole.py``) ``grad`` of a weight is the signs alone, bits
    update: Callable[[Context, T, str, T, float | None, dict[str, T]], None]
    # (cx) -> what is common to all parameters of a step, by name
    scalars: Callable[[Context], dict[str, T]] = _no_scalars
    # (args, the rule's storage) -> storage of a binary layer's weight: `bit` where no latent weight is kept
    weight_dtype: Callable[[Call, str], str] = _latent
    # yields what it cannot train; by default states of whole numbers
    validate: Callable[[Model], Iterable[Complaint]] = refused
    # float operations of an update on one weight, as the gate counts of papers see it (``bnnc/papers/gates.py``)
    work: int = 2


def moment(cx: Context, w: T, suffix: str) -> T:
    """A zero-initialised moment with the shape of ``w``, of real numbers in the rule's state dtype."""
    return cx.b.state(f"{w.name}.{suffix}", w.shape, cx.rule.state_dtype(cx.rule_args, "param"), "moment")


DECAY = Param("decay", "float", 0.0, "of weights (L2): times a layer's weights it adds to their gradient", minimum=0)


def decayed(cx: Context, w: T, g: T, decay: float) -> T:
    """The gradient g of a weight or parameter w; with decay times w, where w is the weights of a layer."""
    return (g + w * decay).named("decayed") if decay and Ref(w.name).role == "weight" else g


def store(cx: Context, w: T, new: T, role: str) -> None:
    """Write a new latent weight or parameter: clipped if the rule clips weights, rounded to its storage."""
    if role == "weight" and cx.numerics["clip"]:
        new = new.clip(-clip_at(cx.numerics), clip_at(cx.numerics))
    cx.b.update(w, new.to(w.dtype).named(f"{_role(w)}_new"))


def advance(cx: Context, m: T, new: T) -> T:
    """Write a moment's new value, rounded to its storage; returns it unrounded, for the rest of this step."""
    stored = new.to(m.dtype).named(f"{_role(m)}_new")
    cx.b.update(m, stored)
    return stored if new.dtype == m.dtype else new


def _role(v: T) -> str:
    return v.name.split(".", 1)[1].replace(".", "_")
