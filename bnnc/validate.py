"""Translation validation (BNNC_VERIFY=2): what a pass made must compute the same bits as what it was given.

Every IR from Module to Plan is executable.  Both sides of a pass run on the same seeded inputs and states, and all
values that both hold, all results and all updates are compared bit for bit.  A Schedule runs kernel by kernel; updates
in place replace their state at once, so a wrong order shows.  A Plan runs on the bytes of its arena, so a wrong offset
shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .diag import InternalError
from .ir import interp
from .ir.dtype import INTEGERS, NUMPY, Axis
from .ir.ops import OPS
from .ir.program import Module, Program
from .ir.ref import Ref
from .ir.sequence import CUT
from .plan.codec import decode, encode
from .plan.pack import Packed, PackedSchedule
from .plan.place import Placed
from .plan.types import Buffer
from .sched.expr import Expr
from .sched.kernel import Kernel, Schedule, Scheduled

Values = dict[str, np.ndarray]
Stored = dict[Ref, np.ndarray]


def _as_dtype(x: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers in [-1, 1) as values of a dtype: signs, or spread over what whole numbers are there."""
    if dtype == "bit":
        return np.where(x >= 0, 1, -1).astype(np.int8)
    if dtype == "u8":
        x = 127.5 * (x + 1)
    elif dtype in INTEGERS:
        x = 100 * x
    return x.astype(NUMPY[dtype])


def inputs(p: Program, seed: int = 0) -> Values:
    """Seeded arrays for inputs and states; states of every role are non-zero, moments and statistics not negative."""
    rng = np.random.default_rng(seed)
    out: Values = {}
    role = {s.name: s.role for s in p.states}
    for name in sorted({*p.inputs, *role}):
        v = p.value[name]
        x = rng.uniform(-1, 1, v.shape)
        if role.get(name) in ("stat", "moment"):
            x = np.abs(x)
        out[name] = _as_dtype(x, v.dtype)
    if "labels" in out:
        out["labels"] = rng.integers(0, 2, out["labels"].shape).astype(np.uint8)  # of any number of classes
    scalars = {"lr": 0.01, "step": 3, "part": 0, "tick": 3, "seed": 5, "errors": 1, "samples": 2, "stage": 0}
    for name, value in scalars.items():
        if name in out:
            out[name] = np.full((1, 1), value, NUMPY[p.value[name].dtype])
    return out


class Arena(MutableMapping[Ref, np.ndarray]):
    """Values by storage, kept as bytes in one arena."""

    def __init__(self, size: int, place: dict[Ref, Buffer]) -> None:
        self.bytes, self.place = bytearray(b"\xee" * size), place

    def __setitem__(self, ref: Ref, x: np.ndarray) -> None:
        b = self.place[ref]
        self.bytes[b.offset : b.end] = encode(b.storage, x)

    def __getitem__(self, ref: Ref) -> np.ndarray:
        b = self.place[ref]
        return decode(b.storage, bytes(self.bytes[b.offset : b.end]))

    def __delitem__(self, ref: Ref) -> None:
        raise TypeError("an arena forgets nothing")

    def __iter__(self) -> Any:
        return iter(self.place)

    def __len__(self) -> int:
        return len(self.place)


def evaluate(e: Expr, memory: Mapping[Ref, np.ndarray], accs: list[np.ndarray], strip: int = 0) -> np.ndarray:
    """An expression tree over a whole extent, or a strip."""
    memo: dict[Expr, np.ndarray] = {}
    for node in e.walk():
        if node.op == "load":
            memo[node] = memory[node.attr]
        elif node.op == "acc":
            memo[node] = accs[node.attr]
        else:
            attrs = {
                "const": {"value": node.attr},
                "col": {"cols": node.shape[1]},
                "step": {"steps": node.attr, "rows": node.shape[0]},
            }.get(node.op) or dict(node.attr or ())
            x = OPS[node.op].run([memo[a] for a in node.args], attrs, node.dtype)
            if node.op in CUT:  # of the whole matrix
                r, c = (
                    strip * n if axis.text == attrs.get("move") else 0 for axis, n in zip(Axis, node.shape, strict=True)
                )
                x = x[r : r + node.shape[0], c : c + node.shape[1]]
            memo[node] = np.asarray(x, NUMPY[node.dtype])
    return memo[e]


def run_kernel(
    k: Kernel, memory: Mapping[Ref, np.ndarray], alias: Mapping[Ref, Ref], fixed: Values, strip: int = 0
) -> Stored:
    """What a kernel stores.  Loads of values that were made in place read their state's buffer."""
    memory = {n: fixed[n.value] if n.value in fixed else memory[alias.get(n, n)] for n in k.reads}
    accs = k.anchor.run(lambda e: evaluate(e, memory, [], strip), k.domain)
    out = {o.ref: np.broadcast_to(evaluate(o.expr, memory, accs, strip), k.out_shape) for o in k.outputs}
    sums = {
        o.ref: OPS["reduce"].run([out[o.ref]], {"how": "sum", "axis": Axis.COLUMNS}, o.expr.dtype)
        for o in k.outputs
        if o.row_sum
    }
    return out | sums


def _strip(k: Kernel, move: str, strip: int, parts: int, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """The index of what a kernel in a loop sees of a storage."""
    if move == "columns":
        n = shape[1] // parts
        return slice(None), slice(strip * n, strip * n + n)
    if move == "rows":
        n = shape[0] // parts
        return (slice(strip * n, strip * n + n),)
    channels = shape[0] // k.anchor.positions
    n = channels // parts
    return ((np.arange(k.anchor.positions)[:, None] * channels + strip * n + np.arange(n)).ravel(),)


def _in_order(s: Schedule) -> Iterator[tuple[Kernel, int, int]]:
    """Kernels as they run, each with its strip and how many there are."""
    kernels, loops = s.kernels, s.loops if isinstance(s, PackedSchedule) else ()
    i = 0
    while i < len(kernels):
        loop = next((x for x in loops if x.first == i), None)
        for strip in range(loop.parts if loop else 1):
            for k in kernels[i : loop.last + 1] if loop else kernels[i : i + 1]:
                yield k, strip, loop.parts if loop else 1
        i = loop.last + 1 if loop else i + 1


def run_kernels(s: Schedule, memory: MutableMapping[Ref, np.ndarray], env: Values) -> Values:
    """Run a schedule; every value as it was stored, and the states and results as they are at the end."""
    out: Values = {}
    alias = s.alias
    fixed = {c.name: interp.constant_array(s.program.value[c.name], c) for c in s.program.constants}
    for value, x in env.items():
        memory[Ref(value)] = x
    with np.errstate(all="ignore"):
        for k, strip, parts in _in_order(s):
            moves = dict(k.moves)
            at = {n: _strip(k, moves[n], strip, parts, memory[alias.get(n, n)].shape) for n in k.reads if n in moves}
            seen = {alias.get(n, n): memory[alias.get(n, n)] for n in k.reads if n.value not in fixed}
            made = run_kernel(
                k, seen | {alias.get(n, n): seen[alias.get(n, n)][i] for n, i in at.items()}, alias, fixed, strip
            )
            for name, x in made.items():
                place = alias.get(name, name)
                if name in moves:
                    assert isinstance(s, PackedSchedule)
                    there = place in memory  # another strip's, or the old value that this one replaces strip by strip
                    whole = memory[place].copy() if there else np.zeros(s.storage[name].shape, x.dtype)
                    whole[_strip(k, moves[name], strip, parts, whole.shape)] = x
                    made[name] = x = whole
                memory[place] = x
            first = {n: x for n, x in made.items() if n.packing is None and not n.new}
            out |= {str(n): x for n, x in first.items() if parts == 1 or n in moves}
    placed = {state for state in alias.values()}
    updates = ((Ref(state), Ref(new)) for state, new in s.program.updates)
    out |= {f"update {state}": memory[state if state in placed else new] for state, new in updates}
    return out | {f"result {role}": memory[alias.get(Ref(n), Ref(n))] for role, n in s.program.results}


def observe(ir: Any, env: dict[str, Values]) -> dict[str, Values]:
    """All values of both steps of an IR: ``train`` and ``evaluate``."""
    if isinstance(ir, Module):
        out = {}
        for p in ir:
            values = interp.run(p, env[p.name])
            out[p.name] = (
                values
                | {f"update {s}": values[n] for s, n in p.updates}
                | {f"result {r}": values[n] for r, n in p.results}
            )
        return out
    if isinstance(ir, (Scheduled, Packed)):
        return {s.program.name: run_kernels(s, {}, env[s.program.name]) for s in ir}
    if isinstance(ir, Placed):
        out, buffers = {}, ir.plan.buffer
        for ps, side in ir.packed.sides:
            states, name = ps.states, ps.program.name
            used = {n: n if n in states else n.on(side) for n in ps.storage}
            memory = Arena(ir.plan.arena_bytes, {n: buffers[b] for n, b in used.items() if b in buffers})
            out[name] = run_kernels(ps, memory, {n: x for n, x in env[name].items() if Ref(n) in memory})
        return out
    raise InternalError(f"{type(ir).__name__} cannot be run")


def _programs(ir: Any) -> tuple[Program, ...]:
    if isinstance(ir, Module):
        return tuple(ir)
    return tuple(side.program for side in (ir.packed if isinstance(ir, Placed) else ir))


@dataclass(frozen=True)
class Observed:
    """What an IR computed, and of which inputs and states, by step."""

    env: dict[str, Values]
    values: dict[str, Values]

    def of(self, env: dict[str, Values]) -> bool:
        """Whether it is what these inputs and states give."""
        return self.env.keys() == env.keys() and all(
            mine.keys() == env[step].keys() and all(np.array_equal(x, env[step][n]) for n, x in mine.items())
            for step, mine in self.env.items()
        )


def validate(before: Any, after: Any, known: Observed | None = None) -> Observed:
    """Raise InternalError naming the first value that differs, or a result or update that is gone.

    Returns what ``after`` computed; ``known`` is that of ``before``, where it is known."""
    env = {p.name: inputs(p) for p in _programs(after)}
    given = {p.name: {n: env[p.name][n] for n in (*p.inputs, *(s.name for s in p.states))} for p in _programs(before)}
    old = known.values if known is not None and known.of(given) else observe(before, given)
    new = old if after is before else observe(after, env)
    for name, values in old.items():
        if gone := [n for n in values if n.startswith(("update ", "result ")) and n not in new[name]]:
            raise InternalError(f"{name}: {gone[0]} is gone")
        for n in sorted(values.keys() & new[name].keys()):
            a, b = values[n], new[name][n]
            same = (
                (a == b) & (np.signbit(a) == np.signbit(b)) | ((a != a) & (b != b)) if a.dtype.kind == "f" else a == b
            )
            if a.dtype != b.dtype or a.shape != b.shape or not np.all(same):
                raise InternalError(f"{name}: {n} changed")
    return Observed(env, new)
