"""Program: straight-line SSA over two-axis values, one for a training step and one for an evaluation step.

Every value is a matrix ``rows x cols``: samples (or weight inputs) in rows, channels in columns.  A vector per channel
is ``1 x cols``, one number per sample ``rows x 1``, a scalar ``1 x 1``; map ops broadcast an axis of extent 1.
Programs are frozen.  :class:`Builder` makes them; :class:`T` gives values operators, so that rules and layers read as
mathematics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from ..diag import NOWHERE, InternalError, Span
from ..rng import STATES
from .dtype import INTEGERS
from .ops import OPS
from .ref import Side

if TYPE_CHECKING:
    from ..model import Layer, Model

THRESHOLDS = "input.thresholds"  # an encoder's: a state, or a constant, that no op reads
EXPORTED = ("weight", "param", "stat", "encoder")  # roles of states
Attrs = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Value:
    """An SSA value: unique ``name`` (``dense1.y``), ``shape`` (rows, cols) and semantic ``dtype``."""

    name: str
    shape: tuple[int, int]
    dtype: str

    def __str__(self) -> str:
        return f"%{self.name}: {self.dtype}[{self.shape[0]}, {self.shape[1]}]"


@dataclass(frozen=True, slots=True)
class Op:
    """``output = kind(inputs)``.  ``phase`` is forward, backward or update; ``layer`` and ``span`` say where it is
    from.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    attrs: Attrs = ()
    phase: str = "forward"
    layer: str = ""
    span: Span = field(default=NOWHERE, compare=False)

    def __getitem__(self, key: str) -> Any:
        return dict(self.attrs)[key]


@dataclass(frozen=True, slots=True)
class State:
    """A value that lives from step to step.  ``init``: ``const``, ``uniform`` (in [-value, value); whole numbers are
    rounded down), ``sign`` or ``normal`` (of that deviation, whole numbers where the dtype is one of these).
    ``limit``: whole numbers stay in [-limit, limit - 1]; 0: in what the dtype holds.  ``step``: a whole number n stands
    for the real one (n + 1/2) ``step``; 0: for itself.

    ``role``: ``weight`` (binarised latent weight or a bit), ``param``, ``stat`` (running statistic), ``moment``
    (optimiser state), ``fixed`` (random, stays as it starts), ``encoder`` (read where samples are loaded, by no op).
    """

    name: str
    role: str
    init: str
    init_value: float = 0.0
    stream: int = 0
    limit: int = 0
    step: float = 0.0

    @property
    def exported(self) -> bool:
        """Whether it is part of the network, and not only of its training."""
        return self.role in EXPORTED


def constant_rows(x: np.ndarray) -> tuple[str, ...]:
    """Of a Constant, from an array of bools, or of numbers."""
    octets = np.packbits(x, axis=1, bitorder="little") if x.dtype == np.bool_ else x.view(np.uint8).reshape(len(x), -1)
    return tuple(row.tobytes().hex().lstrip("0") or "0" for row in octets[:, ::-1])


@dataclass(frozen=True, slots=True)
class Constant:
    """A value fixed at compile time: ``rows`` are hexadecimal, most significant digit first; element c is bit c, of
    numbers the c-th of as many bytes as one takes, little-endian.  One that no op reads
    holds an encoder's thresholds, which are read where samples are loaded."""

    name: str
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """A forward layer in a Program: what ``differentiate`` needs to call the layer's backward."""

    kind: str
    layer: Layer  # the Model's
    inputs: tuple[str, ...]
    output: str
    ops: tuple[Op, ...]  # that the layer appended
    saved: tuple[tuple[str, str], ...] = ()  # role -> value name
    static: Attrs = ()  # numbers known at compile time, e.g. the input's affine scaling


@dataclass(frozen=True, order=True)
class Counter:
    """The role of a result that is an i32 vector of counts: what is counted, and in which layer ("": in all).

    The trainer sums it over the steps of an epoch; a ``share`` is then divided by the number of samples.
    """

    name: str
    layer: str = ""
    share: bool = False

    @classmethod
    def parse(cls, text: str) -> Counter:
        """What ``str`` wrote."""
        kind, name, layer = text.split(":")
        return cls(name, layer, kind == "share")

    def __str__(self) -> str:
        return f"{'share' if self.share else 'count'}:{self.name}:{self.layer}"


Role = str | Counter  # of a result: `loss`, `pred`, or what is counted


@dataclass(frozen=True)
class Program:
    """One step.  ``inputs`` are written from outside, ``results`` are read from outside, ``updates`` replace states."""

    name: str
    values: tuple[Value, ...]
    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    states: tuple[State, ...]
    results: tuple[tuple[Role, str], ...] = ()  # (role, value)
    updates: tuple[tuple[str, str], ...] = ()  # (state, new value)
    regions: tuple[Region, ...] = ()
    constants: tuple[Constant, ...] = ()
    keep: tuple[str, ...] | None = None  # dtypes that full-size values crossing forward -> backward may have

    @cached_property
    def value(self) -> dict[str, Value]:
        """Values by name."""
        return {v.name: v for v in self.values}

    @cached_property
    def counters(self) -> tuple[tuple[Counter, str], ...]:
        """What is counted, and the value that holds it; those of one name are neighbours."""
        return tuple(sorted((role, v) for role, v in self.results if isinstance(role, Counter)))

    @property
    def returned(self) -> tuple[str, ...]:
        """What is read when the step returns: its results, and labels, with which they are compared."""
        return (*(v for _, v in self.results), *(n for n in self.inputs if n == "labels"))

    @cached_property
    def producer(self) -> dict[str, Op]:
        """The op that makes a value, by the value's name; inputs, states and constants have none."""
        return {op.output: op for op in self.ops}

    @cached_property
    def state_names(self) -> frozenset[str]:
        """Names of all states."""
        return frozenset(s.name for s in self.states)

    @property
    def trained(self) -> list[State]:
        """Weights and parameters: what a rule updates or freezes."""
        return [s for s in self.states if s.role in ("weight", "param")]

    def declared(self, made: Iterable[str] = ()) -> Program:
        """Without ops: what a step is given, holds and gives back, and the values ``made``; sorted by name."""
        named = {*self.inputs, *self.state_names, *(c.name for c in self.constants), *made}
        named |= {v for _, v in (*self.updates, *self.results)}
        values = sorted((v for v in self.values if v.name in named), key=lambda v: v.name)
        return replace(self, values=tuple(values), ops=(), regions=())

    def retained(self) -> list[Value]:
        """Values made in the forward phase and read in the backward pass: what crosses from forward to backward.

        The loss is the turning point: what only its own gradient reads does not cross.
        """
        turn = self.regions[-1].layer.name if self.regions else ""
        made = {op.output for op in self.ops if op.phase == "forward"} | ({"x", "labels"} & set(self.inputs))
        used = {i for op in self.ops if op.phase != "forward" and op.layer != turn for i in op.inputs}
        return [v for v in self.values if v.name in made & used]


Form = TypeVar("Form")


@dataclass(frozen=True)
class Both(Generic[Form]):
    """A training step and an evaluation step of one Model, in some form; passes map over both."""

    model: Model = field(repr=False)
    train: Form
    evaluate: Form

    def __iter__(self) -> Iterator[Form]:
        return iter((self.train, self.evaluate))

    @property
    def sides(self) -> tuple[tuple[Form, Side], ...]:
        """Each with the side that names of it are on."""
        return (self.train, Side.TRAIN), (self.evaluate, Side.EVALUATION)


@dataclass(frozen=True)
class Module(Both[Program]):
    """The two Programs of a network; of one that only predicts the step that does, and NOTHING."""


NOTHING = Program("nothing", (), (), (), ())  # in the place of an evaluation, where the one step there is predicts


class Builder:
    """Appends ops to a Program under construction.  ``layer``, ``span`` and ``phase`` stamp what is appended."""

    def __init__(self, base: Program) -> None:
        self.base = base
        self.values: dict[str, Value] = dict(base.value)
        self.ops: list[Op] = list(base.ops)
        self.states: list[State] = list(base.states)
        self.inputs: list[str] = list(base.inputs)
        self.updates: list[tuple[str, str]] = list(base.updates)
        self.results: list[tuple[Role, str]] = list(base.results)
        self.constants: list[Constant] = list(base.constants)
        self.layer, self.span, self.phase = "", NOWHERE, "forward"

    def finish(self, **kw: Any) -> Program:
        """The Program with everything appended; ``kw`` are its other fields."""
        return replace(
            self.base,
            values=tuple(self.values.values()),
            ops=tuple(self.ops),
            inputs=tuple(self.inputs),
            states=tuple(self.states),
            updates=tuple(self.updates),
            results=tuple(self.results),
            constants=tuple(self.constants),
            **kw,
        )

    def _new(self, name: str, shape: tuple[int, int], dtype: str) -> Value:
        unique, n = name, 1
        while unique in self.values:
            n += 1
            unique = f"{name}.{n}"
        v = self.values[unique] = Value(unique, shape, dtype)
        return v

    def __getitem__(self, name: str) -> T:
        return T(self, self.values[name])

    def input(self, name: str, shape: tuple[int, int], dtype: str) -> T:
        """A value [rows, cols] that is written from outside before each step."""
        v = self._new(name, shape, dtype)
        self.inputs.append(v.name)
        return T(self, v)

    def state(
        self,
        name: str,
        shape: tuple[int, int],
        dtype: str,
        role: str,
        init: str = "const",
        value: float = 0.0,
        limit: int = 0,
        step: float = 0.0,
    ) -> T:
        """A value [rows, cols] that lives from step to step; see State for ``role``, ``init``, ``limit`` and ``step``.
        ``value`` is what the initialisation needs.  Raises InternalError for a name that exists.
        """
        v = self._new(name, shape, dtype)
        if v.name != name:
            raise InternalError(f"state {name} exists")
        self.states.append(State(name, role, init, value, STATES[len(self.states)], limit, step))
        return T(self, v)

    def constant(self, name: str, bits: Any) -> T:
        """A bit matrix (an array of +-1) that is embedded in the program; the same name again is the same constant."""
        if name not in self.values:
            self.values[name] = Value(name, bits.shape, "bit")
            self.constants.append(Constant(name, constant_rows(bits > 0)))
        return T(self, self.values[name])

    def op(self, kind: str, *inputs: T | float, name: str = "", **attrs: Any) -> T:
        """Append ``kind(inputs)``; plain numbers become constants.  Raises InternalError for a shape or dtype
        misuse.
        """
        args = [self.const(i) if isinstance(i, (int, float)) else i for i in inputs]
        spec = OPS[kind]
        shape, dtype = spec.infer([a.value for a in args], attrs)
        label = name or kind
        v = self._new(f"{self.layer}.{label}" if self.layer else label, shape, dtype)
        self.ops.append(
            Op(
                kind,
                tuple(a.value.name for a in args),
                v.name,
                tuple(sorted(attrs.items())),
                self.phase,
                self.layer,
                self.span,
            )
        )
        return T(self, v)

    @contextmanager
    def behind(self, value: str) -> Iterator[None]:
        """What is appended meanwhile stands right behind the op that makes ``value``, not at the end; before all ops
        where none makes it.
        """
        first = len(self.ops)
        yield
        made = self.ops[first:]
        del self.ops[first:]
        at = next((i for i, op in enumerate(self.ops, 1) if op.output == value), 0)
        self.ops[at:at] = made

    def const(self, value: float) -> T:
        """A whole Python int is an integer constant, a float an f32 one."""
        return self.op("const", name="c", value=value)

    def update(self, state: T, new: T) -> None:
        """The state becomes ``new`` at the end of the step.  Raises InternalError for another shape or dtype."""
        if state.value.shape != new.value.shape or state.value.dtype != new.value.dtype:
            raise InternalError(f"update of {state.value} by {new.value}")
        self.updates.append((state.value.name, new.value.name))


@dataclass(frozen=True)
class T:
    """A Value with operators.  Arithmetic reads any numeric dtype as f32."""

    b: Builder
    value: Value

    @property
    def name(self) -> str:
        """Unique in its Program, with the layer before the dot."""
        return self.value.name

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.value.shape

    @property
    def dtype(self) -> str:
        """What it holds: bit, bool, u8, i8, i16, i32, f16 or f32."""
        return self.value.dtype

    def named(self, name: str) -> T:
        """Rename the value just made (for readable dumps and C)."""
        op = self.b.ops[-1]
        if op.output != self.name:
            raise InternalError("only the newest value can be renamed")
        del self.b.values[self.name]
        v = self.b._new(f"{self.b.layer}.{name}" if self.b.layer else name, self.shape, self.dtype)
        self.b.ops[-1] = replace(op, output=v.name)
        return T(self.b, v)

    @property
    def zero(self) -> float:
        """0 of its kind, for :meth:`where`."""
        return 0 if self.dtype in INTEGERS else 0.0

    def _2(self, kind: str, other: T | float, swap: bool = False) -> T:
        return self.b.op(kind, other, self) if swap else self.b.op(kind, self, other)

    def __add__(self, o: T | float) -> T:
        return self._2("add", o)

    def __radd__(self, o: float) -> T:
        return self._2("add", o, True)

    def __sub__(self, o: T | float) -> T:
        return self._2("sub", o)

    def __rsub__(self, o: float) -> T:
        return self._2("sub", o, True)

    def __mul__(self, o: T | float) -> T:
        return self._2("mul", o)

    def __rmul__(self, o: float) -> T:
        return self._2("mul", o, True)

    def __truediv__(self, o: T | float) -> T:
        return self._2("div", o)

    def __rtruediv__(self, o: float) -> T:
        return self._2("div", o, True)

    def __neg__(self) -> T:
        return self.b.op("neg", self)

    def __le__(self, o: T | float) -> T:
        return self._2("le", o)

    def __ge__(self, o: T | float) -> T:
        return self._2("ge", o)

    def __gt__(self, o: T | float) -> T:
        return self._2("gt", o)

    def eq(self, o: T | float) -> T:
        """bool: is each element equal?"""
        return self._2("eq", o)

    def abs(self) -> T:
        """The size of each element."""
        return self.b.op("abs", self)

    def sqrt(self) -> T:
        """Correctly rounded, f32."""
        return self.b.op("sqrt", self)

    def exp(self) -> T:
        """bnnc's own, the same bits on every target."""
        return self.b.op("exp", self)

    def log(self) -> T:
        """The natural logarithm, bnnc's own."""
        return self.b.op("log", self)

    def sign(self) -> T:
        """bit: +1 where the element is at least 0 (-0 too), else -1; bits are themselves."""
        return self if self.dtype == "bit" else self.b.op("sign", self)

    def clip(self, lo: float, hi: float) -> T:
        """Limited to [lo, hi]; ints for integers."""
        return self.b.op("min", self.b.op("max", self, lo), hi)

    def maximum(self, o: T | float) -> T:
        """The larger of two, element by element."""
        return self._2("max", o)

    def shr(self, by: T | int) -> T:
        """floor(x / 2**by) of whole numbers."""
        return self.b.op("shr", self, by)

    def to(self, dtype: str) -> T:
        """Round to a storage dtype: ``f16`` or ``f32`` (the identity for what is already there)."""
        return self if self.dtype == dtype else self.b.op("cast", self, dtype=dtype)

    def where(self, yes: T | float, no: T | float) -> T:
        """``select(self, yes, no)`` for a bool."""
        return self.b.op("select", self, yes, no)

    def both(self, o: T) -> T:
        """``self and o`` for bools."""
        return self._2("and", o)

    def sum(self, axis: int) -> T:
        """Over ``axis``, in index order: [1, cols] for 0, [rows, 1] for 1; i32 of integers and bits, else f32."""
        return self.b.op("reduce", self, how="sum", axis=axis)

    def max(self, axis: int) -> T:
        """The largest over ``axis``: [1, cols] for 0, [rows, 1] for 1."""
        return self.b.op("reduce", self, how="max", axis=axis)

    def argmax(self, axis: int) -> T:
        """i32: the index of the first largest over ``axis``."""
        return self.b.op("reduce", self, how="argmax", axis=axis)

    def mean(self, axis: int) -> T:
        """The sum over ``axis`` divided by how many there are, f32."""
        return self.sum(axis) / float(self.shape[axis])
