"""strip: Packed -> Packed in which neighbouring kernels run over one strip of a matrix after the other (``recompute =
on``).

What only the kernels of such a loop read exists for one strip at a time: for 16 columns, say, or for the images of a
few samples. A convolution's sums, their statistics, the pools and the signs work column by column, so a strip of
channels goes through all of them before the next one begins, and nothing is computed twice.  A reader that needs all
columns at once (the convolution further back) makes the value again, for some samples at a time.  Every element comes
from the same operations in the same order as without strips, so the bits stay the same.

Loops are added greedily where most bytes are alive, as long as the peak falls; then each gets as few strips as that
peak, or a given limit, allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from ..sched.anchor import NoStrip, Strip
from ..sched.expr import COLUMNS, ROWS, Expr, Shape
from ..sched.kernel import Kernel, Output
from .pack import Packed, PackedSchedule, base_name
from .place import live_bytes
from .types import Loop, Storage

MOVE = ("rows", "columns")  # how what is cut along an axis moves from strip to strip
WIDTH = 16  # the narrowest strip of columns: the lanes of a vector; half a word, where no bits outside the loop are cut
TRIED = 12  # buffers at the peak that are tried
# ops that know where in the matrix they are
PLACED = frozenset(
    ("col", "step", "bernoulli", "take", "lookup", "rate", "split", "previous", "last", "repeat", "join")
)


class _Illegal(Exception):
    """Kernels cannot run strip by strip together."""


@dataclass(frozen=True)
class _Cut:
    """A loop in the making: a range of kernels, the axis that is cut, into how many strips, and into how many it may
    be.
    """

    first: int
    last: int
    axis: int
    parts: int
    ways: tuple[int, ...]


@dataclass(frozen=True)
class _Draft:
    """A schedule in the making: whole kernels in order, and the loops over them."""

    kernels: tuple[Kernel, ...]
    cuts: tuple[_Cut, ...] = ()


def _first(name: str) -> str:
    """The storage that was made first, of one that is made again: ``conv1.y~3`` -> ``conv1.y``."""
    return name.partition("~")[0]


def _part(shape: Shape, axis: int, parts: int) -> Shape:
    rows, cols = shape
    return (rows // parts, cols) if axis == ROWS else (rows, cols // parts)


class _Narrow(Strip):
    """One kernel as it is for a strip.  Raises NoStrip where it cannot be cut so."""

    def __init__(self, k: Kernel, axis: int, parts: int) -> None:
        self.axis, self.parts, self.moves = axis, parts, {}  # type: tuple[int, int, dict[str, str]]
        self.extent = k.domain[axis]
        if self.extent % parts or any(o.row_sum for o in k.outputs):
            raise NoStrip
        anchor = k.anchor.narrow(self)
        outputs = tuple(Output(o.value, self.cut(o.expr)) for o in k.outputs)
        for o in k.outputs:
            self.note(o.value, MOVE[axis])
        domain = _part(k.domain, axis, parts)
        self.kernel = replace(k, anchor=anchor, domain=domain, outputs=outputs, moves=tuple(self.moves.items()))

    def note(self, name: str, move: str) -> None:
        if self.moves.setdefault(name, move) != move:
            raise NoStrip

    def fixed(self, e: Expr) -> Expr:
        for n in e.loads():
            self.note(n, "")
        return e

    def taps(self, e: Expr) -> Expr:
        self.note(e.attr, "taps")
        return e

    def cut(self, e: Expr) -> Expr:
        size = e.shape[self.axis]
        moving = size == self.extent if self.axis == COLUMNS else size > 1
        if e.op in PLACED or size % self.parts and size > 1 or not moving and size > 1:
            raise NoStrip
        if e.op == "load":
            self.note(e.attr, MOVE[self.axis] if moving else "")
        shape = _part(e.shape, self.axis, self.parts) if moving else e.shape
        return replace(e, args=tuple(self.cut(a) for a in e.args), shape=shape)


def _renamed(k: Kernel, names: dict[str, str]) -> Kernel:
    """The kernel with other storages in its loads."""

    def other(e: Expr) -> Expr:
        return e.substitute(
            {x.attr: replace(x, attr=names[x.attr]) for x in e.walk() if x.op == "load" and x.attr in names}
        )

    return replace(k, anchor=k.anchor.mapped(other), outputs=tuple(replace(o, expr=other(o.expr)) for o in k.outputs))


class _Stripper:
    def __init__(self, ps: PackedSchedule) -> None:
        self.ps, self.storage = ps, ps.storage
        p = ps.program
        self.samples = p.value["labels"].shape[0]
        self.alias = dict(ps.schedule.alias)
        self.kept = {*p.inputs, *p.state_names, *self.alias, *(v for _, v in p.results), *(v for _, v in p.updates)}
        self.memo: dict[tuple[int, int, int], _Narrow | None] = {}
        self.reads: dict[int, set[str]] = {}
        self.order: dict[tuple[int, int], bool] = {}
        self.alive: list[Kernel] = []  # so that identities in `memo` stay unique

    # -- one kernel, one loop -----------------------------------------------------------------------------------------
    def narrow(self, k: Kernel, axis: int, parts: int) -> _Narrow:
        key = (id(k), axis, parts)
        if key not in self.memo:
            self.alive.append(k)
            try:
                self.memo[key] = _Narrow(k, axis, parts)
            except NoStrip:
                self.memo[key] = None
        found = self.memo[key]
        if found is None:
            raise _Illegal
        return found

    def needs(self, k: Kernel, before: Kernel) -> bool:
        """Must ``k`` stay after ``before``?"""
        key = (id(k), id(before))
        if key not in self.order:
            self.alive += [k, before]
            made, read, made2, read2 = (self.places(x) for x in (k.writes, k.reads, before.writes, before.reads))
            self.order[key] = bool(made & (made2 | read2) or read & made2)
        return self.order[key]

    def places(self, names: tuple[str, ...]) -> set[str]:
        return {self.alias.get(n, n) for n in names}

    def made(self, d: _Draft, weighed: bool = False) -> PackedSchedule:
        """The schedule with its loops, each in as many strips as it can have; ``weighed``: with the kernels of the
        draft, for what lives when.  Raises _Illegal where strips would meet."""
        kernels, storage = list(d.kernels), dict(self.storage)
        spans: dict[str, tuple[int, int]] = {}  # where the first and the last reader stand
        for i, k in enumerate(d.kernels):
            for n in self.read(k):
                spans[n] = (spans[n][0] if n in spans else i, i)
        loops: list[Loop] = []
        for n in (n for k in d.kernels for n in k.writes if n not in storage):
            storage[n] = replace(storage[_first(n)], name=n)  # made another time
        for cut in d.cuts:
            for parts in (n for n in reversed(cut.ways) if n <= cut.parts):
                if self.cut(d, replace(cut, parts=parts), spans, kernels, storage, loops):
                    break
            else:
                raise _Illegal
        if weighed:
            named = d.kernels
        else:
            inside = {i: loop.inside for loop in loops for i in range(loop.first, loop.last + 1)}
            named = tuple(
                replace(
                    k,
                    name=f"k{i:02d}_{k.name.split('_', 1)[1]}",
                    moves=tuple((n, m) for n, m in k.moves if m and n not in inside.get(i, ())),
                )
                for i, k in enumerate(kernels)
            )
        constants = {s.name for s in self.ps.constants}
        used = {n for k in named for n in (*k.reads, *k.writes)} | {
            s.name for s in self.ps.storages if s.name in self.kept
        }
        return replace(
            self.ps,
            kernels=named,
            loops=tuple(sorted(loops, key=lambda x: x.first)),
            storages=tuple(s for n, s in storage.items() if n in used and n not in constants),
        )

    def read(self, k: Kernel) -> set[str]:
        """The places that a kernel reads."""
        if id(k) not in self.reads:
            self.alive.append(k)
            self.reads[id(k)] = self.places(k.reads)
        return self.reads[id(k)]

    def cut(
        self,
        d: _Draft,
        cut: _Cut,
        spans: dict[str, tuple[int, int]],
        kernels: list[Kernel],
        storage: dict[str, Storage],
        loops: list[Loop],
    ) -> bool:
        """Narrow the kernels of one loop and the storages that only they use; False, and nothing done, where they
        cannot be.
        """
        body = range(cut.first, cut.last + 1)
        narrow = [self.narrow(d.kernels[i], cut.axis, cut.parts) for i in body]
        moves: dict[str, set[str]] = {}
        for one in narrow:
            for n, move in one.moves.items():
                moves.setdefault(self.alias.get(n, n), set()).add(move)
        written = {n for i in body for n in self.places(d.kernels[i].writes)}
        if any(moves[n] - {*MOVE} or len(moves[n]) > 1 for n in written):
            return False
        within = {n for n in written if n not in spans or (cut.first <= spans[n][0] and spans[n][1] <= cut.last)}
        inside = frozenset(n for n in within if not self.is_kept(n))
        if any(move and storage[n].pace(move, cut.parts) < 0 for n in moves if n not in inside for move in moves[n]):
            return False
        for n in inside:
            storage[n] = replace(storage[n], shape=_part(storage[n].shape, cut.axis, cut.parts))
        for i, one in zip(body, narrow, strict=True):
            kernels[i] = one.kernel
        loops.append(Loop(cut.first, cut.last, cut.axis, cut.parts, inside))
        return True

    def live(self, d: _Draft) -> list[int] | None:
        try:
            return live_bytes(self.made(d, True))[0]
        except _Illegal:
            return None

    # -- loops around a value -----------------------------------------------------------------------------------------
    def gather(self, d: _Draft, members: set[int], axis: int, ways: tuple[int, ...]) -> _Draft:
        """``d`` with these kernels next to each other in a loop; whatever must run between them joins it."""
        cuts = [c for c in d.cuts if not members & set(range(c.first, c.last + 1))]
        for c in d.cuts:
            if c not in cuts:
                if c.axis != axis:
                    raise _Illegal
                members |= set(range(c.first, c.last + 1))
                ways = tuple(w for w in ways if w in c.ways)
        if not ways:
            raise _Illegal
        loop_of = {i: c for c in cuts for i in range(c.first, c.last + 1)}
        while True:
            first, last = min(members), max(members)
            early: list[int] = []
            late: list[int] = []
            between = set()
            for i in range(first, last + 1):
                if i in members:
                    between |= {j for j in late if self.needs(d.kernels[i], d.kernels[j])}
                    continue
                block = loop_of.get(i)
                after = any(self.needs(d.kernels[i], d.kernels[j]) for j in (*late, *(m for m in members if m < i)))
                after |= block is not None and any(loop_of.get(j) is block for j in late)
                if block is not None and after and any(loop_of.get(j) is block for j in early):
                    raise _Illegal
                (late if after else early).append(i)
            if not between:
                break
            if any(i in loop_of for i in between):
                raise _Illegal
            members |= between
        order = [*range(first), *early, *sorted(members), *late, *range(last + 1, len(d.kernels))]
        at = {old: new for new, old in enumerate(order)}
        moved = [replace(c, first=at[c.first], last=at[c.first] + c.last - c.first) for c in cuts]
        start = first + len(early)
        if any(c.first < start + len(members) and start <= c.last for c in moved):
            raise _Illegal
        new = _Cut(start, start + len(members) - 1, axis, ways[-1], ways)
        return _Draft(tuple(d.kernels[i] for i in order), (*moved, new))

    def column_ways(self, k: Kernel) -> tuple[int, ...]:
        words, rest = divmod(k.domain[1], WIDTH)
        return () if rest else tuple(n for n in range(2, words + 1) if words % n == 0)

    def legal(self, k: Kernel, value: str, axis: int, parts: int) -> bool:
        try:
            return self.narrow(k, axis, parts).moves.get(value) == MOVE[axis]
        except _Illegal:
            return False

    def around(self, d: _Draft, value: str) -> _Draft | None:
        """``d`` with ``value`` made for a strip at a time: for its first readers, and again for those that need other
        strips.
        """
        maker = next((k for k in d.kernels if value in k.writes), None)
        if maker is None or self.is_kept(value):
            return None
        columns = self.column_ways(maker)
        columns = columns if columns and self.legal(maker, value, COLUMNS, columns[-1]) else ()
        rows = tuple(
            n for n in range(2, self.samples + 1) if self.samples % n == 0 and self.legal(maker, value, ROWS, n)
        )
        runs: list[tuple[int, tuple[int, ...], list[Kernel]]] = []
        for k in (k for k in d.kernels if value in k.reads):
            if columns and self.legal(k, value, COLUMNS, columns[-1]):
                axis, ways = COLUMNS, columns
            else:
                axis, ways = ROWS, tuple(n for n in rows if self.legal(k, value, ROWS, n))
            if runs and runs[-1][0] == axis and (both := tuple(n for n in ways if n in runs[-1][1])):
                runs[-1] = (axis, both, [*runs[-1][2], k])
            else:
                runs.append((axis, ways, [k]))
        if not all(ways for _, ways, _ in runs) or (len(runs) > 1 and len(maker.writes) > 1):
            return None
        if len(runs) > 1:
            d = self.delayed(d, maker, runs[-1][2][-1])
        for n, (axis, ways, readers) in enumerate(runs):
            if n:
                d, maker, readers = self.again(d, maker, value, f"{_first(value)}~{n + 1}", readers)
            d = self.gather(d, self.at(d, (maker, *readers)), axis, ways)
        return d

    def at(self, d: _Draft, kernels: Iterable[Kernel]) -> set[int]:
        """Where these kernels are."""
        wanted = {id(k) for k in kernels}
        return {i for i, k in enumerate(d.kernels) if id(k) in wanted}

    def delayed(self, d: _Draft, maker: Kernel, last: Kernel) -> _Draft:
        """``d`` with whatever overwrites what ``maker`` reads after the kernel ``last``.  Raises _Illegal where that
        cannot be.
        """
        first, end = sorted(self.at(d, (maker, last)))
        late: list[int] = []
        for i in range(first + 1, end + 1):
            k = d.kernels[i]
            if self.places(k.writes) & self.places(maker.reads) or any(self.needs(k, d.kernels[j]) for j in late):
                late.append(i)
        if not late:
            return d
        if end in late or any(c.first <= i <= c.last for c in d.cuts for i in range(first, end + 1)):
            raise _Illegal
        early = [i for i in range(first, end + 1) if i not in late]
        order = [*range(first), *early, *late, *range(end + 1, len(d.kernels))]
        return replace(d, kernels=tuple(d.kernels[i] for i in order))

    def again(
        self, d: _Draft, maker: Kernel, value: str, name: str, readers: list[Kernel]
    ) -> tuple[_Draft, Kernel, list[Kernel]]:
        """``d`` with ``value`` made a second time, as ``name``, just before ``readers``; the new kernels."""
        (old,) = maker.outputs
        copy = replace(maker, outputs=(replace(old, value=name),), name=f"{maker.name.removesuffix('_again')}_again")
        at = min(self.at(d, readers))
        if any(c.first <= at <= c.last for c in d.cuts):
            raise _Illegal
        changed = [_renamed(k, {value: name}) for k in readers]
        d = self.insert(self.swap(d, readers, changed), at, [copy])
        return d, copy, changed

    def swap(self, d: _Draft, old: list[Kernel], new: list[Kernel]) -> _Draft:
        table = {id(a): b for a, b in zip(old, new, strict=True)}
        return replace(d, kernels=tuple(table.get(id(k), k) for k in d.kernels))

    def insert(self, d: _Draft, at: int, new: list[Kernel]) -> _Draft:
        """``d`` with kernels before position ``at``, which is in no loop or begins one."""
        cuts = tuple(c if c.last < at else replace(c, first=c.first + len(new), last=c.last + len(new)) for c in d.cuts)
        return _Draft((*d.kernels[:at], *new, *d.kernels[at:]), cuts)

    def remade(self, d: _Draft, value: str, peak: int) -> _Draft | None:
        """``d`` where ``value`` is not kept over kernel ``peak`` but made again, with the sums that it is made of, for
        its readers from there on."""
        position = {v: i for i, k in enumerate(d.kernels) for v in k.writes}
        if position.get(value, peak) >= peak or self.is_kept(value):
            return None
        maker = d.kernels[position[value]]
        later = {v: [i for i, k in enumerate(d.kernels) if i >= peak and v in k.reads] for v in maker.writes}
        if not later[value] or not maker.anchor.cheap:
            return None
        wanted = [v for v in maker.writes if later[v] and set(later[v]) <= set(later[value]) and not self.is_kept(v)]
        chain: dict[int, list[str]] = {position[value]: wanted}
        todo = [maker]
        while todo:
            for n in todo.pop().reads:
                s = self.storage.get(_first(n))
                if n in position and s is not None and min(s.shape) > 1 and not s.one_bit and not self.is_kept(n):
                    if position[n] not in chain:
                        todo.append(d.kernels[position[n]])
                    chain.setdefault(position[n], []).append(n)
        names = {
            v: f"{_first(v)}~{2 + sum(_first(v) == _first(w) for w in position)}" for vs in chain.values() for v in vs
        }
        copies = []
        for i in sorted(chain):
            k = d.kernels[i]
            kept = tuple(o for o in k.outputs if o.value in chain[i])
            copy = replace(_renamed(replace(k, outputs=kept), names), name=f"{k.name.removesuffix('_again')}_again")
            copies.append(replace(copy, outputs=tuple(replace(o, value=names[o.value]) for o in copy.outputs)))
        sources = {n: i for i, k in zip(sorted(chain), copies, strict=True) for n in self.places(k.reads)}
        spoilt = [
            j for n, i in sources.items() for j in range(i + 1, len(d.kernels)) if n in self.places(d.kernels[j].writes)
        ]
        begin = {i: c.first for c in d.cuts for i in range(c.first, c.last + 1)}
        at, first = (begin.get(i, i) for i in (min([later[value][0], *spoilt]), later[value][0]))
        if at < min(first, peak):
            raise _Illegal
        readers = [d.kernels[i] for i in later[value]]
        changed = [_renamed(k, {v: names[v] for v in wanted}) for k in readers]
        d = self.insert(self.swap(d, readers, changed), at, copies)
        read = {n for k in d.kernels for n in k.reads}
        still = tuple(o for o in maker.outputs if o.value in read or self.is_kept(o.value))
        if still:
            d = self.swap(d, [maker], [replace(maker, outputs=still)])
        ways = self.column_ways(copies[-1])
        together = [*copies, *(k for k in changed if ways and self.legal(k, names[value], COLUMNS, ways[-1]))]
        if ways and len(together) > 1:
            d = self.gather(d, self.at(d, together), COLUMNS, ways)
        return self.alive_only(d)

    def alive_only(self, d: _Draft) -> _Draft:
        """``d`` without kernels whose values nobody reads any more; a loop that is left with one kernel is none."""
        kernels, cuts = list(d.kernels), list(d.cuts)
        while True:
            read = {n for k in kernels for n in k.reads}
            dead = next(
                (i for i, k in enumerate(kernels) if not any(n in read or self.is_kept(n) for n in k.writes)), None
            )
            if dead is None:
                return _Draft(tuple(kernels), tuple(c for c in cuts if c.first < c.last))
            del kernels[dead]
            cuts = [replace(c, first=c.first - (dead < c.first), last=c.last - (dead <= c.last)) for c in cuts]

    def is_kept(self, n: str) -> bool:
        return n in self.kept or base_name(n) in self.kept

    # -- the search ---------------------------------------------------------------------------------------------------
    def tried(self, d: _Draft) -> Iterator[_Draft]:
        """Drafts with one loop more, around each of the largest buffers that are alive at the peak."""
        now = self.made(d, True)
        weight, life = live_bytes(now)
        peak = weight.index(max(weight))
        inside = {n for loop in now.loops for n in loop.inside}
        here = [n for n, (first, last) in life.items() if first <= peak <= last and n not in inside]
        storage = now.storage
        largest = sorted(here, key=lambda n: (-storage[n].nbytes, n))[:TRIED]
        ways: tuple[Callable[[_Draft, str], _Draft | None], ...] = (self.around, partial(self.remade, peak=peak - 1))
        for way in ways:
            for name in largest:
                try:
                    new = way(d, name)
                except _Illegal:
                    continue
                if new is not None:
                    yield new

    def run(self, limit: int = 0) -> PackedSchedule:
        """The schedule whose peak is lowest; as few strips as that peak, or ``limit`` bytes, allows."""
        d = _Draft(self.ps.kernels)
        weight = self.live(d) or [0]
        score = (max(weight), sum(weight))
        while score[0] > limit:
            for new in self.tried(d):
                weight = self.live(new) or []
                if weight and (max(weight), sum(weight)) < score:
                    d, score = new, (max(weight), sum(weight))
                    break
            else:
                break
        limit = max(limit, score[0])
        for i, cut in enumerate(d.cuts):
            for parts in cut.ways:
                new = replace(d, cuts=(*d.cuts[:i], replace(cut, parts=parts), *d.cuts[i + 1 :]))
                weight = self.live(new) or []
                if weight and max(weight) <= limit:
                    d = new
                    break
        return self.made(d)


def strip(p: Packed) -> Packed:
    """Both schedules; the evaluation only as far as the training step's peak asks for."""
    train = _Stripper(p.train).run()
    return replace(p, train=train, evaluate=_Stripper(p.evaluate).run(max(live_bytes(train)[0])))
