"""Programs as text: one op a line, and back.  ``parse_program(print_program(p)) == p`` but for spans and regions.

%fc1.y = contract(%x, %fc1.wb) {form='nn'} : i16[100, 256]  @forward fc1

Blank lines, blanks before a line, and what stands behind ``#`` mean nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from ..diag import InternalError
from .dtype import NUMPY
from .ops import Shape
from .program import Attrs, Constant, Counter, Op, Program, Role, State, Value

Type = tuple[Shape, str]
NUMBER = r"-?(?:(?:inf|nan)\b|\d+(?:\.\d*)?(?:e[-+]?\d+)?)"
_ATOM = rf"{NUMBER}|(?:None|True|False)\b|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
NAME = r"[A-Za-z_]\w*"


def type_text(shape: Shape, dtype: str) -> str:
    """``i16[100, 256]``."""
    return f"{dtype}[{shape[0]}, {shape[1]}]"


def attrs_text(attrs: Attrs | None) -> str:
    """`` {form='nn'}``; of none, nothing."""
    return " {" + ", ".join(f"{k}={x!r}" for k, x in attrs) + "}" if attrs else ""


def constant(text: str) -> Any:
    """What ``repr`` wrote; infinities and NaN are names to Python."""
    return float(text) if text.lstrip("-") in ("inf", "nan") else ast.literal_eval(text)


def declarations(p: Program, form: str) -> list[str]:
    """What a step is given and holds, a line each, below a line that says which ``form`` of it this is."""
    out = [f"{form} {p.name} keep={p.keep!r}"]
    out += [f"input {p.value[i]}" for i in p.inputs]
    for s in p.states:
        fields = (s.role, s.init, s.init_value, s.stream, s.limit, *([s.step] if s.step else []))
        out.append(f"state {p.value[s.name]} = {fields!r}")
    return out + [f"constant {p.value[k.name]} = {k.rows!r}" for k in p.constants]


def ends(p: Program) -> list[str]:
    """What a step gives back."""
    return [f"update %{s} <- %{n}" for s, n in p.updates] + [f"result {role} %{n}" for role, n in p.results]


def print_program(p: Program) -> str:
    """The whole Program as text, ending in a newline."""
    out = declarations(p, "program")
    for op in p.ops:
        v, args = p.value[op.output], ", ".join("%" + i for i in op.inputs)
        where = f"  @{op.phase}" + (f" {op.layer}" if op.layer else "")
        out.append(f"%{v.name} = {op.kind}({args}){attrs_text(op.attrs)} : {type_text(v.shape, v.dtype)}{where}")
    return "\n".join((*out, *ends(p))) + "\n"


class Reader:
    """A text, read from left to right; a mistake is told with its line, its column and the reason."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self._skip_lines()

    def take(self, pattern: str) -> str:
        """What matches, behind blanks; empty, and nothing is read, where nothing does."""
        m = re.compile(rf"[ \t]*({pattern})").match(self.text, self.at)
        self.at = m.end() if m else self.at
        return m[1] if m else ""

    def sees(self, pattern: str) -> bool:
        """Does this come next?"""
        return re.compile(rf"[ \t]*(?:{pattern})").match(self.text, self.at) is not None

    def need(self, pattern: str, what: str) -> str:
        """What matches; it is a mistake where nothing does."""
        return self.take(pattern) or self.fail(f"expected {what}")

    def fail(self, reason: str, at: int | None = None) -> NoReturn:
        """Raise InternalError for what comes next, or stands ``at`` a place."""
        self.at = self.at if at is None else at
        self.take("")
        before = self.text[: self.at]
        line, column = before.count("\n") + 1, self.at - before.rfind("\n")
        raise InternalError(f"line {line}, column {column}: {reason}")

    def end(self) -> None:
        """The end of a line, and all lines that are empty behind it."""
        if self.at < len(self.text) and not self.sees(r"(?:#.*)?(?:\n|\Z)"):
            self.fail("expected the end of the line")
        self.at = self.text.find("\n", self.at) + 1 or len(self.text)
        self._skip_lines()

    def _skip_lines(self) -> None:
        m = re.compile(r"(?:[ \t]*(?:#.*)?(?:\n|\Z))*").match(self.text, self.at)
        self.at = m.end() if m else self.at

    # -- what texts are made of ---------------------------------------------------------------------------------------
    def value(self) -> str:
        """The name behind a ``%``."""
        self.need("%", "`%` and a name")
        return self.need(r"[\w.]+(?:@\d)?(?:~\d+)?", "a name")

    def literal(self) -> Any:
        """A number, a text in quotes, None, True, False, or a tuple of them, as ``repr`` writes it."""
        if self.take(r"\("):
            return self.items(self.literal, r"\)")
        atom = self.need(_ATOM, "a number, a text in quotes, None or a tuple")
        return constant(atom)

    def items(self, one: Any, close: str) -> tuple[Any, ...]:
        """What ``one`` reads, with commas between, up to and with ``close``."""
        found = []
        while not self.take(close):
            found.append(one())
            if not self.take(","):
                self.need(close, f"`,` or `{close[-1]}`")
                break
        return tuple(found)

    def shape(self) -> Shape:
        """``[100, 256]``."""
        start = self.at
        self.need(r"\[", "`[`")
        rows, cols, *more = (*self.items(lambda: int(self.need(r"\d+", "a number")), r"\]"), 0, 0)
        if len(more) != 2:
            self.fail("a matrix has rows and columns", start)
        return rows, cols

    def type(self) -> Type:
        """``i16[100, 256]``."""
        if not self.sees(rf"(?:{'|'.join(NUMPY)})\b"):
            self.fail(f"expected a dtype: {', '.join(NUMPY)}")
        dtype = self.take(NAME)
        return self.shape(), dtype

    def attrs(self) -> Attrs:
        """``{form='nn'}``, if it is there."""

        def one() -> tuple[str, Any]:
            key = self.need(NAME, "a name")
            self.need("=", "`=`")
            return key, self.literal()

        return self.items(one, r"\}") if self.take(r"\{") else ()

    def where(self) -> tuple[str, str]:
        """``@forward fc1``: phase and layer."""
        self.need("@", "`@` and a phase")
        return self.need(NAME, "a phase"), self.take(r"[^\s#]+")


class ProgramReader(Reader):
    """What texts of all forms have in common, and Programs."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.inputs: list[str] = []
        self.states: list[State] = []
        self.constants: list[Constant] = []
        self.updates: list[tuple[str, str]] = []
        self.results: list[tuple[Role, str]] = []
        self.types: dict[str, Type] = {}

    def declarations(self, form: str) -> None:
        """The first line, inputs, states and constants."""
        self.need(rf"{form}\b", f"`{form}`")
        self.name = self.need(NAME, "a name")
        self.need("keep=", "`keep=`")
        self.keep = self.literal()
        self.end()
        while word := self.take(r"(?:input|state|constant)\b"):
            name = self.value()
            self.need(":", "`:`")
            self.types[name] = self.type()
            if word == "input":
                self.inputs.append(name)
            else:
                self.need("=", "`=`")
                start, fields = self.at, self.literal()
                if word == "constant":
                    self.constants.append(Constant(name, fields))
                elif isinstance(fields, tuple) and 2 <= len(fields) <= 6:
                    self.states.append(State(name, *fields))
                else:
                    self.fail("expected (role, how it starts, with which value, stream, limit, step)", start)
            self.end()

    def ends(self) -> None:
        """Updates and results."""
        while word := self.take(r"(?:update|result)\b"):
            if word == "update":
                state = self.value()
                self.need("<-", "`<-`")
                self.updates.append((state, self.value()))
            else:
                role = self.need(r"[^\s%]+", "what it is")
                self.results.append((Counter.parse(role) if role.count(":") == 2 else role, self.value()))
            self.end()

    def finish(self, ops: Iterable[Op] = ()) -> Program:
        """The Program of all that was read, which was all there is."""
        if self.at < len(self.text):
            self.fail("nothing known begins like this")
        values = tuple(Value(n, *t) for n, t in self.types.items())
        return Program(
            self.name,
            values,
            tuple(ops),
            tuple(self.inputs),
            tuple(self.states),
            tuple(self.results),
            tuple(self.updates),
            constants=tuple(self.constants),
            keep=self.keep,
        )

    def op(self) -> Op:
        """A line that makes a value."""
        output = self.value()
        self.need("=", "`=`")
        kind = self.need(NAME, "an op")
        self.need(r"\(", "`(`")
        inputs, attrs = self.items(self.value, r"\)"), self.attrs()
        self.need(":", "`:` and a type")
        self.types[output] = self.type()
        phase, layer = self.where()
        self.end()
        return Op(kind, inputs, output, attrs, phase, layer)


def parse_program(text: str) -> Program:
    """Read what :func:`print_program` wrote.  Raises InternalError, with line and column, for anything else."""
    r, ops = ProgramReader(text), []
    r.declarations("program")
    r.ends()
    while r.sees("%"):
        ops.append(r.op())
        r.ends()
    return r.finish(ops)
