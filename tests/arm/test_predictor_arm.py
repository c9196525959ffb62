"""Programs that only predict, on ARM: the classes that the host's trainer says, in the memory of the plan."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cross
import numpy as np
import pytest
from sklearn.datasets import load_digits

import bnnc
from bnnc.backends.c import build
from bnnc.backends.c.targets import TARGETS
from bnnc.data import Dataset, write_bnnd

pytestmark = pytest.mark.arm
SPEC = (
    "network digits {{ input u8[8, 8] {}; {} dense 32; {}sign; dense 10; {}loss; }}\n"
    'rule {}; train {{ batch = 20; epochs = 2; }} data {{ train = bnnd("digits.bnnd"); }}\n'
)
BN = "batchnorm; "
SPECS = {
    "edge": SPEC.format("thermometer(2)", "flatten;", BN, BN, "edge"),
    "bep": SPEC.format("sign(threshold = 8, pad_odd = on)", "flatten;", "", "", "bep"),
    "conv": SPEC.replace("u8[8, 8]", "u8[8, 8, 1]").format(
        "scale", f"conv 8 kernel = 3; {BN}sign; maxpool; flatten;", BN, BN, "standard"
    ),
}
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
QEMU = "qemu-system-arm -M mps2-an386 -nographic -monitor none -serial none -semihosting -kernel"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    d, folder = load_digits(), tmp_path_factory.mktemp("digits")
    x, y = d.images.astype(np.uint8), d.target.astype(np.uint8)
    write_bnnd(folder / "digits.bnnd", Dataset(x, y, classes=10, n_test=97, names=NAMES))
    np.save(folder / "x.npy", x[-97:].reshape(97, -1))
    return folder


def trained(digits: Path, name: str) -> tuple[bnnc.Network, Path, list[str]]:
    """The network, a run's folder, and the classes that the trainer says of the test samples."""
    path, run = digits / f"{name}.bnn", digits / name
    path.write_text(SPECS[name])
    net = bnnc.load(path)
    p = net.compile(threads=1)
    p.run(["train", "--data", str(digits), "--out", str(run), "--quiet"])
    return net, run, p.run(["predict", "--data", str(digits), "--out", str(run)]).stdout.split()


@pytest.mark.parametrize("name", SPECS)
def test_a_microcontroller(digits: Path, tmp_path: Path, name: str) -> None:
    """RAM is the plan's to the byte, weights are in flash, and no stack grows beyond its bound."""
    cross.need(TARGETS["cortex-m"])
    net, run, want = trained(digits, name)
    p = net.predictor(run, "cortex-m", tmp_path / "net.elf")
    report, facts = p.plan.planned.report, build.read_elf(tmp_path / "net.elf")
    planned = net.planned_predictor(run, "cortex-m").report
    assert facts.ram == report.total == report.arena + report.stack + report.code and facts.arena == report.arena
    assert (planned.code, planned.stack) == (report.code, report.stack) and facts.flash <= planned.flash
    done = subprocess.run(
        [*QEMU.split(), str(tmp_path / "net.elf")], capture_output=True, text=True, check=True, timeout=300
    )
    *classes, memory = done.stdout.splitlines()
    total, used, bound = map(int, re.findall(r"predicted (\d+) bytes; stack: (\d+) of (\d+)", memory)[0])
    assert classes == want and total == report.total and used <= bound == report.stack
    trains = net.plan("cortex-m")
    assert report.total < trains.total_bytes / 6


@pytest.mark.parametrize("target", ["rpi", "rpi2", "rpi-zero"])
def test_a_raspberry_pi(digits: Path, tmp_path: Path, target: str) -> None:
    """It reads a file of samples as they are measured."""
    cross.need(TARGETS[target])
    net, run, want = trained(digits, "edge")
    net.predictor(run, target, tmp_path / "net")
    done = cross.run(TARGETS[target], tmp_path / "net", "predict", "--test", digits / "x.npy")
    assert done.stdout.split() == want
