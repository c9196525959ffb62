"""Source: what ``emit`` makes of a Plan: text files by path, deterministic, with nothing of this machine in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """``files``: relative path -> text.  ``main``: the file to compile.  ``name``: the program's name."""

    name: str
    main: str
    files: tuple[tuple[str, str], ...]

    @property
    def text(self) -> dict[str, str]:
        return dict(self.files)

    def write(self, folder: Path) -> None:
        """Write every file below ``folder``, each one whole or not at all."""
        for path, text in self.files:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".part")
            part.write_text(text, encoding="utf-8")
            part.replace(target)
