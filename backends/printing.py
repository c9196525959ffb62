"""What the printers of all backends share: variable names, kinds of values, and where a schedule's values lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bnnc.plan.types import Storage
from bnnc.sched.expr import Expr
from bnnc.sched.kernel import Kernel

INTS = ("u8", "i8", "i16", "i32")
LONG = 72  # characters of an inlined expression before it gets a name and a line of its own


class Names:
    """Local variable names of one kernel, each used once; ``reserved``: what skeletons call their own."""

    def __init__(self, reserved: Iterable[str]) -> None:
        self.taken = set(reserved)

    def new(self, hint: str) -> str:
        name, k = hint, 1
        while name in self.taken:
            k += 1
            name = f"{hint}{k}"
        self.taken.add(name)
        return name


def kind(e: Expr) -> str:
    """``m`` a mask, ``i`` an integer, ``f`` a float."""
    return "m" if e.dtype in ("bit", "bool") else "i" if e.dtype in INTS else "f"


def all_const(e: Expr) -> bool:
    return e.op == "const" or (bool(e.args) and all(all_const(a) for a in e.args))


def pace(k: Kernel, name: str, s: Storage, parts: int) -> int:
    """Elements (words, of bits) from where one of a loop's ``parts`` strips of a storage begins to the next; 0: the
    kernel sees it all.
    """
    move = dict(k.moves).get(name)
    return s.pace(move, parts, k.geometry.positions if move == "taps" and k.geometry else 1) if move else 0


@dataclass(frozen=True)
class Places:
    """Storages of one schedule; ``prefix`` names the evaluation step's own buffers."""

    storages: dict[str, Storage]
    alias: dict[str, str]
    states: frozenset[str]
    prefix: str

    def place(self, name: str) -> str:
        """The plan's name of a schedule's storage."""
        name = self.alias.get(name, name)
        return name if name in self.states else self.prefix + name
