"""Convolutional networks learn: scikit-learn's digits as images of 8 x 8 pixels, and CIFAR-10 where BNNC_DATA has
it.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
from pathlib import Path

import numpy as np
import pytest

import bnnc
from bnnc.data import Dataset, write_bnnd

EXAMPLES = Path(__file__).parents[2] / "examples"
SPEC = """
network digits {{
  input u8[8, 8, 1];
  conv 32 padding = same; batchnorm; sign;
  conv 64 padding = same; maxpool; batchnorm; sign;
  flatten;
  dense 10; batchnorm;
  loss;
}}
rule {rule};
train {{ batch = 100; epochs = {epochs}; optimizer = adam(lr = 3e-3); schedule = cosine(final = 0.02); }}
"""
pytestmark = pytest.mark.usefixtures("one_level")


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "epochs"), [("edge", 15), ("standard", 15)])
def test_accuracy_on_digits(rule: str, epochs: int) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn (extra `test`)")
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    a, b = (x[order] * 15).astype(np.uint8).reshape(-1, 8, 8, 1), y[order].astype(np.uint8)
    history = (
        bnnc.parse(SPEC.format(rule=rule, epochs=epochs)).compile().fit(a[:1437], b[:1437], a[1437:], b[1437:], seed=1)
    )
    assert max(history["test_acc"]) >= 0.97, history["test_acc"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnv_cifar10", "binarynet_cifar10"])
def test_the_examples_compile_and_keep_their_promise(name: str, tmp_path: Path) -> None:
    """Training and a test on random images, under a limit of the predicted bytes; the peak is within 1 % of them."""
    net = bnnc.load(EXAMPLES / name / f"{name}.bnn")
    program = net.compile(out=tmp_path / "net")
    plan = net.plan()
    total = plan.total_bytes
    x, y = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), np.uint8), np.arange(200, dtype=np.uint8) % 10
    write_bnnd(tmp_path / "x.bnnd", Dataset(x, y, n_test=100))
    argv = [str(program.binary), "train", "--train", "x.bnnd", "--epochs", "1", "--log", "log"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (total, total))

    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, env={"PATH": os.defpath}, preexec_fn=limit)
    end = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert end["memory_predicted"] == total
    if not end["memory_measured"]:
        pytest.skip("this system does not tell a process how much memory it has")
    assert 0.99 * total <= end["memory_measured"] <= total


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10,000 training and 10,000 test images, packed: of each batch a sheet of 100 x 100 images and its labels."""
    folder = Path(os.environ.get("BNNC_DATA", "")) / "cifar10-webp"
    if not os.environ.get("BNNC_DATA") or not folder.is_dir():
        pytest.skip("BNNC_DATA names no folder with cifar10-webp/ in it: CIFAR-10 is not shipped")
    image = pytest.importorskip("PIL.Image", reason="needs Pillow (extra `images`)")
    x, y = [], []
    for batch in ("data_batch_1", "test_batch"):
        sheet = np.asarray(image.open(folder / f"{batch}.webp").convert("RGB"))
        x.append(sheet.reshape(100, 32, 100, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3))
        y.append(np.load(folder / f"{batch}.labels.npy").astype(np.uint8))
    path = tmp_path_factory.mktemp("cifar") / "cifar10.bnnd"
    write_bnnd(path, Dataset(np.concatenate(x), np.concatenate(y), classes=10, n_test=len(x[1])))
    return path


def best_on_cifar(text: str, rule: str, epochs: int, data: Path, tmp_path: Path) -> float:
    program = bnnc.parse(text).with_(rule=rule, epochs=epochs).compile()
    done = subprocess.run(
        [str(program.binary), "train", "--train", str(data), "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=True,
    )
    return max(float(a) for a in re.findall(r"test (\S+) %", done.stdout))


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "goal"), [("standard", 32.0), ("edge", 29.0)])
def test_a_quarter_of_cnv_learns_cifar10(rule: str, goal: float, cifar: Path, tmp_path: Path) -> None:
    """16 to 64 channels, 4 epochs (seed 1: 35.0 and 31.6 %)."""
    text = re.sub(
        r"(binary_\w+) (\d+);",
        lambda m: f"{m[1]} {int(m[2]) // 2};",
        (EXAMPLES / "cnv_cifar10" / "cnv_half.bnn").read_text(),
    )
    assert "binary_conv 16;" in text and "binary_conv 128;" not in text
    assert best_on_cifar(text, rule, 4, cifar, tmp_path) >= goal


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("BNNC_LONG") != "1", reason="minutes to half an hour: set BNNC_LONG=1")
def test_half_of_cnv_learns_cifar10(cifar: Path, tmp_path: Path) -> None:
    """32 to 128 channels, no augmentation, Adam 1e-3, 15 epochs; ``benchmarks/results/accuracy_cnv_half.md`` has the
    figures.
    """
    text = (EXAMPLES / "cnv_cifar10" / "cnv_half.bnn").read_text()
    standard, edge = (best_on_cifar(text, rule, 15, cifar, tmp_path / rule) for rule in ("standard", "edge"))
    assert standard >= 48 and edge >= standard - 5, (standard, edge)
