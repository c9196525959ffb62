"""Integer rules from a Model to a trained program: the executable computes what the interpreter says, bit for bit.

The reference below is the training loop of the C runtime in Python: order of the samples, hold-out, the five scalars
that integer rules read, and the plateau schedule that raises ``stage``.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import (
    EVERY_LEVEL,
    LEVELS,
    at_level,
    compile_library,
    cpu_levels,
    sequence_spec,
    some_level,
    spec,
    with_slow,
)
from helpers import plan as text_plan

from bnnc import driver, knobs, registry, rng
from bnnc.backends.c.bodies import calls
from bnnc.backends.c.targets import find_target
from bnnc.data import Dataset, write_bnnd
from bnnc.diag import NOWHERE, BnncError
from bnnc.ir import interp
from bnnc.ir.program import Program
from bnnc.ir.text import parse_program, print_program
from bnnc.lower.differentiate import differentiate
from bnnc.lower.expand import expand
from bnnc.model import Call, Data, Layer, Model, TensorType

N_TRAIN, N_TEST, INPUTS, CLASSES, BATCH, EPOCHS = 103, 25, 37, 4, 10, 3


def integer_model(
    name: str,
    widths: tuple[int, ...] = (INPUTS, 21, 15),
    classes: int = CLASSES,
    batch: int = BATCH,
    rule: str = "bep",
    plateau: int = 0,
    holdout: float = 0.0,
    **args: object,
) -> Model:
    """A network of bits by hand: dense and sign layers, then a dense layer of the classes."""
    t = TensorType("bit", (widths[0],))
    layers = [Layer("input", "input1", Call("input", (("tensor", t), ("encoder", Call("scale")))), t, t)]
    for i, n in enumerate((*widths[1:], classes), 1):
        z = TensorType("real", (n,))
        layers.append(Layer("dense", f"dense{i}", Call("dense", (("units", n),)), t, z))
        t = z
        if i < len(widths):
            t = TensorType("bit", (n,))
            layers.append(Layer("sign", f"sign{i}", Call("sign", (("surrogate", "ste"),)), z, t))
    loss = Call("loss", (("kind", "softmax_cross_entropy"),))
    layers.append(Layer("loss", "loss1", loss, t, TensorType("real", (1,))))
    rule_args = {**{p.name: p.default for p in registry.rules[rule].params}, **args}
    adam = {p.name: p.default for p in registry.optimizers["adam"].params}
    schedule = Call("plateau", (("patience", plateau), ("factor", 0.5))) if plateau else Call("constant")
    return Model(
        name,
        tuple(layers),
        Call(rule, tuple(rule_args.items())),
        Call("adam", tuple(adam.items())),
        schedule,
        batch,
        EPOCHS,
        1,
        holdout,
        Data(),
    )


MODELS = {
    "bep16": integer_model("bep16"),
    "stage": integer_model("stage", plateau=1, holdout=0.2, schedule=True, group=(3,), tie="keep"),
    "bep5": integer_model("bep5", bits=5, std=12, nu=0.5),
    "local8": integer_model("local8", rule="local", bits=8, group=(1,)),
}


def samples(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy copies of one random pattern a class, as bools."""
    proto = np.random.default_rng(0).random((CLASSES, INPUTS)) < 0.5
    r = np.random.default_rng(seed)
    y = r.integers(0, CLASSES, n).astype(np.uint8)
    return proto[y] ^ (r.random((n, INPUTS)) < 0.3), y


X, Y = samples(N_TRAIN + N_TEST, 1)
ONE_LEVEL = ("bep16", "stage")  # whose instruction sets the slow tier compares


@dataclass
class Programs:
    """Executables, each built once a session; those of ``ONE_LEVEL`` for one instruction set."""

    folder: Path
    built: dict[str, Path] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Path:
        if name not in self.built:
            planned = plan(MODELS[name])
            one = name in ONE_LEVEL and not EVERY_LEVEL
            driver.build_planned(at_level(planned, some_level(planned)) if one else planned, self.folder / name)
            self.built[name] = self.folder / name
        return self.built[name]


def plan(model: Model) -> driver.Planned:
    return driver.plan_model(model, driver.Options("", threads=4), find_target("host"), knobs.Knobs())


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("integer")
    write_bnnd(folder / "data.bnnd", Dataset(X, Y, classes=CLASSES, n_test=N_TEST))
    return Programs(folder)


def run(programs: Programs, name: str, verb: str, *args: object, code: int = 0) -> str:
    data = () if verb in ("bench", "info") else ("--train", programs.folder / "data.bnnd")
    r = subprocess.run(
        [programs[name], verb, *map(str, (*data, *args))], capture_output=True, text=True, timeout=60, check=False
    )
    assert r.returncode == code, r.stdout + r.stderr
    return r.stdout + r.stderr


def state(text: str) -> str:
    found = re.search(r"^state ([0-9a-f]{16})$", text, re.M)
    assert found, text
    return found[1]


def tensors(path: Path) -> dict[str, np.ndarray]:
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    kinds = {"I8": "i1", "I16": "<i2"}
    return {
        name: np.frombuffer(
            raw[8 + n + t["data_offsets"][0] : 8 + n + t["data_offsets"][1]], kinds[t["dtype"]]
        ).reshape(t["shape"])
        for name, t in json.loads(raw[8 : 8 + n]).items()
        if name != "__metadata__"
    }


def write_tensors(path: Path, content: dict[str, np.ndarray]) -> None:
    kinds = {"int8": "I8", "int16": "I16", "int32": "I32", "float32": "F32"}
    header, data = {}, b""
    for name, a in content.items():
        ends = [len(data), len(data) + a.nbytes]
        header[name] = {"dtype": kinds[a.dtype.name], "shape": a.shape, "data_offsets": ends}
        data += a.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


States = dict[str, np.ndarray]


def reference(model: Model, epochs: int = EPOCHS, seed: int = 1) -> tuple[States, list[dict[str, Any]]]:
    """The states after training, and what the log says of each epoch."""
    module = differentiate(expand(model))
    fit, held = rng.holdout(seed, N_TRAIN, model.holdout) if model.holdout else (np.arange(N_TRAIN), np.arange(0))
    bits = np.where(X, 1, -1).astype(np.int8)
    states = interp.init_states(module.train, seed)
    scalars = {"seed": seed, "errors": 1, "samples": 1, "stage": 0, "tick": 0}
    best, bad, log = -1.0, 0, []
    results = dict(module.train.results)
    for epoch in range(epochs):
        hits = seen = 0
        counts = dict.fromkeys((r for r, _ in module.train.counters), 0)
        for first in range(0, len(fit) // BATCH * BATCH, BATCH):
            scalars["tick"] += 1
            index = fit[rng.order(seed, epoch, len(fit), np.arange(first, first + BATCH))]
            env = {
                **states,
                "x": bits[index],
                "labels": Y[index][:, None],
                **{k: np.array([[v]], np.int32) for k, v in scalars.items()},
            }
            values, states = interp.step(module.train, env)
            hits += int((values[results["pred"]][:, 0] == Y[index]).sum())
            seen += BATCH
            for role in counts:
                counts[role] += int(values[results[role]].sum())
        log.append({"train_acc": hits / seen, "stage": scalars["stage"], "flips": {}, "trigger_rate": {}})
        for role, count in counts.items():
            log[-1][role.name][role.layer] = count / seen if role.share else count
        if len(held):
            log[-1]["holdout_acc"] = accuracy(module.evaluate, states, held)
        now = log[-1].get("holdout_acc", hits / seen)
        best, bad = (now, 0) if now > best else (best, bad + 1)
        if model.schedule.name == "plateau" and bad >= model.schedule["patience"]:
            scalars["stage"], bad = scalars["stage"] + 1, 0
        scalars["errors"], scalars["samples"] = seen - hits, seen
    return states, log


def accuracy(program: Program, states: States, index: np.ndarray) -> float:
    pred = dict(program.results)["pred"]
    full = np.resize(index, -(-len(index) // BATCH) * BATCH)
    hits = []
    for part in full.reshape(-1, BATCH):
        env = {**states, "x": np.where(X[part], 1, -1).astype(np.int8), "labels": Y[part][:, None]}
        hits += (interp.run(program, env)[pred][:, 0] == Y[part]).tolist()
    return sum(hits[: len(index)]) / len(index)


# -- training ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", MODELS)
def test_the_program_computes_what_the_interpreter_says(programs, tmp_path, name):
    epochs = 8 if name == "stage" else EPOCHS
    log = tmp_path / "log"
    text = run(programs, name, "train", "--epochs", epochs, "--out", tmp_path / "a", "--log", log)
    run(programs, name, "eval", "--last", "--out", tmp_path / "a", "--export", tmp_path / "w")
    want, want_log = reference(MODELS[name], epochs)
    got = tensors(tmp_path / "w")
    assert set(got) == set(want)
    for key, x in want.items():
        assert got[key].dtype == x.dtype and (got[key] == x).all(), key
    events = [e for e in map(json.loads, log.read_text().splitlines()) if e["event"] == "epoch"]
    limit = 2 ** (MODELS[name].rule["bits"] - 1)
    for event, figures in zip(events, want_log, strict=True):
        assert event["train_acc"] == pytest.approx(figures["train_acc"], rel=1e-5)
        assert event["loss"] == pytest.approx(1 - figures["train_acc"], abs=1e-6) and "lr" not in event
        if name == "stage":
            assert event["holdout_acc"] == pytest.approx(figures["holdout_acc"], rel=1e-5)
            assert event["stage"] == figures["stage"]
        rate = event["trigger_rate"] if name == "local8" else {"": event["trigger_rate"]}
        assert rate == pytest.approx(figures["trigger_rate"], rel=1e-5) and event["flips"] == figures["flips"]
        assert max(rate.values()) > 0 and max(event["flips"].values()) > 0
    share = {k.removesuffix(".weight"): ((x <= -limit) | (x >= limit - 1)).mean() for k, x in want.items()}
    assert events[-1]["saturation"] == pytest.approx(share, rel=1e-5)
    assert re.search(r"^epoch  1/\d  error 0\.\d{4}  train ", text, re.M) and "  lr " not in text
    shown = re.search(r"  flips (\d+)  trigger_rate (\S+) %  saturation (\S+) %  ", text)
    assert shown and int(shown[1]) == sum(events[0]["flips"].values())
    assert float(shown[2]) == pytest.approx(100 * np.mean(list(want_log[0]["trigger_rate"].values())), abs=0.006)
    if name == "stage":
        assert want_log[-1]["stage"] >= 2 and "  stage 2  " in text
    if name == "bep5":
        assert max(share.values()) > 0


@pytest.mark.parametrize("name", MODELS)
def test_resume_gives_the_same_bits(programs, tmp_path, name):
    """The states, and the figures of each epoch, whether it was interrupted or not."""
    logs = tmp_path / "a", tmp_path / "b"
    whole = state(run(programs, name, "train", "--epochs", 8, "--out", tmp_path / "whole", "--log", logs[0]))
    for stop in (1, 9, 10, 11, 27, 55):
        run(programs, name, "train", "--epochs", 8, "--out", tmp_path / "parts", "--log", logs[1], "--steps", stop)
    text = run(programs, name, "train", "--epochs", 8, "--out", tmp_path / "parts", "--log", logs[1])
    assert "resumed epoch" in text and state(text) == whole
    events = [[e for e in map(json.loads, f.read_text().splitlines()) if e["event"] == "epoch"] for f in logs]
    for key in ("epoch", "loss", "train_acc", "flips", "trigger_rate", "saturation", "state"):
        assert [e[key] for e in events[0]] == [e[key] for e in events[1]], key
    assert len(events[0]) == 8


@pytest.mark.parametrize("name", with_slow(MODELS, ONE_LEVEL))
def test_threads_and_instruction_sets_give_the_same_bits(programs, tmp_path, name):
    found = {}
    for isa in LEVELS[: cpu_levels()]:
        for threads in (1, 2, 3, 4):
            flags = ("--isa", isa, "--threads", threads)
            bench = json.loads(run(programs, name, "bench", "--json", "--steps", 200, *flags))["state"]
            text = run(programs, name, "train", "--out", tmp_path / f"{isa}{threads}", *flags)
            found[isa, threads] = state(text), bench
    assert len(set(found.values())) == 1, found


def test_the_seed_decides_the_first_weights(programs, tmp_path):
    for name, seed in (("bep16", 1), ("bep16", 77), ("bep5", 1), ("local8", 5)):
        run(
            programs,
            name,
            "train",
            "--steps",
            0,
            "--seed",
            seed,
            "--out",
            tmp_path / f"{name}{seed}",
            "--export",
            tmp_path / "w",
        )
        want = interp.init_states(expand(MODELS[name]).train, seed)
        for key, x in tensors(tmp_path / "w").items():
            assert (x == want[key]).all() and x.dtype == want[key].dtype
    assert {int(x.min()) for x in interp.init_states(expand(MODELS["bep5"]).train, 1).values()} == {-16}


def test_memory_stays_within_the_prediction(programs, tmp_path):
    text = run(programs, "bep16", "train", "--threads", 4, "--out", tmp_path / "run")
    predicted, measured = map(int, re.findall(r"memory: predicted (\d+) bytes, measured peak (\d+)", text)[0])
    assert 0 < measured <= predicted


# -- weights in and out ------------------------------------------------------------------------------------------------
def test_weights_go_out_and_in(programs, tmp_path):
    for name in ("bep16", "bep5"):
        first = state(run(programs, name, "train", "--out", tmp_path / name, "--export", tmp_path / "w"))
        eval_ = ("--cache", tmp_path, "--init")
        text = run(programs, name, "eval", *eval_, tmp_path / "w", "--export", tmp_path / "again")
        assert state(text) == first and (tmp_path / "w").read_bytes() == (tmp_path / "again").read_bytes()
        assert re.match(r"test \S+ %  error ", text)
        for kind in (np.int16, np.int32, np.float32):
            write_tensors(tmp_path / "v", {k: x.astype(kind) for k, x in tensors(tmp_path / "w").items()})
            assert state(run(programs, name, "eval", *eval_, tmp_path / "v")) == first


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (16, np.int8),
        (-17, np.int16),
        (2**31 - 1, np.int32),
        (0.5, np.float32),
        (np.nan, np.float32),
        (-1e30, np.float32),
    ],
)
def test_a_weight_that_does_not_fit_is_refused(programs, tmp_path, value, kind):
    weights = {k: np.zeros(v.shape, kind) for k, v in interp.init_states(expand(MODELS["bep5"]).train, 1).items()}
    weights["dense1.weight"][-1, -1] = value
    write_tensors(tmp_path / "w", weights)
    text = run(programs, "bep5", "eval", "--cache", tmp_path, "--init", tmp_path / "w", code=5)
    assert "dense1.weight holds" in text and "expected whole numbers from -16 to 15" in text


# -- command line and spec ---------------------------------------------------------------------------------------------
def test_there_is_no_learning_rate(programs, tmp_path):
    assert "no learning rate" in run(programs, "bep16", "train", "--lr", "0.1", "--out", tmp_path, code=2)
    text = run(programs, "bep16", "info")
    assert re.search(r"dense1\.weight +i16 +21 x 37 +1554 bytes", text)


def test_the_group_schedule_needs_a_plateau():
    text = spec((INPUTS, 21, CLASSES), kind="bit", rule="bep(schedule = on)")
    with pytest.raises(BnncError) as e:
        driver.check_text(driver.Options(text))
    assert [d.code for d in e.value.diagnostics] == ["B0501"] and "schedule = plateau" in str(e.value)
    assert driver.check_text(driver.Options(text.replace("train {", "train { schedule = plateau;"))).holdout == 0.1


@pytest.mark.parametrize("name", MODELS)
def test_states_survive_the_text_form(name):
    for program in differentiate(expand(MODELS[name])):
        back = parse_program(print_program(program))
        assert all(s.limit for s in back.states) and set(back.values) == set(program.values)
        assert (back.states, back.ops, back.constants, back.updates) == (
            program.states,
            tuple(replace(op, span=NOWHERE) for op in program.ops),
            program.constants,
            program.updates,
        )


# -- no floating point -------------------------------------------------------------------------------------------------
ARITHMETIC = re.compile(  # anything that computes with, compares or converts floats
    r"v?(add|sub|mul|div|sqrt|rsqrt14|rsqrt|rcp14|rcp|max|min|cmp\w*|u?comi|round|rndscale|dp|hadd|hsub|addsub|scalef|"
    r"fn?m(add|sub|addsub|subadd)\d+|getexp|getmant|fixupimm|range|reduce)(ss|sd|ps|pd)$|v?cvt\w+|"
    r"f(ld|st|ild|ist|add|sub|mul|div|sqrt|com|ucom|chs|abs|prem|scale|xch)\w*$"
)
MOVES = (
    "movaps",
    "vmovups",
    "vxorps",
    "vandps",
    "vandnps",
    "vorps",
    "vbroadcastss",
    "vshufps",
    "vunpcklps",
    "vblendvps",
    "vmovmskps",
    "vpermps",
    "vinsertf128",
    "vextractf128",
)


OPTIONS = {
    "bep": "bep(nu = 0.1)",
    "bep-keep": "bep(tie = keep, classifier = random, bits = 8)",
    "bep-bare": "bep(reinforce = 0, group = 1)",
    "bep-schedule": "bep(schedule = on, bits = 4)",
    "local": "local",
    "local-bare": "local(reinforce = 0, bits = 5, r = 0)",
}


def float_arithmetic(program: Path, bodies: set[str], levels: Iterable[str] = LEVELS) -> list[str]:
    """Instructions that compute with floats: in the kernels at these levels, what runs them, and what they call.

    Moves, shuffles and bitwise logic have names with `ps` in them, and compute nothing with floats: they are allowed.
    ``bodies``: the kernels' functions; raises AssertionError where the file has not all of them at each of these.
    """
    if not shutil.which("objdump"):
        pytest.skip("no objdump")
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", program], capture_output=True, text=True, check=True
    ).stdout
    if "x86-64" not in text:
        pytest.skip("the names of the instructions are those of x86-64")
    functions = {m[1]: m[2] for m in re.finditer(r"^[0-9a-f]+ <(\S+)>:\n((?:.+\n)*)", text, re.M)}
    kernels = {f"{body}_{level}" for body in bodies for level in levels}
    wanted = [f for f in functions if f.split(".")[0] in kernels]  # gcc may split one: `.part.0`
    assert {f.split(".")[0] for f in wanted} == kernels
    wanted += [f for f in functions if re.match(r"net_(train|eval)_step|bnnc_run\b", f)]  # unless they were inlined
    found = []
    for f in wanted:
        for line in functions[f].splitlines():
            mnemonic = line.split("\t")[1].split()[0] if "\t" in line else ""
            if ARITHMETIC.match(mnemonic):
                found.append(f"{f}: {line}")
        called = re.findall(r"\t(?:call|jmp)q?\s+[0-9a-f]+ <([^>+]+)>", functions[f])
        wanted += [c for c in dict.fromkeys(called) if c in functions and c not in wanted]
    return found


@pytest.mark.parametrize("name", with_slow(OPTIONS, ("bep-keep", "bep-bare", "local-bare")))
def test_a_training_step_has_no_floating_point(name):
    """Every kernel, of both rules with all their options; the levels take turns, in the slow tier each has all."""
    text = spec((INPUTS, 21, 15, CLASSES), kind="bit", rule=OPTIONS[name], batch=BATCH)
    without_floating_point(text.replace("train {", "train { schedule = plateau;") if "schedule" in text else text)


def test_a_recurrent_step_has_no_floating_point() -> None:
    without_floating_point(
        sequence_spec(5, 9, 21, 33, 3, "dense 15; sign;", horizon=3, encoder="thermometer(2, lengths = on)")
    )


def without_floating_point(text: str) -> None:
    planned = text_plan(text)
    if not EVERY_LEVEL:  # compiling does not need a CPU that has it
        planned = at_level(planned, zlib.crc32(text.encode()) % len(LEVELS))
    for program in planned.trace.results["simplify"]:
        assert all(program.value[v].dtype != "f32" for op in program.ops for v in (op.output, *op.inputs))
    library = compile_library(driver.emit_source(planned), planned.target, "-O2")
    bodies, levels = {x.body.name for x in calls(planned.placed)}, [x.name for x in planned.target.levels]
    assert float_arithmetic(library, bodies, levels) == []


def test_floating_point_is_found_where_it_is():
    """The check can fail: it finds the arithmetic of a rule that has some, at every level."""
    planned = text_plan(spec((INPUTS, 21, CLASSES), kind="bit", batch=BATCH))
    library = compile_library(driver.emit_source(planned), planned.target, "-O2")
    found = float_arithmetic(library, {x.body.name for x in calls(planned.placed)})
    assert all(any(re.match(rf"\w+_{level}\b", line) for line in found) for level in LEVELS)


def test_the_pattern_knows_arithmetic_from_moves():
    for word in (
        "addss",
        "vmulps",
        "vfmadd231ps",
        "vdivsd",
        "vcvtdq2ps",
        "cvttss2si",
        "ucomiss",
        "vcmpltps",
        "vmaxps",
        "sqrtsd",
        "fildl",
        "fadd",
        "vsubpd",
    ):
        assert ARITHMETIC.match(word), word
    for word in (*MOVES, "vpaddd", "paddd", "vpmaxsd", "vpminsd", "vpcmpgtd", "vpsubd", "addl", "vpmulld", "fxsave"):
        assert not ARITHMETIC.match(word), word
