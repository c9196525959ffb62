"""Expressions: what a kernel computes for one element, as a tree over loads of values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..ir.sequence import FROM_MEMORY

Shape = tuple[int, int]
ROWS, COLUMNS = 0, 1  # axes of a shape
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "le": "<=", "ge": ">=", "gt": ">", "eq": "=="}


@dataclass(frozen=True)
class Expr:
    """A node: ``load`` (attr value), ``const``, ``col``, ``acc`` (attr index), or a map op.  ``dtype`` is the IR's."""

    op: str
    args: tuple[Expr, ...] = ()
    attr: Any = None
    dtype: str = "f32"
    shape: Shape = (1, 1)

    @cached_property
    def _hash(self) -> int:
        return hash((self.op, tuple(a._hash for a in self.args), self.attr, self.dtype, self.shape))

    def __hash__(self) -> int:
        return self._hash

    def walk(self) -> Iterator[Expr]:
        """Every distinct node, children first."""
        seen: dict[Expr, None] = {}

        def visit(e: Expr) -> None:
            if e not in seen:
                for a in e.args:
                    visit(a)
                seen[e] = None

        visit(self)
        return iter(seen)

    def loads(self) -> list[str]:
        """Names of the values (storages, once packed) that it reads."""
        return [e.attr for e in self.walk() if e.op == "load"]

    def elsewhere(self) -> set[str]:
        """Values that are read at other places than the element that is computed: they must be in memory before it
        is.
        """
        return {a.attr for e in self.walk() if e.op in FROM_MEMORY for a in e.args if a.op == "load"}

    def substitute(self, table: dict[str, Expr]) -> Expr:
        """Replace loads of the named values."""
        memo: dict[Expr, Expr] = {}

        def go(e: Expr) -> Expr:
            if e not in memo:
                if e.op == "load" and e.attr in table:
                    memo[e] = table[e.attr]
                else:
                    args = tuple(go(a) for a in e.args)
                    memo[e] = e if args == e.args else Expr(e.op, args, e.attr, e.dtype, e.shape)
            return memo[e]

        return go(self)

    def __str__(self) -> str:
        if self.op in ("load", "const", "col"):
            return {"load": f"%{self.attr}", "const": f"{self.attr:.9g}" if self.op == "const" else "", "col": "col"}[
                self.op
            ]
        if self.op == "step":
            return "step"
        if self.op == "acc":
            return f"acc{self.attr}"
        if self.op in INFIX:
            return f"({self.args[0]} {INFIX[self.op]} {self.args[1]})"
        attrs = dict(self.attr or ())
        name = attrs.get("dtype") or self.op
        return f"{name}({', '.join(bare(str(a)) for a in self.args)})"


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
