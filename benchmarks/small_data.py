"""How the defaults for small data were chosen, and what they give: cross-validation on training parts, then the test
parts once.

    python benchmarks/small_data.py --data FOLDER          # writes results/small_data.json and .md
    python benchmarks/small_data.py --data FOLDER --edge   # why `edge` is below `standard` on Ionosphere:
                                                           results/small_data_edge.*

FOLDER holds ``timeseries/NAME.npz`` (x_train, y_train, x_test, y_test as the UCR/UEA archive splits them, and
len_train, len_test where series have lengths) and ``tabular/NAME.npz`` (x, y; 70 % of the rows, drawn by a fixed
generator, are the training part). Two hidden layers of 255, 50 epochs, batch 10, or 25 where there are more samples.
The choice looks at five-fold cross-validation inside training parts only; a variant's test accuracies come from
training on the whole training part with the same program. One program a variant trains all folds and seeds, so the
fixed classifier is that of seed 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import bnnc

HERE = Path(__file__).resolve().parent
SETS = {
    "Coffee": 10,
    "ArrowHead": 10,
    "BasicMotions": 10,
    "ItalyPowerDemand": 10,
    "GunPoint": 10,
    "Trace": 10,
    "Sonar": 10,
    "Ionosphere": 25,
    "Vehicle": 25,
    "Vowel": 25,
    "JapaneseVowels": 25,
}  # and the batch
TABLES = ("Sonar", "Ionosphere", "Vehicle", "Vowel")
MOST = 400  # training samples; more are left out
FOLDS, TEST_SEEDS = 5, 3
VARIANTS = {
    "before": ("global", "std = 64"),
    "column": ("column", "std = 64"),
    "column, std 16": ("column", "std = 16"),
    "column, std 16, group 15": ("column", "std = 16, group = 15"),
}
EDGE = {
    "standard": ("standard", ""),
    "standard(state = f16)": ("standard(state = f16)", ""),
    "standard, batchnorm l1": ("standard", " l1"),
    "standard, batchnorm bnn": ("standard", " bnn"),
    "edge(state = f32)": ("edge(state = f32)", ""),
    "edge": ("edge", ""),
}


@dataclass(frozen=True)
class Part:
    """Samples and labels."""

    x: np.ndarray
    y: np.ndarray

    def take(self, which: np.ndarray) -> Part:
        return Part(self.x[which], self.y[which])

    def save(self, folder: Path, name: str) -> str:
        """Write both; how the trainer's command line names them."""
        np.save(folder / f"{name}_x.npy", self.x)
        np.save(folder / f"{name}_y.npy", self.y)
        return f"{folder / name}_x.npy,{folder / name}_y.npy"


def load(data: Path, name: str) -> tuple[Part, Part]:
    """The training and the test part of a set; steps that do not exist are NaN."""
    if name in TABLES:
        z = np.load(data / "tabular" / f"{name}.npz")
        whole = Part(z["x"].astype(np.float32), z["y"])
        order, n = np.random.default_rng(7).permutation(len(whole.y)), round(0.7 * len(whole.y))
        return whole.take(order[:n][:MOST]), whole.take(order[n:])
    z = np.load(data / "timeseries" / f"{name}.npz")
    parts = []
    for p in ("train", "test"):
        x = z[f"x_{p}"].astype(np.float32)
        if f"len_{p}" in z:
            for row, steps in zip(x, z[f"len_{p}"], strict=True):
                row[steps:] = np.nan
        parts.append(Part(x[:, :, 0] if x.shape[2] == 1 else x, z[f"y_{p}"]))
    return parts[0], parts[1]


def folds(part: Part, repeat: int) -> Iterator[tuple[Part, Part]]:
    """Training and held-out parts, the classes spread evenly over the folds."""
    g, fold, at = np.random.default_rng(100 + repeat), np.zeros(len(part.y), int), 0
    for c in np.unique(part.y):
        i = g.permutation(np.flatnonzero(part.y == c))
        fold[i] = (np.arange(len(i)) + at) % FOLDS
        at += len(i)
    for q in range(FOLDS):
        yield part.take(fold != q), part.take(fold == q)


def train(program: Path, train: str, test: str, seed: int, folder: Path) -> list[float]:
    """Test accuracy in percent, an entry an epoch that was tested."""
    log = folder / "log.jsonl"
    log.unlink(missing_ok=True)
    subprocess.run(
        [
            program,
            "train",
            "--train",
            train,
            "--test",
            test,
            "--seed",
            str(seed),
            "--out",
            folder / "run",
            "--resume",
            "never",
            "--save-every",
            "86400",
            "--threads",
            "1",
            "--quiet",
            "--log",
            log,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [100 * r["test_acc"] for r in rows if r["event"] == "epoch"]


def study(data: Path, name: str, rule: str, variant: str, repeats: int) -> dict[str, Any]:
    """Cross-validated and test accuracy of one variant on one set."""
    (per, args), (known, test) = VARIANTS[variant], load(data, name)
    lengths = ", lengths = on" if np.isnan(known.x).any() else ""
    shape, classes, batch = ", ".join(map(str, known.x.shape[1:])), int(known.y.max()) + 1, SETS[name]
    text = (
        f"network n {{ input f32[{shape}] median(per = {per}, pad_odd = on{lengths}); flatten; repeat 2 {{ dense 255;"
        f" sign; }} dense {classes}; loss; }} rule {rule}({args}); train {{ batch = {batch}; epochs = 50; }}"
    )
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        program = bnnc.parse(text).compile("native", out=folder / "net", threads=1).binary
        held = [
            train(program, a.save(folder, "a"), b.save(folder, "b"), 1 + r * FOLDS + i, folder)[-1]
            for r in range(repeats)
            for i, (a, b) in enumerate(folds(known, r))
        ]
        files = known.save(folder, "a"), test.save(folder, "b")
        tested = [train(program, *files, seed, folder)[-1] for seed in range(1, TEST_SEEDS + 1)]
    return {
        "set": name,
        "batch": batch,
        "samples": len(known.y),
        "rule": rule,
        "variant": variant,
        "held_out": round(float(np.mean(held)), 2),
        "error": round(float(np.std(held, ddof=1) / len(held) ** 0.5), 2),
        "test": round(float(np.mean(tested)), 2),
    }


def table(results: list[dict[str, Any]], what: str) -> list[str]:
    found = {(r["rule"], r["set"], r["variant"]): r[what] for r in results}
    names = [v for v in VARIANTS if any(v == r["variant"] for r in results)]
    lines = ["| rule | set | training samples | batch | " + " | ".join(names) + " |", "|" + "---|" * (4 + len(names))]
    for rule in ("bep", "local"):
        rows = [r for r in results if r["rule"] == rule and r["variant"] == "before"]
        for r in rows:
            cells = [f"{found[rule, r['set'], v]:.1f}" if (rule, r["set"], v) in found else "" for v in names]
            lines.append(f"| {rule} | {r['set']} | {r['samples']} | {r['batch']} | {' | '.join(cells)} |")
        for batch in (10, 25):
            at = [r["set"] for r in rows if r["batch"] == batch]
            mean = {v: [found[rule, s, v] for s in at if (rule, s, v) in found] for v in names}
            cells = [f"**{np.mean(mean[v]):.1f}**" if at and len(mean[v]) == len(at) else "" for v in names]
            lines.append(f"| {rule} | mean at batch {batch} | | {batch} | {' | '.join(cells)} |")
    return lines


def edge(data: Path, splits: int, seeds: int) -> list[dict[str, Any]]:
    """Each way to be `edge` alone: the difference from `standard` on the same splits and seeds."""
    z = np.load(data / "tabular" / "Ionosphere.npz")
    whole, out, base = Part(z["x"].astype(np.float32), z["y"]), [], None
    for label, (rule, norm) in EDGE.items():
        text = (
            f"network n {{ input f32[34]; repeat 2 {{ dense 255; batchnorm{norm}; sign; }} dense 2; batchnorm{norm};"
            f" loss; }} rule {rule}; train {{ batch = 25; epochs = 50; }}"
        )
        with tempfile.TemporaryDirectory() as tmp:
            folder = Path(tmp)
            program = bnnc.parse(text).compile("native", out=folder / "net", threads=1).binary
            rows = []
            for s in range(splits):
                order = np.random.default_rng(1000 + s).permutation(len(whole.y))
                files = whole.take(order[:250]).save(folder, "a"), whole.take(order[250:]).save(folder, "b")
                rows.append([np.mean(train(program, *files, seed, folder)[-10:]) for seed in range(1, seeds + 1)])
        got = np.array(rows)
        base = got if base is None else base
        by_split = (got - base).mean(1)
        out.append(
            {
                "variant": label,
                "test": round(float(got.mean()), 2),
                "difference": round(float(by_split.mean()), 2),
                "error": round(float(by_split.std(ddof=1) / splits**0.5), 2),
                "lowest": round(float((got - base).min()), 1),
                "highest": round(float((got - base).max()), 1),
            }
        )
        print(out[-1], file=sys.stderr, flush=True)
    return out


EDGE_SAYS = """
`standard` with the batch normalisation that `edge` uses (`bnn`) is as far below as `edge` is, so that norm explains
the difference; storage in f16 costs nothing that can be told from 0, and gradients of one bit add nothing to what the
norm costs. The l1 norm with its exact gradient lies between the two: a part may come from mean |a| in the place of
the root of the mean square, the rest from the backward pass that keeps one bit in the place of the normalised number
(Algorithm 2, line 12). That is the method and no mistake; nothing was changed. Single runs (one split, one seed)
differ by as much as the last two columns say: one split tells little.
"""


CHOSEN = """
Chosen: `median` of f32 data is `per = column`, and `std = 16` where a batch has at most 16 samples and there is no
rnn layer. `group` stays: on top of the two, what it gives changes its sign from rule to rule. At batch 25 a deviation
of 16 helps a little too, but 64 stays there: batches of 20 and more are tied to committed weights, and 32 and more
are the papers'. `per = column` is worse on Ionosphere and on GunPoint: write `per = global` there. Test accuracies of
Coffee were seen while the bound of the batch was still open; they did not decide it.
"""


def save(file: Path, command: str, results: list[dict[str, Any]], title: str, lines: list[str]) -> None:
    """The results as JSON, and a page of them."""
    about = {"command": command, "version": bnnc.__version__}
    file.with_suffix(".json").write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    file.with_suffix(".md").write_text("\n".join([f"# {title}", "", f"`{command}`", "", *lines]) + "\n")


def edge_page(results: list[dict[str, Any]]) -> list[str]:
    rows = [
        f"| `{r['variant']}` | {r['test']:.2f} | {r['difference']:+.2f} ± {r['error']:.2f} | {r['lowest']:+.1f} | "
        f"{r['highest']:+.1f} |"
        for r in results
    ]
    return [
        (
            "f32[34]-255-255-2, Adam, batch 25, 50 epochs; 250 "
            "training and 101 test samples; ten splits, four seeds; the mean of the last ten epochs."
        ),
        "",
        "| | test % | difference from `standard`, and its standard error over splits | lowest of a run | highest |",
        "|---|---|---|---|---|",
        *rows,
        "",
        EDGE_SAYS.strip(),
    ]


def page(results: list[dict[str, Any]], repeats: int) -> list[str]:
    return [
        (
            "Accuracy in percent held out from the training part, five folds, "
            f"repeated {repeats} times; this is what was chosen by."
        ),
        "",
        *table(results, "held_out"),
        "",
        f"Test accuracy, {TEST_SEEDS} seeds, looked at after the choice:",
        "",
        *table(results, "test"),
        "",
        CHOSEN.strip(),
    ]


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--edge", action="store_true", help="only the study of `edge` on Ionosphere")
    args.add_argument("--repeats", type=int, default=3, help="of the five folds (default 3)")
    args.add_argument("--out", type=Path, default=HERE / "results")
    a = args.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    command = f"python benchmarks/small_data.py --data {a.data.name}"
    if a.edge:
        results = edge(a.data, 10, 4)
        file, command = a.out / "small_data_edge", f"{command} --edge"
        save(file, command, results, "`edge` and `standard` on Ionosphere", edge_page(results))
        return
    file, command, results = a.out / "small_data", f"{command} --repeats {a.repeats}", []
    for name, batch in SETS.items():
        for rule in ("bep", "local"):
            for variant in VARIANTS if batch <= 16 else list(VARIANTS)[:3]:
                results.append(study(a.data, name, rule, variant, a.repeats))
                print(results[-1], file=sys.stderr, flush=True)
        save(file, command, results, "Defaults on small data", page(results, a.repeats))


if __name__ == "__main__":
    main()
