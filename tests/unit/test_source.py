"""A Source on disk: written whole, read back as it was, refused with a reason where it is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import plan, spec

from bnnc import driver
from bnnc.backends import select
from bnnc.diag import BnncError
from bnnc.source import whole


@pytest.mark.parametrize(("target", "main"), [("host", "net.c"), ("triton", "net_triton.py"), ("cuda", "net.c")])
def test_a_source_is_read_back_as_it_was_written(target: str, main: str, tmp_path: Path) -> None:
    planned = driver.plan_text(driver.Options(spec((8, 6, 3)), target=target))
    source = driver.emit_source(planned)
    source.write(tmp_path)
    again, sizes, found = select.read_source(tmp_path)
    built = {f: t for f, t in source.files if not f.endswith(".json")}
    assert (again.name, again.main, dict(again.files)) == ("net", main, built) and found.name == target
    assert (sizes.arena, sizes.code, sizes.workers) == (
        planned.report.arena,
        planned.report.code,
        planned.report.workers,
    )


@pytest.mark.parametrize("broken", ["none", "two", "text", "keys", "main"])
def test_what_is_no_source_is_refused(broken: str, tmp_path: Path) -> None:
    driver.emit_source(plan(spec((8, 6, 3)))).write(tmp_path)
    file = tmp_path / "net.plan.json"
    reason = {
        "none": "no NAME.plan.json",
        "two": "more than one NAME.plan.json",
        "text": "not a plan that bnnc wrote",
        "keys": "'arena_bytes'",
        "main": "net.c is missing",
    }[broken]
    if broken == "none":
        file.unlink()
    elif broken == "main":
        (tmp_path / "net.c").unlink()
    elif broken == "two":
        (tmp_path / "other.plan.json").write_text(file.read_text())
    else:
        file.write_text("no plan" if broken == "text" else json.dumps({"target": "host"}))
    with pytest.raises(BnncError) as e:
        select.read_source(tmp_path)
    assert (d := e.value.diagnostics[0]).code == "B0708" and reason in d.message and e.value.exit_code == 2


def test_a_file_that_is_not_finished_does_not_take_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    with pytest.raises(ValueError, match="broken off"), whole(tmp_path / "x") as part:
        part.write_text("new")
        raise ValueError("broken off")
    assert (tmp_path / "x").read_text() == "old" and not (tmp_path / "x.part").exists()
    with whole(tmp_path / "x") as part:
        part.write_text("new")
    assert (tmp_path / "x").read_text() == "new" and not (tmp_path / "x.part").exists()
