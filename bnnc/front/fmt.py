"""Fmt: Ast -> canonical text.  ``parse(format(x)) == x``, formatting twice changes nothing, and no comment is lost.

The form: two spaces a level, one statement a line, ``name = value``, arguments separated by blanks, no needless
parentheses, one blank line around top-level statements of several lines.  Single blank lines between statements stay.
A body that was on one line stays there when it is short.  A comment stays at the end of its line or above the
statement it stood before or in.

:func:`explicit` is the second form: every default of every layer, rule, optimiser and setting written out.

Non-goals: breaking long lines, ordering statements.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from .. import builtin
from ..diag import NOWHERE, Span
from ..model import Call, Model
from ..registry import REQUIRED, Param, Tables, rule_of
from . import ast
from .check import check
from .parse import parse
from .sections import DATA, RULE, TRAIN

_ONE_LINE = 80
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_NEG, _ATOM = 3, 4


def value(v: ast.Value, above: int = 0) -> str:
    """``v`` as text, in parentheses when it binds less tightly than ``above``."""
    match v:
        case ast.Num():
            return v.text or repr(v.value)
        case ast.Str():
            escaped = v.value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case ast.Name():
            return v.id
        case ast.Call():
            return f"{v.name}({', '.join(_argument(a, 0) for a in v.args)})"
        case ast.Index():
            return f"{v.name}[{', '.join(value(x) for x in v.items)}]"
        case ast.ListLit():
            return f"[{', '.join(value(x) for x in v.items)}]"
        case ast.Neg():
            text, level = "-" + value(v.value, _NEG), _NEG
        case ast.BinOp():
            level = _PRECEDENCE[v.op]
            text = f"{value(v.left, level)} {v.op} {value(v.right, level + 1)}"
    return f"({text})" if level < above else text


def _argument(a: ast.Arg, above: int) -> str:
    text = value(a.value, above)
    if above and isinstance(a.value, ast.Neg):  # the grammar takes one minus before an atom
        text = "-" + value(a.value.value, _ATOM)
    return f"{a.name} = {text}" if a.name else text


def _arguments(args: Iterable[ast.Arg]) -> str:
    """Statement arguments; a comma only where a blank would let the second one be read as part of the first."""
    out, after_name = "", False
    for a in args:
        text = _argument(a, _ATOM)
        joins = text[0] == "-" or (after_name and text[0] in "([")
        out += (", " if joins and out else " ") + text
        last = a.value.value if isinstance(a.value, ast.Neg) else a.value
        after_name = isinstance(last, ast.Name)
    return out


def _header(item: ast.Item) -> str:
    match item:
        case ast.Let():
            return f"let {item.name} = {value(item.value)}"
        case ast.Setting():
            return f"{item.name} = {value(item.value)}"
        case ast.Stmt():
            return item.name + _arguments(item.args)
        case ast.BlockDef():
            params = ", ".join(p.name if p.default is None else f"{p.name} = {value(p.default)}" for p in item.params)
            return f"block {item.name}({params})" if item.params else f"block {item.name}"


def _body(item: ast.Item) -> tuple[ast.Item, ...] | None:
    return item.body if isinstance(item, ast.Stmt | ast.BlockDef) else None


def _body_span(item: ast.Item) -> Span:
    return item.body_span if isinstance(item, ast.Stmt | ast.BlockDef) else NOWHERE


class _Printer:
    def __init__(self, file: ast.File) -> None:
        self.blank = file.blank
        self.comments = sorted(file.comments, key=lambda c: c.span.start)
        self.starts = [c.span.start for c in self.comments]
        self.next = 0
        self.lines: list[str] = []

    def take(self, end: int) -> list[ast.Comment]:
        """The comments not yet printed that start before ``end``."""
        first = self.next
        while self.next < len(self.comments) and self.comments[self.next].span.start < end:
            self.next += 1
        return self.comments[first : self.next]

    def trailing(self, end: int) -> str:
        """The comment that ends the current line, when there is one before ``end``."""
        c = self.comments[self.next] if self.next < len(self.comments) else None
        if c is None or c.own_line or c.span.start >= end:
            return ""
        self.next += 1
        return f"  {c.text}"

    def put(self, depth: int, text: str) -> None:
        """Append a line, indented."""
        self.lines.append("  " * depth + text)

    def one_line(self, item: ast.Item) -> str | None:
        """The whole item on one line, or None when it needs several."""
        body = _body(item)
        if body is None:
            return _header(item) + ";"
        if not body:
            return _header(item) + " {}"
        span = item.body_span  # type: ignore[union-attr]
        if not span.known or any(x.span.line != span.line for x in body):
            return None
        inner = [self.one_line(x) for x in body]
        return None if None in inner else f"{_header(item)} {{ {' '.join(map(str, inner))} }}"

    def on_a_line(self, item: ast.Item, depth: int) -> str | None:
        """The item on one line where it fits and no comment stands in its body; else None."""
        line, span = self.one_line(item), _body_span(item)
        if bisect(self.starts, span.start) < bisect(self.starts, span.end):
            return None
        return None if line and _body(item) and len(line) + 2 * depth > _ONE_LINE else line

    def blank_above(self, span: Span) -> bool:
        """Did a blank line stand above?"""
        return span.line - 1 in self.blank

    def items(self, items: tuple[ast.Item, ...], depth: int, end: int) -> None:
        """Statements of one body up to offset ``end``, with the comments and blank lines that stand among them."""
        first, several, before = True, False, 0  # is nothing printed; took the last item several lines; its line
        for i, item in enumerate(items):
            line = self.on_a_line(item, depth)
            apart = depth == 0 and (several or line is None) and not first
            if self.comments_above(item, line, depth, first, apart):
                first = apart = False
            new_line, before = item.span.known and item.span.line > before, item.span.line
            if not first and (apart or (new_line and self.blank_above(item.span))):
                self.lines.append("")
            first, several = False, line is None
            if line is not None:
                self.put(depth, line)
            else:
                self.body(item, depth)
            if item.span.known:
                self.lines[-1] += self.trailing(self.start(items, i + 1, end))
        self.comments_below(depth, end, first, several)

    def start(self, items: tuple[ast.Item, ...], i: int, end: int) -> int:
        """Where item ``i`` starts; ``end`` where there is none, or none that was written."""
        return items[i].span.start if i < len(items) and items[i].span.known else end

    def comments_above(self, item: ast.Item, line: str | None, depth: int, first: bool, apart: bool) -> bool:
        """Print the comments before an item and in its header; were there any?"""
        found = self.take(_body_span(item).start if line is None else item.span.end) if item.span.known else []
        for c in found:
            own = c.own_line and c.span.start < item.span.start and self.blank_above(c.span)
            if not first and (apart or own):
                self.lines.append("")
            self.put(depth, c.text)
            first = apart = False
        return bool(found)

    def comments_below(self, depth: int, end: int, first: bool, several: bool) -> None:
        """Print the comments behind the last item."""
        for c in self.take(end):
            if not first and (self.blank_above(c.span) or (depth == 0 and several)):
                self.lines.append("")
            self.put(depth, c.text)
            first, several = False, False

    def body(self, item: ast.Item, depth: int) -> None:
        """Print an item that takes several lines."""
        body, span = _body(item) or (), item.body_span  # type: ignore[union-attr]
        self.put(depth, _header(item) + " {")
        placed = [x.span.start for x in body if x.span.known]
        end = span.end if span.known else 0
        self.lines[-1] += self.trailing(min([*placed, end]))
        self.items(body, depth + 1, end)
        self.put(depth, "}")


def format(file: ast.File) -> str:
    """The canonical text of ``file``; ends with one newline, unless it is empty."""
    p = _Printer(file)
    last = p.comments[-1].span.end + 1 if p.comments else 0
    p.items(file.items, 0, max(file.span.end, last))
    return "".join(line + "\n" for line in p.lines)


# --- the explicit form ------------------------------------------------------------------------------------------------


def _literal(v: Any) -> ast.Value:
    """The Ast of a default or of a checked value."""
    match v:
        case bool():
            return ast.Name("on" if v else "off")
        case int() | float():
            n = ast.Num(abs(v), "", repr(abs(v)))
            return ast.Neg(n) if v < 0 else n
        case Call():
            if not v.args:
                return ast.Name(v.name)
            return ast.Call(v.name, tuple(ast.Arg(k, _literal(x)) for k, x in v.args if x is not None))
        case tuple():
            return ast.ListLit(tuple(map(_literal, v)))
    return ast.Name(str(v))


_MODEL_CALLS = ("optimizer", "schedule", "stop")


class _Explicit:
    def __init__(self, model: Model, tables: Tables, bound: set[str]) -> None:
        self.model, self.tables, self.bound = model, tables, bound

    def missing(
        self, params: Sequence[Param], args: Sequence[ast.Arg], layer: str = "", decided: Call | None = None
    ) -> Iterator[ast.Arg]:
        """The arguments that ``args`` leave to their defaults: the schema's, a layer's by the rule, or what ``check``
        decided."""
        positional = [p.name for p in params if p.positional]
        count = sum(a.name is None for a in args)
        given = {a.name for a in args} | set(positional[:count])
        impl = rule_of(self.model.rule, self.tables.rules)
        for p in params:
            default = p.default
            if default is None and layer:
                default = impl.decides(layer, p)
            if default is None and decided:
                default = decided[p.name]
            if p.name not in given and default not in (None, REQUIRED):
                full = self.call(ast.Name(default.name), p) if isinstance(default, Call) else _literal(default)
                yield ast.Arg(p.name, full)

    def call(self, v: ast.Value, p: Param) -> ast.Value:
        """A name or call of a registered record with all its arguments; anything else as it is."""
        table = getattr(self.tables, "encoders" if p.type == "encoder" else p.type.removeprefix("call:"), {})
        name = v.id if isinstance(v, ast.Name) else v.name if isinstance(v, ast.Call) else ""
        if name not in table or (isinstance(v, ast.Name) and name in self.bound):
            return v
        args = v.args if isinstance(v, ast.Call) else ()
        more = tuple(
            self.missing(
                table[name].params, args, decided=self.model.layers[0][p.name] if p.type == "encoder" else None
            )
        )
        return ast.Call(name, (*args, *more), v.span) if args or more else v

    def hidden(self, x: ast.Stmt) -> bool:
        """Whether the statement's first argument is a `let` that stands for the name or call of a record."""
        return bool(x.args) and isinstance(x.args[0].value, ast.Name) and x.args[0].value.id in self.bound

    def setting(self, s: ast.Setting, p: Param) -> ast.Setting:
        """A setting with its value in full; a `let` that stands for a record gives way to it."""
        if p.name in _MODEL_CALLS and isinstance(s.value, ast.Name):
            meant: Call = getattr(self.model, p.name)
            if s.value.id in self.bound or s.value.id != meant.name:  # a `let` stands for the record
                return replace(s, value=_literal(meant))
        return replace(s, value=self.call(s.value, p))

    def args(self, params: Sequence[Param], args: Sequence[ast.Arg], layer: str = "") -> tuple[ast.Arg, ...]:
        """Arguments as they are, calls in full, and behind them those that were left out."""
        positional = iter([p for p in params if p.positional])
        by_name = {p.name: p for p in params}
        out = []
        for a in args:
            p = by_name.get(a.name) if a.name else next(positional, None)
            out.append(replace(a, value=self.call(a.value, p)) if p and (":" in p.type or p.type == "encoder") else a)
        return (*out, *self.missing(params, args, layer))

    def item(self, x: ast.Item) -> ast.Item:
        """An item with every default written out."""
        match x:
            case ast.BlockDef():
                return replace(x, body=tuple(map(self.item, x.body)))
            case ast.Stmt(name="rule"):
                return replace(
                    x, args=(ast.Arg(None, _literal(self.model.rule)),) if self.hidden(x) else self.args([RULE], x.args)
                )
            case ast.Stmt(name="train" | "data"):
                return self.section(x)
            case ast.Stmt():
                body = None if x.body is None else tuple(map(self.item, x.body))
                d = self.tables.layers.get(x.name)
                return replace(x, body=body, args=self.args(d.params, x.args, d.name) if d else x.args)
        return x

    def section(self, x: ast.Stmt) -> ast.Stmt:
        """`train` or `data` in full; `train` with the settings that were left out."""
        params = {p.name: p for p in (TRAIN if x.name == "train" else DATA)}
        body: list[ast.Item] = [
            self.setting(i, params[i.name]) if isinstance(i, ast.Setting) else i for i in x.body or ()
        ]
        given = {i.name for i in body if isinstance(i, ast.Setting)}
        if x.name == "train":
            body += [ast.Setting(n, _literal(getattr(self.model, n))) for n in params if n not in given]
        return replace(x, body=tuple(body))

    def file(self, f: ast.File) -> ast.File:
        """The whole text in full, with `rule` and `train` where they were left out."""
        items = list(map(self.item, f.items))
        have = {i.name for i in items if isinstance(i, ast.Stmt)}
        if "rule" not in have:
            items.append(ast.Stmt("rule", (ast.Arg(None, _literal(self.model.rule)),)))
        if "train" not in have:
            items.append(self.section(ast.Stmt("train", (), ())))
        return replace(f, items=tuple(items))


def explicit(text: str, file: str = "<text>", tables: Tables | None = None) -> str:
    """The canonical form of ``text`` with every default written out; it describes the same Model.

    Raises BnncError when ``text`` is not a valid spec: defaults are only known for one that is.
    """
    known = tables or builtin.tables()
    tree = parse(text, file)
    model = check(tree, text, file, tables=known)
    bound = {x.name for x in tree.items if isinstance(x, ast.Let)}
    return format(_Explicit(model, known, bound).file(tree))
