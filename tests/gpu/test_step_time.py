"""What the benchmark against PyTorch measures of bnnc, without a GPU: what its trainers do, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gpu_step_time
import numpy as np
import pytest
from helpers import plan, spec

from bnnc.backends.triton import emit

STEPS = 7


class Recorded:
    """In the place of :class:`device.Gpu`: what is asked of it, and whether that is timed."""

    log: list[tuple[str, bool]] = []
    timed = False
    nbytes, extra = 1000, 24

    def __init__(self, module: dict[str, Any], persistent: bool | None = None) -> None:
        self.module = module
        self.persistent = module["PERSISTENT"] if persistent is None else persistent
        self.say(f"open {'one launch' if self.persistent else 'launches'}")

    def say(self, what: str) -> None:
        self.log.append((what, Recorded.timed))

    def write(self, at: int, raw: np.ndarray) -> None:
        self.say("copy")

    def keep(self, x: np.ndarray, labels: np.ndarray) -> None:
        self.say("keep")

    def step(self, side: str) -> None:
        self.say("step")

    def steps(self, order: np.ndarray, scalars: np.ndarray) -> None:
        assert order.shape == (STEPS, self.module["NET"]["batch"]) and len(scalars) == STEPS
        self.say("steps")


def measured(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[tuple[str, bool]]]:
    """The names of the rows of a small network, and what was done for them."""

    def timed(step: Callable[[], Any], steps: int, rounds: int = 5) -> float:
        Recorded.timed = True
        for _ in range(steps):
            step()
        Recorded.timed = False
        return 1.0 * steps

    Recorded.log = []
    monkeypatch.setattr(gpu_step_time, "Gpu", Recorded)
    monkeypatch.setattr(gpu_step_time, "timed", timed)
    rows = gpu_step_time.bnnc(plan(spec((20, 9, 5), batch=12), target="triton"), STEPS)
    return [r.name for r in rows], Recorded.log


def test_only_steps_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch lies where a step reads it before the clock runs, as the peers' does; and many steps a launch are
    measured as the trainer runs them.
    """
    names, log = measured(monkeypatch)
    assert names == ["bnnc, one launch", "bnnc, graph", f"bnnc, {STEPS} a launch"]
    assert [what for what, timed in log if timed] == 2 * STEPS * ["step"] + ["steps"]
    assert any(what == "copy" for what, _ in log) and ("keep", False) in log


def test_launches_that_the_plan_says_are_not_made_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emit, "PERSISTENT_TERMS", 1)
    names, log = measured(monkeypatch)
    assert names == ["bnnc, graph"] and ("open launches", False) in log and ("open one launch", False) not in log
