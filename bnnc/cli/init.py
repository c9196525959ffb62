"""``bnnc init``: a folder with a spec that fits given data."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import click

from .. import data
from ..data.split import split
from ..diag import error
from ..study.starter import Starter, starter
from . import show
from .common import following, network_name, note, options
from .data import listed, pixels, shown, told

TEST = 0.2  # of samples that come without a test split


@click.command("init")
@click.argument("folder")
@click.option(
    "--data",
    "source",
    required=True,
    metavar="PATH",
    help="a folder (of images, WAV; x.npy, y.npy; idx), .csv, .npz or .bnnd",
)
@click.option("--label", default="last", metavar="COLUMN", help="of a CSV: the label's, name or number (default last)")
@click.option("--drop", default="", metavar="A,B,...", help="of a CSV: columns that are left out")
@click.option("--size", metavar="HxW", help="scale images to so many rows and columns: 64x64, say")
@options("target", "ram", "json")
def init(
    folder: str, source: str, label: str, drop: str, size: str | None, target: str, ram: str | None, as_json: bool
) -> None:
    """Write a first spec for your data that fits the memory there is.

    The folder gets the samples, packed (without a test split of their own a fifth is set apart, by a hash of each
    sample), a spec with comments, and a README with the commands.

    Example: bnnc init pets --data photos/ --target rpi --ram 2MiB
    """
    to = Path(folder)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise error("B0903", f"{to} is there already, and not empty", exit_code=2, help="name a folder that is new")
    if size and not Path(source).is_dir():
        raise click.UsageError(f"--size is for a folder of images, which {source} is not")
    name = network_name(to)
    d = data.pack(source, label=label, drop=listed(drop), size=pixels(size) if size else None)
    apart = not d.n_test
    d = split(d, TEST) if apart else d
    made = starter(d, name, f"{name}.bnnd", target, ram)
    what = "PHOTOS" if d.kind == "u8" and len(d.shape) == 3 else "ROWS.csv" if d.labels_from else "FILE"
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=to.parent) as temporary:
        whole = Path(temporary) / name
        whole.mkdir()
        data.write_bnnd(whole / f"{name}.bnnd", d)
        (whole / f"{name}.bnn").write_text(made.text, encoding="utf-8")
        (whole / "README.md").write_text(
            _readme(name, _saw(source, d, apart), made, target, ram, what), encoding="utf-8"
        )
        if to.exists():
            to.rmdir()
        shutil.move(whole, to)
    if as_json:
        facts = {"samples": d.n - d.n_test, "test_samples": d.n_test, "classes": d.classes, "kind": d.kind}
        plan = made.plan.planned.report.summary()
        click.echo(
            json.dumps({"spec": str(to / f"{name}.bnn"), **facts, "shape": list(d.shape), "plan": plan}, indent=1)
        )
    note("\n".join((_saw(source, d, apart), *told(replace(d, labels_from="")))))
    note(f"{to / name}.bnn: needs {show.kib(made.plan.total_bytes)} on {target} to train")
    following(f"bnnc run {shlex.quote(str(to / name))}.bnn   or   look into {shlex.quote(str(to))}/README.md")


def _saw(source: str, d: data.Dataset, apart: bool) -> str:
    """What the data are, and how they are split."""
    how = ", set apart by a hash of each sample" if apart else ""
    return (
        f"{source}: {d.kind}[{', '.join(map(str, d.shape))}], {d.classes} classes{shown(d.names)}; {d.n - d.n_test} "
        f"samples to train on, {d.n_test} to test with{how}" + (f"; labels: {d.labels_from}" if d.labels_from else "")
    )


def _readme(name: str, saw: str, made: Starter, target: str, ram: str | None, what: str) -> str:
    flags = "".join(f" --{k} {v}" for k, v in (("target", target), ("ram", ram)) if v not in ("host", None))
    lines = (
        (f"bnnc plan {name}.bnn{flags}", f"the memory that training takes, to the byte: {made.plan.total_bytes:,} B"),
        (f"bnnc run {name}.bnn", "train on this machine; the same command after an interruption goes on"),
        (f"bnnc run {name}.bnn eval", "accuracy, of each class too, and what is taken for what"),
        (f"bnnc run {name}.bnn predict --test {what}", "the class of new samples"),
        (f"bnnc report run/{name}", "one page: what it learned, what it confuses, its memory"),
        (f"bnnc compile {name}.bnn{flags} -o net", "one program that trains, evaluates and predicts: see its --help"),
        (f"bnnc data preview {name}.bnnd", "one sample"),
        ("bnnc describe", "every layer, rule and setting there is"),
    )
    room = max(len(command) for command, _ in lines)
    commands = "\n".join(f"    {command:{room}}   # {what}" for command, what in lines)
    return (
        f"# {name}\n\n{saw}.\n\n`{name}.bnn` is the network and how it learns; `{name}.bnnd` holds the samples. "
        f"In this folder:\n\n{commands}\n"
    )
