"""The registry: layer, rule, optimiser, schedule, encoder, data-source and classifier names, each with a parameter
schema.

The grammar knows no keyword of these; ``check`` looks every name up here, so adding one is adding a record.
Records are frozen; the functions they hold build IR (see ``bnnc/ir``) and are called by ``lower/`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from .inputs.encode import Encoding
    from .ir.program import Region, T
    from .lower.context import Context
    from .model import Call, Layer, TensorType
    from .optim.base import Optimizer
    from .rules.base import Rule

REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a registered name.

    ``type``: ``int``, ``float``, ``size`` (bytes), ``name`` (one of ``choices``), ``bool`` (``on``/``off``/``true``/
    ``false``), ``str``, ``ints`` (list), ``tensor`` (``u8[28, 28]``, a TensorType), ``encoder`` or ``call:TABLE`` (a
    name or call of that table, one of ``choices`` where there are some; the value and the default are Calls, and
    ``check`` fills in every argument), or ``calls:TABLE`` (one of these or a list, each name once; a tuple of Calls).
    A parameter with ``positional=True`` may be given without its name, in schema order.  ``default=None`` means of a
    ``name`` that the rule decides (where it does not, it is the first choice), of an ``encoder`` that the form of the
    data does.  Bounds are inclusive unless ``above``.  ``otherwise`` says in words what stands for a default of None.
    """

    name: str
    type: str
    default: Any = REQUIRED
    doc: str = ""
    choices: Collection[str] = ()  # of a table of names too, which may grow
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
    what goes in and what comes out, where the record's other fields do not say it.  ``known``: what others call it.
    ``example``: a whole spec that uses the name and in which ``check`` finds nothing to say.
    """

    formula: str = ""
    source: str = ""
    takes: str = ""
    gives: str = ""
    known: tuple[str, ...] = ()
    example: str = ""


class ShapeError(Exception):
    """Raised by a layer's ``infer``; ``check`` turns it into a diagnostic at the layer's span."""

    def __init__(self, code: str, message: str, label: str = "", help: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.label, self.help = code, message, label, help


@dataclass(frozen=True, slots=True)
class LayerDef:
    """A layer family: its arguments, the types it takes and gives, and the IR that it is.

    ``forward(cx, layer, x)`` appends the layer's ops and returns what it gives.  ``backward(cx, region, grad, wanted)``
    reports the gradients of the layer's parameters (``cx.wgrad``) and returns that of its input, or None where it has
    none.  ``region`` is what ``forward`` left (``cx.get(region, role)`` finds what it saved), ``grad`` the gradient of
    what it gave; a loss, where gradients begin, gets the loss itself.  ``wanted`` is false where nobody reads the
    input's gradient, because no trained parameter stands before the layer: it may then be left out.
    """

    name: str
    doc: str
    params: tuple[Param, ...]
    _: KW_ONLY
    # (type of the input, arguments, body) -> type of the output; of a container, what its body may give
    infer: Callable[[TensorType, Call, tuple[Layer, ...]], TensorType]
    forward: Callable[[Context, Layer, T], T] | None  # None: only rules that bring their own can train it
    backward: Callable[[Context, Region, T, bool], T | None] | None = None  # None: derived from the forward ops

    # -- where it may stand
    # input (first, exactly once), loss (last, exactly once), container (has a body), branch (has a body, and stands in
    # a container), else layer
    role: str = "layer"
    input_kinds: tuple[str, ...] = ("bit", "real", "f32", "u8")  # kinds of TensorType that it takes
    flat_input: bool = False  # takes samples of one axis: check suggests `flatten;`
    images: bool = False  # takes [height, width, channels] or [steps, channels], one row a pixel or a step
    sequences: bool = False  # reads [steps, features] step by step; what it gives is made at the last step

    # -- what others count on
    normalises: bool = False  # a normalisation before `sign`
    binary_weights: bool = False  # weights of one bit, unless it has an argument `weights` that says otherwise
    settles: bool = False  # is otherwise in an evaluation than in training
    least_rows: int = 1  # rows (samples, and of images pixels) of a step from which it lets much be learnt
    about: About = About()

    def binary(self, args: Call) -> bool:
        """Are the weights of a layer with these arguments of one bit?"""
        return self.binary_weights and dict(args.args).get("weights", "binary") == "binary"


@dataclass(frozen=True, slots=True)
class Surrogate:
    """What stands in for the derivative of `sign`.  ``keep(cx, layer, z)``: of the values z [rows, cols] what the
    backward pass needs, by name; ``gradient(cx, region, g)``: the gradient of z, from that of the bits and what was
    kept (``cx.get(region, name)``)."""

    keep: Callable[[Context, Layer, T], dict[str, T]]
    gradient: Callable[[Context, Region, T], T]


Impl = TypeVar("Impl", covariant=True)


@dataclass(frozen=True)
class Named(Generic[Impl]):
    """Any other registered record; ``impl`` is its own: a Rule, an Optimizer, what makes encodings or classifiers."""

    name: str
    doc: str
    params: tuple[Param, ...]
    impl: Impl = None  # type: ignore[assignment]  # of a schedule, source or section
    about: About = About()


class Record(Protocol):
    """What a table holds: anything with a name."""

    @property
    def name(self) -> str: ...


Entry = TypeVar("Entry", bound=Record)


class Table(dict[str, Entry]):
    """A registry table; refuses to overwrite an entry, so two definitions of one name cannot go unnoticed."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def add(self, entry: Entry) -> Entry:
        """Register a record.  Raises ValueError for a name that is taken."""
        if entry.name in self:
            raise ValueError(f"{self.what} `{entry.name}` is registered twice")
        self[entry.name] = entry
        return entry

    def names(self) -> Iterator[str]:
        """All names in alphabetical order."""
        return iter(sorted(self))


Encoder = Callable[[dict[str, Any], "TensorType"], "Encoding"]  # (arguments, type of a sample) -> what it becomes
# (call, seed, number of the layer, classes, width) -> int8 [classes, width] of +-1
Classifier = Callable[["Call", int, int, int, int], "np.ndarray"]

layers: Table[LayerDef] = Table("layer")
rules: Table[Named[Rule]] = Table("rule")
optimizers: Table[Named[Optimizer]] = Table("optimiser")
schedules: Table[Named[None]] = Table("schedule")  # the trainer's, by name
encoders: Table[Named[Encoder | None]] = Table("encoder")  # None: numbers stay numbers
stops: Table[Named[None]] = Table("stop")  # the trainer's, by name
surrogates: Table[Named[Surrogate]] = Table("surrogate")
augments: Table[Named[None]] = Table("augmentation")
sources: Table[Named[None]] = Table("data source")  # the reader's, by name
classifiers: Table[Named[Classifier]] = Table("classifier")


def numerics_of(call: Call) -> Call:
    """What a rule's arguments say about numbers: those of the rule that its ``numerics`` names, else its own."""
    found: Call = dict(call.args).get("numerics", call)
    return found


def rule_of(call: Call, table: Mapping[str, Named[Rule]] = rules) -> Rule:
    """The record of the rule that a spec names, with its arguments."""
    return table[call.name].impl.given(call)


@dataclass(frozen=True, slots=True)
class Tables:
    """What ``check`` looks names up in: the built-in tables, or others in a test."""

    layers: Mapping[str, LayerDef]
    rules: Mapping[str, Named[Rule]]
    optimizers: Mapping[str, Named[Optimizer]]
    schedules: Mapping[str, Named[None]]
    stops: Mapping[str, Named[None]]
    surrogates: Mapping[str, Named[Surrogate]]
    augments: Mapping[str, Named[None]]
    encoders: Mapping[str, Named[Encoder | None]]
    sources: Mapping[str, Named[None]]
    classifiers: Mapping[str, Named[Classifier]]
