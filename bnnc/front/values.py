"""Values of an Ast in words, for messages: what they are, what a parameter wants, and what would mend them."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import TENSOR_KINDS
from ..registry import Param
from . import ast
from .literals import SIZE_UNITS, read_number

DATA_KINDS = tuple(k for k in TENSOR_KINDS if k != "real")  # `real` is only made by the network
WANTED = {
    "int": "a whole number",
    "float": "a number",
    "size": "a size such as 512KiB",
    "name": "a name",
    "bool": "`on` or `off`",
    "str": "a string in double quotes",
    "ints": "a list of whole numbers",
    "floats": "a list of numbers",
    "tensor": "a type such as `u8[28, 28]`",
}
NUMBERS = ("int", "float", "size", "ints", "floats")


def describe(v: ast.Value) -> str:
    """A value in words, for messages."""
    match v:
        case ast.Num():
            kind = "the size" if v.unit in SIZE_UNITS else "the number" if v.unit != "%" else "the share"
            return f"{kind} {v.text or v.value}"
        case ast.Str():
            return "a string"
        case ast.Name():
            return f"the name `{v.id}`"
        case ast.Call():
            return f"the call `{v.name}(...)`"
        case ast.Index():
            return f"`{v.name}[...]`"
        case ast.ListLit():
            return "a list"
    return "an expression"


def unquoted(v: ast.Value) -> str:
    """The hint for a number in quotes; empty for anything else."""
    number = isinstance(v, ast.Str) and isinstance(read_number(v.value), ast.Num)
    return f"remove the quotes: `{v.value}`" if number and isinstance(v, ast.Str) else ""


def one_of(names: Sequence[str]) -> str:
    """Names in backquotes, with `or` before the last."""
    quoted = [f"`{n}`" for n in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted) or "nothing"


def fits(kind: str, v: ast.Num) -> bool:
    """Has a number the unit, and is it as whole, as its type wants?"""
    units = {"int": ("",), "float": ("", "%")}.get(kind)
    return (v.unit in units if units else v.unit != "%") and (kind == "float" or v.value == int(v.value))


def quotes(p: Param, v: ast.Value) -> str:
    """What to add or remove where only quotes or brackets are wrong."""
    if p.type in NUMBERS:
        return unquoted(v)
    if isinstance(v, ast.Str) and p.type in ("name", "bool") and v.value.isidentifier():
        return f"remove the quotes: `{v.value}`"
    if isinstance(v, ast.Name) and p.type == "str":
        return f'write `"{v.id}"`'
    if isinstance(v, ast.Name) and p.type == "tensor" and v.id in DATA_KINDS:
        return f"add the shape: `{v.id}[...]`"
    return ""
