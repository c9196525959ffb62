"""What a session on a GPU writes, and what must be true of it: ``gpu_session.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STATUSES = ("ok", "failed", "out of time", "no CUDA device", "not begun")
MACHINE = ("gpu", "driver", "python", "torch", "triton", "numpy", "system")
Number = (int, float)

# Of each part: the fields of its records.  A kernel's `predicted_ms` is null where the step is one launch, whose parts
# were predicted, not its kernels alone.
KERNEL: dict[str, Any] = {"name": str, "programs": int, "ms": Number, "predicted_ms": (*Number, type(None))}
STEP = {"net": str, "batch": int, "way": str, "ms": Number, "mib": Number}
PARTS: dict[str, dict[str, Any]] = {
    "program": {"same_bits": bool, "state": str, "ms_a_step": Number},
    "barrier": {"barriers": int, "right": bool, "us_each": Number},
    "warm": {"net": str, "seconds": Number},
    "kernels": {"net": str, "batch": int, "ms": Number, "predicted_ms": Number, "kernels": [KERNEL]},
    "steps": STEP,
    "peers": STEP,
    "tests": {"passed": int, "failed": int},
}


def problems(data: Mapping[str, Any]) -> list[str]:
    """What is wrong with a session's figures; nothing: they are whole."""
    found = [f"machine.{key} is missing" for key in MACHINE if not isinstance(data.get("machine", {}).get(key), str)]
    parts = data.get("parts", [])
    if [p.get("name") for p in parts] != list(PARTS):
        return [*found, f"the parts are not {', '.join(PARTS)}"]
    for p in parts:
        found += _part(p)
    return found


def _part(p: Mapping[str, Any]) -> list[str]:
    name, status, found = p["name"], p.get("status"), list[str]()
    if status not in STATUSES:
        found.append(f"{name}: status {status!r}")
    for key in ("seconds", "limit_s"):
        if not isinstance(p.get(key), Number) or p[key] < 0:
            found.append(f"{name}: {key} is {p.get(key)!r}")
    records = p.get("records", [])
    if status == "ok" and not records:
        found.append(f"{name}: ok, and no figures")
    for i, r in enumerate(records):
        found += _record(f"{name}[{i}]", r, PARTS[name])
    return found


def _record(where: str, r: Mapping[str, Any], fields: Mapping[str, Any]) -> list[str]:
    found = [f"{where} has {sorted(r)}, not {sorted(fields)}"] if set(r) != set(fields) else []
    for key in sorted(set(r) & set(fields)):
        kind, value = fields[key], r[key]
        if isinstance(kind, list):
            found += [x for i, row in enumerate(value) for x in _record(f"{where}.{key}[{i}]", row, kind[0])]
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            found.append(f"{where}.{key} is {value!r}")
        elif isinstance(value, Number) and value < 0:
            found.append(f"{where}.{key} is {value!r}, below 0")
    return found
