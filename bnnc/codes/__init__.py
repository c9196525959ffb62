"""Codes: what each error code means, at length, for ``bnnc explain CODE``.

One record a code: a title, an explanation, a spec with the mistake and the same spec put right.  The tests run both:
the first must give exactly this code and the second none, so the examples cannot rot.  A file for each part of the way
from a text to a program.
"""

from __future__ import annotations

from . import network, program, text
from .code import Code

CODES: dict[str, Code] = {c.code: c for c in (*text.CODES, *network.CODES, *program.CODES)}


def explain(code: str) -> str | None:
    """The long text of ``code`` (any case), with its two examples; None when there is no such code."""
    c = CODES.get(code.upper())
    if c is None:
        return None
    out = [f"{c.code}: {c.title}", "", c.text]
    for heading, example in (("Wrong:", c.failing), ("Right:", c.fixed)):
        if example:
            out += ["", heading, "", *("    " + line for line in example.rstrip("\n").split("\n"))]
    return "\n".join(out) + "\n"
