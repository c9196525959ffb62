"""Machine code of a compiled kernel (SASS, as nvdisasm prints it) -> instructions, with the registers that each reads
and writes, and the line of the PTX that it comes from.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P[T0-9]+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;")
PTX_LINE = re.compile(r'//## File "\.nv_debug_ptx_txt", line (\d+)')
LABEL = re.compile(r"([.$\w]+):\s*$")
REGISTER = re.compile(r"\b(U?R|U?P)(\d+)\b(\.64)?")
STORES = (
    "BAR BRA BREAK BRX BSSY BSYNC CALL CCTL CGAERRBAR DEPBAR ERRBAR EXIT FENCE LDGDEPBAR LDGSTS MEMBAR NANOSLEEP NOP"
    " RED RET ST STG STS STSM WARPGROUP WARPSYNC YIELD"
)
NOTHING = frozenset(STORES.split())  # write no register
TWO = ("ISETP", "FSETP", "HSETP2", "PLOP3", "UISETP", "UPLOP3", "SHFL", "ATOMG", "VOTE", "VOTEU", "DSETP", "R2UR")
JUMPS = ("BRA", "EXIT", "RET", "CALL")  # after which another instruction may come next


@dataclass(frozen=True)
class Instruction:
    """``at``: its address; ``guard``: the predicate under which it runs, or nothing; ``line``: of the PTX, or 0."""

    at: int
    op: str
    guard: str
    args: tuple[str, ...]
    line: int

    @cached_property
    def head(self) -> str:
        return self.op.split(".")[0]

    @cached_property
    def parts(self) -> frozenset[str]:
        """What follows the opcode's name."""
        return frozenset(self.op.split(".")[1:])

    @cached_property
    def split(self) -> int:
        """How many of its operands are results."""
        if self.head in NOTHING:
            return 0
        n = 2 if self.head in TWO and (self.head != "R2UR" or self.args[0].startswith(("P", "UP"))) else 1
        if self.head in ("LOP3", "ULOP3") and re.fullmatch(r"U?P[T0-9]+", self.args[0]):
            n = 2
        if self.head in ("IADD3", "UIADD3", "LEA", "ULEA", "IMAD", "UIMAD"):  # carries, behind the result
            while re.fullmatch(r"U?P[T0-9]+", self.args[n]):
                n += 1
        return n

    @cached_property
    def writes(self) -> tuple[str, ...]:
        """Registers and predicates."""
        if self.head == "R2P":
            return tuple(f"P{i}" for i in range(7))
        found: list[str] = []
        for a in self.args[: self.split]:
            for kind, n, _ in REGISTER.findall(a):
                wide = self.width if kind in ("R", "UR") else 1
                found += [f"{kind}{int(n) + i}" for i in range(wide)]
        return tuple(found)

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """Registers and predicates, its guard's among them."""
        found = [r for r in (self.guard.removeprefix("!"),) if r and not r.endswith("PT")]
        if self.head == "P2R":
            found += [f"P{i}" for i in range(7) if number(self.args[-1]) >> i & 1]
        for i, a in enumerate(self.args[self.split :], self.split):
            for kind, n, pair in REGISTER.findall(a):
                found += [f"{kind}{int(n) + i}" for i in range(2 if pair else self.taken(i, kind))]
        return tuple(found)

    @property
    def vector(self) -> int:
        """Registers that a lane moves from or to memory."""
        return 4 if "128" in self.parts else 2 if "64" in self.parts else 1

    @property
    def matrices(self) -> int:
        """Registers of matrices that a warp moves."""
        return int(self.op[-1]) if self.op[-2:] in (".2", ".4") else 1

    @property
    def width(self) -> int:
        """Registers of its result."""
        if self.head in ("HGMMA", "IGMMA"):
            return int(re.search(r"64x(\d+)x", self.op)[1]) // 2  # type: ignore[index]
        if self.head == "LDSM":
            return self.matrices
        if self.head in ("LDG", "LDS", "LDC", "ULDC", "LD", "ATOMG"):
            return self.vector
        pair = "WIDE" in self.parts or (self.head == "CS2R" and "32" not in self.parts)
        return 4 if self.head in ("HMMA", "IMMA") else 2 if pair else 1

    def taken(self, i: int, kind: str) -> int:
        """Registers of operand ``i``, where its text does not say."""
        if kind not in ("R", "UR"):
            return 1
        last = i == len(self.args) - 1
        if self.head in ("STG", "STS", "ST", "STSM"):
            return (self.matrices if self.head == "STSM" else self.vector) if last else 1
        if self.head in ("HMMA", "IMMA"):
            return (4, 2, 4)[min(i - 1, 2)]
        if self.head.endswith("GMMA"):
            return self.width
        return 2 if self.head in ("IMAD", "UIMAD") and {"WIDE", "HI"} & self.parts and i == self.split + 2 else 1


def number(text: str) -> int:
    """A whole number that stands in the text."""
    return int(text, 0)


@dataclass(frozen=True)
class Code:
    """A kernel's instructions in order; ``labels``: the number of the instruction behind each."""

    instructions: tuple[Instruction, ...]
    labels: dict[str, int]

    def target(self, x: Instruction) -> int:
        """Where a jump leads."""
        found = re.search(r"`\(([^)]+)\)", x.args[-1])
        assert found is not None, x
        return self.labels[found[1]]


def _operands(text: str) -> Iterator[str]:
    """Split at commas, but for those within brackets."""
    depth = first = 0
    for i, c in enumerate(text):
        depth += (c in "[({") - (c in "])}")
        if c == "," and not depth:
            yield text[first:i].strip()
            first = i + 1
    if text[first:].strip():
        yield text[first:].strip()


def parse(text: str) -> Code:
    """What nvdisasm printed of one kernel, with PTX lines or without."""
    made: list[Instruction] = []
    labels: dict[str, int] = {}
    ptx = 0
    for line in text.splitlines():
        if found := LINE.search(line):
            at, guard, op, args = found.groups()
            made.append(Instruction(int(at, 16), op, guard or "", tuple(_operands(args)), ptx))
        elif found := PTX_LINE.search(line):
            ptx = int(found[1])
        elif found := LABEL.match(line.strip()):
            labels[found[1]] = len(made)
    return Code(tuple(made), labels)


def disassembled(triton: Any, cubin: bytes) -> str:
    """By the tool that comes with Triton."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([str(tool), "-gp", "-c", file.name], capture_output=True, text=True, check=True)
    return done.stdout
