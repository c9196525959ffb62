"""Before a session on a GPU, on a machine without one: what travels there, so that no network is needed.

    python benchmarks/gpu_session/prepare.py --out build/gpu_session     # about 4 minutes on one core

The folder then holds wheels of this project and of what the other machine may lack, the program of an example with its
kernels compiled, the state in which the C trainer ends the same epoch, and each network's text with its predicted
times. Copy it and the project there, and run ``session.py``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from bnnc import driver  # noqa: E402
from bnnc.backends import select  # noqa: E402

CARRIED = ("lark", "pyelftools")  # pure Python; torch, triton, numpy, jinja2, click, rich and pytest are there
EXAMPLE = ROOT / "examples/mnist_mlp/mnist_mlp.bnn"
ARCH = "sm_90"


@dataclass(frozen=True)
class Net:
    """A network that is timed: its text at a batch; ``peer``: its name in gpu_step_time.NETS."""

    text: str
    batch: int
    peer: str


def chosen() -> dict[str, Net]:
    """The small and the large network."""
    from gpu_step_time import NETS  # noqa: PLC0415  (imports torch)

    return {n: Net(NETS[n].spec(batch), batch, n) for n, batch in (("small", 100), ("binarynet", 4096))}


def wheels(out: Path) -> None:
    """By pip, as it is set up here."""
    pip = [sys.executable, "-m", "pip"]
    pinned = [f"{name}=={version(name)}" for name in CARRIED]
    subprocess.run([*pip, "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(out), *pinned], check=True)
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(out), str(ROOT)], check=True)


def events(log: Path) -> dict[str, Any]:
    """A trainer's log, the last event of each kind."""
    return {e["event"]: e for e in map(json.loads, log.read_text(encoding="utf-8").splitlines())}


def trained(spec: Path, out: Path) -> dict[str, Any]:
    """The example's program for the GPU, and what the C trainer logs of one epoch."""
    text = spec.read_text(encoding="utf-8")
    for target, name in (("host", "program_c"), (f"cuda:{ARCH}", "program")):
        options = driver.Options(text, spec.name, target=target, overrides={"epochs": 1})
        driver.build_planned(driver.plan_text(options), out / name)
    log = out / "c.jsonl"
    log.unlink(missing_ok=True)
    run = [
        "train",
        "--data",
        str(spec.parent),
        "--resume",
        "never",
        "--out",
        str(out / "c"),
        "--log",
        str(log),
        "--quiet",
    ]
    subprocess.run([str(out / "program_c"), *run], check=True)
    return events(log)


def predicted(net: Net) -> dict[str, Any]:
    """A step's predicted time, kernel by kernel."""
    p = driver.plan_text(driver.Options(net.text, target=f"cuda:{ARCH}"))
    return select.predict(p.model, p.placed, p.report, p.target).to_json()


def prepare(out: Path, spec: Path, nets: dict[str, Net], offline: bool) -> None:
    """Everything into ``out``; ``offline``: without wheels."""
    out.mkdir(parents=True, exist_ok=True)
    if not offline:
        wheels(out)
    c = trained(spec, out)
    made = {n: {"text": x.text, "batch": x.batch, "peer": x.peer, "predicted": predicted(x)} for n, x in nets.items()}
    about = {"data": str(spec.parent.relative_to(ROOT)) if spec.is_relative_to(ROOT) else str(spec.parent)}
    about |= {"state": c["end"]["state"], "steps": c["end"]["steps"]}
    (out / "session.json").write_text(json.dumps({"program": about, "nets": made}, indent=1) + "\n")


def main() -> None:
    """Command line; see the module docstring."""
    p = argparse.ArgumentParser(description="what a session on a GPU needs")
    p.add_argument("--out", type=Path, default=ROOT / "build/gpu_session", help="the folder that travels")
    p.add_argument("--offline", action="store_true", help="no wheels: all packages are where the session runs")
    a = p.parse_args()
    prepare(a.out, EXAMPLE, chosen(), a.offline)
    print(f"{a.out}: {sum(f.stat().st_size for f in a.out.rglob('*') if f.is_file()) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
