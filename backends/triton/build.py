"""build: Source -> a program.  A Python trainer is checked and made executable; a host program gets its compiled
kernels.
"""

from __future__ import annotations

import json
from pathlib import Path

from bnnc.diag import InternalError, error
from bnnc.emit import Source
from bnnc.plan.report import Report

from ..c.build import Sizes
from . import host
from .targets import Target, find


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
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.chmod(0o755)
    part.replace(out)
    return out


def read_source(folder: Path) -> tuple[Source, Sizes, Target]:
    """A Source that was written to a folder, with the sizes of its plan and its target.  Raises BnncError B0708."""
    plan_file = next(iter(sorted(folder.glob("*.plan.json"))))
    name = plan_file.name.removesuffix(".plan.json")
    try:
        plan = json.loads(plan_file.read_text(encoding="utf-8"))
        target = find(plan["target"])
        paths = sorted(p for p in folder.rglob("*") if p.suffix in (".py", ".c", ".h"))
        files = tuple((p.relative_to(folder).as_posix(), p.read_text(encoding="utf-8")) for p in paths)
        main = f"{name}.c" if target.levels else f"{name}_triton.py"
        if main not in dict(files):
            raise ValueError(f"{main} is missing")
        return Source(name, main, files), Sizes(plan["arena_bytes"], plan["code_bytes"], 0), target
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise error(
            "B0708", f"{plan_file}: not a plan that bnnc wrote ({e})", exit_code=2, help="write the source again"
        ) from e
