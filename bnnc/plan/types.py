"""Plan: every value has a storage format and an offset in one arena.  Data types only; the checker imports nothing
else.

Storage formats: numbers are dense and row-major.  One-bit values are packed into 32-bit little-endian words, either
along columns (COLUMNS: each row is ceil(cols/32) words, bit c%32 of word c/32), along rows (ROWS: ceil(rows/32) rows of
one word per column) or along columns with the words of all rows side by side (COLUMNS_ACROSS: ceil(cols/32) rows of one
word per row).  For ROWS and COLUMNS_ACROSS the words of a row are padded to a multiple of 16, so that vectors need no
tail.  Pad bits are 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

from ..diag import NOWHERE, Span
from ..ir.dtype import LANES, NUMBER_BYTES, Axis, Packing, ceil_div
from ..ir.ref import Ref, Side

WORD = 32  # bits


class Index(Protocol):
    """What counts rows and columns: a number, an array of them, or a backend's text for one."""

    def __add__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __floordiv__(self, other: Any, /) -> Any: ...


I = TypeVar("I", bound=Index)  # noqa: E741


@dataclass(frozen=True)
class Storage:
    """How a value, or a copy of its bits that is packed another way, lies in memory."""

    ref: Ref
    dtype: str
    shape: tuple[int, int]
    packing: Packing = Packing.COLUMNS

    @property
    def one_bit(self) -> bool:
        """Is an element one bit in a word?"""
        return self.dtype in ("bit", "bool")

    @property
    def stride(self) -> int:
        """Elements (words, for bits) from one stored row to the next."""
        if not self.one_bit:
            return self.shape[1]
        if self.packing is Packing.COLUMNS:
            return ceil_div(self.shape[1], 32)
        return ceil_div(self.across, LANES) * LANES

    @property
    def across(self) -> int:
        """Words side by side, of bits that are padded to whole vectors."""
        return self.shape[1 if self.packing is Packing.ROWS else 0]

    def at(self, row: I, col: I) -> tuple[I, I]:
        """Which element of the buffer holds (row, col), and, of packed bits, which bit of that word: it is the second
        index modulo 32.
        """
        if not self.one_bit:
            return row * self.stride + col, col
        if self.packing is Packing.COLUMNS:
            return row * self.stride + col // WORD, col
        if self.packing is Packing.ROWS:
            return row // WORD * self.stride + col, row
        return col // WORD * self.stride + row, col

    @property
    def stored_rows(self) -> int:
        """Rows of ``stride`` elements or words in memory."""
        rows, cols = self.shape
        if not self.one_bit or self.packing is Packing.COLUMNS:
            return rows
        return ceil_div(rows if self.packing is Packing.ROWS else cols, WORD)

    @property
    def nbytes(self) -> int:
        """Bytes in memory, padding included."""
        if not self.one_bit:
            return self.shape[0] * self.shape[1] * NUMBER_BYTES[self.dtype]
        return 4 * self.stride * self.stored_rows

    @property
    def padding(self) -> int:
        """Bytes in it that hold no element: what only vector tails touch."""
        if self.one_bit and self.packing is not Packing.COLUMNS:
            return 4 * (self.stride - self.across) * self.stored_rows
        return 0

    def __str__(self) -> str:
        text = f"{self.dtype}[{self.shape[0]}, {self.shape[1]}]"
        if not self.one_bit or self.packing is Packing.COLUMNS:
            return text
        return f"{text} 32 {'rows' if self.packing is Packing.ROWS else 'columns'} a word, {self.stride} words"

    def pace(self, move: str, parts: int, positions: int = 1) -> int:
        """Elements (words, for bits) from where one of ``parts`` strips of the columns, rows or taps (rows of each of
        some positions) begins to the next; -1 where a strip begins inside a word."""
        rows, cols = self.shape[0] // positions, self.shape[1]
        part = (cols if move == "columns" else rows) // parts
        if not self.one_bit:
            return part if move == "columns" else part * cols
        if (self.packing is Packing.ROWS) == (move == "columns"):  # whole words
            return part * self.stride if self.packing is Packing.COLUMNS else part
        words = part // WORD * (1 if self.packing is Packing.COLUMNS else self.stride)
        return words if part % WORD == 0 else -1


@dataclass(frozen=True)
class Loop:
    """Kernels ``first`` to ``last`` of a schedule run ``parts`` times, for one strip of ``axis`` after the
    other.  ``inside``: storages that hold one strip and are dead between two."""

    first: int
    last: int
    axis: Axis
    parts: int
    inside: frozenset[Ref] = frozenset()


@dataclass(frozen=True)
class Buffer:
    """A storage with a place: bytes ``[offset, offset + nbytes)``, alive from time ``first`` to ``last`` inclusive.

    ``region``: ``state`` (persistent), ``io`` (written or read from outside the step) or ``temp``.
    """

    storage: Storage
    offset: int
    first: int
    last: int
    region: str
    align: int
    layer: str = ""
    span: Span = field(default=NOWHERE, compare=False)

    @property
    def ref(self) -> Ref:
        """Its storage's."""
        return self.storage.ref

    @property
    def name(self) -> str:
        """What texts call it."""
        return str(self.storage.ref)

    @property
    def nbytes(self) -> int:
        """Bytes from its offset on."""
        return self.storage.nbytes

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.storage.nbytes


@dataclass(frozen=True)
class Step:
    """What one moment of the timeline reads and writes: a kernel, or ``load``/``done`` around a step."""

    kernel: str
    reads: tuple[Ref, ...]
    writes: tuple[Ref, ...]
    layer: str = ""
    span: Span = field(default=NOWHERE, compare=False)
    side: Side = Side.TRAIN

    @property
    def name(self) -> str:
        """What texts call it."""
        return f"{self.side.value}{self.kernel}"


@dataclass(frozen=True)
class Plan:
    """``steps`` is the timeline: a training step, then an evaluation step, each with buffers on its own side."""

    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    arena_bytes: int
    state_bytes: int
    lower_bound: int
    peak_step: int

    @cached_property
    def buffer(self) -> dict[Ref, Buffer]:
        """What holds a value."""
        return {b.ref: b for b in self.buffers}

    @cached_property
    def named(self) -> dict[str, Buffer]:
        """Buffers by what texts call them."""
        return {b.name: b for b in self.buffers}

    def live(self, t: int) -> list[Buffer]:
        """Buffers that are alive at time ``t`` (an index of ``steps``)."""
        return [b for b in self.buffers if b.first <= t <= b.last]
