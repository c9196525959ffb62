"""build: Source -> a program.  A Python trainer is checked and made executable; a host program gets its compiled
kernels.
"""

from __future__ import annotations

from pathlib import Path

from bnnc.diag import InternalError, error
from bnnc.plan.report import Report
from bnnc.source import Source, whole

from ..c.build import Sizes
from . import host
from .targets import Target


def build(source: Source, report: Report | Sizes, target: Target, out: Path, cc: str = "") -> Path:
    """The program ``out``; it appears whole or not at all.  Raises BnncError B0706, B0707, B0711, B0712."""
    if target.levels:
        return host.build(source, report, target, out, cc)
    text = source.text[source.main]
    try:
        compile(text, source.main, "exec")
    except SyntaxError as e:
        raise error(
            "B0713",
            f"{source.main}, line {e.lineno}: {e.msg}",
            exit_code=4,
            help="if the source was not edited this is a bug in bnnc",
        ) from e
    if f"'arena_bytes': {report.arena}," not in text:
        raise InternalError(f"the program's arena is not the {report.arena} bytes of the plan")
    with whole(out) as part:
        part.write_text(text, encoding="utf-8")
        part.chmod(0o755)
    return out
