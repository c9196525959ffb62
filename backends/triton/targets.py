"""GPU targets: records, not code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """What a prediction takes a GPU for.  Rates are a second's, of dense products at best; ``small_mma``: the share of
    them that products from registers (mma) reach; ``near``, ``hit`` and ``miss``: cycles until a read's result is
    there, from the first-level cache, the second-level one (of ``cache`` bytes) or memory; seconds of a ``barrier`` of
    all programs, and of a ``launch`` behind another one.
    """

    name: str
    arch: int
    processors: int
    clock: float
    bandwidth: float
    int8: float
    f16: float
    cache: int
    small_mma: float = 1.0
    near: int = 41
    hit: int = 263
    miss: int = 479
    barrier: float = 1.4e-6
    launch: float = 1.5e-6
    registers: int = 1 << 16
    shared: int = 228 << 10  # bytes of a processor, of which a program takes 1 KiB more than it asks for
    threads: int = 2048
    programs: int = 32
    floats: int = 32  # additions or products of f32 that a quarter of a processor begins in a cycle

    @property
    def f32(self) -> float:
        """Operations a second, without tensor cores."""
        return 8 * self.floats * self.processors * self.clock


# Processors, rates, bandwidth, cache: NVIDIA's data sheets (H200; A100 80 GB, SXM), with what clock a busy one holds.
# Cycles, the share of mma: Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture" (2402.13499),
# as remembered: its tables could not be read again.  Others measured 40, 281 and 690 cycles on a GH200 (github.com,
# markdewing/AI_kernels, latency/README.md), so `near` and `hit` agree, and a `miss` may take half as long again.
# Barriers, launches: as published for cooperative groups and CUDA graphs.  None was measured here.
H200 = Gpu("H200", 90, 132, 1.9e9, 4.8e12, 1979e12, 989e12, 50 << 20, small_mma=0.63)
A100 = Gpu(
    "A100", 80, 108, 1.41e9, 2.04e12, 624e12, 312e12, 40 << 20, near=38, hit=262, miss=466, shared=164 << 10, floats=16
)


@dataclass(frozen=True)
class Arch:
    """A GPU generation that kernels are compiled for; ``gpu``: the one for which their time is predicted."""

    name: str
    gpu: Gpu


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
            (Arch("sm_80", A100), Arch("sm_90", H200)),
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
