"""Large products whose operands are laid out in the workspace first, as tensor cores read them.

Bits, whole numbers of 8 bits and expressions become int8; a float becomes two f16 numbers, high and low, times a power
of two that is common to all of them.  Each element is unpacked, or computed, once, instead of once for every tile and
every position of a window; what is left of the product's loop are copies to shared memory and tensor cores.  Rows of
int8 operands hold terms side by side, which is how tensor cores want them; both kinds are padded with zeros to whole
tiles, so the loop has no masks but those of a window's edge.

The workspace holds the operands of some samples at a time: launches go through the batch in ``chunks``.  A product
whose rows are samples or pixels (form ``rows``) is done with a chunk when it is multiplied; one whose terms they are
(form ``terms``, a weight's gradient) adds each chunk to its partial sums, range by range, and a last kernel adds these;
a dense layer's that is one chunk and one range is done at once.
All of that follows from the shape alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from bnnc.ir.dtype import FLOATS, ceil_div, round_up
from bnnc.sched.anchor import Contract, Convolve
from bnnc.sched.expr import Expr
from bnnc.sched.kernel import Kernel

from . import split

ROOM = 128 << 20  # bytes of operands at a time, where samples can be divided so
SHARE = 1 / 8  # of the arena, where that is less; of partial sums in any case, but for those of one range
MOST_CHUNKS = 64
TILE = (128, 128)  # of a product
TURN = 128  # bytes of a term's row that a turn reads
PEAKS = 512  # programs that look for the largest |x|
WAVE = 132  # multiprocessors of a large GPU: ranges leave few of them idle
BYTES = {"int8": 1, "float16": 2, "float32": 4, "int32": 4}


@dataclass(frozen=True)
class Matrix:
    """An operand in the workspace, or two of one shape: the high and the low halves of a float."""

    names: tuple[str, ...]
    kind: str
    rows: int
    width: int

    @property
    def nbytes(self) -> int:
        """Of all of it, in whole lines of a cache."""
        return round_up(BYTES[self.kind] * self.rows * self.width, 128) * len(self.names)


def kinds(k: Kernel) -> str:
    """int8 or float16 where a product's operands can be laid out; empty: they cannot."""
    x = k.anchor
    if not isinstance(x, Contract | Convolve) or any(o.row_sum for o in k.outputs):
        return ""
    by_terms = x.form in ("tn", "weight")
    number, bits = (x.b, x.a) if by_terms else (x.a, x.b)
    apart = x.gate is not None if isinstance(x, Contract) else x.groups > 1
    if apart or bits.dtype != "bit" or (number.dtype == "bit" and by_terms):
        return ""
    return "float16" if number.dtype in FLOATS else "int8" if number.dtype in ("bit", "i8") else ""


@dataclass(frozen=True)
class Staging:
    """How a kernel's operands are laid out; ``kind``: as tensor cores read them."""

    k: Kernel
    kind: str
    least: tuple[int, int]  # the smallest tile of what is stored
    strips: int  # of a loop, of which the kernel sees one: ranges are those of the whole
    room: float  # bytes of operands at a time
    most: float  # bytes of partial sums

    @property
    def by_terms(self) -> bool:
        """Are samples, or pixels, the terms?"""
        return self.anchor.form in ("tn", "weight")

    @property
    def anchor(self) -> Contract | Convolve:
        x = self.k.anchor
        assert isinstance(x, Contract | Convolve)
        return x

    @property
    def positions(self) -> int:
        return self.anchor.geometry.positions if isinstance(self.anchor, Convolve) else 1

    @cached_property
    def pixels(self) -> tuple[int, int]:
        """Rows of a sample in the left operand, and in the result (or, of a weight's gradient, in the right one)."""
        x = self.anchor
        if isinstance(x, Contract):
            return 1, 1
        sizes = x.geometry.pixels, x.geometry.out_pixels
        return (sizes[1], sizes[0]) if x.form == "back" else sizes

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Rows and columns of the result, terms (of a position)."""
        x = self.anchor
        if isinstance(x, Contract):
            m, q, n = x.dims
            return m, n, q
        return *self.k.domain, x.b.shape[0] if x.form == "weight" else x.a.shape[1]

    @property
    def samples(self) -> int:
        return self.shape[2 if self.by_terms else 0] // self.pixels[1]

    @property
    def block(self) -> int:
        """Terms of a turn."""
        return max(32, min(TURN // BYTES[self.kind], 1 << (self.shape[2] - 1).bit_length()))

    @property
    def tile(self) -> tuple[int, int]:
        """Of the product; half as wide where the last one would end beyond the result, or more is made of it than a
        sum: masks and states take registers.
        """
        (m, n, _), (rows, cols) = self.shape, TILE
        most = rows, cols if n % cols == 0 and not self.few else cols // 2
        sizes = zip((self.channels if self.by_terms else m, n), most, self.least, strict=True)
        rows, cols = (max(16, a, min(most, 1 << (n - 1).bit_length())) for n, most, a in sizes)
        return max(64, rows) if self.by_terms and self.kind == "float16" else rows, cols

    @property
    def channels(self) -> int:
        """Of a weight's gradient: rows of a position."""
        return self.shape[0] // self.positions

    @cached_property
    def chunks(self) -> int:
        """The fewest that fit the room; chunks of results are whole tiles, so that they share no word."""
        fit = [c for c in range(1, MOST_CHUNKS + 1) if self._divides(c)]
        n = self.shape[1] * self.strips
        return next((c for c in fit if sum(m.nbytes for m in self._matrices(c, n)) <= self.room), fit[-1])

    def _divides(self, chunks: int) -> bool:
        rows = self.samples // chunks * self.pixels[1]
        whole = self.block if self.by_terms else self.tile[0]
        return chunks == 1 or (self.samples % chunks == 0 and rows % whole == 0)

    @property
    def rows(self) -> tuple[int, int]:
        """Rows of samples in a chunk: of the left operand, of the result or the right one."""
        a, b = (self.samples // self.chunks * p for p in self.pixels)
        return a, b

    @property
    def left(self) -> Matrix:
        return self._matrices(self.chunks, self.shape[1])[0]

    @property
    def right(self) -> Matrix:
        return self._matrices(self.chunks, self.shape[1])[1]

    def _matrices(self, chunks: int, n: int) -> tuple[Matrix, Matrix]:
        """The left and the right operand, of a result of ``n`` columns."""
        (m, _, q), (bm, bn) = self.shape, self.tile
        rows_in, rows = (self.samples // chunks * p for p in self.pixels)
        halves = ("left_at", "left_low_at"), ("right_at", "right_low_at")
        left, right = (h[: 1 + (self.kind == "float16" and i == self.by_terms)] for i, h in enumerate(halves))
        if not self.by_terms:
            width = round_up(q, self.block)
            across = self.positions * width if self.forward else width
            high = round_up(n, bn) if self.forward else self.positions * n + bn
            return Matrix(left, self.kind, round_up(rows_in, bm), width), Matrix(right, self.kind, high, across)
        terms = round_up(rows, self.block)
        if self.kind == "int8":
            return Matrix(left, "int8", round_up(m, bm), terms), Matrix(right, "int8", round_up(n, bn), terms)
        high = terms if self.positions == 1 else rows_in
        return Matrix(left, self.kind, high, round_up(self.channels, bm)), Matrix(
            right, self.kind, terms, round_up(n, bn)
        )

    @property
    def forward(self) -> bool:
        """Do the right operand's rows hold terms, so that it is turned?"""
        return self.anchor.form in ("nn", "forward")

    @property
    def turns(self) -> int:
        """Of a product's loop."""
        if self.by_terms:
            return ceil_div(self.rows[1], self.block)
        return self.positions * ceil_div(self.shape[2], self.block)

    @property
    def tiles(self) -> tuple[int, int]:
        """Of a chunk's product: down, and along."""
        (bm, bn), (m, n, _) = self.tile, self.shape
        if not self.by_terms:
            return ceil_div(m, bm) // self.chunks, ceil_div(n, bn)
        down = ceil_div(m, bm) if self.kind == "int8" else self.positions * ceil_div(self.channels, bm)
        return down, ceil_div(n, bn)

    @property
    def ranges(self) -> int:
        """That a chunk's terms come in: the fewest that leave less than a tenth of a GPU idle, if there is room."""
        m, n, _ = self.shape
        tiles, most = self.tiles[0] * ceil_div(n * self.strips, self.tile[1]), self.turns // split.TURNS
        most = min(most, int(self.most) // (4 * m * n * self.strips))
        busy = {r: tiles * r / (WAVE * ceil_div(tiles * r, WAVE)) for r in range(1, max(1, min(most, 2 * WAVE)) + 1)}
        good = (r for r, share in busy.items() if share >= 0.9 and tiles * r > WAVE)
        return next(good, max(busy, key=lambda r: (busy[r], -r)))

    @property
    def few(self) -> bool:
        """Has a dense layer's gradient too few terms for ranges?"""
        plain = isinstance(self.anchor, Contract) and self.by_terms
        return plain and ceil_div(self.shape[2], self.block) < 2 * split.TURNS

    @property
    def at_once(self) -> bool:
        """Is such a gradient done when it is multiplied, being one chunk?"""
        return self.few and self.chunks == 1

    @property
    def partial(self) -> int:
        """Numbers of partial sums."""
        return self.ranges * self.shape[0] * self.shape[1] if self.by_terms and not self.at_once else 0

    @property
    def number(self) -> Expr | None:
        """The operand that is a float."""
        if self.kind == "int8":
            return None
        return self.anchor.b if self.by_terms else self.anchor.a

    def places(self) -> Iterator[tuple[str, str, int]]:
        """Names of pointers, kinds and offsets in the workspace, in order; the last one says where it ends."""
        at = 0
        for m in (self.left, self.right):
            for name in m.names:
                yield name, m.kind, at
                at += m.nbytes // len(m.names)
        if self.kind == "float16":
            yield "peak_at", "float32", at
            at += 4 * PEAKS
        if self.partial:
            yield "sums_at", "float32" if self.kind == "float16" else "int32", at
            at += round_up(4 * self.partial, 128)
        yield "", "", at

    @property
    def nbytes(self) -> int:
        """Of all that lies in the workspace."""
        return list(self.places())[-1][2]


def staging(k: Kernel, least: tuple[int, int], strips: int, arena: int) -> Staging | None:
    """Of a large product, beside an arena of so many bytes; None: its operands stay as they are."""
    kind = kinds(k)
    return Staging(k, kind, least, strips, min(ROOM, SHARE * arena), SHARE * arena) if kind else None
