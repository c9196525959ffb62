"""What `bnnc export` writes, read by others: onnxruntime says the classes and scores of `predict`, to the bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nets
import numpy as np
import pytest

import bnnc
from bnnc.data import tensors
from bnnc.diag import BnncError

RNG = np.random.default_rng(9)
N = 24
NETS = {name: nets.PREDICTING[name] for name in ("numbers", "hinge", "sums", "encoded", "images", "strided")}


def trained(name: str) -> tuple[bnnc.Network, bnnc.Program, np.ndarray]:
    """A network, the program that has trained it, and samples."""
    net = bnnc.parse(NETS[name])
    t = net.model.layers[0]["tensor"]
    x = RNG.normal(size=(N, *t.shape)).astype(np.float32)
    if t.kind == "u8":
        x = RNG.integers(0, 256, (N, *t.shape)).astype(np.uint8)
    program = net.compile(scores=True)
    program.fit(x, RNG.integers(0, 4, N))
    return net, program, x


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_onnxruntime_says_what_the_trainer_says(name: str, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime", reason='pip install onnx onnxruntime, 36 MB, is no part of "bnnc[test]"')
    net, program, x = trained(name)
    net.export(program.weights, tmp_path / "net.onnx")
    session = ort.InferenceSession(tmp_path / "net.onnx")
    given = session.get_inputs()[0]
    seen = x
    if "thermometer" in net.text or "pad_odd" in net.text:  # bits, as the encoder of the program makes them
        e = bnnc.inputs.encode.of_model(net.model)
        seen = e.encode(x, program.weights["input.thresholds"] if e.fitted else None).reshape(N, -1)
    out = [session.run(["class", "scores"], {given.name: one[None]}) for one in seen]
    assert [int(c[0]) for c, _ in out] == program.predict(x).tolist()
    scores = np.concatenate([s for _, s in out]).astype(np.float32)
    assert scores.tobytes() == program.scores(x).tobytes()


@pytest.mark.slow
def test_arrays_and_what_is_refused(tmp_path: Path) -> None:
    """By the command line: NumPy reads what the trainer's own file holds; sums of real numbers are no ONNX graph."""
    (tmp_path / "net.bnn").write_text(NETS["numbers"])
    _, program, _ = trained("numbers")
    for name in ("w.npz", "w.safetensors"):
        words = [sys.executable, "-m", "bnnc", "export", "net.bnn", "--weights", program._work / "run", "-o", name]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and f"{name}: net, " in done.stderr, done.stderr
    want, numpy, mine = program.weights, np.load(tmp_path / "w.npz"), tensors.read(tmp_path / "w.safetensors")
    assert set(want) == set(numpy) == set(mine)
    assert all((numpy[n] == want[n]).all() and (mine[n] == want[n]).all() for n in want)
    with pytest.raises(BnncError, match="no format is called so"):
        bnnc.parse(NETS["numbers"]).export(want, tmp_path / "net.pt")
    pytest.importorskip("onnx")
    real = bnnc.parse(NETS["numbers"].replace("dense 40;", "dense 40 weights = real;").replace("edge", "standard"))
    weights = real.compile().weights
    with pytest.raises(BnncError, match="sum of real numbers") as e:
        real.export(weights, tmp_path / "net.onnx")
    assert e.value.exit_code == 2 and not (tmp_path / "net.onnx").exists()
