"""A small convolutional network learns: scikit-learn's digits as images of 8 x 8 pixels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bnnc

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


@pytest.mark.parametrize(("rule", "epochs"), [("edge", 15), ("standard", 15)])
def test_accuracy_on_digits(rule: str, epochs: int) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn (extra `test`)")
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    a, b = (x[order] * 15).astype(np.uint8).reshape(-1, 8, 8, 1), y[order].astype(np.uint8)
    history = bnnc.parse(SPEC.format(rule=rule, epochs=epochs)).compile().fit(a[:1437], b[:1437], a[1437:], b[1437:], seed=1)
    assert max(history["test_acc"]) >= 0.97, history["test_acc"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnv_cifar10", "binarynet_cifar10"])
def test_the_examples_compile_and_keep_their_promise(name: str, tmp_path: Path) -> None:
    """One step on random data within the predicted memory."""
    net = bnnc.load(Path(__file__).parents[2] / "examples" / name / f"{name}.bnn")
    program = net.compile(out=tmp_path / "net")
    total = net.plan().total_bytes
    code = f"import resource, subprocess, sys; subprocess.run([{str(program.binary)!r}, 'bench', '--steps', '1'], check=True, " \
        "stdout=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.99 * total <= 1024 * int(done.stdout) <= total
