"""Memory that knows who touched each byte last: what two programs, or two warps, do to a byte with nothing that orders
it is a race.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

BASE = 0x7F0000000000  # where device memory begins
MANY = -2  # several programs
KINDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


class Fault(Exception):
    """What the machine would stop at: an address outside of memory, or no multiple of what is read; a deadlock."""


class Who(NamedTuple):
    """``epoch`` counts the grid's barriers that a program has reached, ``phase`` its own barriers."""

    epoch: int
    program: int
    phase: int
    warp: int


class Race(NamedTuple):
    """``what`` happened to byte ``at``, by ``who``, in the block that begins at instruction ``block``."""

    what: str
    space: str
    at: int
    who: Who
    block: int


class Shadow:
    """Of each byte its last write, and the reads since the last barrier: rows of :class:`Who`; of reads the last field
    is a mask of warps.

    Two programs are ordered by epochs; two warps of one program by either.
    """

    def __init__(self, n: int) -> None:
        self.writes = np.full((n, 4), -1, np.int32)
        self.reads = np.full((n, 4), -1, np.int32)

    @staticmethod
    def _meets(last: np.ndarray, who: Who, others: np.ndarray) -> np.ndarray:
        """Where what was last is not ordered before ``who``; ``others``: where it was (also) another warp."""
        return (last[:, 0] == who.epoch) & ((last[:, 1] != who.program) | ((last[:, 2] == who.phase) & others))

    def read(self, at: np.ndarray, who: Who) -> list[tuple[str, int]]:
        """Note a read of bytes; what it races with."""
        last = self.writes[at]
        bad = at[self._meets(last, who, last[:, 3] != who.warp)]
        last = self.reads[at]
        here, same = last[:, 0] == who.epoch, last[:, 1] == who.program
        warps = np.where(here & same & (last[:, 2] == who.phase), last[:, 3], 0) | 1 << who.warp
        program = np.where(here & ~same, MANY, who.program)
        self.reads[at] = np.stack([np.full_like(warps, who.epoch), program, np.full_like(warps, who.phase), warps], 1)
        return [("read after write", int(bad[0]))] if bad.size else []

    def write(self, at: np.ndarray, who: Who) -> list[tuple[str, int]]:
        """Note a write of bytes; what it races with."""
        last, read = self.writes[at], self.reads[at]
        found = {
            "write after write": self._meets(last, who, last[:, 3] != who.warp),
            "write after read": self._meets(read, who, (read[:, 3] & ~(1 << who.warp)) != 0),
        }
        self.writes[at] = who
        return [(what, int(at[bad][0])) for what, bad in found.items() if bad.any()]


@dataclass
class Memory:
    """Bytes in a ``space`` (global, shared) from address ``base`` on.

    ``silent``: words that hold what ordered programs anyway (the grid's barrier), which are no race; ``quietly``: a
    store of what is there already is none (in shared memory, where several warps hold a value and all store it).
    ``floor``: the epoch that all programs have reached; who is further has not waited for them.  ``changes`` counts
    stores; ``touched``: who read or wrote anything, and when.
    """

    space: str
    base: int
    data: np.ndarray
    shadow: Shadow | None
    silent: range = range(0)
    quietly: bool = False
    floor: int = sys.maxsize
    changes: int = 0
    races: dict[tuple[str, int], Race] = field(default_factory=dict)
    touched: set[Who] = field(default_factory=set)

    def offsets(self, address: np.ndarray, size: int, align: int) -> np.ndarray:
        """Where addresses are in ``data``."""
        at = address.astype(np.uint64).view(np.int64) - self.base
        if at.size and (at.min() < 0 or at.max() + size > self.data.size):
            raise Fault(f"{self.space} memory ends at {self.data.size}: {at.min()} .. {at.max() + size}")
        if (at % align).any():
            raise Fault(f"{self.space} memory: {align} bytes at {at[at % align != 0][0]}")
        return at

    def view(self, size: int) -> np.ndarray:
        """Its words of a size."""
        return self.data[: self.data.size // size * size].view(KINDS[size])

    def _ordered(self, at: np.ndarray, who: Who, block: int) -> None:
        if at.size:
            self.touched.add(who)
        if at.size and who.epoch > self.floor:
            self._note([("before all programs came to the grid's barrier", int(at[0]))], who, block)

    def _note(self, found: list[tuple[str, int]], who: Who, block: int) -> None:
        for what, at in found:
            self.races.setdefault((what, block), Race(what, self.space, at, who, block))

    def _bytes(self, at: np.ndarray, size: int) -> np.ndarray:
        seen = np.unique(at)
        if self.silent and seen.size == 1 and int(seen[0]) in self.silent:
            return seen[:0]
        return (seen[:, None] + np.arange(size)).reshape(-1)

    def touch(self, at: np.ndarray, size: int, who: Who, block: int) -> None:
        """Note a read."""
        if self.shadow is not None and at.size:
            seen = self._bytes(at, size)
            self._ordered(seen, who, block)
            self._note(self.shadow.read(seen, who), who, block)

    def load(self, at: np.ndarray, size: int, who: Who, block: int) -> np.ndarray:
        """Words at offsets."""
        self.touch(at, size, who, block)
        return self.view(size)[at // size]

    def store(self, at: np.ndarray, size: int, values: np.ndarray, who: Who, block: int) -> None:
        """Words at offsets; two lanes may store to one only what is the same."""
        words, self.changes = self.view(size), self.changes + bool(at.size)
        values = values.astype(words.dtype)
        if self.shadow is not None and at.size:
            new = words[at // size] != values if self.quietly else np.ones(at.size, bool)
            if new.any():
                seen = self._bytes(at[new], size)
                self._ordered(seen, who, block)
                self._note(self.shadow.write(seen, who), who, block)
        words[at // size] = values
        if (words[at // size] != values).any():
            self._note([("two lanes of one store", int(at[words[at // size] != values][0]))], who, block)
