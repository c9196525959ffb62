"""C targets: records, not code."""

from __future__ import annotations

from dataclasses import dataclass

from bnnc.diag import did_you_mean, error


@dataclass(frozen=True)
class Level:
    """One instruction set that the kernels are compiled for: GCC target options and the guard around it."""

    name: str
    target: str = ""
    guard: str = ""


@dataclass(frozen=True)
class Target:
    """Where a program runs and how it is built.

    ``stack``: bytes the main thread may use, ``thread_stack`` those of each further thread (static); the deepest kernel
    needs 24 KiB, and a signal 4 KiB.  ``code_fixed`` and ``data_fixed``: the runtime's text with constants, and its
    data; the kernels are added by :mod:`.size`.  ``kernel_pages``: what the operating system maps into every process:
    Linux maps 128 KiB of stack below the arguments, whatever is used of it, then vvar and vdso.
    """

    name: str
    doc: str
    isa: str
    compilers: tuple[str, ...]
    flags: tuple[str, ...]
    levels: tuple[Level, ...]
    freestanding: bool = True
    ram: int | None = None
    stack: int = 36 * 1024
    thread_stack: int = 32 * 1024
    threads: int = 2
    code_fixed: int = 0
    data_fixed: int = 0
    kernel_pages: int = (100 + 32) * 1024


X86 = "defined(__x86_64__)"
PORTABLE = (
    Level("base"),
    Level("avx2", "avx2,f16c,popcnt,bmi,bmi2", X86),
    Level("avx512", "avx2,f16c,popcnt,bmi,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq", X86),
)
RUNTIME_TEXT, RUNTIME_DATA = 46 * 1024, 15 * 1024
COMMON = ("-std=gnu11", "-O2", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")

TARGETS: dict[str, Target] = {t.name: t for t in (
    Target("host", "this machine: one static program, the best instruction set is chosen when it starts", "x86-64",
           ("cc", "gcc", "clang"), COMMON, PORTABLE, code_fixed=RUNTIME_TEXT, data_fixed=RUNTIME_DATA),
    Target("native", "this machine only: compiled for exactly this CPU", "x86-64, -march=native",
           ("cc", "gcc", "clang"), (*COMMON, "-march=native"), (Level("native"),), code_fixed=RUNTIME_TEXT,
           data_fixed=RUNTIME_DATA),
)}


def find_target(name: str) -> Target:
    """Raises BnncError B0705 for an unknown name."""
    if name not in TARGETS:
        raise error("B0705", f"unknown target `{name}`", exit_code=2,
                    help=did_you_mean(name, TARGETS) or f"targets: {', '.join(TARGETS)}")
    return TARGETS[name]
