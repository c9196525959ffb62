"""``bnnc data``: pack data into the form that trainers stream, and look into such files."""

from __future__ import annotations

import json

import click

from . import data
from .budget import number


class _Pack(click.Command):
    """Lets ``--test`` take one file or two: everything up to the next flag."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        out: list[str] = []
        testing = False
        for a in args:
            if a == "--test":
                testing = True
                continue
            testing = testing and not a.startswith("-")
            out += ["--test", a] if testing else [a]
        return super().parse_args(ctx, out)


@click.group("data")
def data_group() -> None:
    """Pack data files, and look into packed ones."""


@data_group.command("pack", cls=_Pack)
@click.argument("files", nargs=-1, required=True)
@click.option("--test", multiple=True, metavar="FILE...", help="the test set's files (give them after the others)")
@click.option("--encode", default="none", metavar="ENCODER", help='"sign(128)": one bit a value; none (default)')
@click.option("--compress", is_flag=True, help="smaller on disk; a trainer expands it once")
@click.option("--label", default="last", metavar="COLUMN", help="of a CSV: the label's, name or number (default last)")
@click.option("-o", "--output", required=True, metavar="FILE.bnnd")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output")
def pack(files: tuple[str, ...], test: tuple[str, ...], encode: str, compress: bool, label: str, output: str,
         as_json: bool) -> None:
    """Pack samples and labels (idx, .npy, .npz, .csv) into one .bnnd file.

    Example: bnnc data pack x.npy y.npy --encode "sign(128)" -o train.bnnd
    """
    d = data.pack(*files, encoder=encode, compress=compress, test=test, label=label, output=output)
    if as_json:
        click.echo(json.dumps(data.info(output)))
    else:
        click.echo(f"{output}: {d.n - d.n_test} training and {d.n_test} test samples, {d.kind}{list(d.shape)}, "
                   f"{d.classes} classes")
    click.echo(f"Next: bnnc data preview {output}", err=True)


@data_group.command("info")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output")
def info(file: str, as_json: bool) -> None:
    """Check a .bnnd file and say what is in it.

    Example: bnnc data info train.bnnd
    """
    facts = data.info(file)
    if as_json:
        click.echo(json.dumps(facts))
    else:
        for key, value in facts.items():
            text = number(value) if isinstance(value, int) and key.endswith("bytes") else str(value)
            click.echo(f"{key.replace('_', ' '):<14} {text}")
    click.echo(f"Next: bnnc data preview {file}", err=True)


@data_group.command("preview")
@click.argument("file")
@click.option("--index", default=0, metavar="N", help="which sample (default 0; negative: from the end)")
def preview(file: str, index: int) -> None:
    """Draw one sample of a .bnnd file.

    Example: bnnc data preview train.bnnd --index 7
    """
    click.echo(data.preview(file, index))
