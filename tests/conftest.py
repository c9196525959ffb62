"""Puts ``tests/`` on the import path (``from helpers import ...``) and gives the session one folder for compiled libraries."""

from __future__ import annotations

import os
from pathlib import Path

import helpers
import pytest


@pytest.fixture(scope="session", autouse=True)
def library_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all workers of a run under pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "libraries"
    folder.mkdir(exist_ok=True)
    helpers.CACHE = folder
    return folder
