"""Results of an experiment: rows over seeds with 95 % intervals, as a table, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..budget import spaced

_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)  # 1 to 10 degrees of freedom
_Z = 1.959963985
FEW, WIDE = 4, 0.02  # seeds, and half an interval, from which on a reader is told


def student(degrees: int) -> float:
    """The 97.5 % point of Student's t, to 4 digits (from 11 degrees on by its expansion around the normal's)."""
    if degrees <= len(_T):
        return _T[degrees - 1]
    z, v = _Z, float(degrees)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and half the width of its 95 % interval (Student's t; None for a single value)."""

    mean: float
    half: float | None

    def percent(self) -> str:
        """In per cent, as `96.98 ± 0.12`."""
        return f"{100 * self.mean:.2f}" + ("" if self.half is None else f" ± {100 * self.half:.2f}")


def interval(values: Sequence[float]) -> Interval:
    """Of at least one value."""
    n = len(values)
    half = student(n - 1) * statistics.stdev(values) / math.sqrt(n) if n > 1 else None
    return Interval(statistics.fmean(values), half)


@dataclass(frozen=True, slots=True)
class Run:
    """One training run; accuracies are 0..1 after each epoch (None: not tested then), memory is bytes of the process.

    ``state`` is a hash of all trained bits: equal states mean equal networks."""

    variant: str
    seed: int
    test_acc: list[float]
    train_acc: list[float]
    best: float
    epoch_seconds: list[float]
    steps: int
    predicted: int
    measured: int
    state: str


@dataclass(frozen=True, slots=True)
class Row:
    """One rule or setting over all seeds, or the ``reason`` why there is none.  ``final`` and ``best``: test accuracy
    after the last epoch and at its best; ``predicted`` and ``measured``: bytes; ``gates`` of a step; times in
    seconds.
    """

    label: str
    settings: tuple[tuple[str, str], ...]
    reason: str = ""
    widths: tuple[int, ...] = ()
    final: Interval | None = None
    best: Interval | None = None
    predicted: int = 0
    measured: int = 0
    gates: int | None = None
    epoch_seconds: float = 0.0
    step_seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """What an experiment found.  ``runs`` are in the order of ``rows``, seeds ascending."""

    name: str
    rows: tuple[Row, ...]
    runs: tuple[Run, ...]
    ram: int | None
    seeds: int
    jobs: int
    threads: int

    @property
    def swept(self) -> tuple[str, ...]:
        """The names of what differs between rows: ``rule``, or what was swept."""
        return tuple(k for k, _ in self.rows[0].settings)

    def to_json(self) -> dict[str, Any]:
        """Plain data: accuracies 0..1, bytes, seconds."""
        rows = [{**asdict(r), "settings": dict(r.settings)} for r in self.rows]
        return {
            "name": self.name,
            "ram_bytes": self.ram,
            "seeds": self.seeds,
            "rows": rows,
            "runs": [asdict(r) for r in self.runs],
        }

    def csv(self) -> str:
        """One line a row; accuracies 0..1, bytes, seconds."""
        out = io.StringIO()
        w = csv.writer(out, lineterminator="\n")
        w.writerow(
            (
                *self.swept,
                "reason",
                "widths",
                "seeds",
                "final_mean",
                "final_half",
                "best_mean",
                "best_half",
                "predicted_bytes",
                "measured_bytes",
                "gates_per_step",
                "seconds_per_epoch",
                "seconds_per_step",
            )
        )
        for r in self.rows:
            values = [v for _, v in r.settings]
            if r.final is None or r.best is None:
                w.writerow((*values, r.reason, *[""] * 11))
                continue
            accuracies = [x if x is None else round(x, 6) for i in (r.final, r.best) for x in (i.mean, i.half)]
            w.writerow(
                (
                    *values,
                    "",
                    "-".join(map(str, r.widths)),
                    self.seeds,
                    *accuracies,
                    r.predicted,
                    r.measured,
                    r.gates,
                    f"{r.epoch_seconds:.6g}",
                    f"{r.step_seconds:.6g}",
                )
            )
        return out.getvalue()

    def table(self) -> list[list[str]]:
        """Header and rows as text, for people."""
        head = [
            *self.swept,
            "widths",
            "test %",
            "best %",
            "predicted B",
            "measured B",
            "gates/step",
            "s/epoch",
            "ms/step",
        ]
        lines = [head]
        for r in self.rows:
            values = [v for _, v in r.settings]
            if r.final is None or r.best is None:
                lines.append([*values, *["-"] * 8])
                continue
            lines.append(
                [
                    *values,
                    _widths(r.widths),
                    r.final.percent(),
                    r.best.percent(),
                    spaced(r.predicted),
                    spaced(r.measured),
                    f"{r.gates:.3g}" if r.gates else "",
                    f"{r.epoch_seconds:.3g}",
                    f"{1000 * r.step_seconds:.3g}",
                ]
            )
        return lines

    @property
    def reasons(self) -> list[str]:
        """Why rows are empty."""
        return [f"{r.label}: {r.reason}" for r in self.rows if r.reason]

    @property
    def wide(self) -> str:
        """A remark where few seeds leave little to tell rules apart by, else nothing."""
        halves = [r.final.half for r in self.rows if r.final is not None and r.final.half is not None]
        if self.seeds > FEW or max(halves, default=0.0) < WIDE:
            return ""
        return (
            f"with {self.seeds} seeds an interval is up to ± {100 * max(halves):.0f} points: Student's t takes "
            f"{student(self.seeds - 1):.3g} standard errors, with 5 seeds {student(4):.3g}"
        )

    @property
    def caption(self) -> str:
        """What the figures mean."""
        runs = f"{self.seeds} seeds, mean ± 95 % interval (Student's t)" if self.seeds > 1 else "1 seed, no interval"
        limit = f"; hidden widths scaled to {spaced(self.ram)} B" if self.ram else ""
        return (
            f"{self.name}: {runs}{limit}. test: after the last epoch, best: at the best epoch. Memory of the whole"
            f" process. Times with {self.jobs} at once, threads each: {self.threads}."
        )

    def markdown(self) -> str:
        """The table with its caption, and why rows are missing."""
        head, *rows = self.table()
        lines = [head, ["---"] * len(head), *rows]
        escaped = ([c.replace("|", "\\|") for c in line] for line in lines)
        return (
            f"{self.caption}\n\n"
            + (f"{self.wide}\n\n" if self.wide else "")
            + "".join(f"| {' | '.join(line)} |\n" for line in escaped)
            + "".join(f"\n- {reason}" for reason in self.reasons)
            + ("\n" if self.reasons else "")
        )


def _widths(widths: Iterable[int]) -> str:
    """``256 x 4`` for equal ones, else ``135-75``."""
    ws = list(widths)
    return f"{ws[0]} x {len(ws)}" if len(ws) > 1 and len(set(ws)) == 1 else "-".join(map(str, ws))
