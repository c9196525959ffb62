"""Describe: the language as a reader looks it up, made from the registry, the sections of a spec and the grammar.

``bnnc describe`` and docs/language.md print what is here.  A name that somebody registers is described like a built-in
one: everything but the headings and the introduction of the page is read from the records.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from .. import builtin
from ..model import Call
from ..registry import REQUIRED, LayerDef, Named, Param, Tables
from ..rules.base import NUMERICS, Rule
from . import fmt
from .literals import SIZE_UNITS
from .parse import parse
from .sections import DATA, SECTIONS, STATEMENTS, TRAIN
from .values import WANTED

WIDTH = 80
NAME = 13  # columns of names in lists
GROUPS = (  # kind, heading, how a call of the kind is written
    ("section", "Sections", ""),
    ("setting of `train`", "Settings of `train`", "{};"),
    ("setting of `data`", "Settings of `data`", "{};"),
    ("statement", "Statements", ""),
    ("layer", "Layers", ""),
    ("rule", "Rules", "rule {};"),
    ("optimiser", "Optimisers", "optimizer = {};"),
    ("schedule", "Schedules", "schedule = {};"),
    ("stop", "Stops", "stop = {};"),
    ("surrogate", "Surrogates", "sign surrogate = {};"),
    ("augmentation", "Augmentations", "augment = {};"),
    ("encoder", "Encoders", "input <type> {};"),
    ("data source", "Data sources", "train = {};"),
    ("classifier", "Classifiers", "classifier = {}"),
)
FORMS = {kind: form for kind, _, form in GROUPS}
OF_TABLE = {
    "optimizers": "an optimiser",
    "sources": "a data source",
    "augments": "an augmentation, or a list of some",
}  # others: the table's name without its s
INTRODUCTION = """\
# The language

This page is made by `bnnc describe --markdown`, from the records that bnnc itself reads specs by; `bnnc describe`
lists all names and `bnnc describe NAME` prints one of them.

A spec is a text of sections and statements: `network` holds the layers from `input` to the loss, `rule` says how they
learn, `train` holds the settings of training, `allow` what `--ram` may change of them, and `data` names the files.  A
statement ends with `;` or has a body in braces.  What stands behind `#` is a comment.  Arguments without a name come
in the order shown here; all others are given as `name = value`, in any order.
"""


@dataclass(frozen=True)
class Argument:
    """One argument or setting in words: the values that it takes, and what it is when it is not given."""

    name: str
    values: str
    default: str  # empty: it must be given
    doc: str
    positional: bool


@dataclass(frozen=True)
class Entry:
    """All that there is to say about one name.  ``usage`` is how it is written; ``facts`` are (word, text)."""

    kind: str
    name: str
    doc: str
    usage: str
    arguments: tuple[Argument, ...]
    facts: tuple[tuple[str, str], ...]
    formula: str
    source: str
    example: str

    def to_json(self) -> dict[str, Any]:
        """Plain data, the formula as a list of lines."""
        return {
            "kind": self.kind,
            "name": self.name,
            "doc": self.doc,
            "usage": self.usage,
            "arguments": [
                {
                    "name": a.name,
                    "values": a.values,
                    "default": a.default or None,
                    "doc": a.doc,
                    "named": not a.positional,
                }
                for a in self.arguments
            ],
            **dict(self.facts),
            "formula": self.formula.splitlines(),
            "source": self.source,
            "example": self.example,
        }


def _join(names: Iterable[str], last: str = "or") -> str:
    names = list(names)
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _number(n: float) -> str:
    return f"{n:.15g}"


def shown(value: Any, tables: Tables, kind: str = "") -> str:
    """A value as a spec writes it; of a call only the arguments that are not its defaults."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(map(_number, value)) or "none"
    if not isinstance(value, Call):
        return _number(value) if isinstance(value, int | float) else str(value)
    table = tables.encoders if kind == "encoder" else getattr(tables, kind.removeprefix("call:"))
    usual = {p.name: p.default for p in table[value.name].params}
    own = ", ".join(f"{k} = {shown(v, tables)}" for k, v in value.args if v != usual[k])
    return f"{value.name}({own})" if own else value.name


def values_of(p: Param) -> str:
    """The values that a parameter takes, in words."""
    if p.choices:
        return _join(p.choices)
    table = "encoders" if p.type == "encoder" else p.type.partition(":")[2] if ":" in p.type else ""
    if table:
        noun = table.removesuffix("s")
        return OF_TABLE.get(table) or ("an " if noun[0] in "aeiou" else "a ") + noun
    low = f"above {_number(p.above)}" if p.above is not None else ""
    if p.minimum is not None and p.maximum is not None:
        bounds = f"from {_number(p.minimum)} to {_number(p.maximum)}"
    else:
        low = low or (f"at least {_number(p.minimum)}" if p.minimum is not None else "")
        bounds = ", ".join(filter(None, (low, f"at most {_number(p.maximum)}" if p.maximum is not None else "")))
    return f"{WANTED[p.type].replace('`', '')} {bounds}".strip()


def default_of(p: Param, owner: str, tables: Tables) -> str:
    """What a parameter is when it is not given; empty where it must be."""
    if p.default is REQUIRED:
        return ""
    if p.default is not None:
        return shown(p.default, tables, p.type)
    own = {n: r.impl for n, r in sorted(tables.rules.items()) if isinstance(r.impl, Rule) and NUMERICS not in r.params}
    by_rule = {n: rule.decides(owner, p) for n, rule in own.items()}
    found = {value: [n for n, v in by_rule.items() if v == value] for value in by_rule.values() if value is not None}
    if p.otherwise or not found:
        return p.otherwise or "none"
    return "the rule's: " + "; ".join(f"{v} ({', '.join(names)})" for v, names in found.items())


def _argument(p: Param, owner: str, tables: Tables) -> Argument:
    return Argument(p.name, values_of(p), default_of(p, owner, tables), p.doc, p.positional)


def _usage(kind: str, name: str, arguments: tuple[Argument, ...], body: bool) -> str:
    """How a name is written: <...> must be given, what is in brackets may be left out."""
    placed = [f"<{a.name}>" if not a.default else f"[<{a.name}>]" for a in arguments if a.positional]
    needed = [f"{a.name} = ..." for a in arguments if not a.positional and not a.default]
    others = ["[name = value ...]"] if len(placed) + len(needed) < len(arguments) else []
    words = [*placed, *needed, *others]
    if FORMS[kind]:
        return FORMS[kind].format(f"{name}({', '.join(words)})" if words else name)
    return " ".join((name, *words)) + (" { ... }" if body else ";")


def _layer_facts(d: LayerDef) -> Iterator[tuple[str, str]]:
    shape = "of one axis" if d.flat_input else "[rows, columns, channels]" if d.images else "of any shape"
    shape = "[steps, features]" if d.sequences else shape
    yield "takes", d.about.takes or f"{_join(d.input_kinds)} {shape}"
    yield "gives", d.about.gives
    if d.least_rows > 1:
        yield "needs", f"{d.least_rows} rows of each channel in a step or more; `check` warns of fewer"


def _rule_facts(rule: Named, tables: Tables) -> Iterator[tuple[str, str]]:
    impl = rule.impl
    yield "gives", rule.about.gives
    if not isinstance(impl, Rule):
        return
    left = [n for n, d in tables.layers.items() if d.forward is None and n not in impl.layers]
    yield "takes", rule.about.takes or "every layer" + (f" but {_join(left)}" if left else "")
    if NUMERICS in rule.params:
        yield "keeps", "one block at a time" if impl.at_once else "from forward to backward: as its numerics"
        yield "sets", "what its numerics set"
    elif impl.backward is None:
        yield "keeps", f"from forward to backward: {_join(impl.keep, 'and') if impl.keep else 'values of every type'}"
        yield (
            "sets",
            ", ".join(f"{param} of {layer} to {value}" for (layer, param), value in impl.layer_defaults.items()),
        )


def _entry(kind: str, record: Named | LayerDef, tables: Tables) -> Entry:
    arguments = tuple(_argument(p, record.name, tables) for p in record.params)
    about = record.about
    if isinstance(record, LayerDef):
        facts, body = [*_layer_facts(record)], record.role in ("container", "branch")
    else:
        facts = [*_rule_facts(record, tables)] if kind == "rule" else [("takes", about.takes), ("gives", about.gives)]
        body = kind in ("section", "statement") and record.name != "rule"
    facts.append(("known as", ", ".join(about.known)))
    usage = "" if record.name in ("let", "block") else _usage(kind, record.name, arguments, body)
    if kind == "section" and not any(a.positional for a in arguments):
        usage = f"{record.name} {{ setting = value; ... }}"
    return Entry(
        kind,
        record.name,
        record.doc,
        usage,
        arguments,
        tuple((word, text) for word, text in facts if text),
        about.formula,
        about.source,
        about.example and fmt.format(parse(about.example)),
    )


def _settings(section: str, params: Iterable[Param], tables: Tables) -> Iterator[Entry]:
    for p in params:
        a = _argument(p, section, tables)
        facts = (("takes", a.values), ("default", a.default))
        example = fmt.format(parse(SECTIONS[section].about.example))
        yield Entry(f"setting of `{section}`", p.name, p.doc, f"{p.name} = ...;", (), facts, "", "", example)


def entries(tables: Tables | None = None) -> tuple[Entry, ...]:
    """Every name of the language, in the order of GROUPS and within each by name; of a spec's parts as they stand."""
    t = tables or builtin.tables()
    records: tuple[tuple[str, Mapping[str, Named | LayerDef]], ...] = (
        ("layer", t.layers),
        ("rule", t.rules),
        ("optimiser", t.optimizers),
        ("schedule", t.schedules),
        ("stop", t.stops),
        ("surrogate", t.surrogates),
        ("augmentation", t.augments),
        ("encoder", t.encoders),
        ("data source", t.sources),
        ("classifier", t.classifiers),
    )
    return (
        *(_entry("section", s, t) for s in SECTIONS.values()),
        *_settings("train", TRAIN, t),
        *_settings("data", DATA, t),
        *(_entry("statement", s, t) for s in STATEMENTS.values()),
        *(_entry(kind, table[name], t) for kind, table in records for name in sorted(table)),
    )


# --- for a terminal ---------------------------------------------------------------------------------------------------


def listing(all_entries: Iterable[Entry]) -> str:
    """One line a name, in groups, of at most WIDTH columns."""
    all_entries = list(all_entries)
    out: list[str] = []
    for kind, heading, _ in GROUPS:
        out += ["", heading.replace("`", "")]
        for e in all_entries:
            if e.kind == kind:
                room = WIDTH - 4 - max(NAME, len(e.name))
                out.append(f"  {e.name:{NAME}}  {textwrap.shorten(e.doc, room, placeholder=' ...')}")
    return "\n".join(out[1:]) + "\n"


def _hung(word: str, text: str, column: int = 10) -> list[str]:
    """``word``, shorter than ``column``, and beside it ``text``, folded to WIDTH."""
    indent = " " * (2 + column)
    lines = textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
    return [f"  {word:{column}}{lines[0].strip() if lines else ''}", *lines[1:]]


def text(e: Entry) -> str:
    """An entry for a terminal of WIDTH columns."""
    out = [f"{e.name}, {'an' if e.kind[0] in 'aeiou' else 'a'} {e.kind.replace('`', '')}", ""]
    out += textwrap.wrap(e.doc, WIDTH, initial_indent="  ", subsequent_indent="  ")
    out += ["", *(_hung("written", e.usage) if e.usage else [])]
    for word, fact in e.facts:
        out += _hung(word, fact)
    out += _hung("source", e.source) if e.source else []
    out += ["", *(f"  {line}" for line in e.formula.splitlines())] if e.formula else []
    column = max((len(a.name) + 2 for a in e.arguments), default=0)
    if e.arguments:
        out.append("")
    for a in e.arguments:
        out += _hung(a.name, a.doc, column)
        out += _hung("", f"{a.values}; {f'default: {a.default}' if a.default else 'must be given'}", column)
    out += ["", *(f"    {line}" for line in e.example.splitlines())] if e.example else []
    return "\n".join(line.rstrip() for line in out) + "\n"


# --- as a page --------------------------------------------------------------------------------------------------------


def _page(e: Entry) -> Iterator[str]:
    yield f"### {e.name}\n\n{e.doc[0].upper()}{e.doc[1:]}.\n"
    if e.usage:
        yield f"    {e.usage}\n"
    if e.arguments:
        yield "| argument | values | default | |\n| --- | --- | --- | --- |"
        for a in e.arguments:
            yield f"| `{a.name}` | {a.values} | {a.default or 'must be given'} | {a.doc} |"
        yield ""
    facts = [*e.facts, *([("source", e.source)] if e.source else [])]
    if facts:
        yield "\n".join(f"- {word}: {fact}" for word, fact in facts) + "\n"
    if e.formula:
        yield textwrap.indent(e.formula, "    ") + "\n"
    if e.example:
        yield f"```\n{e.example}```\n"


def _values() -> Iterator[str]:
    yield "## Values\n"
    for kind, wanted in WANTED.items():
        yield f"- {wanted}" + (f" ({', '.join(SIZE_UNITS)})" if kind == "size" else "")
    yield "- a name with arguments: `adam(lr = 3e-3)`"
    yield "- a share: `10%` is 0.1\n"
    grammar = files("bnnc.grammar").joinpath("bnn.lark").read_text(encoding="utf-8")
    rules = grammar[grammar.index("start:") : grammar.index("// Mistakes that the lexer")].rstrip()
    yield f"## Grammar\n\nAs `grammar/bnn.lark` has it, for [Lark](https://github.com/lark-parser/lark):\n\n```\n{rules}\n```"


def markdown(all_entries: Iterable[Entry]) -> str:
    """The page docs/language.md."""
    all_entries, out = list(all_entries), [INTRODUCTION]
    groups = [(kind, heading) for kind, heading, _ in GROUPS if not kind.startswith("setting")]  # these: in a section
    for kind, heading in groups:
        names = ", ".join(e.name for e in all_entries if e.kind == kind)
        out.append(f"- [{heading}](#{heading.lower().replace(' ', '-')}): {names}")
    out.append("- [Values](#values) and the [grammar](#grammar)\n")
    for kind, heading in groups:
        out += [f"## {heading}\n", *(line for e in all_entries if e.kind == kind for line in _page(e))]
    return "\n".join([*out, *_values()]) + "\n"
