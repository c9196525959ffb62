"""emit: Placed -> the kernels of a network as one Python module of Triton functions, and what lies behind the arena.

The device's memory is one block: the Plan's arena, 64 bytes of barrier words, the embedded constants, and a workspace:
for the partial sums of one kernel at a time, or, in a step of one launch, for what is computed once.
"""

from __future__ import annotations

import json
import pprint
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any, NamedTuple

from bnnc.inputs.encode import of_model
from bnnc.ir.dtype import round_up
from bnnc.ir.interp import constant_array
from bnnc.ir.ref import Ref, Side
from bnnc.model import Model
from bnnc.plan.codec import encode
from bnnc.plan.pack import Packed, PackedSchedule
from bnnc.plan.place import Placed
from bnnc.plan.report import Needs, Report, table_lines, totals
from bnnc.sched.expr import Names
from bnnc.source import Source
from bnnc.version import __version__

from ..c import emit as c_emit
from ..c import net as c_net
from ..c.bodies import function_name
from ..c.emission import Emission
from ..render import render
from .kernels import body_text, kernel_text, launch_bytes, reorders, workspace_bytes
from .once import MOST as MOST_ONCE
from .once import made_once
from .phases import Arranged, phased
from .pipeline import KEY
from .shares import Shares
from .skeleton import LARGE, KernelText, Memory, Share, terms
from .targets import Target

BARRIER_BYTES = 64
PERSISTENT_TERMS = LARGE
REST = 3  # a product, two reductions and a map
# inputs that the trainer writes before a step
SCALARS = ("lr", "step", "tick", "seed", "errors", "samples", "stage", "part")


class Entry(NamedTuple):
    """A Triton function that is launched: its name, how many tiles it has (0: one program for each multiprocessor, all
    of them at once), how many warps each; ``loop``: the first kernel of the loop that it is in, and that loop's
    strips; ``chunks``: likewise of the kernel's launches that go through the batch in chunks, which is inside of that
    loop.
    """

    name: str
    tiles: int
    warps: int
    loop: tuple[int, int] | None = None
    chunks: tuple[int, int] | None = None

    @property
    def runs(self) -> int:
        """Launches of a step."""
        return (self.loop[1] if self.loop else 1) * (self.chunks[1] if self.chunks else 1)


@dataclass(frozen=True)
class Body:
    """What a kernel does once it has its ``pointers``; kernels that differ only by where their operands lie share
    one.
    """

    pointers: tuple[str, ...]
    tiles: int
    turns: int
    text: str


PERSISTENT = (Entry("train_step", 0, 8), Entry("eval_step", 0, 8))


@dataclass(frozen=True)
class Device:
    """What lies in device memory: the Plan's arena, the barrier's words at ``counter``, constants ((offset, bytes) of
    each), from ``workspace`` on partial sums, or what is computed ``once`` (at which offset); ``nbytes`` in all.
    ``steps``: both schedules, with what makes that.
    """

    counter: int
    constants: tuple[tuple[Ref, int, bytes], ...]
    workspace: int
    steps: tuple[PackedSchedule, PackedSchedule]
    once: dict[Ref, int]
    nbytes: int


def device(placed: Placed) -> Device:
    """The layout behind the arena, which is a multiple of 64 bytes."""
    constants, at = _constants(placed)
    if persistent(placed.packed):
        both = [made_once(ps, int(MOST_ONCE * placed.plan.arena_bytes)) for ps in placed.packed]
        made = zip(both, Side, strict=True)
        once = {n.on(side): at + offset for x, side in made for n, offset in x.offsets.items()}
        steps, nbytes = (both[0].schedule, both[1].schedule), max(x.nbytes for x in both)
        return Device(placed.plan.arena_bytes, constants, at, steps, once, at + nbytes)
    sides = [(ps, _memory(ps, placed, side)) for ps, side in placed.packed.sides]
    partial = max(round_up(workspace_bytes(k, memory), 128) for ps, memory in sides for k in ps.kernels)
    steps = placed.train, placed.evaluate
    return Device(placed.plan.arena_bytes, constants, at, steps, {}, at + partial)


def _constants(placed: Placed) -> tuple[tuple[tuple[Ref, int, bytes], ...], int]:
    """Constants behind the barrier's words, and where they end."""
    at = placed.plan.arena_bytes + BARRIER_BYTES
    out: list[tuple[Ref, int, bytes]] = []
    for ps in placed.packed:
        for s in ps.constants:
            if s.ref not in (n for n, _, _ in out):
                program = ps.program
                constant = next(c for c in program.constants if c.name == s.ref.value)
                raw = encode(s, constant_array(program.value[constant.name], constant))
                out.append((s.ref, at, raw))
                at += round_up(len(raw), 64)
    return tuple(out), at


def _memory(ps: PackedSchedule, placed: Placed, side: Side, once: Mapping[Ref, int] | None = None) -> Memory:
    constants, end = _constants(placed)
    offsets = {n: at for n, at, _ in constants} | {b.ref: b.offset for b in placed.plan.buffers} | dict(once or {})
    return Memory(ps, side, offsets, persistent(placed.packed), workspace=end)


def both_arranged(placed: Placed) -> list[Arranged]:
    """Of a training and of an evaluation step."""
    dev = device(placed)
    return [arranged(ps, placed, dev, side) for ps, side in zip(dev.steps, Side, strict=True)]


def arranged(ps: PackedSchedule, placed: Placed, dev: Device, side: Side) -> Arranged:
    """How the kernels of a schedule are shared out, and their texts."""
    memory, names = _memory(ps, placed, side, dev.once), Names(k.name for k in ps.kernels)
    if not memory.exact:  # a launch a kernel
        blocks = [(strips, [[[i]] for i in range(first, end)]) for first, end, strips in _blocks(ps)]
        return Arranged([_kernel(ps, memory, i, names) for i in range(len(ps.kernels))], blocks, set(), {})
    shares = Shares(ps.kernels, memory, [kernel_text(k, memory)[0].tiles for k in ps.kernels])
    picks: list[Share | None] = []
    blocks = []
    for first, end, strips in _blocks(ps):
        chosen = shares.choose(first, end)
        blocks.append((strips, shares.phases(chosen, first)))
        picks += chosen
    given = {k.name: s for k, s in zip(ps.kernels, picks, strict=True) if s}
    memory = replace(memory, shares=given)
    made = [_kernel(ps, memory, i, names) for i in range(len(ps.kernels))]
    chains = [chain for _, phases in blocks for phase in phases for chain in phase]
    follows = {j for chain in chains for j in shares.follow(chain, picks)}
    return Arranged(made, blocks, follows, given)


def _blocks(ps: PackedSchedule) -> list[tuple[int, int, int]]:
    """The kernels of each loop, and those between two: first, end, strips (0: no loop)."""
    out, at = [], 0
    for loop in ps.loops:
        out += [(at, loop.first, 0), (loop.first, loop.last + 1, loop.parts)]
        at = loop.last + 1
    return [*out, (at, len(ps.kernels), 0)]


def _kernel(ps: PackedSchedule, memory: Memory, i: int, names: Names) -> list[dict[str, Any]]:
    """What a kernel launches, as text with names, tiles and warps."""
    k = ps.kernels[i]
    text, pointers = kernel_text(k, memory)
    out = []
    loop = next(((p.first, p.parts) for p in ps.loops if p.first <= i <= p.last), None)
    for stage in (*text.before, text):
        what = "" if stage is text else stage.what
        chunked = {"chunk": f"chunk = strip % {stage.chunks}" if loop else "chunk = strip"} if stage.chunks > 1 else {}
        name, body = names.new(f"{k.name}_{what}") if what else k.name, _body(stage, chunked | pointers)
        counts = [chunked["chunk"], *([f"strip = strip // {stage.chunks}"] if loop else [])] if chunked else []
        out.append(
            {
                "name": f"{memory.side.prefix}{name}",
                "decls": [*counts, *(pointers[p] for p in body.pointers if p in pointers)],
                "body": body,
                "does": "_".join(x for x in (function_name(k), what) if x),
                "doc": k.equations(sizes=True),
                "title": f"{k.where.phase} of {k.where}" if k.where.layer else k.where.phase,
                "tiles": stage.tiles,
                "warps": stage.warps,
                "loop": loop,
                "chunks": (i, stage.chunks) if chunked else None,
            }
        )
    return out


def _body(text: KernelText, pointers: dict[str, str]) -> Body:
    """What a function does, with those of a kernel's pointers that it has."""
    body = body_text(text)
    body = "".join(f"    {line}" for line in body.splitlines(keepends=True) if line.strip())
    used = set(re.findall(r"\w+", body))
    return Body(tuple(p for p in pointers if p in used), text.tiles, text.turns, body)


def shared(made: list[dict[str, Any]]) -> dict[Body, str]:
    """Names of the bodies that several kernels have."""
    names, out, uses = Names(k["name"] for k in made), dict[Body, str](), Counter(k["body"] for k in made)
    for k in made:
        if uses[k["body"]] > 1 and k["body"] not in out:
            out[k["body"]] = names.new(k["does"])
    return out


def entries(placed: Placed) -> tuple[list[Entry], list[Entry]]:
    """The launches of a training and of an evaluation step, in order."""
    both = [step.launched for step in both_arranged(placed)]
    train, evaluate = (
        [Entry(k["name"], k["tiles"], k["warps"], k["loop"], k["chunks"]) for k in made] for made in both
    )
    return train, evaluate


def by_kernel(launched: Sequence[Entry], ps: PackedSchedule, side: Side) -> list[list[Entry]]:
    """The launches of a step, a list for each kernel."""
    out, rest = [], iter(launched)
    for k in ps.kernels:
        stages = [next(rest)]
        while stages[-1].name != f"{side.prefix}{k.name}":
            stages.append(next(rest))
        out.append(stages)
    return out


def moved(ps: PackedSchedule, placed: Placed, side: Side, costs: Sequence[int]) -> list[list[int]]:
    """Bytes that each launch of each kernel moves, in all its runs; ``costs``: that a kernel moves."""
    memory = _memory(ps, placed, side)
    return [launch_bytes(k, memory, n) for k, n in zip(ps.kernels, costs, strict=True)]


def persistent(packed: Packed) -> bool:
    """Whether a step is one launch, of kernels that give the interpreter's bits: where every product is so small that
    launches, not arithmetic, take the time."""
    return all(terms(k) * ps.strips.get(k.name, 1) < PERSISTENT_TERMS for ps in packed for k in ps.kernels)


def rest(packed: Packed) -> int:
    """How many kernels run before what is dead may be overwritten: enough for those of a layer that run without a
    barrier of all programs between them.
    """
    return REST if persistent(packed) else 0


def launches(placed: Placed) -> str:
    """The variant, in words, for the plan: how many launches, and which bits."""
    if persistent(placed.packed):
        return "one launch a step, the bits of every other backend"
    sides = [(ps, _memory(ps, placed, side)) for ps, side in placed.packed.sides]
    floats = sum(reorders(k, memory) for ps, memory in sides for k in ps.kernels)
    bits = f"other bits where floats are added (in {floats} kernels)" if floats else "the bits of every other backend"
    return f"one launch a kernel, large products on tensor cores: {bits}"


def needs(target: Target, placed: Placed, *_: Any) -> Needs:
    """What lies in device memory beside the arena, and the host's stacks."""
    made = device(placed)
    beside, partial = made.workspace - placed.plan.arena_bytes, made.nbytes - made.workspace
    return Needs(beside, 0, target.stack, target.thread_stack, partial)


def module_text(model: Model, placed: Placed, report: Report, net: dict[str, Any] | None = None) -> str:
    """The Python module of all kernels and of the two persistent steps; the same input gives the same bytes.  ``net``:
    what a trainer needs to know, where the module is one."""
    steps = both_arranged(placed)
    train, evaluate = (step.launched for step in steps)
    return render(
        "triton/module.py.j2",
        name=model.name,
        version=__version__,
        hash=model.hash,
        rule=model.rule.name,
        optimizer=model.optimizer.name,
        batch=model.batch,
        part=model.part,
        table=table_lines(report),
        train=train,
        evaluate=evaluate,
        bodies=shared(train + evaluate),
        train_lines=phased(steps[0]),
        eval_lines=phased(steps[1]),
        loops=any(k["loop"] or k["chunks"] for k in train + evaluate),
        counter=placed.plan.arena_bytes,
        persistent=persistent(placed.packed),
        pipeline=KEY,
        steps=_steps(placed, net),
        net=pprint.pformat(net, width=130, compact=True, sort_dicts=False) if net else "",
    )


def _steps(placed: Placed, net: dict[str, Any] | None) -> dict[str, Any] | None:
    """Where a launch of several steps writes and reads, where a trainer can make such launches."""
    if net is None or not persistent(placed.packed):
        return None
    row = placed.plan.buffer[Ref("x")].nbytes // net["batch"]
    counts: list[tuple[int, int, int]] = []
    for _, _, at, n, _ in net["counters"]:
        counts.append((at, sum(c[2] for c in counts), n))
    return {
        **net["at"]["train"],
        "result": net["at"]["train"]["loss"],
        "row": row,
        "scalars": list(net["scalars"].values()),
        "counts": counts,
        "counted": sum(c[2] for c in counts),
    }


def net_record(model: Model, placed: Placed, report: Report, target: Target) -> dict[str, Any]:
    """What the trainer knows of a network, in one record."""
    return {
        **_identity(model, placed, target),
        "counters": c_net.counters(placed),
        **_schedule(model),
        **_memory_record(placed),
        "plan": report.summary(),
        "states": _states(placed),
        "constants": [(offset, raw.hex()) for _, offset, raw in device(placed).constants],
    }


def _identity(model: Model, placed: Placed, target: Target) -> dict[str, Any]:
    """Names, and what a batch is."""
    first, encoder = model.layers[0], of_model(model)
    return {
        "name": model.name,
        "hash": spec_hash(model, placed),
        "version": __version__,
        "target": target.name,
        "rule": model.rule.name,
        "optimizer": model.optimizer.name,
        "batch": model.part,
        "parts": model.microbatch,
        "elements": first.output.elements,
        "classes": model.classes,
        "input": {"u8": "u8", "bit": "bit"}.get(first.output.kind, "f32"),
        "encoding": asdict(encoder) if encoder else None,
    }


def _schedule(model: Model) -> dict[str, Any]:
    """How long and how fast, and on which data."""
    return {
        "epochs": model.epochs,
        "seed": model.seed,
        "holdout": model.holdout,
        "sampling": model.sampling,
        "lr": float(model.optimizer["lr"]),
        "patience": model.patience,
        "schedule": model.schedule.name,
        "schedule_args": {k: float(v) for k, v in model.schedule.args},
        "data": {
            which: [v for _, v in source.args]
            for which, source in (("train", model.data.train), ("test", model.data.test))
            if source is not None
        },
    }


def _memory_record(placed: Placed) -> dict[str, Any]:
    """Where what the trainer writes and reads lies, and how many bytes there are."""
    at, program = {b.ref: b.offset for b in placed.plan.buffers}, placed.program
    sides, dev = {}, device(placed)
    for name, (ps, side) in zip(("train", "eval"), placed.packed.sides, strict=True):
        results = dict(ps.program.results)
        values = {"x": "x", "labels": "labels", "loss": results["loss"], "pred": results["pred"]}
        sides[name] = {k: at[Ref(n, side=side)] for k, n in values.items()}
    return {
        "at": sides,
        "scalars": {n: at[Ref(n)] for n in SCALARS if Ref(n) in at},
        "loss_is_int": program.value[dict(program.results)["loss"]].dtype == "i32",
        "arena_bytes": placed.plan.arena_bytes,
        "state_bytes": placed.plan.state_bytes,
        "device_bytes": dev.nbytes,
        "persistent": persistent(placed.packed),
    }


def _states(placed: Placed) -> list[tuple[Any, ...]]:
    """Of each: what its State holds, type, shape, offset."""
    program, at = placed.program, placed.plan.buffer
    return [
        (
            s.name,
            s.role,
            s.init,
            s.init_value if isfinite(s.init_value) else str(s.init_value),
            s.stream,
            s.limit,
            s.step,
            program.value[s.name].dtype,
            program.value[s.name].shape,
            at[Ref(s.name)].offset,
        )
        for s in program.states
    ]


def spec_hash(model: Model, placed: Placed) -> str:
    """The name of the states' layout: the C trainer's, so that each resumes the other's checkpoints."""
    return Emission(model, placed).hash


def emit(model: Model, placed: Placed, report: Report, target: Target, threads: int, poison: bool = False) -> Source:
    """Deterministic text: a Python trainer, or the host program in C with its kernels beside it."""
    plan = (f"{model.prefix}.plan.json", json.dumps(report.to_json(), indent=1, sort_keys=True) + "\n")
    if not target.levels:
        main = f"{model.prefix}_triton.py"
        return Source(
            model.prefix,
            main,
            ((main, module_text(model, placed, report, net_record(model, placed, report, target))), plan),
        )
    host = host_text(model, placed, report, target)
    return Source(
        model.prefix,
        f"{model.prefix}.c",
        (
            (f"{model.prefix}.c", host),
            (f"{model.prefix}_kernels.py", module_text(model, placed, report)),
            plan,
            *c_emit.runtime([host]),
        ),
    )


def host_text(model: Model, placed: Placed, report: Report, target: Target) -> str:
    """The C program around the kernels: the C backend's runtime, and the driver."""
    x, dev = Emission(model, placed), device(placed)
    at = {n: offset for n, offset, _ in dev.constants}
    constants = [{**k, "at": at[n]} for n, k in x.constants.items()]
    return render(
        "triton/host.c.j2",
        name=model.name,
        file=model.prefix,
        version=__version__,
        hash=x.hash,
        rule=model.rule.name,
        optimizer=model.optimizer.name,
        batch=model.batch,
        target=target.name,
        totals=totals(report),
        spec=c_net.numbered(model.source),
        arena=placed.plan.arena_bytes,
        device=dev.nbytes,
        x_bytes=placed.plan.buffer[Ref("x")].nbytes,
        defines=c_net.defines(model, placed),
        constants=constants,
        states=c_net.state_rows(x),
        temporaries=c_net.buffer_rows(x, report),
        net=c_net.net(x, report, target.name).lines,
    )
