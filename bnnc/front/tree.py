"""Ast nodes of what the grammar's rules match, each with its span."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..diag import Span
from . import ast
from .literals import read_number, read_string, short


@dataclass(slots=True)
class Token:
    """What the grammar's terminal ``type`` matched; as text it is what a message calls it."""

    type: str
    text: str
    span: Span

    def __str__(self) -> str:
        return "the end of the text" if self.type == "$END" else f"`{short(self.text)}`"


def _span(children: list[Any]) -> Span:
    return children[0].span.to(children[-1].span)


def _nodes(children: list[Any]) -> tuple[Any, ...]:
    return tuple(c for c in children if not isinstance(c, Token))


def _fold(children: list[Any]) -> Any:
    left = children[0]
    for op, right in zip(children[1::2], children[2::2], strict=True):
        left = ast.BinOp(op.text, left, right, left.span.to(right.span))
    return left


@dataclass(slots=True)
class Body:
    """The items between two braces; ``span`` includes both."""

    items: tuple[ast.Item, ...]
    span: Span


class Build:
    """Lark's tree callbacks, one a grammar rule: children in (tokens included), Ast node out."""

    def value(self, c: list[Any]) -> Any:
        """``value``: an expression alone, which the command line gives."""
        return c[0]

    def let(self, c: list[Any]) -> ast.Let:
        """``LET NAME "=" expr ";"``"""
        return ast.Let(c[1].text, c[3], _span(c), c[1].span)

    def param(self, c: list[Any]) -> ast.Param:
        """``NAME ("=" expr)?``"""
        return ast.Param(c[0].text, c[2] if len(c) > 1 else None, _span(c))

    def params(self, c: list[Any]) -> list[ast.Param]:
        """``"(" (param ("," param)*)? ")"``"""
        return list(_nodes(c))

    def block(self, c: list[Any]) -> ast.BlockDef:
        """``BLOCK NAME params? body``"""
        params = tuple(c[2]) if len(c) > 3 else ()
        return ast.BlockDef(c[1].text, params, c[-1].items, _span(c), c[1].span, c[-1].span)

    def setting(self, c: list[Any]) -> ast.Setting:
        """``NAME "=" expr ";"``"""
        return ast.Setting(c[0].text, c[2], _span(c))

    def args(self, c: list[Any]) -> list[ast.Arg]:
        """Arguments of a statement, with commas or without."""
        return list(_nodes(c))

    def stmt(self, c: list[Any]) -> ast.Stmt:
        """``NAME args? (";" | body)``"""
        args = tuple(c[1]) if isinstance(c[1], list) else ()
        if isinstance(c[-1], Body):
            return ast.Stmt(c[0].text, args, c[-1].items, _span(c), c[-1].span)
        return ast.Stmt(c[0].text, args, None, _span(c))

    def body(self, c: list[Any]) -> Body:
        """``"{" item* "}"``"""
        return Body(_nodes(c), _span(c))

    def arg(self, c: list[Any]) -> ast.Arg:
        """A positional argument."""
        return ast.Arg(None, c[0], c[0].span)

    def named(self, c: list[Any]) -> ast.Arg:
        """``NAME "=" value``, a named argument."""
        return ast.Arg(c[0].text, c[2], _span(c))

    def expr(self, c: list[Any]) -> Any:
        """A chain of ``+`` and ``-``, from the left."""
        return _fold(c)

    def term(self, c: list[Any]) -> Any:
        """A chain of ``*`` and ``/``, from the left."""
        return _fold(c)

    def neg(self, c: list[Any]) -> ast.Neg:
        """``"-" value``, in an expression or as an argument."""
        return ast.Neg(c[1], _span(c))

    minus = neg

    def paren(self, c: list[Any]) -> Any:
        """``"(" expr ")"``: the expression, whose span takes the parentheses in."""
        return replace(c[1], span=_span(c))

    def number(self, c: list[Any]) -> ast.Num:
        """A number with its unit; 0 for one that cannot be read, which the lexer has reported."""
        read = read_number(c[0].text)
        return replace(read, span=c[0].span) if isinstance(read, ast.Num) else ast.Num(0, "", "0", c[0].span)

    def string(self, c: list[Any]) -> ast.Str:
        """A quoted text; empty for one that cannot be read, which the lexer has reported."""
        read = read_string(c[0].text)
        return ast.Str(read if isinstance(read, str) else "", c[0].span)

    def name(self, c: list[Any]) -> ast.Name:
        return ast.Name(c[0].text, c[0].span)

    def call(self, c: list[Any]) -> ast.Call:
        """``NAME "(" arguments ")"``"""
        return ast.Call(c[0].text, _nodes(c), _span(c))

    def index(self, c: list[Any]) -> ast.Index:
        """``NAME "[" expr ("," expr)* "]"``"""
        return ast.Index(c[0].text, _nodes(c), _span(c))

    def listing(self, c: list[Any]) -> ast.ListLit:
        """``"[" (expr ("," expr)*)? "]"``"""
        return ast.ListLit(_nodes(c), _span(c))

    def start(self, c: list[Any]) -> tuple[ast.Item, ...]:
        """The whole text: its items."""
        return tuple(c)
