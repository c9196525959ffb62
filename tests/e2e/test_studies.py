"""The study of rules without back-propagation (``studies/feedback_free``): its driver on networks of seconds, its data
from every form that images.py reads, and that its README says what its results hold.
"""

from __future__ import annotations

import gzip
import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import helpers
import numpy as np
import pytest

import bnnc
from bnnc.diag import BnncError

STUDY = Path(__file__).parents[2] / "studies/feedback_free"
MODULES = ("cases", "images", "report", "run")
pytestmark = pytest.mark.usefixtures("one_level")


@dataclass(frozen=True)
class Study:
    cases: ModuleType
    images: ModuleType
    report: ModuleType
    run: ModuleType


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:
    """The study's modules, as its own command has them; programs go to the tests' cache."""
    monkeypatch.syspath_prepend(str(STUDY))
    monkeypatch.setenv("XDG_CACHE_HOME", str(helpers.CACHE))
    import cases  # type: ignore[import-not-found]
    import images  # type: ignore[import-not-found]
    import report  # type: ignore[import-not-found]
    import run  # type: ignore[import-not-found]

    monkeypatch.setattr(run.Study, "target", "host")  # `native` passes by the cache of compiled programs
    yield Study(cases, images, report, run)
    for name in MODULES:
        del sys.modules[name]


def idx(path: Path, x: np.ndarray) -> None:
    """MNIST's format, compressed."""
    with gzip.open(path, "wb") as f:
        f.write(struct.pack(f">BBBB{x.ndim}I", 0, 0, 8, x.ndim, *x.shape) + x.tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """MNIST and CIFAR-10 in small: pictures brighter where their class says."""
    home, rng = tmp_path / "data", np.random.default_rng(0)
    (home / "mnist").mkdir(parents=True)
    for which, n in (("train", 256), ("t10k", 128)):
        y = (np.arange(n) % 10).astype(np.uint8)
        x = rng.integers(0, 128, (n, 28, 28)).astype(np.uint8)
        x[np.arange(n), 2 * y] += 127
        idx(home / f"mnist/{which}-images-idx3-ubyte.gz", x)
        idx(home / f"mnist/{which}-labels-idx1-ubyte.gz", y)
    for which in ("data_batch_1", "test_batch"):
        records = rng.integers(0, 256, (4, 3073)).astype(np.uint8)
        records[:, 0] = range(4)
        (home / f"{which}.bin").write_bytes(records.tobytes())
    return home


def tiny(study: Study) -> dict[str, object]:
    """The perceptron's experiment with two narrow layers under a rule, and under one that it cannot have."""
    table = study.cases.TABLES["mlp-mnist"]
    text = table.cases[-1].text.replace("dense 700; normalise; sign;\n  dense 500; normalise; sign;\n", "")
    text = text.replace("dense 300", "dense 16").replace("dense 200", "dense 8").replace("batch = 128", "batch = 64")
    rows = [replace(c, text=text) for c in table.cases if c.network == "norm" and c.rule == "dfa"]
    rows += [
        replace(rows[0], network="in parts", rule="hsic", text=text.replace("seed = 1", "seed = 1;\n  microbatch = 2"))
    ]
    rows = [replace(c, like=c.network, rate=0.0) for c in rows]
    return {"mlp-mnist": replace(table, cases=tuple(rows), epochs=2, search=1, rates=(1e-2, 1e-3))}


@pytest.mark.slow
def test_the_study_is_interrupted_and_goes_on(
    study: Study, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped after a run and begun again, it tells the same tables as one that was not; what is there is kept."""
    monkeypatch.setattr(study.cases, "TABLES", tiny(study))
    for module in (study.run, study.report):
        monkeypatch.setattr(module, "TABLES", study.cases.TABLES)
        monkeypatch.setattr(module, "PARTS", {"mlp": ("mlp-mnist",), "nets": ()})
    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        if "mlp-mnist: [1/2]" in line:
            raise KeyboardInterrupt

    def told(out: str) -> str:
        argv = ["run.py", "--data", str(folder), "--part", "mlp", "--seeds", "2", "--out", str(tmp_path / out)]
        monkeypatch.setattr(sys, "argv", argv)
        study.run.main()
        return capsys.readouterr().out

    monkeypatch.setattr(study.run, "note", stop)
    with pytest.raises(KeyboardInterrupt):
        told("a")
    kept = (tmp_path / "a/mlp-mnist/runs.jsonl").read_text()
    assert len(kept.splitlines()) == 1 and not (tmp_path / "a/results.json").exists()
    monkeypatch.setattr(study.run, "note", said.append)
    page = told("a")
    assert (tmp_path / "a/mlp-mnist/runs.jsonl").read_text().startswith(kept)
    assert any(line.startswith("mlp-mnist: 1 of 2 runs taken") for line in said)
    assert page == told("b") and page == told("a")
    found = json.loads((tmp_path / "a/results.json").read_text())
    assert [len(r["best"]) for r in found["mlp"]["accuracy"]] == [2, 0]
    assert "| norm | DFA |" in page and "none: `hsic` compares all samples" in page
    assert {s["rate"] for s in found["mlp"]["search"]} == set(study.cases.TABLES["mlp-mnist"].rates)
    assert (tmp_path / "a/plot.png").read_bytes().startswith(b"\x89PNG")


def test_data_are_found_in_every_form(study: Study, folder: Path, tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")
    (x, y), (xt, _) = study.images.mnist(folder)
    assert x.shape == (256, 784) and xt.shape == (128, 784) and list(y[:3]) == [0, 1, 2]
    (x, y), _ = study.images.cifar10(folder)
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    for which in ("data_batch_1", "test_batch"):
        whole = np.concatenate([np.concatenate(list(pair), axis=1) for pair in (x[:2], x[2:])])
        Image.fromarray(whole).save(sheets / f"{which}.webp", lossless=True)
        np.save(sheets / f"{which}.labels.npy", y)
    (same, labels), _ = study.images.cifar10(sheets)
    assert (same == x).all() and (labels == y).all()
    with pytest.raises(BnncError, match="does not hold mnist"):
        study.images.mnist(sheets)


def test_answers_follow_from_intervals(study: Study) -> None:
    """Apart by more than seeds are, either way; and in between."""
    a, b = [0.9, 0.91, 0.92], [0.8, 0.81, 0.83]
    assert study.report.verdict(study.report.ahead(a, b)).startswith("**yes** (+9.7 ± ")
    assert study.report.verdict(study.report.ahead(b, a)).startswith("**no** (-9.7 ± ")
    assert study.report.verdict(study.report.ahead(a, [0.92, 0.91, 0.9])) == "open (+0.0 ± 5.0 points)"


def test_the_readme_holds_the_results(study: Study) -> None:
    found = json.loads((STUDY / "results/results.json").read_text(encoding="utf-8"))
    readme = (STUDY / "README.md").read_text(encoding="utf-8")
    assert study.report.filled(readme, found) == readme
    assert all(f"<!-- {name} -->" in readme for name in study.report.sections(found))
    assert (STUDY / "results/results.md").read_text(encoding="utf-8") == study.report.page(found)
    assert (STUDY / "results/results.csv").read_text(encoding="utf-8") == study.report.table(found)


def test_every_network_of_the_study_is_one(study: Study) -> None:
    """Whatever is changed in a network, it is checked; of the rules one that needs no more than the others."""
    cases = {(c.text, c.lets) for table in study.cases.TABLES.values() for c in table.cases}
    assert len(cases) == 16
    for text, lets in cases:
        assert bnnc.parse(text).with_(rule="dfa", **dict(lets)).model.rule.name == "dfa"
