"""Rules about the repository itself: sizes, who may know whose names, no paths of one machine, documented error
codes.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnnc import registry
from bnnc.codes import CODES
from bnnc.ir.ops import OPS

ROOT = Path(__file__).parents[1]
CODE = ("bnnc", "backends", "templates", "grammar")
# Names that are also words of the IR or of the trainer's interface, and what they mean there:
#   sign   an operation of the op table, and a way to initialise a state
#   loss   the role of a Program's result (with `pred`)
#   input  what an operation or a file has; `standard` output in C comments is met by stripping comments
ORDINARY = {"sign": "op", "loss": "result role", "input": "operand"}


def files(*folders: str, suffix: str = ".py") -> Iterator[Path]:
    for folder in folders:
        for p in sorted((ROOT / folder).rglob(f"*{suffix}")):
            if not {"__pycache__", "build", ".venv"} & set(p.parts) and not any(
                part.endswith(".egg-info") for part in p.parts
            ):
                yield p


def show(p: Path) -> str:
    return str(p.relative_to(ROOT))


def lines(p: Path) -> int:
    return len(p.read_text(encoding="utf-8").splitlines())


# -- sizes -----------------------------------------------------------------------------------------------------------


def test_files_are_small() -> None:
    """500 lines a Python file or header, 150 a template."""
    assert not {show(p): lines(p) for p in files(*CODE, "examples", "benchmarks", "studies") if lines(p) > 500}
    assert not {show(p): lines(p) for p in files("templates", suffix=".j2") if lines(p) > 150}
    assert not {show(p): lines(p) for p in files("templates", suffix=".h") if lines(p) > 500}


# Functions over the ceiling, as FILE:NAME -> (branches, lines, why they stay whole).  The table only shrinks: who
# shortens one lowers or strikes out its line, and nobody adds one.
DENSE = {
    "bnnd.py:_header": (14, 36, "one test a field, in the order of the file's header"),
    "bind.py:Binder.coerce": (14, 24, "one case a type of parameter"),
    "parse.py:_Parser.lex": (14, 42, "one case a kind of token"),
    "parse.py:_Parser.explain": (15, 39, "one case a mistake, and their order says which is meant"),
    "build.py:verify_elf": (13, 24, "one comparison a region that the plan counts"),
}
BRANCHES, LINES = 12, 45


def branches(function: ast.AST) -> int:
    """Decisions in a function and in what is nested in it: each if, for, while, except, case, conditional expression
    and `if` of a comprehension, and each chain of and/or, is one.
    """
    kinds = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.match_case, ast.IfExp, ast.BoolOp)
    nodes = list(ast.walk(function))
    return sum(isinstance(n, kinds) for n in nodes) + sum(len(n.ifs) for n in nodes if isinstance(n, ast.comprehension))


def functions(node: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function below a node, with its name in full."""
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{inside}.{child.name}".lstrip(".")
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, child
        yield from functions(child, name)


def size(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, the docstring left out."""
    first, end = function.body[0], function.end_lineno or 0
    docstring = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(function) is not None else 0
    return end - function.lineno + 1 - docstring


def dense() -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for p in files(*CODE, "examples", "benchmarks", "studies"):
        for name, f in functions(ast.parse(p.read_text(encoding="utf-8"))):
            figures = branches(f), size(f)
            if figures[0] > BRANCHES or figures[1] > LINES:
                before = found.get(key := f"{p.name}:{name}", (0, 0))
                found[key] = max(figures[0], before[0]), max(figures[1], before[1])
    return found


def test_functions_are_small() -> None:
    """At most 12 branches and 45 lines a function, but for those in DENSE, which may not grow."""
    found = dense()
    too_large = {f: n for f, n in found.items() if f not in DENSE or n[0] > DENSE[f][0] or n[1] > DENSE[f][1]}
    assert not too_large, "over 12 branches, or over 45 lines: split it by thought"
    assert not set(DENSE) - set(found), "no longer over the ceiling, or renamed: correct DENSE"
    assert not [f for f, (_, _, reason) in DENSE.items() if len(reason.split()) < 4], "say why it stays whole"
    assert len(DENSE) <= 12, "the table only shrinks"


def test_the_ceiling_counts_decisions() -> None:
    """Two ifs, a loop, a chain of ands, a conditional expression, a filter, two cases and an except: nine."""
    text = """
def f(x):
    '''Not counted,
    nor this.'''
    if x and x > 1 and x < 3:
        for y in x:
            if y: x = 1 if y else 2
    match x:
        case 1: pass
        case _: pass
    try: return [y for y in x if y]
    except ValueError: return 0
"""
    ((name, f),) = functions(ast.parse(text))
    assert (name, branches(f), size(f)) == ("f", 9, 9)


def test_the_pipeline_fits_on_one_screen() -> None:
    text = (ROOT / "bnnc/driver.py").read_text(encoding="utf-8")
    table = text[text.index("FRONT: tuple") : text.index("PIPELINE: tuple")]
    assert len(table.splitlines()) <= 40
    callers = [
        show(p)
        for p in files("bnnc", "backends")
        if p.name != "driver.py"
        and re.search(
            r"from \S*(lower\.(expand|differentiate|simplify)|sched\.(fuse|sink|order)|plan\.(pack|strip|place)) "
            r"import .*\b(expand|differentiate|simplify|fuse|sink|order|pack|strip|place)\b",
            p.read_text(encoding="utf-8"),
        )
    ]
    assert callers == []


# -- layout ----------------------------------------------------------------------------------------------------------


def module(p: Path) -> str:
    """The dotted name that a file has once installed: ``backends/c/emit.py`` is ``bnnc.backends.c.emit``."""
    parts = p.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "bnnc" else ("bnnc", *parts)).removesuffix(".__init__")


MODULES = {module(p): p for p in files("bnnc", "backends", "grammar", "templates")}


def runs(tree: ast.AST) -> Iterator[ast.AST]:
    """As ``ast.walk``, without what only a type checker reads."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from runs(child)


def imported(name: str, node: ast.AST) -> set[str]:
    """The modules of bnnc that an import names: of `from x import y` x.y where that is a module, else x."""
    if isinstance(node, ast.Import):
        return {a.name for a in node.names} & set(MODULES)
    if not isinstance(node, ast.ImportFrom):
        return set()
    package = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
    above = package[: len(package) + 1 - node.level] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    return {m if (m := f"{base}.{a.name}") in MODULES else base for a in node.names} & set(MODULES)


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """One way from a node back to it, or nothing."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for other in sorted(arrows.get(node, ())):
            if found := walk(other, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(arrows) if (found := walk(node, []))), [])


def test_the_spine_is_short() -> None:
    """What every room needs, or what needs them all, lies at the top of bnnc; the rest has a room."""
    assert len(list((ROOT / "bnnc").glob("*.py"))) <= 16


def test_every_room_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(["bnnc.examples", *(n for n, p in MODULES.items() if p.name == "__init__.py")])


def test_no_imports_run_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {}
    for name, p in MODULES.items():
        arrows[name] = set().union(*(imported(name, n) for n in runs(ast.parse(p.read_text(encoding="utf-8")))))
    assert arrows["bnnc.driver"] >= {"bnnc.backends.select", "bnnc.front.check"}, "imports are not found"
    assert not circle(arrows)


def test_no_import_of_our_own_is_late() -> None:
    """A function imports nothing of bnnc: what a module needs stands at its top."""
    late = [
        f"{show(p)}:{node.lineno}"
        for name, p in MODULES.items()
        for _, f in functions(ast.parse(p.read_text(encoding="utf-8")))
        for node in ast.walk(f)
        if imported(name, node)
    ]
    assert not late


def test_no_includes_run_in_a_circle() -> None:
    headers = {p.name: p.read_text(encoding="utf-8") for p in files("templates", suffix=".h")}
    arrows = {
        name: set(re.findall(r'^ *# *include "(?:\.\./)?(\w+\.h)"', text, flags=re.M)) for name, text in headers.items()
    }
    assert "bnnc_step.h" in arrows["bnnc_train.h"], "includes are not found"
    assert not circle(arrows)


@pytest.mark.parametrize(("arrows", "found"), [({"a": {"b"}, "b": {"c"}}, 0), ({"a": {"b"}, "b": {"c", "a"}}, 3)])
def test_a_circle_is_found(arrows: dict[str, set[str]], found: int) -> None:
    assert len(circle(arrows)) == found


# -- names -----------------------------------------------------------------------------------------------------------


def registered() -> set[str]:
    return {*registry.rules, *registry.layers, *registry.optimizers}


def anonymous() -> list[Path]:
    """Files that must know no rule, layer or optimiser."""
    return list(files("bnnc/sched", "bnnc/plan", "backends"))


def test_ordinary_words_are_what_they_are_said_to_be() -> None:
    assert set(ORDINARY) <= registered()
    assert "sign" in OPS


def test_no_name_of_a_rule_layer_or_optimiser_in_schedules_plans_and_backends() -> None:
    """Neither as a string (whole: `"dense"`), nor as the name of anything."""
    names, found = registered() - set(ORDINARY), []
    for p in anonymous():
        for node in ast.walk(ast.parse(p.read_text(encoding="utf-8"))):
            words = {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()
            words |= {
                getattr(node, field)
                for field in ("id", "attr", "name", "arg")
                if isinstance(getattr(node, field, None), str)
            }
            found += [f"{show(p)}:{node.lineno}: {w}" for w in words & names]  # type: ignore[attr-defined]
    assert not found


def test_schedules_plans_and_backends_do_not_look_names_up() -> None:
    """They import neither the registry nor what registers itself there, and never ask for a layer's kind."""
    found = []
    for p in anonymous():
        for node in ast.walk(ast.parse(p.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom | ast.Import):
                module = getattr(node, "module", None) or ""
                imported = [module, *(a.name for a in node.names)]
                if any(part in {"registry", "rules", "layers", "optim"} for m in imported for part in m.split(".")):
                    found.append(f"{show(p)}:{node.lineno}: imports {imported}")
            if (
                isinstance(node, ast.Compare)
                and isinstance(node.left, ast.Attribute)
                and node.left.attr in ("kind", "name")
            ):
                of = ast.unparse(node.left.value)
                if "layer" in of or "rule" in of or "optim" in of:
                    found.append(f"{show(p)}:{node.lineno}: {ast.unparse(node)}")
    assert not found


def test_no_such_name_in_templates() -> None:
    """In Jinja expressions no word or string; in the C around them, comments aside, no word but the ordinary ones."""
    names, found = registered(), []
    for p in [*files("templates", suffix=".j2"), *files("templates", suffix=".h")]:
        text = re.sub(r"\{#.*?#\}", "", p.read_text(encoding="utf-8"), flags=re.S)
        for expression in re.findall(r"\{[{%](.*?)[%}]\}", text, flags=re.S):
            found += [f"{show(p)}: {w}" for w in set(re.findall(r"\w+", expression)) & names]
        c = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S)
        c = re.sub(
            r'"(?:[^"\\\n]|\\.)*"', lambda m: m[0] if m[0].strip('"') in names else '""', c
        )  # prose in messages is prose
        found += [f"{show(p)}: {w} in C" for w in set(re.findall(r"\w+", c)) & (names - set(ORDINARY))]
    assert not found


def test_the_grammar_knows_no_name() -> None:
    text = "\n".join(p.read_text(encoding="utf-8") for p in files("grammar", suffix=".lark"))
    rules = re.sub(r"//[^\n]*", "", text)
    assert text
    assert not set(re.findall(r'"(\w+)"', rules)) & registered()


# -- paths, codes, leftovers -----------------------------------------------------------------------------------------

SHIPPED = (".py", ".j2", ".h", ".c", ".md", ".toml", ".bnn", ".lark", ".txt", ".json", ".yml", "Makefile")
ABSOLUTE = re.compile(r"(?<![\w.:/~-])/(?:home|root|work|Users|mnt)/\w")


def shipped() -> list[Path]:
    """Text files of the repository, without what git ignores (builds, caches, the virtual environment)."""
    folders = ("bnnc", "backends", "templates", "grammar", "tests", "examples", "docs", "benchmarks", "studies", ".ci")
    top = [p for p in ROOT.iterdir() if p.is_file()]
    return [
        p
        for p in [*top, *files(*folders, suffix="")]
        if p.is_file() and p.name.endswith((*SHIPPED, "run")) and p.stat().st_size < 1 << 20
    ]


def test_no_path_of_one_machine() -> None:
    found = {
        show(p): m[0] for p in shipped() if p != Path(__file__) if (m := ABSOLUTE.search(p.read_text(encoding="utf-8")))
    }
    assert not found


def test_every_error_code_is_documented_and_used() -> None:
    used: dict[str, str] = {}
    for p in files("bnnc", "backends"):
        if p.parent.name != "codes":
            used |= {c: show(p) for c in re.findall(r'["\'](B\d{4})["\']', p.read_text(encoding="utf-8"))}
    assert not {c: where for c, where in used.items() if c not in CODES}, "not in bnnc/codes"
    assert not set(CODES) - set(used), "in bnnc/codes only"


def test_documents_exist() -> None:
    for name in ("README.md", "ARCHITECTURE.md"):
        assert (ROOT / name).read_text(encoding="utf-8").strip(), name


@pytest.mark.parametrize("what", ["TODO", "FIXME", "XXX", "NotImplementedError", "breakpoint()", "print(repr"])
def test_no_leftovers(what: str) -> None:
    found = [
        show(p)
        for p in [*files(*CODE, suffix=".py"), *files("templates", suffix=".j2"), *files("templates", suffix=".h")]
        if re.search(rf"(?<!\w){re.escape(what)}", p.read_text(encoding="utf-8"))
    ]
    assert not found


def test_no_bare_except_and_nothing_is_swallowed() -> None:
    found = []
    for p in files(*CODE):
        for node in ast.walk(ast.parse(p.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None
                or (
                    ast.unparse(node.type) in ("Exception", "BaseException")
                    and not any(isinstance(n, ast.Raise) for n in ast.walk(node))
                )
            ):
                found.append(f"{show(p)}:{node.lineno}")
    assert not found


def test_every_module_says_what_it_is_for() -> None:
    bare = [
        show(p)
        for p in files("bnnc", "backends", "tests")
        if p.read_text(encoding="utf-8").strip() and ast.get_docstring(ast.parse(p.read_text(encoding="utf-8"))) is None
    ]
    assert not bare


def test_skeletons_are_strict() -> None:
    """Undefined names in a template are errors, and no skeleton asks for a rule."""
    assert "StrictUndefined" in (ROOT / "backends/render.py").read_text(encoding="utf-8")
    for p in files("templates", suffix=".j2"):
        assert not re.search(r"\{%-?\s*(?:el)?if[^%]*\b(rule|optimizer|layer)\b", p.read_text(encoding="utf-8")), show(
            p
        )


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports them by base name: two of one name cannot be collected together."""
    names = [p.name for p in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted({n for n in names if names.count(n) > 1})


SAME_TESTS = {"test_micro_arm.py"}  # on another machine


def test_tests_share_modules_that_are_no_tests() -> None:
    """``nets``, ``checks``, ``helpers``; and pytest alone says where those are (``pythonpath`` in pyproject.toml)."""
    for p in files("tests"):
        text = p.read_text(encoding="utf-8")
        assert p.name in SAME_TESTS or not re.search(r"^\s*(from|import) test_", text, re.M), show(p)
        assert p.name in ("run.py", "test_repo.py") or not re.search(r"sys\.path(\.|\[)", text), show(p)


def test_what_tests_import_of_bnnc_is_there() -> None:
    """Of the tests that a commit's quick ones leave out, too."""
    for p in files("tests"):
        for node in ast.walk(ast.parse(p.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bnnc":
                here = importlib.import_module(node.module or "")
                for name in (alias.name for alias in node.names):
                    found = hasattr(here, name) or importlib.util.find_spec(f"{node.module}.{name}")
                    assert found, f"{show(p)}: {node.module}.{name}"


def test_the_citation_says_what_the_package_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = dict(re.findall(r"^(\w[\w-]*): (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE))
    assert (said["title"], said["version"], said["license"]) == (
        project["name"],
        project["version"],
        project["license"],
    )
    assert said["abstract"] == project["description"] + "."
    assert f'"{project["version"]}"' in (ROOT / "bnnc/version.py").read_text(encoding="utf-8")
