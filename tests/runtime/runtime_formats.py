"""Writers of every data format that the trainer reads, and of safetensors; independent of the code under test."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from pathlib import Path

import numpy as np


def samples(n: int, seed: int, elems: int = 37, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A task that softmax regression learns: one random prototype a class, and noise."""
    proto = np.random.default_rng(0).integers(0, 256, (classes, elems))
    r = np.random.default_rng(seed)
    y = r.integers(0, classes, n).astype("u1")
    return np.clip(proto[y] + r.normal(0, 90, (n, elems)), 0, 255).astype("u1"), y


def idx(a: np.ndarray) -> bytes:
    return struct.pack(f">HBB{a.ndim}I", 0, 8, a.ndim, *a.shape) + a.tobytes()


def cifar(x: np.ndarray, y: np.ndarray) -> bytes:
    """CIFAR-10's records: the label, then the image's red, green and blue planes; x (n, 32, 32, 3) u8."""
    return b"".join(
        bytes([label]) + b"".join(image[:, :, c].tobytes() for c in range(3)) for image, label in zip(x, y, strict=True)
    )


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def npy(a: np.ndarray) -> bytes:
    import io

    f = io.BytesIO()
    np.save(f, a)
    return f.getvalue()


def bnnd(
    x: np.ndarray,
    y: np.ndarray,
    kind: int,
    *,
    compress: bool = False,
    n_test: int = 0,
    threshold: float = 128.0,
    encoder: int | None = None,
    classes: int = 4,
    **change: int,
) -> bytes:
    """kind 0 u8, 1 bit, 2 f32; ``change`` overwrites header fields after the fact (by byte offset ``at_N``)."""
    n, elems = x.shape
    if kind == 1:
        payload = np.packbits(x.astype("f4") >= threshold, axis=1, bitorder="little")
    else:
        payload = np.ascontiguousarray(x, "u1" if kind == 0 else "<f4").view("u1").reshape(n, -1)
    records = np.concatenate([payload, y[:, None]], axis=1).tobytes()
    stored = records
    if compress:
        c = zlib.compressobj(9, zlib.DEFLATED, -15)
        stored = c.compress(records) + c.flush()
    head = struct.pack(
        "<8s7I4II f I Q I I I 8x".replace(" ", ""),
        b"BNNDATA1",
        96,
        kind,
        n,
        elems,
        payload.shape[1] + 1,
        classes,
        1,
        elems,
        0,
        0,
        0,
        (kind == 1) if encoder is None else encoder,
        threshold if kind == 1 else 0.0,
        int(compress),
        len(stored),
        zlib.crc32(records),
        n_test,
        0,
    )
    for key, value in change.items():
        at = int(key[3:])
        head = head[:at] + struct.pack("<I", value) + head[at + 4 :]
    return head + struct.pack("<I", zlib.crc32(head)) + stored


def safetensors(tensors: dict[str, np.ndarray], names: dict[str, str] | None = None) -> bytes:
    header, data = {"__metadata__": {"made": 'by "hand"'}}, b""
    kinds = {"float32": "F32", "float16": "F16", "int8": "I8", "float64": "F64"}
    for name, a in tensors.items():
        header[name] = {
            "dtype": kinds[a.dtype.name],
            "shape": list(a.shape),
            "data_offsets": [len(data), len(data) + a.nbytes],
        }
        data += a.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + n])
    assert (8 + n) % 8 == 0
    kinds = {"F32": "<f4", "F16": "<f2", "I8": "i1", "U8": "u1", "I32": "<i4"}
    out = {}
    for name, t in header.items():
        if name != "__metadata__":
            a, b = t["data_offsets"]
            out[name] = np.frombuffer(raw[8 + n + a : 8 + n + b], kinds[t["dtype"]]).reshape(t["shape"])
    return out
