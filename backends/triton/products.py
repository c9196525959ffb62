"""Kernels of products whose operands are laid out first (:mod:`.staged`): what lays them out, and the product itself.

In a function's text ``chunk`` is the number of the chunk; ``i`` and ``j`` are rows and columns of a laid-out matrix,
``r`` and ``c`` of the result.  Rows of samples count from the chunk's beginning in the workspace, and from the batch's
elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bnnc.ir.dtype import ceil_div
from bnnc.sched.anchor import Contract, Convolve
from bnnc.sched.expr import Expr, bare
from bnnc.sched.kernel import Kernel

from ..printing import plus
from .expr import Frame
from .images import meet
from .skeleton import KernelText, Memory, Skeleton, Tile, power
from .split import Parts
from .staged import PEAKS, Matrix, Staging

STAGE = 4096  # elements of a tile of what is laid out


@dataclass(frozen=True)
class Laid:
    """An operand and where its elements come from: ``head``: statements that make a row and a column of it, and their
    masks, of ``i`` and ``j``; ``beyond``: what is where there is no pixel.
    """

    expr: Expr
    matrix: Matrix
    head: tuple[str, ...]
    frame: Frame
    beyond: str = "0"
    turned: bool = False  # the matrix has a row for each column that the tile has


class Staged(Skeleton):
    """A product's launches."""

    def __init__(self, k: Kernel, mem: Memory) -> None:
        super().__init__(k, mem)
        made = self.staging
        assert made is not None
        self.of: Staging = made
        self.x = made.anchor
        for name, kind, at in made.places():
            if name:
                what = "partial sums" if name == "sums_at" else "laid out"
                self.partials[name] = name, f"{name} = num.at(arena, {mem.workspace + at}, tl.{kind})  # {what}"

    def texts(self) -> KernelText:
        """What lays the operands out, then the product, then, of a weight's gradient, the sum of its ranges."""
        s, peak = self.of, []
        left, right = self.operands()
        if s.number is not None:
            peak = [self.peak(right if s.by_terms else left)]
        chunked = [*peak, self.stage(left), *([self.stage(right)] if s.by_terms else [])]
        chunked = [replace(t, chunks=s.chunks) for t in chunked]
        if s.at_once:
            return replace(self.terms_at_once(), before=tuple(chunked))
        if s.by_terms:
            return replace(self.added(), before=(*chunked, self.by_terms()))
        return replace(self.by_rows(), before=(self.stage(right), *chunked))

    def moved(self) -> list[int]:
        """Bytes that each launch moves, over all its runs; what is read again from a cache is not counted."""
        s, storages, reads = self.of, self.mem.storages, [{n.attr for n in e.walk()} for e in (self.x.a, self.x.b)]
        named = {*self.k.reads, *self.k.writes}
        a, b = (self.strips * sum(storages[n].nbytes for n in named & some) for some in reads)
        rest = self.strips * sum(storages[n].nbytes for n in named - reads[0] - reads[1])
        left, right = (self.strips * s.chunks * m.nbytes for m in (s.left, s.right))
        if s.by_terms:
            peak, partial = [b] * (s.number is not None), 4 * s.partial * self.strips
            if s.at_once:
                return [*peak, a + left, b + right, left + right + rest]
            return [*peak, a + left, b + right, left + right + 2 * s.chunks * partial, rest + partial]
        return [b + right // s.chunks, *[a] * (s.number is not None), a + left, left + right // s.chunks + rest]

    # -- operands -----------------------------------------------------------------------------------------------------
    def operands(self) -> tuple[Laid, Laid]:
        """Both, as the product reads them."""
        s, x, (rows_in, rows) = self.of, self.x, self.of.rows
        if not s.by_terms:
            return self.of_samples(x.a, s.left, rows_in), self.weights()
        if s.kind == "float16":
            return self.of_samples(x.a, s.left, rows_in), self.of_samples(x.b, s.right, rows)
        return self.windows(), self.of_samples(x.b, s.right, rows, turned=True)

    def of_samples(self, e: Expr, m: Matrix, rows: int, turned: bool = False) -> Laid:
        """An operand whose rows are samples or pixels: a chunk of them."""
        height, width = (m.width, m.rows) if turned else (m.rows, m.width)
        row_ok, col_ok = "row_ok" if height > rows else "", "col_ok" if width > e.shape[1] else ""
        head = [f"row = {f'chunk * {rows} + ' if self.of.chunks > 1 else ''}i"]
        head += [f"row_ok = i < {rows}"] if row_ok else []
        head += [f"col_ok = j < {e.shape[1]}"] if col_ok else []
        return Laid(e, m, tuple(head), Frame("row", "j", row_ok, col_ok), turned=turned)

    def weights(self) -> Laid:
        """A product's right operand."""
        s, x, (_, n, q) = self.of, self.x, self.of.shape
        m, per = s.right, x.b.shape[0] // s.positions
        if s.forward:  # a row of the matrix is a column of the weights
            width = m.width // s.positions
            head = [f"row = j // {width} * {per} + j % {width}" if s.positions > 1 else "row = j"]
            oks = (f"j % {width} < {q}" if s.positions > 1 else f"j < {q}") if width > q else ""
            head += [f"row_ok = {oks}"] if oks else []
            head += [f"col_ok = i < {n}"] if m.rows > n else []
            return Laid(x.b, m, tuple(head), Frame("row", "i", "row_ok" if oks else "", "col_ok" if m.rows > n else ""))
        head = [f"row = i // {n} * {per} + i % {n}" if per != n else "row = i", f"row_ok = i < {s.positions * n}"]
        head += [f"col_ok = j < {q}"] if m.width > q else []
        return Laid(x.b, m, tuple(head), Frame("row", "j", "row_ok", "col_ok" if m.width > q else ""))

    def windows(self) -> Laid:
        """The left operand of a weight's gradient, in whole numbers: a row for each position and channel of a window,
        with all output pixels side by side."""
        s, x, m = self.of, self.x, self.of.left
        rows, channels = s.rows[1], s.channels
        head = [f"row = {f'chunk * {rows} + ' if s.chunks > 1 else ''}j"]
        ok = [*([f"(j < {rows})"] if m.width > rows else []), *([f"(i < {s.shape[0]})"] if m.rows > s.shape[0] else [])]
        head += [f"row_ok = {' & '.join(ok)}"] if ok else []
        if isinstance(x, Contract):
            return Laid(x.a, m, tuple(head), Frame("row", "i", "row_ok" if ok else ""))
        head += [f"position = i // {channels}", f"channel = i % {channels}"]
        met, at_ok = meet(x.geometry, "source", "row", "position", *(["row_ok"] if ok else []))
        return Laid(x.a, m, (*head, *met), Frame("at", "channel", at_ok), str(x.fill))

    # -- what lays them out -------------------------------------------------------------------------------------------
    def elements(self, e: Laid, t: str, template: str, what: str) -> KernelText:
        """A tile of an operand's elements, which ``t`` counts, and what is done with it."""
        m, f, number = e.matrix, e.frame, self.of.number is e.expr
        height, width = (m.width, m.rows) if e.turned else (m.rows, m.width)
        bn = min(128, width & -width)
        bm = min(max(1, STAGE // bn), power(height))
        down, along = ceil_div(height, bm), width // bn
        row, col = (t if along == 1 else f"{t} // {along}", t if down == 1 else f"{t} % {along}")
        head = [
            f"i = {f'{row} * {bm} + ' if down > 1 else ''}tl.arange(0, {bm})[:, None]",
            f"j = {f'{col} * {bn} + ' if along > 1 else ''}tl.arange(0, {bn})[None, :]",
        ]
        pr = self.printer(f)
        code = pr.print([e.expr])
        value, beyond = (pr.num(e.expr), "0.0") if number else (pr.whole(e.expr), e.beyond)
        if inside := "at_ok" if e.beyond != "0" else f.ok(True, True):
            value = f"tl.where({inside}, {bare(value)}, {beyond})"
        context = {
            "head": [*head, *e.head, *code.lines],
            "value": bare(value),
            "bm": bm,
            "bn": bn,
            "names": m.names,
            "kind": m.kind,
            "peaks": PEAKS,
            "halves": number,
            "at": f"(j * {m.width} + i)" if e.turned else f"(i * {m.width} + j)",
            "mask": f", mask=i < {height}" if height % bm else "",
            "count": down * along,
        }
        return KernelText(template, down * along, context, what=what)

    def stage(self, e: Laid) -> KernelText:
        """Lays an operand out."""
        return self.elements(e, "t", "stage", e.matrix.names[0].removesuffix("_at"))

    def peak(self, e: Laid) -> KernelText:
        """The largest |x| of an operand."""
        return replace(self.elements(e, "u", "stage_peak", "peak"), tiles=PEAKS)

    # -- products -----------------------------------------------------------------------------------------------------
    def context(self, walk: list[str], **more: Any) -> dict[str, Any]:
        """What the product's skeleton asks for; ``walk``: what each of its turns begins with."""
        s, (bm, bn), halves = self.of, self.of.tile, self.of.kind == "float16"
        left, right = ([n.removesuffix("_at") for n in m.names] for m in (s.left, s.right))
        return {
            "acc": self.names.new("y"),
            "bm": bm,
            "bn": bn,
            "type": "float32" if halves else "int32",
            "dots": [(a, b) for a in left for b in right],
            "halves": halves,
            "peaks": PEAKS,
            "kept": s.by_terms and not s.at_once,
            "chunks": s.chunks,
            "results": s.shape[0] * s.shape[1],
            "cols": s.shape[1],
            "walk": walk,
            **more,
        }

    @property
    def warps(self) -> int:
        """Of a product's program."""
        return 8 if self.of.tile[0] * self.of.tile[1] > 64 * 64 else 4

    @staticmethod
    def reads(m: Matrix, index: str, mask: str = "", turned: bool = False) -> list[str]:
        """Loads of a tile of an operand, or of both of its halves."""
        loads = ((name.removesuffix("_at"), f"tl.load({name} + {index}{mask})") for name in m.names)
        return [f"{name} = {f'tl.trans({load})' if turned else load}" for name, load in loads]

    def lanes(self, k: str) -> list[str]:
        """The terms of a turn that begins at ``k``, along both operands."""
        return [
            f"q = {k} + tl.arange(0, {self.of.block})[None, :]",
            f"p = {k} + tl.arange(0, {self.of.block})[:, None]",
        ]

    def whole_tile(self) -> Tile:
        """Of the result, or of a chunk's rows of it."""
        s, (down, along), (bm, bn) = self.of, self.of.tiles, self.of.tile
        row, col = ("t" if along == 1 else f"t // {along}", "t" if down == 1 else f"t % {along}")
        row = f"(chunk * {down} + {row})" if s.chunks > 1 else row
        starts = f"{row} * {bm}" if down * s.chunks > 1 else "", f"{col} * {bn}" if along > 1 else ""
        return Tile(bm, bn, self.k.out_shape, starts, down * along)

    def terms_at_once(self) -> KernelText:
        """A weight's gradient and what is made of it."""
        s, made = self.of, self.whole_tile()
        channel = f"channel = {plus(made.starts[0], f'tl.arange(0, {made.rows})[None, :]')}"
        walk = (self.whole_terms(1) if s.kind == "int8" else self.float_terms(1))[2]
        head = [*made.head(), *([channel] if s.kind == "float16" else [])]
        context = self.context(walk, head=head, begin="0", stop=str(s.turns))
        return self.text("contract_staged", made, {0: context["acc"]}, warps=self.warps, **context)

    def by_rows(self) -> KernelText:
        """A chunk's rows of the result."""
        s, made = self.of, self.whole_tile()
        first = f"chunk * {s.rows[0]}" if s.chunks > 1 else ""
        if isinstance(self.x, Convolve):
            walk = self.at_position(self.x, made, first)
        else:
            at = f"(r - {first})" if first else "r"
            walk = [f"k = turn * {s.block}", *self.lanes("k"), *self.reads(s.left, f"{at} * {s.left.width} + q")]
            walk += self.reads(s.right, f"c * {s.right.width} + p")
        context = self.context(walk, begin="0", stop=str(s.turns))
        text = self.text("contract_staged", made, {0: context["acc"]}, warps=self.warps, **context)
        return replace(text, chunks=s.chunks)

    def at_position(self, x: Convolve, made: Tile, first: str) -> list[str]:
        """A turn at a position of the window: the pixel that each row meets, and the position's weights."""
        s, back, blocks = self.of, x.form == "back", self.of.left.width // self.of.block
        met, ok = meet(x.geometry, "target" if back else "source", "r", "position", made.frame.row_ok)
        at, mask = f"(at - {first})" if first else "at", f", mask={ok}, other={0 if back else x.fill}" if ok else ""
        weight = f"(position * {s.shape[1]} + c) * {s.right.width} + p"
        if not back:
            weight = f"c * {s.right.width} + position * {s.left.width} + p"
        return [
            f"position = turn // {blocks}",
            f"k = turn % {blocks} * {s.block}",
            *met,
            *self.lanes("k"),
            *self.reads(s.left, f"{at} * {s.left.width} + q", mask),
            *self.reads(s.right, weight),
        ]

    def by_terms(self) -> KernelText:
        """The sums of a chunk's ranges of terms."""
        s, (down, along), (_, bn), n = self.of, self.of.tiles, self.of.tile, self.of.shape[1]
        size, tiles = ceil_div(s.turns, s.ranges), down * along
        head = [f"part = t // {tiles}", f"u = t % {tiles}", f"c = u % {along} * {bn} + tl.arange(0, {bn})[None, :]"]
        head += [f"begin = part * {size}", f"stop = tl.minimum(begin + {size}, {s.turns})"]
        rows, ok, walk = self.whole_terms(along) if s.kind == "int8" else self.float_terms(along)
        inside = " & ".join([*ok, *([f"(c < {n})"] if n % bn else [])])
        mask = f", mask={inside}" if inside else ""
        context = self.context(walk, head=[*head, *rows], begin="begin", stop="stop", mask=mask)
        return KernelText("contract_staged", tiles * s.ranges, context, self.warps, what="sums", chunks=s.chunks)

    def whole_terms(self, along: int) -> tuple[list[str], list[str], list[str]]:
        """Of whole numbers, whose rows lie as the result's do: a tile's rows, their mask, a turn."""
        s, bm, m = self.of, self.of.tile[0], self.of.shape[0]
        walk = [*self.lanes(f"turn * {s.block}"), *self.reads(s.left, f"r * {s.left.width} + q")]
        walk += self.reads(s.right, f"c * {s.right.width} + p")
        return [f"r = u // {along} * {bm} + tl.arange(0, {bm})[:, None]"], [f"(r < {m})"] if m % bm else [], walk

    def float_terms(self, along: int) -> tuple[list[str], list[str], list[str]]:
        """Of floats, whose terms are rows: a tile has channels of one position."""
        s, x, bm = self.of, self.x, self.of.tile[0]
        own = ceil_div(s.channels, bm)
        start = f"u // {along} % {own} * {bm} + " if own > 1 else ""
        rows = [f"channel = {start}tl.arange(0, {bm})[None, :]", f"position = u // {along * own}"]
        rows.append(f"r = position * {s.channels} + {start}tl.arange(0, {bm})[:, None]")
        ok = [f"({start}tl.arange(0, {bm})[:, None] < {s.channels})"] if s.channels % bm else []
        walk, at, mask = [f"q = turn * {s.block} + tl.arange(0, {s.block})[:, None]"], "q", ""
        if isinstance(x, Convolve):
            beyond = s.turns * s.block > s.rows[1]
            walk += [f"q_ok = q < {s.rows[1]}"] if beyond else []
            met, inside = meet(x.geometry, "source", "q", "position", "q_ok" if beyond else "")
            walk, at, mask = [*walk, *met], "at", f", mask={inside}, other={float(x.fill)}" if inside else ""
        walk += self.reads(s.left, f"{at} * {s.left.width} + channel", mask, turned=True)
        return rows, ok, [*walk, *self.reads(s.right, f"q * {s.right.width} + c")]

    def added(self) -> KernelText:
        """The sums of ranges, and what is made of them."""
        s, kind = self.of, "float32" if self.of.kind == "float16" else "int32"
        return self.parts_added(Parts(s.ranges, 0, s.shape[0] * s.shape[1]), kind, "sums_at", self.names.new("y"))
