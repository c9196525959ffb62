"""Kernels on images: convolutions as products that walk over a window's positions, and pools.

Rows are pixels, columns channels.  At each position a row of the result meets one pixel of an operand, or none: ``at`` is that
pixel's row, ``at_ok`` says whether there is one.  Then a position is a product, and the skeletons are those of products:

    form        operands        skeleton          what it sums
    forward     bit x bit       convolve, dot     a position's words of channels (large: int8 tiles)
    forward     u8 x bit        outer             whole numbers, a channel at a time
    back        float x bit     grouped, split    a position's output channels
    weight      bit x float     grouped, split    output pixels: a row of the result is a position and a channel
    weight      u8 x float      outer, split      likewise
"""

from __future__ import annotations

from typing import Any

from bnnc.diag import InternalError, error
from bnnc.ir.dtype import INTEGERS
from bnnc.ir.image import Geometry
from bnnc.plan.types import ceil_div
from bnnc.sched.kernel import Expr, bare

from .expr import Frame, Printed
from .skeleton import TENSOR_TILE, KernelText, Skeleton, bare_int8, tile

WEIGHT_TILES = (TENSOR_TILE, (64, 64), (32, 32))  # of a weight's gradient on tensor cores: the first that makes enough of them
ENOUGH = 96


class Images(Skeleton):
    """Kernels that have a geometry."""

    @property
    def geometry(self) -> Geometry:
        assert self.k.geometry is not None
        return self.k.geometry

    def meet(self, what: str, row: str, position: str, *masks: str) -> tuple[list[str], str]:
        """Statements that make ``at`` and ``at_ok`` (num.source, num.target), and the mask that guards a load: none where every pixel
        exists.  ``masks``: others that must hold."""
        g = self.geometry
        lines = [f"at, at_ok = num.{what}({row}, {position}, {g.height}, {g.width}, {g.out_height}, {g.out_width}, {g.kx}, {g.stride}, "
                 f"{g.top}, {g.left})"]
        guards = ["at_ok"] * (g.padded or what == "target") + [m for m in masks if m]
        if guards and guards != ["at_ok"]:
            lines.append(f"at_ok = {' & '.join(guards)}")
        return lines, "at_ok" if guards else ""

    def beyond(self, value: str, fill: str) -> str:
        """``value``, or what lies beyond the edge."""
        return f"tl.where(at_ok, {bare(value)}, {fill})" if self.geometry.padded else value

    def convolve(self) -> KernelText:
        a, b = self.k.a, self.k.b
        assert a is not None and b is not None
        bits = [e for e in (a, b) if e.dtype == "bit"]
        if self.k.groups > 1 or (self.k.form != "back" and a.dtype not in ("bit", "u8")) or (self.k.form != "weight" and b.dtype != "bit"):
            what = f"in {self.k.groups} groups" if self.k.groups > 1 else f"of {a.dtype} by {b.dtype}"
            raise error("B0701", f"the GPU backend has no kernel for a convolution {what} yet", self.k.span,
                        help="compile for `--target host`")
        if any(e.op != "load" for e in bits):
            raise InternalError("one-bit operands of a convolution must be in memory")
        return {"forward": self.forward, "back": self.back, "weight": self.weight}[self.k.form](a, b)

    # -- forward ------------------------------------------------------------------------------------------------------
    def forward(self, a: Expr, b: Expr) -> KernelText:
        channels, dot = a.shape[1], a.dtype == "bit" and self.large
        context, frame, tiles = self.product(channels, TENSOR_TILE if dot else (32, 32), 16 if dot else 1)
        walk, ok = self.meet("source", "r", "position", frame.row_ok)
        context |= {"positions": self.geometry.positions, "walk": walk, "rows_ok": frame.row_ok, "cols_ok": frame.col_ok}
        if dot:
            return self.forward_dot(a, b, context, frame, tiles, ok)
        if a.dtype == "u8":
            left = self.printer(Frame("at", "q", ok, "", "rc"))
            a_code = left.print([a])
            right = self.printer(Frame("w", "c", "", frame.col_ok, "rc"))
            b_code = right.print([b])
            b_code.body.insert(0, f"w = position * {channels} + q")
            value = self.beyond(f"(2 * {a_code.results[0]} - 255)", str(255 * self.k.fill))
            return KernelText("contract_outer", tiles, self.epilogue({
                **context, "type": "int32", "a_code": a_code, "a_value": value, "b_code": b_code, "b_value": right.whole(b)}, frame))
        sa, sb = self.mem.storages[a.attr], self.mem.storages[b.attr]
        return KernelText("convolve", tiles, self.epilogue({
            **context, "words": ceil_div(channels, 32), "terms": b.shape[0], "ok": ok, "fill": self.k.fill,
            "padded": self.geometry.padded, "a": self.pointers[a.attr], "a_stride": sa.stride, "b": self.pointers[b.attr],
            "b_stride": sb.stride}, frame))

    def forward_dot(self, a: Expr, b: Expr, context: dict[str, Any], frame: Frame, tiles: int, ok: str) -> KernelText:
        """Bits as int8 tiles [pixels, channels] and [channels, output channels]."""
        block = 64 if a.shape[1] > 32 else 32
        ragged = bool(a.shape[1] % block)
        q_ok, p_ok = ("q_ok", "p_ok") if ragged else ("", "")
        a_code = self.printer(Frame("at", "q", ok, q_ok)).print([a])
        b_code = self.printer(Frame("w", "c", p_ok, frame.col_ok)).print([b])
        b_code.pre.insert(0, f"w = position * {a.shape[1]} + p")
        left = self.beyond(f"tl.where({bare(a_code.results[0])}, 1, -1)", str(self.k.fill))
        return KernelText("contract_dot", tiles, self.epilogue({
            **context, "block": block, "ragged": ragged, "inner": [], "offset": False, "a_code": a_code, "b_code": b_code,
            "a_value": bare_int8(left, q_ok), "b_value": bare_int8(f"tl.where({bare(b_code.results[0])}, 1, -1)", p_ok)}, frame), warps=8)

    # -- gradients ----------------------------------------------------------------------------------------------------
    def back(self, a: Expr, b: Expr) -> KernelText:
        """Sums over positions and output channels of a float, at the output pixel that meets this one, times a sign."""
        split, q = self.large, a.shape[1]
        rolled = any(e.op == "unwindow" for e in a.walk())  # what many windows share takes registers, and four times as much text
        most = ((64, 32) if rolled else TENSOR_TILE) if split else (8, 32) if rolled else (32, 32)
        context, frame, tiles = self.product(q, most, 16 if split else 1)
        walk, ok = self.meet("target", "r", "position", frame.row_ok)
        walk.append(f"w = position * {self.k.domain[1]} + c")
        context |= {"positions": self.geometry.positions, "walk": walk, "rolled": rolled}
        ragged = bool(q % (32 if split else 4))
        q_ok = "q_ok" if ragged else ""
        number = self.printer(Frame("at", "q", ok, q_ok, "" if split else "rc"))
        a_code = number.print([a])
        value = f"tl.where({' & '.join([ok, *[q_ok] * split])}, {bare(number.num(a))}, 0.0)" if ragged and split else (
            f"tl.where({ok}, {bare(number.num(a))}, 0.0)")
        sign = self.printer(Frame("w", "p", frame.col_ok, "p_ok" if ragged else "") if split else Frame("w", "q", frame.col_ok, q_ok, "rc"))
        b_code = sign.print([b])
        if split:
            return self.split(context, frame, tiles, ragged, a_code, value, b_code, sign.num(b), True)
        return KernelText("contract_grouped", tiles, self.epilogue({
            **context, "ragged": ragged, "x_code": a_code, "x_value": value, "s_code": b_code, "s_value": b_code.results[0]}, frame))

    def weight(self, a: Expr, b: Expr) -> KernelText:
        """Sums over output pixels of a sign or a u8, where the window of that pixel has it, times a float."""
        split, q, channels, fill = self.large, b.shape[0], a.shape[1], self.k.fill
        most = next((t for t in WEIGHT_TILES if ceil_div(self.k.domain[0], t[0]) * ceil_div(self.k.domain[1], t[1]) >= ENOUGH),
                    WEIGHT_TILES[-1]) if split else (32, 32)
        context, frame, tiles = self.product(q, most, 16 if split else 1)
        context["head"] += [f"position = r // {channels}", f"channel = r % {channels}"]
        grouped = a.dtype == "bit" and not split
        ragged = bool(q % (32 if split else 4 if grouped else 1))
        q_ok, p_ok = ("q_ok", "p_ok" if split else "q_ok") if ragged else ("", "")
        meet, ok = self.meet("source", "q", "position", frame.row_ok, q_ok)
        left = self.printer(Frame("at", "channel", ok, "", "" if split else "rc"))
        a_code = left.print([a])
        a_code.body[:0] = meet
        right = self.printer(Frame("p" if split else "q", "c", p_ok, frame.col_ok, "" if split else "r"))
        b_code = right.print([b])
        number, there = right.num(b), a_code.results[0]
        if grouped:
            s_value = f"({there} & at_ok)" if fill < 0 else f"({there} | ~at_ok)" if fill else there
            return KernelText("contract_grouped", tiles, self.epilogue({
                **context, "ragged": ragged, "x_code": b_code, "x_value": number if fill else self.beyond(number, "0.0"),
                "s_code": a_code, "s_value": s_value if self.geometry.padded else there}, frame))
        value = left.num(a) if a.dtype == "bit" else f"(2 * {there} - 255).to(tl.float32)"
        value = self.beyond(value, f"{float(fill * (1 if a.dtype == 'bit' else 255))}")
        if split:
            number = f"tl.where({p_ok}, {bare(number)}, 0.0)" if ragged else number
            return self.split(context, frame, tiles, ragged, a_code, value, b_code, number, False)
        return KernelText("contract_outer", tiles, self.epilogue({
            **context, "a_code": a_code, "a_value": value, "b_code": b_code, "b_value": number}, frame))

    def split(self, context: dict[str, Any], frame: Frame, tiles: int, ragged: bool, a_code: Printed, a_value: str, b_code: Printed,
              b_value: str, on_left: bool) -> KernelText:
        """A float times small whole numbers on f16 tensor cores."""
        small = f"({bare(b_value if on_left else a_value)}).to(tl.float16)"
        return KernelText("contract_split", tiles, self.epilogue({
            **context, "block": 32, "ragged": ragged, "a_code": a_code, "b_code": b_code, "a_value": a_value if on_left else small,
            "b_value": small if on_left else b_value, "on_left": on_left}, frame), warps=8 if context["bm"] > 32 else 4)

    # -- pools --------------------------------------------------------------------------------------------------------
    def window(self) -> KernelText:
        """The maximum or the sum of each window, and where the maximum is."""
        expr, adds = self.k.accs[0].expr, self.k.accs[0].how == "sum"
        if any((c.how == "sum") != adds for c in self.k.accs):
            raise InternalError("a window kernel finds sums or maxima, not both")
        (rows, cols), (bm0, bn0) = self.k.out_shape, self.least()
        bn = tile(cols, 128, bn0)
        context, frame, tiles = self.tiled(tile(rows, max(1, 1024 // bn), bm0), bn)
        walk, ok = self.meet("source", "r", "k", frame.row_ok)
        pr = self.printer(Frame("at", "c", ok, frame.col_ok, "r"))
        inside = pr.print([expr])
        whole = expr.dtype in INTEGERS
        best, route = self.names.new("best"), self.names.new("route")
        found = f"({best} > 0)" if expr.dtype == "bit" and not adds else best
        accs = {i: f"(({route} >> {c.how[5:]} & 1) != 0)" if c.how.startswith("route") else found for i, c in enumerate(self.k.accs)}
        code, stores = self.outputs(frame, context["bm"], bn, accs)
        return KernelText("window", tiles, {
            **context, "positions": self.geometry.positions, "walk": walk, "inside": inside, "adds": adds, "best": best, "route": route,
            "routed": any(c.how.startswith("route") for c in self.k.accs), "type": "int32" if whole else "float32",
            "ok": ok, "value": pr.whole(expr) if whole else pr.num(expr), "code": code, "stores": stores})
