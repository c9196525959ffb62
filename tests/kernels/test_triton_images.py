"""Every Triton kernel of networks on images against the interpreter, bit for bit, in Triton's interpreter mode; and
compiled ahead of time: as ``test_triton.py``, which says how.  The networks are small: each loop of a kernel is run,
few of them are long.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from checks import check_large, check_net, check_steps, make_large, no_spills
from helpers import plan, with_slow
from nets import LARGE_IMAGES, TRITON_IMAGES, TRITON_QUICK_IMAGES
from triton_helpers import TritonLibrary

from bnnc.backends.triton import emit, staged
from bnnc.backends.triton.kernels import SKELETONS
from bnnc.ir.ref import Side

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", TRITON_QUICK_IMAGES)
def test_kernels(name: str) -> None:
    assert check_net(TritonLibrary(plan(TRITON_QUICK_IMAGES[name])), special=False, threads=(1,)) > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", TRITON_IMAGES)
def test_kernels_and_a_step(name: str) -> None:
    lib = TritonLibrary(plan(TRITON_IMAGES[name]))
    assert check_net(lib, special=False, threads=(1,)) > 10
    check_steps(lib, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plus", "pool-overlap", "pool-mean", "pool-bits", "groups-fill", "groups-real"])
def test_with_every_value_in_memory(name: str) -> None:
    check_net(
        TritonLibrary(plan(TRITON_IMAGES[name], disable=("fuse", "sink", "simplify"))), special=True, threads=(1,)
    )


@pytest.mark.parametrize(
    "name", with_slow(["bits", "u8", "whole", "real", "chunks", "whole-chunks"], ["bits", "real", "chunks"])
)
def test_large_convolutions_use_tensor_cores_within_a_bound(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_large(monkeypatch)
    lib = check_large(TritonLibrary(plan(LARGE_IMAGES[name])))
    assert ("out_dtype=tl.int32" in lib.source) == (name != "real")
    assert ("_low_at" in lib.source) == (name in ("bits", "u8", "chunks"))  # a float as two halves
    assert ("left_low, right_high" in lib.source) == (name == "real")
    assert any(e.name.startswith("convolve_weight") and e.name.endswith("_sums") for e in lib.entries)
    assert any(e.chunks for e in lib.entries) == name.endswith("chunks")


@pytest.mark.parametrize("batch", [100, 4096])
def test_operands_have_a_room_that_the_plan_counts(batch: int) -> None:
    """A batch goes through it in chunks; only partial sums come on top."""
    text = (EXAMPLES / "binarynet_cifar10" / "binarynet_cifar10.bnn").read_text(encoding="utf-8")
    planned = plan(text.replace("batch = 100", f"batch = {batch}"), target="triton")
    ps, dev = planned.placed.train, emit.device(planned.placed)
    mem = emit._memory(ps, planned.placed, Side.TRAIN)
    made = [s for k in ps.kernels if (s := SKELETONS[type(k.anchor)][0](k, mem).staging)]
    room = min(staged.ROOM, planned.placed.plan.arena_bytes / 8)
    assert len(made) > 10 and sum(s.chunks > 1 for s in made) > 5
    large = [s for s in made if s.left.nbytes + s.right.nbytes > room or 4 * s.partial > s.most]
    assert all(s.positions == 1 and (s.ranges == 1 or not s.by_terms) for s in large)
    assert planned.report.total == dev.nbytes
    assert planned.report.workspace == dev.nbytes - dev.workspace >= max(s.nbytes for s in made)


# -- ahead of time ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pool-overlap", "thinned", "groups-fill", "groups-real", "real-stride"])
def test_kernels_compile_without_spills(name: str) -> None:
    no_spills(TRITON_IMAGES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE_IMAGES)
def test_large_kernels_compile_without_spills(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_large(monkeypatch)
    no_spills(LARGE_IMAGES[name])


@pytest.mark.slow
def test_a_step_compiles_without_spills() -> None:
    """A small network, as one launch."""
    no_spills(TRITON_QUICK_IMAGES["pool"], persistent=True)


EXAMPLE = {  # each at its batch of 100: BinaryNet's first of three blocks; ResNetE's stem, a block and one that halves
    "binarynet_cifar10": {"convs 256;": "maxpool 4;", "convs 512;": "", "repeat 2 {": "repeat 1 {"},
    "resnete_cifar10": {"repeat 2 {": "repeat 1 {", "  unit 64;\n": "", "  halve 128;\n": "", "  unit 128;\n": ""},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLE)
def test_the_example_compiles_without_spills(name: str) -> None:
    text = (EXAMPLES / name / f"{name}.bnn").read_text(encoding="utf-8")
    for old, new in EXAMPLE[name].items():
        assert old in text
        text = text.replace(old, new)
    no_spills(text)
