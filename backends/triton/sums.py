"""Sums, maxima and the like over the rows or the columns of a matrix, as Triton functions.

Lanes are along the axis that stays.  Floats are added in index order, some terms loaded ahead of those that are added;
whole numbers, and in large networks all, some terms at a time.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from bnnc.ir.dtype import INTEGERS, Axis, ceil_div, round_up
from bnnc.sched.anchor import Acc, Reduce
from bnnc.sched.expr import bare

from ..printing import Printed
from . import split
from .expr import Ahead, Frame, Load, Printer
from .skeleton import KernelText, Skeleton, Tile, power, tile
from .split import Parts

TILE, COLUMNS = 2048, 128  # elements of a tile of what is no product, and its columns
LANES = 32  # columns of a reduction's tile: one a thread of a warp
WIDE = 64  # columns of a sum that are added some at a time, in large networks
PARTS, PART_COLUMNS = 64, 16  # of partial sums: ranges that a program takes at a time, and its columns
AHEAD, LEAST_AHEAD = 50, 10  # loads of a reduction that go ahead


def is_whole(a: Acc) -> bool:
    """Is this a sum, or the like, of whole numbers?"""
    return a.expr.dtype in INTEGERS


def number(pr: Printer, a: Acc) -> str:
    """A term of a sum, or the like, as its type."""
    return pr.whole(a.expr) if is_whole(a) else pr.num(a.expr)


class Sums(Skeleton):
    """Kernels that add up, or choose, along an axis."""

    def reduce(self, x: Reduce) -> KernelText:
        """Lanes along the axis that stays; the other one in index order."""
        (rows, cols), (bm0, bn0) = self.k.domain, self.least()
        by_rows = x.axis is Axis.ROWS
        loop, stays = ("r", "c") if by_rows else ("c", "r")
        accs = {i: self.names.new(f"acc{i}") for i in range(len(x.accs))}
        if self.wide:
            return self.reduce_tall(x, accs) if by_rows else self.reduce_wide(x, accs)
        made = self.tiled(1, tile(cols, LANES, bn0)) if by_rows else self.tiled(tile(rows, LANES, bm0), 1)
        if by_rows and rows >= LANES and all(is_whole(a) and a.how == "sum" for a in x.accs):
            return self.tall(x, accs, made, tile(rows, TILE // made.cols))
        extent, frame = rows if by_rows else cols, replace(made.frame, looped=loop)
        named = tuple(a.expr for a in x.accs if a.how != "sum")
        if self.mem.exact and extent >= LEAST_AHEAD and not any(e.elsewhere() for e in x.operands):
            ahead = self.ahead(frame, loop)
            ahead.adds = True
            code = ahead.print([a.expr for a in x.accs], named)
            if 0 < len(ahead.turns) <= AHEAD // LEAST_AHEAD:
                return self.reduce_ahead(x, accs, made, ahead, code)
        pr = self.printer(frame)
        pr.adds = self.mem.exact
        inside = pr.print([a.expr for a in x.accs], named)
        turns = [turn for i, a in enumerate(x.accs) for turn in self.step(a, accs[i], pr, loop)]
        own: dict[str, Any] = {"head": made.head(stays), "loop_": loop}
        own |= {"extent": extent, "inside": inside, "turns": turns}
        return self.text("reduce", made, accs, warps=1, **own)

    def reduce_ahead(self, x: Reduce, accs: dict[int, str], made: Tile, pr: Ahead, inside: Printed) -> KernelText:
        """Some turns' loads at once, before those turns."""
        extent, loop = self.k.domain[x.axis], pr.turn
        own: dict[str, Any] = {
            "head": made.head("c" if loop == "r" else "r"),
            "loop_": loop,
            "extent": extent,
            "inside": inside,
            "turns": [turn for i, a in enumerate(x.accs) for turn in self.step(a, accs[i], pr, loop)],
            "loads": list(pr.turns.values()),
            "apart": [],
        }
        own |= self.side_by_side(x, accs, own["head"], own["loads"]) if loop == "r" else {}
        most = AHEAD // len(own["loads"])
        most = extent if extent < 2 * LEAST_AHEAD and extent <= most else min(most, extent // 2)
        own["unroll"] = unroll = max((n for n in range(most // 2, most + 1) if extent % n == 0), default=most)
        own["whole"] = extent // unroll * unroll
        return self.text("reduce_ahead", made, accs, warps=1, **own)

    def side_by_side(self, x: Reduce, accs: dict[int, str], head: list[str], loads: list[Load]) -> dict[str, Any]:
        """Several sums of numbers that lie alike, as lanes of one sum: what they take instead of a loop of their own.
        A lane adds what it loads as it is, so only what is an f32 in memory serves; else nothing.
        """
        storages = self.mem.storages
        plain = all(a.how == "sum" and a.expr.op == "load" and storages[a.expr.attr].dtype == "f32" for a in x.accs)
        if not plain or len(x.accs) == 1:
            return {}
        terms = [self.pointers[a.expr.attr] for a in x.accs]
        alike = {re.sub(rf"\b({'|'.join(terms)})\b", "terms_at", a.text) for a in loads}
        if len(alike) > 1:
            return {}
        chosen, lanes = terms[-1], power(len(terms))
        for i, pointer in reversed(list(enumerate(terms[:-1]))):
            chosen = f"tl.where(lane == {i}, {pointer}, {chosen})"
        return {
            "head": [*head, f"lane = tl.arange(0, {lanes})[:, None]", f"terms_at = {chosen}"],
            "inside": Printed(),
            "turns": [{"name": "sums", "type": "float32", "step": "sums + terms_in"}],
            "loads": [Load("terms_in", alike.pop(), "r")],
            "bm": lanes,
            "apart": [f"{accs[i]} = tl.reduce(tl.where(lane == {i}, sums, 0.0), 0, num.ADD)[None, :]" for i in accs],
        }

    @property
    def wide(self) -> bool:
        """Does a reduction go through many terms at a time?  Only in large networks, and where any order is as good."""
        x = self.k.anchor
        assert isinstance(x, Reduce)
        if self.mem.exact:
            return False
        terms, least = (self.k.domain[0], split.TALL) if x.axis is Axis.ROWS else (self.k.domain[1], WIDE)
        return terms >= least and all(a.how in ("sum", "max") for a in x.accs)

    @property
    def parts(self) -> Parts | None:
        x = self.k.anchor
        assert isinstance(x, Reduce)
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
        loop = self.terms_of(x, accs, made, block)
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

    def tall(self, x: Reduce, accs: dict[int, str], made: Tile, block: int) -> KernelText:
        """Over all rows, ``block`` at a time."""
        return self.text("reduce_tall", made, accs, **self.terms_of(x, accs, made, block))

    def terms_of(self, x: Reduce, accs: dict[int, str], made: Tile, block: int) -> dict[str, Any]:
        """The loop over all rows."""
        rows = self.k.domain[0]
        row_ok = "rows_ok" if rows % block else ""
        pr = self.printer(Frame(row_ok=row_ok, col_ok=made.frame.col_ok, looped="r"))
        inside = pr.print([a.expr for a in x.accs])
        return {
            "head": made.head("c"),
            "extent": rows,
            "block": block,
            "ragged": bool(row_ok),
            "inside": inside,
            "turns": [self.lanes(a, accs[i], number(pr, a), row_ok) for i, a in enumerate(x.accs)],
            "begin": "0",
            "stop": str(round_up(rows, block)),
        }

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
