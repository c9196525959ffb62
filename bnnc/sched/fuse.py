"""fuse: Module -> Scheduled.  Each kernel is one anchor (a contraction, a reduction, or a map, which adds nothing up),
with element-wise ops inlined on its loads and stores.

Which values exist in memory is decided here.  Contraction and reduction results exist unless every reader sits in the
same kernel's epilogue.  A map value exists if it is one bit per element (it is smaller than what it is made of), a
rounded copy (``cast``), a vector or scalar that larger values read, a result or an update; everything else is
recomputed by each reader.  Updates are not moved into contractions here: that is ``sink``.

``off``: one op per kernel, every value in memory.  Same bits, more memory: the ops and their order are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property

from ..ir.dtype import ONE_BIT
from ..ir.ops import OPS
from ..ir.program import Module, Op, Program, Value
from ..ir.ref import Ref
from ..ir.sequence import FROM_MEMORY, ROWS
from .anchor import ELEMENTS, Accumulation, Map, anchor_of
from .expr import Expr, Shape, role
from .kernel import Kernel, Output, Schedule, Scheduled, Where

MAX_WIDE_LOADS = 2  # full-size numbers that a shared expression may read before it is worth a buffer of its own


def _is_full(shape: Shape) -> bool:
    return shape[0] > 1 and shape[1] > 1


@dataclass
class _Draft:
    """A kernel under construction."""

    kernel: Kernel

    def add(self, ref: Ref, expr: Expr, reason: str) -> None:
        """Store one more value, for this reason."""
        output = Output(ref, expr).because(f"fuse: kept, {reason}")
        self.kernel = replace(self.kernel, outputs=(*self.kernel.outputs, output))


@dataclass(frozen=True)
class _Value:
    """A value that ``op`` makes, and that an expression may be written for instead; its readers and what they make."""

    op: Op
    value: Value
    expr: Expr
    readers: list[Op]
    made: list[Value]

    @cached_property
    def full(self) -> list[Expr]:
        """Loads of whole matrices."""
        return [e for e in self.expr.walk() if e.op == "load" and _is_full(e.shape)]

    @property
    def bits(self) -> bool:
        """Is it a matrix of one bit an element, that is not as easily told again?"""
        return self.value.dtype in ONE_BIT and _is_full(self.value.shape) and self.op.kind != "hit"

    def read_elsewhere(self) -> bool:
        return any(r.kind in FROM_MEMORY and r.kind != "spread" for r in self.readers)

    def spread_of_rows(self) -> bool:
        other = (e.op in FROM_MEMORY and e.op != "repeat" for e in self.expr.walk())
        return any(r.kind == "spread" for r in self.readers) and any(other)

    def bits_of_a_product(self) -> bool:
        products = ("contract", "convolve", "recur")
        return self.value.dtype in ONE_BIT and any(OPS[r.kind].cls in products for r in self.readers)

    def small(self) -> bool:
        return self.bits and bool(self.full)

    def rounded(self) -> bool:
        if not _is_full(self.value.shape) or self.op.kind in ROWS:
            return False
        # i8 that is limited to 8 bits was a larger number; one that fits anyway is as cheap to make again
        cut = self.value.dtype == "i8" and any(e.op == "min" and e.shape == self.value.shape for e in self.expr.walk())
        return self.value.dtype == "f16" or cut

    def vector(self) -> bool:
        larger = any(v.shape != self.value.shape for v in self.made) or any(
            OPS[r.kind].cls != "map" for r in self.readers
        )
        return larger and not _is_full(self.value.shape)

    def reads_much(self) -> bool:
        wide = {e.attr for e in self.full if e.dtype not in ONE_BIT}
        return not self.bits and len(self.readers) > 1 and len(wide) > MAX_WIDE_LOADS

    def costly(self) -> bool:
        return not self.bits and len(self.readers) > 1 and any(e.op in ("exp", "log") for e in self.expr.walk())


KEPT: tuple[tuple[str, Callable[[_Value], bool]], ...] = (  # the first that holds is why a value exists
    ("it is read at other places than the one that is computed", _Value.read_elsewhere),
    ("it is made of other rows, and spread over windows", _Value.spread_of_rows),
    ("a product reads its bits from memory", _Value.bits_of_a_product),
    ("one bit an element is smaller than what it is made of", _Value.small),
    ("it is a rounded copy, half as large", _Value.rounded),
    ("what reads it is larger, and would make it for each element", _Value.vector),
    (f"several read it, and it is made of more than {MAX_WIDE_LOADS} whole matrices", _Value.reads_much),
    ("several read it, and exp or log take long", _Value.costly),
)


class _Fuser:
    def __init__(self, program: Program, on: bool) -> None:
        self.p, self.on = program, on
        self.expr: dict[str, Expr] = {}  # how a reader writes a value: inlined, or a load
        self.made_by: dict[Ref, int] = {}  # value -> draft index
        self.drafts: list[_Draft] = []
        self.alike: dict[
            Hashable, list[int]
        ] = {}  # drafts, ascending, that something else may join: by what they walk over
        self.required = {Ref(v) for _, v in (*program.updates, *program.results)}
        self.readers: dict[str, list[Op]] = {}
        for op in program.ops:
            for i in op.inputs:
                self.readers.setdefault(i, []).append(op)

    def load(self, name: str) -> Expr:
        """How a reader writes a value: its expression, or a load of what is stored."""
        v = self.p.value[name]
        return self.expr.get(name) or Expr("load", (), Ref(name), v.dtype, v.shape)

    def run(self) -> list[Kernel]:
        """The kernels in the program's order, without outputs that nobody loads."""
        for op in self.p.ops:
            v = self.p.value[op.output]
            if OPS[op.kind].cls == "source":
                attr = op["value"] if op.kind == "const" else op["steps"] if op.kind == "step" else None
                self.expr[op.output] = Expr(op.kind, (), attr, v.dtype, v.shape, role(Ref(op.output)))
            elif OPS[op.kind].cls == "map":
                self.map_op(op)
            else:
                self.anchor(op)
        return self.cleanup()

    # -- map values ---------------------------------------------------------------------------------------------------
    def map_op(self, op: Op) -> None:
        """Make an element-wise op's value an expression for its readers, and where it is kept an output of a kernel."""
        v = self.p.value[op.output]
        attr = op.attrs or None
        expr = Expr(op.kind, tuple(self.load(i) for i in op.inputs), attr, v.dtype, v.shape, self.hint(op))
        if op.kind == "spread" and expr.args[0].op != "load":
            expr = self.spread(expr.args[0], expr)
        if not (reason := self.kept(op, expr)):
            self.expr[op.output] = expr
            return
        at = self.epilogue_of(op, expr) if self.on and op.kind not in ROWS else None
        if at is None and self.on and op.kind not in ROWS:
            at = self.map_kernel_for(op, expr)
        if at is None:
            at = self.begin(Kernel(Map(), v.shape, (), Where(op.phase, op.layer, op.span)))
        d = self.drafts[at]
        d.add(Ref(op.output), expr if op.kind in ROWS else expr.substitute(self.inside(d.kernel)), reason)
        self.made_by[Ref(op.output)] = at

    def hint(self, op: Op) -> str:
        """What a value is to its layer; one without a name of its own is called as what rounds it."""
        name = role(Ref(op.output))
        rounded = [role(Ref(r.output)) for r in self.readers.get(op.output, ()) if r.kind == "cast"]
        return rounded[0] if name == op.kind and rounded else name

    def kept(self, op: Op, expr: Expr) -> str:
        """Why a value exists in memory; empty: each reader makes it for itself."""
        if not self.on:
            return "fusing is off"
        readers = self.readers.get(op.output, [])
        value = _Value(op, self.p.value[op.output], expr, readers, [self.p.value[r.output] for r in readers])
        if Ref(op.output) in self.required:
            return "the step gives it back"
        return next((name for name, test in KEPT if test(value)), "")

    def spread(self, e: Expr, as_: Expr) -> Expr:
        """An element-wise expression of window rows, written at pixels: its operands are spread, and what all windows
        of a sample have, all its pixels have."""
        if e.shape[0] == 1:
            return e
        shape = (as_.shape[0], e.shape[1])
        if e.op == "repeat":
            return replace(e, attr=(("steps", shape[0] // e.args[0].shape[0]),), shape=shape)
        if e.op == "load":
            return Expr("spread", (e,), as_.attr, e.dtype, shape, role(e.attr))
        return replace(e, args=tuple(self.spread(a, as_) for a in e.args), shape=shape)

    def before(self, expr: Expr, index: int, inside: bool) -> bool:
        """Is everything that ``expr`` loads made before draft ``index`` (or, with ``inside``, by it, at the same
        element)?
        """
        far = expr.elsewhere() if inside else set()
        return all(
            self.made_by.get(n, -1) < index or (inside and self.made_by[n] == index and n not in far)
            for n in expr.loads()
        )

    def inside(self, k: Kernel) -> dict[Ref, Expr]:
        """Values a kernel makes itself, as expressions, so that it need not load them back."""
        return {o.ref: o.expr for o in k.outputs if not o.row_sum}

    def epilogue_of(self, op: Op, expr: Expr) -> int | None:
        """The anchor kernel whose epilogue can make this value, if there is one.  Updates wait for ``sink``."""
        v = self.p.value[op.output]
        if op.output in {new for _, new in self.p.updates}:
            return None
        made = {self.made_by[n] for n in expr.loads() if n in self.made_by}
        if not made:
            return None
        at = max(made)
        k = self.drafts[at].kernel
        ok = k.anchor.results and k.out_shape == v.shape and self.before(expr, at, True) and not self.waits(op, expr, k)
        return at if ok else None

    def waits(self, op: Op, expr: Expr, k: Kernel) -> bool:
        """Is this a value of a later phase than ``k``, made of full-size values that exist until then anyway?"""
        own, todo = {op.output}, [op]  # the ops that are written inline in ``expr``
        while todo:
            todo += (more := [self.p.producer[i] for i in todo.pop().inputs if i in self.expr and i in self.p.producer])
            own |= {o.output for o in more}
        full = {n.value for n in expr.loads() if _is_full(self.p.value[n.value].shape)}
        return (
            bool(full)
            and op.phase != k.where.phase
            and all(any(r.phase != k.where.phase and r.output not in own for r in self.readers[n]) for n in full)
        )

    def map_kernel_for(self, op: Op, expr: Expr) -> int | None:
        """The latest kernel over the same extent, and of the same phase, that could make this value too."""
        v, loads, far = self.p.value[op.output], set(expr.loads()), expr.elsewhere()
        shared = {n for n in loads if self.p.value[n.value].shape != (1, 1)}  # what is worth reading once
        earliest = max((self.made_by[n] + (n in far) for n in loads if n in self.made_by), default=-1)
        for at in reversed(self.alike.get((ELEMENTS, v.shape, op.phase), ())):
            if at < earliest:
                break
            k = self.drafts[at].kernel
            if (
                not shared.isdisjoint((*k.reads, *k.writes))
                if _is_full(v.shape)
                else op.phase != "update" or k.where.layer == op.layer
            ):
                return at
        return None

    def begin(self, k: Kernel) -> int:
        """A new draft; its number."""
        self.drafts.append(_Draft(k))
        at = len(self.drafts) - 1
        self.alike.setdefault(self.walk(k), []).append(at)
        return at

    def walk(self, k: Kernel) -> Hashable:
        """What kernels that may become one have in common."""
        return k.anchor.walk, k.domain, k.where.phase

    # -- anchors ------------------------------------------------------------------------------------------------------
    def anchor(self, op: Op) -> None:
        """Make an op that adds up a kernel, or one more accumulator of a kernel that walks alike."""
        v = self.p.value[op.output]
        anchor, domain = anchor_of(op, [self.load(i) for i in op.inputs], v)
        k = Kernel(anchor, domain, (), Where(op.phase, op.layer, op.span))
        if isinstance(anchor, Accumulation) and anchor.joins and self.joined(k, anchor, v):
            return
        output = Output(Ref(op.output), Expr("acc", (), 0, v.dtype, v.shape)).because(
            "fuse: kept, it is the result of a sum"
        )
        k = replace(k, outputs=(output,))
        self.made_by[Ref(op.output)] = self.begin(k)

    def joined(self, new: Kernel, anchor: Accumulation, v: Value) -> bool:
        """Add ``anchor``, which makes ``v``, to the latest kernel that walks as ``new`` does, if there is one."""
        earliest = max((self.made_by.get(n, -1) for n in new.reads), default=-1)
        at = next(reversed(self.alike.get(self.walk(new), ()) if self.on else ()), -1)
        if at <= earliest:
            return False
        k = self.drafts[at].kernel
        assert isinstance(k.anchor, type(anchor))
        acc = Expr("acc", (), len(k.anchor.accs), v.dtype, v.shape)
        output = Output(Ref(v.name), acc).because(
            f"fuse: kept, it is the result of a sum that walks as that of {k.writes[0]}"
        )
        self.drafts[at].kernel = replace(k, anchor=k.anchor.joined(anchor), outputs=(*k.outputs, output))
        self.made_by[Ref(v.name)] = at
        return True

    # -- what nobody loads is not stored ------------------------------------------------------------------------------
    def cleanup(self) -> list[Kernel]:
        """The kernels in order, without outputs and kernels that nobody reads."""
        return drop_unread([d.kernel for d in self.drafts], self.required)


def drop_unread(kernels: list[Kernel], required: set[Ref]) -> list[Kernel]:
    """Remove outputs that no other kernel loads, and kernels that are left with none."""
    while True:
        read = required | {n for k in kernels for n in k.reads}
        kept = [replace(k, outputs=tuple(o for o in k.outputs if o.ref in read)) for k in kernels]
        kept = [k for k in kept if k.outputs]
        if kept == kernels:
            return kernels
        kernels = kept


def fuse(module: Module, on: bool = True) -> Scheduled:
    """Both Schedules; kernels in program order, not yet named."""
    return Scheduled(module.model, *(Schedule(p, ()).with_kernels(_Fuser(p, on).run()) for p in module))
