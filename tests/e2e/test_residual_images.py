"""Residual networks with real layers: small ones learn, those for ImageNet compile and keep their promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bnnc

RESIDUAL = """
block unit(channels) {{ residual {{ sign {act}; conv channels padding = same scale = {scale}; batchnorm; }} }}
block halve(channels) {{
  residual {{
    shortcut {{ avgpool 2; conv channels kernel = 1 weights = real; batchnorm; }}
    sign {act};
    conv channels stride = 2 padding = same scale = {scale};
    batchnorm;
  }}
}}
network small {{
  input u8[32, 32, 1];
  conv 16 kernel = 7 stride = 2 padding = same weights = real; batchnorm; {relu}
  maxpool 3 stride = 2 padding = same; {norm}
  repeat 2 {{ unit 16; }}
  halve 32;
  unit 32;
  {relu} globalavgpool; flatten;
  dense 10 weights = real bias = on;
  loss;
}}
rule {rule};
train {{ batch = 50; epochs = 12; optimizer = adam(lr = 5e-3); schedule = cosine(final = 0.02); }}
"""
KINDS = {
    "resnete": {
        "act": "clip = 1.25",
        "scale": "off",
        "relu": "relu;",
        "norm": "batchnorm;",
        "rule": "edge(clip_at = 1.25)",
    },
    "bireal": {"act": "quadratic", "scale": "mean", "relu": "", "norm": "", "rule": "standard"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnete", "bireal"])
def test_a_residual_network_learns(kind: str) -> None:
    """The blocks of the ImageNet examples on 32 x 32 pixels."""
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn (extra `test`)")
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    a = np.kron((x[order] * 15).astype(np.uint8).reshape(-1, 8, 8), np.ones((4, 4), np.uint8))[..., None]
    b = y[order].astype(np.uint8)
    history = bnnc.parse(RESIDUAL.format(**KINDS[kind])).compile().fit(a[:1437], b[:1437], a[1437:], b[1437:], seed=1)
    assert max(history["test_acc"]) >= 0.95, history["test_acc"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnete18_imagenet", "bireal18_imagenet"])
def test_the_imagenet_examples_keep_their_promise(name: str, tmp_path: Path) -> None:
    """One step on random data within the predicted memory."""
    net = bnnc.load(Path(__file__).parents[2] / "examples" / name / f"{name}.bnn")
    program = net.compile(out=tmp_path / "net")
    total = net.plan().total_bytes
    code = (
        f"import resource, subprocess, sys; subprocess.run([{str(program.binary)!r}, 'bench', '--steps', '1'],"
        " check=True, stdout=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.99 * total <= 1024 * int(done.stdout) <= total
