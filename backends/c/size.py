"""How large the program's code will be, before it is compiled: a bound that the plan's total needs.

The figures are least-squares fits to gcc 12 -O2 on 34 networks (1 to 21 layers, four rules, all optimisers, ragged and round
widths), one for each kind of instruction set; ``MARGIN`` covers what they miss, and other compilers.  A program that is
larger all the same is compiled again with its true size in the plan (see ``driver.build_planned``).
"""

from __future__ import annotations

from bnnc.encode import Encoding
from bnnc.plan.pack import PackedSchedule
from bnnc.plan.place import Placed
from bnnc.sched.kernel import Kernel

from .targets import Target

MARGIN = 1.2
# Bytes of machine code by kind of kernel, and for each operation of its expressions, packed operand, operand whose rows do not fill
# vectors, and f16 operand
CODE: dict[str, dict[str, int]] = {
    "x86": {
        "contract": 1384, "convolve": 1900, "convolve:back": 2862, "convolve:forward": 2150, "convolve:outer": 1127,
        "convolve:weight": 2113, "fold": 313, "group": 457, "map": 200, "popcount": 1455, "recur": 4058, "recur_back": 3633,
        "reduce_cols": 0, "reduce_rows": 154, "scatter": 2999, "window": 317, "node": 8, "bit": 108, "ragged": 37, "f16": 216},
    "aarch64": {
        "contract": 788, "convolve": 1200, "convolve:back": 1398, "convolve:forward": 1048, "convolve:outer": 393,
        "convolve:weight": 1595, "fold": 185, "group": 269, "map": 190, "popcount": 591, "recur": 2247, "recur_back": 2445,
        "reduce_cols": 74, "reduce_rows": 115, "scatter": 1211, "window": 253, "node": 8, "bit": 109, "ragged": 32},
    "armv7": {
        "contract": 2359, "convolve": 1900, "convolve:back": 2836, "convolve:forward": 981, "convolve:outer": 856,
        "convolve:weight": 4215, "fold": 150, "group": 165, "map": 167, "popcount": 524, "recur": 1899, "recur_back": 2026,
        "reduce_cols": 0, "reduce_rows": 128, "scatter": 922, "window": 230, "node": 24, "bit": 99, "ragged": 22, "f16": 47},
    "scalar": {
        "contract": 783, "convolve": 1200, "convolve:back": 1388, "convolve:forward": 1549, "convolve:outer": 849,
        "convolve:weight": 1809, "fold": 163, "group": 258, "map": 192, "popcount": 1017, "recur": 3186, "recur_back": 2808,
        "reduce_cols": 202, "reduce_rows": 112, "scatter": 1334, "window": 307, "node": 11, "bit": 128, "ragged": 0, "f16": 134},
}
BUFFER = 124  # its lines in `info`, and its state's record
RATES = 2900  # an instruction set's inner loops for `bench`
COST = 74  # a training kernel's name, counts and times, likewise
INFLATE = 40_400  # the decompressor's state, which lies in the arena where that is large enough
FIT_MIN = 4096  # BNNC_FIT_MIN
ENCODE = 5 * 1024  # the encoder's code
PAGE = 4096


def _anchor(k: Kernel) -> str:
    if k.kind == "contract" and k.a is not None and k.b is not None and k.b.dtype == "bit" and k.a.dtype in ("bit", "u8"):
        return "scatter" if k.form == "tn" else "popcount"
    if k.kind == "convolve" and k.a is not None and k.b is not None and k.groups == 1:
        special = "outer" if k.form == "weight" and k.a.dtype == "u8" else k.form
        return f"convolve:{special}" if "bit" in (k.a.dtype, k.b.dtype) or special == "outer" else k.kind
    return k.kind


def kernel_bytes(k: Kernel, ps: PackedSchedule, target: Target) -> int:
    """Machine code of one kernel: for all instruction sets, or for the largest of them where no other is in memory."""
    operands, size, kind = [ps.storage[n] for n in (*k.reads, *k.writes)], CODE[target.code], _anchor(k)
    nodes = len({e for x in k.exprs() for e in x.walk()})
    ragged = len(operands) if any(s.shape[1] > 1 and s.shape[1] % 16 for s in operands) else 0
    one = (size[kind] + size["node"] * nodes + size["bit"] * sum(s.one_bit for s in operands) + size["ragged"] * ragged
           + size.get("f16", 0) * sum(s.dtype == "f16" for s in operands))
    several = sum(not x.only or (kind in ("popcount", "convolve:forward") and k.a is not None and k.a.dtype == "u8") for x in target.levels)
    return one * (1 if target.apart else several)


def sample_bytes(e: Encoding | None) -> int:
    """What encoding a sample needs beside the decompressor: it as f32, its bits, and what fitting counts."""
    if e is None:
        return 0
    return -(-(4 * e.steps * e.channels + -(-e.output.elements // 8)) // 8) * 8 + (FIT_MIN if e.fitted else 0)


def scratch_bytes(placed: Placed, e: Encoding | None) -> int:
    """Static memory for opening data, where neither side of the encoder's thresholds in the arena has enough."""
    plan = placed.plan
    kept = [b for b in plan.buffers if b.region == "state" and e is not None and e.fitted and b.name == "input.thresholds"]
    room = max(kept[0].offset, plan.arena_bytes - -(-kept[0].end // 64) * 64) if kept else plan.arena_bytes
    need = INFLATE + sample_bytes(e)
    return need if room < need else 0


def variable_bytes(target: Target, placed: Placed) -> int:
    """Without an operating system: the runtime's variables, from the arena's end on (the build puts right what is not so)."""
    results = placed.packed.train.schedule.program.results
    return -placed.plan.arena_bytes % 8 + target.data_fixed + 8 * sum(role.count(":") == 2 for role, _ in results)


def code_bytes(target: Target, placed: Placed, e: Encoding | None = None) -> int:
    """Code, constants and the runtime's own data, at most; in whole pages.  Without an operating system: the data alone, exactly."""
    return variable_bytes(target, placed) if target.bare else text_bytes(target, placed, e, PAGE) + -(
        -(target.data_fixed + scratch_bytes(placed, e)) // PAGE) * PAGE


def flash_bytes(target: Target, placed: Placed, e: Encoding | None = None) -> int:
    """Code and constants that are not in RAM, at most, without samples."""
    return text_bytes(target, placed, None, 4) if target.bare else 0


def text_bytes(target: Target, placed: Placed, e: Encoding | None, unit: int) -> int:
    """Code and constants, at most, in whole units."""
    kernels = sum(kernel_bytes(k, ps, target) for ps in placed.packed for k in ps.kernels)
    tables = BUFFER * len(placed.plan.buffers) + 8 * len(target.levels) * sum(len(ps.kernels) for ps in placed.packed)
    tables += sum({s.name: s.nbytes for ps in placed.packed for s in ps.constants}.values())
    tables += 0 if e is None else ENCODE + 8 * len(e.onehot) + 8 * e.bits
    if not target.bare:
        kernels += RATES * (1 if target.apart else len(target.levels))
        tables += COST * len(placed.packed.train.kernels)
    text = int(MARGIN * kernels) + target.code_fixed + tables + (2 * PAGE if target.apart else 0)  # three segments
    return -(-text // unit) * unit
