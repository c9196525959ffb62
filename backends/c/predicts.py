"""emit for a network that only predicts: NAME.c with its weights, NAME.h, and the kernels."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from bnnc.inputs.encode import Encoding, of_model
from bnnc.ir.interp import constant_array
from bnnc.ir.program import THRESHOLDS
from bnnc.ir.ref import Side
from bnnc.model import Model
from bnnc.plan.place import Placed
from bnnc.plan.report import Report, totals
from bnnc.source import Source
from bnnc.version import __version__

from ..render import render
from .emission import Emission, elements
from .emit import how, kernels_text, loops, runtime
from .firmware import BARE_HEADERS, cmake, linker_script, samples
from .names import name_room, string
from .net import Group, _batch, _identity, _step, _wrapped, numbered, scores
from .targets import Target

HEADERS = ("net", "cpu", "pool", "num")
RAW = {"u8": "uint8_t", "f32": "float", "bit": "uint8_t"}
KINDS = {  # of the scores' role, or with "i32" their type: what they are
    "logits": "logits, of which a softmax makes probabilities.",
    "scores": "margins, which training wants at least 1 at the label and at most -1 elsewhere.",
    "i32": "sums of votes; one alone is not negative for class 1.",
}


def raw_type(model: Model, e: Encoding | None) -> tuple[str, int]:
    """What a sample is before it is encoded: the type of its values, and how many there are."""
    t = model.layers[0]["tensor"]
    return (t.kind if t.kind in RAW else "f32", e.steps * e.channels if e else t.elements)


def _header(x: Emission, e: Encoding | None, score: str) -> dict[str, Any]:
    model = x.model
    kind, values = raw_type(model, e)
    found = {what: n for what, n in scores(x.placed)}
    layout = "eight a byte, bit i is bit i % 8 of byte i / 8, and 1 is +1" if kind == "bit" else "in the spec's order"
    return {
        "name": model.name,
        "file": model.prefix,
        "version": __version__,
        "classes": model.classes,
        "values": values,
        "scores": found["SCORES"],
        "tensor": model.layers[0]["tensor"],
        "raw": RAW[kind],
        "layout": f"{model.layers[0]['tensor']}, {layout}",
        "score": score,
        "name_room": name_room(model),
        "what": KINDS["i32" if score == "int32_t" else "logits" if found["LOGITS"] else "scores"],
    }


def _whole(x: Emission) -> bool:
    """Are the scores whole numbers?"""
    p = x.placed.program
    return any(p.value[v].dtype == "i32" for role, v in p.results if role != "pred")


def _net(x: Emission, spec: str, report: Report, target: Target) -> list[str]:
    memory: Group = {
        "arena_bytes": "ARENA_BYTES",
        "total_bytes": str(report.total),
        "max_threads": "1",
        **({"loss_is_int": "1"} if _whole(x) else {}),
    }
    groups = (
        _identity(x.model, report, target.name) | {"hash": f'"{spec}"'},
        _batch(x.model, x.idents),
        _step(x.placed.train, Side.TRAIN, "eval", x.idents),
        memory,
    )
    return [line for g in groups for line in _wrapped(g)]


def _thresholds(x: Emission) -> dict[str, Any]:
    p = x.placed.program
    found = next((c for c in p.constants if c.name == THRESHOLDS), None)
    if found is None:
        return {}
    numbers = elements("f32", constant_array(p.value[THRESHOLDS], found).astype("<f4").tobytes())
    lines = [", ".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8)]
    return {"n": len(numbers), "lines": lines}


def _data(model: Model, table: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """The encoder's thresholds, and the names of the classes: what a table is, its declaration, its lines."""
    rows = "The encoder's thresholds, a row for each group of values that share them."
    names = f"const char {model.prefix}_class_names[{model.classes}][{name_room(model)}]"
    return [
        *([(rows, f"static const float THRESHOLDS[{table['n']}]", table["lines"])] if table else []),
        *([("What the classes are called.", names, list(map(string, model.class_names)))] if model.class_names else []),
    ]


def _tables(x: Emission, target: Target) -> dict[str, Any]:
    """Places, constants, and the kernels in their order."""
    at = {n: i for i, n in enumerate(x.idents)}
    buffers = sorted(x.placed.plan.buffers, key=lambda b: (b.first, at[b.ref]))
    return {
        "arena": x.placed.plan.arena_bytes,
        "buffers": [
            (x.idents[b.ref], b.offset, f"{b.storage}, {b.nbytes} bytes, {b.first} to {b.last}") for b in buffers
        ],
        "constants": list(x.constants.values()),
        "loops": loops(x.placed),
        "levels": target.levels,
        "kernels": [
            f"{c.name}, {c.body.name}, {c.line}, "
            + (f"AT({', '.join(f'AT_{x.idents[n]}' for n in c.operands)})" if c.body.shared else "NULL")
            for c in x.calls
        ],
    }


def _defines(x: Emission, e: Encoding | None, target: Target, fitted: bool) -> list[tuple[str, Any]]:
    kind, values = raw_type(x.model, e)
    bits = kind == "bit"
    given = {"PREDICTS": True, "BARE": target.bare, "RAW_BITS": bits, "FITTED": fitted}
    return [
        *((name, 1) for name, so in given.items() if so),
        ("RAW", RAW[kind]),
        ("RAW_VALUES", -(-values // 8) if bits else values),
        *([("CLASS_NAMES", f"{x.model.prefix}_class_names")] if x.model.class_names else []),
        *scores(x.placed),
    ]


def emit(model: Model, placed: Placed, report: Report, target: Target) -> Source:
    """Deterministic text: the same weights, plan and target give the same bytes."""
    x, e = Emission(placed.model, placed), of_model(model)
    table, tables = _thresholds(x), _tables(x, target)
    flash = samples(model, target, raw=True) if target.bare else ""
    header = _header(x, e, "int32_t" if _whole(x) else "float")
    given = [k["lines"] for k in tables["constants"]]
    main = render(
        "c/predict.c.j2",
        **header,
        **tables,
        hash=model.hash,
        weights=hashlib.sha256(repr((given, table)).encode()).hexdigest()[:16],
        rule=model.rule.name,
        target=target.name,
        how=how(model.prefix, target),
        totals=totals(report),
        spec=numbered(model.source),
        bare=target.bare,
        defines=_defines(x, e, target, bool(table)),
        headers=BARE_HEADERS if target.bare else HEADERS,
        net=_net(x, model.hash, report, target),
        data=_data(model, table),
        samples=bool(flash),
    )
    name = model.prefix
    files = [
        (f"{name}.c", main),
        (f"{name}.h", render("c/predict.h.j2", **header)),
        (f"{name}_kernels.h", kernels_text(x, target)),
        (f"{name}.plan.json", json.dumps(report.to_json(), indent=1, sort_keys=True) + "\n"),
        *([(f"{name}.ld", linker_script(name, report, target))] if target.bare else []),
        *([(f"{name}_samples.h", flash)] if flash else []),
    ]
    beside = (cmake(name, target, True), *runtime([text for _, text in files], target.bare))
    return Source(name, f"{name}.c", (*files, *beside))
