"""The arena over a step: each buffer a box, as wide as it is alive and as high as it has bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..api import Plan
from ..budget import spaced
from ..plan.life import Life, life, sections
from ..plan.types import Buffer
from .chart import ticks

COLOURS = 6  # of temporary buffers, by layer
SHARERS = 12  # buffers that are named as having the same bytes
LEGIBLE = 0.03  # of the arena's height, from which on a box has its name in it


@dataclass(frozen=True)
class Box:
    """A buffer's place in the picture, in per cent of it, and what is told of it."""

    name: str
    kind: str
    left: float
    width: float
    bottom: float
    height: float
    named: bool
    line: int
    nbytes: int


@dataclass(frozen=True)
class Picture:
    """``marks``: (bytes, where, in per cent) of the axis; ``parts``: (name, left, width) of the timeline, ``peak``:
    where most bytes are alive, and in which step; ``told``: of each buffer, by its name.
    """

    boxes: tuple[Box, ...]
    marks: tuple[tuple[str, float], ...]
    parts: tuple[tuple[str, float, float], ...]
    peak: tuple[str, float, float]
    told: dict[str, dict[str, Any]]


def told(x: Life) -> dict[str, Any]:
    """What is said of a buffer: (heading, text), and its line of the spec, 0 where it has none."""
    b = x.buffer
    rows = [("type", str(b.storage)), ("bytes", f"{spaced(b.nbytes)} at {spaced(b.offset)}")]
    rows += [("made by", f"{kernel}: {text}") for kernel, text in x.made]
    rows += [("made by", "no kernel: it is loaded, or kept from the start")] if not x.made else []
    rows += [("why", reason) for reason in x.why]
    rows += [("read by", ", ".join(x.read) or "no kernel")]
    part = f"from {x.alive[0]} to {x.alive[1]}: {b.last - b.first + 1}"
    rows += [("alive", f"{'always: all' if b.region == 'state' else part} of {x.steps} steps")]
    rows += [("strips", f"one of {x.strips} at a time")] if x.strips > 1 else []
    more = f" and {len(x.shares) - SHARERS} more" if len(x.shares) > SHARERS else ""
    rows += [("shares bytes with", (", ".join(x.shares[:SHARERS]) or "nothing") + more)]
    return {"name": b.name, "line": line_of(b), "layer": b.layer, "rows": rows}


def line_of(b: Buffer) -> int:
    """The spec's line that it comes from, 0 where there is none."""
    return b.span.line if b.span.known else 0


def _kind(b: Buffer, layers: Sequence[str]) -> str:
    if b.region != "temp":
        return b.region
    return f"temp{layers.index(b.layer) % COLOURS}" if b.layer in layers else "temp"


def picture(plan: Plan) -> Picture:
    """That of a plan; boxes largest first, so that small ones lie on top."""
    placed = plan.planned.placed
    p, n, whole = placed.plan, len(placed.plan.steps), placed.plan.arena_bytes
    layers = list(dict.fromkeys(b.layer for b in sorted(p.buffers, key=lambda b: b.first) if b.region == "temp"))
    boxes = tuple(
        Box(
            b.name,
            _kind(b, layers),
            100 * b.first / n,
            100 * (b.last - b.first + 1) / n,
            100 * b.offset / whole,
            100 * b.nbytes / whole,
            b.nbytes >= LEGIBLE * whole,
            line_of(b),
            b.nbytes,
        )
        for b in sorted(p.buffers, key=lambda b: (-b.nbytes, b.offset))
    )
    unit, size = ("MiB", 1 << 20) if whole >= 1 << 20 else ("KiB", 1 << 10)
    marks = tuple((f"{t:g} {unit}", 100 * t * size / whole) for t in ticks(0, whole / size, 6) if t * size <= whole)
    parts = tuple((name, 100 * a / n, 100 * (b - a) / n) for name, a, b in sections(placed))
    peak = p.steps[p.peak_step].name, 100 * p.peak_step / n, 100 / n
    return Picture(boxes, marks, parts, peak, {b.name: told(life(placed, b)) for b in p.buffers})


def by_line(plan: Plan) -> dict[int, int]:
    """Bytes that are alive at the peak, by line of the spec."""
    p = plan.planned.placed.plan
    found: dict[int, int] = {}
    for b in p.live(p.peak_step):
        found[line_of(b)] = found.get(line_of(b), 0) + b.nbytes
    return found
