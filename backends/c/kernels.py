"""Kernels as C functions: picks the skeleton for each anchor and gives it loads, stores and extents as text.

In: one packed kernel and its storages.  Out: the text of a function ``(const uint32_t *at, int tid, int nt)``, where
``at`` holds the arena offsets of its operands, and the names of their places: kernels that differ by places alone have
one text.
Skeletons own the loops (``templates/c/kernels``); what is computed on load and on store comes from :mod:`.expr`.

    contraction            left x right          skeleton
    nn, nt                 bit x bit, u8 x bit   popcount   exact integers, 32 columns of the sum in a word; perhaps
                                                            gated
    tn                     gated bit x bit       scatter    exact integers, only the terms whose gate is open
    nn, nt, tn             float x bit           grouped    tables of the 16 signed sums of 4 terms
    tn                     number x float        outer      one multiply and one add per term

    convolution            left x right
    forward                bit x bit, u8 x bit   convolve           as popcount, on the bits under a window
    back                   float x bit           convolve_back      as grouped, position by position
    weight                 number x float        convolve_weight    as grouped for bits, else as outer
    any                    float x float         convolve_real*     one multiply and one add per term; products nn, nt
                                                                    too
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bnnc.diag import InternalError, error
from bnnc.ir.dtype import FLOATS, INTEGERS
from bnnc.ir.image import Geometry
from bnnc.plan.types import LANES, ceil_div
from bnnc.sched.expr import Expr, bare
from bnnc.sched.kernel import Kernel

from .. import printing
from ..printing import Pointers, Printed
from .expr import CTYPE, RESERVED, Printer, Scalars, Vectors, literal

POINTER = "operand"  # and a number: a kernel's pointers, until its text is known and they get names
PLANE_BYTES = 8192  # stack for the bit planes of a few rows of u8 input
REAL_ROWS = 128
GROUP_STAGED = 1024  # numbers of a thread's stack, four times
GROUPED_ROWS = 128
OUTER_ROWS = 64
GROUP_COLUMNS = 6144  # what a thread's stack holds
SCATTER_TERMS = 8192
WINDOW_SUMS = 192  # vectors of a thread's stack
BACK_SUMS = 256
BACK_BYTES = 112 * 1024  # of a thread's stack, for the gradients of a few rows of pixels
BACK_PIXELS = 64
SIDE = 4000  # where the skeletons' division is exact
OUTER_TERMS = 128  # terms of a sum whose right-hand tile stays in the first-level cache


def back_band(g: Geometry, channels: int, rows: int, cols: int) -> int:
    """How many rows of pixels an input gradient takes at a time; 0: pixels are looked up one by one, since windows do
    not move in steps of one or few pixels meet one, or because what a few rows take is much beside the [rows, cols] of
    the result.
    """
    if g.stride != 1 or g.out_height > g.height or g.out_width > g.width or 2 * g.out_pixels < g.pixels:
        return 0
    room = min(BACK_BYTES, 4 * rows * cols // 16) // (4 * channels) - (g.kx - 1 + g.left + LANES)
    band = min(room // g.width - (g.ky - 1), ceil_div(BACK_PIXELS, g.width), rows // g.width)
    return band if band * g.width >= LANES else 0


@dataclass(frozen=True)
class Memory(printing.Memory):
    """``idents``: the identifier of each place, no two alike."""

    idents: Mapping[str, str] = field(default_factory=dict)


@dataclass
class KernelText:
    """What a skeleton renders."""

    template: str
    context: dict[str, Any] = field(default_factory=dict)


def count(total: int, block: int) -> str:
    """C for how many of ``total`` rows the block that starts at ``first`` has."""
    return (
        str(min(total, block))
        if total <= block or total % block == 0
        else f"first + {block} < {total} ? {block} : {total} - first"
    )


def lanes(cols: int, var: str = "c") -> str:
    """C for the number of lanes at column ``var``: VL, or fewer at a ragged edge."""
    return "VL" if cols % LANES == 0 else f"{var} + VL <= {cols} ? VL : {cols} - {var}"


def some_lanes(cols: int, var: str = "c", tile: int = LANES) -> str:
    """As :func:`lanes`, where the column may lie beyond ``cols`` (0 or less there), in tiles of so many columns.  A
    minimum: gcc's warnings follow it."""
    return "VL" if cols % tile == 0 else f"{cols} - {var} < VL ? {cols} - {var} : VL"


def window(g: Geometry) -> str:
    """C of a bnnc_window."""
    return f"{{{g.height}, {g.width}, {g.ky}, {g.kx}, {g.stride}, {g.top}, {g.left}, {g.out_height}, {g.out_width}}}"


class _Kernel(Pointers):
    """``places``: of the operands that lie in the arena, in the order of ``at``."""

    def __init__(self, k: Kernel, mem: Memory) -> None:
        self.mem = mem
        self.places: list[str] = []
        super().__init__(k, mem, RESERVED)

    def pointer_name(self, place: str) -> str:
        return f"{POINTER}{len(self.decls)}"

    def declaration(self, name: str, place: str, pointer: str) -> str:
        s, constant = self.mem.storages[name], name in self.mem.constants
        ctype = CTYPE[s.dtype] if place in map(self.mem.place, self.k.writes) else f"const {CTYPE[s.dtype]}"
        where = f"CONST_{self.mem.idents[name]}" if constant else f"(bnnc_arena + at[{len(self.places)}])"
        self.places += [] if constant else [place]
        step = self.mem.pace(self.k, name)  # to the next strip, in a loop
        moved = f" + net_strip * {step}" if step else ""
        return f"{ctype} *restrict {pointer} = ({ctype} *){where}{moved};"

    def printer(self, mode: str, inner: str, accs: dict[int, str] | None = None) -> Printer:
        vocabulary = Vectors if mode == "v" else Scalars
        return vocabulary(inner, self.names, self.mem.storages, self.pointers, accs)

    def outputs(
        self, mode: str, inner: str, accs: dict[int, str], skip: tuple[str, ...] = ()
    ) -> tuple[Printed, list[str]]:
        """The epilogue: statements, and one store per output (``skip``: outputs that the skeleton stores itself)."""
        outs, pr = self.finished(), self.printer(mode, inner, accs)
        printed = pr.print([o.expr for o in outs])
        return printed, [pr.store(o.value, o.expr) for o in outs if o.value not in skip]

    # -- map ----------------------------------------------------------------------------------------------------------
    def map(self) -> KernelText:
        rows, cols = self.k.domain
        storages = [self.mem.storages[o.value] for o in self.k.outputs]
        if cols == 1 and not any(s.one_bit for s in storages):
            printed, stores = self.outputs("s", "r", {})
            return KernelText("map_scalar", {"rows": rows, "code": printed, "stores": stores})
        words = [
            (self.names.new("w"), o.value)
            for o, s in zip(self.k.outputs, storages, strict=True)
            if s.one_bit and s.axis == 0
        ]
        by_value = {v for _, v in words}
        printed, stores = self.outputs("v", "r", {}, tuple(by_value))
        text = {o.value: t for o, t in zip(self.k.outputs, printed.results, strict=True)}
        return KernelText(
            "map",
            {
                "rows": rows,
                "cols": cols,
                "n": lanes(cols),
                "code": printed,
                "stores": stores,
                "words": [
                    {"var": w, "mask": text[v], "ptr": self.pointers[v], "stride": self.mem.storages[v].stride}
                    for w, v in words
                ],
            },
        )

    # -- reductions ---------------------------------------------------------------------------------------------------
    def reduce(self) -> KernelText:
        rows, cols = self.k.domain
        one = self.k.kind == "reduce_rows" and cols == 1
        by_rows = self.k.kind == "reduce_rows" and not one
        mode, inner = ("v", "r") if by_rows else ("s", "r" if one else "c")
        accs = {i: self.names.new(f"acc{i}") for i in range(len(self.k.accs))}
        pr = self.printer(mode, inner)
        inside = pr.print([a.expr for a in self.k.accs], tuple(a.expr for a in self.k.accs if a.how != "sum"))
        steps = []
        for i, a in enumerate(self.k.accs):
            whole = a.expr.dtype in INTEGERS
            x = pr.whole(a.expr) if whole else pr.num(a.expr)
            ctype = ("vi" if whole else "vf") if by_rows else ("int32_t" if whole else "float")
            zero = ("{0}" if by_rows else "0") if whole else ("vbc(0.0f)" if by_rows else "0.0f")
            if a.how == "argmax" and (by_rows or one):
                raise InternalError("argmax runs along columns")
            if a.how == "sum":
                steps.append({"ctype": ctype, "init": zero, "step": f"{accs[i]} += {x};"})
            elif a.how == "max":
                step = (
                    f"{accs[i]} = {'vmaxi' if whole else 'vmax'}({x}, {accs[i]});"
                    if by_rows
                    else (f"{accs[i]} = {x} > {accs[i]} ? {x} : {accs[i]};")
                )
                steps.append({"ctype": ctype, "init": zero, "step": step, "seed": f"{accs[i]} = {x};"})
            else:
                best = self.names.new("best")
                steps.append(
                    {
                        "ctype": "int32_t",
                        "init": "0",
                        "also": f"{ctype} {best} = {zero};",
                        "seed": f"{best} = {x};",
                        "step": f"if ({x} > {best}) {{ {best} = {x}; {accs[i]} = c; }}",
                    }
                )
        code, stores = self.outputs(mode, "r", accs)
        return KernelText(
            "reduce_one" if one else self.k.kind,
            {
                "rows": rows,
                "cols": cols,
                "n": lanes(cols),
                "accs": [{"name": accs[i], "also": "", "seed": "", **s} for i, s in enumerate(steps)],
                "inside": inside,
                "code": code,
                "stores": stores,
            },
        )

    # -- contractions -------------------------------------------------------------------------------------------------
    def contract(self) -> KernelText:
        a, b = self.k.a, self.k.b
        assert a is not None and b is not None
        bits = [e.dtype == "bit" for e in (a, b)]
        if self.k.form == "tn" and self.k.gate is not None:
            return self.scatter(a, b)
        if any(t and e.op != "load" for t, e in zip(bits, (a, b), strict=True)):
            raise InternalError("one-bit operands of a contraction must be in memory")
        if self.k.form != "tn" and bits[1] and a.dtype in ("bit", "u8"):
            return self.popcount(a, b)
        if bits[0] != bits[1]:
            return self.grouped(a, b)
        if self.k.form == "tn" and not any(bits):
            return self.outer(a, b)
        if b.dtype in FLOATS and a.dtype in FLOATS:
            return self.real(a, b, Geometry(1, 1, 1, 1), {"nn": "forward", "nt": "back"}[self.k.form])
        raise error(
            "B0701", f"the C backend has no kernel for {a.dtype} x {b.dtype} in form {self.k.form}", self.k.span
        )

    def popcount(self, a: Expr, b: Expr) -> KernelText:
        m, q, n = self.k.dims
        words = ceil_div(q, 32)
        block = 4
        if a.dtype == "u8":
            while block > 1 and block * 32 * words > PLANE_BYTES:
                block //= 2
            if 32 * words > PLANE_BYTES:
                raise error(
                    "B0702",
                    f"a u8 input has at most {PLANE_BYTES} elements here, not {q}",
                    self.k.span,
                    help="encode it to bits: `input u8[...] sign(threshold = 128);`",
                )
        acc = self.names.new("acc")
        code, stores = self.outputs("v", "r", {0: acc})
        sa, sb = self.mem.storages[a.attr], self.mem.storages[b.attr]
        return KernelText(
            "contract_popcount",
            {
                "m": m,
                "q": q,
                "cols": n,
                "n": lanes(n),
                "words": words,
                "block": block,
                "planes": a.dtype == "u8",
                "acc": acc,
                "gate": self.pointers[self.k.gate.attr] if self.k.gate is not None else "",
                "a": self.pointers[a.attr],
                "a_stride": sa.stride,
                "b": self.pointers[b.attr],
                "b_stride": sb.stride,
                "code": code,
                "stores": stores,
            },
        )

    def scatter(self, a: Expr, b: Expr) -> KernelText:
        """Row j of the result: the sum of a[q][j] b[q] over the few q whose gate is open."""
        m, q, n = self.k.dims
        assert self.k.gate is not None
        if q > SCATTER_TERMS:
            raise error(
                "B0702",
                f"an update adds up at most {SCATTER_TERMS} samples (times steps) here, not {q}",
                self.k.span,
                help="use a smaller batch",
            )
        acc = self.names.new("acc")
        summed = [o for o in self.k.outputs if o.row_sum]
        code, stores = self.outputs("v", "c", {0: acc}, tuple(o.value for o in summed))
        text = {o.value: t for o, t in zip(self.k.outputs, code.results, strict=True)}
        sums = [{"var": self.names.new("sum"), "value": text[o.value], "ptr": self.pointers[o.value]} for o in summed]
        s, gate, rows = (self.mem.storages[e.attr] for e in (a, self.k.gate, b))
        if gate.stride != s.stride:
            raise InternalError("the gate of a product is stored as its operand is")
        return KernelText(
            "contract_scatter",
            {
                "m": m,
                "q": q,
                "cols": n,
                "n": lanes(n),
                "a": self.pointers[a.attr],
                "gate": self.pointers[self.k.gate.attr],
                "stride": s.stride,
                "b": self.pointers[b.attr],
                "b_stride": rows.stride,
                "planes": q.bit_length(),
                "acc": acc,
                "code": code,
                "stores": stores,
                "sums": sums,
                "ragged": n % LANES != 0,
            },
        )

    def group(self) -> KernelText:
        """In each group of columns of a row, the entry that wins."""
        rows, cols = self.k.domain
        (acc,) = self.k.accs
        if cols > GROUP_COLUMNS:
            raise error(
                "B0702",
                f"a layer with groups has at most {GROUP_COLUMNS} units here, not {cols}",
                self.k.span,
                help="use a narrower layer",
            )
        pr = self.printer("v", "r")
        load = pr.print([acc.expr])
        size = self.k.gate
        assert size is not None and size.op in ("load", "const")
        mask = self.names.new("won")
        storages = [self.mem.storages[o.value] for o in self.k.outputs]
        words = [o.value for o, s in zip(self.k.outputs, storages, strict=True) if s.axis == 0]
        code, stores = self.outputs("v", "r", {0: mask}, tuple(words))
        text = {o.value: t for o, t in zip(self.k.outputs, code.results, strict=True)}
        return KernelText(
            "group",
            {
                "rows": rows,
                "cols": cols,
                "n": lanes(cols),
                "load": load,
                "value": pr.veci(acc.expr),
                "size": f"{self.pointers[size.attr]}[0]" if size.op == "load" else size.attr,
                "mask": mask,
                "code": code,
                "stores": stores,
                "words": [
                    {"mask": text[v], "ptr": self.pointers[v], "stride": self.mem.storages[v].stride} for v in words
                ],
            },
        )

    def fold(self) -> KernelText:
        """Sums over the steps of a sample."""
        rows, cols = self.k.out_shape
        (acc,) = self.k.accs
        name = self.names.new("acc")
        pr = self.printer("v", "r")
        inside = pr.print([acc.expr])
        code, stores = self.outputs("v", "r", {0: name})
        return KernelText(
            "fold",
            {
                "rows": rows,
                "cols": cols,
                "n": lanes(cols),
                "steps": self.k.steps,
                "inside": inside,
                "value": pr.veci(acc.expr),
                "acc": name,
                "code": code,
                "stores": stores,
            },
        )

    def recur(self) -> KernelText:
        """Through time, some samples at a time; the carried state lies in a local array."""
        rows, cols = self.k.domain
        if cols > GROUP_COLUMNS:
            raise error(
                "B0702",
                f"a recurrent layer has at most {GROUP_COLUMNS} units here, not {cols}",
                self.k.span,
                help="use a narrower layer",
            )
        acc = self.names.new("acc")
        code, stores = self.outputs("v", "r", {0: acc})
        operand = [{"ptr": self.pointers[e.attr], "stride": self.mem.storages[e.attr].stride} for e in self.k.operands]
        return KernelText(
            self.k.kind,
            {
                "rows": rows // self.k.steps,
                "cols": cols,
                "n": lanes(cols),
                "steps": self.k.steps,
                "first": self.k.first,
                "acc": acc,
                "operand": operand,
                "inputs": self.k.operands[0].shape[1],
                "words": ceil_div(cols, 32),
                "block": 4,
                "input_words": ceil_div(self.k.operands[0].shape[1], 32),
                "code": code,
                "stores": stores,
            },
        )

    # -- images -------------------------------------------------------------------------------------------------------
    def convolve(self) -> KernelText:
        a, b, g = self.k.a, self.k.b, self.k.geometry
        assert a is not None and b is not None and g is not None
        if self.k.groups > 1:
            return self.groups(a, b, g)
        if any(e.dtype == "bit" and e.op != "load" for e in (a, b)):
            raise InternalError("one-bit operands of a convolution must be in memory")
        if b.dtype in FLOATS and (a.dtype in FLOATS or self.k.form != "weight"):
            return self.real(a, b, g, self.k.form)
        if max(g.height, g.width, g.out_height, g.out_width) > SIDE:
            raise error(
                "B0702", f"an image has at most {SIDE} pixels a side here", self.k.span, help="use smaller images"
            )
        acc = self.names.new("acc")
        code, stores = self.outputs("v", "r", {0: acc})
        rows, cols = self.k.domain
        context = {
            "window": window(g),
            "positions": g.positions,
            "rows": rows,
            "cols": cols,
            "n": lanes(cols),
            "acc": acc,
            "code": code,
            "stores": stores,
            "fill": self.k.fill,
            "masked": g.padded and not self.k.fill,
            "kx": g.kx,
            "top": g.top,
            "side": g.left,
            "height": g.height,
            "width": g.width,
            "out_height": g.out_height,
            "out_width": g.out_width,
        }
        make = {"forward": self.convolve_forward, "back": self.convolve_back, "weight": self.convolve_weight}[
            self.k.form
        ]
        return make(context, a, b, g)

    def convolve_forward(self, context: dict[str, Any], a: Expr, b: Expr, g: Geometry) -> KernelText:
        q = b.shape[0]
        planes = 8 if a.dtype == "u8" else 1
        if a.op != "load" or planes * 4 * ceil_div(q, 32) > PLANE_BYTES:
            raise error(
                "B0702",
                f"a window of {q} terms is too large here",
                self.k.span,
                help="use a smaller window or fewer channels",
            )
        block = 4 if 16 * planes * ceil_div(q, 32) <= PLANE_BYTES else 1
        return KernelText(
            "convolve",
            context
            | {
                "q": q,
                "words": ceil_div(q, 32),
                "block": block,
                "planes": planes,
                "channels": a.shape[1],
                "a": self.pointers[a.attr],
                "a_stride": self.mem.storages[a.attr].stride,
                "b": self.pointers[b.attr],
                "b_stride": self.mem.storages[b.attr].stride,
            },
        )

    def convolve_back(self, context: dict[str, Any], a: Expr, b: Expr, g: Geometry) -> KernelText:
        """Lanes are pixels; the gradient is read at the output pixel that meets each of them."""
        pr = self.printer("v", "r")
        load = pr.print([a])
        rows, cols = self.k.domain
        block = min(BACK_SUMS, ceil_div(cols, LANES) * LANES)
        band, images = back_band(g, a.shape[1], rows, cols), rows // g.pixels
        tiles = g.pixels * ceil_div(images, LANES) if images >= LANES else ceil_div(rows, LANES)
        return KernelText(
            "convolve_back" if band else "convolve_back_window",
            context
            | {
                "q": a.shape[1],
                "nq": lanes(a.shape[1]),
                "block": block,
                "count": count(cols, block),
                "tiles": tiles,
                "images": images,
                "many": images >= LANES,
                "pixels": g.pixels,
                "out_pixels": g.out_pixels,
                "load": load,
                "value": pr.vec(a),
                "pitch": b.shape[0] // g.positions,
                "bits": self.pointers[b.attr],
                "ky": g.ky,
                "lines": rows // g.width,
                "band": band,
                "stride": self.mem.storages[b.attr].stride,
                "terms": 32 if block <= BACK_SUMS // 2 else 16,
            },
        )

    def convolve_weight(self, context: dict[str, Any], a: Expr, b: Expr, g: Geometry) -> KernelText:
        """Sums over output pixels; lanes are output channels."""
        pr = self.printer("v", "r")
        load = pr.print([b])
        channels = a.shape[1]
        block = (64 if channels > 32 else 32) if a.dtype == "bit" else min(32, channels)
        if a.op != "load" or a.dtype not in ("bit", "u8"):
            raise error(
                "B0701",
                f"the C backend has no kernel for a convolution of {a.dtype}",
                self.k.span,
                help="put `sign;` before it",
            )
        return KernelText(
            "convolve_weight",
            context
            | {
                "q": b.shape[0],
                "channels": channels,
                "block": block,
                "count": count(channels, block),
                "side_by_side": next(n for n in (4, 3, 2, 1) if channels % n == block % n == 0),
                "span": ceil_div(g.positions, ceil_div(g.positions, WINDOW_SUMS // block)),
                "signs": a.dtype == "bit",
                "load": load,
                "value": pr.vec(b),
                "edges": g.padded,
                "aligned": g.aligned,
                "stride": g.stride,
                "words": ceil_div(a.shape[0], 32),
                "a": self.pointers[a.attr],
                "a_stride": self.mem.storages[a.attr].stride,
                "beyond": literal(255.0 * self.k.fill),
            },
        )

    def real(self, a: Expr, b: Expr, g: Geometry, form: str) -> KernelText:
        """A convolution of floats, or a product of two matrices of floats: rows of `a` are images of one pixel then."""
        left, right = self.printer("v", "r"), self.printer("v", "r")
        left_code, right_code = left.print([a]), right.print([b])
        acc = self.names.new("acc")
        code, stores = self.outputs("v", "r", {0: acc})
        rows, cols = self.k.domain
        context = {
            "window": window(g),
            "positions": g.positions,
            "rows": rows,
            "cols": cols,
            "n": some_lanes(cols),
            "acc": acc,
            "code": code,
            "stores": stores,
            "beyond": literal(float(self.k.fill)),
        }
        if form == "weight":
            block = min(a.shape[1], REAL_ROWS)
            span = ceil_div(g.positions, ceil_div(g.positions, max(1, REAL_ROWS // block)))
            return KernelText(
                "convolve_real_weight",
                context
                | {
                    "channels": a.shape[1],
                    "block": block,
                    "span": span,
                    "count": count(a.shape[1], block),
                    "q": b.shape[0],
                    "a_code": left_code,
                    "a_value": left.vec(a),
                    "na": some_lanes(a.shape[1], "c", LANES if block < REAL_ROWS else REAL_ROWS),
                    "load": right_code,
                    "value": right.vec(b),
                },
            )
        context |= {"b_code": right_code, "b_value": right.vec(b)}
        if form == "forward":
            return KernelText(
                "convolve_real",
                context
                | {
                    "channels": a.shape[1],
                    "block": 6,
                    "chunk": 64,
                    "nq": some_lanes(a.shape[1]),
                    "a_code": left_code,
                    "a_value": left.vec(a),
                    "nw": some_lanes(cols, "c", 32),
                },
            )
        block = min(REAL_ROWS, ceil_div(cols, LANES) * LANES)
        return KernelText(
            "convolve_real_back",
            context
            | {
                "pitch": b.shape[0] // g.positions,
                "q": a.shape[1],
                "nq": some_lanes(a.shape[1]),
                "block": block,
                "count": count(cols, block),
                "tiles": ceil_div(rows, LANES),
                "load": left_code,
                "value": left.vec(a),
            },
        )

    def groups(self, a: Expr, b: Expr, g: Geometry) -> KernelText:
        """A convolution in groups, of bits or numbers.  ``own`` columns of the result share a group, of ``terms`` on
        the other side.
        """
        form, exact = self.k.form, self.k.accs[0].dtype in INTEGERS
        pr, other = self.printer("v", "r"), self.printer("s" if form == "back" else "v", "r")
        left, right = pr.print([a]), other.print([b])
        acc = self.names.new("acc")
        code, stores = self.outputs("v", "r", {0: acc})
        rows, cols = self.k.domain
        wide = (255 if a.dtype == "u8" else 1) * self.k.fill
        own, terms = cols // self.k.groups, a.shape[1] // self.k.groups
        bit = "bit" in (a.dtype, b.dtype)
        beyond = literal(float(wide if form != "back" else 0))
        value = (
            f"2 * {pr.veci(a)} - 255"
            if a.dtype == "u8" and exact
            else (f"vtof(2 * {pr.veci(a)} - 255)" if a.dtype == "u8" else pr.veci(a) if exact else pr.vec(a))
        )
        context: dict[str, Any] = {
            "window": window(g),
            "positions": g.positions,
            "rows": rows,
            "cols": cols,
            "n": some_lanes(cols, "lane"),
            "acc": acc,
            "code": code,
            "stores": stores,
            "own": own,
            "beyond": beyond,
        }
        if form == "weight":
            staged = ((own + LANES - 2) // own + 1) * terms + 2 * LANES
            self.fits(staged <= GROUP_STAGED)
            block = min(terms, 64)
            return KernelText(
                "convolve_groups_weight",
                context
                | {
                    "n": some_lanes(cols),
                    "channels": terms,
                    "block": block,
                    "count": count(terms, block),
                    "step": 4 if a.dtype == "bit" else 1,
                    "staged": staged,
                    "q": b.shape[0],
                    "q_cols": a.shape[1],
                    "na": some_lanes(a.shape[1]),
                    "a_code": left,
                    "a_value": value,
                    "load": right,
                    "value": other.vec(b),
                },
            )
        staged = max(((ceil_div(cols, LANES) * LANES - 1) // own + 1) * terms, ceil_div(a.shape[1], LANES) * LANES)
        self.fits(staged <= 2 * GROUP_STAGED and cols <= 2 * GROUP_STAGED)
        return KernelText(
            "convolve_groups",
            context
            | {
                "back": form == "back",
                "terms": terms,
                "step": 4 if form == "back" and bit else 1,
                "staged": staged,
                "q": a.shape[1],
                "nq": some_lanes(a.shape[1]),
                "load": left,
                "value": value,
                "b_code": right,
                "b_value": bare(other.num(b)) if form == "back" else other.veci(b) if exact else other.vec(b),
                "scalar": "int32_t" if exact else "float",
                "ctype": "vi" if exact else "vf",
                "beyond": f"vbci({wide})" if exact else f"vbc({beyond})",
            },
        )

    def fits(self, small: bool) -> None:
        if not small:
            raise error(
                "B0702",
                "a convolution in groups has too many channels here",
                self.k.span,
                help="use fewer channels, or no groups",
            )

    def window(self) -> KernelText:
        """The maximum or the sum of each window, and where the maximum is."""
        g, expr = self.k.geometry, self.k.accs[0].expr
        assert g is not None
        adds = self.k.accs[0].how == "sum"
        if any((c.how == "sum") != adds for c in self.k.accs):
            raise InternalError("a window kernel finds sums or maxima, not both")
        bits, whole = expr.dtype == "bit" and not adds, expr.dtype in INTEGERS
        best = self.names.new("best")
        route = self.names.new("route") if any(c.how.startswith("route") for c in self.k.accs) else ""
        accs = {
            i: f"-({route} >> {c.how[5:]} & 1)" if c.how.startswith("route") else best
            for i, c in enumerate(self.k.accs)
        }
        pr = self.printer("v", "r")
        inside = pr.print([expr])
        code, stores = self.outputs("v", "r", {i: f"({x})" for i, x in accs.items()})
        (rows, cols), ctype = self.k.out_shape, "vi" if whole else "vf"
        value = inside.results[0] if bits else pr.veci(expr) if whole else pr.vec(expr)
        return KernelText(
            "window",
            {
                "window": window(g),
                "positions": g.positions,
                "rows": rows,
                "cols": cols,
                "n": lanes(cols),
                "inside": inside,
                "value": value,
                "ctype": ctype,
                "zero": "{0}" if whole else "vbc(0.0f)",
                "select": "vseli" if whole else "vsel",
                "best": best,
                "route": route,
                "bits": bits,
                "adds": adds,
                "code": code,
                "stores": stores,
            },
        )

    def grouped(self, a: Expr, b: Expr) -> KernelText:
        """Sums over q of a float times a sign.  Lanes run over the float operand's other axis."""
        m, q, n = self.k.dims
        across = self.k.form == "tn"  # the float operand is on the right: lanes are result columns
        number, bit = (b, a) if across else (a, b)
        s = self.mem.storages[bit.attr]
        packed_q_rows = s.axis == 0  # word (q/32, result) against word (result, q/32)
        pr = self.printer("v", "r")
        load = pr.print([number])
        acc = self.names.new("acc")
        code, stores = self.outputs("v", "r", {0: acc})
        rows = m if across else n
        lane_extent = n if across else m
        block = min(GROUPED_ROWS, ceil_div(rows, LANES) * LANES)
        return KernelText(
            "contract_grouped",
            {
                "m": m,
                "q": q,
                "cols": n,
                "across": across,
                "rows": rows,
                "block": block,
                "count": count(rows, block),
                "tiles": ceil_div(lane_extent, LANES),
                "extent": lane_extent,
                "bits": self.pointers[bit.attr],
                "word_at": f"(q / 32) * {s.stride} + {{}}" if packed_q_rows else f"({{}}) * {s.stride} + q / 32",
                "n": lanes(n),
                "nq": lanes(q),
                "load": load,
                "value": pr.vec(number),
                "acc": acc,
                "code": code,
                "stores": stores,
            },
        )

    def outer(self, a: Expr, b: Expr) -> KernelText:
        m, q, n = self.k.dims
        chunk = OUTER_TERMS if q <= OUTER_TERMS else OUTER_TERMS // 2
        block = min(256 if q <= chunk else OUTER_ROWS, ceil_div(m, LANES) * LANES)
        left = self.printer("v", "r")
        a_code = left.print([a])
        right = self.printer("v", "r")
        b_code = right.print([b])
        acc = self.names.new("acc")
        code, stores = self.outputs("v", "r", {0: acc})
        return KernelText(
            "contract_outer",
            {
                "m": m,
                "q": q,
                "cols": n,
                "block": block,
                "chunk": chunk,
                "count": count(m, block),
                "n": lanes(n),
                "nm": lanes(m),
                "a_code": a_code,
                "a_value": left.vec(a),
                "b_code": b_code,
                "b_value": right.vec(b),
                "acc": acc,
                "code": code,
                "stores": stores,
            },
        )


def kernel_text(k: Kernel, mem: Memory) -> tuple[KernelText, _Kernel]:
    """The skeleton with its context; and the kernel's pointers: declarations, ``places`` in the arena, and which
    of them a storage has.
    """
    x = _Kernel(k, mem)
    make = {
        "map": x.map,
        "reduce_rows": x.reduce,
        "reduce_cols": x.reduce,
        "contract": x.contract,
        "group": x.group,
        "fold": x.fold,
        "recur": x.recur,
        "recur_back": x.recur,
        "convolve": x.convolve,
        "window": x.window,
    }[k.kind]
    return make(), x
