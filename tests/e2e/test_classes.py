"""Classes by name: through packing, training, evaluation and prediction; what `eval` finds class by class is
scikit-learn's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import bnnc
from bnnc import data
from bnnc.api.weights import names_beside, read_weights
from bnnc.backends.c.names import string
from bnnc.ir.dtype import round_up

metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn (extra `test`)")
pytestmark = pytest.mark.usefixtures("one_level")

NAMES = ("cat", "großer Hund", "bird")
SPEC = """network net { input f32[4] median; dense 15; batchnorm; sign; dense 3; batchnorm; loss; }
rule edge;
train { batch = 10; epochs = 3; HOLD optimizer = adam(lr = 1e-2); }
data { train = bnnd("train.bnnd"); }
"""


def table(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of three classes that overlap."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return rng.normal(0, 1, (n, 4)) + np.eye(3, 4)[y] * 2, y


def csv(path: Path, x: np.ndarray, y: np.ndarray, names: tuple[str, ...] = NAMES) -> None:
    rows = [",".join(map(repr, map(float, r))) + f",{names[k]}" for r, k in zip(x, y, strict=True)]
    path.write_text("a,b,c,d,kind\n" + "\n".join(rows) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed CSV with names, a test file, and a trained network."""
    home = tmp_path_factory.mktemp("classes")
    csv(home / "train.csv", *table(90, 1))
    csv(home / "test.csv", *table(60, 2))
    data.pack(home / "train.csv", test=[home / "test.csv"], output=home / "train.bnnd")
    text = SPEC.replace("HOLD", "holdout = 0.2;")
    program = bnnc.parse(text).compile()
    shutil.copy(program.binary, home / "net")
    go(home, "train", "--data", ".")
    return home


def go(home: Path, *args: object, code: int = 0) -> str:
    done = subprocess.run(["./net", *map(str, args)], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def test_a_file_keeps_names_and_old_files_have_none(tmp_path: Path, home: Path) -> None:
    d = data.read_bnnd(home / "train.bnnd")
    assert d.names == ("bird", "cat", "großer Hund") and data.info(home / "train.bnnd")["names"] == list(d.names)
    assert f"({d.names[d.y[0]]})" in data.preview(home / "train.bnnd")
    data.write_bnnd(tmp_path / "again.bnnd", d)
    assert (tmp_path / "again.bnnd").read_bytes() == (home / "train.bnnd").read_bytes()
    data.write_bnnd(tmp_path / "plain.bnnd", data.Dataset(d.x, d.y))
    raw = (tmp_path / "plain.bnnd").read_bytes()
    assert raw[84:92] == bytes(8) and data.read_bnnd(tmp_path / "plain.bnnd").names == ()
    (tmp_path / "again.bnnd").write_bytes((home / "train.bnnd").read_bytes().replace(b"Hund", b"Hand"))
    with pytest.raises(bnnc.BnncError, match="names"):
        data.read_bnnd(tmp_path / "again.bnnd")


@pytest.mark.parametrize(
    ("names", "why"),
    [(("a", "b"), "2 names for 3"), (("a", "a", "b"), "two classes"), (("a", "", "b"), "''"), (("a\n", "b", "c"), "a")],
)
def test_what_is_no_name_is_refused(tmp_path: Path, names: tuple[str, ...], why: str) -> None:
    d = data.Dataset(np.zeros((3, 2), np.uint8), np.arange(3, dtype=np.uint8), names=names)
    with pytest.raises(bnnc.BnncError, match=why):
        data.write_bnnd(tmp_path / "x.bnnd", d)
    assert not (tmp_path / "x.bnnd").exists()


def test_eval_is_scikit_learns(home: Path) -> None:
    x, y = table(60, 2)
    truth = np.array([("bird", "cat", "großer Hund").index(NAMES[k]) for k in y])
    r = json.loads(go(home, "eval", "--json", "--data", "."))
    said = [json.loads(line) for line in go(home, "predict", "--json", "--data", ".").splitlines()]
    got = np.array([s["class"] for s in said])
    assert [s["name"] for s in said] == [("bird", "cat", "großer Hund")[k] for k in got]
    assert go(home, "predict", "--data", ".").splitlines() == [s["name"] for s in said]
    assert r["confusion"] == metrics.confusion_matrix(truth, got).tolist()
    assert r["balanced_acc"] == pytest.approx(metrics.balanced_accuracy_score(truth, got), rel=1e-5)
    assert [c["name"] for c in r["classes"]] == ["bird", "cat", "großer Hund"]
    recall = [c["found"] / c["samples"] for c in r["classes"]]
    precision = [c["found"] / c["said"] for c in r["classes"]]
    assert recall == pytest.approx(metrics.recall_score(truth, got, average=None))
    assert precision == pytest.approx(metrics.precision_score(truth, got, average=None))
    text = go(home, "eval", "--data", ".")
    assert f"\n  2 {'großer Hund':<20}{r['classes'][2]['samples']:8}" in text
    rows = [line.split() for line in text[text.index("taken as") :].splitlines()[1:]]
    assert [list(map(int, row[1:])) for row in rows] == r["confusion"]


def test_what_was_held_out_is_evaluated_where_there_is_no_test(home: Path) -> None:
    log = home / "log.jsonl"
    go(home, "train", "--train", "train.bnnd", "--test", "none", "--out", "held", "--log", log, "--epochs", "2")
    epoch = [json.loads(line) for line in log.read_text().splitlines()][-2]
    d = data.read_bnnd(home / "train.bnnd")
    k = d.n - d.n_test
    data.write_bnnd(home / "only.bnnd", data.Dataset(d.x[:k], d.y[:k], names=d.names))
    go(home, "train", "--train", "only.bnnd", "--out", "only", "--log", log, "--epochs", "2", "--quiet")
    epoch = [json.loads(line) for line in log.read_text().splitlines()][-2]
    r = json.loads(go(home, "eval", "--json", "--train", "only.bnnd", "--out", "only"))
    assert r["holdout_acc"] == pytest.approx(epoch["holdout_acc"]) and r["samples"] == 18
    assert go(home, "eval", "--train", "only.bnnd", "--out", "only").startswith("held out ")
    data.write_bnnd(home / "fewer.bnnd", data.Dataset(d.x[: k - 1], d.y[: k - 1], classes=3))
    assert "which were held out is not known" in go(home, "eval", "--train", "fewer.bnnd", "--out", "only", code=5)


@pytest.mark.parametrize("compress", [False, True])
def test_names_lie_beside_the_checkpoints(home: Path, tmp_path: Path, compress: bool) -> None:
    """Of a file that is expanded too; training on one without names leaves none."""
    d = data.read_bnnd(home / "train.bnnd")
    data.write_bnnd(tmp_path / "x.bnnd", d, compress=compress)
    out = tmp_path / "run"
    go(home, "train", "--train", tmp_path / "x.bnnd", "--out", out, "--epochs", "1")
    assert (out / "classes.txt").read_text(encoding="utf-8") == "bird\ncat\ngroßer Hund\n\na\nb\nc\nd\n"
    np.save(tmp_path / "x.npy", d.x)
    assert set(go(home, "predict", "--test", tmp_path / "x.npy", "--out", out).split("\n")) - {""} <= set(d.names)
    data.write_bnnd(tmp_path / "plain.bnnd", data.Dataset(d.x, d.y, classes=3, n_test=d.n_test))
    go(home, "train", "--train", tmp_path / "plain.bnnd", "--out", out, "--epochs", "1", "--resume", "never")
    assert not (out / "classes.txt").exists()
    assert set(go(home, "predict", "--test", tmp_path / "x.npy", "--out", out).split()) <= {"0", "1", "2"}


def test_python_sees_the_same(home: Path) -> None:
    x, y = table(60, 2)
    program = bnnc.parse(SPEC.replace("HOLD", "")).compile()
    program.fit(*table(90, 1), epochs=3)
    got, e = program.predict(x.astype(np.float32)), program.evaluate(x.astype(np.float32), y)
    assert e.accuracy == pytest.approx((got == y).mean(), rel=1e-5) and e.confusion is not None
    assert (e.confusion == metrics.confusion_matrix(y, got)).all()
    assert e.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(y, got), rel=1e-5)
    assert e.recall == pytest.approx(metrics.recall_score(y, got, average=None))


PRINTS = """#include <cstdio>
#include "net.h"
int main() { for (const auto &name : net_class_names) std::puts(name); }
"""


def test_a_program_that_predicts_has_the_names_in_it(home: Path, tmp_path: Path) -> None:
    """It says them as the trainer does, without the run; a C++ program reads them; each of their bytes is planned."""
    net, run = bnnc.parse(SPEC.replace("HOLD", "holdout = 0.2;")), home / "run"
    weights = read_weights(run, net.plan().planned)
    p = net.predictor(run, out=tmp_path / "ask")
    assert p.class_names == ("bird", "cat", "großer Hund") and net.predictor(weights).class_names == ()
    x = data.read_bnnd(home / "train.bnnd").x[-60:]
    np.save(tmp_path / "x.npy", x)
    said = go(home, "predict", "--test", tmp_path / "x.npy")
    assert p.run(["predict", "--test", str(tmp_path / "x.npy")]).stdout == said and "großer Hund" in said
    assert [p.class_names[k] for k in p.predict(x)] == said.splitlines()
    (tmp_path / "mine.cc").write_text(PRINTS)
    bnnc.driver.emit_source(p.plan.planned).write(tmp_path)
    subprocess.run(["gcc", "-c", "-O1", "-DBNNC_LIBRARY", "net.c"], cwd=tmp_path, check=True)
    subprocess.run(["g++", "mine.cc", "net.o", "-o", "mine", "-lm"], cwd=tmp_path, check=True)
    named = subprocess.run(["./mine"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert named.splitlines() == list(p.class_names)
    flash = [net.planned_predictor(w, "cortex-m").report.flash for w in (weights, run)]
    assert flash[1] - flash[0] == round_up(3 * len("großer Hund\0".encode()), 4)


def test_names_of_other_classes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("a\nb\n")
    assert names_beside(tmp_path / "best.bnnck", 2) == ("a", "b")
    with pytest.raises(bnnc.BnncError, match="2 names for 3 classes"):
        names_beside(tmp_path, 3)


def test_a_name_is_c() -> None:
    """Whatever is in it: quotes, trigraphs, a digit behind what is no ASCII."""
    assert string('a"\\??=é1') == r'"a\042\134\077\077=\303\2511"'
