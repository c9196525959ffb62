"""Golden figures of the accounting in arXiv 2102.04270 (MiB at batch 100, one consistent formula)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import bnnc
from bnnc.model import Call, Data, Layer, Model, TensorType
from bnnc.plan.cost import step_cost
from bnnc.plan.literature import MIB, Chain, Stage, account, chain_from_model, chain_of, local_errors

EXAMPLES = Path(__file__).parents[2] / "examples"
MLP = chain_of([784, 256, 256, 256, 256, 10])


def conv(side: int, c_in: int, c_out: int, pool: int = 0) -> Stage:
    """A 3x3 convolution of a ``side`` x ``side`` image; ``pool``: the side of the output if a max-pool follows."""
    return Stage(side * side * c_in, 9 * c_in * c_out, c_out, pool * pool * c_out)


def fc(k: int, n: int) -> Stage:
    return Stage(k, k * n, n)


CNV = Chain((conv(32, 3, 64), conv(30, 64, 64, pool=28), conv(14, 64, 128), conv(12, 128, 128, pool=10),
             conv(5, 128, 256), conv(3, 256, 256), fc(256, 512), fc(512, 512), fc(512, 10)), 10)
BINARYNET = Chain((conv(32, 3, 128), conv(32, 128, 128, pool=32), conv(16, 128, 256), conv(16, 256, 256, pool=16),
                   conv(8, 256, 512), conv(8, 512, 512, pool=8), fc(8192, 1024), fc(1024, 1024), fc(1024, 10)), 10)


@pytest.mark.parametrize(("name", "chain"), [("cnv_cifar10", CNV), ("binarynet_cifar10", BINARYNET)])
def test_the_examples_are_the_papers_networks(name: str, chain: Chain) -> None:
    model = bnnc.load(EXAMPLES / name / f"{name}.bnn").model
    got = chain_from_model(model)
    assert [replace(s, uses=1) for s in got.stages] == list(chain.stages)
    assert got.logits == chain.logits
    assert got.stages[1].uses == model.layers[4].output.elements // got.stages[1].channels


@pytest.mark.parametrize(("name", "optimizer", "rule", "most"), [
    ("cnv_cifar10", "adam", "edge", 28.5), ("binarynet_cifar10", "adam", "edge", 124), ("binarynet_cifar10", "bop", "edge", 70)])
def test_less_memory_than_was_published(name: str, optimizer: str, rule: str, most: float) -> None:
    """MiB of everything at batch 100: masks, routes, statistics, the packed weights, the batch and the results are counted."""
    plan = bnnc.load(EXAMPLES / name / f"{name}.bnn").with_(optimizer=optimizer, rule=rule).plan()
    chain = CNV if name.startswith("cnv") else BINARYNET
    assert plan.arena_bytes / MIB <= most < account(chain, 100, optimizer, "proposed").mib


@pytest.mark.parametrize(("name", "optimizer", "most"), [
    ("cnv_cifar10", "adam(v = elide)", 16), ("binarynet_cifar10", "adam(v = elide)", 76), ("binarynet_cifar10", "bop", 46)])
def test_less_still_by_recomputing(name: str, optimizer: str, most: float) -> None:
    """The same bits in MiB that no schedule without second makings reaches; at most a fifth more operations."""
    net = bnnc.load(EXAMPLES / name / f"{name}.bnn").with_(optimizer=optimizer)
    plain, again = net.plan(), net.with_(recompute="on").plan()
    assert again.arena_bytes / MIB <= most < plain.planned.placed.plan.lower_bound / MIB
    cost, more = (step_cost(p.planned.placed.packed.train).operations for p in (plain, again))
    assert cost < more <= 1.2 * cost


def test_the_chains_have_the_published_sizes() -> None:
    for chain, weights, channels in ((MLP, 399_872, 1034), (CNV, 1_542_848, 1930), (BINARYNET, 14_022_016, 3850)):
        assert sum(s.weights for s in chain.stages) == weights
        assert sum(s.channels for s in chain.stages) == channels


@pytest.mark.parametrize(("chain", "optimizer", "standard", "proposed"), [
    (MLP, "adam", "7.409", "2.664"),
    (CNV, "adam", "129.093", "32.924"),
    (BINARYNET, "adam", "512.850", "138.149"),
    (BINARYNET, "sgd", "459.360", "111.404"),
    (BINARYNET, "bop", "405.870", "84.659"),
], ids=["mlp", "cnv", "binarynet", "binarynet-sgd", "binarynet-bop"])
def test_consistent_totals(chain: Chain, optimizer: str, standard: str, proposed: str) -> None:
    assert f"{account(chain, 100, optimizer, 'standard').mib:.3f}" == standard
    assert f"{account(chain, 100, optimizer, 'proposed').mib:.3f}" == proposed


@pytest.mark.parametrize(("variant", "rows"), [
    ("standard", "111.332 50.000 0.0294 50.000 53.490 53.490 0.0294 106.979 87.500"),
    ("proposed", "3.479 25.000 0.0147 25.000 26.745 1.672 0.0147 53.490 2.734"),
])
def test_rows_of_table_2(variant: str, rows: str) -> None:
    got = account(BINARYNET, 100, "adam", variant)
    names = ["X", "dX, Y", "mu, sigma", "dY", "W", "dW", "beta, dbeta", "momenta", "pool masks"]
    assert [r.name for r in got.rows] == names
    assert [r.lifetime for r in got.rows if r.lifetime != "global"] == ["layer"] * 2
    for r, text in zip(got.rows, rows.split(), strict=True):
        assert f"{r.bytes / 2**20:.{len(text.split('.')[1])}f}" == text, r.name
    assert got["X"].count == 29_185_000
    assert got["dY"].count == 13_107_200
    assert got["pool masks"].count == 22_937_600


@pytest.mark.parametrize(("optimizer", "fp16", "bool_dw"), [
    ("adam", 256.41, 231.33), ("sgd", 229.66, 204.58), ("bop", 202.92, 177.84)])
def test_intermediate_columns_of_table_5(optimizer: str, fp16: float, bool_dw: float) -> None:
    """The printed figures leave mu, sigma and dbeta out: at 16 bit, three values a channel, 0.022 MiB."""
    left_out = 3 * 3850 * 2 / 2**20
    assert account(BINARYNET, 100, optimizer, "fp16").mib - left_out == pytest.approx(fp16, abs=0.011)
    assert account(BINARYNET, 100, optimizer, "bool_dw").mib - left_out == pytest.approx(bool_dw, abs=0.011)


def test_bop_counts_no_weights_and_other_names_are_refused() -> None:
    assert account(MLP, 100, "bop")["W"].bytes == 0
    assert account(MLP, 1, "sgd", "proposed")["momenta"].bytes == 2 * 399_872
    for chain, batch, optimizer, variant in ((MLP, 100, "lion", "standard"), (MLP, 100, "adam", "int8"),
                                             (MLP, 0, "adam", "standard"), (Chain((), 10), 1, "adam", "standard")):
        with pytest.raises(ValueError):
            account(chain, batch, optimizer, variant)
    with pytest.raises(KeyError):
        account(MLP, 1)["omega"]


def model_of(widths: list[int]) -> Model:
    image, at = TensorType("u8", (28, widths[0] // 28)), TensorType("u8", (widths[0],))
    layers = [Layer("input", "input1", Call("input"), image, image),
              Layer("flatten", "flatten1", Call("flatten"), image, at)]
    for i, n in enumerate(widths[1:], 1):
        real, bit = TensorType("real", (n,)), TensorType("bit", (n,))
        layers.append(Layer("dense", f"dense{i}", Call("dense", (("units", n),)), at, real))
        layers.append(Layer("batchnorm", f"batchnorm{i}", Call("batchnorm", (("kind", "l2"),)), real, real))
        at = real
        if i < len(widths) - 1:
            layers.append(Layer("sign", f"sign{i}", Call("sign"), real, bit))
            at = bit
    layers.append(Layer("softmax_xent", "loss1", Call("softmax_xent"), at, at))
    none = Call("none")
    return Model("m", tuple(layers), none, none, none, 100, 1, 0, 0.0, Data())


def test_chain_from_a_model() -> None:
    model = model_of([784, 256, 256, 256, 256, 10])
    assert chain_from_model(model) == MLP
    assert f"{account(chain_from_model(model), model.batch, variant='proposed').mib:.3f}" == "2.664"
    with pytest.raises(ValueError, match="no weight layer"):
        chain_from_model(model_of([784]))


DATA = {"prototypes": (1000, 10_000), "fashion": (784, 50_000), "cifar10": (9216, 40_000), "imagenette": (2304, 10_000)}


@pytest.mark.parametrize(("data", "width", "depth", "printed"), [
    ("prototypes", 35, 2, "1.29"), ("prototypes", 75, 2, "1.35"), ("prototypes", 135, 2, "1.43"),
    ("prototypes", 255, 2, "1.62"), ("prototypes", 525, 2, "2.16"),
    ("fashion", 35, 2, "4.94"), ("fashion", 135, 2, "5.05"), ("fashion", 525, 2, "5.70"), ("fashion", 1035, 3, "8.18"),
    ("fashion", 1035, 10, "16.4"),
    ("cifar10", 35, 2, "46.4"), ("cifar10", 525, 2, "51.3"), ("cifar10", 1035, 10, "66.3"),
    ("imagenette", 135, 2, "3.24"), ("imagenette", 1035, 1, "5.38"), ("imagenette", 1035, 10, "16.0")])
def test_memory_of_the_local_error_paper(data: str, width: int, depth: int, printed: str) -> None:
    """2412.00119 with 8-bit weights and a batch of 100, in 10^6 bytes (2^20 gives 1.23 in the first row)."""
    inputs, samples = DATA[data]
    found = local_errors(chain_of([inputs, *[width] * depth, 10]), 100, samples)
    assert f"{found.bytes / 1e6:.{len(printed.split('.')[1])}f}" == printed


def test_the_local_error_accounting_refuses_what_it_does_not_cover() -> None:
    for chain, batch, samples in ((chain_of([10, 3]), 1, 1), (chain_of([10, 5, 3]), 0, 1), (chain_of([10, 5, 3]), 1, 0)):
        with pytest.raises(ValueError):
            local_errors(chain, batch, samples)
