"""safetensors files: named arrays as a u64 length, a JSON header of that many bytes, and the data, little endian."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..diag import BnncError, error
from ..source import whole

DTYPES = {
    "F32": "<f4",
    "F16": "<f2",
    "F64": "<f8",
    "I8": "<i1",
    "U8": "<u1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "BOOL": "|b1",
}


def _fail(path: str | os.PathLike[str], reason: str) -> BnncError:
    return error(
        "B0802",
        f"{os.fspath(path)}: not a readable safetensors file: {reason}",
        exit_code=5,
        help="write it again, e.g. with the trainer's `--export`",
    )


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All tensors by name, in the file's order, as arrays of their own type and shape.

    Raises BnncError: B0801 when the file cannot be opened, B0802 when it is damaged or holds a type other than
    ``DTYPES`` (bfloat16, for one).
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as e:
        raise error("B0801", f"{os.fspath(path)}: {e.strerror}", exit_code=5, help="check the path") from e
    try:
        (size,) = struct.unpack_from("<Q", raw)
        header = json.loads(raw[8 : 8 + size])
        out = {}
        for name, t in header.items():
            if name == "__metadata__":
                continue
            if t["dtype"] not in DTYPES:
                raise ValueError(f"tensor {name} has the type {t['dtype']}")
            begin, end = t["data_offsets"]
            dtype = np.dtype(DTYPES[t["dtype"]])
            if end - begin != math.prod(t["shape"]) * dtype.itemsize or not 0 <= begin <= end <= len(raw) - 8 - size:
                raise ValueError(f"tensor {name} lies outside of the file")
            data = np.frombuffer(raw, dtype, math.prod(t["shape"]), 8 + size + begin)
            out[name] = data.reshape(t["shape"]).astype(dtype.newbyteorder("="))
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as e:
        raise _fail(path, str(e)) from e
    return out


def write(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray]) -> None:
    """Write ``tensors`` (types of ``DTYPES``) as one file, whole or not at all.  Raises ValueError for another type."""
    names = {np.dtype(v): k for k, v in DTYPES.items()}
    header: dict[str, object] = {}
    blobs, at = [], 0
    for name, x in tensors.items():
        little = np.asarray(x, np.asarray(x).dtype.newbyteorder("<"), order="C")
        if little.dtype not in names:
            raise ValueError(f"tensor {name}: {little.dtype} has no safetensors type here; convert it, e.g. to float32")
        header[name] = {
            "dtype": names[little.dtype],
            "shape": list(little.shape),
            "data_offsets": [at, at + little.nbytes],
        }
        blobs.append(little.tobytes())
        at += little.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole(Path(path)) as part:
        part.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
