"""Budget: what to do when a plan does not fit in the memory that there is (``--ram``).

Where the spec says what may be changed (`allow { ... }`), the gentlest change that fits is made: first those that keep
what is learnt, then those that the spec names first, then the one with the fewest operations.

Every way out that is proposed has been planned, so its bytes are exact.  Candidates come from the registry: the other
optimisers, the other rules, each other choice of the optimiser's and rule's own arguments (where the rule then cannot
have the optimiser, with one that it can have), those of the rule that save together, recomputing, fewer threads, and
smaller batches.  Those that save nothing are left out; those with which nothing would be learnt are refused, with the
reason.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import driver, knobs, registry
from .diag import NOWHERE, BnncError, InternalError, error
from .front.check import starved
from .model import Call, Model
from .plan.cost import Cost

UNITS = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kib": 1 << 10,
    "kb": 1000,
    "m": 1 << 20,
    "mib": 1 << 20,
    "mb": 10**6,
    "g": 1 << 30,
    "gib": 1 << 30,
    "gb": 10**9,
}
LARGEST = 4  # buffers that the error names


def parse_size(text: str) -> int:
    """Bytes of ``512KiB``, ``1.5M``, ``300kB`` or ``4096``.  Raises BnncError B0602 (usage) for anything else."""
    m = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not m or m[2].lower() not in UNITS or float(m[1]) <= 0:
        raise error("B0602", f"`{text}` is not a size", exit_code=2, help="such as 512KiB, 1.5MiB or 300kB")
    return int(float(m[1]) * UNITS[m[2].lower()])


def spaced(n: int) -> str:
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
        """The change, its bytes, and whether that fits into ``ram`` bytes."""
        fits = "fits" if self.total <= ram else f"{spaced(self.total - ram)} B too much"
        return f"{self.change}: {spaced(self.total)} B, {fits}{', changes learning' if self.learns_differently else ''}"


def _changed(options: driver.Options, **changes: Any) -> driver.Options:
    threads = changes.pop("threads", options.threads)
    return replace(options, threads=threads, overrides={**options.overrides, **changes})


class Left:
    """What is no way out from ``model`` although it could be planned, or should have been, and why: with it nothing
    would be learnt, or bnnc has a bug."""

    def __init__(self, model: Model | None = None) -> None:
        self.reasons: dict[str, str] = {}
        self.refused: dict[str, str] = {}  # what `check` says of other changes: no spec may have them
        self.starved = starved(model) if model else None
        self.judges = model is not None

    def planned(self, change: str, options: driver.Options) -> driver.Planned | None:
        """The plan with this change; None where the network cannot have it, or should not."""
        try:
            planned = driver.plan_text(options, knobs.read().quiet)
        except BnncError as e:
            self.refused[change] = e.diagnostics[0].message
            return None
        except InternalError as e:
            self.reasons[change] = f"{e} (a bug in bnnc: please report it)"
            return None
        found = starved(planned.model) if self.judges else None
        if found is None or (self.starved is not None and found.rows >= self.starved.rows):
            return planned
        self.reasons[change] = found.text
        return None

    def total(self, change: str, options: driver.Options, **changes: Any) -> int | None:
        """The total with some settings replaced; None where there is no such plan."""
        planned = self.planned(change, _changed(options, **changes))
        return None if planned is None else planned.report.total

    @property
    def notes(self) -> list[tuple[None, str]]:
        """What is no way out and why, as notes of a diagnostic."""
        return [(None, f"no way out: {change}: {reason}") for change, reason in self.reasons.items()]


@dataclass(frozen=True)
class Choice:
    """A plan that the spec allows: what is changed, whether that changes what is learnt, and what a training step
    costs.
    """

    changes: tuple[tuple[str, Any], ...]
    planned: driver.Planned
    options: driver.Options
    rank: int = 0  # where `allow` names the changes of what is learnt: 0 before all others

    @property
    def total(self) -> int:
        """Bytes of the whole process."""
        return self.planned.report.total

    @property
    def cost(self) -> Cost:
        """What a training step takes."""
        return self.planned.report.cost

    @property
    def learning(self) -> int:
        """How many changes touch what is learnt."""
        return sum(key != "recompute" for key, _ in self.changes)

    @property
    def text(self) -> str:
        """The changes as a spec writes them."""
        return ", ".join(f"{key} = {value}" for key, value in self.changes) or "as the spec is"

    @property
    def operations(self) -> float:
        """A training step's, per sample."""
        return self.cost.operations / self.planned.model.batch


def _combinations(written: Sequence[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], ...]]:
    """Of values of settings: of each setting one of its values, or none."""
    keys = dict.fromkeys(key for key, _ in written)
    for picked in itertools.product(*([None, *(text for k, text in written if k == key)] for key in keys)):
        yield tuple((key, text) for key, text in zip(keys, picked, strict=True) if text is not None)


def choices(options: driver.Options, planned: driver.Planned, left: Left | None = None) -> list[Choice]:
    """The plan and every combination of the settings that its spec allows, in order of preference; nothing if it allows
    none.
    """
    model, out, left = planned.model, [], left or Left(planned.model)
    if not model.allow:
        return []
    written = [(key, text) for key, value, text in model.allow if value != getattr(model, key)]
    for changes in _combinations(written):
        o = _changed(options, **dict(changes))
        p = planned if not changes else left.planned(", ".join(f"{key} = {value}" for key, value in changes), o)
        if p is not None:
            rank = sum(written.index(change) for change in changes if change[0] != "recompute")
            out.append(Choice(changes, p, o if changes else options, rank))
    used = {change for c in out for change in c.changes}
    for key, text in written:  # what no spec may have, alone or with another
        if (change := f"{key} = {text}") in left.refused and (key, text) not in used:
            left.reasons[change] = left.refused[change]
    return sorted(out, key=lambda c: (c.learning, c.rank, c.operations))


def front(found: list[Choice]) -> list[Choice]:
    """Those than which none is as good in bytes, operations and what is learnt, and better in one; most bytes first."""

    def figures(c: Choice) -> tuple[Any, ...]:
        return c.total, c.operations, (c.learning, c.rank)

    kept = [
        c
        for c in found
        if not any(
            figures(d) != figures(c) and all(a <= b for a, b in zip(figures(d), figures(c), strict=True)) for d in found
        )
    ]
    return sorted(kept, key=lambda c: (-c.total, c.operations))


def taken(found: Sequence[Choice], planned: driver.Planned) -> str:
    """The changes that led to this plan, as a spec writes them; empty where there were none."""
    return next((c.text for c in found if c.planned is planned and c.changes), "")


def fit(
    options: driver.Options, planned: driver.Planned, ram: int | None
) -> tuple[driver.Options, driver.Planned, list[Choice]]:
    """The plan where it fits in ``ram`` bytes; or else, of those that the spec allows, the gentlest that fits, with all
    that there are.  Raises BnncError B0601 (exit code 3) where none fits."""
    left = Left(planned.model)
    found = choices(options, planned, left) if ram is not None and planned.report.total > ram else []
    taken = next((c for c in found if ram is not None and c.total <= ram), None)
    if taken is not None:
        if taken.changes and (k := knobs.read()).dump:
            driver.plan_text(taken.options, k)  # the dump is of the plan that is used
        return taken.options, taken.planned, found
    smallest = min(found, key=lambda c: c.total, default=None)
    if smallest is not None:
        options, planned = smallest.options, smallest.planned
    check(options, planned, ram, f"the least that `allow` gives: {smallest.text}" if smallest is not None else "", left)
    return options, planned, found


Argument = tuple[str, ...]  # of a call, or of a call among its arguments: their names


def _arguments(table: Mapping[str, registry.Named[Any]], call: Call) -> Iterator[tuple[Argument, str]]:
    """Each other choice of a call's own arguments, and of those of the calls among them."""
    for p in table[call.name].params:
        value = call[p.name]
        if isinstance(value, Call):
            for inner, choice in _arguments(getattr(registry, p.type.removeprefix("call:")), value):
                yield (p.name, *inner), choice
        for choice in p.choices if p.type == "name" else ():
            if choice != value:
                yield (p.name,), choice


def _with(call: Call, changes: Mapping[Argument, str]) -> Call:
    """The call with other values for some arguments."""
    for (name, *inner), choice in changes.items():
        call = call.with_(**{name: _with(call[name], {tuple(inner): choice}) if inner else choice})
    return call


def _short(call: Call, changes: Mapping[Argument, str]) -> str:
    """As :func:`_with`, with the changes alone."""
    said: dict[str, dict[Argument, str]] = {}
    for (name, *inner), choice in changes.items():
        said.setdefault(name, {})[tuple(inner)] = choice
    texts = (f"{n} = {_short(call[n], x) if () not in x else x[()]}" for n, x in said.items())
    return f"{call.name}({', '.join(texts)})"


def _variants(table: Mapping[str, registry.Named[Any]], call: Call) -> Iterator[tuple[str, str]]:
    """(what to write, short form) of each other choice of a call's arguments, then each other name."""
    for argument, choice in _arguments(table, call):
        yield _with(call, {argument: choice}).text, _short(call, {argument: choice})
    for name in sorted(table):
        if name != call.name:
            yield name, name


def single_changes(planned: driver.Planned) -> Iterator[tuple[str, bool, dict[str, Any]]]:
    """(as a user writes it, whether it changes what is learnt, settings) of everything that may make a plan smaller."""
    model = planned.model
    if not model.recompute:
        yield "recompute = on", False, {"recompute": "on"}
    if model.batch > 1 and model.batch % 2 == 0 and model.microbatch == 1:
        yield "microbatch = 2", True, {"microbatch": 2}
    if planned.threads > 1:
        yield "--threads 1", False, {"threads": 1}
    if model.batch > 1:
        yield f"batch = {model.batch // 2}", False, {"batch": model.batch // 2}
    for text, short in _variants(registry.optimizers, model.optimizer):
        yield f"optimizer = {short}", True, {"optimizer": text}
    for text, short in _variants(registry.rules, model.rule):
        yield f"rule {short}", True, {"rule": text}


@dataclass(frozen=True)
class Tried:
    """A change that was planned: as a user writes it, whether it changes what is learnt, settings."""

    change: str
    learns_differently: bool
    settings: dict[str, Any]
    planned: driver.Planned


def tried(options: driver.Options, planned: driver.Planned, left: Left) -> Iterator[Tried]:
    """Every single change; where the rule that it names cannot have the optimiser, with the first that it can have; and
    together the choices of the rule's own arguments that each need less."""
    model, best = planned.model, dict[Argument, tuple[int, str]]()
    texts = {_with(model.rule, {a: choice}).text: (a, choice) for a, choice in _arguments(registry.rules, model.rule)}
    for change, learns, settings in single_changes(planned):
        t = _planned(options, model, left, change, learns, settings)
        if t is None:
            continue
        yield t
        argument, choice = texts.get(settings.get("rule", ""), ((), ""))
        arena = t.planned.report.arena
        if argument and arena < best.get(argument, (planned.report.arena,))[0]:
            best[argument] = arena, choice
    if len(best) > 1:
        changes = {argument: choice for argument, (_, choice) in best.items()}
        text, short = _with(model.rule, changes).text, _short(model.rule, changes)
        if t := _planned(options, model, left, f"rule {short}", True, {"rule": text}):
            yield t


def _planned(
    options: driver.Options, model: Model, left: Left, change: str, learns: bool, settings: dict[str, Any]
) -> Tried | None:
    """A change, or where `check` refuses a rule, that with another optimiser."""
    if p := left.planned(change, _changed(options, **settings)):
        return Tried(change, learns, settings, p)
    if "rule" not in settings or change not in left.refused:
        return None
    for text, short in _variants(registry.optimizers, model.optimizer):
        both, more = f"{change}, optimizer = {short}", {**settings, "optimizer": text}
        if p := left.planned(both, _changed(options, **more)):
            return Tried(both, learns, more, p)
    return None


@dataclass(frozen=True)
class WhatIf:
    """One change and the arena, the peak and the total that it leads to."""

    change: str
    arena: int
    peak: str
    total: int
    learns_differently: bool


def what_if(options: driver.Options, planned: driver.Planned, left: Left | None = None) -> list[WhatIf]:
    """Every single change that makes the arena smaller, smallest first."""
    out = []
    for t in tried(options, planned, left or Left(planned.model)):
        plan, report = t.planned.placed.plan, t.planned.report
        if report.arena < planned.report.arena:
            out.append(
                WhatIf(t.change, report.arena, plan.steps[plan.peak_step].name, report.total, t.learns_differently)
            )
    return sorted(out, key=lambda w: w.arena)


def ways_out(options: driver.Options, planned: driver.Planned, ram: int, left: Left | None = None) -> list[WayOut]:
    """Changes that make the total smaller: first those that fit, gentlest first; then the others, smallest first."""
    model, total, left = planned.model, planned.report.total, left or Left(planned.model)
    found: list[WayOut] = []

    def add(change: str, learns: bool, **changes: Any) -> None:
        n = left.total(change, options, **changes)
        if n is not None and n < total:
            found.append(WayOut(change, n, learns, tuple(changes.items())))

    for t in tried(options, planned, left):
        if (n := t.planned.report.total) < total:
            found.append(WayOut(t.change, n, t.learns_differently, tuple(t.settings.items())))
    if model.batch > 1 and (largest := largest_batch(options, model, ram)):
        add(f"batch = {largest} (the largest that fits)", False, batch=largest)
    if not any(w.total <= ram for w in found):
        best = _together(model, found)
        add("all together (" + ", ".join(f"{k} = {v}" for k, v in best.items()) + ")", True, **best)
    return sorted(found, key=lambda w: (1, False, w.total) if w.total > ram else (0, w.learns_differently, -w.total))


def _together(model: Model, found: list[WayOut]) -> dict[str, Any]:
    """The smallest batch that learns, one thread, and of what was tried of each setting the smallest."""
    least = starved(replace(model, batch=model.microbatch))
    batch = model.microbatch * (least.samples if least else 1)
    best: dict[str, Any] = {**({"batch": batch} if batch < model.batch else {}), "threads": 1}
    for key in ("recompute", "optimizer", "rule"):
        candidates = [w for w in found if w.overrides and w.overrides[0][0] == key]
        if candidates:
            for name, value in min(candidates, key=lambda w: w.total).overrides:
                best.setdefault(name, value)
    return best


def largest_batch(options: driver.Options, model: Model, ram: int) -> int:
    """The largest batch below the model's whose plan fits in ``ram``; 0 where none does."""
    low, high = 0, model.batch
    while high - low > 1:
        middle = (low + high) // 2
        n = Left().total("", options, batch=middle)
        low, high = (middle, high) if n is not None and n <= ram else (low, middle)
    return low


def check(
    options: driver.Options, planned: driver.Planned, ram: int | None, first: str = "", left: Left | None = None
) -> None:
    """Raise BnncError B0601 (exit code 3) where the plan's total exceeds ``ram`` bytes; ``first``: what to say before
    all else,
    ``left``: what was no choice."""
    report = planned.report
    if ram is None or report.total <= ram:
        return
    plan = report.placed.plan
    peak = plan.steps[plan.peak_step]
    live = sorted((b for b in plan.live(plan.peak_step)), key=lambda b: (-b.nbytes, b.name))
    notes: list[tuple[Any, str]] = [(None, first)] if first else []
    notes += [(None, f"at its peak, step {peak.name}, {spaced(plan.lower_bound)} B of buffers are alive; the largest:")]
    for b in live[:LARGEST]:
        line = f"line {b.span.line}" if b.span.known else "everywhere"
        notes.append((None, f"  {b.name} ({b.storage}, {line}): {spaced(b.nbytes)} B"))
    others = report.total - report.arena
    notes.append(
        (None, f"the arena is {spaced(report.arena)} B; code, stacks and what the system maps are {spaced(others)} B")
    )
    left = left or Left(planned.model)
    ways = ways_out(options, planned, ram, left)
    notes += [*((None, f"way out: {w.text(ram)}") for w in ways), *left.notes]
    best = (
        f"the gentlest way out that fits: {ways[0].change}"
        if ways and ways[0].total <= ram
        else ("no single change is enough: make the network smaller, or give it more memory")
    )
    span = next((s for s in (peak.span, *(b.span for b in live)) if s.known), NOWHERE)
    e = error(
        "B0601",
        f"{spaced(report.total)} B needed, {spaced(ram)} B there are, {spaced(report.total - ram)} B too much",
        span,
        label="the peak is here",
        notes=tuple(notes),
        help=best,
        exit_code=3,
    )
    e.sources.setdefault(options.file, options.text)
    raise e
