"""What READMEs show of bnnc and of the trainers, and what these print today.

python tests/transcripts.py            writes the plans' lines in the READMEs anew (with gcc 12, as they say)
python tests/transcripts.py --train    trains too (some minutes), and writes the trainers' lines anew, seconds aside
python tests/transcripts.py --times    and seconds too: on a quiet machine

``tests/unit/test_documents.py`` compares: the plans always, the training in the slow tier, and of that only what is the
same on every machine.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from click.testing import CliRunner

import bnnc
from bnnc.cli import cli

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SHOWN = {  # page -> the specs of its transcripts, in order; each ends with `state`
    "README.md": ("mnist_mlp/mnist_mlp",),
    "examples/mnist_mlp/README.md": ("mnist_mlp/mnist_mlp",),
    "examples/prototypes_bep/README.md": ("prototypes_bep/prototypes_bep",),
    "examples/fashion_bep/README.md": ("fashion_bep/fashion_bep",),
    "examples/digits_local/README.md": ("digits_local/digits_local", "digits_local/digits_bep"),
    "examples/rnn_digits/README.md": ("rnn_digits/rnn_digits",),
}
ALLOWED = "docs/memory.md"  # has the table of what `allow` gives
PREPARED = {  # what makes the data that are not shipped, run in the example's folder
    "prototypes_bep": "-m bnnc data make prototypes -o prototypes.bnnd",
    "digits_local": "prepare.py",
    "rnn_digits": "../digits_local/prepare.py",
}
PLAN = re.compile(r"arena  |code and constants|stack  |thread stacks|system  |total  |rule standard would")
TRAINER = re.compile(r"epoch +\d+/\d+|done:|memory: predicted|state [0-9a-f]{16}|\w+  target ")
WAYS_OUT = re.compile(r"([\d ]{9,}) +[\d.]+e\+09 ")
TIMES = re.compile(r"samples/s$|^ETA |^[\d.]+ s$")
CHANGING = re.compile(TIMES.pattern + r"|^isa |^threads |^target |measured")


def key(line: str) -> str:
    """What a line is about: the first words, or the changes of a way out."""
    if WAYS_OUT.match(line):
        return re.split(r" {2,}", line.removesuffix("taken").strip())[-2]
    found = PLAN.match(line) or TRAINER.match(line)
    return found[0].partition(" [")[0] if found and not found[0].startswith("state") else "state"


def stable(line: str) -> list[str]:
    """The fields of a line that are the same on every machine."""
    return [f for f in re.split(r" {2,}|, (?=measured)", line.strip()) if not CHANGING.search(f)]


def is_shown(line: str, kinds: Iterable[re.Pattern[str]]) -> bool:
    return line.startswith("    ") and any(k.match(line.strip()) for k in kinds)


def with_times_of(old: str, new: str) -> str:
    """A trainer's new line with the seconds that stood there."""
    was, now = (re.split(r"( {2,})", line) for line in (old, new))
    return "".join(a if TIMES.search(a) else b for a, b in zip(was, now, strict=True))


def rewritten(text: str, printed: Iterable[list[str]], *kinds: re.Pattern[str], times: bool = False) -> str:
    """``text`` with each indented line of these kinds as the programs print it; one list of lines a transcript."""
    lists = iter(printed)
    now: dict[str, str] = {}
    out = []
    for line in text.split("\n"):
        if is_shown(line, kinds):
            if not now:
                now = {key(y.strip()): y.strip() for y in next(lists) if any(k.match(y.strip()) for k in kinds)}
            new = now[key(line.strip())]
            if line.endswith("  ..."):
                new = "  ".join(new.split("  ")[: len(line.strip().split("  ")) - 1]) + "  ..."
            elif kinds == (TRAINER,) and not times:
                new = with_times_of(line.strip(), new)
            if kinds == (TRAINER,) and key(new) == "state":
                now = {}
            line = line[: len(line) - len(line.lstrip())] + new
        out.append(line)
    return "\n".join(out)


def plan(spec: str, *options: str) -> list[str]:
    """The lines of ``bnnc plan``."""
    result = CliRunner().invoke(cli, ["plan", str(EXAMPLES / f"{spec}.bnn"), *options], prog_name="bnnc")
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def predicted(text: str, specs: Iterable[str]) -> str:
    """``text`` with the bytes that the plans of these specs predict."""
    totals = iter([bnnc.load(EXAMPLES / f"{s}.bnn").plan().total_bytes for s in specs])
    return re.sub(r"(?<=memory: predicted )\d+", lambda _: str(next(totals)), text)


def plans(page: str, text: str) -> str:
    """The page with its plans and predictions as they are now."""
    text = rewritten(text, (plan(s) for s in SHOWN[page]), PLAN)
    return predicted(text, SHOWN[page])


def ways_out(text: str) -> str:
    """``ALLOWED`` with its table of what ``allow`` gives as it is now."""
    return rewritten(text, [plan("binarynet_cifar10/binarynet_cifar10", "--ram", "80MiB")], WAYS_OUT)


def train(spec: str, folder: Path) -> list[str]:
    """What the trainer of a spec prints; made and run in ``folder``."""
    home, name = EXAMPLES / Path(spec).parent, Path(spec).name
    data = home
    if home.name in PREPARED:
        data = folder
        first, *rest = shlex.split(PREPARED[home.name])
        argv = [sys.executable, *([first] if first == "-m" else [str((home / first).resolve())]), *rest]
        subprocess.run(argv, cwd=data, check=True, capture_output=True)
    bnnc.load(EXAMPLES / f"{spec}.bnn").compile(out=folder / name)
    argv = [str(folder / name), "train", "--data", str(data), "--out", str(folder / "run"), "--resume", "never"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).splitlines()


def main(trains: bool, times: bool) -> None:
    for page in SHOWN:
        path = ROOT / page
        text = plans(page, path.read_text(encoding="utf-8"))
        if trains:
            with tempfile.TemporaryDirectory() as folder:
                made: Callable[[str], list[str]] = lambda s, folder=folder: train(s, Path(folder))  # noqa: E731
                text = rewritten(text, map(made, SHOWN[page]), TRAINER, times=times)
        path.write_text(text, encoding="utf-8")
    page = ROOT / ALLOWED
    page.write_text(ways_out(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(bool({"--train", "--times"} & {*sys.argv}), "--times" in sys.argv)
