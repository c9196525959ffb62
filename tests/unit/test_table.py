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
    with pytest.raises(bnnc.BnncError, match=r"line 2: `n/a` is not a number in column `1`[^$]*--drop 1"):
        data.pack(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("flow,state\n1,ok\n,ok\n2,worn\n,ok\n", encoding="utf-8")
    with pytest.raises(bnnc.BnncError, match=r"line 3: there is no value in column `flow` \(1 more\)"):
        data.pack(tmp_path / "a.csv")


def test_a_comma_in_a_number_is_a_decimal_point_where_none_parts_columns(tmp_path: Path) -> None:
    """As a spreadsheet writes them in much of Europe, with a byte order mark."""
    text = "Wärme;Zeit;Zustand\r\n-0,5;1e3;gut\r\n,25;2,5E-1;müde, alt\r\n"
    (tmp_path / "a.csv").write_text(text, encoding="utf-8-sig", newline="")
    found = read_table(tmp_path / "a.csv", Columns())
    assert found.x.tolist() == [[-0.5, 1000], [0.25, 0.25]] and found.columns == ("Wärme", "Zeit")
    assert found.names == ("gut", "müde, alt") and not found.categories


def test_a_column_of_words_that_come_once_each_is_a_mistake(tmp_path: Path) -> None:
    """Dates and names: thousands of bits that no other sample has."""
    rows = [f"{i}.5,2026-01-{i:02d} x,{i % 2}" for i in range(1, 29)]
    (tmp_path / "a.csv").write_text("\n".join(("flow,when,state", *rows)), encoding="utf-8")
    with pytest.raises(bnnc.BnncError, match=r"column `when` has 28 different words in 28 lines[^$]*--drop when"):
        data.pack(tmp_path / "a.csv")
    assert data.pack(tmp_path / "a.csv", drop=("when",)).shape == (1,)
    assert data.pack(tmp_path / "a.csv", label="none").n == 28  # rows to predict may be few


def test_columns_names_are_kept_in_the_file(table: Path, tmp_path: Path) -> None:
    d = data.pack(table, output=tmp_path / "a.bnnd")
    again = data.read_bnnd(tmp_path / "a.bnnd")
    assert again.columns == d.columns == ("flow", "colour", "heat") and again.names == ("fine", "worn")
    assert data.pack(tmp_path / "a.bnnd").columns == again.columns
    assert "flow: 0.5" in data.preview(tmp_path / "a.bnnd")
    table.write_text("flow,heat,state\n0.5,1,1\n0.25,2,0\n", encoding="utf-8")  # labels that are numbers
    assert data.pack(table, output=tmp_path / "a.bnnd").names == ("0", "1")
    assert data.read_bnnd(tmp_path / "a.bnnd").columns == ("flow", "heat")
    table.write_text("heat,heat,state\n0.5,1,1\n0.25,2,0\n", encoding="utf-8")  # of one name: by their places
    data.pack(table, output=tmp_path / "a.bnnd")
    assert data.read_bnnd(tmp_path / "a.bnnd").columns == ()


def test_a_folder_of_files_with_customary_names_is_one_data_set(tmp_path: Path) -> None:
    x, y = np.arange(24, dtype=np.uint8).reshape(4, 2, 3), np.arange(4)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    d = data.pack(tmp_path)
    assert (d.x == x).all() and d.y.tolist() == [0, 1, 2, 3] and d.n_test == 0
    for name, a in (("train-images-idx3", x), ("train-labels-idx1", y), ("t10k-images-idx3", x[:1] + 1)):
        head = bytes((0, 0, 8, a.ndim, *b"".join(n.to_bytes(4, "big") for n in a.shape)))
        (tmp_path / f"{name}-ubyte").write_bytes(head + a.astype(np.uint8).tobytes())
    assert data.pack(tmp_path).n_test == 0  # no labels of the test images
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(bytes((0, 0, 8, 1, 0, 0, 0, 1, 2)))
    d = data.pack(tmp_path)
    assert d.n_test == 1 and (d.x[4] == x[0] + 1).all() and d.y[4] == 2
    (tmp_path / "b").mkdir()
    for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"):
        (tmp_path / "b" / name).write_bytes(bytes(3073 * 2))
    d = data.pack(tmp_path / "b")
    assert (d.n, d.n_test, d.shape) == (6, 2, (32, 32, 3))
    np.savez(tmp_path / "a.npz", X=x, y=y)  # as scikit-learn writes them
    assert (data.pack(tmp_path / "a.npz").x == x).all()


def test_a_test_split_is_set_apart_by_a_command(table: Path, tmp_path: Path) -> None:
    rows = [f"{i}.5,{i % 2}" for i in range(40)]
    table.write_text("\n".join(("flow,state", *rows)), encoding="utf-8")
    data.pack(table, output=tmp_path / "a.bnnd")
    words = ["data", "split", str(tmp_path / "a.bnnd"), "--test", "25%", "-o", str(tmp_path / "b.bnnd")]
    assert CliRunner().invoke(commands.cli, words).exit_code == 0
    apart, at_once = data.read_bnnd(tmp_path / "b.bnnd"), data.pack(table, split=0.25)
    assert apart.n_test == at_once.n_test > 0 and (apart.x == at_once.x).all() and apart.columns == ("flow",)
    assert CliRunner().invoke(commands.cli, [*words[:2], words[-1], *words[3:]]).exit_code == 5  # there is one already


def test_a_sample_is_drawn_as_a_file(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")
    for x, size in (
        (np.arange(64, dtype=np.uint8).reshape(1, 8, 8), (320, 320)),
        (np.zeros((1, 6, 12, 3), np.uint8), (312, 156)),
        (np.arange(20, dtype=np.float32).reshape(1, 10, 2), (64, 320)),
        (np.ones((1, 5), np.float32), (320, 64)),
    ):
        data.write_bnnd(tmp_path / "a", data.Dataset(x, np.zeros(1, np.uint8), classes=2))
        words = ["data", "preview", str(tmp_path / "a"), "--png", str(tmp_path / "a.png")]
        assert CliRunner().invoke(commands.cli, words).exit_code == 0
        with Image.open(tmp_path / "a.png") as drawn:
            assert drawn.size == size
            pixels = np.asarray(drawn)
        assert pixels.max() == {64: 63, 216: 0, 20: 255, 5: 0}[x.size] and pixels.min() == 0


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
