"""The Python trainer's verbs `eval` and `predict`, as ``bnnc_measure.h`` and ``bnnc_main.h`` have them."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

from bnnc import rng
from bnnc.diag import error

from .checkpoint import Cursor
from .console import LOST, STOP, say
from .training import Samples, Trainer

SHOWN = 12  # classes whose confusions a terminal shows
PAIRS = 32  # and JSON: as many as bnnc_measure.h counts in its scratch


def open_test(run: Trainer, held: bool = False) -> None:
    """The test set, without one at least the training set where ``held``, and the states.  Raises BnncError B0805,
    B0807.
    """
    o = run.options
    run.find_thresholds(False)
    if not o.init:
        run.names = run.store.names()
    run.open_data(False)
    if not run.test.n and not (held and run.train.n):
        wanted = "FILE, of samples" if o.verb == "predict" else "IMAGES,LABELS or --test FILE.bnnd"
        raise error("B0805", "no test data: the spec names none", exit_code=2, help=f"--test {wanted}")
    if o.init:
        run.init_states(run.net["seed"])
        return
    if not o.last and run.load_best():
        return
    if (kept := run.store.load()) is None:
        raise error(
            "B0807",
            f"no checkpoint in {o.out}",
            exit_code=6,
            help="--out FOLDER of a training run, or --init FILE.safetensors",
        )
    run.cursor = kept[0]
    run.device.write(0, np.frombuffer(kept[1], np.uint8))


def held_out(run: Trainer) -> np.ndarray:
    """The samples of the training set that training held out.  Raises BnncError B0804 where they are not known."""
    c: Cursor = run.cursor
    if run.train.n != c.n_fit + c.n_hold:
        raise error(
            "B0804",
            f"there are {run.train.n} training samples, but the checkpoint in {run.options.out} was made with"
            f" {c.n_fit + c.n_hold}: which were held out is not known",
            exit_code=5,
            help="give the same training data, or --test",
        )
    return rng.permute(c.seed, rng.HOLDOUT[0], 0, run.train.n, np.arange(run.train.n, dtype=np.uint32))[c.n_fit :]


def evaluate(run: Trainer) -> int:
    """The verb `eval`; the exit code.  Without test data the samples that training held out."""
    o, net, started = run.options, run.net, time.monotonic()
    open_test(run, net["holdout"] > 0 and not o.init)
    held = not run.test.n
    source: Samples = run.train if held else run.test
    index = held_out(run) if held else np.arange(run.test.n)
    confusion = np.zeros((net["classes"],) * 2, np.int64)
    acc, loss = run.evaluate(source, index, confusion)
    if STOP:
        return 128 + STOP[0]
    if o.export:
        run.export(o.export)
    took, state = time.monotonic() - started, run.state_hash()
    if o.json:
        facts = {
            "epoch": run.cursor.epoch,
            "samples": len(index),
            "holdout_acc" if held else "test_acc": acc,
            "loss": loss,
            "seconds": took,
        }
        hashes = {"state": state, "weights_hash": run.weights_hash()}
        say(json.dumps({**facts, **hashes, **by_class(confusion, run.names)}))
    else:
        what = "held out" if held else "test"
        say(f"{what} {100 * acc:.2f} %  loss {loss:.4f}  {len(index)} samples  {took:.1f} s\nstate {state}")
        if o.quiet:
            return 0
        if not o.last and 0 < run.cursor.best_epoch == run.cursor.epoch:
            say(f"epoch {run.cursor.epoch}, the best on held-out samples (--last: the last one)")
        say("\n".join(table(confusion, run.names)))
    return 0


def counts(confusion: np.ndarray) -> list[tuple[int, int, int]]:
    """Of each class how many samples are there, were found, and were said."""
    columns = confusion.sum(1), np.diag(confusion), confusion.sum(0)
    return list(zip(*(c.tolist() for c in columns), strict=True))


def balanced(confusion: np.ndarray) -> float:
    """The mean over the classes that are there of the share that was found."""
    return float(np.mean([found / there for there, found, _ in counts(confusion) if there]))


def by_class(confusion: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Of each class how many samples are there, were found and were said, and what each was taken for."""
    return {
        "balanced_acc": balanced(confusion),
        "classes": [
            {"class": k, **({"name": names[k]} if k < len(names) else {}), "samples": there, "found": hit, "said": said}
            for k, (there, hit, said) in enumerate(counts(confusion))
        ],
        **({"confusion": confusion.tolist()} if len(confusion) <= PAIRS else {}),
    }


def table(confusion: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """Lines for a terminal."""
    lines = [
        f"balanced accuracy {100 * balanced(confusion):.2f} %",
        "",
        f"{'class':<24}{'samples':>8}{'recall':>10}{'precision':>10}",
    ]
    for k, (there, hit, said) in enumerate(counts(confusion)):
        shares = "".join(f"{100 * hit / n:8.2f} %" if n else f"{'-':>10}" for n in (there, said))
        lines.append(f"{k:3} {names[k] if k < len(names) else '':<20}{there:8}{shares}")
    if len(confusion) <= SHOWN:
        lines += ["", "taken as" + "".join(f"{k:6}" if k else " 0" for k in range(len(confusion)))]
        lines += [f"{k:3} " + "".join(f"{n:6}" for n in row) for k, row in enumerate(confusion.tolist())]
    return lines


def predict(run: Trainer) -> int:
    """One line a sample, written batch by batch: its class's name, where it has one, or number."""
    open_test(run)
    batch, n, at, names = run.net["batch"], run.test.n, run.net["at"]["eval"]["pred"], run.names
    for first in range(0, n, batch):
        if STOP or LOST:
            break
        run.batch("eval", run.test, np.arange(first, first + batch) % n)
        run.device.step("eval")
        found = enumerate(run.device.read(at, 4 * min(batch, n - first)).view("<i4").tolist(), first)
        say("\n".join(line(i, k, names, run.options.json) for i, k in found))
    return 128 + STOP[0] if STOP else 0


def line(sample: int, k: int, names: tuple[str, ...], as_json: bool) -> str:
    """What `predict` says of a sample."""
    name = {"name": names[k]} if k < len(names) else {}
    if as_json:
        return json.dumps({"sample": sample, "class": k, **name}, separators=(",", ":"), ensure_ascii=False)
    return name.get("name", str(k))
