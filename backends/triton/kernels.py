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

Those give the interpreter's bits.  In a network whose products are so large that arithmetic takes the time
(``Memory.exact`` is false), large ones use tensor cores: what has a bit by :mod:`.products`, which lay their operands
out first, but for u8, gates and sums along rows, which are for ``dot``; other floats by ``split``.  A float, scaled by
a power of two, is the sum of two f16 numbers.  Then |error| <= Q 2**-21 max|float| (times
255 for u8; Q 2**-20 max|left| max|right| for two floats).  Weights' gradients and sums over many rows are made in two
stages (:mod:`.split`), sums over many rows or columns some terms at a time: float results are not those of other
backends to the bit, whole numbers and bits that come from them are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bnnc.diag import InternalError, error
from bnnc.ir.dtype import INTEGERS, Axis, ceil_div, round_up
from bnnc.sched.anchor import Acc, Anchor, Contract, Convolve, Fold, Group, Map, Recur, Reduce, Window
from bnnc.sched.expr import Expr, bare
from bnnc.sched.kernel import Kernel

from ..printing import Printed
from . import split
from .expr import Frame, Load, Printer
from .images import Images
from .products import Staged
from .skeleton import TENSOR_TILE, KernelText, Memory, Operand, Product, Skeleton, Tile, power, tile
from .split import Parts

TILE = 2048  # elements of a map's tile
COLUMNS = 128
LANES = 32  # columns of a reduction's tile: one a thread of a warp
WIDE = 64  # columns of a sum that are added some at a time, in large networks
PARTS, PART_COLUMNS = 64, 16  # of partial sums: ranges that a program takes at a time, and its columns
AHEAD, SEVERAL = 10, 2  # turns of a reduction whose loads go ahead, where there are several in each


class Matrices(Skeleton):
    """Kernels on matrices and through time."""

    # -- map ----------------------------------------------------------------------------------------------------------
    def map(self, x: Map) -> KernelText:
        """Element by element, in tiles of the output."""
        rows, cols = self.k.domain
        bm0, bn0 = self.least()
        bn = tile(cols, COLUMNS, bn0)
        return self.text("map", self.tiled(tile(rows, max(1, TILE // bn), bm0), bn), {})

    # -- reductions ---------------------------------------------------------------------------------------------------
    def reduce(self, x: Reduce) -> KernelText:
        """Lanes along the axis that stays; the other one in index order."""
        (rows, cols), (bm0, bn0) = self.k.domain, self.least()
        by_rows = x.axis is Axis.ROWS
        loop, stays = ("r", "c") if by_rows else ("c", "r")
        accs = {i: self.names.new(f"acc{i}") for i in range(len(x.accs))}
        if self.wide:
            return self.reduce_tall(x, accs) if by_rows else self.reduce_wide(x, accs)
        made = self.tiled(1, tile(cols, LANES, bn0)) if by_rows else self.tiled(tile(rows, LANES, bm0), 1)
        extent, frame = rows if by_rows else cols, replace(made.frame, looped=loop)
        named = tuple(a.expr for a in x.accs if a.how != "sum")
        pr, unroll, loads = self.printer(frame), 0, list[Load]()
        inside = pr.print([a.expr for a in x.accs], named)
        if self.mem.exact and extent >= 2 * AHEAD and not any(e.elsewhere() for e in x.operands):
            ahead = self.ahead(frame, loop)
            code = ahead.print([a.expr for a in x.accs], named)
            if len(ahead.turns) >= SEVERAL:
                pr, inside, loads = ahead, code, list(ahead.turns.values())
                unroll = max((n for n in range(AHEAD // 2, AHEAD + 1) if extent % n == 0), default=AHEAD)
        return self.text(
            "reduce_ahead" if unroll else "reduce",
            made,
            accs,
            warps=1,
            head=made.head(stays),
            loop_=loop,
            extent=extent,
            inside=inside,
            turns=[turn for i, a in enumerate(x.accs) for turn in self.step(a, accs[i], pr, loop)],
            loads=loads,
            unroll=unroll,
            whole=extent // unroll * unroll if unroll else 0,
        )

    @property
    def wide(self) -> bool:
        """Does a reduction go through many terms at a time?  Only in large networks, and where any order is as good."""
        x = self.k.anchor
        if self.mem.exact or not isinstance(x, Reduce):
            return False
        terms, least = (self.k.domain[0], split.TALL) if x.axis is Axis.ROWS else (self.k.domain[1], WIDE)
        return terms >= least and all(a.how in ("sum", "max") for a in x.accs)

    @property
    def parts(self) -> Parts | None:
        x = self.k.anchor
        if not isinstance(x, Reduce):
            return super().parts
        if x.axis is Axis.COLUMNS or not self.wide:
            return None
        (rows, cols), (block, _) = self.k.domain, self.tall_tile()
        tiles = ceil_div(cols * self.strips, tile(cols * self.strips, COLUMNS))
        return split.parts(rows, block, tiles, cols * len(x.accs))

    def tall_tile(self, least: int = 1) -> tuple[int, int]:
        """Rows that a program takes at a time, and its columns."""
        cols = self.k.domain[1]
        return TILE // tile(cols * self.strips, COLUMNS, least), tile(cols, COLUMNS, least)

    def reduce_tall(self, x: Reduce, accs: dict[int, str]) -> KernelText:
        """Over many rows, some of them at a time: those of a range, and then over the ranges; or all at once."""
        (rows, cols), parts, bn0 = self.k.domain, self.parts, self.least()[1]
        block, columns = self.tall_tile(1 if parts else bn0)
        made = self.tiled(1, columns, "u" if parts else "t")
        row_ok = "rows_ok" if rows % block else ""
        pr = self.printer(Frame(row_ok=row_ok, col_ok=made.frame.col_ok, looped="r"))
        inside = pr.print([a.expr for a in x.accs])
        loop: dict[str, Any] = {
            "head": made.head("c"),
            "extent": rows,
            "block": block,
            "ragged": bool(row_ok),
            "inside": inside,
            "turns": [self.lanes(a, accs[i], number(pr, a), row_ok) for i, a in enumerate(x.accs)],
            "begin": "0",
            "stop": str(round_up(rows, block)),
        }
        if parts is None:
            return self.text("reduce_tall", made, accs, **loop)
        kept = [
            f"tl.store({self.partial(turn['type'])} + (part * {len(accs)} + {i}) * {cols} + c, {turn['name']}"
            f"{', mask=cols_ok' if made.frame.col_ok else ''})"
            for i, turn in enumerate(loop["turns"])
        ]
        which = ["part = t"] if made.count == 1 else [f"part = t // {made.count}", f"u = t % {made.count}"]
        ends = [f"begin = part * {parts.size}", f"stop = tl.minimum(begin + {parts.size}, {rows})"]
        own = {**self.shared(made), **loop, "head": [*which, *ends, *loop["head"]], "begin": "begin", "stop": "stop"}
        first = KernelText("reduce_tall", made.count * parts.count, {**own, "end": kept}, what="sums")
        return replace(self.reduce_parts(x, accs, parts), before=(first,))

    def reduce_parts(self, x: Reduce, accs: dict[int, str], parts: Parts) -> KernelText:
        """Over what was kept of each range."""
        cols, block = self.k.domain[1], tile(parts.count, PARTS)
        made = self.tiled(1, tile(cols, PART_COLUMNS, self.least()[1]))
        row_ok, col_ok = "rows_ok" if parts.count % block else "", made.frame.col_ok
        ok, turns, inside = " & ".join(m for m in (row_ok, col_ok) if m), [], []
        for i, a in enumerate(x.accs):
            at, name = f"(r * {len(accs)} + {i}) * {cols} + c", self.names.new("kept")
            turn = self.lanes(a, accs[i], name)
            masked = f", mask={ok}, other={turn['none']}" if ok else ""
            inside.append(f"{name} = tl.load({self.partial(turn['type'])} + {at}{masked})")
            turns.append(turn)
        return self.text(
            "reduce_tall",
            made,
            accs,
            head=made.head("c"),
            extent=parts.count,
            block=block,
            ragged=bool(row_ok),
            inside=Printed(body=inside),
            turns=turns,
            begin="0",
            stop=str(round_up(parts.count, block)),
        )

    def lanes(self, a: Acc, acc: str, term: str, ok: str = "") -> dict[str, str]:
        """An accumulator with lanes along its terms: type, first value, what each turn does with a term (where ``ok``
        holds), what joins the lanes.
        """
        none, kind = ("0", "int32") if is_whole(a) else ("0.0", "float32")
        if a.how == "max":
            none = str(-(1 << 31)) if is_whole(a) else 'float("-inf")'
        term = f"tl.where({ok}, {bare(term)}, {none})" if ok else term
        step, join = (
            (f"{acc} + {term}", "num.ADD") if a.how == "sum" else (f"tl.maximum({acc}, {bare(term)})", "num.MAX")
        )
        return {"name": acc, "type": kind, "none": none, "step": step, "join": join}

    def reduce_wide(self, x: Reduce, accs: dict[int, str]) -> KernelText:
        """Over many columns, some of them at a time."""
        (rows, cols), (bm0, _) = self.k.domain, self.least()
        block = tile(cols, TILE)
        made = self.tiled(tile(rows, max(1, TILE // block), bm0), 1)
        col_ok = "cols_ok" if cols % block else ""
        pr = self.printer(Frame(row_ok=made.frame.row_ok, col_ok=col_ok, looped="c"))
        return self.text(
            "reduce_wide",
            made,
            accs,
            head=made.head("r"),
            extent=cols,
            block=block,
            ragged=bool(col_ok),
            inside=pr.print([a.expr for a in x.accs]),
            turns=[self.lanes(a, accs[i], number(pr, a), col_ok) for i, a in enumerate(x.accs)],
        )

    def step(self, a: Acc, acc: str, pr: Printer, loop: str) -> list[dict[str, str]]:
        """The accumulators of one reduction: type, and what each turn of the loop does."""
        x, kind = number(pr, a), "int32" if is_whole(a) else "float32"
        if a.how == "sum":
            return [{"name": acc, "type": kind, "step": f"{acc} + {x}"}]
        if a.how == "max":
            return [{"name": acc, "type": kind, "step": f"tl.where(({x} > {acc}) | ({loop} == 0), {x}, {acc})"}]
        best = self.names.new("best")
        return [
            {"name": acc, "type": "int32", "step": f"tl.where({x} > {best}, {loop}, {acc})"},
            {"name": best, "type": kind, "step": f"tl.where(({x} > {best}) | ({loop} == 0), {x}, {best})"},
        ]

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
        left, right = self.ahead(its, "q"), self.ahead(place, "q")
        x, s = left.print([number]), right.print([sign])
        (word,), loads = right.turns.values(), list(left.turns.values())
        unroll = 32 if len(loads) <= 2 else 8
        return self.summed(
            "contract_signs",
            p,
            x=Operand(number, x, left.num(number)),
            s=Operand(sign, s, ""),
            word=word,
            loads=loads,
            unroll=unroll,
            whole=p.q // unroll * unroll,
        )

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


def is_whole(a: Acc) -> bool:
    """Is this a sum, or the like, of whole numbers?"""
    return a.expr.dtype in INTEGERS


def number(pr: Printer, a: Acc) -> str:
    """A term of a sum, or the like, as its type."""
    return pr.whole(a.expr) if is_whole(a) else pr.num(a.expr)


SKELETONS: dict[type[Anchor], tuple[type[Skeleton], Callable[[Any, Any], KernelText]]] = {
    Map: (Matrices, Matrices.map),
    Reduce: (Matrices, Matrices.reduce),
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
    return (s.large or (isinstance(s, Matrices) and s.wide)) and any(r.dtype not in INTEGERS for r in sums)
