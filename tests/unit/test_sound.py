"""Recordings as arrays of bands over time."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

import bnnc
from bnnc import data
from bnnc.cli.asked import packed
from bnnc.data.sound import BANDS, read_sounds


def record(path: Path, hz: float, seconds: float = 0.5, rate: int = 8000, width: int = 2, channels: int = 1) -> Path:
    """A sine of half the range."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate).repeat(channels)
    raw = (x * 127 + 128).astype(np.uint8) if width == 1 else (x * (2 ** (8 * width - 1) - 1)).astype(f"<i{width}")
    with wave.open(str(path), "wb") as f:
        f.setnchannels(channels)
        f.setsampwidth(width)
        f.setframerate(rate)
        f.writeframes(raw.tobytes())
    return path


def test_a_tone_is_in_its_band_whatever_the_file_s_form(tmp_path: Path) -> None:
    """The band's middle is 1,059 Hz: mel from 80 to 4,000 Hz in 21 equal parts, the ninth edge."""
    files = [
        record(tmp_path / f"{i}.wav", 1059, **form)
        for i, form in enumerate(({}, {"rate": 16000}, {"width": 1}, {"width": 4, "channels": 2}))
    ]
    x = read_sounds(files)
    assert x.shape == (4, 30, BANDS) and x.dtype == np.float32
    loudest = x[:, 5].argmax(axis=1)
    mel = np.linspace(*(2595 * np.log10(1 + f / 700) for f in (80, 4000)), BANDS + 2)[1:-1]
    assert (loudest == np.argmin(abs(700 * (10 ** (mel / 2595) - 1) - 1059))).all()
    assert np.ptp(x[:, 5].max(axis=1)) < 0.02 and -1 < x[0, 5].max() < -0.4  # of 0.25
    assert x[0, 5].min() < -4


def test_short_ones_end_in_silence_and_long_ones_are_cut(tmp_path: Path) -> None:
    files = [record(tmp_path / "a.wav", 500, 0.01), record(tmp_path / "b.wav", 500, 0.3)]
    x = read_sounds(files)
    assert x.shape[1] == 17 and (x[0, 1:] == -6).all() and x[0, 0].max() > -2
    assert (read_sounds(files, 4) == x[:, :4]).all()
    (tmp_path / "c.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(bnnc.BnncError, match=r"c.wav: not a readable WAV file"):
        read_sounds([tmp_path / "c.wav"])


def test_a_folder_of_recordings_is_a_data_set_and_one_is_predicted(tmp_path: Path) -> None:
    for part, seconds in (("train", 0.2), ("test", 0.4)):
        for name, hz in (("high", 2000), ("low", 300)):
            record(tmp_path / "words" / part / name / "1 ü.WAV", hz, seconds)
    d = data.pack(tmp_path / "words")
    assert (d.kind, d.shape, d.n, d.n_test, d.names) == ("f32", (11, BANDS), 4, 2, ("high", "low"))
    net = bnnc.parse("network n { input f32[5, 20]; flatten; dense 2; batchnorm; loss; }").model
    at = tmp_path / "words/test"
    assert packed(at, tmp_path, net, tmp_path / "a.bnnd") == ("high/1 ü.WAV", "low/1 ü.WAV")
    assert packed(at / "low/1 ü.WAV", tmp_path, net, tmp_path / "b.bnnd") == ()
    both, one = data.read_bnnd(tmp_path / "a.bnnd").x, data.read_bnnd(tmp_path / "b.bnnd").x
    assert both.shape == (2, 5, 20) and (both[1] == one[0]).all() and (both == d.x[2:, :5]).all()
