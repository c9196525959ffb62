"""What the printers of all backends share: names, where a kernel's values lie, and how expression trees become text.

A :class:`Printer` goes through trees from their leaves.  It sorts what it says into levels, from what is computed once
to what is computed at each step of the innermost loop, and gives a name to what is used twice or at a deeper level.
What an op reads like is a backend's own: a method ``op_NAME``, or a line in a table of :class:`Words`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from bnnc.diag import InternalError
from bnnc.ir.image import Geometry, geometry
from bnnc.ir.ref import Ref, Side
from bnnc.plan.pack import PackedSchedule
from bnnc.plan.types import WORD, Storage
from bnnc.sched.expr import Expr, Names, bare, role
from bnnc.sched.kernel import Kernel, Output

from .render import offset

INTS = ("u8", "i8", "i16", "i32")
LONG = 72  # characters of an inlined expression before it gets a name and a line of its own


class Variables(Names):
    """Names of one kernel's variables.  ``words``: of the language and of the skeletons, which nothing that is named
    after a value may be called; ``reserved``: what nothing may.
    """

    def __init__(self, words: Iterable[str] = (), reserved: Iterable[str] = ()) -> None:
        super().__init__(reserved)
        self.words = frozenset(words)

    def of(self, role: str) -> str:
        """A name for a value."""
        return self.new(f"{role}_" if role in self.words else role)


def kind(e: Expr) -> str:
    """``m`` a mask, ``i`` an integer, ``f`` a float."""
    return "m" if e.dtype in ("bit", "bool") else "i" if e.dtype in INTS else "f"


def all_const(e: Expr) -> bool:
    """Is a tree made of constants alone?"""
    return e.op == "const" or (bool(e.args) and all(all_const(a) for a in e.args))


def grouped(text: str) -> str:
    """A text that binds tighter than any operator."""
    return text if text.isidentifier() or text.isdecimal() else f"({bare(text)})"


# -- memory -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Index:
    """A whole number as text, for :meth:`Storage.at`: what is 0 is empty, and is not written in a sum."""

    text: str = ""
    words: ClassVar[str] = "{} / 32"  # the number of a word, from that of a bit

    def __add__(self, other: Self) -> Self:
        return replace(self, text=" + ".join(x for x in (self.text, other.text) if x))

    def __mul__(self, n: int) -> Self:
        return replace(self, text=f"{self.text} * {n}") if self.text and n != 1 else self

    def __floordiv__(self, n: int) -> Self:
        assert n == WORD
        return replace(self, text=self.words.format(self.text)) if self.text else self

    def __str__(self) -> str:
        return self.text or "0"


def plus(*terms: str | Index) -> str:
    """A sum of what is not empty."""
    return " + ".join(x for t in terms if (x := t.text if isinstance(t, Index) else t))


@dataclass(frozen=True)
class Memory:
    """Where the storages of one schedule are, on its side of the plan."""

    schedule: PackedSchedule
    side: Side

    @property
    def storages(self) -> Mapping[Ref, Storage]:
        return self.schedule.storage

    def place(self, name: Ref) -> Ref:
        """What the plan has for a storage of the schedule."""
        return self.schedule.place(name, self.side)

    def pace(self, k: Kernel, name: Ref) -> int:
        """Elements (words, of bits) from where one strip of a storage begins to the next, in a loop; 0: the kernel sees
        it all.
        """
        move = dict(k.moves).get(name)
        positions = k.anchor.positions if move == "taps" else 1
        return self.storages[name].pace(move, self.schedule.strips.get(k.name, 1), positions) if move else 0


class Pointers(ABC):
    """One kernel's names and pointers: ``pointers`` by value, one a place, and the lines that declare them."""

    def __init__(self, k: Kernel, mem: Memory, names: Variables) -> None:
        self.k, self.memory, self.names = k, mem, names
        self.pointers: dict[Ref, str] = {}
        self.decls: list[str] = []
        at: dict[Ref, str] = {}
        for n in dict.fromkeys((*k.reads, *k.writes)):
            place = mem.place(n)
            if place not in at:
                at[place] = self.names.of(self.pointer_name(place))
                self.decls.append(self.declaration(n, place, at[place]))
            self.pointers[n] = at[place]

    @abstractmethod
    def pointer_name(self, place: Ref) -> str:
        """What to call the pointer to a place."""

    @abstractmethod
    def declaration(self, name: Ref, place: Ref, pointer: str) -> str:
        """The line that declares the pointer to a storage."""

    def finished(self) -> list[Output]:
        """The outputs; a rounding that the store does anyway is left to it."""
        used = {a for o in self.k.outputs for e in o.expr.walk() for a in e.args}
        return [
            replace(o, expr=o.expr.args[0])
            if o.expr.op == "cast" and o.expr.dtype == "f16" and o.expr not in used
            else o
            for o in self.k.outputs
        ]


# -- expressions ------------------------------------------------------------------------------------------------------
@dataclass
class Printed:
    """Statements by level, from what runs once to what runs at every step, and one expression per tree."""

    pre: list[str] = field(default_factory=list)
    outer: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """All statements, each behind those that it needs."""
        return self.pre + self.outer + self.body


@dataclass(frozen=True)
class Words:
    """How ops on floats and on whole numbers read: the name of a function, or a text around its operands."""

    real: Mapping[str, str]
    whole: Mapping[str, str]


class Printer(ABC):
    """``storages`` and ``pointers`` by what they hold; ``accs``: the variables of a skeleton's accumulators."""

    words: ClassVar[Words]
    language: ClassVar[str]
    atoms: ClassVar[tuple[str, ...]] = ("const", "acc")  # ops whose text is as short as a name
    division: ClassVar[str]  # of whole numbers
    deepest: int  # the level of a kernel's results

    def __init__(
        self,
        names: Variables,
        storages: Mapping[Ref, Storage],
        pointers: Mapping[Ref, str],
        accs: dict[int, str] | None = None,
    ) -> None:
        self.names, self.storages, self.pointers, self.accs = names, storages, pointers, accs or {}

    def print(self, exprs: list[Expr], named: tuple[Expr, ...] = ()) -> Printed:
        """``named``: trees whose text is used more than once, so they get a variable."""
        self.out = Printed()
        self.windows: dict[Geometry, tuple[str, str, str]] = {}  # the window that the row is in, and where in it
        self.roots = set(exprs)
        self.text: dict[Expr, str] = {}
        self.level: dict[Expr, int] = {}
        self.uses: Counter[Expr] = Counter()
        self.needed: dict[Expr, int] = dict.fromkeys(exprs, self.deepest)  # the deepest level that asks for a node
        order = list(dict.fromkeys(e for root in exprs for e in root.walk()))
        for e in order:
            self.level[e] = max([self.own_level(e), *(self.level[a] for a in e.args)])
            for a in self.shown(e):
                self.uses[a] += 1
                self.needed[a] = max(self.needed.get(a, 0), self.level[e])
        for e in exprs:
            self.uses[e] += 1 + (e in named)
        for e in order:
            self.text[e] = self.placed(e)
        self.out.results = [self.text[e] for e in exprs]
        return self.out

    def placed(self, e: Expr) -> str:
        """Inline what is used once, at its own level; name the rest where it need be computed."""
        text, uses = self.node(e), self.uses[e]
        if e.op in self.atoms or not uses:
            return text
        long = len(text) > LONG and e not in self.roots
        if self.level[e] >= self.needed[e] and uses == 1 and not long:
            return text
        name = self.names.of(self.hint(e))
        self.statements(self.level[e]).append(self.variable(name, e, bare(text)))
        return name

    def hint(self, e: Expr) -> str:
        """What to call a node: as its value, which a pointer may be called too."""
        if e.op == "load":
            name = role(e.attr)
            return f"{name}_" if name in self.names.taken else name
        return e.hint or "x"

    def node(self, e: Expr) -> str:
        """The text of an op around those of its operands."""
        method = getattr(self, f"op_{e.op}", self.said)
        return str(method(e))

    def said(self, e: Expr) -> str:
        """An op as the tables say it."""
        words = self.words.whole if e.op in self.words.whole and self.on_whole(e) else self.words.real
        if e.op not in words:
            raise InternalError(f"the {self.language} backend cannot print `{e.op}`")
        form = words[e.op]
        operands = self.operands(e, words is self.words.whole, "{" not in form)
        return form.format(*operands) if "{" in form else f"{form}({', '.join(bare(x) for x in operands)})"

    def on_whole(self, e: Expr) -> bool:
        """Does an op read whole numbers?"""
        return all(kind(a) == "i" or a.dtype == "bit" for a in e.args)

    # -- what a backend says ------------------------------------------------------------------------------------------
    @abstractmethod
    def own_level(self, e: Expr) -> int:
        """How often a node must be computed for what it reads itself."""

    @abstractmethod
    def statements(self, level: int) -> list[str]:
        """The list that the statements of a level are appended to."""

    @abstractmethod
    def variable(self, name: str, e: Expr, text: str) -> str:
        """The statement that gives a node a name."""

    @abstractmethod
    def shown(self, e: Expr) -> tuple[Expr, ...]:
        """The nodes whose values a node's text holds; some ops read their operands elsewhere."""

    @abstractmethod
    def num(self, e: Expr) -> str:
        """The text of a node as a float: masks become +-1 or 0/1, integers are converted."""

    @abstractmethod
    def whole(self, e: Expr) -> str:
        """The text of a node as an integer."""

    def operands(self, e: Expr, whole: bool, call: bool) -> list[str]:
        """The operands of an op on whole numbers or on floats, of a function if ``call``."""
        return [self.whole(a) if whole else self.num(a) for a in e.args]

    @abstractmethod
    def row(self, e: Expr) -> str:
        """The row that a node is computed for."""

    @abstractmethod
    def col(self, e: Expr) -> str:
        """The column that a node is computed for."""

    @abstractmethod
    def other(self, x: Expr, row: str, tall: bool = True) -> str:
        """A load from another row than the one that is computed, and that changes with it where it is ``tall``."""

    @abstractmethod
    def choose(self, condition: str, a: str, b: str) -> str:
        """A whole number of two."""

    @abstractmethod
    def line(self, e: Expr, name: str, text: str) -> str:
        """A variable, a whole number that depends on a node's row alone."""

    # -- what all say alike -------------------------------------------------------------------------------------------
    def op_acc(self, e: Expr) -> str:
        """A skeleton's accumulator."""
        return self.accs[e.attr]

    def op_copy(self, e: Expr) -> str:
        return self.text[e.args[0]]

    def op_and(self, e: Expr) -> str:
        return f"({self.text[e.args[0]]} & {self.text[e.args[1]]})"

    def in_matrix(self, e: Expr, strip: str) -> tuple[str, str]:
        """Row and column in the whole matrix, of a node that is computed in the strip of this number."""
        move = dict(e.attr).get("move")
        row, col = self.row(e), self.col(e)
        if move == "rows":
            row = grouped(plus(row if row != "0" else "", f"{strip} * {e.shape[0]}"))
        if move == "columns":
            col = plus(col if col != "0" else "", f"{strip} * {e.shape[1]}")
        return row, col

    @abstractmethod
    def op_rate(self, e: Expr) -> str:
        """A probability of 16 bits; the op table says of what."""

    def op_lookup(self, e: Expr) -> str:
        """The value of a whole number: the first for 0 or less, the last for all beyond."""
        values, index = dict(e.attr)["values"], self.whole(e.args[0])
        text = str(values[-1])
        for i in range(len(values) - 2, -1, -1):
            text = self.choose(f"{index} <= {i}", str(values[i]), text)
        return text

    # -- windows ------------------------------------------------------------------------------------------------------
    def pixel(self, e: Expr, g: Geometry) -> tuple[str, str]:
        """Where the row's pixel lies in its padded image."""
        r, by = self.row(e), self.division
        py = self.line(e, "py", offset(f"{r} {by} {g.width} % {g.height}", g.top))
        return py, self.line(e, "px", offset(f"{r} % {g.width}", g.left))

    def window_row(self, e: Expr, g: Geometry, oy: str, ox: str) -> str:
        """The row of window (oy, ox) of the row's image."""
        text = f"({self.row(e)} {self.division} {g.pixels} * {g.out_height} + {oy}) * {g.out_width} + {ox}"
        return self.line(e, "window", text)

    def windows_of(self, e: Expr) -> bool:
        """Is there more than one window?"""
        return self.storages[e.args[0].attr].shape[0] > 1

    def window(self, e: Expr, g: Geometry) -> tuple[str, str, str]:
        """The row of the window that the row's pixel is in, and where in it, down and along."""
        if g not in self.windows:
            py, px = self.pixel(e, g)
            oy, ox = (
                self.line(e, o, self.choose(f"{at} < {n}", at, str(n - 1)))
                for o, at, n in (
                    ("oy", f"{py} {self.division} {g.stride}", g.out_height),
                    ("ox", f"{px} {self.division} {g.stride}", g.out_width),
                )
            )
            row = self.window_row(e, g, oy, ox) if self.windows_of(e) else "0"
            self.windows[g] = row, f"{py} - {oy} * {g.stride}", f"{px} - {ox} * {g.stride}"
        return self.windows[g]

    def op_spread(self, e: Expr) -> str:
        """A load from the row of the window that the row's pixel is in."""
        return self.other(e.args[0], self.window(e, geometry(dict(e.attr)))[0] if self.windows_of(e) else "0")

    def op_last(self, e: Expr) -> str:
        steps, before = dict(e.attr)["steps"], dict(e.attr).get("before", 0)
        at = f"{self.row(e)} * {steps} + {steps - 1 - before}"
        return self.other(e.args[0], at.removesuffix(" + 0"), e.shape[0] > 1)

    def op_second(self, e: Expr) -> str:
        row, rows = self.row(e), dict(e.attr)["rows"]
        block = f"({row} {self.division} {rows})" if rows > 1 else row
        return self.other(e.args[0], f"{row} + (1 - {block} % 2) * {rows}", e.shape[0] > 1)

    def op_repeat(self, e: Expr) -> str:
        row = f"{self.row(e)} {self.division} {dict(e.attr)['steps']}"
        return self.other(e.args[0], row, e.shape[0] > 1)
