"""Plug-ins: Python files, and installed packages, that register rules, layers, optimisers and the like beside the
built-in ones (``bnnc.registry``).

A file is given by ``bnnc --plugin FILE``, by ``bnnc.plugin(FILE)``, or in ``BNNC_PLUGINS`` (several with ``:``); a
package has an entry point of the group ``bnnc`` that names its module.  What a spec uses of them is part of its hash,
by the SHA-256 of their source.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import runpy
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from . import registry
from .diag import BnncError, error

GROUP = "bnnc"
_digests: dict[Path, str] = {}  # of each plug-in's file
_makers: dict[str, Path] = {}  # a name, and the plug-in that registered it


def plugin(path: str | os.PathLike[str]) -> None:
    """Run a plug-in's file, once.

    Raises
    ------
    BnncError
        B0909, exit code 2: it cannot be read, or what it does goes wrong, with its file and line.
    """
    at = Path(path).resolve()
    if at not in _digests:
        _take(at, lambda: runpy.run_path(str(at)))


@cache
def installed() -> None:
    """Load what ``BNNC_PLUGINS`` and the entry points of installed packages name.  Raises BnncError B0909."""
    for path in filter(None, os.environ.get("BNNC_PLUGINS", "").split(os.pathsep)):
        plugin(path)
    for entry in importlib.metadata.entry_points(group=GROUP):
        found = importlib.util.find_spec(entry.module)
        if found is None or found.origin is None:
            raise error(
                "B0909", f"plug-in {entry.name}: there is no module {entry.module}", exit_code=2, help="install it"
            )
        if (at := Path(found.origin).resolve()) not in _digests:
            _take(at, entry.load)


def _take(at: Path, run: Callable[[], object]) -> None:
    before = set(_names())
    try:
        _digests[at] = hashlib.sha256(at.read_bytes()).hexdigest()
        run()
    except Exception as e:
        found = _complaint(at, e)
        _digests.pop(at, None)  # it is not loaded: once mended, it can be
        raise found from e
    _makers.update(dict.fromkeys(set(_names()) - before, at))


def _complaint(at: Path, e: Exception) -> Exception:
    if isinstance(e, OSError):
        return error("B0909", f"plug-in {at}: {e.strerror}", exit_code=2, help="give the path of a Python file")
    if isinstance(e, SyntaxError):
        return error("B0909", f"{at}:{e.lineno}: {e.msg}", exit_code=2, help="mend the plug-in")
    return mistake(e) or e


def _names() -> Iterator[str]:
    for table in vars(registry).values():
        if isinstance(table, registry.Table):
            yield from table


def used(names: Iterable[str]) -> tuple[str, ...]:
    """The SHA-256 (hex) of the plug-ins that registered any of these names, in order."""
    return tuple(sorted({_digests[_makers[n]] for n in names if n in _makers}))


def mistake(e: BaseException) -> BnncError | None:
    """B0909 where the innermost line of a plug-in that an exception passed through is, None where it met none."""
    where = [f for f in traceback.extract_tb(e.__traceback__) if Path(f.filename) in _digests]
    if not where:
        return None
    at = where[-1]
    text = f"{at.filename}:{at.lineno}: {type(e).__name__} in {at.name}: {e}"
    return error("B0909", text, exit_code=2, help=f"mend the plug-in: `{at.line}`")


def loaded() -> tuple[Path, ...]:
    """The files of all plug-ins."""
    return tuple(_digests)
