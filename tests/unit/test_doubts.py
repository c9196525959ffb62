"""Sequences that all end alike, thresholds that coincide, bytes that use little of their range: `check`, `run` and
`fit` say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bnnc
from bnnc import cli, data
from bnnc.data import doubts, files
from bnnc.inputs.encode import of_model

SPEC = """network net {{ input {kind}[6, 3] {encoder}; rnn 15, expand = 15; dense 4; loss; }}
rule bep; train {{ batch = 100; }} data {{ train = {data}; }}
"""
PLAIN, LENGTHS = "thermometer(3)", "thermometer(3, lengths = on)"


def samples(fill: float, front: bool = False, kind: type = np.float32) -> np.ndarray:
    """120 sequences of 1 to 5 steps, filled up to 6."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 200, (120, 6, 3)).astype(np.float32)
    for s, n in zip(x, rng.integers(1, 6, 120), strict=True):
        s[: 6 - n] = fill if front else s[: 6 - n]
        s[n:] = s[n:] if front else fill
    return x.astype(kind)


def found(x: np.ndarray, encoder: str = PLAIN, kind: str = "f32") -> list[str]:
    net = bnnc.parse(SPEC.format(kind=kind, encoder=encoder, data='bnnd("x")'))
    return [d.code for d in doubts.of_samples(net.model, x)]


def test_which_samples_are_padded() -> None:
    assert found(samples(0)) == found(samples(0).reshape(120, 18)) == ["B0808"]
    assert found(samples(0, kind=np.uint8), kind="u8") == ["B0808"]
    assert found(samples(0, front=True)) == []
    assert found(samples(np.nan), LENGTHS) == []
    assert found(samples(0), LENGTHS) == ["B0808"]  # nothing says that those steps do not exist
    short = samples(0, front=True)
    short[:50, -1] = 0
    assert found(short) == []  # fewer than half
    short[:70, -1] = 0
    assert found(short) == ["B0808"]


def test_other_networks_are_not_asked() -> None:
    net = bnnc.parse(
        "network net { input f32[6, 3] thermometer(3); flatten; dense 15; sign; dense 4; loss; } rule bep;"
    )
    assert doubts.of_samples(net.model, samples(0)) == []


PIXELS = "network net {{ input {input}; {flatten} dense 15; sign; dense 4; loss; }} rule bep;"


@pytest.mark.parametrize(
    ("encoder", "zeros", "warned"),
    [
        ("thermometer(4, per = global)", 0.81, True),
        ("thermometer(4, per = global)", 0.3, False),
        ("thermometer(4, per = channel)", 0.81, True),
        ("thermometer(4, kind = uniform, per = global)", 0.81, False),
        ("thermometer(4)", 0.81, False),
        ("median", 0.81, False),
    ],
)
@pytest.mark.parametrize("kind", ["u8", "f32"])
def test_quantiles_of_mostly_zeros(encoder: str, zeros: float, warned: bool, kind: str) -> None:
    """A warning, exactly where most of the fitted thresholds are the least value."""
    net = bnnc.parse(PIXELS.format(input=f"{kind}[8, 3] {encoder}", flatten="flatten;"))
    rng = np.random.default_rng(0)
    x = rng.integers(1, 200, (100, 8, 3)) * (rng.random((100, 8, 3)) >= zeros)
    x = x.astype(np.uint8 if kind == "u8" else np.float32)
    said = doubts.of_samples(net.model, x)
    assert [d.code for d in said] == ["B0810"] * warned
    e = of_model(net.model)
    if e is not None and e.how == "quantile" and e.per != "column":
        thresholds = e.fit(x)
        assert ((thresholds == x.min()).mean() > 0.5) == warned
        assert not warned or f"{(thresholds == 0).sum()} of the {thresholds.size} " in said[0].message


@pytest.mark.parametrize(
    ("encoder", "most", "warned"),
    [("", 16, True), ("scale", 16, True), ("", 200, False), ("thermometer(4)", 16, False), ("median", 16, False)],
)
def test_bytes_that_use_little_of_their_range(encoder: str, most: int, warned: bool, tmp_path: Path) -> None:
    """Of arrays, and of the file that a spec names."""
    text = f"network net {{ input u8[8, 8] {encoder}; flatten; dense 15; batchnorm; sign; dense 4; batchnorm; loss; }}"
    net = bnnc.parse(text + ' rule edge; train { batch = 20; } data { train = bnnd("x.bnnd"); }')
    x = np.random.default_rng(0).integers(0, most + 1, (100, 8, 8)).astype(np.uint8)
    data.write_bnnd(tmp_path / "x.bnnd", data.Dataset(x, np.zeros(100, np.uint8), classes=4))
    for said in (doubts.of_samples(net.model, x), doubts.of_files(net.model, tmp_path)):
        assert [d.code for d in said] == ["B0811"] * warned
        assert not warned or f"between 0 and {most}," in said[0].message


@pytest.mark.parametrize("source", ["npy", "bnnd"])
def test_check_and_run(capfd: pytest.CaptureFixture[str], tmp_path: Path, source: str, one_level: None) -> None:
    def command(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as e:
            cli.cli(args=list(args), prog_name="bnnc")
        return (int(e.value.code or 0), *capfd.readouterr())

    x, y = samples(0), (np.arange(120) % 4).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    data.write_bnnd(tmp_path / "x.bnnd", data.Dataset(x, y, classes=4))
    spec = tmp_path / "net.bnn"
    spec.write_text(
        SPEC.format(kind="f32", encoder=PLAIN, data={"npy": 'npy("x.npy", "y.npy")', "bnnd": 'bnnd("x.bnnd")'}[source])
    )
    code, out, err = command("check", str(spec))
    assert code == 0 and "warning[B0808]: 100 % of the training samples end with the same step" in err
    assert "rnn 15" in err and "lengths = on" in err
    assert '"B0808"' in command("check", "--json", str(spec))[1]
    code, _, err = command("run", str(spec), "--epochs", "1", "--out", str(tmp_path / "run"))
    assert code == 0 and "warning[B0808]" in err
    (tmp_path / "x.npy").unlink()
    (tmp_path / "x.bnnd").unlink()
    code, out, err = command("check", str(spec))  # no data yet: nothing to say
    assert code == 0 and "B0808" not in err


def test_fit(one_level: None) -> None:
    program = bnnc.parse(SPEC.format(kind="f32", encoder=PLAIN, data='bnnd("x")')).compile()
    y = np.arange(120) % 4
    with pytest.warns(UserWarning, match=r"B0808: 100 % of the training samples end with the same step.*lengths = on"):
        program.fit(samples(0), y, epochs=1)


@pytest.mark.parametrize("kind", ["u8", "f32", "bit"])
@pytest.mark.parametrize("source", ["npy", "bnnd", "idx"])
def test_of_large_files_some_samples_are_looked_at(tmp_path: Path, source: str, kind: str) -> None:
    """Runs from all over the file, without its test split; the same numbers that reading it whole gives."""
    x = np.arange(5000 * 6, dtype=np.float32).reshape(5000, 6)
    x = x % 251 if kind == "u8" else x
    x = x.astype(np.uint8) if kind == "u8" else x % 3 == 0 if kind == "bit" else x
    path, n = tmp_path / f"x.{source}", 5000
    if source == "npy":
        np.save(path, x)
    elif source == "idx":
        code = 8 if kind == "u8" else 13
        x = x if kind == "u8" else x.astype(np.float32)
        path.write_bytes(
            bytes([0, 0, code, 2]) + np.array(x.shape, ">u4").tobytes() + x.astype(f">{x.dtype.str[1:]}").tobytes()
        )
    else:
        data.write_bnnd(path, data.Dataset(x, np.zeros(5000, np.uint8), classes=1, n_test=100))
        n = 4900
    some = files.some_samples(path, 64 * 8 * x[:1].nbytes)
    assert some is not None and some.dtype == x.dtype and 64 * 6 <= len(some) < 2000
    place = {row.tobytes(): i for i, row in enumerate(x[:n])} if kind == "f32" else None
    if place:
        at = [place[row.tobytes()] for row in some]
        assert at == sorted(set(at)) and at[0] == 0 and at[-1] == n - 1 and max(np.diff(at)) < n / 50
    else:
        assert (some[:6] == x[:6]).all() and (some[-1] == x[n - 1]).all()


@pytest.mark.parametrize("source", ["npy", "bnnd"])
def test_what_large_files_hold_is_said(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.repeat(samples(0), 10, axis=0)
    np.save(tmp_path / "x.npy", x)
    data.write_bnnd(tmp_path / "x.bnnd", data.Dataset(x, np.zeros(1200, np.uint8), classes=1))
    data.write_bnnd(tmp_path / "small.bnnd", data.Dataset(x, np.zeros(1200, np.uint8), classes=1), compress=True)
    text = SPEC.format(kind="f32", encoder=PLAIN, data='npy("x.npy", "x.npy")' if source == "npy" else 'bnnd("x.bnnd")')
    monkeypatch.setattr(doubts, "SAMPLED", 20_000)
    monkeypatch.setattr(doubts.packing, "pack", None)  # not read whole
    assert [d.code for d in doubts.of_files(bnnc.parse(text).model, tmp_path)] == ["B0808"]
    assert files.some_samples(tmp_path / "small.bnnd", 20_000) is None  # deflate: it has to be
    (tmp_path / "x.npy").write_bytes(b"\0\0\7\2\0\0")
    with pytest.raises(bnnc.BnncError, match="idx magic number"):
        files.some_samples(tmp_path / "x.npy", 20_000)
