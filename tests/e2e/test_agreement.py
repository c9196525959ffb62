"""The integer rules, interpreter and C: all weights agree bit for bit after every one of 200 steps, for random specs.

Widths 1 to 130, 1 to 5 hidden layers, hidden weights of 4 to 16 bits, batches of 1 to 128, one to four threads, every
option of both rules, and recurrent networks of 1 to 20 steps.
C is built for one of this CPU's instruction sets.  The scalars that the trainer sets (errors of the
last epoch, level of the group schedule) move as they may in a long training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from helpers import Arrays, Library, assert_same, cpu_levels, plan, sequence_spec, spec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bnnc import rng
from bnnc.ir import interp

STEPS = 200
WIDEST = 130


@dataclass(frozen=True)
class Case:
    """A spec, and how its C runs."""

    text: str
    level: int
    threads: int
    flip: float
    seed: int


@st.composite
def cases(draw: st.DrawFn, widest: int, most: int, deepest: int) -> Case:
    """``widest``: largest width, ``most``: largest batch, ``deepest``: most hidden layers."""
    group = draw(st.integers(1, widest))
    hidden = draw(st.lists(st.integers(1, widest // group), min_size=1, max_size=deepest))
    bits = draw(st.integers(4, 16))
    args = {
        "bits": bits,
        "group": draw(st.sampled_from((0, group))),
        "std": draw(st.integers(0, 2 ** (bits - 2))),
        "r": draw(st.sampled_from((0, 0.1, 0.25, 0.5, 1))),
        "reinforce": draw(st.sampled_from((0, 0.01, 0.5, 1))),
    }
    rule, train = draw(st.sampled_from(("bep", "local"))), ""
    if rule == "bep":
        args |= {
            "nu": draw(st.sampled_from((0, 0.02, 0.25, 1))),
            "tie": draw(st.sampled_from(("plus", "keep"))),
            "classifier": draw(st.sampled_from(("bef", "random"))),
            "schedule": draw(st.sampled_from(("on", "off"))),
        }
        train = "schedule = plateau; " if args["schedule"] == "on" else ""
    widths = [
        draw(st.integers(1, widest)),
        *(group * n for n in hidden),
        draw(st.integers(1 if rule == "local" else 2, 12)),
    ]
    text = spec(
        widths, "bit", f"{rule}({', '.join(f'{k} = {v}' for k, v in args.items())})", batch=draw(st.integers(1, most))
    )
    return Case(
        text.replace("train {", f"train {{ {train}"),
        draw(st.integers(0, cpu_levels() - 1)),
        draw(st.integers(1, 4)),
        draw(st.sampled_from((0.0, 0.1, 0.3, 0.5))),
        draw(st.integers(0, 2**31 - 1)),
    )


@st.composite
def sequences(draw: st.DrawFn, widest: int, most: int, longest: int) -> Case:
    """Recurrent networks; a third of them with sequences of different lengths."""
    steps, group, bits = draw(st.integers(1, longest)), draw(st.integers(1, min(widest, 15))), draw(st.integers(4, 16))
    units, width = (group * draw(st.integers(1, widest // group)) for _ in range(2))
    args = {
        "bits": bits,
        "group": draw(st.sampled_from((0, group))),
        "std": draw(st.integers(0, 2 ** (bits - 2))),
        "nu": draw(st.sampled_from((0, 0.02, 0.1, 1))),
        "tie": draw(st.sampled_from(("auto", "plus", "keep"))),
        "reinforce": draw(st.sampled_from((0, 0.01, 0.5))),
    }
    text = sequence_spec(
        steps,
        draw(st.integers(1, 12)),
        units,
        draw(st.one_of(st.just(0), st.integers(1, widest))),
        draw(st.integers(2, 12)),
        draw(st.sampled_from(("", f"dense {width}; sign;"))),
        draw(st.integers(1, most)),
        f"bep({', '.join(f'{k} = {v}' for k, v in args.items())})",
        draw(st.integers(0, steps)),
        draw(st.sampled_from(("", "", "thermometer(2, lengths = on)"))),
    )
    return Case(
        text,
        draw(st.integers(0, cpu_levels() - 1)),
        draw(st.integers(1, 4)),
        draw(st.sampled_from((0.0, 0.1, 0.3, 0.5))),
        draw(st.integers(0, 2**31 - 1)),
    )


def batches(case: Case, x_shape: tuple[int, int], classes: int) -> list[Arrays]:
    """Noisy copies of one random pattern a class: easy sets bring steps in which no sample takes part."""
    rows, cols = x_shape
    centre = rng.signs(case.seed, 1, classes * cols).reshape(classes, cols)
    out = []
    for t in range(STEPS):
        y = rng.philox(case.seed, 2, rows, rows * t) % np.uint32(classes)
        noise = rng.philox(case.seed, 3, rows * cols, rows * cols * t).reshape(x_shape) < case.flip * 2**32
        scalars = {
            "tick": t + 1,
            "seed": case.seed,
            "errors": (STEPS - t) // 4,
            "samples": STEPS // 4,
            "stage": t // 60,
        }
        out.append(
            {
                "x": np.where(centre[y] ^ noise, 1, -1).astype(np.int8),
                "labels": y.astype(np.uint8)[:, None],
                **{k: np.array([[v]], np.int32) for k, v in scalars.items()},
            }
        )
    return out


def agree(case: Case) -> None:
    planned = plan(case.text)
    host = planned.target
    lib = Library(replace(planned, target=replace(host, levels=(host.levels[case.level],))))
    program = lib.train.program
    states = interp.init_states(program, case.seed)
    lib.arena[:] = 0xEE
    lib.set_states(states)
    for t, inputs in enumerate(batches(case, program.value["x"].shape, planned.model.classes)):
        values, states = interp.step(program, {**states, **inputs})
        results = lib.step(lib.train, inputs, nt=case.threads)
        assert_same(lib.states(), states, f"step {t}:")
        assert_same(results, {role: values[v] for role, v in program.results}, f"step {t}:")


SLOW_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.slow
@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    print_blob=True,
    suppress_health_check=SLOW_CHECKS,
)
@given(sequences(WIDEST, 64, 20))
def test_recurrent_networks_of_all_sizes(case: Case) -> None:
    agree(case)


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    print_blob=True,
    suppress_health_check=SLOW_CHECKS,
)
@given(cases(WIDEST, 128, 5))
def test_networks_of_all_sizes(case: Case) -> None:
    agree(case)
