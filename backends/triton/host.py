"""The host program's build: compiles the kernels ahead of time, puts them into one file, and calls the C compiler.

It needs neither a GPU nor a driver nor a CUDA toolkit; the program loads the driver when it starts.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from bnnc.diag import InternalError, error
from bnnc.plan.report import Report
from bnnc.source import Source, whole

from ..c.build import WARNINGS, Sizes, find_compiler, machine, read_elf, run_compiler
from . import compile as aot
from .device import in_order
from .targets import Target

PTX_ARCH = 80  # of the text that the driver compiles for GPUs newer than all that is listed
# A version of PTX, and the CUDA that brought it.
PTX_CUDA = {(8, 4): 12040, (8, 5): 12050, (8, 6): 12070, (8, 7): 12080, (8, 8): 12090, (9, 0): 13000}
NEAR, FAR = (
    (1 << 31) - (16 << 20),
    1 << 32,
)  # bytes of an arena: 32-bit addresses (with the rest of the program), offsets

IMAGES = """/* The kernels of this program: written by the build, beside bnnc_images.bin. */
#ifndef BNNC_IMAGES_H
#define BNNC_IMAGES_H
#include <stdbool.h>
#include <stdint.h>
enum {{ BNNC_GPU_ARCHS = {archs}, BNNC_GPU_KERNELS = {kernels}, BNNC_GPU_TRAIN = {train},
       BNNC_GPU_LAUNCHES = {launches}, BNNC_GPU_PTX_DRIVER = {ptx_driver} }};
static const struct {{ int arch; bool ptx; }} bnnc_gpu_arch[] = {{ {arch_list} }};
typedef struct {{ uint32_t at, shared, registers; }} bnnc_gpu_image;
typedef struct {{ const char *name; uint32_t grid, warps; bnnc_gpu_image image[{archs}]; }} bnnc_gpu_kernel;
static const bnnc_gpu_kernel bnnc_gpu_kernels[] = {{
{table}
}};
/* Launches of a training step, then of an evaluation step: a kernel's number, and which strip. */
static const struct {{ uint16_t kernel, strip; }} bnnc_gpu_launches[] = {{
{order}
}};
__asm__(".section .rodata\\n.balign 64\\nbnnc_images:\\n.incbin \\"bnnc_images.bin\\"\\n.byte 0\\n.previous");
extern const uint8_t bnnc_images[] __attribute__((visibility("hidden")));
#endif
"""


def images(text: str, target: Target) -> tuple[str, bytes]:
    """The table of kernels as C, and the bytes it points into; the same text gives the same bytes.  Raises
    BnncError.
    """
    archs = [int(a.name.removeprefix("sm_")) for a in target.levels]
    train, evaluate, made = aot.compile_text(text, archs)
    columns = [(a, False) for a in archs] + ([(PTX_ARCH, True)] if PTX_ARCH in archs else [])
    blob, rows = bytearray(), []
    for e in (*train, *evaluate):
        cells = []
        for arch, ptx in columns:
            image = made[e.name, arch]
            blob += bytes(-len(blob) % 64)
            cells.append(f"{{ {len(blob)}, {image.shared}, {image.registers} }}")
            blob += image.ptx.encode() + b"\0" if ptx else image.cubin
        rows.append(f'    {{ "{e.name}", {e.tiles}, {e.warps}, {{ {", ".join(cells)} }} }},')
    arch_list = ", ".join(f"{{ {a}, {'true' if ptx else 'false'} }}" for a, ptx in columns)
    number = {e.name: i for i, e in enumerate((*train, *evaluate))}
    order = [
        [f"{{ {number[name]}, {sum(strip)} }}" for (name, *_), strip in in_order(side)] for side in (train, evaluate)
    ]
    return IMAGES.format(
        archs=len(columns),
        train=len(order[0]),
        launches=sum(map(len, order)),
        kernels=len(number),
        arch_list=arch_list,
        ptx_driver=ptx_driver([i.ptx for (_, arch), i in made.items() if arch == PTX_ARCH]),
        table="\n".join(rows),
        order=",\n".join(f"    {x}" for side in order for x in side),
    ), bytes(blob)


def ptx_driver(texts: list[str]) -> int:
    """The oldest CUDA whose driver compiles PTX texts, as the driver counts it (12080: 12.8); 0: there are none.  Of a
    version unknown here, the newest known.
    """
    found = [m for t in texts if (m := re.search(r"^\.version (\d+)\.(\d+)", t, re.M))]
    newest = max(PTX_CUDA.values())
    return max((PTX_CUDA.get((int(m[1]), int(m[2])), newest) for m in found), default=0)


def wide(report: Report | Sizes, cc: str) -> tuple[str, ...]:
    """The compiler's options for the mirror of an arena: beyond 2 GiB, its addresses take 64 bits.  Raises BnncError
    B0710 where there are none.
    """
    if report.arena < NEAR:
        return ()
    if report.arena < FAR and machine(cc).startswith("x86_64"):
        return ("-mcmodel=medium",)
    raise error(
        "B0710",
        f"this program mirrors {report.arena / 2**30:.2f} GiB of the GPU's memory, and may have"
        f" {'4 GiB' if report.arena >= FAR else f'2 GiB on {machine(cc)}'}",
        exit_code=4,
        help="use a smaller `batch`, or compile for `--target triton`",
    )


def build(source: Source, report: Report | Sizes, target: Target, out: Path, cc: str = "") -> Path:
    """The executable ``out``; it appears whole or not at all.  Raises BnncError B0706, B0707, B0710, B0711,
    B0712.
    """
    compiler = find_compiler(_as_c(target), cc)
    addresses = wide(report, compiler)
    header, blob = images(source.text[f"{source.name}_kernels.py"], target)
    with tempfile.TemporaryDirectory(prefix="bnnc-") as tmp:
        folder = Path(tmp)
        source.write(folder)
        (folder / "bnnc_images.h").write_text(header, encoding="utf-8")
        (folder / "bnnc_images.bin").write_bytes(blob)
        run_compiler(
            [
                *compiler.split(),
                *target.flags,
                *addresses,
                *WARNINGS,
                source.main,
                "-o",
                "program",
                "-ldl",
                "-lm",
                "-lpthread",
            ],
            folder,
        )
        if (arena := read_elf(folder / "program").arena) != report.arena:
            raise InternalError(f"the program's arena has {arena} bytes, the plan says {report.arena}")
        with whole(out) as part:
            shutil.copy2(folder / "program", part)
    return out


def _as_c(target: Target) -> Any:
    """What the search for a compiler asks of a target: its name and its compilers."""
    return target
