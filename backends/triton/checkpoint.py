"""Checkpoints as the C trainer writes and reads them (``bnnc_store.h``, ``bnnc_train.h``): two slots, a header with
CRCs.

A save writes the payload, syncs, then the header, syncs again, into the slot that does not hold the latest: power lost
at any write leaves one that is whole.  The payload is a cursor (112 bytes, and 8 for each counter) and the state range
of the arena.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import astuple, dataclass, field
from pathlib import Path

from bnnc.data.bnnd import names_in
from bnnc.diag import error
from bnnc.plan.contract import CHECKPOINT_VERSION, COUNTER, MAGIC, PAYLOAD

HEADER = struct.Struct("<8sII16sQQIIII")
CURSOR = struct.Struct("<3Q6d10I")


def fnv64(data: bytes) -> str:
    """FNV-1a, as the C trainer prints it."""
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


@dataclass
class Cursor:
    """All that a run is, beside the states; the fields of ``bnnc_cursor`` in its order."""

    step_total: int = 0
    hits: int = 0
    seen: int = 0
    loss_sum: float = 0.0
    lr0: float = 0.0
    lr_scale: float = 1.0
    best_hold: float = -1.0
    best_test: float = -1.0
    last_test: float = -1.0
    epoch: int = 0
    step: int = 0
    seed: int = 0
    n_fit: int = 0
    n_hold: int = 0
    bad_epochs: int = 0
    errors: int = 1
    samples: int = 1
    stage: int = 0
    best_epoch: int = 0
    count: list[int] = field(default_factory=list)  # of the epoch so far, by counter

    def pack(self) -> bytes:
        """The bytes of bnnc_cursor (``bnnc_step.h``), little-endian."""
        *numbers, count = astuple(self)
        return CURSOR.pack(*numbers) + struct.pack(f"<{len(count)}q", *count)

    @classmethod
    def unpack(cls, raw: bytes) -> Cursor:
        """What ``pack`` wrote."""
        made = cls(*CURSOR.unpack(raw[: CURSOR.size]))
        made.count = list(struct.unpack(f"<{(len(raw) - CURSOR.size) // COUNTER}q", raw[CURSOR.size :]))
        return made


class Store:
    """The two slots of a folder."""

    def __init__(self, folder: Path, spec: str, state_bytes: int, counters: int) -> None:
        self.paths = (folder / "slot_a.bnnck", folder / "slot_b.bnnck")
        self.best = folder / "best.bnnck"
        self.cursor_bytes = CURSOR.size + COUNTER * counters
        self.folder, self.spec, self.length = folder, spec.encode(), self.cursor_bytes + state_bytes
        self.slot, self.generation = -1, 0
        self.note = ""  # on what `load` has found

    def _look(self, path: Path) -> tuple[str, int, bytes]:
        """(empty, torn: without a whole header, damaged, foreign or valid; generation; payload) of a slot."""
        raw = path.read_bytes() if path.exists() else b""
        if not raw:
            return "empty", 0, b""
        magic, version, _, spec, generation, length, crc, _, _, own = HEADER.unpack(
            raw[: HEADER.size].ljust(HEADER.size, b"\0")
        )
        if magic != MAGIC or zlib.crc32(raw[: HEADER.size - 4]) != own:
            return "torn", 0, b""
        if version != CHECKPOINT_VERSION or spec != self.spec or length != self.length:
            return "foreign", 0, b""
        payload = raw[PAYLOAD : PAYLOAD + length]
        return (
            ("valid", generation, payload)
            if len(payload) == length and zlib.crc32(payload) == crc
            else ("damaged", 0, b"")
        )

    def load(self) -> tuple[Cursor, bytes] | None:
        """The latest whole checkpoint: (cursor, states), or None where there is none.

        Raises BnncError B0807, exit code 6: another network's, or one that no power cut has left damaged
        (``bnnc_ckpt_lost``).
        """
        seen = [self._look(p) for p in self.paths]
        kinds = [s[0] for s in seen]
        valid = [i for i in (0, 1) if kinds[i] == "valid"]
        self.note = ""
        if valid:
            self.slot = max(valid, key=lambda i: seen[i][1])
            if kinds[1 - self.slot] in ("torn", "damaged"):
                self.note = (
                    f"note: {self.paths[1 - self.slot]} is incomplete, as after a power cut; going on from the"
                    " other one"
                )
            _, self.generation, payload = seen[self.slot]
            return self._parted(payload)
        if "foreign" in kinds:
            raise error(
                "B0807",
                f"{self.paths[kinds.index('foreign')]} belongs to another network, rule or batch size than this "
                f"program's ({self.spec.decode()})",
                exit_code=6,
                help="--out ANOTHER_FOLDER, or --resume never to remove it",
            )
        if "damaged" in kinds or kinds[1] == "torn":
            there = [p for p, kind in zip(self.paths, kinds, strict=True) if kind != "empty"]
            what = (
                f"both checkpoints in {self.folder} are damaged"
                if there[1:]
                else f"{there[0]} is damaged, and there is no other checkpoint"
            )
            raise error(
                "B0807",
                f"{what}: no power cut does that, the medium may be failing",
                exit_code=6,
                help="put a copy of the folder back; train --resume never starts again from nothing",
            )
        if kinds[0] == "torn":
            self.note = (
                f"note: {self.paths[0]} is incomplete, as after a power cut in the first save; training starts again"
            )
        return None

    def load_best(self) -> tuple[Cursor, bytes] | None:
        """The checkpoint of the epoch that was best on held-out samples, or None where none was kept.

        Raises BnncError B0807 for one that is damaged.
        """
        kind, _, payload = self._look(self.best)
        if kind in ("damaged", "torn", "foreign"):
            raise error(
                "B0807",
                f"{self.best} is damaged, or another network's",
                exit_code=6,
                help="put a copy back; --last takes the network of the last epoch",
            )
        return self._parted(payload) if kind == "valid" else None

    def one(self, path: Path) -> tuple[Cursor, bytes] | None:
        """The checkpoint in a file, or None where there is none.  Raises BnncError B0807 for one that is damaged, or
        another network's."""
        kind, _, payload = self._look(path)
        if kind in ("damaged", "torn", "foreign"):
            told = "another network, rule or batch size than this" if kind == "foreign" else ""
            raise error(
                "B0807",
                f"{path} {f'belongs to {told}' if told else 'is damaged'}",
                exit_code=6,
                help="the spec, and `--batch`, that it was trained with" if told else "put a copy back",
            )
        return self._parted(payload) if kind == "valid" else None

    def _parted(self, payload: bytes) -> tuple[Cursor, bytes]:
        return Cursor.unpack(payload[: self.cursor_bytes]), payload[self.cursor_bytes :]

    def names(self) -> tuple[str, ...]:
        """What classes are called: the lines of ``classes.txt``, () where a training run left none."""
        path = self.folder / "classes.txt"
        return names_in(path.read_text(encoding="utf-8"))[0] if path.exists() else ()

    def keep_names(self, names: tuple[str, ...]) -> None:
        """Leave the training file's names beside the checkpoints, whole or as they were.  Raises BnncError B0807."""
        path = self.folder / "classes.txt"
        try:
            if not names:
                path.unlink(missing_ok=True)
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{path.name}.{os.getpid()}")
            temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
            temporary.replace(path)
        except OSError as e:
            raise error("B0807", f"cannot write {path}: {e.strerror}", exit_code=6, help="--out FOLDER") from e

    def clear(self, *paths: Path) -> None:
        """Remove these files, or both slots, so that a power cut does not bring them back."""
        for p in paths or self.paths:
            p.unlink(missing_ok=True)
        if self.folder.is_dir():
            self._sync_folder()  # or a power cut brings them back

    def _sync_folder(self) -> None:
        entry = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)

    def save(self, cursor: Cursor, states: bytes) -> Path:
        """Writes the next generation.  Raises BnncError B0807, exit code 6."""
        slot = 1 if self.slot == 0 else 0
        path = self.paths[slot]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(path, self.generation + 1, cursor.pack() + states)
            self._sync_folder()
        except OSError as e:
            raise error(
                "B0807",
                f"cannot write the checkpoint {path}: {e.strerror}",
                exit_code=6,
                help="the one before it is whole; make room and give the same command again",
            ) from e
        self.slot, self.generation = slot, self.generation + 1
        return path

    def keep_best(self, cursor: Cursor, states: bytes) -> None:
        """The network of this epoch, in the place of the best one before, when it is whole.  Raises BnncError B0807."""
        temporary = self.best.with_name(f"{self.best.name}.{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(temporary, 1, cursor.pack() + states)
            temporary.replace(self.best)
            self._sync_folder()
        except OSError as e:
            help = "make room and give the same command again"
            raise error("B0807", f"cannot write {self.best}: {e.strerror}", exit_code=6, help=help) from e

    def _write(self, path: Path, generation: int, payload: bytes) -> None:
        """The payload, synced, then the header, synced."""
        sizes = HEADER.size, self.spec, generation, len(payload)
        head = HEADER.pack(MAGIC, CHECKPOINT_VERSION, *sizes, zlib.crc32(payload), 0, 0, 0)
        head = head[:-4] + struct.pack("<I", zlib.crc32(head[:-4]))
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            for data, at in ((payload, PAYLOAD), (head, 0)):
                view = memoryview(data)
                while view:
                    done = os.pwrite(fd, view, at)
                    view, at = view[done:], at + done
                os.fsync(fd)
        finally:
            os.close(fd)
