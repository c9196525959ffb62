"""Lines over epochs as SVG: where the axes' ticks are, and where the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 230, 46, 10, 10, 26
DOTS = 60  # points of a line that are drawn one by one


@dataclass(frozen=True)
class Line:
    """``points``: (epoch, value, half width of the interval or None)."""

    name: str
    points: tuple[tuple[int, float, float | None], ...]


@dataclass(frozen=True)
class Chart:
    """``percent``: values are 0..1, shown in per cent."""

    title: str
    lines: tuple[Line, ...]
    percent: bool = False

    @cached_property
    def y(self) -> list[float]:
        """Ticks of the values, which hold all of them."""
        low = [v - (h or 0) for line in self.lines for _, v, h in line.points]
        high = [v + (h or 0) for line in self.lines for _, v, h in line.points]
        if not self.percent:
            return ticks(min(low), max(high), 5)
        first, last = max(0.0, min(low)), min(1.0, max(high))
        return ticks(first, last, 5) if last > first else ticks(max(0.0, first - 0.05), min(1.0, last + 0.05), 5)

    @cached_property
    def x(self) -> list[float]:
        """Ticks of the epochs."""
        epochs = [e for line in self.lines for e, _, _ in line.points]
        return [t for t in ticks(min(epochs), max(epochs), 6, whole=True) if min(epochs) <= t <= max(epochs)]

    def at_x(self, epoch: float) -> float:
        """Where an epoch is."""
        epochs = [e for line in self.lines for e, _, _ in line.points]
        first, last = min(epochs), max(epochs)
        share = (epoch - first) / (last - first) if last > first else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def at_y(self, value: float) -> float:
        """Where a value is."""
        low, high = self.y[0], self.y[-1]
        value = min(max(value, low), high)
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def path(self, line: Line) -> str:
        """Through its points."""
        return "M" + "L".join(f"{self.at_x(e)} {self.at_y(v)}" for e, v, _ in line.points)

    def band(self, line: Line) -> str:
        """Around its intervals, or nothing."""
        points = [(e, v, h) for e, v, h in line.points if h is not None]
        if len(points) < 2:
            return ""
        there = [f"{self.at_x(e)} {self.at_y(v + h)}" for e, v, h in points]
        back = [f"{self.at_x(e)} {self.at_y(v - h)}" for e, v, h in reversed(points)]
        return "M" + "L".join(there + back) + "Z"

    def bars(self, line: Line) -> list[tuple[float, float, float]]:
        """(x, top, bottom) of an interval that stands alone."""
        found = [(e, v, h) for e, v, h in line.points if h is not None]
        return [(self.at_x(e), self.at_y(v + h), self.at_y(v - h)) for e, v, h in found[:1]] if len(found) == 1 else []

    def dots(self, line: Line) -> list[tuple[float, float, str]]:
        """(x, y, what a pointer over it is told) of its points, of the last one where they are many."""
        shown = line.points if len(line.points) <= DOTS else line.points[-1:]
        return [(self.at_x(e), self.at_y(v), f"{line.name}, epoch {e}: {self.said(v, h)}") for e, v, h in shown]

    def said(self, value: float, half: float | None = None) -> str:
        """A value in words, with its interval."""
        if self.percent:
            return f"{100 * value:.2f}" + (f" ± {100 * half:.2f}" if half is not None else "") + " %"
        return f"{value:.4g}" + (f" ± {half:.2g}" if half is not None else "")

    def tick(self, value: float) -> str:
        """A value at the axis."""
        return f"{100 * value:g}".rstrip() + " %" if self.percent else f"{value:g}"


def ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """At most ``most`` + 1 round numbers, evenly apart, from below ``low`` to above ``high``."""
    if high - low < 1e-12:
        low, high = low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10
    rough = (high - low) / most
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * k for k in (1, 2, 2.5, 5, 10) if size * k >= rough * (1 - 1e-9))
    step = max(1.0, float(math.ceil(step))) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{k * step:.10g}") for k in range(first, max(last, first + 1) + 1)]


def chart(title: str, lines: Sequence[Line], percent: bool = False) -> Chart | None:
    """Of the lines that have points; None where none has."""
    found = tuple(line for line in lines if line.points)
    return Chart(title, found, percent) if found else None
