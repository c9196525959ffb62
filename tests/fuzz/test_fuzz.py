"""Any spec that ``check`` accepts means one thing.

The corpus holds what once failed; each day has 40 specs of its own (``BNNC_FUZZ_SEED=N`` repeats a day's); `make fuzz`
judges
2,000 and prints what they covered.  ``python tests/fuzz/run.py SEED`` judges one seed, blames a pass and shrinks the
spec. The judge is judged too: a mistake planted in each of the passes is found.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fuzz.generate import draw
from fuzz.judge import ALL, QUICK, TRIALS, C, Case, judge, kernels_off
from fuzz.run import CORPUS, share, table

from bnnc import builtin
from bnnc.ir.dtype import Packing
from bnnc.lower import simplify
from bnnc.plan import place
from bnnc.sched import order, sink
from bnnc.sched.anchor.product import Contract
from bnnc.sched.expr import Expr
from bnnc.sched.kernel import Kernel, Schedule

TODAY = int(os.environ.get("BNNC_FUZZ_SEED") or f"{date.today():%Y%m%d}00")
DAILY = 10  # `make fuzz` judges more
KEPT = sorted(CORPUS.glob("*.bnn"))


def told(failure: Any, text: str) -> str:
    return f"{failure.trial}: {failure.error}: {failure.message}\n{text}"


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=pytest.mark.slow if i % 2 else (), id=p.stem) for i, p in enumerate(KEPT)]
)
def test_the_corpus(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    failure = judge(text, 1, (*QUICK, *C[:1]))
    assert failure is None, told(failure, text)


@pytest.mark.parametrize(
    ("name", "off"), [("one_column_clip", "sink"), ("one_column_clip", "fuse"), ("seed209_kernels_off", "fuse")]
)
def test_what_failed_without_a_pass(name: str, off: str) -> None:
    case = Case((CORPUS / f"{name}.bnn").read_text(encoding="utf-8"), 1)
    case.off, case.poison = frozenset([off]), False
    kernels_off(case)


@pytest.mark.slow
@pytest.mark.parametrize("path", KEPT, ids=lambda p: p.stem)
def test_the_corpus_as_programs(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    failure = judge(text, 2, ALL)
    assert failure is None, told(failure, text)


@pytest.mark.parametrize("number", range(DAILY))
def test_specs_of_the_day(number: int) -> None:
    """Of each the front and the plan; passes off, kernels and whole programs of some."""
    seed = TODAY + number
    names = ["front", "plan"] + (["passes"] if number % 4 == 1 else []) + (["kernels"] if number % 5 == 2 else [])
    names += (["kernels_off"] if number % 10 == 4 else []) + (["program"] if number % 20 == 6 else [])
    d = draw(seed)
    failure = judge(d.spec.text(), seed, [TRIALS[n] for n in names])
    assert failure is None, f"seed {seed}: {told(failure, d.spec.text())}"


def test_the_generator_reaches_all_names() -> None:
    """In 400 specs every layer with every rule that trains it, and every other name that is drawn."""
    tables = builtin.tables()
    wanted = {
        *tables.layers,
        *tables.rules,
        *(f"optimizer {n}" for n in tables.optimizers),
        *(f"schedule {n}" for n in tables.schedules),
        *(f"stop {n}" for n in tables.stops),
    }
    wanted |= {f"encoder {n}" for n in tables.encoders} | {f"classifier {n}" for n in tables.classifiers}
    for seed in range(400):
        m = draw(seed).model
        wanted -= {y.kind for y in m.walk()} | {m.rule.name, f"encoder {m.layers[0]['encoder'].name}"}
        wanted -= {f"optimizer {m.optimizer.name}", f"schedule {m.schedule.name}", f"stop {m.stop.name}"}
        wanted -= {f"classifier {v.name}" for _, v in m.rule.args if getattr(v, "name", "") in tables.classifiers}
        if not wanted:
            break
    assert not wanted, f"never drawn: {sorted(wanted)}"


def test_a_seed_is_a_spec_for_ever() -> None:
    assert draw(7).spec.text() == draw(7).spec.text() and {n for s in range(16) for n in share(s)} == set(TRIALS)


def test_a_hole_in_what_was_covered_is_seen() -> None:
    text = table(Counter({("dense", "edge"): 3}))
    assert next(x for x in text.splitlines() if x.startswith("dense ")).split()[1:].count("3") == 1
    assert next(x for x in text.splitlines() if x.startswith("conv ")).split()[1:] == ["."] * (
        len(text.splitlines()[0].split())
    )


# -- the judge is judged
# -------------------------------------------------------------------------------------------------


def simplify_minus_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """simplify: a product by -1 is taken for one by 1."""

    def neutral(p: Any, kind: str, inputs: tuple[str, ...]) -> str | None:
        c = p.producer.get(inputs[-1])
        return (
            inputs[0]
            if kind in ("mul", "div") and c is not None and c.kind == "const" and abs(c["value"]) == 1
            else None
        )

    monkeypatch.setattr(simplify, "_neutral", neutral)


def fuse_across_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """fuse: a value may be read at other rows in the kernel that makes it."""
    monkeypatch.setattr(Expr, "elsewhere", lambda self: set())


def sink_to_another_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """sink: of two updates that move into a kernel, each goes to the other's state."""
    sink_one = sink.sink_one

    def swapped(s: Schedule) -> Schedule:
        news = {new for _, new in s.program.updates}

        def kernel(k: Kernel) -> Kernel:
            i, j = ([i for i, o in enumerate(k.outputs) if o.ref.value in news and k.anchor.results] + [-1, -1])[:2]
            if j < 0 or k.outputs[i].expr.dtype != k.outputs[j].expr.dtype:
                return k
            out = list(k.outputs)
            out[i], out[j] = replace(out[i], expr=out[j].expr), replace(out[j], expr=out[i].expr)
            return replace(k, outputs=tuple(out))

        done = sink_one(s)
        return replace(done, kernels=tuple(map(kernel, done.kernels)))

    monkeypatch.setattr(sink, "sink_one", swapped)


def order_without_old_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """order: a state may be overwritten before its last reader."""

    def edges(kernels: Any, alias: Any) -> Any:
        made_by = {n: i for i, k in enumerate(kernels) for n in k.writes}
        return [{made_by[n] for n in k.reads if n in made_by} - {i} for i, k in enumerate(kernels)]

    monkeypatch.setattr(order, "_edges", edges)


def pack_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """pack: the left bits of a gradient's product are packed as those of a forward product."""
    monkeypatch.setitem(Contract.NUMBER, "tn", (Packing.COLUMNS, Packing.COLUMNS))


def place_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """place: a value may be overwritten by the kernel that reads it last."""
    lifetimes = place._lifetimes
    monkeypatch.setattr(
        place, "_lifetimes", lambda steps: {n: (a, max(a, b - 1)) for n, (a, b) in lifetimes(steps).items()}
    )


PLANTED = (
    simplify_minus_one,
    fuse_across_rows,
    sink_to_another_state,
    order_without_old_values,
    pack_one_way,
    place_too_short,
)


LONG = (fuse_across_rows, pack_one_way, place_too_short)  # to find


@pytest.mark.parametrize(
    "plant",
    [pytest.param(f, marks=pytest.mark.slow if f in LONG else (), id=f.__name__) for f in PLANTED],
)
def test_a_planted_mistake_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    trials = [TRIALS[n] for n in ("plan", "kernels")] if plant is pack_one_way else [TRIALS["plan"]]
    for seed in range(300):
        text = draw(seed).spec.text()
        if judge(text, seed, trials):
            return
    pytest.fail("300 specs did not show it")
