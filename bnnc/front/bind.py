"""Bind: the values of an Ast -> plain Python values, following the parameter schemas of the registry.

``resolve`` replaces names by what ``let`` and block parameters bound them to and does the arithmetic; ``bind`` matches
arguments with parameters; ``coerce`` checks one value's type, choices and bounds.  Promise: a mistake is reported once,
with the place of the value and of its definition, and work goes on with the next argument.

Non-goals: layers, shapes and sections of a spec, which are ``check``'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..diag import Diagnostic, InternalError, Span, did_you_mean
from ..model import MAX_DIM, MAX_ELEMENTS, MAX_RANK, Call, TensorType
from ..registry import REQUIRED, Named, Param, Tables
from . import ast
from .literals import SIZE_UNITS
from .values import DATA_KINDS, NUMBERS, WANTED, describe, fits, one_of, quotes, unquoted

_BOOLS = {"on": True, "true": True, "off": False, "false": False}


class Reported(Exception):
    """The mistake is in the log already; whoever catches this goes on with the next argument, layer or statement."""


class Stop(Reported):
    """As Reported, and nothing sensible can follow."""


@dataclass
class Log:
    """Collects diagnostics, each once.  ``uses`` are the blocks being expanded, ``origins`` where values come from."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    uses: list[tuple[str, Span]] = field(default_factory=list)
    origins: dict[Span, tuple[str, Span]] = field(default_factory=dict)
    seen: set[tuple[str, Span, str]] = field(default_factory=set)
    chosen: list[str] = field(default_factory=list)  # defaults that follow from more than the registry, in words

    def add(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        help: str = "",
        notes: Iterable[tuple[Span | None, str]] = (),
        severity: str = "error",
    ) -> None:
        """Note a mistake or warning, once; where its value came from and the block it stands in are added."""
        if (code, span, message) in self.seen:
            return
        self.seen.add((code, span, message))
        more = list(notes)
        if span in self.origins:
            name, where = self.origins[span]
            more.append((where, f"`{name}` gets its value here"))
        if self.uses:
            name, where = self.uses[-1]
            more.append((where, f"in this use of the block `{name}`"))
        self.diagnostics.append(Diagnostic(code, message, span, label, help, tuple(more), severity))

    def fail(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        help: str = "",
        notes: Iterable[tuple[Span | None, str]] = (),
    ) -> Reported:
        """Report an error; the result is for ``raise``."""
        self.add(code, message, span, label, help, notes)
        return Reported()

    @property
    def errors(self) -> list[Diagnostic]:
        """Without the warnings."""
        return [d for d in self.diagnostics if d.severity == "error"]


@dataclass
class Scope:
    """Names bound by ``let`` or as block parameters.  A value of None was wrong: using it is not a second mistake."""

    parent: Scope | None = None
    values: dict[str, tuple[ast.Value | None, Span]] = field(default_factory=dict)
    later: dict[str, Span] = field(default_factory=dict)  # defined further down

    def find(self, name: str) -> tuple[ast.Value | None, Span] | None:
        """The innermost definition of a name and its place, or None."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        return None

    def names(self) -> list[str]:
        """All names that are defined here, innermost first."""
        return [*self.values, *(self.parent.names() if self.parent else ())]

    def after(self, name: str) -> Span | None:
        """Where a name that is not defined yet will be, or None."""
        return self.later.get(name) or (self.parent.after(name) if self.parent else None)


class Binder:
    """Values and arguments, for one spec and one registry.  After ``resolve``, ``scope`` only serves suggestions."""

    def __init__(self, tables: Tables, log: Log) -> None:
        self.tables, self.log = tables, log

    # --- values -------------------------------------------------------------------------------------------------

    def resolve(self, v: ast.Value, scope: Scope) -> ast.Value:
        """``v`` with names replaced and arithmetic done.  A name that nothing binds stays: it may be a choice."""
        match v:
            case ast.Name():
                if (found := scope.find(v.id)) is None:
                    return v
                if found[0] is None:
                    raise Reported
                self.log.origins[v.span] = (v.id, found[1])
                return replace(found[0], span=v.span)
            case ast.Call():
                return replace(v, args=self.resolve_args(v.args, scope))
            case ast.Index() | ast.ListLit():
                return replace(v, items=tuple(self.resolve(x, scope) for x in v.items))
            case ast.Neg():
                n = self.number(v.value, scope)
                return ast.Num(-n.value, n.unit, f"-{n.text}", v.span)
            case ast.BinOp():
                return self.compute(v, self.number(v.left, scope), self.number(v.right, scope))
        return v

    def resolve_args(self, args: Iterable[ast.Arg], scope: Scope) -> tuple[ast.Arg, ...]:
        """Arguments with their values resolved."""
        return tuple(replace(a, value=self.resolve(a.value, scope)) for a in args)

    def number(self, v: ast.Value, scope: Scope) -> ast.Num:
        """The number that a value is.  Raises Reported for anything else."""
        n = self.resolve(v, scope)
        if isinstance(n, ast.Num):
            return n
        if isinstance(n, ast.Name):
            raise self.unknown_name(n, scope)
        raise self.log.fail(
            "B0407",
            f"arithmetic needs numbers, got {describe(n)}",
            n.span,
            "not a number",
            unquoted(n) or "give a number, or the name of one",
        )

    def unknown_name(self, n: ast.Name, scope: Scope) -> Reported:
        """Report a name that nothing defines; the result is for ``raise``."""
        if where := scope.after(n.id):
            return self.log.fail(
                "B0210",
                f"`{n.id}` is used before its definition",
                n.span,
                help=f"move `let {n.id} = ...;` up",
                notes=[(where, "defined here")],
            )
        hint = did_you_mean(n.id, scope.names()) or f"define it: `let {n.id} = ...;`"
        return self.log.fail("B0201", f"unknown name `{n.id}`", n.span, "not defined", hint)

    def compute(self, v: ast.BinOp, a: ast.Num, b: ast.Num) -> ast.Num:
        """Two numbers and an operator; a size stays one.  Raises Reported for a division by 0 and beyond 2^63."""
        x, y, size = a.value, b.value, {a.unit, b.unit} & set(SIZE_UNITS)
        result: int | float
        match v.op:
            case "+":
                result = x + y
            case "-":
                result = x - y
            case "*":
                result = x * y
            case _:
                if y == 0:
                    raise self.log.fail("B0407", "division by zero", v.span, help="divide by something else")
                exact = isinstance(x, int) and isinstance(y, int) and x % y == 0
                result = x // y if exact else x / y
                size = size if b.unit not in SIZE_UNITS else set()
        if not math.isfinite(result) or abs(result) >= 2**63:
            raise self.log.fail(
                "B0407", "the result of this arithmetic is too large", v.span, help="numbers must stay below 2^63"
            )
        return ast.Num(result, "B" if size else "", str(result), v.span)

    def let(self, item: ast.Let, scope: Scope, value: ast.Value) -> None:
        """Define a name; a wrong value defines it too, so that its uses are no further mistakes."""
        if item.name in scope.values:
            self.log.add(
                "B0203",
                f"`{item.name}` is defined twice",
                item.name_span,
                "second definition",
                "choose another name",
                [(scope.values[item.name][1], "first defined here")],
            )
            return
        try:
            if isinstance(value, ast.Name) and scope.after(value.id):
                raise self.unknown_name(value, scope)
            scope.values[item.name] = (self.resolve(value, scope), item.name_span)
        except Reported:
            scope.values[item.name] = (None, item.name_span)
        scope.later.pop(item.name, None)

    def no_body(self, s: ast.Stmt) -> None:
        """Raises Reported where a statement has a body that it does not take."""
        if s.body is not None:
            raise self.log.fail(
                "B0408",
                f"`{s.name}` takes no body",
                Span(s.body_span.file, s.body_span.start, s.body_span.start + 1, s.body_span.line, s.body_span.col),
                "not expected",
                f"write `{s.name} ...;`; arguments of a {s.name} stand in parentheses after its name"
                if s.name == "rule"
                else "remove the body",
            )

    # --- one parameter ------------------------------------------------------------------------------------------

    def coerce(self, what: str, p: Param, v: ast.Value, scope: Scope, hint: str = "") -> Any:
        """The Python value of ``v`` for parameter ``p`` of ``what``; raises Reported."""
        if p.type == "encoder" or ":" in p.type:
            return self.called(p, v, scope, hint)
        if isinstance(v, ast.Name) and p.type in NUMBERS:
            if hint:
                raise self.log.fail("B0201", f"unknown name `{v.id}`", v.span, "not defined", hint)
            raise self.unknown_name(v, scope)
        of = f"`{p.name}` of `{what}`"
        match p.type, v:
            case ("int" | "float" | "size", ast.Num()) if fits(p.type, v):
                return self.bounded(of, p, float(v.value) if p.type == "float" else int(v.value), v.span)
            case ("ints" | "floats", ast.Num() | ast.ListLit()):
                items = v.items if isinstance(v, ast.ListLit) else (v,)
                return tuple(self.coerce(what, replace(p, type=p.type[:-1]), x, scope, hint) for x in items)
            case ("bool", ast.Name()) if v.id in _BOOLS:
                return _BOOLS[v.id]
            case ("str", ast.Str()):
                return v.value
            case ("tensor", ast.Index()):
                return self.tensor(p, v, scope)
            case ("name", ast.Name()):
                return self.choice(of, p, v, hint)
        raise self.wrong_type(of, p, v, hint)

    def called(self, p: Param, v: ast.Value, scope: Scope, hint: str) -> Call | tuple[Call, ...]:
        """The Call that ``v`` is, or the Calls of a list; raises Reported, for a name that comes twice too."""
        if not p.type.startswith("calls:"):
            return self.call(self.records(p), p.name, v, scope, hint)
        calls = tuple(self.call(self.records(p), p.name, x, scope, hint) for x in getattr(v, "items", (v,)))
        for i, c in enumerate(calls):
            if c.name in {x.name for x in calls[:i]}:
                raise self.log.fail(
                    "B0405", f"`{c.name}` is given twice", c.span, "second one", "remove one of the two"
                )
        return calls

    def records(self, p: Param) -> Mapping[str, Named]:
        """Those that a call may name: a table, or the parameter's choices of it."""
        table = getattr(self.tables, "encoders" if p.type == "encoder" else p.type.partition(":")[2])
        return {n: table[n] for n in p.choices} or table

    def choice(self, of: str, p: Param, v: ast.Name, hint: str) -> str:
        """A name that is one of the parameter's choices, where it has some.  Raises Reported."""
        if not p.choices or v.id in p.choices:
            return v.id
        raise self.log.fail(
            "B0403",
            f"{of} cannot be `{v.id}`",
            v.span,
            f"expected {one_of(list(p.choices))}",
            hint or did_you_mean(v.id, p.choices) or f"choose {one_of(list(p.choices))}",
        )

    def wrong_type(self, of: str, p: Param, v: ast.Value, hint: str) -> Reported:
        """Report a value of another type than the parameter's; the result is for ``raise``."""
        if p.type not in WANTED:
            raise InternalError(f"parameter {of} has the unknown type {p.type!r}")
        wanted = one_of(list(p.choices)) if p.choices else WANTED[p.type]
        return self.log.fail(
            "B0401",
            f"{of} must be {wanted}, got {describe(v)}",
            v.span,
            f"expected {wanted}",
            quotes(p, v) or hint or (f"`{p.name}`: {p.doc}" if p.doc else ""),
        )

    def bounded(self, of: str, p: Param, n: Any, span: Span) -> Any:
        """The number, within the parameter's bounds.  Raises Reported."""
        wrong = ""
        if p.above is not None and n <= p.above:
            wrong = f"above {p.above:g}"
        elif p.minimum is not None and n < p.minimum:
            wrong = f"at least {p.minimum:.15g}"
        elif p.maximum is not None and n > p.maximum:
            wrong = f"at most {p.maximum:.15g}"
        if wrong:
            raise self.log.fail(
                "B0402",
                f"{of} must be {wrong}, got {n:.15g}",
                span,
                f"must be {wrong}",
                f"`{p.name}`: {p.doc}" if p.doc else "",
            )
        return n

    def tensor(self, p: Param, v: ast.Index, scope: Scope) -> TensorType:
        """A type such as `u8[28, 28]`.  Raises Reported for another kind, and for one that is too large."""
        kinds = list(p.choices) or DATA_KINDS
        if v.name not in kinds:
            raise self.log.fail(
                "B0303",
                f"`{v.name}` is not a type of data",
                ast.head(v),
                f"expected {one_of(kinds)}",
                did_you_mean(v.name, kinds) or f"write e.g. `{kinds[0]}[28, 28]`",
            )
        dim = Param("size", "int", minimum=1, maximum=MAX_DIM)
        shape = tuple(self.coerce(v.name, dim, x, scope) for x in v.items)
        t = TensorType(v.name, shape)
        if len(shape) > MAX_RANK or t.elements > MAX_ELEMENTS:
            raise self.log.fail(
                "B0307", f"a sample of type {t} is too large", v.span, help=f"at most {MAX_RANK} axes and 2^31 elements"
            )
        return t

    # --- calls and argument lists -------------------------------------------------------------------------------

    def call(self, table: Mapping[str, Named], what: str, v: ast.Value, scope: Scope, hint: str = "") -> Call:
        """``v``, a name or a call, as a Call of a record of ``table`` with every argument filled in."""
        kind = getattr(table, "what", what)
        if isinstance(v, ast.Name):
            v = ast.Call(v.id, (), v.span)
        if not isinstance(v, ast.Call):
            raise self.log.fail(
                "B0401",
                f"`{what}` must be the name of {_article(kind)}, got {describe(v)}",
                v.span,
                help=hint or f"choose {one_of(sorted(table))}",
            )
        if v.name not in table:
            known = [f"`{v.name}` is called `{r.name}` here" for r in table.values() if v.name in r.about.known]
            raise self.log.fail(
                "B0204",
                f"unknown {kind} `{v.name}`",
                ast.head(v),
                f"no such {kind}",
                hint or next(iter(known), "") or did_you_mean(v.name, table) or f"choose {one_of(sorted(table))}",
            )
        record = table[v.name]
        values = self.bind(record.name, record.params, v.args, ast.head(v), scope, form="{}(<{}>)")
        return Call(record.name, tuple((p.name, values[p.name]) for p in record.params), v.span)

    def default(self, p: Param) -> Any:
        """The default of ``p``; that of a call is completed with the defaults of the record it names."""
        if not isinstance(p.default, Call):
            return p.default
        table = self.tables.encoders if p.type == "encoder" else getattr(self.tables, p.type.removeprefix("call:"))
        given = dict(p.default.args)
        params = table[p.default.name].params
        return Call(p.default.name, tuple((q.name, given.get(q.name, self.default(q))) for q in params))

    def bind(
        self,
        what: str,
        params: Sequence[Param],
        args: Sequence[ast.Arg],
        span: Span,
        scope: Scope,
        noun: str = "parameter",
        form: str = "{} <{}>",
    ) -> dict[str, Any]:
        """Match resolved ``args`` with ``params``.  Reports every mistake among them, then raises Reported if any.

        ``form`` shows how ``what`` is written with its positional arguments, for a hint.
        """
        out: dict[str, Any] = {}
        placed: dict[str, Span] = {}
        positional = [p for p in params if p.positional]
        count, ok, last = 0, True, span
        for a in args:
            hint = self.new_line(a, last)
            last = a.span
            try:
                if a.name is not None:
                    p = self.parameter(what, params, a, noun)
                elif (count := count + 1) > len(positional):
                    raise self.too_many(what, params, count, a, hint)
                else:
                    p = positional[count - 1]
                self.once(what, p, a, placed)
                out[p.name] = self.coerce(what, p, a.value, scope, hint)
            except Stop:
                raise
            except Reported:
                ok = False
        for p in (p for p in params if p.name not in placed):
            if p.default is REQUIRED and ok:
                self.needs(what, p, span, form)
                ok = False
            out[p.name] = self.default(p)
        if not ok:
            raise Reported
        return out

    def new_line(self, a: ast.Arg, last: Span) -> str:
        """A hint, where an argument without a name begins a line."""
        begins = a.name is None and a.span.line > last.line
        return "is a `;` missing at the end of the line before?" if begins else ""

    def once(self, what: str, p: Param, a: ast.Arg, placed: dict[str, Span]) -> None:
        """Note where a parameter is given; raises Reported where it was before."""
        if p.name in placed:
            raise self.log.fail(
                "B0405",
                f"`{p.name}` of `{what}` is given twice",
                a.span,
                "second value",
                "remove one of the two",
                [(placed[p.name], "first given here")],
            )
        placed[p.name] = a.span

    def parameter(self, what: str, params: Sequence[Param], a: ast.Arg, noun: str) -> Param:
        """The parameter that a named argument gives.  Raises Reported."""
        by_name = {p.name: p for p in params}
        if a.name in by_name:
            return by_name[a.name]
        raise self.log.fail(
            "B0205",
            f"`{what}` has no {noun} `{a.name}`",
            a.span,
            f"no such {noun}",
            did_you_mean(a.name or "", by_name) or (f"choose {one_of(list(by_name))}" if by_name else "remove it"),
        )

    def needs(self, what: str, p: Param, span: Span, form: str) -> None:
        """Report an argument that is missing."""
        wanted = form.format(what, p.name) if p.positional else f"{p.name} = ..."
        self.log.add(
            "B0404",
            f"`{what}` needs `{p.name}`",
            span,
            f"`{p.name}` is missing",
            f"write `{wanted}`" + (f"; `{p.name}`: {p.doc}" if p.doc else ""),
        )

    def too_many(self, what: str, params: Sequence[Param], count: int, a: ast.Arg, hint: str) -> Reported:
        """Report an argument without a name that has no parameter; the result is for ``raise``."""
        positional = sum(p.positional for p in params)
        can = {ast.Num: ("int", "float", "size"), ast.Name: ("name", "bool")}.get(type(a.value))
        others = [p.name for p in params if not p.positional and (can is None or p.type in can)]
        takes = (
            "no arguments"
            if not params
            else "only named arguments"
            if not positional
            else (f"{positional} argument{'s' if positional > 1 else ''} without a name")
        )
        help = hint or (f"write `{others[0]} = ...`" if others else "remove it")
        label = "one too many" if params else "not expected"
        return self.log.fail("B0406", f"`{what}` takes {takes}", a.span, label, help)


def _article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun
