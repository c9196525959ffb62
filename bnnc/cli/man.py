"""``bnnc man``: the manual page, in troff's man macros, made of what the commands say of themselves."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator

import click

from .. import knobs
from ..version import __version__

TROFF = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti"}
SEE_ALSO = (
    "Every command has `--help`. `bnnc describe` says every layer, rule and setting of the language, "
    "`bnnc explain CODE` what an error means, and a program's `--help` what it takes."
)


@click.command()
@click.pass_context
def man(ctx: click.Context) -> None:
    """Print the manual page.

    Where pip installed bnnc, `man bnnc` shows it; `man -l` shows a file that it was written to.

    Example: bnnc man
    """
    click.echo(page(ctx.find_root()), nl=False)


def page(root: click.Context) -> str:
    """The text of the page of the program whose commands ``root`` has."""
    program = root.command
    assert isinstance(program, click.Group)
    about, *more = _paragraphs(program.help)
    lines = [
        f'.TH BNNC 1 "" "bnnc {__version__}" "User Commands"',
        *(".SH NAME", "bnnc \\- a compiler from a text to programs that train binary neural networks"),
        *(".SH SYNOPSIS", f".B bnnc\n{_text('[OPTIONS] COMMAND [ARGS]...')}"),
        *(".SH DESCRIPTION", *_shown(about), *(line for p in more for line in (".PP", *_shown(p)))),
        *(".SH OPTIONS", *_options(program, root)),
        *(".SH COMMANDS", *(line for name, c in program.commands.items() for line in _command(f"bnnc {name}", c))),
        *(".SH EXIT STATUS", *_shown(_paragraphs(program.epilog)[0].removeprefix("\b\nExit codes: "))),
        *(".SH ENVIRONMENT", *_environment()),
        *(".SH SEE ALSO", *_shown(SEE_ALSO)),
    ]
    return "\n".join(lines) + "\n"


def _command(name: str, command: click.Command) -> Iterator[str]:
    """A command's section; of a group, those of its commands."""
    if isinstance(command, click.Group):
        for word, inner in command.commands.items():
            yield from _command(f"{name} {word}", inner)
        return
    context = click.Context(command, info_name=name)
    yield f'.SS "{_text(" ".join((name, *command.collect_usage_pieces(context))))}"'
    for i, paragraph in enumerate(_paragraphs(command.help)):
        yield from (".PP",) * (i > 0)
        yield from _shown(paragraph)
    yield from _options(command, context)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for option in command.params:
        if isinstance(option, click.Option) and (record := option.get_help_record(context)):
            yield from (".TP", f"\\fB{_text(record[0])}\\fR", *_shown(record[1]))


def _environment() -> Iterator[str]:
    """What :mod:`bnnc.knobs` lists: a variable a line, with lines that go on."""
    for name, said in re.findall(r"^(BNNC_\S+) +(.*(?:\n .*)*)", inspect.getdoc(knobs) or "", re.MULTILINE):
        yield from (".TP", f"\\fB{_text(name)}\\fR", *_shown(" ".join(said.split())))
    yield from (".TP", "\\fBNO_COLOR\\fR", *_shown("if it is set, nothing is coloured"))


def _paragraphs(said: str | None) -> list[str]:
    return inspect.cleandoc(said or "").split("\n\n")


def _shown(paragraph: str) -> list[str]:
    """Filled text, or line by line where click is told so (by a backspace); what is in backquotes is bold."""
    if paragraph.startswith("\b\n"):
        return [".nf", *map(_text, paragraph.splitlines()[1:]), ".fi"]
    words = " ".join(paragraph.split())
    return list(map(_text, textwrap.wrap(words, 100, break_long_words=False, break_on_hyphens=False))) or [""]


def _text(line: str) -> str:
    """A line in which nothing is a request or an escape of troff's."""
    escaped = "".join(TROFF.get(c, c) for c in line)
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fR", f"\\&{escaped}" if escaped.startswith((".", "\\(aq")) else escaped)
