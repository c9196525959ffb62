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
from dataclasses import dataclass, field

import numpy as np

from bnnc.diag import InternalError
from bnnc.ir.image import Geometry, geometry
from bnnc.ir.sequence import FROM_MEMORY, ROWS
from bnnc.plan.types import Storage, ceil_div
from bnnc.sched.expr import INFIX, Expr, bare

from ..printing import LONG, Names, all_const, kind

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
CALLS = {"sqrt": "tl.sqrt_rn", "exp": "num.exp", "log": "num.log", "powi": "num.powi"}
RESERVED = (
    "arena",
    "t",
    "r",
    "c",
    "q",
    "p",
    "k",
    "d",
    "i",
    "x",
    "s",
    "num",
    "tl",
    "rows_ok",
    "cols_ok",
    "q_ok",
    "p_ok",
    "other_ok",
    "first",
    "second",
    "total",
    "differ",
    "row",
    "col",
    "open",
    "size",
    "value",
    "other",
    "rival",
    "c0",
    "pick",
    "at",
    "at_ok",
    "step",
    "state",
    "init",
    "position",
    "channel",
    "w",
    "now",
    "more",
    "seen",
    "have",
    *(f"{x}{y}" for x in ("left", "right") for y in ("", "_up", "_down", "_high", "_low")),
)  # of skeletons
SMALLEST = float(np.float32(2.0**-126))


def ident(name: str) -> str:
    """A value name as an identifier: ``eval:dense1.wb@0`` -> ``dense1_wb_t``, ``conv1.y~3`` (made again) ->
    ``conv1_y_again3``.
    """
    return name.split(":")[-1].replace("~", "_again").replace("@0", "_t").replace("@2", "_w").replace(".", "_")


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
    word.
    """

    row: str = "r"
    col: str = "c"
    row_ok: str = ""
    col_ok: str = ""
    looped: str = ""
    words: tuple[int, int, str] | None = None

    def ok(self, rows: bool, cols: bool) -> str:
        """The mask of a load that varies along these axes; empty where none is needed."""
        return " & ".join(m for m, wanted in ((self.row_ok, rows), (self.col_ok, cols)) if wanted and m)


@dataclass
class Printed:
    """Statements by level, and one expression per tree."""

    pre: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        return self.pre + self.body


def shared(e: Expr) -> bool:
    """Does this sum up over several windows that a pixel is in?"""
    if e.op != "unwindow":
        return False
    g = geometry(dict(e.attr))
    return min(g.out_height, ceil_div(g.ky, g.stride)) * min(g.out_width, ceil_div(g.kx, g.stride)) > 1


def shown(e: Expr) -> tuple[Expr, ...]:
    """The nodes whose values a node's text holds; some ops read their operands elsewhere."""
    return () if e.op in ROWS else e.args[1:] if e.op == "take" else e.args


class Printer:
    """``storages`` and ``pointers`` by value name; ``accs``: the variables of a skeleton's accumulators."""

    def __init__(
        self,
        frame: Frame,
        names: Names,
        storages: dict[str, Storage],
        pointers: dict[str, str],
        accs: dict[int, str] | None = None,
    ) -> None:
        self.frame, self.names, self.storages, self.pointers, self.accs = frame, names, storages, pointers, accs or {}

    def print(self, exprs: list[Expr], named: tuple[Expr, ...] = ()) -> Printed:
        """``named``: trees whose text is used more than once, so they get a variable."""
        self.out = Printed()
        self.windows: dict[Geometry, tuple[str, str, str]] = {}  # the window that row r is in, and where in it
        self.roots = set(exprs)
        self.text: dict[Expr, str] = {}
        self.level: dict[Expr, int] = {}
        self.uses: dict[Expr, int] = {}
        hoisted: set[Expr] = set()
        order = list(dict.fromkeys(e for root in exprs for e in root.walk()))
        for e in order:
            self.level[e] = max([self._own_level(e), *(self.level[a] for a in e.args)])
            hoisted |= {a for a in shown(e) if self.level[a] < self.level[e]}
            for a in shown(e):
                self.uses[a] = self.uses.get(a, 0) + 1
        for e in exprs:
            self.uses[e] = self.uses.get(e, 0) + 1 + (e in named)
        for e in order:
            self.text[e] = self._place(e, e in hoisted or (self.level[e] == 0 and bool(self.frame.looped)))
        self.out.results = [self.text[e] for e in exprs]
        return self.out

    def _own_level(self, e: Expr) -> int:
        """1 for what changes with each turn of the loop."""
        if e.op == "acc":
            return 1
        reads = e.op in ("col", "load", "step", *FROM_MEMORY)
        return int(
            reads and (("c" in self.frame.looped and e.shape[1] > 1) or ("r" in self.frame.looped and e.shape[0] > 1))
        )

    def _place(self, e: Expr, hoist: bool) -> str:
        """Inline what is used once where it is; name the rest."""
        text = self._node(e)
        long = len(text) > LONG and e not in self.roots
        uses = self.uses.get(e, 0)
        if e.op in ("const", "acc", "col") or not uses or not (hoist or long or uses > 1):
            return text
        name = self.names.new(self._hint(e))
        (self.out.body if self.level[e] or not self.frame.looped else self.out.pre).append(f"{name} = {bare(text)}")
        return name

    def _hint(self, e: Expr) -> str:
        if e.op == "load":
            parts = e.attr.partition("@")[0].partition("~")[0].split(":")[-1].split(".")
            return "_".join(parts[1:] or parts) + "_"
        return {"sign": "s", "le": "m", "ge": "m", "gt": "m", "eq": "m"}.get(e.op, "x")

    # -- what a node is as a number -----------------------------------------------------------------------------------
    def num(self, e: Expr) -> str:
        """As f32: masks become +-1 or 0/1, integers are converted."""
        t = self.text[e]
        if kind(e) == "m":
            return f"tl.where({bare(t)}, 1.0, {'-1.0' if e.dtype == 'bit' else '0.0'})"
        if kind(e) == "i":
            return (
                literal(float(e.attr))
                if e.op == "const"
                else f"{t}.to(tl.float32)"
                if simple(t)
                else f"({bare(t)}).to(tl.float32)"
            )
        return t

    def whole(self, e: Expr) -> str:
        """As int32."""
        t = self.text[e]
        return f"tl.where({bare(t)}, 1, {'-1' if e.dtype == 'bit' else '0'})" if kind(e) == "m" else t

    def _operands(self, e: Expr, ints: bool) -> list[str]:
        """Arguments of an operation; where all are constants the first is made a tensor, so that f32 arithmetic is
        done.
        """
        args = [self.whole(a) if ints else self.num(a) for a in e.args]
        if not ints and all(all_const(a) for a in e.args) and not args[0].startswith("num."):
            args[0] = f"num.const({args[0]})"
        return args

    def _node(self, e: Expr) -> str:
        op, f = e.op, self.frame
        if op == "const":
            return literal(e.attr) if e.dtype == "f32" else f"({e.attr})" if e.attr < 0 else str(e.attr)
        if op == "col":
            return f.col if e.shape[1] > 1 else "0"
        if op == "acc":
            return self.accs[e.attr]
        if op == "load":
            return self.load(e.attr)
        if op == "step":
            return f"({f.row if e.shape[0] > 1 else '0'} % {e.attr})"
        if op in ROWS:
            return self._other_row(e)
        if op == "take":
            table, index = e.args
            s = self.storages[table.attr]
            col = f.col if e.shape[1] > 1 else "0"
            words = self._read(
                self.pointers[table.attr],
                f"{self.whole(index)} * {s.stride} + ({col} >> 5)",
                f.ok(True, e.shape[1] > 1),
            )
            return f"num.bit({words}, {col})"
        if op == "bernoulli":
            return self._bernoulli(e)
        if op == "lookup":
            return self._lookup(dict(e.attr)["values"], self.whole(e.args[0]))
        if op == "rate":
            a, b = (self.whole(x) for x in e.args)
            return f"num.rate({dict(e.attr)['scale']}, {bare(a)}, {bare(b)})"
        if op == "and":
            return f"({self.text[e.args[0]]} & {self.text[e.args[1]]})"
        if op == "copy":
            return self.text[e.args[0]]
        if op == "cast":
            return self._cast(e)
        if op == "select":
            ints = kind(e) == "i"
            a, b = (self.whole(x) if ints else self.num(x) for x in e.args[1:])
            return f"tl.where({bare(self.text[e.args[0]])}, {bare(a)}, {bare(b)})"
        ints = all(kind(a) == "i" or a.dtype == "bit" for a in e.args) and op != "div"
        args = self._operands(e, ints)
        if op == "div":
            return f"tl.div_rn({bare(args[0])}, {bare(args[1])})"
        if op in INFIX:
            return f"({args[0]} {INFIX[op]} {args[1]})"
        if op in ("max", "min"):
            a, b = (bare(x) for x in args)
            return f"tl.where({args[0]} {'>' if op == 'max' else '<'} {args[1]}, {a}, {b})"
        if op == "neg":
            return f"({args[0]} * {'-1' if ints else '-1.0'})"  # Triton's own is 0 - x, which loses the sign of 0
        if op == "abs":
            return f"tl.abs({bare(args[0])})"
        if op == "sign":
            return f"({args[0]} >= {'0' if ints else '0.0'})"
        if op in CALLS:
            return f"{CALLS[op]}({', '.join(bare(x) for x in args)})"
        raise InternalError(f"the Triton backend cannot print `{op}`")

    def _cast(self, e: Expr) -> str:
        if kind(e) == "i":
            return self.whole(e.args[0])
        x = self.num(e.args[0])
        return f"({bare(x)}).to(tl.float16).to(tl.float32)" if dict(e.attr)["dtype"] == "f16" else x

    def _lookup(self, values: tuple[int, ...], index: str) -> str:
        text = str(values[-1])
        for i in range(len(values) - 2, -1, -1):
            text = f"tl.where({index} <= {i}, {values[i]}, {text})"
        return text

    def _bernoulli(self, e: Expr) -> str:
        attrs, f = dict(e.attr), self.frame
        p, seed, tick = (self.whole(a) if a.op != "const" else f"tl.full([], {a.attr}, tl.int32)" for a in e.args)
        row, col = (f.row if e.shape[0] > 1 else "0"), (f.col if e.shape[1] > 1 else "0")
        words, given = -(-attrs["cols"] // 32), f"{p}, {seed}, {attrs['stream']}, {tick}"
        if f.words and col != "0":  # a tile of whole words: each is drawn once
            bm, bn, start = f.words
            drawn = f"num.bernoulli({given}, {row} * {words} + {start}tl.arange(0, {bn // 32})[None, :])"
            return f"num.bit(num.spread({drawn}, {bm}, {bn}), {col})"
        return f"num.bit(num.bernoulli({given}, {row} * {words} + ({col} >> 5)), {col})"

    # -- memory -------------------------------------------------------------------------------------------------------
    def _read(self, pointer: str, index: str, ok: str) -> str:
        at = f"{pointer} + {index}" if index else pointer
        return f"tl.load({at}, mask={ok}, other=0)" if ok else f"tl.load({at})"

    def _other_row(self, e: Expr) -> str:
        """A load from the row that the op chooses."""
        if e.op == "unwindow":
            return self._unwindow(e)
        if e.op in ("spread", "hit"):
            return self._window(e)
        (x,), attrs, f = e.args, dict(e.attr), self.frame
        tall, steps = e.shape[0] > 1, attrs["steps"]
        r, c = f.row if tall else "0", f.col if e.shape[1] > 1 else "0"
        if e.op in ("split", "join"):
            n = x.shape[1] // steps if e.op == "split" else x.shape[1]
            row, col = (
                (f"({r} // {steps})", f"({r} % {steps} * {n} + {attrs['first']} + {c})")
                if e.op == "split"
                else (f"({r} * {steps} + {c} // {n})", f"({c} % {n})")
            )
            return self.element(x.attr, row, col, f.ok(tall, e.shape[1] > 1))
        if e.op == "previous":
            return (
                f"(({r} % {steps} == 0) | {self.load(x.attr, f'tl.where({r} > 0, {r} - 1, 0)' if tall else '0', tall)})"
            )
        return self.load(x.attr, f"({r} * {steps} + {steps - 1})" if e.op == "last" else f"({r} // {steps})", tall)

    def _line(self, hint: str, text: str) -> str:
        """A variable that depends on the row."""
        name = self.names.new(hint)
        (self.out.pre if self.frame.looped == "c" else self.out.body).append(f"{name} = {text}")
        return name

    def _pixel(self, g: Geometry) -> tuple[str, str]:
        """Where pixel ``r`` lies in its padded image."""
        r = self.frame.row
        return self._line("py", f"{r} // {g.width} % {g.height} + {g.top}"), self._line(
            "px", f"{r} % {g.width} + {g.left}"
        )

    def _window(self, e: Expr) -> str:
        """``spread``: a load from the row of the window that pixel ``r`` is in; ``hit``: is the pixel that window's?"""
        g = geometry(dict(e.attr))
        if g not in self.windows:
            py, px = self._pixel(g)
            oy, ox = (
                self._line(o, f"tl.where({p} // {g.stride} < {n}, {p} // {g.stride}, {n - 1})")
                for o, p, n in (("oy", py, g.out_height), ("ox", px, g.out_width))
            )
            at = self._line(
                "window", f"({self.frame.row} // {g.pixels} * {g.out_height} + {oy}) * {g.out_width} + {ox}"
            )
            self.windows[g] = at, f"({py} - {oy} * {g.stride})", f"({px} - {ox} * {g.stride})"
        at, dy, dx = self.windows[g]
        if e.op == "spread":
            return self.load(e.args[0].attr, at)
        place = self._line("place", f"{dy} * {g.kx} + {dx}")
        return self._chosen([f"({dy} < {g.ky})", f"({dx} < {g.kx})"], place, e.args, at, "")

    def _chosen(self, conditions: list[str], place: str, route: tuple[Expr, ...], at: str, ok: str) -> str:
        """Do all conditions hold, and is ``place`` the one that window ``at`` has in its planes of bits?"""
        planes = [f"({self.load(x.attr, at, also=ok)} == (({place} >> {p} & 1) != 0))" for p, x in enumerate(route)]
        return f"({' & '.join(conditions + planes)})"

    def _met(self, hint: str, at: str, k: int, stride: int, count: int) -> list[tuple[str, str, str]]:
        """Along an axis, in order, windows that a pixel ``at`` may be in (all there are, where those are few), where in
        them, and if.
        """
        if count <= (most := ceil_div(k, stride)):
            return [
                (str(o), f"{at} - {o * stride}", f"({at} >= {o * stride}) & ({at} < {o * stride + k})")
                for o in range(count)
            ]
        lines = [self._line(hint, f"{at} // {stride} - {back}") for back in range(most - 1, -1, -1)]
        return [
            (o, f"{at} - {o} * {stride}", f"({o} >= 0) & ({o} < {count}) & ({at} - {o} * {stride} < {k})")
            for o in lines
        ]

    def _unwindow(self, e: Expr) -> str:
        """The gradients of the windows that pixel ``r`` is in, in their order."""
        source, *route = e.args
        g, text = geometry(dict(e.attr)), "0.0"
        py, px = self._pixel(g)
        down, along = (
            self._met("oy", py, g.ky, g.stride, g.out_height),
            self._met("ox", px, g.kx, g.stride, g.out_width),
        )
        for (oy, dy, in_y), (ox, dx, in_x) in itertools.product(down, along):
            meets = self._line("meets", f"{in_y} & {in_x}")
            at = self._line(
                "window", f"({self.frame.row} // {g.pixels} * {g.out_height} + {oy}) * {g.out_width} + {ox}"
            )
            place = self._line("place", f"({dy}) * {g.kx} + {dx}") if route else ""
            chosen = self._chosen([meets], place, tuple(route), at, meets)
            text = f"({text} + tl.where({bare(chosen)}, {self.load(source.attr, at, also=meets)}, 0.0))"
        return text

    def load(self, name: str, row: str = "", masked: bool = True, also: str = "") -> str:
        """An element (or tile) of a storage.  ``row``: another row than the frame's; ``masked``: whether it varies
        along the frame's;
        ``also``: one more mask, where the row may not exist."""
        f, (rows, cols) = self.frame, self.storages[name].shape
        ok = f.ok(rows > 1 and masked, cols > 1)
        return self.element(name, row or f.row, f.col, " & ".join(x for x in (ok, also if rows > 1 else "") if x))

    def element(self, name: str, row: str, col: str, ok: str) -> str:
        """What a storage holds in a row and a column, where ``ok`` holds: a mask, an int32 or an f32."""
        s, p = self.storages[name], self.pointers[name]
        r, c = row if s.shape[0] > 1 else "", col if s.shape[1] > 1 else ""
        if s.one_bit:
            index, place = word_index(s, r, c)
            return f"num.bit({self._read(p, index, ok)}, {place})"
        index = " + ".join(x for x in (f"{r} * {s.stride}" if r and s.stride > 1 else r, c) if x)
        x = self._read(p, index, ok)
        wider = {"f32": "", "i32": "", "f16": ".to(tl.float32)"}.get(s.dtype, ".to(tl.int32)")
        return x + wider


def simple(text: str) -> bool:
    """A name, a call or an index: needs no parentheses before a dot."""
    name, opened, rest = text.partition("(")
    call = "(" + rest
    return name.replace("_", "a").replace(".", "a").isalnum() and (not opened or bare(call) != call)


def word_index(s: Storage, row: str, col: str) -> tuple[str, str]:
    """(index of the word that holds element (row, col), where in it) of packed bits; an empty text stands for 0."""
    if s.axis == 0:
        parts, place = ((f"({row} >> 5) * {s.stride}" if row else ""), col), row
    elif s.axis == 2:
        parts, place = ((f"({col} >> 5) * {s.stride}" if col else ""), row), col
    else:
        parts, place = ((f"{row} * {s.stride}" if row and s.stride > 1 else row), (f"({col} >> 5)" if col else "")), col
    return " + ".join(x for x in parts if x), place or "0"
