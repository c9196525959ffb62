"""The language as Python: every layer, rule and other name that a spec may use, as a function of its arguments.

    from bnnc import build as b
    net = bnnc.Network([b.input("u8[784]"), b.dense(256), b.batchnorm(), b.sign(), b.dense(10), b.loss()])
    print(net.text)                              # the spec that it is

A layer with a body takes a list of layers; ``repeat(3, [...])`` is the spec's.  A text among the arguments is what a
spec has there (``"u8[784]"``, ``"edge(state = f32)"``), and where one wants a name of a file just that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from .. import builtin
from ..diag import did_you_mean
from ..front import ast, fmt
from ..front.parse import parse_value
from ..front.sections import REPEAT, STATEMENTS
from ..registry import Param


@dataclass(frozen=True)
class Part:
    """A name with arguments, and of a layer its body; its ``str`` is how a spec writes it."""

    name: str
    args: tuple[ast.Arg, ...]
    body: tuple[Part, ...] | None = None

    @property
    def statement(self) -> ast.Stmt:
        """As a layer, or another statement."""
        return ast.Stmt(self.name, self.args, None if self.body is None else tuple(x.statement for x in self.body))

    @property
    def call(self) -> ast.Value:
        """As a value: a rule, an optimiser, an encoder."""
        return ast.Call(self.name, self.args) if self.args else ast.Name(self.name)

    def __str__(self) -> str:
        return fmt.format(ast.File((self.statement,))).strip()

    __repr__ = __str__


def value(v: Any, type: str = "") -> ast.Value:
    """A Python value as a spec writes it; ``type``: its parameter's.  Raises TypeError for what a spec has not."""
    match v:
        case Part():
            return v.call
        case bool():
            return ast.Name("on" if v else "off")
        case Integral() | Real():
            n = int(v) if isinstance(v, Integral) else float(v)
            return ast.Neg(value(-n)) if n < 0 else ast.Num(n, "", repr(n))
        case str():
            return ast.Str(v) if type == "str" else parse_value(v, "<Python>")
        case list() | tuple():
            return ast.ListLit(tuple(value(x) for x in v))
    raise TypeError(f"a spec has no values like {v!r}")


def _params(name: str) -> Mapping[str, tuple[Param, ...]]:
    """The parameters of each kind of name that is called so."""
    t = builtin.tables()
    tables: dict[str, Mapping[str, Any]] = {f: getattr(t, f) for f in t.__dataclass_fields__}
    found = {kind: tuple(table[name].params) for kind, table in tables.items() if name in table}
    return found | ({REPEAT: STATEMENTS[REPEAT].params} if name == REPEAT else {})


def part(name: str, /, *args: Any, **named: Any) -> Part:
    """A name with its arguments; a list of layers among those without a name is its body."""
    params = [p for found in _params(name).values() for p in found]
    types = {p.name: p.type for p in params}
    bodies = [a for a in args if isinstance(a, list) and all(isinstance(x, Part) for x in a)]
    placed = [p.type for p in params if p.positional] + [""] * len(args)
    given = [a for a in args if not any(a is b for b in bodies)]
    if len(bodies) > 1:
        raise TypeError(f"`{name}` has one body")
    return Part(
        name,
        (
            *(ast.Arg(None, value(a, type)) for a, type in zip(given, placed, strict=False)),
            *(ast.Arg(k, value(a, types.get(k, ""))) for k, a in named.items()),
        ),
        tuple(bodies[0]) if bodies else None,
    )


def text(
    layers: Iterable[Part], name: str, rule: Part | str | None, data: Mapping[str, Part], train: Mapping[str, Any]
) -> str:
    """The spec of a network, in its canonical form."""
    items = [ast.Stmt("network", (ast.Arg(None, ast.Name(name)),), tuple(x.statement for x in layers))]
    if rule is not None:
        items.append(ast.Stmt("rule", (ast.Arg(None, value(rule)),)))
    for section, settings in (("train", train), ("data", data)):
        if settings:
            items.append(ast.Stmt(section, (), tuple(ast.Setting(k, value(v)) for k, v in settings.items())))
    return fmt.format(ast.File(tuple(items)))


def __getattr__(name: str) -> Callable[..., Part]:
    if name.startswith("_"):  # what Python itself asks for, before there are plug-ins
        raise AttributeError(name)
    if not _params(name):
        known = __dir__()
        raise AttributeError(f"a spec knows no `{name}`. {did_you_mean(name, known)}".rstrip())

    def make(*args: Any, **named: Any) -> Part:
        return part(name, *args, **named)

    make.__name__ = make.__qualname__ = name
    return make


def __dir__() -> list[str]:
    t = builtin.tables()
    return sorted({REPEAT, *(n for f in t.__dataclass_fields__ for n in getattr(t, f))})
