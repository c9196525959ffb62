"""Training without back-propagation, again: the comparison of 2408.04460 and its predecessor, by bnnc's rules.

    python studies/feedback_free/run.py --data DIR                    # everything, about two hours of one core
    python studies/feedback_free/run.py --data DIR --part mlp         # the perceptron on MNIST and CIFAR-10
    python studies/feedback_free/run.py --data DIR --part nets        # VGG-19, MobileNetV2 and MLP-Mixer, reduced
    python studies/feedback_free/run.py --part cost                   # memory and time a step

DIR holds, anywhere below it, MNIST's four idx files and CIFAR-10's batches (``images.py`` names the packages).  A run
that ended is a line of ``runs.jsonl`` in the experiment's folder below ``--out``; the same command after an
interruption goes on from there, also with another version of bnnc, as long as the operations that a run consists of are
the same.  Tables, answers and plot go to ``--out``; ``--publish`` writes them to ``results`` beside this file and into
its README.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import images
import report
from cases import GB, HERE, PARTS, RULES, TABLES, Case, Table

import bnnc
from bnnc.api import Program
from bnnc.study.experiment import Experiment, Variant, variant
from bnnc.study.results import Result

EXAMPLES = HERE.parents[1] / "examples"


class Study(Experiment):
    """An experiment whose runs stay valid with another version of bnnc: its operations name them.  Programs are for
    this CPU alone, which takes a third of the time to compile, and train the same bits."""

    target = "native"
    one_feedback = False

    def made_by(self) -> tuple[Any, ...]:
        return ()

    def program(self, v: Variant, seed: int) -> Program:
        return super().program(v, self.seeds[0] if self.one_feedback else seed)


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    data: Path | None
    out: Path
    seeds: int
    jobs: int
    epochs: int | None
    samples: int | None
    only: str

    def sized(self, table: Table) -> Table:
        """The table with the rows, samples and epochs that were asked for."""
        rows = tuple(c for c in table.cases if re.search(self.only, f"{table.name} {c.network} {c.rule}"))
        samples = table.samples if self.samples is None else (self.samples, self.samples)
        epochs = table.epochs if self.epochs is None else self.epochs
        return replace(table, cases=rows, samples=samples, epochs=epochs, search=min(table.search, epochs))


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@cache
def network(case: Case) -> Variant:
    """A case as a row of its own, without a rate."""
    net = bnnc.parse(case.text, f"{case.network}.bnn")
    return variant(0, net, case.network, [], {"rule": case.rule, **dict(case.lets)})


def row(case: Case, rate: float, epochs: int) -> Variant:
    """A case with a rate as a row of an experiment; one program serves all rates."""
    settings = (("network", case.network), ("rule", RULES[case.rule]), ("rate", f"{rate:g}"))
    flags = ("--lr", f"{rate:g}", "--epochs", str(epochs))
    label = ", ".join(v for _, v in settings)
    return replace(network(case), label=label, settings=settings, flags=flags, programs={})


def trained(o: Options, name: str, table: Table, rows: Sequence[Variant], seeds: int) -> Result:
    """Run an experiment of a table's data, or take it from its folder."""
    assert o.data is not None
    folder = o.out / "data" / f"{table.data}-{'flat' if table.flat else 'image'}"
    if not (folder / "data.bnnd").exists():
        images.pack(o.data, table.data, *table.samples, table.flat, folder)
    study = Study(name, rows, seeds, 1, folder, o.out / name, o.jobs, lambda line: note(f"{name}: {line}"))
    study.one_feedback = table.one_feedback
    return study.result()


def found_rates(o: Options, table: Table) -> tuple[dict[tuple[str, str], float], list[dict[str, Any]]]:
    """Of each network that is searched and each rule the rate with the best training accuracy of seed 1, and all that
    was tried."""
    needed = {(c.like, c.rule) for c in table.cases if not c.rate}
    searched = (c for c in TABLES[table.name].cases if c.network == c.like and (c.like, c.rule) in needed)
    tried = [(c, rate) for c in searched for rate in table.rates]
    if not tried:
        return {}, []
    rows = [row(c, rate, table.search) for c, rate in tried]
    result = trained(o, f"{table.name}-search", table, rows, 1)
    last = {r.variant: r.train_acc[-1] for r in result.runs}
    best: dict[tuple[str, str], tuple[float, float]] = {}
    for (c, rate), v in zip(tried, rows, strict=True):
        if v.label in last:
            best[c.network, c.rule] = max(best.get((c.network, c.rule), (-1.0, rate)), (last[v.label], rate))
    told = [
        {"table": table.name, "network": c.network, "rule": c.rule, "rate": rate, "train_acc": last.get(v.label)}
        for (c, rate), v in zip(tried, rows, strict=True)
    ]
    return {key: rate for key, (_, rate) in best.items()}, told


def accuracy(o: Options, names: Iterable[str]) -> dict[str, Any]:
    """The tables of some experiments, as plain data."""
    found: dict[str, Any] = {"search": [], "accuracy": []}
    for name in names:
        table = o.sized(TABLES[name])
        if not table.cases:
            continue
        rates, told = found_rates(o, table)
        found["search"] += told
        variants = [row(c, c.rate or rates.get((c.like, c.rule), 1e-3), table.epochs) for c in table.cases]
        result = trained(o, name, table, variants, o.seeds)
        found["accuracy"] += [told_row(table, c, v, result) for c, v in zip(table.cases, variants, strict=True)]
    return found


def told_row(table: Table, case: Case, v: Variant, result: Result) -> dict[str, Any]:
    """One row of the results: accuracies of each seed, and what the trainer counted."""
    runs = [r for r in result.runs if r.variant == v.label]
    return {
        "table": table.name,
        "network": case.network,
        "rule": case.rule,
        "rate": float(dict(v.settings)["rate"]),
        "epochs": table.epochs,
        "reason": v.reason,
        "seeds": [r.seed for r in runs],
        "best": [r.best for r in runs],
        "last": [r.test_acc[-1] for r in runs],
        "train": [r.train_acc[-1] for r in runs],
    }


# -- memory and time ---------------------------------------------------------------------------------------------------


def memory() -> list[dict[str, Any]]:
    """The plan's bytes of the full-size networks, which need no data."""
    found = []
    for name, rule, numerics in itertools.product(GB, RULES, ("standard", "edge")):
        asked = numerics if rule == "standard" else f"{rule}(numerics = {numerics})"
        note(f"plan of {name}, {asked}")
        plan = bnnc.load(EXAMPLES / name / f"{name}.bnn").with_(rule=asked).plan(threads=1)
        found.append({"network": name, "rule": rule, "numerics": numerics, "bytes": plan.total_bytes})
    return found


def steps(rounds: int = 3, each: int = 10) -> list[dict[str, Any]]:
    """Milliseconds of a step of the reduced networks, rule after rule in each round."""
    found = []
    for name in PARTS["nets"]:
        net = bnnc.load(HERE / f"{name}.bnn")
        programs = {rule: net.with_(rule=rule).compile(threads=1, cache=True) for rule in RULES}
        times: dict[str, list[float]] = {rule: [] for rule in RULES}
        for _, (rule, program) in itertools.product(range(rounds), programs.items()):
            out = program.run(["bench", "--steps", str(each), "--threads", "1", "--json"]).stdout
            times[rule].append(json.loads(out.strip().splitlines()[-1])["median_ms"])
        for rule, program in programs.items():
            ms = statistics.median(times[rule])
            note(f"a step of {name}, {rule}: {ms:.1f} ms")
            found.append({"network": name, "rule": rule, "ms": times[rule], "bytes": program.plan.total_bytes})
    return found


def machine() -> dict[str, Any]:
    """What times depend on; no host name and no path."""
    info = Path("/proc/cpuinfo")
    names = (
        [x.split(":", 1)[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")]
        if info.exists()
        else []
    )
    cc = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=False).stdout.splitlines()
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "bnnc": bnnc.__version__,
        "cc": cc[0] if cc else "",
        "python": platform.python_version(),
    }


# -- all of it ---------------------------------------------------------------------------------------------------------


def collected(o: Options, parts: Sequence[str]) -> dict[str, Any]:
    """Results of the parts that were asked for, and of others those that are in ``--out`` already."""
    file = o.out / "results.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for part in parts:
        if part == "cost":
            found[part] = {"machine": machine(), "memory": memory(), "steps": steps()}
        else:
            found[part] = accuracy(o, PARTS[part])
        o.out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def main() -> None:
    p = argparse.ArgumentParser(description="compare rules that send no gradient through weights with back-propagation")
    p.add_argument("--data", type=Path, metavar="DIR", help="where MNIST and CIFAR-10 are; not for --part cost")
    p.add_argument("--part", choices=[*PARTS, "cost"], help="one part (default: all)")
    p.add_argument("--seeds", type=int, default=3, help="runs a row (default 3)")
    p.add_argument("--jobs", type=int, default=1, help="runs at a time, a thread each (default 1)")
    p.add_argument("--epochs", type=int, help="instead of each experiment's own")
    p.add_argument("--samples", type=int, help="at most so many training and test samples")
    p.add_argument("--only", default="", metavar="REGEX", help="rows whose `experiment network rule` has a match")
    p.add_argument("--out", type=Path, default=Path("feedback_free"), help="working folder (default feedback_free)")
    p.add_argument("--publish", action="store_true", help="write results and README of the study too")
    a = p.parse_args()
    parts = [a.part] if a.part else [*PARTS, "cost"]
    if a.data is None and parts != ["cost"]:
        p.error("--data DIR is needed: " + "; ".join(images.SOURCES.values()))
    o = Options(a.data, a.out, a.seeds, a.jobs, a.epochs, a.samples, a.only)
    found = collected(o, parts)
    report.write(found, o.out)
    if a.publish:
        report.publish(found, HERE)
    print(report.page(found))


if __name__ == "__main__":
    main()
