"""Programs that clang compiles, which is what `pip install bnnc[arm]` brings (zig): for the Raspberry Pis, and for this
machine.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import cross
import pytest
from helpers import cpu_levels, with_slow
from nets import BYTES, FLOAT, NUMBERS

import bnnc
from bnnc.backends.c import build, stack
from bnnc.backends.c.targets import PORTABLE, TARGETS

pytestmark = pytest.mark.arm
EXAMPLES = Path(__file__).parents[2] / "examples"
FAST = [
    "cnv_half:rpi",
    "digits_bep:rpi",
    "rnn_digits:rpi",
    "digits_local:rpi2",
    "resnete_cifar10:rpi-zero",
    "rnn_power:host",
    "mnist_mlp:native",
]
ALL = [
    f"{path.stem}:{target}"
    for path in sorted(EXAMPLES.glob("*/*.bnn"))
    for target in ("rpi", "rpi2", "rpi-zero", "host")
]


@pytest.mark.parametrize("which", with_slow(dict.fromkeys([*FAST, *ALL]), set(ALL) - set(FAST)))
def test_examples_compile_without_a_warning(tmp_path: Path, which: str) -> None:
    name, target = which.split(":")
    (path,) = EXAMPLES.glob(f"*/{name}.bnn")
    cross.by_zig(TARGETS[target], tmp_path / "net", bnnc.load(path).plan(target).planned)
    assert build.read_elf(tmp_path / "net").arena > 0


@pytest.mark.parametrize("spec", [FLOAT, BYTES, NUMBERS], ids=["mlp", "conv", "bytes"])
def test_this_machine_makes_the_bits_that_gcc_makes(tmp_path: Path, spec: str) -> None:
    cross.by_zig(TARGETS["host"], tmp_path / "clang", bnnc.parse(spec).plan("host").planned)
    bnnc.parse(spec).compile("host", tmp_path / "gcc")
    states = set()
    for program, level in product(("clang", "gcc"), PORTABLE[: cpu_levels()]):
        done = cross.run(
            TARGETS["host"], tmp_path / program, "selftest", "--steps", 2, "--threads", 2, "--isa", level.name
        )
        states |= set(re.findall(r"state (\w+)", done.stdout))
    assert len(states) == 1


def test_the_stacks_of_its_program_are_known(tmp_path: Path) -> None:
    (path,) = EXAMPLES.glob("*/cnv_half.bnn")
    planned = bnnc.load(path).plan("rpi").planned
    source = bnnc.driver.emit_source(planned)
    source.write(tmp_path)
    only = replace(TARGETS["rpi"], compilers=TARGETS["rpi"].compilers[1:2])
    cross.need_compiler(only)
    cc = build.find_compiler(only)
    assert stack.kind(cc) == "clang" and stack.kind(sys.executable) == ""
    build.run_compiler(build.command(cc, only, source.main, "net.ll", (*build.QUIET, "-S", "-emit-llvm")), tmp_path)
    build.run_compiler(build.command(cc, only, "net.ll", "program", (stack.LLVM_FLAG, *build.QUIET)), tmp_path)
    calls = stack.read(tmp_path / "program")
    assert calls is not None
    kernels = [n for f, n in calls.frame.items() if stack.KERNEL.fullmatch(f)]
    worker, main = calls.depth("bnnc_worker"), calls.depth("bnnc_start")
    assert len(kernels) > 50 and max(kernels) < worker < main < calls.main
    assert (
        worker <= planned.report.threads // planned.report.workers and calls.main <= planned.report.stack + stack.SIGNAL
    )
    assert (
        "memcpy" in calls.frame
        and stack.POINTER in calls.calls["bnnc_worker"]
        and "bnnc_main" in calls.calls["bnnc_start"]
    )
