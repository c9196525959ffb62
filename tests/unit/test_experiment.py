"""Experiments without training: intervals, scaled widths, what can be swept, the store of runs, tables and plots."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import helpers
import pytest
from helpers import spec

import bnnc
from bnnc import registry
from bnnc.api import process
from bnnc.cli import show
from bnnc.cli import study as cli_experiment
from bnnc.cli.study import split
from bnnc.data import write_bnnd
from bnnc.data.generate import prototypes
from bnnc.front.sections import TRAIN
from bnnc.model import Call
from bnnc.registry import Named
from bnnc.rules.settings import good_width, group_sizes
from bnnc.study import experiment, plot, scale
from bnnc.study.results import Interval, Result, Row, Run, interval, student

DEEP = spec((70, 64, 32, 5), "bit", "edge", batch=10)
pytestmark = pytest.mark.usefixtures("plans_once")


def test_student_is_scipys() -> None:
    from scipy.stats import t

    for degrees in (*range(1, 31), 99, 1000):
        assert student(degrees) == pytest.approx(t.ppf(0.975, degrees), abs=2e-4)


def test_intervals() -> None:
    assert interval([0.5]) == Interval(0.5, None) and interval([0.5]).percent() == "50.00"
    two = interval([0.4, 0.6])
    assert two.mean == 0.5 and two.half == pytest.approx(12.7062 * 0.1, rel=1e-6)  # s / sqrt(n) = 0.1414 / 1.414
    assert interval([0.4, 0.4, 0.4]).percent() == "40.00 ± 0.00"


def test_lists_split_outside_of_brackets() -> None:
    assert split("bep, local(r = 0.5, group = 5),edge") == ["bep", "local(r = 0.5, group = 5)", "edge"]
    assert split("1") == ["1"] and split(",") == []


# -- widths ----------------------------------------------------------------------------------------------------------


def test_widths_follow_one_factor_and_are_odd() -> None:
    net = bnnc.parse(DEEP)
    assert scale.hidden_widths(net) == {"dense1": 64, "dense2": 32}
    assert scale.hidden_widths(scale.scaled(net, 64)) == {"dense1": 63, "dense2": 31}
    assert scale.hidden_widths(scale.scaled(net, 20)) == {"dense1": 19, "dense2": 9}
    assert scale.hidden_widths(scale.scaled(net, 1)) == {"dense1": 1, "dense2": 1}
    other = scale.scaled(net, 21)
    assert [y.output.elements for y in other.model.layers if y.kind == "sign"] == [21, 9]
    assert other.with_(batch=20).widths == other.widths and net.model.hash != other.model.hash


FAST = {("edge", 600_000), ("bep", 450_000)}  # each plans some dozens of networks


@pytest.mark.parametrize(
    ("rule", "ram"),
    [
        pytest.param(rule, ram, marks=pytest.mark.slow if (rule, ram) not in FAST else ())
        for rule in ("edge", "standard", "local", "bep")
        for ram in (450_000, 600_000)
    ],
)
def test_the_largest_that_fits(rule: str, ram: int) -> None:
    net = bnnc.parse(DEEP).with_(rule=rule)
    found = scale.largest(net, ram, 1)
    assert found.plan(threads=1).total_bytes <= ram
    widest = max(scale.hidden_widths(found).values())
    # of the widths that are this one for the widest layer, in groups of its own
    assert found.widths in {scale.scaled(net, w).widths for w in range(widest, widest + 16)}
    larger = (scale.scaled(net, w) for w in range(widest, 1025))
    over = next(n for n in larger if sum(dict(n.widths).values()) > sum(dict(found.widths).values()))
    assert over.plan(threads=1).total_bytes > ram


def test_what_cannot_be_scaled() -> None:
    for text, ram in ((DEEP, 1000), (spec((70, 5), "u8", "edge"), 1 << 20)):
        with pytest.raises(bnnc.BnncError) as e:
            scale.largest(bnnc.parse(text), ram, 1)
        assert e.value.diagnostics[0].code == "B0605" and e.value.exit_code == 3


@pytest.mark.parametrize("group", [0, 1, 10, 15, 35])
def test_widths_of_integer_rules_can_be_cut_into_groups(group: int) -> None:
    args = Call("any", (("group", (group,)),))
    for at_most in (1, 2, 34, 35, 107, 128, 500):
        n = good_width(args, at_most)
        assert n <= at_most or n == group
        if group:
            assert n % group == 0 and (n % 2 or group % 2 == 0)
        else:
            assert n % 2 and group_sizes(n, 0, False)[0] >= min(n, 35)


# -- what can be swept -----------------------------------------------------------------------------------------------


def test_names_of_a_sweep() -> None:
    net = bnnc.parse(
        "let width = 15;\n" + spec((20, 5), "bit", "local(std = 8)", body="  dense width; batchnorm; sign;\n")
    )
    for name in ("rule.r", "optimizer.lr", "train.batch", "train.holdout", "width"):
        experiment._known(net, name)
    for name, hint in (("rule.rr", "rule.r"), ("batch", "train.batch"), ("widht", "width"), ("train.seed", "")):
        with pytest.raises(bnnc.BnncError) as e:
            experiment._known(net, name)
        assert e.value.diagnostics[0].code == "B0205" and e.value.exit_code == 2 and hint in e.value.diagnostics[0].help
    chosen = [("rule.r", ".5"), ("optimizer.lr", "1e-2"), ("train.batch", "20"), ("width", "21")]
    given = experiment._overrides(net, chosen)
    assert given == {"rule": "local(r = .5, std = 8)", "optimizer": "adam(lr = 1e-2)", "batch": "20", "width": "21"}
    model = net.with_(**given).model
    assert (model.rule["r"], model.rule["std"], model.optimizer["lr"], model.batch) == (0.5, 8, 0.01, 20)
    assert scale.hidden_widths(net.with_(**given)) == {"dense1": 21}


def test_a_setting_that_no_row_reads_is_not_swept() -> None:
    net = bnnc.parse(spec((20, 15, 5), "bit", "bep(group = 3)"))
    rows = [
        experiment.variant(1, net, lr, [("optimizer.lr", lr)], {"optimizer": f"adam(lr = {lr})"}) for lr in ("1", "2")
    ]
    with pytest.raises(bnnc.BnncError, match="rule `bep` ignores `optimizer`") as e:
        experiment._heard(net, ["optimizer.lr"], rows)
    assert e.value.diagnostics[0].code == "B0905" and e.value.exit_code == 2 and "--rule" in e.value.diagnostics[0].help
    by_gradients = experiment.variant(1, net, "edge", [("rule", "edge")], {"rule": "edge"})
    experiment._heard(net, ["optimizer.lr"], [*rows, by_gradients])  # one row reads it
    experiment._heard(net, ["train.batch"], rows)


def test_a_rule_that_a_network_cannot_have_is_a_row_and_a_typo_is_not() -> None:
    net = bnnc.parse(spec((20, 15, 5), "u8", "edge"))
    v = experiment.variant(1, net, "bep", [("rule", "bep")], {"rule": "bep"})
    assert v.net is None and "needs bits as input" in v.reason and "B0501" in v.reason
    for wrong in ("bepp", "bep(", "bep(q = 1)", "bep(r = 7)"):
        with pytest.raises(bnnc.BnncError):
            experiment.variant(1, net, wrong, [("rule", wrong)], {"rule": wrong})


def test_nothing_to_train(tmp_path: Path) -> None:
    net = bnnc.parse(spec((20, 15, 5), "u8", "edge"))
    with pytest.raises(bnnc.BnncError) as e:
        bnnc.compare(net, ["bep", "local"], out=tmp_path / "out")
    assert e.value.diagnostics[0].code == "B0905" and "bep: this rule needs bits" in str(e.value)
    with pytest.raises(bnnc.BnncError) as e:
        bnnc.compare(net, ["edge"], out=tmp_path / "out")
    assert e.value.diagnostics[0].code == "B0805" and not (tmp_path / "out").exists()


def test_widths_that_fit_are_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(helpers.CACHE))
    write_bnnd(tmp_path / "d.bnnd", prototypes(20, 10, bits=20, classes=5))
    net = bnnc.parse(spec((20, 15, 5), "bit", "edge") + 'data { train = bnnd("d.bnnd"); }')
    said: list[str] = []

    def fitted(ram: int) -> experiment.Variant:
        v = experiment.Variant("edge", (("rule", "edge"),), net)
        experiment.Experiment("net", [v], 1, 1, tmp_path, tmp_path / "out", 1, said.append).fit(v, ram)
        return v

    none = fitted(1000)
    assert (
        none.net is None
        and none.reason.startswith("even with the narrowest hidden layers it needs")
        and "B0605" in none.reason
    )
    ram = net.plan(threads=1).total_bytes
    first, again = fitted(ram), fitted(ram)
    assert first.net is not None and again.net is not None and first.net.widths == again.net.widths and first.programs
    assert not again.programs and len(said) == 2 and first.programs[None].plan.total_bytes <= ram


# -- the store -------------------------------------------------------------------------------------------------------


def test_a_torn_line_is_dropped_and_a_strange_file_refused(tmp_path: Path) -> None:
    first = experiment.Store(tmp_path)
    first.add("a", {"kind": "run", "seed": 1})
    with first.path.open("a") as f:
        f.write('{"key": "b", "se')
    again = experiment.Store(tmp_path)
    assert set(again.found) == {"a"}
    again.add("c", {"kind": "run"})
    assert set(experiment.Store(tmp_path).found) == {"a", "c"}
    again.path.write_text("[1, 2]\n")
    with pytest.raises(bnnc.BnncError) as e:
        experiment.Store(tmp_path)
    assert e.value.diagnostics[0].code == "B0906" and "line 1" in str(e.value)


def test_a_run_is_named_by_what_decides_its_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of one's own too, and bnnc's; not by the spec's comments, nor by code that does the same."""
    write_bnnd(tmp_path / "d.bnnd", prototypes(20, 10, bits=20, classes=5))
    sgd = registry.optimizers["sgd"]

    def own(factor: float) -> Named:
        def update(cx: Any, w: Any, role: str, g: Any, unit: Any, scalars: Any) -> None:
            sgd.impl.update(cx, w, role, g * factor, unit, scalars)

        return Named("own", "sgd of another rate", sgd.params, replace(sgd.impl, update=update))

    def key(comment: str = "", seed: int = 1) -> str:
        text = (
            comment + spec((20, 15, 5), "bit", "edge", optimizer="own(lr = 0.1)") + 'data { train = bnnd("d.bnnd"); }'
        )
        net = bnnc.parse(text).with_(seed=seed)
        v = experiment.Variant("edge", (("rule", "edge"),), net)
        return experiment.Experiment("net", [v], 1, 1, tmp_path, tmp_path / "out", 1, str).key(net, "run", 7)

    monkeypatch.setitem(registry.optimizers, "own", own(0.5))
    first = key()
    assert key("# the same\n") == first == key(seed=3)
    monkeypatch.setitem(registry.optimizers, "own", own(0.5))
    assert key() == first
    monkeypatch.setitem(registry.optimizers, "own", own(0.25))
    assert key() != first
    monkeypatch.setitem(registry.optimizers, "own", own(0.5))
    monkeypatch.setattr(experiment, "__version__", "0.1.1")
    assert key() != first
    monkeypatch.undo()
    monkeypatch.setitem(registry.optimizers, "own", own(0.5))
    monkeypatch.setattr(experiment, "own_source", lambda: "another")
    assert key() != first


CHANGED = {
    "optimizer": "bop",
    "schedule": "constant",
    "stop": "early(patience = 3); holdout = 10%",
    "batch": "20",
    "epochs": "2",
    "holdout": "10%",
    "microbatch": "2",
    "augment": "[jitter(1), timeshift(1)]",
    "sampling": "balanced",
    "class_weights": "[1, 2, 3, 4, 5]",
    "recompute": "on",
}


def test_every_setting_is_part_of_a_runs_name(tmp_path: Path) -> None:
    """Two values of a setting that is swept are two runs."""
    write_bnnd(tmp_path / "d.bnnd", prototypes(20, 10, bits=20, classes=5))
    layers = "input f32[5, 4]; flatten; dense 15; batchnorm; sign; dense 5; batchnorm; loss;"

    def key(settings: str) -> str:
        net = bnnc.parse(f'network net {{ {layers} }} train {{ {settings} }} data {{ train = bnnd("d.bnnd"); }}')
        v = experiment.Variant("net", (), net)
        return experiment.Experiment("net", [v], 1, 1, tmp_path, tmp_path / "out", 1, str).key(net, "run", 7)

    names = [p.name for p in TRAIN if p.name != "seed"]
    keys = [key("schedule = cosine;"), *(key(f"{n} = {CHANGED[n]};") for n in names), key("augment = jitter(2);")]
    assert len(set(keys)) == len(names) + 2


def test_the_digest_of_bnncs_own_source(tmp_path: Path) -> None:
    at = tmp_path / "a.py"
    at.write_text("1")
    first = experiment.digest(at)
    at.write_text("2")
    assert (
        experiment.digest(at)
        != first
        == experiment.digest(_written(at, "1"))
        != experiment.digest(_written(tmp_path / "b.py", "1"))
    )
    files = experiment.source_files()
    assert {".py", ".j2", ".h", ".lark"} <= {p.suffix for p in files} and len(files) == len(set(files))
    assert {"experiment.py", "emit.py", "bnnc_train.h"} <= {p.name for p in files} and not any(
        p.suffix == ".pyc" for p in files
    )


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_accuracy_benchmark_writes_to_a_new_folder_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "accuracy.py"))
    found = {
        "rule": "edge",
        "optimizer": "adam",
        "seed": 1,
        "epochs": 1,
        "best": 9.0,
        "last": 8.0,
        "seconds": 1.0,
        "arena_bytes": 7,
    }
    monkeypatch.setitem(program["main"].__globals__, "train", lambda *_: found)
    monkeypatch.chdir(tmp_path)
    for more, folder in (
        ((), "accuracy-1"),
        ((), "accuracy-2"),
        (("--out", "mine"), "mine"),
        (("--out", "mine"), "mine"),
    ):
        monkeypatch.setattr(sys, "argv", ["accuracy.py", "--data", "x", "--epochs", "1", *more])
        program["main"]()
        assert sorted(p.name for p in (tmp_path / folder).iterdir()) == ["accuracy.json", "accuracy.md"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["accuracy-1", "accuracy-2", "mine"]


# -- tables and plots ------------------------------------------------------------------------------------------------


def result(names: tuple[str, ...] = ("rule",), **kw: Any) -> Result:
    labels = {("rule",): ["edge", "bep(r = 0.5, nu = 1)"], ("rule.r", "train.batch"): ["0", "0.5"]}[names]
    settings = [tuple(zip(names, (x, "10")[: len(names)], strict=True)) for x in labels]
    runs = tuple(
        Run(x, s, [0.5 + 0.1 * i, 0.7 + 0.01 * s], [0.5, 0.6], 0.8, [1.0, 3.0], 20, 4096, 4000, "ff")
        for i, x in enumerate(labels)
        for s in (1, 2)
    )
    rows = [
        Row(x, settings[i], "", (31, 31), interval([0.71, 0.72]), interval([0.8, 0.8]), 4096, 4000, 1_234_567, 2.0, 0.2)
        for i, x in enumerate(labels)
    ]
    none = Row("x", tuple((n, "x | y") for n in names), "needs bits (B0501)")
    return replace(Result("net", (*rows, none), runs, None, 2, 1, 1), **kw)


def test_a_table_shows_lists(capsys: pytest.CaptureFixture[str]) -> None:
    show.console().print(show.list_table(("train.augment",), [("[]",), ("[shift(1), flip]",)]))
    assert capsys.readouterr().out.split("\n")[1:3] == ["[]              ", "[shift(1), flip]"]


def test_tables() -> None:
    lines = result().csv().splitlines()
    assert lines[0].startswith("rule,reason,widths,seeds,final_mean,final_half,best_mean,best_half,predicted_bytes")
    assert lines[1] == "edge,,31-31,2,0.715,0.063531,0.8,0.0,4096,4000,1234567,2,0.2"
    assert lines[2].startswith('"bep(r = 0.5, nu = 1)",,') and lines[3].startswith("x | y,needs bits (B0501),,")
    assert len({len(row) for row in result().table()}) == 1
    text = result().markdown()
    assert "| edge | 31 x 2 | 71.50 ± 6.35 | 80.00 ± 0.00 | 4 096 | 4 000 | 1.23e+06 | 2 | 200 |" in text
    assert "| x \\| y | - |" in text and text.endswith("- x: needs bits (B0501)\n") and "2 seeds" in text
    plain = json.loads(json.dumps(result().to_json()))
    assert plain["rows"][0]["final"] == {"mean": 0.715, "half": pytest.approx(0.063531, abs=1e-6)}
    assert plain["rows"][0]["settings"] == {"rule": "edge"} and len(plain["runs"]) == 4


@pytest.mark.parametrize("names", [("rule",), ("rule.r", "train.batch")])
def test_plots(names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plot.write(result(names, ram=4096), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(plot.FILES)
    picture = (tmp_path / "plot.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and len(picture) > 10_000
    monkeypatch.setattr(plot, "can_plot", lambda: False)
    plot.write(result(names), tmp_path / "..")
    assert not (tmp_path / ".." / "plot.png").exists()


def test_matplotlib_is_optional_and_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    late = "import sys, bnnc, bnnc.cli; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", late], check=True)
    monkeypatch.setattr(cli_experiment, "can_plot", lambda: False)
    cli_experiment._finish(result(), tmp_path, as_json=False)
    out, err = capsys.readouterr()
    assert "pip install 'bnnc[plot]'" in err and "plot.png" not in err
    assert "71.50 ± 6.35" in out and "x: needs bits (B0501)" in out


def test_what_a_plot_shows() -> None:
    from matplotlib.figure import Figure

    found = result()
    figure = Figure()
    plot._compare(figure, found, list(found.rows[:2]))
    left, right = figure.axes
    assert (left.get_xlabel(), left.get_ylabel()) == ("epoch", "test accuracy (%)")
    assert right.get_xlabel() == "memory of the process (KiB)"
    lines = left.get_lines()
    assert list(lines[0].get_ydata()) == pytest.approx([50, 71.5]) and lines[0].get_color() != lines[1].get_color()
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["edge", "bep(r = 0.5, nu = 1)"]
    bars = [line for line in right.get_lines() if line.get_marker() not in ("_", "None", "")]
    at = [right.transData.inverted().transform(b.get_transform().transform(b.get_xydata()[0]))[0] for b in bars]
    assert [b.get_xdata()[0] for b in bars] == [4.0, 4.0] and at[1] - at[0] > 0  # equal memory: side by side
    figure = Figure()
    found = result(("rule.r", "train.batch"))
    plot._sweep(figure, found, list(found.rows[:2]))
    assert figure.axes[0].get_xlabel() == "rule.r"
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["train.batch = 10"]


def test_a_rule_has_one_colour_in_every_plot() -> None:
    alone, many = plot.styles(["edge"]), plot.styles(["bep", "edge(state = f32)", "x", "edge"])
    assert alone[0]["color"] == many[1]["color"] == many[3]["color"] != many[0]["color"]
    assert many[1]["marker"] != many[3]["marker"] and many[1]["linestyle"] != many[3]["linestyle"]
    assert len({s["color"] for s in plot.styles(list(registry.rules))}) == len(registry.rules)


def test_rates_have_a_logarithmic_axis() -> None:
    from matplotlib.figure import Figure

    for name, scale_of in (("optimizer.lr", "log"), ("train.batch", "linear")):
        figure, rows = Figure(), result(("rule.r", "train.batch")).rows[:2]
        rows = tuple(replace(r, settings=((name, v),)) for r, v in zip(rows, ("0.01", "0.03"), strict=True))
        plot._sweep(figure, replace(result(), rows=rows), list(rows))
        assert figure.axes[0].get_xscale() == scale_of


def test_few_seeds_are_remarked_on() -> None:
    assert result().wide == (  # 0.71 and 0.72: half of 0.01, times 12.7
        "with 2 seeds an interval is up to ± 6 points: Student's t takes 12.7 standard errors, with 5 seeds 2.78"
    )
    assert result().wide in result().markdown()
    assert not result(seeds=5).wide and "Student's t takes" not in result(seeds=5).markdown()


def test_a_program_that_another_thread_holds_open_is_asked_for_again(tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copy2("/bin/true", program)
    for held, outcome in ((0.05, nullcontext()), (30.0, pytest.raises(OSError, match="busy"))):
        f = program.open("r+b")  # a forked process that has not begun its own program has this too
        closing = threading.Timer(held, f.close)
        closing.start()
        with outcome:
            assert process.started([str(program)]).wait() == 0
        closing.cancel()
        f.close()
