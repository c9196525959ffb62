"""check: Ast -> Model with everything resolved, or every mistake in one error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc import builtin
from bnnc.codes import CODES, explain
from bnnc.diag import BnncError
from bnnc.front.check import check
from bnnc.front.fmt import format
from bnnc.front.parse import parse
from bnnc.model import Call, Layer, Model, TensorType
from bnnc.registry import LayerDef, Named, Param, ShapeError, Tables
from bnnc.rules.base import Rule

NET = "network tiny { input u8[9]; dense 4; batchnorm; loss; }\n"


def model(text: str, overrides: dict[str, Any] | None = None, tables: Tables | None = None) -> Model:
    return check(parse(text, "t.bnn"), text, "t.bnn", overrides, tables)


def codes(text: str, overrides: dict[str, Any] | None = None, tables: Tables | None = None) -> list[str]:
    with pytest.raises(BnncError) as e:
        model(text, overrides, tables)
    starts = [(d.span.file, d.span.start) for d in e.value.diagnostics]
    assert starts == sorted(starts) and str(e.value)
    return [d.code for d in e.value.diagnostics]


def body(*lines: str) -> str:
    inner = "".join(f"  {x}\n" for x in lines)
    return "network tiny {\n  input u8[9];\n" + inner + "  dense 4;\n  batchnorm;\n  loss;\n}\n"


# --- what a Model says ------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    m = model(NET)
    assert (m.name, m.batch, m.epochs, m.seed, m.holdout) == ("tiny", 100, 10, 1, 0.0)
    assert (m.rule.name, m.optimizer.name, m.schedule.name) == ("standard", "adam", "constant")
    assert m.data.train is None and m.source == NET and m.file == "t.bnn" and m.warnings == ()
    assert [y.name for y in m.layers] == ["input1", "dense1", "batchnorm1", "loss1"]
    assert m.layers[0].input == TensorType("u8", (9,)) and m.layers[0]["encoder"] == Call("scale")
    assert m.layers[1]["units"] == 4 and m.layers[1].output == TensorType("real", (4,))


def test_the_rule_decides_what_is_left_open() -> None:
    text = body("dense 9;", "batchnorm;", "sign;", "dense 9;", "batchnorm l1;", "sign identity;")
    for rule, kind in (("standard", "l2"), ("edge", "bnn")):
        m = model(text, {"rule": rule})
        assert [y["kind"] for y in m.layers if y.kind == "batchnorm"] == [kind, "l1", kind]
        assert [y["surrogate"] for y in m.layers if y.kind == "sign"] == ["ste", "identity"]


def test_lets_blocks_repeats_and_scopes() -> None:
    m = model("""let width = 64;
let half = width / 2;
block inner(n, norm = l1) { let n = n * 2; dense n; batchnorm norm; sign; }
block outer(n) { inner n; inner norm = bnn n = half; }
network x {
  input bit[2, half];
  flatten;
  let k = 2;
  repeat k { outer (width / 4); }
  repeat 0 { dense 1; }
  residual { let half = 64; dense half; batchnorm; }
  dense 10 name = out;
  loss;
}
""")
    assert [y.output.shape[0] for y in m.layers if y.kind == "dense"] == [32, 64, 32, 64, 10]
    assert [y["kind"] for y in m.layers if y.kind == "batchnorm"] == ["l1", "bnn"] * 2
    assert [y.name for y in m.walk() if y.kind == "dense"] == ["dense1", "dense2", "dense3", "dense4", "dense5", "out"]
    residual = next(y for y in m.layers if y.kind == "residual")
    assert [y.name for y in residual.body] == ["dense5", "batchnorm5"] and residual.output == TensorType("real", (64,))


def test_train_and_data() -> None:
    m = model(
        NET
        + """rule edge(state = f32, clip = off);
train {
  let epochs = 3;
  optimizer = sgd(0.5, momentum = 0);
  schedule = plateau(factor = 10%);
  batch = 1e3;
  epochs = epochs * 2;
  seed = 7;
}
data { train = idx("a", labels = "b"); test = bnnd("t.bnnd"); }
"""
    )
    given, left = {"state": "f32", "clip": False}, {"clip_at": 1.0, "gradient": "f16", "rounding": "stochastic"}
    assert dict(m.rule.args) == given | left
    assert dict(m.optimizer.args) == {"lr": 0.5, "momentum": 0.0, "decay": 0.0}
    assert dict(m.schedule.args) == {"patience": 10, "factor": 0.1}
    assert (m.batch, m.epochs, m.seed, m.holdout) == (1000, 6, 7, 0.1)
    assert m.data.train == Call("idx", (("images", "a"), ("labels", "b")))
    assert m.data.test == Call("bnnd", (("file", "t.bnnd"),))


def test_overrides_come_before_checking() -> None:
    text = "let width = 16;\n" + body("dense width;", "batchnorm;", "sign;")
    text += "rule edge(state = f32);\ntrain { batch = 0; }\n"
    m = model(text, {"batch": 40, "rule": "standard", "width": 32, "optimizer": "sgd(lr = 0.5)", "holdout": "10%"})
    assert (m.batch, m.rule.name, m.optimizer["lr"], m.holdout) == (40, "standard", 0.5, 0.1)
    assert m.rule["state"] == "f32" and m.layers[1]["units"] == 32
    assert codes(NET, {"batch": "x(", "bach": 3, "epochs": -1}) == ["B0205", "B0101", "B0402"]
    assert codes(NET, {"rule": "egde"}) == ["B0204"]


def test_hash_ignores_how_the_text_looks() -> None:
    text = body("dense 9;", "batchnorm;", "sign;")
    plain = model(text)
    assert plain.hash == model("# other\n" + format(parse(text))).hash == model(text, {"seed": 5}).hash
    assert plain.hash != model(text, {"batch": 7}).hash != model(text, {"rule": "edge"}).hash


def test_warnings_do_not_fail() -> None:
    assert [d.code for d in model(body("dense 9;", "sign;")).warnings] == ["B0310"]
    assert model(body("dense 9;", "batchnorm;", "sign;")).warnings == ()
    assert len(model(body("repeat 3 { dense 9; sign; }")).warnings) == 1


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_all_mistakes_in_one_run() -> None:
    assert codes("""let width = 256;
let half = widht / 2;
network x {
  input u8[28, 28] sign(threshhold = 100);
  flatten;
  dens 5;
  dense half;
  dense 2.5;
  batchnorm eps = -1 epss = 3;
  sign stee;
}
rule edg;
train { optimizer = adam(lr = fast); batch = 0; epoch = 3; }
data { train = idx(a); }
""") == ["B0201", "B0205", "B0202", "B0401", "B0402", "B0205", "B0403", "B0204", "B0201", "B0402", "B0205", "B0401"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("network x { input u8[28, 28]; dense 8; batchnorm; dense 4; loss; }", ["B0301"]),  # the rest is fine if flat
        (
            body("residual { dense 5; }", "residual { dense 6; }"),
            ["B0305"],
        ),  # the second is seen once the first is right
        (body("dens 9;", "residual { dense 5; }"), ["B0202"]),
        (body("residual { foo; }"), ["B0202"]),
        (body("repeat 100 { dense 0; }"), ["B0402"]),
        (body("let n = n / 2;"), ["B0201"]),
        ("network x { input u8[8421505]; dense 4; loss; }", ["B0307"]),  # sums of up to 255 times as much, in 32 bits
        ("network x { input bit[16777216, 128]; flatten; dense 4; loss; }", ["B0307"]),
        ("network x { input u8[255, 255, 130]; conv 4 255; flatten; loss; }", ["B0307"]),
        (body("block b { sign; }"), ["B0206"]),
        (body("batch = 3;"), ["B0206"]),
        (body("dense 4 name = dense2;"), ["B0209"]),
        (body("dense 4 name = 3;"), ["B0401"]),
        (body("repeat 10000 { repeat 10000 { let a = 1; } }"), ["B0307"]),
        (
            "block a { a2; a2; }\n"
            + "".join(f"block a{i} {{ a{i + 1}; a{i + 1}; }}\n" for i in range(2, 25))
            + "block a25 { sign; }\n"
            + body("a;"),
            ["B0307"],
        ),
        (
            "block a1 { a2; }\n" + "".join(f"block a{i} {{ a{i + 1}; }}\n" for i in range(2, 200)) + body("a1;"),
            ["B0208"],
        ),
        (
            "".join(f"block a{i} {{ " + "repeat 1 { " * 50 + f"a{i + 1};" + " }" * 50 + " }\n" for i in range(1, 30))
            + "block a30 { sign; }\n"
            + body("a1;"),
            ["B0107"],
        ),
        ("let a0 = 9;\n" + "".join(f"let a{i + 1} = a{i} * a{i};\n" for i in range(100)) + NET, ["B0407"]),
        ("network { }", ["B0207", "B0408"]),
        ("", ["B0207"]),
        (NET + "train;", ["B0408"]),
        (NET + 'data { train = npy("a"); }', ["B0404"]),
    ],
)
def test_no_follow_up_errors(text: str, expected: list[str]) -> None:
    assert codes(text) == expected


def test_notes_lead_to_the_definition() -> None:
    text = "let kind = l3;\nblock h(k) {\n  batchnorm k;\n}\n" + body("h kind;")
    with pytest.raises(BnncError) as e:
        model(text)
    (d,) = e.value.diagnostics
    assert (d.code, d.span.line) == ("B0403", 3)
    assert [(s and s.line, t) for s, t in d.notes] == [
        (7, "`k` gets its value here"),
        (7, "in this use of the block `h`"),
    ]


def test_random_statements_give_only_user_errors() -> None:
    text = (
        "dense 9 4 batchnorm sign flatten residual { } ; ; ; l1 repeat 2 input u8[9] loss name = a "
        'let x hidden ( ) , -1 2.5 on network rule edge train batch data idx "f"'
    )
    words = st.sampled_from(text.split(" "))

    @settings(max_examples=120, deadline=None)
    @given(st.lists(words, max_size=25).map(" ".join))
    def run(middle: str) -> None:
        for text in (body(middle), NET + middle, "block hidden(n) { " + middle + " }\n" + body("hidden 3;")):
            try:
                model(text)
            except BnncError as e:
                assert str(e)

    run()


# --- the registry is the only place that knows names ------------------------------------------------------------------


def infer_odd(t: TensorType, args: Call, body: tuple[Layer, ...]) -> TensorType:
    if t.elements % 2 == 0:
        raise ShapeError("B0399", "`odd` needs an odd number of elements", f"{t.elements} here", "add one")
    return TensorType("bit", t.shape)


def test_other_tables() -> None:
    b = builtin.tables()
    params = (
        Param("sizes", "ints", (1, 2), minimum=1),
        Param("room", "size", 1024),
        Param("opt", "call:optimizers", Call("sgd")),
        Param("on", "bool", False),
        Param("kind", "name", None, choices=("a", "b")),
    )
    odd = LayerDef("odd", "", params, infer=infer_odd, forward=lambda *a: None, input_kinds=("u8", "real"))
    strict = Named(
        "strict",
        "",
        (),
        Rule(
            on_wgrad=lambda cx, w, dw, fan_in: (dw, None),
            layer_defaults={("odd", "kind"): "b"},
            validate=lambda m: [(y.name, "no `odd`", "remove it") for y in m.layers if y.kind == "odd" and y["on"]],
        ),
    )
    tables = replace(b, layers={**b.layers, "odd": odd}, rules={**b.rules, "strict": strict})
    m = model(body("odd sizes = [3, 4] room = 2KiB;") + "rule strict;", tables=tables)
    got = m.layers[1]
    assert dict(got.args.args) | {"opt": None} == {"sizes": (3, 4), "room": 2048, "opt": None, "on": False, "kind": "b"}
    assert got["opt"] == Call("sgd", (("lr", 0.1), ("momentum", 0.9), ("decay", 0.0)))
    assert codes(body("odd on = true;") + "rule strict;", tables=tables) == ["B0501"]
    assert codes(body("dense 4; odd;"), tables=tables) == ["B0399"]
    assert codes(body("odd; odd;"), tables=tables) == ["B0302"]
    assert codes(body("odd;")) == ["B0202"]


# --- bnnc explain -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [c for c in CODES.values() if c.failing], ids=lambda c: c.code)
def test_examples_of_explain(code: Any) -> None:
    if code.warning:
        assert [d.code for d in model(code.failing).warnings] == [code.code]
    else:
        assert codes(code.failing) == [code.code]
    assert model(code.fixed).warnings == ()
    text = explain(code.code.lower())
    assert text is not None and code.title in text and "Right:" in text


def test_unknown_code_is_not_explained() -> None:
    assert explain("B9999") is None
