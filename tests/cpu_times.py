"""``pytest --times`` (``make test TIMES=1``): CPU seconds, user and system, of each folder, file and test, with those
of compilers and trained programs; the machine may be busy.

A process counts when it is waited for, so what a fixture starts and nobody waits for goes to a later test.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

TESTS = 40  # that are listed, the most expensive first


def used() -> float:
    """CPU seconds of this process so far, and of its children that it has waited for."""
    return sum(os.times()[:4])


class Times:
    """Of one process: of each test the seconds that its setup, call and teardown took; the rest is ``(pytest)``."""

    def __init__(self) -> None:
        self.start, self.seconds = used(), Counter[str]()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        before = used()
        try:
            return (yield)  # type: ignore[return-value]
        finally:
            self.seconds[item.nodeid] += used() - before

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.seconds["(pytest)"] += used() - self.start - self.seconds.total()
        if output := getattr(session.config, "workeroutput", None):  # of a worker of xdist
            output["seconds"] = dict(self.seconds)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """The controller: a worker has ended; its own children are not waited for before."""
        self.seconds.update(getattr(node, "workeroutput", {}).get("seconds", {}))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        files, folders = Counter[str](), Counter[str]()
        for test, seconds in self.seconds.items():
            file = test.partition("::")[0]
            files[file] += seconds
            folders[file.rpartition("/")[0] or file] += seconds
        write = terminalreporter.write_line
        write(f"CPU seconds: {self.seconds.total():.1f} in all")
        for title, table in (("folder", folders), ("file", files), ("test", self.seconds)):
            write(f"-- a {title}")
            for name, seconds in table.most_common(TESTS):
                write(f"{seconds:8.2f}  {name}")
