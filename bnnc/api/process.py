"""A trainer as a process: run to its end, watched through its log, and stopped where a callback says so."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..diag import BnncError, error

Record = dict[str, Any]


def train(
    binary: Path, args: Sequence[str], log: Path, callback: Callable[[Record], bool | None] | None = None
) -> list[Record]:
    """Train with a log, and return this run's records.

    A ``callback`` gets each epoch's; the trainer waits for it (``--ask``), and stops with a checkpoint and its weights
    where it returns True or raises.  Raises BnncError B0901 where the trainer fails.
    """
    before = log.stat().st_size if log.exists() and "never" not in args else 0
    if not before:
        log.unlink(missing_ok=True)
    argv = [str(binary), *args, "--log", str(log), "--quiet", *(["--ask"] if callback else [])]
    with tempfile.TemporaryFile("w+") as complaints:
        trainer = started(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True)
        assert trainer.stdin is not None and trainer.stdout is not None
        try:
            shown = 0
            for _ in trainer.stdout:  # a question after each epoch, and the result
                for r in [r for r in records(log, before) if r["event"] == "epoch"][shown:] if callback else ():
                    shown += 1
                    _answer(trainer.stdin, callback(r))  # type: ignore[misc]
        except BaseException:
            trainer.terminate()  # it writes a checkpoint and the weights
            raise
        finally:
            with contextlib.suppress(BrokenPipeError):  # it may have died before it read an answer
                trainer.stdin.close()
            trainer.wait()
            trainer.stdout.close()
        if trainer.returncode:
            complaints.seek(0)
            raise failed(trainer.returncode, complaints.read(), binary)
    return records(log, before)


def started(argv: Sequence[str], **how: Any) -> subprocess.Popen[str]:
    """A program's process, as ``subprocess.Popen`` makes it.

    A file that was just written is busy while a process that another thread has forked, and that has not begun its own
    program yet, holds it open for writing: then it is asked for again, for a second in all.
    """
    for pause in (0.001 * 2**i for i in range(10)):
        try:
            return subprocess.Popen(argv, **how)
        except OSError as e:
            if e.errno != errno.ETXTBSY:
                raise
        time.sleep(pause)
    return subprocess.Popen(argv, **how)


def _answer(trainer: IO[str], stop: object) -> None:
    """Tell a trainer that asks to go on, or to stop; one that has died says why by its exit code."""
    if isinstance(stop, (bool, np.bool_)) and stop:
        trainer.close()
        return
    with contextlib.suppress(BrokenPipeError):
        trainer.write("\n")
        trainer.flush()


def records(log: Path, start: int) -> list[Record]:
    """The complete lines of a log from byte ``start`` on."""
    if not log.exists():
        return []
    with log.open("rb") as f:
        f.seek(start)
        return [json.loads(line) for line in f.read().split(b"\n")[:-1]]


def failed(code: int, complaint: str, program: Path) -> BnncError:
    """The error B0901 of a ``program`` that ended with ``code``, with its own words; files beside it, which arrays were
    written to, are called what the caller knows: ``x``."""
    complaint = re.sub(rf"{re.escape(str(program.parent))}/\S*\.bnnd", "x", complaint)
    lines = complaint.strip().splitlines() or [f"it gave no reason (exit code {code})"]
    hints = [x.strip().removeprefix("hint:").strip() for x in lines if x.strip().startswith("hint:")]
    text = " ".join(x.strip() for x in lines if not x.strip().startswith("hint:"))
    text = text.removeprefix("error: ")
    return error(
        "B0901", f"the trainer stopped: {text}", help="; ".join(hints), exit_code=code if code > 0 else 128 - code
    )
