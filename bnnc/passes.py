"""The pass record, and how passes are run: verified, timed and dumped between any two."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import plugins
from .diag import BnncError, InternalError
from .knobs import Knobs
from .validate import Observed, validate


@dataclass(frozen=True)
class Pass:
    """``run(ir, options) -> ir``.  ``off`` replaces it when it is disabled (identity if None).

    ``verify(ir)`` raises InternalError.  ``preserves``: what stays the same over the pass: ``bits`` (every value that
    both sides hold is bit-equal) or ``meaning`` (a change of representation).  ``show(ir) -> text`` is the dump.
    """

    name: str
    takes: str
    gives: str
    doc: str
    run: Callable[[Any, Any], Any]
    verify: Callable[[Any], None] | None = None
    preserves: str = "meaning"
    optional: bool = False
    off: Callable[[Any, Any], Any] | None = None
    show: Callable[[Any], str] = str


def _unchanged(ir: Any, options: Any) -> Any:
    return ir


@dataclass
class Trace:
    """What each pass made."""

    results: dict[str, Any] = field(default_factory=dict)


@contextmanager
def stage(name: str, knobs: Knobs) -> Iterator[None]:
    """What goes wrong in here, and is neither a user's mistake nor a file's, becomes an InternalError that names the
    pass; ``BNNC_TIME=1`` prints how long it took.
    """
    start = time.perf_counter()
    try:
        yield
        if knobs.time:
            print(f"{name:<13} {time.perf_counter() - start:8.3f} s", file=sys.stderr)
    except (BnncError, OSError):
        raise
    except Exception as e:
        if isinstance(e, InternalError) and e.stage:
            raise
        if found := plugins.mistake(e):
            raise found from e
        bug = InternalError(f"internal error in pass `{name}`: {type(e).__name__}: {e}")
        bug.stage = name
        raise bug from e


def run_passes(passes: tuple[Pass, ...], ir: Any, options: Any, knobs: Knobs, first: int = 0) -> Trace:
    """Run passes in order; ``first`` is the place of the first in the pipeline, and numbers the dumps.  Raises
    BnncError for the user's mistakes and InternalError, naming the pass, for bnnc's."""
    trace = Trace()
    before = ""
    given = ir
    known: Observed | None = None
    for number, p in enumerate(passes, first):
        with stage(p.name, knobs):
            run = p.off or _unchanged if p.name in knobs.disable and p.optional else p.run
            ir = run(ir, options)
            if knobs.verify and p.verify:
                p.verify(ir)
            checked = knobs.verify >= 2 and p.preserves == "bits"
            known = validate(given, ir, known) if checked else None
        trace.results[p.name] = given = ir
        if knobs.dump:
            text = p.show(ir)
            folder = Path(knobs.dump)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number * 10:03d}.{p.name}.txt").write_text(
                "(unchanged)\n" if text == before else text, encoding="utf-8"
            )
            before = text
    return trace
