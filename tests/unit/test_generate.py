"""Random Prototypes: the draws in their order, sizes, and what a nearest-prototype classifier reaches."""

from __future__ import annotations

import numpy as np
import pytest

from bnnc.data import read_bnnd, write_bnnd
from bnnc.data.generate import prototypes


def test_the_draws_in_their_order():
    data = prototypes(12, 6, bits=50, classes=3, flip=0.3, seed=5)
    rng = np.random.default_rng(5)
    centre = rng.choice([-1, 1], (3, 50))
    x = np.array([[np.where(rng.random(50) < 0.3, -centre[c], centre[c]) for _ in range(6)] for c in range(3)])
    want = np.concatenate([x[:, :4].reshape(-1, 50), x[:, 4:].reshape(-1, 50)]) > 0
    assert (data.x == want).all() and data.y.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [0, 0, 1, 1, 2, 2]
    assert (data.kind, data.n_test, data.classes, data.encoder) == ("bit", 6, 3, "none")


def test_the_same_arguments_give_the_same_data():
    a, b, c = (prototypes(20, 10, bits=30, seed=s) for s in (42, 42, 43))
    assert (a.x == b.x).all() and (a.y == b.y).all() and (a.x != c.x).any()


def test_no_sample_is_there_twice():
    data = prototypes(120, 40, bits=8, classes=2, flip=0.5, seed=1)
    assert len(np.unique(data.x, axis=0)) == 160


@pytest.mark.parametrize(("flip", "low", "high"), [(0.44, 0.965, 0.99), (0.46, 0.79, 0.85)])
def test_the_nearest_prototype_is_right_as_often_as_published(flip, low, high):
    data = prototypes(2000, 2000, flip=flip)
    centre = np.random.default_rng(42).choice([-1, 1], (10, 1000))
    guess = (np.where(data.x[2000:], 1, -1) @ centre.T).argmax(axis=1)
    assert low < (guess == data.y[2000:]).mean() < high


def test_it_can_be_packed(tmp_path):
    data = prototypes(20, 10, bits=37)
    write_bnnd(tmp_path / "p.bnnd", data)
    back = read_bnnd(tmp_path / "p.bnnd")
    assert (back.x == data.x).all() and (back.y == data.y).all() and back.n_test == 10


@pytest.mark.parametrize(
    "wrong", [{"n_train": 11}, {"n_test": 5}, {"flip": 1.5}, {"classes": 0}, {"flip": 0.0}, {"bits": 2}]
)
def test_what_cannot_be_made(wrong):
    arguments = {"n_train": 20, "n_test": 10, "bits": 20, **wrong}
    with pytest.raises(ValueError):
        prototypes(**arguments)
