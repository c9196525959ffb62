"""GPU targets: records, not code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Arch:
    """A GPU generation that kernels are compiled for."""

    name: str


@dataclass(frozen=True)
class Target:
    """``levels``: what kernels are compiled for ahead of time; none: when the program starts.  A GPU's total is its
    device memory, so nothing of the host's process is counted."""

    name: str
    doc: str
    isa: str
    compilers: tuple[str, ...]
    levels: tuple[Arch, ...] = ()
    flags: tuple[str, ...] = ("-std=gnu11", "-O2", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
    threads: int = 1
    stack: int = 0
    thread_stack: int = 0
    kernel_pages: int = 0
    ram: int | None = None
    install: str = "pip install 'bnnc[gpu]'"


TARGETS: dict[str, Target] = {
    t.name: t
    for t in (
        Target(
            "triton",
            "a GPU: a Python trainer with its Triton kernels; needs torch there",
            "NVIDIA, compute capability 8.0 or more",
            (),
        ),
        Target(
            "cuda",
            "a GPU: one program that holds compiled kernels and loads the driver; needs no Python there, no CUDA"
            " toolkit",
            "NVIDIA, compute capability 8.0 or more",
            ("cc", "gcc", "clang"),
            (Arch("sm_80"), Arch("sm_90")),
        ),
    )
}


def find(name: str, table: Mapping[str, Any] = TARGETS) -> Any:
    """A target; ``cuda:sm_90`` is compiled for one generation only.  None: there is none of that name."""
    base, _, arch = name.partition(":")
    target = table.get(base)
    if target is None or not arch:
        return target if not arch and name == base else None
    levels = tuple(a for a in target.levels if a.name == arch)
    return replace(target, name=name, levels=levels) if levels else None


def program(name: str, target: Target) -> str:
    """What the program of a network is called."""
    return name if target.levels else f"{name}_triton.py"


def main(name: str, target: Target) -> str:
    """The file that the program is built from."""
    return f"{name}.c" if target.levels else f"{name}_triton.py"
