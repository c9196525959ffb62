"""Commands that read a spec, or explain one, and build nothing: check, fmt, plan, explain."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from .. import api, budget, codes, driver, knobs
from ..backends.triton.predict import Prediction
from ..data import doubts
from ..data.files import training_samples
from ..diag import BnncError, InternalError, did_you_mean, error, to_json
from ..front import describe, fmt
from ..front.parse import parse
from ..papers.gates import Gates
from ..papers.published import Published
from ..plan.report import Report, table_lines
from ..report import page
from ..source import whole
from . import show
from .common import following, network, note, options, predicting, shell


@click.command()
@click.argument("file")
@options("batch", "rule", "json")
def check(file: str, batch: int | None, rule: str | None, as_json: bool) -> None:
    """Find every mistake in a spec, without compiling it.

    Example: bnnc check net.bnn
    """
    net = network(file, rule, batch)
    m = net.model
    if as_json:
        click.echo(
            json.dumps(
                {
                    "name": m.name,
                    "hash": m.hash,
                    "rule": m.rule.name,
                    "optimizer": m.optimizer.name,
                    "batch": m.batch,
                    "chosen": m.chosen,
                    "diagnostics": to_json(doubts.warnings_of(net.model, file), {net.file: net.text}),
                },
                indent=1,
            )
        )
    else:
        click.echo(
            f"{m.name}: no mistakes; {sum(1 for _ in m.walk())} layers, {m.layers[0].args['tensor']} to "
            f"{m.classes} classes, rule {m.rule.name}, {m.optimizer.name}, batch {m.batch}"
        )
        for line in m.chosen:
            click.echo(f"  chosen: {line}")
    following(shell("bnnc", "plan", file))


@click.command("fmt")
@click.argument("file")
@click.option("--check", "only_check", is_flag=True, help="write nothing; exit code 1 if the text would change")
@click.option("--explicit", is_flag=True, help="write out every default")
@click.option("--write", "-w", is_flag=True, help="change the file itself")
@options("json")
def fmt_command(file: str, only_check: bool, explicit: bool, write: bool, as_json: bool) -> None:
    """Print a spec in its canonical form.

    Example: bnnc fmt -w net.bnn
    """
    text = sys.stdin.read() if file == "-" else api.read_text(file)
    name = "<stdin>" if file == "-" else file
    try:
        new = fmt.explicit(text, name) if explicit else fmt.format(parse(text, name))
    except BnncError as e:
        e.sources.setdefault(name, text)
        raise
    if as_json:
        click.echo(json.dumps({"file": name, "canonical": new == text, "text": new}, indent=1))
    if only_check:
        if new != text:
            note(f"{name}: not in canonical form")
            following(shell("bnnc", "fmt", "-w", file))
            sys.exit(1)
        note(f"{name}: in canonical form")
    elif write and file != "-":
        if new != text:
            with whole(Path(file)) as part:
                part.write_text(new, encoding="utf-8")
        note(f"{name}: {'written' if new != text else 'unchanged'}")
    else:
        if not as_json:
            click.echo(new, nl=False)
        return
    following(shell("bnnc", "check", file))


@click.command()
@click.argument("file")
@options("target", "ram", "batch", "threads", "rule", "mode", "weights", "json")
@click.option("--csv", is_flag=True, help="the buffers as CSV: id, first and last time, bytes, offset")
@click.option("--literature", is_flag=True, help="the published accounting of this network beside what bnnc allocates")
@click.option("--samples", type=click.IntRange(1), metavar="N", help="training samples, if the data cannot be read")
@click.option("--data", metavar="DIR", help="where the data is (default: beside the spec)")
@click.option(
    "--time", is_flag=True, help="a GPU target: a step's predicted time, from its compiled code (takes a while)"
)
@click.option("--all", "everything", is_flag=True, help="list small buffers one by one too")
@click.option(
    "--html", metavar="FILE", help="write the plan as a page too: the arena over the step, why buffers are kept"
)
def plan(
    file: str,
    target: str,
    ram: str | None,
    batch: int | None,
    threads: int | None,
    rule: str | None,
    mode: str,
    weights: str | None,
    as_json: bool,
    csv: bool,
    literature: bool,
    samples: int | None,
    data: str | None,
    time: bool,
    everything: bool,
    html: str | None,
) -> None:
    """Show what training will need, to the byte.

    Example: bnnc plan net.bnn --ram 2MiB --batch 50
    """
    net = network(file, rule, batch)
    others = {"ram": ram, "threads": threads, "csv": csv, "literature": literature, "time": time, "html": html}
    if (given := predicting(mode, weights, **others)) is not None:
        _predicts(net.planned_predictor(given, target, batch).report, as_json)
        following(shell("bnnc", "compile", file, "--mode", mode, "--weights", given))
        return
    p = net.plan(target, batch, threads, ram)
    published = _published(p, samples, Path(data or Path(file).parent)) if literature else None
    other = None if csv or literature else _standard(net, p, target, batch, threads)
    predicted = p.predicted() if time else None
    counts = [(q.planned.model.rule.name, g) for q in (p, other) if q is not None and (g := q.gates) is not None]
    if as_json:
        click.echo(
            json.dumps({**p.to_json(), **_counted(p, counts, published), **_timed(predicted)}, indent=1, sort_keys=True)
        )
    elif csv:
        click.echo(str(p.planned.placed), nl=False)
    elif literature:
        _literature(p, published)
    else:
        show.plan(p, other, counts, everything)
        if predicted is not None:
            show.prediction(predicted, everything)
    _page(html, net, p)
    following(f"{shell('bnnc', 'run', file)}   or   {shell('bnnc', 'compile', file)}")


def _page(html: str | None, net: api.Network, p: api.Plan) -> None:
    """Write the plan as a page, if one is wanted."""
    if html:
        page.write(Path(html), page.of_plan(net, p, shell("bnnc", "plan", *_given())))
        note(f"{html}: the plan as a page")


def _given() -> list[str]:
    """The words behind `bnnc plan`, without those that name the page."""
    words = list(click.get_current_context().find_root().meta["bnnc.args"])
    words = words[words.index("plan") + 1 :]
    return [w for i, w in enumerate(words) if not w.startswith("--html") and words[i - 1 : i] != ["--html"]]


def _predicts(r: Report, as_json: bool) -> None:
    """What a program needs that only predicts."""
    click.echo(json.dumps(r.to_json(), indent=1, sort_keys=True) if as_json else "\n".join(table_lines(r)))


def _literature(p: api.Plan, published: Published | None) -> None:
    if published is None:
        raise error(
            "B0603",
            "the published accountings cover networks of dense layers and convolutions trained with "
            "adam, sgd or bop, with real layers or residuals adam only",
            help="leave out `--literature`",
        )
    show.literature(p, published)


def _timed(predicted: Prediction | None) -> dict[str, Any]:
    return {"time": predicted.to_json()} if predicted else {}


def _counted(p: api.Plan, gates: list[tuple[str, Gates]], published: Published | None) -> dict[str, Any]:
    """What papers count, as plain data, beside the plan's own."""
    found: dict[str, Any] = {"checkpoint_bytes": p.planned.report.checkpoint}
    found["gates"] = {name: {**asdict(g), "total": g.total} for name, g in gates}
    if published:
        printed = {"printed": {k: float(v) for k, (v, _) in published.printed.items()}} if published.printed else {}
        figures = {key: figure for key, _, figure in published.figures}
        found[f"literature_{published.unit.lower()}"] = {**figures, "allocated": published.allocated, **printed}
    return found


def _standard(net: api.Network, p: api.Plan, target: str, batch: int | None, threads: int | None) -> api.Plan | None:
    """The plan under rule standard, where that is another rule and takes this network."""
    if p.planned.model.rule.name == "standard":
        return None
    options = net.options(target, batch, threads)
    options = replace(options, overrides={**options.overrides, "rule": "standard"})
    try:
        return api.Plan.of(driver.plan_text(options, knobs.read().quiet))
    except BnncError:
        return None
    except InternalError as e:
        note(f"no plan under rule standard: {e} (a bug in bnnc: please report it)")
        return None


def _published(p: api.Plan, samples: int | None, folder: Path) -> Published | None:
    """The published accounting; the number of samples from the spec's data, where that can be read."""
    if samples is None:
        with contextlib.suppress(BnncError):
            samples = training_samples(p.planned.model, folder)
    return p.literature(samples)


@click.command()
@click.argument("code", required=False, metavar="[CODE|FILE]")
@click.option("--buffer", metavar="NAME", help="why FILE's plan has a buffer, and when it is alive")
@click.option("--peak", metavar="FILE", help="what is alive when a network needs most memory, and what would need less")
@options("target", "batch", "threads", "rule", "json")
def explain(
    code: str | None,
    peak: str | None,
    buffer: str | None,
    target: str,
    batch: int | None,
    threads: int | None,
    rule: str | None,
    as_json: bool,
) -> None:
    """Say what an error code means, or where memory goes (--peak).

    A code is explained with an example.  With --peak: what is alive in a network's step when most memory is needed,
    and what each change would save; with --buffer: why a buffer is there.

    Example: bnnc explain B0301
    """
    if buffer is not None and code is not None and peak is None:
        show.life(network(code, rule, batch).plan(target, batch, threads), buffer, as_json)
        return
    if buffer is not None or (code is None) == (peak is None):
        raise error(
            "B0904",
            "what shall be explained?",
            exit_code=2,
            help="give a code, such as B0301, or `--peak FILE`, or `--buffer NAME FILE`",
        )
    if peak is not None:
        net = network(peak, rule, batch)
        p = net.plan(target, batch, threads)
        left = budget.Left(p.planned.model)
        show.peak(p, budget.what_if(net.options(target, batch, threads), p.planned, left), as_json)
        for _, line in left.notes:
            note(line)
        return
    assert code is not None
    text = codes.explain(code)
    if text is None:
        known = sorted(codes.CODES)
        in_language = any(code == e.name for e in describe.entries())
        near = f"`bnnc describe {code}` says what it is" if in_language else did_you_mean(code.upper(), known)
        help = near or f"codes: {known[0]} to {known[-1]}; `bnnc describe` lists what a spec may say"
        raise error("B0904", f"there is no code `{code}`", exit_code=2, help=help)
    click.echo(json.dumps(asdict(codes.CODES[code.upper()]), indent=1) if as_json else text, nl=as_json)
