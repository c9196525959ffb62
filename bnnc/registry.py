"""The registry: layer, rule, optimiser, schedule, encoder, data-source and classifier names, each with a parameter
schema.

The grammar knows no keyword of these; ``check`` looks every name up here, so adding one is adding a record.
Records are frozen; the functions they hold build IR (see ``bnnc/ir``) and are called by ``lower/`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a registered name.

    ``type``: ``int``, ``float``, ``size`` (bytes), ``name`` (one of ``choices``), ``bool`` (``on``/``off``/``true``/
    ``false``), ``str``, ``ints`` (list), ``tensor`` (``u8[28, 28]``, a TensorType), ``encoder`` or ``call:TABLE`` (a
    name or call of that table; the value and the default are Calls, and ``check`` fills in every argument).
    A parameter with ``positional=True`` may be given without its name, in schema order.  ``default=None`` with
    ``type="name"`` means "decided by the rule", of an encoder "by the form of the data".  Bounds are inclusive unless
    ``above``.  ``otherwise`` says in words what stands for a default of None.
    """

    name: str
    type: str
    default: Any = REQUIRED
    doc: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None  # exclusive lower bound
    positional: bool = False
    otherwise: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """What a reader looks up about a name: ``bnnc describe`` and docs/language.md print it, and nothing else states it.

    ``formula``: what is computed, an equation a line, at most 76 characters each.  ``source``: the paper and the place
    in it (arXiv number, equation or algorithm), or where a format is defined.  ``takes`` and ``gives``, in words:
    what goes in and what comes out, where the record's other fields do not say it.  ``example``: a whole spec that
    uses the name and in which ``check`` finds nothing to say.
    """

    formula: str = ""
    source: str = ""
    takes: str = ""
    gives: str = ""
    example: str = ""


class ShapeError(Exception):
    """Raised by a layer's ``infer``; ``check`` turns it into a diagnostic at the layer's span."""

    def __init__(self, code: str, message: str, label: str = "", help: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.label, self.help = code, message, label, help


@dataclass(frozen=True, slots=True)
class LayerDef:
    """A layer family.  ``infer(input: TensorType, args: Call, body: tuple[Layer, ...]) -> TensorType``.

    ``forward(cx, layer, x)`` and ``backward(cx, region, grad)`` build IR (``lower/expand.py``,
    ``lower/differentiate.py``).  ``role``: ``input`` (must come first, exactly once), ``loss`` (must come last, exactly
    once), ``container`` (has a body), ``branch`` (has a body, and stands in a container), else ``layer``.  A
    container's
    ``infer`` says what its body may give.
    ``input_kinds``: the TensorType kinds it takes.  ``normalises``: it counts as a normalisation before ``sign``.
    ``images``: it takes [height, width, channels], one row a pixel.
    ``sequences``: it reads [steps, features] step by step, and what it gives is made at the last step.
    ``least_rows``: the fewest rows (samples, and of images pixels) of a step from which it lets much be learnt.
    ``binary_weights``: its weights are of one bit, unless it has an argument ``weights`` that says otherwise.
    """

    name: str
    doc: str
    params: tuple[Param, ...]
    infer: Callable[..., Any]
    forward: Callable[..., Any] | None  # None: only rules that bring their own can train it
    backward: Callable[..., Any] | None = None
    role: str = "layer"
    input_kinds: tuple[str, ...] = ("bit", "real", "f32", "u8")
    flat_input: bool = False  # needs a one-axis sample: check suggests `flatten;`
    normalises: bool = False
    binary_weights: bool = False
    images: bool = False
    sequences: bool = False
    least_rows: int = 1
    about: About = About()

    def binary(self, args: Any) -> bool:
        """Are the weights of a layer with these arguments (a Call) of one bit?"""
        return self.binary_weights and dict(args.args).get("weights", "binary") == "binary"


@dataclass(frozen=True, slots=True)
class Named:
    """Any other record: a rule, optimiser, schedule, encoder, data source, section; ``impl`` is its own record.

    ``check`` calls two methods of ``impl`` where they exist: a rule's ``defaults(layer kind, parameter)`` for arguments
    that a spec leaves to the rule, and, of a rule or optimiser, ``validate(model)``, which gives one
    ``(layer name or "", message, help)`` for each thing in the network that it cannot deal with.  A rule's
    ``settle(model)`` gives ``(argument, value, why)`` for arguments of its own that the network decides, its
    ``warnings(model)`` ``(code, layer name or "", message, help)``, and its ``ignores(model)`` ``(setting, reason,
    help)`` for each setting of `train` that it does not read.
    """

    name: str
    doc: str
    params: tuple[Param, ...]
    impl: Any = None
    about: About = About()


T = TypeVar("T", LayerDef, Named)


class Table(dict[str, T]):
    """A registry table; refuses to overwrite an entry, so two definitions of one name cannot go unnoticed."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def add(self, entry: T) -> T:
        """Register a record.  Raises ValueError for a name that is taken."""
        if entry.name in self:
            raise ValueError(f"{self.what} `{entry.name}` is registered twice")
        self[entry.name] = entry
        return entry

    def names(self) -> Iterator[str]:
        """All names in alphabetical order."""
        return iter(sorted(self))


layers: Table[LayerDef] = Table("layer")
rules: Table[Named] = Table("rule")
optimizers: Table[Named] = Table("optimiser")
schedules: Table[Named] = Table("schedule")
encoders: Table[Named] = Table("encoder")
sources: Table[Named] = Table("data source")
classifiers: Table[Named] = Table("classifier")


@dataclass(frozen=True, slots=True)
class Tables:
    """What ``check`` looks names up in: the built-in tables, or others in a test."""

    layers: Mapping[str, LayerDef]
    rules: Mapping[str, Named]
    optimizers: Mapping[str, Named]
    schedules: Mapping[str, Named]
    encoders: Mapping[str, Named]
    sources: Mapping[str, Named]
    classifiers: Mapping[str, Named] = field(default_factory=lambda: classifiers)


def builtin() -> Tables:
    """The global tables, with the built-in names loaded."""
    load_builtin()
    return Tables(layers, rules, optimizers, schedules, encoders, sources)


def load_builtin() -> None:
    """Import the packages that register the built-in names (idempotent)."""
    from . import layers as _layers  # noqa: F401
    from . import optim as _optim  # noqa: F401
    from . import rules as _rules  # noqa: F401
    from . import trainset as _trainset  # noqa: F401
