"""Prints scalar expressions of the IR as C: a vector of lanes at a time (``v``) or one element at a time (``s``).

In: expression trees, the storages they load from, and the loop variable that runs innermost.  Out: C statements sorted
by how often they must run: once (``pre``), once per outer loop step (``outer``), every step (``body``); and a C
expression for each tree.  A skeleton places the three; it knows no op.

The loop variables are always ``r`` (row), ``c`` (first column) and ``n`` (lanes).
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field, replace

import numpy as np

from bnnc.diag import InternalError
from bnnc.ir.image import Geometry, geometry
from bnnc.ir.sequence import FROM_MEMORY, ROWS
from bnnc.plan.types import Storage
from bnnc.sched.expr import INFIX, Expr, bare

from ..printing import INTS, LONG, Names, all_const, kind

RESERVED = ("r", "c", "n", "t", "i", "j", "g", "q", "tid", "nt")  # of skeletons
CALLS_V = {
    "abs": "vabs",
    "sqrt": "vsqrt",
    "exp": "vexp",
    "log": "vlog",
    "max": "vmax",
    "min": "vmin",
    "powi": "vpowi",
    "neg": "vneg",
}
CALLS_S = {"abs": "__builtin_fabsf", "sqrt": "bnnc_sqrtf", "exp": "bnnc_exp", "log": "bnnc_log", "powi": "bnnc_powi"}
CTYPE = {
    "u8": "uint8_t",
    "i8": "int8_t",
    "i16": "int16_t",
    "i32": "int32_t",
    "f16": "uint16_t",
    "f32": "float",
    "bit": "uint32_t",
    "bool": "uint32_t",
}


def literal(x: float) -> str:
    """The shortest f32 literal that reads back as the same f32."""
    if np.isinf(x):
        return "__builtin_inff()" if x > 0 else "-__builtin_inff()"
    text = repr(float(str(np.float32(x))))
    return (text if any(ch in text for ch in ".en") else text + ".0") + "f"


def ident(name: str) -> str:
    """A value name as a C identifier: ``eval:dense1.wb@0`` -> ``eval_dense1_wb_t``.  Two names may give one: see
    ``emit.identifiers``.
    """
    return name.replace("@0", "_t").replace("@2", "_w").replace(":", "_").replace("~", "_").replace(".", "_")


@dataclass
class Printed:
    """Statements by level and one C expression per tree; ``masks`` says which results are masks."""

    pre: list[str] = field(default_factory=list)
    outer: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)


EXACT_CALLS = {"abs": "vabsi", "max": "vmaxi", "min": "vmini"}


class Printer:
    """``storage(name)`` finds a load's storage, ``pointer(name)`` its C pointer, ``acc(i)`` an accumulator's
    variable.
    """

    def __init__(
        self,
        mode: str,
        inner: str,
        names: Names,
        storages: dict[str, Storage],
        pointers: dict[str, str],
        accs: dict[int, str] | None = None,
    ) -> None:
        self.mode, self.inner, self.names = mode, inner, names
        self.storages, self.pointers, self.accs = storages, pointers, accs or {}

    def print(self, exprs: list[Expr], named: tuple[Expr, ...] = ()) -> Printed:
        """``named``: trees whose text is used more than once, so they get a variable."""
        self.out = Printed()
        self.windows: dict[Geometry, tuple[str, str, str]] = {}  # the window that row r is in, and where in it
        self.roots = set(exprs)
        self.text: dict[Expr, str] = {}
        self.level: dict[Expr, int] = {}
        self.uses: dict[Expr, int] = {}
        self.parent_level: dict[Expr, int] = {}
        order = list(dict.fromkeys(e for root in exprs for e in root.walk()))
        for e in order:
            self.level[e] = self._level(e)
            for a in self._shown(e):
                self.uses[a] = self.uses.get(a, 0) + 1
        for e in order:
            for a in (*e.args, *self._shown(e)):
                self.parent_level[a] = max(self.parent_level.get(a, 0), self.level[e])
        for e in exprs:
            self.parent_level[e] = 2
            self.uses[e] = self.uses.get(e, 0) + 1 + (e in named)
        for e in order:
            self.text[e] = self._place(e)
        self.out.results = [self.text[e] for e in exprs]
        return self.out

    def _level(self, e: Expr) -> int:
        if e.op == "acc":
            return 2
        own = 0
        if e.op in ("col", "load", *FROM_MEMORY) and e.shape[1] > 1:
            own = 2 if self.inner == "c" else 1
        if e.op in ("load", "step", *FROM_MEMORY) and e.shape[0] > 1:
            own = max(own, 2 if self.inner == "r" else 1)
        return max([own, *(self.level[a] for a in e.args)])

    def _place(self, e: Expr) -> str:
        """Inline what is used once at its own level; name the rest where it need be computed."""
        text = self._node(e)
        level = self.level[e]
        simple = e.op in ("const", "acc") or not self.uses.get(e)
        hoist = level < self.parent_level.get(e, 2) or (len(text) > LONG and e not in self.roots)
        if simple or not (hoist or self.uses.get(e, 0) > 1):
            return text
        name = self.names.new(self._hint(e))
        ctype = {"v": {"m": "vi", "i": "vi", "f": "vf"}, "s": {"m": "int", "i": "int32_t", "f": "float"}}[self.mode][
            kind(e)
        ]
        if self.mode == "v" and all_const(e):
            ctype = "float" if kind(e) == "f" else "int32_t"
        (self.out.pre, self.out.outer, self.out.body)[level].append(f"const {ctype} {name} = {bare(text)};")
        return name

    def _shown(self, e: Expr) -> tuple[Expr, ...]:
        """The nodes whose values a node's text holds; some ops print their operands' pointers."""
        return () if e.op in FROM_MEMORY else tuple(a.args[0] for a in e.args) if self._same_sign(e) else e.args

    def _same_sign(self, e: Expr) -> bool:
        """Do two integers have one sign?  In vectors that is cheaper to tell from the integers."""
        return self.mode == "v" and e.op == "eq" and all(a.op == "sign" and kind(a.args[0]) == "i" for a in e.args)

    def _hint(self, e: Expr) -> str:
        if e.op == "load":
            base = e.attr.partition("@")[0].split(":")[-1].split(".")[1:] or [e.attr.split(":")[-1]]
            return re.sub(r"\W", "_", "_".join(base)) + "_"
        return {"sign": "s", "le": "m", "ge": "m", "gt": "m", "eq": "m"}.get(e.op, "x")

    def num(self, e: Expr) -> str:
        """The text of a node as a float (masks become +-1 or 0/1, integers are converted)."""
        t, v = self.text[e], self.mode == "v"
        if e.dtype == "bit":
            return f"vpm1({bare(t)})" if v else f"({t} ? 1.0f : -1.0f)"
        if e.dtype == "bool":
            return f"v01({bare(t)})" if v else f"({t} ? 1.0f : 0.0f)"
        if kind(e) == "i":
            if e.op == "const":
                return literal(float(e.attr))
            return f"vtof({bare(t)})" if v else f"(float){t}"
        return t

    def whole(self, e: Expr) -> str:
        """The text of a node as an integer."""
        t, v = self.text[e], self.mode == "v"
        if e.dtype == "bit":
            return f"((({t}) & 2) - 1)" if v else f"({t} ? 1 : -1)"
        if e.dtype == "bool":
            return f"({t} & 1)" if v else t
        return t

    def vec(self, e: Expr) -> str:
        """As :meth:`num`, but certainly a vector in vector mode."""
        t = bare(self.num(e))
        return f"vbc({t})" if self.mode == "v" and all_const(e) else t

    def veci(self, e: Expr) -> str:
        """As :meth:`whole`, but certainly a vector in vector mode."""
        t = bare(self.whole(e))
        return f"vbci({t})" if self.mode == "v" and all_const(e) else t

    def _node(self, e: Expr) -> str:
        op, v = e.op, self.mode == "v"
        row, col = ("r" if e.shape[0] > 1 else "0"), ("c" if e.shape[1] > 1 else "0")
        if op == "const":
            return literal(e.attr) if e.dtype == "f32" else str(e.attr)
        if op == "col":
            return f"vcol({col})" if v else col
        if op == "acc":
            return self.accs[e.attr]
        if op == "load":
            return self._load(e)
        if op == "step":
            r = "r" if e.shape[0] > 1 else "0"
            return f"vbci({r} % {e.attr})" if v else f"{r} % {e.attr}"
        if op in ROWS:
            return self._other_row(e)
        if op == "take":
            table, index = e.args
            s = self.storages[table.attr]
            at = f"{self.pointers[table.attr]} + {self.pointers[index.attr]}[{row}] * {s.stride}"
            return f"vld_bits({at}, {col})" if v else f"(int)((({at})[{col} >> 5] >> ({col} & 31)) & 1u)"
        if op == "bernoulli":
            p, seed, tick = (f"{self.pointers[a.attr]}[0]" if a.op == "load" else self.text[a] for a in e.args)
            attrs = dict(e.attr)
            if v and self.inner == "c" and e.shape[1] > 1:  # a row of words at a time
                words, hit, hits, at = (
                    -(-attrs["cols"] // 32),
                    *(self.names.new(x) for x in ("hit", "hits", "hits_row")),
                )
                many = 1 if words >= 64 else min(16 // math.gcd(words, 16), e.shape[0])  # rows that fill whole vectors
                self.out.pre += [
                    f"VARRAY uint32_t {hits}[{-(-words * many // 16) * 16}]; /* of {many} rows */",
                    f"int {at} = -{many};",
                ]
                draw = f"(uint32_t){seed}, {attrs['stream']}u, (uint32_t){tick}, {p}, ({at} = {row}) * {words}"
                self.out.outer += [
                    f"if ({row} >= {at} + {many})",
                    f"    vbernoulli({hits}, {words * many}, {draw});",
                    f"const uint32_t *const {hit} = {hits} + ({row} - {at}) * {words};",
                ]
                return f"vld_bits({hit}, c)"
            word = (
                f"bnnc_bernoulli({seed}, {attrs['stream']}u, {tick}, {p}, {row} * {-(-attrs['cols'] // 32)} + {col}"
                " / 32)"
            )
            return f"vbits({word}, {col} & 31)" if v else f"(int)(({word} >> ({col} & 31)) & 1u)"
        if op in ("lookup", "rate"):
            return self._scalar_call(e)
        if op == "and":
            return f"({self.text[e.args[0]]} & {self.text[e.args[1]]})"
        ints = all(kind(a) == "i" or a.dtype == "bit" for a in e.args)
        if self._same_sign(e):
            left, right = (self.whole(a.args[0]) for a in e.args)
            return f"~(({left} ^ {right}) >> 31)"
        if op in INFIX:
            a, b = e.args
            left, right = (self.whole(a), self.whole(b)) if ints and op != "div" else (self.num(a), self.num(b))
            if v and all_const(a) and all_const(b):
                left = f"vbci({left})" if ints else f"vbc({left})"
            return f"({left} {INFIX[op]} {right})"
        if op == "neg" and (not v or ints):
            return f"(-{self.whole(e.args[0]) if ints else self.num(e.args[0])})"
        if ints and op in EXACT_CALLS:
            if v:
                return f"{EXACT_CALLS[op]}({', '.join(self.veci(x) for x in e.args)})"
            args = [self.whole(x) for x in e.args]
            if op == "abs":
                return f"({args[0]} < 0 ? -{args[0]} : {args[0]})"
            return f"({args[0]} {'>' if op == 'max' else '<'} {args[1]} ? {args[0]} : {args[1]})"
        if op in ("max", "min") and not v:
            args = [self.num(x) for x in e.args]
            return f"({args[0]} {'>' if op == 'max' else '<'} {args[1]} ? {args[0]} : {args[1]})"
        if op in CALLS_V:
            args = [self.vec(x) for x in e.args] if v else [bare(self.num(x)) for x in e.args]
            return f"{(CALLS_V if v else CALLS_S)[op]}({', '.join(args)})"
        if op == "sign":
            (x,) = e.args
            if ints:
                return f"({self.veci(x) if all_const(x) else self.whole(x)} >= 0)"
            return f"({self.vec(x) if all_const(x) else self.num(x)} >= 0.0f)"
        if op == "select":
            m, a, b = e.args
            if kind(e) == "i":
                return (
                    f"vseli({bare(self.text[m])}, {self.veci(a)}, {self.veci(b)})"
                    if v
                    else (f"({self.text[m]} ? {self.whole(a)} : {self.whole(b)})")
                )
            if v:
                return f"vsel({bare(self.text[m])}, {self.vec(a)}, {self.vec(b)})"
            return f"({self.text[m]} ? {self.num(a)} : {self.num(b)})"
        if op == "cast":
            return self._cast(e)
        if op == "copy":
            return self.text[e.args[0]]
        raise InternalError(f"the C backend cannot print `{op}`")

    def _cast(self, e: Expr) -> str:
        if kind(e) == "i":
            return self.whole(e.args[0])
        if dict(e.attr)["dtype"] == "f16":
            x = self.vec(e.args[0])
            return f"vf16({x})" if self.mode == "v" else f"bnnc_f16_to_f32(bnnc_f32_to_f16({x}))"
        return self.num(e.args[0])

    def _scalar_call(self, e: Expr) -> str:
        if self.mode == "v":
            raise InternalError(f"`{e.op}` is a scalar op")
        attrs = dict(e.attr)
        if e.op == "rate":
            a, b = (self.whole(x) for x in e.args)
            return f"bnnc_rate({attrs['scale']}u, {bare(a)}, {bare(b)})"
        values = attrs["values"]
        index = self.whole(e.args[0])
        text = str(values[-1])
        for i in range(len(values) - 2, -1, -1):
            text = f"({index} <= {i} ? {values[i]} : {text})"
        return text

    def _other_row(self, e: Expr) -> str:
        """A load from the row that ``previous``, ``last``, ``repeat`` or ``split`` choose."""
        if e.op == "unwindow":
            return self._unwindow(e)
        if e.op in ("spread", "hit"):
            return self._window(e)
        (x,) = e.args
        attrs, v, r = dict(e.attr), self.mode == "v", "r" if e.shape[0] > 1 else "0"
        steps = attrs["steps"]
        s = self.storages[x.attr]
        if e.op in ("split", "join") and not s.one_bit:  # the same numbers in the same order
            return self._load(replace(x, attr=x.attr, shape=e.shape), r, replace(s, shape=e.shape))
        if e.op == "join":
            at = f"{self.pointers[x.attr]} + {r} * {steps * s.stride}"
            word = (
                f"bnnc_joined({at}, {s.stride}, {s.shape[1]}, {s.shape[1] * steps}, {'c' if e.shape[1] > 1 else '0'})"
            )
            return f"vbits({word}, 0)" if v else f"(int)({word} & 1u)"
        if e.op == "split":
            at = f"{r} % {steps} * {s.shape[1] // steps} + {attrs['first']} + {'c' if e.shape[1] > 1 else '0'}"
            word = f"bnnc_bits_at({self.pointers[x.attr]} + {r} / {steps} * {s.stride}, {at}, {s.stride})"
            return f"vbits({word}, 0)" if v else f"(int)({word} & 1u)"
        if e.op == "previous":
            return f"({r} % {steps} ? {self._load(x, f'{r} - 1')} : {'vbci(-1)' if v else '1'})"
        return self._load(x, f"{r} * {steps} + {steps - 1}" if e.op == "last" else f"{r} / {steps}")

    def _of_row(self, e: Expr) -> tuple[list[str], str]:
        """Where statements stand that depend on a node's row alone, and that row."""
        if e.shape[0] == 1:
            return self.out.pre, "0"
        return (self.out.body if self.inner == "r" else self.out.outer), "r"

    def _window(self, e: Expr) -> str:
        """``spread``: a load from the row of the window that pixel ``r`` is in; ``hit``: is the pixel that window's?"""
        g, v = geometry(dict(e.attr)), self.mode == "v"
        if e.op == "spread" and self.storages[e.args[0].attr].shape[0] == 1:  # there is one window
            return self._load(e.args[0], "0")
        if g not in self.windows:
            py, px, oy, ox, at = (self.names.new(x) for x in ("py", "px", "oy", "ox", "window_"))
            clip = [
                f"const int {o} = {p} / {g.stride} < {n} ? {p} / {g.stride} : {n - 1};"
                for o, p, n in ((oy, py, g.out_height), (ox, px, g.out_width))
            ]
            level, r = self._of_row(e)
            level.extend(
                [f"const int {py} = {r} / {g.width} % {g.height} + {g.top}, {px} = {r} % {g.width} + {g.left};", *clip]
            )
            if self.storages[e.args[0].attr].shape[0] > 1:
                level.append(f"const int {at} = ({r} / {g.pixels} * {g.out_height} + {oy}) * {g.out_width} + {ox};")
            self.windows[g] = at, f"{py} - {oy} * {g.stride}", f"{px} - {ox} * {g.stride}"
        at, dy, dx = self.windows[g]
        if e.op == "spread":
            return self._load(e.args[0], at)
        place = f"(({dy}) * {g.kx} + {dx})"
        inside = f"{dy} < {g.ky} && {dx} < {g.kx}"
        if v:
            hits = " & ".join(f"({self._load(x, at)} ^ (({place} >> {p} & 1) - 1))" for p, x in enumerate(e.args))
            return f"({hits} & -({inside}))"
        return (
            "("
            + " && ".join([inside, *(f"{self._load(x, at)} == ({place} >> {p} & 1)" for p, x in enumerate(e.args))])
            + ")"
        )

    def _unwindow(self, e: Expr) -> str:
        """The gradients of the windows that pixel ``r`` is in, in their order."""
        source, *route = e.args
        g, v = geometry(dict(e.attr)), self.mode == "v"
        level, r = self._of_row(e)
        many = self.storages[source.attr].shape[0] > 1  # windows
        py, px = self.names.new("py"), self.names.new("px")
        level.append(f"const int {py} = {r} / {g.width} % {g.height} + {g.top}, {px} = {r} % {g.width} + {g.left};")
        zero = "vbc(0.0f)" if v else "0.0f"
        text = zero
        for back in itertools.product(*(range(-(-k // g.stride) - 1, -1, -1) for k in (g.ky, g.kx))):
            oy, ox, at, k = (self.names.new(x) for x in ("oy", "ox", "from", "place"))
            level.append(f"const int {oy} = {py} / {g.stride} - {back[0]}, {ox} = {px} / {g.stride} - {back[1]};")
            if many:
                level.append(f"const int {at} = ({r} / {g.pixels} * {g.out_height} + {oy}) * {g.out_width} + {ox};")
            if route:
                level.append(f"const int {k} = ({py} - {oy} * {g.stride}) * {g.kx} + {px} - {ox} * {g.stride};")
            inside = [
                f"{oy} >= 0",
                f"{ox} >= 0",
                f"{oy} < {g.out_height}",
                f"{ox} < {g.out_width}",
                f"{py} - {oy} * {g.stride} < {g.ky}",
                f"{px} - {ox} * {g.stride} < {g.kx}",
            ]
            value = self._load(source, at)
            if v:
                hits = " & ".join(f"({self._load(x, at)} ^ (({k} >> {p} & 1) - 1))" for p, x in enumerate(route))
                value = f"vsel({hits}, {value}, {zero})" if route else value
            else:
                inside += [f"{self._load(x, at)} == ({k} >> {p} & 1)" for p, x in enumerate(route)]
            text = f"({text} + ({' && '.join(inside)} ? {value} : {zero}))"
        return text

    def _load(self, e: Expr, r: str = "r", as_stored: Storage | None = None) -> str:
        s, p = as_stored or self.storages[e.attr], self.pointers[e.attr]
        wide, v = s.shape[1] > 1, self.mode == "v"
        r = "0" if r == "r" and e.shape[0] == 1 else f"({r})" if r != "r" else r  # a strip may be one row of many
        row = f"{r} * {s.stride}" if s.stride > 1 else r
        if s.one_bit:
            if s.axis == 0:
                tall = s.shape[0] > 1
                at = " + ".join(x for x in (p, f"{r} / 32 * {s.stride}" if tall else "", "c" if wide else "") if x)
                bit = r if tall else "0"
                return f"vld_bits0({at}, {bit})" if v else f"(int)((*({at}) >> ({bit} & 31)) & 1u)"
            if s.axis == 2:
                first, at = ("c" if wide else "0"), (r if s.shape[0] > 1 else "0")
                word = f"{p}[{first} / 32 * {s.stride} + {at}]"
                return f"vbits({word}, {first} & 31)" if v else f"(int)(({word} >> ({first} & 31)) & 1u)"
            at = f"{p} + {row}" if s.shape[0] > 1 else p
            if not wide:
                bit = f"(int)({p}[{r if s.shape[0] > 1 else '0'}] & 1u)"
                return f"vbci(-{bit})" if v else bit
            return f"vld_bits({at}, c)" if v else f"(int)((({at})[c >> 5] >> (c & 31)) & 1u)"
        index = " + ".join(x for x in ((row if s.shape[0] > 1 else ""), ("c" if wide else "")) if x)
        if v and wide:
            return f"vld_{s.dtype}({p} + {index}, n)"
        at = f"{p}[{index or '0'}]"
        if s.dtype in INTS:
            return f"vbci({at})" if v else at
        scalar = at if s.dtype == "f32" else f"bnnc_f16_to_f32({at})"
        return f"vbc({scalar})" if v else scalar


def store(s: Storage, pointer: str, e: Expr, text: str, number: str, mode: str) -> str:
    """The statement that stores one result at (r, c).  ``text`` is the raw node, ``number`` its numeric form."""
    row = f"r * {s.stride}" if s.stride > 1 else "r"
    index = " + ".join(x for x in ((row if s.shape[0] > 1 else ""), ("c" if s.shape[1] > 1 else "")) if x)
    if mode == "s":
        if s.one_bit and s.shape[1] > 1:
            raise InternalError("bits are stored by vectors")
        value = {"f16": f"bnnc_f32_to_f16({bare(number)})", "f32": bare(number), "i32": bare(text)}.get(
            s.dtype, f"({CTYPE[s.dtype]}){text}"
        )
        return f"{pointer}[{index or '0'}] = {value};"
    if s.one_bit:
        at = f"{pointer} + {row}" if s.shape[0] > 1 else pointer
        if s.axis == 2:
            width = f"{s.shape[1]} - (c & ~31)" if s.shape[1] % 32 else "32"
            return f"vst_bits({pointer} + c / 32 * {s.stride} + r, c & 31, {bare(text)}, n, {width});"
        return f"vst_bits({at}, c, {bare(text)}, n, {s.shape[1]});"
    at = f"{pointer} + {index}" if index else pointer
    value = number if s.dtype in ("f32", "f16") else text
    return f"vst_{s.dtype}({at}, {bare(value)}, n);"
