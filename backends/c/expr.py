"""Prints scalar expressions of the IR as C: a vector of lanes at a time (:class:`Vectors`) or one element at a time
(:class:`Scalars`).

In: expression trees, the storages they load from, and the loop variable that runs innermost.  Out: C statements sorted
by how often they must run: once (``pre``), once per outer loop step (``outer``), every step (``body``); and a C
expression for each tree.  A skeleton places the three; it knows no op.

The loop variables are always ``r`` (row), ``c`` (first column) and ``n`` (lanes).
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from bnnc.diag import InternalError
from bnnc.ir.dtype import Packing
from bnnc.ir.image import geometry
from bnnc.ir.ref import Ref
from bnnc.ir.sequence import FROM_MEMORY
from bnnc.plan.types import Storage
from bnnc.sched.expr import Expr, bare, role

from .. import printing
from ..printing import INTS, Index, Variables, all_const, grouped, kind, plus
from .names import literal
from .words import CTYPE, SCALAR, VECTOR


def in_word(bit: Index) -> str:
    """Which of a word's bits."""
    return f"{bit} & 31" if bit.text else "0"


class Printer(printing.Printer):
    """What both vocabularies have in common.  ``inner``: the loop variable that runs innermost."""

    language = "C"
    division = "/"
    ctypes: ClassVar[dict[str, str]]  # of masks, integers and floats
    true: ClassVar[str]
    zero: ClassVar[str]
    dither: ClassVar[str]

    def __init__(
        self,
        inner: str,
        names: Variables,
        storages: Mapping[Ref, Storage],
        pointers: Mapping[Ref, str],
        accs: dict[int, str] | None = None,
    ) -> None:
        super().__init__(names, storages, pointers, accs)
        self.inner = inner

    def hint(self, e: Expr) -> str:
        """What is loaded is not called as the pointer to it."""
        return f"{role(e.attr)}_" if e.op == "load" else super().hint(e)

    # -- levels and statements ----------------------------------------------------------------------------------------
    deepest = 2

    def own_level(self, e: Expr) -> int:
        if e.op == "acc":
            return 2
        own = 0
        if e.op in ("col", "load", *FROM_MEMORY) and e.shape[1] > 1:
            own = 2 if self.inner == "c" else 1
        if e.op in ("load", "step", *FROM_MEMORY) and e.shape[0] > 1:
            own = max(own, 2 if self.inner == "r" else 1)
        return own

    def statements(self, level: int) -> list[str]:
        return (self.out.pre, self.out.outer, self.out.body)[level]

    def ctype(self, e: Expr) -> str:
        """The C type of a node's variable."""
        return self.ctypes[kind(e)]

    def variable(self, name: str, e: Expr, text: str) -> str:
        return f"const {self.ctype(e)} {name} = {text};"

    def line(self, e: Expr, name: str, text: str) -> str:
        name = self.names.of(name)
        level = 0 if e.shape[0] == 1 else 2 if self.inner == "r" else 1
        self.statements(level).append(f"const int {name} = {bare(text)};")
        return name

    def shown(self, e: Expr) -> tuple[Expr, ...]:
        return () if e.op in FROM_MEMORY else e.args

    def row(self, e: Expr) -> str:
        return "r" if e.shape[0] > 1 else "0"

    def col(self, e: Expr) -> str:
        return "c" if e.shape[1] > 1 else "0"

    def choose(self, condition: str, a: str, b: str) -> str:
        return f"({condition} ? {a} : {b})"

    # -- what a vocabulary says ---------------------------------------------------------------------------------------
    def vec(self, e: Expr) -> str:
        """As :meth:`num`, without outer parentheses, and certainly a vector where vectors are printed."""
        return bare(self.num(e))

    def veci(self, e: Expr) -> str:
        """As :meth:`whole`, likewise."""
        return bare(self.whole(e))

    @abstractmethod
    def bits_of_row(self, at: str, col: str) -> str:
        """Columns of a row of words that begins at ``at``."""

    @abstractmethod
    def bits_of_rows(self, at: str, row: str) -> str:
        """Bit ``row`` modulo 32 of the words from ``at`` on, one a column."""

    @abstractmethod
    def bit(self, word: str, place: str) -> str:
        """Bit ``place`` modulo 32 of a word, and those after it."""

    @abstractmethod
    def first_bit(self, word: str) -> str:
        """The first bit of a word in memory, for all columns."""

    def number(self, s: Storage, pointer: str, at: Index) -> str:
        """An element of a storage of numbers."""
        element = f"{pointer}[{at}]"
        return f"bnnc_f16_to_f32({element})" if s.dtype == "f16" else element

    @abstractmethod
    def hit(self, inside: str, planes: list[str], place: str) -> str:
        """Does a condition hold, and do planes of bits name this place of a window?"""

    @abstractmethod
    def met(self, inside: str, planes: list[str], place: str, value: str) -> str:
        """``value`` where :meth:`hit` holds, else 0."""

    # -- ops ----------------------------------------------------------------------------------------------------------
    def op_const(self, e: Expr) -> str:
        return literal(e.attr) if e.dtype == "f32" else str(e.attr)

    def op_load(self, e: Expr) -> str:
        return self.load(e.attr, self.row(e))

    def op_take(self, e: Expr) -> str:
        table, index = (a.attr for a in e.args)
        at = f"{self.pointers[table]} + {self.pointers[index]}[{self.row(e)}] * {self.storages[table].stride}"
        return self.bits_of_row(at, self.col(e))

    def op_bernoulli(self, e: Expr) -> str:
        p, seed, tick = self.drawn(e)
        attrs, row, col = dict(e.attr), self.row(e), self.col(e)
        at = f"{row} * {-(-attrs['cols'] // 32)} + {col} / 32"
        return self.bit(f"bnnc_bernoulli({seed}, {attrs['stream']}u, {tick}, {p}, {at})", f"{col} & 31")

    def op_noise(self, e: Expr) -> str:
        (seed, tick), (row, col) = self.drawn(e), self.in_matrix(e, "net_strip")
        return f"bnnc_noise((uint32_t){seed}, {dict(e.attr)['stream']}u, (uint32_t){tick}, {bare(row)}, {col})"

    def op_dither(self, e: Expr) -> str:
        (key,), (row, col) = self.drawn(e), self.in_matrix(e, "net_strip")
        return f"{self.dither}({key}, {bare(row)}, {col})"

    def drawn(self, e: Expr) -> list[str]:
        """The scalars that random numbers are a function of."""
        return [f"{self.pointers[a.attr]}[0]" if a.op == "load" else self.text[a] for a in e.args]

    def op_cast(self, e: Expr) -> str:
        (x,) = e.args
        if kind(e) == "i":
            return self.whole(x)
        return self.rounded(self.vec(x)) if dict(e.attr)["dtype"] == "f16" else self.num(x)

    @abstractmethod
    def rounded(self, x: str) -> str:
        """A float to f16's precision."""

    # -- other rows ---------------------------------------------------------------------------------------------------
    def other(self, x: Expr, row: str, tall: bool = True) -> str:
        return self.load(x.attr, grouped(row))

    def op_previous(self, e: Expr) -> str:
        steps = dict(e.attr)["steps"]
        return f"({self.row(e)} % {steps} ? {self.other(e.args[0], f'{self.row(e)} - 1')} : {self.true})"

    def same_numbers(self, e: Expr) -> str:
        """Numbers of another shape, in the same order."""
        name = e.args[0].attr
        return self.load(name, self.row(e), replace(self.storages[name], shape=e.shape))

    def op_join(self, e: Expr) -> str:
        name, steps = e.args[0].attr, dict(e.attr)["steps"]
        if not (s := self.storages[name]).one_bit:
            return self.same_numbers(e)
        at = f"{self.pointers[name]} + {self.row(e)} * {steps * s.stride}"
        return self.bit(f"bnnc_joined({at}, {s.stride}, {s.shape[1]}, {s.shape[1] * steps}, {self.col(e)})", "0")

    def op_split(self, e: Expr) -> str:
        name, attrs, row, steps = e.args[0].attr, dict(e.attr), self.row(e), dict(e.attr)["steps"]
        if not (s := self.storages[name]).one_bit:
            return self.same_numbers(e)
        at = f"{row} % {steps} * {s.shape[1] // steps} + {attrs['first']} + {self.col(e)}"
        return self.bit(f"bnnc_bits_at({self.pointers[name]} + {row} / {steps} * {s.stride}, {at}, {s.stride})", "0")

    def op_turn(self, e: Expr) -> str:
        x, row = e.args[0], self.row(e)
        s, cols = self.storages[x.attr], x.shape[1]
        at = f"({row} / {cols} * {e.shape[1]} + {self.col(e)}) * {s.stride} + {row} % {cols}"
        return self.apart(replace(s, shape=(1, e.shape[1])), self.pointers[x.attr], at, s.stride)

    def apart(self, s: Storage, pointer: str, at: str, step: int) -> str:
        """The kernel's columns, numbers that lie ``step`` apart."""
        return self.number(s, pointer, Index(at))

    def op_hit(self, e: Expr) -> str:
        """Is the row's pixel the one that its window chose?"""
        g = geometry(dict(e.attr))
        at, dy, dx = self.window(e, g)
        planes = [self.other(x, at) for x in e.args]
        return self.hit(f"{dy} < {g.ky} && {dx} < {g.kx}", planes, f"(({dy}) * {g.kx} + {dx})")

    def op_unwindow(self, e: Expr) -> str:
        """The gradients of the windows that the row's pixel is in, in their order."""
        source, *route = e.args
        g, text = geometry(dict(e.attr)), self.zero
        py, px = self.pixel(e, g)
        for back in itertools.product(*(range(-(-k // g.stride) - 1, -1, -1) for k in (g.ky, g.kx))):
            oy = self.line(e, "oy", f"{py} / {g.stride} - {back[0]}")
            ox = self.line(e, "ox", f"{px} / {g.stride} - {back[1]}")
            at = self.window_row(e, g, oy, ox) if self.windows_of(e) else "0"
            dy, dx = f"{py} - {oy} * {g.stride}", f"{px} - {ox} * {g.stride}"
            place = self.line(e, "place", f"({dy}) * {g.kx} + {dx}") if route else ""
            exists = f"{oy} >= 0 && {ox} >= 0 && {oy} < {g.out_height} && {ox} < {g.out_width}"
            inside = f"{exists} && {dy} < {g.ky} && {dx} < {g.kx}"
            met = self.met(inside, [self.other(x, at) for x in route], place, self.other(source, at))
            text = f"({text} + {met})"
        return text

    # -- memory -------------------------------------------------------------------------------------------------------
    def load(self, name: Ref, row: str, as_stored: Storage | None = None) -> str:
        """What a storage holds in a row, and the kernel's columns."""
        s, p = as_stored or self.storages[name], self.pointers[name]
        r, c = Index(row if s.shape[0] > 1 else ""), Index("c" if s.shape[1] > 1 else "")
        at, bit = s.at(r, c)
        if not s.one_bit:
            return self.number(s, p, at)
        if s.packing is Packing.ROWS:
            return self.bits_of_rows(plus(p, at), str(bit))
        if s.packing is Packing.COLUMNS_ACROSS:
            return self.bit(f"{p}[{at}]", in_word(bit))
        return self.bits_of_row(plus(p, s.at(r, Index())[0]), "c") if c.text else self.first_bit(f"{p}[{at}]")

    @abstractmethod
    def store(self, name: Ref, e: Expr) -> str:
        """The statement that stores a result at (r, c)."""

    def place(self, s: Storage) -> tuple[Index, Index]:
        """Where (r, c) is stored."""
        return s.at(Index("r" if s.shape[0] > 1 else ""), Index("c" if s.shape[1] > 1 else ""))


class Scalars(Printer):
    """One element at a time."""

    words = SCALAR
    ctypes: ClassVar[dict[str, str]] = {"m": "int", "i": "int32_t", "f": "float"}
    true, zero, dither = "1", "0.0f", "bnnc_dither"

    def num(self, e: Expr) -> str:
        t = self.text[e]
        if kind(e) == "m":
            return f"({t} ? 1.0f : {'-1.0f' if e.dtype == 'bit' else '0.0f'})"
        if kind(e) == "i":
            return literal(float(e.attr)) if e.op == "const" else f"(float){t}"
        return t

    def whole(self, e: Expr) -> str:
        t = self.text[e]
        return f"({t} ? 1 : -1)" if e.dtype == "bit" else t

    def bits_of_row(self, at: str, col: str) -> str:
        return f"(int)((({at})[{col} >> 5] >> ({col} & 31)) & 1u)"

    def bits_of_rows(self, at: str, row: str) -> str:
        return f"(int)((*({at}) >> ({row} & 31)) & 1u)"

    def bit(self, word: str, place: str) -> str:
        return f"(int)({word} & 1u)" if place == "0" else f"(int)(({word} >> ({place})) & 1u)"

    def first_bit(self, word: str) -> str:
        return self.bit(word, "0")

    def hit(self, inside: str, planes: list[str], place: str) -> str:
        return f"({' && '.join((inside, *(f'{x} == ({place} >> {p} & 1)' for p, x in enumerate(planes))))})"

    def met(self, inside: str, planes: list[str], place: str, value: str) -> str:
        return f"({bare(self.hit(inside, planes, place))} ? {value} : {self.zero})"

    def rounded(self, x: str) -> str:
        return f"bnnc_f16_to_f32(bnnc_f32_to_f16({x}))"

    def op_col(self, e: Expr) -> str:
        return self.col(e)

    def op_step(self, e: Expr) -> str:
        return f"{self.row(e)} % {e.attr}"

    def op_rate(self, e: Expr) -> str:
        a, b = (self.whole(x) for x in e.args)
        return f"bnnc_rate({dict(e.attr)['scale']}u, {bare(a)}, {bare(b)})"

    def op_select(self, e: Expr) -> str:
        m, a, b = e.args
        number = self.whole if kind(e) == "i" else self.num
        return f"({self.text[m]} ? {number(a)} : {number(b)})"

    def store(self, name: Ref, e: Expr) -> str:
        s = self.storages[name]
        if s.one_bit and s.shape[1] > 1:
            raise InternalError("bits are stored by vectors")
        value = {
            "f16": f"bnnc_f32_to_f16({self.vec(e)})",
            "f32": self.vec(e),
            "i32": self.veci(e),
        }.get(s.dtype, f"({CTYPE[s.dtype]}){self.text[e] if s.one_bit else self.veci(e)}")
        return f"{self.pointers[name]}[{self.place(s)[0]}] = {value};"


class Vectors(Printer):
    """A vector of lanes at a time.  Numbers that are constant stay scalars, which operators take as they are."""

    words = VECTOR
    ctypes: ClassVar[dict[str, str]] = {"m": "vi", "i": "vi", "f": "vf"}
    true, zero, dither = "vbci(-1)", "vbc(0.0f)", "vdither"

    def ctype(self, e: Expr) -> str:
        return (Scalars if all_const(e) else Vectors).ctypes[kind(e)]

    def num(self, e: Expr) -> str:
        t = self.text[e]
        if kind(e) == "m":
            return f"{'vpm1' if e.dtype == 'bit' else 'v01'}({bare(t)})"
        if kind(e) == "i":
            return literal(float(e.attr)) if e.op == "const" else f"vtof({bare(t)})"
        return t

    def whole(self, e: Expr) -> str:
        t = self.text[e]
        return f"((({t}) & 2) - 1)" if e.dtype == "bit" else f"({t} & 1)" if e.dtype == "bool" else t

    def vec(self, e: Expr) -> str:
        t = bare(self.num(e))
        return f"vbc({t})" if all_const(e) else t

    def veci(self, e: Expr) -> str:
        t = bare(self.whole(e))
        return f"vbci({t})" if all_const(e) else t

    def operands(self, e: Expr, whole: bool, call: bool) -> list[str]:
        vector = self.veci if whole else self.vec
        if call:
            return [vector(a) for a in e.args]
        texts = super().operands(e, whole, call)
        return [vector(e.args[0]), *texts[1:]] if kind(e) == "m" and all_const(e) else texts

    def shown(self, e: Expr) -> tuple[Expr, ...]:
        if e.op == "shr" and e.args[1].op == "load" and e.args[1].shape == (1, 1):
            return e.args[:1]
        return tuple(a.args[0] for a in e.args) if self.same_sign(e) else super().shown(e)

    def same_sign(self, e: Expr) -> bool:
        """Do two integers have one sign?  That is cheaper to tell from the integers."""
        return e.op == "eq" and all(a.op == "sign" and kind(a.args[0]) == "i" for a in e.args)

    def bits_of_row(self, at: str, col: str) -> str:
        return f"vld_bits({at}, {col})"

    def bits_of_rows(self, at: str, row: str) -> str:
        return f"vld_bits0({at}, {row})"

    def bit(self, word: str, place: str) -> str:
        return f"vbits({word}, {place})"

    def first_bit(self, word: str) -> str:
        return f"vbci(-(int)({word} & 1u))"

    def number(self, s: Storage, pointer: str, at: Index) -> str:
        if s.shape[1] > 1:
            return f"vld_{s.dtype}({pointer} + {at}, n)"
        return f"{'vbci' if s.dtype in INTS else 'vbc'}({super().number(s, pointer, at)})"

    def apart(self, s: Storage, pointer: str, at: str, step: int) -> str:
        return (
            f"vapart_{s.dtype}({pointer} + {at}, {step}, n)" if s.shape[1] > 1 else super().apart(s, pointer, at, step)
        )

    def routed(self, planes: list[str], place: str) -> str:
        """A mask: do the planes of bits spell ``place``?"""
        return " & ".join(f"({x} ^ (({place} >> {p} & 1) - 1))" for p, x in enumerate(planes))

    def hit(self, inside: str, planes: list[str], place: str) -> str:
        return f"({self.routed(planes, place)} & -({inside}))"

    def met(self, inside: str, planes: list[str], place: str, value: str) -> str:
        value = f"vsel({self.routed(planes, place)}, {value}, {self.zero})" if planes else value
        return f"({inside} ? {value} : {self.zero})"

    def rounded(self, x: str) -> str:
        return f"vf16({x})"

    def op_col(self, e: Expr) -> str:
        return f"vcol({self.col(e)})"

    def op_step(self, e: Expr) -> str:
        return f"vbci({self.row(e)} % {e.attr})"

    def op_rate(self, e: Expr) -> str:
        raise InternalError(f"`{e.op}` is a scalar op")

    op_lookup = op_rate

    def op_eq(self, e: Expr) -> str:
        """Of two signs of integers: have the integers one sign?"""
        if not self.same_sign(e):
            return self.said(e)
        left, right = (self.whole(a.args[0]) for a in e.args)
        return f"~(({left} ^ {right}) >> 31)"

    def op_select(self, e: Expr) -> str:
        m, a, b = e.args
        call, number = ("vseli", self.veci) if kind(e) == "i" else ("vsel", self.vec)
        return f"{call}({bare(self.text[m])}, {number(a)}, {number(b)})"

    def op_bernoulli(self, e: Expr) -> str:
        """Where columns run innermost, a row of words is drawn at a time."""
        if self.inner != "c" or e.shape[1] == 1:
            return super().op_bernoulli(e)
        p, seed, tick = self.drawn(e)
        attrs, row = dict(e.attr), self.row(e)
        words = -(-attrs["cols"] // 32)
        hit, hits, at = (self.names.of(x) for x in ("hit", "hits", "hits_row"))
        many = 1 if words >= 64 else min(16 // math.gcd(words, 16), e.shape[0])  # rows that fill whole vectors
        draw = f"(uint32_t){seed}, {attrs['stream']}u, (uint32_t){tick}, {p}, ({at} = {row}) * {words}"
        self.out.pre += [
            f"VARRAY uint32_t {hits}[{-(-words * many // 16) * 16}]; /* of {many} rows */",
            f"int {at} = -{many};",
        ]
        self.out.outer += [
            f"if ({row} >= {at} + {many})",
            f"    vbernoulli({hits}, {words * many}, {draw});",
            f"const uint32_t *const {hit} = {hits} + ({row} - {at}) * {words};",
        ]
        return self.bits_of_row(hit, "c")

    def op_noise(self, e: Expr) -> str:
        """16 rows of a column are drawn at once, and are there as long as rows and columns follow each other."""
        seed, tick = self.drawn(e)
        (row, col), cols = self.in_matrix(e, "net_strip"), dict(e.attr)["cols"]
        drawn, at = self.names.of("drawn"), self.names.of("drawn_at")
        here = plus(f"({row} >> 4) * {cols}" if row != "0" else "", col if col != "0" else "") or "0"
        self.out.pre += [f"VARRAY vi {drawn}[16];", f"int {at} = -1;"]
        self.statements(self.level[e]).append(
            f"if ({at} != {here}) vnoise({drawn}, (uint32_t){seed}, {dict(e.attr)['stream']}u, (uint32_t){tick}, "
            f"{col}, {row} >> 4), {at} = {here};"
        )
        return f"{drawn}[{row} & 15]"

    def op_shr(self, e: Expr) -> str:
        """By how much is one number for all lanes wherever that is known to be so."""
        x, by = e.args
        if by.op not in ("load", "const") or by.shape != (1, 1):
            return self.said(e)
        return f"({self.veci(x) if all_const(x) else self.whole(x)} >> {self.drawn(replace(e, args=(by,)))[0]})"

    def store(self, name: Ref, e: Expr) -> str:
        s, p, (at, bit) = self.storages[name], self.pointers[name], self.place(self.storages[name])
        if not s.one_bit:
            return f"vst_{s.dtype}({plus(p, at)}, {self.vec(e) if s.dtype in ('f32', 'f16') else self.veci(e)}, n);"
        mask = bare(self.text[e])
        if s.packing is Packing.COLUMNS_ACROSS:
            width = f"{s.shape[1]} - (c & ~31)" if s.shape[1] % 32 else "32"
            return f"vst_bits({plus(p, at)}, {in_word(bit)}, {mask}, n, {width});"
        row = s.at(Index("r" if s.shape[0] > 1 else ""), Index())[0]
        return f"vst_bits({plus(p, row)}, c, {mask}, n, {s.shape[1]});"
