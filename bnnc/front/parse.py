"""Parse: text -> Ast.  Reports every syntax mistake of a text in one run, and nothing but BnncError ever leaves it.

The grammar is ``grammar/bnn.lark`` (LALR).  After a mistake the parser goes back to the innermost list of statements,
skips to the next ``;`` or ``}`` and continues, so each wrong statement gives one message.  Nesting is bounded, so that
no later pass needs to worry about recursion.

Non-goals: knowing any layer, rule or setting name, and computing anything but the value of a number with its unit.

    dense 256   ->   error[B0101]: expected `;` after `dense 256`
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from lark import Lark, UnexpectedToken
from lark.parsers.lalr_analysis import Shift

from ..diag import BnncError, Diagnostic, Span
from . import ast

MAX_DEPTH = 64  # open brackets plus pending operators
MAX_ERRORS = 100
MAX_DIGITS = 40

UNITS = {"": 1, "%": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
SIZE_UNITS = tuple(u for u in UNITS if u.endswith("B"))

_NUMBER = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)(.*)", re.DOTALL)
_CLOSES = {"RPAR": "LPAR", "RSQB": "LSQB", "RBRACE": "LBRACE"}
_OPERATORS = {"PLUS", "MINUS", "STAR", "SLASH"}
_SHOWN = {
    "EQUAL": "`=`",
    "SEMICOLON": "`;`",
    "COMMA": "`,`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "LET": "`let`",
    "BLOCK": "`block`",
    "NAME": "a name",
    "$END": "the end of the text",
}
_VALUES = {"NAME", "NUMBER", "STRING", "LPAR", "LSQB", "MINUS"}


@dataclass(slots=True)
class _Token:
    type: str
    text: str
    span: Span

    def __str__(self) -> str:
        return "the end of the text" if self.type == "$END" else f"`{_short(self.text)}`"


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def read_number(text: str) -> ast.Num | tuple[str, str, str]:
    """The number that ``text`` writes, or (code, message, help) when it is none."""
    m = _NUMBER.fullmatch(text)
    digits, unit = m.groups() if m else ("", text)
    if unit not in UNITS:
        known = [u for u in UNITS if u.lower() in (unit.lower(), unit.lower() + "ib")]
        hint = f"did you mean `{digits}{known[-1]}`?" if known else f"the units are {', '.join(UNITS)[2:]}"
        if re.fullmatch(r"x[0-9]+", unit):
            hint = f"write `{digits}, {unit[1:]}`"
        return "B0105", f"unknown unit `{_short(unit)}` after the number {_short(digits)}", hint
    if len(digits) > MAX_DIGITS:
        return "B0108", "this number is too long", f"write at most {MAX_DIGITS} characters, e.g. 1e-3"
    value: int | float = int(digits) if digits.isdigit() else float(digits)
    if unit == "%":
        value = value / 100
    elif unit:
        exact = value * UNITS[unit]
        if math.isfinite(exact) and exact != int(exact):
            return "B0105", f"`{text}` is not a whole number of bytes", "use a smaller unit"
        value = int(exact) if math.isfinite(exact) else exact
    if abs(value) >= 2**63:
        return "B0108", f"the number {_short(text)} is too large", "numbers must stay below 2^63"
    return ast.Num(value, unit, text)


def read_string(text: str) -> str | tuple[str, str, str]:
    """The string that ``text``, quotes included, writes, or (code, message, help)."""
    if wrong := [e for e in re.findall(r"\\(.)", text) if e not in '\\"']:
        help = r"only \\ and \" are escapes; a backslash is written \\"
        return "B0109", f"unknown escape `\\{wrong[0]}` in a string", help
    if wrong := [c for c in text if ord(c) < 32 or 0xD800 <= ord(c) < 0xE000]:
        return "B0109", f"character U+{ord(wrong[0]):04X} cannot stand in a string", "remove the character"
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _span(children: list[Any]) -> Span:
    return children[0].span.to(children[-1].span)


def _nodes(children: list[Any]) -> tuple[Any, ...]:
    return tuple(c for c in children if not isinstance(c, _Token))


def _fold(children: list[Any]) -> Any:
    left = children[0]
    for op, right in zip(children[1::2], children[2::2], strict=True):
        left = ast.BinOp(op.text, left, right, left.span.to(right.span))
    return left


@dataclass(slots=True)
class _Body:
    items: tuple[ast.Item, ...]
    span: Span


class _Build:
    """Lark's tree callbacks, one a grammar rule: children in (tokens included), Ast node out."""

    def value(self, c: list[Any]) -> Any:
        return c[0]

    def let(self, c: list[Any]) -> ast.Let:
        return ast.Let(c[1].text, c[3], _span(c), c[1].span)

    def param(self, c: list[Any]) -> ast.Param:
        return ast.Param(c[0].text, c[2] if len(c) > 1 else None, _span(c))

    def params(self, c: list[Any]) -> list[ast.Param]:
        return list(_nodes(c))

    def block(self, c: list[Any]) -> ast.BlockDef:
        params = tuple(c[2]) if len(c) > 3 else ()
        return ast.BlockDef(c[1].text, params, c[-1].items, _span(c), c[1].span, c[-1].span)

    def setting(self, c: list[Any]) -> ast.Setting:
        return ast.Setting(c[0].text, c[2], _span(c))

    def args(self, c: list[Any]) -> list[ast.Arg]:
        return list(_nodes(c))

    def stmt(self, c: list[Any]) -> ast.Stmt:
        args = tuple(c[1]) if isinstance(c[1], list) else ()
        if isinstance(c[-1], _Body):
            return ast.Stmt(c[0].text, args, c[-1].items, _span(c), c[-1].span)
        return ast.Stmt(c[0].text, args, None, _span(c))

    def body(self, c: list[Any]) -> _Body:
        return _Body(_nodes(c), _span(c))

    def arg(self, c: list[Any]) -> ast.Arg:
        return ast.Arg(None, c[0], c[0].span)

    def named(self, c: list[Any]) -> ast.Arg:
        return ast.Arg(c[0].text, c[2], _span(c))

    def expr(self, c: list[Any]) -> Any:
        return _fold(c)

    def term(self, c: list[Any]) -> Any:
        return _fold(c)

    def neg(self, c: list[Any]) -> ast.Neg:
        return ast.Neg(c[1], _span(c))

    minus = neg

    def paren(self, c: list[Any]) -> Any:
        return replace(c[1], span=_span(c))

    def number(self, c: list[Any]) -> ast.Num:
        read = read_number(c[0].text)
        return replace(read, span=c[0].span) if isinstance(read, ast.Num) else ast.Num(0, "", "0", c[0].span)

    def string(self, c: list[Any]) -> ast.Str:
        read = read_string(c[0].text)
        return ast.Str(read if isinstance(read, str) else "", c[0].span)

    def name(self, c: list[Any]) -> ast.Name:
        return ast.Name(c[0].text, c[0].span)

    def call(self, c: list[Any]) -> ast.Call:
        return ast.Call(c[0].text, _nodes(c), _span(c))

    def index(self, c: list[Any]) -> ast.Index:
        return ast.Index(c[0].text, _nodes(c), _span(c))

    def listing(self, c: list[Any]) -> ast.ListLit:
        return ast.ListLit(_nodes(c), _span(c))

    def start(self, c: list[Any]) -> tuple[ast.Item, ...]:
        return tuple(c)


@cache
def _lark() -> Lark:
    grammar = files("bnnc.grammar").joinpath("bnn.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="basic",
        start=["start", "value"],
        keep_all_tokens=True,
        maybe_placeholders=False,
        transformer=_Build(),
    )


class _Parser:
    def __init__(self, text: str, file: str, start: str) -> None:
        self.text, self.file = text, file
        self.errors: list[Diagnostic] = []
        self.comments: list[ast.Comment] = []
        self.tokens = self.lex()
        self.state = _lark().parse_interactive(start=start)
        self.lexical = [d.span.start for d in self.errors if self.text[d.span.start] != "/"]
        self.braces: list[_Token] = []
        self.suspect: _Token | None = None  # a `{` whose `}` is indented less than the line that opened it

    def report(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        help: str = "",
        notes: tuple[tuple[Span | None, str], ...] = (),
    ) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(Diagnostic(code, message, span, label, help, notes))

    def lex(self) -> list[_Token]:
        out: list[_Token] = []
        for t in _lark().lex(self.text, dont_ignore=True):
            text = str(t)
            start, line, col = t.start_pos or 0, t.line or 1, t.column or 1
            span = Span(self.file, start, start + len(text), line, col)
            token = _Token(t.type, text, span)
            match t.type:
                case "WS":
                    continue
                case "COMMENT":
                    own = not self.text[start - col + 1 : start].strip()
                    self.comments.append(ast.Comment(text.rstrip(), own, span))
                    continue
                case "WRONG_COMMENT":
                    self.report("B0106", "comments start with `#`, not with `//`", span, help="write `# ...`")
                    continue
                case "STRAY":
                    self.stray(text, span)
                    continue
                case "WRONG_QUOTES":
                    self.report(
                        "B0106", "strings are written with double quotes", span, help=f'write `"{_short(text[1:-1])}"`'
                    )
                    token.type, token.text = "STRING", '""'
                case "OPEN_STRING":
                    self.report(
                        "B0104",
                        "this string has no closing quote",
                        span,
                        "opened here",
                        'add `"`; a string ends on the line it starts on',
                    )
                    token.type, token.text = "STRING", '""'
                case "NUMBER":
                    if isinstance(wrong := read_number(text), tuple):
                        self.report(wrong[0], wrong[1], span, help=wrong[2])
                case "STRING":
                    if isinstance(bad := read_string(text), tuple):
                        self.report(bad[0], bad[1], span, help=bad[2])
            out.append(token)
        return [*out, _Token("$END", "", self.end_of_text())]

    def end_of_text(self) -> Span:
        n = len(self.text)
        return Span(self.file, n, n, self.text.count("\n") + 1, n - self.text.rfind("\n"))

    def stray(self, text: str, span: Span) -> None:
        hints = {
            ".": "file names are written in quotes",
            ":": "settings are written with `=`",
            "%": "a `%` directly follows its number: `10%`",
        }
        shown = _short(text) if text.isprintable() else f"U+{ord(text[0]):04X}"
        self.report(
            "B0106",
            f"unexpected character{'s' * (len(text) > 1 and text.isprintable())} `{shown}`",
            span,
            help=hints.get(text[0], "remove it"),
        )

    def too_deep(self) -> Span | None:
        """The place where nesting exceeds MAX_DEPTH; a bracket counts one, and so does each operator of a chain."""
        pending, depth = [0], 0
        for t in self.tokens:
            if t.type in _CLOSES.values():
                pending.append(0)
                depth += 1
            elif t.type in _CLOSES and len(pending) > 1:
                depth -= pending.pop() + 1
            elif t.type in ("COMMA", "SEMICOLON"):
                depth -= pending[-1]
                pending[-1] = 0
            elif t.type in _OPERATORS:
                pending[-1] += 1
                depth += 1
            if t.type == "RBRACE":
                depth -= pending[-1]
                pending[-1] = 0
            if depth > MAX_DEPTH:
                return t.span
        return None

    def run(self) -> Any:
        if deep := self.too_deep():
            self.report(
                "B0107",
                f"this is nested more than {MAX_DEPTH} levels deep",
                deep,
                help="move a part into a `block` or a `let`",
            )
            return None
        i = first = 0  # `first`: the token that starts the current statement
        brackets: list[_Token] = []  # open ( and [ of the current statement
        result = None
        while i < len(self.tokens) and len(self.errors) < MAX_ERRORS:
            t = self.tokens[i]
            try:
                if t.type in _OPERATORS and not brackets and self.in_arguments(first, i):
                    raise UnexpectedToken(t, set())
                result = self.state.feed_token(t)  # type: ignore[arg-type]
            except UnexpectedToken:
                resume = self.mistake(i, first, brackets)
                if resume is None:
                    return None
                i = first = resume
                brackets = []
                continue
            if t.type in ("LPAR", "LSQB"):
                brackets.append(t)
            elif t.type in ("RPAR", "RSQB"):
                brackets.pop()
            elif t.type == "LBRACE":
                self.braces.append(t)
            elif t.type == "RBRACE":
                opened = self.braces.pop()
                if self.suspect is None and self.indent(t) < self.indent(opened):
                    self.suspect = opened
            i += 1
            if t.type in ("SEMICOLON", "LBRACE", "RBRACE"):
                first, brackets = i, []
        return result

    def indent(self, t: _Token) -> int:
        line = self.text[t.span.start - t.span.col + 1 : t.span.start + 1]
        return len(line) - len(line.lstrip())

    def in_arguments(self, first: int, i: int) -> bool:
        """Whether token ``i`` follows a complete argument of a statement, so that an operator would be ambiguous."""
        if i < first + 2 or self.tokens[first].type != "NAME" or self.tokens[first + 1].type == "EQUAL":
            return False
        return self.tokens[i - 1].type in ("NAME", "NUMBER", "STRING", "RPAR", "RSQB")

    def slice(self, a: int, b: int) -> str:
        """The text of tokens ``a`` to ``b``, or of ``b`` alone when that is long or of several lines."""
        s, e = self.tokens[a].span, self.tokens[b].span
        text = self.text[s.start : e.end]
        return _short(text if s.line == e.line and len(text) <= 40 else self.text[e.start : e.end])

    # --- mistakes -----------------------------------------------------------------------------------------------

    def mistake(self, i: int, first: int, brackets: list[_Token]) -> int | None:
        """Report token ``i`` and make the parser ready to go on; the index to go on from, or None to stop."""
        t = self.tokens[i]
        accepts = self.state.accepts()
        before = self.tokens[max(0, i - 1)]
        # a keyword used as a name starts no statement
        as_name = before.type in ("LET", "BLOCK", "EQUAL") and before.span.line == t.span.line
        resume = self.sync(i + (as_name and t.type in ("LET", "BLOCK")))
        if not self.unseen_lexical(first, resume):
            resume = self.explain(i, first, brackets, accepts, resume)
        if t.type == "$END" and self.braces:
            return None
        stack = self.state.parser_state
        while "LET" not in accepts and self.state.choices().get("LET", (None,))[0] is not Shift:
            if not stack.value_stack:
                return None
            stack.state_stack.pop()
            stack.value_stack.pop()
        if self.tokens[resume].type == "LBRACE":
            self.state.feed_token(_Token("NAME", "_", t.span))  # type: ignore[arg-type]
        return resume

    def unseen_lexical(self, first: int, resume: int) -> bool:
        """A lexical mistake in this statement explains the syntax error: saying it twice would not help."""
        start = self.tokens[first - 1].span.end if first else 0
        end = self.tokens[resume].span.start
        return any(start <= at < end for at in self.lexical)

    def sync(self, i: int) -> int:
        while True:
            t = self.tokens[i]
            if t.type == "SEMICOLON":
                return i + 1
            if t.type in ("$END", "LET", "BLOCK", "LBRACE") or (t.type == "RBRACE" and self.braces):
                return i
            i += 1

    def explain(self, i: int, first: int, brackets: list[_Token], accepts: set[str], resume: int) -> int:
        t, prev = self.tokens[i], self.tokens[max(0, i - 1)]
        at_start = "LET" in accepts
        if t.type == "RBRACE" and not self.braces and at_start:
            self.report("B0103", "this `}` has no matching `{`", t.span, help="remove it, or add the missing `{`")
        elif t.type == "$END" and self.braces:
            opened = self.suspect or self.braces[-1]
            self.report("B0102", "this `{` is never closed", opened.span, "opened here", "add `}`")
        elif t.type == "SEMICOLON" and at_start:
            self.report("B0101", "there is no statement before this `;`", t.span, help="remove the `;`")
        elif t.type in ("RPAR", "RSQB") and not any(b.type == _CLOSES[t.type] for b in brackets):
            self.report("B0103", f"this {t} has no matching {_SHOWN[_CLOSES[t.type]]}", t.span, help="remove it")
        elif at_start:
            self.report(
                "B0101",
                f"expected a statement, found {t}",
                t.span,
                help="a statement starts with a name, e.g. `flatten;`",
            )
        elif (
            brackets
            and t.type in ("SEMICOLON", "LBRACE", "RBRACE", "$END", "LET", "BLOCK")
            and prev.type in ("NAME", "NUMBER", "STRING", "RPAR", "RSQB")
        ):
            close = {"LPAR": "`)`", "LSQB": "`]`"}[brackets[-1].type]
            self.report(
                "B0102",
                f"this {brackets[-1]} is never closed",
                brackets[-1].span,
                "opened here",
                f"add {close} after `{self.slice(i - 1, i - 1)}`",
            )
        elif t.type in _OPERATORS and "SEMICOLON" in accepts and self.in_arguments(first, i):
            self.report("B0110", "arithmetic in an argument needs parentheses", t.span, help=self.parenthesised(i))
        elif "SEMICOLON" in accepts:
            return self.missing_semicolon(i, first, resume)
        else:
            self.unexpected(t, prev, accepts)
        return resume

    def parenthesised(self, i: int) -> str:
        a, b = self.tokens[i - 1], self.tokens[i + 1]
        simple = all(x.type in ("NAME", "NUMBER") for x in (a, b))
        text = f"({a.text} {self.tokens[i].text} {b.text})" if simple else f"(... {self.tokens[i].text} ...)"
        comma = ", or put a comma before a negative argument" if self.tokens[i].type == "MINUS" else ""
        return f"write `{text}`{comma}"

    def missing_semicolon(self, i: int, first: int, resume: int) -> int:
        t, prev = self.tokens[i], self.tokens[i - 1]
        p = prev.span
        end = Span(p.file, p.end, p.end + 1, p.line, p.col + len(self.text[p.start : p.end]))
        text = self.slice(first, i - 1)
        later = t.span.line > p.line
        if later or t.type in ("RBRACE", "$END", "LET", "BLOCK"):
            self.report("B0101", f"expected `;` after `{text}`", end, help="add `;` here")
            return i if t.type in ("NAME", "RBRACE", "$END", "LET", "BLOCK") else resume
        self.report("B0101", f"expected `;` after `{text}`, found {t}", t.span)
        return resume

    def unexpected(self, t: _Token, prev: _Token, accepts: set[str]) -> None:
        left = set(accepts)
        want: list[str] = []
        if {"NUMBER", "STRING"} <= left:
            want.append("a value")
            left -= _VALUES
        if left & (_OPERATORS - {"MINUS"}):
            left -= {"LPAR", "LSQB"} if t.type not in ("LPAR", "LSQB") else set()
        want += sorted(_SHOWN[x] for x in left if x in _SHOWN)
        listed = " or ".join([", ".join(want[:-1]), want[-1]] if len(want) > 1 else want) or "something else"
        help = f"write {listed} here"
        if "a value" in want:
            help = "a value is a number, a string, a name, a list or a call such as `name(x = 1)`"
        if t.type in ("LET", "BLOCK") and "NAME" in accepts:
            help = f"`{t.text}` is a keyword; choose another name"
        elif prev.type == "NAME" and "EQUAL" in accepts and t.type in ("NUMBER", "STRING", "NAME"):
            help = f"write `{prev.text} = {_short(t.text)}`"
        elif t.type == "COMMA" and "RPAR" in accepts:
            help = "the arguments of a statement are not written in parentheses: `name a, b;`"
        after = f" after {prev}" if prev is not t else ""
        self.report("B0101", f"expected {listed}{after}, found {t}", t.span, help=help)


def _parse(text: str, file: str, start: str) -> tuple[Any, _Parser]:
    p = _Parser(text, file, start)
    result = p.run()
    if p.errors:
        raise BnncError(sorted(p.errors, key=lambda d: d.span.start), {file: text})
    return result, p


def parse(text: str, file: str = "<text>") -> ast.File:
    """The Ast of ``text``; ``file`` is only a name for messages.  Raises BnncError with every syntax error found."""
    items, p = _parse(text, file, "start")
    blank = frozenset(n for n, line in enumerate(text.split("\n"), 1) if not line.strip())
    return ast.File(items, tuple(p.comments), blank, Span(file, 0, len(text), 1, 1))


def parse_value(text: str, file: str = "<value>") -> ast.Value:
    """The Ast of a value on its own, such as ``edge(state = f16)`` from a command line."""
    value, _ = _parse(text, file, "value")
    return value  # type: ignore[no-any-return]
