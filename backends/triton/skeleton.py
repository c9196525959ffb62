"""What all skeletons of Triton kernels share: where values lie, names, tiles, the stores of a tile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from bnnc.diag import error
from bnnc.ir.dtype import Packing, ceil_div
from bnnc.plan.types import Storage
from bnnc.sched.anchor import Contract, Convolve
from bnnc.sched.expr import Expr, bare
from bnnc.sched.kernel import Kernel

from .. import printing
from ..printing import Pointers, Printed, Variables
from .expr import TYPES, Frame, Index, Printer, ident, reserved

LARGE = 1 << 28  # terms of a product: beyond, its arithmetic takes longer than its launch
TENSOR_TILE = (128, 64)  # of a product on tensor cores


@dataclass(frozen=True)
class Memory(printing.Memory):
    """``constants`` and ``offsets``: at which byte of the device's memory they are.  ``exact``: sums keep the
    interpreter's order.
    """

    constants: Mapping[str, int] = field(default_factory=dict)
    offsets: Mapping[str, int] = field(default_factory=dict)
    exact: bool = True

    def at(self, name: str) -> int:
        return self.constants[name] if name in self.constants else self.offsets[self.place(name)]


@dataclass(frozen=True)
class KernelText:
    """What a skeleton renders, in how many tiles, by how many warps each."""

    template: str
    tiles: int
    context: dict[str, Any] = field(default_factory=dict)
    warps: int = 4


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
    """One kernel's pointers, names and tiles; subclasses choose the loops."""

    def __init__(self, k: Kernel, mem: Memory) -> None:
        self.mem = mem
        self.sums: list[dict[str, str]] = []  # of rows, of what :meth:`outputs` printed last
        super().__init__(k, mem, Variables(reserved(), reserved()))

    def pointer_name(self, place: str) -> str:
        return ident(place)

    def declaration(self, name: str, place: str, pointer: str) -> str:
        s, step = self.mem.storages[name], self.mem.pace(self.k, name)
        if s.stored_rows * s.stride > 2**31 - 1:
            raise error(
                "B0702",
                f"`{place}` has more elements than a kernel can count",
                self.k.where.span,
                help="use a smaller batch",
            )
        moved = f" + strip * {step}" if step else ""
        return f"{pointer} = (arena + {self.mem.at(name)}).to(tl.pointer_type(tl.{TYPES[s.dtype]})){moved}  # {s}"

    def printer(self, frame: Frame, accs: dict[int, str] | None = None) -> Printer:
        return Printer(frame, self.names, self.mem.storages, self.pointers, accs)

    def stored(self) -> list[Storage]:
        return [self.mem.storages[o.value] for o in self.k.outputs if not o.row_sum]

    def least(self) -> tuple[int, int]:
        """The smallest tile that makes whole words of all one-bit outputs."""
        bits = [s for s in self.stored() if s.one_bit]
        return (
            32 if any(s.packing is Packing.ROWS and s.shape[0] > 1 for s in bits) else 1,
            32 if any(s.packing is not Packing.ROWS and s.shape[1] > 1 for s in bits) else 1,
        )

    def grid(self, bm: int, bn: int) -> tuple[dict[str, Any], Frame, int]:
        """Tiles of the output: statements that make ``r`` and ``c``, the frame that names them, and how many there
        are.
        """
        rows, cols = self.k.out_shape
        tm, tn = ceil_div(rows, bm), ceil_div(cols, bn)
        at_row, at_col = ("t" if tn == 1 else f"t // {tn}", "t" if tm == 1 else f"t % {tn}")
        head = [
            f"r = {f'{at_row} * {bm} + ' if tm > 1 else ''}tl.arange(0, {bm})[:, None]",
            f"c = {f'{at_col} * {bn} + ' if tn > 1 else ''}tl.arange(0, {bn})[None, :]",
        ]
        frame = Frame(row_ok="rows_ok" if rows % bm else "", col_ok="cols_ok" if cols % bn else "")
        head += [f"rows_ok = r < {rows}"] if frame.row_ok else []
        head += [f"cols_ok = c < {cols}"] if frame.col_ok else []
        return {"head": head, "bm": bm, "bn": bn, "rows": rows, "cols": cols}, frame, tm * tn

    # -- stores -------------------------------------------------------------------------------------------------------
    def outputs(self, frame: Frame, bm: int, bn: int, accs: dict[int, str]) -> tuple[Printed, list[str]]:
        """The epilogue of a tile: statements, and the stores."""
        outs = self.finished()
        start = self.origins[1].removesuffix(" + ")
        words = (bm, bn, f"({start}) // 32 + " if start else "") if bn % 32 == 0 else None
        pr = self.printer(replace(frame, words=words), accs)
        bits = tuple(o.expr for o in outs if o.expr.dtype in ("bit", "bool"))
        printed = pr.print([o.expr for o in outs], bits)
        stores = [line for o in outs if not o.row_sum for line in self.store(o.value, o.expr, pr, frame, bm, bn)]
        self.sums = [
            {"name": self.names.new("sum"), "value": pr.whole(o.expr), "pointer": self.pointers[o.value]}
            for o in outs
            if o.row_sum
        ]
        return printed, stores

    def store(self, value: str, e: Expr, pr: Printer, frame: Frame, bm: int, bn: int) -> list[str]:
        """The statements that store a tile of a result."""
        s = self.mem.storages[value]
        tall, wide = s.shape[0] > 1 or bm > 1, s.shape[1] > 1 or bn > 1
        row, col, ok = frame.row if tall else "", frame.col if wide else "", frame.ok(tall, wide)
        if not s.one_bit:
            return self.put(value, row, col, pr.num(e) if s.dtype in ("f32", "f16") else pr.whole(e), ok)
        mask = pr.text[e] if not ok else f"{pr.text[e]} & {ok}"
        if row if s.packing is Packing.ROWS else col:
            return self.store_words(value, mask, frame, (row, col), (bm, bn))
        return self.put(value, row, col, f"({mask}).to(tl.uint32)", ok)  # one bit a word

    def put(self, value: str, row: str, col: str, x: str, ok: str) -> list[str]:
        """One number, or one word, for each (row, col)."""
        at = self.mem.storages[value].at(Index(row), Index(col))[0].text or "tl.full((1, 1), 0, tl.int32)"
        return [f"tl.store({self.pointers[value]} + {at}, {x}{f', mask={ok}' if ok else ''})"]

    def store_words(self, value: str, mask: str, frame: Frame, at: tuple[str, str], tile: tuple[int, int]) -> list[str]:
        """One word for 32 rows or columns: the first of them says where."""
        s, (row, col), (bm, bn) = self.mem.storages[value], at, tile
        by_rows = s.packing is Packing.ROWS
        word, first = self.names.new("word"), self.names.new("first")
        packed = f"num.{'pack_rows' if by_rows else 'pack_cols'}({mask}, {bm if row else 1}, {bn if col else 1})"
        count, axis = (bm // 32, "[:, None]") if by_rows else (bn // 32, "[None, :]")
        lines = [
            f"{word} = {packed}",
            f"{first} = {self.origin(frame, by_rows)}tl.arange(0, {count}){axis} * 32",
        ]
        guards = [f"({first} < {self.k.out_shape[0 if by_rows else 1]})"] if frame.ok(by_rows, not by_rows) else []
        guards.append(frame.ok(not by_rows and bool(row), by_rows and bool(col)))
        ok = " & ".join(x for x in guards if x)
        return lines + self.put(value, first if by_rows else row, col if by_rows else first, word, ok)

    def origin(self, frame: Frame, by_rows: bool) -> str:
        return self.origins[0 if by_rows else 1]

    origins: tuple[str, str] = ("", "")

    def tiled(self, bm: int, bn: int) -> tuple[dict[str, Any], Frame, int]:
        """As :meth:`grid`, and remembers where a tile starts."""
        context, frame, tiles = self.grid(bm, bn)
        starts = [line.split(" = ")[1].partition("tl.arange")[0] for line in context["head"][:2]]
        self.origins = (starts[0], starts[1])
        return context, frame, tiles

    # -- products -----------------------------------------------------------------------------------------------------
    @property
    def large(self) -> bool:
        """Is this a product for tensor cores?"""
        if self.mem.exact or (isinstance(self.k.anchor, Convolve) and self.k.anchor.groups > 1):
            return False
        least = 16 if isinstance(self.k.anchor, Convolve) else 64
        return terms(self.k) * self.mem.parts.get(self.k.name, 1) >= LARGE and min(extents(self.k)) >= least

    def product(self, q: int, most: tuple[int, int], least: int = 1) -> tuple[dict[str, Any], Frame, int]:
        """Tiles of a product of ``q`` terms."""
        (m, n), (bm0, bn0) = self.k.out_shape, self.least()
        context, frame, tiles = self.tiled(tile(m, most[0], max(least, bm0)), tile(n, most[1], max(least, bn0)))
        return (
            {
                **context,
                "q": q,
                "acc": self.names.new("y"),
                "positions": 0,
                "walk": [],
                "type": "float32",
                "rolled": False,
            },
            frame,
            tiles,
        )

    def split(
        self, context: dict[str, Any], frame: Frame, tiles: int, *operands: tuple[Expr, str, Printed, str]
    ) -> KernelText:
        """A product with a float on f16 tensor cores.  ``operands``: each with its value, its statements and the mask
        of its terms.
        """
        values, floats = [], []
        for side, (e, value, _, ok) in zip(("left", "right"), operands, strict=True):
            value = f"tl.where({ok}, {bare(value)}, 0.0)" if ok else value
            small = e.dtype in ("bit", "u8")  # whole numbers that f16 holds
            floats += [] if small else [side]
            values.append(f"({bare(value)}).to(tl.float16)" if small else value)
        block = 32  # with 64 terms at once registers spill
        return KernelText(
            "contract_split",
            tiles,
            self.epilogue(
                {
                    **context,
                    "block": block,
                    "ragged": any(o[3] for o in operands),
                    "a_code": operands[0][2],
                    "b_code": operands[1][2],
                    "a_value": values[0],
                    "b_value": values[1],
                    "floats": floats,
                },
                frame,
            ),
            warps=8 if context["bm"] > 32 else 4,
        )

    def epilogue(self, context: dict[str, Any], frame: Frame) -> dict[str, Any]:
        code, stores = self.outputs(frame, context["bm"], context["bn"], {0: context["acc"]})
        return {**context, "code": code, "stores": stores, "sums": self.sums}
