"""Kernels as Triton functions: picks the skeleton for each anchor and gives it loads, stores, tiles and extents as
text.

In: one packed kernel, its storages and where they lie.  Out: the body of ``def map_...(arena, t)``, which computes tile
``t`` of ``tiles``.  Skeletons own loops and tiles (``templates/triton/kernels``); expressions come from :mod:`.expr`.

    contraction            left x right          skeleton
    nn, nt                 bit x bit             popcount   exact integers, perhaps gated
    nn, nt; tn; any        u8 x bit; gated bits; dot        exact integers: int8 tiles unpacked in registers, tensor
                           i8 x bit or u8                   cores
    nn, nt, tn             float x bit           grouped    in groups of four terms, as the interpreter adds
    tn; nn, nt             number x float        outer      one multiply and one add a term, in order; nn, nt of floats
    through time           bit x bit             recur      exact integers; a program has some samples and all their
                                                            units

Sums along an axis are in :mod:`.sums`, convolutions in :mod:`.images`.

Those give the interpreter's bits.  In a network whose products are so large that arithmetic takes the time
(``Memory.exact`` is false), large ones use tensor cores: what has a bit by :mod:`.products`, which lay their operands
out first, but for u8, gates and sums along rows, which are for ``dot``; other floats by ``split``.  A float, scaled by
a power of two, is the sum of two f16 numbers.  Then |error| <= Q 2**-21 max|float| (times
255 for u8; Q 2**-20 max|left| max|right| for two floats).  Weights' gradients and sums over many rows are made in two
stages (:mod:`.split`), sums over many rows or columns some terms at a time: float results are not those of other
backends to the bit, whole numbers and bits that come from them are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from textwrap import indent
from typing import Any

from bnnc.diag import InternalError, error
from bnnc.ir.dtype import INTEGERS, Axis, ceil_div
from bnnc.sched.anchor import Anchor, Contract, Convolve, Fold, Group, Map, Recur, Reduce, Window
from bnnc.sched.expr import Expr
from bnnc.sched.kernel import Kernel

from ..printing import plus
from ..render import render
from .expr import Frame
from .images import Images
from .products import Staged
from .skeleton import LOADED, TENSOR_TILE, THREADS, KernelText, Memory, Operand, Product, Skeleton, Tile, power, tile
from .sums import COLUMNS, TILE, Sums
from .turned import CHOICES, FOUR, Table


class Matrices(Skeleton):
    """Kernels on matrices and through time."""

    # -- map ----------------------------------------------------------------------------------------------------------
    def map(self, x: Map) -> KernelText:
        """Element by element, in tiles of the output."""
        rows, cols = self.k.domain
        bm0, bn0 = self.least()
        bn = tile(cols, COLUMNS, bn0)
        if isinstance(table := self.stored()[0], Table):
            return self.table(table, self.tiled(tile(rows, max(1, TILE // bn), bm0), bn))
        return self.text("map", self.tiled(tile(rows, max(1, TILE // bn), bm0), bn), {})

    def table(self, s: Table, made: Tile) -> KernelText:
        """A table: a number's expression at four places after one another, and each sum of these."""
        (out,), along, across = self.k.outputs, "rc"[s.along], "cr"[s.along]
        extent, step = made.of[s.along], (made.span or (made.rows, made.cols))[s.along]
        whole, ok = extent % step == 0, made.frame.ok(across == "r", across == "c")
        place = made.frame.within()
        frame = replace(place, row="q", looped="r") if along == "r" else replace(place, col="q", looped="c")
        pr = self.ahead(frame, "q")
        code = pr.print([out.expr])
        fours = (made.rows, made.cols)[s.along] // FOUR
        lanes = f"tl.arange(0, {fours}){'[:, None]' if along == 'r' else '[None, :]'} * {FOUR}"
        inside = [*made.head(across), f"{along} = {plus(made.starts[s.along], lanes)}"]
        inside += [f"{across}_in = tl.minimum({across}, {s.across - 1})"] * bool(ok)
        ok = " & ".join(x for x in ("" if whole else f"({along} < {extent})", ok) if x)
        put = f"{self.pointers[out.ref]} + {along} * {CHOICES // FOUR * s.across}"
        put += f" + c * {CHOICES} + j" if along == "r" else f" + j * {s.across} + r"
        if along == "r":  # eight sums are an axis more
            put, ok = (re.sub(r"\b([rc]|rows_ok|cols_ok)\b", r"\1[:, :, None]", x) for x in (put, ok))
        own = {
            "head": inside,
            "first": along,
            "extent": 0 if whole else extent,
            "code": code,
            "loads": list(pr.turns.values()),
            "value": pr.num(out.expr),
            "put": put,
            "ok": ok,
            "beside": along == "r",
        }
        return KernelText("table", made.count, own, turns=made.turns)

    # -- contractions -------------------------------------------------------------------------------------------------
    def contract(self, x: Contract) -> KernelText:
        """A product of matrices, by what its operands hold.  Raises InternalError for bits that are not in memory."""
        a, b = x.a, x.b
        bits = [e.dtype == "bit" for e in (a, b)]
        if any(t and e.op != "load" for t, e in zip(bits, (a, b), strict=True)):
            raise InternalError("one-bit operands of a contraction must be in memory")
        if x.result.dtype in INTEGERS and (not all(bits) or x.form != "tn" or x.gate is not None):
            return self.whole(x)
        if self.large and not all(bits):
            return self.tensors(x)
        if bits[0] != bits[1]:
            return self.grouped(x)
        if not any(bits):
            return self.outer(x)
        raise error(
            "B0701", f"the Triton backend has no kernel for {a.dtype} x {b.dtype} in form {x.form}", self.k.where.span
        )

    def frames(self, x: Contract, made: Tile, right: str, ragged: bool) -> tuple[Frame, Frame]:
        """Where operands stand: terms of the left one are ``q``, along its rows in form tn; of the right one ``right``,
        along its columns in form nt.  They are tiles, or where both are ``q`` a loop's turns.
        """
        (q_ok, right_ok), looped = ("q_ok", f"{right}_ok") if ragged else ("", ""), right == "q"
        a = Frame("r", "q", made.frame.row_ok, q_ok, "c" if looped else "")
        b = Frame(right, "c", right_ok, made.frame.col_ok, "r" if looped else "")
        return a.turned() if x.form == "tn" else a, b.turned() if x.form == "nt" else b

    def whole(self, x: Contract) -> KernelText:
        """Whole numbers: on tensor cores, or words of bits."""
        few = x.form != "tn" and x.a.dtype == "bit" and not self.large
        return self.popcount(x) if few else self.dot(x)

    def popcount(self, x: Contract) -> KernelText:
        """Bits by bits in words, of which a gate may leave some out."""
        a, b = x.a.attr, x.b.attr
        return self.summed(
            "contract_popcount",
            self.product(x.dims[1], (32, 32)),
            words=ceil_div(x.dims[1], 32),
            a=self.pointers[a],
            a_stride=self.mem.storages[a].stride,
            gate=self.pointers[x.gate.attr] if x.gate is not None else "",
            b=self.pointers[b],
            b_stride=self.mem.storages[b].stride,
        )

    def dot(self, x: Contract) -> KernelText:
        """Operands as int8 tiles [m, q] and [q, n]; what is beyond an edge, or behind a closed gate, is 0."""
        whole_rows = any(o.row_sum for o in self.k.outputs)
        most = (16, 64) if whole_rows else TENSOR_TILE if self.large else (32, 32) if x.form == "tn" else (64, 64)
        p, block = self.product(x.dims[1], most, 16), 64 if self.large and not self.learns else 32
        loop: dict[str, Any] = {}
        if whole_rows:
            p = self.from_end_to_end(p)
            loop = {"head": p.tile.head("r"), "inner": p.tile.head("c")}
        left, right = self.frames(x, p.tile, "p", bool(p.q % block))
        prints, other = self.printer(left), self.printer(right)
        a = prints.print([x.a, *([x.gate] if x.gate is not None else [])])
        b = other.print([x.b])
        value = f"{prints.whole(x.a)} - 128" if x.a.dtype == "u8" else prints.whole(x.a)
        if x.gate is not None:
            value = f"tl.where({a.results[1]}, {value}, 0)"
        return self.by_dot(
            p,
            Operand(x.a, a, value, "q_ok" if p.q % block else ""),
            Operand(x.b, b, other.whole(x.b), "p_ok" if p.q % block else ""),
            block,
            8 if self.large else 4,
            offset=x.a.dtype == "u8",
            **loop,
        )

    def from_end_to_end(self, p: Product) -> Product:
        """Tiles that walk along their rows, in a loop whose turns begin at column ``c0``."""
        rows, count = p.tile.rows, ceil_div(p.tile.of[0], p.tile.rows)
        start = f"t * {rows}" if count > 1 else ""
        return replace(p, tile=replace(p.tile, starts=(start, "c0"), count=count))

    def tensors(self, x: Contract) -> KernelText:
        """A product with a float on f16 tensor cores."""
        p = self.product(x.dims[1], TENSOR_TILE, 16)
        oks = ("q_ok", "p_ok") if p.q % 32 else ("", "")
        frames = self.frames(x, p.tile, "p", bool(p.q % 32))
        return self.by_split(p, *(self.number(e, f, ok) for e, f, ok in zip((x.a, x.b), frames, oks, strict=True)))

    def grouped(self, x: Contract) -> KernelText:
        """Sums over q of a float times a sign, the float operand along rows or columns of the tile."""
        p = self.product(x.dims[1], (32, 32))
        ahead = self.mem.exact and p.q > 1 and not (x.b if x.form == "tn" else x.a).elsewhere()
        a, b = zip((x.a, x.b), self.frames(x, p.tile, "q", not ahead and bool(p.q % 4)), strict=True)
        (number, its), (sign, place) = (b, a) if x.form == "tn" else (a, b)
        if ahead:
            return self.by_signs(p, (number, its), (sign, place))
        left, s = self.number(number, its, "q_ok" if p.q % 4 else ""), self.printer(place).print([sign])
        return self.by_groups(p, left, Operand(sign, s, s.results[0]))

    def by_signs(self, p: Product, one: tuple[Expr, Frame], other: tuple[Expr, Frame]) -> KernelText:
        """A float times a sign, some terms of a word of signs at a time."""
        (number, its), (sign, place) = one, other
        if isinstance(table := self.mem.storages.get(number.attr) if number.op == "load" else None, Table):
            return self.by_table(p, table, (sign, place))
        left, right = (self.ahead(frame.within(), "q") for frame in (its, place))
        x, s = left.print([number]), right.print([sign])
        (word,), loads = right.turns.values(), list(left.turns.values())
        unroll = 32 if len(loads) <= 2 else 8
        return self.summed(
            "contract_signs",
            replace(p, head=self.clamped(p)),
            x=Operand(number, x, left.num(number)),
            s=Operand(sign, s, ""),
            word=word,
            loads=loads,
            unroll=unroll,
            whole=p.q // unroll * unroll,
        )

    def by_table(self, p: Product, s: Table, other: tuple[Expr, Frame]) -> KernelText:
        """Four terms at a time: their sum is looked up, by four of a word's signs."""
        sign, place = other
        right = self.ahead(place.within(), "q")
        code = right.print([sign])
        (word,) = right.turns.values()
        x = self.k.anchor
        assert isinstance(x, Contract)
        axis = Axis.COLUMNS if sign is x.a else Axis.ROWS  # of the result: along which the table's other extent is
        share, var = self.mem.shares.get(self.k.name), "rc"[axis]
        beyond = p.tile.frame.ok(axis is Axis.ROWS, axis is Axis.COLUMNS)
        if beyond and (s.along is Axis.ROWS or (share and share.axis is axis)):
            var = f"{var}_in"  # what lies behind is another program's
        at = f"{var} * {CHOICES} + which" if s.along is Axis.ROWS else f"which * {s.across} + {var}"
        return self.summed(
            "contract_table",
            replace(p, head=self.clamped(p)),
            s=Operand(sign, code, ""),
            word=word,
            table=self.pointers[s.ref],
            step=CHOICES * s.across,
            at=at,
            words=p.q // 32,
            rest=ceil_div(p.q % 32, FOUR),
            ahead=2 if p.tile.rows * p.tile.cols <= 2 * THREADS else 1,
        )

    def clamped(self, p: Product) -> tuple[str, ...]:
        """The last row, or column, in the place of those beyond the edge: :meth:`.Frame.within`."""
        limits = (("r", p.tile.frame.row_ok, 0), ("c", p.tile.frame.col_ok, 1))
        return tuple(f"{i}_in = tl.minimum({i}, {p.tile.of[axis] - 1})" for i, ok, axis in limits if ok)

    def outer(self, x: Contract) -> KernelText:
        """Two numbers, one multiply and one add a term."""
        p = self.product(x.dims[1], (32, 32))
        left, right = self.frames(x, p.tile, "q", False)
        return self.by_outer(p, self.number(x.a, left), self.number(x.b, right))

    # -- groups -------------------------------------------------------------------------------------------------------
    def group(self, x: Group) -> KernelText:
        """In each group of columns of a row, the entry that wins: every entry looks at all others of its group."""
        rows, cols = self.k.domain
        (acc,), size = x.accs, x.size
        assert size.op in ("load", "const")
        bm0, bn0 = self.least()
        bn = tile(cols, 64, bn0)
        made = self.tiled(tile(rows, max(1, TILE // bn), bm0), bn)
        here, there = self.printer(made.frame), self.printer(Frame("r", "other", made.frame.row_ok, "other_ok"))
        own, others, won = here.print([acc.expr]), there.print([acc.expr]), self.names.new("won")
        return self.text(
            "group",
            made,
            {0: won},
            size=f"tl.load({self.pointers[size.attr]})" if size.op == "load" else size.attr,
            own=own,
            value=here.whole(acc.expr),
            others=others,
            other=there.whole(acc.expr),
            won=won,
        )

    # -- time ---------------------------------------------------------------------------------------------------------
    def fold(self, x: Fold) -> KernelText:
        """Sums over the steps of a sample."""
        (rows, cols), (bm0, bn0), (acc,) = self.k.out_shape, self.least(), x.accs
        bn = tile(cols, COLUMNS, bn0)
        made = self.tiled(tile(rows, max(1, TILE // bn), bm0), bn)
        pr = self.printer(replace(made.frame, row="at", looped="r"))
        inside, name = pr.print([acc.expr]), self.names.new("acc")
        return self.text("fold", made, {0: name}, steps=x.steps, inside=inside, value=pr.whole(acc.expr), acc=name)

    def recur(self, x: Recur) -> KernelText:
        """Through time, some samples at a time and all their units; the carried state is words in registers."""
        (rows, cols), steps = self.k.domain, x.steps
        bn = tile(cols, power(cols), 32)
        bm = tile(rows // steps, max(1, TILE // 4 // bn))
        count = ceil_div(rows // steps, bm)
        made = Tile(bm, bn, (rows // steps, cols), (f"t * {bm}" if count > 1 else "", ""), count)
        acc, inputs = self.names.new("y"), x.inputs[0].shape[1]
        return self.text(
            x.op,
            made,
            {0: acc},
            replace(made.frame, row="at"),
            steps=steps,
            first=x.first,
            operand=[{"ptr": self.pointers[e.attr], "stride": self.mem.storages[e.attr].stride} for e in x.inputs],
            inputs=inputs,
            words=ceil_div(cols, 32),
            input_words=ceil_div(inputs, 32),
            acc=acc,
        )


SKELETONS: dict[type[Anchor], tuple[type[Skeleton], Callable[[Any, Any], KernelText]]] = {
    Map: (Matrices, Matrices.map),
    Reduce: (Sums, Sums.reduce),
    Fold: (Matrices, Matrices.fold),
    Window: (Images, Images.window),
    Group: (Matrices, Matrices.group),
    Contract: (Matrices, Matrices.contract),
    Convolve: (Images, Images.convolve),
    Recur: (Matrices, Matrices.recur),
}


def kernel_text(k: Kernel, mem: Memory) -> tuple[KernelText, dict[str, str]]:
    """The skeleton with its context, and the pointer declarations."""
    skeleton, make = SKELETONS[type(k.anchor)]
    s = skeleton(k, mem)
    if s.staging is None:
        text = make(s, k.anchor)
    else:
        s = Staged(k, mem)
        text = s.texts()
    return text, dict(zip(dict.fromkeys(s.pointers.values()), s.decls, strict=True)) | dict(s.partials.values())


def workspace_bytes(k: Kernel, mem: Memory) -> int:
    """Of a kernel's operands that are laid out, and its partial sums; 0: it has none."""
    if mem.exact:
        return 0
    s = SKELETONS[type(k.anchor)][0](k, mem)
    return s.staging.nbytes if s.staging else s.parts.nbytes if s.parts else 0


def launch_bytes(k: Kernel, mem: Memory, nbytes: int) -> list[int]:
    """Bytes that each launch of a kernel moves, of which the kernel itself moves so many."""
    s = None if mem.exact else SKELETONS[type(k.anchor)][0](k, mem)
    if s is not None and s.staging:
        return Staged(k, mem).moved()
    return [nbytes, s.parts.nbytes] if s is not None and s.parts else [nbytes]


def reorders(k: Kernel, mem: Memory) -> bool:
    """Does a kernel add floats in another order than the interpreter?"""
    s = SKELETONS[type(k.anchor)][0](k, mem)
    sums = [r for r in k.anchor.results if getattr(r, "how", "sum") == "sum"]
    return (s.large or (isinstance(s, Sums) and s.wide)) and any(r.dtype not in INTEGERS for r in sums)


def body_text(text: KernelText) -> str:
    """A skeleton's statements, those behind LOADED under it."""
    body = render(f"triton/kernels/{text.template}.py.j2", **text.context)
    before, mark, after = body.partition(f"    {LOADED}\n")
    return before + mark + (indent(after, "    ") if mark else after)
