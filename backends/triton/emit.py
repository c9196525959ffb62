"""emit: Placed -> the kernels of a network as one Python module of Triton functions, and what lies behind the arena.

The device's memory is one block: the Plan's arena, 64 bytes of barrier words, the embedded constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bnnc import __version__
from bnnc.ir.interp import constant_array
from bnnc.model import Model
from bnnc.plan.codec import encode
from bnnc.plan.pack import PackedSchedule, base_name
from bnnc.plan.place import EVAL, Placed
from bnnc.plan.report import Report, table_lines

from ..c.emit import _kernel_doc as kernel_doc
from ..render import render
from .kernels import Memory, kernel_text

BARRIER_BYTES = 64


@dataclass(frozen=True)
class Entry:
    """A Triton function that is launched: its name, how many tiles it has (0: one program for each multiprocessor, all of them
    at once), how many warps each."""

    name: str
    tiles: int
    warps: int


PERSISTENT = (Entry("train_step", 0, 8), Entry("eval_step", 0, 8))


@dataclass(frozen=True)
class Device:
    """What lies in device memory: the Plan's arena, the barrier's words at ``counter``, constants; ``nbytes`` in all.

    ``constants``: (offset, bytes) of each.
    """

    counter: int
    constants: tuple[tuple[str, int, bytes], ...]
    nbytes: int


def device(placed: Placed) -> Device:
    """The layout behind the arena, which is a multiple of 64 bytes."""
    at = placed.plan.arena_bytes + BARRIER_BYTES
    out: list[tuple[str, int, bytes]] = []
    for ps in placed.packed:
        for s in ps.constants:
            if s.name not in (n for n, _, _ in out):
                program = ps.schedule.program
                constant = next(c for c in program.constants if c.name == base_name(s.name))
                raw = encode(s, constant_array(program.value[constant.name], constant))
                out.append((s.name, at, raw))
                at += -(-len(raw) // 64) * 64
    return Device(placed.plan.arena_bytes, tuple(out), at)


def kernels(ps: PackedSchedule, placed: Placed, prefix: str) -> list[dict[str, Any]]:
    """The kernels of one schedule as text with their names, tiles and warps."""
    memory = Memory(ps.storage, dict(ps.schedule.alias), ps.schedule.program.state_names, prefix,
                    {b.name: b.offset for b in placed.plan.buffers}, {n: at for n, at, _ in device(placed).constants})
    out = []
    for k in ps.kernels:
        text, decls = kernel_text(k, memory)
        body = render(f"triton/kernels/{text.template}.py.j2", **text.context)
        body = "".join(f"    {line}" for line in body.splitlines(keepends=True) if line.strip())
        where = f"{k.layer}, line {k.span.line}" if k.layer and k.span.file != "<builtin>" else k.layer
        out.append({"name": ("eval_" if prefix else "") + k.name, "decls": decls, "text": body, "doc": kernel_doc(k),
                    "title": f"{k.phase} of {where}" if where else k.phase, "tiles": text.tiles, "warps": text.warps})
    return out


def entries(placed: Placed) -> tuple[list[Entry], list[Entry]]:
    """The kernels of a training and of an evaluation step, in order."""
    both = [kernels(ps, placed, prefix) for ps, prefix in zip(placed.packed, ("", EVAL), strict=True)]
    train, evaluate = ([Entry(k["name"], k["tiles"], k["warps"]) for k in side] for side in both)
    return train, evaluate


def module_text(model: Model, placed: Placed, report: Report) -> str:
    """The Python module of all kernels and of the two persistent steps; the same input gives the same bytes."""
    train, evaluate = (kernels(ps, placed, prefix) for ps, prefix in zip(placed.packed, ("", EVAL), strict=True))
    return render("triton/module.py.j2", name=model.name, version=__version__, hash=model.hash, rule=model.rule.name,
                  optimizer=model.optimizer.name, batch=model.batch, table=table_lines(report), train=train, evaluate=evaluate,
                  counter=placed.plan.arena_bytes)
