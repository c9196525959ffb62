"""Every C kernel of layers with real weights, and of residual networks, against the interpreter: as
``test_locked.py``.
"""

from __future__ import annotations

from dataclasses import replace

import helpers
import pytest
from checks import check_net, check_steps
from helpers import LEVELS, Library, at_level, compile_library, plan, with_slow
from nets import BN, REAL, R, net

from bnnc.backends.c.targets import Level
from bnnc.diag import BnncError
from bnnc.driver import emit_source

EVERY_LEVEL = ("stride", "bireal")
LATER = (
    *("gaps", "resnete-standard", "dense-standard", "bireal", "choices", "numbers-bop", "bop", "plus"),
    *("large-window", "one-pixel", "batch-1", "wide", "f32-input"),
)


@pytest.mark.parametrize("name", with_slow(REAL, LATER))
def test_kernels_and_steps(name: str) -> None:
    lib = Library(plan(REAL[name]), every_level=name in EVERY_LEVEL)
    assert check_net(lib, special=False) > 10
    check_steps(lib, 2)


@pytest.mark.parametrize("name", ["same", *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnete", "bireal"))])
def test_with_every_value_in_memory(name: str) -> None:
    lib = Library(plan(REAL[name], disable=("fuse", "sink", "simplify", "strip")))
    check_net(lib, special=True, threads=(3,))


def test_a_program_beyond_2_gib_is_refused() -> None:
    planned = plan(
        net("224, 224, 3", f"conv 64 kernel = 7 stride = 2 padding = same {R}; {BN}; maxpool 112", batch=1500)
    )
    with pytest.raises(BnncError, match="2 GiB") as e:
        emit_source(planned)
    assert e.value.diagnostics[0].code == "B0710"


@pytest.mark.parametrize("name", ["f32-input"])
def test_without_vectors(name: str) -> None:
    planned = plan(REAL[name])
    plain = replace(planned.target, name="plain", flags=(*planned.target.flags, "-U__SSE2__"), levels=(Level("base"),))
    check_net(Library(replace(planned, target=plain)), special=True, threads=(3,))


@pytest.mark.parametrize("name", ["wide", "same"])
def test_a_kernel_fits_a_threads_stack(name: str) -> None:
    """24 KiB is what a target's stacks are made for (``backends/c/targets.py``); and no warning as programs are
    compiled.  With the widest vectors, whose frames are the largest; in the slow tier at every level.
    """
    planned = plan(REAL[name])
    planned = planned if helpers.EVERY_LEVEL else at_level(planned, len(LEVELS) - 1)
    target = replace(planned.target, flags=(*planned.target.flags, "-Wframe-larger-than=24576"))
    compile_library(emit_source(planned), target, "-O2")
