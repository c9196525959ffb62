"""Lines over the epochs of one run, or of several with their mean and interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..plan.types import Plan
from ..study.results import interval
from .chart import Chart, Line, chart
from .run import Run

ACCURACIES = (("train_acc", "train"), ("holdout_acc", "held out"), ("test_acc", "test"))
Z = 1.959963985  # of a 95 % interval
OWN = {"epoch", "step", "loss", "seconds", "samples_per_s", "best_test_acc", "lr", "stage", *(k for k, _ in ACCURACIES)}


def half(share: float, n: int) -> float | None:
    """Half the width of the 95 % interval (normal) of a share that was measured on ``n`` samples."""
    return Z * math.sqrt(share * (1 - share) / n) if n else None


def line(runs: Sequence[Run], key: str, name: str, samples: int = 0) -> Line:
    """Of one run: its values, with the interval that ``samples`` leave; of several: mean and interval over the runs,
    at the epochs that all have.
    """
    found = [dict(run.series(key)) for run in runs]
    if len(runs) == 1:
        return Line(name, tuple((e, v, half(v, samples)) for e, v in found[0].items()))
    shared = sorted(set.intersection(*(set(f) for f in found)))
    means = [(e, interval([f[e] for f in found])) for e in shared]
    return Line(name, tuple((e, i.mean, i.half) for e, i in means))


def accuracy(runs: Sequence[Run]) -> Chart | None:
    """Of the training, held-out and test samples; of a single run with the interval of its samples' number."""
    sizes = {"test_acc": "test_samples", "holdout_acc": "holdout_samples"}
    start = runs[0].start
    lines = [line(runs, k, name, start.get(sizes[k], 0) if k in sizes else 0) for k, name in ACCURACIES]
    return chart("accuracy", lines, percent=True)


def counters(runs: Sequence[Run], plan: Plan) -> list[Chart]:
    """What epochs count: of each layer, or in all.  Flips become a share of a layer's weights and the epoch's steps."""
    run, charts = runs[0], []
    for key, layers in run.layers.items():
        lines, rate = [], key == "flips"
        for layer in layers:
            points = [(e["epoch"], float(e[key][layer])) for e in run.epochs if layer in e.get(key, {})]
            weights = plan.named.get(f"{layer}.weight")
            if rate and weights is not None:
                size = weights.storage.shape[0] * weights.storage.shape[1] * steps_per_epoch(run)
                points = [(e, v / size) for e, v in points]
            lines.append(Line(layer, tuple((e, v, None) for e, v in points)))
        title = "share of the weights that flip in a step" if rate else key.replace("_", " ")
        charts.append(chart(title, lines, percent=True))
    for key in sorted({k for e in run.epochs for k, v in e.items() if isinstance(v, int | float)} - OWN):
        charts.append(chart(key.replace("_", " "), [line(runs, key, key.replace("_", " "))], percent=True))
    return [c for c in charts if c is not None]


def steps_per_epoch(run: Run) -> int:
    """Full batches of the training samples."""
    return max(1, run.start.get("train_samples", 0) // max(1, run.start.get("batch", 1)))
