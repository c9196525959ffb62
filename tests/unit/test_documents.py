"""Documents: what they link to exists, every file that they name exists, and the transcripts in READMEs are what the
program prints, where that is the same on every machine.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import bnnc
from bnnc.cli import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    p
    for p in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("examples/*/*.md"),
        *ROOT.glob("benchmarks/results/*.md"),
    )
)
MNIST = ROOT / "examples" / "mnist_mlp"
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
FILE = re.compile(r"`((?:bnnc|backends|templates|grammar|tests|docs|benchmarks|examples)/[\w./-]*\w)`")
TOTALS = re.compile(
    r"^    ((?:arena|code and constants|stack|thread stacks|system|total|rule standard would need) .*)$", re.M
)


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


# -- transcripts -------------------------------------------------------------------------------------------------------


def words(line: str) -> str:
    return " ".join(line.split())


def printed(*args: str) -> set[str]:
    result = CliRunner().invoke(cli, list(args), prog_name="bnnc")
    assert result.exit_code == 0, result.output
    return {words(line) for line in result.stdout.splitlines()}


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("page", [ROOT / "README.md", MNIST / "README.md"], ids=name)
def test_the_plan_in_a_readme_is_what_is_printed(page: Path) -> None:
    """With gcc 12, which the page names."""
    shown = TOTALS.findall(text := page.read_text(encoding="utf-8"))
    assert len(shown) >= 2
    plan = printed("plan", str(MNIST / "mnist_mlp.bnn"))
    assert [line for line in shown if words(line) not in plan] == []
    total = next(line for line in shown if line.startswith("total"))
    predicted = re.search(r"memory: predicted (\d+) bytes", text)
    assert predicted and total.split("  ")[-2].replace(" ", "").endswith(predicted[1])


@pytest.mark.slow
@pytest.mark.usefixtures("told")
def test_the_ways_out_in_the_readme_are_what_is_printed() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^ +([\d ]{9,} +[\d.]+e\+09 .*)$", text, re.M)
    assert len(shown) == 6
    out = printed("plan", str(ROOT / "examples/binarynet_cifar10/binarynet_cifar10.bnn"), "--ram", "80MiB")
    assert [line for line in shown if words(line) not in out] == []


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the example prints while it trains."""
    folder = tmp_path_factory.mktemp("mnist")
    bnnc.load(MNIST / "mnist_mlp.bnn").compile(out=folder / "net")
    argv = [folder / "net", "train", "--data", MNIST, "--out", folder / "run", "--resume", "never"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("page", [ROOT / "README.md", MNIST / "README.md"], ids=name)
def test_the_training_in_a_readme_is_what_happens(page: Path, training: list[str]) -> None:
    """Loss, accuracy, rate and state are the same everywhere; seconds and the measured memory are not compared."""
    text = page.read_text(encoding="utf-8")
    epochs = re.findall(r"^    (epoch +\d+/10  loss .*?  lr \S+)  ", text, re.M)
    assert len(epochs) == 2
    assert [e for e in epochs if not any(line.startswith(e) for line in training)] == []
    for pattern in (r"done: 10 epochs, \d+ steps  test \S+ %  best \S+ %", r"state [0-9a-f]{16}"):
        (found,) = re.findall(f"^    ({pattern})", text, re.M)
        assert any(line.startswith(found) for line in training), found


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
