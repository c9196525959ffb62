"""Ast: what ``parse`` makes of a text.  Statements as they were written; no name is looked up, nothing is computed.

Promise: every node has the span of its text, equality ignores spans and comments, and ``fmt`` can print any of them.
Non-goals: knowing which names are layers, rules or settings; that is ``check``'s work.

    dense width eps = 1e-5;   ->   Stmt("dense", (Arg(None, Name("width")), Arg("eps", Num(1e-05, "", "1e-5"))))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..diag import NOWHERE, Span


def _span() -> Span:
    return field(default=NOWHERE, compare=False, repr=False)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Num:
    """A number with its unit applied: ``10%`` has the value 0.1 and ``2KiB`` 2048; ``text`` is how it was written."""

    value: int | float
    unit: str = ""
    text: str = ""
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Str:
    """A quoted text: ``value`` is what stands between the quotes, escapes resolved."""

    value: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Name:
    """A bare word: a choice, a `let`, a parameter of a block or a registered record; ``check`` finds out which."""

    id: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Arg:
    """An argument of a statement or a call; ``name`` is None for a positional one."""

    name: str | None
    value: Value
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Call:
    """``name(args)``, such as ``adam(lr = 1e-3)``."""

    name: str
    args: tuple[Arg, ...] = ()
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Index:
    """``name[items]``, as in ``u8[28, 28]``."""

    name: str
    items: tuple[Value, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class ListLit:
    """``[items]``."""

    items: tuple[Value, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class BinOp:
    """``left op right``; ``op`` is ``+``, ``-``, ``*`` or ``/``."""

    op: str
    left: Value
    right: Value
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Neg:
    """``-value``."""

    value: Value
    span: Span = _span()


Value = Num | Str | Name | Call | Index | ListLit | BinOp | Neg


@dataclass(frozen=True, slots=True)
class Stmt:
    """``name args;`` or, when ``body`` is not None, ``name args { body }``.  ``body_span`` includes both braces."""

    name: str
    args: tuple[Arg, ...] = ()
    body: tuple[Item, ...] | None = None
    span: Span = _span()
    body_span: Span = _span()

    @property
    def header(self) -> Span:
        """The statement without its body and without ``;``."""
        return head(self).to(self.args[-1].span) if self.args else head(self)


@dataclass(frozen=True, slots=True)
class Setting:
    """``name = value;``"""

    name: str
    value: Value
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Let:
    """``let name = value;`` at the top level."""

    name: str
    value: Value
    span: Span = _span()
    name_span: Span = _span()


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a block; ``default`` is None when it must be given."""

    name: str
    default: Value | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class BlockDef:
    """``block name(params) { body }``.  ``body_span`` includes both braces."""

    name: str
    params: tuple[Param, ...]
    body: tuple[Item, ...]
    span: Span = _span()
    name_span: Span = _span()
    body_span: Span = _span()


Item = Stmt | Setting | Let | BlockDef


@dataclass(frozen=True, slots=True)
class Comment:
    """``text`` starts with ``#``; ``own_line`` when nothing but blanks stands before it."""

    text: str
    own_line: bool
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class File:
    """A text; ``blank`` holds the numbers of its blank lines, which ``fmt`` keeps between statements."""

    items: tuple[Item, ...]
    comments: tuple[Comment, ...] = field(default=(), compare=False, repr=False)
    blank: frozenset[int] = field(default=frozenset(), compare=False, repr=False)
    span: Span = _span()


def head(node: Stmt | Setting | Call | Index) -> Span:
    """The span of the name that ``node`` starts with."""
    s = node.span
    return Span(s.file, s.start, s.start + len(node.name), s.line, s.col) if s.known else s


def names(value: Value) -> Iterator[Name]:
    """Every Name inside ``value``, itself included."""
    match value:
        case Name():
            yield value
        case Call():
            for a in value.args:
                yield from names(a.value)
        case Index() | ListLit():
            for v in value.items:
                yield from names(v)
        case BinOp():
            yield from names(value.left)
            yield from names(value.right)
        case Neg():
            yield from names(value.value)
