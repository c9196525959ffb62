"""C targets: records, not code."""

from __future__ import annotations

from dataclasses import dataclass

from bnnc.diag import did_you_mean, error


@dataclass(frozen=True)
class Level:
    """One instruction set that the kernels are compiled for, and the guard around it.

    ``begins``: a header ``bnnc_NAME_begin.h`` tells the compiler of it; else it is what the whole program is compiled
    for.  ``only``: kernels whose text does not hold this word gain nothing, and are those of the first level.  ``cpu``:
    QEMU's oldest, where it is not the target's.
    """

    name: str
    guard: str = ""
    begins: bool = False
    only: str = ""
    cpu: str = ""

    @property
    def begin(self) -> str:
        """The lines of C before this level's kernels."""
        begin = f'#include "runtime/bnnc_{self.name}_begin.h"' if self.begins else f"#define BNNC_LEVEL {self.name}"
        only = "#define BNNC_ONLY 1 /* of the kernels, those that gain */" if self.only else ""
        return "\n".join(filter(None, (f"#if {self.guard}" if self.guard else "", begin, only)))

    @property
    def end(self) -> str:
        """The lines of C behind them."""
        return '#include "runtime/bnnc_end.h"' + ("\n#endif" if self.guard else "")


@dataclass(frozen=True)
class Target:
    """Where a program runs and how it is built.

    ``stack``: bytes the main thread may use beside a kernel's arrays, 5 KiB for a signal among them, ``thread_stack``
    those of each further thread (static); ``lanes``: how many its widest vectors have, which those arrays depend on.
    ``code_fixed`` and
    ``data_fixed``: the runtime's text with constants, and its data; the kernels are added by :mod:`.size`, which knows
    how large they are in instructions like these (``code``).  ``ram``: bytes on the smallest board;
    ``install``: how to get a compiler; ``emulator``: QEMU with the oldest CPU that the target promises to run on.
    ``kernel_pages``: what the operating system maps into every process:
    Linux maps 128 KiB of stack below the arguments, whatever is used of it, then vvar and vdso.  For ARM only what of
    it is in memory counts, since boards have limits of memory, not of addresses.
    ``flash``: bytes of it where there is no operating system: a linker script then sets the memory's bounds, and
    ``ram``, code and constants (``code_fixed``) are in flash; ``libraries``: what is linked last.
    """

    name: str
    doc: str
    isa: str
    compilers: tuple[str, ...]  # with their options for the machine; ``zig cc`` may also be the Python package's
    flags: tuple[str, ...]
    levels: tuple[Level, ...]
    freestanding: bool = True
    ram: int | None = None
    stack: int = 8 * 1024
    thread_stack: int = 2 * 1024
    threads: int = 2
    code_fixed: int = 0
    data_fixed: int = 0
    kernel_pages: int = (100 + 32) * 1024
    install: str = 'sudo apt install gcc, or pip install "bnnc[arm]" (the zig compiler)'
    emulator: tuple[str, ...] = ()
    lanes: int = 16
    code: str = "x86"
    flash: int = 0
    libraries: tuple[str, ...] = ()

    @property
    def apart(self) -> bool:
        """Of several instruction sets' kernels only the chosen one's are ever in memory (``build.apart``)."""
        return self.freestanding and len(self.levels) > 1 and not any(level.only for level in self.levels)

    @property
    def bare(self) -> bool:
        """No operating system."""
        return self.flash > 0


X86 = "defined(__x86_64__)"
PORTABLE = (Level("base"), Level("avx2", X86, begins=True), Level("avx512", X86, begins=True))
RUNTIME_TEXT, RUNTIME_DATA = 60 * 1024, 10 * 1024
ARM_TEXT = 73 * 1024
COMMON = ("-std=gnu11", "-O2", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
NEON = (Level("neon"),)
DOTPROD = Level("dotprod", "defined(__aarch64__)", begins=True, only="vweigh", cpu="cortex-a76")
MIB = 1 << 20
M4 = "-mthumb -mfloat-abi=hard -mcpu"


def _arm(
    name: str,
    doc: str,
    isa: str,
    gcc: str,
    zig: str,
    clang: str,
    ram: int,
    levels: tuple[Level, ...],
    threads: int,
    *emulator: str,
) -> Target:
    """A Linux machine with an ARM CPU: Debian's cross gcc, zig, clang with lld, in this order."""
    prefix = "aarch64-linux-gnu" if isa.startswith("aarch64") else "arm-linux-gnueabihf"
    package = f"gcc-{prefix}" if isa.startswith("aarch64") else "gcc-arm-linux-gnueabihf"
    compilers = (f"{prefix}-gcc {gcc}", f"zig cc {zig} -g0", f"clang --target={prefix} -fuse-ld=lld {clang}")
    return Target(
        name,
        doc,
        isa,
        compilers,
        COMMON,
        levels,
        code_fixed=ARM_TEXT,
        data_fixed=RUNTIME_DATA,
        ram=ram,
        threads=threads,
        emulator=emulator,
        stack=7 * 1024,
        thread_stack=3 * 1024,
        kernel_pages=16 * 1024,
        lanes=1 if levels[0].name == "scalar" else 4,
        code="aarch64" if isa.startswith("aarch64") else "armv7" if levels == NEON else "scalar",
        install=f'pip install "bnnc[arm]" (the zig compiler, for all Raspberry Pis), or sudo apt install {package}',
    )


TARGETS: dict[str, Target] = {
    t.name: t
    for t in (
        Target(
            "host",
            "this machine: one static program, the best instruction set is chosen when it starts",
            "x86-64; elsewhere the compiler's own",
            ("cc", "gcc", "clang", "zig cc -mcpu=baseline -g0"),
            COMMON,
            PORTABLE,
            code_fixed=RUNTIME_TEXT,
            data_fixed=RUNTIME_DATA,
        ),
        Target(
            "native",
            "this machine only: compiled for exactly this CPU",
            "x86-64, -march=native",
            ("cc", "gcc", "clang", "zig cc -g0"),
            (*COMMON, "-march=native"),
            (Level("native"),),
            code_fixed=RUNTIME_TEXT,
            data_fixed=RUNTIME_DATA,
        ),
        _arm(
            "rpi",
            "Raspberry Pi 3, 4, 5, Zero 2 W with a 64-bit system",
            "aarch64, NEON; dotprod where there is",
            "-mcpu=cortex-a53",
            "-target aarch64-linux-musl -mcpu=cortex_a53",
            "-mcpu=cortex-a53",
            512 * MIB,
            (*NEON, DOTPROD),
            4,
            "qemu-aarch64",
            "-cpu",
            "cortex-a53",
        ),
        _arm(
            "rpi5",
            "Raspberry Pi 5, tuned for it",
            "aarch64, NEON, ARMv8.2 with fp16 and dotprod",
            "-mcpu=cortex-a76",
            "-target aarch64-linux-musl -mcpu=cortex_a76",
            "-mcpu=cortex-a76",
            2048 * MIB,
            (Level("dotprod"),),
            4,
            "qemu-aarch64",
            "-cpu",
            "cortex-a76",
        ),
        _arm(
            "rpi2",
            "Raspberry Pi 2, and 3, 4, Zero 2 W with a 32-bit system",
            "ARMv7-A, NEON",
            "-mcpu=cortex-a7 -mfpu=neon-vfpv4 -mfp16-format=ieee",
            "-target arm-linux-musleabihf -mcpu=cortex_a7",
            "-mcpu=cortex-a7",
            512 * MIB,
            NEON,
            4,
            "qemu-arm",
            "-cpu",
            "cortex-a7",
        ),
        _arm(
            "rpi-zero",
            "Raspberry Pi Zero, Zero W and 1",
            "ARMv6, VFP",
            "-mcpu=arm1176jzf-s -mfpu=vfp -marm",
            "-target arm-linux-musleabihf -mcpu=arm1176jzf_s",
            "-mcpu=arm1176jzf-s -marm",
            256 * MIB,
            (Level("scalar"),),
            1,
            "qemu-arm",
            "-cpu",
            "arm1176",
        ),
        Target(
            "cortex-m",
            "no operating system: part of a firmware, or a program with its data in flash",
            "ARMv7E-M, FPU (Cortex-M4F, M7)",
            (
                f"arm-none-eabi-gcc {M4}=cortex-m4 -mfpu=fpv4-sp-d16",
                f"zig cc -target thumb-freestanding-eabihf {M4}=cortex_m4 -g0",
            ),
            (*COMMON, "-ffunction-sections", "-fdata-sections", "-mno-unaligned-access"),
            (Level("scalar"),),
            ram=64 * 1024,
            threads=1,
            stack=1216,
            lanes=1,
            code="scalar",
            code_fixed=16 * 1024,
            data_fixed=260,
            kernel_pages=0,
            flash=MIB,
            libraries=("-lgcc",),
            install='sudo apt install gcc-arm-none-eabi, or pip install "bnnc[arm]" (the zig compiler)',
        ),
    )
}


def find_target(name: str) -> Target:
    """Raises BnncError B0705 for an unknown name."""
    if name not in TARGETS:
        raise error(
            "B0705",
            f"unknown target `{name}`",
            exit_code=2,
            help=did_you_mean(name, TARGETS) or f"targets: {', '.join(TARGETS)}",
        )
    return TARGETS[name]
