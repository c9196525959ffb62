"""Every C kernel of layers with real weights, and of residual networks, against the interpreter: as
``test_locked.py``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import Library, compile_library, plan
from test_image_kernels import BN, net
from test_locked import check_net, check_steps

from bnnc.backends.c.targets import Level
from bnnc.diag import BnncError
from bnnc.driver import emit_source

R = "weights = real"
STEM = f"conv 20 kernel = 3 stride = 2 padding = same {R}; batchnorm"
BLOCKS = f"""residual {{ sign ACT; conv 20 padding = same SCALE; batchnorm; }}
  residual {{
    shortcut {{ avgpool 3 stride = 2; conv 35 kernel = 1 {R}; batchnorm; }}
    sign ACT; conv 35 stride = 3 padding = same SCALE; batchnorm; }}
  """
RESNETE = net(
    "9, 9, 3",
    STEM,
    "relu; maxpool 3 stride = 2 padding = same; batchnorm",
    BLOCKS.replace("ACT", "clip = 1.25").replace("SCALE", "") + "relu; globalavgpool",
).replace("dense 5;", f"dense 5 {R};")
BIREAL = net(
    "9, 9, 3",
    STEM,
    "maxpool 3 stride = 2 padding = same",
    BLOCKS.replace("ACT", "quadratic").replace("SCALE", "scale = mean") + "globalavgpool",
    rule="standard",
)
NETS: dict[str, str] = {
    "u8": net("6, 5, 3", f"conv 33 {R}; {BN}", f"conv 35 {R}; {BN}"),
    "same": net(
        "5, 6, 1", f"conv 32 padding = same {R}; batchnorm; relu", f"conv 20 padding = same {R}; {BN}", rule="standard"
    ),
    "f32-input": net(
        "5, 5, 3", f"conv 17 padding = same {R}; batchnorm; relu", f"conv 48 pad = 1 {R}; {BN}", kind="f32"
    ),
    "plus": net(
        "4, 4, 3", f"conv 7 pad = 1 fill = plus {R}; {BN}", f"conv 40 pad = 1 fill = minus {R} bias = on; {BN}"
    ),
    "stride": net(
        "7, 8, 2",
        f"conv 6 stride = 2 padding = same {R}; batchnorm",
        f"conv 5 kernel = 2 stride = 2 pad = 1 {R}; {BN}",
        rule="standard",
    ),
    "gaps": net(
        "7, 7, 2",
        f"conv 6 kernel = 1 stride = 3 {R}; batchnorm",
        f"conv 70 kernel = 1 stride = 2 {R}; {BN}",
        rule="standard",
    ),
    "one-pixel": net(
        "1, 1, 33", f"conv 34 kernel = 1 {R}; batchnorm; relu", f"conv 5 padding = same {R}; {BN}", batch=7
    ),
    "batch-1": net("5, 5, 3", f"conv 16 {R}; batchnorm", f"conv 32 {R}; {BN}", batch=1),
    "bits": net("5, 4, 3", f"conv 18 {R}; {BN}", f"conv 4 kernel = 2 {R}; {BN}", kind="bit"),
    "wide": net(
        "2, 3, 130", f"conv 150 kernel = 2 {R}; batchnorm", f"conv 140 kernel = 1 {R}; {BN}", kind="bit", batch=2
    ),
    "large-window": net("9, 9, 3", f"conv 4 kernel = 7 {R}; batchnorm", f"conv 33 kernel = 3 {R}; {BN}", batch=2),
    "bop": net(
        "5, 5, 3", f"conv 20 {R}; {BN}", f"conv 9 scale = mean; {BN}", optimizer="bop(tau = 0.001, gamma = 0.4)"
    ),
    "dense": net(
        "4, 4, 3",
        f"conv 20; {BN}",
        "flatten",
        f"dense 33 {R} bias = on; batchnorm; relu",
        f"dense 40 {R}; {BN}",
        f"dense 70 {R}; {BN}",
        f"dense 9 scale = mean; {BN}",
    ),
    "dense-standard": net(
        "4, 4, 3", "flatten", f"dense 33 {R} bias = on; relu", f"dense 40 {R}; {BN}", rule="standard", kind="f32"
    ),
    "scale": net(
        "5, 5, 3",
        f"conv 20 scale = mean; {BN}",
        f"conv 9 scale = mean; {BN}",
        rule="standard(clip = off, clip_at = 1.25)",
    ),
    "resnete": RESNETE,
    "resnete-standard": RESNETE.replace("rule edge", "rule standard(clip_at = 1.25)"),
    "bireal": BIREAL,
}


SLOW = ("gaps", "resnete-standard", "dense-standard")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NETS])
def test_kernels_and_steps(name: str) -> None:
    lib = Library(plan(NETS[name]))
    assert check_net(lib, special=False) > 10
    check_steps(lib, 2)


@pytest.mark.parametrize("name", ["same", *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnete", "bireal"))])
def test_with_every_value_in_memory(name: str) -> None:
    lib = Library(plan(NETS[name], disable=("fuse", "sink", "simplify")))
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
    planned = plan(NETS[name])
    plain = replace(planned.target, name="plain", flags=(*planned.target.flags, "-U__SSE2__"), levels=(Level("base"),))
    check_net(Library(replace(planned, target=plain)), special=True, threads=(3,))


@pytest.mark.parametrize("name", ["wide", "same"])
def test_a_kernel_fits_a_threads_stack(name: str) -> None:
    """24 KiB is what a target's stacks are made for (``backends/c/targets.py``); and no warning as programs are
    compiled.
    """
    planned = plan(NETS[name])
    target = replace(planned.target, flags=(*planned.target.flags, "-Wframe-larger-than=24576"))
    compile_library(emit_source(planned), target, "-O2")
