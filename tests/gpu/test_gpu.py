"""What only a GPU can show: `pytest -m gpu`.  Compiled kernels are the interpreter's bit for bit, whole steps do not
race, and both programs train MNIST to the very states of the C trainer.

Nothing here has a tolerance: the kernels add in the order that the IR states, on every backend.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import check_net, check_steps
from helpers import Library, assert_same, batch_of, plan
from nets import DENSE, SMALL_STRIPS, SPECIAL, TRITON_IMAGES, on
from triton_helpers import TritonLibrary

from bnnc import driver
from bnnc.backends.triton import emit
from bnnc.backends.triton.compile import load_module
from bnnc.backends.triton.device import Gpu
from bnnc.ir import interp

pytestmark = pytest.mark.gpu
EXAMPLE = Path(__file__).parents[2] / "examples/mnist_mlp"
RULES = {
    "edge": "rule edge;",
    "standard": "rule standard;",
    "bep": "rule bep(group = 4);",
}


class GpuLibrary(TritonLibrary):
    """The kernels compiled, on the GPU's memory; the arena that tests write and read is copied around each launch."""

    def __init__(self, planned: driver.Planned) -> None:
        super().__init__(planned)
        self.folder = tempfile.TemporaryDirectory(prefix="bnnc-test-")
        net = emit.net_record(planned.model, planned.placed, planned.report, planned.target)
        text = emit.module_text(planned.model, planned.placed, planned.report, net)
        self.names: dict[str, Any] = vars(load_module(text, Path(self.folder.name), interpret=False))
        self.gpu = Gpu(self.names)

    def launch(self, name: str, grid: int, *strip: int) -> None:
        self.gpu.write(0, self.memory)
        if name.endswith("_step"):
            self.gpu.one_launch(name.removesuffix("_step"))
        else:
            warps = next(k.warps for k in self.entries if k.name == name)
            self.gpu.launch(name, grid, warps, *strip)
        self.memory[:] = self.gpu.read(0, self.memory.size)


@pytest.mark.parametrize("net", [*DENSE, *TRITON_IMAGES])
def test_kernels(net: str) -> None:
    lib = GpuLibrary(plan((DENSE | TRITON_IMAGES)[net], target="triton"))
    assert check_net(lib, net in SPECIAL, threads=(1,)) > 10
    check_steps(lib, 3)


@pytest.mark.parametrize("net", SMALL_STRIPS)
def test_loops_over_strips(net: str) -> None:
    """A launch for each kernel and strip, and then whole steps in one launch."""
    lib = GpuLibrary(plan(on(SMALL_STRIPS[net]), target="triton"))
    check_steps(lib, 3)
    states, inputs = interp.init_states(lib.train.program, 3), batch_of(lib.planned, 0)
    lib.set_states(states)
    lib.persistent(lib.train, inputs)
    assert_same(lib.states(), interp.step(lib.train.program, {**states, **inputs})[1])


@pytest.mark.parametrize("net", ["edge-adam-keep", "standard-adam", "bep", "local", "edge-long-sums"])
def test_whole_steps_do_not_race(net: str) -> None:
    """200 steps of one launch each, with all the programs there are: the states of the C kernels."""
    gpu, c = GpuLibrary(plan(DENSE[net], target="triton")), Library(plan(DENSE[net]))
    states = interp.init_states(c.train.program, 5)
    c.set_states(states)
    gpu.set_states(states)
    for t in range(200):
        inputs = batch_of(c.planned, t)
        assert_same(gpu.persistent(gpu.train, inputs), c.step(c.train, inputs), f"step {t}:")
    assert_same(gpu.states(), c.states())


def mnist(rule: str, epochs: int) -> str:
    text = (EXAMPLE / "mnist_mlp.bnn").read_text(encoding="utf-8")
    text = re.sub(r"rule \w+;", RULES[rule], re.sub(r"epochs = \d+", f"epochs = {epochs}", text))
    if rule == "bep":  # no batch norm, widths that are multiples of the group, no rate
        text = text.replace("    batchnorm;\n", "").replace("  batchnorm;\n", "").replace("dense 256", "dense 252")
        text = text.replace("  optimizer = adam(lr = 3e-3);\n", "").replace("  schedule = cosine;\n", "")
    return text


def run(program: Path, *args: str) -> str:
    argv = [sys.executable, str(program)] if program.name.endswith("triton") else [str(program)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([*argv, *args], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("rule", RULES)
def test_both_programs_train_mnist_to_the_c_trainers_states(rule: str, tmp_path: Path) -> None:
    """Two epochs; then one from the C trainer's checkpoint.  The memory that was taken is the plan's."""
    programs = {}
    for target in ("host", "triton", "cuda"):
        planned = plan(mnist(rule, 2), target=target)
        programs[target] = tmp_path / f"mnist_{target}"
        driver.build_planned(planned, programs[target])
    ends = {}
    for target, program in programs.items():
        log = tmp_path / f"{target}.jsonl"
        run(program, "train", "--data", str(EXAMPLE), "--out", str(tmp_path / target), "--log", str(log), "--quiet")
        ends[target] = json.loads(log.read_text().splitlines()[-1])
    assert ends["host"]["state"] == ends["triton"]["state"] == ends["cuda"]["state"]
    assert ends["host"]["test_acc"] == ends["triton"]["test_acc"] == ends["cuda"]["test_acc"] > 0.85
    for target in ("triton", "cuda"):
        assert ends[target]["memory_measured"] == ends[target]["memory_predicted"]
        out = str(tmp_path / f"resumed_{target}")
        run(programs["host"], "train", "--data", str(EXAMPLE), "--out", out, "--steps", "600", "--quiet")
        log = tmp_path / f"resumed_{target}.jsonl"
        run(programs[target], "train", "--data", str(EXAMPLE), "--out", out, "--log", str(log), "--quiet")
        assert json.loads(log.read_text().splitlines()[-1])["state"] == ends["host"]["state"]


def test_the_allocator_gives_what_the_plan_says() -> None:
    """One allocation; torch hands out multiples of 512 bytes."""
    import torch  # noqa: PLC0415

    planned = plan(mnist("edge", 1), target="triton")
    gc.collect()  # what earlier tests left would be freed in between
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    lib = GpuLibrary(planned)
    lib.gpu.step("train")
    lib.gpu.step("eval")
    lib.gpu.wait()
    assert torch.cuda.max_memory_allocated() - before == -(-planned.report.total // 512) * 512
    assert lib.gpu.persistent and np.isfinite(lib.gpu.read(0, 64)).all()


def test_a_graph_of_launches_is_the_same_as_one_launch() -> None:
    planned = plan(mnist("edge", 1), target="triton")
    one, many = GpuLibrary(planned), GpuLibrary(planned)
    many.gpu.persistent = False
    states = interp.init_states(one.train.program, 1)
    for lib in (one, many):
        lib.set_states(states)
        lib.load(lib.train, batch_of(planned, 0))
        lib.gpu.write(0, lib.memory)
        for _ in range(20):
            lib.gpu.step("train")
        lib.gpu.wait()
        lib.memory[:] = lib.gpu.read(0, lib.memory.size)
    assert_same(one.states(), many.states())
