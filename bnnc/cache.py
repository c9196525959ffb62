"""Where bnnc keeps what it would only make again: ``$XDG_CACHE_HOME/bnnc`` (``~/.cache/bnnc``); delete it at will."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def cache_folder(name: str) -> Path | None:
    """A folder of that name in it, which exists; None where there is no home to write to."""
    try:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bnnc" / name
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: nobody's home is known
        return None
    return path if os.access(path, os.W_OK) else None


def shelf(name: str, key: str, most: int) -> Path | None:
    """The folder of ``key`` on a shelf of that name, which holds ``most``: those that were not asked for longest go."""
    folder = cache_folder(f"{name}/{key}")
    if folder is not None:
        os.utime(folder)
        asked = {f: f.stat().st_mtime_ns for f in folder.parent.iterdir()}
        for old in sorted(asked, key=asked.__getitem__)[:-most]:
            shutil.rmtree(old, ignore_errors=True)
    return folder
