"""`bnnc init`: data of one's own, a first spec for them, and what it is worth; the split that a hash decides."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bnnc
from bnnc import data
from bnnc.data.split import split
from bnnc.study.starter import WIDTHS, starter

pytestmark = pytest.mark.usefixtures("one_level")
FASHION = Path(__file__).parents[2] / "examples/fashion_bep/fashion_1500.bnnd"


def go(folder: Path, *args: object, code: int = 0) -> tuple[str, str]:
    argv = [sys.executable, "-m", "bnnc", *map(str, args)]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def table(path: Path, n: int = 150) -> None:
    """A CSV with names, and labels that are words."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    x = rng.normal(0, 0.5, (n, 3)) + np.eye(3)[y] * 3
    rows = [",".join(f"{v:.3f}" for v in r) + f",{('ok', 'worn', 'broken')[k]}" for r, k in zip(x, y, strict=True)]
    path.write_text("a,b,c,state\n" + "\n".join(rows) + "\n")


def photos(folder: Path, n: int) -> None:
    """FOLDER/CLASS/NUMBER.png."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow (extra `images`)")
    d = data.read_bnnd(FASHION)
    for i in range(n):
        to = folder / f"class{d.y[i]}"
        to.mkdir(parents=True, exist_ok=True)
        image.fromarray(d.x[i].reshape(28, 28)[::2, ::2]).save(to / f"{i}.png")


@pytest.mark.slow
def test_from_a_csv_to_a_network_that_has_learned(tmp_path: Path) -> None:
    table(tmp_path / "pump.csv")
    _, said = go(tmp_path, "init", "pump", "--data", "pump.csv", "--target", "rpi", "--ram", "400KiB")
    assert "f32[3], 3 classes: broken, ok, worn" in said and "Next: bnnc run pump/pump.bnn" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pump", "pump.csv"]
    assert sorted(p.name for p in (tmp_path / "pump").iterdir()) == ["README.md", "pump.bnn", "pump.bnnd"]
    d = data.read_bnnd(tmp_path / "pump/pump.bnnd")
    assert d.n == 150 and 15 <= d.n_test <= 45 and d.names == ("broken", "ok", "worn")
    assert bnnc.load(tmp_path / "pump/pump.bnn").plan("rpi").total_bytes <= 400 * 1024
    go(tmp_path / "pump", "run", "pump.bnn")
    found = json.loads(go(tmp_path / "pump", "run", "--json", "pump.bnn", "eval")[0])
    assert found["test_acc"] > 0.9 and found["samples"] == d.n_test
    for line in (tmp_path / "pump/README.md").read_text().splitlines():
        if line.startswith("    bnnc ") and " run " not in line:  # the commands it names work as they stand
            go(tmp_path / "pump", *line.split("#")[0].split()[1:])


@pytest.mark.slow
def test_photos_get_convolutions_and_less_memory_a_narrower_network(tmp_path: Path) -> None:
    photos(tmp_path / "clothes", 120)
    out, _ = go(tmp_path, "init", "a/b", "--data", "clothes", "--json")
    facts = json.loads(out)
    assert facts["shape"] == [14, 14, 1] and facts["samples"] + facts["test_samples"] == 120
    text = (tmp_path / "a/b/b.bnn").read_text()
    assert f"dense {WIDTHS[-1]};" in text and text.count("conv ") == 2 and "u8[14, 14, 1]" in text
    d = split(data.pack(tmp_path / "clothes"), 0.2)
    small = starter(d, "b", "b.bnnd", ram="500KiB")
    assert (
        450 * 1024 < small.plan.total_bytes <= 500 * 1024 < facts["plan"]["total_bytes"]
        and "conv 32 " not in small.text
    )
    _, said = go(tmp_path, "init", "c", "--data", "clothes", "--ram", "100KiB", code=3)
    assert "B0601" in said and not (tmp_path / "c").exists()


def test_nothing_is_written_over_or_half_written(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/x").write_text("x")
    table(tmp_path / "t.csv")
    assert "B0903" in go(tmp_path, "init", "mine", "--data", "t.csv", code=2)[1]
    assert "B0801" in go(tmp_path, "init", "new", "--data", "nowhere.csv", code=5)[1]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["mine", "t.csv", "x"]


@pytest.mark.parametrize(
    ("kind", "shape"), [(np.uint8, (7,)), (np.float32, (6, 2)), (np.bool_, (30,)), (np.uint8, (4, 4))]
)
def test_every_kind_of_data_gets_a_spec_that_holds(kind: type, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    d = split(
        data.Dataset(rng.integers(0, 2, (64, *shape)).astype(kind), np.arange(64, dtype=np.uint8) % 4, classes=4), 0.3
    )
    made = starter(d, "net", "net.bnnd")
    bits = {(7,): "thermometer(8)", (6, 2): "thermometer(4)", (4, 4): "thermometer(4)"}.get(shape)
    assert bits in made.text if bits else "thermometer" not in made.text
    assert made.network.warnings == () and made.network.model.batch <= d.n - d.n_test
    assert made.network.model.layers[0]["tensor"].shape == shape


def test_a_series_that_does_not_fit_gets_fewer_bits() -> None:
    """4 bits a number; where not even the narrowest of these fits, 2, then numbers as they are."""
    x = np.random.default_rng(0).normal(size=(200, 50, 4)).astype(np.float32)
    d = data.Dataset(x, np.arange(200, dtype=np.uint8) % 3, classes=3, n_test=50)
    texts = [starter(d, "net", "net.bnnd", "cortex-m", kib << 10).text for kib in (64, 32, 24)]
    assert "thermometer(4)" in texts[0] and "thermometer(2)" in texts[1] and "thermometer" not in texts[2]


def test_a_budget_is_filled() -> None:
    """By the widest that fits; the next wider does not."""
    x = np.random.default_rng(0).normal(size=(200, 12)).astype(np.float32)
    d = data.Dataset(x, np.arange(200, dtype=np.uint8) % 3, classes=3, n_test=50)
    made = starter(d, "net", "net.bnnd", "cortex-m", 30 << 10)
    width = next(y["units"] for y in made.network.model.walk() if y.kind == "dense")
    assert width in WIDTHS and width & (width - 1)  # not a power of two
    wider = bnnc.parse(made.text.replace(f"dense {width};", f"dense {WIDTHS[WIDTHS.index(width) + 1]};"))
    assert made.plan.total_bytes <= 30 << 10 < wider.plan("cortex-m").total_bytes


def test_a_sample_stays_on_its_side(tmp_path: Path) -> None:
    """When others come, too; equal ones are on one side, and classes keep their samples."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (1000, 5)).astype(np.uint8)
    x[500:] = x[:500]
    d = data.Dataset(x, (np.arange(1000) % 7).astype(np.uint8), classes=7)
    s = split(d, 0.25)
    sides = [{r.tobytes() for r in part} for part in (s.x[: s.n - s.n_test], s.x[s.n - s.n_test :])]
    assert not sides[0] & sides[1] and 0.2 < s.n_test / s.n < 0.3
    few = split(data.Dataset(x[:100], d.y[:100], classes=7), 0.25)
    assert {r.tobytes() for r in few.x[few.n - few.n_test :]} <= sides[1]
    pairs = {(r.tobytes(), int(k)) for r, k in zip(d.x, d.y, strict=True)}
    assert {(r.tobytes(), int(k)) for r, k in zip(s.x, s.y, strict=True)} == pairs
    with pytest.raises(bnnc.BnncError, match="already"):
        split(s, 0.25)
    np.savez(tmp_path / "d.npz", x=d.x, y=d.y)
    go(tmp_path, "data", "pack", "d.npz", "--split", "25%", "-o", "d.bnnd")
    packed = data.read_bnnd(tmp_path / "d.bnnd")
    assert (packed.x == s.x).all() and (packed.y == s.y).all() and packed.n_test == s.n_test
    assert "--split" in go(tmp_path, "data", "pack", "d.npz", "--split", "some", "-o", "e.bnnd", code=2)[1]
    with pytest.raises(bnnc.BnncError, match="too few"):
        split(data.Dataset(x[:1], d.y[:1], classes=7), 0.25)
