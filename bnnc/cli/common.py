"""What commands share: their streams, exit codes and options, and the spec that they read.

Results go to standard output, prose and errors to standard error; with ``--json`` standard output holds JSON only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from .. import api, codes
from ..data import doubts
from ..diag import BnncError, error, nearest, render, to_json
from .bug import report_bug
from .pipe import Piped, quiet


def note(text: str) -> None:
    """One line of prose, on standard error."""
    click.echo(text, err=True)


def following(text: str) -> None:
    """What to do next; the last line of every success."""
    note(f"Next: {text}")


def shell(*words: str) -> str:
    """A command as a shell reads it; one of bnnc's has the plug-ins that this one has."""
    context = click.get_current_context(silent=True)
    given = context.find_root().params.get("files", ()) if context and words[0] == "bnnc" else ()
    return shlex.join((words[0], *(w for file in given for w in ("--plugin", file)), *words[1:]))


def program(path: str) -> str:
    """The command that runs a program built here; a Python program finds bnnc with the Python that runs bnnc now."""
    shown = shlex.quote(path if "/" in path else f"./{path}")
    return f"{shlex.quote(sys.executable)} {shown}" if path.endswith(".py") else shown


def wants_colour(stream: Any = None) -> bool:
    """Is the stream a terminal, and NO_COLOR not set?"""
    return not os.environ.get("NO_COLOR") and (stream or sys.stderr).isatty()


def fail(e: BnncError, as_json: bool) -> NoReturn:
    """Print what is wrong and end with the error's exit code."""
    with quiet():
        if as_json:
            click.echo(
                json.dumps({"diagnostics": to_json(e.diagnostics, e.sources), "exit_code": e.exit_code}, indent=1)
            )
        note(render(e.diagnostics, e.sources, wants_colour()))
        coded = [d.code for d in e.diagnostics if d.code in codes.CODES]
        if coded and not as_json:
            note(f"\nbnnc explain {coded[0]} says more")
    sys.exit(e.exit_code)


class Group(Piped):
    """Commands in sections; unknown ones get a suggestion; errors get their exit code and never a traceback."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections: dict[str, list[str]] = {}  # titles, and the names of the commands below each

    def add_section(self, title: str, commands: Iterable[click.Command]) -> None:
        """Register commands that ``--help`` lists below one title."""
        for command in commands:
            self.add_command(command)
            self.sections.setdefault(title, []).append(str(command.name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sections in their order, what each command does on one line."""
        width = max(map(len, self.commands))
        for title, names in self.sections.items():
            with formatter.section(title):
                room = formatter.width - formatter.current_indent - width - 2
                formatter.write_dl([(f"{n:{width}}", self.commands[n].get_short_help_str(room)) for n in names])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command by its name.  Raises UsageError with a suggestion for an unknown one."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            near = nearest(name, self.list_commands(ctx))
            hint = f"did you mean `{near}`?" if near else f"commands: {', '.join(self.list_commands(ctx))}"
            raise click.UsageError(f"there is no command `{name}`; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are registered, which is that of a user's work."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note the words of the command line first, and whether errors are to be JSON."""
        ctx.meta["bnnc.json"], ctx.meta["bnnc.args"] = "--json" in args, tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it raises ends the process with its exit code."""
        try:
            return super().invoke(ctx)
        except BnncError as e:
            fail(e, ctx.meta["bnnc.json"])
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)
        except OSError as e:
            fail(error("B0903", f"{e.filename or 'a file'}: {e.strerror or e}", exit_code=2), ctx.meta["bnnc.json"])
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as e:
            with quiet():
                raise SystemExit(report_bug(e, ctx.meta["bnnc.args"], ctx.meta["bnnc.json"])) from e


def network(file: str, rule: str | None = None, batch: int | None = None) -> api.Network:
    """The spec in ``file`` (``-``: standard input) with what replaces its settings; all warnings, its training data's
    too, shown.
    """
    text = sys.stdin.read() if file == "-" else api.read_text(file)
    net = api.parse(text, "<stdin>" if file == "-" else file)
    given = {key: value for key, value in (("rule", rule), ("batch", batch)) if value is not None}
    if given:
        net = net.with_(**given)
    if found := doubts.warnings_of(net.model, net.file):
        note(
            render(
                found, {net.file: net.text, **{f"--{key}": str(value) for key, value in given.items()}}, wants_colour()
            )
            + "\n"
        )
    return net


def network_name(folder: Path) -> str:
    """What a network in a folder of this name is called."""
    name = re.sub(r"\W+", "_", folder.resolve().name).strip("_") or "net"
    return name if not name[0].isdigit() else f"net_{name}"


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Say on a terminal what takes a while, as long as it does."""
    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else contextlib.nullcontext():
        yield


def place(name: str) -> str:
    """Where a program of this name goes: here, or into a folder that is called so, as `bnnc init` makes one."""
    return f"{name}/{name}" if Path(name).is_dir() else name


def predicting(mode: str, weights: str | None, **others: Any) -> str | None:
    """The weights of a program that only predicts; None of one that trains.  Raises UsageError for one of both, and
    ``others``, which mean nothing to it."""
    if (mode == "infer") != (weights is not None):
        raise click.UsageError("--mode infer and --weights belong together")
    if wrong := [name for name, value in others.items() if value and weights is not None]:
        raise click.UsageError(f"--{wrong[0]} means nothing with --mode infer")
    return weights


def options(*names: str) -> Callable[[Any], Any]:
    """The options that several commands share."""
    known = {
        "target": click.option("--target", default="host", metavar="NAME", help="see `bnnc targets` (default host)"),
        "ram": click.option("--ram", metavar="SIZE", help="the memory there is, e.g. 2MiB"),
        "batch": click.option("--batch", type=click.IntRange(1, 65536), metavar="N", help="instead of the spec's"),
        "threads": click.option("--threads", type=click.IntRange(1, 64), metavar="N", help="most that can be used"),
        "rule": click.option("--rule", metavar="RULE", help='instead of the spec\'s rule, e.g. "edge(state = f32)"'),
        "mode": click.option(
            "--mode", type=click.Choice(["train", "infer"]), default="train", help="infer: it only predicts"
        ),
        "weights": click.option(
            "--weights", metavar="CKPT", help="of --mode infer: a run's folder, .bnnck, .safetensors"
        ),
        "json": click.option("--json", "as_json", is_flag=True, help="JSON on standard output"),
    }

    def add(f: Any) -> Any:
        for n in reversed(names):
            f = known[n](f)
        return f

    return add
