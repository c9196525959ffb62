"""Where nobody reads the output any more (``| head``), a command ends quietly, with the exit code of a tool that
SIGPIPE ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import click


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A reader that has gone away ends the command, and says nothing."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # a stream without a file
                os.dup2(nowhere, stream.fileno())  # Python would try again when it ends
        sys.exit(128 + signal.SIGPIPE)


class Piped(click.Group):
    """A group of such commands."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with quiet():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with quiet():
            return super().invoke(ctx)
