"""The Jinja environment that every backend renders its skeletons with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

from jinja2 import Environment, FileSystemBytecodeCache, FunctionLoader, StrictUndefined

from bnnc.cache import cache_folder
from bnnc.ir.dtype import ceil_div


def template_text(path: str) -> str:
    """Text of a file below ``templates/``."""
    return (resources.files("bnnc.templates") / path).read_text(encoding="utf-8")


def template_texts(folder: str, suffix: str) -> list[str]:
    """Texts of the files in a folder below ``templates/``."""
    found = (resources.files("bnnc.templates") / folder).iterdir()
    return [f.read_text(encoding="utf-8") for f in sorted(found, key=lambda f: f.name) if f.name.endswith(suffix)]


def identifiers(folder: str, comment: str) -> set[str]:
    """Every word of a folder's templates but for comments (a pattern) and what is put in."""
    unsaid = re.compile(rf"{comment}|\{{#.*?#\}}|\{{%.*?%\}}|\{{\{{.*?\}}\}}", re.DOTALL)
    return {x for text in template_texts(folder, ".j2") for x in re.findall(r"[A-Za-z_]\w*", unsaid.sub(" ", text))}


@cache
def environment() -> Environment:
    """Undefined names are errors; block tags leave no blank lines.  Compiled templates are kept in the cache."""
    kept = cache_folder("templates")
    env = Environment(
        loader=FunctionLoader(template_text),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        bytecode_cache=FileSystemBytecodeCache(str(kept)) if kept else None,
    )
    env.globals |= {f.__name__: f for f in (begin, declare, lines, offset, share, times, within, upto)} | {
        "ceil_div": ceil_div
    }
    env.filters["nest"] = nest
    return env


def lines(statements: Sequence[str], indent: int) -> str:
    """Statements one below the other, behind ``indent`` spaces that stand before the first one already."""
    return ("\n" + " " * indent).join(statements)


def nest(text: str, indent: int) -> str:
    """Text as it stands in a deeper block; directives of the preprocessor stay at the margin."""
    return "".join(
        x if x.startswith("#") or not x.strip() else " " * indent + x for x in text.splitlines(keepends=True)
    )


def share(n: int, var: str = "t") -> str:
    """The head of a loop over a thread's share of ``n`` tiles or rows, or of one tile that has no number."""
    if n == 1 and var == "t":
        return "if (tid + 1 == nt)"
    first, end = ("tid", "(tid + 1)") if n == 1 else (f"{n} * tid", f"{n} * (tid + 1)")
    return f"for (int {var} = {first} / nt, {var}1 = {end} / nt; {var} < {var}1; {var}++)"


def begin(inner: int, count: int, step: int = 1, last: bool = False) -> str:
    """Where tile ``t`` begins along an axis of ``count`` tiles of ``step``; neighbours are ``inner`` tiles apart.
    ``last``: no axis is further out.  An axis of one tile says 0, which a compiler's range analysis needs.
    """
    if count == 1:
        return "0"
    at = ("t" if inner == 1 else f"t / {inner}") + ("" if last else f" % {count}")
    return at if step == 1 else f"{at} * {step}"


def within(var: str, width: int, extent: int, start: str = "") -> str:
    """Whether a column or row is still in the tile of ``width`` that begins at ``start``, and below ``extent``."""
    if extent <= width:
        return f"{var} < {extent}"
    inside = f"{var} < {start or var + '0'} + {width}"
    return inside if extent % width == 0 else f"{inside} && {var} < {extent}"


def upto(start: str, size: int, total: int) -> str:
    """Where a block of ``size`` that begins at ``start`` ends, if there are ``total``."""
    return str(total) if total <= size else f"{start} + {size} < {total} ? {start} + {size} : {total}"


def times(text: str, n: int) -> str:
    """A factor, times a number; once says nothing."""
    return text if n == 1 else f"{text} * {n}"


def offset(text: str, n: int) -> str:
    """A term and a number; 0 says nothing."""
    return text if n == 0 else f"{text} {'-' if n < 0 else '+'} {abs(n)}"


def declare(used_by: list[str], **variables: str) -> str:
    """C declarations of those loop variables that the statements name: no unused variable, no cast to void."""
    text = "\n".join(used_by)
    kept: list[str] = []
    for name, value in reversed(variables.items()):
        if re.search(rf"\b{name}\b", text):
            kept.insert(0, f"{name} = {value}")
            text += "\n" + value
    return f"const int {', '.join(kept)};" if kept else ""


def render(path: str, **context: object) -> str:
    """The text of a template, its path below ``templates/``."""
    return environment().get_template(path).render(**context)
