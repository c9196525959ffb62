"""A newcomer's path, command by command as the documents give them: photos and a table become networks that are
planned, trained, killed, resumed, looked at, asked, exported, and compiled for a Raspberry Pi and a microcontroller.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import cross
import numpy as np
import pytest

from bnnc import data
from bnnc.backends.c.targets import TARGETS
from bnnc.data import tensors

pytestmark = pytest.mark.slow
FASHION = Path(__file__).parents[2] / "examples/fashion_bep/fashion_1500.bnnd"
CLOTHES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
EPOCHS = 6


def go(folder: Path, *args: object, code: int = 0) -> tuple[str, str]:
    """A command of bnnc: (standard output, standard error)."""
    argv = [sys.executable, "-m", "bnnc", *map(str, args)]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def log(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/CLASS/NUMBER.png of the Fashion-MNIST fixture, and pump.csv with labels that are words."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow (extra `images`)")
    home = tmp_path_factory.mktemp("newcomer")
    d = data.read_bnnd(FASHION)
    for i in range(600):
        to = home / "photos" / CLOTHES[d.y[i]]
        to.mkdir(parents=True, exist_ok=True)
        image.fromarray(d.x[i].reshape(28, 28)).save(to / f"{i}.png")
    rng = np.random.default_rng(0)
    kinds = ("ok", "worn", "broken")
    rows = [(*rng.normal(np.eye(3)[k] * 3, 0.6), kinds[k]) for k in rng.integers(0, 3, 240)]
    lines = [",".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row) for row in rows]
    (home / "pump.csv").write_text("flow,heat,noise,state\n" + "\n".join(lines) + "\n")
    return home


@pytest.fixture(scope="module")
def clothes(home: Path) -> Path:
    """init, plan and run on the photos."""
    _, said = go(home, "init", "clothes", "--data", "photos", "--ram", "2MiB")
    assert "10 classes: bag, boot, coat" in said and "Next: bnnc run clothes/clothes.bnn" in said
    out, _ = go(home, "plan", "clothes/clothes.bnn", "--html", "plan.html")
    assert "nothing else is allocated" in out and (home / "plan.html").stat().st_size > 20_000
    out, said = go(home, "run", "clothes/clothes.bnn", "--", "--epochs", EPOCHS)
    assert f"{EPOCHS}/{EPOCHS}  loss" in out and "Next: bnnc report run/clothes" in said
    return home


def test_what_was_killed_goes_on_to_the_same_bits(clothes: Path) -> None:
    train = ["run", "clothes/clothes.bnn", "--", "--epochs", EPOCHS, "--out", "killed", "--save-every", 0]
    argv = [sys.executable, "-m", "bnnc", *map(str, train)]
    with open(clothes / "killed.txt", "w") as told:
        process = subprocess.Popen(argv, cwd=clothes, stdout=told, stderr=told, start_new_session=True)
        until = time.monotonic() + 120
        at = clothes / "killed/log.jsonl"
        while time.monotonic() < until and not (at.exists() and at.read_text().count('"epoch",') >= 2):
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (clothes / "killed.txt").read_text()
    before = log(clothes / "killed")
    assert before[-1]["event"] == "epoch" and int(str(before[-1]["epoch"])) < EPOCHS, "it had ended"
    out, _ = go(clothes, *train)
    assert "resumed epoch" in out
    assert log(clothes / "killed")[-1]["state"] == log(clothes / "run/clothes")[-1]["state"]


def test_it_is_looked_at_and_asked(clothes: Path) -> None:
    found = json.loads(go(clothes, "run", "--json", "clothes/clothes.bnn", "eval")[0])
    assert found["test_acc"] > 0.5 and [c["name"] for c in found["classes"]] == sorted(CLOTHES)
    out, _ = go(clothes, "report", "run/clothes", "--json")
    assert json.loads(out)["evaluation"]["confusion"] == found["confusion"]
    page = (clothes / "run/clothes/report.html").read_text(encoding="utf-8")
    assert all(f"<th>{name}</th>" in page for name in CLOTHES) and page.count("data:image/png") > 20
    photo = next((clothes / "photos/trouser").iterdir())
    said = go(clothes, "run", "clothes/clothes.bnn", "predict", "--test", photo)[0].split()
    assert len(said) == 1 and said[0] in CLOTHES
    told = go(clothes, "run", "clothes/clothes.bnn", "predict", "--test", "photos/trouser")[0].splitlines()
    names, classes = zip(*(line.split("\t") for line in told), strict=True)
    assert set(names) == {p.name for p in (clothes / "photos/trouser").iterdir()}
    assert classes.count("trouser") > len(told) / 2


def test_weights_are_exported(clothes: Path) -> None:
    go(clothes, "run", "clothes/clothes.bnn", "--", "--epochs", EPOCHS, "--export", "clothes.safetensors")
    arrays = tensors.read(clothes / "clothes.safetensors")
    assert "conv1.weight" in arrays and all(np.isfinite(a).all() for a in arrays.values())
    again = json.loads(go(clothes, "run", "--json", "clothes/clothes.bnn", "eval", "--init", "clothes.safetensors")[0])
    assert again["test_acc"] == json.loads(go(clothes, "run", "--json", "clothes/clothes.bnn", "eval")[0])["test_acc"]


def test_a_raspberry_pi_computes_the_same_bits(clothes: Path) -> None:
    pi = TARGETS["rpi"]
    cross.need(pi)
    go(clothes, "compile", "clothes/clothes.bnn", "--target", "rpi", "-o", "clothes_pi")
    first = next(r for r in log(clothes / "run/clothes") if r["event"] == "epoch")
    argv = [*pi.emulator, "./clothes_pi", "train", "--data", "clothes", "--out", "pi", "--epochs", str(EPOCHS)]
    argv += ["--steps", str(int(str(first["step"])) + 1), "--log", "pi.jsonl"]
    subprocess.run(argv, cwd=clothes, check=True, capture_output=True)
    there = [json.loads(line) for line in (clothes / "pi.jsonl").read_text().splitlines()]
    mine = next(r for r in there if r["event"] == "epoch")
    assert (mine["step"], mine["state"]) == (first["step"], first["state"])


def test_a_table_becomes_a_firmware(home: Path) -> None:
    _, said = go(home, "init", "pump", "--data", "pump.csv", "--target", "cortex-m", "--ram", "128KiB")
    assert "3 classes: broken, ok, worn" in said
    go(home, "run", "pump/pump.bnn", "--", "--epochs", 8)
    found = json.loads(go(home, "run", "--json", "pump/pump.bnn", "eval")[0])
    assert found["test_acc"] > 0.85
    (home / "new.csv").write_text("flow,heat,noise,state\n3.1,0.2,-0.1,0\n0.1,0.2,2.9,0\n")
    go(home, "data", "pack", "new.csv", "-o", "new.bnnd")
    assert len(go(home, "run", "pump/pump.bnn", "predict", "--test", "new.bnnd")[0].split()) == 2
    cross.need(TARGETS["cortex-m"])
    _, said = go(home, "compile", "pump/pump.bnn", "--target", "cortex-m", "--ram", "128KiB", "-o", "pump.elf")
    command = next(line for line in said.splitlines() if line.startswith("Next: "))[6:].split("   ")[0]
    done = subprocess.run(shlex.split(command), cwd=home, capture_output=True, text=True, timeout=120, check=False)
    told = done.stdout + done.stderr
    assert "epoch" in told and "state" in told, told
