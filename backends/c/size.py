"""How large the program's code will be, before it is compiled: a bound that the plan's total needs.

The figures are those of the compiler that would be used (:mod:`.fits`), or the largest where that is not known.  A
program that is larger all the same is compiled again with its true size in the plan (see ``driver.build_planned``).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from bnnc.inputs import augment
from bnnc.inputs.encode import Encoding
from bnnc.ir import program
from bnnc.ir.dtype import Axis, ceil_div, round_up
from bnnc.ir.ref import Ref
from bnnc.model import Model
from bnnc.plan.contract import COUNTER, FIT_MIN, INFLATE
from bnnc.plan.pack import PackedSchedule
from bnnc.plan.place import Placed
from bnnc.plan.report import Needs
from bnnc.sched.anchor import Anchor, Contract, Convolve, Map, Reduce
from bnnc.sched.kernel import Kernel

from ..render import template_text
from .bodies import Call, distinct, unnamed
from .fits import Compiler, Fit, fits
from .names import name_room
from .stack import PAGE, arrays
from .targets import Target

THRESHOLDS = Ref(program.THRESHOLDS)
ROW = 40  # a buffer's record: a bnnc_state, or less
COST = 32  # a training kernel's counts
TIMES = 26  # of it, while `bench` runs: variables
NAME = 5  # what a name takes beside its letters: its end, and alignment
ENCODE, FITTED = 1536, 5 * 1024  # the encoder's code
PREDICT_TEXT, PREDICT_DATA = 20 * 1024, 46 * 1024  # of a program that only predicts: its runtime
PREDICT_BARE_TEXT, PREDICT_BARE_DATA = 4 * 1024, 4
AUGMENT, BALANCE = (
    768,
    1024,
)  # the code of `augment` and of `sampling = balanced`: 128 to 480, and 504 to 702 were measured
TURN = 57  # of a class that takes turns: its order, and where it is
HEADERS = 512  # of the ELF file, which lie before the code
FEW = 16  # columns of a vector register's lanes


def _kind(anchor: Anchor) -> str:
    """What a Fit calls it: the skeleton, in short."""
    match anchor:
        case Contract(a=a, b=b) if b.dtype == "bit" and a.dtype in ("bit", "u8"):
            return "scatter" if anchor.form == "tn" else "popcount"
        case Contract():
            return "contract"
        case Convolve(a=a, b=b, groups=1):
            special = "outer" if anchor.form == "weight" and a.dtype == "u8" else anchor.form
            return f"convolve:{special}" if "bit" in (a.dtype, b.dtype) or special == "outer" else "convolve"
        case Convolve():
            return "convolve"
    return anchor.title


def _detail(k: Kernel) -> str:
    """What divides kinds further for compilers that unroll loops of few steps."""
    match k.anchor:
        case Contract(gate=gate) if _kind(k.anchor) != "scatter":
            return k.anchor.form + ("+gate" if gate is not None else "")
        case Reduce(accs=accs, axis=axis) if axis is Axis.COLUMNS:
            whole = any(a.how == "argmax" and a.expr.dtype in ("i16", "i32") for a in accs)
            return f"{len(accs)} whole" if whole else ""
        case Map() | Reduce() if 1 < k.domain[1] <= FEW:
            return "few"
    return "row" if k.domain[0] == 1 else ""


def features(k: Kernel, ps: PackedSchedule) -> tuple[str, dict[str, int]]:
    """A kernel's kind, and how much of what a Fit counts it holds."""
    operands = [ps.storage[n] for n in (*k.reads, *k.writes)]
    ragged = len(operands) if any(s.shape[1] > 1 and s.shape[1] % 16 for s in operands) else 0
    kind, nodes = _kind(k.anchor), len({e for x in k.exprs() for e in x.walk()})
    return f"{kind}/{_detail(k)}", {
        "node": nodes,
        "bit": sum(s.one_bit for s in operands),
        "ragged": ragged,
        "f16": sum(s.dtype == "f16" for s in operands),
    }


def one_bytes(code: dict[str, int], kind: str, counts: dict[str, int]) -> int:
    """What a Fit says of a kernel for one instruction set; a kind that was not measured in detail is one of its
    kind.
    """
    coarse = kind.partition("/")[0]
    base = next((code[n] for n in (kind, f"{coarse}/", coarse) if n in code), max(code.values()))
    return base + sum(code.get(what, 0) * n for what, n in counts.items())


def copies(k: Kernel, target: Target) -> int:
    """For how many instruction sets a kernel is compiled."""
    bytes_by_bits = _kind(k.anchor) in ("popcount", "convolve:forward") and k.anchor.operands[0].dtype == "u8"
    return sum(not x.only or bytes_by_bits for x in target.levels)


def kernel_bytes(k: Kernel, ps: PackedSchedule, target: Target, fit: Fit, apart: bool) -> int:
    """Machine code of one kernel: for all instruction sets, or for the largest of them where no other is in memory."""
    return one_bytes(fit.code, *features(k, ps)) * (1 if apart else copies(k, target))


def sample_bytes(e: Encoding | None) -> int:
    """What encoding a sample needs beside the decompressor: it as f32, its bits, and what fitting counts."""
    if e is None:
        return 0
    return round_up(4 * e.steps * e.channels + ceil_div(e.output.elements, 8), 8) + (FIT_MIN if e.fitted else 0)


def scratch_bytes(placed: Placed, e: Encoding | None) -> int:
    """Static memory for opening data, where neither side of the encoder's thresholds in the arena has enough."""
    plan = placed.plan
    kept = plan.buffer.get(THRESHOLDS) if e is not None and e.fitted else None
    room = max(kept.offset, plan.arena_bytes - round_up(kept.end, 64)) if kept else plan.arena_bytes
    need = INFLATE + sample_bytes(e)
    return need if room < need else 0


def variable_bytes(target: Target, placed: Placed, e: Encoding | None) -> int:
    """The runtime's variables.  Without an operating system from the arena's end on, exactly."""
    if placed.packed.predicts:
        raw = 4 * (e.steps * e.channels if e else prod(placed.program.value["x"].shape))  # a sample, at most
        return -placed.plan.arena_bytes % 8 + PREDICT_BARE_DATA if target.bare else PREDICT_DATA + raw
    if target.bare:
        return -placed.plan.arena_bytes % 8 + target.data_fixed + COUNTER * len(placed.program.counters)
    return target.data_fixed + TIMES * len(placed.train.kernels) + scratch_bytes(placed, e) + reading(placed.model)[1]


def reading(model: Model) -> tuple[int, int]:
    """Bytes of code, and of variables, for what is done with training samples as they are read."""
    a, classes = augment.of_model(model), model.classes if model.sampling == "balanced" else 0
    seen = round_up(a.nbytes, 64) + 64 if a else 0
    return (AUGMENT if a else 0) + (BALANCE if classes else 0), seen + (96 + TURN * classes if classes else 0)


def needs(target: Target, placed: Placed, e: Encoding | None = None, compiler: Compiler | None = None) -> Needs:
    """What the program needs beside the arena, at most; without samples in flash.  The build checks it."""
    made, known = unnamed(placed), fits(target, compiler)
    apart = compiler is not None and compiler.apart and not placed.packed.predicts
    return Needs(
        _code(target, placed, made, e, known, apart),
        max(round_up(sum(_text(target, placed, made, e if placed.packed.predicts else None, f)), 4) for f in known)
        if target.bare
        else 0,
        *stacks(target, made, max(f.stack for f in known)),
    )


def _code(
    target: Target, placed: Placed, made: Sequence[Call], e: Encoding | None, known: Sequence[Fit], apart: bool
) -> int:
    """Code, constants and the runtime's own data.  Without an operating system: the data alone, exactly.  With one,
    whole pages; where kernels lie apart, what the pages of the arena's segment hold beside the arena.
    """
    variables = variable_bytes(target, placed, e)
    if target.bare:
        return variables
    if not (target.apart and apart):
        text = max(round_up(sum(_text(target, placed, made, e, f)), PAGE) for f in known)
        return text + round_up(variables, PAGE)
    segments = (_text(target, placed, made, e, f, apart=True) for f in known)
    arena = placed.plan.arena_bytes
    return max(sum(round_up(n, PAGE) for n in found) for found in segments) + round_up(variables + arena, PAGE) - arena


def stacks(target: Target, made: Sequence[Call], more: int = 0) -> tuple[int, int]:
    """Bytes that the first stack, and each other thread's, may grow to with these kernels; ``more``: a compiler's."""
    deepest, unit = deepest_arrays(target, made) + more, 64 if target.bare else PAGE
    return round_up(target.stack + deepest, unit), round_up(target.thread_stack + deepest, unit)


def deepest_arrays(target: Target, made: Sequence[Call]) -> int:
    """The most bytes of local arrays in a kernel, or in an inner loop for `bench`."""
    texts = [b.text for b in distinct(made)]
    texts += [] if target.bare else template_text("c/runtime/bnnc_rate.h").split("\nBNNC_RATE(")
    return max((arrays(t, target.lanes) for t in texts), default=0)


def beside(target: Target, placed: Placed, made: Sequence[Call], e: Encoding | None, fit: Fit) -> int:
    """What is there of code and constants beside kernels and inner loops for `bench`."""
    if placed.packed.predicts:
        tables = sum({s.ref: s.nbytes for ps in placed.packed for s in ps.constants}.values()) + 64 * len(made)
        tables += 0 if e is None else e.table[0] * e.table[1] * 4 * e.fitted + 8 * len(e.onehot)
        tables += placed.model.classes * name_room(placed.model)
        return (PREDICT_BARE_TEXT if target.bare else PREDICT_TEXT) + tables
    tables = sum(ROW + NAME + len(b.name) for b in placed.plan.buffers)
    tables += 8 * (len(target.levels) + 1) * len(made)  # functions, and where their operands are listed
    shared = [x for users in distinct(made).values() if len(users) > 1 for x in users]
    tables += sum(round_up(4 * len(x.operands), 16) for x in shared)
    tables += sum({s.ref: s.nbytes for ps in placed.packed for s in ps.constants}.values())
    tables += 0 if e is None else (FITTED if e.fitted else ENCODE) + 8 * len(e.onehot) + 8 * e.bits
    tables += 0 if target.bare else sum(COST + NAME + len(k.name) for k in placed.train.kernels)
    return (fit.fixed or target.code_fixed) + tables + reading(placed.model)[0]


def bodies_bytes(made: Sequence[Call], target: Target, fit: Fit, apart: bool) -> int:
    """Machine code of all kernels: each function once, however many run it."""
    return sum(
        kernel_bytes(users[0].kernel, users[0].schedule, target, fit, apart) for users in distinct(made).values()
    )


def _text(
    target: Target, placed: Placed, made: Sequence[Call], e: Encoding | None, fit: Fit, apart: bool = False
) -> tuple[int, int]:
    """At most so many bytes of code and constants; of kernels, of which only the largest instruction set's count where
    they lie apart.
    """
    kernels = bodies_bytes(made, target, fit, apart)
    rates = 0 if target.bare or placed.packed.predicts else fit.rates * (1 if apart else len(target.levels))
    headers = 0 if target.bare else HEADERS
    return headers + beside(target, placed, made, e, fit), int(fit.margin * (kernels + rates))
