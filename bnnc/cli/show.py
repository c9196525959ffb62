"""What people see: the memory plan and the lists of targets and passes as tables for a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from textwrap import fill
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..api import Plan
from ..backends.triton.predict import Prediction
from ..budget import WhatIf, front, spaced
from ..diag import did_you_mean, error
from ..papers.gates import Gates
from ..papers.published import Published
from ..plan.life import Life, sections
from ..plan.life import life as life_of
from ..plan.types import Buffer
from .counts import gates_table, published_notes, published_table

REGIONS = (("state", "state: kept"), ("io", "io: batch, results"), ("temp", "temporary: shared"))
SECTIONS = (("forward", 8), ("back+update", 12), ("test", 6))  # cells of the timeline
NARROW = (("fwd", 4), ("back", 6), ("test", 4))
SMALL = 0.002  # buffers below this share of the arena are summed up, unless all are asked for


JOINT = "\ue000"  # stands for the blank within a number while lines are broken
WITHIN = re.compile(r"(?<=\d) (?=\d{3}(?!\d)|(?:B|KiB|MiB|s)\b|%)")


def whole(cell: Any) -> Any:
    """A text in which no number can be broken, nor set apart from its unit."""
    return WITHIN.sub(JOINT, cell) if isinstance(cell, str) else cell


def _longest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)


def fitted(table: Table, width: int) -> Table:
    """The table for so many columns of a terminal: cells that must not wrap stay whole, the others and headers wrap
    between words. Where that is too wide all the same, lines are longer than the terminal."""
    natural = 2 * (len(table.columns) - 1)
    for column in table.columns:
        column._cells[:] = [whole(c) for c in column._cells]
        natural += _longest((str(column.header), *map(str, column.cells)))
    for column in table.columns:
        cells, header = [str(c) for c in column.cells], str(whole(column.header))
        if natural <= width:
            column.no_wrap = True
        elif column.no_wrap or column.justify == "right":
            column.no_wrap, column.min_width = True, max(_longest(cells), _longest(header.split()))
            column.header = fill(header, max(1, column.min_width), break_long_words=False, break_on_hyphens=False)
        else:
            column.min_width = _longest(word for c in (header, *cells) for word in c.split())
    least = sum(column.min_width or 0 for column in table.columns) + 2 * (len(table.columns) - 1)
    if natural > width and least > width:
        table.width = least
    return table


class Screen(Console):
    """A console that keeps numbers and names whole, and folds texts between words in a terminal only; one object a
    line.
    """

    def print(self, *objects: Any, **kw: Any) -> None:
        """Print objects, each on lines of its own."""
        for o in objects:
            kw["sep"] = "\n"
            with self.capture() as captured:
                if isinstance(o, Table):
                    super().print(fitted(o, self.width), **{**kw, "soft_wrap": False, "crop": False})
                else:
                    super().print(whole(o), **{**kw, "soft_wrap": not self.is_terminal})
            self.file.write(captured.get().replace(JOINT, " "))
            self.file.flush()  # before what goes to standard error


def console(stderr: bool = False) -> Console:
    """A console that folds nothing when its output is not a terminal; rich itself respects NO_COLOR."""
    c = Screen(stderr=stderr, highlight=False, emoji=False, markup=False)
    return c if c.is_terminal else Screen(stderr=stderr, highlight=False, emoji=False, markup=False, width=140)


def kib(n: int) -> str:
    """Bytes, and in KiB."""
    return f"{spaced(n)} B ({n / 1024:,.1f} KiB)".replace(",", " ")


class Timeline:
    """Which part of a step a buffer is alive in, as cells: forward, backward with updates, evaluation."""

    def __init__(self, plan: Plan, room: int) -> None:
        """As wide as there is room for; without a header where there is none."""
        self.sections = next((s for s in (SECTIONS, NARROW) if sum(n + 1 for _, n in s) - 1 <= room), ())
        self.parts = tuple((first, end) for _, first, end in sections(plan.planned.placed))
        self.header = "│".join(name[:n].ljust(n) for name, n in self.sections)

    def bar(self, b: Buffer) -> str:
        """The cells of one buffer."""
        out = []
        for (first, end), (_, cells) in zip(self.parts, self.sections, strict=False):
            span = max(1, end - first)
            out.append(
                "".join(
                    (
                        "█"
                        if b.first < max(first + (i + 1) * span / cells, first + i * span / cells + 1)
                        and b.last >= int(first + i * span / cells)
                        and end > first
                        else "·"
                    )
                    for i in range(cells)
                )
            )
        return "│".join(out)


def _kind(b: Buffer) -> str:
    return f"{b.storage.dtype}[{', '.join(map(str, b.storage.shape))}]"


def _rows(table: Table, buffers: Sequence[Buffer], least: int, timeline: Timeline) -> None:
    shown = [b for b in buffers if b.nbytes >= least]
    for b in shown:
        line = str(b.span.line) if b.span.known else ""
        table.add_row(b.name, line, _kind(b), spaced(b.nbytes), *([timeline.bar(b)] if timeline.sections else []))
    if rest := buffers[len(shown) :]:
        table.add_row(f"and {len(rest)} smaller ones", "", "", spaced(sum(b.nbytes for b in rest)), style="dim")


def changes(plan: Plan) -> Iterable[Any]:
    """What a limit of memory led to, and what parts of batches mean."""
    m = plan.planned.model
    if m.microbatch > 1:
        yield (
            f"microbatch: each batch of {m.batch} is trained as {m.microbatch} parts of {m.part}; "
            "normalisation sees a part, not the batch"
        )
    if plan.choices:
        yield from ("", front_table(plan))


def front_table(plan: Plan) -> Table:
    """Of all plans that a spec allows, those than which none needs both fewer bytes and fewer operations."""
    table = Table(box=None, pad_edge=False, header_style="bold", title="what `allow` gives", title_justify="left")
    for name in ("bytes", "operations a sample", "changes", "learning", ""):
        table.add_column(
            name, justify="right" if name in ("bytes", "operations a sample") else "left", no_wrap=name == "changes"
        )
    for c in front(list(plan.choices)):
        mark = "taken" if c.planned is plan.planned else ""
        table.add_row(
            spaced(c.total),
            f"{c.operations:.4g}",
            c.text,
            "differs" if c.learning else "same",
            mark,
            style="bold" if mark else "",
        )
    return table


def _at_peak(plan: Plan) -> list[Buffer]:
    placed = plan.planned.placed.plan
    return sorted(placed.live(placed.peak_step), key=lambda b: (-b.nbytes, b.name))


def peak_json(plan: Plan) -> dict[str, Any]:
    """The step at which most bytes are alive, and the buffers there."""
    placed = plan.planned.placed.plan
    return {
        "peak_step": placed.steps[placed.peak_step].name,
        "live_bytes": placed.lower_bound,
        "arena_bytes": placed.arena_bytes,
        "live": [
            {
                "name": b.name,
                "line": b.span.line if b.span.known else None,
                "type": str(b.storage),
                "bytes": b.nbytes,
                "region": b.region,
            }
            for b in _at_peak(plan)
        ],
    }


def peak(plan: Plan, changes: Sequence[WhatIf], as_json: bool) -> None:
    """Print where a network's memory goes."""
    if as_json:
        print(json.dumps({**peak_json(plan), "changes": [asdict(w) for w in changes]}, indent=1))
    else:
        console().print(title(plan), "", *peak_tables(plan, changes), sep="\n")


def life(plan: Plan, name: str, as_json: bool) -> None:
    """Print why there is a buffer, and when.  Raises BnncError B0908 for a name that the plan does not have."""
    placed = plan.planned.placed
    if name not in placed.plan.named:
        near = did_you_mean(name, placed.plan.named)
        raise error(
            "B0908", f"the plan has no buffer `{name}`", exit_code=2, help=near or "`bnnc plan FILE --all` lists them"
        )
    found = life_of(placed, placed.plan.named[name])
    if as_json:
        print(json.dumps(life_json(found), indent=1))
    else:
        console().print(title(plan), "", life_table(found), sep="\n")


def life_json(x: Life) -> dict[str, Any]:
    """The same as data."""
    b = x.buffer
    return {
        "name": b.name,
        "line": b.span.line if b.span.known else None,
        "type": str(b.storage),
        "bytes": b.nbytes,
        "offset": b.offset,
        "region": b.region,
        "made_by": [{"kernel": kernel, "computes": text} for kernel, text in x.made],
        "why": list(x.why),
        "read_by": list(x.read),
        "alive": list(x.alive),
        "strips": x.strips,
        "shares_bytes_with": list(x.shares),
    }


def life_table(x: Life) -> Table:
    """One row a fact."""
    b = x.buffer
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("buffer", f"{b.name}: {b.storage}, {spaced(b.nbytes)} B at {spaced(b.offset)}")
    if b.span.known:
        table.add_row("line", f"{b.span.line} ({b.layer})")
    for kernel, text in x.made or (("no kernel", "it is loaded, or kept from the start"),):
        table.add_row("made by", f"{kernel}: {text}")
    for reason in x.why:
        table.add_row(*reason.split(": ", 1))
    table.add_row("read by", ", ".join(x.read) or "no kernel")
    part = f"from {x.alive[0]} to {x.alive[1]}: {b.last - b.first + 1}"
    table.add_row("alive", f"{'always: all' if b.region == 'state' else part} of {x.steps} steps")
    if x.strips > 1:
        table.add_row("strips", f"one of {x.strips} at a time")
    table.add_row("shares", f"bytes with {', '.join(x.shares)}" if x.shares else "its bytes with nothing")
    return table


def peak_tables(plan: Plan, changes: Sequence[WhatIf]) -> list[Any]:
    """What is alive at the peak with lines of the spec, and what each single change would lead to."""
    placed, out = plan.planned.placed.plan, []
    peak = placed.steps[placed.peak_step]
    where = f", line {peak.span.line}" if peak.span.known else ""
    out.append(
        f"most bytes are alive in step {peak.name}{where}: {kib(placed.lower_bound)} of an arena of"
        f" {spaced(placed.arena_bytes)}"
    )
    live = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("line", "buffer", "type", "kept", "bytes"):
        live.add_column(name, justify="right" if name in ("bytes", "line") else "left", no_wrap=name == "buffer")
    shown = [b for b in _at_peak(plan) if b.nbytes >= placed.lower_bound / 200]
    for b in shown:
        kept = {"state": "always", "io": "the batch"}.get(b.region, "for a part of the step")
        live.add_row(str(b.span.line) if b.span.known else "", b.name, str(b.storage), kept, spaced(b.nbytes))
    if rest := _at_peak(plan)[len(shown) :]:
        live.add_row("", f"and {len(rest)} smaller ones", "", "", spaced(sum(b.nbytes for b in rest)), style="dim")
    what = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("one change", "arena", "less", "peak then in", ""):
        what.add_column(name, justify="right" if name in ("arena", "less") else "left")
    for w in changes:
        what.add_row(
            w.change,
            spaced(w.arena),
            f"{1 - w.arena / placed.arena_bytes:.1%}",
            w.peak,
            "learns differently" if w.learns_differently else "",
        )
    return [*out, "", live, "", what if changes else "no single change needs less"]


def plan_table(plan: Plan, everything: bool = False, width: int = 140) -> Table:
    """Every buffer of a plan by region, largest first; what is left of ``width`` columns shows when each is alive."""
    least = 0 if everything else int(SMALL * plan.arena_bytes)
    shown = [b for b in plan.buffers if b.nbytes >= least]
    names = max((len(b.name) for b in shown), default=0), *(len(title) for _, title in REGIONS), 20
    used = max(names) + 4 + max((len(_kind(b)) for b in shown), default=0) + len(spaced(plan.arena_bytes))
    timeline = Timeline(plan, width - used - 8)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("buffer", no_wrap=True)
    table.add_column("line", justify="right")
    table.add_column("type", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    if timeline.sections:
        table.add_column(timeline.header, no_wrap=True)
    for region, title in REGIONS:
        found = sorted((b for b in plan.buffers if b.region == region), key=lambda b: (-b.nbytes, b.offset))
        if found:
            shared = plan.arena_bytes - plan.planned.placed.plan.state_bytes
            size = shared if region == "temp" else sum(b.nbytes for b in found)
            table.add_row(Text(title, style="bold cyan"), "", "", Text(spaced(size), style="cyan"))
            _rows(table, found, least, timeline)
    return table


def totals_table(plan: Plan) -> Table:
    """The arena and everything else that the process needs."""
    r, p = plan.planned.report, plan.planned.placed.plan
    gap = r.arena - p.lower_bound
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    bound = (
        f"lower bound {spaced(p.lower_bound)}, gap {spaced(gap)} B ({100 * gap / p.lower_bound:.2f} %); "
        f"peak in {p.steps[p.peak_step].name}"
    )
    beside = [
        ("code and constants", r.code, f"an upper bound {r.compiler}; the build checks it"),
        ("stack", r.stack, "an upper bound"),
        ("thread stacks", r.threads, f"{plan.planned.threads} threads, the first has the stack above"),
        ("system", r.system, "what the operating system maps into every process"),
    ]
    if r.device:
        beside = [("barrier, constants", r.code, f"on the GPU, as the arena; {r.device}")]
        beside += [("workspace", r.workspace, "operands, partial sums")] if r.workspace else []
    if r.flash:
        beside = [
            ("variables", r.code, "the runtime's; the build puts the figure right"),
            ("stack", r.stack, "an upper bound; the build checks it, and the linker script sets it"),
        ]
    for label, n, note in (("arena", r.arena, bound), *beside):
        table.add_row(label, spaced(n), note)
    kib = f"{r.total / 1024:,.1f} KiB".replace(",", " ")
    table.add_row("total", spaced(r.total), f"{kib}; nothing else is allocated", style="bold")
    return table


def title(plan: Plan) -> str:
    """What is planned, in a line."""
    m, r = plan.planned.model, plan.planned.report
    return f"{m.name} · rule {m.rule.name} · {m.optimizer.name} · batch {m.batch} · target {r.target}"


def card(p: Plan, save_every: int = 60) -> str:
    """What training writes to a disk or SD card with the trainer's default of --save-every."""
    r = p.planned.report
    size, flash = r.checkpoint, r.flash
    if flash:
        return (
            f"in flash: {spaced(flash)} B of code and constants at most {r.compiler}, the samples, and two slots of "
            f"{spaced(size)} B where the firmware keeps checkpoints"
        )
    an_hour = _tenths(size * 3600 / save_every / 2**20)
    return (
        f"writes: a checkpoint of {spaced(size)} B every {save_every} s ({an_hour} MiB an"
        " hour; --save-every SECONDS), one at the end of each epoch longer than a second, and with --log a line an"
        " epoch"
    )


def cost(plan: Plan) -> str:
    """What a training step takes, before anything is built; `bench` sets it against the time it measures."""
    c = plan.planned.report.cost
    parts = (
        (c.bits, "products of bits"),
        (c.signed, "additions by sign"),
        (c.numbers, "products of numbers"),
        (c.elements, "other operations"),
    )
    counts = ", ".join(f"{_tenths(n / 1e6)} million {what}" for n, what in parts if n)
    return f"a step: {counts}; {_tenths(c.moved / 1e6)} MB moved between memory and kernels"


def _tenths(v: float) -> str:
    return f"{v:,.1f}".replace(",", " ")


def not_counted(plan: Plan) -> str:
    """What the total leaves out, after what `compile` will say of a plan that no program can have (B0710)."""
    report = plan.planned.report
    most = f"{report.largest / 2**30:.2f} GiB"
    refused = f"no program: one for {report.target} has at most {most} of arrays; use a smaller batch\n"
    return f"{refused if report.too_large else ''}not counted: {'; '.join(report.not_counted)}"


def prediction(p: Prediction, everything: bool) -> None:
    """Print a step's predicted time; kernels that take less than a hundredth of it are summed up."""
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("kernel", no_wrap=True)
    for name in ("part", "programs", "instructions", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("limited by", no_wrap=True)
    table.add_column("us", justify="right", no_wrap=True)
    shown = [r for r in p.rows if everything or r.us >= p.us / 100]
    for r in shown:
        cells = (str(r.part), spaced(r.programs), spaced(r.instructions), spaced(r.nbytes))
        table.add_row(r.name, *cells, r.limit, f"{r.us:,.1f}")
    if rest := len(p.rows) - len(shown):
        table.add_row(
            f"and {rest} shorter ones", *[""] * 5, f"{sum(r.us for r in p.rows if r not in shown):,.1f}", style="dim"
        )
    each = "barriers" if p.one_launch else "launches"
    table.add_row(f"{p.parts - p.one_launch} {each}", *[""] * 5, f"{p.waits_us:,.1f}", style="dim")
    out.print("", f"a training step on {p.gpu.name}: {p.us:,.1f} us, predicted from its compiled code", table)
    side = "; kernels of one part run side by side, so their times add up to more" if p.one_launch else ""
    out.print(
        f"instructions: of a warp of the busiest program.  Nothing was measured: it may be off by half{side}",
        style="dim",
    )


def list_table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table whose first column does not wrap."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, c in enumerate(columns):
        table.add_column(c, no_wrap=i == 0)
    for row in rows:
        table.add_row(*row)
    return table


def literature(p: Plan, published: Published) -> None:
    """Print a plan beside what a paper counts."""
    out = console()
    out.print(title(p))
    out.print(published_table(published, p.planned.model.rule.name))
    for line in published_notes(published):
        out.print(line, style="dim")


def plan(p: Plan, other: Plan | None, gates: list[tuple[str, Gates]], everything: bool) -> None:
    """Print a plan; ``other``: what rule standard would need, ``everything``: small buffers one by one too."""
    out = console()
    out.print(title(p), "", plan_table(p, everything, out.width), "", totals_table(p), sep="\n")
    for part in changes(p):
        out.print(part)
    out.print(not_counted(p), card(p), cost(p), sep="\n", style="dim")
    if other is not None:
        share = other.total_bytes / p.total_bytes
        out.print(f"rule standard would need {spaced(other.total_bytes)} B ({share:.2f}x)")
    if gates:
        out.print("", gates_table(gates), sep="\n")
