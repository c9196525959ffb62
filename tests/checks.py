"""Checks that several test files make: kernels against the interpreter, on both backends; compiled kernels; bytes.

*Kernel-locked*: each kernel of the training and of the evaluation step gets the interpreter's values as its inputs, in
an arena that is otherwise poisoned; what it stores must be the interpreter's value to the last bit (a NaN equals a
NaN), and no byte outside of its outputs may change.

*Step-locked*: whole steps from the same states, no help in between; all states equal bit for bit after each of them.
That also holds free-running, because the order of every sum is part of the meaning: there is no drift to allow for.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers import Library, Side, assert_equal, assert_same, batch_of, element_bytes, interpreted, plan
from triton_helpers import TritonLibrary

import bnnc
from bnnc import cli
from bnnc.backends.triton import compile as aot
from bnnc.backends.triton import emit, skeleton, split, staged
from bnnc.ir import interp
from bnnc.ir.dtype import INTEGERS
from bnnc.plan.codec import encode

POISON = 0xEE
ALLOCATORS = {
    "malloc",
    "calloc",
    "realloc",
    "free",
    "mmap",
    "mmap64",
    "munmap",
    "brk",
    "sbrk",
    "aligned_alloc",
    "posix_memalign",
    "memalign",
    "alloca",
    "__libc_malloc",
    "_Znwm",
}


def check_kernel(lib: Library, side: Side, index: int, values: dict[str, np.ndarray], level: int, nt: int) -> None:
    """One kernel on the interpreter's values; raises AssertionError naming the kernel and the value."""
    k = side.packed.kernels[index - side.first]
    what = f"{side.program.name} {k.name} level {level} threads {nt}:"
    lib.arena[:] = POISON
    for n in lib.reads(side, k):
        if n not in side.packed.embedded:
            lib.write(side.place(n), values[side.value(n)])
    before = lib.arena.copy()
    lib.run(index, level, nt)
    for n in k.writes:
        b = lib.buffer[side.place(n)]
        want = values[side.value(n)]
        got, raw = lib.read(side.place(n)), np.frombuffer(lib.raw(side.place(n)), np.uint8)
        assert_equal(got, np.asarray(want, got.dtype), f"{what} {n}")
        if b.storage.one_bit:  # pad bits are 0
            mask = element_bytes(b.storage)
            np.testing.assert_array_equal(
                raw[mask], np.frombuffer(encode(b.storage, want), np.uint8)[mask], f"{what} padding of {n}"
            )
        before[b.offset : b.end] = raw
    changed = np.flatnonzero(before != lib.arena)
    assert changed.size == 0, f"{what} also writes byte {changed[:8]}"


def check_net(lib: Library, special: bool, threads: tuple[int, ...] = (1, 3)) -> int:
    """Kernel-locked at all levels, from states after two steps (so that moments are not zero); how many kernel runs."""
    states, count = interp.init_states(lib.train.program, 7), 0
    for t in range(2):
        _, states = interp.step(lib.train.program, {**states, **batch_of(lib.planned, t)})
    inputs = batch_of(lib.planned, 2, special)
    for side in (lib.train, lib.evaluate):
        values = interpreted(side, states, inputs)
        for i in range(len(side.packed.kernels)):
            for level in lib.levels:
                for nt in threads:
                    check_kernel(lib, side, side.first + i, values, level, nt)
                    count += 1
    return count


def check_steps(lib: Library, steps: int, special: bool = False) -> None:
    """Free-running from the initial states: states, loss and predictions equal after every step, then evaluation."""
    for level in lib.levels:
        states = interp.init_states(lib.train.program, 3)
        lib.arena[:] = POISON
        lib.set_states(states)
        for t in range(steps):
            inputs = batch_of(lib.planned, t, special and t == 1)
            values, states = interp.step(lib.train.program, {**states, **inputs})
            results = lib.step(lib.train, inputs, level, nt=1 + 2 * (t % 2))
            assert_same(lib.states(), states, f"level {level}, step {t}:")
            assert_same(
                results, {role: values[v] for role, v in lib.train.program.results}, f"level {level}, step {t}:"
            )
        inputs = batch_of(lib.planned, steps)
        values = interpreted(lib.evaluate, states, inputs)
        results = lib.step(lib.evaluate, inputs, level)
        assert_same(results, {role: values[v] for role, v in lib.evaluate.program.results}, "evaluation")
        assert_same(lib.states(), states, "evaluation changes no state:")


# -- Triton -----------------------------------------------------------------------------------------------------------


def make_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What large networks get comes at small sizes, too."""
    monkeypatch.setattr(skeleton, "LARGE", 1)
    monkeypatch.setattr(split, "TALL", 64)
    monkeypatch.setattr(split, "TURNS", 1)
    monkeypatch.setattr(staged, "ROOM", 1)
    monkeypatch.setattr(staged, "SHARE", 16)
    monkeypatch.setattr(emit, "PERSISTENT_TERMS", 0)


def check_large(lib: TritonLibrary) -> TritonLibrary:
    """Kernel-locked: what has no sum of floats is equal, to the bit; other floats are within 2**-18 of the largest (or
    their last bit, of f16), so a sign may differ where the sum is that near to zero.
    """
    values = interpreted(lib.train, interp.init_states(lib.train.program, 7), batch_of(lib.planned, 1))
    for i, k in enumerate(lib.train.packed.kernels):
        for n in k.reads:
            if n not in lib.train.packed.embedded:
                lib.write(lib.train.place(n), values[lib.train.value(n)])
        lib.run(i)
        whole = all(r.dtype in INTEGERS for r in k.anchor.results)
        for n in k.writes:
            got, want = lib.read(lib.train.place(n)), values[lib.train.value(n)]
            if whole:
                assert_equal(got, np.asarray(want, got.dtype), f"{k.name}: {n}")
            elif got.dtype.kind != "f":
                assert (got != want).mean() < 0.01, n
            else:
                off = np.abs(got.astype(np.float64) - want)
                near = (2.0**-9 if got.dtype == np.float16 else 2.0**-18) * np.abs(
                    want
                ).max() + 1e-8  # some sums cancel to nothing
                assert (off > near).mean() < 0.02, f"{n}: {off.max()} off, {(off > near).mean():.3f} of them"
    return lib


def compiled(
    text: str, archs: tuple[int, ...] = (80, 90), persistent: bool = False
) -> dict[tuple[str, int], aot.Image]:
    planned = plan(text)
    source = emit.module_text(planned.model, planned.placed, planned.report)
    return aot.compile_text(re.sub(r"^PERSISTENT = .*", f"PERSISTENT = {persistent}", source, flags=re.M), archs)[2]


def no_spills(text: str, persistent: bool = False) -> None:
    images = compiled(text, persistent=persistent)
    assert images and all(i.stack == i.scratch == 0 and i.shared <= aot.SHARED[i.arch] for i in images.values())


# -- bytes ------------------------------------------------------------------------------------------------------------


def listed_padding(lib: Library) -> np.ndarray:
    """Bytes that the plan lists as padding: covered by no buffer, or column padding in all that cover them."""
    used = np.zeros(lib.plan.arena_bytes, bool)
    for b in lib.plan.buffers:
        used[b.offset : b.end] |= element_bytes(b.storage)
    return ~used


def symbols(path: Path) -> dict[str, tuple[str, int]]:
    """name -> (type letter, size), as binutils' nm sees them."""
    if shutil.which("nm") is None:
        pytest.skip("needs nm (binutils)")
    text = subprocess.run(["nm", "-S", str(path)], capture_output=True, text=True, check=True).stdout
    out = {}
    for fields in map(str.split, text.splitlines()):
        out[fields[-1]] = (fields[-2], int(fields[1], 16) if len(fields) == 4 else 0)
    return out


# -- programs ---------------------------------------------------------------------------------------------------------


def command_line(*args: object, code: int = 0) -> str:
    """What a command of ``bnnc`` prints, in this process: a new one takes most of a second to import it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as e:
        cli.cli(args=[str(a) for a in args], prog_name="bnnc")
    assert (e.value.code or 0) == code, f"{args}: {e.value.code}\n{out.getvalue()}\n{err.getvalue()}"
    return out.getvalue()


def trained(net: bnnc.Network, folder: Path, data: Path) -> list[dict[str, float]]:
    """Train as a user does; one record an epoch."""
    program, log = net.compile(out=folder / "net"), folder / "log.jsonl"
    done = subprocess.run(
        [str(program.binary), "train", "--data", str(data), "--out", str(folder / "run"), "--log", str(log), "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [r for r in map(json.loads, log.read_text().splitlines()) if r["event"] == "epoch"]
