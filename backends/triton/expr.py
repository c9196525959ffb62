"""Prints scalar expressions of the IR as Triton: tensors that broadcast.

In: expression trees, the storages they load from, and the index tensors of a skeleton.  Out: statements, sorted into
those before a loop (``pre``) and those in it (``body``), and a Triton expression for each tree.  A value that varies
along rows and columns is a tile, along one of them a tile of extent 1 on the other axis, else a scalar: Triton
broadcasts.

A :class:`Frame` says what a skeleton calls its row and its column, and which mask guards each against the matrix's
edge.
"""

from __future__ import annotations

import itertools
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from bnnc.ir.dtype import ceil_div
from bnnc.ir.image import geometry
from bnnc.ir.ref import Ref
from bnnc.ir.sequence import FROM_MEMORY, ROWS
from bnnc.plan.types import Storage
from bnnc.sched.expr import INFIX, Expr, bare

from .. import printing
from ..printing import Printed, Variables, Words, all_const, grouped, kind, plus
from ..render import identifiers

TYPES = {
    "u8": "uint8",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "f16": "float16",
    "f32": "float32",
    "bit": "uint32",
    "bool": "uint32",
}
OPERATORS = {op: f"({{}} {sign} {{}})" for op, sign in INFIX.items() if op != "div"}
WORDS = Words(
    real={
        **OPERATORS,
        "neg": "({} * -1.0)",  # Triton's own is 0 - x, which loses the sign of 0
        "sign": "({} >= 0.0)",
        "div": "tl.div_rn",
        "abs": "tl.abs",
        "sqrt": "tl.sqrt_rn",
        "exp": "num.exp",
        "log": "num.log",
        "powi": "num.powi",
        "round": "num.round",
        "exponent": "num.exponent",
    },
    whole={
        **OPERATORS,
        "neg": "({} * -1)",
        "sign": "({} >= 0)",
        "abs": "tl.abs",
        "shr": "({} >> {})",
        "pow2": "num.pow2",
    },
)
WHOLE = ".to(tl.int32)"
SMALLEST = float(np.float32(2.0**-126))


@cache
def reserved() -> frozenset[str]:
    """What a variable may not be called: what the language and the skeletons call theirs."""
    sides = tuple(f"{x}{y}" for x in ("left", "right") for y in ("", "_up", "_down", "_high", "_low"))
    own = [
        "float",
        "range",
        "arena",
        "strip",
        "num",
        "tl",
        "t",
        "r",
        "c",
        "i",
        "j",
        "u",
        "row",
        "row_ok",
        "col",
        "col_ok",
        "channel",
        "pick",
        "position",
        "part",
        "turn",
        "chunk",
    ]
    own += [f"{x}_at" for x in (*sides, "peak", "sums")]
    return frozenset((*keyword.kwlist, *own, *sides, *identifiers("triton/kernels", "#[^\n]*")))


def literal(x: float) -> str:
    """An f32 constant; Triton takes what is subnormal, or no number, for a double."""
    text = repr(float(str(np.float32(x))))
    if not np.isfinite(np.float32(x)):
        return f'num.const(float("{text}"))'
    return f"num.const({text})" if 0 < abs(x) < SMALLEST else text


@dataclass(frozen=True)
class Frame:
    """The index tensors and masks of a place in a skeleton; ``looped`` names the axes that a loop runs over.
    ``words``: rows and columns of a tile of whole words of 32 columns, and the text before the number of its first
    word; ``sixteens``: those of a tile of groups of 16 rows, and the text of its first row.
    """

    row: str = "r"
    col: str = "c"
    row_ok: str = ""
    col_ok: str = ""
    looped: str = ""
    words: tuple[int, int, str] | None = None
    sixteens: tuple[int, int, str] | None = None

    def ok(self, rows: bool, cols: bool) -> str:
        """The mask of a load that varies along these axes; empty where none is needed."""
        return " & ".join(m for m, wanted in ((self.row_ok, rows), (self.col_ok, cols)) if wanted and m)

    def within(self) -> Frame:
        """The last row, or column, in the place of those beyond the edge: of what is stored under a mask anyway."""
        row, col = (f"{i}_in" if ok else i for i, ok in ((self.row, self.row_ok), (self.col, self.col_ok)))
        return Frame(row, col, looped=self.looped)

    def turned(self) -> Frame:
        """With rows for columns."""
        looped = self.looped.translate({ord("r"): "c", ord("c"): "r"})
        return Frame(self.col, self.row, self.col_ok, self.row_ok, looped)


@dataclass(frozen=True)
class Index(printing.Index):
    """As a tensor's index."""

    words: ClassVar[str] = "({} >> 5)"


def shared(e: Expr) -> bool:
    """Does this sum up over several windows that a pixel is in?"""
    if e.op != "unwindow":
        return False
    g = geometry(dict(e.attr))
    return min(g.out_height, ceil_div(g.ky, g.stride)) * min(g.out_width, ceil_div(g.kx, g.stride)) > 1


class Printer(printing.Printer):
    """``frame``: where in a skeleton the text stands.  Level 1 is what changes with each turn of its loop."""

    words = WORDS
    language = "Triton"
    atoms = ("const", "acc", "col")
    division = "//"

    def __init__(
        self,
        frame: Frame,
        names: Variables,
        storages: Mapping[Ref, Storage],
        pointers: Mapping[Ref, str],
        accs: dict[int, str] | None = None,
    ) -> None:
        super().__init__(names, storages, pointers, accs)
        self.frame, self.deepest = frame, int(bool(frame.looped))
        self.adds = False  # whole numbers become floats by additions
        self.early: dict[str, str] | None = None  # by text: names of loads that may as well be made before a loop
        self.loads: dict[str, tuple[str, str, str]] = {}  # of numbers: from where, their mask, how they are converted

    # -- levels and statements ----------------------------------------------------------------------------------------
    def own_level(self, e: Expr) -> int:
        looped = self.frame.looped
        if e.op not in ("col", "load", "step", *FROM_MEMORY):
            return int(e.op == "acc")
        return int(("c" in looped and e.shape[1] > 1) or ("r" in looped and e.shape[0] > 1))

    def statements(self, level: int) -> list[str]:
        return self.out.body if level or not self.frame.looped else self.out.pre

    def variable(self, name: str, e: Expr, text: str) -> str:
        return f"{name} = {text}"

    def line(self, e: Expr, name: str, text: str) -> str:
        name = self.names.of(name)
        (self.out.pre if self.frame.looped == "c" else self.out.body).append(f"{name} = {text}")
        return name

    def shown(self, e: Expr) -> tuple[Expr, ...]:
        return () if e.op in ROWS else e.args[1:] if e.op == "take" else e.args

    def row(self, e: Expr) -> str:
        return self.frame.row if e.shape[0] > 1 else "0"

    def col(self, e: Expr) -> str:
        return self.frame.col if e.shape[1] > 1 else "0"

    def choose(self, condition: str, a: str, b: str) -> str:
        return f"tl.where({condition}, {a}, {b})"

    # -- what a node is as a number -----------------------------------------------------------------------------------
    def num(self, e: Expr) -> str:
        t = self.text[e]
        if kind(e) == "m":
            return f"tl.where({bare(t)}, 1.0, {'-1.0' if e.dtype == 'bit' else '0.0'})"
        if kind(e) == "f":
            return t
        if self.adds and e.op == "load" and self.storages[e.attr].dtype == "i16":
            return f"num.small({bare(t.removesuffix(WHOLE))})"
        return literal(float(e.attr)) if e.op == "const" else f"{t if simple(t) else f'({bare(t)})'}.to(tl.float32)"

    def whole(self, e: Expr) -> str:
        t = self.text[e]
        return f"tl.where({bare(t)}, 1, {'-1' if e.dtype == 'bit' else '0'})" if kind(e) == "m" else t

    def operands(self, e: Expr, whole: bool, call: bool) -> list[str]:
        """Where all are constants the first is made a tensor, so that f32 arithmetic is done."""
        args = super().operands(e, whole, call)
        if not whole and all(all_const(a) for a in e.args) and not args[0].startswith("num."):
            args[0] = f"num.const({args[0]})"
        return args

    # -- ops ----------------------------------------------------------------------------------------------------------
    def op_const(self, e: Expr) -> str:
        return literal(e.attr) if e.dtype == "f32" else f"({e.attr})" if e.attr < 0 else str(e.attr)

    def op_col(self, e: Expr) -> str:
        return self.col(e)

    def op_load(self, e: Expr) -> str:
        return self.load(e.attr)

    def op_step(self, e: Expr) -> str:
        return f"({self.row(e)} % {e.attr})"

    def op_max(self, e: Expr, sign: str = ">") -> str:
        a, b = self.operands(e, self.on_whole(e), False)
        return f"tl.where({a} {sign} {b}, {bare(a)}, {bare(b)})"

    def op_min(self, e: Expr) -> str:
        return self.op_max(e, "<")

    def op_select(self, e: Expr) -> str:
        """Of what the row's window chose and 0, only what it chose is loaded."""
        condition, x, other = e.args
        chosen = condition.op == "hit" and kind(x) == kind(e) and (other.op, other.attr) == ("const", 0)
        if chosen and self.text[x] in self.loads:
            at, ok, as_number = self.loads[self.text[x]]
            return self.read("", at, " & ".join(m for m in (self.text[condition], ok) if m)) + as_number
        number = self.whole if kind(e) == "i" else self.num
        return f"tl.where({', '.join(bare(x) for x in (self.text[e.args[0]], *map(number, e.args[1:])))})"

    def op_cast(self, e: Expr) -> str:
        if kind(e) == "i":
            return self.whole(e.args[0])
        x = self.num(e.args[0])
        return f"({bare(x)}).to(tl.float16).to(tl.float32)" if dict(e.attr)["dtype"] == "f16" else x

    def op_rate(self, e: Expr) -> str:
        a, b = (self.whole(x) for x in e.args)
        return f"num.rate({dict(e.attr)['scale']}, {bare(a)}, {bare(b)})"

    def op_take(self, e: Expr) -> str:
        table, index = e.args
        at = f"{self.whole(index)} * {self.storages[table.attr].stride} + ({self.col(e)} >> 5)"
        words = self.read(self.pointers[table.attr], at, self.frame.ok(True, e.shape[1] > 1))
        return f"num.bit({words}, {self.col(e)})"

    def op_bernoulli(self, e: Expr) -> str:
        attrs, row, col = dict(e.attr), self.row(e), self.col(e)
        p, seed, tick = (self.whole(a) if a.op != "const" else f"tl.full([], {a.attr}, tl.int32)" for a in e.args)
        words, given = -(-attrs["cols"] // 32), f"{p}, {seed}, {attrs['stream']}, {tick}"
        if self.frame.words and col != "0":  # a tile of whole words: each is drawn once
            bm, bn, start = self.frame.words
            drawn = f"num.bernoulli({given}, {row} * {words} + {start}tl.arange(0, {bn // 32})[None, :])"
            return f"num.bit(num.spread({drawn}, {bm}, {bn}), {col})"
        return f"num.bit(num.bernoulli({given}, {row} * {words} + ({col} >> 5)), {col})"

    def op_noise(self, e: Expr) -> str:
        (seed, tick), (row, col) = (self.whole(a) for a in e.args), self.in_matrix(e, "strip")
        given = f"{seed}, {dict(e.attr)['stream']}, {tick}"
        if self.frame.sixteens and row == self.frame.row:  # a draw serves 16 rows
            bm, bn, start = self.frame.sixteens
            return f"num.noise_rows({given}, {start or '0'}, {col}, {bm}, {bn})"
        return f"num.noise({given}, {bare(row)}, {col})"

    def op_dither(self, e: Expr) -> str:
        row, col = self.in_matrix(e, "strip")
        return f"num.dither({self.whole(e.args[0])}, {bare(row)}, {col})"

    # -- other rows ---------------------------------------------------------------------------------------------------
    def other(self, x: Expr, row: str, tall: bool = True) -> str:
        return self.load(x.attr, grouped(row), tall)

    def op_split(self, e: Expr) -> str:
        (x,), attrs, r = e.args, dict(e.attr), self.row(e)
        steps = attrs["steps"]
        row, col = f"({r} // {steps})", f"({r} % {steps} * {x.shape[1] // steps} + {attrs['first']} + {self.col(e)})"
        return self.element(x.attr, row, col, self.frame.ok(e.shape[0] > 1, e.shape[1] > 1))

    def op_join(self, e: Expr) -> str:
        (x,), c = e.args, self.col(e)
        row = f"({self.row(e)} * {dict(e.attr)['steps']} + {c} // {x.shape[1]})"
        return self.element(x.attr, row, f"({c} % {x.shape[1]})", self.frame.ok(e.shape[0] > 1, e.shape[1] > 1))

    def op_turn(self, e: Expr) -> str:
        (x,), r, c = e.args, self.row(e), self.col(e)
        row = f"({r} // {x.shape[1]} * {e.shape[1]} + {c})"
        return self.element(x.attr, row, f"({r} % {x.shape[1]})", self.frame.ok(e.shape[0] > 1, e.shape[1] > 1))

    def op_previous(self, e: Expr) -> str:
        (x,), r = e.args, self.row(e)
        before = self.load(x.attr, f"tl.where({r} > 0, {r} - 1, 0)" if r != "0" else "0", r != "0")
        return f"(({r} % {dict(e.attr)['steps']} == 0) | {before})"

    def op_hit(self, e: Expr) -> str:
        """Is the row's pixel the one that its window chose?"""
        g = geometry(dict(e.attr))
        at, dy, dx = self.window(e, g)
        place = self.line(e, "place", f"({dy}) * {g.kx} + {dx}")
        return self.chosen([f"({dy} < {g.ky})", f"({dx} < {g.kx})"], place, e.args, at, "")

    def chosen(self, conditions: list[str], place: str, route: tuple[Expr, ...], at: str, ok: str) -> str:
        """Do all conditions hold, and is ``place`` the one that window ``at`` has in its planes of bits?"""
        planes = [f"({self.load(x.attr, at, also=ok)} == (({place} >> {p} & 1) != 0))" for p, x in enumerate(route)]
        return f"({' & '.join(conditions + planes)})"

    def met(self, e: Expr, hint: str, at: str, sizes: tuple[int, int, int]) -> list[tuple[str, str, str]]:
        """Along an axis, in order, windows that a pixel ``at`` may be in (all there are, where those are few), where in
        them, and if.  ``sizes``: of a window, from one to the next, how many.
        """
        k, stride, count = sizes
        if count <= (most := ceil_div(k, stride)):
            return [
                (str(o), f"{at} - {o * stride}", f"({at} >= {o * stride}) & ({at} < {o * stride + k})")
                for o in range(count)
            ]
        lines = [self.line(e, hint, f"{at} // {stride} - {back}") for back in range(most - 1, -1, -1)]
        return [
            (o, f"{at} - {o} * {stride}", f"({o} >= 0) & ({o} < {count}) & ({at} - {o} * {stride} < {k})")
            for o in lines
        ]

    def op_unwindow(self, e: Expr) -> str:
        """The gradients of the windows that the row's pixel is in, in their order."""
        source, *route = e.args
        g, text = geometry(dict(e.attr)), "0.0"
        py, px = self.pixel(e, g)
        down = self.met(e, "oy", py, (g.ky, g.stride, g.out_height))
        along = self.met(e, "ox", px, (g.kx, g.stride, g.out_width))
        for (oy, dy, in_y), (ox, dx, in_x) in itertools.product(down, along):
            meets = self.line(e, "meets", f"{in_y} & {in_x}")
            at = self.window_row(e, g, oy, ox)
            place = self.line(e, "place", f"({dy}) * {g.kx} + {dx}") if route else ""
            chosen = self.chosen([meets], place, tuple(route), at, meets)
            text = f"({text} + tl.where({bare(chosen)}, {self.load(source.attr, at, also=meets)}, 0.0))"
        return text

    # -- memory -------------------------------------------------------------------------------------------------------
    def read(self, pointer: str, index: str, ok: str) -> str:
        """A load through a pointer; 0 where the mask ``ok``, if there is one, does not hold."""
        at = plus(pointer, index)
        text = f"tl.load({at}, mask={ok}, other=0)" if ok else f"tl.load({at})"
        names = set(re.findall(r"[a-z]\w*", f"{index} {ok}"))
        if self.early is None or not names <= {"r", "c", "rows_ok", "cols_ok"}:
            return text
        if text not in self.early:
            self.early[text] = self.names.new(f"{pointer.removesuffix('_at')}_in")
        return self.early[text]

    def load(self, name: Ref, row: str = "", masked: bool = True, also: str = "") -> str:
        """An element (or tile) of a storage.  ``row``: another row than the frame's; ``masked``: whether it varies
        along the frame's; ``also``: one more mask, where the row may not exist.
        """
        f, (rows, cols) = self.frame, self.storages[name].shape
        ok = f.ok(rows > 1 and masked, cols > 1)
        return self.element(name, row or f.row, f.col, " & ".join(x for x in (ok, also if rows > 1 else "") if x))

    def element(self, name: Ref, row: str, col: str, ok: str) -> str:
        """What a storage holds in a row and a column, where ``ok`` holds: a mask, an int32 or an f32."""
        s, p = self.storages[name], self.pointers[name]
        at, bit = s.at(Index(row if s.shape[0] > 1 else ""), Index(col if s.shape[1] > 1 else ""))
        x = self.read(p, at.text, ok)
        if s.one_bit:
            return f"num.bit({x}, {bit})"
        as_number = {"f32": "", "i32": "", "f16": ".to(tl.float32)"}.get(s.dtype, WHOLE)
        self.loads[x + as_number] = plus(p, at.text), ok, as_number
        return x + as_number


@dataclass(frozen=True)
class Load:
    """What a ``name`` stands for in a turn of a loop; ``text`` says so in the loop's variable ``turn``."""

    name: str
    text: str
    turn: str

    def at(self, turn: str | int) -> str:
        """In another turn."""
        return re.sub(rf"\b{self.turn}\b", str(turn), self.text)


class Ahead(Printer):
    """What changes with each turn of a loop over ``turn`` is loaded elsewhere: ``turns`` says by which names.  For
    expressions that read no other rows than their own.
    """

    turn: str

    def print(self, exprs: list[Expr], named: tuple[Expr, ...] = ()) -> Printed:
        self.turns: dict[str, Load] = {}
        return super().print(exprs, named)

    def read(self, pointer: str, index: str, ok: str) -> str:
        text = super().read(pointer, index, ok)
        if self.turn not in re.findall(r"\w+", index):
            return text
        if text not in self.turns:
            self.turns[text] = Load(self.names.new(f"{pointer.removesuffix('_at')}_in"), text, self.turn)
        return self.turns[text].name


def simple(text: str) -> bool:
    """A name, a call or an index: needs no parentheses before a dot."""
    name, opened, rest = text.partition("(")
    call = "(" + rest
    return name.replace("_", "a").replace(".", "a").isalnum() and (not opened or bare(call) != call)
