"""Which way a program goes through its machine code: how often each piece runs, and after which.

Loops in kernels turn as often as their constants, the program's number and the size of the grid say.  So only what
branches depend on is computed (a slice of the code, by data flow); what is loaded from memory is not known, nor what is
made of it.  A branch that depends on that is taken if it leads past a call (the rare path of a division), and not if it
leads back (waiting for others), nor else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from .sass import JUMPS, Code, Instruction
from .sass_values import NAMES, ROWS, Constants, Value, Writer

ARRIVALS = ("ATOMG", "RED")  # a program that comes to the grid's barrier
READS = ("LDG", "LDGSTS")
BARRIER = -1  # in the place of a read: what was seen is forgotten
TRIES = 3  # programs whose reads are watched at a place, where none takes place
SECTOR, LINE = 5, 7  # bits of an address within what a cache moves, and keeps


@dataclass(frozen=True)
class Block:
    """Instructions that run together: numbers ``first`` .. ``end - 1``; ``to``: where its last one may jump, or -1,
    where all ``guards`` are true; ``code``: what branches need of it, ``more``: and addresses.
    """

    first: int
    end: int
    jump: str
    guards: tuple[str, ...]
    to: int
    arrives: bool
    past_call: bool
    code: CodeType
    more: CodeType


@dataclass
class Reads:
    """What a warp's reads at one place touch, on average: ``lines`` of memory at once, ``sectors`` of 32 bytes, and
    the share of sectors that the program has ``seen`` since the last barrier.
    """

    lines: float = 1.0
    sectors: float = 4.0
    seen: float = 0.0


def borders(code: Code) -> list[int]:
    """Where blocks begin."""
    found = {0, *code.labels.values()}
    for i, x in enumerate(code.instructions):
        if x.head in JUMPS or x.head in ARRIVALS:
            found.add(i + 1)
    return sorted(found - {len(code.instructions)})


def following(code: Code, starts: Sequence[int]) -> dict[int, list[int]]:
    """Of each block, those that may run next."""
    ends = [*starts[1:], len(code.instructions)]
    returns = [b for b in ends if code.instructions[b - 1].head == "CALL"]
    out = {}
    for a, b in zip(starts, ends, strict=True):
        last = code.instructions[b - 1]
        jumps = {"BRA": lambda x: [code.target(x)], "CALL": lambda x: [code.target(x)], "RET": lambda _: returns}
        out[a] = [*([b] if b in ends[:-1] else []), *jumps.get(last.head, lambda _: [])(last)]
    return out


def slices(code: Code, starts: Sequence[int], addresses: bool = False) -> set[int]:
    """The instructions on which branches depend (and addresses of reads): what is needed, from the ends of blocks
    backwards.
    """
    after, before = following(code, starts), dict[int, list[int]]()
    for a, some in after.items():
        for b in some:
            before.setdefault(b, []).append(a)
    needed: dict[int, set[str]] = {a: set() for a in starts}
    end_of = dict(zip(starts, [*starts[1:], len(code.instructions)], strict=True))
    chosen, work = set[int](), list(reversed(starts))
    while work:
        a = work.pop()
        live = set().union(*(needed[b] for b in after[a]))
        for i in range(end_of[a] - 1, a - 1, -1):
            if _needs(code.instructions[i], live, addresses):
                chosen.add(i)
        if live != needed[a]:
            needed[a] = live
            work += before.get(a, [])
    return chosen


def _needs(x: Instruction, live: set[str], addresses: bool) -> bool:
    """Is an instruction needed by those behind it?  ``live``: the registers that are, which become those before it."""
    if x.head in JUMPS:
        live.update(r for r in x.reads if "P" in r)
        return False
    chosen = bool(live.intersection(x.writes))
    if chosen and not x.guard and x.head != "R2P":
        live.difference_update(x.writes)
    if (chosen and (x.head in ROWS or x.guard)) or (addresses and x.head in READS):
        live.update(x.reads)
    return chosen


class Paths:
    """A kernel's code, cut into blocks, that programs can be sent through."""

    def __init__(self, code: Code, arch: int, programs: int, threads: int) -> None:
        self.code = code
        starts = borders(code)
        chosen, more = slices(code, starts), slices(code, starts, addresses=True)
        writer = Writer(Constants(arch, programs, threads))
        self.blocks = {
            a: self._block(a, b, chosen, more, writer)
            for a, b in zip(starts, [*starts[1:], len(code.instructions)], strict=True)
        }
        some = (x for i, x in enumerate(code.instructions) if i in more or x.head in READS)
        names = {r for x in some for r in (*x.writes, *x.reads)}
        self.registers = names | {g.removeprefix("!") for b in self.blocks.values() for g in b.guards}
        self.registers |= {f"P{i}" for i in range(7)}
        self.unknown: set[int] = set()  # addresses of branches that depend on what is in memory

    def _block(self, first: int, end: int, chosen: set[int], more: set[int], writer: Writer) -> Block:
        some = self.code.instructions[first:end]
        last = some[-1]
        lines, others = list[str](), list[str]()
        for i, x in enumerate(some, first):
            if x.head in READS:
                others.append(writer.address(x, i))
            text = writer.statement(x) if i in more else ""
            others.append(text)
            lines += [text] if i in chosen else []
        to = self.code.target(last) if last.head in ("BRA", "CALL") else -1
        past = any(x.head == "CALL" for x in self.code.instructions[end : max(to, end)][:24])
        guards = [g for g in (last.guard, *(last.args[:-1] if last.head == "BRA" else ())) if g]
        if last.head == "BRA" and "DIV" in last.parts:  # lanes that went apart
            guards = ["!PT"]
        code, more_code = (compile("\n".join(filter(None, t)), f"block {first}", "exec") for t in (lines, others))
        jump = last.head if last.head in JUMPS else ""
        return Block(first, end, jump, tuple(guards), to, any(x.head in ARRIVALS for x in some), past, code, more_code)

    def run(
        self, program: int, thread: int = 0, see: Callable[[int, Value, Value], None] | None = None, first: int = 0
    ) -> list[Counter[tuple[int, int]]]:
        """How often each block runs after which other one, by what lies between two of the grid's barriers.  ``see`` is
        told of reads (number of the instruction, address, whether it takes place) and barriers, in the ``first``
        blocks, behind which it ends.
        """
        names: dict[str, Any] = {**NAMES, **dict.fromkeys(self.registers), "CTA": program, "TID": thread}
        names |= {"PT": 1, "UPT": 1, "see": see}
        at, last, out, calls = 0, -1, [Counter[tuple[int, int]]()], list[int]()
        counts = out[-1]
        while True:
            block = self.blocks[at]
            counts[last, at] += 1
            exec(block.more if first else block.code, names)  # noqa: S102
            if first:
                first -= 1
                if not first:
                    return out
            if block.arrives:
                counts = Counter()
                out.append(counts)
                if first:
                    see(BARRIER, 0, 1)  # type: ignore[misc]
            last, at = at, block.end
            if not block.jump:
                continue
            if not self._taken(block, names):
                continue
            if block.jump == "CALL":
                calls.append(block.end)
            if block.jump == "EXIT":
                return out
            at = calls.pop() if block.jump == "RET" else block.to

    def _taken(self, block: Block, names: dict[str, Any]) -> bool:
        known = {None if (p := names[g.removeprefix("!")]) is None else bool(p) != (g[0] == "!") for g in block.guards}
        if False in known or None not in known:
            return False not in known
        self.unknown.add(self.code.instructions[block.end - 1].at)
        return block.to > block.end and block.past_call


def reads(paths: Paths, ways: Mapping[int, Iterable[int]], first: int) -> dict[int, Reads]:
    """Of each place that reads from global memory, by the number of its instruction: what the first warp of a program
    touches there, in its ``first`` blocks.  ``ways``: the blocks that programs run; as few are watched as meet all
    places.
    """
    places = {
        p: {i for b in some for i in range(b, paths.blocks[b].end) if paths.code.instructions[i].head in READS}
        for p, some in ways.items()
    }
    out, tries = dict[int, Reads](), Counter[int]()
    while places:
        new = {p: sum(i not in out and tries[i] < TRIES for i in some) for p, some in places.items()}
        program = max(new, key=lambda p: new[p])
        if not new[program]:
            break
        lanes: list[list[tuple[int, Value, Value]]] = []
        for thread in range(32):
            seen: list[tuple[int, Value, Value]] = []
            paths.run(program, thread, lambda *x, to=seen: to.append(x), first)  # type: ignore[misc]
            lanes.append(seen)
        out = {**_touched(lanes), **out}
        tries.update(places.pop(program))
    return out


def _touched(lanes: Sequence[Sequence[tuple[int, Value, Value]]]) -> dict[int, Reads]:
    """Lanes that go the same way read together."""
    kept: set[int] = set()
    sums: dict[int, list[int]] = {}
    for turn in zip(*lanes, strict=False):
        place = turn[0][0]
        if place == BARRIER:
            kept.clear()
            continue
        where = {a for i, a, guard in turn if i == place and a is not None and guard != 0}
        if not where:
            continue
        sectors = {a >> SECTOR for a in where}
        total = sums.setdefault(place, [0, 0, 0, 0])
        for k, n in enumerate((1, len({a >> LINE for a in where}), len(sectors), len(sectors & kept))):
            total[k] += n
        kept |= sectors
    return {i: Reads(lines / n, sectors / n, seen / sectors) for i, (n, lines, sectors, seen) in sums.items()}
