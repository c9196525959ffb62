"""build: Source -> an executable, checked against the Plan.

Compiles with warnings as errors, then reads the ELF file: the arena has exactly the planned size, no allocator is linked,
and everything that is loaded fits in what the plan promised.  Sources may have been edited by hand in between.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from bnnc.diag import BnncError, InternalError, error
from bnnc.emit import Source
from bnnc.plan.report import Report

from .targets import Target, find_target

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wvla", "-Werror")
FREESTANDING = ("-DBNNC_FREESTANDING", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie",
                "-fno-asynchronous-unwind-tables")
GNU_LINKER = ("-Wl,--build-id=none", "-Wl,-z,noseparate-code")  # zig's linker knows neither, and adds no build-id
HOSTED = ("-lm", "-lpthread")
ALLOCATORS = ("malloc", "calloc", "realloc", "free", "mmap", "munmap", "brk", "sbrk", "aligned_alloc", "posix_memalign", "alloca")


class CodeTooLarge(InternalError):
    """The program is right, but this compiler made more code than the plan counts; ``code``: what it needs."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Sizes:
    """What a plan promises of a program: bytes of the arena, of code and constants, and of the threads' stacks."""

    arena: int
    code: int
    threads: int


@dataclass(frozen=True)
class ElfFacts:
    """Sizes in bytes: ``loaded`` is the memory of all loaded segments, ``arena`` the symbol's; and the allocators linked."""

    loaded: int
    arena: int
    allocators: tuple[str, ...]


def find_compiler(target: Target, wanted: str = "") -> str:
    """The first compiler there is, with its options, as a shell would read it.  Raises BnncError B0706, exit code 4."""
    names = (wanted,) if wanted else target.compilers
    for name in names:
        program, *options = shlex.split(name)
        if shutil.which(program):
            return name
        if program == "zig" and importlib.util.find_spec("ziglang"):
            return shlex.join([sys.executable, "-m", "ziglang", *options])
    raise error("B0706", f"no C compiler for target `{target.name}`: looked for {', '.join(shlex.split(n)[0] for n in names)}",
                exit_code=4, help=f"{target.install}; or set BNNC_CC, options for the machine included")


def installed(target: Target) -> str:
    """The program that would compile for a target; empty: there is none."""
    try:
        words = shlex.split(find_compiler(target))
    except BnncError:
        return ""
    return "zig (ziglang)" if "ziglang" in words else words[0]


def command(cc: str, target: Target, main: str, output: str, extra: tuple[str, ...] = ()) -> list[str]:
    """The compiler's command line; shown to users, and run."""
    words, mode = shlex.split(cc), FREESTANDING if target.freestanding and (target.emulator or platform.system() == "Linux") else ()
    linker = GNU_LINKER if mode and "ziglang" not in words and Path(words[0]).name != "zig" else ()
    return [*words, *target.flags, *WARNINGS, *mode, *linker, *extra, main, "-o", output, *(() if mode else HOSTED)]


def read_elf(path: Path) -> ElfFacts:
    """Facts about an executable or shared library."""
    with path.open("rb") as f:
        elf = ELFFile(f)
        loaded = sum(_pages(s["p_vaddr"], s["p_memsz"]) for s in elf.iter_segments() if s["p_type"] == "PT_LOAD")
        tables = [t for name in (".symtab", ".dynsym") if isinstance(t := elf.get_section_by_name(name), SymbolTableSection)]
        symbols = [s for t in tables for s in t.iter_symbols()]
        arena = next((s["st_size"] for s in symbols if s.name == "bnnc_arena"), 0)
        return ElfFacts(loaded, arena, tuple(sorted({s.name for s in symbols} & set(ALLOCATORS))))


def _pages(start: int, size: int, page: int = 4096) -> int:
    return -(-(start % page + size) // page) * page


def verify_elf(path: Path, report: Report | Sizes, target: Target) -> ElfFacts:
    """Raises InternalError where the program is not what the plan said, CodeTooLarge where only its code is larger."""
    facts = read_elf(path)
    if facts.arena != report.arena:
        raise InternalError(f"the program's arena has {facts.arena} bytes, the plan says {report.arena}")
    if target.freestanding and facts.allocators:
        raise InternalError(f"the program links {', '.join(facts.allocators)}")
    allowed = report.arena + report.code + report.threads
    if target.freestanding and facts.loaded > allowed:
        raise CodeTooLarge(f"the program loads {facts.loaded} bytes, the plan allows {allowed}",
                           report.code + facts.loaded - allowed)
    return facts


def run_compiler(argv: list[str], folder: Path) -> None:
    """Raises BnncError B0707 with the compiler's first complaints, exit code 4."""
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        first = "\n".join(done.stderr.splitlines()[:12])
        raise error("B0707", f"the C compiler failed: {' '.join(argv)}\n{first}", exit_code=4,
                    help="if the source was not edited this is a bug in bnnc; BNNC_CC chooses another compiler")


def build(source: Source, report: Report | Sizes, target: Target, out: Path, cc: str = "") -> Path:
    """Compile ``source`` to the executable ``out``; it appears whole or not at all."""
    compiler = find_compiler(target, cc)
    with tempfile.TemporaryDirectory(prefix="bnnc-") as tmp:
        folder = Path(tmp)
        source.write(folder)
        run_compiler(command(compiler, target, source.main, "program"), folder)
        verify_elf(folder / "program", report, target)
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(out.name + ".part")
        shutil.copy2(folder / "program", part)
        part.replace(out)
    return out


def read_source(folder: Path) -> tuple[Source, Sizes, Target]:
    """A Source that was written to a folder, with the sizes of its plan and its target.

    Raises BnncError B0708, exit code 2, where the folder holds no such source.
    """
    plans = sorted(folder.glob("*.plan.json"))
    if len(plans) != 1:
        raise error("B0708", f"{folder}: {'no' if not plans else 'more than one'} NAME.plan.json there", exit_code=2,
                    help="give the folder that `bnnc compile FILE --source DIR` wrote")
    name = plans[0].name.removesuffix(".plan.json")
    try:
        plan = json.loads(plans[0].read_text(encoding="utf-8"))
        sizes = Sizes(plan["arena_bytes"], plan["code_bytes"], plan["thread_stack_bytes"])
        target = find_target(plan["target"])
        paths = sorted(p for p in folder.rglob("*") if p.suffix in (".c", ".h"))
        files = tuple((p.relative_to(folder).as_posix(), p.read_text(encoding="utf-8")) for p in paths)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise error("B0708", f"{plans[0]}: not a plan that bnnc wrote ({e})", exit_code=2,
                    help="write the source again") from e
    return Source(name, f"{name}.c", files), sizes, target
