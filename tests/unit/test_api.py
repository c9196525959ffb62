"""The Python interface: networks, plans, programs, and the errors they raise."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest

import bnnc
from bnnc import budget
from bnnc.data import tensors

TEXT = """network toy { input u8[3, 4]; flatten; dense 20; batchnorm; sign; dense 3; batchnorm; loss; }
rule edge;
train { batch = 16; epochs = 3; optimizer = adam(lr = 1e-2); }
"""
pytestmark = pytest.mark.usefixtures("one_level", "plans_once")


def samples(n: int = 96, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that differ in which third of the sample is bright."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = rng.integers(0, 120, (n, 3, 4))
    x[np.arange(n), y] += 130
    return x.astype(np.uint8), y


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> bnnc.Program:
    monkeypatch.setenv("XDG_CACHE_HOME", str(helpers.CACHE))
    return bnnc.parse(TEXT).compile(threads=2, cache=True)


# -- networks and plans ----------------------------------------------------------------------------------------------


def test_load_is_parse_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "net.bnn").write_text(TEXT)
    assert bnnc.load(tmp_path / "net.bnn").model == bnnc.parse(TEXT).model
    with pytest.raises(bnnc.BnncError) as e:
        bnnc.load(tmp_path / "none.bnn")
    assert e.value.diagnostics[0].code == "B0902" and e.value.exit_code == 2


def test_mistakes_are_raised_all_at_once() -> None:
    with pytest.raises(bnnc.BnncError) as e:
        bnnc.parse("network toy { input u8[3]; dens 4; batchnorm l7; loss; }")
    assert [d.code for d in e.value.diagnostics] == ["B0202", "B0403"]
    assert "did you mean `dense`?" in str(e.value)


def test_variants_leave_the_original_alone() -> None:
    net = bnnc.parse(TEXT)
    other = net.with_(rule="standard", batch=8, seed=7)
    assert (net.model.rule.name, net.model.batch, net.model.seed) == ("edge", 16, 1)
    assert (other.model.rule.name, other.model.batch, other.model.seed) == ("standard", 8, 7)
    assert other.with_(batch=4).model.rule.name == "standard"
    with pytest.raises(dataclasses.FrozenInstanceError):
        net.text = ""  # type: ignore[misc]
    with pytest.raises(bnnc.BnncError, match="B0205"):
        net.with_(bach=3)


def test_plan_adds_up() -> None:
    net = bnnc.parse(TEXT)
    plan = net.plan(threads=2)
    data = plan.to_json()
    parts = ("arena_bytes", "code_bytes", "stack_bytes", "thread_stack_bytes", "system_bytes")
    assert sum(data[p] for p in parts) == data["total_bytes"] == plan.total_bytes
    assert {b.name for b in plan.buffers} == {b["name"] for b in data["buffers"]}
    assert max(b.end for b in plan.buffers) <= plan.arena_bytes
    assert net.plan(batch=8, threads=2).arena_bytes < plan.arena_bytes
    assert net.plan(threads=1).total_bytes < plan.total_bytes


def test_published_accounting_of_the_papers_network() -> None:
    example = Path(__file__).parents[2] / "examples/mnist_mlp/mnist_mlp.bnn"
    published = bnnc.load(example).plan().literature()
    assert published is not None
    assert (round(published["standard"], 3), round(published["proposed"], 3)) == (7.409, 2.664)
    assert published.allocated < 2.55


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("512KiB", 512 << 10),
        ("1.5M", 3 << 19),
        ("300kB", 300_000),
        (" 2 MiB ", 2 << 20),
        ("1g", 1 << 30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert budget.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1", "0", "5 apples", "1e3"])
def test_not_sizes(text: str) -> None:
    with pytest.raises(bnnc.BnncError, match="B0602"):
        budget.parse_size(text)


def test_ways_out_are_planned_and_true() -> None:
    net = bnnc.parse(TEXT.replace("[3, 4]", "[40, 40]").replace("dense 20", "dense 300").replace("edge", "standard"))
    options = net.options(threads=2)
    total = net.plan(threads=2).total_bytes
    with pytest.raises(bnnc.BnncError) as e:
        net.plan(threads=2, ram=total - 300_000)
    assert e.value.exit_code == 3
    (d,) = e.value.diagnostics
    assert d.code == "B0601" and "dense1.weight" in "".join(t for _, t in d.notes)
    ways = budget.ways_out(options, net.plan(threads=2).planned, total - 300_000)
    assert {"rule edge", "optimizer = sgd"} <= {w.change for w in ways}
    for way in ways:
        changes = dict(way.overrides)
        threads = changes.pop("threads", 2)
        assert net.with_(**changes).plan(threads=threads).total_bytes == way.total < total
    assert net.plan(threads=2, ram=total).total_bytes == total


def test_largest_batch_fits_and_one_more_does_not() -> None:
    net = bnnc.parse(TEXT.replace("[3, 4]", "[60, 60]").replace("batch = 16", "batch = 300"))
    ram = net.plan(batch=123).total_bytes
    n = budget.largest_batch(net.options(), net.model, ram)
    assert net.plan(batch=n).total_bytes <= ram < net.plan(batch=n + 1).total_bytes


def test_elision_is_a_way_out_only_where_it_saves() -> None:
    for rule, there in (("edge", True), ("standard", False)):
        net = bnnc.parse(TEXT.replace("edge", rule).replace("dense 20", "dense 900"))
        ways = budget.ways_out(net.options(), net.plan().planned, 1)
        assert any("v = elide" in w.change for w in ways) is there


def test_a_program_cannot_have_a_folders_name(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    with pytest.raises(bnnc.BnncError, match="B0903"):
        bnnc.parse(TEXT).compile(out=tmp_path / "toy")
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]


# -- programs --------------------------------------------------------------------------------------------------------


def test_fit_evaluate_and_weights(program: bnnc.Program) -> None:
    x, y = samples()
    seen: list[bnnc.Epoch] = []
    history = program.fit(x, y, x, y, epochs=8, callback=seen.append)
    assert history.epochs == tuple(seen) and [e.epoch for e in seen] == list(range(1, 9))
    assert history["loss"][-1] < history["loss"][0]
    assert history.best_test_acc is not None and history.best_test_acc > 0.9
    result = program.evaluate(x, y)
    assert float(result) == pytest.approx(history.epochs[-1].test_acc) and result.samples == len(x)
    weights = program.weights
    assert weights["dense1.weight"].shape == (12, 20) and weights["dense1.weight"].dtype == np.float16
    assert np.abs(weights["dense1.weight"]).max() <= 1
    assert program.fit(x, y, epochs=8).state == history.state, "the same seed gives the same bits"
    assert program.fit(x, y, epochs=8, seed=5).state != history.state


def test_set_weights_round_trip(program: bnnc.Program) -> None:
    x, y = samples()
    first = program.weights
    state = program.fit(x, y).state
    trained = program.weights
    after = program.evaluate(x, y)
    program.set_weights(first)
    assert program.evaluate(x, y) != after
    program.set_weights(trained)
    assert program.evaluate(x, y) == after
    program.set_weights(first)
    assert program.fit(x, y).state == state, "training from the exported start is training from the start"


def test_resume_goes_on(program: bnnc.Program) -> None:
    x, y = samples()
    program.fit(x, y, epochs=2)
    rest = program.fit(x, y, epochs=5, resume=True)
    assert [e.epoch for e in rest.epochs] == [3, 4, 5]
    assert rest.state == program.fit(x, y, epochs=5).state


class _Stop(Exception):
    pass


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that were started."""
    found, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: found.append(popen(*a, **k)) or found[-1])
    return found


@pytest.mark.parametrize(
    ("pace", "how"),
    [("fast epochs", "true"), ("fast epochs", "exception"), ("slow epochs", "true"), ("slow epochs", "interrupt")],
)
def test_a_callback_stops_at_the_epoch_it_saw(program: bnnc.Program, started: list[Any], pace: str, how: str) -> None:
    """Weights and checkpoint are those of that epoch, however far the trainer could have gone meanwhile; training goes
    on from there.
    """
    x, y = samples(96 if pace == "fast epochs" else 6_000)
    seen: list[bnnc.Epoch] = []

    def callback(e: bnnc.Epoch) -> bool | None:
        seen.append(e)
        time.sleep(0.1)  # a hundred fast epochs
        if e.epoch < 3:
            return None
        if how != "true":
            raise _Stop if how == "exception" else KeyboardInterrupt
        return True

    program.set_weights(first := program.weights)
    if how == "true":
        history = program.fit(x, y, epochs=400, callback=callback)
        assert history.epochs == tuple(seen) and history.state == seen[-1].state
    else:
        with pytest.raises(_Stop if how == "exception" else KeyboardInterrupt):
            program.fit(x, y, epochs=400, callback=callback)
    assert [e.epoch for e in seen] == [1, 2, 3] and started[-1].returncode is not None, "the trainer has ended"
    stopped, weights = program.evaluate(x, y), program.weights
    assert any((weights[n] != first[n]).any() for n in first)
    assert program.fit(x, y, epochs=5, resume=True, callback=seen.append).state == seen[-1].state and [
        e.epoch for e in seen[3:]
    ] == [4, 5]
    whole = program.fit(x, y, epochs=3)
    assert whole.state == seen[2].state and program.evaluate(x, y) == stopped
    assert all((program.weights[n] == weights[n]).all() for n in weights)
    assert program.fit(x, y, epochs=5).state == seen[-1].state


def test_an_interrupt_within_an_epoch_leaves_the_checkpoint_and_its_weights(program: bnnc.Program) -> None:
    x, y = samples(20_000)
    before = program.weights
    log = program._work / "log.jsonl"

    def tick(*_: Any) -> None:
        if log.exists() and '"epoch",' in log.read_text():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        with pytest.raises(KeyboardInterrupt):
            program.fit(x, y, epochs=100_000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    stopped, weights = program.evaluate(x, y), program.weights
    assert any((weights[n] != before[n]).any() for n in before)
    rest = program.fit(x, y, epochs=1, resume=True)  # further than that: nothing is left to train
    assert not rest.epochs and program.evaluate(x, y) == stopped


def test_a_trainer_that_dies_between_epochs_is_an_error(program: bnnc.Program, started: list[Any]) -> None:
    x, y = samples()
    with pytest.raises(bnnc.BnncError) as e:
        program.fit(x, y, epochs=50, callback=lambda _: started[-1].kill())
    assert e.value.diagnostics[0].code == "B0901" and e.value.exit_code == 128 + 9


BITS = TEXT.replace("u8[3, 4]", "u8[3, 4] sign(128)").replace("dense 20", "dense 45").replace("= 16", "= 12")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT, id="adam"),
        pytest.param(BITS.replace("adam(lr = 1e-2)", "bop"), id="bop"),
        pytest.param(
            BITS.replace("edge", "bep(group = 5)").replace("optimizer = adam(lr = 1e-2);", ""),
            id="bep",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_equal_weights_have_equal_hashes(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an epoch and of an evaluation, whatever the optimiser remembers; the state is the hash of that too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(helpers.CACHE))
    program, (x, y) = bnnc.parse(text).compile(threads=2, cache=True), samples()
    last = program.fit(x, y, epochs=2).epochs[-1]
    now = program.evaluate(x, y)
    assert now.weights_hash == last.weights_hash and len(now.weights_hash) == 16 and not hasattr(now, "state")
    weights = program.weights
    program.set_weights(weights)
    assert program.evaluate(x, y) == now
    name = next(n for n in weights if n.endswith("weight"))
    program.set_weights({**weights, name: -weights[name]})
    assert program.evaluate(x, y).weights_hash != now.weights_hash


def test_a_pickled_program_works_in_a_new_process(program: bnnc.Program, tmp_path: Path) -> None:
    """Where nothing of the old one is left: its executable, weights and checkpoint come along; so they do to a spawned
    process.
    """
    x, y = samples()
    program.set_weights(program.weights)
    program.fit(x, y, epochs=2)
    expected = program.evaluate(x, y)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(program.evaluate, x, y).result() == expected
    there = copy.deepcopy(program)
    there.fit(x, y, epochs=9)
    assert there.binary != program.binary and there.evaluate(x, y) != expected == program.evaluate(x, y)
    (tmp_path / "pickled").write_bytes(pickle.dumps((program, x, y)))
    gone, whole = Path(program.folder.name), program.fit(x, y, epochs=4)
    program.folder.cleanup()
    assert not gone.exists()
    code = (
        "import pickle, sys; p, x, y = pickle.load(open(sys.argv[1], 'rb')); e = p.evaluate(x, y);"
        "print(e.weights_hash, e.accuracy, p.fit(x, y, epochs=4, resume=True).state, p.plan.total_bytes, p.binary)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "pickled"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *facts, binary = done.stdout.split()
    assert facts == [expected.weights_hash, str(expected.accuracy), whole.state, str(program.plan.total_bytes)]
    assert not Path(binary).exists(), "its folder went with it"


def test_program_describes_itself(program: bnnc.Program) -> None:
    assert program.binary.exists() and "bnnc_arena" in program.source["toy.c"]
    assert f"arena {program.plan.arena_bytes} bytes" in program.run(["info"]).stdout
    with pytest.raises(bnnc.BnncError) as e:
        program.run(["train", "--train", "/nowhere/x.npy"])
    assert e.value.exit_code == 5 and e.value.diagnostics[0].code == "B0901"


def test_what_is_shown_is_short(program: bnnc.Program) -> None:
    net, (x, y) = bnnc.parse(TEXT), samples()
    history = program.fit(x, y, x, y, epochs=2)
    assert repr(net) == "Network(toy: u8[3, 4] -> 3 classes, 8 layers, rule edge, adam, batch 16)"
    assert repr(history).startswith("History(2 epochs, test ") and history.state in repr(history)
    assert all(len(repr(shown)) < 200 for shown in (net, net.plan(), program, history))
    page = net._repr_html_() + net.plan()._repr_html_() + history._repr_html_()
    assert page.count("<table>") == page.count("</table>") == 3 and "<td>dense1</td>" in page
    assert f"<td>{net.plan().total_bytes:,}</td>" in page and "holdout" not in page
    named = bnnc.parse(TEXT.replace("dense 3", "dense 3 name = last")).with_(batch=8)
    assert "<td>last</td>" in named._repr_html_()


def test_history_is_a_table(program: bnnc.Program) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas (extra `test`)")
    history = program.fit(*samples(), epochs=3)
    frame = history.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and list(frame.index) == [1, 2, 3] and "test_acc" not in frame
    assert list(frame["loss"]) == history["loss"] and frame["state"].iloc[-1] == history.state


def test_a_saved_program_is_loaded(program: bnnc.Program, tmp_path: Path) -> None:
    x, y = samples()
    state = program.fit(x, y, epochs=2).state
    program.save(tmp_path / "toy.bnnp")
    again = bnnc.Program.load(tmp_path / "toy.bnnp")
    assert again.evaluate(x, y) == program.evaluate(x, y) and (again.predict(x) == program.predict(x)).all()
    assert again.fit(x, y, epochs=2, resume=True).state == state
    with pytest.raises(OSError, match="nowhere"):
        program.save(tmp_path / "nowhere/toy.bnnp")
    assert [p.name for p in tmp_path.iterdir()] == ["toy.bnnp"]
    for raw in (b"", b"no pickle", pickle.dumps([1])):
        (tmp_path / "other").write_bytes(raw)
        with pytest.raises(bnnc.BnncError, match="not a program") as e:
            bnnc.Program.load(tmp_path / "other")
        assert e.value.diagnostics[0].code == "B0902"


def test_wrong_arrays(program: bnnc.Program) -> None:
    x, y = samples()
    for bad_x, bad_y, code in ((x[:, :2], y, "B0804"), (x - 0.5, y, "B0804"), (x, y + 1, "B0803"), (x, y[1:], "B0803")):
        with pytest.raises(bnnc.BnncError) as e:
            program.fit(bad_x, bad_y)
        assert e.value.diagnostics[0].code == code and e.value.exit_code == 5
    weights = program.weights
    with pytest.raises(bnnc.BnncError, match="B0806"):
        program.set_weights({**weights, "dense9.weight": np.zeros(3, np.float32)})
    with pytest.raises(bnnc.BnncError, match="B0806"):
        program.set_weights({**weights, "dense1.weight": np.zeros((5, 5), np.float32)})


# -- safetensors -----------------------------------------------------------------------------------------------------


def test_tensors_round_trip(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([1, -1], np.int8),
        "c": np.float16([[0.5]]),
        "none": np.zeros((0, 4), np.int64),
        "yes": np.array([True]),
    }
    tensors.write(tmp_path / "x.safetensors", arrays)
    back = tensors.read(tmp_path / "x.safetensors")
    assert list(back) == list(arrays)
    for name, x in arrays.items():
        assert back[name].dtype == x.dtype and np.array_equal(back[name], x)
    with pytest.raises(ValueError, match="complex"):
        tensors.write(tmp_path / "y", {"z": np.zeros(2, complex)})


def test_damaged_tensors(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors.write(path, {"a": np.arange(6, dtype=np.float32)})
    whole = path.read_bytes()
    for n in (0, 7, 20, len(whole) - 1):
        path.write_bytes(whole[:n])
        with pytest.raises(bnnc.BnncError, match="B0802"):
            tensors.read(path)
    with pytest.raises(bnnc.BnncError, match="B0801"):
        tensors.read(tmp_path / "none")


def test_a_compiler_whose_code_is_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan becomes what this compiler needs, cached or not; over the budget nothing is written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BNNC_CFLAGS", "-falign-functions=4096")
    net = bnnc.parse(TEXT)
    planned = net.plan()
    with pytest.raises(bnnc.BnncError) as e:
        net.compile(out=tmp_path / "net", ram=planned.total_bytes, cache=True)
    assert e.value.diagnostics[0].code == "B0601" and e.value.exit_code == 3 and not (tmp_path / "net").exists()
    first, second = (net.compile(cache=True).plan.total_bytes for _ in range(2))
    assert planned.total_bytes < first == second
    with pytest.raises(bnnc.BnncError):
        net.compile(out=tmp_path / "net", ram=planned.total_bytes, cache=True)
    assert not (tmp_path / "net").exists()
