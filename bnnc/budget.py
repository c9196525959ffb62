"""Budget: what to do when a plan does not fit in the memory that there is (``--ram``).

Every way out that is proposed has been planned, so its bytes are exact.  Candidates come from the registry: the other
optimisers, the other rules, each other choice of the optimiser's and rule's own arguments, fewer threads, and smaller
batches.  Those that save nothing are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import driver, knobs, registry
from .diag import NOWHERE, BnncError, error
from .model import Call, Model

UNITS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "kb": 1000, "m": 1 << 20, "mib": 1 << 20, "mb": 10**6,
         "g": 1 << 30, "gib": 1 << 30, "gb": 10**9}
LARGEST = 4  # buffers that the error names


def parse_size(text: str) -> int:
    """Bytes of ``512KiB``, ``1.5M``, ``300kB`` or ``4096``.  Raises BnncError B0602 (usage) for anything else."""
    m = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not m or m[2].lower() not in UNITS or float(m[1]) <= 0:
        raise error("B0602", f"`{text}` is not a size", exit_code=2, help="such as 512KiB, 1.5MiB or 300kB")
    return int(float(m[1]) * UNITS[m[2].lower()])


def number(n: int) -> str:
    """Bytes with thousands set apart by blanks, as ``1 638 400``."""
    return f"{n:,}".replace(",", " ")


@dataclass(frozen=True)
class WayOut:
    """A change of the spec or command line, the bytes it leads to, and whether it changes what is learnt."""

    change: str
    total: int
    learns_differently: bool
    overrides: tuple[tuple[str, Any], ...] = ()

    def text(self, ram: int) -> str:
        fits = "fits" if self.total <= ram else f"{number(self.total - ram)} B too much"
        return f"{self.change}: {number(self.total)} B, {fits}{', changes learning' if self.learns_differently else ''}"


def call_text(call: Call) -> str:
    """A Call as a spec writes it."""
    def value(v: Any) -> str:
        if isinstance(v, tuple):
            return f"[{', '.join(map(value, v))}]"
        return str(v).lower() if isinstance(v, bool) else f"{v:.12g}" if isinstance(v, float) else call_text(v) if isinstance(
            v, Call) else str(v)

    return f"{call.name}({', '.join(f'{k} = {value(v)}' for k, v in call.args)})" if call.args else call.name


def _total(options: driver.Options, **changes: Any) -> int | None:
    """The total with some settings replaced; None where the network cannot have them."""
    threads = changes.pop("threads", options.threads)
    try:
        o = replace(options, threads=threads, overrides={**options.overrides, **changes}, model=None)
        return driver.plan_text(o, replace(knobs.read(), dump="")).report.total
    except BnncError:
        return None


def _variants(table: Mapping[str, registry.Named], call: Call) -> Iterator[tuple[str, str]]:
    """(what to write, short form) of each other choice of a call's own arguments, then each other name."""
    for p in table[call.name].params:
        for choice in p.choices if p.type == "name" else ():
            if choice != call[p.name]:
                yield call_text(call.with_(**{p.name: choice})), f"{call.name}({p.name} = {choice})"
    for name in sorted(table):
        if name != call.name:
            yield name, name


def ways_out(options: driver.Options, planned: driver.Planned, ram: int) -> list[WayOut]:
    """Changes that make the total smaller: first those that fit, gentlest first; then the others, smallest first."""
    model, total = planned.model, planned.report.total
    found: list[WayOut] = []

    def add(change: str, learns: bool, **changes: Any) -> None:
        n = _total(options, **changes)
        if n is not None and n < total:
            found.append(WayOut(change, n, learns, tuple(changes.items())))

    if planned.threads > 1:
        add("--threads 1", False, threads=1)
    if model.batch > 1:
        add(f"batch = {model.batch // 2}", False, batch=model.batch // 2)
        if largest := largest_batch(options, model, ram):
            add(f"batch = {largest} (the largest that fits)", False, batch=largest)
    for key, table, call in (("optimizer", registry.optimizers, model.optimizer), ("rule", registry.rules, model.rule)):
        for text, short in _variants(table, call):
            add(f"{key} = {short}" if key != "rule" else f"rule {short}", True, **{key: text})
    if not any(w.total <= ram for w in found):
        best: dict[str, Any] = {"batch": 1, "threads": 1}
        for key in ("optimizer", "rule"):
            candidates = [w for w in found if w.overrides and w.overrides[0][0] == key]
            if candidates:
                best[key] = min(candidates, key=lambda w: w.total).overrides[0][1]
        add("all together (" + ", ".join(f"{k} = {v}" for k, v in best.items()) + ")", True, **best)
    return sorted(found, key=lambda w: (1, False, w.total) if w.total > ram else (0, w.learns_differently, -w.total))


def largest_batch(options: driver.Options, model: Model, ram: int) -> int:
    """The largest batch below the model's whose plan fits in ``ram``; 0 where none does."""
    low, high = 0, model.batch
    while high - low > 1:
        middle = (low + high) // 2
        n = _total(options, batch=middle)
        low, high = (middle, high) if n is not None and n <= ram else (low, middle)
    return low


def check(options: driver.Options, planned: driver.Planned, ram: int | None) -> None:
    """Raise BnncError B0601 (exit code 3) where the plan's total exceeds ``ram`` bytes."""
    report = planned.report
    if ram is None or report.total <= ram:
        return
    plan = report.placed.plan
    peak = plan.steps[plan.peak_step]
    live = sorted((b for b in plan.live(plan.peak_step)), key=lambda b: (-b.nbytes, b.name))
    notes: list[tuple[Any, str]] = [
        (None, f"at its peak, step {peak.name}, {number(plan.lower_bound)} B of buffers are alive; the largest:")]
    for b in live[:LARGEST]:
        line = f"line {b.span.line}" if b.span.file != "<builtin>" else "everywhere"
        notes.append((None, f"  {b.name} ({b.storage}, {line}): {number(b.nbytes)} B"))
    others = report.total - report.arena
    notes.append((None, f"the arena is {number(report.arena)} B; code, stacks and what the system maps are "
                  f"{number(others)} B"))
    ways = ways_out(options, planned, ram)
    notes += [(None, f"way out: {w.text(ram)}") for w in ways]
    best = f"the gentlest way out that fits: {ways[0].change}" if ways and ways[0].total <= ram else (
        "no single change is enough: make the network smaller, or give it more memory")
    span = next((s for s in (peak.span, *(b.span for b in live)) if s.file != "<builtin>"), NOWHERE)
    e = error("B0601", f"{number(report.total)} B needed, {number(ram)} B there are, "
              f"{number(report.total - ram)} B too much", span, label="the peak is here", notes=tuple(notes), help=best,
              exit_code=3)
    e.sources.setdefault(options.file, options.text)
    raise e
