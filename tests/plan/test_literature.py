"""Golden figures of the accounting in arXiv 2102.04270 (MiB at batch 100, one consistent formula)."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

import bnnc
from bnnc.model import Call, Data, Layer, Model, TensorType
from bnnc.papers.memory import (
    GIB,
    MIB,
    PRINTED,
    Chain,
    Stage,
    Unit,
    account,
    account_mixed,
    chain_from_model,
    chain_of,
    local_errors,
    printed,
    units_from_model,
)
from bnnc.plan.cost import step_cost

EXAMPLES = Path(__file__).parents[2] / "examples"
MLP = chain_of([784, 256, 256, 256, 256, 10])


def conv(side: int, c_in: int, c_out: int, pool: int = 0) -> Stage:
    """A 3x3 convolution of a ``side`` x ``side`` image; ``pool``: the side of the output if a max-pool follows."""
    return Stage(side * side * c_in, 9 * c_in * c_out, c_out, pool * pool * c_out)


def fc(k: int, n: int) -> Stage:
    return Stage(k, k * n, n)


CNV = Chain(
    (
        conv(32, 3, 64),
        conv(30, 64, 64, pool=28),
        conv(14, 64, 128),
        conv(12, 128, 128, pool=10),
        conv(5, 128, 256),
        conv(3, 256, 256),
        fc(256, 512),
        fc(512, 512),
        fc(512, 10),
    ),
    10,
)
BINARYNET = Chain(
    (
        conv(32, 3, 128),
        conv(32, 128, 128, pool=32),
        conv(16, 128, 256),
        conv(16, 256, 256, pool=16),
        conv(8, 256, 512),
        conv(8, 512, 512, pool=8),
        fc(8192, 1024),
        fc(1024, 1024),
        fc(1024, 10),
    ),
    10,
)


@pytest.mark.parametrize(("name", "chain"), [("cnv_cifar10", CNV), ("binarynet_cifar10", BINARYNET)])
def test_the_examples_are_the_papers_networks(name: str, chain: Chain) -> None:
    model = bnnc.load(EXAMPLES / name / f"{name}.bnn").model
    got = chain_from_model(model)
    assert [replace(s, uses=1) for s in got.stages] == list(chain.stages)
    assert got.logits == chain.logits
    assert got.stages[1].uses == model.layers[4].output.elements // got.stages[1].channels


@pytest.mark.parametrize(
    ("name", "optimizer", "rule", "most"),
    [
        ("cnv_cifar10", "adam", "edge", 28.5),
        ("binarynet_cifar10", "adam", "edge", 124),
        ("binarynet_cifar10", "bop", "edge", 70),
    ],
)
def test_less_memory_than_was_published(name: str, optimizer: str, rule: str, most: float) -> None:
    """MiB of everything at batch 100: masks, routes, statistics, the packed weights, the batch and the results are
    counted.
    """
    plan = bnnc.load(EXAMPLES / name / f"{name}.bnn").with_(optimizer=optimizer, rule=rule).plan()
    chain = CNV if name.startswith("cnv") else BINARYNET
    assert plan.arena_bytes / MIB <= most < account(chain, 100, optimizer, "proposed").mib


@pytest.mark.parametrize(
    ("name", "optimizer", "most"),
    [
        ("cnv_cifar10", "adam(v = elide)", 16),
        ("binarynet_cifar10", "adam(v = elide)", 76),
        ("binarynet_cifar10", "bop", 46),
    ],
)
def test_less_still_by_recomputing(name: str, optimizer: str, most: float) -> None:
    """The same bits in MiB that no schedule without second makings reaches; at most a fifth more operations."""
    net = bnnc.load(EXAMPLES / name / f"{name}.bnn").with_(optimizer=optimizer)
    plain, again = net.plan(), net.with_(recompute="on").plan()
    assert again.arena_bytes / MIB <= most < plain.planned.placed.plan.lower_bound / MIB
    cost, more = (step_cost(p.planned.placed.train).operations for p in (plain, again))
    assert cost < more <= 1.2 * cost


def test_the_chains_have_the_published_sizes() -> None:
    for chain, weights, channels in ((MLP, 399_872, 1034), (CNV, 1_542_848, 1930), (BINARYNET, 14_022_016, 3850)):
        assert sum(s.weights for s in chain.stages) == weights
        assert sum(s.channels for s in chain.stages) == channels


@pytest.mark.parametrize(
    ("chain", "optimizer", "standard", "proposed"),
    [
        (MLP, "adam", "7.409", "2.664"),
        (CNV, "adam", "129.093", "32.924"),
        (BINARYNET, "adam", "512.850", "138.149"),
        (BINARYNET, "sgd", "459.360", "111.404"),
        (BINARYNET, "bop", "405.870", "84.659"),
    ],
    ids=["mlp", "cnv", "binarynet", "binarynet-sgd", "binarynet-bop"],
)
def test_consistent_totals(chain: Chain, optimizer: str, standard: str, proposed: str) -> None:
    assert f"{account(chain, 100, optimizer, 'standard').mib:.3f}" == standard
    assert f"{account(chain, 100, optimizer, 'proposed').mib:.3f}" == proposed


@pytest.mark.parametrize(
    ("variant", "rows"),
    [
        ("standard", "111.332 50.000 0.0294 50.000 53.490 53.490 0.0294 106.979 87.500"),
        ("proposed", "3.479 25.000 0.0147 25.000 26.745 1.672 0.0147 53.490 2.734"),
    ],
)
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


@pytest.mark.parametrize(
    ("optimizer", "fp16", "bool_dw"), [("adam", 256.41, 231.33), ("sgd", 229.66, 204.58), ("bop", 202.92, 177.84)]
)
def test_intermediate_columns_of_table_5(optimizer: str, fp16: float, bool_dw: float) -> None:
    """The printed figures leave mu, sigma and dbeta out: at 16 bit, three values a channel, 0.022 MiB."""
    left_out = 3 * 3850 * 2 / 2**20
    assert account(BINARYNET, 100, optimizer, "fp16").mib - left_out == pytest.approx(fp16, abs=0.011)
    assert account(BINARYNET, 100, optimizer, "bool_dw").mib - left_out == pytest.approx(bool_dw, abs=0.011)


def units(*convs: tuple[int, int, int, int, int]) -> list[Unit]:
    """(times, side of the input, its channels, side of the output, its channels) of binary convolutions of 3 x 3
    pixels.
    """
    return [Unit(a * a * c, b * b * n, 9 * c * n, n, True) for times, a, c, b, n in convs for _ in range(times)]


def shortcut(side: int, c: int) -> Unit:
    return Unit(side * side * c, side * side * 2 * c, 2 * c * c, 2 * c, False)


RESNET18 = [
    Unit(224 * 224 * 3, 112 * 112 * 64, 49 * 3 * 64, 64, False),
    *units(
        (4, 56, 64, 56, 64),
        (1, 56, 64, 28, 128),
        (3, 28, 128, 28, 128),
        (1, 28, 128, 14, 256),
        (3, 14, 256, 14, 256),
        (1, 14, 256, 7, 512),
        (3, 7, 512, 7, 512),
    ),
    shortcut(28, 64),
    shortcut(14, 128),
    shortcut(7, 256),
    Unit(512, 1000, 512_000, 1000, False),
]


@pytest.mark.parametrize("name", ["resnete18_imagenet", "bireal18_imagenet"])
def test_the_imagenet_examples_are_the_papers_networks(name: str) -> None:
    model = bnnc.load(EXAMPLES / name / f"{name}.bnn").model
    got, pools = units_from_model(model)
    assert sorted(map(str, got)) == sorted(map(str, RESNET18)) and pools == 112 * 112 * 64
    assert sum(u.weights for u in got) == 11_678_912 and sum(u.channels for u in got) == 5800
    assert sum(u.weights for u in got if u.binary) == 10_985_472
    for variant, want in (("inputs", 6_884_950_016), ("outputs", 6_165_626_880)):
        assert 4096 * sum(getattr(u, variant) for u in got if u.binary) == want


@pytest.mark.parametrize(
    ("variant", "ours", "theirs"),
    [
        ("standard", "70.0963", "70.11"),
        ("fp16", "35.4489", "35.45"),
        ("bool_dw", "70.0566", "70.07"),
        ("bits", "47.8453", "47.86"),
        ("proposed", "18.5381", "18.54"),
    ],
)
def test_table_6(variant: str, ours: str, theirs: str) -> None:
    """GiB at batch 4096; the four cells that differ do so by 0.013 to 0.015 GiB, which no row of the spreadsheet
    explains.
    """
    found = account_mixed(RESNET18, 112 * 112 * 64, 4096, variant).bytes / GIB
    figure, why = printed(11_678_912, 5800, 4096, "adam")[variant]
    assert f"{found:.4f}" == ours and figure == theirs
    assert (f"{found:.2f}" == theirs) == (not why) and abs(found - float(theirs)) < 0.0151


def test_table_6_without_the_mask_that_proposed_leaves_out() -> None:
    mask = account_mixed(RESNET18, 112 * 112 * 64, 4096)["pool masks"]
    assert (mask.count, mask.bytes / GIB) == (3_288_334_336, 12.25)
    for bad in ("both", ""):
        with pytest.raises(ValueError):
            account_mixed(RESNET18, 0, 1, bad)
    for none in ([], RESNET18):
        with pytest.raises(ValueError):
            account_mixed(none, 0, 0)


@pytest.mark.parametrize("rule", ["edge(clip_at = 1.25)", "standard"])
def test_resnete18_needs_less_than_was_published(rule: str) -> None:
    """GiB of everything at batch 4096, planned in seconds on any machine."""
    began = time.process_time()
    plan = bnnc.load(EXAMPLES / "resnete18_imagenet/resnete18_imagenet.bnn").with_(rule=rule).plan(batch=4096)
    assert time.process_time() - began < 20
    assert plan.arena_bytes / GIB < (9.5 if rule.startswith("edge") else 45)
    found = plan.literature()
    assert found is not None and f"{found['proposed']:.2f}" == "18.54" and found["allocated"] == plan.arena_bytes / GIB


@pytest.mark.parametrize(("rule", "most"), [("edge(clip_at = 1.25)", 10.9), ("standard(clip_at = 1.25)", 38.9)])
def test_a_small_residual_network(rule: str, most: float) -> None:
    plan = bnnc.load(EXAMPLES / "resnete_cifar10/resnete_cifar10.bnn").with_(rule=rule).plan()
    found = plan.literature()
    assert found is not None and found.unit == "MiB" and not found.printed
    assert plan.arena_bytes / MIB <= most < found["standard"]
    assert found["allocated"] < found["proposed"] or rule.startswith("standard")


def sheet(chain: Chain, optimizer: str, variant: str, masks: int | None = None, image: bool = False) -> float:
    """The older spreadsheet's total: no mu, sigma, dbeta; ``masks``: elements of a sample; ``image``: 16 bits a pixel,
    not 1.
    """
    a = account(chain, 100, optimizer, variant)
    left_out = a["mu, sigma"].bytes + a["beta, dbeta"].bytes / 2
    pools = a["pool masks"].bytes - (0 if masks is None else masks * 100 * a["pool masks"].bits / 8)
    return (
        a.bytes - left_out - (0 if masks is None else pools) + (100 * chain.stages[0].inputs * 15 / 8 if image else 0)
    ) / MIB


def test_every_printed_figure_is_explained() -> None:
    """Each is reproduced by the convention that its reason names; one is not (MLP proposed: 2.6585, 2.65 printed)."""
    before_pools = 30 * 30 * 64 + 12 * 12 * 128
    want = {
        (MLP, "adam", "standard"): sheet(MLP, "adam", "standard"),
        (MLP, "adam", "proposed"): sheet(MLP, "adam", "proposed") - 0.005,
        (CNV, "adam", "standard"): sheet(CNV, "adam", "standard", before_pools),
        (CNV, "adam", "proposed"): sheet(CNV, "adam", "proposed", 0),
        (BINARYNET, "adam", "proposed"): account(BINARYNET, 100, "adam", "proposed").mib,
    }
    for o in ("adam", "sgd", "bop"):
        for v in ("standard", "fp16", "bool_dw"):
            want[BINARYNET, o, v] = sheet(BINARYNET, o, v)
        if o != "adam":
            want[BINARYNET, o, "proposed"] = sheet(BINARYNET, o, "proposed", 0, image=True)
    seen = 0
    for (chain, o, v), figure in want.items():
        cell, why = printed(sum(s.weights for s in chain.stages), sum(s.channels for s in chain.stages), 100, o)[v]
        assert float(cell) == pytest.approx(figure, abs=0.0078), (o, v)
        assert why or cell == f"{account(chain, 100, o, v).mib:.2f}"
        seen += 1
    assert seen == sum(len(x) for key, x in PRINTED.items() if key[2] == 100)


def test_bop_counts_no_weights_and_other_names_are_refused() -> None:
    assert account(MLP, 100, "bop")["W"].bytes == 0
    assert account(MLP, 1, "sgd", "proposed")["momenta"].bytes == 2 * 399_872
    for chain, batch, optimizer, variant in (
        (MLP, 100, "lion", "standard"),
        (MLP, 100, "adam", "int8"),
        (MLP, 0, "adam", "standard"),
        (Chain((), 10), 1, "adam", "standard"),
    ):
        with pytest.raises(ValueError):
            account(chain, batch, optimizer, variant)
    with pytest.raises(KeyError):
        account(MLP, 1)["omega"]


def model_of(widths: list[int]) -> Model:
    image, at = TensorType("u8", (28, widths[0] // 28)), TensorType("u8", (widths[0],))
    layers = [
        Layer("input", "input1", Call("input"), image, image),
        Layer("flatten", "flatten1", Call("flatten"), image, at),
    ]
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


@pytest.mark.parametrize(
    ("data", "width", "depth", "printed"),
    [
        ("prototypes", 35, 2, "1.29"),
        ("prototypes", 75, 2, "1.35"),
        ("prototypes", 135, 2, "1.43"),
        ("prototypes", 255, 2, "1.62"),
        ("prototypes", 525, 2, "2.16"),
        ("fashion", 35, 2, "4.94"),
        ("fashion", 135, 2, "5.05"),
        ("fashion", 525, 2, "5.70"),
        ("fashion", 1035, 3, "8.18"),
        ("fashion", 1035, 10, "16.4"),
        ("cifar10", 35, 2, "46.4"),
        ("cifar10", 525, 2, "51.3"),
        ("cifar10", 1035, 10, "66.3"),
        ("imagenette", 135, 2, "3.24"),
        ("imagenette", 1035, 1, "5.38"),
        ("imagenette", 1035, 10, "16.0"),
    ],
)
def test_memory_of_the_local_error_paper(data: str, width: int, depth: int, printed: str) -> None:
    """2412.00119 with 8-bit weights and a batch of 100, in 10^6 bytes (2^20 gives 1.23 in the first row)."""
    inputs, samples = DATA[data]
    found = local_errors(chain_of([inputs, *[width] * depth, 10]), 100, samples)
    assert f"{found.bytes / 1e6:.{len(printed.split('.')[1])}f}" == printed


def test_the_local_error_accounting_refuses_what_it_does_not_cover() -> None:
    for chain, batch, samples in (
        (chain_of([10, 3]), 1, 1),
        (chain_of([10, 5, 3]), 0, 1),
        (chain_of([10, 5, 3]), 1, 0),
    ):
        with pytest.raises(ValueError):
            local_errors(chain, batch, samples)
