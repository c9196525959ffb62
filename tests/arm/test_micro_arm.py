"""The tests of ``tests/kernels/test_micro.py`` again, on the oldest CPU of each ARM target: its vectors, and the text
without.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cross
import numpy as np
import pytest
import test_micro
from test_micro import *  # noqa: F403  (its tests, with the fixtures below)

from bnnc.backends.c.build import command, find_compiler
from bnnc.backends.c.targets import TARGETS, Level, Target

pytestmark = pytest.mark.arm
HERE = Path(__file__).parent
TEXT = (test_micro.HERE / "micro.c").read_text()
AT_LEVEL = re.findall(r"^(?:MAP|LOAD)\((\w+),|^API [\w ]+NAME\((\w+)\)", TEXT, re.M)
ONCE = re.findall(r"^SCALAR\((\w+),|^API void (num_\w+)\(", TEXT, re.M)
del test_levels_are_the_widths_that_the_header_promises  # noqa: F821  (of x86)


class Remote:
    """The functions of micro.c in a process under QEMU."""

    def __init__(self, target: Target, level: Level, folder: Path) -> None:
        self.native = level.name
        names = ["".join(x) for x in ONCE] + [f"{''.join(x)}_{v}" for v in (self.native, "none") for x in AT_LEVEL]
        self.number = {n: i for i, n in enumerate(names)}
        text = f'{level.begin}\n#include "micro.c"\n{level.end}\n#undef __ARM_NEON\n'
        text += (
            '#define BNNC_LEVEL none\n#include "micro.c"\ntypedef int (*entry)(unsigned long, unsigned long, unsigned'
            " long, "
        )
        text += "unsigned long, unsigned long, unsigned long);\nstatic const entry TABLE[] = {\n"
        (folder / "micro_table.h").write_text(
            text + "".join(f"    (entry)(void (*)(void)){n},\n" for n in names) + "};\n"
        )
        places = tuple(f"-I{p}" for p in (folder, test_micro.RUNTIME, test_micro.RUNTIME.parent, test_micro.HERE))
        argv = command(find_compiler(target), target, str(HERE / "micro_server.c"), str(folder / "server"), places)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        argv = [*target.emulator[:2], level.cpu or target.emulator[2], str(folder / "server")]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, name: str, *args: object) -> int:
        into, out = self.process.stdin, self.process.stdout
        assert into is not None and out is not None
        arrays = [a for a in args if isinstance(a, np.ndarray)]
        sent = [(1, a.nbytes) if isinstance(a, np.ndarray) else (0, int(a) & 0xFFFFFFFF) for a in args]  # type: ignore[call-overload]
        words = [self.number[name], len(args), *(x for one in sent for x in one)]
        into.write(b"".join([struct.pack(f"<{len(words)}I", *words), *(a.tobytes() for a in arrays)]))
        into.flush()
        result = out.read(4)
        assert len(result) == 4, f"{name}: the program ended with {self.process.wait()}"
        for a in arrays:
            a.view(np.uint8).reshape(-1)[:] = np.frombuffer(out.read(a.nbytes), np.uint8)
        return int(struct.unpack("<i", result)[0])


@pytest.fixture(scope="module", params=[f"{t}-{level.name}" for t in cross.ARM for level in TARGETS[t].levels])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    name, _, level = request.param.rpartition("-")
    cross.need(TARGETS[name])
    remote = Remote(
        TARGETS[name], next(x for x in TARGETS[name].levels if x.name == level), tmp_path_factory.mktemp(name)
    )
    yield remote
    remote.process.stdin.close()  # type: ignore[union-attr]
    assert remote.process.wait() == 0


@pytest.fixture(autouse=True)
def through_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_micro, "function", lambda library, name: lambda *args: library(name, *args))


@pytest.fixture(params=["vectors", "none"])
def level(request: pytest.FixtureRequest, library: Remote) -> Callable[[str], test_micro.Call]:
    name = library.native if request.param == "vectors" else "none"
    return lambda f: lambda *args: library(f"{f}_{name}", *args)


def test_lanes_are_as_the_header_promises(library: Remote) -> None:
    assert library(f"lanes_{library.native}") == (1 if library.native == "scalar" else 4) and library("lanes_none") == 1
