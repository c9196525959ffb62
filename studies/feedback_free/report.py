"""Tables, answers and the plot of the study, all from ``results.json``."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cases import GB, PARTS, PRINTED, RULES, TABLES

from bnnc.study.plot import axes, can_plot, percent, styles
from bnnc.study.results import Interval, interval

Found = Mapping[str, Any]
PLOT = "plot.png"


def rows(found: Found, part: str = "") -> list[dict[str, Any]]:
    """Accuracies of one part, or of both."""
    return [r for p in ([part] if part else PARTS) for r in found.get(p, {}).get("accuracy", [])]


def best(found: Found) -> dict[tuple[str, str, str], list[float]]:
    """Of each row that was trained, the best test accuracy of each seed."""
    return {(r["table"], r["network"], r["rule"]): r["best"] for r in rows(found) if r["best"]}


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines))


# -- tables ------------------------------------------------------------------------------------------------------------


def one_line(r: Mapping[str, Any]) -> list[str]:
    """A row of the table of accuracies."""
    printed = PRINTED.get((r["table"], r["network"], r["rule"]))
    there = "" if printed is None else f"{printed:.1f}"
    if not r["best"]:
        return [r["network"], RULES[r["rule"]], f"none: {r['reason']}", "", "", there, ""]
    mine = interval(r["best"])
    apart = f"{100 * mine.mean - printed:+.1f}" if printed is not None and r["table"] in PARTS["mlp"] else ""
    return [
        r["network"],
        RULES[r["rule"]],
        mine.percent(),
        interval(r["last"]).percent(),
        f"{100 * statistics.fmean(r['train']):.1f}",
        there,
        apart,
    ]


def accuracies(found: Found, name: str) -> str:
    """One experiment."""
    of = [r for r in rows(found) if r["table"] == name]
    if not of:
        return ""
    rates = ", ".join(dict.fromkeys(f"{RULES[r['rule']]} {r['rate']:g}" for r in of if r["best"]))
    seeds = max(len(r["best"]) for r in of)
    paper = name in PARTS["mlp"]
    head = ["network", "rule", "best test %", "last test %", "train %", "printed" if paper else "printed (ImageNette)"]
    lines = [one_line(r) for r in of]
    table = markdown([*head, "difference"], lines) if paper else markdown(head, [x[:-1] for x in lines])
    told = f"{of[0]['epochs']} epochs, {seeds} seeds, mean ± 95 % interval (Student's t)."
    return f"### {TABLES[name].title}\n\n{told} Rates of Adam: {rates}.\n\n{table}"


def search(found: Found) -> str:
    """What the search of rates tried: training accuracy after a few epochs, seed 1."""
    told = [s for p in PARTS for s in found.get(p, {}).get("search", [])]
    if not told:
        return ""
    rates = sorted({s["rate"] for s in told}, reverse=True)
    lines = []
    for key in dict.fromkeys((s["table"], s["network"], s["rule"]) for s in told):
        of = {s["rate"]: s["train_acc"] for s in told if (s["table"], s["network"], s["rule"]) == key}
        top = max((v for v in of.values() if v is not None), default=None)
        cells = [
            "" if of[r] is None else f"**{100 * of[r]:.1f}**" if of[r] == top else f"{100 * of[r]:.1f}" for r in rates
        ]
        lines.append([key[0], key[1], RULES[key[2]], *cells])
    head = ["experiment", "network", "rule", *(f"{r:g}" for r in rates)]
    return (
        f"### Rates that were tried\n\nTraining accuracy, %, of seed 1; the best one trains.\n\n{markdown(head, lines)}"
    )


def memory(found: Found) -> str:
    """Bytes of the full-size networks beside the printed ones."""
    of = found.get("cost", {}).get("memory", [])
    if not of:
        return ""
    gb = {(m["network"], m["rule"], m["numerics"]): f"{m['bytes'] / 1e9:.3f}" for m in of}
    lines = [
        [n, RULES[rule], gb[n, rule, "standard"], gb[n, rule, "edge"], f"{printed:.1f}"]
        for n, figures in GB.items()
        for rule, printed in zip(RULES, figures, strict=True)
    ]
    head = ["network", "rule", "f32, GB", "`edge` numerics, GB", "printed, GB"]
    return (
        "### Memory at 224 x 224, batch 64\n\nThe plan's total, everything counted, on one thread; printed: the peak of"
        f" a GPU (PyTorch). GB = 1e9 bytes.\n\n{markdown(head, lines)}"
    )


def steps(found: Found) -> str:
    """Times of the reduced networks."""
    cost = found.get("cost", {})
    if not cost.get("steps"):
        return ""
    bp = {s["network"]: statistics.median(s["ms"]) for s in cost["steps"] if s["rule"] == "standard"}
    lines = [
        [
            s["network"],
            RULES[s["rule"]],
            f"{(ms := statistics.median(s['ms'])):.1f} [{min(s['ms']):.1f} - {max(s['ms']):.1f}]",
            f"{ms / bp[s['network']]:.2f}",
            f"{s['bytes'] / 1e6:.2f}",
        ]
        for s in cost["steps"]
    ]
    m = cost["machine"]
    head = ["network", "rule", "ms a step", "of BP's", "memory, MB"]
    return (
        "### A step of the reduced networks, batch 64\n\nMedian [min - max] of rounds in which each rule has its turn,"
        f" one thread. {m['cpu']}, {m['cores']} cores; bnnc {m['bnnc']}, {m['cc']}.\n\n{markdown(head, lines)}"
    )


# -- questions ---------------------------------------------------------------------------------------------------------


def ahead(a: Sequence[float], b: Sequence[float]) -> Interval:
    """By how much a is ahead of b, seed by seed."""
    return interval([x - y for x, y in zip(a, b, strict=True)])


def verdict(d: Interval) -> str:
    """Yes or no where the 95 % interval of the difference leaves out 0."""
    points = f"{100 * d.mean:+.1f}" + ("" if d.half is None else f" ± {100 * d.half:.1f}") + " points"
    if d.half is None or abs(d.mean) <= d.half:
        return f"open ({points})"
    return f"**{'yes' if d.mean > 0 else 'no'}** ({points})"


QUESTIONS: tuple[tuple[str, str, tuple[str, str], tuple[str, str], str], ...] = (
    # question, table, (network, rule) that leads, (network, rule) behind, what the paper says
    ("MNIST without norm: is DFA ahead of BP?", "mlp-mnist", ("no norm", "dfa"), ("no norm", "standard"), "yes, +35.4"),
    ("MNIST with norm: is DFA ahead of BP?", "mlp-mnist", ("norm", "dfa"), ("norm", "standard"), "yes, +0.3"),
    ("CIFAR-10 without norm: is DFA ahead?", "mlp-cifar10", ("no norm", "dfa"), ("no norm", "standard"), "yes, +19.0"),
    ("CIFAR-10 with norm: is DFA ahead?", "mlp-cifar10", ("norm", "dfa"), ("norm", "standard"), "yes, +2.3"),
    ("Does BP lead on MobileNetV2?", "mobilenetv2", ("binary", "standard"), ("binary", "dfa"), "yes, +11.8"),
    ("Does BP lead on MLP-Mixer?", "mixer", ("binary", "standard"), ("binary", "dfa"), "yes, +3.3"),
    (
        "VGG-19, wide dense layers without norm: does DFA lead?",
        "vgg",
        ("binary", "dfa"),
        ("binary", "standard"),
        "yes, +30.8",
    ),
    ("And when they have a norm?", "vgg", ("dense norm", "dfa"), ("dense norm", "standard"), "not asked"),
    (
        "MobileNetV2 without skips: is DFA ahead?",
        "mobilenetv2",
        ("no skips", "dfa"),
        ("no skips", "standard"),
        "yes, +6.2",
    ),
    ("MLP-Mixer without skips: is DFA ahead?", "mixer", ("no skips", "dfa"), ("no skips", "standard"), "yes, +8.3"),
)
HURTS = {"vgg": "VGG-19", "mobilenetv2": "MobileNetV2", "mixer": "MLP-Mixer"}


def answers(found: Found) -> str:
    """The study's findings as questions."""
    known, lines = best(found), []
    asked = list(QUESTIONS)
    for table, title in HURTS.items():
        for rule in ("standard", "dfa", "drtp"):
            weights, signs = (PRINTED[table, n, rule] for n in ("weights only", "activations only"))
            paper = f"{'yes' if signs > weights else 'no'}, {signs - weights:+.1f}"
            question = f"{title}, {RULES[rule]}: do binary weights hurt more than binary activations?"
            asked.append((question, table, ("activations only", rule), ("weights only", rule), paper))
    for question, table, front, back, paper in asked:
        a, b = known.get((table, *front)), known.get((table, *back))
        if a and b:
            lines.append([question, verdict(ahead(a, b)), paper])
    if not lines:
        return ""
    told = "The difference of best test accuracies, seed by seed, with its 95 % interval; open where that holds 0."
    return f"### Questions\n\n{told}\n\n{markdown(['question', 'here', 'printed'], lines)}"


# -- files -------------------------------------------------------------------------------------------------------------


def sections(found: Found) -> dict[str, str]:
    """Name -> Markdown of everything that was found."""
    all_of = {name: accuracies(found, name) for name in TABLES}
    all_of |= {"questions": answers(found), "memory": memory(found), "steps": steps(found), "search": search(found)}
    all_of["plot"] = f"![best test accuracy of every row](results/{PLOT})\n" if rows(found) else ""
    return {name: text for name, text in all_of.items() if text}


def page(found: Found) -> str:
    return "\n".join(text for name, text in sections(found).items() if name != "plot")


def table(found: Found) -> str:
    """Accuracies as CSV, 0..1."""
    out = io.StringIO()
    w = csv.writer(out, lineterminator="\n")
    w.writerow(
        ("experiment", "network", "rule", "rate", "epochs", "seeds", "best_mean", "best_half", "last_mean", "reason")
    )
    for r in rows(found):
        mine = interval(r["best"]) if r["best"] else None
        numbers = ("", "", "") if mine is None else (mine.mean, mine.half, statistics.fmean(r["last"]))
        rounded = [round(x, 6) if isinstance(x, float) else x for x in numbers]
        w.writerow(
            (r["table"], r["network"], r["rule"], r["rate"], r["epochs"], len(r["seeds"]), *rounded, r["reason"])
        )
    return out.getvalue()


def bars(ax: Any, found: Found, name: str) -> None:
    """One experiment: a group of bars a network, with the interval of each and the printed figure where it is the same
    task."""
    of = [r for r in rows(found) if r["table"] == name and r["best"]]
    networks = list(dict.fromkeys(r["network"] for r in of))
    width = 0.8 / max(1, len({r["rule"] for r in of}))
    for i, (rule, look) in enumerate(zip(RULES, styles(list(RULES)), strict=True)):
        mine = {r["network"]: percent(interval(r["best"])) for r in of if r["rule"] == rule}
        if not mine:
            continue
        at = [networks.index(n) + width * (i + 0.5) - 0.4 for n in mine]
        heights, halves = [v for v, _ in mine.values()], [h for _, h in mine.values()]
        ax.bar(at, heights, width, yerr=halves, color=look["color"], label=RULES[rule], error_kw={"linewidth": 0.9})
        printed = [(x, PRINTED[name, n, rule]) for x, n in zip(at, mine, strict=True) if (name, n, rule) in PRINTED]
        if name in PARTS["mlp"] and printed:
            ax.plot(*zip(*printed, strict=True), "D", color="white", markeredgecolor="black", markersize=4.5)
    ax.set_xticks(range(len(networks)), [n.replace(" ", "\n") for n in networks])
    ax.set_title(TABLES[name].title, fontsize=9)
    axes(ax, "", "best test accuracy (%)")
    ax.grid(False, axis="x")


def draw(found: Found, path: Path) -> None:
    """All experiments as groups of bars."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (optional, and slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    names = [n for n in TABLES if any(r["table"] == n and r["best"] for r in rows(found))]
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = Figure(figsize=(max(6.5, 3.7 * across), 3.4 * down + 0.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(down, across, squeeze=False).flatten()
    for ax, name in zip(grid, names, strict=False):
        bars(ax, found, name)
    for ax in grid[len(names) :]:
        ax.set_axis_off()
    handles: dict[str, Any] = {}
    for ax in grid[: len(names)]:
        handles |= {label: h for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle("best test accuracy and its 95 % interval; diamonds: printed figures of the same task", fontsize=10)
    figure.savefig(path)


def write(found: Found, folder: Path) -> None:
    """results.json, .csv, .md and the plot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "results.csv").write_text(table(found), encoding="utf-8")
    (folder / "results.md").write_text(page(found), encoding="utf-8")
    if can_plot() and rows(found):
        draw(found, folder / PLOT)


def filled(text: str, found: Found) -> str:
    """A page with each section between its two marks, `<!-- NAME -->` and `<!-- end -->`, as it is now."""
    parts = sections(found)

    def section(m: re.Match[str]) -> str:
        return f"<!-- {m[1]} -->\n\n{parts.get(m[1], '')}\n<!-- end -->"

    return re.sub(r"<!-- ([\w-]+) -->\n.*?<!-- end -->", section, text, flags=re.DOTALL)


def publish(found: Found, study: Path) -> None:
    """The study's own results, and the tables of its README."""
    write(found, study / "results")
    readme = study / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8"), found), encoding="utf-8")
