"""Packed Schedules as text, and back: ``parse_packed(print_packed(ps)) == ps`` but for spans, hints and reasons.

As a Schedule's (``bnnc/sched/text.py``), with storages above the kernels, and with loops:

    storage %conv1.wb: bit[144, 64] 32 rows a word  # 1280 bytes     of inputs and states there is no more to tell
    loop over 4 strips of rows, one strip of %conv1.y
      kernel convolve_forward_conv1_y [64, 64]  @forward conv1       its kernels stand to the right
        strips of %pixels by rows                                    what the kernel sees a strip of
"""

from __future__ import annotations

from ..ir.dtype import Axis, Packing
from ..ir.ref import Ref
from ..ir.text import Type, declarations, ends, type_text
from ..sched.text import ScheduleReader, in_place, print_kernel
from .narrow import MOVE, part
from .pack import PackedSchedule
from .types import Loop, Storage

PACKED = {
    "": Packing.COLUMNS,
    "32 rows a word": Packing.ROWS,
    "32 columns a word, rows side by side": Packing.COLUMNS_ACROSS,
}
_PACKED_TEXT = {packing: f" {text}".rstrip() for text, packing in PACKED.items()}


def _moved(s: Storage, move: str, parts: int) -> Type:
    """What a kernel sees of a storage that moves so."""
    return (part(s.shape, Axis(MOVE.index(move)), parts) if move in MOVE else s.shape), s.dtype


def _storage_text(s: Storage, word: str) -> str:
    return f"{word} %{s.ref}: {type_text(s.shape, s.dtype)}{_PACKED_TEXT[s.packing]}  # {s.nbytes} bytes"


def print_packed(ps: PackedSchedule) -> str:
    """The whole packed Schedule as text, ending in a newline."""
    p = ps.program
    given = [Storage(Ref(n), p.value[n].dtype, p.value[n].shape) for n in (*p.inputs, *(s.name for s in p.states))]
    out = declarations(p, "packed")
    out += [_storage_text(s, "storage") for s in ps.storages if s not in given]
    out += [_storage_text(s, "embedded") for s in ps.constants]
    types = {n: (s.shape, s.dtype) for n, s in ps.storage.items()}
    loops = {i: loop for loop in ps.loops for i in range(loop.first, loop.last + 1)}
    for i, k in enumerate(ps.kernels):
        loop = loops.get(i)
        if loop and i == loop.first:
            held = ", one strip of " + ", ".join(f"%{n}" for n in sorted(loop.inside)) if loop.inside else ""
            out.append(f"loop over {loop.parts} strips of {loop.axis.text}{held}")
        moved = {n: _moved(ps.storage[n], move, loop.parts) for n, move in k.moves} if loop else {}
        out += [f"{'  ' if loop else ''}{line}" for line in print_kernel(k, types | moved, types | moved)]
    return "\n".join((*out, *ends(p), *in_place(ps))) + "\n"


class _PackedReader(ScheduleReader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.storages: dict[Ref, Storage] = {}
        self.constant: dict[Ref, Storage] = {}
        self.loops: list[Loop] = []

    def storage(self) -> None:
        """A line on a storage, or on a constant's."""
        word, ref = self.need(r"(?:storage|embedded)\b", "`storage`"), self.ref()
        self.need(":", "`:`")
        shape, dtype = self.known[ref] = self.type()
        packing = PACKED[self.take("|".join(filter(None, PACKED)))]
        (self.storages if word == "storage" else self.constant)[ref] = Storage(ref, dtype, shape, packing)
        self.end()

    def stored(self, ref: Ref, type_: Type, start: int) -> None:
        self.fail(f"%{ref} has no storage", start)

    def loop(self) -> None:
        """A loop with its kernels."""
        self.need("loop over", "`loop over`")
        parts = int(self.need(r"\d+", "how many strips"))
        self.need("strips of", "`strips of`")
        axis = Axis(MOVE.index(self.need("|".join(MOVE), " or ".join(MOVE))))
        inside = frozenset(self.refs(self.ref)) if self.take(", one strip of") else frozenset[Ref]()
        self.end()
        first = len(self.kernels)
        storage = self.storages | self.constant
        while self.sees(r"(?<=[ \t])kernel\b"):
            self.kernel(lambda n, move: _moved(storage[n], move, parts))
        if len(self.kernels) == first:
            self.fail("expected a kernel of the loop, to the right of it")
        self.loops.append(Loop(first, len(self.kernels) - 1, axis, parts, inside))


def parse_packed(text: str) -> PackedSchedule:
    """Read what :func:`print_packed` wrote.  Raises InternalError, with line and column, for anything else."""
    r = _PackedReader(text)
    r.declarations("packed")
    given = (*r.inputs, *(s.name for s in r.states))
    r.storages = {Ref(n): Storage(Ref(n), r.types[n][1], r.types[n][0]) for n in given}
    while r.sees(r"(?:storage|embedded)\b"):
        r.storage()
    while r.sees(r"kernel\b|loop\b"):
        r.loop() if r.sees(r"loop\b") else r.kernel()
    r.ends()
    for _, n in (*r.results, *r.updates):
        if Ref(n) not in r.known:
            r.fail(f"%{n} has no storage")
        r.types[n] = r.known[Ref(n)]
    storages, constants = (tuple(x.values()) for x in (r.storages, r.constant))
    return PackedSchedule(
        r.finish().declared(), tuple(r.kernels), tuple(r.in_place), storages, constants, tuple(r.loops)
    )
