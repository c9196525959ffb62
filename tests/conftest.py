"""Puts ``tests/`` on the import path (``from helpers import ...``) and compilers behind a cache
(:mod:`compile_cache`), and gives the session one folder for compiled libraries.
"""

from __future__ import annotations

import gc
import os
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import compile_cache
import cpu_times
import helpers
import pytest

from bnnc import driver, knobs, registry
from bnnc.backends import select
from bnnc.backends.c import build, stack
from bnnc.backends.c.targets import TARGETS

os.environ.setdefault("BNNC_CFLAGS", "-Werror")  # a compiler's warning stops no user, but every test
BUILD = Path(__file__).parents[1] / "build"
os.environ.setdefault(compile_cache.PLACE, str(BUILD / "cache"))  # empty: no cache
if os.environ[compile_cache.PLACE]:
    os.environ.setdefault("TRITON_CACHE_DIR", str(Path(os.environ[compile_cache.PLACE]).absolute() / "triton"))
compile_cache.shadow(BUILD / "shadows")
os.environ["XDG_CACHE_HOME"] = str(BUILD.absolute() / "user-cache")  # not the user's own
# Where no bytecode may be written beside the sources, a command of bnnc is half compiling them.
sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(BUILD.absolute() / "bytecode")
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


# What a session collects and keeps is millions of objects: to look through them for circles is a tenth of its time.
gc.set_threshold(200_000, 50, 100)


def pytest_collection_finish() -> None:
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    os.environ[compile_cache.OPTIMIZE] = "-O2" if item.get_closest_marker("optimized") else helpers.OPTIMIZE


def pytest_unconfigure() -> None:
    if os.environ[compile_cache.PLACE] and not os.environ.get("PYTEST_XDIST_WORKER"):
        compile_cache.bound()


@pytest.fixture(scope="session", autouse=True)
def library_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all workers of a run under pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "libraries"
    folder.mkdir(exist_ok=True)
    helpers.CACHE = folder
    return folder


@pytest.fixture(scope="module")
def one_level(request: pytest.FixtureRequest) -> Iterator[None]:
    """Programs that this process compiles for ``host`` have one of its instruction sets, chosen by the file's name:
    half the time.  The slow tier has all.
    """
    host = TARGETS["host"]
    level = host.levels[zlib.crc32(request.path.name.encode()) % helpers.cpu_levels()]
    with pytest.MonkeyPatch.context() as patch:
        if not helpers.EVERY_LEVEL:
            patch.setitem(TARGETS, "host", replace(host, levels=(level,)))
        yield


@pytest.fixture
def plans_once() -> Iterator[None]:
    """What the middle passes make of a Model, and a plan's report, is made once for all tests with this fixture: much
    of what they do is plan the same few networks and their ways out.  A test may change passes, backends, what is
    registered and bnnc's knobs, but not a pass from within.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "_run", _passes_once)
        patch.setattr(driver, "report_of", _report_once)
        yield


MADE: dict[object, tuple[Any, Any]] = {}  # with what must live as long as the key
PASSES, REPORT = driver._run, driver.report_of


def _passes_once(passes: Any, ir: Any, options: driver.Options, k: knobs.Knobs) -> Any:
    if passes is driver.FRONT or k.dump or k.time:
        return PASSES(passes, ir, options, k)
    records = [record for table in (registry.layers, registry.rules, registry.optimizers) for record in table.values()]
    key = (passes, ir.source, repr(ir), k, *map(id, records))
    if key not in MADE:
        MADE[key] = PASSES(passes, ir, options, k), records
    return MADE[key][0]


def _report_once(model: Any, placed: Any, *args: Any) -> Any:
    key = (id(placed), select.backend_of, *args)
    if key not in MADE:
        MADE[key] = REPORT(model, placed, *args), placed
    return MADE[key][0]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write tests/golden anew from what the compiler makes now"
    )
    parser.addoption("--times", action="store_true", help="CPU seconds of each folder, file and test at the end")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--times"):
        config.pluginmanager.register(cpu_times.Times())


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether to write golden files; refused in CI, where they are what is tested."""
    update = bool(request.config.getoption("--update-golden"))
    if update and os.environ.get("CI"):
        pytest.fail("--update-golden is refused when CI is set")
    return update


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """What compilers say of themselves, whatever is installed: gcc 12, for this machine, unless a test changes it."""
    says = {"version": "gcc (Debian 12.2.0-14) 12.2.0\nFree Software Foundation", "machine": "x86_64-linux-gnu"}
    monkeypatch.setattr(stack, "_told", lambda cc: says["version"])
    monkeypatch.setattr(build, "machine", lambda cc: says["machine"])
    monkeypatch.setattr(build, "find_compiler", lambda target, wanted="": wanted or target.compilers[0])
    monkeypatch.setattr(build, "apart", lambda cc, target: True)
    for f in (stack.kind, stack.version):
        f.cache_clear()
    yield says
    for f in (stack.kind, stack.version):
        f.cache_clear()
