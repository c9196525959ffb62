"""What the command line prints of a bug in bnnc."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from .. import plugins
from ..diag import InternalError
from ..version import __version__


def _note(text: str) -> None:
    click.echo(text, err=True)


def bug_lines(e: Exception, args: Sequence[str]) -> dict[str, str]:
    """What a report of a bug in bnnc needs: what happened and where, the version, the spec and how to see it again."""
    cause = e.__cause__ if isinstance(e, InternalError) and isinstance(e.__cause__, Exception) else e
    frames = traceback.extract_tb(cause.__traceback__)
    text = str(e) if isinstance(e, InternalError) else f"{type(e).__name__}: {e}"
    at, name = Path(frames[-1].filename), frames[-1].name
    specs = [a for a in args if a.endswith(".bnn") and Path(a).is_file()]
    knob = [f"{k}={shlex.quote(v)}" for k, v in sorted(os.environ.items()) if k.startswith("BNNC_")]
    return {
        "error": text if text.startswith("internal error") else f"internal error: {text}",
        "version": f"bnnc {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        "pass": f"{getattr(e, 'stage', '') or 'none'}, {at.parent.name}/{at.name}:{frames[-1].lineno} in {name}",
        "spec": ", ".join(f"{a}, sha256 {hashlib.sha256(Path(a).read_bytes()).hexdigest()[:16]}" for a in specs)
        or ("from standard input" if "-" in args else "none"),
        **({"plug-ins": ", ".join(map(str, plugins.loaded()))} if plugins.loaded() else {}),
        "reproduce": " ".join((*knob, "bnnc", *map(shlex.quote, args))),
    }


def report_bug(e: Exception, args: Sequence[str], as_json: bool) -> int:
    """Say what to report of a bug in bnnc, and give the exit code, 70."""
    lines = bug_lines(e, args)
    if as_json:
        click.echo(json.dumps({"diagnostics": [], "internal_error": lines, "exit_code": 70}, indent=1))
    _note(lines.pop("error") + "\nthis is a bug in bnnc; please report it with the spec and these lines:")
    for key, text in lines.items():
        _note(f"  {key + ':':11}{text}")
    _note("BNNC_DUMP=DIR before that command writes what each pass made")
    return 70
