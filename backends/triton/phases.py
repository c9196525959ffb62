"""A step as text: which kernels it launches, and how one launch runs them all, with barriers between."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from .skeleton import Share


@dataclass(frozen=True)
class Arranged:
    """One step: what each of its ``kernels`` launches as text with names, tiles and warps (a function, or several, of
    which the first ones leave operands and partial sums in the workspace), and how one launch runs them: in ``blocks``
    of (strips, phases), of which each is chains of kernels, by number.
    """

    kernels: list[list[dict[str, Any]]]
    blocks: list[tuple[int, list[list[list[int]]]]]
    follows: set[int]  # kernels before which the threads of a program wait for each other
    shares: dict[str, Share]

    @property
    def launched(self) -> list[dict[str, Any]]:
        """What all kernels launch, in order."""
        return [k for stages in self.kernels for k in stages]


def phased(step: Arranged) -> list[str]:
    """The calls of a step, with a barrier between two phases: each chain's parts are given to other programs than
    those of the chains before it.  The kernels of a loop are phases of their own.
    """
    lines: list[str] = []
    for strips, phases in step.blocks:
        indent, strip = ("    ", "strip, ") if strips else ("", "")
        wait = f"{indent}num.grid_barrier(barrier)"
        if strips:
            lines.append(f"for strip in range({strips}):")
        for phase in phases:
            shift = 0
            for chain in phase:
                for i in chain:
                    lines += [f"{indent}tl.debug_barrier()"] * (i in step.follows)
                    for some in _launched(step.kernels[i], strip, shift):
                        lines += [f"{indent}{line}" for line in (*some, "num.grid_barrier(barrier)")]
                    lines.pop()
                shift += max(step.kernels[i][-1]["tiles"] for i in chain)
            lines.append(wait)
    return lines[:-1] if lines[-1:] == ["num.grid_barrier(barrier)"] else lines


def _launched(stages: list[dict[str, Any]], strip: str, shift: int) -> list[list[str]]:
    """Calls of a kernel's stages, with a barrier between two: those that go through the batch in chunks in a loop."""
    out = []
    for chunks, some in itertools.groupby(stages, lambda k: k["chunks"]):
        n = chunks[1] if chunks else 0
        given = strip if not n else f"strip * {n} + chunk, " if strip else "chunk, "
        calls = [f"{k['name']}(arena, {given}{shift})" for k in some]
        if n:
            body = [line for call in calls for line in (f"    {call}", "    num.grid_barrier(barrier)")]
            out.append([f"for chunk in range({n}):", *body])
        else:
            out += [[call] for call in calls]
    return out
