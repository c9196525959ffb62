"""Kernels as Triton functions: picks the skeleton for each anchor and gives it loads, stores, tiles and extents as
text.

In: one packed kernel, its storages and where they lie.  Out: the body of ``def k07_...(arena, t)``, which computes tile
``t`` of ``tiles``.  Skeletons own loops and tiles (``templates/triton/kernels``); expressions come from :mod:`.expr`.

    contraction            left x right          skeleton
    nn, nt                 bit x bit             popcount   exact integers, perhaps gated
    nn, nt; tn             u8 x bit; gated bits  dot        exact integers: int8 tiles unpacked in registers, tensor
                                                            cores
    nn, nt, tn             float x bit           grouped    in groups of four terms, as the interpreter adds
    tn; nn, nt             number x float        outer      one multiply and one add a term, in order; nn, nt of floats
    through time           bit x bit             recur      exact integers; a program has some samples and all their
                                                            units

Those give the interpreter's bits.  In a network whose products are so large that arithmetic takes the time
(``Memory.exact`` is false), large ones use tensor cores: bit x bit by ``dot``, and what has floats by ``split``: a
float, scaled by a power of two for each row, is the sum of two f16 numbers.  Then |error| <= Q 2**-21 max|float| (times
255 for u8; Q 2**-20 max|left| max|right| for two floats), and sums over many rows add 32 at a time: float results are
not those of other backends to the bit, integers and bits that come from integers are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bnnc.diag import InternalError, error
from bnnc.ir.dtype import INTEGERS, ceil_div
from bnnc.sched.anchor import Acc, Anchor, Contract, Convolve, Fold, Group, Map, Recur, Reduce, Window
from bnnc.sched.expr import ROWS
from bnnc.sched.kernel import Kernel

from .expr import Frame, Printer
from .images import Images
from .skeleton import TENSOR_TILE, KernelText, Memory, Skeleton, bare_int8, power, tile

TILE = 2048  # elements of a map's tile
COLUMNS = 128
LANES = 32  # columns of a reduction's tile: one a thread of a warp
TALL = 1024  # rows of a sum, of a large network


class Matrices(Skeleton):
    """Kernels on matrices and through time."""

    # -- map ----------------------------------------------------------------------------------------------------------
    def map(self, x: Map) -> KernelText:
        rows, cols = self.k.domain
        bm0, bn0 = self.least()
        bn = tile(cols, COLUMNS, bn0)
        bm = tile(rows, max(1, TILE // bn), bm0)
        context, frame, tiles = self.tiled(bm, bn)
        code, stores = self.outputs(frame, bm, bn, {})
        return KernelText("map", tiles, {**context, "code": code, "stores": stores})

    # -- reductions ---------------------------------------------------------------------------------------------------
    def reduce(self, x: Reduce) -> KernelText:
        """Lanes along the axis that stays; the other one in index order."""
        rows, cols = self.k.domain
        by_rows = x.axis == ROWS
        bm0, bn0 = self.least()
        bm, bn = (1, tile(cols, LANES, bn0)) if by_rows else (tile(rows, LANES, bm0), 1)
        context, frame, tiles = self.tiled(bm, bn)
        context["head"] = [h for h in context["head"] if not h.startswith("r = " if by_rows else "c = ")]
        inner = Frame(row_ok=frame.row_ok, col_ok=frame.col_ok, looped="r" if by_rows else "c")
        accs = {i: self.names.new(f"acc{i}") for i in range(len(x.accs))}
        if by_rows and not self.mem.exact and rows >= TALL and all(a.how == "sum" for a in x.accs):
            return self.reduce_tall(x, context, frame, tiles, accs)
        pr = self.printer(inner)
        inside = pr.print([a.expr for a in x.accs], tuple(a.expr for a in x.accs if a.how != "sum"))
        steps = [self.step(a, accs[i], pr, "r" if by_rows else "c") for i, a in enumerate(x.accs)]
        code, stores = self.outputs(frame, bm, bn, accs)
        return KernelText(
            "reduce",
            tiles,
            {
                **context,
                "loop": "r" if by_rows else "c",
                "extent": rows if by_rows else cols,
                "shape": f"({bm}, {bn})",
                "inside": inside,
                "accs": [x for s in steps for x in s],
                "code": code,
                "stores": stores,
            },
            warps=1,
        )

    def reduce_tall(
        self, x: Reduce, context: dict[str, Any], frame: Frame, tiles: int, accs: dict[int, str]
    ) -> KernelText:
        """Sums over many rows, 32 of them at a time."""
        rows, ragged = self.k.domain[0], bool(self.k.domain[0] % 32)
        pr = self.printer(Frame(row_ok="rows_ok" if ragged else "", col_ok=frame.col_ok, looped="r"))
        inside = pr.print([a.expr for a in x.accs])
        sums = []
        for i, a in enumerate(x.accs):
            whole = a.expr.dtype in INTEGERS
            term = pr.whole(a.expr) if whole else pr.num(a.expr)
            sums.append(
                {
                    "name": accs[i],
                    "type": "int32" if whole else "float32",
                    "step": f"{accs[i]} + " + (f"tl.where(rows_ok, {term}, {0 if whole else 0.0})" if ragged else term),
                }
            )
        code, stores = self.outputs(frame, 1, context["bn"], accs)
        return KernelText(
            "reduce_tall",
            tiles,
            {
                **context,
                "extent": rows,
                "ragged": ragged,
                "inside": inside,
                "accs": sums,
                "code": code,
                "stores": stores,
            },
        )

    def step(self, a: Acc, acc: str, pr: Printer, loop: str) -> list[dict[str, str]]:
        """The accumulators of one reduction: type, and what each turn of the loop does."""
        whole = a.expr.dtype in INTEGERS
        x, kind = (pr.whole(a.expr), "int32") if whole else (pr.num(a.expr), "float32")
        if a.how == "sum":
            return [{"name": acc, "type": kind, "step": f"{acc} + {x}"}]
        if a.how == "max":
            return [{"name": acc, "type": kind, "step": f"tl.where(({x} > {acc}) | ({loop} == 0), {x}, {acc})"}]
        best = self.names.new("best")
        return [
            {"name": acc, "type": "int32", "step": f"tl.where({x} > {best}, {loop}, {acc})" if loop else ""},
            {"name": best, "type": kind, "step": f"tl.where(({x} > {best}) | ({loop} == 0), {x}, {best})"},
        ]

    # -- contractions -------------------------------------------------------------------------------------------------
    def contract(self, x: Contract) -> KernelText:
        a, b = x.a, x.b
        bits = [e.dtype == "bit" for e in (a, b)]
        if any(t and e.op != "load" for t, e in zip(bits, (a, b), strict=True)):
            raise InternalError("one-bit operands of a contraction must be in memory")
        if bits[1] and (a.dtype == "u8" or (bits[0] and (x.form != "tn" or x.gate is not None))):
            if x.form == "tn" or a.dtype == "u8" or self.large:
                return self.dot(x)
            return self.popcount(x)
        if self.large and not all(bits):
            return self.tensors(x)
        if bits[0] != bits[1]:
            return self.grouped(x)
        if not any(bits):
            return self.outer(x)
        raise error(
            "B0701", f"the Triton backend has no kernel for {a.dtype} x {b.dtype} in form {x.form}", self.k.where.span
        )

    def popcount(self, x: Contract) -> KernelText:
        context, frame, tiles = self.product(x.dims[1], (32, 32))
        a, b = x.a.attr, x.b.attr
        gate = self.pointers[x.gate.attr] if x.gate is not None else ""
        return KernelText(
            "contract_popcount",
            tiles,
            self.epilogue(
                {
                    **context,
                    "words": ceil_div(context["q"], 32),
                    "a": self.pointers[a],
                    "a_stride": self.mem.storages[a].stride,
                    "gate": gate,
                    "b": self.pointers[b],
                    "b_stride": self.mem.storages[b].stride,
                    "rows_ok": frame.row_ok,
                    "cols_ok": frame.col_ok,
                },
                frame,
            ),
        )

    def dot(self, x: Contract) -> KernelText:
        """Operands as int8 tiles [m, q] and [q, n]; what is beyond an edge, or behind a closed gate, is 0."""
        (m, q, _), a, b = x.dims, x.a, x.b
        whole = any(o.row_sum for o in self.k.outputs)  # rows from end to end
        most = (16, 64) if whole else TENSOR_TILE if self.large else (32, 32) if x.form == "tn" else (64, 64)
        context, frame, tiles = self.product(q, most, 16)
        inner: list[str] = []
        if whole:
            inner = [
                f"c = c0 + tl.arange(0, {context['bn']})[None, :]",
                *(h for h in context["head"] if h.startswith("cols_ok = ")),
            ]
            tiles = ceil_div(m, context["bm"])
            start = f"t * {context['bm']} + " if tiles > 1 else ""
            self.origins = (start, "c0 + ")
            context["head"] = [
                f"r = {start}tl.arange(0, {context['bm']})[:, None]",
                *(h for h in context["head"] if h.startswith("rows_ok = ")),
            ]
        block = 64 if self.large else 32
        ragged = bool(q % block)
        q_ok = "q_ok" if ragged else ""
        across, down = Frame("r", "q", frame.row_ok, q_ok), Frame("q", "r", q_ok, frame.row_ok)
        left = self.printer(down if x.form == "tn" else across)
        gate = [x.gate] if x.gate is not None else []
        a_code = left.print([a, *gate])
        value = a_code.results[0]
        if a.dtype == "bit":
            value = f"tl.where({value}, 1, -1)"
        if a.dtype == "u8":
            value = f"{value} - 128"
        if gate:
            value = f"tl.where({a_code.results[1]}, {value}, 0)"
        right = self.printer(
            Frame("c", "p", frame.col_ok, "p_ok" if ragged else "")
            if x.form == "nt"
            else Frame("p", "c", "p_ok" if ragged else "", frame.col_ok)
        )
        b_code = right.print([b])
        return KernelText(
            "contract_dot",
            tiles,
            self.epilogue(
                {
                    **context,
                    "block": block,
                    "ragged": ragged,
                    "a_code": a_code,
                    "b_code": b_code,
                    "inner": inner,
                    "rows_ok": frame.row_ok,
                    "cols_ok": frame.col_ok,
                    "a_value": bare_int8(value, "q_ok" if ragged else ""),
                    "b_value": bare_int8(f"tl.where({b_code.results[0]}, 1, -1)", "p_ok" if ragged else ""),
                    "offset": a.dtype == "u8",
                },
                frame,
            ),
            warps=8 if self.large else 4,
        )

    def tensors(self, x: Contract) -> KernelText:
        """A product with a float on f16 tensor cores."""
        a, b = x.a, x.b
        context, frame, tiles = self.product(x.dims[1], TENSOR_TILE, 16)
        q_ok, p_ok = ("q_ok", "p_ok") if context["q"] % 32 else ("", "")
        left = self.printer(
            Frame("q", "r", q_ok, frame.row_ok) if x.form == "tn" else Frame("r", "q", frame.row_ok, q_ok)
        )
        right = self.printer(
            Frame("c", "p", frame.col_ok, p_ok) if x.form == "nt" else Frame("p", "c", p_ok, frame.col_ok)
        )
        a_code, b_code = left.print([a]), right.print([b])
        return self.split(context, frame, tiles, (a, left.num(a), a_code, q_ok), (b, right.num(b), b_code, p_ok))

    def grouped(self, x: Contract) -> KernelText:
        """Sums over q of a float times a sign, the float operand along rows or columns of the tile."""
        context, frame, tiles = self.product(x.dims[1], (32, 32))
        across = x.form == "tn"  # the float operand is on the right
        number, sign = (x.b, x.a) if across else (x.a, x.b)
        q_ok = "q_ok" if context["q"] % 4 else ""
        by_form = {
            "tn": (Frame("q", "c", q_ok, frame.col_ok, "r"), Frame("q", "r", q_ok, frame.row_ok, "r")),
            "nt": (Frame("r", "q", frame.row_ok, q_ok, "c"), Frame("c", "q", frame.col_ok, q_ok, "c")),
            "nn": (Frame("r", "q", frame.row_ok, q_ok, "c"), Frame("q", "c", q_ok, frame.col_ok, "r")),
        }
        of_number, of_sign = by_form[x.form]
        pr = self.printer(of_number)
        x_code = pr.print([number])
        s_code = self.printer(of_sign).print([sign])
        return KernelText(
            "contract_grouped",
            tiles,
            self.epilogue(
                {
                    **context,
                    "ragged": bool(q_ok),
                    "x_code": x_code,
                    "x_value": pr.num(number),
                    "s_code": s_code,
                    "s_value": s_code.results[0],
                },
                frame,
            ),
        )

    def outer(self, x: Contract) -> KernelText:
        a, b = x.a, x.b
        context, frame, tiles = self.product(x.dims[1], (32, 32))
        left = self.printer(
            Frame("q", "r", "", frame.row_ok, "r") if x.form == "tn" else Frame("r", "q", frame.row_ok, "", "c")
        )
        a_code = left.print([a])
        right = self.printer(
            Frame("c", "q", frame.col_ok, "", "c") if x.form == "nt" else Frame("q", "c", "", frame.col_ok, "r")
        )
        b_code = right.print([b])
        return KernelText(
            "contract_outer",
            tiles,
            self.epilogue(
                {**context, "a_code": a_code, "a_value": left.num(a), "b_code": b_code, "b_value": right.num(b)}, frame
            ),
        )

    # -- groups -------------------------------------------------------------------------------------------------------
    def group(self, x: Group) -> KernelText:
        """In each group of columns of a row, the entry that wins: every entry looks at all others of its group."""
        rows, cols = self.k.domain
        (acc,), size = x.accs, x.size
        assert size.op in ("load", "const")
        bm0, bn0 = self.least()
        bn = tile(cols, 64, bn0)
        context, frame, tiles = self.tiled(tile(rows, max(1, TILE // bn), bm0), bn)
        here = self.printer(frame)
        own = here.print([acc.expr])
        there = self.printer(Frame("r", "other", frame.row_ok, "other_ok"))
        others = there.print([acc.expr])
        won = self.names.new("won")
        code, stores = self.outputs(frame, context["bm"], bn, {0: won})
        return KernelText(
            "group",
            tiles,
            {
                **context,
                "size": f"tl.load({self.pointers[size.attr]})" if size.op == "load" else size.attr,
                "own": own,
                "value": here.whole(acc.expr),
                "others": others,
                "other": there.whole(acc.expr),
                "won": won,
                "code": code,
                "stores": stores,
            },
        )

    # -- time ---------------------------------------------------------------------------------------------------------
    def fold(self, x: Fold) -> KernelText:
        """Sums over the steps of a sample."""
        rows, cols = self.k.out_shape
        (acc,) = x.accs
        bm0, bn0 = self.least()
        bn = tile(cols, COLUMNS, bn0)
        context, frame, tiles = self.tiled(tile(rows, max(1, TILE // bn), bm0), bn)
        pr = self.printer(Frame("at", "c", frame.row_ok, frame.col_ok, "r"))
        inside = pr.print([acc.expr])
        name = self.names.new("acc")
        code, stores = self.outputs(frame, context["bm"], bn, {0: name})
        return KernelText(
            "fold",
            tiles,
            {
                **context,
                "steps": x.steps,
                "inside": inside,
                "value": pr.whole(acc.expr),
                "acc": name,
                "code": code,
                "stores": stores,
            },
        )

    def recur(self, x: Recur) -> KernelText:
        """Through time, some samples at a time and all their units; the carried state is words in registers."""
        (rows, cols), steps = self.k.domain, x.steps
        bn = tile(cols, power(cols), 32)
        bm = tile(rows // steps, max(1, TILE // 4 // bn))
        tiles = ceil_div(rows // steps, bm)
        frame = Frame("at", "c", "rows_ok" if rows // steps % bm else "", "cols_ok" if cols % bn else "")
        acc = self.names.new("y")
        code, stores = self.outputs(frame, bm, bn, {0: acc})
        operand = [{"ptr": self.pointers[e.attr], "stride": self.mem.storages[e.attr].stride} for e in x.inputs]
        inputs = x.inputs[0].shape[1]
        return KernelText(
            x.op,
            tiles,
            {
                "start": f"t * {bm} + " if tiles > 1 else "",
                "bm": bm,
                "bn": bn,
                "rows": rows // steps,
                "cols": cols,
                "steps": steps,
                "first": x.first,
                "rows_ok": frame.row_ok,
                "cols_ok": frame.col_ok,
                "operand": operand,
                "inputs": inputs,
                "words": ceil_div(cols, 32),
                "input_words": ceil_div(inputs, 32),
                "acc": acc,
                "code": code,
                "stores": stores,
            },
        )


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


def kernel_text(k: Kernel, mem: Memory) -> tuple[KernelText, list[str]]:
    """The skeleton with its context, and the pointer declarations."""
    skeleton, make = SKELETONS[type(k.anchor)]
    s = skeleton(k, mem)
    return make(s, k.anchor), s.decls
