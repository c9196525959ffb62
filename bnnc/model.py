"""Model: what ``check`` makes of an Ast.  Every name is resolved, every shape and dtype concrete, every default filled.

An invalid Model cannot be built: ``check`` is the only maker, and :func:`verify_model` asserts its promises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from .diag import NOWHERE, InternalError, Span

MAX_DIM, MAX_ELEMENTS, MAX_RANK = 1 << 24, 1 << 31, 8  # of a TensorType
TENSOR_KINDS = ("u8", "f32", "bit", "real")  # `real` is a float made by the network, `f32` one that was read from data


@dataclass(frozen=True, slots=True)
class TensorType:
    """Type of one sample as it flows between layers (no batch axis): ``kind`` and shape, e.g. ``u8[28, 28]``."""

    kind: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Numbers in a sample."""
        n = 1
        for d in self.shape:
            n *= d
        return n

    def __str__(self) -> str:
        return f"{self.kind}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Call:
    """A registered name with every argument filled in: a rule, an optimiser, a schedule, an encoder, a data source."""

    name: str
    args: tuple[tuple[str, Any], ...] = ()
    span: Span = field(default=NOWHERE, compare=False)

    def __getitem__(self, key: str) -> Any:
        for k, v in self.args:
            if k == key:
                return v
        raise KeyError(f"`{self.name}` has no argument `{key}`: its record's params name none")

    def with_(self, **kw: Any) -> Call:
        """The same call with other values for some of its arguments."""
        return replace(self, args=tuple((k, kw.get(k, v)) for k, v in self.args))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.args)})"

    @property
    def text(self) -> str:
        """As a spec writes it."""
        return f"{self.name}({', '.join(f'{k} = {_written(v)}' for k, v in self.args)})" if self.args else self.name


def _written(v: Any) -> str:
    if isinstance(v, tuple):
        return f"[{', '.join(map(_written, v))}]"
    if isinstance(v, bool):
        return str(v).lower()
    if isinstance(v, float):
        return f"{v:.12g}"
    return v.text if isinstance(v, Call) else str(v)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer with concrete types.  ``name`` is unique (``dense1``); ``body`` is only used by containers."""

    kind: str
    name: str
    args: Call
    input: TensorType
    output: TensorType
    span: Span = field(default=NOWHERE, compare=False)
    body: tuple[Layer, ...] = ()

    def __getitem__(self, key: str) -> Any:
        return self.args[key]


@dataclass(frozen=True, slots=True)
class Data:
    """Where samples come from.  ``train`` and ``test`` are data-source Calls (``idx``, ``npy``, ``bnnd``) or None."""

    train: Call | None = None
    test: Call | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A checked spec.  ``layers[0]`` is the input layer and the last one a loss."""

    name: str
    layers: tuple[Layer, ...]
    rule: Call
    optimizer: Call
    schedule: Call
    batch: int
    epochs: int
    seed: int
    holdout: float  # share of the training samples that is kept apart, 0..0.5
    data: Data
    recompute: bool = False  # less memory, the same bits: kernels run strip by strip, and some values are made again
    stop: Call = Call("never")  # what ends training before `epochs`
    microbatch: int = 1  # parts of a batch that are trained one after the other, their gradients added up
    allow: tuple[
        tuple[str, Any, str], ...
    ] = ()  # settings, and how they are written, that may be taken to fit a limit of memory
    augment: tuple[Call, ...] = ()  # what is done to training samples
    sampling: str = "shuffled"  # or balanced: an epoch has as many samples of each class
    class_weights: tuple[float, ...] = ()  # what a sample's loss counts for its label; empty: 1
    source: str = field(default="", compare=False, repr=False)
    file: str = field(default="<text>", compare=False)
    warnings: tuple[Any, ...] = field(default=(), compare=False)
    called: str = field(default="", compare=False)  # by this its files and C functions are named, if not by its own
    class_names: tuple[str, ...] = field(
        default=(), compare=False
    )  # of a network that only predicts; or none are known
    plugins: tuple[str, ...] = ()  # the SHA-256 of the plug-ins that names of the spec come from
    chosen: tuple[str, ...] = field(
        default=(), compare=False
    )  # in words: defaults that follow from the data's form or other settings

    @property
    def hash(self) -> str:
        """16 hex digits that name everything which decides the trained bits' layout: layers, rule, optimiser, batch.

        Independent of file name, comments and formatting.  A checkpoint carries it; another spec's is refused.
        """
        key = repr(
            (
                self.name,
                [_structure(y) for y in self.layers],
                str(self.rule),
                str(self.optimizer),
                self.batch,
                *([self.microbatch] if self.microbatch > 1 else []),
                *self.plugins,
            )
        )
        return hashlib.sha256(key.encode()).hexdigest()[:16]

    @property
    def prefix(self) -> str:
        """What the names of its files and of its C functions begin with."""
        return self.called or self.name

    @property
    def patience(self) -> int:
        """Epochs that the best one may be ago before training stops; 0: any number."""
        return int(dict(self.stop.args).get("patience", 0))

    @property
    def part(self) -> int:
        """Samples that are in memory at once."""
        return self.batch // self.microbatch

    @property
    def classes(self) -> int:
        """One output tells labels 0 and 1 apart; otherwise there is an output a class."""
        return max(2, self.layers[-1].input.elements)

    def named(self) -> Iterator[str]:
        """The names that the spec uses: of layers, rules, optimisers, and of what their arguments call."""
        calls = [self.rule, self.optimizer, *(y.args for y in self.walk())]
        yield from (y.kind for y in self.walk())
        yield from (v for y in self.walk() for _, v in y.args.args if isinstance(v, str))  # a surrogate, say
        while calls:
            call = calls.pop()
            yield call.name
            calls += [v for _, v in call.args if isinstance(v, Call)]

    def walk(self) -> Iterator[Layer]:
        """All layers, containers before their bodies, in source order."""
        stack = list(reversed(self.layers))
        while stack:
            layer = stack.pop()
            yield layer
            stack.extend(reversed(layer.body))

    def __str__(self) -> str:
        """Several lines: the settings, then a layer a line, bodies indented."""
        out = [
            f"model {self.name}",
            f"batch = {self.batch}, microbatch = {self.microbatch}, epochs = {self.epochs}, seed = {self.seed}, "
            f"holdout = {self.holdout:g}, recompute = {'on' if self.recompute else 'off'}",
            *(f"{key} = {getattr(self, key)}" for key in ("rule", "optimizer", "schedule", "stop")),
            *(f"{key} = {call}" for key in ("train", "test") if (call := getattr(self.data, key)) is not None),
            *([f"augment = {', '.join(map(str, self.augment))}"] if self.augment else []),
            *([f"sampling = {self.sampling}"] if self.sampling != "shuffled" else []),
            *([f"class_weights = {', '.join(map(str, self.class_weights))}"] if self.class_weights else []),
            *(f"allow {key} = {text}" for key, _, text in self.allow),
            *(f"chosen: {line}" for line in self.chosen),
        ]

        def show(layers: tuple[Layer, ...], indent: str) -> None:
            for layer in layers:
                out.append(
                    f"{indent}{layer.name}: {layer.args}: {layer.input} -> {layer.output}  line {layer.span.line}"
                )
                show(layer.body, indent + "  ")

        show(self.layers, "  ")
        return "\n".join(out) + "\n"

    def with_(self, **kw: Any) -> Model:
        """A changed copy; only for fields that need no new check: batch, epochs, seed, holdout, data, recompute."""
        if bad := set(kw) - {"batch", "epochs", "seed", "holdout", "data", "recompute"}:
            raise InternalError(f"Model.with_ cannot change {sorted(bad)} without a new check")
        return replace(self, **kw)


def _structure(layer: Layer) -> tuple[Any, ...]:
    return (
        layer.kind,
        layer.name,
        str(layer.args),
        str(layer.input),
        str(layer.output),
        [_structure(y) for y in layer.body],
    )


def verify_model(m: Model) -> None:
    """Raise InternalError unless types chain from layer to layer, names are unique and the last layer is a loss."""
    names = [y.name for y in m.walk()]
    if len(names) != len(set(names)):
        raise InternalError("layer names are not unique")

    def chain(layers: tuple[Layer, ...]) -> None:
        for a, b in zip(layers, layers[1:], strict=False):
            if a.output != b.input:
                raise InternalError(f"{a.name} gives {a.output} but {b.name} takes {b.input}")
        for y in layers:
            if any(t.kind not in TENSOR_KINDS or min(t.shape, default=1) < 1 for t in (y.input, y.output)):
                raise InternalError(f"{y.name}: bad type {y.input} -> {y.output}")
            chain(y.body)

    chain(m.layers)
    if m.batch < 1 or m.epochs < 0 or not 0 <= m.holdout <= 0.5:
        raise InternalError("batch, epochs or holdout out of range")
