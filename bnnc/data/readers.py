"""Data files as arrays: idx, NPY, NPZ, CSV, CIFAR-10's binary files, and folders of images.

Every complaint about a file is a :class:`bnnc.diag.BnncError` with exit code 5; the codes are those of
:mod:`bnnc.data`.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from ..diag import NOWHERE, BnncError, Span, error

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_BROKEN = (
    OSError,
    ValueError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    struct.error,
    MemoryError,
    RuntimeError,
    OverflowError,
    TypeError,
    SyntaxError,
    KeyError,
    IndexError,
    csv.Error,
    tokenize.TokenError,
)

Source = str | os.PathLike[str]


def fail(code: str, file: Source, reason: str, hint: str, line: int = 0) -> BnncError:
    """A BnncError (exit code 5) about a file; ``line`` counts from 1."""
    name = os.fspath(file)
    span = Span(file=name, line=line) if line else NOWHERE
    return error(code, f"{name}: {reason}", span, help=hint, exit_code=5)


@contextlib.contextmanager
def guard(file: Source, what: str) -> Iterator[None]:
    """Turn whatever a damaged file makes a reader raise into a BnncError that names the file."""
    try:
        yield
    except BnncError:
        raise
    except FileNotFoundError as e:
        raise fail("B0801", file, "no such file", "check the path; it is relative to the current folder") from e
    except (PermissionError, IsADirectoryError) as e:
        raise fail("B0801", file, f"cannot be opened: {e.strerror}", "give a readable file, not a folder") from e
    except _BROKEN as e:
        reason = str(e) or type(e).__name__
        raise fail(
            "B0802",
            file,
            f"not a readable {what} file: {reason}",
            "the file is damaged, incomplete or of another format: fetch or write it again",
        ) from e


def exactly(f: IO[bytes], size: int) -> bytearray:
    """The ``size`` bytes that must be the rest of ``f``; in pieces: a false header cannot ask for all memory."""
    out = bytearray()
    while len(out) <= size and (piece := f.read(min(1 << 20, size + 1 - len(out)))):
        out += piece
    if len(out) != size:
        than = "more" if len(out) > size else f"only {len(out):,}"
        raise ValueError(f"the header promises {size:,} bytes of data, the file holds {than}")
    return out


def read_idx(path: Source) -> np.ndarray:
    """An idx file of the MNIST family, plain or gzip (told apart by content), as an array in native byte order.

    Returns the declared shape, 1 to 4 axes, dtype u8, i8, i16, i32, f32 or f64.  Raises BnncError for a wrong magic
    number or a length that differs from the declared one.  Source: Y. LeCun's description of the MNIST files.
    """
    with guard(path, "idx"), open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        f: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        dtype, dims = idx_header(f)
        expected = math.prod(dims) * dtype.itemsize
        body = exactly(f, expected)
    return np.frombuffer(body, dtype).reshape(dims).astype(dtype.newbyteorder("="), copy=False)


def idx_header(f: IO[bytes]) -> tuple[np.dtype, tuple[int, ...]]:
    """The type and the shape that an idx file declares; ``f`` is behind them then.  Raises ValueError, struct.error."""
    head = f.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES or not 1 <= head[3] <= 4:
        raise ValueError(f"it starts with {head.hex(' ') or 'nothing'}, not with an idx magic number")
    return np.dtype(_IDX_TYPES[head[2]]), struct.unpack(f">{head[3]}I", f.read(4 * head[3]))


class _NotNumbers(ValueError):
    """An array of objects, records or times."""


def _npy(f: IO[bytes], size: int) -> np.ndarray:
    version = np.lib.format.read_magic(f)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(f)
    if dtype.hasobject or dtype.kind not in "biufUS":
        raise _NotNumbers(f"it holds {dtype}, not numbers")
    expected = math.prod(shape) * dtype.itemsize
    if min(shape, default=1) < 0 or expected > size:
        raise ValueError(f"the header promises shape {list(shape)} ({expected:,} bytes), the file holds {size:,} bytes")
    return np.frombuffer(exactly(f, expected), dtype).reshape(shape, order="F" if fortran else "C")


def read_npy(path: Source) -> np.ndarray:
    """A NumPy ``.npy`` array of numbers or bools, any shape.  Raises BnncError; pickled objects are refused."""
    with guard(path, "npy"), open(path, "rb") as f:
        return _npy(f, os.path.getsize(path))


def read_npz(path: Source) -> dict[str, np.ndarray]:
    """The arrays of numbers or text in a NumPy ``.npz`` archive by name; others are left out.  Raises BnncError."""
    arrays: dict[str, np.ndarray] = {}
    with guard(path, "npz"), zipfile.ZipFile(path) as z:
        for item in z.infolist():
            with z.open(item) as f, contextlib.suppress(_NotNumbers):
                arrays[item.filename.removesuffix(".npy")] = _npy(f, item.file_size)
    return arrays


def labels(file: Source, y: np.ndarray, n: int) -> np.ndarray:
    """``y`` as (n,) u8; raises BnncError unless it holds n whole numbers 0..255."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "buif":
        raise fail(
            "B0803",
            file,
            f"labels have shape {list(y.shape)} and type {y.dtype}",
            "give one whole number a sample, from 0",
        )
    if len(y) != n:
        raise fail("B0803", file, f"{len(y):,} labels for {n:,} samples", "samples and labels must come in pairs")
    bad = (y < 0) | (y > 255) | (y != np.floor(y)) if y.dtype.kind != "b" else np.zeros(n, bool)
    if bad.any():
        i = int(np.argmax(bad))
        raise fail(
            "B0803", file, f"label {y[i]} of sample {i} is not a whole number 0..255", "number the classes from 0"
        )
    return y.astype(np.uint8)


CIFAR_RECORD = 1 + 3 * 32 * 32  # a label, then 32 x 32 pixels: all reds, all greens, all blues


def is_cifar(path: Source) -> bool:
    """Is the file's name ``*.bin``, and is it made of whole CIFAR-10 records?"""
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    return Path(path).suffix.lower() == ".bin" and size > 0 and size % CIFAR_RECORD == 0


def read_cifar(path: Source) -> tuple[np.ndarray, np.ndarray]:
    """A binary file of CIFAR-10 (A. Krizhevsky, 2009): x (n, 32, 32, 3) u8, y (n,) u8 below 10.  Raises BnncError."""
    with guard(path, "CIFAR-10"), open(path, "rb") as f:
        records = np.frombuffer(f.read(), np.uint8).reshape(-1, CIFAR_RECORD)
        y = records[:, 0].copy()
        if y.max() > 9:
            raise ValueError(f"record {int(np.argmax(y > 9))} has label {y.max()}, and CIFAR-10 has 10 classes")
        return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), y


IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}


def read_images(files: Sequence[Path], size: tuple[int, int] | None = None, channels: int = 0) -> np.ndarray:
    """Images of one size, or scaled to ``size`` (height, width), without labels: u8[n, height, width, channels].

    ``channels``: 1 makes them grey, 3 gives them colours; otherwise 3 if any has colours, else 1.  Needs Pillow.
    Raises BnncError.
    """
    x = _images(files[0], files, size, {1: "L", 3: "RGB"}.get(channels))
    channels = max(image.shape[2] for image in x)
    return np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in x])


def images_in(folder: Path, suffixes: Sequence[str] = IMAGES) -> list[Path]:
    """The image files that lie in a folder, sorted; those in folders below it do not count."""
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith("."))


def _images(
    path: Source, files: Sequence[Path], size: tuple[int, int] | None, mode: str | None = None
) -> list[np.ndarray]:
    """Pixels [height, width, channels] of images of one size, and of Pillow's ``mode``.  Needs Pillow.  Raises
    BnncError."""
    try:
        from PIL import Image
    except ImportError as e:
        raise fail("B0805", path, "reading images needs Pillow", "pip install 'bnnc[images]', or give an .npz") from e
    x: list[np.ndarray] = []
    for file in files:
        with guard(file, "image"), Image.open(file) as image:
            if image.mode not in _MODES:
                raise ValueError(f"its pixels are of type {image.mode}, not 8 bits a channel")
            pixels = image.convert(_MODES[image.mode])
            pixels = pixels.convert(mode) if mode else pixels
            if size and (pixels.height, pixels.width) != size:
                pixels = pixels.resize(size[::-1], Image.Resampling.BILINEAR)
            x.append(np.asarray(pixels, np.uint8).reshape(pixels.height, pixels.width, -1))
        if x[-1].shape[:2] != x[0].shape[:2]:
            raise fail(
                "B0804",
                file,
                "{1} x {0} pixels, the first image has {3} x {2}".format(*x[-1].shape[:2], *x[0].shape[:2]),
                "all images need the same size: --size 64x64 scales them",
            )
    return x
