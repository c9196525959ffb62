"""Schedules as text: one kernel after the other, and back.  ``parse_schedule(print_schedule(s)) == s`` but for spans,
hints and reasons.

    kernel reduce_rows_batchnorm1_inv [4, 6]  @forward batchnorm1   a name, the domain, where it is from
      a = %dense1.y - %batchnorm1.mu                                what is used twice, or makes a line long
      acc0 = reduce(a * a) {axis=0, how='sum'}                      what the anchor computes, as an op
      %batchnorm1.inv: f32[1, 6] = 1.0 / sqrt(acc0 / 4.0)           what is stored

A type stands where it does not follow: behind what is stored first, and behind a node that has another one than its op
gives for its operands (``(a * b) : f32[4, 6]``).  There is one infix operator between two parentheses.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from ..diag import InternalError
from ..ir.dtype import NUMPY
from ..ir.ops import OPS, Shape
from ..ir.program import Op, Value
from ..ir.ref import Ref
from ..ir.text import NAME, NUMBER, ProgramReader, Type, attrs_text, constant, declarations, ends, type_text
from .anchor import Accumulation, Anchor, Map, anchor_of
from .expr import INFIX, Expr, Written, bare
from .kernel import Kernel, Output, Schedule, Where

ACC = r"acc\d+"
_OF_INFIX = {sign: op for op, sign in INFIX.items()}
_RESERVED = ("col", "inf", "nan")  # and accumulators


def type_of(e: Expr, types: Mapping[Ref, Type], domain: Shape, calls: Sequence[Expr]) -> Type | str:
    """The type of a node in a kernel of this domain, with these accumulators; where none follows, a reason."""
    if e.op == "load":
        return types.get(e.attr) or f"nothing stores %{e.attr}"
    if e.op == "acc":
        return (calls[e.attr].shape, calls[e.attr].dtype) if e.attr < len(calls) else f"no acc{e.attr} stands above"
    if e.op in ("col", "step"):
        return ((1, domain[1]) if e.op == "col" else (domain[0], 1)), "i32"
    if e.op == "const":
        return (1, 1), "i32" if isinstance(e.attr, int) else "f32"
    try:
        return OPS[e.op].infer(e.args, dict(e.attr or ()))
    except (InternalError, LookupError, ValueError) as reason:
        return f"{e.op}: {type(reason).__name__} {reason}" if isinstance(reason, LookupError) else str(reason)


def _said(e: Expr, args: Sequence[str]) -> str:
    """A node without its type, around the texts of its operands."""
    if e.op == "load":
        return f"%{e.attr}"
    if e.op == "acc":
        return f"acc{e.attr}"
    if e.op == "const":
        return repr(e.attr)
    if e.op == "col":
        return e.op
    if e.op in INFIX:
        return f"({args[0]} {INFIX[e.op]} {args[1]})"
    inside = ", ".join(map(bare, args))
    if e.op == "cast":
        return f"{dict(e.attr)['dtype']}({inside})"
    return f"{e.op}({inside})" + attrs_text((("steps", e.attr),) if e.op == "step" else e.attr)


def print_kernel(k: Kernel, types: Mapping[Ref, Type], made: Mapping[Ref, Type]) -> list[str]:
    """A kernel that reads values of some types, and stores some, as it sees them."""
    calls = k.anchor.calls(k.domain)

    def said(e: Expr, args: Sequence[str]) -> str:
        follows = type_of(e, types, k.domain, calls) == (e.shape, e.dtype)
        return _said(e, args) if follows else f"{_said(e, args)} : {type_text(e.shape, e.dtype)}"

    written = Written(k.exprs(), said, (*_RESERVED, *(f"acc{n}" for n in range(len(calls)))))
    accs = [f"acc{n} = {written.around(e)}" for n, e in enumerate(calls)]
    where = f"  @{k.where.phase} {k.where.layer}".rstrip()
    lines = [f"kernel {k.name} [{k.domain[0]}, {k.domain[1]}]{where}".replace("  [", " [")]
    if k.moves:
        lines.append("  strips of " + ", ".join(f"%{n} by {move}" for n, move in k.moves))
    lines += [f"  {x}" for x in (*written.lines, *accs)]
    for o in k.outputs:
        known, text = len(written.lines), bare(written.of(o.expr))
        lines += [f"  {x}" for x in written.lines[known:]]
        lines.append(f"  %{o.ref}: {type_text(*made[o.ref])} = {f'row_sum({text})' if o.row_sum else text}")
    return lines


def print_schedule(s: Schedule) -> str:
    """The whole Schedule as text, ending in a newline."""
    out, p = declarations(s.program, "schedule"), s.program
    types = {Ref(n): (p.value[n].shape, p.value[n].dtype) for n in (*p.inputs, *p.state_names)}
    types |= {Ref(c.name): (p.value[c.name].shape, p.value[c.name].dtype) for c in p.constants}
    for k in s.kernels:
        made = {n: (p.value[n.value].shape, p.value[n.value].dtype) for n in k.writes}
        out += print_kernel(k, types, made)
        types |= made
    return "\n".join((*out, *ends(p), *in_place(s))) + "\n"


def in_place(s: Schedule) -> list[str]:
    """What lives in its state's buffer."""
    return [f"in place %{v} -> %{state}" for v, state in s.in_place]


class ScheduleReader(ProgramReader):
    """What texts of Schedules have in common, of whichever form."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.known: dict[Ref, Type] = {}  # what a kernel can read by now
        self.kernels: list[Kernel] = []
        self.in_place: list[tuple[Ref, Ref]] = []

    def declarations(self, form: str) -> None:
        super().declarations(form)
        self.known = {Ref(n): t for n, t in self.types.items()}

    def ends(self) -> None:
        super().ends()
        while self.take(r"in place\b"):
            new = self.ref()
            self.need("->", "`->`")
            self.in_place.append((new, self.ref()))
            self.end()

    def ref(self) -> Ref:
        """``%value@0~2``."""
        return Ref.parse(self.value(), [s.name for s in self.states])

    def stored(self, ref: Ref, type_: Type, start: int) -> None:
        """A kernel says, at a place, the type of a value that nothing was known of."""
        self.known[ref] = type_
        if not ref.new:
            self.types[ref.value] = type_

    def refs(self, one: Callable[[], Any]) -> tuple[Any, ...]:
        """What ``one`` reads, to the end of the line, with commas between."""
        found = [one()]
        while self.take(","):
            found.append(one())
        return tuple(found)

    def move(self) -> tuple[Ref, str]:
        """``%x by rows``."""
        return self.ref(), self.need("by (?:rows|columns|taps)", "`by` and rows, columns or taps").removeprefix("by ")

    def kernel(self, narrow: Callable[[Ref, str], Type] | None = None) -> None:
        """A kernel, whole.  ``narrow``: the type of what moves in a loop."""
        self.need(r"kernel\b", "`kernel`")
        name, domain, where = self.take(NAME), self.shape(), Where(*self.where())
        self.end()
        moves: tuple[tuple[Ref, str], ...] = ()
        if narrow and self.take(r"strips of\b"):
            moves = self.refs(self.move)
            self.end()
        body = _Body(self, domain, ChainMap({n: narrow(n, move) for n, move in moves} if narrow else {}, self.known))
        while self.sees(rf"%|{NAME} ="):
            body.line()
            self.end()
        self.kernels.append(Kernel(body.anchor, domain, tuple(body.outputs), where, name, moves))


class _Body:
    """The lines of a kernel."""

    def __init__(self, r: ScheduleReader, domain: Shape, types: MutableMapping[Ref, Type]) -> None:
        self.r, self.domain, self.types = r, domain, types
        self.anchor: Anchor = Map()
        self.calls: list[Expr] = []
        self.outputs: list[Output] = []
        self.names: dict[str, Expr] = {}
        self.reason = ""  # why no type followed for the newest node without one

    def line(self) -> None:
        """A name, an accumulator or an output."""
        if self.r.sees("%"):
            return self.output()
        start, name = self.r.at, self.r.need(NAME, "a name")
        self.r.need("=", "`=`")
        if re.fullmatch(ACC, name):
            return self.accumulator(name)
        if name in self.names or name in _RESERVED:
            self.r.fail(f"`{name}` is taken", start)
        self.names[name] = replace(self.expr(), hint=name)
        return None

    def accumulator(self, name: str) -> None:
        start, e, n = self.r.at, self.expr(), len(self.calls)
        try:
            anchor, _ = anchor_of(Op(e.op, (), "", e.attr or ()), e.args, Value("", e.shape, e.dtype))
            if name != f"acc{n}":
                raise InternalError(f"the next accumulator is acc{n}")
            if (shape := anchor.out_shape(self.domain)) != e.shape:
                raise InternalError(f"of this domain it is {type_text(shape, e.dtype)}")
            if isinstance(self.anchor, Accumulation) and type(anchor) is type(self.anchor):
                anchor = self.anchor.joined(anchor)
            elif n:
                raise InternalError(f"this kernel is a {self.anchor.title}")
        except (InternalError, LookupError, ValueError) as reason:
            self.r.fail(str(reason), start)
        self.calls.append(e)
        self.anchor = anchor

    def output(self) -> None:
        start, ref = self.r.at, self.r.ref()
        known = self.types.get(ref)
        given = self.r.type() if self.r.take(":") else known
        if given is None or known not in (None, given):
            what = f"%{ref} is {type_text(*known)}" if known else f"what type has %{ref}?  `%{ref}: f32[4, 6] = ...`"
            self.r.fail(what, start)
        if known is None:
            self.r.stored(ref, given, start)
        self.r.need("=", "`=`")
        row_sum = bool(self.r.take(r"row_sum(?=\()"))
        self.outputs.append(Output(ref, self.expr(), row_sum))

    # -- expressions --------------------------------------------------------------------------------------------------
    def expr(self) -> Expr:
        """One operand, or two and an operator."""
        start, e = self.r.at, self.infix()
        return self.sure(e, start)

    def sure(self, e: Expr, start: int) -> Expr:
        """A node, read from ``start`` on, whose type is known."""
        if not e.dtype:
            self.r.fail(self.reason, start)
        return e

    def infix(self) -> Expr:
        left = self.operand()
        sign = self.r.take("<=|>=|==|[-+*/>]")
        return self.inferred(Expr(_OF_INFIX[sign], (left, self.operand()))) if sign else left

    def operand(self) -> Expr:
        start, e = self.r.at, self.node()
        if self.r.take(":"):
            shape, dtype = self.r.type()
            e = replace(e, shape=shape, dtype=dtype)
        return self.sure(e, start)

    def inferred(self, e: Expr) -> Expr:
        """With its type, where that follows; else with none."""
        found = type_of(e, self.types, self.domain, self.calls)
        if isinstance(found, str):
            self.reason = f"{found}; a type may stand behind: `(a * b) : f32[4, 6]`"
            return replace(e, dtype="")
        return replace(e, shape=found[0], dtype=found[1])

    def node(self) -> Expr:
        r = self.r
        if r.take(r"\("):
            e = self.infix()
            r.need(r"\)", "`)`")
            return e
        if r.sees("%"):
            return self.inferred(Expr("load", (), r.ref()))
        if number := r.take(NUMBER):
            return self.inferred(Expr("const", (), constant(number)))
        start, name = r.at, r.need(NAME, "an expression")
        if r.take(r"\("):
            e = self.call(name, r.items(self.expr, r"\)"))
            return e if e.op in OPS else r.fail(f"no op `{name}`", start)
        if re.fullmatch(ACC, name):
            return self.inferred(Expr("acc", (), int(name.removeprefix("acc"))))
        if name == "col":
            return self.inferred(Expr("col"))
        return self.names.get(name) or r.fail(f"no name `{name}` stands above", start)

    def call(self, name: str, args: tuple[Expr, ...]) -> Expr:
        """An op, or a cast by the name of its dtype."""
        attrs: Any = self.r.attrs() or None
        if name in NUMPY:
            name, attrs = "cast", (("dtype", name),)
        elif name == "step":
            attrs = dict(attrs or ()).get("steps")
        return self.inferred(Expr(name, args, attrs))


def parse_schedule(text: str) -> Schedule:
    """Read what :func:`print_schedule` wrote.  Raises InternalError, with line and column, for anything else."""
    r = ScheduleReader(text)
    r.declarations("schedule")
    while r.sees(r"kernel\b"):
        r.kernel()
    r.ends()
    return Schedule(r.finish().declared(r.types), tuple(r.kernels), tuple(r.in_place))
