"""Mutants of specs: the examples' texts with a few edits each, and the judge of what bnnc says to them.

A mutant follows from its seed alone.  It ends in an error with a code, which ``check`` tells, or in a plan; in at most
10 seconds of processor time and 2 GiB, and never in a traceback.  Each mutant is judged in a process of its own, with
these limits. Every eighth goes on: its program is written, and the command ``plan`` prints its table.

    python tests/fuzz/mutants.py 0 3000       judge the seeds 0 to 2999; failing seeds are printed, at the end what was
                                              met
    python tests/fuzz/mutants.py 17           print mutant 17 and what comes of it
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bnnc import builtin, cli, driver, knobs
from bnnc.codes import CODES
from bnnc.diag import BnncError, render
from bnnc.front import sections as spec_sections

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/*.bnn"))
SECONDS, BYTES = 10, 2 << 30
# Codes that stages after `check` may give: they depend on the target.
LATER = {"B0710", "B0715"}
TOKEN = re.compile(r'#[^\n]*|"[^"\n]*"|\d[\w.]*%?|\w+|\s+|[^\w\s]')
STATEMENT = re.compile(r"[^;{}]*;\n?")
NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "3",
    "7",
    "33",
    "127",
    "1e3",
    "65535",
    "65536",
    "65537",
    "1000000",
    "2147483647",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "9223372036854775808",
    "1e18",
    "1e400",
    "1e-400",
    "0.5",
    "2.5",
    "-0.5",
    "1/3",
    "(1 / 0)",
    "100%",
    "0.1%",
    "1KiB",
    "0x10",
    "1" * 50,
)
KEYWORDS = ("network", "block", "repeat", "let", "rule", "train", "data", "allow", "on", "off", "name", "input", "loss")
SIGNS = ("{", "}", "(", ")", "[", "]", ";", ",", "=", "-", "*", "/", "%", '"', "#", "\\")
CHARACTERS = (
    "\u00e9",
    "\u4e2d",
    "\U0001f600",
    "\u200b",
    "\u202e",
    "\x00",
    "\ufeff",
    "\u00b2",
    "\u0663",
    "\u2212",
    "\t",
    "\r",
    "\x1b",
    "\x7f",
)


@cache
def names() -> tuple[str, ...]:
    """Every registered name and the names of all parameters."""
    t = builtin.tables()
    tables = (t.layers, t.rules, t.optimizers, t.schedules, t.stops, t.encoders, t.sources, t.classifiers)
    params = {p.name for table in tables for record in table.values() for p in record.params}
    return tuple(
        sorted(
            {n for table in tables for n in table}
            | params
            | {p.name for p in (*spec_sections.TRAIN, *spec_sections.DATA)}
        )
    )


@cache
def arguments() -> tuple[str, ...]:
    """An argument of every layer, written with its name, at each of its bounds and choices."""
    out = []
    for layer in builtin.tables().layers.values():
        for p in layer.params:
            values = [*p.choices, *(f"{x:.15g}" for x in (p.minimum, p.maximum) if x is not None), "on", "3"]
            out += [f" {p.name} = {v}" for v in values]
    return tuple(dict.fromkeys(out))


Edit = Callable[[random.Random, str], str]


def _tokens(text: str, what: str) -> list[re.Match[str]]:
    return [m for m in TOKEN.finditer(text) if re.match(what, m[0])] or list(TOKEN.finditer(text))


def _put(text: str, m: re.Match[str], new: str) -> str:
    return text[: m.start()] + new + text[m.end() :]


def _token(r: random.Random, text: str, what: str = r"\S") -> re.Match[str]:
    return r.choice(_tokens(text, what))


def _swap(text: str, a: re.Match[str], b: re.Match[str]) -> str:
    a, b = sorted((a, b), key=lambda m: m.start())
    return (
        text[: a.start()] + b[0] + text[a.end() : b.start()] + a[0] + text[b.end() :]
        if a.start() != b.start()
        else text
    )


def _statement(r: random.Random, text: str) -> re.Match[str]:
    return r.choice(list(STATEMENT.finditer(text)) or list(TOKEN.finditer(text)))


def delete_token(r: random.Random, text: str) -> str:
    return _put(text, _token(r, text), "")


def double_token(r: random.Random, text: str) -> str:
    m = _token(r, text)
    return _put(text, m, f"{m[0]}{r.choice(('', ' '))}{m[0]}")


def swap_tokens(r: random.Random, text: str) -> str:
    return _swap(text, _token(r, text), _token(r, text))


def delete_statement(r: random.Random, text: str) -> str:
    return _put(text, _statement(r, text), "")


def double_statement(r: random.Random, text: str) -> str:
    m = _statement(r, text)
    return _put(text, m, m[0] * r.choice((2, 2, 3, 10)))


def move_statement(r: random.Random, text: str) -> str:
    m = _statement(r, text)
    rest = _put(text, m, "")
    at = r.choice([x.end() for x in TOKEN.finditer(rest) if x[0] in ";{}"] or [len(rest)])
    return rest[:at] + m[0] + rest[at:]


def swap_statements(r: random.Random, text: str) -> str:
    return _swap(text, _statement(r, text), _statement(r, text))


def number(r: random.Random, text: str) -> str:
    return _put(text, _token(r, text, r"\d"), r.choice(NUMBERS))


def larger(r: random.Random, text: str) -> str:
    m = _token(r, text, r"\d")
    return (
        _put(text, m, str(int(m[0]) * r.choice((2, 3, 10, 100, 1000)) + r.choice((0, 0, 1))))
        if m[0].isdigit()
        else text
    )


def smaller(r: random.Random, text: str) -> str:
    m = _token(r, text, r"\d")
    return _put(text, m, str(r.randint(1, max(1, int(m[0]))))) if m[0].isdigit() else text


def name(r: random.Random, text: str) -> str:
    long = "".join(r.choice("abcdefghijklmnopqrstuvwxyz_") for _ in range(60))
    return _put(
        text, _token(r, text, r"[a-zA-Z_]"), r.choice((r.choice(KEYWORDS), r.choice(names()), r.choice(names()), long))
    )


def argument(r: random.Random, text: str) -> str:
    m = r.choice([m for m in TOKEN.finditer(text) if m[0] == ";"] or list(TOKEN.finditer(text)))
    return text[: m.start()] + r.choice(arguments()) + text[m.start() :]


def layer(r: random.Random, text: str) -> str:
    """A layer, perhaps with a number, after another statement."""
    m = _statement(r, text)
    new = f"{r.choice(sorted(builtin.tables().layers))}{r.choice(('', ' 3', ' 16', ' 33 3', r.choice(arguments())))};"
    return text[: m.end()] + new + text[m.end() :]


def cut(r: random.Random, text: str) -> str:
    at = r.randrange(len(text) + 1)
    return text[:at] if r.random() < 0.7 else text[at:]


def sign(r: random.Random, text: str) -> str:
    at = r.choice([m.start() for m in TOKEN.finditer(text)] or [0])
    return text[:at] + r.choice(SIGNS) * r.choice((1, 1, 1, 2, 80)) + text[at:]


def character(r: random.Random, text: str) -> str:
    at = r.randrange(len(text) + 1)
    return text[:at] + r.choice(CHARACTERS) + text[at:]


def rule(r: random.Random, text: str) -> str:
    new = f"rule {r.choice(sorted(builtin.tables().rules))};\n"
    m = re.search(r"^rule [^;]*;\n", text, re.M)
    return _put(text, m, new) if m else text + new


def setting(r: random.Random, text: str) -> str:
    p = r.choice(spec_sections.TRAIN)
    t = builtin.tables()
    table = {"optimizer": t.optimizers, "schedule": t.schedules, "stop": t.stops}.get(p.name)
    value = r.choice(sorted(table)) if table else r.choice(("on", "off", *NUMBERS))
    m = re.search(r"train *\{", text)
    return (
        text[: m.end()] + f" {p.name} = {value};" + text[m.end() :]
        if m
        else text + f"train {{ {p.name} = {value}; }}\n"
    )


EDITS: tuple[Edit, ...] = (
    delete_token,
    double_token,
    swap_tokens,
    delete_statement,
    double_statement,
    move_statement,
    move_statement,
    swap_statements,
    number,
    number,
    larger,
    larger,
    smaller,
    smaller,
    name,
    argument,
    argument,
    layer,
    layer,
    cut,
    sign,
    character,
    rule,
    setting,
)


@dataclass(frozen=True)
class Mutant:
    """``edits``: the names of what was done to the text of ``example``."""

    seed: int
    example: str
    edits: tuple[str, ...]
    text: str


def mutant(seed: int) -> Mutant:
    """One to three edits of one example; the same seed is the same mutant."""
    r = random.Random(seed)
    path = EXAMPLES[seed % len(EXAMPLES)]
    text = re.sub(r"#[^\n]*", "", path.read_text(encoding="utf-8"))
    edits = [r.choice(EDITS) for _ in range(r.choice((1, 1, 2, 3)))]
    for edit in edits:
        text = edit(r, text) or ";"
    return Mutant(seed, path.name, tuple(e.__name__ for e in edits), text)


@dataclass(frozen=True)
class Verdict:
    """``what``: ``plan``, or the stage that refused and its codes (``check B0101``); ``fault``: why that is wrong, or
    nothing.
    """

    what: str
    fault: str = ""
    seconds: float = 0.0


def _refused(stage: str, e: BnncError) -> Verdict:
    render(e.diagnostics, e.sources)
    codes = sorted({d.code for d in e.diagnostics if d.severity == "error"})
    fault = "" if codes and all(c in CODES for c in codes) else "an error without a code"
    if stage != "check" and not fault:
        late = [d for d in e.diagnostics if d.code not in LATER]
        fault = f"refused after `check`: {e.diagnostics[0].message}" if late else ""
    return Verdict(f"{stage} {' '.join(codes)}", fault)


def _judge(text: str, whole: bool) -> Verdict:
    """Within this process, without limits."""
    stage = "check"
    try:
        options = driver.Options(text, "mutant.bnn")
        driver.check_text(options)
        stage = "plan"
        planned = driver.plan_text(options)
        if whole:
            stage = "emit"
            driver.emit_source(planned)
    except BnncError as e:
        return _refused(stage, e)
    if not whole:
        return Verdict("plan")
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as said,
    ):
        file = Path(folder) / "mutant.bnn"
        file.write_text(text, encoding="utf-8", newline="")
        try:
            cli.cli.main(["plan", str(file)], standalone_mode=False)
        except SystemExit as e:
            if e.code:
                return Verdict("command", f"`bnnc plan` ends with {e.code}: {said.getvalue()[-400:]}")
    return Verdict("source")


def judge(text: str, whole: bool = False, seconds: int = SECONDS, memory: int = BYTES) -> Verdict:
    """What bnnc says to ``text``, in a process of its own with limits.  ``whole``: as far as its source and the command
    `plan`.
    """
    knobs.read()
    start, (read, write) = time.perf_counter(), os.pipe()
    child = os.fork()
    if child == 0:  # nothing but _exit may leave here
        os.close(read)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory,) * 2)
        try:
            v = _judge(text, whole)
        except BaseException as e:  # noqa: BLE001 - whatever it is, it is the verdict
            where = traceback.extract_tb(e.__traceback__)[-1]
            v = Verdict("traceback", f"{type(e).__name__}: {str(e)[:300]} ({Path(where.filename).name}:{where.lineno})")
        with contextlib.suppress(BaseException):
            os.write(write, json.dumps([v.what, v.fault]).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status, used = os.wait4(child, 0)
    took = time.perf_counter() - start
    if os.WIFSIGNALED(status) or not said:
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        why = f"more than {seconds} s" if number in (signal.SIGXCPU, signal.SIGKILL) else f"ended by signal {number}"
        return Verdict("ended", why, took)
    what, fault = json.loads(said)
    return Verdict(what, fault, used.ru_utime + used.ru_stime)


@dataclass
class Count:
    """What was met: verdicts, the slowest mutants, and the mutants that fail."""

    verdicts: Counter[str]
    slowest: list[tuple[float, int]]
    faults: list[tuple[Mutant, Verdict]]

    def __str__(self) -> str:
        rows = [f"{n:6}  {what}" for what, n in self.verdicts.most_common()]
        slow = ", ".join(f"{s:.1f} s (seed {seed})" for s, seed in self.slowest[:5])
        return "\n".join(
            [
                *rows,
                f"slowest: {slow}",
                f"{self.verdicts.total()} mutants, {len(self.faults)} failures",
                *map(told, self.faults),
            ]
        )


def told(fault: tuple[Mutant, Verdict]) -> str:
    m, v = fault
    return f"FAILS: seed {m.seed} ({m.example}: {', '.join(m.edits)}): {v.what}: {v.fault}"


def run(seeds: Iterable[int], tell: Callable[[str], None] = lambda _: None) -> Count:
    """Judge the mutants of these seeds."""
    count = Count(Counter(), [], [])
    for seed in seeds:
        m = mutant(seed)
        v = judge(m.text, seed % 8 == 0)
        count.verdicts[v.what.split()[0] + (" " + v.what.split()[1] if " " in v.what else "")] += 1
        count.slowest = sorted([*count.slowest, (v.seconds, seed)], reverse=True)[:10]
        if v.fault:
            count.faults.append((m, v))
            tell(told((m, v)))
    return count


def main(args: list[str]) -> int:
    if len(args) == 1:
        m = mutant(int(args[0]))
        v = judge(m.text, m.seed % 8 == 0)
        print(f"{m.text}\n{m.example}: {', '.join(m.edits)}\n{v.what} {v.fault} ({v.seconds:.1f} s)")
        return int(bool(v.fault))
    first, end = (int(a) for a in args) if len(args) == 2 else (0, 3000)
    count = run(range(first, end), lambda line: print(line, flush=True))
    print(count)
    return int(bool(count.faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
