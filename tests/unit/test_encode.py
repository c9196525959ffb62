"""Encoders against their formulas, written out again with other means; their place in the language; `data pack`."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from bnnc import api, data
from bnnc.diag import BnncError
from bnnc.front.encoder import parse_encoder
from bnnc.front.fmt import explicit
from bnnc.inputs.encode import Encoding, of_model
from bnnc.ir.ref import Ref
from bnnc.model import TensorType

R = np.random.default_rng(3)
TRAIN, TEST = R.normal(5, [[1, 10, 0.1]], (41, 3)).astype("f4"), R.normal(5, 4, (17, 3)).astype("f4")


def both(e: Encoding, train: np.ndarray = TRAIN, test: np.ndarray = TEST) -> np.ndarray:
    return e.encode(test, e.fit(train))


def test_median():
    for n in (41, 40):
        train = TRAIN[:n].astype("f8")
        whole, column = Encoding("median", "f32", (3,)), Encoding("median", "f32", (3,), per="column")
        assert (both(whole, train) == (np.float32(np.median(train)) < TEST)).all()
        assert (both(column, train) == (np.median(train, axis=0).astype("f4") < TEST)).all()
    assert column.encode(TRAIN, column.fit(TRAIN)).sum(axis=0).tolist() == [
        20,
        20,
        20,
    ]  # the median itself is not above


@pytest.mark.parametrize("bits", [1, 2, 7, 32])
@pytest.mark.parametrize("kind", ["uniform", "gauss", "quantile"])
def test_thermometer(kind, bits):
    e = Encoding(kind, "f32", (3,), bits, "column")
    thresholds = e.fit(TRAIN)
    assert thresholds.shape == (3, bits) and thresholds.dtype == np.float32
    for c in range(3):
        v = TRAIN[:, c].astype("f8")
        for k in range(1, bits + 1):
            q = k / (bits + 1)
            if kind == "uniform":
                t = v.min() + k * (v.max() - v.min()) / (bits + 1)
            elif kind == "gauss":
                t = v.mean() + v.std() * math.sqrt(2) * _erfinv(2 * q - 1)
            else:
                t = sorted(v)[math.floor(k * 40 / (bits + 1))]
            assert thresholds[c, k - 1] == pytest.approx(t, rel=1e-6, abs=0 if kind == "quantile" else 1e-6)
    got = e.encode(TEST, thresholds)
    assert got.shape == (17, 3 * bits) and got.dtype == np.bool_
    assert (got.reshape(17, 3, bits) == (TEST[:, :, None] >= thresholds)).all()
    assert (np.diff(got.reshape(17, 3, bits).astype(int), axis=2) <= 0).all()  # a thermometer has no gaps


def _erfinv(y: float) -> float:
    """By bisection of math.erf."""
    low, high = -6.0, 6.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < y else (low, middle)
    return (low + high) / 2


def test_one_bit_of_quantile_splits_at_the_median():
    fitted = Encoding("quantile", "f32", (3,), 1, "column").fit(TRAIN)
    assert fitted[:, 0].tolist() == np.median(TRAIN, axis=0).tolist()


def test_who_shares_thresholds():
    x = R.integers(0, 256, (9, 4, 5, 3)).astype("u1")
    e = Encoding("median", "u8", (4, 5, 3))
    assert e.fit(x).tolist() == [[np.median(x)]]
    assert replace(e, per="channel").fit(x).ravel().tolist() == [np.median(x[..., c]) for c in range(3)]
    assert (replace(e, per="column").fit(x).ravel() == np.median(x, axis=0).ravel()).all()
    grey = Encoding("median", "u8", (4, 5, 1), per="channel")  # the channel is the last axis
    assert (both(grey, x[..., :1], x[..., :1]) == (x[..., :1] > np.median(x[..., 0]))).all()


def test_bits_go_to_the_last_axis():
    x = R.integers(0, 256, (6, 2, 3)).astype("u1")
    x[..., 1] %= 6
    e = Encoding("quantile", "u8", (2, 3), 4, "channel", onehot=(1,), categories=(6,), pad_odd=True)
    got = e.encode(x, e.fit(x))
    assert e.output == TensorType("bit", (2, 15)) and got.shape == (6, 2, 15)
    assert (got[..., :4] == (x[..., :1] >= np.sort(x[..., 0].ravel())[np.arange(1, 5) * 11 // 5])).all()
    assert (got[..., 4:10].sum(axis=2) <= 1).all() and got[..., 14].all()
    assert Encoding("pad", "bit", (2, 3), pad_odd=True).output.shape == (2, 3)


def test_one_hot():
    e = Encoding("median", "f32", (2,), onehot=(0,), categories=(4,))
    thresholds = e.fit(np.float32([[3, 1], [-1, 2], [3, 3]]))
    assert thresholds.tolist() == [[2, math.inf, math.inf, math.inf], [-1, 3, math.inf, math.inf]]
    bits = e.encode(np.float32([[3, 3], [-1, 0], [9, 9]]), thresholds)
    assert bits.astype(int).tolist() == [[0, 1, 0, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
    with pytest.raises(ValueError, match="column 0 holds 2 different values, `categories` says 1"):
        replace(e, categories=(1,)).fit(np.float32([[3, 1], [-1, 2]]))


def test_mistakes():
    e = Encoding("median", "f32", (3,))
    with pytest.raises(ValueError, match="no training data"):
        e.encode(TEST)
    with pytest.raises(ValueError, match="no training data"):
        e.encode(TEST, np.full((1, 1), np.inf, "f4"))
    with pytest.raises(ValueError, match=r"samples of shape \[2\], expected \[3\]"):
        e.encode(TEST[:, :2], e.fit(TRAIN))
    with pytest.raises(ValueError, match="sample 0, step 0, column 1 is not a finite number"):
        e.fit(np.float32([[1, math.nan, 0]]))
    with pytest.raises(FrozenInstanceError):
        e.bits = 2  # type: ignore[misc]


# -- in a spec -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "output", "table"),
    [
        ("u8[8, 8] thermometer(4)", "bit[8, 32]", (64, 4)),
        ("f32[24, 1] thermometer(10, kind = quantile, per = column)", "bit[24, 10]", (24, 10)),
        ("u8[28, 28] median", "bit[28, 28]", (1, 1)),
        ("f32[9, 3] median", "bit[9, 3]", (27, 1)),
        ("f32[9, 3] median(per = global)", "bit[9, 3]", (1, 1)),
        ("u8[28, 28, 3] median(per = channel, pad_odd = on)", "bit[28, 28, 3]", (3, 1)),
        ("bit[1000] pad_odd", "bit[1001]", None),
        ("u8[6] sign(100, pad_odd = on)", "bit[7]", None),
        ("f32[12] thermometer(2, onehot = [3, 7], categories = [5, 4])", "bit[29]", (12, 5)),
        ("f32[9, 2] thermometer(3, per = global, lengths = on, pad_odd = on)", "bit[9, 8]", (1, 3)),
    ],
)
def test_types_and_thresholds(text, output, table):
    spec = f"network n {{ input {text}; flatten; dense 3; batchnorm; loss; }} train {{ batch = 4; }}"
    net = api.parse(spec)
    assert str(net.model.layers[0].output) == output
    e = of_model(net.model)
    assert (e.table if e.fitted else None) == table
    found = {b.name: b for b in net.plan().buffers}
    assert ("input.thresholds" in found) == e.fitted
    if e.fitted:
        assert (found["input.thresholds"].storage.shape, found["input.thresholds"].region) == (table, "state")
        steps = {s.name: s.reads for s in net.plan().planned.placed.plan.steps}
        assert steps["load"] == steps["eval:load"] == (Ref("input.thresholds"),)
    again = api.parse(explicit(spec))
    assert again.model.layers[0] == net.model.layers[0] and again.model.hash == net.model.hash


@pytest.mark.parametrize(
    ("text", "per", "chosen"),
    [
        ("u8[28, 28] median", "global", "the data is u8"),
        ("u8[9] median(per = channel)", "channel", ""),
        ("f32[9] median", "column", "the data is f32"),
        ("f32[9] median(per = global)", "global", ""),
        ("u8[9] thermometer(2)", "column", ""),
        ("f32[9] thermometer(2)", "column", ""),
    ],
)
def test_the_form_of_the_data_decides_what_shares_a_median(text, per, chosen):
    spec = f"network n {{ input {text}; flatten; dense 3; batchnorm; loss; }}"
    m = api.parse(spec).model
    assert m.layers[0]["encoder"]["per"] == per and of_model(m).per == per
    assert (m.chosen[0] if chosen else "") == (chosen and f"per = {per} of `median`: {chosen}")
    assert f"per = {per}" in explicit(spec) and api.parse(explicit(spec)).model.hash == m.hash
    tensor = TensorType(text[: text.index("[")], m.layers[0]["tensor"].shape)
    assert parse_encoder(text.split("] ")[1], tensor) == of_model(m)


def test_thresholds_shift_no_initial_weight():
    """So a network has the same weights whether its bits are encoded here or were before."""
    layers = "flatten; dense 5; batchnorm; sign; dense 3; batchnorm; loss; } train { batch = 4; }"
    raw, bits = (
        api.parse(f"network n {{ input {x}; {layers}").plan().planned.trace.results["expand"].train.states
        for x in ("u8[9] thermometer(3)", "bit[27]")
    )
    assert raw[:-1] == bits and raw[-1].name == "input.thresholds"


# -- bnnc data pack --------------------------------------------------------------------------------------------------


def test_pack_fits_to_the_training_part(tmp_path):
    x, y = R.normal(size=(30, 4, 2)).astype("f4"), np.arange(30) % 3
    np.savez(tmp_path / "a.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    d = data.pack(tmp_path / "a.npz", encoder="thermometer(3, per = channel, pad_odd = on)", output=tmp_path / "a.bnnd")
    e = Encoding("quantile", "f32", (4, 2), 3, "channel", pad_odd=True)
    assert (d.x == e.encode(x, e.fit(x[:20]))).all() and d.shape == (4, 7)
    facts = data.info(tmp_path / "a.bnnd")
    assert (facts["kind"], facts["encoder"], facts["n_test"]) == ("bit", "none", 10)


def test_pack_takes_sequences_that_end_early(tmp_path):
    x = R.normal(size=(6, 5, 2)).astype("f4")
    x[2, 3:] = np.nan
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(6))
    assert np.isnan(data.pack(tmp_path / "a.npz", output=tmp_path / "a.bnnd").x[2, 3:]).all()
    assert np.array_equal(data.read_bnnd(tmp_path / "a.bnnd").x, x, equal_nan=True)
    d = data.pack(tmp_path / "a.npz", encoder="thermometer(2, per = global, lengths = on)")
    assert d.shape == (5, 5) and d.x[2, :, -1].tolist() == [False, False, True, True, True]
    x[1, 0, 0] = np.nan
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(6))
    with pytest.raises(BnncError, match="sample 1 holds a value that is not finite"):
        data.pack(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("sgn", "B0204"),
        ("sign(", "B0101"),
        ("sign(a)", "B0201"),
        ("thermometer", "B0404"),
        ("median(per = pixel)", "B0403"),
        ("thermometer(2, onehot = [9], categories = [2])", "B0312"),
        ("pad_odd", "B0304"),
        ("", "B0101"),
    ],
)
def test_an_encoder_that_is_wrong(text, code):
    with pytest.raises(BnncError) as e:
        parse_encoder(text, TensorType("u8", (9,)))
    assert [d.code for d in e.value.diagnostics] == [code] and e.value.exit_code == 5 and "--encode" in e.value.sources


def test_encoders_in_words():
    t = TensorType("u8", (9,))
    assert parse_encoder("none", t) is None and parse_encoder("scale", t) is None
    assert parse_encoder(" sign( threshold = -0.5 ) ", t) == Encoding("sign", "u8", (9,), threshold=-0.5)
    e = parse_encoder("sign", t)
    assert e is not None and e.encode(np.array([[127, 128, 129] * 3], np.uint8)).tolist() == [[False, True, True] * 3]
    e = Encoding("sign", "f32", (3,))
    assert e.encode(np.array([[-0.0, np.nan, -1e-9]])).tolist() == [[True, False, False]]
