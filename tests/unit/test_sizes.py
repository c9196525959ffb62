"""Code size before the build: for which compiler a plan foresees it, and that it is a bound."""

from __future__ import annotations

from dataclasses import astuple, replace
from pathlib import Path

import pytest
from helpers import plan, spec

import bnnc
from bnnc.backends.c import build
from bnnc.backends.c.fits import CLANG, GCC, Compiler, fits
from bnnc.backends.c.kernels.convolve import back_band
from bnnc.backends.c.size import needs
from bnnc.backends.c.targets import TARGETS
from bnnc.inputs.encode import of_model
from bnnc.ir.image import Geometry

GNU, LLVM = Compiler("gcc", "gcc 12", apart=True), Compiler("clang", "clang 22")


@pytest.mark.parametrize(
    ("cc", "version", "known"),
    [
        ("gcc", "gcc (Debian 12.2.0-14) 12.2.0\nFree Software Foundation", "gcc 12"),
        ("gcc -g", "gcc (GCC) 12.3.1 20230508\nFree Software Foundation", "gcc 12"),
        ("gcc -O3", "gcc (GCC) 12.2.0\nFree Software Foundation", ""),
        ("gcc", "gcc (Ubuntu 13.2.0-4ubuntu3) 13.2.0\nFree Software Foundation", ""),
        ("zig cc -mcpu=baseline -g0", "clang version 22.1.8\nTarget: x86_64", "clang 22"),
        ("zig cc", "clang version 22.1.8\nTarget: x86_64", ""),
        ("clang", "clang version 14.0.6\nTarget: x86_64", ""),
        ("tcc", "tcc version 0.9.27", ""),
    ],
)
def test_a_compiler_is_known_by_its_kind_version_and_options(
    told: dict[str, str], cc: str, version: str, known: str
) -> None:
    told["version"] = version
    found = build.foresee(TARGETS["host"], cc)
    assert (found.what if found.kind else "") == known
    assert str(found).startswith(f"for {known}" if known else "for any measured compiler, since ")


@pytest.mark.parametrize(("side", "channels"), [(32, 128), (16, 256), (8, 512)])
def test_a_band_of_whole_numbers_fills_its_lanes(side: int, channels: int) -> None:
    """Of images as BinaryNet's: 32 pixels at a time, with AVX-512."""
    padded = Geometry(side, side, 3, 3, 1, 1, 1, 1, 1)
    band = back_band(padded, channels, 100 * side * side, channels, whole=True)
    assert band > 0 and band * side % 32 == 0


def test_another_machines_code_is_not_known(told: dict[str, str]) -> None:
    told["machine"] = "aarch64-linux-gnu"
    assert build.foresee(TARGETS["host"], "gcc").kind == "" and build.foresee(TARGETS["rpi"]).kind == "gcc"


@pytest.mark.parametrize("target", TARGETS)
def test_an_unknown_compiler_gets_the_largest(target: str) -> None:
    p, t = plan(spec(), target=target), TARGETS[target]
    e = of_model(p.model)
    known = (GNU, replace(GNU, apart=False), LLVM)
    found = [astuple(needs(t, p.placed, e, c)) for c in known]
    assert astuple(needs(t, p.placed, e, Compiler())) == tuple(map(max, *found))
    assert (
        {f.kind for f in fits(t)} == {"gcc", "clang"}
        and set(CLANG) == set(TARGETS)
        and {x.code for x in TARGETS.values()} == set(GCC)
    )


def test_the_plan_says_for_which_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ways out use the same figures."""
    monkeypatch.setenv("BNNC_CC", "/nowhere/cc")
    net = bnnc.parse(spec())
    p = net.plan()
    assert p.planned.report.compiler == "for any measured compiler, since no compiler for it is here"
    assert p.to_json()["compiler"] == p.planned.report.compiler
    monkeypatch.setenv("BNNC_CC", "")
    here = net.plan().planned.report
    assert here.total <= p.total_bytes
    monkeypatch.setenv("BNNC_CC", "/nowhere/cc")
    with pytest.raises(bnnc.BnncError, match="B needed"):
        net.plan(ram=p.total_bytes - 1, threads=p.planned.threads)


def test_long_names_are_counted() -> None:
    """A letter more in a layer's name is a letter more in the program's tables."""

    def code(name: str) -> int:
        p = plan(spec().replace("dense 33;", f"dense 33 name = {name};"))
        return needs(TARGETS["cortex-m"], p.placed, None, GNU).flash

    assert code("a" * 60) > code("a" * 30) + 30


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(spec((33, 17, 10), rule="standard", kind="f32", batch=9), id="numbers"),
        pytest.param(spec((9, 7, 3), kind="u8", batch=50), id="bytes", marks=pytest.mark.slow),
    ],
)
@pytest.mark.optimized
def test_the_plan_holds_what_the_build_needs(tmp_path: object, text: str) -> None:
    net = bnnc.parse(text)
    assert net.compile().plan.planned.report == net.plan().planned.report


def test_the_code_of_the_mnist_example_fits_35_pages() -> None:
    p = plan(Path(__file__).parents[2].joinpath("examples/mnist_mlp/mnist_mlp.bnn").read_text())
    assert needs(TARGETS["host"], p.placed, of_model(p.model), GNU).code <= 35 * 4096
