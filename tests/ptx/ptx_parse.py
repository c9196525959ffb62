"""PTX text -> instructions: of one kernel, as Triton's compiler writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

KINDS = {"rd": "d", "rs": "h", "r": "r", "p": "p"}  # of registers: 64, 16 and 32 bits, predicates
BITS = {"d": 64, "h": 16, "r": 32, "p": 1}
INSTRUCTION = re.compile(r"(?:@(!?)(%p\d+)\s+)?(\S+)\s*(.*)", re.S)
STOPS = ("bra", "bar", "ret", "atom")  # end a block, and so does what acquires


class UnknownPtx(Exception):
    """The emulator does not know what this means."""


@dataclass(frozen=True)
class Instruction:
    """``op``: the opcode with its modifiers; ``guard``: the predicate (``~`` before it: where it is false), or
    nothing.
    """

    op: str
    args: tuple[str, ...]
    guard: str
    text: str

    @property
    def head(self) -> str:
        return self.op.split(".")[0]

    @property
    def stops(self) -> bool:
        """Whether others may see it, or the next instruction is elsewhere."""
        return self.head in STOPS or "acquire" in self.op


@dataclass(frozen=True)
class Kernel:
    """``labels``: the number of the instruction behind each; ``starts``: where blocks begin."""

    name: str
    instructions: tuple[Instruction, ...]
    labels: dict[str, int]
    registers: frozenset[str]
    warps: int

    @property
    def starts(self) -> list[int]:
        found = {0, *self.labels.values()}
        for i, x in enumerate(self.instructions):
            found |= {i, i + 1} if x.stops else set()
        return sorted(found - {len(self.instructions)})


def register(text: str) -> str:
    """The short name of a register (``%rd3`` -> d3); empty: it is none."""
    found = re.fullmatch(r"%(rd|rs|r|p)(\d+)", text)
    return KINDS[found[1]] + found[2] if found else ""


def instruction(text: str) -> Instruction:
    """One instruction, without its semicolon."""
    found = INSTRUCTION.fullmatch(text)
    if found is None:
        raise UnknownPtx(text)
    args = tuple(a.strip() for a in re.split(r",(?![^{]*\})", found[4])) if found[4] else ()
    guard = ("~" if found[1] else "") + register(found[2]) if found[2] else ""
    return Instruction(found[3], args, guard, text)


def parse(text: str) -> Kernel:
    """The one kernel of a PTX text."""
    entry = re.search(r"\.entry\s+(\w+)", text)
    threads = re.search(r"\.reqntid (\d+)", text)
    if entry is None or threads is None or text.count(".entry") != 1:
        raise UnknownPtx("a text must hold one kernel that says how many threads it has")
    body = re.sub(r"//.*", "", text[text.index("{", entry.end()) :])
    labels: dict[str, int] = {}
    made: list[Instruction] = []
    for line in map(str.strip, body.splitlines()):
        if label := re.fullmatch(r"(\$\w+):", line):
            labels[label[1]] = len(made)
        elif line and not line.startswith(".") and line not in "{}":
            made += [instruction(part.strip()) for part in line.split(";") if part.strip()]
    names = frozenset(KINDS[kind] + n for kind, n in re.findall(r"%(rd|rs|r|p)(\d+)\b", body))
    return Kernel(entry[1], tuple(made), labels, names, int(threads[1]) // 32)
