"""Source: what ``emit`` makes of a Plan: text files by path, deterministic, with nothing of this machine in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write, which becomes ``path`` when it is complete, or is gone; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write(files: Iterable[tuple[str, str]], folder: Path) -> None:
    """Texts by their paths below ``folder``, each file whole or not at all."""
    for path, text in files:
        with whole(folder / path) as part:
            part.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Source:
    """``files``: relative path -> text.  ``main``: the file to compile.  ``name``: the program's name."""

    name: str
    main: str
    files: tuple[tuple[str, str], ...]

    @property
    def text(self) -> dict[str, str]:
        """Contents of the file to compile."""
        return dict(self.files)

    def write(self, folder: Path) -> None:
        """Write every file below ``folder``, each one whole or not at all."""
        write(self.files, folder)
