"""What is compared: networks, rules, sizes, and the figures that the papers print."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = {"standard": "BP", "dfa": "DFA", "drtp": "DRTP", "hsic": "HSIC", "sigprop_tl": "SigpropTL"}
THREE, ALL = tuple(RULES)[:3], tuple(RULES)


@dataclass(frozen=True)
class Case:
    """One row: a network under a rule, with a ``rate`` or that which was found for the network ``like``."""

    network: str
    rule: str
    text: str = field(repr=False)
    lets: tuple[tuple[str, object], ...] = ()
    like: str = ""
    rate: float = 0.0


@dataclass(frozen=True)
class Table:
    """One experiment: its data (at most so many samples), its rows, and how long they train.

    ``rates`` of Adam are tried for ``search`` epochs.  ``one_feedback``: all seeds have the random signs of the first,
    so a row is one program.
    """

    name: str
    title: str
    data: str
    flat: bool
    samples: tuple[int | None, int | None]
    epochs: int
    cases: tuple[Case, ...]
    search: int = 0
    rates: tuple[float, ...] = ()
    one_feedback: bool = False


def spec(name: str) -> str:
    return (HERE / f"{name}.bnn").read_text(encoding="utf-8")


def block(text: str, name: str, body: str) -> str:
    """The spec with another body of a block that stands at the top."""
    changed, n = re.subn(rf"(?m)^block {name} \{{\n[^}}]*\}}", f"block {name} {{\n  {body}\n}}", text)
    assert n == 1, f"no block {name}"
    return changed


# of Adam; found on MNIST with seed 1, as README.md tells
RATE = {("no norm", "standard"): 1e-4, ("no norm", "dfa"): 3e-4, ("no norm", "drtp"): 1e-3}
RATE |= {("norm", "standard"): 1e-3, ("norm", "dfa"): 3e-3, ("norm", "drtp"): 1e-3}


def perceptron(name: str, title: str, data: str, pixels: int) -> Table:
    without, lets = block(spec("mlp"), "normalise", ""), (("pixels", pixels),)
    rows = [("no norm", without), ("norm", spec("mlp"))]
    cases = tuple(Case(n, rule, text, lets, rate=RATE[n, rule]) for n, text in rows for rule in THREE)
    return Table(name, title, data, True, (None, None), 30, cases)


def changes(name: str, text: str) -> list[tuple[str, str, tuple[tuple[str, object], ...]]]:
    """What the study changes in a fully binary network: (its name, text, lets)."""
    found: list[tuple[str, str, tuple[tuple[str, object], ...]]] = [
        ("weights only", block(text, "activate", "relu;"), ()),
        ("activations only", text, (("kind", "real"),)),
    ]
    if "residual {" in text:
        found.append(("no skips", text.replace("residual {", "repeat 1 {"), ()))
    if "block normalise" in text:
        found.append(("dense norm", block(text, "normalise", "batchnorm scale = on;"), ()))
    return found


def architecture(name: str, title: str) -> Table:
    text = spec(name)
    cases = [Case("binary", rule, text, (), "binary") for rule in ALL]
    cases += [Case(n, rule, t, lets, "binary") for n, t, lets in changes(name, text) for rule in THREE]
    return Table(name, title, "cifar10", False, (3_000, 1_000), 5, tuple(cases), 2, (1e-2, 1e-3), one_feedback=True)


TABLES = {
    t.name: t
    for t in (
        perceptron("mlp-mnist", "MNIST, 784-700-500-300-200-10", "mnist", 784),
        perceptron("mlp-cifar10", "CIFAR-10, 3072-700-500-300-200-10", "cifar10", 3072),
        architecture("vgg", "VGG-19, reduced, on CIFAR-10"),
        architecture("mobilenetv2", "MobileNetV2, reduced, on CIFAR-10"),
        architecture("mixer", "MLP-Mixer, reduced, on CIFAR-10"),
    )
}
PARTS = {"mlp": ("mlp-mnist", "mlp-cifar10"), "nets": ("vgg", "mobilenetv2", "mixer")}

# -- printed figures, per cent of test samples at the best epoch -------------------------------------------------------

# the predecessor of 2408.04460 (github.com/BenCrulis/binary_nn): MLP 700-500-300-200, binary weights, saturating signs
PREDECESSOR = {
    ("mlp-mnist", "no norm"): (60.4, 95.8, 92.1),
    ("mlp-mnist", "norm"): (97.1, 97.4, 92.2),
    ("mlp-cifar10", "no norm"): (26.8, 45.8, 42.5),
    ("mlp-cifar10", "norm"): (46.7, 49.0, 44.9),
}
# 2408.04460: ImageNette, 224 x 224, full-size networks
IMAGENETTE = {
    ("vgg", "binary"): (21.2, 52.0, 41.2, 28.0, 14.1),
    ("vgg", "weights only"): (23.6, 67.2, 41.9),
    ("vgg", "activations only"): (65.6, 61.8, 48.8),
    ("mobilenetv2", "binary"): (57.5, 45.7, 31.4, 25.9, 12.0),
    ("mobilenetv2", "weights only"): (80.4, 52.9, 29.6),
    ("mobilenetv2", "activations only"): (64.4, 53.7, 39.5),
    ("mobilenetv2", "no skips"): (34.4, 40.6, 32.1),
    ("mixer", "binary"): (40.5, 37.2, 37.4, 25.0, 20.9),
    ("mixer", "weights only"): (61.7, 36.6, 26.0),
    ("mixer", "activations only"): (65.7, 47.5, 36.9),
    ("mixer", "no skips"): (18.2, 26.5, 22.0),
}
PRINTED = {
    (table, network, rule): value
    for figures in (PREDECESSOR, IMAGENETTE)
    for (table, network), values in figures.items()
    for rule, value in zip(RULES, values, strict=False)
}
# peak GPU memory in GB (1e9), fully binary, PyTorch, batch 64, the A6000 column
GB = {
    "vgg19_imagenette": (21.1, 21.1, 9.4, 10.8, 12.4),
    "mobilenetv2_imagenette": (7.3, 7.3, 4.5, 4.4, 5.5),
    "mixer_imagenette": (6.7, 6.7, 2.8, 2.1, 2.7),
}
