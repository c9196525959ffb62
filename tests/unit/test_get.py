"""`bnnc data get` against a server on this machine, and `bnnc examples`."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import bnnc
from bnnc import data
from bnnc.cli.commands import cli
from bnnc.data import examples, fetch
from bnnc.diag import BnncError


class Place(BaseHTTPRequestHandler):
    """Serves ``files``; notes the ranges that were asked for; ends an answer after ``cut`` bytes."""

    files: dict[str, bytes] = {}
    asked: list[tuple[str, str]] = []
    cut: int | None = None

    def do_GET(self) -> None:
        name, wanted = self.path.rpartition("/")[2], self.headers.get("Range", "")
        self.asked.append((name, wanted))
        content = self.files.get(name)
        if content is None:
            self.send_error(404)
            return
        first = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        if first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first:][: self.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server's address, with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Place, "asked", [])
    monkeypatch.setattr(Place, "cut", None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Place)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/sets"
    server.shutdown()
    thread.join()
    server.server_close()


def idx(x: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">HBB{x.ndim}I", 0, 8, x.ndim, *x.shape) + x.tobytes(), mtime=0)


def offer(monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes]) -> None:
    """These files, and their checksums in the table."""
    monkeypatch.setattr(Place, "files", files)
    sums = tuple((f, hashlib.md5(content).hexdigest()) for f, content in files.items())
    monkeypatch.setitem(fetch.SETS, name, replace(fetch.SETS[name], files=sums))


@pytest.fixture
def fashion(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (70, 28, 28), np.uint8), np.arange(70, dtype=np.uint8) % 10
    arrays = (x[:60], y[:60], x[60:], y[60:])
    offer(monkeypatch, "fashion", {f: idx(a) for f, a in zip(fetch.IDX, arrays, strict=True)})
    return x, y


def go(*args: object, code: int = 0) -> str:
    done = CliRunner().invoke(cli, [str(a) for a in args])
    assert done.exit_code == code, done.output
    return done.output


def test_a_set_is_fetched_once_and_packed(place: str, fashion: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    to = tmp_path / "f.bnnd"
    assert "60 training and 10 test samples" in go("data", "get", "fashion", "-o", to, "--from", place)
    d = data.read_bnnd(to)
    assert np.array_equal(d.x.reshape(70, 28, 28), fashion[0]) and np.array_equal(d.y, fashion[1])
    assert d.n_test == 10 and d.names[9] == "Ankle boot" and len(Place.asked) == 4
    go("data", "get", "fashion", "-o", to, "--from", place)
    assert len(Place.asked) == 4  # from the cache


@pytest.mark.usefixtures("fashion")
def test_an_interrupted_one_goes_on(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = len(Place.files[fetch.IDX[0]])
    monkeypatch.setattr(Place, "cut", whole // 3)
    said = go("data", "get", "fashion", "-o", tmp_path / "f.bnnd", "--from", place, code=5)
    assert "B0809" in said and "goes on where it stopped" in said and not (tmp_path / "f.bnnd").exists()
    monkeypatch.setattr(Place, "cut", None)
    go("data", "get", "fashion", "-o", tmp_path / "f.bnnd", "--from", place)
    assert Place.asked[1] == (fetch.IDX[0], f"bytes={whole // 3}-")
    assert data.read_bnnd(tmp_path / "f.bnnd").n == 70


@pytest.mark.usefixtures("fashion")
def test_another_file_is_refused(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Place.files, fetch.IDX[1], b"something else")
    for _ in (1, 2):  # nothing of it is kept
        with pytest.raises(BnncError, match="its MD5 is not") as e:
            fetch.get("fashion", tmp_path / "f.bnnd", place)
        assert e.value.exit_code == 5
    with pytest.raises(BnncError, match="the server says 404"):
        offer(monkeypatch, "mnist", {"x": b"x"})
        monkeypatch.setattr(Place, "files", {})
        fetch.get("mnist", tmp_path / "m.bnnd", place)


def test_cifar_keeps_its_names_and_its_test(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    parts = [rng.integers(0, 10, (4, data.CIFAR_RECORD), np.uint8) for _ in names]
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        kinds = ("\n".join(f"kind{i}" for i in range(10)) + "\n\n").encode()
        for name, content in (*zip(names, (p.tobytes() for p in parts), strict=True), ("batches.meta.txt", kinds)):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    offer(monkeypatch, "cifar10", {"cifar-10-binary.tar.gz": raw.getvalue()})
    d = fetch.get("cifar10", tmp_path / "c.bnnd", place)
    assert (d.n, d.n_test, d.shape, d.names[3]) == (24, 4, (32, 32, 3), "kind3")
    assert d.y.tolist() == [int(r[0]) for p in parts for r in p]
    monkeypatch.setattr(tarfile, "open", None)  # what is unpacked stays so
    assert fetch.get("cifar10", tmp_path / "again.bnnd", place).names == d.names


def test_sums_of_the_authors_are_sums() -> None:
    for source in fetch.SETS.values():
        assert source.url.startswith("http") and source.url.endswith("/")
        assert all(len(bytes.fromhex(checksum)) == 16 for _, checksum in source.files)


# -- examples ----------------------------------------------------------------------------------------------------------


def test_examples_are_listed_and_copied(tmp_path: Path) -> None:
    listed = go("examples")
    assert all(e.name in listed and e.title in listed for e in examples.examples())
    said = go("examples", "fashion_bep", "-o", tmp_path / "a/b")
    assert "Next: bnnc run " in said and "fashion_1500.bnnd" in said
    assert bnnc.load(tmp_path / "a/b/fashion_bep.bnn").model.name == "fashion_bep"
    assert data.info(tmp_path / "a/b/fashion_1500.bnnd")["n"] == 1500
    assert "not empty" in go("examples", "fashion_bep", "-o", tmp_path / "a/b", code=2)
    assert "did you mean `fashion_bep`" in go("examples", "fashion_bp", code=2)
    assert "Next: bnnc plan " in go("examples", "digits_local", "-o", tmp_path / "digits")  # its data is made first


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_program(shell: str) -> None:
    assert "_BNNC_COMPLETE" in go("completion", shell)
