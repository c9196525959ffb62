"""A first spec for data: layers and settings that fit a data set's form, and a limit of memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from .. import budget
from ..api import Network, Plan, parse
from ..data import Dataset
from ..diag import InternalError

IMAGE = 12  # from so many pixels a side on samples are images
# of dense layers; of convolutions an eighth
WIDTHS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
BATCHES, STEPS = (100, 50, 32, 20, 10), 20  # the largest batch with so many steps in an epoch
# bits of a number, in tables and in series (benchmarks/results/encoders.md), fewer where nothing fits; 0: as it is
BINS = {1: (8,), 2: (4, 2, 0)}


@dataclass(frozen=True)
class Starter:
    """A spec's text, its Network, and the plan for a target."""

    text: str
    network: Network
    plan: Plan


def starter(d: Dataset, name: str, file: str, target: str = "host", ram: str | int | None = None) -> Starter:
    """The widest of some networks that fits, found by bisection: convolutions for images, dense layers for what else
    there is.

    ``file``: where the spec will find the samples.  Raises BnncError B0601 (over the budget) of the smallest where none
    does.
    """
    limit = budget.parse_size(ram) if isinstance(ram, str) else ram

    for bins in _bins(d):

        @cache
        def made(width: int, bins: int = bins) -> Starter:
            text = "\n".join(_lines(d, name, file, width, bins)) + "\n"
            network = parse(text, f"{name}.bnn")
            return Starter(text, network, network.plan(target))

        def total(width: int, made: Callable[[int], Starter] = made) -> int:
            return made(width).plan.total_bytes

        fit = len(WIDTHS) if limit is None else bisect_right(WIDTHS, limit, key=total)
        if fit:
            return made(WIDTHS[fit - 1])
    made(WIDTHS[0]).network.plan(target, ram=limit)
    raise InternalError("a plan was over a limit, and then was not")


def _bins(d: Dataset) -> tuple[int, ...]:
    """Bits of a number that are tried, one after the other."""
    return (0,) if d.kind == "bit" or _is_image(d) else BINS.get(len(d.shape), (0,))


def _is_image(d: Dataset) -> bool:
    return d.kind == "u8" and len(d.shape) >= 2 and min(d.shape[:2]) >= IMAGE


def _lines(d: Dataset, name: str, file: str, width: int, bins: int) -> Iterator[str]:
    fit = d.n - d.n_test
    yield f"# A first network for {file}: {fit} samples to train on, {d.n_test} to test with, {d.classes} classes."
    yield "# `bnnc describe NAME` explains each word; change what you like, and look at `bnnc plan` again."
    yield ""
    yield f"network {name} {{"
    yield from _image(d, width) if _is_image(d) else _table(d, width, bins)
    yield f"  dense {d.classes};"
    yield "  batchnorm;"
    yield "  loss;"
    yield "}"
    yield ""
    yield "rule edge;  # binary weights and activations, gradients of one and of 16 bits"
    yield ""
    yield "train {"
    yield "  optimizer = adam(lr = 3e-3);"
    yield f"  batch = {next((b for b in BATCHES if fit >= STEPS * b), min(BATCHES[-1], max(1, fit // 2)))};"
    yield "  epochs = 50;"
    yield "  holdout = 10%;  # of the training samples: what the best epoch is judged by"
    yield "  stop = early(patience = 10);"
    yield "}"
    yield ""
    yield f'data {{ train = bnnd("{file}"); }}'


def _image(d: Dataset, width: int) -> Iterator[str]:
    h, w, channels = (*d.shape, 1)[:3]
    yield f"  input u8[{h}, {w}, {channels}];"
    side, k = min(h, w), max(8, width // 8)
    for _ in range(3):
        if side < 6:
            break
        yield f"  conv {k} padding = same;"
        yield "  maxpool 2;"
        yield "  batchnorm;"
        yield "  sign;"
        side, k = side // 2, 2 * k
    yield "  flatten;"
    yield f"  dense {width};"
    yield "  batchnorm;"
    yield "  sign;"


def _table(d: Dataset, width: int, bins: int) -> Iterator[str]:
    places, counts = ([c[i] for c in d.categories] for i in (0, 2))
    words = f", onehot = {places}, categories = {counts}" if d.categories else ""
    bits = f" thermometer({bins}{words})" if bins else ""
    why = f"  # each number becomes {bins} bits, by thresholds that the training samples give" if bins else ""
    why += "; a word becomes one of its column's bits" if words and bins else ""
    yield f"  input {d.kind}[{', '.join(map(str, d.shape))}]{bits};{why}"
    if len(d.shape) > 1:
        yield "  flatten;"
    yield "  repeat 2 {"
    yield f"    dense {width};"
    yield "    batchnorm;"
    yield "    sign;"
    yield "  }"
