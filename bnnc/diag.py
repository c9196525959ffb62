"""Diagnostics: where a mistake is, what it is, and what to do about it.

Everything that reports to a user goes through :class:`Diagnostic`.  A pass that finds mistakes collects as many as it
can and raises one :class:`BnncError`; the command line renders it with carets and exits with its ``exit_code``.
An error in bnnc itself is not a Diagnostic: it is an :class:`InternalError`.

:func:`render` turns diagnostics into text for people and :func:`to_json` into data for editors.  Neither reads files
nor decides about colour: the caller hands in the source texts and asks for colour or not.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of characters ``[start, end)`` in one source text; ``line`` and ``col`` count from 1."""

    file: str = "<builtin>"
    start: int = 0
    end: int = 0
    line: int = 1
    col: int = 1

    @property
    def known(self) -> bool:
        """Is there a text that it points into?"""
        return self.file != NOWHERE.file

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"

    def to(self, last: Span) -> Span:
        """From the start of this span to the end of ``last``."""
        return Span(self.file, self.start, max(self.end, last.end), self.line, self.col)


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
    """A bug in bnnc: a verifier or a contract between passes failed.  ``stage``: the pass, once that is known."""

    stage = ""


def error(code: str, message: str, span: Span = NOWHERE, *, exit_code: int = 1, **kw: object) -> BnncError:
    """A :class:`BnncError` that holds a single diagnostic; ``kw`` are Diagnostic fields."""
    return BnncError([Diagnostic(code, message, span, **kw)], exit_code=exit_code)  # type: ignore[arg-type]


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name nearest to ``name``, or an empty string when none is near."""
    near = difflib.get_close_matches(name, sorted(set(known) - {name}), n=1, cutoff=0.6)
    return near[0] if near else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"did you mean `x`?"`` for the nearest known name, or an empty string."""
    near = nearest(name, known)
    return f"did you mean `{near}`?" if near else ""


def by_position(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Sorted as a reader meets them in the text."""
    return sorted(diagnostics, key=lambda d: (d.span.file, d.span.start, d.code, d.message))


_COLOURS = {"error": "1;31", "warning": "1;33", "note": "1;36", "help": "1;32", "bold": "1", "frame": "1;34"}
_TAB, _WINDOW = 4, 160


def _widen(text: str) -> str:
    """``text`` as a terminal can show it: tabs as spaces, control characters as ``?``."""
    return "".join(" " * _TAB if c == "\t" else c if c.isprintable() else "?" for c in text)


def _columns(text: str) -> int:
    shown = _widen(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in shown)


class _Renderer:
    def __init__(self, sources: Mapping[str, str], color: bool) -> None:
        self.sources, self.color = sources, color
        self.lines: dict[str, list[str]] = {}

    def paint(self, text: str, style: str) -> str:
        """The text in a style's colour, where colours are asked for."""
        return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if self.color and text else text

    def place(self, span: Span, label: str, mark: str, style: str, gutter: int) -> list[str]:
        """``--> file:line:col``, the source line and its carets; a span of several lines ends with ``...``."""
        pad, bar = " " * gutter, self.paint("|", "frame")
        out = [f"{pad}{self.paint('-->', 'frame')} {span}"]
        if span.file not in self.sources:
            return out + ([f"{pad} {bar} {label}"] if label else [])
        lines = self.lines.setdefault(span.file, self.sources[span.file].split("\n"))
        text = lines[span.line - 1].rstrip("\r") if span.line <= len(lines) else ""
        first, length = min(span.col - 1, len(text)), max(1, span.end - span.start)
        last = max(first + 1, min(first + length, len(text)))
        several = "\n" in self.sources[span.file][span.start : span.end].rstrip()
        before = ""
        if len(text) > _WINDOW:
            cut = max(0, first - _WINDOW // 4)
            text, before = text[cut : cut + _WINDOW], "... " if cut else ""
            first, last = first - cut, min(last - cut, _WINDOW)
        carets = " " * (len(before) + _columns(text[:first])) + self.paint(
            mark * max(1, _columns(text[first:last])) + (f" {label}" if label else ""), style
        )
        number = self.paint(f"{span.line:>{gutter}}", "frame")
        out += [f"{pad} {bar}", f"{number} {bar} {before}{_widen(text)}".rstrip(), f"{pad} {bar} {carets}"]
        return out + ([self.paint("...", "frame")] if several else [])

    def one(self, d: Diagnostic) -> list[str]:
        """A diagnostic line by line: what is wrong, where, notes, the way out."""
        spans = [d.span, *(s for s, _ in d.notes if s)]
        gutter = max(2, *(len(str(s.line)) for s in spans))
        equals = " " * gutter + self.paint(" =", "frame")
        out = [self.paint(f"{d.severity}[{d.code}]", d.severity) + self.paint(f": {d.message}", "bold")]
        if d.span.known:
            out += self.place(d.span, d.label, "^", d.severity, gutter)
        for span, text in d.notes:
            if span and span.known:
                out += [f"{self.paint('note', 'note')}: {text}", *self.place(span, "", "-", "note", gutter)]
            else:
                out.append(f"{equals} {self.paint('note', 'note')}: {text}")
        if d.help:
            out.append(f"{equals} {self.paint('help', 'help')}: {d.help}")
        return out


def render(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str], color: bool = False) -> str:
    """All diagnostics as text, sorted by position, each with its source line, carets, notes and help."""
    r = _Renderer(sources, color)
    return "\n\n".join("\n".join(r.one(d)) for d in by_position(diagnostics))


def _range(span: Span, sources: Mapping[str, str]) -> dict[str, Any]:
    text = sources.get(span.file, "")[span.start : span.end]
    newlines = text.count("\n")
    col = len(text) - text.rfind("\n") if newlines else span.col + span.end - span.start
    return {
        "file": span.file,
        "start": {"line": span.line, "col": span.col, "offset": span.start},
        "end": {"line": span.line + newlines, "col": col, "offset": span.end},
    }


def to_json(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Diagnostics as plain data, sorted by position.  ``range`` is None where there is no place.

    Lines and columns count from 1 and the end is exclusive.  Without the source text a span is taken as one line.
    """
    texts = sources or {}
    return [
        {
            "code": d.code,
            "severity": d.severity,
            "message": d.message,
            "label": d.label,
            "help": d.help,
            "range": _range(d.span, texts) if d.span.known else None,
            "notes": [{"message": t, "range": _range(s, texts) if s and s.known else None} for s, t in d.notes],
        }
        for d in by_position(diagnostics)
    ]
