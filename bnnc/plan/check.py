"""The checker: is a Plan legal?  Shares no code with the planner and trusts none of its numbers.

Lifetimes are recomputed from what the steps read and write, sizes from shape and dtype; overlap is tested by a walk
through time, where each buffer that begins to live meets its neighbours among those that do.
Every refusal names the rule that broke: ``steps``, ``unknown``, ``order``, ``size``,
``align``, ``lifetime``, ``overlap``, ``bounds``, ``state``, ``arena``, ``bound``, ``peak``, ``duplicate``.
"""

from __future__ import annotations

from .types import Buffer, Plan, Ref

BITS = {"bit": 1, "bool": 1, "u8": 8, "i8": 8, "i16": 16, "f16": 16, "i32": 32, "f32": 32}


class PlanError(Exception):
    """``rule``: which promise is broken."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule


def _expected_bytes(dtype: str, rows: int, cols: int, packing: str) -> int:
    if BITS[dtype] > 1:
        return rows * cols * BITS[dtype] // 8
    if packing == "COLUMNS":
        words_a_row = (cols + 31) // 32
        return rows * words_a_row * 4
    side, summed = (cols, rows) if packing == "ROWS" else (rows, cols)
    while side % 16:
        side += 1
    return ((summed + 31) // 32) * side * 4


def _position(ascending: list[tuple[int, int]], x: tuple[int, int]) -> int:
    """How many entries are less than ``x``."""
    low, high = 0, len(ascending)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if ascending[middle] < x else (low, middle)
    return low


def check_overlap(plan: Plan) -> None:
    """Raise PlanError where two buffers share bytes while both live."""
    buffers = plan.buffers
    events: list[tuple[int, int, int]] = []  # at one time what begins stands before what ends: it meets it
    for i, b in enumerate(buffers):
        if b.end > b.offset and b.first <= b.last:
            events += [(b.first, 0, i), (b.last, 1, i)]
    alive: list[tuple[int, int]] = []  # (offset, number), ascending
    for _, ends, i in sorted(events):
        b = buffers[i]
        at = _position(alive, (b.offset, i))
        if ends:
            del alive[at]
            continue
        for _, j in alive[max(0, at - 1) : at + 1]:
            if buffers[j].offset < b.end and b.offset < buffers[j].end:
                raise PlanError("overlap", f"{buffers[j].storage.ref} and {b.storage.ref} share bytes while both live")
        alive.insert(at, (b.offset, i))


def _uses(plan: Plan) -> tuple[dict[Ref, int], dict[Ref, int]]:
    """When each buffer is written first and used last; none is read before it is written."""
    region = {b.storage.ref: b.region for b in plan.buffers}
    first_write: dict[Ref, int] = {}
    last_use: dict[Ref, int] = {}
    for t, step in enumerate(plan.steps):
        for word, names in (("reads", step.reads), ("writes", step.writes)):
            for n in names:
                if n not in region:
                    raise PlanError("unknown", f"step {step.name} {word} {n}, which has no buffer")
                if word == "writes":
                    first_write.setdefault(n, t)
                elif n not in first_write and region[n] != "state":
                    raise PlanError("order", f"step {step.name} reads {n} before it is written")
                last_use[n] = t
    return first_write, last_use


def _check_bytes(plan: Plan, b: Buffer) -> None:
    """A buffer has the bytes that its elements need, aligned and inside the arena."""
    s = b.storage
    if b.end - b.offset != _expected_bytes(s.dtype, s.shape[0], s.shape[1], s.packing.name):
        raise PlanError("size", f"{s.ref} has {b.end - b.offset} bytes")
    if b.offset % b.align or b.align not in (4, 64) or (b.end - b.offset >= 1024 and b.align != 64):
        raise PlanError("align", f"{s.ref} at {b.offset}, alignment {b.align}")
    if b.offset < 0 or b.end > plan.arena_bytes:
        raise PlanError("bounds", f"{s.ref} is not inside the arena")


def _check_state(plan: Plan, b: Buffer) -> None:
    """A state lives throughout, in the range of states."""
    if b.first > 0 or b.last < len(plan.steps) - 1:
        raise PlanError("lifetime", f"state {b.storage.ref} does not live throughout")
    if b.end > plan.state_bytes:
        raise PlanError("state", f"{b.storage.ref} is outside the state range")


def _check_temporary(plan: Plan, b: Buffer, first_write: dict[Ref, int], last_use: dict[Ref, int]) -> None:
    """Any other buffer lives from its first write to its last use, outside that range."""
    n = b.storage.ref
    if n not in first_write:
        raise PlanError("lifetime", f"{n} is never written")
    if b.first != first_write[n] or b.last != last_use[n]:
        raise PlanError("lifetime", f"{n} lives [{b.first}, {b.last}], used [{first_write[n]}, {last_use[n]}]")
    if b.offset < plan.state_bytes:
        raise PlanError("state", f"{n} lies in the state range")


def _check_totals(plan: Plan) -> None:
    """The arena ends with its last buffer, and no time has more bytes alive than the peak."""
    top = max(b.end for b in plan.buffers)
    if not top <= plan.arena_bytes < top + 64 or plan.arena_bytes % 64:
        raise PlanError("arena", f"arena {plan.arena_bytes}, buffers end at {top}")
    begin, end = [0] * len(plan.steps), [0] * len(plan.steps)
    for b in plan.buffers:
        begin[b.first] += b.end - b.offset
        end[b.last] += b.end - b.offset
    live, now = [], 0
    for t in range(len(plan.steps)):
        now += begin[t]
        live.append(now)
        now -= end[t]
    if max(live) != plan.lower_bound:
        raise PlanError("bound", f"lower bound {plan.lower_bound}, but {max(live)} bytes live at once")
    if live[plan.peak_step] != max(live):
        raise PlanError("peak", f"step {plan.peak_step} is not the peak")


def check_plan(plan: Plan) -> None:
    """Raise PlanError unless the plan is legal and its totals are true."""
    names = [b.storage.ref for b in plan.buffers]
    if len(set(names)) != len(names):
        raise PlanError("duplicate", "two buffers have one name")
    if not plan.steps:
        raise PlanError("steps", "an empty timeline")
    first_write, last_use = _uses(plan)
    for b in plan.buffers:
        _check_bytes(plan, b)
        if b.region == "state":
            _check_state(plan, b)
        else:
            _check_temporary(plan, b, first_write, last_use)
    check_overlap(plan)
    _check_totals(plan)
