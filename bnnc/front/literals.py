"""What a number or a string means: units, digits, and what is wrong with one."""

from __future__ import annotations

import math
import re

from . import ast

MAX_DIGITS = 40
UNITS = {"": 1, "%": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
SIZE_UNITS = tuple(u for u in UNITS if u.endswith("B"))
_NUMBER = re.compile(r"((?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(.*)", re.DOTALL)


def short(text: str) -> str:
    """A text as messages quote it: at most 40 characters."""
    return text if len(text) <= 40 else text[:37] + "..."


def _unit_hint(digits: str, unit: str) -> str:
    if re.fullmatch(r"x[0-9]+", unit):
        return f"write `{digits}, {unit[1:]}`"
    known = [u for u in UNITS if u.lower() in (unit.lower(), unit.lower() + "ib")]
    return f"did you mean `{digits}{known[-1]}`?" if known else f"the units are {', '.join(UNITS)[2:]}"


def read_number(text: str) -> ast.Num | tuple[str, str, str]:
    """The number that ``text`` writes, or (code, message, help) when it is none."""
    m = _NUMBER.fullmatch(text)
    if m is None:
        return "B0105", f"`{short(text)}` is no number", "write digits, perhaps with a unit"
    digits, unit = m.groups()
    if unit not in UNITS:
        return "B0105", f"unknown unit `{short(unit)}` after the number {short(digits)}", _unit_hint(digits, unit)
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
        return "B0108", f"the number {short(text)} is too large", "numbers must stay below 2^63"
    return ast.Num(value, unit, text)


def read_string(text: str) -> str | tuple[str, str, str]:
    """The string that ``text``, quotes included, writes, or (code, message, help)."""
    if wrong := [e for e in re.findall(r"\\(.)", text) if e not in '\\"']:
        help = r"only \\ and \" are escapes; a backslash is written \\"
        return "B0109", f"unknown escape `\\{wrong[0]}` in a string", help
    if wrong := [c for c in text if ord(c) < 32 or 0xD800 <= ord(c) < 0xE000]:
        return "B0109", f"character U+{ord(wrong[0]):04X} cannot stand in a string", "remove the character"
    return re.sub(r"\\(.)", r"\1", text[1:-1])
