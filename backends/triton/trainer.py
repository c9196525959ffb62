"""The Python trainer: what the C trainer's runtime does (``bnnc_train.h``, ``bnnc_main.h``), around a generated module
of kernels.

The same order of samples, learning rates, checkpoints and log, so a run can go on with either.  The
samples of a small network are copied to the device, which runs many steps in one launch; of a large one each batch goes
there.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnnc import rng
from bnnc.diag import BnncError, error, render

from .checkpoint import Cursor
from .console import LOST, STOP, asked, catch_signals, note, options, say
from .measure import evaluate, predict
from .training import Trainer

STEPS = 50  # in one launch: a signal or a checkpoint waits for so many at most


def shares(run: Trainer) -> tuple[int, int]:
    """How many of the training samples are trained on, and held out.  Raises BnncError B0804."""
    net, n = run.net, run.train.n
    n_hold = int(np.float32(net["holdout"]) * np.float64(n))
    if n - n_hold < (batch := run.whole_batch):
        raise error("B0804", f"{n - n_hold} samples to train on, fewer than one batch of {batch}", exit_code=5)
    if net["patience"] and not n_hold:
        raise error(
            "B0804",
            f"{n} training samples are too few to hold some out: `stop = early` has nothing to judge by",
            exit_code=5,
            help="more samples, or a larger holdout in the spec",
        )
    return n - n_hold, n_hold


def begin(run: Trainer) -> bool:
    """Fresh, or from a checkpoint; True: resumed."""
    o, net, n = run.options, run.net, run.train.n
    n_fit, n_hold = shares(run)
    if o.resume == "never":
        run.store.clear()
    kept = run.store.load()
    note(run.store.note)
    if kept is not None:
        run.cursor, states = kept
        if (run.cursor.n_fit, run.cursor.n_hold) != (n_fit, n_hold) or o.seed not in (None, run.cursor.seed):
            raise error(
                "B0807",
                f"the checkpoint in {o.out} was made with other data or another seed",
                exit_code=6,
                help="use the same, or --resume never",
            )
        run.device.write(0, np.frombuffer(states, np.uint8))
        run.cursor.lr0 = float(np.float32(o.lr)) if o.lr is not None else run.cursor.lr0
    else:
        run.store.clear(run.store.best)
        seed = net["seed"] if o.seed is None else o.seed
        run.cursor = Cursor(
            lr0=float(np.float32(net["lr"] if o.lr is None else o.lr)),
            seed=seed,
            n_fit=n_fit,
            n_hold=n_hold,
            count=[0] * len(net["counters"]),
        )
        run.init_states(seed)
    c = run.cursor
    run.split = (
        rng.permute(c.seed, rng.HOLDOUT[0], 0, n, np.arange(n, dtype=np.uint32))
        if n_hold
        else np.arange(n, dtype=np.uint32)
    )
    return kept is not None


def record(run: Trainer, **fields: Any) -> None:
    """A line of the log."""
    if run.options.log:
        with open(run.options.log, "a", encoding="utf-8") as f:
            f.write(json.dumps(fields, separators=(",", ":")) + "\n")


def percent(word: str, share: float) -> str:
    """A figure of the progress line; nothing where it was not measured (below 0)."""
    return f"  {word} {100 * share:.2f} %" if share >= 0 else ""


def counts(run: Trainer) -> tuple[dict[str, Any], str]:
    """The epoch's counters, for the log by layer, and for the terminal the mean share, or the sum, over the layers."""
    c, found, line = run.cursor, {}, ""
    for name, group in itertools.groupby(zip(run.net["counters"], c.count, strict=True), lambda x: str(x[0][0])):
        own = [(layer, n / c.seen if share else n) for (_, layer, _, _, share), n in group]
        found[name] = dict(own) if own[0][0] else own[0][1]
        total = sum(n for _, n in own)
        line += percent(name, total / len(own)) if isinstance(total, float) else f"  {name} {total}"
    if shares := run.saturation():
        found["saturation"] = shares
        line += percent("saturation", max(shares.values()))
    return found, line


def report(run: Trainer, lr: np.float32, seconds: float, held: float, test: float) -> None:
    """An epoch, on the terminal and in the log; ``held`` and ``test``: accuracies, negative where none was measured."""
    c, o, net = run.cursor, run.options, run.net
    loss, acc, speed = c.loss_sum / c.seen, c.hits / c.seen, c.seen / max(seconds, 1e-9)
    counted, line = counts(run)
    if not o.quiet:
        say(
            f"epoch {c.epoch + 1:2}/{o.epochs}  loss {loss:.4f}{percent('train', acc)}{percent('held out', held)}"
            f"{percent('test', test)}{percent('best', c.best_test)}{line}  {speed:.0f} samples/s  {seconds:.1f} s"
        )
    extra = {"holdout_acc": held} if held >= 0 else {}
    extra |= {"test_acc": test, "best_test_acc": c.best_test} if test >= 0 else {}
    extra |= {"lr": float(lr)} if "lr" in net["scalars"] else {"stage": c.stage} if net["schedule"] == "plateau" else {}
    extra |= counted
    hashes = {"state": run.state_hash(), "weights_hash": run.weights_hash()} if o.log else {}  # loops over all bytes
    record(
        run,
        event="epoch",
        epoch=c.epoch + 1,
        step=c.step_total,
        loss=loss,
        train_acc=acc,
        **extra,
        seconds=seconds,
        samples_per_s=speed,
        **hashes,
    )


def ends_early(run: Trainer, epochs: int) -> bool:
    """`stop = early`: so many epochs have passed since the best one."""
    return 0 < run.net["patience"] <= epochs - run.cursor.best_epoch


def adapt(run: Trainer, seen: float) -> None:
    """After ``patience`` epochs in which the accuracy was no better than before, the next stage or a lower rate."""
    c, net = run.cursor, run.net
    if seen > c.best_hold:
        c.best_hold, c.bad_epochs = seen, 0
        c.best_epoch = c.epoch + 1 if c.n_hold else 0
    elif net["schedule"] != "plateau":
        return
    elif c.bad_epochs + 1 < net["schedule_args"]["patience"]:
        c.bad_epochs += 1
    else:
        c.bad_epochs = 0
        if "stage" in net["scalars"]:
            c.stage += 1
        else:
            c.lr_scale *= float(np.float32(net["schedule_args"]["factor"]))


def end_epoch(run: Trainer, lr: np.float32, seconds: float) -> None:
    """Measure, report, adapt, go to the next."""
    c, o, net = run.cursor, run.options, run.net
    held, _ = run.evaluate(run.train, run.split[c.n_fit :])
    last = c.epoch + 1 == o.epochs or (held <= c.best_hold and ends_early(run, c.epoch + 1))
    test = run.evaluate(run.test, np.arange(run.test.n))[0] if last or (c.epoch + 1) % o.eval_every == 0 else -1.0
    if STOP:
        return
    c.last_test, c.best_test = (test if test >= 0 else c.last_test), max(c.best_test, test)
    report(run, lr, seconds, held, test)
    if c.n_hold or net["schedule"] == "plateau":
        adapt(run, held if c.n_hold else c.hits / c.seen)
    c.errors, c.samples = c.seen - c.hits, c.seen
    c.epoch, c.step, c.hits, c.seen, c.loss_sum = c.epoch + 1, 0, 0, 0, 0.0
    c.count = [0] * len(c.count)
    if c.n_hold and c.best_epoch == c.epoch:
        run.store.keep_best(c, run.state_bytes())


def start(run: Trainer) -> bool:
    """Open the data and the states, and say what begins; True: resumed."""
    o, net = run.options, run.net
    run.find_thresholds(True)
    run.open_data(True)
    resumed = begin(run)
    run.store.keep_names(run.names)
    if run.device.persistent:
        run.device.keep(run.train.rows, run.train.labels)
    c = run.cursor
    if not o.quiet:
        say(
            f"{net['name']}  {run.device.name}, {run.device.launches}  device memory {run.device.nbytes} bytes"
            + (f" and {run.device.extra} of samples" if run.device.extra else "")
            + f"  seed {c.seed}"
            + (f"  resumed epoch {c.epoch + 1}" if resumed else "")
        )
    if o.log and not resumed:
        Path(o.log).unlink(missing_ok=True)
    record(
        run,
        event="start",
        **{k: net[k] for k in ("name", "hash", "version", "target", "rule", "optimizer")},
        seed=c.seed,
        threads=1,
        isa=run.device.name,
        batch=run.whole_batch,
        epochs=o.epochs,
        train_samples=c.n_fit,
        holdout_samples=c.n_hold,
        test_samples=run.test.n,
        resumed_epoch=c.epoch + 1 if resumed else 0,
        resumed_step=c.step,
        arena_bytes=net["arena_bytes"],
    )
    return resumed


class Saves:
    """When a checkpoint is due: ``changed`` since the last one, and its time."""

    def __init__(self, run: Trainer, changed: bool) -> None:
        self.run, self.changed, self.at = run, changed, time.monotonic()

    def until_due(self, most: int) -> int:
        """How many of the next ``most`` steps come before the next checkpoint."""
        every = self.run.options.save_every_steps
        return min(most, every - self.run.cursor.step_total % every) if every else most

    def if_due(self) -> None:
        o = self.run.options
        waited = time.monotonic() - self.at >= o.save_every
        if (self.run.cursor.step_total % o.save_every_steps == 0 if o.save_every_steps else waited) and not STOP:
            self.run.save()
            self.changed, self.at = False, time.monotonic()


def steps(run: Trainer, saves: Saves, per_epoch: int, most: int) -> np.float32:
    """The steps that are left of an epoch, or until the run is stopped or has made ``most``; the last step's rate."""
    c, batch, lr = run.cursor, run.whole_batch, run.rate(per_epoch)
    order = run.split[run.order()]
    while c.step < per_epoch and c.step_total < most and not STOP:
        n = saves.until_due(min(STEPS, per_epoch - c.step, most - c.step_total))
        rates = [run.rate(per_epoch, i) for i in range(n)]
        samples = order[c.step * batch : (c.step + n) * batch].astype(np.int32)
        run.advance(samples.reshape(-1, run.net["batch"]), rates)
        lr, saves.changed = rates[-1], True
        saves.if_due()
    return lr


def goes_on(run: Trainer) -> bool:
    """Whether another epoch is wanted, where somebody is to be asked."""
    question = f"epoch {run.cursor.epoch} is done; a line goes on, the end of standard input stops"
    return not run.options.ask or bool(STOP) or asked(question)


def train(run: Trainer) -> int:
    """The verb `train`; the exit code."""
    o, started = run.options, time.monotonic()
    saves = Saves(run, not start(run))
    c = run.cursor
    per_epoch, most = c.n_fit // run.whole_batch, o.steps if o.steps is not None else 1 << 62
    while c.epoch < o.epochs and c.step_total < most and not STOP and not ends_early(run, c.epoch):
        epoch_started = time.monotonic()
        lr = steps(run, saves, per_epoch, most)
        if c.step == per_epoch and not STOP:
            end_epoch(run, lr, time.monotonic() - epoch_started)
            saves.changed = True
            if not goes_on(run):
                break
    if saves.changed:
        where = run.save()
        if STOP:
            note(f"checkpoint {where} written; the same command goes on from here")
    if not STOP:
        finish(run, started)
    if o.export:
        run.load_best()
        run.export(o.export)
    return 128 + STOP[0] if STOP else 0


def finish(run: Trainer, started: float) -> None:
    """The last test, and how a run ended that began at ``started``."""
    c = run.cursor
    test = run.evaluate(run.test, np.arange(run.test.n))[0] if c.step else c.last_test
    took, state = time.monotonic() - started, run.state_hash()
    early = ", stopped early" if ends_early(run, c.epoch) else ""
    best = f"epoch {c.best_epoch} was best: held out {100 * c.best_hold:.2f} %; eval and predict take it{early}\n"
    say(
        f"done: {c.epoch} epochs, {c.step_total} steps{percent('test', test)}{percent('best', c.best_test)}  {took:.1f}"
        f" s\n{best if c.best_epoch else ''}device memory: {run.device.nbytes} bytes, as planned\nstate {state}"
    )
    record(
        run,
        event="end",
        epochs=c.epoch,
        steps=c.step_total,
        **({"test_acc": test} if test >= 0 else {}),
        **({"best_test_acc": c.best_test} if c.best_test >= 0 else {}),
        **({"best_epoch": c.best_epoch, "best_holdout_acc": c.best_hold} if c.best_epoch else {}),
        seconds=took,
        memory_predicted=run.net["plan"]["total_bytes"],
        memory_measured=run.device.nbytes,
        resident_samples=run.device.extra,
        state=state,
    )


def main(module: Mapping[str, Any], args: list[str] | None = None) -> None:
    """The entry of a generated trainer; ``module`` is its global names."""
    net = module["NET"]
    o = options(net, args)
    catch_signals()
    try:
        if o.verb == "info":
            print(json.dumps(net["plan"], sort_keys=True) if o.json else module["__doc__"])
            sys.exit(0)
        code = {"train": train, "eval": evaluate, "predict": predict}[o.verb](Trainer(module, o))
        if LOST and o.verb != "train" and code == 0:
            raise error("B0801", f"cannot write to standard output: {os.strerror(LOST[0].errno or 0)}", exit_code=5)
        sys.exit(code)
    except BnncError as e:
        print(render(e.diagnostics, e.sources, False), file=sys.stderr)
        sys.exit(e.exit_code)
