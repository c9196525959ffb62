"""Recordings (WAV) as arrays [steps, bands]: how loud 20 bands are in each 16 ms, as speech recognition takes it.

A mel spectrogram: windows of 32 ms (Hann), their power, triangles of equal width on the mel scale from 80 to
4,000 Hz, the logarithm.  What a recording of another rate holds lies in the same bands, so rates may differ.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .readers import guard

SOUNDS = (".wav",)
BANDS, LOW, HIGH = 20, 80.0, 4000.0  # Hz
STEP, WINDOW = 0.016, 0.032  # seconds
SILENCE = 1e-6  # of the power of a full sine: what is softer is as loud


def read_sounds(files: Sequence[Path], steps: int = 0) -> np.ndarray:
    """f32[n, steps, BANDS], decimal logarithms of power, -6 and up.  Shorter recordings end in silence; of longer ones
    than ``steps``, if it is given, the beginning counts.  Raises BnncError for what is no PCM of 8, 16 or 32 bits.
    """
    found = [_spectrogram(*_samples(file)) for file in files]
    steps = steps or max(map(len, found))
    x = np.full((len(found), steps, BANDS), np.log10(SILENCE), np.float32)
    for to, bands in zip(x, found, strict=True):
        to[: len(bands)] = bands[:steps]
    return x


def _samples(file: Path) -> tuple[np.ndarray, int]:
    """Samples from -1 to 1, the mean of all channels, and how many make a second."""
    with guard(file, "WAV"):
        try:
            with wave.open(str(file), "rb") as f:
                width, channels, rate = f.getsampwidth(), f.getnchannels(), f.getframerate()
                raw = f.readframes(f.getnframes())
        except wave.Error as e:
            raise ValueError(str(e)) from e
        if width not in (1, 2, 4) or rate < 1 or not raw:
            raise ValueError(f"samples of {8 * width} bits, {rate} a second, {len(raw)} bytes")
        x = np.frombuffer(raw, {1: "u1", 2: "<i2", 4: "<i4"}[width]).astype(np.float64)
        x = (x - 128) / 128 if width == 1 else x / 2 ** (8 * width - 1)
        return x[: len(x) // channels * channels].reshape(-1, channels).mean(axis=1), rate


def _spectrogram(x: np.ndarray, rate: int) -> np.ndarray:
    """f64[steps, BANDS] of a recording; one step at least."""
    n, hop = max(8, round(WINDOW * rate)), max(1, round(STEP * rate))
    x = np.pad(x, (0, max(0, n - len(x))))
    frames = np.lib.stride_tricks.sliding_window_view(x, n)[::hop] * np.hanning(n)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 / (np.hanning(n).sum() / 2) ** 2
    low, high = (2595 * float(np.log10(1 + f / 700)) for f in (LOW, HIGH))
    mel = np.linspace(low, high, BANDS + 2)
    edges, at = 700 * (10 ** (mel / 2595) - 1), np.fft.rfftfreq(n, 1 / rate)
    rising = (at - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - at) / (edges[2:] - edges[1:-1])[:, None]
    return np.log10(np.maximum(power @ np.clip(np.minimum(rising, falling), 0, None).T, SILENCE))
