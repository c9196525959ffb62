"""Weight decay: steps of optimisers with ``decay`` against torch's with ``weight_decay``, from the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import Arrays, codes_of, plan
from torch_nets import NETS, SPEC, Case, torch

from bnnc.ir import interp

STEPS, RATE, DECAY = 3, 0.01, 0.3
RULE = "standard(clip = off)"
TORCH: dict[str, Callable[..., Any]] = {
    "adam(decay = 0.3)": torch.optim.Adam,
    "sgd(momentum = 0, decay = 0.3)": torch.optim.SGD,
    "sgd(decay = 0.3)": lambda p, **kw: torch.optim.SGD(p, momentum=0.9, **kw),
}


def spec(rule: str, optimizer: str) -> str:
    return SPEC.format(layers=NETS["choices"], rule=rule).replace("optimizer = sgd", f"optimizer = {optimizer}")


def gradients(case: Case, states: Arrays, inputs: Arrays) -> Arrays:
    """Those of a step from these weights: without a momentum so far SGD's is -lr times the gradient."""
    at_rest = {s.name: np.zeros_like(case.states[s.name]) for s in case.program.states if s.role == "moment"}
    known = {n: states.get(n, x) for n, x in case.states.items()}
    _, new = interp.step(case.program, {**known, **at_rest, **{n: inputs[n] for n in case.program.inputs}})
    return {n: new[f"{n}.u"] / np.float32(-RATE) for n in case.trained}


@pytest.mark.parametrize("optimizer", TORCH)
def test_steps_are_torchs(optimizer: str) -> None:
    """The weights of layers decay, of one bit and real ones; shifts, factors and biases do not."""
    case = Case("choices", RULE)
    program = plan(spec(RULE, optimizer)).trace.results["differentiate"].train
    states = {**interp.init_states(program, 1), **{n: case.states[n] for n in case.trained}}
    p = {n: torch.tensor(states[n].astype(np.float64)).requires_grad_() for n in case.trained}
    decaying, rest = ([x for n, x in p.items() if n.endswith(".weight") == yes] for yes in (True, False))
    theirs = TORCH[optimizer]([{"params": decaying, "weight_decay": DECAY}, {"params": rest}], lr=RATE)
    inputs = {n: case.values[n] for n in case.program.inputs} | {"lr": np.full((1, 1), RATE, np.float32)}
    for step in range(1, STEPS + 1):
        inputs["step"] = np.full((1, 1), step, np.float32)
        for n, g in gradients(case, states, inputs).items():
            p[n].grad = torch.tensor(g.astype(np.float64))
        theirs.step()
        _, states = interp.step(program, {**states, **{n: inputs[n] for n in program.inputs}})
        for n in case.trained:
            assert np.allclose(states[n], p[n].detach().numpy(), rtol=1e-4, atol=1e-5), (n, step)


def test_a_bit_of_gradient_has_no_one_size_with_a_decay() -> None:
    assert codes_of(spec("edge", "adam(decay = 1e-4)").replace(" quadratic", "")) == []
    assert codes_of(spec("edge", "adam(decay = 1e-4, v = elide)").replace(" quadratic", "")) == ["B0501"]
    assert codes_of(spec("edge", "bop(decay = 1e-4)").replace(" quadratic", "")) == ["B0205"]
