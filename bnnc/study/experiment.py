"""Experiments: one network under several rules (:func:`compare`) or settings (:func:`sweep`), over seeds.

    import bnnc
    result = bnnc.compare("net.bnn", ["bep", "edge"], seeds=5)
    result.rows[0].final.mean, result.rows[0].final.half       # test accuracy and its 95 % interval

Every run is a program of its own, trained by its own command line; programs are kept in the cache of
:meth:`Network.compile`. A run that ended is a line of ``runs.jsonl`` in the output folder, named by a hash of all that
decides its bits: its operations, those of your own rules too, the settings, the data, and bnnc's version and source;
the same experiment again takes it from there. A seed decides first weights, the order of samples and, of rules that
have one, the fixed classifier. Accuracies depend neither on the number of jobs nor on the machine; times do on both.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO, Any

from .. import api, budget, registry
from ..api import Network, PathLike, Program, process
from ..data.files import data_files
from ..diag import BnncError, did_you_mean, error
from ..front import ast
from ..front.check import ignored
from ..front.parse import parse
from ..front.sections import TRAIN
from ..ir.text import print_program
from ..model import Call
from ..version import __version__
from . import scale
from .plot import write
from .results import Result, Row, Run, interval

Progress = Callable[[str], None]
UNFIT = ("B03", "B05", "B06", "B07")  # codes of what a network cannot have; others are mistakes of the request


@dataclass
class Variant:
    """One row in the making: a network, or the reason why there is none.  ``flags`` are words for its trainer."""

    label: str
    settings: tuple[tuple[str, str], ...]
    net: Network | None = None
    reason: str = ""
    flags: tuple[str, ...] = ()
    programs: dict[int | None, Program] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Store:
    """``runs.jsonl``: runs that ended and widths that fit, each under its key.  A torn last line is dropped."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runs.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        raw = self.path.read_bytes() if self.path.exists() else b""
        whole = raw[: raw.rfind(b"\n") + 1]
        if whole != raw:
            self.path.write_bytes(whole)
        self.found: dict[str, dict[str, Any]] = {}
        for n, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
                self.found[record["key"]] = record
            except (ValueError, TypeError, KeyError):
                raise error(
                    "B0906",
                    f"{self.path}: line {n} is not a result of bnnc",
                    exit_code=2,
                    help="choose another folder with `-o DIR`, or remove this file",
                ) from None

    def add(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep the record of a run that ended: in memory, and as a line of the file."""
        self.found[key] = {"key": key, **record}
        with self.path.open("a", encoding="utf-8") as f:
            f.write(json.dumps(self.found[key]) + "\n")


def source_files() -> list[Path]:
    """bnnc's own source, installed or not."""
    own = Path(__file__).parents[1]
    beside = (
        [] if (own / "templates").is_dir() else [own.parent / name for name in ("backends", "grammar", "templates")]
    )
    roots = [own, *beside]
    found = (p for root in roots for p in root.rglob("*") if p.is_file() and own / "examples" not in p.parents)
    return sorted(p for p in found if "__pycache__" not in p.parts)


def digest(*files: Path) -> str:
    """A hash of files' names and contents."""
    h = hashlib.sha256()
    for p in files:
        h.update(repr((p.name, hashlib.sha256(p.read_bytes()).hexdigest())).encode())
    return h.hexdigest()


@cache
def own_source() -> str:
    """A hash of bnnc's own source."""
    return digest(*source_files())


class _Stopped(Exception):
    """The experiment ends early; this run is not recorded."""


class Experiment:
    """Variants, seeds and where results go; :meth:`result` does the work.  Programs are compiled for ``target``."""

    target = "host"

    def __init__(
        self,
        name: str,
        variants: Sequence[Variant],
        seeds: int,
        threads: int,
        data: Path,
        out: Path,
        jobs: int | None,
        progress: Progress,
    ) -> None:
        self.name, self.variants, self.threads, self.data = name, variants, threads, data
        self.jobs = jobs or max(1, len(os.sched_getaffinity(0)) // threads)
        self.progress, self.stop = progress, threading.Event()
        self.folder = out
        self.programs: dict[str, str] = {}
        first = next((v.net for v in variants if v.net), None)
        if first is None:
            reasons = "; ".join(f"{v.label}: {v.reason}" for v in variants)
            raise error(
                "B0905",
                f"nothing can be trained: {reasons}",
                help="`bnnc check FILE --rule RULE` says more of each rule",
            )
        self.digest = hashlib.sha256()
        for path in data_files(first.model, data):
            with path.open("rb") as f:
                self.digest.update(hashlib.file_digest(f, "sha256").digest())
        self.seeds = range(first.model.seed, first.model.seed + seeds)
        self.store = Store(out)

    def key(self, net: Network, *more: Any) -> str:
        """Names a run by everything that its result follows from."""
        m = net.model
        parts = (
            *self.made_by(),
            m.hash,
            self.operations(net),
            f"{m.schedule} {m.stop} {m.sampling} {m.class_weights} {[*map(str, m.augment)]}",
            m.epochs,
            m.holdout,
            m.recompute,
            self.threads,
            self.digest.hexdigest(),
            *more,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]

    def made_by(self) -> tuple[Any, ...]:
        """What names the compiler in a run's key."""
        return __version__, own_source()

    def operations(self, net: Network) -> str:
        """The program of operations as text, with the same seed whatever the network's: a run's own is in its key."""
        which = repr((net.text, net.overrides, net.widths))
        if which not in self.programs:
            module = net.with_(seed=1).plan(threads=self.threads).planned.trace.results["simplify"]
            self.programs[which] = "".join(map(print_program, module))
        return self.programs[which]

    # -- before training -----------------------------------------------------------------------------------------------

    def fit(self, v: Variant, ram: int) -> None:
        """Replace the variant's network by the largest scaled one whose program needs at most ``ram`` bytes."""
        assert v.net is not None
        key = self.key(v.net, "ram", ram)
        try:
            if key in self.store.found:
                v.net = v.net.with_widths(self.store.found[key]["widths"])
                return
            self.progress(f"{v.label}: looking for the widths that fit")
            limit = ram
            while True:
                net = scale.largest(v.net, limit, self.threads)
                program = net.compile(self.target, threads=self.threads, cache=True)
                if (excess := program.plan.total_bytes - ram) <= 0:
                    break
                limit -= excess  # this compiler's code is larger than the plan's bound
        except BnncError as e:
            v.net, v.reason = None, _unfit(e)
            return
        self.store.add(key, {"kind": "widths", "variant": v.label, "widths": dict(net.widths)})
        v.net, v.programs = net, {_program_seed(program.plan, net.model.seed): program}

    # -- training ------------------------------------------------------------------------------------------------------

    def program(self, v: Variant, seed: int) -> Program:
        """The variant's program: one for all seeds, or one a seed where the seed decides what is embedded."""
        assert v.net is not None
        with v.lock:
            which = _program_seed(v.net.plan(threads=self.threads), seed)
            if which not in v.programs:
                v.programs[which] = v.net.with_(seed=seed).compile(self.target, threads=self.threads, cache=True)
            return v.programs[which]

    def train(self, v: Variant, seed: int) -> dict[str, Any]:
        """One run: what its log says, as plain data.  Raises BnncError with the trainer's complaint."""
        if self.stop.is_set():
            raise _Stopped
        program = self.program(v, seed)
        with tempfile.TemporaryDirectory(prefix="bnnc-run-") as tmp, tempfile.TemporaryFile("w+") as complaints:
            log = Path(tmp) / "log.jsonl"
            given = {"data": self.data, "log": log, "seed": seed, "out": Path(tmp) / "run", "resume": "never"}
            words = [str(w) for key, value in given.items() for w in (f"--{key}", value)]
            argv = [str(program.binary), "train", *words, "--save-every", "86400", "--quiet", *v.flags]
            if code := self.watched(argv, complaints):
                complaints.seek(0)
                raise process.failed(code, complaints.read(), program.binary)
            records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        epochs, end = [r for r in records if r["event"] == "epoch"], records[-1]
        if "test_acc" not in end or not epochs:
            raise error(
                "B0905",
                "a comparison needs test samples and at least one epoch",
                exit_code=5,
                help="name test data in the spec: `data { train = ...; test = ...; }`",
            )
        return {
            "kind": "run",
            "variant": v.label,
            "seed": seed,
            "test_acc": [r.get("test_acc") for r in epochs],
            "train_acc": [r["train_acc"] for r in epochs],
            "best": end["best_test_acc"],
            "epoch_seconds": [r["seconds"] for r in epochs],
            "steps": end["steps"],
            "predicted": end["memory_predicted"],
            "measured": end["memory_measured"],
            "state": end["state"],
        }

    def watched(self, argv: list[str], complaints: IO[str]) -> int:
        """The exit code of a trainer; raises _Stopped where the study was stopped, and ends it then."""
        trainer = process.started(argv, stdout=subprocess.DEVNULL, stderr=complaints)
        while trainer.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                trainer.wait(0.2)
            if self.stop.is_set() and trainer.poll() is None:
                trainer.terminate()
                trainer.wait()
        if self.stop.is_set():
            raise _Stopped
        return trainer.returncode

    def runs(self) -> list[Run]:
        """Every (variant, seed), trained or taken from the store, in order."""
        wanted = [(v, s, self.key(v.net, "run", s, *v.flags)) for v in self.variants if v.net for s in self.seeds]
        missing = [w for w in wanted if w[2] not in self.store.found]
        done = len(wanted) - len(missing)
        if done:
            self.progress(f"{done} of {len(wanted)} runs taken from {self.store.path}")
        pool = ThreadPoolExecutor(self.jobs)
        futures: dict[Future[dict[str, Any]], str] = {pool.submit(self.train, v, s): key for v, s, key in missing}
        try:
            for f in as_completed(futures):
                record = f.result()
                self.store.add(futures[f], record)
                done += 1
                self.progress(
                    f"[{done}/{len(wanted)}] {record['variant']}, seed {record['seed']}: test "
                    f"{100 * record['test_acc'][-1]:.2f} %, {sum(record['epoch_seconds']):.1f} s of training"
                )
        finally:
            self.stop.set()
            pool.shutdown(cancel_futures=True)
        return [
            Run(
                v.label,
                s,
                **{k: x for k, x in self.store.found[key].items() if k not in ("key", "kind", "variant", "seed")},
            )
            for v, s, key in wanted
        ]

    def result(self, ram: int | None = None) -> Result:
        """Train what is missing, within ``ram`` bytes, and write the tables.  Raises BnncError B0905."""
        if ram is not None:
            for v in self.variants:
                if v.net:
                    self.fit(v, ram)
        runs = self.runs()
        rows = [self.row(v, [r for r in runs if r.variant == v.label]) for v in self.variants]
        if not runs:
            raise error(
                "B0905",
                "nothing can be trained: " + "; ".join(f"{r.label}: {r.reason}" for r in rows),
                exit_code=3,
                help="give it more memory, or make the batch smaller",
            )
        found = Result(self.name, tuple(rows), tuple(runs), ram, len(self.seeds), self.jobs, self.threads)
        write(found, self.folder)
        return found

    def row(self, v: Variant, runs: list[Run]) -> Row:
        """A variant's row: its runs summed up, or the reason why there are none."""
        if v.net is None:
            return Row(v.label, v.settings, v.reason)
        plan = v.net.plan(threads=self.threads)
        seconds = [s for r in runs for s in r.epoch_seconds]
        per_epoch, steps = sum(seconds) / len(seconds), runs[0].steps / len(runs[0].epoch_seconds)
        return Row(
            v.label,
            v.settings,
            "",
            tuple(scale.hidden_widths(v.net).values()),
            interval([r.test_acc[-1] for r in runs]),
            interval([r.best for r in runs]),
            max(r.predicted for r in runs),
            max(r.measured for r in runs),
            plan.gates.total if plan.gates else None,
            per_epoch,
            per_epoch / steps,
        )


def _program_seed(plan: api.Plan, seed: int) -> int | None:
    """The seed, where it decides constants of the program; else None."""
    return seed if plan.planned.placed.program.constants else None


def _unfit(e: BnncError) -> str:
    """Why a network cannot have something; raises ``e`` again where that is not what it says."""
    if not all(d.code.startswith(UNFIT) for d in e.diagnostics if d.severity == "error"):
        raise e
    first = next(d for d in e.diagnostics if d.severity == "error")
    return f"{first.message} ({first.code})"


def variant(
    number: int, net: Network, label: str, settings: Sequence[tuple[str, str]], overrides: Mapping[str, Any]
) -> Variant:
    """Row ``number`` of the table, whose dumps go to a folder such as ``001-edge-state-f32``."""
    words = re.sub("[^A-Za-z0-9.]+", "-", label).strip("-")
    try:
        changed = replace(net, dumps=f"{number:03d}-{words[:80]}").with_(**overrides)
        changed.plan(threads=1)  # a backend may have no such kernel
        return Variant(label, tuple(settings), changed)
    except BnncError as e:
        return Variant(label, tuple(settings), None, _unfit(e))


def _network(network: Network | PathLike, epochs: int | None, data: PathLike | None) -> tuple[Network, Path]:
    net = network if isinstance(network, Network) else api.load(network)
    folder = Path(data) if data is not None else Path(net.file).parent
    return (net if epochs is None else net.with_(epochs=epochs)), folder


def compare(
    network: Network | PathLike,
    rules: Sequence[str],
    ram: str | int | None = None,
    seeds: int = 5,
    epochs: int | None = None,
    threads: int = 1,
    data: PathLike | None = None,
    out: PathLike | None = None,
    jobs: int | None = None,
    progress: Progress = lambda line: None,
) -> Result:
    """The same layers and data under several rules.

    Parameters
    ----------
    network
        A Network or the path of a spec; the spec names the data, with test samples.
    rules
        Rules as a spec writes them: ``["bep", "edge(state = f32)"]``.
    ram
        Scale all hidden widths by one factor, for each rule, to the largest network that fits (bytes, or ``"64KiB"``).
    seeds
        Runs a rule, with consecutive seeds from the spec's on.
    epochs, threads
        Instead of the spec's epochs; threads of each program.
    data, out
        Where the data is (default: beside the spec); where results go (default ``compare-NAME``).
    jobs
        Runs at a time (default: cores / threads).
    progress
        Called with a line of text whenever something ended.

    Raises
    ------
    BnncError
        An unknown rule, data that is missing, a trainer that failed; B0905 when nothing could be trained.
    """
    net, folder = _network(network, epochs, data)
    named = enumerate(dict.fromkeys(rules), 1)
    variants = [variant(n, net, rule, [("rule", rule)], {"rule": rule}) for n, rule in named]
    where = Path(out) if out is not None else Path(f"compare-{net.model.name}")
    limit = budget.parse_size(ram) if isinstance(ram, str) else ram
    return Experiment(net.model.name, variants, seeds, threads, folder, where, jobs, progress).result(limit)


def sweep(
    network: Network | PathLike,
    settings: Mapping[str, Sequence[str]],
    seeds: int = 3,
    epochs: int | None = None,
    threads: int = 1,
    data: PathLike | None = None,
    out: PathLike | None = None,
    jobs: int | None = None,
    progress: Progress = lambda line: None,
) -> Result:
    """One network with every combination of some settings; parameters as in :func:`compare`.

    ``settings`` maps ``rule.ARG``, ``optimizer.ARG``, ``train.SETTING`` or the name of a top-level ``let`` to values,
    written as in a spec.  Results go to ``sweep-NAME`` by default.
    """
    net, folder = _network(network, epochs, data)
    for name in settings:
        _known(net, name)
    if "train.optimizer" in settings and any(n.startswith("optimizer.") for n in settings):
        raise error(
            "B0905",
            "`train.optimizer` and arguments of one optimizer cannot be swept together",
            exit_code=2,
            help="make two sweeps",
        )
    variants = []
    for n, values in enumerate(
        itertools.product(*([str(v) for v in dict.fromkeys(vs)] for vs in settings.values())), 1
    ):
        chosen = list(zip(settings, values, strict=True))
        variants.append(variant(n, net, ", ".join(f"{k} = {v}" for k, v in chosen), chosen, _overrides(net, chosen)))
    _heard(net, settings, variants)
    where = Path(out) if out is not None else Path(f"sweep-{net.model.name}")
    return Experiment(net.model.name, variants, seeds, threads, folder, where, jobs, progress).result()


def _known(net: Network, name: str) -> None:
    """Raise BnncError B0205 (usage) unless ``name`` is something that can be swept."""
    head, _, tail = name.partition(".")
    calls = {"rule": net.model.rule, "optimizer": net.model.optimizer}
    known = [f"{section}.{k}" for section, call in calls.items() for k, _ in call.args]
    known += [f"train.{p.name}" for p in TRAIN if p.name != "seed"]
    known += [x.name for x in parse(net.text, net.file).items if isinstance(x, ast.Let)]
    if name not in known:
        raise error(
            "B0205",
            f"`{name}` cannot be swept",
            exit_code=2,
            help=did_you_mean(name, known) or f"there are {', '.join(known)}",
        )


def _heard(net: Network, settings: Iterable[str], variants: Sequence[Variant]) -> None:
    """Raise BnncError B0905 (usage) for a setting that the rule reads in no row."""
    for name in settings:
        section, _, key = name.rpartition(".")
        setting = section if section == "optimizer" else key if section == "train" else ""
        reasons = [ignored(v.net.model).get(setting) for v in variants if v.net]
        if reasons and all(reasons):
            raise error(
                "B0905",
                f"`{name}` makes no difference: the rule `{net.model.rule.name}` ignores `{setting}`",
                exit_code=2,
                help="sweep one of the rule's own arguments, or give another rule with `--rule RULE`",
            )


def _overrides(net: Network, chosen: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Settings of :meth:`Network.with_` for swept ones."""
    out: dict[str, Any] = {}
    tables: dict[str, Mapping[str, registry.Named]] = {"rule": registry.rules, "optimizer": registry.optimizers}
    for section, table in tables.items():
        given = {k.partition(".")[2]: v for k, v in chosen if k.startswith(section + ".")}
        if given:
            call = getattr(net.model, section)
            defaults = {p.name: p.default for p in table[call.name].params}
            args = tuple((k, given.get(k, v)) for k, v in call.args if k in given or v != defaults[k])
            out[section] = Call(call.name, args).text
    return {**out, **{k.removeprefix("train."): v for k, v in chosen if k.partition(".")[0] not in tables}}
