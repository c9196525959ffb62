"""What `augment` and `sampling = balanced` give: small parts of MNIST, CIFAR-10 and HAR, three seeds.

    python benchmarks/augmentation.py --data FOLDER        # writes results/augmentation.md; some minutes

FOLDER holds ``mnist/`` (the four .gz files), ``cifar10-webp/`` (data_batch_1, test_batch) and ``har/sp_sw_har_1s.npz``.
Accuracies are of the last epoch, on the whole test part; for the unbalanced set the balanced accuracy, the mean over
the classes.  Of HAR six subjects are the test part.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import bnnc

HERE = Path(__file__).resolve().parent
SEEDS = (1, 2, 3)
Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

MLP = "flatten; repeat 2 { dense 256; batchnorm; sign; } dense 10; batchnorm; loss;"
CNN = """conv 16 padding = same; batchnorm; maxpool; sign; conv 32 padding = same; batchnorm; maxpool; sign;
  conv 32 padding = same; batchnorm; maxpool; sign; flatten; dense 10; batchnorm; loss;"""
STEPS = "flatten; repeat 2 { dense 128; batchnorm; sign; } dense 5; batchnorm; loss;"


def mnist(data: Path) -> Parts:
    """All of it."""

    def idx(name: str, head: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((data / "mnist" / f"{name}.gz").read_bytes()), np.uint8, offset=head)

    return (
        idx("train-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1),
        idx("train-labels-idx1-ubyte", 8),
        idx("t10k-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1),
        idx("t10k-labels-idx1-ubyte", 8),
    )


def few(data: Path, n: int = 1000) -> Parts:
    """The first ``n`` training samples."""
    x, y, xt, yt = mnist(data)
    return x[:n], y[:n], xt, yt


def unbalanced(data: Path) -> Parts:
    """500 of each of 0 to 4, 25 of each of the others."""
    x, y, xt, yt = mnist(data)
    index = np.sort(np.concatenate([np.flatnonzero(y == c)[: 500 if c < 5 else 25] for c in range(10)]))
    return x[index], y[index], xt, yt


def cifar(data: Path, n: int = 2000) -> Parts:
    """The first ``n`` of data_batch_1."""
    from PIL import Image  # noqa: PLC0415

    found = []
    for name in ("data_batch_1", "test_batch"):
        sheet = np.asarray(Image.open(data / "cifar10-webp" / f"{name}.webp").convert("RGB"))
        tiles = sheet.reshape(100, 32, 100, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
        found += [tiles, np.load(data / "cifar10-webp" / f"{name}.labels.npy").astype(np.uint8)]
    return found[0][:n], found[1][:n], found[2], found[3]


def har(data: Path) -> Parts:
    """By subject."""
    z = np.load(data / "har" / "sp_sw_har_1s.npz")
    x, xt = ((z[f"x_{part}"] / z["scale"]).astype(np.float32) for part in ("train", "test"))
    return x, z["y_train"], xt, z["y_test"]


# what is trained: samples, input and layers, epochs, whether classes count alike, and settings of `train` to compare
Study = tuple[Callable[[Path], Parts], str, int, bool, tuple[str, ...]]
STUDIES: dict[str, Study] = {
    "MNIST, 1,000 samples, MLP": (few, f"u8[28, 28, 1]; {MLP}", 100, False, ("", "augment = shift(2);")),
    "MNIST, 1,000 samples, convolutions": (few, f"u8[28, 28, 1]; {CNN}", 40, False, ("", "augment = shift(2);")),
    "CIFAR-10, 2,000 samples, convolutions": (
        cifar,
        f"u8[32, 32, 3]; {CNN}",
        20,
        False,
        ("", "augment = [shift(4), flip];"),
    ),
    "HAR, other subjects": (
        har,
        f"f32[100, 6] thermometer(4); {STEPS}",
        10,
        False,
        ("", "augment = timeshift(5);", "augment = [timeshift(5), jitter(JITTER)];"),
    ),
    "MNIST, 5 classes of 500 and 5 of 25, MLP": (
        unbalanced,
        f"u8[28, 28, 1]; {MLP}",
        60,
        True,
        ("", "augment = shift(2);", "sampling = balanced;", "sampling = balanced; augment = shift(2);"),
    ),
}


def accuracies(study: Study, setting: str, parts: Parts) -> list[float]:
    """In per cent, one a seed."""
    _, network, epochs, balanced, _ = study
    jitter = f"{0.05 * parts[0].std():.4g}" if parts[0].dtype == np.float32 else ""
    text = f"network net {{ input {network} }}\nrule edge;\ntrain {{ epochs = {epochs}; schedule = cosine; "
    program = bnnc.parse(text + setting.replace("JITTER", jitter) + " }\n").compile()
    found = []
    for seed in SEEDS:
        program.fit(parts[0], parts[1], seed=seed)
        e = program.evaluate(parts[2], parts[3])
        found.append(100 * (e.balanced_accuracy if balanced else e.accuracy))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default="", help="studies whose names hold this; nothing is written")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "augmentation.md")
    o = parser.parse_args()
    rows = ["| data and network | epochs | setting | test accuracy, % | each seed |", "|---|---|---|---|---|"]
    for name, study in ((n, s) for n, s in STUDIES.items() if o.only in n):
        parts = study[0](o.data)
        for setting in study[4]:
            found = accuracies(study, setting, parts)
            each = " ".join(f"{a:.2f}" for a in found)
            what = " ".join(filter(None, setting.replace("JITTER", "a twentieth of the deviation").split(";")))
            measure = " (balanced)" if study[3] else ""
            rows.append(f"| {name} | {study[2]} | {what or 'none'} | {np.mean(found):.2f}{measure} | {each} |")
            sys.stdout.write(rows[-1] + "\n")
            sys.stdout.flush()
    head = "# Augmentation and balanced sampling\n\n`python benchmarks/augmentation.py --data data`\n\n"
    note = f"`rule edge`, Adam, cosine schedule, batch 100, {len(SEEDS)} seeds; bits do not depend on the machine.\n\n"
    if o.only:
        return
    o.out.write_text(head + note + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
