"""What papers count of a network, as tables: the gates of a step, and memory."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ..budget import spaced
from ..papers.gates import WEIGHTS, Gates
from ..papers.published import Published


def gates_table(counts: Sequence[tuple[str, Gates]]) -> Table:
    """The gates of a step by rule; the last column sets each total against the first one."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("gates of a training step, as published", no_wrap=True)
    for kind, weight in WEIGHTS.items():
        table.add_column(f"{kind} (each {spaced(weight)})", justify="right", no_wrap=True)
    table.add_column("gates", justify="right", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    first = counts[0][1].total
    for i, (rule, g) in enumerate(counts):
        table.add_row(
            f"rule {rule}",
            *(spaced(getattr(g, kind)) for kind in WEIGHTS),
            f"{g.total:.3g}",
            f"{_times(g.total / first)}x" if i else "",
            style="" if i else "bold",
        )
    if any(not g.xnor for _, g in counts):
        table.caption_justify = "left"
        table.caption = (
            "counted as arXiv 2412.00119 does, which takes every product of a rule with real gradients for floats, "
            "those of bits too; what a program really computes is in the line `a step` above"
        )
    return table


def _times(ratio: float) -> str:
    return spaced(round(ratio)) if ratio >= 100 else f"{ratio:.3g}"


def published_table(p: Published, rule: str) -> Table:
    """The published accounting beside what bnnc allocates."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("memory of the network's data")
    table.add_column(p.unit, justify="right")
    if p.printed:
        table.add_column("printed", justify="right")
    for key, label, figure in p.figures:
        table.add_row(f"{p.source}, {label}", f"{figure:.3f}", *([p.printed.get(key, ("",))[0]] if p.printed else []))
    table.add_row(
        f"bnnc, rule {rule}, this spec: the whole arena",
        f"{p.allocated:.3f}",
        *([""] if p.printed else []),
        style="bold",
    )
    return table


def published_notes(p: Published) -> list[str]:
    """Why figures differ: the printed ones from their own accounting, the arena from the accounting."""
    return [f"{figure} is printed: {why}" for figure, why in p.printed.values() if why] + list(p.differs)
