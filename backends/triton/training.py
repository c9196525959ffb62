"""A network on a device: its data, its states and its steps, as a trainer asks for them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnnc import data, rng
from bnnc.data import tensors
from bnnc.diag import error
from bnnc.inputs.encode import Encoding
from bnnc.ir.interp import initial, nearest, real
from bnnc.ir.program import EXPORTED, State, Value
from bnnc.ir.ref import Ref
from bnnc.plan.codec import decode, encode
from bnnc.plan.types import Storage

from .checkpoint import Cursor, Store, fnv64
from .console import STOP
from .device import open_device

KINDS = {"uint8": "u8", "bool": "bit", "float32": "f32"}
THRESHOLDS = "input.thresholds"


@dataclass(frozen=True)
class Samples:
    """Rows as the batch buffer holds them (bytes) and labels."""

    rows: np.ndarray
    labels: np.ndarray

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.rows)


class Trainer:
    """One run: the device, the data, and the cursor."""

    def __init__(self, module: Mapping[str, Any], options: argparse.Namespace) -> None:
        self.net, self.options = module["NET"], options
        self.states = [
            State(name, role, init, float(value), *more)
            for name, role, init, value, *more, _, _, _ in self.net["states"]
        ]
        self.device = open_device(module)
        self.cursor = Cursor()
        self.train = self.test = Samples(np.zeros((0, 1), np.uint8), np.zeros(0, np.uint8))
        self.store = Store(Path(options.out), self.net["hash"], self.net["state_bytes"], len(self.net["counters"]))
        self.encoding = Encoding(**self.net["encoding"]) if self.net["encoding"] else None
        self.thresholds: np.ndarray | None = None  # of an encoder that was fitted
        self.may_fit = False
        self.split = np.zeros(0, np.uint32)
        self.names: tuple[str, ...] = ()  # of the classes
        self.log = None

    @property
    def whole_batch(self) -> int:
        """The samples between two updates, in all parts."""
        return int(self.net["batch"] * self.net["parts"])

    # -- data ---------------------------------------------------------------------------------------------------------
    def find_thresholds(self, train: bool) -> None:
        """Those of the checkpoint that is gone on from, or of ``--init``; a run that has neither fits them to its
        data.
        """
        o, kept, table = self.options, None, None
        if self.encoding is None or not self.encoding.fitted:
            return
        if o.resume != "never" if train else not o.init:
            kept = self.store.load()
        if kept is not None:
            table = self.decoded(kept[1], lambda name, _: name == THRESHOLDS)[THRESHOLDS]
        elif o.init:
            table = tensors.read(o.init).get(THRESHOLDS)
        if table is not None and np.isfinite(table.flat[0]):
            self.thresholds = table.reshape(self.encoding.table)
        self.may_fit = train and kept is None

    def encoded(self, x: np.ndarray, file: str, n_fit: int) -> np.ndarray:
        """bool[n, bits]; the first ``n_fit`` samples are those that an encoder is fitted to.  Raises BnncError
        B0804.
        """
        e = self.encoding
        assert e is not None
        try:
            if e.fitted and self.thresholds is None and self.may_fit and n_fit:
                self.thresholds = e.fit(x[:n_fit])
            return e.encode(x, self.thresholds).reshape(len(x), -1)
        except ValueError as problem:
            raise error(
                "B0804", f"{file}: {problem}", exit_code=5, help="change the samples or the spec's encoder"
            ) from problem

    def samples(self, x: np.ndarray, y: np.ndarray, file: str, n_fit: int = 0) -> Samples:
        """Arrays in the network's own encoding.  Raises BnncError B0803, B0804."""
        net, e = self.net, self.encoding
        flat = x.reshape(len(x), -1)
        kind = KINDS[flat.dtype.name]
        if (
            e is not None
            and (kind, flat.shape[1]) != (net["input"], net["elements"])
            and (kind == e.data or (e.how == "sign" and kind != "bit"))
        ):
            flat, kind = self.encoded(flat, file, n_fit), "bit"
        if kind != net["input"] or flat.shape[1] != net["elements"]:
            raise error(
                "B0804",
                f"{file} holds {kind}[{flat.shape[1]}], the network takes {net['input']}[{net['elements']}]",
                exit_code=5,
                help="give the data that the spec names, or pack it again",
            )
        if len(y) and y.max() >= net["classes"]:
            raise error(
                "B0803",
                f"{file}: there is a label {y.max()}, but the network has {net['classes']} classes",
                exit_code=5,
            )
        rows = encode(
            Storage(Ref("x"), net["input"], (len(flat), flat.shape[1])),
            np.where(flat, 1, -1) if kind == "bit" else flat,
        )
        return Samples(np.frombuffer(rows, np.uint8).reshape(len(flat), -1), y)

    def open(self, which: str, flag: str | None, split: bool = False) -> tuple[Samples, int] | None:
        """The samples of ``--train`` or ``--test``, or of the spec's own, and how many of them are its test split
        (``split``: which is what the test uses); None: there is no such source."""
        if flag == "none":
            return None
        files = flag.split(",") if flag else self.net["data"].get(which)
        if not files:
            return None
        found = []
        for f in files:
            beside = Path(self.options.data or ".") / f
            names = [beside, beside.with_name(beside.name + ".gz"), Path(self.options.data or ".") / Path(f).name]
            found.append(str(next((p for p in names if p.exists()), beside)) if not flag else f)
        bare = self.options.verb == "predict"
        if bare and not flag and not Path(found[-1]).exists():
            found = found[:1]
        d = data.pack(*found, labelled=not bare)
        self.names = self.names or d.names
        return self.samples(d.x, d.y, found[0], d.n - d.n_test * split if which == "train" else 0), d.n_test

    def open_data(self, need_train: bool) -> None:
        """Without test data of its own the training file's last samples are the test."""
        own_test = self.options.test is not None or (not self.options.train and "test" in self.net["data"])
        if need_train or not own_test or (self.options.test, self.options.verb) == ("none", "eval"):
            got = self.open("train", self.options.train, not own_test)
            if need_train and got is None:
                raise error(
                    "B0805",
                    "no training data: the spec names none",
                    exit_code=2,
                    help="--train IMAGES,LABELS or --train FILE.bnnd",
                )
            if got is not None:
                self.train, n_test = got
                if not own_test:
                    k = self.train.n - n_test
                    self.train, self.test = (
                        Samples(self.train.rows[at], self.train.labels[at]) for at in (slice(k), slice(k, None))
                    )
        if own_test and (got := self.open("test", self.options.test)) is not None:
            self.test, _ = got

    # -- states -------------------------------------------------------------------------------------------------------
    def state_bytes(self) -> bytes:
        """All states as they are stored."""
        return self.device.read(0, self.net["state_bytes"]).tobytes()

    def state_hash(self) -> str:
        """FNV-1a of the states, as the C trainer prints it."""
        return fnv64(self.alike())

    def alike(self) -> bytes:
        """All states as they are stored, each NaN as one and the same."""
        raw = bytearray(self.state_bytes())
        for *_, dtype, shape, at in self.net["states"]:
            if dtype in ("f32", "f16"):
                numbers = np.frombuffer(raw, "<f4" if dtype == "f32" else "<f2", math.prod(shape), at)
                numbers[np.isnan(numbers)] = np.nan
        return bytes(raw)

    def weights_hash(self) -> str:
        """The same of those that ``export`` writes."""
        raw, kept = self.alike(), (s for s in self.net["states"] if s[1] in EXPORTED)
        return fnv64(
            b"".join(raw[at : at + Storage(name, dtype, tuple(shape)).nbytes] for name, *_, dtype, shape, at in kept)
        )

    def put_states(self, values: Mapping[str, np.ndarray]) -> None:
        """Write states by name, encoded as they are stored; others stay."""
        raw = bytearray(self.state_bytes())
        for name, *_, dtype, shape, at in self.net["states"]:
            if name in values:
                stored = encode(Storage(name, dtype, tuple(shape)), values[name])
                raw[at : at + len(stored)] = stored
        self.device.write(0, np.frombuffer(bytes(raw), np.uint8))

    def init_states(self, seed: int) -> None:
        """First values of all states, as the C trainer draws them from the seed."""
        self.device.write(0, np.zeros(self.net["state_bytes"], np.uint8))
        self.put_states(
            {
                s.name: initial(s, Value(s.name, tuple(shape), dtype), seed)
                for s, (*_, dtype, shape, _) in zip(self.states, self.net["states"], strict=True)
            }
        )
        if self.thresholds is not None:
            self.put_states({THRESHOLDS: self.thresholds})
        if self.options.init:
            self.load_weights(self.options.init)

    def load_weights(self, path: str) -> None:
        """States from safetensors.  Raises BnncError B0806."""
        given = tensors.read(path)
        known = {s.name: (s, *row[-3:-1]) for s, row in zip(self.states, self.net["states"], strict=True)}
        missing = [n for n, (s, *_) in known.items() if s.exported and n not in given]
        if missing or set(given) - set(known):
            raise error("B0806", f"{path}: missing {missing}, unknown {sorted(set(given) - set(known))}", exit_code=5)
        values = {}
        for name, x in given.items():
            state, dtype, shape = known[name]
            if x.size != shape[0] * shape[1]:
                raise error("B0806", f"{path}: {name} has shape {list(x.shape)}, expected {list(shape)}", exit_code=5)
            try:
                values[name] = nearest(state, x.reshape(shape), dtype)
            except ValueError as e:
                why, *more = e.args
                raise error("B0806", f"{path}: tensor {name} {why}", exit_code=5, help="".join(more)) from e
        self.put_states(values)

    def decoded(self, raw: bytes, wanted: Callable[[str, str], bool]) -> dict[str, np.ndarray]:
        """States by name, of those whose name and role are ``wanted``, from the bytes of all."""
        found = {}
        for name, role, *_, dtype, shape, at in self.net["states"]:
            if wanted(name, role):
                s = Storage(name, dtype, tuple(shape))
                found[name] = decode(s, raw[at : at + s.nbytes])
        return found

    def export(self, path: str) -> None:
        """Write weights, parameters and statistics as safetensors; a vector has one axis."""
        found = self.decoded(self.state_bytes(), lambda _, role: role in EXPORTED)
        arrays = {s.name: real(s, found[s.name]) for s in self.states if s.exported}
        tensors.write(path, {name: x if x.shape[0] > 1 else x.reshape(-1) for name, x in arrays.items()})

    def saturation(self) -> dict[str, float]:
        """The share of each integer weight's values that are at their limit, under its layer's name."""
        limits = {
            name: limit or 1 << (int(dtype[1:]) - 1)
            for name, *_, limit, _, dtype, _, _ in self.net["states"]
            if dtype in ("i8", "i16")
        }
        states = self.decoded(self.state_bytes(), lambda name, _: name in limits)
        return {
            name.removesuffix(".weight") or name: float(((x <= -limits[name]) | (x >= limits[name] - 1)).mean())
            for name, x in states.items()
        }

    # -- steps --------------------------------------------------------------------------------------------------------
    def order(self) -> rng.U32:
        """The positions of the samples to train on, as this epoch has them."""
        c = self.cursor
        if self.net["sampling"] == "balanced":
            return rng.balanced(c.seed, c.epoch, self.train.labels[self.split[: c.n_fit]])
        return rng.order(c.seed, c.epoch, c.n_fit, np.arange(c.n_fit, dtype=np.uint32))

    def batch(self, side: str, source: Samples, index: np.ndarray) -> None:
        """Write samples and labels to where a step of this side reads them."""
        at = self.net["at"][side]
        self.device.write(at["x"], source.rows[index].reshape(-1))
        self.device.write(at["labels"], source.labels[index])

    def results(self, side: str, labels: np.ndarray) -> tuple[float, int]:
        """(sum of losses, hits) over the first ``len(labels)`` samples, added in their order."""
        at, n = self.net["at"][side], len(labels)
        loss = self.device.read(at["loss"], 4 * n).view("<i4" if self.net["loss_is_int"] else "<f4").astype(np.float64)
        pred = self.device.read(at["pred"], 4 * n).view("<i4")
        return float(np.add.accumulate(loss)[-1]), int((pred == labels).sum())

    def rate(self, per_epoch: int, ahead: int = 0) -> np.float32:
        """The learning rate of the next step, or of one ``ahead`` of it in this epoch."""
        c, net, args = self.cursor, self.net, self.net["schedule_args"]
        lr = c.lr0
        if net["schedule"] == "cosine":
            return rng.cosine_lr(lr, args["final"], c.step_total + 1 + ahead, self.options.epochs * per_epoch)
        if net["schedule"] == "step":
            for _ in range(int(np.float32(c.epoch) / np.float32(args["every"]))):
                lr *= float(np.float32(args["factor"]))
        return np.float32(lr * c.lr_scale if net["schedule"] == "plateau" else lr)

    def scalars(self, lr: np.float32, t: int, part: int) -> np.ndarray:
        """What a part of step t = 1, 2, ... reads besides its samples and the states, as 32-bit words in the order of
        NET.
        """
        c = self.cursor
        values = {
            "lr": np.float32(lr),
            "step": np.float32(t),
            "tick": np.uint32(t & 0xFFFFFFFF),
            "seed": np.uint32(c.seed),
            "errors": np.uint32(c.errors),
            "samples": np.uint32(c.samples),
            "stage": np.uint32(c.stage),
            "part": np.float32(part),
        }
        return np.array([values[name].view(np.uint32) for name in self.net["scalars"]], np.uint32)

    def evaluate(self, source: Samples, index: np.ndarray, confusion: np.ndarray | None = None) -> tuple[float, float]:
        """(accuracy, mean loss); -1 where there is nothing to measure or a signal has come.  ``confusion``, i64[class,
        said], is added to.
        """
        batch, hits, total = self.net["batch"], 0, 0.0
        if not len(index):
            return -1.0, 0.0
        for first in range(0, len(index), batch):
            if STOP:
                return -1.0, 0.0
            chosen = index[np.arange(first, first + batch) % len(index)]  # the last batch is filled up from the front
            real = chosen[: len(index) - first]
            self.batch("eval", source, chosen)
            self.device.step("eval")
            loss, right = self.results("eval", source.labels[real])
            total, hits = total + loss, hits + right
            if confusion is not None:
                said = self.device.read(self.net["at"]["eval"]["pred"], 4 * len(real)).view("<i4")
                np.add.at(confusion, (source.labels[real], said), 1)
        return hits / len(index), total / len(index)

    def advance(self, order: np.ndarray, rates: list[np.float32]) -> None:
        """Steps on parts of batches i32[steps * parts, batch]: one launch for all of them where samples are on the
        device.
        """
        first, parts = self.cursor.step_total + 1, self.net["parts"]
        scalars = np.stack([self.scalars(lr, first + i, k) for i, lr in enumerate(rates) for k in range(parts)])
        ends = np.cumsum([n for _, _, _, n, _ in self.net["counters"]], dtype=int)[:-1]
        if self.device.persistent:
            words, preds, counts = self.device.steps(order, scalars)
            losses = words.view("<i4" if self.net["loss_is_int"] else "<f4").astype(np.float64)
            for index, loss, pred, count in zip(order, losses, preds, counts, strict=True):
                self.count(
                    float(np.add.accumulate(loss)[-1]),
                    int((pred == self.train.labels[index]).sum()),
                    np.split(count, ends),
                )
            return
        for index, values in zip(order, scalars, strict=True):
            self.batch("train", self.train, index)
            for at, word in zip(self.net["scalars"].values(), values, strict=True):
                self.device.write(at, np.array([word]).view(np.uint8))
            self.device.step("train")
            counted = [self.device.read(at, 4 * n).view("<i4") for _, _, at, n, _ in self.net["counters"]]
            self.count(*self.results("train", self.train.labels[index]), counted)

    def count(self, loss: float, hits: int, counted: list[np.ndarray]) -> None:
        """A part of a batch is done; with the last one, a step."""
        c = self.cursor
        c.count = [k + int(x.sum(dtype=np.int64)) for k, x in zip(c.count, counted, strict=False)]
        c.loss_sum, c.hits, c.seen = c.loss_sum + loss, c.hits + hits, c.seen + self.net["batch"]
        if c.seen % self.whole_batch == 0:
            c.step, c.step_total = c.step + 1, c.step_total + 1

    def load_best(self) -> bool:
        """The states and the cursor of the epoch that was best on held-out samples; False: none was kept."""
        kept = self.store.load_best()
        if kept is None:
            return False
        self.cursor = kept[0]
        self.device.write(0, np.frombuffer(kept[1], np.uint8))
        return True

    def save(self) -> Path:
        """Write a checkpoint; its path.  Raises BnncError B0807."""
        return self.store.save(self.cursor, self.state_bytes())
