"""Kernels on images: convolutions as products that walk over a window's positions, and pools.

Rows are pixels, columns channels.  At each position a row of the result meets one pixel of an operand, or none: ``at``
is that pixel's row, ``at_ok`` says whether there is one.  Then a position is a product, and the skeletons are those of
products; large networks' are the second ones, on tensor cores:

    form        operands            skeleton          what it sums
    forward     bit x bit           convolve, dot     a position's words of channels (large: int8 tiles)
    forward     u8 x bit            outer             whole numbers, a channel at a time
    forward     float x float       outer, split      likewise
    back        float x bit         grouped, split    a position's output channels
    back        float x float       outer, split      likewise
    weight      bit x float         grouped, split    output pixels: a row of the result is a position and a channel
    weight      u8, float x float   outer, split      likewise

In groups each column of the result looks up the terms of its own group (``pick``): bit x bit is done by outer too, and
no tensor core is used.
"""

from __future__ import annotations

from typing import Any

from bnnc.diag import InternalError
from bnnc.ir.dtype import INTEGERS, ceil_div
from bnnc.sched.anchor import Convolve, Window
from bnnc.sched.expr import Expr, bare
from bnnc.sched.kernel import Kernel

from .expr import Frame, Printer, shared
from .skeleton import TENSOR_TILE, KernelText, Memory, Skeleton, bare_int8, tile

WEIGHT_TILES = (
    TENSOR_TILE,
    (64, 64),
    (32, 32),
)  # of a weight's gradient on tensor cores: the first that makes enough of them
ENOUGH = 96


class Images(Skeleton):
    """Kernels that have a geometry."""

    def __init__(self, k: Kernel, mem: Memory) -> None:
        super().__init__(k, mem)
        assert isinstance(k.anchor, Convolve | Window)
        self.geometry = k.anchor.geometry
        self.groups = k.anchor.groups if isinstance(k.anchor, Convolve) else 1

    def meet(self, what: str, row: str, position: str, *masks: str) -> tuple[list[str], str]:
        """Statements that make ``at`` and ``at_ok`` (num.source, num.target), and the mask that guards a load: none
        where every pixel exists.  ``masks``: others that must hold."""
        g = self.geometry
        lines = [
            f"at, at_ok = num.{what}({row}, {position}, {g.height}, {g.width}, {g.out_height}, {g.out_width}, {g.kx},"
            f" {g.stride}, {g.top}, {g.left})"
        ]
        guards = ["at_ok"] * (g.padded or what == "target") + [m for m in masks if m]
        if guards and guards != ["at_ok"]:
            lines.append(f"at_ok = {' & '.join(guards)}")
        return lines, "at_ok" if guards else ""

    def beyond(self, value: str, fill: str) -> str:
        """``value``, or what lies beyond the edge."""
        return f"tl.where(at_ok, {bare(value)}, {fill})" if self.geometry.padded else value

    @property
    def own(self) -> int:
        """How many columns of the result share a group."""
        return self.k.domain[1] // self.groups

    def pick(self, terms: int, term: str) -> list[str]:
        """A statement that says where each column's group has a term, where there are groups."""
        return [f"pick = c // {self.own} * {terms} + {term}"] if self.groups > 1 else []

    def picked(self, row: str, ok: str, term: str, *masks: str) -> Frame:
        """A row's term, in the group of each column."""
        if self.groups > 1:
            return Frame(row, "pick", ok, " & ".join(m for m in masks if m), "rc")
        return Frame(row, term, ok, masks[-1], "rc")

    def convolve(self, x: Convolve) -> KernelText:
        if any(e.dtype == "bit" and e.op != "load" for e in x.operands):
            raise InternalError("one-bit operands of a convolution must be in memory")
        return {"forward": self.forward, "back": self.back, "weight": self.weight}[x.form](x)

    def number(self, pr: Printer, e: Expr, exact: bool = False) -> str:
        """What the left operand counts: an int32 if ``exact``, else an f32."""
        x = f"(2 * {pr.text[e]} - 255)" if e.dtype == "u8" else pr.whole(e) if exact else pr.num(e)
        return f"{x}.to(tl.float32)" if e.dtype == "u8" and not exact else x

    # -- forward ------------------------------------------------------------------------------------------------------
    def forward(self, x: Convolve) -> KernelText:
        a, b = x.a, x.b
        terms, bits, real = (
            a.shape[1] // self.groups,
            (a.dtype, b.dtype) == ("bit", "bit") and self.groups == 1,
            b.dtype != "bit",
        )
        tensors = self.large and (bits or real)
        context, frame, tiles = self.product(terms, TENSOR_TILE if tensors else (32, 32), 16 if tensors else 1)
        walk, ok = self.meet("source", "r", "position", frame.row_ok)
        context |= {
            "positions": self.geometry.positions,
            "walk": walk,
            "rows_ok": frame.row_ok,
            "cols_ok": frame.col_ok,
        }
        if tensors:
            return self.forward_tensors(x, context, frame, tiles, ok)
        if not bits:
            left, right = (
                self.printer(self.picked("at", ok, "q", frame.col_ok, "")),
                self.printer(Frame("w", "c", "", frame.col_ok, "rc")),
            )
            a_code, b_code = left.print([a]), right.print([b])
            a_code.body[:0] = self.pick(terms, "q")
            b_code.body.insert(0, f"w = position * {terms} + q")
            fill = x.fill * (255 if a.dtype == "u8" else 1)
            return KernelText(
                "contract_outer",
                tiles,
                self.epilogue(
                    {
                        **context,
                        "type": "float32" if real else "int32",
                        "a_code": a_code,
                        "b_code": b_code,
                        "a_value": self.beyond(self.number(left, a, not real), str(float(fill) if real else fill)),
                        "b_value": right.num(b) if real else right.whole(b),
                    },
                    frame,
                ),
            )
        return KernelText(
            "convolve",
            tiles,
            self.epilogue(
                {
                    **context,
                    "words": ceil_div(terms, 32),
                    "terms": b.shape[0],
                    "ok": ok,
                    "fill": x.fill,
                    "padded": self.geometry.padded,
                    "a": self.pointers[a.attr],
                    "a_stride": self.mem.storages[a.attr].stride,
                    "b": self.pointers[b.attr],
                    "b_stride": self.mem.storages[b.attr].stride,
                },
                frame,
            ),
        )

    def forward_tensors(self, x: Convolve, context: dict[str, Any], frame: Frame, tiles: int, ok: str) -> KernelText:
        """Tiles [pixels, channels] and [channels, output channels] of a position: of int8 for bits."""
        a, b = x.a, x.b
        bits, channels = b.dtype == "bit", a.shape[1]
        block = 64 if bits and channels > 32 else 32
        q_ok, p_ok = ("q_ok", "p_ok") if channels % block else ("", "")
        left, right = self.printer(Frame("at", "q", ok, q_ok)), self.printer(Frame("w", "c", p_ok, frame.col_ok))
        a_code, b_code = left.print([a]), right.print([b])
        b_code.pre.insert(0, f"w = position * {channels} + p")
        if not bits:
            return self.split(
                context,
                frame,
                tiles,
                (a, self.beyond(left.num(a), str(float(x.fill))), a_code, q_ok),
                (b, right.num(b), b_code, p_ok),
            )
        value = self.beyond(f"tl.where({bare(a_code.results[0])}, 1, -1)", str(x.fill))
        return KernelText(
            "contract_dot",
            tiles,
            self.epilogue(
                {
                    **context,
                    "block": block,
                    "ragged": bool(q_ok),
                    "inner": [],
                    "offset": False,
                    "a_code": a_code,
                    "b_code": b_code,
                    "a_value": bare_int8(value, q_ok),
                    "b_value": bare_int8(f"tl.where({bare(b_code.results[0])}, 1, -1)", p_ok),
                },
                frame,
            ),
            warps=8,
        )

    # -- gradients ----------------------------------------------------------------------------------------------------
    def back(self, x: Convolve) -> KernelText:
        """Sums over positions and output channels of a float, at the output pixel that meets this one, times a
        weight.
        """
        a, b = x.a, x.b
        tensors, signs, q = self.large, b.dtype == "bit", a.shape[1] // self.groups
        rolled = any(
            shared(e) for e in a.walk()
        )  # what many windows share takes registers, and four times as much text
        most = ((64, 32) if rolled else TENSOR_TILE) if tensors else (8, 32) if rolled else (32, 32)
        context, frame, tiles = self.product(q, most, 16 if tensors else 1)
        walk, ok = self.meet("target", "r", "position", frame.row_ok)
        walk.append(
            f"w = position * {b.shape[0] // self.geometry.positions} + {'c' if self.groups == 1 else f'c % {self.own}'}"
        )
        context |= {"positions": self.geometry.positions, "walk": walk, "rolled": rolled}
        ragged = bool(q % (32 if tensors else 4 if signs else 1))
        q_ok, p_ok = ("q_ok", "p_ok") if ragged else ("", "")
        left = self.printer(Frame("at", "q", ok, q_ok) if tensors else self.picked("at", ok, "q", frame.col_ok, q_ok))
        right = self.printer(
            Frame("w", "p", frame.col_ok, p_ok) if tensors else self.picked("w", frame.col_ok, "q", frame.col_ok, q_ok)
        )
        a_code, b_code = left.print([a]), right.print([b])
        a_code.body[:0] = self.pick(q, "q")
        value = f"tl.where({ok}, {bare(left.num(a))}, 0.0)"
        if tensors:
            return self.split(
                context, frame, tiles, (a, value, a_code, q_ok), (b, right.num(b), b_code, "" if signs else p_ok)
            )
        if signs:
            return KernelText(
                "contract_grouped",
                tiles,
                self.epilogue(
                    {
                        **context,
                        "ragged": ragged,
                        "x_code": a_code,
                        "x_value": value,
                        "s_code": b_code,
                        "s_value": b_code.results[0],
                    },
                    frame,
                ),
            )
        return KernelText(
            "contract_outer",
            tiles,
            self.epilogue(
                {**context, "a_code": a_code, "a_value": value, "b_code": b_code, "b_value": right.num(b)}, frame
            ),
        )

    def weight_tile(self) -> tuple[int, int]:
        """On tensor cores: the largest of which there are enough."""
        rows, cols = self.k.domain
        enough = (t for t in WEIGHT_TILES if ceil_div(rows, t[0]) * ceil_div(cols, t[1]) >= ENOUGH)
        return next(enough, WEIGHT_TILES[-1])

    def weight(self, x: Convolve) -> KernelText:
        """Sums over output pixels of what the window of that pixel has, times a float."""
        a, b = x.a, x.b
        tensors, q, channels = self.large, b.shape[0], a.shape[1] // self.groups
        fill = x.fill * (255 if a.dtype == "u8" else 1)
        most, least = (self.weight_tile(), 16) if tensors else ((32, 32), 1)
        context, frame, tiles = self.product(q, most, least)
        context["head"] += [f"position = r // {channels}", f"channel = r % {channels}", *self.pick(channels, "channel")]
        signs = a.dtype == "bit" and not tensors
        ragged = bool(q % (32 if tensors else 4 if signs else 1))
        q_ok, p_ok = ("q_ok", "p_ok" if tensors else "q_ok") if ragged else ("", "")
        meet, ok = self.meet("source", "q", "position", frame.row_ok, q_ok)
        left = self.printer(
            Frame("at", "channel", ok) if tensors else self.picked("at", ok, "channel", frame.col_ok, "")
        )
        a_code = left.print([a])
        a_code.body[:0] = meet
        right = self.printer(Frame("p" if tensors else "q", "c", p_ok, frame.col_ok, "" if tensors else "r"))
        b_code = right.print([b])
        number, there = right.num(b), a_code.results[0]
        if signs:
            s_value = f"({there} & at_ok)" if fill < 0 else f"({there} | ~at_ok)" if fill else there
            return KernelText(
                "contract_grouped",
                tiles,
                self.epilogue(
                    {
                        **context,
                        "ragged": ragged,
                        "x_code": b_code,
                        "x_value": number if fill else self.beyond(number, "0.0"),
                        "s_code": a_code,
                        "s_value": s_value if self.geometry.padded else there,
                    },
                    frame,
                ),
            )
        value = self.beyond(self.number(left, a), str(float(fill)))
        if tensors:
            a_ok = "" if self.geometry.padded or a.dtype == "bit" else q_ok
            return self.split(context, frame, tiles, (a, value, a_code, a_ok), (b, number, b_code, p_ok))
        return KernelText(
            "contract_outer",
            tiles,
            self.epilogue({**context, "a_code": a_code, "a_value": value, "b_code": b_code, "b_value": number}, frame),
        )

    # -- pools --------------------------------------------------------------------------------------------------------
    def window(self, x: Window) -> KernelText:
        """The maximum or the sum of each window, and where the maximum is."""
        expr, adds = x.expr, x.adds
        (rows, cols), (bm0, bn0) = self.k.out_shape, self.least()
        bn = tile(cols, 128, bn0)
        context, frame, tiles = self.tiled(tile(rows, max(1, 1024 // bn), bm0), bn)
        walk, ok = self.meet("source", "r", "k", frame.row_ok)
        pr = self.printer(Frame("at", "c", ok, frame.col_ok, "r"))
        inside = pr.print([expr])
        whole = expr.dtype in INTEGERS
        best, route = self.names.new("best"), self.names.new("route")
        found = f"({best} > 0)" if expr.dtype == "bit" and not adds else best
        accs = {i: f"(({route} >> {c.plane} & 1) != 0)" if c.how == "route" else found for i, c in enumerate(x.accs)}
        code, stores = self.outputs(frame, context["bm"], bn, accs)
        return KernelText(
            "window",
            tiles,
            {
                **context,
                "positions": self.geometry.positions,
                "walk": walk,
                "inside": inside,
                "adds": adds,
                "best": best,
                "route": route,
                "routed": any(c.how == "route" for c in x.accs),
                "type": "int32" if whole else "float32",
                "ok": ok,
                "value": pr.whole(expr) if whole else pr.num(expr),
                "code": code,
                "stores": stores,
            },
        )
