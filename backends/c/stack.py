"""How deep a program's stacks can grow: the compiler's own figures, summed over the call graph.

gcc's ``-fcallgraph-info=su`` writes what each function takes of the stack, after inlining, and whom it calls.  clang
has it in two
places: who calls whom in its IR after inlining, and the frames, with ``-fstack-size-section``, in the program.  The
deepest path is a bound because nothing recurses and no frame has a size that depends on data; both are checked.  A call
through a pointer may go to any function of its kind: from a step to any kernel, from elsewhere to any function that is
nowhere called by name; and from below such a function only to one that makes no such calls itself (a store's functions,
which call a firmware's).
"""

from __future__ import annotations

import math
import re
import shlex
import subprocess
from collections.abc import Iterable
from functools import cache, cached_property
from itertools import count
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from bnnc.diag import InternalError
from bnnc.ir.dtype import round_up
from bnnc.plan.contract import HANDLER, RATE, ROOTS, STEPS, WORKER

FLAG, LLVM_FLAG = "-fcallgraph-info=su", "-fstack-size-section"
KERNEL = re.compile(
    r"\w+_\d+(x\d+)+_\w+|" + RATE + r"\w+"
)  # a kernel's name ends in its extents and the instruction set
POINTER = "__indirect_call"  # gcc's name for a call through one
LIBRARY = 64  # what a function of the compiler's library takes: arithmetic that the CPU has no instruction for
LLVM_LIBRARY = 256  # of clang's, which its IR does not name
SIGNAL = 5 * 1024  # what Linux pushes for a signal: on aarch64 4.6 KiB, with AVX-512 3.6 KiB
EXCEPTION = 104  # what a Cortex-M pushes, with its FPU's registers
PAGE = 4096


@cache
def kind(cc: str) -> str:
    """Of a compiler with its options: "gcc", "clang", or "" for one that cannot tell."""
    told = _told(cc)
    return "gcc" if "Free Software Foundation" in told else "clang" if "clang version" in told else ""


@cache
def version(cc: str) -> int:
    """The first number of a compiler's version; 0: it does not say."""
    found = re.search(r"clang version (\d+)\." if kind(cc) == "clang" else r"\) (\d+)\.\d", _told(cc))
    return int(found[1]) if found else 0


@cache
def _told(cc: str) -> str:
    return subprocess.run([*shlex.split(cc), "--version"], capture_output=True, text=True, check=False).stdout


class Calls:
    """The call graph of a program: bytes of each function's frame, and who calls whom."""

    def __init__(self, frame: dict[str, int], calls: dict[str, set[str]], library: int = 0) -> None:
        """``library``: bytes that may be below each function."""
        self.frame, self.calls, self.library = frame, calls, library

    @classmethod
    def of_gcc(cls, text: str) -> Calls:
        """``text``: what -fcallgraph-info=su writes.  Raises InternalError for a frame whose size is not fixed."""
        frame: dict[str, int] = {}
        calls: dict[str, set[str]] = {}
        for title, label in re.findall(r'^node: \{ title: "([^"]+)" label: "([^"]*)"', text, re.M):
            if found := re.search(r"\\n(\d+) bytes \(([^)]*)\)", label):
                if found[2] not in ("static", "dynamic,bounded"):
                    raise InternalError(f"the stack frame of {title} is {found[2]}")
                frame[title] = int(found[1])
        for caller, callee in re.findall(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', text, re.M):
            calls.setdefault(caller, set()).add(callee)
        return cls(frame, calls)

    @classmethod
    def of_clang(cls, ir: str, program: Path) -> Calls:
        """``ir``: LLVM's text after inlining; ``program``: what became of it.  Raises InternalError where it tells no
        frames.
        """
        calls: dict[str, set[str]] = {}
        for name, body in re.findall(r"^define [^@]*@([\w.]+)\((.*?)^}", ir, re.M | re.S):
            named = re.findall(r"\bcall\b[^\n]*?[@%]([\w.]+)\(", body)
            calls[name] = {
                re.sub(r"^llvm\.(mem\w+)\..*", r"\1", c) for c in named if not re.match(r"llvm\.(?!mem)|\d", c)
            }
            if re.search(r"\bcall\b[^\n@]*? %[\w.]+\(", body):
                calls[name].add(POINTER)
        frames = _frames(program)
        return cls({f: frames[f] for f in calls if f in frames}, calls, LLVM_LIBRARY)

    @cached_property
    def _kernels(self) -> list[str]:
        return [f for f in self.frame if KERNEL.fullmatch(_name(f))]

    @cached_property
    def _pointed(self) -> list[str]:
        """The other functions that only a pointer can reach."""
        named = {c for callees in self.calls.values() for c in callees}
        apart = {*ROOTS, WORKER, HANDLER}
        return [f for f in self.frame if f not in named and f not in self._kernels and _name(f) not in apart]

    def _below(self, f: str) -> set[str]:
        """A function and all that it calls by name."""
        found, todo = set(), [f]
        while todo:
            if (g := todo.pop()) not in found:
                found.add(g)
                todo += self.calls.get(g, ())
        return found

    @cached_property
    def _second(self) -> set[str]:
        """What is below functions that a pointer reaches and that call through pointers themselves."""
        return {g for f in self._pointed if POINTER in (below := self._below(f)) for g in below}

    def _callees(self, f: str) -> Iterable[str]:
        for callee in sorted(self.calls.get(f, ())):
            if callee != POINTER:
                yield callee
            elif _name(f) in STEPS:
                yield from self._kernels
            else:
                yield from (g for g in self._pointed if f not in self._second or g not in self._second)

    def depth(self, root: str) -> int:
        """Bytes below the entry of a function, at most; 0 where there is no such function.  Raises InternalError for a
        recursion.
        """
        done: dict[str, int] = {}
        open_: set[str] = set()

        def visit(f: str) -> int:
            if f in open_:
                raise InternalError(f"{f} calls itself")
            if f not in done:
                open_.add(f)
                done[f] = self.frame.get(f, LIBRARY) + max(map(visit, self._callees(f)), default=self.library)
                open_.discard(f)
            return done[f]

        return max((visit(f) for f in self.frame if _name(f) == root), default=0)

    @property
    def main(self) -> int:
        """The stack that a program starts with: the deepest path, and what the system pushes beside it."""
        base = max(map(self.depth, ROOTS))
        handles = any(_name(f) == HANDLER for f in self.frame)
        return base + (SIGNAL + self.depth(HANDLER) if handles else EXCEPTION)


def _name(title: str) -> str:
    """A function's name of a node's title: `file.c:name.part.0` -> `name`."""
    return title.rsplit(":", 1)[-1].split(".")[0]


def arrays(kernel: str, lanes: int) -> int:
    """Bytes of the local arrays in a kernel's text where vectors have 1 or 4 lanes: what its frame is made of."""
    total, named = 0, {"VL": lanes, "W": 2, "VENTRIES": 8}
    bytes_of = {**dict.fromkeys(("vf", "vi", "vu", "vw"), 4 * lanes), "int16_t": 2}

    def size(factor: str) -> int:
        if "+" in factor:
            return sum(map(size, factor.split("+")))
        if "*" in factor:
            return math.prod(map(size, factor.split("*")))
        number, _, by = (x.strip() for x in factor.partition("/"))
        return (named.get(number) or int(number)) // (named.get(by) or int(by or 1))

    for kind, declaration in re.findall(r"VARRAY (\w+) ([^;]*);", kernel):
        for array in declaration.split(", "):
            total += bytes_of.get(kind, 4) * math.prod(map(size, re.findall(r"\[([^]]*)\]", array)))
    return total


def _frames(program: Path) -> dict[str, int]:
    """Of each function, from the section .stack_sizes: addresses, and bytes as unsigned LEB128."""
    with program.open("rb") as f:
        elf = ELFFile(f)
        symbols, sizes, word = (
            elf.get_section_by_name(".symtab"),
            elf.get_section_by_name(".stack_sizes"),
            elf.elfclass // 8,
        )
        if not isinstance(symbols, SymbolTableSection) or not sizes:
            raise InternalError("the program tells no stack sizes")
        unmarked = -2 if elf["e_machine"] == "EM_ARM" else -1  # bit 0 says Thumb
        name = {s["st_value"] & unmarked: s.name for s in symbols.iter_symbols() if s["st_info"]["type"] == "STT_FUNC"}
        data, at, found = sizes.data(), 0, {}
    while at < len(data):
        function, size, at = name.get(int.from_bytes(data[at : at + word], "little") & unmarked, ""), 0, at + word
        for shift in count(0, 7):
            size, at = size | (data[at] & 127) << shift, at + 1
            if data[at - 1] < 128:
                break
        found[function] = size
    return found


def read(program: Path) -> Calls | None:
    """The call graph that a compilation left beside a program; None: it left none."""
    found = sorted(program.parent.glob("*.ci"))
    if ir := sorted(program.parent.glob("*.ll")):
        return Calls.of_clang("\n".join(f.read_text(encoding="utf-8") for f in ir), program)
    return Calls.of_gcc("\n".join(f.read_text(encoding="utf-8") for f in found)) if found else None


def bounds(calls: Calls, bare: bool) -> tuple[int, int]:
    """Bytes of the first stack and of each other one: whole pages, or multiples of 64 where memory is scarce."""
    unit = 64 if bare else PAGE
    return round_up(calls.main, unit), round_up(calls.depth(WORKER), unit)
