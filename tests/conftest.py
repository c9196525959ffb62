"""Puts ``tests/`` on the import path (``from helpers import ...``) and gives the session one folder for compiled
libraries.
"""

from __future__ import annotations

import os
from pathlib import Path

import helpers
import pytest

os.environ.setdefault("BNNC_CFLAGS", "-Werror")  # a compiler's warning stops no user, but every test


@pytest.fixture(scope="session", autouse=True)
def library_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all workers of a run under pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "libraries"
    folder.mkdir(exist_ok=True)
    helpers.CACHE = folder
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write tests/golden anew from what the compiler makes now"
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether to write golden files; refused in CI, where they are what is tested."""
    update = bool(request.config.getoption("--update-golden"))
    if update and os.environ.get("CI"):
        pytest.fail("--update-golden is refused when CI is set")
    return update
