"""The Jinja environment that every backend renders its skeletons with."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined


def template_text(path: str) -> str:
    """Text of a file below ``templates/``."""
    return (resources.files("bnnc.templates") / path).read_text(encoding="utf-8")


@cache
def environment() -> Environment:
    """Undefined names are errors; block tags leave no blank lines."""
    env = Environment(
        loader=FunctionLoader(template_text),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    env.globals["declare"] = declare
    return env


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
    return environment().get_template(path).render(**context)
