"""A short session on a machine with a GPU: what is true, and how fast it is, the most telling parts first.

    python benchmarks/gpu_session/session.py --folder build/gpu_session --out results     # under 10 minutes

``folder`` is what prepare.py made.  Each part (parts.py) has a limit, after which it is ended and the next one begins;
no part depends on another.  ``out`` gets ``gpu_session.json`` (figures.py says what is in it), and what each part
printed. Without a GPU every part ends with "no CUDA device", and this with exit code 7.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from figures import MACHINE, PARTS, problems  # noqa: E402

WHOLE = 590  # seconds
LIMITS = {"program": 40, "barrier": 40, "warm": 130, "kernels": 60, "steps": 50, "peers": 140, "tests": 250}
LEAST = 5  # seconds in which a part is begun at all
NO_DEVICE = 7  # exit code of a part, and of a program


def machine() -> dict[str, str]:
    """What it runs on, as far as it says."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        said = (
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip().split(", ")
        )
    except (OSError, subprocess.SubprocessError):
        said = ["none", "none"]
    found = {"gpu": said[0], "driver": said[-1], "python": platform.python_version(), "system": platform.release()}
    for name in ("torch", "triton", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return {key: found[key] for key in MACHINE}


def unpacked(folder: Path, out: Path) -> Path:
    """The wheels that travelled, as a folder on the path: nothing is installed."""
    site = out / "site"
    for wheel in sorted(folder.glob("*.whl")):
        zipfile.ZipFile(wheel).extractall(site)
    return site


def run(name: str, limit: float, folder: Path, out: Path, env: dict[str, str]) -> dict[str, Any]:
    """One part, in a process group of its own that ends with it."""
    records, start = out / f"{name}.jsonl", time.monotonic()
    records.unlink(missing_ok=True)
    status = "not begun"
    if limit >= LEAST:
        argv = [sys.executable, str(HERE / "parts.py"), name, str(folder), str(records)]
        with open(out / f"{name}.log", "w") as log:
            part = subprocess.Popen(argv, stdout=log, stderr=log, env=env, cwd=ROOT, start_new_session=True)
            try:
                code = part.wait(limit)
                status = {0: "ok", NO_DEVICE: "no CUDA device"}.get(code, "failed")
            except subprocess.TimeoutExpired:
                status = "out of time"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(part.pid, signal.SIGKILL)
                part.wait()
    rows = [json.loads(line) for line in records.read_text().splitlines()] if records.exists() else []
    seconds = round(time.monotonic() - start, 1)
    print(f"{name:8} {status:15} {seconds:6.1f} s, {len(rows)} figures", flush=True)
    return {"name": name, "status": status, "seconds": seconds, "limit_s": round(max(limit, 0), 1), "records": rows}


def session(folder: Path, out: Path) -> dict[str, Any]:
    """All parts; what is left of the whole time bounds each."""
    end = time.monotonic() + WHOLE
    out.mkdir(parents=True, exist_ok=True)
    paths = [unpacked(folder, out), ROOT / "benchmarks", *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(p) for p in paths if str(p)), "PYTHONUNBUFFERED": "1"}
    env["TRITON_CACHE_DIR"] = str(out / "triton")
    data: dict[str, Any] = {"machine": machine(), "parts": []}
    for name in PARTS:
        limit = min(LIMITS[name], end - time.monotonic())
        data["parts"].append(run(name, limit, folder, out, env))
        (out / "gpu_session.json").write_text(json.dumps(data, indent=1) + "\n")
    return data


def main() -> None:
    """Command line; see the module docstring."""
    p = argparse.ArgumentParser(description="a short session on a GPU")
    p.add_argument("--folder", type=Path, default=ROOT / "build/gpu_session", help="what prepare.py made")
    p.add_argument("--out", type=Path, default=HERE.parent / "results", help="folder of the results")
    a = p.parse_args()
    data = session(a.folder.resolve(), a.out.resolve())
    for line in problems(data):
        print(line, file=sys.stderr)
    statuses = {x["status"] for x in data["parts"]}
    sys.exit(NO_DEVICE if "no CUDA device" in statuses else 1 if problems(data) or statuses != {"ok"} else 0)


if __name__ == "__main__":
    main()
