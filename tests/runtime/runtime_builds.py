"""Builds the test programs, each once a session for all its workers, two at a time."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import helpers

HERE = Path(__file__).parent
RUNTIME = HERE.parents[1] / "templates" / "c" / "runtime"
STRICT = [
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wvla",
    "-Werror",
    "-ffp-contract=off",
    "-fno-math-errno",
    f"-I{RUNTIME}",
]
# Half of a build is gcc's optimiser, which is no part of what is tested: some have it, for its warnings.
UNHURRIED = helpers.OPTIMIZE if helpers.OPTIMIZE == "-O2" else "-O0"
FREESTANDING = [UNHURRIED, "-DBNNC_FREESTANDING", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"]
HOSTED = ["-O2"]
SANITIZED = [*helpers.SANITIZED, *([] if UNHURRIED == "-O2" else [UNHURRIED]), '-DBNNC_MEMINFO="meminfo"']
PLATEAU = ["-DSCHEDULE=BNNC_SCHED_PLATEAU,0.05f,1,0.5f", "-DHOLDOUT=0.25f", '-DHASH="00000000deadbeef"']
BUILDS = {  # name: (source, flags)
    "free": ("dummy_net.c", [*FREESTANDING, "-O2"]),  # this and "u8": their memory is measured
    "hosted": ("dummy_net.c", HOSTED),
    "asan": ("dummy_net.c", SANITIZED),
    "slow": ("dummy_net.c", [*FREESTANDING, "-DSLOW=2"]),
    "slow_asan": ("dummy_net.c", [*SANITIZED, "-DSLOW=2"]),
    "u8": (
        "dummy_net.c",
        [
            *FREESTANDING,
            "-O2",
            "-DKIND=BNNC_U8",
            "-DPAD=40000",
            "-DSCHEDULE=BNNC_SCHED_STEP,0.05f,2,0.5f",
            '-DTRAIN_IMAGES=""',
        ],
    ),
    "f32": (
        "dummy_net.c",
        [*FREESTANDING, "-DKIND=BNNC_F32", "-DPAD=40000", "-DSCHEDULE=BNNC_SCHED_CONSTANT,0.01f,0,0"],
    ),
    "cifar": ("dummy_net.c", [*SANITIZED, "-DKIND=BNNC_U8", "-DELEMS=3072", "-DCLASSES=10"]),
    "cifar_bits": ("dummy_net.c", [*SANITIZED, "-DELEMS=3072", "-DCLASSES=10"]),
    "plateau": ("dummy_net.c", [*FREESTANDING, *PLATEAU]),
    "probe": ("probe.c", FREESTANDING),
    "probe_asan": ("probe.c", SANITIZED),
    "store": ("test_store.c", SANITIZED),
    "pool": ("test_pool.c", FREESTANDING),
    "pool_tsan": ("test_pool.c", ["-O1", "-g", "-fsanitize=thread"]),
}


class Programs:
    def __init__(self, folder: Path, names: Iterable[str] = BUILDS) -> None:
        self.folder, self.pool = folder, ThreadPoolExecutor(2)
        self.built: dict[str, Future[Path]] = {name: self.pool.submit(self.build, name) for name in names}

    def build(self, name: str) -> Path:
        source, flags = BUILDS[name]
        out = self.folder / f"runtime_{name}"
        argv = [
            "gcc",
            *STRICT,
            *flags,
            str(HERE / source),
            "-o",
            str(out),
            *([] if "-nostdlib" in flags else ["-lpthread"]),
        ]
        with out.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not out.exists():
                r = subprocess.run(argv, capture_output=True, text=True, check=False)
                assert r.returncode == 0, f"{name}: {r.stderr}"
        return out

    def __getitem__(self, name: str) -> Path:
        return self.built[name].result()
