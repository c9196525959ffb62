"""Every C kernel of networks on images against the interpreter, bit for bit: as ``test_locked.py``, which says how."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from helpers import Library, plan, with_slow
from test_locked import check_net, check_steps

from bnnc.backends.c.targets import Level
from bnnc.diag import BnncError
from bnnc.driver import emit_source


def net(shape: str, *layers: str, kind: str = "u8", rule: str = "edge", optimizer: str = "adam", batch: int = 3) -> str:
    body = "".join(f"  {x};\n" for x in layers)
    return (
        f"network net {{\n  input {kind}[{shape}];\n{body}  flatten; dense 5; batchnorm;\n  loss;\n}}\nrule {rule};\n"
        f"train {{ batch = {batch}; optimizer = {optimizer}; }}\n"
    )


BN = "batchnorm; sign"
NETS: dict[str, str] = {
    "two": net("6, 5, 3", f"conv 33; {BN}", f"conv 35; {BN}"),
    "same": net("5, 6, 1", f"conv 32 padding = same; {BN}", f"conv 20 padding = same; {BN}"),
    "same-standard": net("5, 5, 3", f"conv 17 padding = same; {BN}", f"conv 9 padding = same; {BN}", rule="standard"),
    "plus": net("4, 4, 3", f"conv 7 pad = 1 fill = plus; {BN}", f"conv 40 pad = 1 fill = plus; {BN}", f"conv 3; {BN}"),
    "minus": net("4, 4, 3", f"conv 7 pad = 2 fill = minus; {BN}", f"conv 5 pad = 1 fill = minus; {BN}"),
    "stride": net(
        "7, 8, 2",
        f"conv 6 stride = 2 padding = same; {BN}",
        f"conv 5 kernel = 2 stride = 2 pad = 1; {BN}",
        rule="standard",
    ),
    "gaps": net("7, 7, 2", f"conv 6 kernel = 1 stride = 3; {BN}", f"conv 70 kernel = 1 stride = 2; {BN}"),
    "one-pixel": net("1, 1, 33", f"conv 34 kernel = 1; {BN}", f"conv 5 padding = same; {BN}", batch=7),
    "batch-1": net("5, 5, 3", f"conv 16; {BN}", f"conv 32; {BN}", batch=1),
    "bit-input": net("5, 4, 3", f"conv 18; {BN}", f"conv 4 kernel = 2; {BN}", kind="bit"),
    "wide": net("3, 3, 130", f"conv 150 kernel = 2; {BN}", f"conv 140 kernel = 2; {BN}", kind="bit", batch=5),
    "large-window": net("8, 8, 3", f"conv 4 kernel = 5; {BN}", f"conv 33 kernel = 4; {BN}", batch=2),
    "bop": net("5, 5, 3", f"conv 20; {BN}", f"conv 9; {BN}", optimizer="bop(tau = 0.001, gamma = 0.4)"),
    "sgd-bits-in-order": net(
        "4, 4, 33", f"conv 32 padding = same; {BN}", rule="standard", optimizer="sgd", kind="bit", batch=2
    ),
    # gradients of some rows of pixels at a time (back_band of backends/c/kernels/convolve.py), and of one pixel of many
    # images
    "bands": net(
        "9, 10, 3",
        f"conv 33 padding = same; {BN}",
        f"conv 35; {BN}",
        f"conv 17 kernel = 2; {BN}",
        f"conv 9 1; {BN}",
        batch=21,
    ),
    "bands-standard": net(
        "7, 18, 2", f"conv 40 padding = same; {BN}", f"conv 6 padding = same; {BN}; maxpool", rule="standard", batch=9
    ),
    "many-images": net("5, 6, 3", f"conv 20; {BN}", f"conv 35; {BN}", batch=19),
    "many-images-stride": net(
        "7, 8, 2",
        f"conv 6 stride = 2 padding = same; {BN}",
        f"conv 37 kernel = 2 stride = 2 pad = 1; {BN}",
        rule="standard",
        batch=33,
    ),
    # pools
    "pool-integers": net("6, 6, 3", "conv 20 padding = same; maxpool; " + BN, "conv 33 padding = same; maxpool; " + BN),
    "pool-bits": net("6, 7, 3", f"conv 20 padding = same; {BN}; maxpool", f"conv 33 padding = same; {BN}; maxpool"),
    "pool-overlap": net(
        "7, 7, 3",
        "conv 20 padding = same; maxpool 3 stride = 2; " + BN,
        f"conv 9 padding = same; {BN}; maxpool 3 stride = 2 padding = same",
        rule="standard",
    ),
    "pool-gaps": net(
        "7, 7, 3", f"conv 4 padding = same; {BN}; maxpool 2 stride = 3 pad = 1", f"conv 9 padding = same; {BN}"
    ),
    "pool-mean": net(
        "6, 6, 3", "conv 20 padding = same; avgpool; " + BN, f"conv 9 padding = same; {BN}; avgpool 3 stride = 1; sign"
    ),
    "pool-all": net(
        "4, 4, 3", f"conv 20; {BN}", "conv 33 padding = same; batchnorm; globalavgpool; sign", rule="standard"
    ),
    "residual": net(
        "5, 5, 3", "conv 20; batchnorm", "residual { sign; conv 20 padding = same; batchnorm; } sign", rule="standard"
    ),
    # groups
    "groups": net("5, 6, 6", f"conv 9 groups = 3; {BN}", f"conv 6 groups = 3 padding = same; {BN}"),
    "groups-wide": net(
        "4, 4, 4", f"conv 70 groups = 2 padding = same; {BN}", f"conv 66 groups = 2 pad = 1 fill = plus; {BN}", batch=2
    ),
    "depthwise": net(
        "5, 5, 3",
        f"conv 35 pad = 1; {BN}",
        f"conv 35 groups = 35 stride = 2 padding = same; {BN}",
        f"conv 70 groups = 35; {BN}",
    ),
    "groups-standard": net(
        "6, 5, 4",
        f"conv 8 groups = 4 pad = 1 fill = minus; {BN}",
        f"conv 20 2 stride = 2 groups = 4; {BN}",
        rule="standard",
        optimizer="sgd",
        batch=1,
    ),
    "groups-real": net(
        "5, 5, 3",
        "conv 18 groups = 3 padding = same weights = real; batchnorm; relu",
        f"conv 18 groups = 18 padding = same weights = real; {BN}",
        f"conv 33 groups = 3 weights = real; {BN}",
    ),
    "groups-bits": net("4, 4, 6", f"conv 12 groups = 3; {BN}", kind="bit", rule="standard"),
    "thinned": net(
        "4, 4, 3", "conv 20; batchnorm; relu; dropout 0.3; batchnorm; sign; dropout; sign", rule="standard", batch=5
    ),
}


LATER = (
    "same-standard",
    "plus",
    "gaps",
    "large-window",
    "sgd-bits-in-order",
    "pool-gaps",
    "pool-mean",
    "groups-wide",
    "groups-standard",
    "groups-bits",
)


@pytest.mark.parametrize("name", with_slow(NETS, LATER))
def test_kernels_and_steps(name: str) -> None:
    lib = Library(plan(NETS[name]))
    assert check_net(lib, special=False) > 10
    check_steps(lib, 3)


def test_each_way_to_an_input_gradient_is_taken() -> None:
    """What names them in the generated text."""
    way = re.compile(r"dy\[.*VL\]|real = |from\[VL\]")
    names = ("bands", "bands-standard", "many-images", "many-images-stride", "same")
    ways = {name: set(way.findall(emit_source(plan(NETS[name])).text["net_kernels.h"])) for name in names}
    assert ways["same"] == {"from[VL]"} and ways["many-images"] == ways["many-images-stride"] == {"real = "}
    assert all(w and all(x.startswith("dy") for x in w) for w in (ways["bands"], ways["bands-standard"])), ways


def test_groups_of_too_many_channels() -> None:
    with pytest.raises(BnncError, match="groups") as e:
        Library(plan(net("3, 3, 2", f"conv 2600 kernel = 1; {BN}", f"conv 2600 groups = 2; {BN}", batch=1)))
    assert e.value.diagnostics[0].code == "B0702"


@pytest.mark.parametrize(
    "name",
    with_slow(
        ("same", "bit-input", "pool-overlap", "pool-mean", "pool-bits"), ("same", "bit-input", "pool-mean", "pool-bits")
    ),
)
def test_with_every_value_in_memory(name: str) -> None:
    lib = Library(plan(NETS[name], disable=("fuse", "sink", "simplify")))
    check_net(lib, special=True, threads=(3,))
    check_steps(lib, 2)


@pytest.mark.parametrize("name", ["same", "pool-overlap", "groups"])
def test_without_vectors(name: str) -> None:
    planned = plan(NETS[name])
    host = planned.target
    plain = replace(host, name="plain", flags=(*host.flags, "-U__SSE2__"), levels=(Level("base"),))
    check_net(Library(replace(planned, target=plain)), special=True, threads=(3,))
