"""What all skeletons of Triton kernels share: where values lie, names, tiles, the stores of a tile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

from bnnc.diag import error
from bnnc.ir.dtype import Axis, Packing, ceil_div, round_up
from bnnc.ir.ref import Ref
from bnnc.plan.types import Storage
from bnnc.sched.anchor import Contract, Convolve
from bnnc.sched.expr import Expr, bare
from bnnc.sched.kernel import Kernel, Output

from .. import printing
from ..c.names import operand
from ..printing import Pointers, Printed, Variables, plus
from . import split
from .expr import TYPES, Ahead, Frame, Index, Printer, reserved
from .split import Parts
from .staged import Staging, staging
from .turned import FOUR, Table

LARGE = 1 << 28  # terms of a product: beyond, its arithmetic takes longer than its launch
TENSOR_TILE = (128, 64)  # of a product on tensor cores
TERMS = 32  # of a weight's gradient there, a turn
ADDED = 512  # results whose partial sums a program adds
THREADS = 256  # of a program of a persistent step: a smaller tile's elements are held by several of them
STORE = "tl.store("
# What is read behind the loop, or by several statements, may be waited for together, before: loads that a compiler
# would put right before their use, but neither into a loop nor under this, which all that follows is.
LOADED = "if num.loaded():"
STRAIGHT = ("map", "reduce_tall", "contract_table", "contract_popcount")
EARLY = (*STRAIGHT, "reduce", "reduce_ahead", "contract_signs", "contract_outer")
WIDEST = 128  # rows or columns of a tile, of the axis that is shared out


@dataclass(frozen=True)
class Memory(printing.Memory):
    """``offsets``: at which byte of the device's memory each place is.  ``exact``: sums keep the interpreter's
    order.  ``shares``: of kernels, by name, that are not shared out by tiles.  ``workspace``: where partial sums are.
    """

    offsets: Mapping[Ref, int] = field(default_factory=dict)
    exact: bool = True
    shares: Mapping[str, Share] = field(default_factory=dict)
    workspace: int = 0

    def at(self, name: Ref) -> int:
        """The offset of a storage in the device's memory."""
        return self.offsets[self.place(name)]


class Share(NamedTuple):
    """What a program makes of a result: ``width`` of its rows or columns, from end to end."""

    axis: Axis
    width: int

    def parts(self, of: tuple[int, int]) -> int:
        """How many programs that is."""
        return ceil_div(of[self.axis], self.width)


@dataclass(frozen=True)
class Tile:
    """What one program makes of a result at a time: ``rows`` x ``cols`` of its ``of``.

    ``starts``: the text of its first row and of its first column, empty where that is 0; ``count``: how many programs
    there are, and ``turns``: how many tiles each makes, one after another, of ``span`` rows and columns in all.
    """

    rows: int
    cols: int
    of: tuple[int, int]
    starts: tuple[str, str] = ("", "")
    count: int = 1
    turns: int = 1
    span: tuple[int, int] | None = None

    @property
    def frame(self) -> Frame:
        """The tile's rows and columns; a mask where its last one ends beyond the result."""
        ends = (n % step for n, step in zip(self.of, self.span or (self.rows, self.cols), strict=True))
        row_ok, col_ok = (ok if end else "" for ok, end in zip(("rows_ok", "cols_ok"), ends, strict=True))
        return Frame(row_ok=row_ok, col_ok=col_ok)

    def head(self, axes: str = "rc") -> list[str]:
        """The statements that make ``r``, ``c`` and their masks."""
        r = plus(self.starts[0], f"tl.arange(0, {self.rows})[:, None]")
        c = plus(self.starts[1], f"tl.arange(0, {self.cols})[None, :]")
        made = {"r": (f"r = {r}", self.frame.row_ok), "c": (f"c = {c}", self.frame.col_ok)}
        masks = ((axis, made[axis][1], self.of["rc".index(axis)]) for axis in axes)
        return [made[axis][0] for axis in axes] + [f"{ok} = {axis} < {extent}" for axis, ok, extent in masks if ok]


@dataclass(frozen=True)
class Product:
    """A tile of sums of ``q`` terms in the variable ``acc``.

    ``head``: statements behind those that make the tile's rows and columns; ``positions``: of the window that a loop
    around the terms walks over, none where there is no window, and ``walk``: what each turn of that loop begins with.
    ``parts``: the ranges that the terms come in, where the sums are made in two stages.
    """

    tile: Tile
    q: int
    acc: str
    head: tuple[str, ...] = ()
    positions: int = 0
    walk: tuple[str, ...] = ()
    parts: Parts | None = None


@dataclass(frozen=True)
class Operand:
    """Of a product: the statements that make a tile or a term of it, the text of its value, and the mask of its terms,
    where one is needed.
    """

    expr: Expr
    code: Printed
    value: str
    ok: str = ""


@dataclass(frozen=True)
class KernelText:
    """What a skeleton renders, in how many tiles (of so many turns), by how many warps each.  ``before``: what runs
    before it, and leaves in the workspace what it reads; ``what``: that is, in a word.  ``chunks``: how often it runs
    in turn with its neighbours, for one chunk of the batch after the other; 0: once.
    """

    template: str
    tiles: int
    context: dict[str, Any] = field(default_factory=dict)
    warps: int = 4
    turns: int = 1
    before: tuple[KernelText, ...] = ()
    what: str = ""
    chunks: int = 0


def power(n: int) -> int:
    """The least power of two that is no less than ``n``."""
    return 1 << (n - 1).bit_length()


def tile(extent: int, most: int, least: int = 1) -> int:
    """A tile's extent: a power of two between ``least`` and ``most``, no larger than need be."""
    return max(least, min(most, power(extent)))


def extents(k: Kernel) -> tuple[int, int, int]:
    """Rows, columns and terms of a product; a convolution's terms are those of one position, or output pixels.  None of
    other kernels."""
    match k.anchor:
        case Contract():
            m, q, n = k.anchor.dims
            return m, n, q
        case Convolve(a=a, b=b):
            return *k.domain, b.shape[0] if k.anchor.form == "weight" else a.shape[1] // k.anchor.groups
    return *k.domain, 0


def terms(k: Kernel) -> int:
    """Terms of all sums of a product or a convolution (of a strip, in a loop); 0 for other kernels."""
    positions = k.anchor.positions if isinstance(k.anchor, Convolve) and k.anchor.form != "weight" else 1
    return prod(extents(k)) * positions


def bare_int8(value: str, ok: str) -> str:
    """An int8 operand, 0 where ``ok`` does not hold."""
    return f"tl.where({ok}, {value}, 0).to(tl.int8)" if ok else f"({value}).to(tl.int8)"


class Skeleton(Pointers):
    """One kernel's pointers, names and tiles; subclasses choose the loops.

    ``late``: several threads hold an element, and one of them stores it where all have read; so all read first.
    """

    def __init__(self, k: Kernel, mem: Memory) -> None:
        self.mem, self.late = mem, False
        self.partials: dict[str, tuple[str, str]] = {}  # by kind: the name of a pointer, and the line that declares it
        super().__init__(k, mem, Variables(reserved(), reserved()))

    def pointer_name(self, place: Ref) -> str:
        return f"{operand(place)}_at"

    def declaration(self, name: Ref, place: Ref, pointer: str) -> str:
        s, step = self.mem.storages[name], self.mem.pace(self.k, name)
        if s.stored_rows * s.stride > 2**31 - 1:
            raise error(
                "B0702",
                f"`{place}` has more elements than a kernel can count",
                self.k.where.span,
                help="use a smaller batch",
            )
        moved = f" + strip * {step}" if step else ""
        return f"{pointer} = num.at(arena, {self.mem.at(name)}, tl.{TYPES[s.dtype]}){moved}  # {s}"

    def printer(self, frame: Frame, accs: dict[int, str] | None = None) -> Printer:
        """Prints tiles of a frame."""
        return Printer(frame, self.names, self.mem.storages, self.pointers, accs)

    def ahead(self, frame: Frame, turn: str) -> Ahead:
        """As :meth:`printer`, of what a loop over ``turn`` loads ahead."""
        made = Ahead(frame, self.names, self.mem.storages, self.pointers)
        made.turn = turn
        return made

    def stored(self) -> list[Storage]:
        """The storages of outputs, without sums along rows."""
        return [self.mem.storages[o.ref] for o in self.k.outputs if not o.row_sum]

    def least(self) -> tuple[int, int]:
        """The smallest tile that makes whole words of all one-bit outputs, and whole sums of tables."""
        bits = [s for s in self.stored() if s.one_bit]
        fours = {s.along for s in self.stored() if isinstance(s, Table)}
        return (
            32 if any(s.packing is Packing.ROWS and s.shape[0] > 1 for s in bits) else FOUR ** (Axis.ROWS in fours),
            32
            if any(s.packing is not Packing.ROWS and s.shape[1] > 1 for s in bits)
            else FOUR ** (Axis.COLUMNS in fours),
        )

    def tiled(self, rows: int, cols: int, t: str = "t") -> Tile:
        """Tiles of the output, along a row of them first, or as the kernel is shared out.  ``t``: what counts them."""
        of = self.k.out_shape
        if share := self.mem.shares.get(self.k.name):
            return self.part(share, rows * cols)
        down, along = ceil_div(of[0], rows), ceil_div(of[1], cols)
        row, col = (t if along == 1 else f"{t} // {along}", t if down == 1 else f"{t} % {along}")
        starts = f"{row} * {rows}" if down > 1 else "", f"{col} * {cols}" if along > 1 else ""
        return Tile(rows, cols, of, starts, down * along)

    def part(self, share: Share, most: int) -> Tile:
        """A program's share, in tiles of at most so many elements, or the smallest."""
        of, across, words = self.k.out_shape, Axis(1 - share.axis), self.least()
        whole = 1 if of[share.axis] % 32 == 0 else words[share.axis]  # words that no other program stores to
        own = max(whole, min(share.width, power(of[share.axis])))
        size = [0, 0]
        size[share.axis] = min(own, WIDEST)
        size[across] = tile(of[across], max(1, most // size[share.axis]), words[across])
        down, along = ceil_div(of[across], size[across]), ceil_div(min(own, of[share.axis]), size[share.axis])
        count, starts = share.parts(of), ["", ""]
        starts[across] = f"turn * {size[across]}" if along == 1 else f"turn // {along} * {size[across]}"
        inner = f"{'turn' if down == 1 else f'turn % {along}'} * {size[share.axis]}"
        starts[share.axis] = plus(f"t * {share.width}" if count > 1 else "", inner if along > 1 else "")
        if down == 1:
            starts[across] = ""
        span = [size[0], size[1]]
        span[share.axis] = share.width if count > 1 else size[share.axis]
        return Tile(size[0], size[1], of, (starts[0], starts[1]), count, down * along, (span[0], span[1]))

    def text(
        self,
        template: str,
        tile: Tile,
        accs: dict[int, str],
        frame: Frame | None = None,
        warps: int = 4,
        **context: Any,
    ) -> KernelText:
        """A skeleton around a tile and what is done with it at the end, where ``frame`` stands (the tile's own)."""
        early: dict[str, str] | None = {} if template in EARLY and self.mem.exact else None
        end, sums = self.outputs(tile, accs, frame or tile.frame, early)
        made = {**self.shared(tile), "end": end, "sums": sums, **context}
        made["head"] = [*made["head"], *(f"{name} = {load}" for load, name in (early or {}).items())]
        made["head"] += [LOADED] * bool(early and template in STRAIGHT)
        return KernelText(template, tile.count, made, warps, tile.turns)

    def shared(self, tile: Tile) -> dict[str, Any]:
        """What every skeleton asks of its tile."""
        return {
            "head": tile.head(),
            "bm": tile.rows,
            "bn": tile.cols,
            "cols": tile.of[1],
            "rows_ok": tile.frame.row_ok,
            "cols_ok": tile.frame.col_ok,
            "sums": [],
        }

    # -- stores -------------------------------------------------------------------------------------------------------
    def outputs(
        self, tile: Tile, accs: dict[int, str], frame: Frame, early: dict[str, str] | None
    ) -> tuple[list[str], list[dict[str, str]]]:
        """The epilogue of a tile: statements with its stores, and the sums along its rows.  ``early``: gets what is
        loaded before the loop."""
        outs, start = self.finished(), tile.starts[1]
        words = (tile.rows, tile.cols, f"({start}) // 32 + " if start else "") if tile.cols % 32 == 0 else None
        groups = (tile.rows, tile.cols, tile.starts[0]) if tile.rows % 16 == 0 else None
        pr = self.printer(replace(frame, words=words, sixteens=groups), accs)
        pr.early = early
        bits = tuple(o.expr for o in outs if o.expr.dtype in ("bit", "bool"))
        lines = pr.print([o.expr for o in outs], bits).lines
        self.late = tile.rows * tile.cols < THREADS and self.overwrites()
        stores = [line for o in outs if not o.row_sum for line in self.store(o, pr, tile)]
        if self.late:
            stores.sort(key=lambda line: line.startswith(STORE))
            stores.insert([line.startswith(STORE) for line in stores].index(True), "tl.debug_barrier()")
        lines += stores
        sums = [
            {"name": self.names.new("sum"), "value": pr.whole(o.expr), "pointer": self.pointers[o.ref]}
            for o in outs
            if o.row_sum
        ]
        return lines, sums

    def overwrites(self) -> bool:
        """Whether an output lies where an operand does."""
        read = {self.mem.place(n) for n in self.k.reads}
        return any(self.mem.place(o.ref) in read for o in self.k.outputs)

    def store(self, o: Output, pr: Printer, tile: Tile) -> list[str]:
        """The statements that store a tile of a result."""
        s, e, frame = self.mem.storages[o.ref], o.expr, pr.frame
        tall, wide = s.shape[0] > 1 or tile.rows > 1, s.shape[1] > 1 or tile.cols > 1
        row, col, ok = frame.row if tall else "", frame.col if wide else "", frame.ok(tall, wide)
        if not s.one_bit:
            return self.put(o.ref, row, col, pr.num(e) if s.dtype in ("f32", "f16") else pr.whole(e), ok)
        mask = pr.text[e] if not ok else f"{pr.text[e]} & {ok}"
        if row if s.packing is Packing.ROWS else col:
            return self.store_words(o.ref, mask, (row, col), frame, tile)
        return self.put(o.ref, row, col, f"({mask}).to(tl.uint32)", ok)  # one bit a word

    def put(self, value: Ref, row: str, col: str, x: str, ok: str) -> list[str]:
        """One number, or one word, for each (row, col)."""
        at = self.mem.storages[value].at(Index(row), Index(col))[0].text or "tl.full((1, 1), 0, tl.int32)"
        pointer, mask, before = self.pointers[value], f", mask={ok}" if ok else "", []
        if self.late and not x.isidentifier():
            name = self.names.new(f"{operand(self.mem.place(value))}_new")
            before, x = [f"{name} = {x}"], name
        return [*before, f"{STORE}{pointer} + {at}, {x}{mask})"]

    def store_words(self, value: Ref, mask: str, at: tuple[str, str], frame: Frame, tile: Tile) -> list[str]:
        """One word for 32 rows or columns, or the part of it that a small tile has: the first of them says where."""
        (row, col), axis = at, Axis.ROWS if self.mem.storages[value].packing is Packing.ROWS else Axis.COLUMNS
        word, first = self.names.new("word"), self.names.new("first")
        pack, count, along = (("pack_rows", tile.rows, "[:, None]"), ("pack_cols", tile.cols, "[None, :]"))[axis]
        unit = min(32, count)
        lines = [
            f"{word} = num.{pack}({mask}, {tile.rows if row else 1}, {tile.cols if col else 1})",
            f"{first} = {plus(tile.starts[axis], f'tl.arange(0, {count // unit}){along}')} * {unit}",
        ]
        guards = [f"({first} < {self.k.out_shape[axis]})"] if frame.ok(axis is Axis.ROWS, axis is Axis.COLUMNS) else []
        guards.append(frame.ok(axis is Axis.COLUMNS and bool(row), axis is Axis.ROWS and bool(col)))
        ok = " & ".join(x for x in guards if x)
        place = (first, col) if axis is Axis.ROWS else (row, first)
        if unit < 32:
            return lines + self.put_part(value, *place, f"{word}.to(tl.uint{unit})", ok, (first, unit))
        return lines + self.put(value, *place, word, ok)

    def put_part(self, value: Ref, row: str, col: str, x: str, ok: str, part: tuple[str, int]) -> list[str]:
        """One byte, or two, of each word: memory has the first bits first.  ``part``: which bit comes first, and how
        many."""
        first, unit = part
        at, mask = self.mem.storages[value].at(Index(row), Index(col))[0].text, f", mask={ok}" if ok else ""
        pointer = f"{self.pointers[value]}.to(tl.pointer_type(tl.uint{unit}))"
        return [f"{STORE}{pointer} + (({at}) * {32 // unit} + ({first} % 32) // {unit}), {x}{mask})"]

    # -- products -----------------------------------------------------------------------------------------------------
    @property
    def large(self) -> bool:
        """Is this a product for tensor cores?"""
        if self.mem.exact or (isinstance(self.k.anchor, Convolve) and self.k.anchor.groups > 1):
            return False
        if self.learns and extents(self.k)[2] >= split.TALL:
            return True
        m, n, q = extents(self.k)
        least = min(m, n, q * self.k.anchor.positions if self.pixels else q)
        few = 16 if isinstance(self.k.anchor, Convolve) else 64
        return terms(self.k) * self.strips >= LARGE and least >= few

    @property
    def strips(self) -> int:
        """How many strips the whole is cut into, of which this kernel sees one; sums have the order of the whole."""
        return self.mem.schedule.strips.get(self.k.name, 1)

    @property
    def pixels(self) -> bool:
        """Is this a convolution of an image of u8, with signs?"""
        x = self.k.anchor
        return isinstance(x, Convolve) and x.form == "forward" and (x.a.dtype, x.b.dtype) == ("u8", "bit")

    @property
    def learns(self) -> bool:
        """Is this a weight's gradient: a product whose terms are samples or pixels?"""
        return getattr(self.k.anchor, "form", "") in ("tn", "weight")

    @cached_property
    def staging(self) -> Staging | None:
        """How a large product's operands are laid out first; None: they stay as they are."""
        return staging(self.k, self.least(), self.strips, self.mem.workspace) if self.large else None

    @property
    def parts(self) -> Parts | None:
        """The ranges that this kernel's sums come in; None: one program makes a result."""
        if not (self.learns and self.large) or any(o.row_sum for o in self.k.outputs):
            return None
        m, n, q = extents(self.k)
        whole = n * self.strips
        rows, cols = tile(m, TENSOR_TILE[0], 16), tile(whole, TENSOR_TILE[1], 16)
        return split.parts(q, TERMS, ceil_div(m, rows) * ceil_div(whole, cols), m * n)

    def tensor_tile(self, rows: int = 1, cols: int = 1) -> tuple[int, int]:
        """A tile of a product on tensor cores, of no less than so many rows and columns."""
        m, n, _ = extents(self.k)
        return tile(m, TENSOR_TILE[0], max(16, rows)), tile(n, TENSOR_TILE[1], max(16, cols))

    def product(self, q: int, most: tuple[int, int], least: int = 1) -> Product:
        """Tiles of a product of ``q`` terms."""
        (m, n), (bm0, bn0) = self.k.out_shape, self.least()
        if parts := self.parts:
            return Product(self.tiled(*self.tensor_tile(), "u"), q, self.names.new("y"), parts=parts)
        made = self.tiled(tile(m, most[0], max(least, bm0)), tile(n, most[1], max(least, bn0)))
        return Product(made, q, self.names.new("y"))

    def summed(self, template: str, p: Product, warps: int = 4, **context: Any) -> KernelText:
        """A skeleton of a product."""
        shared = {"q": p.q, "acc": p.acc, "positions": p.positions, "walk": p.walk, "head": [*p.tile.head(), *p.head]}
        shared |= {"begin": "0", "stop": str(round_up(p.q, context.get("block", 1)))}
        if p.parts is None:
            return self.text(template, p.tile, {0: p.acc}, warps=warps, **{**shared, **context})
        return self.in_parts(template, p, p.parts, warps, {**shared, **context})

    def in_parts(self, template: str, p: Product, parts: Parts, warps: int, context: dict[str, Any]) -> KernelText:
        """A product whose terms come in ranges, and the kernel that adds what is made of each."""
        kind, (m, n) = context["type"], self.k.out_shape
        tiles, sums = p.tile.count, self.partial(kind)
        which = ["part = t", "u = 0"] if tiles == 1 else [f"part = t // {tiles}", f"u = t % {tiles}"]
        ends = [f"begin = part * {parts.size}", f"stop = tl.minimum(begin + {parts.size}, {p.q})"]
        ok = p.tile.frame.ok(True, True)
        kept = f"{STORE}{sums} + part * {m * n} + r * {n} + c, {p.acc}{f', mask={ok}' if ok else ''})"
        head = [*which, *ends, *context["head"]]
        own = {**self.shared(p.tile), **context, "head": head, "begin": "begin", "stop": "stop", "end": [kept]}
        rest = self.parts_added(parts, kind, sums, p.acc)
        return replace(rest, before=(KernelText(template, tiles * parts.count, own, warps, what="sums"),))

    def parts_added(self, parts: Parts, kind: str, sums: str, acc: str) -> KernelText:
        """The sums of ranges of a product's terms, and what is made of them."""
        (m, n), (bm0, bn0) = self.k.out_shape, self.least()
        cols = tile(n, 128, bn0)
        made = self.tiled(tile(m, max(1, ADDED // cols), bm0), cols)
        return self.text("add_parts", made, {0: acc}, acc=acc, type=kind, parts=parts, sums_at=sums)

    def partial(self, kind: str) -> str:
        """The pointer to partial sums of a kind."""
        if kind not in self.partials:
            name = self.names.new("sums_at" if kind == "float32" else "whole_sums_at")
            self.partials[kind] = name, f"{name} = num.at(arena, {self.mem.workspace}, tl.{kind})  # partial sums"
        return self.partials[kind][0]

    def number(self, e: Expr, frame: Frame, ok: str = "") -> Operand:
        """An operand as a number, where a frame stands; ``ok``: the mask of its terms."""
        pr = self.printer(frame)
        code = pr.print([e])
        return Operand(e, code, pr.num(e), ok)

    def by_outer(self, p: Product, left: Operand, right: Operand, kind: str = "float32") -> KernelText:
        """One multiply and one add a term."""
        return self.summed("contract_outer", p, a=left, b=right, type=kind)

    def by_groups(self, p: Product, number: Operand, sign: Operand, rolled: bool = False) -> KernelText:
        """A float times a sign, four terms at a time.  ``rolled``: these four in a loop, for less text."""
        return self.summed("contract_grouped", p, x=number, s=sign, ragged=bool(number.ok), rolled=rolled)

    def by_dot(self, p: Product, left: Operand, right: Operand, block: int, warps: int, **context: Any) -> KernelText:
        """Whole numbers of 8 bits on tensor cores, ``block`` terms at a time."""
        values = [bare_int8(x.value, x.ok) for x in (left, right)]
        shared = {"block": block, "ragged": bool(left.ok or right.ok), "a": left, "b": right}
        shared |= {"values": values, "type": "int32"}
        return self.summed("contract_dot", p, warps, **{"inner": [], "offset": False, "there": "", **shared, **context})

    def by_split(self, p: Product, left: Operand, right: Operand) -> KernelText:
        """With a float, on f16 tensor cores."""
        values, floats = [], []
        for side, x in (("left", left), ("right", right)):
            value = f"tl.where({x.ok}, {bare(x.value)}, 0.0)" if x.ok else x.value
            small = x.expr.dtype in ("bit", "u8")  # whole numbers that f16 holds
            floats += [] if small else [side]
            values.append(f"({bare(value)}).to(tl.float16)" if small else value)
        return self.summed(
            "contract_split",
            p,
            warps=8 if p.tile.rows > 32 else 4,
            block=32,  # with 64 terms at once registers spill
            ragged=bool(left.ok or right.ok),
            a=left,
            b=right,
            values=values,
            floats=floats,
            type="float32",
        )
