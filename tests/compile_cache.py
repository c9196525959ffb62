"""A cache of what C compilers made, for the tests: keyed by the text of every file that is read, the compiler and its
options.

``compiled(argv, cwd)`` runs a compiler as ``subprocess.run`` does, or hands back what the same command made before: the
output, gcc's call graph, and what was printed.  As a program (``compile_cache.py COMPILER ARGS...``) it stands in for a
compiler: :func:`shadow` makes a folder for the front of PATH, so that every ``bnnc compile`` of a test is served.
There BNNC_TEST_OPTIMIZE takes the place of ``-O2`` for programs of this machine: ``-Og`` compiles three times as fast,
to the same bits, and faster still without what only makes better code (LESS).  ``@pytest.mark.optimized`` is for tests
of what ``-O2`` makes of them: sizes, stacks, times.

Nothing is guessed.  Included files are found anew for each look-up, by C's rules; size and time of the toolchain's own
files stand for system headers and libraries; where a command or a text reads something else (``-march=native``,
``__DATE__``, an include that a macro names) or a command writes something else (a linker's map) the compiler runs.
Only success is kept.  The files appear whole (renamed), and who compiles what another process is compiling waits for
it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PLACE = "BNNC_TEST_CACHE"  # the environment variable that names the folder; empty: no cache
SHADOWS = "BNNC_TEST_SHADOWS"  # set by shadow()
OPTIMIZE = "BNNC_TEST_OPTIMIZE"
NATIVE = ("cc", "gcc", "clang")
NAMES = (*NATIVE, "aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc", "arm-none-eabi-gcc")
MOST_BYTES = 1 << 30  # the least recently used beyond that go, at the end of a run
ENVIRONMENT = ("CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX", "SOURCE_DATE_EPOCH")
LESS = (
    "-fno-guess-branch-probability",
    "-fno-forward-propagate",
    "-fno-reorder-blocks",
    "-fno-split-wide-types",
    "-fira-algorithm=priority",
    "-fira-region=one",
)
CALLS = "-fcallgraph-info=su"  # gcc writes *.ci beside its output
COMPILER = re.compile(r"(.*-)?(cc|gcc|clang)(-\d+)?")
UNKNOWN = re.compile(
    r"-(E|I|M\w*|[BL].*|i[a-z].*|save-temps.*|m(arch|cpu|tune)=native|fprofile.*|fplugin.*|-?specs.*|Wl,-+Map.*|-.*|)|@.*"
)
TEXTS = {".c", ".h", ".S", ".ll", ".ld"}
INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>|(\w+))', re.M)
ELSEWHERE = re.compile(rb"__DATE__|__TIME__|__TIMESTAMP__|__has_include|\.incbin|#[ \t]*embed|^[ \t]*INCLUDE\b", re.M)


class Unknown(Exception):
    """A command whose inputs are not all seen."""


def compiled(argv: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` of a compiler, with its output as text."""
    argv, cwd = [_real(argv[0]) or argv[0], *map(str, argv[1:])], cwd or Path.cwd()

    def run(more: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*argv, *more], cwd=cwd, capture_output=True, text=True, check=False)

    try:
        name, vectors = key(argv, cwd)
    except Unknown:
        return run()
    output = cwd / argv[argv.index("-o") + 1]
    with _locked(name) as kept:
        if not kept.exists():
            if not (done := run(_precompiled(argv) if vectors else ())).returncode:
                _keep(kept, output, done.stderr, CALLS in argv)
            return done
        for made in kept.iterdir():
            if made.name != "stderr":
                shutil.copy2(made, output if made.name == "output" else output.parent / made.name)
        os.utime(kept)
        return subprocess.CompletedProcess(argv, 0, "", (kept / "stderr").read_text())


@contextmanager
def _locked(name: str) -> Iterator[Path]:
    """The folder of a key, while no other process has it."""
    kept = Path(os.environ[PLACE]) / name[:2] / name
    lock = Path(os.environ[PLACE]) / "locks" / name[:2]
    for folder in (kept.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield kept


def _keep(kept: Path, output: Path, stderr: str, calls: bool) -> None:
    part = kept.with_name(f"{kept.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    part.mkdir()
    (part / "stderr").write_text(stderr)
    shutil.copy2(output, part / "output")
    for graph in output.parent.glob(f"{output.stem}*.ci") if calls else ():
        shutil.copy2(graph, part / graph.name)
    part.rename(kept)


def key(argv: list[str], cwd: Path) -> tuple[str, bool]:
    """Of everything that the output depends on; whether a file includes ``immintrin.h``.  Raises Unknown."""
    if not os.environ.get(PLACE) or not COMPILER.fullmatch(Path(argv[0]).name) or "-o" not in argv:
        raise Unknown
    if any(UNKNOWN.fullmatch(a) for a in argv[1:]):
        raise Unknown
    at = argv.index("-o") + 1
    options = [*argv[1:at], Path(argv[at]).name, *argv[at + 1 :]]
    where = str(cwd) if any(a.startswith("-g") for a in argv) else ""
    parts = [repr((options, where, [os.environ.get(e) for e in ENVIRONMENT])).encode(), *_toolchain(argv[0])]
    words = [w for a in argv[1 : at - 1] + argv[at + 1 :] for w in (a.rsplit(",", 1)[-1] if a[:4] == "-Wl," else a,)]
    folders = [cwd / a[2:] for a in argv if a.startswith("-I")]
    seen: dict[Path, bytes] = {}
    for word in words:
        if not word.startswith("-") and (cwd / word).is_file():
            _read(Path(os.path.normpath(cwd / word)), folders, seen)
    for path, text in sorted(seen.items()):
        name = path.relative_to(cwd) if path.is_relative_to(cwd) else path
        parts += [str(name).encode(), hashlib.sha256(text).digest()]
    vectors = any(b"#include <immintrin.h>" in text for text in seen.values())
    return hashlib.sha256(b"\0".join(parts)).hexdigest(), vectors


def _precompiled(argv: list[str]) -> list[str]:
    """Options that include ``immintrin.h``, 0.3 s of each compilation, in a form that is read at once.

    Not for ``-O2``, where all is as for users.  A compiler that cannot use the form takes the header itself.
    """
    flags = sorted(a for a in argv if re.match("-std|-O|-f|-m", a) and a != CALLS)
    if "-Og" not in flags or "-U__SSE2__" in argv or any(f.startswith("-fsanitize") for f in flags):
        return []
    known = hashlib.sha256(repr((flags, _toolchain(argv[0]))).encode()).hexdigest()[:16]
    header = Path(os.environ[PLACE]) / "headers" / known / "vectors.h"
    if not header.with_suffix(".h.gch").exists():
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text("#include <immintrin.h>\n")
        part = header.with_suffix(f".{os.getpid()}")
        subprocess.run([argv[0], *flags, "-x", "c-header", str(header), "-o", str(part)], check=True)
        part.replace(header.with_suffix(".h.gch"))
    return ["-include", str(header)]


def _read(path: Path, folders: list[Path], seen: dict[Path, bytes]) -> None:
    """A file and, of a text, all that it includes and that is no system header."""
    if path in seen:
        return
    text = seen[path] = path.read_bytes()
    if path.suffix not in TEXTS:
        return
    if ELSEWHERE.search(text):
        raise Unknown
    for quoted, angled, macro in INCLUDE.findall(text):
        if macro:
            raise Unknown
        name = os.fsdecode(quoted or angled)
        for folder in ([path.parent] if quoted else []) + folders:
            if (found := folder / name).is_file():
                _read(Path(os.path.normpath(found)), folders, seen)
                break


def _toolchain(program: str) -> list[bytes]:
    """Name, size and time of a compiler's own files, and of the C library's.  Which they are is asked once."""
    real = os.path.realpath(program)
    stat = os.stat(real)
    asked = hashlib.sha256(repr((real, stat.st_size, stat.st_mtime_ns)).encode()).hexdigest()[:16]
    listed = Path(os.environ[PLACE]) / "toolchains" / asked
    if not listed.exists():
        listed.parent.mkdir(parents=True, exist_ok=True)
        names = [f"-print-prog-name={n}" for n in ("cc1", "as", "ld", "collect2")]
        names += [f"-print-file-name={n}" for n in ("libgcc.a", "crtbegin.o", "crt1.o", "libc.a", "libc.so.6")]
        asks = [subprocess.run([real, n], capture_output=True, text=True, check=False) for n in names]
        if any(a.returncode for a in asks):
            raise Unknown
        told = [a.stdout.strip() for a in asks]
        files = [real, *(shutil.which(t) or t for t in told), "/usr/include/features.h", "/usr/include/string.h"]
        part = listed.with_name(f"{asked}.{os.getpid()}")
        part.write_text("\n".join(os.path.realpath(f) for f in files))
        part.replace(listed)
    parts = []
    for name in listed.read_text().splitlines():
        stat_ = os.stat(name) if os.path.exists(name) else None
        parts.append(repr((name, stat_ and (stat_.st_size, stat_.st_mtime_ns))).encode())
    return parts


def _real(name: str) -> str | None:
    """The program that a name stands for, whatever :func:`shadow` put before it."""
    shadows = os.environ.get(SHADOWS, "")
    path = os.pathsep.join(p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if p != shadows)
    return shutil.which(name, path=path)


def shadow(folder: Path) -> None:
    """Put programs with the names of the compilers that there are at the front of PATH; those serve from the cache."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.environ.get(SHADOWS) != str(folder):
        os.environ[SHADOWS] = str(folder)
        os.environ["PATH"] = os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)])
    for name in NAMES:
        if real := _real(name):
            me = shlex.join([sys.executable, "-I", "-S", __file__, real])
            part = folder / f"{name}.{os.getpid()}"
            part.write_text(f'#!/bin/sh\ncase " $* " in *" -o "*) exec {me} "$@" ;; esac\nexec {real} "$@"\n')
            part.chmod(0o755)
            part.replace(folder / name)


def bound(most: int = MOST_BYTES) -> None:
    """Remove what was used least recently until no more than ``most`` bytes are kept."""
    kept = [p for p in Path(os.environ[PLACE]).glob("??/*") if p.is_dir()]
    size = {p: sum(f.stat().st_size for f in p.iterdir()) for p in kept}
    total = sum(size.values())
    for p in sorted(kept, key=lambda p: p.stat().st_mtime):
        if total <= most:
            break
        total -= size[p]
        with _locked(p.name) as kept:
            shutil.rmtree(kept)


def instead(argv: Sequence[str], optimize: str) -> list[str]:
    """A command with other options in the place of ``-O2``; clang and zig do not know all of LESS."""
    gcc = "gcc" in Path(os.path.realpath(_real(argv[0]) or argv[0])).name
    less = LESS if gcc and optimize == "-Og" else ()
    return [x for a in argv for x in ((optimize, *less) if a == "-O2" else (a,))]


def main(argv: list[str]) -> int:
    if Path(argv[0]).name in NATIVE:
        argv = instead(argv, os.environ.get(OPTIMIZE, "-O2"))
    answer = compiled(argv)
    sys.stdout.write(answer.stdout)
    sys.stderr.write(answer.stderr)
    return answer.returncode if answer.returncode >= 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
