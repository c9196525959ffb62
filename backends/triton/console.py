"""The Python trainer's terminal: the C trainer's flags, lines of text, signals."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import select
import signal
import sys
from collections.abc import Mapping
from typing import Any

STOP: list[int] = []  # the signal that came, SIGPIPE where nobody reads standard output any more
LAST = "the last network, not the one that was best on held-out samples"
LOST: list[OSError] = []  # why standard output could not be written


def catch_signals() -> None:
    """A closed terminal stops a run too, but not after nohup."""
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if s != signal.SIGHUP or signal.getsignal(s) != signal.SIG_IGN:
            signal.signal(s, lambda number, _: STOP.append(number))


def say(text: str) -> None:
    """Lines for the user.  A closed pipe stops the run, as a signal does; what else loses a line is in LOST."""
    try:
        print(text, flush=True)
    except OSError as e:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again when it ends
        LOST.append(e)
        if e.errno == errno.EPIPE:
            STOP.append(signal.SIGPIPE)


def note(text: str) -> None:
    """A line on standard error, where there is one and anybody reads it."""
    with contextlib.suppress(OSError):
        print(text, end="\n" if text else "", file=sys.stderr)


def asked(question: str) -> bool:
    """Whether a line comes on standard input; False at its end, and where a signal comes first."""
    say(question)
    line = b""
    while not STOP and not line.endswith(b"\n"):
        if select.select([0], [], [], 0.1)[0]:
            if not (c := os.read(0, 1)):
                return False
            line += c
    return not STOP


def options(net: Mapping[str, Any], args: list[str] | None) -> argparse.Namespace:
    """The command line: the C trainer's flags."""
    top = argparse.ArgumentParser(
        prog=f"{net['name']}_triton.py",
        description=f"{net['name']}: rule {net['rule']}, {net['optimizer']}, "
        f"batch {net['batch'] * net['parts']}; {net['device_bytes']} bytes of GPU memory",
        epilog="exit codes: 0 done, 2 command line, 5 data, 6 checkpoint, 7 no GPU, "
        "129/130/141/143 closed terminal, Ctrl-C, closed pipe, kill",
    )
    verbs = top.add_subparsers(dest="verb", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    for flag, text in (
        ("--data", "where the files named in the spec are"),
        ("--train", "other training data: FILE[,LABELS]"),
        ("--test", "other test data: FILE[,LABELS], or none"),
        ("--init", "first weights from a .safetensors file"),
    ):
        shared.add_argument(flag, help=text)
    shared.add_argument("--out", default="run", help="checkpoints (default run)")
    exports = argparse.ArgumentParser(add_help=False)
    exports.add_argument("--export", help="weights to a .safetensors file at the end, or where it is stopped")
    t = verbs.add_parser(
        "train",
        parents=[shared, exports],
        help="train; the same command after an interruption goes on where it stopped",
    )
    t.add_argument("--epochs", type=int, default=net["epochs"])
    t.add_argument("--steps", type=int, help="stop after N steps in total")
    t.add_argument("--lr", type=float, help=f"first learning rate (default {net['lr']:g})")
    t.add_argument("--seed", type=int, help=f"first weights and order of the samples (default {net['seed']})")
    t.add_argument("--eval-every", type=int, default=1, help="test after every N epochs")
    t.add_argument("--resume", choices=("auto", "never"), default="auto")
    t.add_argument("--save-every", type=float, default=60, help="seconds between checkpoints")
    t.add_argument("--save-every-steps", type=int, default=0)
    t.add_argument("--log", help="one JSON object an epoch")
    t.add_argument(
        "--ask", action="store_true", help="wait after each epoch: a line on standard input goes on, its end stops"
    )
    t.add_argument("--quiet", action="store_true")
    _measures(verbs, shared, exports)
    i = verbs.add_parser("info", help="what this program is")
    i.add_argument("--json", action="store_true")
    return top.parse_args(args)


def _measures(verbs: Any, shared: argparse.ArgumentParser, exports: argparse.ArgumentParser) -> None:
    """The verbs `eval` and `predict`."""
    e = verbs.add_parser(
        "eval", parents=[shared, exports], help="accuracy on the test set, of the checkpoint in --out or of --init"
    )
    e.add_argument("--json", action="store_true")
    e.add_argument("--last", action="store_true", help=LAST)
    e.add_argument("--quiet", action="store_true", help="only the result")
    p = verbs.add_parser(
        "predict", parents=[shared], help="the class of each test sample, a line each; labels may be missing"
    )
    p.add_argument("--json", action="store_true", help="an object a line: sample and class")
    p.add_argument("--last", action="store_true", help=LAST)
