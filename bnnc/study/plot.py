"""The files of an experiment: its tables, and a plot with matplotlib, which the extra ``plot`` installs.

Rules: test accuracy by epoch with the band of the 95 % interval, and final accuracy against memory.  Settings: final
accuracy against the swept value.  Colours are Okabe and Ito's, which colour-blind people can tell apart; a rule has the
same one in every plot, its variants differ by marker and dashes.  Points at the same place stand a few points apart,
so that none hides another's interval.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import registry
from ..budget import spaced
from .results import Interval, Result, Row, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILES = ("results.csv", "results.md", "plot.png")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933", "#882255")
MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")
APART = 4.0  # points of a page between neighbours that would hide each other


def style(i: int) -> dict[str, Any]:
    """Colour and marker of line ``i``."""
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "markersize": 5}


def styles(rules: Sequence[str]) -> list[dict[str, Any]]:
    """The look of each of some rules, written as in a spec: its own colour, which does not depend on the others; a
    second variant of one has another marker and dashes.
    """
    known, seen, out = list(registry.rules), Counter[str](), []
    for rule in rules:
        name = rule.partition("(")[0].strip()
        number, variant = known.index(name) if name in known else len(known), seen[name]
        look = {**style(number), "linestyle": DASHES[variant % len(DASHES)]}
        out.append({**look, "marker": MARKERS[(number + variant) % len(MARKERS)]})
        seen[name] += 1
    return out


def set_apart(ax: Any, bars: Any, places: Sequence[float], i: int) -> None:
    """Shift error bars, the ``i``-th of some, where they would hide their neighbours: those within a fiftieth of all
    places stand side by side.  The axes' limits are those of the true places.
    """
    from matplotlib.transforms import ScaledTranslation  # noqa: PLC0415

    near = [k for k, x in enumerate(places) if abs(x - places[i]) <= (max(places) - min(places)) / 50 + 1e-12]
    points = APART * (near.index(i) - (len(near) - 1) / 2)
    for artist in bars.get_children():
        artist.set_transform(ax.transData + ScaledTranslation(points / 72, 0, ax.figure.dpi_scale_trans))


def percent(x: Interval) -> tuple[float, float]:
    """Mean and half width in per cent."""
    return 100 * x.mean, 100 * (x.half or 0.0)


def axes(ax: Any, x: str, y: str = "test accuracy (%)") -> None:
    """Names of the axes, a light grid, and no frame; per cent from 0 to 100."""
    bottom, top = ax.get_ylim()
    ax.set(xlabel=x, ylabel=y, ylim=(max(bottom, 0), min(top, 100.5)))
    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _curves(ax: Any, result: Result, rows: list[Row]) -> None:
    for look, row in zip(styles([r.label for r in rows]), rows, strict=True):
        curves = [r.test_acc for r in result.runs if r.variant == row.label]
        points = [(e, percent(interval(a))) for e, a in enumerate(zip(*curves, strict=True), 1) if None not in a]
        x = [e for e, _ in points]
        mean, half = ([p[k] for _, p in points] for k in (0, 1))
        ax.plot(x, mean, label=row.label, linewidth=1.6, markevery=max(1, len(x) // 10), **look)
        ax.fill_between(
            x,
            [a - b for a, b in zip(mean, half, strict=True)],
            [a + b for a, b in zip(mean, half, strict=True)],
            color=look["color"],
            alpha=0.18,
            linewidth=0.8,
        )
    axes(ax, "epoch")
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _memory(ax: Any, rows: list[Row]) -> None:
    places = [row.predicted / 1024 for row in rows]
    for i, (look, row) in enumerate(zip(styles([r.label for r in rows]), rows, strict=True)):
        assert row.final is not None
        y, half = percent(row.final)
        look = {**look, "linestyle": "none", "markersize": 7}
        set_apart(ax, ax.errorbar(places[i : i + 1], [y], yerr=[half], capsize=4, **look), places, i)
    axes(ax, "memory of the process (KiB)", "final test accuracy (%)")
    ax.margins(x=0.15)  # not from 0: at equal memory the rules would stand on top of each other


def _compare(figure: Figure, result: Result, rows: list[Row]) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    _curves(left, result, rows)
    _memory(right, rows)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(rows)), frameon=False)


def _sweep(figure: Figure, result: Result, rows: list[Row]) -> None:
    """The first setting along the axis, one line for each combination of the others."""
    ax = figure.subplots()
    name, *others = result.swept
    values = list(dict.fromkeys(r.settings[0][1] for r in result.rows))
    try:
        at = {v: float(v) for v in values}
    except ValueError:  # names, or texts with units
        at = {v: float(i) for i, v in enumerate(values)}
    lines: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for r in rows:
        lines.setdefault(r.settings[1:], []).append(r)
    for i, (rest, found) in enumerate(lines.items()):
        found = sorted(found, key=lambda r: at[r.settings[0][1]])
        points = [percent(r.final) for r in found if r.final is not None]
        bars = ax.errorbar(
            [at[r.settings[0][1]] for r in found],
            [y for y, _ in points],
            yerr=[h for _, h in points],
            capsize=4,
            linewidth=1.6,
            label=", ".join(f"{k} = {v}" for k, v in rest),
            **style(i),
        )
        set_apart(ax, bars, [0.0] * len(lines), i)
    axes(ax, name, "final test accuracy (%)")
    rate = name.rpartition(".")[2] == "lr"
    if min(at.values()) > 0 and (rate or max(at.values()) >= 30 * min(at.values())):
        ax.set_xscale("log")
    ax.set_xticks(list(at.values()), list(at))
    ax.minorticks_off()
    if others:
        figure.legend(loc="outside lower center", ncols=min(3, len(lines)), frameon=False)


def draw(result: Result, path: Path) -> None:
    """Write a PNG of ``result``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (optional, and slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows = [r for r in result.rows if r.final is not None]
    comparing = result.swept == ("rule",)
    figure = Figure(figsize=(9.5, 4.4) if comparing else (6.4, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    (_compare if comparing else _sweep)(figure, result, rows)
    seeds = f"mean and 95 % interval of {result.seeds} seeds" if result.seeds > 1 else "1 seed"
    limit = f", widths scaled to {spaced(result.ram // 1024)} KiB" if result.ram else ""
    remark = "\n" + textwrap.fill(result.wide, 120 if comparing else 80) if result.wide else ""
    figure.suptitle(f"{result.name}: {seeds}{limit}{remark}", fontsize=9 if remark else 11)
    figure.savefig(path)


def can_plot() -> bool:
    """Is matplotlib installed?"""
    return find_spec("matplotlib") is not None


def write(result: Result, folder: Path) -> None:
    """CSV, Markdown and, where matplotlib is installed (extra ``plot``), a plot."""
    table, text, picture = (folder / f for f in FILES)
    table.write_text(result.csv(), encoding="utf-8")
    text.write_text(result.markdown(), encoding="utf-8")
    if can_plot():
        draw(result, picture)
