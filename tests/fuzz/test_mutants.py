"""Mutants of the examples end in an error that ``check`` tells, or in a plan, within bounds of time and memory
(:mod:`mutants`).

Failing seeds are in the message; ``python tests/fuzz/mutants.py SEED`` shows the text and what comes of it.
"""

from __future__ import annotations

import mutants
import pytest


def judged(seeds: range) -> mutants.Count:
    count = mutants.run(seeds)
    print(count)
    assert not count.faults, str(count)
    return count


def test_some_mutants() -> None:
    count = judged(range(20_000, 20_040))
    assert count.verdicts.total() == 40 and len(count.verdicts) > 5


@pytest.mark.slow
def test_more_mutants() -> None:
    """``python tests/fuzz/mutants.py 0 3000`` judges ten times as many."""
    count = judged(range(300))
    assert {"plan", "source"} <= set(count.verdicts)


def test_a_seed_is_a_mutant() -> None:
    assert mutants.mutant(7) == mutants.mutant(7) != mutants.mutant(7 + len(mutants.EXAMPLES))
    assert {mutants.mutant(s).example for s in range(len(mutants.EXAMPLES))} == {p.name for p in mutants.EXAMPLES}


SPEC = "network net { input u8[9]; dense 4; batchnorm; loss; }"


@pytest.mark.parametrize(
    "stage, mistake, fault",
    [
        ("check_text", "raise KeyError('a')", "KeyError"),
        ("plan_text", "raise RecursionError", "RecursionError"),
        ("plan_text", "raise error('B0402', 'late')", "refused after `check`: late"),
        ("check_text", "raise error('', 'bare')", "without a code"),
        ("plan_text", "\nwhile True: pass", "more than 1 s"),
        ("plan_text", "bytearray(1 << 28)", "MemoryError"),
    ],
)
def test_a_mistake_of_a_stage_is_a_fault(monkeypatch: pytest.MonkeyPatch, stage: str, mistake: str, fault: str) -> None:
    from bnnc.diag import error

    assert mutants.judge(SPEC, seconds=5, memory=1 << 27).what == "plan"

    def broken(*_: object) -> None:
        exec(mistake, {"error": error})

    monkeypatch.setattr(mutants.driver, stage, broken)
    assert fault in mutants.judge(SPEC, seconds=1, memory=1 << 27).fault
