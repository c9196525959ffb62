"""What `predict --test` names becomes samples as a network takes them: photos, folders of them, tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bnnc
from bnnc import data
from bnnc.cli.asked import packed

SPEC = "network net {{ input {}; flatten; dense 4; batchnorm; loss; }}"


def asked(at: Path, tensor: str, names: str = "") -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The samples, and what they are called; ``names``: a run's classes.txt."""
    if names:
        (at.parent / "classes.txt").write_text(names, encoding="utf-8")
    to = at.parent / "asked.bnnd"
    called = packed(at, at.parent, bnnc.parse(SPEC.format(tensor)).model, to)
    return data.read_bnnd(to).x, called


def test_photos_get_the_networks_size_and_channels(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")
    for name, pixels in (("2.PNG", np.full((6, 9, 3), 90)), ("a b/1 ü.png", np.full((5, 4), 60))):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / name)
    grey, called = asked(tmp_path / "photos/2.PNG", "u8[4, 4, 1]")
    assert grey.shape == (1, 4, 4, 1) and (grey == 90).all() and called == ()
    colours, called = asked(tmp_path / "photos/a b", "u8[4, 4, 3]")
    assert colours.shape == (1, 4, 4, 3) and (colours == 60).all() and called == ("1 ü.png",)
    (tmp_path / "photos/2.PNG").rename(tmp_path / "2.png")
    assert asked(tmp_path / "photos", "u8[3, 2]")[1] == ("a b/1 ü.png",)  # in the folders of classes
    with pytest.raises(bnnc.BnncError, match=r"2.png: 6x9x3 pixels, the network takes \[8\]"):
        asked(tmp_path / "2.png", "u8[8]")
    (tmp_path / "empty").mkdir()
    with pytest.raises(bnnc.BnncError, match="nothing in it"):
        asked(tmp_path / "empty", "u8[4, 4, 1]")


def test_columns_are_those_of_the_table_that_was_learned(tmp_path: Path) -> None:
    at, names = tmp_path / "new.csv", "bad\ngood\n\nflow\nheat\n"
    at.write_text("id,heat,flow\n7,1.5,2\n", encoding="utf-8")
    assert asked(at, "f32[2]", names)[0].tolist() == [[2, 1.5]]
    at.write_text("2,1.5\n", encoding="utf-8")
    assert asked(at, "f32[2]")[0].tolist() == [[2, 1.5]]
    at.write_text("2,1.5,good\n", encoding="utf-8")  # with a label, which is not looked at
    assert asked(at, "f32[2]")[0].tolist() == [[2, 1.5]]
    for text, tensor, wrong in (
        ("heat,flux\n1,2\n", "f32[2]", "no column `flow`"),
        ("1,2,3,4\n", "f32[2]", r"4 values in a sample, the network takes \[2\]"),
        ("1,hot\n", "f32[2]", "column `1` holds words"),
        ("1,256\n", "u8[2]", "0..255"),
    ):
        at.write_text(text, encoding="utf-8")
        with pytest.raises(bnnc.BnncError, match=wrong):
            asked(at, tensor)
    (tmp_path / "classes.txt").write_text("bad\ngood\n", encoding="utf-8")  # of a table without names
    at.write_text("heat,flow\n1,2\n", encoding="utf-8")
    assert asked(at, "u8[2]")[0].tolist() == [[1, 2]]


def test_a_file_that_the_program_reads_is_left_to_it(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 2), np.float32))
    net = bnnc.parse(SPEC.format("f32[2]")).model
    assert packed(tmp_path / "x.npy", tmp_path, net, tmp_path / "none.bnnd") is None
    assert not (tmp_path / "none.bnnd").exists()
