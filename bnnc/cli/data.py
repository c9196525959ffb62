"""``bnnc data``: pack data into the form that trainers stream, and look into such files."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from .. import data
from ..budget import spaced
from ..data import fetch, generate
from ..data.fetch import SETS
from ..data.split import split
from ..diag import error
from ..report import picture
from ..source import whole


def shown(names: Sequence[str]) -> str:
    """Class names behind their number; of many the first ones."""
    return f": {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else ""


def share(text: str, flag: str = "--split") -> float:
    """``20%`` or ``0.2`` as a number.  Raises UsageError."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as e:
        raise click.UsageError(f"{flag} {text}: give a share, such as 20% or 0.2") from e


def listed(text: str) -> tuple[str, ...]:
    """``a, b`` as two names."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def pixels(text: str) -> tuple[int, int]:
    """``64x48`` as 64 rows of 48, ``64`` as a square.  Raises UsageError."""
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text.strip().lower())
    if not found:
        raise click.UsageError(f"--size {text}: give rows and columns, such as 64x64")
    return int(found[1]), int(found[2] or found[1])


def told(d: data.Dataset) -> Iterator[str]:
    """What was done with files that is not to be seen in their samples."""
    if d.labels_from:
        yield f"labels: {d.labels_from}"
    if d.categories:
        words = ", ".join(f"{at} `{name}` ({n})" for at, name, n in d.categories)
        yield f"columns of words: {words}; in the spec's encoder: {categories(d)}"
    if d.ignored:
        yield f"left out: {', '.join(d.ignored)}"


def categories(d: data.Dataset) -> str:
    """Arguments of an encoder that makes a bit of each word."""
    places, counts = ([c[i] for c in d.categories] for i in (0, 2))
    return f"onehot = {places}, categories = {counts}"


class _Pack(click.Command):
    """Lets ``--test`` take one file or two: everything up to the next flag."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write ``--test A B`` as ``--test A --test B``."""
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
@click.option(
    "--encode",
    default="none",
    metavar="ENCODER",
    help=(
        'bits, as a spec encodes them: "sign(128)", median, '
        '"thermometer(4)", ... fitted to the training samples; none (default)'
    ),
)
@click.option("--compress", is_flag=True, help="smaller on disk; a trainer expands it once")
@click.option(
    "--label",
    default="last",
    metavar="COLUMN",
    help="of a CSV: the label's, name or number (default last); none: no labels",
)
@click.option(
    "--columns", default="", metavar="A,B,...", help="of a CSV: those that samples are made of (default: all)"
)
@click.option("--drop", default="", metavar="A,B,...", help="of a CSV: columns that are left out")
@click.option("--size", metavar="HxW", help="scale images to so many rows and columns: 64x64, say")
@click.option("--split", metavar="SHARE", help="set apart as the test split, by a hash of each sample: 20%, say")
@click.option("--names", default="", metavar="A,B,...", help="of the classes, by label (default: the files' own)")
@click.option("-o", "--output", required=True, metavar="FILE.bnnd")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output")
def pack(
    files: tuple[str, ...],
    test: tuple[str, ...],
    encode: str,
    compress: bool,
    label: str,
    columns: str,
    drop: str,
    size: str | None,
    split: str | None,
    names: str,
    output: str,
    as_json: bool,
) -> None:
    """Pack samples and labels into one .bnnd file: idx or .npy pairs, .npz, .csv, CIFAR-10's .bin, or a folder of
    images.

    A folder holds a folder for each class (or train/CLASS and test/CLASS); reading images needs Pillow.  The names of
    folders, and labels of a CSV that are words, stay the names of the classes.

    Example: bnnc data pack x.npy y.npy --encode "sign(128)" -o train.bnnd

    Example: bnnc data pack data_batch_*.bin --test test_batch.bin -o cifar10.bnnd
    """
    d = data.pack(
        *files,
        encoder=encode,
        compress=compress,
        test=test,
        label=label,
        output=output,
        names=listed(names),
        split=share(split) if split else 0,
        columns=listed(columns),
        drop=listed(drop),
        size=pixels(size) if size else None,
    )
    if as_json:
        click.echo(json.dumps({**data.info(output), **({"labels_from": d.labels_from} if d.labels_from else {})}))
    else:
        click.echo(
            f"{output}: {d.n - d.n_test} training and {d.n_test} test samples, {d.kind}{list(d.shape)}, "
            f"{d.classes} classes{shown(d.names)}"
        )
    for line in told(d):
        click.echo(line, err=True)
    click.echo("Next: " + shlex.join(("bnnc", "data", "preview", output)), err=True)


@data_group.command("get")
@click.argument("name", type=click.Choice(tuple(SETS)))
@click.option("-o", "--output", metavar="FILE.bnnd", help="(default: NAME.bnnd)")
@click.option("--from", "place", metavar="URL", help="a folder that has the same files, instead of the authors'")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output")
def get(name: str, output: str | None, place: str | None, as_json: bool) -> None:
    """Fetch a well-known data set from its authors, check it, and pack it.

    What was fetched is kept in the cache; an interrupted command goes on where it stopped.

    Example: bnnc data get fashion -o fashion.bnnd
    """
    to = Path(output or f"{name}.bnnd")
    click.echo(f"{name}: {SETS[name].what}, from {place or SETS[name].url}", err=True)
    d = fetch.get(name, to, place, _received if sys.stderr.isatty() else lambda *_: None)
    if as_json:
        click.echo(json.dumps(data.info(to)))
    else:
        counts = f"{d.n - d.n_test} training and {d.n_test} test samples"
        click.echo(f"{to}: {counts}, {d.kind}{list(d.shape)}, {d.classes} classes{shown(d.names)}")
    click.echo("Next: " + shlex.join(("bnnc", "init", name + "_net", "--data", str(to))), err=True)


def _received(file: str, so_far: int, whole: int) -> None:
    """How far a file is, on the line of a terminal."""
    end = "\n" if so_far == whole else ""
    click.echo(f"\r{file}: {spaced(so_far)} of {spaced(whole)} B{end}", nl=False, err=True)


@data_group.group("make")
def make_group() -> None:
    """Make the data sets of papers that are drawn at random."""


@make_group.command("prototypes")
@click.option(
    "--flip",
    default=0.46,
    metavar="P",
    show_default=True,
    help="probability that a bit differs from its class's prototype",
)
@click.option("--seed", default=42, metavar="N", show_default=True, help="of NumPy's default generator")
@click.option(
    "--train", "n_train", default=20000, show_default=True, metavar="N", help="training samples, over all classes"
)
@click.option("--test", "n_test", default=3000, show_default=True, metavar="N", help="test samples")
@click.option("--bits", default=1000, show_default=True, metavar="N", help="of a sample")
@click.option("--classes", default=10, show_default=True, metavar="N")
@click.option("-o", "--output", required=True, metavar="FILE.bnnd")
def make_prototypes(flip: float, seed: int, n_train: int, n_test: int, bits: int, classes: int, output: str) -> None:
    """Random Prototypes: each class is a random pattern of bits, each sample its pattern with bits flipped.

    The defaults are those of binary error propagation (arXiv 2512.04189); the paper on local error signals
    (arXiv 2412.00119) has --flip 0.44 --train 10000 --test 2000.

    Example: bnnc data make prototypes -o prototypes.bnnd
    """
    try:
        d = generate.prototypes(n_train, n_test, bits, classes, flip, seed)
    except ValueError as e:
        raise error("B0805", str(e), exit_code=5, help="see `bnnc data make prototypes --help`") from e
    data.write_bnnd(output, d)
    click.echo(f"{output}: {n_train} training and {n_test} test samples, bit[{bits}], {classes} classes")
    click.echo("Next: " + shlex.join(("bnnc", "data", "info", output)), err=True)


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
        counts, tested, names = facts.pop("counts"), facts.pop("counts_test"), facts.pop("names")
        facts["shape"], facts["columns"] = list(facts["shape"]), ", ".join(facts["columns"]) or "without names"
        for key, value in facts.items():
            text = spaced(value) if isinstance(value, int) and key.endswith("bytes") else str(value)
            click.echo(f"{key.replace('_', ' '):<14} {text}")
        for k, (train, test) in enumerate(zip(counts, tested, strict=True)):
            name = f"  {names[k]}" if names else ""
            click.echo(f"{f'class {k}':<14} {train} training, {test} test samples{name}")
    click.echo("Next: " + shlex.join(("bnnc", "data", "preview", file)), err=True)


@data_group.command("preview")
@click.argument("file")
@click.option("--index", default=0, metavar="N", help="which sample (default 0; negative: from the end)")
@click.option("--png", metavar="FILE.png", help="draw it there too, as an image")
def preview(file: str, index: int, png: str | None) -> None:
    """Draw one sample of a .bnnd file.

    Example: bnnc data preview train.bnnd --index 7
    """
    click.echo(data.preview(file, index))
    if png:
        d = data.read_bnnd(file)
        with whole(Path(png)) as part:
            part.write_bytes(picture.large(d.x[index], d.kind))
        click.echo(f"Next: open {shlex.quote(png)}", err=True)


@data_group.command("split")
@click.argument("file")
@click.option("--test", "part", default="20%", show_default=True, metavar="SHARE", help="of the samples, to test with")
@click.option("-o", "--output", required=True, metavar="FILE.bnnd")
def split_command(file: str, part: str, output: str) -> None:
    """Set a test split apart, by a hash of each sample.

    A sample stays on its side when others come, and equal ones are never on both.

    Example: bnnc data split all.bnnd --test 20% -o apart.bnnd
    """
    d = split(data.read_bnnd(file), share(part, "--test"))
    data.write_bnnd(output, d)
    click.echo(f"{output}: {d.n - d.n_test} training and {d.n_test} test samples")
    click.echo("Next: " + shlex.join(("bnnc", "data", "info", output)), err=True)
