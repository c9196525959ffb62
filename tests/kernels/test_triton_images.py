"""Every Triton kernel of networks on images against the interpreter, bit for bit, in Triton's interpreter mode; and
compiled ahead of time: as ``test_triton.py``, which says how.  The networks are small: each loop of a kernel is run,
few of them are long.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import plan
from test_image_kernels import BN, net
from test_locked import check_net, check_steps
from test_real_kernels import R
from test_triton import check_large, compiled, make_large
from triton_helpers import TritonLibrary

from bnnc.backends.triton import compile as aot

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = {
    "same": net(
        "3, 2, 1", f"conv 33 kernel = 2 padding = same; {BN}", f"conv 3 kernel = 2 padding = same; {BN}", batch=1
    ),
    "pool": net(
        "5, 5, 1",
        f"conv 6 kernel = 2; maxpool; {BN}",
        f"conv 3 kernel = 1; {BN}; maxpool 2 stride = 1",
        rule="standard",
        batch=2,
    ),
    "groups": net("3, 3, 4", f"conv 6 kernel = 2 groups = 2; {BN}", f"conv 9 padding = same groups = 3; {BN}", batch=1),
    "real": net(
        "3, 4, 2", f"conv 5 kernel = 2 padding = same {R}; batchnorm; relu", f"conv 6 kernel = 2 {R}; {BN}", batch=2
    ),
}
BLOCKS = f"""residual {{{{ sign {{0}}; conv 5 padding = same {{1}}; batchnorm; }}}}
  residual {{{{
    shortcut {{{{ avgpool 2; conv 9 kernel = 1 {R}; batchnorm; }}}}
    sign {{0}}; conv 9 stride = 2 padding = same {{1}}; batchnorm; }}}}
  """
NETS: dict[str, str] = {
    "valid": net("4, 4, 3", f"conv 33 kernel = 2; {BN}", f"conv 35 kernel = 2; {BN}", batch=2),
    "plus": net("3, 3, 3", f"conv 33 pad = 1 fill = plus; {BN}", f"conv 5 pad = 1 fill = plus; {BN}", batch=1),
    "minus": net(
        "3, 3, 3",
        f"conv 35 kernel = 2 pad = 1 fill = minus; {BN}",
        f"conv 5 kernel = 2 pad = 1 fill = minus; {BN}",
        batch=1,
    ),
    "stride": net(
        "5, 6, 2",
        f"conv 6 stride = 2 padding = same; {BN}",
        f"conv 5 kernel = 2 stride = 2 pad = 1; {BN}",
        rule="standard",
    ),
    "gaps": net("7, 7, 2", f"conv 6 kernel = 1 stride = 3; {BN}", f"conv 70 kernel = 1 stride = 2; {BN}"),
    "one-pixel": net("1, 1, 33", f"conv 34 kernel = 1; {BN}", f"conv 5 padding = same; {BN}", batch=7),
    "one-pixel-of-one": net(
        "1, 1, 3", f"conv 4 kernel = 1; {BN}", f"conv 5 padding = same fill = minus; {BN}", batch=1
    ),
    "bits": net("4, 3, 33", f"conv 18 kernel = 2; {BN}", f"conv 4 kernel = 2; {BN}", kind="bit", batch=2),
    "whole-words": net(
        "3, 3, 64", f"conv 32 kernel = 2 padding = same; {BN}", f"conv 3 kernel = 2; {BN}", kind="bit", batch=2
    ),
    "bop": net(
        "4, 4, 2",
        f"conv 20 kernel = 2; {BN}",
        f"conv 9 kernel = 2; {BN}",
        optimizer="bop(tau = 0.001, gamma = 0.4)",
        batch=2,
    ),
    "pool-integers": net("4, 4, 2", "conv 20 kernel = 2 padding = same; maxpool; " + BN, batch=2),
    "pool-bits": net(
        "4, 5, 2", f"conv 20 kernel = 2; {BN}; maxpool", f"conv 5 kernel = 2 padding = same; {BN}", batch=2
    ),
    "pool-overlap": net(
        "5, 5, 1",
        "conv 4 padding = same; maxpool 3 stride = 2; " + BN,
        f"conv 3 kernel = 2; maxpool 2 stride = 1 padding = same; {BN}",
        rule="standard",
        batch=2,
    ),
    "pool-gaps": net(
        "5, 5, 2", f"conv 4 padding = same; {BN}; maxpool 2 stride = 3 pad = 1", f"conv 3 kernel = 2; {BN}", batch=2
    ),
    "pool-mean": net(
        "4, 4, 2",
        "conv 6 kernel = 1; avgpool; " + BN,
        f"conv 5 padding = same; {BN}; avgpool 2 stride = 1; sign",
        batch=2,
    ),
    "pool-all": net(
        "3, 3, 2", f"conv 6 kernel = 2; {BN}", "conv 5 kernel = 1; batchnorm; globalavgpool; sign", rule="standard"
    ),
    "residual": net(
        "3, 3, 2",
        "conv 5 kernel = 1; batchnorm",
        "residual { sign; conv 5 padding = same; batchnorm; } sign",
        rule="standard",
        batch=2,
    ),
    "groups-bits": net(
        "3, 3, 66",
        f"conv 68 kernel = 2 groups = 2 pad = 1; {BN}",
        f"conv 4 kernel = 2 groups = 2; {BN}",
        kind="bit",
        rule="standard",
        batch=1,
    ),
    "groups-fill": net(
        "4, 4, 4",
        f"conv 8 groups = 4 pad = 1 fill = minus; {BN}",
        f"conv 12 2 stride = 2 groups = 4 pad = 1 fill = plus; {BN}",
        rule="standard",
        optimizer="sgd",
        batch=2,
    ),
    "depthwise": net(
        "4, 4, 3",
        f"conv 35 kernel = 2; {BN}",
        f"conv 35 groups = 35 stride = 2 padding = same; {BN}",
        f"conv 70 groups = 35 kernel = 1; {BN}",
        batch=2,
    ),
    "groups-real": net(
        "4, 4, 3",
        f"conv 6 groups = 3 padding = same {R}; batchnorm; relu",
        f"conv 6 groups = 6 padding = same {R}; {BN}",
        f"conv 33 groups = 3 kernel = 2 {R}; {BN}",
        batch=2,
    ),
    "groups-one-pixel": net(
        "1, 1, 33", f"conv 66 kernel = 1 groups = 33; {BN}", f"conv 6 groups = 3 padding = same {R}; {BN}", batch=1
    ),
    "real-fill": net(
        "3, 3, 3",
        f"conv 7 kernel = 2 pad = 1 fill = plus {R}; {BN}",
        f"conv 34 kernel = 2 pad = 1 fill = minus {R} bias = on; {BN}",
        batch=1,
    ),
    "real-stride": net(
        "5, 6, 2",
        f"conv 6 stride = 2 padding = same {R}; batchnorm",
        f"conv 5 kernel = 2 stride = 2 pad = 1 {R}; {BN}",
        rule="standard",
        batch=2,
    ),
    "real-input": net(
        "3, 3, 3", f"conv 17 padding = same {R}; batchnorm; relu", f"conv 5 pad = 1 {R}; {BN}", kind="f32", batch=2
    ),
    "real-bits": net("3, 3, 3", f"conv 18 kernel = 2 {R}; {BN}", f"conv 4 kernel = 2 {R}; {BN}", kind="bit", batch=2),
    "resnete": (
        net(
            "4, 4, 3",
            f"conv 5 padding = same {R}; batchnorm",
            "relu; maxpool 3 stride = 2 padding = same",
            "batchnorm",
            BLOCKS.format("clip = 1.25", "") + "relu; globalavgpool",
            batch=2,
        ).replace("dense 5;", f"dense 5 {R};")
    ),
    "bireal": net(
        "4, 4, 3",
        f"conv 5 padding = same {R}; batchnorm",
        "maxpool 3 stride = 2 padding = same",
        BLOCKS.format("quadratic", "scale = mean") + "globalavgpool",
        batch=2,
        rule="standard",
    ),
    "thinned": net(
        "3, 3, 2",
        "conv 5 kernel = 2; batchnorm; relu; dropout 0.3; batchnorm; sign; dropout; sign",
        rule="standard",
        batch=2,
    ),
}


@pytest.mark.parametrize("name", QUICK)
def test_kernels(name: str) -> None:
    assert check_net(TritonLibrary(plan(QUICK[name])), special=False, threads=(1,)) > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_kernels_and_a_step(name: str) -> None:
    lib = TritonLibrary(plan(NETS[name]))
    assert check_net(lib, special=False, threads=(1,)) > 10
    check_steps(lib, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plus", "pool-overlap", "pool-mean", "pool-bits", "groups-fill", "groups-real"])
def test_with_every_value_in_memory(name: str) -> None:
    check_net(TritonLibrary(plan(NETS[name], disable=("fuse", "sink", "simplify"))), special=True, threads=(1,))


LARGE = {
    "bits": net(
        "4, 4, 40", f"conv 33 padding = same; {BN}", f"conv 65 kernel = 2; {BN}", kind="bit", batch=5, optimizer="sgd"
    ),
    "u8": net(
        "5, 5, 3",
        f"conv 17 padding = same fill = minus; {BN}",
        f"conv 16 padding = same fill = plus; maxpool; {BN}",
        batch=5,
        rule="standard",
        optimizer="sgd",
    ),
    "real": net(
        "4, 4, 17",
        f"conv 20 padding = same fill = plus {R}; batchnorm; relu",
        f"conv 33 kernel = 2 stride = 2 {R}; {BN}",
        f"conv 33 kernel = 1 groups = 33; {BN}",
        batch=5,
        rule="standard",
        optimizer="sgd",
    ),
}


@pytest.mark.parametrize("name", [pytest.param("bits", marks=pytest.mark.slow), "u8", "real"])
def test_large_convolutions_use_tensor_cores_within_a_bound(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_large(monkeypatch)
    lib = check_large(plan(LARGE[name]), exact=False)
    assert ("out_dtype=tl.int32" in lib.source) == (name != "real") and "num.scales" in lib.source
    assert ("left_low, right_high" in lib.source) == (name == "real")


# -- ahead of time ---------------------------------------------------------------------------------------------------


def no_spills(text: str, persistent: bool = False) -> None:
    images = compiled(text, persistent=persistent)
    assert images and all(i.stack == i.scratch == 0 and i.shared <= aot.SHARED[i.arch] for i in images.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pool-overlap", "thinned", "groups-fill", "groups-real", "real-stride"])
def test_kernels_compile_without_spills(name: str) -> None:
    no_spills(NETS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_kernels_compile_without_spills(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_large(monkeypatch)
    no_spills(LARGE[name])


@pytest.mark.slow
def test_a_step_compiles_without_spills() -> None:
    """A small network, as one launch."""
    no_spills(QUICK["pool"], persistent=True)


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
