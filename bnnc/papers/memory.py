"""The published memory accounting of Wang et al., to compare a plan with; nothing is allocated by it.

Source: E. Wang et al., "Enabling Binary Neural Network Training on the Edge", arXiv 2102.04270, Table 2 (rows, types
and lifetimes) and Tables 4 and 5 (totals).  Conventions:

- MiB is 2^20 bytes; bits / 8 bytes, no alignment, no padding, no packed copy of the weights, no mask of the sign
  activation, no running statistics, no labels.
- X counts the input of every weight layer (behind a pool) *and* the logits; the image counts like any activation (32,
  16 or 1 bit).  "dX, Y" and "dY" are each as large as the largest X, the image included; dX and Y share one buffer.
- Pool masks are as large as the pools' inputs.  beta, dbeta, mu and sigma: one value an output channel of every layer.
- Bop has no latent weights and its binary weights count as 0 bits.

One formula for all networks: the figures printed in the paper mix four conventions, so some of them differ; PRINTED has
them, and why.

Residual networks with real layers have an accounting of their own, that of the paper's spreadsheet for Table 6
(:func:`account_mixed`): real layers keep what they read and what they make, binary ones a bit of each.

Integer rules have an accounting of their own, that of 2412.00119 (:func:`local_errors`; MB is 10^6 bytes there).

Non-goals: what bnnc itself needs (see ``place`` and ``report``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..layers.image import geometry_of
from ..model import Layer, Model

MAXIMA = ("maxpool", "maxpool1d")

MIB = 1 << 20
OPTIMIZERS = {"adam": 2, "sgd": 1, "bop": 1}  # momenta a weight
VARIANTS = ("standard", "fp16", "bool_dw", "proposed")
MIXED = ("standard", "fp16", "bool_dw", "bits", "proposed")  # Table 6: each change on its own, and all
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Stage:
    """One weight layer.  ``inputs``: elements of its input for one sample; ``weights``; ``channels``: of its output;
    ``pool``: elements of one sample that enter a max-pool between this layer and the next (0: no pool).  ``uses``: how
    often a sample meets each weight (the output's pixels).
    """

    inputs: int
    weights: int
    channels: int
    pool: int = 0
    uses: int = 1


@dataclass(frozen=True, slots=True)
class Chain:
    """The weight layers of a network from input to output, and the number of logits of one sample."""

    stages: tuple[Stage, ...]
    logits: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row of Table 2: ``count`` values of ``bits`` each; ``lifetime``: ``global`` or ``layer`` (one at a time)."""

    name: str
    count: int
    bits: int
    lifetime: str

    @property
    def bytes(self) -> float:
        """Bytes; the accounting does not round up, so 1-bit rows may end in a fraction."""
        return self.count * self.bits / 8


@dataclass(frozen=True, slots=True)
class Account:
    """The rows of Table 2 for one network, batch, optimiser and variant."""

    rows: tuple[Row, ...]

    def __getitem__(self, name: str) -> Row:
        for r in self.rows:
            if r.name == name:
                return r
        raise KeyError(name)

    @property
    def bytes(self) -> float:
        """Bits of all rows as bytes, not rounded."""
        return sum(r.bytes for r in self.rows)

    @property
    def mib(self) -> float:
        """The same in MiB."""
        return self.bytes / MIB


def account(chain: Chain, batch: int, optimizer: str = "adam", variant: str = "standard") -> Account:
    """Table 2 of arXiv 2102.04270 for ``chain`` (see the module docstring for the conventions).

    ``optimizer``: ``adam``, ``sgd`` (with momentum) or ``bop``.  ``variant``, the columns of Table 5: ``standard`` (all
    32 bit), ``fp16`` (all 16 bit), ``bool_dw`` (as fp16, weight gradients 1 bit), ``proposed`` (as bool_dw, and X and
    pool masks 1 bit).  Raises ValueError for another name, an empty chain or a batch below 1.
    """
    if optimizer not in OPTIMIZERS or variant not in VARIANTS:
        raise ValueError(f"optimizer is one of {', '.join(OPTIMIZERS)}; variant one of {', '.join(VARIANTS)}")
    if not chain.stages or batch < 1:
        raise ValueError("the accounting needs at least one weight layer and a batch of at least 1")
    real = 32 if variant == "standard" else 16
    packed = 1 if variant == "proposed" else real
    inputs = [batch * s.inputs for s in chain.stages] + [batch * chain.logits]
    weights = sum(s.weights for s in chain.stages)
    channels = sum(s.channels for s in chain.stages)
    return Account(
        (
            Row("X", sum(inputs), packed, "global"),
            Row("dX, Y", max(inputs), real, "layer"),
            Row("mu, sigma", 2 * channels, real, "global"),
            Row("dY", max(inputs), real, "layer"),
            Row("W", 0 if optimizer == "bop" else weights, real, "global"),
            Row("dW", weights, 1 if variant in ("bool_dw", "proposed") else real, "global"),
            Row("beta, dbeta", 2 * channels, real, "global"),
            Row("momenta", OPTIMIZERS[optimizer] * weights, real, "global"),
            Row("pool masks", batch * sum(s.pool for s in chain.stages), packed, "global"),
        )
    )


@dataclass(frozen=True, slots=True)
class Unit:
    """One weight layer of a residual network: elements of its input and of its output for one sample, its weights and
    output channels, and whether its weights are bits."""

    inputs: int
    outputs: int
    weights: int
    channels: int
    binary: bool


def account_mixed(units: Sequence[Unit], pools: int, batch: int, variant: str = "standard") -> Account:
    """Table 6 of arXiv 2102.04270, with Adam, from the authors' spreadsheet.  ``pools``: elements of one sample that
    enter max-pools; the proposed algorithm counts none.  ``variant``: ``standard``, ``fp16``, ``bool_dw`` (1-bit
    gradients of binary weights), ``bits`` (binary layers' outputs are 1 bit) or ``proposed`` (all three).  Packed
    inputs of binary layers are 1 bit in every variant.  Raises ValueError for another name, no layer, or a batch below
    1.
    """
    if variant not in MIXED:
        raise ValueError(f"variant is one of {', '.join(MIXED)}")
    if not units or batch < 1:
        raise ValueError("the accounting needs at least one weight layer and a batch of at least 1")
    real = 16 if variant in ("fp16", "proposed") else 32
    binary, rest = [u for u in units if u.binary], [u for u in units if not u.binary]
    weights = sum(u.weights for u in units)
    return Account(
        (
            Row("W", weights, real, "global"),
            Row("beta", sum(u.channels for u in units), real, "global"),
            Row(
                "dW, binary",
                sum(u.weights for u in binary),
                1 if variant in ("bool_dw", "proposed") else real,
                "global",
            ),
            Row("dW, real", sum(u.weights for u in rest), real, "global"),
            Row("momenta", 2 * weights, real, "global"),
            Row("X, binary", batch * sum(u.inputs for u in binary), 1, "global"),
            Row(
                "Y, binary",
                batch * sum(u.outputs for u in binary),
                1 if variant in ("bits", "proposed") else real,
                "global",
            ),
            Row("X and Y, real", batch * sum(u.inputs + u.outputs for u in rest), real, "global"),
            Row("dX", batch * max(u.inputs for u in units), real, "layer"),
            Row("Y", batch * max(u.outputs for u in units), real, "layer"),
            Row("pool masks", 0 if variant == "proposed" else batch * pools, real, "global"),
        )
    )


NO_SIGMA = "mu, sigma and dbeta are left out"
IMAGE_16 = f"{NO_SIGMA}, and pool masks too; the image has 16 bits"
# (weights, output channels, batch, optimiser) -> variant -> the figure that the paper prints (MiB; GiB for the last),
# and why it differs
PRINTED: dict[tuple[int, int, int, str], dict[str, tuple[str, str]]] = {
    (399_872, 1034, 100, "adam"): {
        "standard": ("7.40", NO_SIGMA),
        "proposed": ("2.65", f"{NO_SIGMA}: 2.6585; the ratio that is printed, 2.78, fits 2.66"),
    },
    (1_542_848, 1930, 100, "adam"): {
        "standard": (
            "134.05",
            f"{NO_SIGMA}; pool masks are as large as the input of the convolution before each pool, 29.00 for 24.02",
        ),
        "proposed": ("32.16", f"{NO_SIGMA}, and pool masks too"),
    },
    (14_022_016, 3850, 100, "adam"): {
        "standard": ("512.81", NO_SIGMA),
        "fp16": ("256.41", f"{NO_SIGMA}: half of 512.81"),
        "bool_dw": ("231.33", NO_SIGMA),
        "proposed": ("138.15", ""),
    },
    (14_022_016, 3850, 100, "sgd"): {
        "standard": ("459.32", NO_SIGMA),
        "fp16": ("229.66", NO_SIGMA),
        "bool_dw": ("204.58", NO_SIGMA),
        "proposed": ("109.20", IMAGE_16),
    },
    (14_022_016, 3850, 100, "bop"): {
        "standard": ("405.83", NO_SIGMA),
        "fp16": ("202.92", f"{NO_SIGMA}: half of 405.83"),
        "bool_dw": ("177.84", NO_SIGMA),
        "proposed": ("82.45", IMAGE_16),
    },
    (11_678_912, 5800, 4096, "adam"): {
        "standard": ("70.11", "10 to 12 MiB that no row of the authors' spreadsheet explains"),
        "fp16": ("35.45", ""),
        "bool_dw": ("70.07", "as for 70.11"),
        "bits": ("47.86", "as for 70.11"),
        "proposed": ("18.54", ""),
    },
}


def printed(weights: int, channels: int, batch: int, optimizer: str) -> dict[str, tuple[str, str]]:
    """What the paper prints for this network, by variant: the figure, and why the accounting here gives another one."""
    return PRINTED.get((weights, channels, batch, optimizer), {})


def local_errors(chain: Chain, batch: int, samples: int) -> Account:
    """The memory formula of the local-error paper (2412.00119, from its published code) for ``samples`` training
    samples.

    M = N K_0 + 8 (sum K_{l-1} K_l + K_L C) + max_l(K_l C) + 8 B (sum K_l + C) bits: the data at 1 bit a value, the last
    classifier like trained weights, the largest of the other classifiers (layers learn one at a time), activations at 8
    bits.  Raises ValueError for a chain without a hidden layer or a number below 1.
    """
    *hidden, _ = [s.channels for s in chain.stages]
    if not hidden or batch < 1 or samples < 1:
        raise ValueError("the accounting needs a hidden layer, and at least one sample in data and batch")
    return Account(
        (
            Row("data", samples * chain.stages[0].inputs, 1, "global"),
            Row("weights", sum(s.weights for s in chain.stages), 8, "global"),
            Row("classifier", max(hidden) * chain.logits, 1, "layer"),
            Row("activations", batch * (sum(hidden) + chain.logits), 8, "global"),
        )
    )


def chain_of(widths: Sequence[int]) -> Chain:
    """The chain of a fully connected network, e.g. ``[784, 256, 256, 256, 256, 10]``, the paper's MLP."""
    pairs = zip(widths, widths[1:], strict=False)
    return Chain(tuple(Stage(k, k * n, n) for k, n in pairs), widths[-1])


def _fan_in(y: Layer) -> int:
    """Weights of one output of a dense layer, or of a convolution without groups."""
    if "kernel" not in dict(y.args.args):
        return y.input.elements
    return geometry_of(y.kind, y.input, y.args).positions * y.input.shape[-1]


def chain_from_model(model: Model) -> Chain:
    """The chain of a model of dense layers and convolutions one after the other, with the pools behind them.

    Raises ValueError for another network (branches, groups, real weights, a weight layer on more axes): write its chain
    by hand, or see :func:`units_from_model`.
    """
    stages: list[Stage] = []
    for y in model.layers:
        args = dict(y.args.args)
        if y.body or args.get("groups", 1) > 1 or args.get("weights", "binary") != "binary":
            raise ValueError("only networks of one layer after the other have a derived chain")
        if "units" in args:
            if len(y.input.shape) != 1:
                raise ValueError("only networks whose weight layers are flat or convolutions have a derived chain")
            stages.append(Stage(y.input.elements, y.input.elements * args["units"], args["units"]))
        elif "channels" in args:
            channels = args["channels"]
            pixels = y.output.elements // channels
            stages.append(Stage(y.input.elements, _fan_in(y) * channels, channels, 0, pixels))
        elif y.kind in MAXIMA and stages:
            stages[-1] = replace(stages[-1], pool=y.input.elements)
    if not stages:
        raise ValueError("no weight layer")
    return Chain(
        tuple(stages),
        next(y for y in reversed(model.layers) if {"units", "channels"} & dict(y.args.args).keys()).output.elements,
    )


def units_from_model(model: Model) -> tuple[list[Unit], int]:
    """The weight layers of any network of dense layers and convolutions, and the elements of a sample that enter
    max-pools.

    Raises ValueError where there is none, and for groups.
    """
    units, pools = [], 0
    for y in model.walk():
        args = dict(y.args.args)
        channels = args.get("units", args.get("channels"))
        if channels is None:
            pools += y.input.elements if y.kind in MAXIMA else 0
            continue
        if args.get("groups", 1) > 1 or "weights" not in args:
            raise ValueError("groups and recurrent layers have not been counted")
        units.append(
            Unit(y.input.elements, y.output.elements, _fan_in(y) * channels, channels, args["weights"] == "binary")
        )
    if not units:
        raise ValueError("no weight layer")
    return units, pools
