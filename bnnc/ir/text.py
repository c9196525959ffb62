"""Programs as text: one op a line, and back.  ``parse_program(print_program(p)) == p`` but for spans and regions.

%fc1.y = contract(%x, %fc1.wb) {form="nn"} : i16[100, 256]  @forward fc1
"""

from __future__ import annotations

import ast
import re
from typing import Any

from ..diag import InternalError
from .program import Constant, Counter, Op, Program, Role, State, Value

_LINE = re.compile(
    r"^%(?P<out>\S+) = (?P<kind>\w+)\((?P<in>[^)]*)\)(?: \{(?P<attrs>.*)\})? : (?P<dtype>\w+)\[(?P<r>\d+), (?P<c>\d+)\]"
    r"  @(?P<phase>\w+)(?: (?P<layer>\S+))?$"
)
_DECL = re.compile(
    r"^(?P<what>input|state|constant) %(?P<name>\S+): (?P<dtype>\w+)\[(?P<r>\d+), (?P<c>\d+)\](?: = (?P<init>.*))?$"
)


def print_program(p: Program) -> str:
    """The whole Program as text, ending in a newline."""
    out = [f"program {p.name} keep={p.keep!r}"]
    out += [f"input {p.value[i]}" for i in p.inputs]
    out += [f"state {p.value[s.name]} = {(s.role, s.init, s.init_value, s.stream, s.limit)!r}" for s in p.states]
    out += [f"constant {p.value[k.name]} = {k.rows!r}" for k in p.constants]
    for op in p.ops:
        v = p.value[op.output]
        attrs = " {" + ", ".join(f"{k}={x!r}" for k, x in op.attrs) + "}" if op.attrs else ""
        args = ", ".join("%" + i for i in op.inputs)
        where = f" {op.layer}" if op.layer else ""
        out.append(f"%{v.name} = {op.kind}({args}){attrs} : {v.dtype}[{v.shape[0]}, {v.shape[1]}]  @{op.phase}{where}")
    out += [f"update %{s} <- %{n}" for s, n in p.updates]
    out += [f"result {role} %{n}" for role, n in p.results]
    return "\n".join(out) + "\n"


def _literal(node: ast.expr) -> Any:
    """What ``repr`` wrote; infinities and NaN are names to Python."""
    text = ast.unparse(node)
    return float(text) if text.lstrip("-") in ("inf", "nan") else ast.literal_eval(node)


def _attrs(text: str) -> tuple[tuple[str, Any], ...]:
    """``k=1, form='nn', values=(3, 7)``."""
    call = ast.parse(f"f({text})", mode="eval").body
    return tuple((k.arg or "", _literal(k.value)) for k in call.keywords) if isinstance(call, ast.Call) else ()


def parse_program(text: str) -> Program:
    """Read what :func:`print_program` wrote.  Raises InternalError for anything else."""
    values: list[Value] = []
    ops: list[Op] = []
    inputs: list[str] = []
    states: list[State] = []
    constants: list[Constant] = []
    updates: list[tuple[str, str]] = []
    results: list[tuple[Role, str]] = []
    name, keep = "", None
    for line in filter(None, (row.strip() for row in text.splitlines())):
        if line.startswith("program "):
            head, _, k = line.partition(" keep=")
            name, keep = head.split()[1], ast.literal_eval(k)
        elif m := _DECL.match(line):
            values.append(Value(m["name"], (int(m["r"]), int(m["c"])), m["dtype"]))
            if m["what"] == "input":
                inputs.append(m["name"])
            elif m["what"] == "constant":
                constants.append(Constant(m["name"], ast.literal_eval(m["init"])))
            else:
                states.append(State(m["name"], *ast.literal_eval(re.sub(r"\binf\b", "1e999", m["init"]))))
        elif line.startswith("update "):
            s, n = line[len("update ") :].split(" <- ")
            updates.append((s[1:], n[1:]))
        elif line.startswith("result "):
            _, role, n = line.split()
            results.append((Counter.parse(role) if ":" in role else role, n[1:]))
        elif m := _LINE.match(line):
            values.append(Value(m["out"], (int(m["r"]), int(m["c"])), m["dtype"]))
            args = tuple(a.strip()[1:] for a in m["in"].split(",") if a.strip())
            ops.append(Op(m["kind"], args, m["out"], _attrs(m["attrs"] or ""), m["phase"], m["layer"] or ""))
        else:
            raise InternalError(f"not a Program line: {line}")
    return Program(
        name,
        tuple(values),
        tuple(ops),
        tuple(inputs),
        tuple(states),
        tuple(results),
        tuple(updates),
        (),
        tuple(constants),
        keep,
    )
