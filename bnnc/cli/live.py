"""What `bnnc run` shows of a training run on a terminal: where it is, how fast, what it learned, and its memory.

The program writes for a terminal of its own (a pty): its lines stay lines, and from the one that it keeps renewing, and
from its log, a view below them is drawn.  Who reads no terminal gets the program's own lines.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..budget import spaced
from ..data.preview import curve
from ..report.run import read_log

try:
    import pty
except ImportError:  # no Unix: no program runs there either
    pty = None  # type: ignore[assignment]

STEP = re.compile(
    r"epoch +(?P<epoch>\d+)/(?P<epochs>\d+)  step (?P<step>\d+)/(?P<steps>\d+)  (?P<what>\w+) (?P<loss>\S+)"
    r"(?:  train (?P<train>\S+) %)?  (?P<rate>\d+) samples/s  ETA (?P<eta>.+)"
)
WIDTH = 30  # of a bar, and of a curve


@dataclass
class View:
    """``now``: the words of the line that the program renews; ``epochs``: the log's records; ``resident``: bytes."""

    name: str
    planned: int
    log: Path
    now: dict[str, str] = field(default_factory=dict)
    epochs: Sequence[dict[str, Any]] = ()
    resident: int = 0

    def take(self, line: str) -> None:
        """What the program's last line says."""
        if found := STEP.search(line):
            self.now = found.groupdict("")

    def look(self, pid: int) -> None:
        """Into the log, and at the process's memory."""
        if self.now and self.log.exists():  # before the first step it is the run's before
            self.epochs = read_log(self.log)[1]
        self.resident = max(self.resident, _resident(pid))

    def __rich__(self) -> Group:
        n = self.now
        rows = Table.grid(padding=(0, 2))
        if n:
            done = (int(n["epoch"]) - 1) * int(n["steps"]) + int(n["step"])
            bar = ProgressBar(int(n["epochs"]) * int(n["steps"]), done, WIDTH)
            rows.add_row("epoch", bar, f"{n['epoch']} of {n['epochs']}, step {n['step']} of {n['steps']}")
            rows.add_row("rate", "", f"{spaced(int(n['rate']))} samples/s, ETA {n['eta']}")
            rows.add_row(n["what"], curve([e["loss"] for e in self.epochs][-WIDTH:]), n["loss"])
        for key, word in (("train_acc", "train"), ("holdout_acc", "held out"), ("test_acc", "test")):
            if found := [e[key] for e in self.epochs if key in e]:
                now = f", now {n['train']} %" if key == "train_acc" and n.get("train") else ""
                rows.add_row(
                    word, curve(found[-WIDTH:]), f"{100 * found[-1]:.2f} %, best {100 * max(found):.2f} %{now}"
                )
        for key, layers in _of_layers(self.epochs[-1] if self.epochs else {}):
            rows.add_row(key, "", ", ".join(f"{layer} {v:,.4g}" for layer, v in layers.items()))
        memory = ProgressBar(self.planned, min(self.resident, self.planned), WIDTH)
        rows.add_row("memory", memory, f"{spaced(self.resident)} of {spaced(self.planned)} B that were planned")
        return Group(Text(self.name, style="bold"), rows)


def _of_layers(record: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """What an epoch's record tells layer by layer: flips, say."""
    return ((k, v) for k, v in record.items() if isinstance(v, dict) and v)


def _resident(pid: int) -> int:
    """Bytes of a process that are in memory, 0 where the kernel does not say."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^Rss: +(\d+) kB", text, re.M)
    return 1024 * int(found[1]) if found else 0


def wanted(console: Console) -> bool:
    """Is there a terminal that can show a view?"""
    return pty is not None and console.is_terminal and not console.is_dumb_terminal


def watched(argv: Sequence[str], view: View, console: Console) -> subprocess.Popen[bytes]:
    """Run a program to its end under a view; its process."""
    ours, its = pty.openpty()
    default = (signal.SIGINT, signal.SIGTERM)
    process = subprocess.Popen(
        argv,
        stdout=its,
        stderr=its if sys.stderr.isatty() else None,  # else its last words would stand in the view
        preexec_fn=lambda: [signal.signal(s, signal.SIG_DFL) for s in default],
    )
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    os.close(its)
    rest = ""
    with Live(view, console=console, transient=True, auto_refresh=False) as live:
        for text in _read(ours):
            *lines, rest = (rest + text).replace("\r\n", "\n").split("\n")
            for line in lines:
                console.print(Text(_short(_plain(line), console.width)), soft_wrap=True)
            view.take(_plain(rest))
            view.look(process.pid)
            live.refresh()
    if rest and not STEP.search(rest):
        console.print(Text(_plain(rest)), soft_wrap=True)
    process.wait()
    return process


def _plain(line: str) -> str:
    """What a terminal shows of a line that was renewed."""
    return line.replace("\x1b[K", "").rstrip("\r").rpartition("\r")[2]


def _short(line: str, width: int) -> str:
    """An epoch's line without its last parts, rate and times, where a terminal has no room for them: the view has."""
    while len(line) > width and line.startswith("epoch ") and "  " in line.strip():
        line = line.rpartition("  ")[0].rstrip()
    return line


def _read(ours: int) -> Iterator[str]:
    """What the program writes, as it comes, and nothing now and then; to its end."""
    with os.fdopen(ours, "rb", buffering=0) as f:
        while True:
            if not select.select([f], [], [], 0.5)[0]:
                yield ""
                continue
            try:
                found = f.read(65536)
            except OSError:  # Linux: the other side is closed
                return
            if not found:
                return
            yield found.decode("utf-8", "replace")
