"""CSV files as arrays: which columns are taken, which holds the labels, and what becomes of words.

A column of words alone is one of categories: each is the number :func:`category` of it, the same in every file, so that
rows to predict need no table of the training file's.  An encoder makes bits of them (``onehot``, ``categories``).
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .readers import Source, fail, guard


@dataclass(frozen=True)
class Columns:
    """Which of a table's columns: ``label``: ``last``, ``none``, a name (of a header line) or a number from 0;
    ``take``: names or numbers of those that samples are made of, () for all; ``drop``: of those that are left out."""

    label: str | int = "last"
    take: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """``x``: f32[n, columns]; ``y``: u8[n], zeros without labels; ``names``: of the classes, () where they are numbers;
    ``categories``: (column of x, its name, how many words) of the columns of words; ``columns``: the names of x's
    columns, () where no header line gives any."""

    x: np.ndarray
    y: np.ndarray
    names: tuple[str, ...] = ()
    categories: tuple[tuple[int, str, int], ...] = ()
    columns: tuple[str, ...] = ()


FEW = 16  # words of a column that may each come once; of more, half the rows at most


def category(word: str) -> float:
    """The number of a word: 24 bits of its CRC-32, which f32 holds exactly."""
    return float(zlib.crc32(word.encode()) & 0xFFFFFF)


def read_csv(
    path: Source, label: str | int = "last", names: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Samples f32[n, columns], labels u8[n] and class names, as :func:`read_table` finds them."""
    found = read_table(path, Columns(label), names)
    return found.x, found.y, found.names


def read_table(path: Source, how: Columns, names: Sequence[str] | None = None) -> Table:
    """A CSV file (comma, semicolon or tab), with or without a header line; where no comma parts columns, one in a
    number is its decimal point.

    Labels are whole numbers 0..255, or class names, which are numbered in sorted order unless ``names`` fixes them.
    Raises BnncError with the line.
    """
    with _csv(path) as lines:
        top = list(itertools.islice(lines, 2))
        header, column, taken = _csv_header(path, how.label, [r for _, r in top])
        first = top[0][1]
        rows = list(itertools.chain(top[header:], lines))
    for line, cells in rows:
        if len(cells) != len(first):
            reason = f"line {line} has {len(cells)} columns, the first has {len(first)}"
            raise fail("B0804", path, reason, "every line needs the same number of columns", line)
    kept = _kept(path, how, first, column)
    if not rows or not kept:
        raise fail("B0804", path, "no samples", "give at least one line with one value and one label")
    at = [line for line, _ in rows]
    values, categories = [], []
    for place, k in enumerate(kept):
        cells, name = [row[k] for _, row in rows], first[k] if header else str(k)
        numbers, words = _values(path, name, cells, at)
        if column is not None and words > max(FEW, len(cells) // 2):
            reason = f"column `{name}` has {words} different words in {len(cells)} lines, such as `{cells[0]}`"
            raise fail("B0804", path, reason, f"words teach nothing that come once each: --drop {name}", at[0])
        values.append(numbers)
        categories += [(place, name, words)] if words else []
    x, called = np.stack(values, axis=1), tuple(first[k] for k in kept) if header else ()
    if column is None:
        return Table(x, np.zeros(len(x), np.uint8), (), tuple(categories), called)
    of_class = _classes(path, taken, [row[column] for _, row in rows], at, names)
    return Table(x, *of_class, tuple(categories), called)


def _kept(path: Source, how: Columns, first: list[str], column: int | None) -> list[int]:
    """The columns that samples are made of.  Raises BnncError B0805 for one that there is not."""

    def of(names: Sequence[str]) -> list[int]:
        found = [int(n) if n.isdecimal() else first.index(n) if n in first else -1 for n in names]
        if wrong := [n for n, i in zip(names, found, strict=True) if not 0 <= i < len(first)]:
            raise fail("B0805", path, f"no column `{wrong[0]}`", f"the first line is: {', '.join(first)[:200]}")
        return found

    left = {*of(how.drop), column}
    return [k for k in (of(how.take) if how.take else range(len(first))) if k not in left]


def _values(path: Source, name: str, cells: list[str], at: list[int]) -> tuple[np.ndarray, int]:
    """A column as f32[n], and how many different words it has, 0 of numbers.  Raises BnncError B0804."""
    numbers = [_number(c) for c in cells]
    if all(n is None for n in numbers) and any(cells):
        words = {c: category(c) for c in cells}
        if len(set(words.values())) < len(words):
            raise fail("B0804", path, "two words of a column have the same number", "change one of them")
        return np.array([words[c] for c in cells], np.float32), len(words)
    if None in numbers:
        i = numbers.index(None)
        more = f" ({n} more)" if (n := numbers.count(None) - 1) else ""
        what = f"`{cells[i]}` is not a number" if cells[i] else "there is no value"
        reason = f"line {at[i]}: {what} in column `{name}`{more}"
        raise fail("B0804", path, reason, f"fill in or remove the lines, or leave the column out: --drop {name}", at[i])
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float32), 0


def _classes(
    path: Source, taken: str, tags: list[str], at: list[int], names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The labels of a column of cells, and the classes' names (none: the cells are whole numbers).  Raises BnncError
    B0803.
    """
    numbers = [n if n is not None and math.isfinite(n) else None for n in map(_number, tags)]
    for line, tag, number in zip(at, tags, numbers, strict=True):
        if not tag:
            raise fail("B0803", path, f"line {line} has no label in {taken}", f"fill it in, or {_COLUMN}", line)
        if number is not None and number != math.floor(number):
            raise fail(
                "B0803",
                path,
                f"{taken} is taken for the labels, but holds real numbers, such as {tag} in line {line}: no classes",
                _COLUMN,
                line,
            )
    if names is None and all(n is not None and n >= 0 for n in numbers):
        return _numbered(path, taken, [n or 0.0 for n in numbers], at), ()
    known = tuple(names) if names else tuple(sorted(set(tags)))
    if len(known) > 256:
        raise fail(
            "B0803",
            path,
            f"{taken} is taken for the labels, but holds {len(known)} different labels: at most 256 are classes",
            _COLUMN,
        )
    return _indexed(path, tags, at, known), known


_COLUMN = "say which column holds the labels, by name or number from 0: --label COLUMN"


def _numbered(path: Source, taken: str, numbers: list[float], at: list[int]) -> np.ndarray:
    """Labels that are whole numbers already.  Raises BnncError B0803 for what is no byte."""
    line, most = max(zip(at, numbers, strict=True), key=lambda x: x[1], default=(0, 0))
    if most > 255:
        raise fail(
            "B0803",
            path,
            f"label {most:.0f} in line {line}: {taken} is taken for the labels, whole numbers 0..255",
            f"number the classes from 0, or {_COLUMN}",
            line,
        )
    return np.array(numbers).astype(np.uint8)


def _indexed(path: Source, tags: list[str], at: list[int], known: tuple[str, ...]) -> np.ndarray:
    """The number of each tag among the classes.  Raises BnncError B0803."""
    index = {tag: k for k, tag in enumerate(known)}
    for line, tag in zip(at, tags, strict=True):
        if tag not in index:
            raise fail(
                "B0803",
                path,
                f"line {line}: class `{tag}` is not in the training file",
                "use the same class names in both files",
                line,
            )
    return np.array([index[tag] for tag in tags], np.uint8)


def header(path: Source) -> tuple[str, ...]:
    """The names in the first line of a CSV file of which no column is taken for labels, () where there are none.
    Raises BnncError."""
    with _csv(path) as lines:
        top = [r for _, r in itertools.islice(lines, 2)]
    return tuple(top[0]) if _csv_header(path, "none", top)[0] else ()


def label_column(path: Source, label: str | int = "last") -> str:
    """Which column of a CSV file :func:`read_table` takes for the labels, in words, "" for none.  Raises BnncError."""
    with _csv(path) as lines:
        return _csv_header(path, label, [r for _, r in itertools.islice(lines, 2)])[2]


@contextlib.contextmanager
def _csv(path: Source) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """The lines of a CSV file that are not empty, with their numbers."""
    with guard(path, "CSV"), open(path, encoding="utf-8-sig", newline="") as f:
        delimiter = max(",;\t", key=f.readline().count)
        f.seek(0)
        reader = csv.reader(f, delimiter=delimiter)
        clean = str.strip if delimiter == "," else _with_point
        yield ((reader.line_num, [clean(c) for c in r]) for r in reader if any(c.strip() for c in r))


def _with_point(cell: str) -> str:
    """A cell of a file in which no comma parts columns: one in a number is its decimal point."""
    cell = cell.strip()
    return cell.replace(",", ".") if re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", cell) else cell


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _csv_header(path: Source, label: str | int, top: list[list[str]]) -> tuple[bool, int | None, str]:
    """Whether the first of the ``top`` two lines is a header, and the column of the labels, also in words; None and ""
    where there is none."""
    if not top:
        raise fail("B0804", path, "no samples", "the file is empty")
    first, second, last, number = top[0], top[-1], label == "last", str(label).isdecimal()
    words = all(_number(c) is None for c in first)
    if label == "none":
        return words and len(top) > 1, None, ""
    column = len(first) - 1 if last else int(label) if number else first.index(str(label)) if label in first else -1
    if not 0 <= column < len(first):
        raise fail("B0805", path, f"no column `{label}`", f"the first line is: {', '.join(first)[:200]}")
    odd = _number(first[column]) is None and column < len(second) and _number(second[column]) is not None
    header = not (last or number) or odd or words
    name = f" `{first[column]}`" if header else ""
    return header, column, f"column {column}{name} ({'the last; ' if last else ''}columns are counted from 0)"
