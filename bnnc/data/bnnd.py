"""Host side of data: pack samples and labels into ``.bnnd``, the format that trainers stream; write and read it.

A ``.bnnd`` file is little endian: a 96-byte header, then ``n`` records of ``payload + 1 label byte`` (label last), then
the names of the classes, if they have any: in UTF-8, each with a line feed behind it; an empty line and the names
of the columns follow where the samples are rows of a table that has some.

===== ====== =================================================================================================
at    type   meaning
===== ====== =================================================================================================
0     8 s    magic ``BNNDATA1``
8     u32    header bytes (96)
12    u32    kind: 0 u8, 1 bit (element i is bit i % 8 of byte i // 8; 1 means +1; padding bits are 0), 2 f32
16    4 u32  n (samples), elements of a sample, bytes of a record, classes
32    5 u32  ndim 1..4, then four dims (unused ones are 1)
52    u32    encoder: 0 none, 1 sign; at 56 its threshold, f32
60    u32    compression: 0 none, 1 one raw deflate stream (zlib ``wbits=-15``, level 9) of all records
64    u64    stored payload bytes; at 72 the crc32 (u32) of the uncompressed records
76    u32    n_test: the last ``n_test`` samples are the test split; at 80 a source key (0)
84    u32    bytes of the names; at 88 their crc32, u32 (0 and 0: none)
92    u32    crc32 of bytes 0..91
===== ====== =================================================================================================

The same arrays give the same bytes (for one version of zlib when compressed): no clock, path or locale is stored.
Every complaint about a file is a :class:`bnnc.diag.BnncError` with exit code 5: B0801 cannot be read or written,
B0802 damaged or of another format, B0803 labels, B0804 samples, B0805 how the sources were given.

Non-goals: augmentation, resizing; nothing here runs in a trainer.  Other formats are read in :mod:`bnnc.data.readers`.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..source import whole
from .readers import (
    Source,
    exactly,
    fail,
    guard,
    labels,
)

MAGIC = b"BNNDATA1"
HEADER = struct.Struct("<8s6I I4I I f I Q I I I I I")  # bytes 0..91; a crc32 of these follows
HEADER_BYTES = HEADER.size + 4
KINDS = ("u8", "bit", "f32")
KIND_OF = {"uint8": "u8", "bool": "bit", "float32": "f32"}
ENCODERS = ("none", "sign")  # what a header can say; bits of a fitted encoder are bits like others


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples and labels in memory; the last ``n_test`` samples are the test split.

    ``x``: (n, *shape) with 1 to 4 axes in ``shape``; ``uint8``, ``float32`` (finite, but for NaN in all of a sequence's
    last steps: they do not exist), or ``bool`` where True means +1.
    ``y``: (n,) ``uint8``, each below ``classes``.  ``encoder``: ``none`` or ``sign`` (how the bits were made, with
    ``threshold`` in units of the source data).  ``names``: of the classes, () where they have none, else one for each;
    ``columns``: of a table's columns, one for each element, or ().
    Of how files were read, and in no file: ``labels_from``: the column of a CSV that was taken for the labels;
    ``categories``: (element, name, how many words) of its columns of words; ``ignored``: arrays that were left out.
    """

    x: np.ndarray
    y: np.ndarray
    encoder: str = "none"
    threshold: float = 0.0
    classes: int = 0
    n_test: int = 0
    names: tuple[str, ...] = ()
    labels_from: str = ""
    categories: tuple[tuple[int, str, int], ...] = ()
    ignored: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """How many samples."""
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample."""
        return tuple(self.x.shape[1:])

    @property
    def elements(self) -> int:
        """Numbers in a sample."""
        return math.prod(self.shape)

    @property
    def kind(self) -> str:
        """``u8``, ``bit`` or ``f32``."""
        return KIND_OF[self.x.dtype.name]

    @property
    def record_bytes(self) -> int:
        """Bytes of one stored sample with its label byte."""
        return {"u8": self.elements, "bit": (self.elements + 7) // 8, "f32": 4 * self.elements}[self.kind] + 1


def as_samples(file: Source, x: np.ndarray) -> np.ndarray:
    """``x`` as u8, f32 or bool with 2 to 5 axes; whole numbers beyond u8 become f32 where that is exact."""
    if not 2 <= x.ndim <= 5 or 0 in x.shape:
        raise fail(
            "B0804",
            file,
            f"samples have shape {list(x.shape)}",
            "give (samples, ...) with 1 to 4 more axes, none of them empty",
        )
    if x.dtype.kind not in "buif":
        raise fail("B0804", file, f"samples have type {x.dtype}", "give u8, bool, whole or floating-point numbers")
    if x.dtype.kind in "ui" and x.dtype != np.uint8 and (x.max() > 1 << 24 or x.min() < -(1 << 24)):
        raise fail("B0804", file, "whole numbers beyond 2^24 do not fit into f32", "scale the values first")
    if x.dtype not in (np.uint8, np.bool_):
        with np.errstate(over="ignore"):
            x = x.astype(np.float32, copy=False)
    if x.dtype.kind == "f" and not (fine := np.isfinite(x) | _missing(x)).all():
        i = int(np.argmin(fine.reshape(len(x), -1).all(1)))
        raise fail("B0804", file, f"sample {i} holds a value that is not finite in f32", "fill in or remove the value")
    return np.ascontiguousarray(x)


def _missing(x: np.ndarray) -> np.ndarray:
    """Steps that do not exist: those at the end of a sequence, x being (n, steps, columns), that are NaN in every
    column.
    """
    if x.ndim != 3:
        return np.zeros(x.shape, bool)
    gone = np.isnan(x).all(axis=2)[:, ::-1]
    return np.logical_and.accumulate(gone, axis=1)[:, ::-1, None]


def _records(data: Dataset) -> bytes:
    body = data.x.reshape(data.n, -1)
    body = np.packbits(body, axis=1, bitorder="little") if data.kind == "bit" else body
    body = body.astype("<f4").view(np.uint8) if data.kind == "f32" else body
    return np.concatenate([body, data.y[:, None]], axis=1).tobytes()


def write_bnnd(path: Source, data: Dataset, compress: bool = False) -> int:
    """Write ``data`` as a ``.bnnd`` file (whole or not at all) and return its size in bytes.  Raises BnncError."""
    data = _checked(path, data)
    records = _records(data)
    stored = records
    if compress:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        stored = packer.compress(records) + packer.flush()
    names = names_text(data.names, data.columns).encode()
    head = _packed_header(data, compress, len(stored), zlib.crc32(records), names)
    try:
        with whole(Path(path)) as part:
            part.write_bytes(head + struct.pack("<I", zlib.crc32(head)) + stored + names)
    except OSError as e:
        raise fail("B0801", path, f"cannot be written: {e.strerror}", "check the folder and the free space") from e
    return HEADER_BYTES + len(stored) + len(names)


def _checked(path: Source, data: Dataset) -> Dataset:
    """The data set as its file can hold it.  Raises BnncError."""
    x = as_samples(path, data.x)
    y, classes = labels(path, data.y, len(x)), data.classes or int(data.y.max()) + 1
    if data.encoder not in ENCODERS or (data.encoder == "sign" and x.dtype != np.bool_):
        raise fail("B0805", path, f"encoder `{data.encoder}` does not fit {x.dtype} samples", "`sign` gives bits")
    if not y.max() < classes <= 256 or not 0 <= data.n_test <= len(x):
        raise fail(
            "B0803",
            path,
            f"{classes} classes, highest label {y.max()}, test split {data.n_test} of {len(x)}",
            "labels must be below the number of classes (at most 256)",
        )
    if data.names and (wrong := wrong_names(data.names, classes)):
        raise fail("B0803", path, wrong, "give each class one name of its own, of at most 200 bytes")
    columns = () if wrong_names(data.columns, math.prod(x.shape[1:])) else data.columns  # others go by their places
    data = Dataset(x, y, data.encoder, data.threshold, classes, data.n_test, data.names, columns=columns)
    if max(data.n, data.elements) >= 1 << 32:
        raise fail("B0804", path, "more than 2^32 - 1 samples or elements", "split the data set")
    return data


def wrong_names(names: tuple[str, ...], classes: int) -> str:
    """Why these are no names of so many classes; empty: they are."""
    if len(names) != classes:
        return f"{len(names)} names for {classes} classes"
    if len(set(names)) < len(names):
        return f"two classes are called `{max(names, key=names.count)}`"
    for name in names:
        if name.strip() != name or not name or not name.isprintable() or len(name.encode()) > 200:
            return f"{name!r} cannot name a class"
    return ""


def names_text(names: tuple[str, ...], columns: tuple[str, ...] = ()) -> str:
    """Names of classes, and of columns where the classes have names, as a ``.bnnd`` file and ``classes.txt`` hold
    them."""
    return "".join(f"{name}\n" for name in (*names, *(("", *columns) if names and columns else ())))


def names_in(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of classes and of columns that :func:`names_text` wrote."""
    classes, _, columns = text.partition("\n\n")
    return tuple(classes.rstrip("\n").split("\n")) if classes else (), tuple(columns.split("\n")[:-1])


def _packed_header(data: Dataset, compress: bool, stored: int, crc: int, names: bytes) -> bytes:
    """The header without its own checksum; ``stored``: bytes of the records in the file, ``crc``: of the records."""
    return HEADER.pack(
        MAGIC,
        HEADER_BYTES,
        KINDS.index(data.kind),
        data.n,
        data.elements,
        data.record_bytes,
        data.classes,
        len(data.shape),
        *data.shape,
        *(1,) * (4 - len(data.shape)),
        ENCODERS.index(data.encoder),
        data.threshold,
        int(compress),
        stored,
        crc,
        data.n_test,
        0,
        len(names),
        zlib.crc32(names),
    )


def _header(path: Source, raw: bytes) -> dict[str, Any]:
    """The checked fields of a header; raises ValueError with the reason."""
    if raw[:8] != MAGIC:
        raise ValueError("it does not start with BNNDATA1 (make one with `bnnc data pack`)")
    if len(raw) < HEADER_BYTES:
        raise ValueError(f"it ends inside the {HEADER_BYTES}-byte header")
    if zlib.crc32(raw[: HEADER.size]) != struct.unpack_from("<I", raw, HEADER.size)[0]:
        raise ValueError("the checksum of the header does not match")
    _, size, kind, n, elements, record, classes, ndim, *rest = HEADER.unpack_from(raw)
    dims, (encoder, threshold, compression, stored, crc, n_test, _, names, names_crc) = rest[:4], rest[4:]
    if size != HEADER_BYTES or kind >= len(KINDS) or encoder >= len(ENCODERS) or compression > 1 or not 1 <= ndim <= 4:
        raise ValueError("it uses a kind, encoder or compression that this version does not know")
    payload = (elements, (elements + 7) // 8, 4 * elements)[kind]
    if math.prod(dims[:ndim]) != elements or record != payload + 1 or not n or not elements:
        raise ValueError(f"contradiction: n={n}, dims={dims[:ndim]}, elements={elements}, record={record} bytes")
    if not 1 <= classes <= 256 or n_test > n or not math.isfinite(threshold) or (encoder == 1 and kind != 1):
        raise ValueError(f"out of range: classes={classes}, n_test={n_test}, threshold={threshold}")
    if not compression and stored != n * record:
        raise ValueError(f"{stored:,} payload bytes for {n:,} records of {record} bytes")
    if compression and n * record > 1040 * stored + 64:  # deflate cannot shrink more than about 1032 times
        raise ValueError(f"{stored:,} bytes cannot hold {n:,} records of {record} bytes")
    return {
        "kind": KINDS[kind],
        "n": n,
        "elements": elements,
        "record_bytes": record,
        "classes": classes,
        "shape": tuple(dims[:ndim]),
        "encoder": ENCODERS[encoder],
        "threshold": threshold,
        "compression": ("none", "deflate")[compression],
        "stored_bytes": stored,
        "crc32": crc,
        "n_test": n_test,
        "names_bytes": names,
        "names_crc32": names_crc,
    }


def _read(path: Source) -> tuple[dict[str, Any], Dataset]:
    with guard(path, "bnnd"), open(path, "rb") as f:
        h = _header(path, f.read(HEADER_BYTES))
        stored, expected = exactly(f, h["stored_bytes"] + h["names_bytes"]), h["n"] * h["record_bytes"]
        records: bytes | bytearray = stored[: h["stored_bytes"]]
        names = stored[h["stored_bytes"] :]
        if h["compression"] == "deflate":
            unpacker = zlib.decompressobj(-15)
            records = unpacker.decompress(records, expected + 1)
            if not unpacker.eof or unpacker.unused_data:
                raise ValueError("the deflate stream does not end where it should")
        if len(records) != expected or zlib.crc32(records) != h["crc32"]:
            raise ValueError("the checksum or the length of the records does not match")
        table = np.frombuffer(records, np.uint8).reshape(h["n"], h["record_bytes"])
        y = table[:, -1].copy()
        if y.max() >= h["classes"]:
            raise ValueError(f"label {y.max()} with {h['classes']} classes")
        x = as_samples(path, _unpacked(table, h))
        known, columns = _names(names, h)
    return h, Dataset(x, y, h["encoder"], h["threshold"], h["classes"], h["n_test"], known, columns=columns)


def _names(raw: bytes | bytearray, h: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of the classes and of the columns; raises ValueError for what is damaged or no name."""
    found = names_in(raw.decode())
    wrong = any(n and wrong_names(n, h[of]) for n, of in zip(found, ("classes", "elements"), strict=True))
    if zlib.crc32(raw) != h["names_crc32"] or wrong:
        raise ValueError("the checksum of the classes' names does not match, or they are no names")
    return found


def _unpacked(table: np.ndarray, h: dict[str, Any]) -> np.ndarray:
    """The samples of records, u8 [n, bytes of one].  Raises ValueError where they cannot be what was written."""
    x = np.ascontiguousarray(table[:, :-1])
    if h["kind"] == "bit":
        x = np.unpackbits(x, axis=1, bitorder="little").view(np.bool_)
        if x[:, h["elements"] :].any():
            raise ValueError("padding bits are not zero")
        x = x[:, : h["elements"]]
    elif h["kind"] == "f32":
        x = x.view("<f4")
    return x.reshape(len(table), *h["shape"])


def some(path: Source, rows: Callable[[int, int], np.ndarray]) -> np.ndarray | None:
    """Training samples of a file that is not read whole, and so not checked: those that ``rows`` chooses, given how
    many there are and the bytes of one.  None where they are compressed.  Raises BnncError."""
    with guard(path, "bnnd"), open(path, "rb") as f:
        h = _header(path, f.read(HEADER_BYTES))
        if h["compression"] != "none":
            return None
        table = np.memmap(path, np.uint8, "r", HEADER_BYTES, (h["n"], h["record_bytes"]))
        return as_samples(path, _unpacked(table[rows(h["n"] - h["n_test"], h["record_bytes"])], h))


def read_bnnd(path: Source) -> Dataset:
    """The whole ``.bnnd`` file with every check (header, lengths, checksums, labels, padding).  Raises BnncError."""
    return _read(path)[1]


def info(path: Source) -> dict[str, Any]:
    """What ``bnnc data info`` prints: the header's fields, ``file_bytes``, ``payload_bytes`` (uncompressed),
    ``n_train``, ``names`` of the classes and ``columns`` of a table, and ``counts`` / ``counts_test``: samples of each
    class in the two splits.
    Raises BnncError.
    """
    h, d = _read(path)
    k = d.n - d.n_test
    return {
        **h,
        "n_train": k,
        "payload_bytes": d.n * d.record_bytes,
        "file_bytes": HEADER_BYTES + h["stored_bytes"] + h["names_bytes"],
        "names": list(d.names),
        "columns": list(d.columns),
        "counts": np.bincount(d.y[:k], minlength=d.classes).tolist(),
        "counts_test": np.bincount(d.y[k:], minlength=d.classes).tolist(),
    }
