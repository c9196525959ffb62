"""parse: text -> Ast, and every syntax mistake is a BnncError with a code and a place, never a traceback."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.diag import BnncError, Diagnostic, Span, render, to_json
from bnnc.driver import Options, check_text
from bnnc.front import ast
from bnnc.front.literals import read_number
from bnnc.front.parse import MAX_DEPTH, parse, parse_value

SPEC = """# a spec
let width = 256;
let half = width / 2 - (1 + 3) * -2;
block hidden(n, norm = bnn) { dense n; batchnorm norm; sign; }
network mnist {
  input u8[28, 28] sign(threshold = 128);  # encoder
  repeat 4 { hidden width; }
  dense (half / 2) name = fc1, -3;
  residual { dense 256; }
  loss softmax_cross_entropy;
}
rule edge(state = f32);
train { optimizer = adam(lr = 1e-3); holdout = 10%; sizes = [1, 2KiB, 1.5MiB,]; }
data { train = idx("a \\"b\\"", "c\\\\d"); }
"""


def codes(text: str) -> list[str]:
    with pytest.raises(BnncError) as e:
        parse(text, "t.bnn")
    for d in e.value.diagnostics:
        assert d.message and 0 <= d.span.start <= len(text) and d.span.file == "t.bnn"
    return [d.code for d in e.value.diagnostics]


def test_forms() -> None:
    f = parse(SPEC, "t.bnn")
    assert [type(x).__name__ for x in f.items] == ["Let", "Let", "BlockDef", "Stmt", "Stmt", "Stmt", "Stmt"]
    network = f.items[3]
    assert isinstance(network, ast.Stmt) and network.body is not None
    assert network.body[2] == ast.Stmt(
        "dense",
        (
            ast.Arg(None, ast.BinOp("/", ast.Name("half"), ast.Num(2, "", "2"))),
            ast.Arg("name", ast.Name("fc1")),
            ast.Arg(None, ast.Neg(ast.Num(3, "", "3"))),
        ),
    )
    train = f.items[5]
    assert isinstance(train, ast.Stmt) and train.body is not None
    assert [x.value for x in train.body[2].value.items] == [1, 2048, 1536 * 1024]  # type: ignore[union-attr]
    assert f.items[6].body[0].value.args[0].value == ast.Str('a "b"')  # type: ignore[union-attr,index]
    assert [(c.text, c.own_line) for c in f.comments] == [("# a spec", True), ("# encoder", False)]


def test_spans_cover_their_text() -> None:
    f = parse(SPEC)
    first = f.items[0]
    assert SPEC[first.span.start : first.span.end] == "let width = 256;"
    network = f.items[3]
    assert isinstance(network, ast.Stmt)
    assert SPEC[network.header.start : network.header.end] == "network mnist"
    assert SPEC[network.body_span.end - 1] == "}" and network.span.line == 5


def test_arithmetic_binds_as_in_school() -> None:
    assert parse_value("1 - 2 - 3 * 4") == parse_value("(1 - 2) - (3 * 4)") != parse_value("1 - (2 - 3 * 4)")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("10%", 0.1),
        ("512KiB", 524288),
        ("64KB", 64000),
        ("1.5MiB", 1572864),
        ("2GiB", 2**31),
        ("100B", 100),
        (".5", 0.5),
        ("1e3", 1000.0),
    ],
)
def test_numbers(text: str, value: float) -> None:
    number = read_number(text)
    assert isinstance(number, ast.Num) and number.value == value and number.text == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("network x {\n dense 256\n batchnorm;\n dense 10\n}\ntrain { batch = 100\n epochs = 5; }", ["B0101", "B0101"]),
        ("network x { dense 5;", ["B0102"]),
        ("a { b; } )\n}", ["B0103"]),
        ("a = f(1;\nb = 2;\nc = [;\n", ["B0102", "B0101"]),
        ("}", ["B0103"]),
        ('a "x;\nb = 28x28;\nc $;\nd = 1e99;\ne = "\\q";', ["B0104", "B0105", "B0106", "B0108", "B0109"]),
        ("dense n - 1; dense 3 -2; dense n * 2;", ["B0110", "B0110", "B0110"]),
        ("let x 5; let = 3; let let = 3; dense 3;; dense 5", ["B0101"] * 5),
        ("// old style\nfoo;", ["B0106"]),
        ("a = 'x';", ["B0106"]),
        ("(" * (MAX_DEPTH + 1), ["B0107"]),
        ("x = 1" + "+1" * 10_000 + ";", ["B0107"]),
        ("f {" * 10_000, ["B0107"]),
        ("x = " + "9" * 5000 + ";", ["B0108"]),
    ],
)
def test_every_mistake_is_found_in_one_run(text: str, expected: list[str]) -> None:
    assert codes(text) == expected


def test_unclosed_brace_is_found_by_indentation() -> None:
    text = "network x {\n  repeat 4 {\n    dense 4;\n  dense 10;\n}\nrule edge;\n"
    with pytest.raises(BnncError) as e:
        parse(text)
    assert e.value.diagnostics[0].span.line == 2


def test_depth_below_the_bound_is_fine() -> None:
    parse("x = " + "(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH + ";")
    f = parse("x = " + "f(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH + ";")
    assert f == parse("x = " + "f(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH + ";")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.one_of(st.sampled_from("abn01 \n\t;{}()[]=,+-*/%#\"\\'."), st.characters()), max_size=60))
def test_random_text_gives_only_user_errors(text: str) -> None:
    try:
        parse(text)
    except BnncError as e:
        assert str(e) and to_json(e.diagnostics, e.sources)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutations_give_only_user_errors(data: st.DataObject) -> None:
    text = SPEC
    for _ in range(data.draw(st.integers(1, 4))):
        a = data.draw(st.integers(0, len(text)))
        b = data.draw(st.integers(a, min(len(text), a + 12)))
        new = data.draw(st.sampled_from(["", ";", "{", "}", "(", ")", "]", "=", '"', "-", "let", "#", "9"]))
        text = text[:a] + new + text[b:]
    try:
        parse(text)
    except BnncError as e:
        assert e.diagnostics and str(e)


# --- how diagnostics look ---------------------------------------------------------------------------------------------


def test_render_aligns_carets_after_tabs_and_wide_characters() -> None:
    text = "\ta 界 bad;"
    out = render([Diagnostic("B0999", "m", Span("f", 5, 8, 1, 6), "here")], {"f": text}).split("\n")
    assert out[3].index("bad") + 1 == out[4].index("^^^ here")  # 界 is one character and two columns


def test_render_notes_several_lines_and_colour() -> None:
    text = "one {\n two;\n}\n"
    d = Diagnostic("B0999", "m", Span("f", 0, 13, 1, 1), "", "h", ((Span("f", 7, 10, 2, 2), "see"), (None, "plain")))
    assert (
        render([d], {"f": text})
        == """error[B0999]: m
  --> f:1:1
   |
 1 | one {
   | ^^^^^
...
note: see
  --> f:2:2
   |
 2 |  two;
   |  ---
   = note: plain
   = help: h"""
    )
    assert "\x1b[" in render([d], {"f": text}, color=True)


def test_json_has_ranges() -> None:
    text = "one {\n two;\n}\n"
    d = Diagnostic("B0999", "m", Span("f", 0, 13, 1, 1), notes=((None, "plain"),))
    (j,) = to_json([d], {"f": text})
    assert j["range"]["start"] == {"line": 1, "col": 1, "offset": 0}
    assert j["range"]["end"] == {"line": 3, "col": 2, "offset": 13}
    assert j["notes"] == [{"message": "plain", "range": None}]
    assert to_json([Diagnostic("B0999", "m")])[0]["range"] is None


@pytest.mark.parametrize("text", ["", ".", ".e5", "1.2.3", "e5", "1..2", "%", "KiB", "-1", "\u0663"])
def test_what_is_no_number_is_said_to_be_none(text: str) -> None:
    """Also of quoted texts, which `check` reads to see whether a number was meant."""
    read = read_number(text)
    assert isinstance(read, tuple) and read[0] == "B0105" and read[2]
    with pytest.raises(BnncError) as e:
        check_text(Options(f'network n {{ input u8[9]; dense "{text}"; loss; }}'))
    assert e.value.diagnostics[0].code == "B0401"
