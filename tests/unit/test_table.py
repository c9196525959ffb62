"""Tables, folders and arrays of one's own: columns, words, no labels, other sizes, what is left out and shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import bnnc
from bnnc import data
from bnnc.cli import commands
from bnnc.data.table import Columns, category, read_table
from bnnc.inputs.encode import encoding
from bnnc.study.starter import starter

TEXT = "flow,colour,heat,state\n0.5,red,1,worn\n0.25,blue,2,fine\n1.5,red,3,fine\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text(TEXT, encoding="utf-8")
    return tmp_path / "a.csv"


def test_columns_are_taken_and_dropped_by_name_or_number(table: Path) -> None:
    every = read_table(table, Columns())
    assert every.x[:, [0, 2]].tolist() == [[0.5, 1], [0.25, 2], [1.5, 3]] and every.names == ("fine", "worn")
    assert every.y.tolist() == [1, 0, 0] and every.categories == ((1, "colour", 2),)
    assert read_table(table, Columns(drop=("colour", "2"))).x.tolist() == [[0.5], [0.25], [1.5]]
    assert read_table(table, Columns(take=("heat", "0"))).x.tolist() == [[1, 0.5], [2, 0.25], [3, 1.5]]
    labelled = read_table(table, Columns("heat", drop=("state",)))
    assert labelled.y.tolist() == [1, 2, 3] and labelled.x.shape == (3, 2)
    bare = read_table(table, Columns("none", drop=("state",)))
    assert bare.x.shape == (3, 3) and not bare.y.any() and bare.names == ()
    for wrong in (Columns(drop=("size",)), Columns(take=("4",)), Columns(take=("state",)), Columns("x")):
        with pytest.raises(bnnc.BnncError):
            read_table(table, wrong)


def test_a_word_is_the_same_number_in_every_file_and_a_bit_of_its_own(table: Path, tmp_path: Path) -> None:
    """So that a row to predict needs nothing of the training file; a word that was never seen sets no bit."""
    d = data.pack(table)
    (tmp_path / "b.csv").write_text("0.5,blue,1\n0.5,pink,1\n", encoding="utf-8")
    other = read_table(tmp_path / "b.csv", Columns("none"))
    assert d.x[1, 1] == other.x[0, 1] == np.float32(category("blue")) == category("blue") < 2**24
    net = starter(d, "net", "a.bnnd").network.model.layers[0]
    assert "onehot = [1], categories = [2]" in net["encoder"].text
    e = encoding(net["encoder"], net["tensor"])
    assert e is not None
    bits = [e.encode(x, e.fit(d.x))[:, e.bits : e.bits + 2] for x in (d.x, other.x)]
    assert (bits[0].sum(axis=1) == 1).all() and bits[0][0].tolist() == bits[0][2].tolist() != bits[0][1].tolist()
    assert bits[1].tolist() == [bits[0][1].tolist(), [False, False]]


def test_numbers_with_a_word_among_them_are_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2,0\n3,n/a,1\n", encoding="utf-8")
    with pytest.raises(bnnc.BnncError, match=r"line 2: `n/a` is not a number[^$]*--drop"):
        data.pack(tmp_path / "a.csv")


def test_arrays_that_are_left_out_are_named(tmp_path: Path) -> None:
    x = np.zeros((4, 3), np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(4), subject=x, class_names=list("abcd"), scale=x)
    said = CliRunner().invoke(commands.cli, ["data", "pack", str(tmp_path / "a.npz"), "-o", str(tmp_path / "a.bnnd")])
    assert said.exit_code == 0 and "left out: scale, subject\n" in said.output and "x," not in said.output
    np.savez(tmp_path / "b.npz", x=x)
    assert data.pack(tmp_path / "b.npz", label="none").n == 4
    with pytest.raises(bnnc.BnncError, match="--label none"):
        data.pack(tmp_path / "b.npz")


def test_images_are_scaled_and_folders_need_no_classes(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")
    for i, (w, h) in enumerate(((8, 6), (16, 12), (4, 3))):
        Image.fromarray(np.full((h, w), 60 * i, np.uint8)).save(tmp_path / f"{i}.png")
    d = data.pack(tmp_path, label="none", size=(6, 8))
    assert d.shape == (6, 8, 1) and d.x.reshape(3, -1).min(axis=1).tolist() == [0, 60, 120] and not d.y.any()
    for size, code in (("6x8", 0), ("7", 0), ("6x", 2)):
        words = ["data", "pack", str(tmp_path), "--label", "none", "--size", size, "-o", str(tmp_path / "a.bnnd")]
        assert CliRunner().invoke(commands.cli, words).exit_code == code
    assert data.info(tmp_path / "a.bnnd")["shape"] == (7, 7, 1)
    with pytest.raises(bnnc.BnncError, match="--size 64x64 scales them"):
        data.pack(tmp_path, label="none")


def test_tables_and_series_are_shown_as_numbers(tmp_path: Path) -> None:
    p = tmp_path / "a"
    data.write_bnnd(p, data.Dataset(np.array([[0.5, -1.25, 1e6]], np.float32), np.zeros(1, np.uint8), classes=2))
    assert data.preview(p).splitlines()[1:] == ["0: 0.5    1: -1.25  2: 1e+06"]
    x = np.stack([np.arange(9), -np.arange(9)], axis=1).astype(np.float32)[None]
    x[0, 8] = np.nan
    data.write_bnnd(p, data.Dataset(x, np.zeros(1, np.uint8), classes=2))
    assert data.preview(p).splitlines()[1:] == [
        "channel 0: 0 to 7, mean 3.5  ▁▂▃▄▅▆▇█",
        "channel 1: -7 to 0, mean -3.5  █▇▆▅▄▃▂▁",
        *(f"step {t}: {t}  {-t}" for t in range(6)),
        "... 8 steps of 9",
    ]
