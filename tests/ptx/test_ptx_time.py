"""What a prediction counts, against what the emulator ran of the same kernel: PTX there, machine code here."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from checks import make_large
from click.testing import CliRunner
from helpers import batch_of, plan
from nets import LARGE_DENSE, TRITON_DENSE
from ptx_library import PtxLibrary, translated
from ptx_parse import Instruction, register

from bnnc.backends.triton import emit, predict, sass_values
from bnnc.backends.triton.compile import require_triton
from bnnc.backends.triton.paths import Paths
from bnnc.backends.triton.sass import disassembled, parse
from bnnc.cli import cli
from bnnc.ir import interp

# Machine instructions that a compiler neither leaves out nor adds, and what they are in PTX.
SAME = {"STG": "st.global", "STS": "st.shared", "BAR": "bar", "ATOMG": "atom", "IMMA": "mma", "STSM": "stmatrix"}
POLLS = 2  # bar.sync of a turn in which a program waits for others, and one store to shared memory


@cache
def library(net: str, arch: int) -> PtxLibrary:
    return PtxLibrary(plan(TRITON_DENSE[net]), arch)


def never(instructions: tuple[Instruction, ...]) -> frozenset[str]:
    """Predicates that are false wherever they are set: no compiler keeps a load under one."""
    false, other = set[str](), set[str]()
    for x in instructions:
        set_here = {register(name) for name in re.findall(r"%p\d+", x.args[0])} if x.args else set()
        (false if x.op == "mov.pred" and x.args[1] == "0" else other).update(set_here)
    return frozenset(false - other)


def emulated(lib: PtxLibrary, program: int) -> Counter[str]:
    """PTX instructions that a program ran, by kind; loads that nothing can let run are none."""
    ptx, out = translated(lib.texts["train_step"]), Counter[str]()
    dead = never(ptx.kernel.instructions)
    for at, n in lib.last.ctas[program].ran.items():
        for x in ptx.kernel.instructions[at : ptx.blocks[at].end]:
            if x.head == "ld" and x.guard in dead:
                continue
            space = x.op.split(".")[1] if x.head in ("ld", "st") else ""
            out[f"{x.head}.{space}" if space else x.head] += n
            out["polls"] += n * ("acquire" in x.op)
            out["all"] += n
    return out


def counted(paths: Paths, program: int) -> Counter[str]:
    """Machine instructions that a program should run, by kind."""
    out = Counter[str]()
    for counts in paths.run(program):
        for (_, b), n in counts.items():
            for x in paths.code.instructions[b : paths.blocks[b].end]:
                out["polls" if x.head == "LDG" and "STRONG" in x.parts else x.head] += n
                out["all"] += n
    return out


@pytest.mark.parametrize(
    ("net", "arch", "grid"),
    [("edge", 90, 1), ("edge", 90, 3), pytest.param("integer", 80, 1, marks=pytest.mark.slow)],
)
def test_instructions_are_the_emulated_ones(net: str, arch: int, grid: int) -> None:
    """A program runs as many stores, reads, barriers and tensor products as the emulator, to the one; in all between
    0.8 and 1.6 machine instructions a PTX one.
    """
    lib = library(net, arch)
    lib.grid = grid
    lib.set_states(interp.init_states(lib.train.program, 3))
    lib.persistent(lib.train, batch_of(lib.planned, 0))
    image = lib.images["train_step"]
    paths = Paths(parse(disassembled(require_triton(), image.cubin)), arch, grid, 32 * image.warps)
    last = 0  # programs that set the barrier's words back: one did, and it is not known which
    for program in range(grid):
        ran, made = emulated(lib, program), counted(paths, program)
        waited = ran["polls"] - made["polls"]
        assert made["polls"] == sum("ATOMG" in x.op for x in paths.code.instructions) - 1
        last += made["STG"] - ran["st.global"] == 0
        for sass, ptx in SAME.items():
            more = {"BAR": POLLS * waited, "STS": waited}.get(sass, 0)
            assert made[sass] - ran[ptx] + more in ((0, 2) if sass == "STG" else (0,)), (program, sass)
        assert made["LDG"] == ran["ld.global"] - ran["polls"]
        assert grid > 1 or 0.8 < made["all"] / ran["all"] < 1.6
    assert last == 1


@pytest.mark.parametrize("large", [False, True])
def test_every_launch_moves_bytes(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that compute a gradient once, lay operands out, or add up ranges."""
    monkeypatch.setattr(emit, "MOST_ONCE", 10)
    if large:
        make_large(monkeypatch)
    placed = plan(LARGE_DENSE["chunks"], target="triton").placed
    launched, _ = emit.entries(placed)
    moved = predict._moved(placed, launched)
    assert len(launched) > len(placed.train.kernels) and any(e.chunks for e in launched) == large
    assert [e.name for e in launched] == list(moved) and all(n > 0 for n in moved.values())


@pytest.mark.parametrize("table", [0xC0, 0xFC, 0x3C, 0x96, 0xEA, 0x33])
def test_logic_of_what_is_partly_known(table: int) -> None:
    """What is said to be known is what comes out of all numbers, and of known ones all is."""
    rng = np.random.default_rng(table)
    numbers = [int(n) for n in rng.integers(0, 1 << 32, 3)]
    whole = sass_values.lut3(table, *numbers)
    masks = [int(n) for n in rng.integers(0, 1 << 32, 3)]
    some = [sass_values.partly(n & mask, mask) for n, mask in zip(numbers, masks, strict=True)]
    found = sass_values.parts(sass_values.lut3(table, *some))
    assert isinstance(whole, int) and not (whole ^ found.bits) & found.mask
    assert found.mask & masks[0] & masks[1] & masks[2] == masks[0] & masks[1] & masks[2]


def test_predicates_that_are_kept_in_a_register() -> None:
    """Bits that depend on memory leave the others known."""
    kept = sass_values.merge(8, 0, None)
    assert sass_values.lut3(0xC0, kept, 8, 0) == kept == (0, 0xFFFFFFF7) and sass_values.lut3(0xC0, kept, 4, 0) == 0
    assert [sass_values.bit(kept, i) for i in (2, 3)] == [0, None]
    assert sass_values.NAMES["add"](kept, 1) is None and sass_values.pack(3, 1, None) == (1, 0xFFFFFFFD)


def test_none_for_a_cpu(tmp_path: Path) -> None:
    path = tmp_path / "net.bnn"
    path.write_text(TRITON_DENSE["edge"])
    refused = CliRunner().invoke(cli, ["plan", str(path), "--time"])
    assert refused.exit_code == 2 and "B0716" in refused.stderr


@pytest.mark.slow
def test_a_prediction(tmp_path: Path) -> None:
    """The command's figures belong together: parts and barriers are the kernel's, and each kernel has a row."""
    path = tmp_path / "net.bnn"
    path.write_text(TRITON_DENSE["edge"])
    done = CliRunner().invoke(cli, ["plan", str(path), "--target", "cuda:sm_90", "--time", "--json"])
    made = json.loads(done.stdout)["time"]
    kernels = [e.name for e in emit.entries(plan(TRITON_DENSE["edge"], target="triton").placed)[0]]
    assert [r["name"] for r in made["kernels"]] == kernels and made["gpu"] == "H200" and made["one_launch"]
    assert made["waits_us"] == pytest.approx(1.4 * (made["parts"] - 1), abs=0.5)  # and an arrival at the end
    longest = Counter[int]()
    for r in made["kernels"]:
        assert r["programs"] > 0 and r["instructions"] > 0 and r["nbytes"] > 0 and r["us"] > 0
        longest[r["part"]] = max(longest[r["part"]], r["us"])
    assert 0 < sum(longest.values()) <= made["us"] - made["waits_us"]
