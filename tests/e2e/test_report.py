"""`bnnc report` and `bnnc plan --html`: what the pages say is what the log, the program, the checkpoint and the plan
say; they need no network.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import threading
import zlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import bnnc
from bnnc import data
from bnnc.api import Program
from bnnc.cli import report as command
from bnnc.cli.commands import cli
from bnnc.data import tensors
from bnnc.plan.life import life
from bnnc.report import chart, run, weights

pytestmark = pytest.mark.usefixtures("one_level")
SIDE, NAMES = 8, ("left", "right", "<top>")
SPEC = f"""network net {{
  input u8[{SIDE}, {SIDE}] median(pad_odd = on);
  flatten;
  repeat 2 {{ dense 15; sign; }}
  dense 3;
  loss;
}}
rule bep;
train {{ batch = 10; epochs = 4; }}
data {{ train = bnnd("train.bnnd"); }}
"""


@dataclass
class Page(HTMLParser):
    """Tables by id, as rows of texts; boxes and images with their attributes; every address."""

    text: str
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    boxes: list[dict[str, str]] = field(default_factory=list)
    images: list[dict[str, str]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._rows: list[list[str]] = []
        self._cell = False
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {k: v or "" for k, v in attrs}
        self.addresses += [given[k] for k in ("src", "href") if k in given]
        if tag == "table":
            self._rows = self.tables.setdefault(given.get("id", ""), [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
            self._cell = True
        elif tag == "button":
            self.boxes.append(given)
        elif tag == "img":
            self.images.append(given)

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self._rows[-1][-1] += data

    @property
    def told(self) -> dict[str, dict[str, object]]:
        found = re.search(r'id="told">(.*?)</script>', self.text, re.DOTALL)
        assert found
        return json.loads(found[1])


def pixels(address: str) -> np.ndarray:
    """u8[height, width] or u8[height, width, 3] of an inline PNG."""
    raw = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert raw[:8] == b"\x89PNG\r\n\x1a\n" and raw[12:16] == b"IHDR"
    width, height = (int.from_bytes(raw[i : i + 4], "big") for i in (16, 20))
    at = raw.index(b"IDAT")
    body = zlib.decompress(raw[at + 4 : at + 4 + int.from_bytes(raw[at - 4 : at], "big")])
    x = np.frombuffer(body, np.uint8).reshape(height, -1)[:, 1:]
    return x.reshape(height, width, 3) if raw[25] == 2 else x


def samples(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise that is brighter on one side: hard enough to be confused."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n).astype(np.uint8)
    x = rng.integers(0, 200, (n, SIDE, SIDE))
    for k, part in enumerate((np.s_[:, : SIDE // 2], np.s_[:, SIDE // 2 :], np.s_[: SIDE // 2])):
        x[y == k] += np.array(25 * np.isin(np.arange(SIDE * SIDE).reshape(SIDE, SIDE), _where(part)))
    return x.astype(np.uint8), y


def _where(part: object) -> np.ndarray:
    return np.arange(SIDE * SIDE).reshape(SIDE, SIDE)[part].ravel()  # type: ignore[index]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Program]:
    """Two runs with different seeds, kept as `bnnc run` keeps them, and the program."""
    home = tmp_path_factory.mktemp("report")
    x, y = samples(300)
    data.write_bnnd(home / "train.bnnd", data.Dataset(x, y, classes=3, n_test=100, names=NAMES))
    (home / "net.bnn").write_text(SPEC)
    net = bnnc.load(home / "net.bnn")
    program = net.compile(cache=True)
    for seed in (1, 2):
        out = home / f"seed{seed}"
        args = ["train", "--data", str(home), "--out", str(out), "--seed", str(seed)]
        run.write_record(out, net, f"bnnc run net.bnn -- --seed {seed}", args, data=str(home))
        program.run([*args, "--log", str(out / run.LOG), "--export", str(out / "w.safetensors")])
    return home, program


def go(*args: object, code: int = 0) -> str:
    done = CliRunner().invoke(cli, [str(a) for a in args])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def page(trained: tuple[Path, Program]) -> Page:
    assert "Next: open" in go("report", trained[0] / "seed1")
    return Page((trained[0] / "seed1/report.html").read_text(encoding="utf-8"))


def test_a_page_needs_nothing_else(page: Page) -> None:
    assert page.addresses and all(a.startswith("data:image/png;base64,") for a in page.addresses)
    assert "http://" not in page.text and "https://" not in page.text and "url(" not in page.text
    assert "@import" not in page.text and "&lt;top&gt;" in page.text and "<top>" not in page.text


def test_epochs_and_memory_are_the_log_s(page: Page, trained: tuple[Path, Program]) -> None:
    records = [json.loads(line) for line in (trained[0] / "seed1/log.jsonl").read_text().splitlines()]
    epochs, end = [r for r in records if r["event"] == "epoch"], records[-1]
    head, *rows = page.tables["epochs"]
    assert [[row[head.index(k)] for k in ("epoch", "loss", "test_acc")] for row in rows] == [
        [str(e[k]) for k in ("epoch", "loss", "test_acc")] for e in epochs
    ]
    memory = {r[0]: int(r[1].replace(" ", "")) for r in page.tables["memory"]}
    assert memory.pop("measured") == end["memory_measured"]
    assert memory.pop("predicted") == end["memory_predicted"] == sum(memory.values())
    for e in epochs:
        half = 1.959963985 * (e["test_acc"] * (1 - e["test_acc"]) / 100) ** 0.5
        assert f"test, epoch {e['epoch']}: {100 * e['test_acc']:.2f} ± {100 * half:.2f} %" in page.text
        sizes = {"dense1": 15 * SIDE * (SIDE + 1), "dense2": 15 * 15}  # `pad_odd` adds an input to each line
        for layer, flips in e["flips"].items():
            assert f"{layer}, epoch {e['epoch']}: {100 * flips / sizes[layer] / 20:.2f} %" in page.text
    again = dict(page.tables[""])
    assert again["state"] == end["state"] and again["seed"] == "1" and again["spec"] == records[0]["hash"]
    assert again["command"] == "bnnc run net.bnn -- --seed 1" and again["bnnc"] == records[0]["version"]


def test_the_confusion_matrix_is_that_of_predictions(page: Page, trained: tuple[Path, Program]) -> None:
    home, program = trained
    d = data.read_bnnd(home / "train.bnnd")
    x, y = d.x[-100:], d.y[-100:]
    done = program.run(["predict", "--json", "--data", str(home), "--out", str(home / "seed1")])
    said = np.array([json.loads(line)["class"] for line in done.stdout.splitlines()])
    matrix = np.zeros((3, 3), int)
    np.add.at(matrix, (y, said), 1)
    head, *rows = page.tables["confusion"]
    assert tuple(head[1:]) == NAMES == tuple(r[0] for r in rows)
    assert [[int(n or 0) for n in r[1:]] for r in rows] == matrix.tolist()
    recall = {r[0]: r[2] for r in page.tables["classes"][1:]}
    assert recall == {n: f"{100 * matrix[k, k] / matrix[k].sum():.2f} %" for k, n in enumerate(NAMES)}
    shown = [i for i in page.images if i["alt"].startswith("sample ")]
    assert len(shown) > 3
    for image in shown:  # wrong ones, and as they are
        i = int(image["alt"].split()[1])
        assert said[i] != y[i] and np.array_equal(pixels(image["src"]), x[i])


def test_weights_are_those_of_the_run(page: Page, trained: tuple[Path, Program]) -> None:
    w = tensors.read(trained[0] / "seed1/w.safetensors")["dense1.weight"]
    pixels_of = w.reshape(15, SIDE, SIDE + 1)[:, :, :SIDE]  # `pad_odd` adds an input to each line, which is no pixel
    shown = [i for i in page.images if i["alt"].startswith("unit ")]
    assert len(shown) == 15
    for unit, image in enumerate(shown):
        assert np.array_equal(pixels(image["src"]) > 127, pixels_of[unit] > 0)


def test_boxes_are_the_plan_s_buffers(trained: tuple[Path, Program], tmp_path: Path) -> None:
    go("plan", trained[0] / "net.bnn", "--html", tmp_path / "plan.html", "--target", "rpi")
    found = Page((tmp_path / "plan.html").read_text(encoding="utf-8"))
    placed = bnnc.load(trained[0] / "net.bnn").plan("rpi").planned.placed
    plan, n = placed.plan, len(placed.plan.steps)
    assert {b["data-name"] for b in found.boxes} == set(plan.named) and len(found.boxes) == len(plan.buffers)
    for box in found.boxes:
        b = plan.named[box["data-name"]]
        at = {k: float(v.rstrip("%")) for k, v in (part.split(":") for part in box["style"].split(";"))}
        edges = [at["left"] * n / 100, (at["left"] + at["width"]) * n / 100]
        assert edges == pytest.approx([b.first, b.last + 1], abs=1e-3)
        low = at["bottom"] * plan.arena_bytes / 100
        assert [low, at["height"] * plan.arena_bytes / 100] == pytest.approx([b.offset, b.nbytes], abs=1)
        assert int(box["data-bytes"]) == b.nbytes
        told, own = found.told[b.name], life(placed, b)
        assert told["line"] == (b.span.line if b.span.known else 0)
        assert [text for head, text in told["rows"] if head == "why"] == list(own.why)
    memory = {r[0]: int(r[1].replace(" ", "")) for r in found.tables["memory"]}
    assert memory["predicted"] == bnnc.load(trained[0] / "net.bnn").plan("rpi").total_bytes and "measured" not in memory


def test_several_runs_have_a_mean_and_an_interval(trained: tuple[Path, Program], tmp_path: Path) -> None:
    go("report", trained[0] / "seed1", trained[0] / "seed2", "-o", tmp_path / "both.html")
    text = (tmp_path / "both.html").read_text(encoding="utf-8")
    last = [run.read(trained[0] / f"seed{s}").epochs[-1]["test_acc"] for s in (1, 2)]
    mean, half = sum(last) / 2, 12.7062 * abs(last[0] - last[1]) / 2  # Student's t of two values
    assert f"test, epoch 4: {100 * mean:.2f} ± {100 * half:.2f} %" in text and "of 2 runs" in text
    assert dict(Page(text).tables[""])["seed"] == "1, 2"


def test_a_page_follows_a_run(trained: tuple[Path, Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "PAUSE", 0.02)
    live, lines = tmp_path / "live", (trained[0] / "seed1/log.jsonl").read_text().splitlines(keepends=True)
    shutil.copytree(trained[0] / "seed1", live)
    (live / run.LOG).write_text("".join(lines[:3]) + lines[3][:20])  # a line that is not whole yet
    (live / "report.html").unlink(missing_ok=True)
    seen: list[str] = []

    def goes_on() -> None:
        while not (live / "report.html").exists():
            threading.Event().wait(0.02)
        seen.append((live / "report.html").read_text(encoding="utf-8"))
        (live / run.LOG).write_text("".join(lines))

    other = threading.Thread(target=goes_on)
    other.start()
    go("report", live, "--follow")
    other.join()
    assert 'http-equiv="refresh"' in seen[0] and len(Page(seen[0]).tables["epochs"]) == 3
    text = (live / "report.html").read_text(encoding="utf-8")
    assert 'http-equiv="refresh"' not in text and len(Page(text).tables["epochs"]) == 5


def test_what_is_no_run_is_refused(trained: tuple[Path, Program], tmp_path: Path) -> None:
    home = trained[0]
    assert "B0910" in go("report", tmp_path / "nothing", code=2)
    assert f"runs: {home / 'seed1'}, {home / 'seed2'}" in go("report", home, code=2)
    assert f"runs: {home / 'seed1'}, {home / 'seed2'}" in go("report", home / "seed3", code=2)
    bare = tmp_path / "bare"
    shutil.copytree(home / "seed1", bare, ignore=shutil.ignore_patterns(run.RECORD))
    assert "--spec FILE.bnn" in go("report", bare, code=2)
    (home / "other.bnn").write_text(SPEC.replace("dense 15", "dense 31"))
    assert "seed1 is a run of net" in go("report", home / "seed1", "--spec", home / "other.bnn", code=2)
    assert "Next: open" in go("report", bare, "--spec", home / "net.bnn", "--data", home)
    (bare / run.LOG).write_text("epoch 1\n")
    assert "line 1 is not one of a trainer's log" in go("report", bare, "--spec", home / "net.bnn", code=2)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.123, 0.124), (3, 3), (-5, 1e6), (0, 0), (0.44, 0.768)])
def test_ticks_hold_what_they_are_for(low: float, high: float) -> None:
    found = chart.ticks(low, high, 5)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 8
    assert np.allclose(np.diff(found), found[1] - found[0])


@pytest.mark.parametrize(("window", "shape"), [("kernel = 5", (5, 5, 2, 1)), ("kernel = 5 width = 1", (5, 1, 2, 1))])
def test_windows_that_are_narrower_than_high(window: str, shape: tuple[int, ...]) -> None:
    text = SPEC.replace(f"u8[{SIDE}, {SIDE}] median(pad_odd = on)", "u8[12, 12, 2]").replace("rule bep", "rule edge")
    text = text.replace("flatten;", f"conv 8 {window} padding = same; batchnorm; sign; flatten;")
    plan = bnnc.parse(text.replace("dense 15; sign;", "dense 15; batchnorm; sign;")).plan()
    found = weights.first(plan)
    assert found is not None and weights._window(plan, found[0]) == shape
