"""`bnnc run` on a terminal: its view, an interrupt, and the bits as without one; and `bnnc new`."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from bnnc.cli import commands, live, programs

BNNC = [sys.executable, "-m", "bnnc"]
pytestmark = pytest.mark.usefixtures("one_level")


def test_new_is_the_example_under_another_name(tmp_path: Path) -> None:
    made = CliRunner().invoke(commands.cli, ["new", str(tmp_path / "my-clothes"), "--example", "fashion_bep"])
    assert made.exit_code == 0, made.output
    assert sorted(p.name for p in (tmp_path / "my-clothes").iterdir()) == ["fashion_1500.bnnd", "my_clothes.bnn"]
    text = (tmp_path / "my-clothes/my_clothes.bnn").read_text()
    assert "network my_clothes {" in text and "fashion_bep" not in text
    assert f"bnnc run {tmp_path}/my-clothes/my_clothes.bnn" in made.output
    again = CliRunner().invoke(commands.cli, ["new", str(tmp_path / "my-clothes")])
    unknown = CliRunner().invoke(commands.cli, ["new", str(tmp_path / "x"), "--example", "fashion"])
    assert again.exit_code == unknown.exit_code == 2 and not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was made by `bnnc new`, and is trained once without a terminal."""
    at = tmp_path_factory.mktemp("live")
    subprocess.run([*BNNC, "new", "net", "--example", "fashion_bep"], cwd=at, check=True, capture_output=True)
    return at


def on_a_terminal(folder: Path, *words: str, interrupt: bytes = b"") -> tuple[str, int]:
    """What a terminal of 24 lines gets, and the exit code; ^C is typed once ``interrupt`` was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "110", "LINES": "24"}
        os.execv(BNNC[0], [*BNNC, "run", "net/net.bnn", "--", *words])
    shown, until = b"", time.monotonic() + 120
    while time.monotonic() < until:
        try:
            found = os.read(terminal, 1 << 16)
        except OSError:
            break
        shown += found
        if not found:
            break
        if interrupt and interrupt in shown:
            os.write(terminal, b"\x03")
            interrupt = b""
    os.close(terminal)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def left_standing(shown: str) -> list[str]:
    """The lines that a terminal shows in the end: it goes up and down lines, and erases them."""
    lines, at = [""], 0
    for up, erase, other, text in re.findall(
        r"\x1b\[(\d*)A|\x1b\[2(K)|(\x1b\[[0-9;?]*[A-Za-z]|\r)|([^\x1b\r]+)", shown
    ):
        if erase:
            lines[at] = ""
        elif not other and not text:
            at -= int(up or 1)
        for k, part in enumerate(text.split("\n")):
            at += k > 0
            lines += [""] * (at + 1 - len(lines))
            lines[at] = part or lines[at]
    return [line for line in lines if line.strip()]


@pytest.mark.slow
def test_a_terminal_gets_a_view_an_interrupt_a_checkpoint_and_the_run_its_bits(folder: Path) -> None:
    plain = subprocess.run(
        [*BNNC, "run", "net/net.bnn", "--", "--epochs", "12", "--out", "run/plain"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "\x1b" not in plain and "planned" not in plain and len(re.findall(r"^epoch ", plain, re.M)) == 12
    shown, code = on_a_terminal(folder, "--epochs", "12", "--out", "run/seen", interrupt=b"epoch  1/12")
    assert code == 130 and "the same command goes on from here" in left_standing(shown)[-1]
    shown, code = on_a_terminal(folder, "--epochs", "12", "--out", "run/seen")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert code == 0 and "resumed epoch" in shown
    for part in (
        r"epoch .*\d of 12, step \d+ of 10",
        r"rate +[\d ]+ samples/s, ETA",
        r"error +[▁-█]+ +\d+\.\d+",
        r"test +[▁-█]+ +\d+\.\d\d %, best \d+\.\d\d %",
        r"flips +dense1 [\d,.e+]+, dense2 ",
        r"memory .*[1-9][\d ]+ of [\d ]+ B that were planned",
        r"epoch 12/12  error ",
    ):
        assert re.search(part, shown), part
    assert re.findall(r"state (\w+)", shown) == re.findall(r"state (\w+)", plain)


def test_what_is_next_holds_for_other_flags() -> None:
    assert programs._next("a b/n.bnn", "run/n", "run/n", ram=None, batch=None) == (
        "bnnc report run/n   or   bnnc run 'a b/n.bnn' eval   or   bnnc compile 'a b/n.bnn'"
    )
    assert "bnnc run --batch 5 n.bnn eval --out x   or   bnnc compile --batch 5 n.bnn" in programs._next(
        "n.bnn", "run/n", "x", batch=5
    )


def test_what_a_program_writes_is_read() -> None:
    """A line that is renewed, with and without an accuracy; and another, which is no step."""
    view = live.View("net", 1000, Path("nowhere"))
    view.take("epoch  3/10  step 7/60  loss 0.1234  train 93.21 %  4358 samples/s  ETA 2 m 3 s")
    assert (view.now["epoch"], view.now["train"], view.now["rate"], view.now["eta"]) == (
        "3",
        "93.21",
        "4358",
        "2 m 3 s",
    )
    view.take("epoch  3/10  loss 0.1 train")
    assert view.now["step"] == "7"
    view.take("epoch  3/10  step 8/60  error 0.1234  4358 samples/s  ETA 1.0 s")
    assert (view.now["what"], view.now["train"]) == ("error", "")
    assert live._plain("\repoch 1\x1b[K\repoch 2\x1b[K\r") == "epoch 2"
    epoch = "epoch  1/50  loss 1.3985  train 57.27 %  lr 0.003  919 samples/s  0.5 s  ETA 25 s"
    assert live._short(epoch, 100) == epoch and live._short(epoch, 60) == epoch.partition("  919")[0]
    assert live._short("error: what is wrong is told  whole", 20).endswith("whole")
    assert (live.curve([]), live.curve([1, 1]), live.curve([0, 7, 3.5])) == ("", "▁▁", "▁█▅")
