"""What compilers make of the C, measured: how large a target's code is, and how deep its stacks go beside a kernel's
arrays.

    python benchmarks/fit_code_sizes.py measure --target rpi --cc zig     compiles some 10 networks, and keeps what it
    measured
    python benchmarks/fit_code_sizes.py fit --target rpi --cc zig         prints the constants below, and how loose the
    bounds are

Least-squares fits.  Each row is bytes of machine code by kind of kernel, then for each operation of its expressions,
packed operand, operand whose rows do not fill vectors, and f16 operand.  gcc's are from 34 networks (1 to 21 layers,
four rules, all optimisers, ragged and round widths), one for each kind of instruction set, and on x86, where kernels
share functions, three kinds of kernel by the largest copies of nine of the script's networks: what the nine need is at
most 1.12 times the fit; clang's (as zig 0.17 has it)
from 13 of the script's, for each target. clang unrolls loops of few steps, so its fits are less close: the bounds of
its kernels are 1.15 to 1.9 times what they are, of a whole program's code 1.1 to 1.5 times; each margin is a tenth
above the worst network that was left out of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .targets import Target


@dataclass(frozen=True)
class Fit:
    """``compiler``: kind and version that were measured.  ``margin``: what the kernels' sum is multiplied with, for
    what a fit misses.
    ``fixed``: the runtime's code and constants, 0: the target's own; ``rates``: an instruction set's inner loops for
    `bench`.
    ``stack``: bytes that the first and the other stacks need beyond the target's."""

    compiler: str
    code: dict[str, int]
    margin: float = 1.2
    fixed: int = 0
    rates: int = 2900
    stack: int = 0

    @property
    def kind(self) -> str:
        """gcc or clang: the name without the version."""
        return self.compiler.split()[0]


@dataclass(frozen=True)
class Compiler:
    """Whose code a plan foresees.  ``kind``: of the fits that hold, "" where none is known to: then the largest is
    taken.  ``what``: the compiler, or why none is known.  ``apart``: kernels of instruction sets that are not chosen
    are not in memory.
    """

    kind: str = ""
    what: str = ""
    apart: bool = False

    def __str__(self) -> str:
        return f"for {self.what}" if self.kind else f"for any measured compiler, since {self.what}"


# fmt: off
GCC: dict[str, Fit] = {  # by Target.code
    "x86": Fit("gcc 12", {
        "contract": 1384, "convolve": 1900, "convolve:back": 2862, "convolve:forward": 3004, "convolve:outer": 1127,
        "convolve:weight": 2113, "fold": 313, "group": 457, "map": 200, "popcount": 1455,
        "popcount/nt": 1883, "popcount/nn+gate": 2073, "recur": 4058,
        "recur_back": 3633,
        "reduce_cols": 0, "reduce_rows": 154, "scatter": 2999, "window": 317, "node": 8, "bit": 108, "ragged": 37,
        "f16": 216}),
    "aarch64": Fit("gcc 12", {
        "contract": 788, "convolve": 1200, "convolve:back": 1398, "convolve:forward": 1048, "convolve:outer": 393,
        "convolve:weight": 1595, "fold": 185, "group": 269, "map": 190, "popcount": 591, "recur": 2247,
        "recur_back": 2445,
        "reduce_cols": 74, "reduce_rows": 115, "scatter": 1211, "window": 253, "node": 8, "bit": 109, "ragged": 32}),
    "armv7": Fit("gcc 12", {
        "contract": 2359, "convolve": 1900, "convolve:back": 2836, "convolve:forward": 981, "convolve:outer": 856,
        "convolve:weight": 4215, "fold": 150, "group": 165, "map": 167, "popcount": 524, "recur": 1899,
        "recur_back": 2026,
        "reduce_cols": 0, "reduce_rows": 128, "scatter": 922, "window": 230, "node": 24, "bit": 99, "ragged": 22,
        "f16": 47}),
    "scalar": Fit("gcc 12", {
        "contract": 783, "convolve": 1200, "convolve:back": 1388, "convolve:forward": 1549, "convolve:outer": 849,
        "convolve:weight": 1809, "fold": 163, "group": 258, "map": 192, "popcount": 1017, "recur": 3186,
        "recur_back": 2808,
        "reduce_cols": 202, "reduce_rows": 112, "scatter": 1334, "window": 307, "node": 11, "bit": 128, "ragged": 0,
        "f16": 134}),
}
CLANG: dict[str, Fit] = {  # by Target.name
    "host": Fit("clang 22", {
        "contract/nn": 2184, "contract/nt": 2263, "contract/tn": 1292, "convolve/": 1533, "convolve:back/": 3061,
        "convolve:forward/": 2671, "convolve:outer/": 1555, "convolve:weight/": 3780, "fold/": 426, "group/": 989,
        "map/": 450, "map/few": 261, "map/row": 175, "popcount/nn": 1349, "popcount/nn+gate": 2393,
        "popcount/nt": 1706, "recur/": 4294, "recur_back/": 4143, "reduce_cols/": 169, "reduce_cols/1 whole": 1782,
        "reduce_cols/3 whole": 2751, "reduce_rows/": 214, "reduce_rows/few": 266, "scatter/": 2369, "window/": 616,
        "node": 11, "bit": 0, "ragged": 75, "f16": 125,
    }, margin=1.54, fixed=100 * 1024, rates=0, stack=256),
    "native": Fit("clang 22", {
        "contract/nn": 2680, "contract/nt": 2492, "contract/tn": 1399, "convolve/": 1597, "convolve:back/": 3138,
        "convolve:forward/": 3666, "convolve:outer/": 1565, "convolve:weight/": 4722, "fold/": 879, "group/": 1243,
        "map/": 523, "map/few": 319, "map/row": 154, "popcount/nn": 1947, "popcount/nn+gate": 3246,
        "popcount/nt": 2265, "recur/": 5464, "recur_back/": 4738, "reduce_cols/": 95, "reduce_cols/1 whole": 2688,
        "reduce_cols/3 whole": 3533, "reduce_rows/": 177, "reduce_rows/few": 336, "scatter/": 2591, "window/": 717,
        "node": 19, "bit": 0, "ragged": 74, "f16": 247,
    }, margin=1.55, fixed=100 * 1024, rates=0, stack=256),
    "rpi": Fit("clang 22", {
        "contract/nn": 2037, "contract/nt": 1411, "contract/tn": 1229, "convolve/": 1318, "convolve:back/": 1917,
        "convolve:forward/": 1719, "convolve:outer/": 1357, "convolve:weight/": 2796, "fold/": 528, "group/": 629,
        "map/": 614, "map/few": 360, "map/row": 235, "popcount/nn": 939, "popcount/nn+gate": 1442,
        "popcount/nt": 1028, "recur/": 2577, "recur_back/": 2558, "reduce_cols/": 351, "reduce_cols/1 whole": 2274,
        "reduce_cols/3 whole": 4287, "reduce_rows/": 366, "reduce_rows/few": 289, "scatter/": 1763, "window/": 765,
        "node": 8, "bit": 0, "ragged": 63, "f16": 10,
    }, margin=1.55, fixed=88 * 1024, rates=0, stack=288),
    "rpi2": Fit("clang 22", {
        "contract/nn": 1176, "contract/nt": 1557, "contract/tn": 1200, "convolve/": 1458, "convolve:back/": 2281,
        "convolve:forward/": 2654, "convolve:outer/": 1115, "convolve:weight/": 3337, "fold/": 567, "group/": 651,
        "map/": 506, "map/few": 452, "map/row": 136, "popcount/nn": 1341, "popcount/nn+gate": 2418,
        "popcount/nt": 1507, "recur/": 3085, "recur_back/": 2972, "reduce_cols/": 569, "reduce_cols/1 whole": 443,
        "reduce_cols/3 whole": 2865, "reduce_rows/": 189, "reduce_rows/few": 81, "scatter/": 1630, "window/": 548,
        "node": 17, "bit": 12, "ragged": 0, "f16": 100,
    }, margin=1.38, fixed=86 * 1024, rates=0, stack=256),
    "rpi-zero": Fit("clang 22", {
        "contract/nn": 1091, "contract/nt": 1563, "contract/tn": 1186, "convolve/": 1468, "convolve:back/": 2413,
        "convolve:forward/": 2651, "convolve:outer/": 1004, "convolve:weight/": 2056, "fold/": 706, "group/": 620,
        "map/": 414, "map/few": 378, "map/row": 156, "popcount/nn": 1333, "popcount/nn+gate": 2352,
        "popcount/nt": 1499, "recur/": 2984, "recur_back/": 3022, "reduce_cols/": 567, "reduce_cols/1 whole": 166,
        "reduce_cols/3 whole": 174, "reduce_rows/": 117, "reduce_rows/few": 106, "scatter/": 1643, "window/": 575,
        "node": 19, "bit": 8, "ragged": 0, "f16": 122,
    }, margin=1.3, fixed=86 * 1024, rates=0, stack=1256),
}
CLANG["rpi5"] = CLANG["rpi"]
CLANG["cortex-m"] = replace(CLANG["rpi-zero"], margin=0.75, fixed=0,
    stack=920)  # its kernels are part of the functions that call them
# fmt: on


def fits(target: Target, compiler: Compiler | None = None) -> tuple[Fit, ...]:
    """Those of a compiler for a target; all for that target where the compiler is not known."""
    clang = [CLANG[target.name]] if target.name in CLANG else list(CLANG.values())
    found = (GCC[target.code], *clang)
    return tuple(f for f in found if compiler and f.kind == compiler.kind) or found


def measured(kind: str) -> set[int]:
    """The versions of a kind of compiler that there are fits for."""
    return {int(f.compiler.split()[1]) for f in (*GCC.values(), *CLANG.values()) if f.kind == kind}
