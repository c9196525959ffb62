"""What all skeletons of C kernels share: where values lie, names, extents as text, the epilogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bnnc.diag import InternalError
from bnnc.ir.dtype import LANES
from bnnc.ir.image import Geometry
from bnnc.ir.ref import Ref
from bnnc.sched.expr import Expr
from bnnc.sched.kernel import Kernel

from ... import printing
from ...printing import Pointers, Printed, Variables
from ..expr import Printer, Scalars, Vectors
from ..names import reserved
from ..words import CTYPE

SHORT = 256  # terms of at most 127 in size whose sums 16 bits hold
CARRIED = (1 << 28) // 127  # whose sums 16 bits hold with as many beside them
POINTER = "operand"  # and a number: a kernel's pointers, until its text is known and they get names


@dataclass(frozen=True)
class Memory(printing.Memory):
    """``idents``: the identifier of each place, no two alike."""

    idents: Mapping[Ref, str] = field(default_factory=dict)


@dataclass
class KernelText:
    """What a skeleton renders."""

    template: str
    context: dict[str, Any] = field(default_factory=dict)


def of_kind(whole: bool) -> dict[str, str]:
    """What a skeleton says of vectors of whole numbers, or of floats: their type, the C type
    of a lane, functions of bnnc_bits.h."""
    kind = "i" if whole else ""
    return {
        "vector": "vi" if whole else "vf",
        "scalar": "int32_t" if whole else "float",
        "zero": "vbci(0)" if whole else "vbc(0.0f)",
        "table": f"vtable{kind}",
        "lookup": f"vlookup{kind}",
        "all": "vbci" if whole else "vbc",
        "turn": "vturni" if whole else "vtranspose",
    }


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


def bnnc_window(g: Geometry) -> str:
    """C of a bnnc_window."""
    return f"{{{g.height}, {g.width}, {g.ky}, {g.kx}, {g.stride}, {g.top}, {g.left}, {g.out_height}, {g.out_width}}}"


class Skeleton(Pointers):
    """One kernel's pointers and names; the functions of the other modules choose the loops.  ``places``: of the
    operands that lie in the arena, in the order of ``at``."""

    def __init__(self, k: Kernel, mem: Memory) -> None:
        self.mem = mem
        self.places: list[Ref] = []
        super().__init__(k, mem, Variables(reserved()))

    def pointer_name(self, place: Ref) -> str:
        return f"{POINTER}{len(self.decls)}"

    def declaration(self, name: Ref, place: Ref, pointer: str) -> str:
        s, constant = self.mem.storages[name], name in self.mem.schedule.embedded
        ctype = CTYPE[s.dtype] if place in map(self.mem.place, self.k.writes) else f"const {CTYPE[s.dtype]}"
        where = f"CONST_{self.mem.idents[name]}" if constant else f"(bnnc_arena + at[{len(self.places)}])"
        if not constant and not ctype.endswith("int8_t"):
            where = f"(void *){where}"  # aligned: what -Wcast-align cannot know
        self.places += [] if constant else [place]
        step = self.mem.pace(self.k, name)  # to the next strip, in a loop
        moved = f" + net_strip * {step}" if step else ""
        return f"{ctype} *restrict {pointer} = ({ctype} *){where}{moved};"

    def printer(self, mode: str, inner: str, accs: dict[int, str] | None = None) -> Printer:
        """Prints vectors (``mode`` v) or scalars (s), in a loop whose ``inner`` variable is r or c."""
        vocabulary = Vectors if mode == "v" else Scalars
        return vocabulary(inner, self.names, self.mem.storages, self.pointers, accs)

    def outputs(
        self, mode: str, inner: str, accs: dict[int, str], skip: tuple[Ref, ...] = ()
    ) -> tuple[Printed, list[str]]:
        """The epilogue: statements, and one store per output (``skip``: outputs that the skeleton stores itself)."""
        outs, pr = self.finished(), self.printer(mode, inner, accs)
        printed = pr.print([o.expr for o in outs])
        return printed, [pr.store(o.ref, o.expr) for o in outs if o.ref not in skip]

    # -- parts of contexts --------------------------------------------------------------------------------------------
    def product(self) -> dict[str, Any]:
        """The epilogue of a product: the name of its sum, statements, stores."""
        return self.epilogue(self.names.new("acc"))

    def epilogue(self, acc: str) -> dict[str, Any]:
        """What follows a sum ``acc``: statements, stores."""
        code, stores = self.outputs("v", "r", {0: acc})
        return {"acc": acc, "code": code, "stores": stores}

    def operand(self, name: str, e: Expr) -> dict[str, Any]:
        """Where an operand lies, as ``name`` and ``name_stride``."""
        return {name: self.pointers[e.attr], f"{name}_stride": self.mem.storages[e.attr].stride}

    def words(self, printed: Printed, values: tuple[Ref, ...]) -> list[dict[str, Any]]:
        """Bits of 32 rows a word, which a skeleton gathers: their mask and where they go."""
        text = {o.ref: mask for o, mask in zip(self.k.outputs, printed.results, strict=True)}
        strides = {v: self.mem.storages[v].stride for v in values}
        return [{"mask": text[v], "ptr": self.pointers[v], "stride": strides[v]} for v in values]

    def holds(self, small: bool) -> None:
        """What ``ir/bounds.py`` refuses for a user's network does not come here.  Raises InternalError."""
        if not small:
            raise InternalError(f"{self.k.name} is beyond the bounds of ir/bounds.py")
