"""Sums over many terms in two stages, in large networks: which sums, in which ranges of their terms, and how many bytes
their partial sums take.

One program for a tile of results would leave most of a GPU idle where results are few and terms are millions.  So the
terms come in ranges; each range's sums are written to the workspace, behind the arena, and a second kernel adds them in
an order of its own and does what the first would have done at its end.  Ranges follow from the shape alone, so every
GPU adds alike, and whole numbers give the interpreter's bits.
"""

from __future__ import annotations

from dataclasses import dataclass

from bnnc.ir.dtype import ceil_div, round_up

TALL = 1024  # terms of a sum that comes in ranges
PROGRAMS = 528  # that make a kernel's sums, where they have so many terms: four for each multiprocessor of a large GPU
TURNS = 8  # of its loop, that each of them makes at least


@dataclass(frozen=True)
class Parts:
    """``count`` ranges of ``size`` terms (the last one may be shorter), of each of which ``results`` numbers are
    kept.
    """

    count: int
    size: int
    results: int

    @property
    def nbytes(self) -> int:
        """Of all partial sums."""
        return 4 * self.count * self.results


def parts(terms: int, block: int, tiles: int, results: int) -> Parts | None:
    """The ranges of sums of so many terms, ``block`` a turn, whose ``results`` make so many ``tiles``; None: there are
    tiles enough, or too few terms.
    """
    count = min((2 * PROGRAMS + tiles) // (2 * tiles), terms // (TURNS * block))
    if terms < TALL or count < 2:
        return None
    size = round_up(ceil_div(terms, count), block)
    return Parts(ceil_div(terms, size), size, results)
