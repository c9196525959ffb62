"""Diagnostics: where a mistake is, what it is, and what to do about it.

Everything that reports to a user goes through :class:`Diagnostic`.  A pass that finds mistakes collects as many as it
can and raises one :class:`BnncError`; the command line renders it with carets and exits with its ``exit_code``.
An error in bnnc itself is not a Diagnostic: it is an :class:`InternalError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of characters ``[start, end)`` in one source text; ``line`` and ``col`` count from 1."""

    file: str = "<builtin>"
    start: int = 0
    end: int = 0
    line: int = 1
    col: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"


NOWHERE = Span()


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake (or warning): ``code`` is stable, ``message`` stands alone, ``label`` says what is wrong *here*."""

    code: str
    message: str
    span: Span = NOWHERE
    label: str = ""
    help: str = ""
    notes: tuple[tuple[Span | None, str], ...] = ()
    severity: str = "error"  # or "warning"


@dataclass
class BnncError(Exception):
    """One or more user errors.  ``exit_code``: 1 the spec is wrong, 2 usage, 3 over budget, 4 toolchain, 5 data."""

    diagnostics: Sequence[Diagnostic]
    sources: dict[str, str] = field(default_factory=dict)
    exit_code: int = 1

    def __str__(self) -> str:
        return render(self.diagnostics, self.sources)


class InternalError(Exception):
    """A bug in bnnc: a verifier or a contract between passes failed."""


def error(code: str, message: str, span: Span = NOWHERE, *, exit_code: int = 1, **kw: object) -> BnncError:
    """A :class:`BnncError` that holds a single diagnostic; ``kw`` are Diagnostic fields."""
    return BnncError([Diagnostic(code, message, span, **kw)], exit_code=exit_code)  # type: ignore[arg-type]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"did you mean `x`?"`` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


def _excerpt(source: str, span: Span, label: str, gutter: int) -> list[str]:
    lines = source.split("\n")
    text = lines[span.line - 1] if span.line <= len(lines) else ""
    shown = text.replace("\t", " ")
    width = max(1, min(span.end - span.start, len(text) - span.col + 1))
    pad = " " * gutter
    carets = " " * (span.col - 1) + "^" * width
    return [f"{pad} |", f"{span.line:>{gutter}} | {shown}", f"{pad} | {carets} {label}".rstrip()]


def render(diagnostics: Sequence[Diagnostic], sources: dict[str, str]) -> str:
    """Plain text of all diagnostics, sorted by position, each with its source line and carets."""
    out: list[str] = []
    for d in sorted(diagnostics, key=lambda d: (d.span.file, d.span.start, d.code)):
        out.append(f"{d.severity}[{d.code}]: {d.message}")
        if d.span is not NOWHERE:
            gutter = max(2, len(str(d.span.line)))
            out.append(f"{' ' * gutter}--> {d.span}")
            if d.span.file in sources:
                out += _excerpt(sources[d.span.file], d.span, d.label, gutter)
        for span, text in d.notes:
            out.append(f"  = note: {text}" + (f" ({span})" if span else ""))
        if d.help:
            out.append(f"  = help: {d.help}")
        out.append("")
    return "\n".join(out).rstrip("\n")
