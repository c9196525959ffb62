"""The Plan as tables and JSON: every buffer, the arena, the bound, and the total of the whole process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from .contract import COUNTER, CURSOR, PAYLOAD
from .cost import Cost, step_cost
from .place import Placed
from .types import Buffer, Storage

NOT_COUNTED = (
    "data files on disk, read through one record at a time",
    "checkpoint files on disk",
    "the kernel's page cache and page tables",
    "arguments and environment beyond 4 KiB",
)
NOT_COUNTED_BARE = (
    "code, constants and samples in flash",
    "your firmware's own variables, and what its interrupts push on the stack",
)
NOT_COUNTED_GPU = (
    "the host's process, with data and one batch",
    "the driver's context and the code of the kernels",
    "data and checkpoint files on disk",
)


@dataclass(frozen=True)
class Needs:
    """Bytes that a program needs beside the arena, at most.  ``code``: text, constants and the runtime's own data in
    memory; ``flash``: code and constants that are not in RAM, 0 where there is an operating system; ``stack``: the
    first thread's, ``thread_stack``: each other one's; ``workspace``: on a GPU, operands and partial sums.
    """

    code: int
    flash: int
    stack: int
    thread_stack: int
    workspace: int = 0


@dataclass(frozen=True)
class Report:
    """Bytes of everything a process needs. ``code``: text, constants and the runtime's own data (an upper bound,
    checked by the build); ``stack``: the main thread's bound; ``threads``: static stacks of the others, ``workers`` in
    number; ``system``: pages that the operating system maps into every process. ``device``: for a GPU, how steps are
    launched; the total is then its memory, ``code`` the grid's barrier and embedded constants, and ``workspace`` room
    for the operands and partial sums of one kernel. ``flash``: code and
    constants where there is no operating system (at most, without samples); the total is then the RAM, ``code`` the
    runtime's variables, and ``region`` the RAM there is, if that was said. ``compiler``: whose code and stacks were
    foreseen, or why the most that is known was taken. ``largest``: bytes of an arena that a program for the target can
    have, 0 where nothing but the machine bounds them.
    """

    name: str
    rule: str
    optimizer: str
    batch: int
    target: str
    placed: Placed
    code: int
    stack: int
    threads: int
    system: int
    device: str = ""
    workspace: int = 0
    flash: int = 0
    region: int = 0
    workers: int = 0
    compiler: str = ""
    largest: int = 0

    @property
    def too_large(self) -> bool:
        """Is there no such program (B0710)?"""
        return 0 < self.largest < self.arena

    @property
    def not_counted(self) -> tuple[str, ...]:
        """What a process uses that the total leaves out, in words."""
        return NOT_COUNTED_GPU if self.device else NOT_COUNTED_BARE if self.flash else NOT_COUNTED

    @property
    def arena(self) -> int:
        """Bytes of the arena."""
        return self.placed.plan.arena_bytes

    @property
    def total(self) -> int:
        """Bytes of the process; of a GPU its memory, without an operating system the RAM."""
        return self.arena + self.code + self.workspace + self.stack + self.threads + self.system

    @property
    def constants(self) -> tuple[Storage, ...]:
        """What is embedded in the program: of one that only predicts its weights."""
        return tuple({s.ref: s for ps in self.placed.packed for s in ps.constants}.values())

    @property
    def padding(self) -> int:
        """Arena bytes that no element uses: alignment gaps at the peak, and vector tails."""
        return self.arena - self.placed.plan.lower_bound

    @cached_property
    def cost(self) -> Cost:
        """Of a training step."""
        return step_cost(self.placed.train)

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint file: header, position with the counters (bnnc_store.h, bnnc_train.h), state."""
        counters = COUNTER * len(self.placed.program.counters)
        return PAYLOAD + CURSOR + counters + self.placed.plan.state_bytes

    def summary(self) -> dict[str, Any]:
        """The figures as plain data, all in bytes."""
        plan = self.placed.plan
        return {
            "name": self.name,
            "rule": self.rule,
            "optimizer": self.optimizer,
            "batch": self.batch,
            "target": self.target,
            "arena_bytes": self.arena,
            "state_bytes": plan.state_bytes,
            "lower_bound_bytes": plan.lower_bound,
            "peak_step": plan.steps[plan.peak_step].name,
            "code_bytes": self.code,
            "stack_bytes": self.stack,
            "thread_stack_bytes": self.threads,
            "workers": self.workers,
            "system_bytes": self.system,
            "total_bytes": self.total,
            **({"constant_bytes": sum(s.nbytes for s in self.constants)} if self.placed.packed.predicts else {}),
            **({"launches": self.device} if self.device else {}),
            **({"workspace_bytes": self.workspace} if self.workspace else {}),
            **({"flash_bytes": self.flash} if self.flash else {}),
            **({"largest_arena_bytes": self.largest} if self.too_large else {}),
        }

    def to_json(self) -> dict[str, Any]:
        """The figures, the timeline and every buffer as plain data."""
        plan = self.placed.plan
        return {
            **self.summary(),
            "step_cost": asdict(self.cost),
            "not_counted": list(self.not_counted),
            "steps": [s.name for s in plan.steps],
            "buffers": [
                {
                    "name": b.name,
                    "line": b.span.line if b.span.known else None,
                    "layer": b.layer,
                    "dtype": b.storage.dtype,
                    "shape": list(b.storage.shape),
                    "packed": f"axis {b.storage.packing.value}" if b.storage.one_bit else None,
                    "bytes": b.nbytes,
                    "padding": b.storage.padding,
                    "offset": b.offset,
                    "first": b.first,
                    "last": b.last,
                    "region": b.region,
                    "align": b.align,
                }
                for b in sorted(plan.buffers, key=lambda b: (b.offset, b.first))
            ],
        }


def buffers_by_size(report: Report) -> list[Buffer]:
    """All buffers: states, then inputs and results, then temporaries; of each the largest first."""
    order = {"state": 0, "io": 1, "temp": 2}
    return sorted(report.placed.plan.buffers, key=lambda b: (order[b.region], -b.nbytes, b.offset))


def table_lines(report: Report) -> list[str]:
    """A plain table of all buffers, and the total."""
    rows = [f"{'buffer':<30} {'type':<18} {'bytes':>9} {'offset':>9}  live"]
    for b in buffers_by_size(report):
        live = "always" if b.region == "state" else f"{b.first}..{b.last}"
        rows.append(
            f"{b.name:<30} {b.storage.dtype + str(list(b.storage.shape)):<18} {b.nbytes:>9} {b.offset:>9}  {live}"
        )
    for s in report.constants if report.placed.packed.predicts else ():
        rows.append(f"{s.ref!s:<30} {s.dtype + str(list(s.shape)):<18} {s.nbytes:>9}  constant")
    return rows + totals(report)


def totals(report: Report) -> list[str]:
    """The last lines of that table: what a process needs, and of which parts that is the sum."""
    plan = report.placed.plan
    rows = [
        f"{'arena':<49} {report.arena:>9}  (lower bound {plan.lower_bound}, peak in {plan.steps[plan.peak_step].name})"
    ]
    beside: tuple[tuple[str, int], ...] = (
        ("code, constants, runtime (at most)", report.code),
        ("stack (at most)", report.stack),
        ("stacks of further threads", report.threads),
        ("mapped by the system", report.system),
    )
    if report.device:
        beside = (("barrier and constants", report.code), *((("workspace", n),) if (n := report.workspace) else ()))
    elif report.flash:
        beside = (("other variables", report.code), ("stack", report.stack))
    rows += [f"{label:<49} {n:>9}" for label, n in beside]
    total = "total on the GPU" if report.device else "total of the RAM" if report.flash else "total of the process"
    rows.append(f"{total:<49} {report.total:>9}")
    return rows + ([f"{'in flash: code and constants (at most)':<49} {report.flash:>9}"] if report.flash else [])
