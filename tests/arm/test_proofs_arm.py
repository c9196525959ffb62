"""The proofs about memory of ``tests/plan/test_proofs.py`` on the examples' programs for ARM, under QEMU on the oldest
CPU of each level: every byte of the arena is written in a step, every element of the state stored, dead bytes and what
was there before do not matter, no access is less aligned than its type, stacks stay within their bounds, and the bits
are the host's.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cross
import numpy as np
import pytest
from checks import ALLOCATORS, listed_padding, symbols
from helpers import Arrays, Library, assert_same, batch_of, equal, sides

import bnnc
from bnnc import driver, knobs
from bnnc.backends.c import build
from bnnc.backends.c.targets import TARGETS, Level
from bnnc.ir import interp

pytestmark = pytest.mark.arm
EXAMPLES = Path(__file__).parents[2] / "examples"
ALIGNED = ("-fsanitize=alignment", "-fsanitize-undefined-trap-on-error")
MLP, CNV = "mnist_mlp/mnist_mlp", "cnv_cifar10/cnv_cifar10"
NEON, DOTPROD = TARGETS["rpi"].levels
CASES = [
    *((MLP, 100, t, level) for t in cross.ARM for level in TARGETS[t].levels),
    (f"{MLP}_u8", 100, "rpi", DOTPROD),
    (CNV, 40, "rpi", NEON),
]
SLOW = [(CNV, 40, "rpi", DOTPROD), (CNV, 100, "rpi", NEON), (CNV, 100, "rpi", DOTPROD)]


class Guest:
    """The arena of a process under QEMU, as an array; and the process."""

    def __init__(self, argv: list[str], size: int) -> None:
        self.size, self.process = size, subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, what: str, a: int = 0, b: int = 0, send: bytes = b"", answer: int = 0) -> bytes:
        into, out = self.process.stdin, self.process.stdout
        assert into is not None and out is not None
        into.write(struct.pack("<3I", ord(what), a, b) + send)
        into.flush()
        got = out.read(answer)
        assert len(got) == answer, f"the program ended with {self.process.wait()}"
        return got

    def __setitem__(self, at: slice, x: Any) -> None:
        if isinstance(x, int):
            self.ask("f", x)
        else:
            self.ask("w", at.start, len(x), x.tobytes())

    def __getitem__(self, at: slice) -> np.ndarray:
        return np.frombuffer(self.ask("r", at.start, at.stop - at.start, answer=at.stop - at.start), np.uint8)

    def copy(self) -> np.ndarray:
        return self[0 : self.size]


class Remote(Library):
    """A network's kernels under QEMU, with two threads."""

    def __init__(
        self, planned: driver.Planned, level: Level, folder: Path, poison: bool = False, flags: tuple[str, ...] = ()
    ) -> None:
        self.planned, self.plan, target = planned, planned.placed.plan, planned.target
        self.source = driver.emit_source(planned, knobs.Knobs(poison=poison))
        self.source.write(folder)
        extra = (f'-DNET_FILE="{self.source.main}"', f"-I{folder}", *flags)
        server = str(Path(__file__).parent / "net_server.c")
        build.run_compiler(
            build.command(build.find_compiler(target), target, server, str(folder / "server"), extra), folder
        )
        self.path = folder / "server"
        self.train, self.evaluate = sides(planned)
        argv = [target.emulator[0], "-cpu", level.cpu or target.emulator[2], str(self.path)]
        self.guest = Guest(argv, self.plan.arena_bytes)
        self.arena = self.guest  # type: ignore[assignment]
        self.c = SimpleNamespace(bnnc_test_step=lambda side: self.guest.ask("s", side))  # type: ignore[assignment]

    def run(self, index: int, level: int = 0, nt: int = 1) -> None:
        self.guest.ask("k", index)

    def close(self) -> None:
        self.guest.process.stdin.close()  # type: ignore[union-attr]
        assert self.guest.process.wait() == 0


def states_of(lib: Library, seed: int) -> Arrays:
    """Initial states; moments are powers of two, so that a half changes where it becomes 0.9995 of itself, and for
    seeds 1 and 2 not the same ones, since one that is as large as its gradients stays."""
    program, rng = lib.train.program, np.random.default_rng(seed)
    states = interp.init_states(program, seed)
    for s in program.states:
        if s.role == "moment":
            states[s.name] = (2.0 ** -rng.integers(4 * seed - 3, 4 * seed, states[s.name].shape)).astype(
                states[s.name].dtype
            )
    return states


def both_steps(lib: Library, fill: int, seed: int) -> None:
    """A training and an evaluation step, by the program's own functions, in an arena that held ``fill``."""
    inputs = {**batch_of(lib.planned, seed), "lr": np.full((1, 1), 0.05, np.float32)}
    lib.arena[:] = fill
    lib.set_states(states_of(lib, seed))
    for i, side in enumerate((lib.train, lib.evaluate)):
        lib.load(side, inputs)
        lib.c.bnnc_test_step(i)


def name(case: tuple[str, int, str, Level]) -> str:
    return f"{case[0].rsplit('/')[-1]}-{case[1]}-{case[2]}-{case[3].name}"


@pytest.fixture(params=[pytest.param(c, id=name(c), marks=pytest.mark.slow if c in SLOW else ()) for c in CASES + SLOW])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Remote, Remote]]:
    """A network's programs under QEMU: as it is, and one that poisons dead bytes and ends at an access that is not
    aligned.
    """
    spec, batch, target, level = request.param
    cross.need(TARGETS[target])
    options = bnnc.load(EXAMPLES / f"{spec}.bnn").with_(batch=batch).options(target, threads=2)
    planned = driver.plan_text(options)
    pair = (
        Remote(planned, level, tmp_path / "plain"),
        Remote(planned, level, tmp_path / "poison", poison=True, flags=ALIGNED),
    )
    yield pair
    for lib in pair:
        lib.close()


def test_memory_is_what_was_promised(case: tuple[Remote, Remote]) -> None:
    plain, poisoned = case
    facts, names = build.read_elf(plain.path), symbols(plain.path)
    assert (
        names["bnnc_arena"][1] == plain.plan.arena_bytes == facts.arena
        and not ALLOCATORS & set(names)
        and not facts.allocators
    )
    arenas, stored = [], {n: np.zeros(v.shape, bool) for n, v in states_of(plain, 1).items()}
    for lib, fill, seed in ((plain, 0x00, 1), (plain, 0xFF, 1), (poisoned, 0x5A, 2)):
        both_steps(lib, fill, seed)
        before, after = states_of(lib, seed), lib.states()
        for n, x in after.items():
            stored[n] |= ~equal(x, before[n])
        arenas.append(lib.arena.copy() if lib is plain else after)
    differ = (arenas[0] != arenas[1]) & ~listed_padding(plain)
    assert not differ.any(), f"bytes {np.flatnonzero(differ)[:8]} are not written"
    assert not (left := {n: int((~m).sum()) for n, m in stored.items() if not m.all()}), left
    dead = max(
        (b for b in plain.plan.buffers if b.region == "temp" and b.first > plain.evaluate.first), key=lambda b: b.last
    )
    assert set(poisoned.raw(dead.ref)) == {0xA5}
    report = plain.planned.report
    first, other = struct.unpack("<2I", plain.guest.ask("d", answer=8))
    assert 256 < first <= report.stack and 256 < other <= report.threads
    net = bnnc.load(next(EXAMPLES.glob(f"*/{report.name}.bnn"))).with_(batch=report.batch)
    host = Library(driver.plan_text(net.options("host")), optimize="-O2")
    both_steps(host, 0x77, 2)
    assert_same(arenas[2], host.states(), "on the host:")
