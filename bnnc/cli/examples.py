"""``bnnc examples``: what comes with bnnc, listed or copied."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..budget import spaced
from ..data import examples as shipped
from . import show
from .common import following, network_name, note, options, shell


@click.command()
@click.argument("name", required=False)
@click.option("-o", "--output", metavar="DIR", help="where to (default: a folder of the example's name)")
@options("json")
def examples(name: str | None, output: str | None, as_json: bool) -> None:
    """List the examples that come with bnnc, or copy one.

    Example: bnnc examples fashion_bep -o fashion
    """
    if name is None:
        found = shipped.examples()
        if as_json:
            click.echo(json.dumps([{"name": e.name, "title": e.title, "data_bytes": e.data} for e in found], indent=1))
        else:
            rows = [(e.name, f"{spaced(e.data)} B" if e.data else "", e.title) for e in found]
            show.console().print(show.list_table(("example", "brings data", ""), rows))
        following("bnnc examples fashion_bep -o DIR")
        return
    spec = shipped.copy(name, Path(output or name))
    if as_json:
        click.echo(json.dumps({"folder": str(spec.parent), "spec": str(spec)}, indent=1))
    note(f"{spec.parent}: {', '.join(sorted(p.name for p in spec.parent.iterdir()))}")
    brings = any(spec.parent.glob("*.bnnd"))
    following(f"{shell('bnnc', 'run' if brings else 'plan', str(spec))}   or   read {spec.parent}/README.md")


@click.command()
@click.argument("folder")
@click.option("--example", default="mnist_mlp", show_default=True, metavar="NAME", help="see `bnnc examples`")
@options("json")
def new(folder: str, example: str, as_json: bool) -> None:
    """Begin a network of your own as a copy of an example.

    FOLDER gets the example's spec, with the folder's name, and the data that it brings.

    Example: bnnc new digits --example mnist_mlp
    """
    to = Path(folder)
    spec = shipped.new(network_name(to), to, example)
    if as_json:
        click.echo(json.dumps({"folder": str(to), "spec": str(spec)}, indent=1))
    note(f"{spec.parent}: {', '.join(sorted(p.name for p in spec.parent.iterdir()))}, as in the example {example}")
    brings = any(spec.parent.glob("*.bnnd"))
    following(shell("bnnc", "run" if brings else "plan", str(spec)))
