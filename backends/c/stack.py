"""How deep a program's stacks can grow: gcc's own figures, summed over the call graph.

``-fcallgraph-info=su`` writes what each function takes of the stack, after inlining, and whom it calls.  The deepest path
is a bound because nothing recurses and no frame has a size that depends on data; both are checked.  A call through a
pointer may go to any function of its kind: from a step to any kernel, from elsewhere to any function that is nowhere
called by name; and from below such a function only to one that makes no such calls itself (a store's functions, which
call a firmware's).
"""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path

from bnnc.diag import InternalError

FLAG = "-fcallgraph-info=su"
STEPS = ("net_train_step", "net_eval_step", "bnnc_run", "bnnc_worker")  # who calls kernels through pointers
KERNEL = re.compile(r"(eval_)?k\d+_\w+|bnnc_rate_\w+")
POINTER = "__indirect_call"  # gcc's name for a call through one
LIBRARY = 64  # what a function of the compiler's library takes: arithmetic that the CPU has no instruction for
SIGNAL = 5 * 1024  # what Linux pushes for a signal: on aarch64 4.6 KiB, with AVX-512 3.6 KiB
EXCEPTION = 104  # what a Cortex-M pushes, with its FPU's registers
ROOT, WORKER, HANDLER = ("bnnc_start", "main", "bnnc_reset"), "bnnc_worker", "bnnc_on_signal"
PAGE = 4096


@cache
def known(compiler: tuple[str, ...]) -> bool:
    """Whether a compiler can tell."""
    done = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    return "Free Software Foundation" in done.stdout


class Calls:
    """The call graph of a program: bytes of each function's frame, and who calls whom."""

    def __init__(self, text: str) -> None:
        """``text``: what gcc wrote.  Raises InternalError for a frame whose size is not fixed."""
        self.frame: dict[str, int] = {}
        self.calls: dict[str, set[str]] = {}
        for title, label in re.findall(r'^node: \{ title: "([^"]+)" label: "([^"]*)"', text, re.M):
            if found := re.search(r"\\n(\d+) bytes \(([^)]*)\)", label):
                if found[2] not in ("static", "dynamic,bounded"):
                    raise InternalError(f"the stack frame of {title} is {found[2]}")
                self.frame[title] = int(found[1])
        for caller, callee in re.findall(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', text, re.M):
            self.calls.setdefault(caller, set()).add(callee)

    @cached_property
    def _kernels(self) -> list[str]:
        return [f for f in self.frame if KERNEL.fullmatch(_name(f))]

    @cached_property
    def _pointed(self) -> list[str]:
        """The other functions that only a pointer can reach."""
        named = {c for callees in self.calls.values() for c in callees}
        apart = {*ROOT, WORKER, HANDLER}
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
        """Bytes below the entry of a function, at most; 0 where there is no such function.  Raises InternalError for a recursion."""
        done: dict[str, int] = {}
        open_: set[str] = set()

        def visit(f: str) -> int:
            if f in open_:
                raise InternalError(f"{f} calls itself")
            if f not in done:
                open_.add(f)
                done[f] = self.frame.get(f, LIBRARY) + max(map(visit, self._callees(f)), default=0)
                open_.discard(f)
            return done[f]

        return max((visit(f) for f in self.frame if _name(f) == root), default=0)

    @property
    def main(self) -> int:
        """The stack that a program starts with: the deepest path, and what the system pushes beside it."""
        base = max(map(self.depth, ROOT))
        handles = any(_name(f) == HANDLER for f in self.frame)
        return base + (SIGNAL + self.depth(HANDLER) if handles else EXCEPTION)


def _name(title: str) -> str:
    """A function's name of a node's title: `file.c:name.part.0` -> `name`."""
    return title.rsplit(":", 1)[-1].split(".")[0]


def arrays(kernel: str, lanes: int) -> int:
    """Bytes of the local arrays in a kernel's text where vectors have 1 or 4 lanes: what its frame is made of."""
    total, named = 0, {"VL": lanes, "W": 2}

    def size(factor: str) -> int:
        if "+" in factor:
            return sum(map(size, factor.split("+")))
        number, _, by = (x.strip() for x in factor.partition("/"))
        return (named.get(number) or int(number)) // (named.get(by) or int(by or 1))

    for kind, declaration in re.findall(r"VARRAY (\w+) ([^;]*);", kernel):
        for array in declaration.split(", "):
            factors = "*".join(re.findall(r"\[([^]]*)\]", array)).split("*")
            total += 4 * (lanes if kind in ("vf", "vi", "vu") else 1) * math.prod(map(size, factors))
    return total


def read(folder: Path) -> Calls | None:
    """The call graph that a compilation left in a folder; None: it left none."""
    found = sorted(folder.glob("*.ci"))
    return Calls("\n".join(f.read_text(encoding="utf-8") for f in found)) if found else None


def bounds(calls: Calls, bare: bool) -> tuple[int, int]:
    """Bytes of the first stack and of each other one: whole pages, or multiples of 64 where memory is scarce."""
    unit = 64 if bare else PAGE
    return -(-calls.main // unit) * unit, -(-calls.depth(WORKER) // unit) * unit
