"""``bnnc compare`` and ``bnnc sweep``: tables and plots of rules and settings over seeds (``bnnc/study``)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..diag import error
from ..study import experiment
from ..study.plot import FILES, can_plot
from ..study.results import Result
from . import show


def split(text: str) -> list[str]:
    """``a,b(c, d),e`` at the commas outside of brackets."""
    out, depth = [""], 0
    for c in text:
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            out.append("")
        else:
            out[-1] += c
    return [x.strip() for x in out if x.strip()]


def _options(seeds: int) -> Callable[[Any], Any]:
    """What both commands take."""
    known = (
        click.option(
            "--seeds",
            default=seeds,
            type=click.IntRange(1, 10_000),
            metavar="N",
            show_default=True,
            help="runs of each row",
        ),
        click.option("--epochs", type=click.IntRange(1, 1_000_000), metavar="N", help="instead of the spec's"),
        click.option(
            "--threads", default=1, type=click.IntRange(1, 64), metavar="N", help="of each program (default 1)"
        ),
        click.option(
            "--jobs", type=click.IntRange(1, 1024), metavar="N", help="runs at a time (default: cores / threads)"
        ),
        click.option("--data", metavar="DIR", help="where the data is (default: beside the spec)"),
        click.option("-o", "--output", metavar="DIR", help="where results go; what is there already is not run again"),
        click.option("--json", "as_json", is_flag=True, help="JSON on standard output"),
    )

    def add(f: Any) -> Any:
        for option in reversed(known):
            f = option(f)
        return f

    return add


def _note(text: str) -> None:
    click.echo(text, err=True)


def _finish(result: Result, folder: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1))
    else:
        head, *rows = result.table()
        out = show.console()
        out.print(show.list_table(head, rows))
        for reason in result.reasons:
            out.print(reason)
        if result.wide:
            out.print(result.wide)
        out.print(result.caption, style="dim")
    if not can_plot():
        _note("no plot: matplotlib is missing; `pip install 'bnnc[plot]'` and the same command again draw it")
    files = " ".join(str(folder / f) for f in FILES if f != "plot.png" or can_plot())
    _note(f"Next: see {files}")


@click.command()
@click.argument("file")
@click.option("--rules", required=True, metavar="RULE,...", help='e.g. "bep,local,edge(state = f32),standard"')
@click.option("--ram", metavar="SIZE", help="scale hidden widths, for each rule, to the largest that fit, e.g. 64KiB")
@_options(5)
def compare(
    file: str,
    rules: str,
    ram: str | None,
    seeds: int,
    epochs: int | None,
    threads: int,
    jobs: int | None,
    data: str | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Train the same layers on the same data under several rules.

    Accuracy with its 95 % interval, memory, gates and times, as a table, CSV, Markdown and a plot in compare-NAME.  The
    same command after an interruption goes on; a rule that the network cannot have is a row that says why.
    BNNC_DUMP=DIR writes what each pass made of a row to a folder of its own, such as DIR/001-bep.

    Example: bnnc compare net.bnn --rules bep,local,edge,standard --ram 256KiB
    """
    net = experiment.api.load(file)
    folder = Path(output or f"compare-{net.model.name}")
    _finish(
        experiment.compare(net, split(rules), ram, seeds, epochs, threads, data, folder, jobs, _note), folder, as_json
    )


@click.command()
@click.argument("file")
@click.option(
    "--set",
    "settings",
    required=True,
    multiple=True,
    metavar="NAME=V,V,...",
    help="rule.ARG, optimizer.ARG, train.SETTING or a top-level `let`; several make a grid",
)
@click.option("--rule", metavar="RULE", help="instead of the spec's rule")
@_options(3)
def sweep(
    file: str,
    settings: tuple[str, ...],
    rule: str | None,
    seeds: int,
    epochs: int | None,
    threads: int,
    jobs: int | None,
    data: str | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Train one network with several values of its settings.

    Same outputs as `compare`, in sweep-NAME; the plot sets accuracy against the first setting's values.  BNNC_DUMP=DIR
    writes what each pass made of a row to a folder of its own, such as DIR/001-rule.r-.25.

    Example: bnnc sweep net.bnn --set rule.r=0,.25,.5,.75 --seeds 5
    """
    net = experiment.api.load(file).with_(**({"rule": rule} if rule else {}))
    folder = Path(output or f"sweep-{net.model.name}")
    chosen: dict[str, list[str]] = {}
    for s in settings:
        name, equals, values = s.partition("=")
        if not equals or not split(values) or name.strip() in chosen:
            raise error(
                "B0905",
                f"`--set {s}` is not NAME=VALUE,VALUE,... of a name that is set once",
                exit_code=2,
                help="such as --set rule.r=0,.25,.5",
            )
        chosen[name.strip()] = split(values)
    _finish(experiment.sweep(net, chosen, seeds, epochs, threads, data, folder, jobs, _note), folder, as_json)
