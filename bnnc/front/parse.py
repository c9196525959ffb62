"""Parse: text -> Ast.  Reports every syntax mistake of a text in one run, and nothing but BnncError ever leaves it.

The grammar is ``grammar/bnn.lark`` (LALR).  After a mistake the parser goes back to the innermost list of statements,
skips to the next ``;`` or ``}`` and continues, so each wrong statement gives one message.  Nesting is bounded, so that
no later pass needs to worry about recursion.

Non-goals: knowing any layer, rule or setting name, and computing anything but the value of a number with its unit.

    dense 256   ->   error[B0101]: expected `;` after `dense 256`
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from lark import Lark, UnexpectedToken
from lark.parsers.lalr_analysis import Shift

from ..cache import cache_folder
from ..diag import BnncError, Diagnostic, Span
from . import ast
from .literals import read_number, read_string, short
from .tree import Build, Token

MAX_DEPTH = 64  # open brackets plus pending operators
MAX_ERRORS = 100
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


@cache
def _lark() -> Lark:
    """The parser; its tables, half a second's work, are kept in the cache."""
    kept = cache_folder("grammar")
    grammar = files("bnnc.grammar").joinpath("bnn.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="basic",
        start=["start", "value"],
        keep_all_tokens=True,
        maybe_placeholders=False,
        transformer=Build(),
        cache=str(kept / "bnn.lark.tables") if kept else False,
    )


class _Parser:
    def __init__(self, text: str, file: str, start: str) -> None:
        self.text, self.file = text, file
        self.errors: list[Diagnostic] = []
        self.comments: list[ast.Comment] = []
        self.tokens = self.lex()
        self.state = _lark().parse_interactive(start=start)
        self.lexical = [d.span.start for d in self.errors if self.text[d.span.start] != "/"]
        self.braces: list[Token] = []
        self.suspect: Token | None = None  # a `{` whose `}` is indented less than the line that opened it

    def report(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        help: str = "",
        notes: tuple[tuple[Span | None, str], ...] = (),
    ) -> None:
        """Keep a mistake; those beyond MAX_ERRORS are dropped."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(Diagnostic(code, message, span, label, help, notes))

    def lex(self) -> list[Token]:
        """All tokens, and one for the end of the text; keeps comments, reports what the lexer alone sees."""
        out: list[Token] = []
        for t in _lark().lex(self.text, dont_ignore=True):
            text = str(t)
            start, line, col = t.start_pos or 0, t.line or 1, t.column or 1
            span = Span(self.file, start, start + len(text), line, col)
            token = Token(t.type, text, span)
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
                        "B0106", "strings are written with double quotes", span, help=f'write `"{short(text[1:-1])}"`'
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
        return [*out, Token("$END", "", self.end_of_text())]

    def end_of_text(self) -> Span:
        """The place behind the last character."""
        n = len(self.text)
        return Span(self.file, n, n, self.text.count("\n") + 1, n - self.text.rfind("\n"))

    def stray(self, text: str, span: Span) -> None:
        """Report characters that begin nothing."""
        hints = {
            ".": "file names are written in quotes",
            ":": "settings are written with `=`",
            "%": "a `%` directly follows its number: `10%`",
        }
        shown = short(text) if text.isprintable() else f"U+{ord(text[0]):04X}"
        self.report(
            "B0106",
            f"unexpected character{'s' if len(text) > 1 and text.isprintable() else ''} `{shown}`",
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
        """The tree, or None where parsing could not go on; ``errors`` tells of all mistakes."""
        if deep := self.too_deep():
            self.report(
                "B0107",
                f"this is nested more than {MAX_DEPTH} levels deep",
                deep,
                help="move a part into a `block` or a `let`",
            )
            return None
        i = first = 0  # `first`: the token that starts the current statement
        brackets: list[Token] = []  # open ( and [ of the current statement
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
            self.nest(t, brackets)
            i += 1
            if t.type in ("SEMICOLON", "LBRACE", "RBRACE"):
                first, brackets = i, []
        return result

    def nest(self, t: Token, brackets: list[Token]) -> None:
        """Keep what is open: ``brackets`` ( and [ of the current statement, and braces."""
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

    def indent(self, t: Token) -> int:
        """How far the line of a token is indented."""
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
        return short(text if s.line == e.line and len(text) <= 40 else self.text[e.start : e.end])

    # --- mistakes -----------------------------------------------------------------------------------------------

    def mistake(self, i: int, first: int, brackets: list[Token]) -> int | None:
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
            self.state.feed_token(Token("NAME", "_", t.span))  # type: ignore[arg-type]
        return resume

    def unseen_lexical(self, first: int, resume: int) -> bool:
        """A lexical mistake in this statement explains the syntax error: saying it twice would not help."""
        start = self.tokens[first - 1].span.end if first else 0
        end = self.tokens[resume].span.start
        return any(start <= at < end for at in self.lexical)

    def sync(self, i: int) -> int:
        """The index at which the next statement can begin, from token ``i`` on."""
        while True:
            t = self.tokens[i]
            if t.type == "SEMICOLON":
                return i + 1
            if t.type in ("$END", "LET", "BLOCK", "LBRACE") or (t.type == "RBRACE" and self.braces):
                return i
            i += 1

    def explain(self, i: int, first: int, brackets: list[Token], accepts: set[str], resume: int) -> int:
        """Report what is wrong with token ``i``; the index to go on from."""
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
        """The way out for arithmetic in an argument, before and after whose operator ``i`` the operands stand."""
        a, b = self.tokens[i - 1], self.tokens[i + 1]
        simple = all(x.type in ("NAME", "NUMBER") for x in (a, b))
        text = f"({a.text} {self.tokens[i].text} {b.text})" if simple else f"(... {self.tokens[i].text} ...)"
        comma = ", or put a comma before a negative argument" if self.tokens[i].type == "MINUS" else ""
        return f"write `{text}`{comma}"

    def missing_semicolon(self, i: int, first: int, resume: int) -> int:
        """Report the end of a statement that has no `;`; the index to go on from."""
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

    def unexpected(self, t: Token, prev: Token, accepts: set[str]) -> None:
        """Report a token that cannot stand here, with what could."""
        want = self.wanted(t, accepts)
        listed = " or ".join([", ".join(want[:-1]), want[-1]] if len(want) > 1 else want) or "something else"
        help = f"write {listed} here"
        if "a value" in want:
            help = "a value is a number, a string, a name, a list or a call such as `name(x = 1)`"
        if t.type in ("LET", "BLOCK") and "NAME" in accepts:
            help = f"`{t.text}` is a keyword; choose another name"
        elif prev.type == "NAME" and "EQUAL" in accepts and t.type in ("NUMBER", "STRING", "NAME"):
            help = f"write `{prev.text} = {short(t.text)}`"
        elif t.type == "COMMA" and "RPAR" in accepts:
            help = "the arguments of a statement are not written in parentheses: `name a, b;`"
        after = f" after {prev}" if prev is not t else ""
        self.report("B0101", f"expected {listed}{after}, found {t}", t.span, help=help)

    def wanted(self, t: Token, accepts: set[str]) -> list[str]:
        """What could stand in a token's place, in words."""
        left = set(accepts)
        want: list[str] = []
        if {"NUMBER", "STRING"} <= left:
            want.append("a value")
            left -= _VALUES
        if left & (_OPERATORS - {"MINUS"}):
            left -= {"LPAR", "LSQB"} if t.type not in ("LPAR", "LSQB") else set()
        return want + sorted(_SHOWN[x] for x in left if x in _SHOWN)


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
