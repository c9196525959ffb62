"""`bnnc explain --buffer`: who makes a buffer, why it exists, what it is packed for, when it is alive."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import plan, spec

from bnnc.cli.commands import cli
from bnnc.ir.ref import Ref
from bnnc.plan.life import Life, life, sections
from bnnc.plan.place import Placed
from bnnc.sched.fuse import KEPT

NET = spec((8, 6, 3))


def life_of(placed: Placed, name: str) -> Life:
    return life(placed, placed.plan.named[name])


def why(name: str, text: str = NET, **given: str) -> tuple[str, ...]:
    return life_of(plan(text, **given).placed, name).why


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sign1.mask", "fuse: kept, one bit an element is smaller than what it is made of"),
        ("sign1.out", "fuse: kept, a product reads its bits from memory"),
        ("dense2.dx_f16", "fuse: kept, it is a rounded copy, half as large"),
        ("batchnorm1.mu", "fuse: kept, what reads it is larger, and would make it for each element"),
        ("loss1.e", "fuse: kept, several read it, and exp or log take long"),
        ("dense1.y", "fuse: kept, it is the result of a sum"),
        ("dense1.weight", "fuse: kept, the step gives it back"),
    ],
)
def test_a_buffer_knows_why_it_is_kept(name: str, reason: str) -> None:
    assert why(name)[0] == reason
    assert reason.split(", ", 1)[1] in {"it is the result of a sum", "the step gives it back", *(n for n, _ in KEPT)}


def test_what_each_pass_decided_is_told_in_order() -> None:
    assert why("dense1.weight")[1].startswith("sink: made in the kernel of dense1.dw_sign")
    assert why("sign1.out")[1] == "pack: 32 columns a word, for the contract nn that makes dense2.y"
    assert why("sign1.out@0")[1] == (
        "pack: 32 rows a word, for the contract tn that makes dense2.weight_m_new, beside sign1.out"
    )
    assert why("batchnorm1.mu") == why("batchnorm1.mu")[:1]  # nobody moved or packed it


def test_without_fusing_all_is_kept() -> None:
    assert why("batchnorm1.a", disable=("fuse",)) == ("fuse: kept, fusing is off",)


def test_the_parts_of_the_timeline() -> None:
    """Forward ends where the first gradient is made, whatever an optimiser computes before all else."""
    placed = plan(NET).placed
    assert placed.train.kernels[0].where.phase == "update"
    (_, a, b), (_, c, d), (_, e, f) = sections(placed)
    phases = [k.where.phase for k in placed.train.kernels]
    assert (a, b, d, f) == (0, c, e, len(placed.plan.steps)) and d == len(phases) + 2
    assert phases[b - 1] == "backward" and "backward" not in phases[: b - 1]


def test_the_kernels_steps_and_bytes_of_a_life() -> None:
    placed = plan(NET).placed
    found = life_of(placed, "sign1.mask")
    steps = {s.name: s for s in placed.plan.steps}
    (maker,) = found.made
    assert Ref("sign1.mask") in steps[maker[0]].writes and maker[1].startswith("%sign1.mask = abs(z) <= 1, where z = ")
    assert [n for n, s in steps.items() if Ref("sign1.mask") in s.reads] == list(found.read)
    assert found.alive == (maker[0], found.read[-1]) and found.steps == len(steps)
    b = found.buffer
    for other in placed.plan.buffers:
        shared = other is not b and max(b.offset, other.offset) < min(b.end, other.end)
        assert (other.name in found.shares) == shared
        assert not shared or other.last < b.first or b.last < other.first


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "net.bnn"
    file.write_text(NET)
    told = CliRunner().invoke(cli, ["explain", "--buffer", "sign1.mask", str(file)])
    assert told.exit_code == 0
    for fact in (
        "made by",
        "fuse     kept, one bit",
        "read by",
        "alive    from map_batchnorm1_q",
        "shares",
        "(sign1)",  # its own line, though batchnorm1's kernel makes it
    ):
        assert fact in told.output, fact
    assert "eval:x: u8[" in CliRunner().invoke(cli, ["explain", "--buffer", "eval:x", str(file)]).output
    data = json.loads(CliRunner().invoke(cli, ["explain", "--buffer", "x", str(file), "--json"]).output)
    assert (data["name"], data["made_by"], data["region"]) == ("x", [], "io")
    assert data["alive"][0] == "load" and data["read_by"]


def test_a_buffer_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "net.bnn"
    file.write_text(NET)
    result = CliRunner().invoke(cli, ["explain", "--buffer", "sign1.mas", str(file)])
    assert result.exit_code == 2 and "B0908" in result.output and "did you mean `sign1.mask`?" in result.output
    result = CliRunner().invoke(cli, ["explain", "--buffer", "sign1.mask"])
    assert result.exit_code == 2 and "B0904" in result.output and "--buffer NAME FILE" in result.output
