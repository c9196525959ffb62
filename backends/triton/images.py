"""Kernels on images: convolutions as products that walk over a window's positions, and pools.

Rows are pixels, columns channels.  At each position a row of the result meets one pixel of an operand, or none: ``at``
is that pixel's row, ``at_ok`` says whether there is one.  Then a position is a product, and the skeletons are those of
products; large networks' are the second ones, on tensor cores (staged: :mod:`.products`):

    form        operands            skeleton          what it sums
    forward     bit x bit           convolve, staged  a position's words of channels
    forward     u8 x bit            outer, dot        whole numbers, a channel at a time (large: all of a window)
    forward     float x float       outer, split      likewise
    back        float x bit         grouped, staged   a position's output channels
    back        float x float       outer, split      likewise
    weight      bit x float         grouped, staged   output pixels: a row of the result is a position and a channel
    weight      u8, float x float   outer, split      likewise
    back        i8 x bit            outer, staged     whole numbers
    weight      bit x i8            outer, staged     whole numbers
    weight      u8 x i8             outer, dot        whole numbers

In groups each column of the result looks up the terms of its own group (``pick``): bit x bit is done by outer too, and
no tensor core is used.
"""

from __future__ import annotations

from dataclasses import replace

from bnnc.diag import InternalError
from bnnc.ir.dtype import INTEGERS, ceil_div
from bnnc.ir.image import Geometry
from bnnc.sched.anchor import Convolve, Window
from bnnc.sched.expr import Expr, bare
from bnnc.sched.kernel import Kernel

from ..printing import Printed
from .expr import Frame, Printer, shared
from .skeleton import TENSOR_TILE, TERMS, KernelText, Memory, Operand, Product, Skeleton, tile


def meet(g: Geometry, what: str, row: str, position: str, *masks: str) -> tuple[list[str], str]:
    """Statements that make ``at`` and ``at_ok`` (num.source, num.target), and the mask that guards a load: none where
    every pixel exists.  ``masks``: others that must hold.
    """
    lines = [
        f"at, at_ok = num.{what}({row}, {position}, {g.height}, {g.width}, {g.out_height}, {g.out_width}, {g.kx},"
        f" {g.stride}, {g.top}, {g.left})"
    ]
    guards = ["at_ok"] if g.padded or what == "target" else []
    guards += [m for m in masks if m]
    if guards and guards != ["at_ok"]:
        lines.append(f"at_ok = {' & '.join(guards)}")
    return lines, "at_ok" if guards else ""


class Images(Skeleton):
    """Kernels that have a geometry."""

    def __init__(self, k: Kernel, mem: Memory) -> None:
        super().__init__(k, mem)
        assert isinstance(k.anchor, Convolve | Window)
        self.geometry = k.anchor.geometry
        self.groups = k.anchor.groups if isinstance(k.anchor, Convolve) else 1

    def meet(self, what: str, row: str, position: str, *masks: str) -> tuple[list[str], str]:
        """As :func:`meet`."""
        return meet(self.geometry, what, row, position, *masks)

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

    def picked(self, row: str, ok: str, term: str, col_ok: str, term_ok: str = "") -> Frame:
        """A row's term, in the group of each column."""
        if self.groups > 1:
            return Frame(row, "pick", ok, " & ".join(m for m in (col_ok, term_ok) if m), "rc")
        return Frame(row, term, ok, term_ok, "rc")

    def convolve(self, x: Convolve) -> KernelText:
        """A convolution or one of its gradients.  Raises InternalError for bits that are not in memory."""
        if any(e.dtype == "bit" and e.op != "load" for e in x.operands):
            raise InternalError("one-bit operands of a convolution must be in memory")
        return {"forward": self.forward, "back": self.back, "weight": self.weight}[x.form](x)

    def counted(self, pr: Printer, e: Expr, exact: bool = False) -> str:
        """What the left operand counts: an int32 if ``exact``, else an f32."""
        x = f"(2 * {pr.text[e]} - 255)" if e.dtype == "u8" else pr.whole(e) if exact else pr.num(e)
        return f"{x}.to(tl.float32)" if e.dtype == "u8" and not exact else x

    def filled(self, x: Convolve) -> int:
        """What the left operand counts beyond the edge."""
        return x.fill * (255 if x.a.dtype == "u8" else 1)

    @property
    def exact(self) -> bool:
        """Are the sums whole numbers?"""
        return self.k.anchor.results[0].dtype in INTEGERS

    def at_once(self, signs: bool) -> int:
        """How many terms a skeleton takes at a time, of floats times signs or of others."""
        return 32 if self.large else 4 if signs and not self.exact else 1

    # -- forward ------------------------------------------------------------------------------------------------------
    def forward(self, x: Convolve) -> KernelText:
        """A convolution: at each position of the window a row of the result meets one pixel, or none."""
        bits, tensors = x.a.dtype == x.b.dtype == "bit" and self.groups == 1, self.large
        if tensors and self.pixels:
            return self.forward_pixels(x)
        p = self.product(x.a.shape[1] // self.groups, *((TENSOR_TILE, 16) if tensors else ((32, 32), 1)))
        walk, ok = self.meet("source", "r", "position", p.tile.frame.row_ok)
        p = replace(p, positions=self.geometry.positions, walk=tuple(walk))
        if tensors:
            return self.forward_tensors(x, p, ok)
        return self.forward_bits(x, p, ok) if bits else self.forward_terms(x, p, ok)

    def forward_bits(self, x: Convolve, p: Product, ok: str) -> KernelText:
        """A position's words of channels."""
        a, b = x.a.attr, x.b.attr
        return self.summed(
            "convolve",
            p,
            words=ceil_div(p.q, 32),
            terms=x.b.shape[0],
            ok=ok,
            fill=x.fill,
            padded=self.geometry.padded,
            a=self.pointers[a],
            a_stride=self.mem.storages[a].stride,
            b=self.pointers[b],
            b_stride=self.mem.storages[b].stride,
        )

    def forward_terms(self, x: Convolve, p: Product, ok: str) -> KernelText:
        """A channel at a time, of real weights or of signs."""
        real, fill, col_ok = x.b.dtype != "bit", self.filled(x), p.tile.frame.col_ok
        left = self.printer(self.picked("at", ok, "q", col_ok))
        right = self.printer(Frame("w", "c", "", col_ok, "rc"))
        a, b = left.print([x.a]), right.print([x.b])
        a.body[:0] = self.pick(p.q, "q")
        b.body.insert(0, f"w = position * {p.q} + q")
        value = self.beyond(self.counted(left, x.a, not real), str(float(fill) if real else fill))
        weight = right.num(x.b) if real else right.whole(x.b)
        return self.by_outer(p, Operand(x.a, a, value), Operand(x.b, b, weight), "float32" if real else "int32")

    def forward_pixels(self, x: Convolve) -> KernelText:
        """Of a u8 on tensor cores: all positions and channels of a window are terms of one sum."""
        channels = x.a.shape[1]
        p = self.product(x.b.shape[0], (64, 128), 16)
        q_ok, p_ok = ("q_ok", "p_ok") if p.q % TERMS else ("", "")
        meet, ok = self.meet("source", "r", "position", p.tile.frame.row_ok, q_ok)
        left, right = self.printer(Frame("at", "channel", ok)), self.printer(Frame("p", "c", p_ok, p.tile.frame.col_ok))
        a, b = left.print([x.a]), right.print([x.b])
        a.body[:0] = [f"position = q // {channels}", f"channel = q % {channels}", *meet]
        return self.by_pixels(p, x, a, Operand(x.b, b, right.whole(x.b), p_ok))

    def forward_tensors(self, x: Convolve, p: Product, ok: str) -> KernelText:
        """Tiles [pixels, channels] and [channels, output channels] of a position: of floats."""
        q_ok, p_ok = ("q_ok", "p_ok") if p.q % 32 else ("", "")
        left = self.printer(Frame("at", "q", ok, q_ok))
        right = self.printer(Frame("w", "c", p_ok, p.tile.frame.col_ok))
        a, b = left.print([x.a]), right.print([x.b])
        b.pre.insert(0, f"w = position * {p.q} + p")
        value = self.beyond(left.num(x.a), str(float(x.fill)))
        return self.by_split(p, Operand(x.a, a, value, q_ok), Operand(x.b, b, right.num(x.b), p_ok))

    # -- gradients ----------------------------------------------------------------------------------------------------
    def back(self, x: Convolve) -> KernelText:
        """Sums over positions and output channels of a float, at the output pixel that meets this one, times a
        weight.
        """
        # what many windows share takes registers, and four times as much text
        rolled = any(shared(e) for e in x.a.walk())
        p = self.product(
            x.a.shape[1] // self.groups,
            ((64, 32) if rolled else TENSOR_TILE) if self.large else (8, 32) if rolled else (32, 32),
            16 if self.large else 1,
        )
        walk, ok = self.meet("target", "r", "position", p.tile.frame.row_ok)
        column = "c" if self.groups == 1 else f"c % {self.own}"
        walk.append(f"w = position * {x.b.shape[0] // self.geometry.positions} + {column}")
        p = replace(p, positions=self.geometry.positions, walk=tuple(walk))
        left, right = self.back_operands(x, p, ok)
        if self.exact:
            return self.by_outer(p, left, right, "int32")
        if self.large:
            return self.by_split(p, left, right)
        return self.by_groups(p, left, right, rolled) if x.b.dtype == "bit" else self.by_outer(p, left, right)

    def back_operands(self, x: Convolve, p: Product, ok: str) -> tuple[Operand, Operand]:
        """The gradient at the pixel ``at``, where there is one, and the weights of row ``w``."""
        signs, col_ok = x.b.dtype == "bit", p.tile.frame.col_ok
        q_ok, p_ok = ("q_ok", "p_ok") if p.q % self.at_once(signs) else ("", "")
        if self.large:
            frames = Frame("at", "q", ok, q_ok), Frame("w", "p", col_ok, p_ok)
        else:
            frames = self.picked("at", ok, "q", col_ok, q_ok), self.picked("w", col_ok, "q", col_ok, q_ok)
        left, right = map(self.printer, frames)
        a, b = left.print([x.a]), right.print([x.b])
        a.body[:0] = self.pick(p.q, "q")
        if self.exact:
            value = f"tl.where({ok}, {bare(left.whole(x.a))}, 0)"
            return Operand(x.a, a, value, q_ok), Operand(x.b, b, right.whole(x.b), p_ok)
        weight = b.results[0] if signs and not self.large else right.num(x.b)
        value = f"tl.where({ok}, {bare(left.num(x.a))}, 0.0)"
        return Operand(x.a, a, value, q_ok), Operand(x.b, b, weight, "" if signs else p_ok)

    def weight(self, x: Convolve) -> KernelText:
        """Sums over output pixels of what the window of that pixel has, times a float or a whole number."""
        if self.exact:
            return self.weight_whole(x)
        channels, signs = x.a.shape[1] // self.groups, x.a.dtype == "bit" and not self.large
        p = self.product(x.b.shape[0], *((TENSOR_TILE, 16) if self.large else ((32, 32), 1)))
        row = f"position = r // {channels}", f"channel = r % {channels}"
        p = replace(p, head=(*row, *self.pick(channels, "channel")))
        ragged = bool(p.q % self.at_once(signs))
        left = self.seen(x, p, "q_ok" if ragged else "")
        right = self.gradient(x, p, ragged)
        if self.large:
            return self.by_split(p, left, right)
        return self.by_groups(p, right, left) if signs else self.by_outer(p, left, right)

    def weight_whole(self, x: Convolve) -> KernelText:
        """As :meth:`weight`, of whole numbers."""
        channels, tensors = x.a.shape[1] // self.groups, self.large
        p = self.product(x.b.shape[0], *((TENSOR_TILE, 16) if tensors else ((32, 32), 1)))
        row = f"position = r // {channels}", f"channel = r % {channels}"
        p = replace(p, head=(*row, *self.pick(channels, "channel")))
        q_ok, p_ok = ("q_ok", "p_ok") if tensors and p.q % TERMS else ("", "")
        meet, ok = self.meet("source", "q", "position", p.tile.frame.row_ok, q_ok)
        col_ok = p.tile.frame.col_ok
        left = self.printer(Frame("at", "channel", ok) if tensors else self.picked("at", ok, "channel", col_ok))
        right = self.printer(Frame("p", "c", p_ok, col_ok) if tensors else Frame("q", "c", "", col_ok, "r"))
        a, b = left.print([x.a]), right.print([x.b])
        a.body[:0] = meet
        gradient = Operand(x.b, b, right.whole(x.b), p_ok)
        if tensors and x.a.dtype == "u8":
            return self.by_pixels(p, x, a, gradient)
        seen = Operand(x.a, a, self.beyond(self.counted(left, x.a, True), str(self.filled(x))), q_ok)
        return self.by_outer(p, seen, gradient, "int32")

    def by_pixels(self, p: Product, x: Convolve, a: Printed, right: Operand) -> KernelText:
        """On tensor cores, of a u8: what it counts, 2 x - 255, is twice x - 128, which has 8 bits, and one."""
        value = self.beyond(f"{a.results[0]} - 128", str({0: 0, 1: 127, -1: -128}[x.fill]))
        there = "at_ok" if x.fill == 0 else f"tl.full(({p.tile.rows}, {TERMS}), 1, tl.int1)"
        return self.by_dot(p, Operand(x.a, a, value), right, TERMS, 8, there=there)

    def seen(self, x: Convolve, p: Product, q_ok: str) -> Operand:
        """What the window of output pixel ``q`` has in the row's position and channel: a number, or a sign."""
        frame, fill = p.tile.frame, self.filled(x)
        meet, ok = self.meet("source", "q", "position", frame.row_ok, q_ok)
        pr = self.printer(Frame("at", "channel", ok) if self.large else self.picked("at", ok, "channel", frame.col_ok))
        code = pr.print([x.a])
        code.body[:0] = meet
        if x.a.dtype == "bit" and not self.large:
            there, padded = code.results[0], self.geometry.padded
            sign = f"({there} & at_ok)" if fill < 0 else f"({there} | ~at_ok)" if fill else there
            return Operand(x.a, code, sign if padded else there)
        inside = self.geometry.padded or x.a.dtype == "bit"  # what is no term is 0, or its gradient is
        return Operand(x.a, code, self.beyond(self.counted(pr, x.a), str(float(fill))), "" if inside else q_ok)

    def gradient(self, x: Convolve, p: Product, ragged: bool) -> Operand:
        """The gradient at an output pixel; 0 where a sign beyond the edge is no term."""
        signs, col_ok = x.a.dtype == "bit" and not self.large, p.tile.frame.col_ok
        if self.large:
            return self.number(x.b, Frame("p", "c", ok := "p_ok" if ragged else "", col_ok), ok)
        made = self.number(x.b, Frame("q", "c", ok := "q_ok" if ragged else "", col_ok, "r"), ok)
        return replace(made, value=self.beyond(made.value, "0.0")) if signs and not self.filled(x) else made

    # -- pools --------------------------------------------------------------------------------------------------------
    def window(self, x: Window) -> KernelText:
        """The maximum or the sum of each window, and where the maximum is."""
        expr, adds = x.expr, x.adds
        (rows, cols), (bm0, bn0) = self.k.out_shape, self.least()
        bn = tile(cols, 128, bn0)
        made = self.tiled(tile(rows, max(1, 1024 // bn), bm0), bn)
        walk, ok = self.meet("source", "r", "k", made.frame.row_ok)
        pr = self.printer(replace(made.frame, row="at", row_ok=ok, looped="r"))
        inside, whole = pr.print([expr]), expr.dtype in INTEGERS
        best, route = self.names.new("best"), self.names.new("route")
        found = f"({best} > 0)" if expr.dtype == "bit" and not adds else best
        accs = {i: f"(({route} >> {c.plane} & 1) != 0)" if c.how == "route" else found for i, c in enumerate(x.accs)}
        return self.text(
            "window",
            made,
            accs,
            positions=self.geometry.positions,
            walk=walk,
            inside=inside,
            adds=adds,
            best=best,
            route=route,
            routed=any(c.how == "route" for c in x.accs),
            type="int32" if whole else "float32",
            ok=ok,
            value=pr.whole(expr) if whole else pr.num(expr),
        )
