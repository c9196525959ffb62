"""Running programs for ARM targets under QEMU, on the oldest CPU that each target promises to run on.

Where a compiler or QEMU is missing the tests skip with a reason; with BNNC_REQUIRE_ARM=1 (continuous integration) they
fail.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bnnc import knobs
from bnnc.backends.c.build import find_compiler, installed
from bnnc.backends.c.targets import TARGETS, Target
from bnnc.driver import Planned, build_planned, report_of

ARM = [n for n, t in TARGETS.items() if t.emulator]


def need_compiler(target: Target) -> None:
    _need([] if installed(target) else [f"a compiler for {target.name}: {target.install}"])


def need_tools(*names: str) -> None:
    _need([name for name in names if not shutil.which(name)])


def _need(missing: list[str]) -> None:
    if missing:
        (pytest.fail if os.environ.get("BNNC_REQUIRE_ARM") == "1" else pytest.skip)(f"needs {'; '.join(missing)}")


def need(target: Target, compiler: bool = True, system: str = "") -> None:
    """Skip, or fail where that is asked for, unless programs for ``target`` can be made and run here, by ``system`` or
    the target's.
    """
    system = system or ("qemu-system-arm" if target.bare else "")
    emulator, package = (system, "qemu-system-arm") if system else (target.emulator[0], "qemu-user")
    missing = [] if shutil.which(emulator) else [f"{emulator} (sudo apt install {package})"]
    if compiler and not installed(target):
        missing.append(f"a compiler for {target.name}: {target.install}")
    _need(missing)


def by_zig(target: Target, out: Path, planned: Planned) -> Planned:
    """The program as zig makes it, and its plan, which was as large before the build."""
    only = replace(target, compilers=tuple(c for c in target.compilers if c.startswith("zig")))
    need_compiler(only)
    assert shlex.split(find_compiler(only))[1:4] == ["-m", "ziglang", "cc"]
    k, region = knobs.Knobs(), planned.report.region
    report = report_of(planned.model, planned.placed, only, planned.threads, region, k)
    assert report.compiler == "for clang 22"
    built = build_planned(replace(planned, target=only, report=report), out, k)[0]
    assert replace(built.report, code=0) == replace(report, code=0) and built.report.code <= report.code
    return built


def run(target: Target, *argv: Any, code: int = 0, cpu: str = "") -> subprocess.CompletedProcess[str]:
    """A program of a target under QEMU, on ``cpu`` or else the target's oldest."""
    emulator = [target.emulator[0], "-cpu", cpu or target.emulator[2]] if target.emulator else []
    done = subprocess.run([*emulator, *map(str, argv)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def state_of(done: subprocess.CompletedProcess[str]) -> str:
    """The hash of all trained bits that a program ends with."""
    return done.stdout.rsplit("state ", 1)[1].strip()
