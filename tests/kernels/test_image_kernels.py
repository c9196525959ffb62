"""Every C kernel of networks on images against the interpreter, bit for bit: as ``test_locked.py``, which says how."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from checks import check_net, check_steps
from helpers import Library, batch_of, plan, with_slow
from nets import BN, I8, IMAGES, net

from bnnc.backends.c.targets import Level
from bnnc.diag import BnncError
from bnnc.driver import emit_source
from bnnc.ir import interp

EVERY_LEVEL = ("same", "many-images-stride", "pool-overlap", "depthwise")
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
    *("bands-standard", "many-images-stride", "i8-groups", "i8-many-images", "i8-state-groups"),
    *("pool-all", "pool-bits", "pool-integers", "drtp", "hsic", "sigprop-tl", "wide"),
    *("batch-1", "minus", "one-pixel", "two", "bands", "thinned", "bop", "line-i8", "groups-real", "i8-edges"),
)


def test_a_sequence_is_an_image_one_pixel_wide() -> None:
    """The same bits in every state after two steps, under `edge`."""
    line = "conv1d 20 5 padding = same; batchnorm; sign; conv1d 9 4 stride = 2; batchnorm; globalavgpool1d; sign"
    image = re.sub("(conv[^;]*)", r"\1 width = 1", line.replace("1d", ""))
    ends = []
    for shape, layers in (("13, 3", line), ("13, 1, 3", image)):
        planned = plan(net(shape, layers, kind="bit", batch=5))
        program = planned.trace.results["simplify"].train
        states = interp.init_states(program, 3)
        for t in range(2):
            _, states = interp.step(program, {**states, **batch_of(planned, t)})
        ends.append(list(states.values()))
    assert len(ends[0]) == len(ends[1]) > 6
    assert all(np.array_equal(a, b) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("name", with_slow(IMAGES, LATER))
def test_kernels_and_steps(name: str) -> None:
    lib = Library(plan(IMAGES[name]), every_level=name in EVERY_LEVEL)
    assert check_net(lib, special=False) > 10
    check_steps(lib, 3)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["conv 8; batchnorm; sign", "conv 8; sign"], ids=["smaller", "real"])
def test_sums_over_pixels_that_would_not_fit_32_bits(first: str) -> None:
    """Of 92,416 bytes times 8 bits: behind a norm gradients are smaller numbers, else their products are real."""
    lib = Library(plan(net("40, 40, 3", first, f"conv 8 stride = 4; {BN}", rule=I8, batch=64)), every_level=True)
    check_net(lib, special=False)
    check_steps(lib, 2)


def test_each_way_to_an_input_gradient_is_taken() -> None:
    """What names them in the generated text."""
    way = re.compile(r"dy\[.*VL\]|real = |from\[VL\]")
    names = ("bands", "bands-standard", "many-images", "many-images-stride", "same")
    ways = {name: set(way.findall(emit_source(plan(IMAGES[name])).text["net_kernels.h"])) for name in names}
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
    lib = Library(plan(IMAGES[name], disable=("fuse", "sink", "simplify")))
    check_net(lib, special=True, threads=(3,))
    check_steps(lib, 2)


@pytest.mark.parametrize("name", ["same", "pool-overlap", "groups", "i8"])
def test_without_vectors(name: str) -> None:
    planned = plan(IMAGES[name])
    host = planned.target
    plain = replace(host, name="plain", flags=(*host.flags, "-U__SSE2__"), levels=(Level("base"),))
    check_net(Library(replace(planned, target=plain)), special=True, threads=(3,))
