"""The pages: what is shown of a plan, or of a run."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps

from ..api import Network, Plan, Program
from ..api.weights import spec_hash
from ..backends.render import template_text
from ..budget import spaced
from ..source import whole
from ..version import __version__
from . import curves
from .arena import by_line, picture
from .chart import Chart, chart
from .confusion import Confusion
from .run import Run
from .weights import Weights


@dataclass(frozen=True)
class Found:
    """What was measured with a run's checkpoints."""

    confusion: Confusion | None = None
    weights: Weights | None = None


@cache
def environment() -> Environment:
    """Templates whose values are escaped; undefined names are errors."""
    env = Environment(
        loader=FunctionLoader(lambda name: template_text(f"html/{name}")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    env.filters |= {"spaced": spaced, "kib": lambda n: f"{n / 1024:,.1f}".replace(",", " "), "percent": percent}
    env.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    env.globals |= {"dumps": htmlsafe_json_dumps}
    return env


def percent(share: float) -> str:
    """``0.8412`` as ``84.12 %``."""
    return f"{100 * share:.2f} %"


def parts(plan: Plan, measured: int = 0) -> list[tuple[str, int, str]]:
    """(what, bytes, remark) of the memory that a program needs, its total last but for what was measured."""
    r = plan.planned.report
    rows = [("arena", r.arena, f"lower bound {spaced(r.placed.plan.lower_bound)} B")]
    beside = [("code and constants", r.code), ("workspace", r.workspace), ("stack", r.stack)]
    beside += [("thread stacks", r.threads), ("system", r.system)]
    rows += [(name, n, "") for name, n in beside if n]
    rows.append(("predicted", r.total, "nothing else is allocated"))
    return rows + ([("measured", measured, "resident at the end of the run: its peak")] if measured else [])


def _common(net: Network, plan: Plan, title: str) -> dict[str, Any]:
    m, lines = plan.planned.model, by_line(plan)
    return {
        "title": title,
        "css": template_text("html/page.css"),
        "script": template_text("html/page.js"),
        "heading": m.name,
        "facts": f"rule {m.rule.name} · {m.optimizer.name} · batch {m.batch} · target {plan.planned.report.target}",
        "arena": picture(plan),
        "plan": plan,
        "report": plan.planned.report,
        "spec": [(n, text, lines.get(n, 0)) for n, text in enumerate(net.text.rstrip().split("\n"), 1)],
        "largest": max(lines.values(), default=1),
        "version": __version__,
        "made": datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "refresh": 0,
    }


def of_plan(net: Network, plan: Plan, command: str) -> str:
    """The page of a plan."""
    more = {"again": [("command", command), ("spec", spec_hash(plan.planned)), ("bnnc", __version__)]}
    return _page("plan.html.j2", {**_common(net, plan, f"{net.model.name}: plan"), **more, "memory": parts(plan)})


def of_run(net: Network, plan: Plan, runs: Sequence[Run], found: Found, refresh: int = 0) -> str:
    """The page of a run, or of several runs of one network.

    ``refresh``: seconds until a browser reads it again, 0: never.
    """
    run = runs[0]
    placed = plan.planned.placed.plan
    charts: list[Chart | None] = [
        chart(run_loss(run), [curves.line(runs, "loss", "training")]),
        curves.accuracy(runs),
        chart("learning rate", [curves.line(runs[:1], "lr", "rate")]),
    ]
    common = _common(net, plan, f"{net.model.name}: run")
    measured = max((r.end.get("memory_measured", 0) for r in runs), default=0)
    return _page(
        "run.html.j2",
        {
            **common,
            "runs": runs,
            "figures": figures(runs, found),
            "charts": [c for c in charts if c],
            "counters": curves.counters(runs, placed),
            "columns": columns(run),
            "found": found,
            "memory": parts(plan, measured),
            "again": again(run, plan, runs),
            "refresh": refresh,
        },
    )


def run_loss(run: Run) -> str:
    """What the log's field ``loss`` is: of rules that see no number a share of samples."""
    return "training loss or error"


def figures(runs: Sequence[Run], found: Found) -> list[tuple[str, str]]:
    """The few figures that stand on top."""
    run, end = runs[0], runs[0].end
    epochs = f"{len(run.epochs)} of {run.start['epochs']}" if run.start else str(len(run.epochs))
    out = [("epochs", epochs)]
    for key, name in (("test_acc", "test, last epoch"), ("best_test_acc", "test, best epoch")):
        if (values := [r.epochs[-1][key] for r in runs if r.epochs and key in r.epochs[-1]]) and len(values) == len(
            runs
        ):
            mean = curves.interval(values)
            out.append((name, f"{mean.percent()} %"))
    if end.get("best_epoch"):
        out.append(("held out, best epoch", f"{percent(end['best_holdout_acc'])} ({end['best_epoch']})"))
    logged = run.epochs and "test_acc" in run.epochs[-1] and not end.get("best_epoch")
    if found.confusion and found.confusion.facts and not logged:
        out.append((f"{found.confusion.facts['samples']} {found.confusion.which}", percent(found.confusion.accuracy)))
    if end:
        out.append(("seconds", f"{end['seconds']:.1f}"))
        out.append(("memory, predicted", f"{spaced(end['memory_predicted'])} B"))
        out.append(("memory, measured", f"{spaced(end['memory_measured'])} B" if end["memory_measured"] else "unknown"))
    return out


def columns(run: Run) -> list[str]:
    """The log's numbers, for a table of the epochs."""
    keys = dict.fromkeys(k for e in run.epochs for k, v in e.items() if isinstance(v, int | float))
    return list(keys)


def again(run: Run, plan: Plan, runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What it takes to make the run again, and to see that it is the same."""
    start, end = run.start, run.end
    last = run.epochs[-1] if run.epochs else {}
    rows = [
        ("command", run.record.get("command", "")),
        ("spec", spec_hash(plan.planned)),
        ("bnnc", start.get("version", __version__)),
        ("seed", ", ".join(str(r.start["seed"]) for r in runs if r.start)),
        ("threads, instruction set", f"{start['threads']}, {start['isa']} (any gives the same bits)" if start else ""),
        ("samples", _samples(start)),
        ("compiler", plan.planned.report.compiler),
        ("state", end.get("state", last.get("state", ""))),
        ("weights", str(last.get("weights_hash", ""))),
    ]
    return [(k, str(v)) for k, v in rows if v]


def _samples(start: dict[str, Any]) -> str:
    names = (("train_samples", "to train on"), ("holdout_samples", "held out"), ("test_samples", "to test with"))
    return ", ".join(f"{start[k]} {name}" for k, name in names if start.get(k))


def _page(template: str, given: dict[str, Any]) -> str:
    return environment().get_template(template).render(given)


def write(path: Path, text: str) -> None:
    """Whole, or not at all.  Raises OSError."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def program_of(net: Network, run: Run) -> Program:
    """The host's program of a run's network, from the cache where it is there.  Raises BnncError."""
    return net.compile(ram=run.record.get("ram"), threads=run.record.get("threads"), cache=True)
