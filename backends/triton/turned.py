"""How numbers lie that a GPU's step computes once: other ways than the plan's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bnnc.ir.dtype import Axis, ceil_div
from bnnc.plan.types import I, Storage

FOUR = 4  # terms that are added at once
CHOICES = 8  # of signs, but for the last term's: with that the other way round, all sums are


@dataclass(frozen=True)
class Turned(Storage):
    """Numbers column by column."""

    def at(self, row: I, col: I) -> tuple[I, I]:
        return col * self.shape[0] + row, col

    def owners(self, axis: Axis, width: int) -> np.ndarray:
        """For each number the program whose share it is in, of ``width`` rows or columns."""
        share = np.arange(self.shape[axis], dtype=np.int32) // width
        whole = np.broadcast_to(share[None, :] if axis is Axis.ROWS else share[:, None], self.shape[::-1])
        return whole.reshape(-1)


@dataclass(frozen=True)
class Table(Storage):
    """Of a matrix, for each four numbers x ``along`` an axis the sums (+-x[0] +- x[1]) + (+-x[2] + x[3]), as a product
    adds them; bit i of a sum's number says which sign x[i] has.  What would be beyond the end is 0.

    Threads have numbers across beside each other.  Along columns these lie so, and each of them is a load: sum by sum.
    Along rows each thread picks a sum of its own: the eight are neighbours.  Behind the end is as much as makes the
    other extent a power of two, so that a tile may read there.
    """

    along: Axis = Axis.COLUMNS

    @property
    def across(self) -> int:
        """The other extent."""
        return self.shape[1 - self.along]

    @property
    def groups(self) -> int:
        """How often four numbers."""
        return ceil_div(self.shape[self.along], FOUR)

    @property
    def behind(self) -> int:
        """Numbers behind the end."""
        return max(32, 1 << (self.across - 1).bit_length()) - self.across

    @property
    def nbytes(self) -> int:
        return 4 * (self.groups * CHOICES * self.across + self.behind)

    def owners(self, axis: Axis, width: int) -> np.ndarray:
        """As of :class:`Turned`; what lies behind the end is nobody's (-1)."""
        of_four = np.arange(self.groups, dtype=np.int32)[:, None, None] * FOUR // width
        other = np.arange(self.across, dtype=np.int32) // width
        by_sum = self.along is Axis.COLUMNS
        share = of_four if axis is self.along else other[None, None, :] if by_sum else other[None, :, None]
        shape = (CHOICES, self.across) if by_sum else (self.across, CHOICES)
        whole = np.broadcast_to(share, (self.groups, *shape)).reshape(-1)
        return np.concatenate((whole, np.full(self.behind, -1, np.int32)))
