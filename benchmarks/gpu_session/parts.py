"""One part of a session on a GPU, for session.py: ``python parts.py NAME FOLDER RECORDS``, each record a JSON line.

Ends with exit code 7 where there is no CUDA device.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NO_DEVICE = 7
STEPS = {"small": 100}  # that are timed at once; of others a few
FEW = 3
PROCESSES = 14  # that compile
TURNS = (10, 1000)  # of the kernel of barriers
# Modes and halves of the peers that take part: the ones that were fastest for such a network elsewhere.
PEERS = {"small": (("graph", False), ("graph", True), ("compile", True), ("eager", False))}
OTHER_PEERS = (("compile", True), ("graph", True))
KERNELS = ("edge-adam-keep", "standard-adam", "bep-wide", "local-bef", "rnn-wide")
TESTS = f"whole_steps or graph_of or (test_kernels and ({' or '.join(KERNELS)}))"


class Session:
    """What travelled, and where figures go."""

    def __init__(self, folder: Path, records: Path) -> None:
        self.folder, self.records = folder, records
        self.about: dict[str, Any] = json.loads((folder / "session.json").read_text(encoding="utf-8"))

    def say(self, **record: Any) -> None:
        """One record."""
        print(record, flush=True)
        with open(self.records, "a", encoding="utf-8") as f:
            f.write(json.dumps(record) + "\n")

    @contextmanager
    def module(self, net: str) -> Iterator[Any]:
        """A network's generated module, to be compiled."""
        from bnnc import driver  # noqa: PLC0415
        from bnnc.backends.triton.compile import load_module  # noqa: PLC0415

        planned = driver.plan_text(driver.Options(self.about["nets"][net]["text"], target="triton"))
        source = driver.emit_source(planned)
        with tempfile.TemporaryDirectory(prefix="bnnc-") as tmp:
            yield load_module(source.text[source.main], Path(tmp), interpret=False)


def need_device() -> None:
    """Ends the part where there is none."""
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        print("no CUDA device", file=sys.stderr)
        sys.exit(NO_DEVICE)


def program(s: Session) -> None:
    """One epoch of the compiled program: the C trainer's state, and the time of a step."""
    with tempfile.TemporaryDirectory(prefix="bnnc-") as tmp:
        log, binary = Path(tmp) / "log.jsonl", Path(tmp) / "program"
        shutil.copy(s.folder / "program", binary)  # what travelled may have lost its mode
        binary.chmod(0o755)
        data = str(ROOT / s.about["program"]["data"])
        run = [str(binary), "train", "--data", data, "--resume", "never", "--out", f"{tmp}/run", "--log", str(log)]
        code = subprocess.run([*run, "--quiet"], check=False).returncode
        if code:
            sys.exit(code)
        last = json.loads(log.read_text().splitlines()[-1])
    same = last["state"] == s.about["program"]["state"]
    s.say(same_bits=same, state=last["state"], ms_a_step=1e3 * last["seconds"] / s.about["program"]["steps"])


def barrier(s: Session) -> None:
    """Barriers of all programs, with data that goes from one to the next in between."""
    need_device()
    import torch  # noqa: PLC0415
    from gpu_step_time import timed  # noqa: PLC0415

    spec = importlib.util.spec_from_file_location("spin", Path(__file__).with_name("spin.py"))
    assert spec is not None and spec.loader is not None
    spin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(spin)
    programs = torch.cuda.get_device_properties(0).multi_processor_count
    words = torch.zeros(16, dtype=torch.int32, device="cuda")
    for turns in TURNS:
        data = torch.zeros(programs * 64, dtype=torch.int32, device="cuda")

        def run(data: Any = data, turns: int = turns) -> None:
            spin.spin[(programs,)](words, data, turns, num_warps=8, launch_cooperative_grid=True)

        run()
        torch.cuda.synchronize()
        right = bool((data[::64] == turns).all()) and not bool(words.any())
        s.say(barriers=2 * turns, right=right, us_each=1e3 * timed(run, 3, 3) / (2 * turns))


def compile_some(folder: str, net: str, part: int) -> None:
    """Some of a network's kernels into Triton's cache, as the device would compile them."""
    from bnnc.backends.triton.device import Gpu  # noqa: PLC0415

    with Session(Path(folder), Path(os.devnull)).module(net) as module:
        gpu = Gpu(vars(module))
        for name, tiles, warps, *loop in module.TRAIN[part::PROCESSES]:
            gpu.fitted.options(name, tiles, warps, (gpu.memory, *[0][: len(loop)]))  # the strip's or the chunk's number
        if module.PERSISTENT and part == 0:
            gpu.fitted.options("train_step", 0, 8, (gpu.memory,))


def warm(s: Session) -> None:
    """All kernels compiled, by many processes, so that no later part waits for a compiler."""
    need_device()
    for net in s.about["nets"]:
        start = time.monotonic()
        with ProcessPoolExecutor(PROCESSES) as pool:
            list(pool.map(compile_some, *zip(*((str(s.folder), net, i) for i in range(PROCESSES)), strict=True)))
        s.say(net=net, seconds=round(time.monotonic() - start, 1))


def kernels(s: Session) -> None:
    """Each kernel alone, against its predicted time."""
    need_device()
    from gpu_step_time import fill, timed  # noqa: PLC0415

    from bnnc.backends.triton.device import Gpu, in_order  # noqa: PLC0415

    for net, about in reversed(s.about["nets"].items()):
        said = about["predicted"]
        of = {k["name"]: k["us"] / 1e3 for k in said["kernels"]} if not said["one_launch"] else {}
        with s.module(net) as module:
            gpu, rows = Gpu(vars(module), False), dict[str, dict[str, Any]]()
            fill(gpu)
            gpu.kernels("train")
            gpu.wait()
            for (name, tiles, warps, *_), strip in in_order(module.TRAIN):
                ms = timed(lambda: gpu.launch(name, tiles, warps, *strip), 1, 3)  # noqa: B023
                row = rows.setdefault(name, {"name": name, "programs": tiles, "ms": 0.0, "predicted_ms": of.get(name)})
                row["ms"] += ms
        total = sum(r["ms"] for r in rows.values())
        s.say(net=net, batch=about["batch"], ms=total, predicted_ms=said["us"] / 1e3, kernels=list(rows.values()))


def steps(s: Session) -> None:
    """Whole steps: as the plan says, as a graph, and many a launch."""
    need_device()
    from gpu_step_time import bnnc  # noqa: PLC0415

    from bnnc import driver  # noqa: PLC0415

    for net, about in s.about["nets"].items():
        planned = driver.plan_text(driver.Options(about["text"], target="triton"))
        for t in bnnc(planned, STEPS.get(net, FEW)):
            s.say(net=net, batch=about["batch"], way=t.name, ms=t.ms, mib=t.nbytes / 2**20)


def peers(s: Session) -> None:
    """The same networks in PyTorch."""
    need_device()
    from gpu_step_time import NETS, peer  # noqa: PLC0415

    for net, about in s.about["nets"].items():
        for mode, half in PEERS.get(net, OTHER_PEERS):
            t = peer(NETS[about["peer"]], about["batch"], mode, half, STEPS.get(net, FEW))
            s.say(net=net, batch=about["batch"], way=t.name, ms=t.ms, mib=t.nbytes / 2**20)


def tests(s: Session) -> None:
    """Some of what only a GPU can show."""
    need_device()
    run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-n", "12", "-m", "gpu", "-k", TESTS]
    done = subprocess.run([*run, "tests/gpu/test_gpu.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout[-4000:], done.stderr[-2000:])
    count = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    s.say(passed=count.get("passed", 0), failed=count.get("failed", 0) + count.get("error", 0))
    sys.exit(done.returncode)


if __name__ == "__main__":
    given = Session(Path(sys.argv[2]), Path(sys.argv[3]))
    {f.__name__: f for f in (program, barrier, warm, kernels, steps, peers, tests)}[sys.argv[1]](given)
