"""``bnnc describe``, ``targets``, ``passes`` and ``version``: what this bnnc can do, whatever the network."""

from __future__ import annotations

import json
import sys

import click
from click.shell_completion import get_completion_class

from .. import driver, knobs
from ..backends import select
from ..backends.c import build as c_build
from ..backends.c.targets import TARGETS
from ..diag import BnncError, did_you_mean, error
from ..front import describe
from ..version import __version__
from . import show

AS_JSON = click.option("--json", "as_json", is_flag=True, help="JSON on standard output")


def _ram(n: int | None) -> str:
    return "" if not n else f"{n >> 20} MiB" if n >> 20 else f"{n >> 10} KiB"


@click.command()
@AS_JSON
def targets(as_json: bool) -> None:
    """List the machines that programs can be compiled for.

    It says too which compilers for them are installed.
    """
    known = list(select.targets().values())
    found = {t.name: select.backend_of(t).installed(t) for t in known}
    if as_json:
        click.echo(
            json.dumps(
                [
                    {
                        "name": t.name,
                        "isa": t.isa,
                        "doc": t.doc,
                        "levels": [x.name for x in t.levels],
                        "threads": t.threads,
                        "ram_bytes": t.ram,
                        "compilers": list(t.compilers),
                        "installed": found[t.name],
                        "install": t.install,
                    }
                    for t in known
                ],
                indent=1,
            )
        )
    else:
        show.console().print(
            show.list_table(
                ("target", "isa", "instruction sets", "threads", "RAM", "compiler", "what"),
                (
                    (
                        t.name,
                        t.isa,
                        ", ".join(x.name for x in t.levels),
                        str(t.threads),
                        _ram(t.ram),
                        found[t.name] or "none",
                        t.doc,
                    )
                    for t in known
                ),
            )
        )
        for text in dict.fromkeys(t.install for t in known if not found[t.name]):
            names = [t.name for t in known if t.install == text and not found[t.name]]
            click.echo(f"{', '.join(names)}: {text}", err=True)
    click.echo("Next: bnnc compile FILE --target NAME", err=True)


@click.command()
@AS_JSON
def passes(as_json: bool) -> None:
    """List the passes between a spec and its plan, in order."""
    if as_json:
        click.echo(
            json.dumps(
                [
                    {
                        "name": p.name,
                        "takes": p.takes,
                        "gives": p.gives,
                        "doc": p.doc,
                        "optional": p.optional,
                        "preserves": p.preserves,
                    }
                    for p in driver.PIPELINE
                ],
                indent=1,
            )
        )
    else:
        show.console().print(
            show.list_table(
                ("pass", "from", "to", "optional", "what is true afterwards"),
                ((p.name, p.takes, p.gives, "yes" if p.optional else "", p.doc) for p in driver.PIPELINE),
            )
        )
    click.echo("Next: BNNC_DUMP=DIR bnnc plan FILE   writes what each pass made", err=True)


@click.command()
@AS_JSON
def version(as_json: bool) -> None:
    """Print the version, and the C compiler that would be used."""
    try:
        compiler = c_build.find_compiler(TARGETS["host"], knobs.read().cc)
    except BnncError:
        compiler = ""
    if as_json:
        click.echo(json.dumps({"version": __version__, "compiler": compiler, "python": sys.version.split()[0]}))
    else:
        click.echo(f"bnnc {__version__}, C compiler: {compiler or 'none found'}")


@click.command("describe")
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="the whole language as a page")
@AS_JSON
def describe_command(name: str | None, markdown: bool, as_json: bool) -> None:
    """Look up a layer, a rule, a setting: any name of the language.

    Without a name, list them all.

    Example: bnnc describe dense
    """
    if markdown and name:
        raise click.UsageError("--markdown prints the whole language: leave the name out")
    known = describe.entries()
    found = [e for e in known if name in (None, e.name, *dict(e.facts).get("known as", "").split(", "))]
    if not found:
        names = sorted({e.name for e in known})
        raise error(
            "B0907",
            f"there is no `{name}` in the language",
            exit_code=2,
            help=did_you_mean(str(name), names) or f"names: {', '.join(names)}",
        )
    if as_json:
        click.echo(json.dumps([e.to_json() for e in found], indent=1))
    elif markdown:
        click.echo(describe.markdown(found), nl=False)
    elif name is None:
        click.echo(describe.listing(found), nl=False)
        click.echo("Next: bnnc describe NAME", err=True)
    else:
        click.echo("\n".join(describe.text(e) for e in found), nl=False)


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what teaches a shell the commands and flags of bnnc.

    Append it to ~/.bashrc, say.

    Example: bnnc completion bash
    """
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(ctx.find_root().command, {}, "bnnc", "_BNNC_COMPLETE").source())
