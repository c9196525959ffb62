"""build: Source -> an executable, checked against the Plan.

Compiles with warnings as errors, then reads the ELF file: the arena has exactly the planned size, no allocator is
linked, and everything that is loaded fits in what the plan promised.  Sources may have been edited by hand in between.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from bnnc import knobs
from bnnc.diag import BnncError, InternalError, error
from bnnc.ir.dtype import round_up
from bnnc.plan import contract
from bnnc.plan.report import Report
from bnnc.source import Source, whole

from . import stack
from .fits import Compiler, measured
from .targets import Target

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wvla")  # told, not fatal: who compiles has a compiler of their own
FREESTANDING = (
    "-DBNNC_FREESTANDING",
    "-static",
    "-nostdlib",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-pie",
    "-no-pie",
    "-fno-asynchronous-unwind-tables",
)
GNU_LINKER = ("-Wl,--build-id=none", "-Wl,-z,noseparate-code")  # zig's linker knows neither, and adds no build-id
BARE = ("-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-Wl,--gc-sections")
HOSTED = ("-lm", "-lpthread")
NO_LIBRARY = ("-mno-outline-atomics",)  # else gcc for aarch64 calls libgcc
# clang unrolls in part what it cannot unroll whole: a program for NEON was five times as large, no faster, and its
# frames as large
WHOLE_LOOPS = ("-mllvm", "-unroll-allow-partial=0", "-mllvm", "-unroll-runtime=0")
# Kernels are written in vectors: what gcc adds to straight-line code for x86-64, and its second look for common parts
# behind its loop passes, take a twelfth of its time, and steps were no slower without them (0.96 to 1.01 of their time,
# AVX2 and AVX-512; code within 0.3 %).
LOOPS_ALONE = ("-fno-tree-slp-vectorize", "-fno-rerun-cse-after-loop")
QUIET = ("-Wno-unused-command-line-argument",)
ALLOCATORS = (
    "malloc",
    "calloc",
    "realloc",
    "free",
    "mmap",
    "munmap",
    "brk",
    "sbrk",
    "aligned_alloc",
    "posix_memalign",
    "alloca",
)


class OtherSizes(InternalError):
    """The program is right, but this compiler needs other bytes than the plan foresaw; ``sizes``: fields of the
    Report.
    """

    stage = "build"

    def __init__(self, message: str, sizes: dict[str, Any]) -> None:
        super().__init__(message)
        self.sizes = sizes


@dataclass(frozen=True)
class Sizes:
    """What a plan promises of a program: bytes of the arena, of code and constants, of the stacks, and in flash."""

    arena: int
    code: int
    threads: int
    stack: int = 0
    flash: int = 0
    workers: int = 0

    @staticmethod
    def read(plan: dict[str, Any]) -> Sizes:
        """Those of a NAME.plan.json."""
        keys = ("arena_bytes", "code_bytes", "thread_stack_bytes", "stack_bytes", "flash_bytes", "workers")
        return Sizes(*(int(plan.get(k, 0) if k == "flash_bytes" else plan[k]) for k in keys))


@dataclass(frozen=True)
class ElfFacts:
    """Sizes in bytes: ``loaded`` is the memory of all loaded segments, and of the largest of those of which one is
    chosen at the start; ``arena`` the symbol's; and the allocators linked.

    Without an operating system also ``ram``, from its start to the end of the last section there, and ``flash``,
    without samples.
    """

    loaded: int
    arena: int
    allocators: tuple[str, ...]
    ram: int = 0
    flash: int = 0


def refuse_elsewhere(target: Target) -> None:
    """Programs for this machine ask Linux for what they need.  Raises BnncError B0717, exit code 4, on others."""
    if target.emulator or target.bare or sys.platform == "linux":
        return
    raise error(
        "B0717",
        f"programs for target `{target.name}` run on Linux, and this is {platform.system() or sys.platform}",
        exit_code=4,
        help='`pip install "bnnc[arm]"` compiles for other targets here; for this one take a Linux container, or WSL',
    )


def find_compiler(target: Target, wanted: str = "") -> str:
    """The first compiler there is, with its options and those of BNNC_CFLAGS, as a shell would read it.

    Raises BnncError B0706, exit code 4.
    """
    names = (wanted,) if wanted else target.compilers
    more = shlex.split(knobs.read().cflags)
    for name in names:
        program, *options = shlex.split(name)
        if shutil.which(program):
            return shlex.join([program, *options, *more])
        if program == "zig" and importlib.util.find_spec("ziglang"):
            return shlex.join([sys.executable, "-m", "ziglang", *options, *more])
    raise error(
        "B0706",
        f"no C compiler for target `{target.name}`: looked for {', '.join(shlex.split(n)[0] for n in names)}",
        exit_code=4,
        help=f"{target.install}; or set BNNC_CC, options for the machine included",
    )


def foresee(target: Target, wanted: str = "") -> Compiler:
    """Whose code a plan foresees: the compiler that would be used, where it was measured with the options that it
    has.
    """
    try:
        cc = find_compiler(target, wanted)
    except BnncError:
        return Compiler(what="no compiler for it is here")
    kind, version, words = stack.kind(cc), stack.version(cc), shlex.split(cc)
    name = f"{kind or words[0]} {version or ''}".strip()
    if version not in measured(kind):
        return Compiler(what=f"{name} has not been measured", apart=apart(cc, target))
    if not target.emulator and not target.bare and not machine(cc).startswith("x86_64"):
        return Compiler(what=f"{machine(cc)} has not been measured", apart=apart(cc, target))
    zig = "ziglang" in words or Path(words[0]).name == "zig"
    known = [_code_options(shlex.split(c)[1:]) for c in target.compilers if c.startswith("zig") == zig]
    if _code_options(words[3 if "ziglang" in words else 1 :]) not in known:
        return Compiler(what=f"{name} has not been measured with these options", apart=apart(cc, target))
    return Compiler(kind, name, apart(cc, target))


def _code_options(words: list[str]) -> set[str]:
    """Of a compiler's options those that the size of code may depend on."""
    return {w for w in words if not w.startswith(("-g", "-D", "-I", "-W", "-std", "-fuse-ld"))}


def installed(target: Target) -> str:
    """The program that would compile for a target; empty: there is none."""
    try:
        words = shlex.split(find_compiler(target))
    except BnncError:
        return ""
    return "zig (ziglang)" if "ziglang" in words else words[0]


@cache
def machine(cc: str) -> str:
    """What a compiler with its options compiles for: `aarch64-linux-gnu`; empty where it does not say."""
    return subprocess.run(
        [*shlex.split(cc), "-dumpmachine"], capture_output=True, text=True, check=False
    ).stdout.strip()


def command(cc: str, target: Target, main: str, output: str, extra: tuple[str, ...] = ()) -> list[str]:
    """The compiler's command line; shown to users, and run."""
    words = shlex.split(cc)
    zig = "ziglang" in words or Path(words[0]).name == "zig"
    loops = WHOLE_LOOPS if stack.kind(cc) == "clang" else LOOPS_ALONE if machine(cc).startswith("x86_64") else ()
    mode: tuple[str, ...]
    if target.bare:
        flags = tuple(f for f in target.flags if not (zig and f == "-mno-unaligned-access"))
        mode = (*BARE, f"-Wl,-T,{Path(main).stem}.ld")
        libraries = ("-lcompiler_rt",) if zig else target.libraries
    else:
        flags, mode = target.flags, _mode(cc, target, zig)
        libraries = () if mode else HOSTED
    return [*words, *flags, *WARNINGS, *mode, *loops, *extra, main, "-o", output, *libraries]


def _mode(cc: str, target: Target, zig: bool) -> tuple[str, ...]:
    """Of a program for Linux without a C library; empty where it is an ordinary one."""
    if not (target.freestanding and "linux" in machine(cc)):
        return ()
    atomics = NO_LIBRARY if machine(cc).startswith("aarch64") else ()
    return FREESTANDING if zig else (*FREESTANDING, *GNU_LINKER, *atomics)


@cache
def apart(cc: str, target: Target) -> bool:
    """Whether kernels of instruction sets that are not chosen stay out of memory: gcc and GNU ld for x86-64 Linux.  Not
    with ``-g``: debuggers and profilers find names in loaded segments only."""
    if not target.apart or not re.match("x86_64.*linux", machine(cc)) or "-g" in shlex.split(cc):
        return False
    told = subprocess.run([*shlex.split(cc), "-Wl,--version"], capture_output=True, text=True, check=False).stdout
    return stack.kind(cc) == "gcc" and told.startswith("GNU ld")


def read_elf(path: Path) -> ElfFacts:
    """Facts about an executable or shared library."""
    with path.open("rb") as f:
        elf = ELFFile(f)
        segments = [(s["p_type"], _pages(s["p_vaddr"], s["p_memsz"])) for s in elf.iter_segments()]
        loaded = sum(n for kind, n in segments if kind == "PT_LOAD") + max(
            (n for kind, n in segments if kind == contract.SEGMENT), default=0
        )
        tables = [
            t for name in (".symtab", ".dynsym") if isinstance(t := elf.get_section_by_name(name), SymbolTableSection)
        ]
        symbols = [s for t in tables for s in t.iter_symbols()]
        size = {s.name: s["st_size"] for s in symbols}
        lies = [
            (s["sh_addr"], s["sh_size"], s["sh_type"])
            for s in elf.iter_sections()
            if s["sh_flags"] & SH_FLAGS.SHF_ALLOC
        ]
        start = next((s["st_value"] for s in symbols if s.name == "bnnc_ram_start"), None)
        ram = flash = 0
        if start is not None:
            ram = max(at + n for at, n, _ in lies) - start
            flash = (
                sum(n for _, n, kind in lies if kind != "SHT_NOBITS")
                - size.get("BNNC_SAMPLE", 0)
                - size.get("BNNC_LABEL", 0)
            )
        return ElfFacts(loaded, size.get(contract.ARENA, 0), tuple(sorted(set(size) & set(ALLOCATORS))), ram, flash)


def _pages(start: int, size: int, page: int = 4096) -> int:
    return round_up(start % page + size, page)


def verify_elf(path: Path, report: Report | Sizes, target: Target, calls: stack.Calls | None = None) -> ElfFacts:
    """Raises InternalError where the program is not what the plan said, OtherSizes where only this compiler's code, or
    the stacks it needs, are larger; without an operating system, where the bytes of RAM are others at all."""
    facts = read_elf(path)
    if facts.arena != report.arena:
        raise InternalError(f"the program's arena has {facts.arena} bytes, the plan says {report.arena}")
    if target.freestanding and facts.allocators:
        raise InternalError(f"the program links {', '.join(facts.allocators)}")
    other: dict[str, Any] = {}
    allowed = report.arena + report.code + report.threads
    first, each = stack.bounds(calls, target.bare) if calls else (0, 0)
    if first > report.stack:
        other["stack"] = first
    if each * report.workers > report.threads:
        other["threads"] = each * report.workers
    if target.bare and facts.ram != report.stack + report.arena + report.code:
        other["code"] = facts.ram - report.stack - report.arena
    if target.bare and facts.flash > report.flash:
        other["flash"] = facts.flash
    if target.freestanding and not target.bare and facts.loaded > allowed:
        other["code"] = report.code + facts.loaded - allowed
    if other:
        raise OtherSizes(
            f"the program has {facts}, its stacks need {first} and {each}; the plan says less than {other}", other
        )
    return facts


def run_compiler(argv: list[str], folder: Path) -> None:
    """Raises BnncError B0707 with the compiler's first complaints, exit code 4."""
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    if done.returncode:
        first = "\n".join(done.stderr.splitlines()[:12])
        raise error(
            "B0707",
            f"the C compiler failed: {' '.join(argv)}\n{first}",
            exit_code=4,
            help="if the source was not edited this is a bug in bnnc; BNNC_CC chooses another compiler",
        )


def prepare(folder: Path, source: Source, target: Target, compiler: str) -> None:
    """Everything in a folder that :func:`link` needs.  Raises BnncError B0707, B0715."""
    source.write(folder)
    if target.bare and f"{source.name}_samples.h" not in source.text:
        raise error(
            "B0715",
            f"a program for {target.name} holds its data, and there is none",
            exit_code=5,
            help=(
                "put the files that the spec's `data` names beside the spec; or give --emit-only, for a firmware of"
                " yours"
            ),
        )
    if stack.kind(compiler) == "clang":  # in two steps: what it tells about calls is the text between them
        text = str(Path(source.main).with_suffix(".ll"))
        run_compiler(command(compiler, target, source.main, text, (*QUIET, "-S", "-emit-llvm")), folder)


def link(folder: Path, source: Source, target: Target, compiler: str) -> Path:
    """The executable ``program`` in a folder, and beside it what the compiler tells of its stacks.  Raises BnncError
    B0707.
    """
    kind = stack.kind(compiler)
    tell = {"gcc": (stack.FLAG,), "clang": (stack.LLVM_FLAG, *QUIET)}.get(kind, ())
    if f"{source.name}.ld" in source.text and apart(compiler, target):
        tell = (*tell, "-DBNNC_APART", f"-Wl,-T,{source.name}.ld")
    main = str(Path(source.main).with_suffix(".ll")) if kind == "clang" else source.main
    run_compiler(command(compiler, target, main, "program", tell), folder)
    return folder / "program"


def build(source: Source, report: Report | Sizes, target: Target, out: Path, cc: str = "") -> Path:
    """Compile ``source`` to the executable ``out``; it appears whole or not at all.  Raises BnncError B0706, B0707,
    B0717.
    """
    refuse_elsewhere(target)
    compiler = find_compiler(target, cc)
    with tempfile.TemporaryDirectory(prefix="bnnc-") as tmp:
        folder = Path(tmp)
        prepare(folder, source, target, compiler)
        try:
            link(folder, source, target, compiler)
        except BnncError:
            if target.bare:  # what it would need, had it no bounds
                script = folder / f"{source.name}.ld"
                script.write_text(re.sub(r"(RAM .*LENGTH = )\d+", r"\g<1>512M", script.read_text()))
                link(folder, source, target, compiler)
                verify_elf(folder / "program", report, target, stack.read(folder / "program"))
            raise
        verify_elf(folder / "program", report, target, stack.read(folder / "program"))
        with whole(out) as part:
            shutil.copy2(folder / "program", part)
    return out
