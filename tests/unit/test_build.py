"""Networks from Python: equal to the text that they print, for every name of the language."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnnc
from bnnc import build as b
from bnnc.front import ast, describe, fmt
from bnnc.front.parse import parse

EXAMPLES = {e.name: e.example for e in describe.entries() if not re.search(r"\b(let|block|allow) ", e.example)}
PAGE = (Path(__file__).parents[2] / "docs/python.md").read_text(encoding="utf-8")


def as_python(v: ast.Value) -> Any:
    match v:
        case ast.Num():
            return v.value
        case ast.Neg():
            return -as_python(v.value)
        case ast.Str():
            return v.value
        case ast.ListLit():
            return [as_python(x) for x in v.items]
        case ast.Call():
            return called(v.name, v.args)
    return fmt.value(v)


def called(name: str, args: tuple[ast.Arg, ...], body: tuple[ast.Stmt, ...] | None = None) -> b.Part:
    """A name of the language, called as Python calls it."""
    placed = [as_python(a.value) for a in args if a.name is None]
    layers = [] if body is None else [[called(x.name, x.args, x.body) for x in body]]
    return getattr(b, name)(*placed, *layers, **{a.name: as_python(a.value) for a in args if a.name})


def rebuilt(text: str) -> bnnc.Network:
    items = {x.name: x for x in parse(text).items}
    settings = {
        section: {x.name: as_python(x.value) for x in items[section].body} if section in items else {}
        for section in ("train", "data")
    }
    rule = as_python(items["rule"].args[0].value) if "rule" in items else None
    layers = [called(x.name, x.args, x.body) for x in items["network"].body]
    name = items["network"].args[0].value.id
    return bnnc.Network(layers, name=name, rule=rule, data=settings["data"], **settings["train"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_built_is_the_text(name: str) -> None:
    net, written = rebuilt(EXAMPLES[name]), bnnc.parse(EXAMPLES[name])
    assert net.model == written.model and net.model.hash == written.model.hash
    assert bnnc.parse(net.text) == net and fmt.format(parse(net.text)) == net.text


def test_values_are_written_as_a_spec_has_them() -> None:
    assert str(b.dense(np.int64(3), bias=True, name="first")) == "dense 3 bias = on name = first;"
    assert str(b.adam(lr=np.float32(0.25), decay=0)) == "adam lr = 0.25 decay = 0;"
    assert str(b.dropout(rate=-0.5)) == "dropout rate = -0.5;"
    with pytest.raises(TypeError, match="no values like None"):
        b.dense(None)
    with pytest.raises(TypeError, match="one body"):
        b.residual([b.sign()], [b.sign()])
    with pytest.raises(AttributeError, match="knows no `dens`. did you mean `dense`?"):
        b.dens  # noqa: B018
    assert {"dense", "repeat", "edge", "adam", "flip", "bnnd"} <= set(dir(b))


def test_mistakes_have_their_place_in_the_text() -> None:
    with pytest.raises(bnnc.BnncError) as e:
        bnnc.Network([b.input("u8[9]"), b.dense(0), b.batchnorm(), b.loss()], epochs=-1)
    assert [d.code for d in e.value.diagnostics] == ["B0402", "B0402"]
    assert " 3 |   dense 0;" in str(e.value)


def epoch(n: int, **found: float) -> bnnc.Epoch:
    return bnnc.Epoch(n, n, found.pop("loss", 1.0), 0.5, 1.0, 1.0, "", "", **found)


def test_early_stop_waits_for_its_patience() -> None:
    stop = bnnc.EarlyStop(patience=2, least=0.01)
    said = [stop(epoch(n + 1, test_acc=a)) for n, a in enumerate([0.5, 0.6, 0.605, 0.609, 0.7])]
    assert said == [False, False, False, True, False] and (stop.best, stop.best_epoch) == (0.7, 5)
    falls = bnnc.EarlyStop(patience=1, watch="loss")
    assert [falls(epoch(n, loss=x)) for n, x in ((1, 2.0), (2, 1.0), (3, 1.5))] == [False, False, True]
    with pytest.raises(ValueError, match="`holdout_acc` is not measured"):
        bnnc.EarlyStop(watch="holdout_acc")(epoch(1))


def test_the_page_on_python_runs(one_level: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(compile(code, "docs/python.md", "exec"), known)
    assert known["history"].epochs and known["again"].model == known["net"].model
