"""Data sets of others, from where their authors keep them: resumed, checked, and fetched once.

Checksums are those that the authors publish, MD5: they find a file that arrived damaged, and no forger.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..cache import cache_folder
from ..diag import BnncError, error
from ..source import whole
from .bnnd import Dataset
from .packing import pack

BLOCK = 1 << 16
PATIENCE = 30  # seconds without a byte
IDX = tuple(f"{a}-{b}-ubyte.gz" for a in ("train", "t10k") for b in ("images-idx3", "labels-idx1"))

Progress = Callable[[str, int, int], None]  # name, bytes so far, bytes in all (0: unknown)


@dataclass(frozen=True)
class Source:
    """``files``: names and their MD5; ``names`` of the classes, () where the files have them."""

    url: str
    files: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    what: str


SETS = {
    "mnist": Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        tuple(
            zip(
                IDX,
                (
                    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                    "d53e105ee54ea40749a09fcbcd1e9432",
                    "9fb629c4189551a2d022fa330f9573f3",
                    "ec29112dd5afa0611ce80d1b7f02629c",
                ),
                strict=True,
            )
        ),
        tuple("0123456789"),
        "70,000 handwritten digits (PyTorch's copy: their first place answers seldom)",
    ),
    "fashion": Source(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        tuple(
            zip(
                IDX,
                (
                    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                    "25c81989df183df01b3e8a0aad5dffbe",
                    "bef4ecab320f06d8554ea6380940ec79",
                    "bb300cfdad3c16e7a12a480ee83cd310",
                ),
                strict=True,
            )
        ),
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        "70,000 pieces of clothing",
    ),
    "cifar10": Source(
        "https://www.cs.toronto.edu/~kriz/",
        (("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
        (),
        "60,000 photographs of ten kinds of things, 32 x 32, in colour",
    ),
}


def md5(path: Path) -> str:
    """Of a file."""
    h = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as f:
        while block := f.read(BLOCK):
            h.update(block)
    return h.hexdigest()


def fetch(url: str, to: Path, checksum: str, progress: Progress) -> None:
    """A file from ``url``, unless it is there; what an earlier try has left is gone on with.

    Raises BnncError B0809 where it cannot be had, or is not what its checksum says.
    """
    if to.exists() and md5(to) == checksum:
        return
    part = to.with_name(f"{to.name}.part")
    have = part.stat().st_size if part.exists() else 0
    try:
        _receive(url, part, have, progress)
    except urllib.error.HTTPError as e:
        if e.code != 416:  # 416: nothing is missing
            raise _unreachable(url, f"the server says {e.code} {e.reason}") from e
    except (OSError, ValueError) as e:
        raise _unreachable(url, str(getattr(e, "reason", e))) from e
    if md5(part) != checksum:
        part.unlink()
        raise error(
            "B0809",
            f"{url} is not the file that its authors published: its MD5 is not {checksum}",
            exit_code=5,
            help="give the command again; if it stays so, the place holds another file",
        )
    os.replace(part, to)


def _receive(url: str, part: Path, have: int, progress: Progress) -> None:
    """What is missing of a file, behind the ``have`` bytes that are there; all of it where the server cannot."""
    import urllib.request  # HTTP and TLS are a twentieth of what the start of any command takes

    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        have = have if answer.status == 206 else 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        with part.open("ab" if have else "wb") as f:
            while block := answer.read(BLOCK):
                f.write(block)
                have += len(block)
                progress(part.name.removesuffix(".part"), have, total)
    if have < total:
        raise OSError(f"the connection ended after {have:,} of {total:,} bytes")


def _unreachable(url: str, reason: str) -> BnncError:
    return error(
        "B0809",
        f"{url} could not be fetched: {reason}",
        exit_code=5,
        help="give the command again, it goes on where it stopped; `--from URL` names another place",
    )


def get(name: str, output: Path, place: str | None = None, progress: Progress = lambda *_: None) -> Dataset:
    """The data set ``name`` of :data:`SETS`, packed into ``output`` with its test split and its classes' names.

    What was fetched stays in ``$XDG_CACHE_HOME/bnnc/data``.  ``place``: the folder's address instead of the authors'.
    Raises BnncError B0809.
    """
    source = SETS[name]
    kept = cache_folder(f"data/{name}") or output.parent / f".{name}"
    kept.mkdir(parents=True, exist_ok=True)
    base = (place or source.url).rstrip("/") + "/"
    for file, checksum in source.files:
        fetch(base + file, kept / file, checksum, progress)
    files = [kept / file for file, _ in source.files]
    if files[0].name.endswith(".tar.gz"):
        files = _unpacked(files[0])
        return pack(*files[:-1], test=files[-1:], output=output)
    return pack(*files[:2], test=files[2:], output=output, names=source.names)


def _unpacked(archive: Path) -> list[Path]:
    """CIFAR-10's records of an archive, those of the test last, each in a file beside it, with the classes' names;
    those that are there already stay as they are."""
    wanted = [archive.parent / name for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")]
    files = [*wanted, archive.parent / "batches.meta.txt"]
    if all(f.exists() and f.stat().st_mtime >= archive.stat().st_mtime for f in files):
        return wanted
    with tarfile.open(archive) as tar:
        found = {Path(m.name).name: m for m in tar if m.isfile()}
        for file in files:
            content = tar.extractfile(found[file.name])
            assert content is not None
            with whole(file) as part:
                part.write_bytes(content.read())
    return wanted
