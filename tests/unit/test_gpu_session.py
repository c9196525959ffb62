"""What a session on a GPU writes must be whole: figures.py says of what is missing or wrong, and where."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from figures import MACHINE, PARTS, problems
from session import LEAST, LIMITS, WHOLE

STEP = {"net": "small", "batch": 100, "way": "torch graph bf16", "ms": 0.25, "mib": 30.5}
KERNEL = {"name": "map_x", "programs": 4, "ms": 0.01, "predicted_ms": None}
RECORDS: dict[str, dict[str, Any]] = {
    "program": {"same_bits": True, "state": "28638fa96e73fd48", "ms_a_step": 0.2},
    "barrier": {"barriers": 2000, "right": True, "us_each": 1.3},
    "warm": {"net": "small", "seconds": 20},
    "kernels": {"net": "small", "batch": 100, "ms": 0.4, "predicted_ms": 0.3, "kernels": [KERNEL]},
    "steps": STEP,
    "peers": STEP,
    "tests": {"passed": 12, "failed": 0},
}


def whole() -> dict[str, Any]:
    part = {"status": "ok", "seconds": 2.5, "limit_s": 40}
    parts = [{"name": name, **part, "records": [copy.deepcopy(RECORDS[name])]} for name in PARTS]
    return {"machine": dict.fromkeys(MACHINE, "x"), "parts": parts}


def test_a_whole_session() -> None:
    assert problems(whole()) == []
    for p in (none := whole())["parts"]:
        p.update(status="no CUDA device", records=[])
    assert problems(none) == []


@pytest.mark.parametrize("name", PARTS)
def test_every_field_is_needed_and_has_a_type(name: str) -> None:
    at = list(PARTS).index(name)
    for key in PARTS[name]:
        for change in (lambda r, key=key: r.pop(key), lambda r, key=key: r.update({key: ["no"]})):
            data = whole()
            change(data["parts"][at]["records"][0])
            assert len(found := problems(data)) == 1 and name in found[0], (key, found)
    for key, value in (("status", "fine"), ("seconds", -1), ("limit_s", None), ("records", [])):
        data = whole()
        data["parts"][at][key] = value
        assert len(problems(data)) == 1, key


def test_what_is_no_figure_is_told() -> None:
    data = whole()
    data["machine"].pop("driver")
    data["parts"][1]["records"][0]["us_each"] = True
    data["parts"][3]["records"][0]["kernels"][0]["ms"] = -1.0
    told = problems(data)
    assert told[0].startswith("machine.driver") and told[1].startswith("barrier[0].us_each")
    assert told[2].startswith("kernels[0].kernels[0].ms") and len(told) == 3
    data["parts"].pop()
    assert "the parts are not" in problems(data)[-1]


def test_limits_leave_time_for_the_parts_behind() -> None:
    """All parts but the last may take their whole time, and the last one is begun."""
    assert list(LIMITS) == list(PARTS) and WHOLE < 600
    assert sum(LIMITS.values()) - LIMITS["tests"] + 20 * LEAST < WHOLE
