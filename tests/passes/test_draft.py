"""Drafts of schedules with loops over strips: what may move where, and that a draft is weighed as its plan is.

A draft is written as its kernels in order, `writes<reads` each: ``x<  y<x  z<y``; what a kernel writes is its name.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from helpers import plan

from bnnc.ir.dtype import Axis
from bnnc.ir.ref import Ref
from bnnc.plan.draft import Cut, Draft, Illegal, Node
from bnnc.plan.place import live_bytes
from bnnc.plan.strip import Stripper

WAYS = (2, 4)


def draft(text: str, *cuts: tuple[int, int]) -> Draft:
    nodes = []
    for kernel in text.split():
        writes, reads = (tuple(map(Ref, x.split(","))) if x else () for x in kernel.split("<"))
        nodes.append(Node(cast(Any, SimpleNamespace(reads=reads, writes=writes)), {}))
    return Draft(tuple(nodes), tuple(Cut(first, last, Axis.COLUMNS, 4, WAYS) for first, last in cuts))


def names(d: Draft) -> str:
    """The kernels by what they write, loops in brackets."""
    words = [",".join(map(str, sorted(node.writes))) for node in d.nodes]
    for c in d.cuts:
        words[c.first], words[c.last] = "[" + words[c.first], words[c.last] + "]"
    return " ".join(words)


def gather(d: Draft, wanted: str, axis: Axis = Axis.COLUMNS, ways: tuple[int, ...] = WAYS) -> Draft:
    nodes = [node for node in d.nodes if node.writes & set(map(Ref, wanted.split()))]
    return d.gather(nodes, axis, ways)


@pytest.mark.parametrize(
    ("text", "wanted", "expected"),
    [
        ("a< x< b<a y<b c<y", "a b c", "x [a b y c]"),  # the example of its docstring
        ("a< x< b<a", "a b", "x [a b]"),
        ("a< x<a b<a", "a b", "[a b] x"),
        ("a< x<a y<x b<a,y", "a b", "[a x y b]"),  # both between, one for the other
        ("a< x<a y< b<a", "a b", "y [a b] x"),
        ("a<s x< s<x b<a", "a b", "x [a b] s"),  # a state is overwritten behind what reads it
        ("p< a<p b<a q<b", "a b", "p [a b] q"),
    ],
)
def test_gather_puts_kernels_next_to_each_other(text: str, wanted: str, expected: str) -> None:
    d = draft(text)
    new = gather(d, wanted)
    assert names(new) == expected
    assert sorted(map(id, new.nodes)) == sorted(map(id, d.nodes))
    for i, node in enumerate(new.nodes):  # what `needs` orders is as it was
        assert not [b for b in new.nodes[i + 1 :] if node.needs(b) and d.place[b] < d.place[node]]


def test_loops_that_share_a_kernel_become_one() -> None:
    d = draft("a< b<a x< c<b", (0, 1))
    assert names(gather(d, "b c")) == "x [a b c]"
    with pytest.raises(Illegal):
        gather(d, "b c", axis=Axis.ROWS)
    with pytest.raises(Illegal):
        gather(d, "b c", ways=(3,))


def test_a_loop_between_stays_whole() -> None:
    assert names(gather(draft("a< x< y<x b<a", (1, 2)), "a b")) == "[x y] [a b]"
    assert names(gather(draft("a< x<a y<x b<a", (1, 2)), "a b")) == "[a b] [x y]"
    with pytest.raises(Illegal):  # y must stay behind a, x before y
        gather(draft("a< x< y<a,x b<a", (1, 2)), "a b")
    with pytest.raises(Illegal):  # a loop cannot join a loop
        gather(draft("a< x<a y<x b<y", (1, 2)), "a b")


def test_what_overwrites_is_delayed() -> None:
    d = draft("a<s s<t u<s b<a c<b")
    assert names(d.delayed(d.nodes[0], d.nodes[4])) == "a b c s u"
    assert d.delayed(d.nodes[3], d.nodes[4]) is d
    with pytest.raises(Illegal):
        d.delayed(d.nodes[0], d.nodes[2])


def test_what_nobody_reads_goes_with_what_only_that_read() -> None:
    d = draft("a< b<a c<b e<a out<e", (0, 2), (3, 4))
    assert names(d.pruned(lambda n: n is Ref("out"))) == "a [e out]"
    assert names(d.pruned(lambda n: n in (Ref("out"), Ref("c")))) == "[a b c] [e out]"


CONV = """
network images {{ input u8[8, 8, 3]; repeat {layers} {{ conv 32 padding = same; batchnorm; sign; }}
  maxpool 2; flatten; dense 10; batchnorm; loss; }}
rule {rule};
train {{ batch = 48; recompute = on; }}
"""


@pytest.mark.parametrize(("layers", "rule"), [(2, "edge"), (4, "edge"), (3, "standard")])
def test_a_draft_weighs_what_its_schedule_does(layers: int, rule: str) -> None:
    """Every draft of a search: `weigh` counts without a schedule what place counts with it."""
    s = Stripper(plan(CONV.format(layers=layers, rule=rule)).trace.results["pack"].train)
    d = Draft(tuple(map(s.node, s.ps.kernels)))
    seen = 0
    for _ in range(8):
        now = s.weigh(d)
        assert now is not None
        alive, life = live_bytes(s.made(d))
        assert (now.alive, now.life) == (alive, life)
        drafts = [new for new in s.tried(d, now) if s.weigh(new)]
        if not drafts:
            break
        d, seen = drafts[len(drafts) // 2], seen + 1
    assert seen > 1 and d.cuts
