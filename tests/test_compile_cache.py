"""The tests' cache of compilations never answers with what another text, compiler or option made."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import compile_cache
import pytest
from compile_cache import compiled


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a program of three files, and a compiler ``gcc`` that writes down when it is run."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "main.c").write_text('#include "a.h"\n#include <deep.h>\nint main(void) { return A + DEEP + MORE; }\n')
    (tmp_path / "a.h").write_text("#define A 1\n")
    (tmp_path / "sub" / "deep.h").write_text('#include "deeper.h"\n')
    (tmp_path / "sub" / "deeper.h").write_text("#define DEEP 10\n")
    monkeypatch.setenv(compile_cache.PLACE, str(tmp_path / "cache"))
    compiler(tmp_path, "")
    return tmp_path


def compiler(home: Path, comment: str) -> None:
    """``home/bin/gcc``; ``comment`` makes it another one."""
    real = compile_cache._real("gcc")
    if not real:
        pytest.skip("no gcc")
    (home / "bin").mkdir(exist_ok=True)
    asked = 'case "$*" in -print*) ;; *) echo run >> ' + str(home / "runs") + " ;; esac"
    (home / "bin" / "gcc").write_text(f'#!/bin/sh\n# {comment}\n{asked}\nexec {real} "$@"\n')
    (home / "bin" / "gcc").chmod(0o755)


def value(home: Path, *flags: str, argv: tuple[str, ...] = ("-Isub", "main.c", "-o", "out")) -> tuple[int, int]:
    """What the program returns, and how often the compiler has run so far."""
    (home / "out").unlink(missing_ok=True)
    done = compiled([str(home / "bin" / "gcc"), "-DMORE=0", *flags, *argv], home)
    assert done.returncode == 0, done.stderr
    runs = (home / "runs").read_text().count("run")
    return subprocess.run([home / "out"], check=False).returncode, runs


def test_the_same_command_is_compiled_once(home: Path) -> None:
    assert value(home) == (11, 1)
    assert value(home) == (11, 1)
    shutil.rmtree(home / "cache")
    assert value(home) == (11, 2)


def test_a_change_of_any_included_file_is_seen(home: Path) -> None:
    assert value(home) == (11, 1)
    (home / "main.c").write_text((home / "main.c").read_text() + "\n")
    assert value(home) == (11, 2)
    (home / "a.h").write_text("#define A 2\n")
    assert value(home) == (12, 3)
    (home / "sub" / "deeper.h").write_text("#define DEEP 20\n")
    assert value(home) == (22, 4)
    (home / "a.h").write_text("#define A 1\n")
    (home / "sub" / "deeper.h").write_text("#define DEEP 10\n")
    (home / "main.c").write_text((home / "main.c").read_text()[:-1])
    assert value(home) == (11, 4)  # as at first


def test_a_file_that_now_comes_first_is_seen(home: Path) -> None:
    assert value(home, "-Inearer") == (11, 1)
    (home / "nearer").mkdir()
    (home / "nearer" / "deep.h").write_text("#define DEEP 30\n")
    assert value(home, "-Inearer") == (31, 2)
    (home / "sub" / "a.h").write_text("#define A 5\n")  # not where main.c is
    assert value(home, "-Inearer") == (31, 2)


def test_other_options_and_compilers_are_others(home: Path) -> None:
    assert value(home) == (11, 1)
    assert value(home, "-UMORE", "-DMORE=1") == (12, 2)
    compiler(home, "another")
    assert value(home) == (11, 3)
    os.utime(home / "bin" / "gcc", ns=(0, 0))
    assert value(home) == (11, 4)


def test_the_environment_is_part_of_a_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "main.c").write_text("#include <deep.h>\nint main(void) { return DEEP; }\n")
    argv = ("main.c", "-o", "out")
    monkeypatch.setenv("CPATH", str(home / "sub"))
    assert value(home, argv=argv) == (10, 1)
    (home / "other").mkdir()
    (home / "other" / "deep.h").write_text("#define DEEP 40\n")
    monkeypatch.setenv("CPATH", str(home / "other"))
    assert value(home, argv=argv) == (40, 2)


def test_a_linker_script_is_read_too(home: Path) -> None:
    (home / "main.c").write_text("extern char base;\nint main(void) { return (int)(long)&base; }\n")
    for number, runs in ((1, 1), (2, 2), (2, 2), (1, 2)):
        (home / "net.ld").write_text(f"base = {number};\n")
        assert value(home, "-no-pie", "-Wl,net.ld") == (number, runs)


@pytest.mark.parametrize(
    "text", ['#define F "a.h"\n#include F\n', "const char *when = __DATE__;\n", '__asm__(".incbin \\"a.h\\"");\n']
)
def test_what_reads_more_than_is_seen_is_compiled_each_time(home: Path, text: str) -> None:
    (home / "main.c").write_text(text + "int main(void) { return 3; }\n")
    assert value(home) == (3, 1)
    assert value(home) == (3, 2)


MORE = ["-march=native", "-includea.h", "-I", "-Bsub", "-Lsub", "@more", "--sysroot=/", "-Wl,-Map,map", "-Wl,-Map=map"]


@pytest.mark.parametrize("flag", MORE)
def test_options_that_read_or_write_more_are_not_kept(home: Path, flag: str) -> None:
    (home / "more").write_text("-O1\n")
    before = value(home, *([flag, "sub"] if flag == "-I" else [flag]))
    assert value(home, *([flag, "sub"] if flag == "-I" else [flag])) == (before[0], 2)


def test_failure_is_not_kept_and_warnings_are(home: Path) -> None:
    argv = [str(home / "bin" / "gcc"), "-Wall", "main.c", "-o", "out"]
    (home / "main.c").write_text("int main(void) { int unused; return 0; }\n")
    first, again = compiled(argv, home), compiled(argv, home)
    assert first.returncode == again.returncode == 0
    assert "unused" in first.stderr == again.stderr
    (home / "main.c").write_text("int main(void) { return }\n")
    assert compiled(argv, home).returncode == compiled(argv, home).returncode == 1
    assert (home / "runs").read_text().count("run") == 3


def test_the_call_graph_comes_with_the_program(home: Path) -> None:
    for runs in (1, 1):
        for graph in home.glob("*.ci"):
            graph.unlink()
        assert value(home, compile_cache.CALLS) == (11, runs)
        assert "main" in (home / "out-main.ci").read_text()


def test_programs_that_call_a_compiler_by_name_are_served(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes of their own, two at once."""
    monkeypatch.setenv("PATH", os.pathsep.join([str(home / "bin"), os.environ["PATH"]]))
    monkeypatch.delenv(compile_cache.SHADOWS, raising=False)
    compile_cache.shadow(home / "shadows")
    assert shutil.which("gcc") == str(home / "shadows" / "gcc")
    argv = ["gcc", "-DMORE=0", "-Isub", "main.c", "-o"]
    both = [subprocess.Popen([*argv, f"{side}/out"], cwd=home) for side in ("sub", "bin")]
    assert [p.wait() for p in both] == [0, 0]
    assert (home / "runs").read_text().count("run") == 1
    assert [subprocess.run([home / side / "out"], check=False).returncode for side in ("sub", "bin")] == [11, 11]
    version = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout
    assert "Free Software Foundation" in version


def test_the_least_recently_used_goes_first(home: Path) -> None:
    value(home)
    value(home, "-DX")
    os.utime(next((home / "cache").glob("??/*")), (1, 1))
    old = next(p for p in (home / "cache").glob("??/*") if p.is_dir() and p.stat().st_mtime == 1)
    size = sum(f.stat().st_size for f in old.iterdir())
    compile_cache.bound(size + size // 2)
    kept = [p for p in (home / "cache").glob("??/*") if p.is_dir()]
    assert len(kept) == 1 and kept[0] != old
    compile_cache.bound(0)
    assert value(home) == (11, 3)


def test_without_a_cache_the_compiler_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compile_cache.PLACE, "")
    assert value(home) == (11, 1)
    assert value(home) == (11, 2)
    assert not (home / "cache").exists()


@pytest.mark.optimized
def test_programs_are_optimised_as_little_as_a_test_wants(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "main.c").write_text(
        "#ifdef __OPTIMIZE__\nint main(void) { return 1; }\n#else\nint main(void) { return 0; }\n#endif\n"
    )
    for wanted, value in (("-O2", 1), ("-O0", 0)):
        if wanted != "-O2":  # which the mark asks for
            monkeypatch.setenv(compile_cache.OPTIMIZE, wanted)
        subprocess.run(["gcc", "-O2", "main.c", "-o", "out"], cwd=home, check=True)
        assert subprocess.run([home / "out"], check=False).returncode == value
