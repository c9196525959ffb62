"""Every command that bnnc prints, and every one in its documents, is one that its command line takes.

Texts are read where they stand: strings of the sources (`bnnc ...` in backquotes, Next lines, Examples), Markdown and
specs.  Whole lines are parsed with their values; a mention in a sentence may leave arguments out, but not name an
option that does not exist.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bnnc import codes
from bnnc.cli import cli

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    p for folder in ("bnnc", "backends", "benchmarks", "examples", "studies") for p in (ROOT / folder).rglob("*.py")
)
DOCUMENTS = sorted(
    p
    for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/*"), *ROOT.glob("examples/*/*"), *ROOT.glob("templates/**/*.j2"))
    if p.suffix in (".md", ".bnn", ".service", ".j2")
)
QUOTED = re.compile(r"`((?:BNNC_\w+=\S+ )*bnnc [a-z-][^`]*)`")
LINE = re.compile(r"^(?:#|\s|\$)*((?:BNNC_\w+=\S+ )*bnnc +(?:-|[a-z]+\b).*)$", re.MULTILINE)
VALUE = "7"  # what stands for a value in an f-string: a file's name or a number


def strings(path: Path) -> Iterator[str]:
    """The string constants of a Python file, with VALUE for what is put in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in ast.walk(n) if v is not n}
    for n in ast.walk(tree):
        if isinstance(n, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else VALUE for v in n.values)
        elif isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in inside:
            yield n.value


def lines_of(text: str) -> list[str]:
    """Commands that have a line of their own."""
    return [m[1] for m in LINE.finditer(re.sub(r"\s*\\\n\s*", " ", text))]


def words(text: str) -> list[str]:
    """What the command line gets; a remark behind `#` or three blanks is left out."""
    given = shlex.split(re.split(r"\s{3,}", re.sub(r"(bnnc [a-z]+)\s+", r"\1 ", text))[0], comments=True)
    while given[0].startswith("BNNC_"):
        del given[0]
    assert given[0] == "bnnc"
    return given[1:]


def parse(text: str, whole: bool) -> None:
    """Raise click's UsageError where the command line does not take ``text``."""
    command: click.Command = cli
    given, ctx = words(text), click.Context(cli, info_name="bnnc")
    while isinstance(command, click.Group) and given and not given[0].startswith("-"):
        name = given.pop(0)
        found = command.get_command(ctx, name)
        if found is None:
            raise click.UsageError(f"no command {name}")
        command, ctx = found, click.Context(found, ctx, info_name=name)
    if whole and not {"--help", "-h", "--version"} & {*given}:
        command.make_context(command.name, given, parent=ctx.parent)
        return
    known = {o for p in command.get_params(ctx) for o in (*p.opts, *p.secondary_opts)}
    for word in given[: given.index("--")] if "--" in given else given:
        if word.startswith("-") and word.partition("=")[0] not in known:
            raise click.NoSuchOption(word)


@cache
def commands() -> list[tuple[str, str, bool]]:
    """(where, command, whether it is whole)."""
    found = [(p, text) for p in SOURCES for text in strings(p)] + [
        (p, p.read_text(encoding="utf-8")) for p in DOCUMENTS
    ]
    out = []
    for path, text in found:
        where, document = str(path.relative_to(ROOT)), path in DOCUMENTS
        out += [(where, m, False) for m in QUOTED.findall(text)]
        out += [(where, m.group(1), True) for m in re.finditer(r"Example: (bnnc .*)", text)]
        out += [(where, m, True) for m in lines_of(text) if document or "Start:" in text]
        out += [(where, m, True) for m in re.findall(r"Start:  (bnnc .*)", text)]
    return sorted(set(out))


def test_there_are_many() -> None:
    """The collection is not empty in any of the places that it looks at."""
    for place, least in (
        ("bnnc/cli/", 8),
        ("bnnc/codes/", 6),
        ("bnnc/study/experiment.py", 1),
        ("README.md", 8),
        ("docs/", 8),
        ("examples/", 30),
    ):
        assert sum(where.startswith(place) for where, _, _ in commands()) >= least, place
    assert sum(whole for _, _, whole in commands()) >= 40


def test_the_command_line_takes_every_command() -> None:
    wrong = []
    for where, text, whole in commands():
        try:
            parse(text, whole)
        except (click.ClickException, ValueError) as e:
            wrong.append(f"{where}: {text}: {getattr(e, 'message', e)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text", ["bnnc chek FILE", "bnnc check FILE --ruel RULE", "bnnc data pak FILE", "bnnc compile FILE --sources DIR"]
)
def test_a_command_that_does_not_exist_is_found(text: str) -> None:
    for whole in (False, True):
        with pytest.raises(click.UsageError):
            parse(text, whole)


def test_every_code_in_a_text_exists() -> None:
    for where, text, _ in commands():
        for code in re.findall(r"\bexplain (B\d{4})", text):
            assert code in codes.CODES, where


# -- what is printed behind a success
# ------------------------------------------------------------------------------------

SPEC = "network net { input u8[6]; dense 8; batchnorm; sign; dense 3; batchnorm; loss; }\nrule edge;\n"


def following(text: str) -> list[str]:
    """The commands of the last line."""
    last = text.splitlines()[-1]
    assert last.startswith("Next: "), text
    return [c for c in last.removeprefix("Next: ").split("   ") if c.startswith("bnnc ")]


@pytest.mark.parametrize("file", ["net.bnn", "my net.bnn"])
def test_next_lines_run(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command that a success names is run, until one wants a compiler; names with blanks as well."""
    monkeypatch.chdir(tmp_path)
    Path(file).write_text(SPEC.replace("; ", ";  "))
    todo = [
        shlex.join(("bnnc", "fmt", "--check", file)),
        shlex.join(("bnnc", "deploy", file, "me@there", "--folder", "a")),
        shlex.join(("bnnc", "compile", file, "--emit-only")),
        "bnnc data make prototypes --train 20 --test 10 -o p.bnnd",
    ]
    done: list[str] = []
    while todo:
        text = todo.pop(0)
        done.append(text)
        result = CliRunner().invoke(cli, words(text), prog_name="bnnc")
        assert result.exit_code == (1 if "--check" in text else 0), (text, result.output)
        for command in following(result.output) if "data preview" not in text else ():
            parse(command, True)
            if (
                command not in done
                and not command.startswith(("bnnc run", "bnnc compile", "bnnc build"))
                and "--run" not in command
            ):
                todo.append(command)
    assert {shlex.split(text)[1] for text in done} >= {"fmt", "check", "plan", "deploy", "compile", "data"}


def test_the_program_of_a_gpu_runs_as_its_next_line_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports bnnc, so the line names the Python that has it, whatever `python3` is on the path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my net.bnn").write_text(SPEC)
    result = CliRunner().invoke(cli, ["compile", "my net.bnn", "--target", "triton", "-o", "x.py"], prog_name="bnnc")
    assert result.exit_code == 0, result.output
    last = result.output.splitlines()[-1].removeprefix("Next: ")
    train, shown = (shlex.split(c) for c in last.split("   or   "))
    assert train[:2] == shown[:2] == [sys.executable, "./x.py"] and train[2] == "train"
    if find_spec("torch") and find_spec("triton"):
        done = subprocess.run(
            shown, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}, timeout=120
        )
        assert done.returncode == 0 and "train" in done.stdout, done.stderr
