"""How a kernel is compiled so that it fits a multiprocessor: one ladder of options, and one refusal, for kernels that
are compiled ahead of time and for those of the Python trainer.

A kernel that spills registers or wants scratch memory is refused: both are device memory that no plan counts.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnnc.diag import BnncError, InternalError, error

from .pipeline import one_launch

MOST_REGISTERS = 255  # of a persistent step: one program a multiprocessor leaves it that many
# Loads ahead of a product (Triton's default first: fewer need fewer registers and less shared memory), and whether a
# thread may have all registers.
LADDER = ((3, False), (2, False), (1, False), (1, True))
SHARED = {80: 99 << 10, 90: 227 << 10}  # bytes that a program may ask for, on every GPU of a generation
USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")


@dataclass(frozen=True)
class Image:
    """One compiled kernel: ``grid`` programs (0: as many as the device runs at once), ``shared`` bytes asked for at
    launch;
    ``stack`` and ``scratch`` are bytes of device memory beside the arena; ``options`` made it.
    """

    name: str
    arch: int
    grid: int
    warps: int
    shared: int
    registers: int
    stack: int
    scratch: int
    cubin: bytes
    ptx: str
    options: dict[str, Any]


def ladder(warps: int, tiles: int) -> Iterator[dict[str, Any]]:
    """Options to try, one after another, for a kernel; ``tiles``: 0 where it is a persistent step."""
    for stages, most in LADDER:
        registers = {"maxnreg": MOST_REGISTERS} if most or not tiles else {}
        yield {"num_warps": warps, "enable_fp_fusion": False, "num_stages": stages, **registers}


def fitting(
    triton: Any, name: str, warps: int, tiles: int, arch: int, most: int, make: Callable[[dict[str, Any]], Any]
) -> Image:
    """The first that fits of what ``make`` compiles with each of the ladder's options; ``most``: bytes of shared memory
    that a program may have.  Raises BnncError B0712 where none does.
    """
    for options in ladder(warps, tiles):
        try:
            with triton.knobs.runtime.scope():
                triton.knobs.runtime.add_stages_inspection_hook = None if tiles else one_launch
                made = make(options)
        except triton.runtime.errors.TritonError as e:
            raise error(
                "B0712",
                f"kernel {name} does not compile for sm_{arch}: {str(e).splitlines()[-1]}",
                exit_code=4,
                help="report it with the spec",
            ) from e
        registers, stack = usage(triton, made.asm["cubin"])
        about, code = made.metadata, made.asm
        image = Image(
            name,
            arch,
            tiles,
            warps,
            about.shared,
            registers,
            stack,
            about.global_scratch_size,
            code["cubin"],
            code["ptx"],
            options,
        )
        if not stack and not image.scratch and image.shared <= most:
            return image
    raise _too_large(image, most)


def usage(triton: Any, cubin: bytes) -> tuple[int, int]:
    """(registers, stack bytes) a thread."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(
            [str(tool), "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        )
    found = USAGE.search(done.stdout)
    if found is None:
        raise InternalError(f"cuobjdump: {done.stdout}{done.stderr}")
    return int(found[1]), int(found[2]) + int(found[4])


def _too_large(image: Image, most: int) -> BnncError:
    """What a kernel needs that no plan counts, or no multiprocessor has."""
    what = (
        f"{image.stack} bytes of stack a thread and {image.scratch} of scratch, which no plan counts"
        if image.stack or image.scratch
        else f"{image.shared} bytes of shared memory, of {most}"
    )
    return error(
        "B0712",
        f"kernel {image.name} for sm_{image.arch} needs {what}",
        exit_code=4,
        help="report it with the spec; a smaller layer or batch may avoid it",
    )
