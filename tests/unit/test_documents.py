"""Documents: what they link to exists, every file that they name exists, and the transcripts in READMEs are what the
program prints, where that is the same on every machine.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import transcripts

import bnnc

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    p
    for p in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("examples/*/*.md"),
        *ROOT.glob("benchmarks/results/*.md"),
        *ROOT.glob("studies/**/*.md"),
    )
)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
FILE = re.compile(r"`((?:bnnc|backends|templates|grammar|tests|docs|benchmarks|examples|studies)/[\w./-]*\w)`")


def name(p: Path) -> str:
    return str(p.relative_to(ROOT))


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [m[1] for m in LINK.finditer(page.read_text(encoding="utf-8")) if "://" not in m[1]]
    assert [x for x in links if not (page.parent / x).exists()] == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    """In backquotes; a file of the reader's own is called `x`."""
    named = FILE.findall(page.read_text(encoding="utf-8"))
    assert [x for x in named if not (ROOT / x).exists() and "/x." not in x] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = [p.name for p in (ROOT / "docs").glob("*.md") if p.name != "README.md"]
    assert [p for p in pages if f"]({p})" not in index] == []


def test_names_in_the_glossary_are_names_of_the_code() -> None:
    files = [p for folder in ("bnnc", "backends", "templates") for p in (ROOT / folder).rglob("*")]
    code = " ".join(p.read_text(encoding="utf-8") for p in files if p.suffix in (".py", ".h", ".j2"))
    words = set(re.findall(r"[A-Za-z_]\w+", code))
    named = [
        n for n in re.findall(r"`([^`]+)`", (ROOT / "docs/glossary.md").read_text(encoding="utf-8")) if "/" not in n
    ]
    assert len(named) > 40
    assert [n for n in named if not set(re.findall(r"[A-Za-z_]\w+", n)) <= words] == []


# -- transcripts -------------------------------------------------------------------------------------------------------


ANEW = "make it anew: python tests/transcripts.py"


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("page", transcripts.SHOWN)
def test_the_plan_in_a_readme_is_what_is_printed(page: str) -> None:
    """With gcc 12, as the page says."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "memory: predicted" in text
    assert text == transcripts.plans(page, text), ANEW


@pytest.mark.slow
@pytest.mark.usefixtures("told")
def test_the_ways_out_are_what_is_printed() -> None:
    text = (ROOT / transcripts.ALLOWED).read_text(encoding="utf-8")
    assert text.count("optimizer = bop") >= 2
    assert text == transcripts.ways_out(text), ANEW


@pytest.mark.slow
@pytest.mark.parametrize("page", transcripts.SHOWN)
def test_the_training_in_a_readme_is_what_happens(page: str, tmp_path: Path) -> None:
    """Loss, accuracy, rate, counters and state are the same everywhere; seconds and the measured memory are not
    compared."""
    if "digits" in page:
        pytest.importorskip("sklearn.datasets")
    text = (ROOT / page).read_text(encoding="utf-8")
    now = transcripts.rewritten(
        text, (transcripts.train(s, tmp_path) for s in transcripts.SHOWN[page]), transcripts.TRAINER
    )
    pairs = list(zip(text.split("\n"), now.split("\n"), strict=True))
    assert sum(transcripts.is_shown(old, [transcripts.TRAINER]) for old, _ in pairs) >= 4
    assert [(old, new) for old, new in pairs if transcripts.stable(old) != transcripts.stable(new)] == [], ANEW


@pytest.mark.slow
@pytest.mark.parametrize("example", ["cnv_cifar10", "binarynet_cifar10"])
def test_arenas_in_a_readme_are_those_of_the_plan(example: str) -> None:
    """Rows of `optimiser | published | arena | lower bound | arena with recompute`, in MiB."""
    folder = ROOT / "examples" / example
    text = (folder / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w() =]+)` \|[^|]*\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.M)
    assert len(rows) == 4
    net = bnnc.load(folder / f"{example}.bnn")
    for optimizer, *shown in rows:
        plans = [net.with_(optimizer=optimizer, recompute=on).plan().planned.report for on in (False, True)]
        found = [plans[0].arena, plans[0].placed.plan.lower_bound, plans[1].arena]
        assert [f"{n / 2**20:.1f}" for n in found] == shown, optimizer
