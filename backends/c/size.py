"""How large the program's code will be, before it is compiled: a bound that the plan's total needs.

The figures are those of the compiler that would be used (:mod:`.fits`), or the largest where that is not known.  A
program that is larger all the same is compiled again with its true size in the plan (see ``driver.build_planned``).
"""

from __future__ import annotations

from bnnc.inputs.encode import Encoding
from bnnc.plan.pack import PackedSchedule
from bnnc.plan.place import Placed
from bnnc.sched.anchor import Anchor, Contract, Convolve, Map, Reduce
from bnnc.sched.expr import COLUMNS
from bnnc.sched.kernel import Kernel

from .bodies import Call, calls, distinct
from .fits import Compiler, Fit, fits
from .targets import Target

BUFFER = 124  # its lines in `info`, and its state's record
COST = 74  # a training kernel's name, counts and times, likewise
INFLATE = 40_400  # the decompressor's state, which lies in the arena where that is large enough
FIT_MIN = 4096  # BNNC_FIT_MIN
ENCODE = 5 * 1024  # the encoder's code
PAGE = 4096
FEW = 16  # columns of a vector register's lanes
LONG = 30  # a buffer's, a kernel's name up to which those figures hold


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
        case Reduce(accs=accs, axis=axis) if axis == COLUMNS:
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
    return -(-(4 * e.steps * e.channels + -(-e.output.elements // 8)) // 8) * 8 + (FIT_MIN if e.fitted else 0)


def scratch_bytes(placed: Placed, e: Encoding | None) -> int:
    """Static memory for opening data, where neither side of the encoder's thresholds in the arena has enough."""
    plan = placed.plan
    kept = [
        b for b in plan.buffers if b.region == "state" and e is not None and e.fitted and b.name == "input.thresholds"
    ]
    room = max(kept[0].offset, plan.arena_bytes - -(-kept[0].end // 64) * 64) if kept else plan.arena_bytes
    need = INFLATE + sample_bytes(e)
    return need if room < need else 0


def variable_bytes(target: Target, placed: Placed) -> int:
    """Without an operating system: the runtime's variables, from the arena's end on (the build puts right what is not
    so).
    """
    counters = placed.program.counters
    return -placed.plan.arena_bytes % 8 + target.data_fixed + 8 * len(counters)


def code_bytes(target: Target, placed: Placed, e: Encoding | None = None, compiler: Compiler | None = None) -> int:
    """Code, constants and the runtime's own data, at most; in whole pages.  Without an operating system: the data
    alone, exactly.
    """
    return (
        variable_bytes(target, placed)
        if target.bare
        else text_bytes(target, placed, e, PAGE, compiler)
        + -(-(target.data_fixed + scratch_bytes(placed, e)) // PAGE) * PAGE
    )


def flash_bytes(target: Target, placed: Placed, e: Encoding | None = None, compiler: Compiler | None = None) -> int:
    """Code and constants that are not in RAM, at most, without samples."""
    return text_bytes(target, placed, None, 4, compiler) if target.bare else 0


def text_bytes(target: Target, placed: Placed, e: Encoding | None, unit: int, compiler: Compiler | None) -> int:
    """Code and constants, at most, in whole units: of the compiler that is known, or the most that one of them
    needs.
    """
    found, apart = fits(target, compiler), target.apart and compiler is not None and compiler.apart
    made = calls(placed)
    return max(-(-_text(target, placed, made, e, fit, apart) // unit) * unit for fit in found)


def beside(target: Target, placed: Placed, e: Encoding | None, fit: Fit, apart: bool) -> int:
    """What is there of code and constants beside kernels and inner loops for `bench`."""
    tables = BUFFER * len(placed.plan.buffers) + 8 * len(target.levels) * sum(len(ps.kernels) for ps in placed.packed)
    tables += sum(2 * max(0, len(b.name) - LONG) for b in placed.plan.buffers)
    tables += sum({s.name: s.nbytes for ps in placed.packed for s in ps.constants}.values())
    tables += 0 if e is None else ENCODE + 8 * len(e.onehot) + 8 * e.bits
    tables += 0 if target.bare else sum(COST + max(0, len(k.name) - LONG) for k in placed.packed.train.kernels)
    return (fit.fixed or target.code_fixed) + tables + (2 * PAGE if apart else 0)  # three segments


def bodies_bytes(made: list[Call], target: Target, fit: Fit, apart: bool) -> int:
    """Machine code of all kernels: each function once, however many run it."""
    return sum(
        kernel_bytes(users[0].kernel, users[0].schedule, target, fit, apart) for users in distinct(made).values()
    )


def _text(target: Target, placed: Placed, made: list[Call], e: Encoding | None, fit: Fit, apart: bool) -> int:
    kernels = bodies_bytes(made, target, fit, apart)
    rates = 0 if target.bare else fit.rates * (1 if apart else len(target.levels))
    return int(fit.margin * (kernels + rates)) + beside(target, placed, e, fit, apart)
