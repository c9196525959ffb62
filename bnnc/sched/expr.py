"""Expressions: what a kernel computes for one element, as a tree over loads of values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..ir.ref import Ref
from ..ir.sequence import FROM_MEMORY

Shape = tuple[int, int]
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "le": "<=", "ge": ">=", "gt": ">", "eq": "=="}

LONG = 100  # characters of a tree's text before its parts get names


@dataclass(frozen=True)
class Expr:
    """A node: ``load`` (attr: its Ref), ``const``, ``col``, ``acc`` (attr index), or a map op.  ``dtype`` is the IR's,
    ``hint`` what its value is to its layer: a name for texts, which tells no two nodes apart.
    """

    op: str
    args: tuple[Expr, ...] = ()
    attr: Any = None
    dtype: str = "f32"
    shape: Shape = (1, 1)
    hint: str = field(default="", compare=False)

    @cached_property
    def _hash(self) -> int:
        return hash((self.op, tuple(a._hash for a in self.args), self.attr, self.dtype, self.shape))

    def __hash__(self) -> int:
        return self._hash

    def walk(self) -> Iterator[Expr]:
        """Every distinct node, children first."""
        return iter(self._nodes)

    @cached_property
    def _nodes(self) -> tuple[Expr, ...]:
        seen: dict[Expr, None] = {}

        def visit(e: Expr) -> None:
            if e not in seen:
                for a in e.args:
                    visit(a)
                seen[e] = None

        visit(self)
        return tuple(seen)

    def loads(self) -> list[Ref]:
        """The values (storages, once packed) that it reads."""
        return [e.attr for e in self.walk() if e.op == "load"]

    def elsewhere(self) -> set[Ref]:
        """Values that are read at other places than the element that is computed: they must be in memory before it
        is.
        """
        return {a.attr for e in self.walk() if e.op in FROM_MEMORY for a in e.args if a.op == "load"}

    def substitute(self, table: Mapping[Any, Expr], leaf: str = "load") -> Expr:
        """Replace loads of these values, or other leaves by their attribute."""
        memo: dict[Expr, Expr] = {}

        def go(e: Expr) -> Expr:
            if e not in memo:
                if e.op == leaf and e.attr in table:
                    memo[e] = table[e.attr]
                else:
                    args = tuple(go(a) for a in e.args)
                    memo[e] = e if args == e.args else replace(e, args=args)
            return memo[e]

        return go(self)

    def said(self, args: Sequence[str]) -> str:
        """As people write it, around the texts of its operands."""
        if self.op == "load":
            return f"%{self.attr}"
        if self.op == "acc":
            return f"acc{self.attr}"
        if self.op in ("col", "step"):
            return self.op
        if self.op == "const":
            return f"{self.attr:.9g}"
        if self.op in INFIX:
            return f"({args[0]} {INFIX[self.op]} {args[1]})"
        name = dict(self.attr or ()).get("dtype") or self.op
        return f"{name}({', '.join(map(bare, args))})"

    def __str__(self) -> str:
        return self.said([str(a) for a in self.args])


class Names:
    """Names, each given once: the first that asks for one gets it, the next ones a number behind it.  ``reserved`` ones
    nobody gets.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self.taken = set(reserved)

    def new(self, hint: str) -> str:
        """``hint``, or where that is taken ``hint2``, ``hint3`` and so on."""
        name, k = hint, 1
        while name in self.taken:
            k += 1
            name = f"{hint}{k}"
        self.taken.add(name)
        return name


class Written:
    """The trees of a kernel as text, one after the other.  What several share, and what makes a text long, is written
    once, by the name of its value.  ``said``: how a node is written around its operands.
    """

    def __init__(
        self,
        exprs: Sequence[Expr],
        said: Callable[[Expr, Sequence[str]], str] = Expr.said,
        reserved: Iterable[str] = (),
    ) -> None:
        self.said, self.names, self.texts = said, Names(reserved), dict[Expr, str]()
        self.lines: list[str] = []  # ``name = text``, each before what needs it
        self.uses = Counter(exprs)
        for e in dict.fromkeys(e for root in exprs for e in root.walk()):
            self.uses.update(e.args)

    def of(self, root: Expr) -> str:
        """The text of a tree; ``lines`` grows by the names in it."""
        for e in root.walk():
            if e not in self.texts:
                self.texts[e] = self._short(e)
                if self.uses[e] > 1:
                    self._name(e)
        return self.texts[root]

    def around(self, e: Expr) -> str:
        """The text of a node that gets no name itself; ``lines`` grows by the names in it."""
        for a in e.args:
            self.of(a)
        return self._short(e)

    def _short(self, e: Expr) -> str:
        for a in sorted(dict.fromkeys(e.args), key=lambda a: -len(self.texts[a])):
            if len(text := self.said(e, [self.texts[x] for x in e.args])) <= LONG:
                return text
            self._name(a)
        return self.said(e, [self.texts[x] for x in e.args])

    def _name(self, e: Expr) -> None:
        if e.args and not self.texts[e].isidentifier():
            name = self.names.new(e.hint or "x")
            self.lines.append(f"{name} = {bare(self.texts[e])}")
            self.texts[e] = name


def role(ref: Ref) -> str:
    """What a value is to its layer, as an identifier, without a storage's packing and without the numbers that keep
    values apart: ``eval:dense1.weight.m`` -> ``weight_m``, ``dense1.wb@0`` -> ``wb``, ``loss1.mul.3`` -> ``mul``.
    """
    first, *rest = ref.value.split(".")
    parts = [x for x in rest if not x.isdecimal()] or [first]
    return re.sub(r"\W", "_", "_".join(parts))


def bare(text: str) -> str:
    """Without an outer pair of parentheses that holds the whole text."""
    if not text.startswith("("):
        return text
    depth = 0
    for i, ch in enumerate(text):
        depth += (ch == "(") - (ch == ")")
        if depth == 0 and i < len(text) - 1:
            return text
    return text[1:-1]
