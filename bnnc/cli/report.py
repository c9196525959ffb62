"""``bnnc report``: a run, or several, as one HTML page."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click

from ..api import Network, Plan, Program
from ..api.weights import spec_hash
from ..backends import select
from ..diag import BnncError, error
from ..report import page, run
from ..report.confusion import Confusion, confusion
from ..report.weights import pictures
from .common import following, note

PAUSE = 2.0  # seconds between two looks at a run that goes on
REFRESH = 5  # after so many a browser reads its page again


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE.html", help="the page (default: report.html in the run's folder)")
@click.option("--follow", is_flag=True, help="renew the page after each epoch, until the run ends")
@click.option("--spec", metavar="FILE.bnn", help="of runs that another program than `bnnc run` has made")
@click.option("--log", metavar="FILE.jsonl", help="of a single run (default: log.jsonl in its folder)")
@click.option("--data", metavar="DIR", help="where the data is (default: where it was)")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output")
def report(
    runs: tuple[str, ...],
    output: str | None,
    follow: bool,
    spec: str | None,
    log: str | None,
    data: str | None,
    as_json: bool,
) -> None:
    """Show what a run learned, and its memory, on one HTML page.

    The page needs no network and no other file.  RUN is the folder that holds the run's checkpoints: run/NAME, or the
    program's --out.  Several runs of one network, with other seeds, become one page with intervals.

    Example: bnnc report run/net
    """
    if log and len(runs) > 1:
        raise error("B0910", "`--log` names the log of one run", exit_code=2, help="leave it out, or give one run")
    at = Path(output or Path(runs[0]) / "report.html")
    found = _read(runs, log, follow)
    net = run.network(found[0], spec)
    program = page.program_of(net, found[0])
    _one_network(program, found)
    p = _plan(net, program, found[0])
    while follow and not all(r.end for r in found):
        page.write(at, page.of_run(net, p, found, page.Found(None, pictures(p, found[0].folder)), REFRESH))
        found = _changed(runs, log, found)
    measured = _confusion(program, found[0], data)
    page.write(at, page.of_run(net, p, found, page.Found(measured, pictures(p, found[0].folder))))
    if as_json:
        facts = {"epochs": len(found[0].epochs), "runs": len(found), "evaluation": measured.facts}
        click.echo(json.dumps({"page": str(at), **facts}, indent=1))
    note(f"{at}: {len(found[0].epochs)} epochs of {net.model.name}" + (f", {len(found)} runs" if found[1:] else ""))
    if measured.problem:
        note(f"nothing was measured: {measured.problem}")
    following(f"open {at} in a browser")


def _read(folders: Sequence[str], log: str | None, wait: bool) -> tuple[run.Run, ...]:
    """The runs; with ``wait`` not before each has begun its log."""
    while True:
        found = tuple(run.read(Path(f), Path(log) if log else None) for f in folders)
        if not wait or all(r.start for r in found):
            return found
        time.sleep(PAUSE)


def _changed(folders: Sequence[str], log: str | None, before: Sequence[run.Run]) -> tuple[run.Run, ...]:
    """The runs as soon as one of them has got further."""
    while True:
        time.sleep(PAUSE)
        found = _read(folders, log, wait=True)
        if found != tuple(before):
            return found


def _one_network(program: Program, found: Sequence[run.Run]) -> None:
    """Raises BnncError B0910 for a log of another network than the spec's."""
    for r in found:
        if r.start and r.start["hash"] != (own := spec_hash(program.plan.planned)):
            raise error(
                "B0910",
                f"{r.folder} is a run of {r.start['name']} ({r.start['hash']}), the spec is {own}",
                exit_code=2,
                help="give the spec that it was compiled from with `--spec FILE.bnn`",
            )


def _plan(net: Network, program: Program, r: run.Run) -> Plan:
    """Of the target that the run was on; the host's with the sizes of its program."""
    target = r.start.get("target", "host")
    if target == "host":
        return program.plan
    return net.plan(select.find_target(target).name, ram=r.record.get("ram"))


def _confusion(program: Program, r: run.Run, data: str | None) -> Confusion:
    try:
        return confusion(program, r, Path(data) if data else r.data)
    except BnncError as e:
        return Confusion(problem=e.diagnostics[0].message)
