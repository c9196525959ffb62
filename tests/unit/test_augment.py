"""Augmentation and balanced sampling as they are defined: what they draw, and from which range."""

from __future__ import annotations

import numpy as np
import pytest

import bnnc
from bnnc import rng
from bnnc.inputs.augment import Augmentation, of_model

PLACES = np.arange(4000, dtype=np.uint32)


def of(data: str, augment: str) -> Augmentation:
    text = f"network net {{ input {data}; flatten; dense 4; batchnorm; loss; }} train {{ augment = {augment}; }}"
    found = of_model(bnnc.parse(text).model)
    assert found is not None
    return found


def test_a_shift_goes_everywhere_alike_and_brings_in_zeros() -> None:
    """Of 25 places each holds a 25th, within five deviations; a pixel that leaves is gone."""
    one = np.zeros((5, 5), np.uint8)
    one[1, 3] = 200
    seen = of("u8[5, 5]", "shift(2)").apply(np.broadcast_to(one, (4000, 5, 5)), 1, 0, PLACES)
    at = np.argwhere(seen)
    assert set(seen[seen > 0]) == {200} and seen.sum(axis=(1, 2)).min() == 0
    places, counts = np.unique(at[:, 1:], axis=0, return_counts=True)
    assert {tuple(p) for p in places.tolist()} == {(i, j) for i in range(4) for j in range(1, 5)}
    assert (abs(counts - 160) < 5 * 160**0.5).all()


def test_a_flip_mirrors_columns_of_one_in_two() -> None:
    x = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    seen = of("u8[2, 4, 3]", "flip").apply(np.broadcast_to(x, (4000, 2, 4, 3)), 1, 0, PLACES)
    mirrored = (seen == x[:, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored | (seen == x).all(axis=(1, 2, 3))).all() and abs(mirrored.sum() - 2000) < 160


def test_a_sequence_moves_and_its_ends_are_held() -> None:
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    seen = of("f32[6, 2]", "timeshift(3)").apply(np.broadcast_to(x, (4000, 6, 2)), 1, 0, PLACES)
    wanted = {tuple(np.clip(np.arange(6) + d, 0, 5).tolist()) for d in range(-3, 4)}
    assert {tuple(row) for row in (seen[:, :, 0] / 2).astype(int).tolist()} == wanted
    assert (seen[:, :, 1] == seen[:, :, 0] + 1).all()


def test_jitter_has_its_deviation_and_no_bias() -> None:
    seen = of("f32[5]", "jitter(0.25)").apply(np.ones((4000, 5), np.float32), 1, 0, PLACES) - 1
    assert abs(seen.mean()) < 5 * 0.25 / 20000**0.5 and seen.std() == pytest.approx(0.25, rel=0.02)
    assert seen.dtype == np.float32 and abs(np.corrcoef(seen.T) - np.eye(5)).max() < 0.1


def test_what_is_drawn_follows_from_seed_epoch_and_place() -> None:
    a, x = of("f32[6, 2]", "[jitter(1), timeshift(2)]"), np.ones((40, 6, 2), np.float32)
    some = a.apply(x, 1, 5, np.arange(40))
    assert np.array_equal(a.apply(x[:9], 1, 5, np.arange(11, 20)), some[11:20])
    assert not np.array_equal(a.apply(x, 1, 6, np.arange(40)), some) and not np.array_equal(
        a.apply(x, 2, 5, np.arange(40)), some
    )


def test_an_epoch_has_as_many_samples_of_each_class() -> None:
    """Of 90, 8 and 2 per cent; the fourth class has none.  Any run of six holds two of each."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.array([0, 1, 3], np.uint8), [450, 40, 10]))
    order = rng.balanced(1, 2, labels)
    seen = labels[order]
    assert [(seen == c).sum() for c in (0, 1, 3)] == [167, 167, 166]
    assert all((np.bincount(seen[i : i + 6], minlength=4) == [2, 2, 0, 2]).all() for i in range(0, 494, 6))


def test_a_class_comes_whole_before_any_of_it_comes_again() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.array([0, 1], np.uint8), [90, 10]))
    order = rng.balanced(1, 0, labels)
    rare, common = order[labels[order] == 1], order[labels[order] == 0]
    assert all(len(set(rare[i : i + 10].tolist())) == 10 for i in range(0, 50, 10)) and len(set(common.tolist())) == 50
    assert rare[:10].tolist() != rare[10:20].tolist() and order.tolist() != rng.balanced(1, 1, labels).tolist()


def test_equal_classes_are_an_epoch_of_each_sample_once() -> None:
    labels = np.arange(60, dtype=np.uint8) % 3
    assert sorted(rng.balanced(4, 0, labels).tolist()) == list(range(60))
