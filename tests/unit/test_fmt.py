"""fmt: one canonical text a tree, comments kept, and an explicit form that means the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.front import ast, fmt
from bnnc.front.check import check
from bnnc.front.parse import parse

MESSY = """# licence

# about width
let width=256; # trailing
let b = (1+2)*-(3-(4-5))/2/(3/4);


let c = 4;
block hidden( n,norm=bnn ) {dense n;batchnorm norm;sign;} # after
# about the network
network m { # net
# first

  input u8[28,28] sign(threshold=128); flatten;
  repeat 4 { hidden width; }
  dense # inside
    (width/2), name=x, (-3) # b
    ; # c

  dense a, (c + d), -4, [1] b=c, [2];
  residual { dense 256;
  # end of body
  }
  foo { a; # x
  }
  empty {
    # only
  }
  e { }
  # dangling
}
rule edge(state=f32); train { holdout = 10%; a = 1.5MiB; }
# eof"""

TIDY = """# licence

# about width
let width = 256;  # trailing
let b = (1 + 2) * -(3 - (4 - 5)) / 2 / (3 / 4);

let c = 4;
block hidden(n, norm = bnn) { dense n; batchnorm norm; sign; }  # after

# about the network
network m {  # net
  # first

  input u8[28, 28] sign(threshold = 128);
  flatten;
  repeat 4 { hidden width; }
  # inside
  # b
  dense (width / 2) name = x, -3;  # c

  dense a, (c + d), -4 [1] b = c, [2];
  residual {
    dense 256;
    # end of body
  }
  foo {
    a;  # x
  }
  empty {
    # only
  }
  e {}
  # dangling
}

rule edge(state = f32);
train { holdout = 10%; a = 1.5MiB; }
# eof
"""


def stable(text: str) -> str:
    tree = parse(text)
    out = fmt.format(tree)
    again = parse(out)
    assert again == tree
    assert sorted(c.text for c in again.comments) == sorted(c.text for c in tree.comments)
    assert fmt.format(again) == out
    return out


def test_canonical_form() -> None:
    assert stable(MESSY) == TIDY
    assert stable(TIDY) == TIDY


@pytest.mark.parametrize(
    "text", ["", "# only", "#a\n\n\n#b\n", "a;\n\n\n\n# x\n\nb;", "a { b { c { # d\n } } # e\n } # f"]
)
def test_small_texts(text: str) -> None:
    stable(text)


def test_long_bodies_are_broken_up() -> None:
    assert stable("a { " + "b; " * 40 + "}").count("\n") == 42


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_comments_anywhere_survive(data: st.DataObject) -> None:
    lines = MESSY.replace(";", ";\n").replace("{", "{\n").split("\n")
    for i in data.draw(st.lists(st.integers(0, len(lines)), max_size=5)):
        lines.insert(i, data.draw(st.sampled_from(["# new", "", "   # indented", "\t"])))
    stable("\n".join(lines))


NAMES = st.sampled_from(["a", "b", "dense", "n", "x1", "_"])
NUMBERS = st.builds(lambda n: ast.Num(n, "", str(n)), st.integers(0, 999)) | st.just(ast.Num(0.1, "%", "10%"))
STRINGS = st.builds(ast.Str, st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=5))


def _args(v: st.SearchStrategy[ast.Value]) -> st.SearchStrategy[tuple[ast.Arg, ...]]:
    return st.lists(st.builds(ast.Arg, st.none() | NAMES, v), max_size=3).map(tuple)


def _grow(v: st.SearchStrategy[ast.Value]) -> st.SearchStrategy[ast.Value]:
    some = st.lists(v, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(ast.Call, NAMES, _args(v)),
        st.builds(ast.Index, NAMES, some),
        st.builds(ast.ListLit, some),
        st.builds(ast.BinOp, st.sampled_from("+-*/"), v, v),
        st.builds(ast.Neg, v),
    )


VALUES = st.recursive(st.builds(ast.Name, NAMES) | NUMBERS | STRINGS, _grow, max_leaves=6)
LEAVES = (
    st.builds(ast.Stmt, NAMES, _args(VALUES))
    | st.builds(ast.Setting, NAMES, VALUES)
    | st.builds(ast.Let, NAMES, VALUES)
)
ITEMS = st.recursive(
    LEAVES,
    lambda x: (
        st.builds(ast.Stmt, NAMES, _args(VALUES), st.lists(x, max_size=3).map(tuple))
        | st.builds(
            ast.BlockDef,
            NAMES,
            st.lists(st.builds(ast.Param, NAMES, st.none() | VALUES), max_size=2).map(tuple),
            st.lists(x, max_size=3).map(tuple),
        )
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ITEMS, max_size=3).map(lambda x: ast.File(tuple(x))))
def test_parse_undoes_format(tree: ast.File) -> None:
    text = fmt.format(tree)
    assert parse(text) == tree
    assert fmt.format(parse(text)) == text


SPEC = """let width = 64;
block hidden(n, norm = bnn) { dense n; batchnorm norm; sign; }
network m {
  input u8[4, 4] sign(threshold = 100);  # bits
  flatten;
  repeat 2 { hidden width; }
  residual { dense width; batchnorm; }
  dense 10 name = out;
  batchnorm momentum = 0.5;
  loss;
}
rule edge(state = f32);
train { schedule = plateau; }
data { train = idx("a", "b"); }
"""


@pytest.mark.parametrize(
    "text",
    [
        SPEC,
        "network a { input u8[9]; dense 10; loss; }  # nothing else\n",
        "let o = adam;\nlet r = edge(state = f32);\nnetwork a { input u8[9]; loss kind = squared_hinge; }\n"
        "rule r;\ntrain { optimizer = o; let s = step(5); schedule = s; }\n",
    ],
)
def test_explicit_writes_every_default_and_means_the_same(text: str) -> None:
    out = fmt.explicit(text)
    assert check(parse(out), out) == check(parse(text), text)
    assert fmt.explicit(out) == out
    for word in ("rule", "optimizer = adam(", "schedule", "batch = 100", "epochs = 10", "seed = 1", "holdout", "kind"):
        assert word in out
    assert out.count("#") == text.count("#")
