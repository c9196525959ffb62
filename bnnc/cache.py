"""Where bnnc keeps what it would only make again: ``$XDG_CACHE_HOME/bnnc`` (``~/.cache/bnnc``); delete it at will."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path | None:
    """A folder of that name in it, which exists; None where there is no home to write to."""
    try:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bnnc" / name
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: nobody's home is known
        return None
    return path if os.access(path, os.W_OK) else None
