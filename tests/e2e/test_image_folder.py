"""From a folder of images to a trained network: the Mixer example, for images of 32 x 32 that this test makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bnnc

EXAMPLE = Path(__file__).parents[2] / "examples" / "mixer_imagenette" / "mixer_imagenette.bnn"
REDUCED = (
    ("u8[224, 224, 3]", "u8[32, 32, 3]"),
    ("kernel = 16 stride = 16", "kernel = 8 stride = 8"),
    ("conv 784", "conv 24"),
    ("conv 196", "conv 16"),
    ("conv 256", "conv 24"),
    ("conv 512", "conv 32"),
    ("repeat 12", "repeat 2"),
    ("dense 10", "dense 3"),
    ("lr = 1e-4", "lr = 1e-2"),
    ("batch = 64", "batch = 20"),
    ("epochs = 80", "epochs = 12"),
)
CLASSES = ("church", "parachute", "truck")
pytestmark = pytest.mark.usefixtures("one_level")


def reduced() -> str:
    text = EXAMPLE.read_text(encoding="utf-8")
    for old, new in REDUCED:
        assert old in text, old
        text = text.replace(old, new)
    return text


def write_images(folder: Path) -> None:
    """Noise, and in each class brighter stripes of another direction and colour."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow (extra `images`)")
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:32, :32]
    stripes = [(axis // 4 % 2)[..., None] * 120 for axis in (row, column, row + column)]
    for number, (name, stripe) in enumerate(zip(CLASSES, stripes, strict=True)):
        for split, count in (("train", 60), ("test", 20)):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 120, (32, 32, 3)) + np.roll(stripe, rng.integers(8), axis=number % 2)
                image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{i:03}.png")


@pytest.mark.slow
def test_the_mixer_learns_from_a_folder(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    packed = [sys.executable, "-m", "bnnc", "data", "pack", "images", "-o", "images.bnnd"]
    subprocess.run(packed, cwd=tmp_path, check=True, capture_output=True)
    program = bnnc.parse(reduced()).compile(out=tmp_path / "mixer")
    argv = [program.binary, "train", "--train", "images.bnnd", "--log", "log", "--out", "run", "--threads", "1"]
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    epochs = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert max(e["test_acc"] for e in epochs if "test_acc" in e) >= 0.85, epochs[-1]
