"""The promises about memory, proved on generated code: its size, that every byte of it is needed, that dead bytes do
not matter, that the optional passes do not change a bit, and that the text depends on nothing but the spec.

Every byte is written.  Two arenas are filled with patterns that differ in every bit, then given the same initial states
and inputs (inputs at the moment the loader would write them) and run through one training and one evaluation step.  A
byte that no kernel writes, or that depends on memory nobody has written, differs between the two at the end; a byte
that is equal has been written.  Only bytes that no buffer covers (alignment) and the column padding of bits packed
along rows may differ.  That argument cannot see bytes that are initialised *before* the step, which are the states:
there it is shown that each element takes a new value in at least one of several steps, so a kernel stores it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checks import ALLOCATORS, listed_padding, symbols
from elftools.elf.elffile import ELFFile
from helpers import (
    LEVELS,
    Arrays,
    Library,
    assert_same,
    batch_of,
    cpu_levels,
    equal,
    plan,
    sequence_spec,
    spec,
    with_slow,
)
from nets import PROVED

import bnnc
from bnnc import driver
from bnnc.backends.c.build import apart, find_compiler, read_elf, verify_elf
from bnnc.diag import BnncError, InternalError
from bnnc.ir import interp
from bnnc.ir.ref import Ref
from bnnc.plan.contract import SEGMENT
from bnnc.registry import rule_of

pytestmark = pytest.mark.optimized


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[driver.Planned, Path]:
    planned = plan(PROVED["edge"])
    return planned, driver.build_source(driver.emit_source(planned), planned, tmp_path_factory.mktemp("built") / "net")


# -- the program -----------------------------------------------------------------------------------------------------


def test_the_arena_symbol_has_exactly_the_planned_size(built: tuple[driver.Planned, Path]) -> None:
    planned, path = built
    kind, size = symbols(path)["bnnc_arena"]
    assert size == planned.placed.plan.arena_bytes == planned.report.arena == read_elf(path).arena
    assert kind in "bB"  # zero bytes in the file


def test_no_allocator_is_linked(built: tuple[driver.Planned, Path]) -> None:
    _, path = built
    names = symbols(path)
    assert not ALLOCATORS & set(names)
    assert not [n for n, (kind, _) in names.items() if kind == "U"], "a symbol from outside"
    assert read_elf(path).allocators == ()


def test_all_that_is_loaded_is_in_the_plan(built: tuple[driver.Planned, Path]) -> None:
    planned, path = built
    facts = read_elf(path)
    assert planned.report.arena <= facts.loaded <= planned.report.total
    verify_elf(path, planned.report, planned.target)


def test_of_the_instruction_sets_only_the_chosen_one_is_in_memory(
    built: tuple[driver.Planned, Path], tmp_path: Path
) -> None:
    """Each trains to the same bits under a limit of the predicted bytes, although the file holds all of them; without
    /proc too.
    """
    planned, path = built
    cc = find_compiler(planned.target)
    if not apart(cc, planned.target):
        pytest.skip("needs gcc and GNU ld on x86-64")
    assert not apart(f"{cc} -g", planned.target), "then a profiler would find no names"
    with path.open("rb") as f:
        parts = [s["p_memsz"] for s in ELFFile(f).iter_segments() if s["p_type"] == SEGMENT]
    assert len(parts) == len(LEVELS) and sum(parts) - max(parts) > 0.5 * max(parts)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy2(path, alone / "net")
    total, told = planned.report.total, []

    def limit(root: Path | None = None) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (total, total))
        if root is not None:
            os.chroot(root)

    for isa in LEVELS[: cpu_levels()]:
        for root in (None, alone) if os.getuid() == 0 else (None,):
            argv = ["/net" if root else str(path), "bench", "--steps", "2", "--json", "--isa", isa]
            done = subprocess.run(
                argv, capture_output=True, text=True, check=False, env={}, preexec_fn=lambda root=root: limit(root)
            )
            assert done.returncode == 0, done.stderr
            told.append(json.loads(done.stdout))
            assert told[-1]["isa"] == isa
    assert len({t["state"] for t in told}) == 1


def test_the_build_refuses_a_program_that_is_not_the_plans(built: tuple[driver.Planned, Path]) -> None:
    planned, path = built
    other = replace(planned.placed, plan=replace(planned.placed.plan, arena_bytes=planned.placed.plan.arena_bytes + 64))
    with pytest.raises(InternalError, match="arena"):
        verify_elf(path, replace(planned.report, placed=other), planned.target)
    with pytest.raises(InternalError, match="the plan says less than"):
        verify_elf(path, replace(planned.report, code=0), planned.target)


def test_the_compiler_checks_the_arena_too(tmp_path: Path) -> None:
    planned = plan(spec((5, 2), batch=3))
    source = driver.emit_source(planned)
    size = planned.placed.plan.arena_bytes
    assert f"_Static_assert(sizeof bnnc_arena == {size}," in source.text[source.main]
    edited = source.text[source.main].replace(f"#define ARENA_BYTES {size}", f"#define ARENA_BYTES {size + 64}")
    files = tuple((n, edited if n == source.main else t) for n, t in source.files)
    with pytest.raises(BnncError, match="the arena is the plan's"):
        driver.build_source(replace(source, files=files), planned, tmp_path / "net")
    assert not list(tmp_path.iterdir())


# -- every byte ------------------------------------------------------------------------------------------------------


LATER = ("standard", "i8-state", "dfa", "drtp", "hsic", "sigprop", "sigprop-tl", "rnn-lengths")  # in the slow tier


def both_steps(lib: Library, fill: int, states: Arrays, inputs: Arrays, skip: int = -1) -> np.ndarray:
    """The arena after a training and an evaluation step that began with ``fill`` in every byte."""
    lib.arena[:] = fill
    lib.set_states(states)
    for side in (lib.train, lib.evaluate):
        lib.load(side, inputs)
        for i in lib.in_order(side):
            if i != skip:
                lib.run(i)
    return lib.arena.copy()


@pytest.mark.parametrize(
    ("net", "disable"),
    [
        *(pytest.param(n, (), marks=pytest.mark.slow if n in LATER else (), id=n) for n in PROVED),
        pytest.param("edge", ("fuse", "sink"), marks=pytest.mark.slow, id="edge-unfused"),
    ],
)
def test_every_byte_is_written_in_one_step(net: str, disable: tuple[str, ...]) -> None:
    lib = Library(plan(PROVED[net], disable=disable))
    states, inputs = interp.init_states(lib.train.program, 1), batch_of(lib.planned, 0)
    arenas = [both_steps(lib, fill, states, inputs) for fill in (0x00, 0xFF, 0x5A)]
    differ, padding = (arenas[0] != arenas[1]) | (arenas[0] != arenas[2]), listed_padding(lib)
    assert not (differ & ~padding).any(), f"bytes {np.flatnonzero(differ & ~padding)[:8]} are not written"
    assert padding.mean() < 0.05 or lib.plan.arena_bytes < 20_000


def test_a_byte_that_is_not_written_is_found() -> None:
    """The argument works: where a temporary has a byte of its own, leaving out the kernel that makes it is noticed."""
    lib = Library(plan(PROVED["edge"]))
    states, inputs = interp.init_states(lib.train.program, 1), batch_of(lib.planned, 0)
    covered = np.zeros(lib.plan.arena_bytes, int)
    for b in lib.plan.buffers:
        covered[b.offset : b.end] += 1
    alone = {b.ref: b for b in lib.plan.buffers if b.region == "temp" and (covered[b.offset : b.end] == 1).any()}
    index, name = next((i, n) for i, k in enumerate(lib.train.packed.kernels) for n in k.writes if n in alone)
    arenas = [both_steps(lib, fill, states, inputs, skip=index) for fill in (0x00, 0xFF)]
    missed = np.flatnonzero((arenas[0] != arenas[1]) & ~listed_padding(lib))
    assert set(missed) & set(range(alone[name].offset, alone[name].end))


@pytest.mark.parametrize("net", with_slow(PROVED, LATER))
def test_every_element_of_the_state_is_stored(net: str) -> None:
    lib = Library(plan(PROVED[net]))
    program = lib.train.program
    written = {lib.train.place(n) for k in lib.train.packed.kernels for n in k.writes}
    places = lib.train.packed.states
    # what an encoder fits is written before the first step, and read by each load
    loaded = {Ref(s.name) for s in program.states if s.role == "encoder"}
    frozen = {Ref(n) for n in rule_of(lib.planned.model.rule).freezes(lib.planned.model)}
    frozen |= {Ref(s.name) for s in program.states if s.role == "fixed"}
    assert places == written & places | loaded | frozen and not written & (loaded | frozen)
    assert [set(s.reads) for s in lib.plan.steps if s.kernel == "load"] == [loaded, loaded]
    stored = {
        s.name: np.zeros(program.value[s.name].shape, bool)
        for s in program.states
        if Ref(s.name) not in loaded | frozen
    }
    rng = np.random.default_rng(0)
    for seed in range(12):
        states = interp.init_states(program, seed)
        for s in program.states:
            if s.role in ("moment", "stat"):  # a shift is a whole number, and may stay as it is
                most = 0.02 if s.role == "moment" else 3
                states[s.name] = rng.uniform(0, most, states[s.name].shape).astype(states[s.name].dtype)
        inputs = {**batch_of(lib.planned, seed), "lr": np.full((1, 1), 0.05, np.float32)}
        lib.set_states(states)
        lib.step(lib.train, inputs)
        for name, x in lib.states().items():
            if Ref(name) in loaded | frozen:
                assert equal(x, states[name]).all()
            else:
                stored[name] |= ~equal(x, states[name])
    assert not (left := {n: int((~m).sum()) for n, m in stored.items() if not m.all()}), left


# -- poison, and passes that are switched off ------------------------------------------------------------------------


def three_steps(lib: Library) -> Arrays:
    """States after three steps of the program's own step function, with an evaluation in between."""
    lib.arena[:] = 0xEE
    lib.set_states(interp.init_states(lib.train.program, 5))
    for t in range(3):
        lib.load(lib.train, batch_of(lib.planned, t))
        lib.c.bnnc_test_step(0)
        lib.load(lib.evaluate, batch_of(lib.planned, 9))
        lib.c.bnnc_test_step(1)
    return lib.states()


def interpreted_steps(lib: Library) -> Arrays:
    states = interp.init_states(lib.train.program, 5)
    for t in range(3):
        _, states = interp.step(lib.train.program, {**states, **batch_of(lib.planned, t)})
    return states


@pytest.mark.parametrize("net", with_slow(PROVED, LATER))
def test_dead_bytes_do_not_matter(net: str) -> None:
    """BNNC_POISON=1 overwrites every temporary after its last use; states keep the interpreter's bits."""
    poisoned = Library(plan(PROVED[net]), poison=True)
    assert "0xA5" in poisoned.source.text[poisoned.source.main]
    assert_same(three_steps(poisoned), interpreted_steps(poisoned), "poisoned:")
    dead = [b for b in poisoned.plan.buffers if b.region == "temp" and b.first > poisoned.evaluate.first]
    last = max(dead, key=lambda b: b.last)
    assert set(poisoned.raw(last.ref)) == {0xA5}, "nothing was poisoned"


@pytest.mark.parametrize("off", ["simplify", "fuse", "sink", "place"])
@pytest.mark.parametrize("net", ["edge", pytest.param("standard", marks=pytest.mark.slow)])
def test_off_equals_on(net: str, off: str) -> None:
    lib = Library(plan(PROVED[net], disable=(off,)))
    reference = Library(plan(PROVED[net]))
    assert lib.source.text != reference.source.text
    assert_same(three_steps(lib), three_steps(reference), f"{off} off:")


# -- the same text ---------------------------------------------------------------------------------------------------

EMIT = """
import hashlib, sys
from bnnc import driver
planned = driver.plan_text(driver.Options(open(sys.argv[1]).read(), file=sys.argv[2]))
for path, text in driver.emit_source(planned).files:
    print(path, hashlib.sha256(text.encode()).hexdigest())
"""


def emitted(folder: Path, hash_seed: str, net: str, env: Iterable[tuple[str, str]] = ()) -> str:
    folder.mkdir()
    (folder / "net.bnn").write_text(net)
    done = subprocess.run(
        [sys.executable, "-c", EMIT, str(folder / "net.bnn"), "net.bnn"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, **dict(env)},
    )
    return done.stdout


@pytest.mark.parametrize("net", ["edge", "standard"])
def test_the_same_spec_gives_the_same_bytes(net: str, tmp_path: Path) -> None:
    """Two hash seeds, two directories, another locale and time zone."""
    a = emitted(tmp_path / "one", "1", PROVED[net])
    b = emitted(
        tmp_path / "another place", "12345", PROVED[net], [("TZ", "Asia/Tokyo"), ("LC_ALL", "C"), ("HOME", "/nowhere")]
    )
    assert a == b
    assert len(a.splitlines()) > 10


def test_nothing_of_this_machine_is_in_the_text() -> None:
    text = "\n".join(t for _, t in driver.emit_source(plan(PROVED["edge"])).files)
    assert str(Path.home()) not in text
    assert str(Path(__file__).parents[2]) not in text
    assert os.uname().nodename not in text or len(os.uname().nodename) < 6


# -- through time: the whole process -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoder", "threads"),
    [
        pytest.param("thermometer(3)", 1, marks=pytest.mark.slow),
        pytest.param("thermometer(3, lengths = on)", 1, marks=pytest.mark.slow),
        pytest.param("thermometer(3, lengths = on)", 4, marks=pytest.mark.slow),
    ],
)
def test_a_recurrent_trainer_needs_what_was_predicted(tmp_path: Path, encoder: str, threads: int) -> None:
    """It ends under a limit of the predicted bytes, has at its peak at most those, and at least those less 256 KiB."""
    text = sequence_spec(12, 6, 255, 135, 3, "dense 135; sign;", batch=20, rule="bep(reinforce = 0.1)", encoder=encoder)
    program = bnnc.parse(text).compile(threads=threads)
    total = program.plan.total_bytes
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (90, 12, 6)).astype(np.float32)
    if "lengths" in encoder:
        x[np.arange(12) >= rng.integers(1, 13, 90)[:, None]] = np.nan
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", (np.arange(90) % 3).astype(np.uint8))

    def limit() -> None:
        for what in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            resource.setrlimit(what, (total, total))

    argv = [
        program.binary,
        "train",
        "--train",
        "x.npy,y.npy",
        "--test",
        "x.npy,y.npy",
        "--epochs",
        2,
        "--threads",
        threads,
        "--log",
        "log",
    ]
    done = subprocess.run(
        [str(a) for a in argv],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.defpath},
        preexec_fn=limit,
    )
    assert done.returncode == 0, done.stderr
    end = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert end["memory_predicted"] == total
    if not end["memory_measured"]:
        pytest.skip("this system does not tell a process how much memory it has")
    assert end["memory_measured"] <= total <= end["memory_measured"] + 256 * 1024
