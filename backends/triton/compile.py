"""Ahead-of-time compilation of a network's kernels: cubins and PTX, with no GPU, no driver and no torch.

Line information is left out, so the same Plan gives the same bytes wherever it is compiled.  A kernel that spills
registers or wants scratch memory is refused: both are device memory that no plan counts.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from bnnc.diag import BnncError, InternalError, error

from . import emit

TRITON = "3.6.0"
MOST_REGISTERS = 255  # of a persistent step: one program a multiprocessor leaves it that many
# Loads ahead of a product (Triton's default first: fewer need fewer registers), and whether a thread may have all
# registers.
ATTEMPTS = ((3, False), (2, False), (1, False), (1, True))
SHARED = {
    80: 99 << 10,
    90: 227 << 10,
}  # bytes of shared memory that a program may ask for, on every GPU of a generation
USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")


@dataclass(frozen=True)
class Image:
    """One compiled kernel: ``grid`` programs (0: as many as the device runs at once), ``shared`` bytes asked for at
    launch;
    ``stack`` and ``scratch`` are bytes of device memory beside the arena."""

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


def require_triton() -> Any:
    """The triton package.  Raises BnncError B0711, exit code 4, where it is missing or of another version."""
    try:
        import triton  # noqa: PLC0415
    except ImportError as e:
        raise error(
            "B0711",
            "this target needs Triton, which is not installed",
            exit_code=4,
            help=f"pip install 'bnnc[gpu]' (triton {TRITON})",
        ) from e
    if triton.__version__ != TRITON:
        raise error(
            "B0711",
            f"this target needs triton {TRITON}, not {triton.__version__}",
            exit_code=4,
            help="pip install 'bnnc[gpu]'",
        )
    return triton


def load_module(text: str, folder: Path, interpret: bool) -> ModuleType:
    """A generated module, written to ``folder``, where Triton may read it again; to be compiled, or interpreted.

    Sets Triton's mode, and loads :mod:`.num` anew: a function serves only the mode in which it was defined.
    """
    triton = require_triton()
    triton.knobs.runtime.interpret = interpret
    package = sys.modules[__package__]
    sys.modules.pop(f"{__package__}.num", None)
    vars(package).pop("num", None)
    path = folder / "net_kernels.py"
    path.write_text(text, encoding="utf-8")
    found = importlib.util.spec_from_file_location("net_kernels", path)
    if found is None or found.loader is None:
        raise InternalError("the generated module cannot be imported")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _usage(triton: Any, cubin: bytes, folder: Path) -> tuple[int, int]:
    """(registers, stack bytes) a thread."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    (folder / "k.cubin").write_bytes(cubin)
    done = subprocess.run(
        [str(tool), "--dump-resource-usage", str(folder / "k.cubin")], capture_output=True, text=True, check=True
    )
    found = USAGE.search(done.stdout)
    if found is None:
        raise InternalError(f"cuobjdump: {done.stdout}{done.stderr}")
    return int(found[1]), int(found[2]) + int(found[4])


def compile_one(triton: Any, module: ModuleType, entry: emit.Entry, arch: int, folder: Path) -> Image:
    """One kernel for one architecture (80, 90)."""
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.compiler import ASTSource  # noqa: PLC0415

    function = getattr(module, entry.name)
    kinds = {"arena": "*u8", "strip": "i32"}
    signature = {name: kinds.get(name, "constexpr") for name in function.arg_names}  # of which 0 is the default
    constants = {(i,): 0 for i, name in enumerate(signature) if name not in kinds}
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs={(0,): [["tt.divisibility", 16]]})
    for stages, most in ATTEMPTS:
        options: dict[str, Any] = {"num_warps": entry.warps, "enable_fp_fusion": False, "num_stages": stages}
        if most or not entry.tiles:
            options["maxnreg"] = MOST_REGISTERS
        try:
            made = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
        except triton.runtime.errors.TritonError as e:
            raise error(
                "B0712",
                f"kernel {entry.name} does not compile for sm_{arch}: {str(e).splitlines()[-1]}",
                exit_code=4,
                help="report it with the spec",
            ) from e
        registers, stack = _usage(triton, made.asm["cubin"], folder)
        image = Image(
            entry.name,
            arch,
            entry.tiles,
            entry.warps,
            made.metadata.shared,
            registers,
            stack,
            made.metadata.global_scratch_size,
            made.asm["cubin"],
            made.asm["ptx"],
        )
        if not stack and not image.scratch and image.shared <= SHARED[arch]:
            return image
    raise _too_large(image)


def _too_large(image: Image) -> BnncError:
    """What a kernel needs that no plan counts, or no multiprocessor has."""
    what = (
        f"{image.stack} bytes of stack a thread and {image.scratch} of scratch, which no plan counts"
        if image.stack or image.scratch
        else f"{image.shared} bytes of shared memory, of {SHARED[image.arch]}"
    )
    return error(
        "B0712",
        f"kernel {image.name} for sm_{image.arch} needs {what}",
        exit_code=4,
        help="report it with the spec; a smaller layer or batch may avoid it",
    )


def compile_text(
    text: str, archs: Sequence[int]
) -> tuple[list[emit.Entry], list[emit.Entry], dict[tuple[str, int], Image]]:
    """What a module of kernels launches in a training and in an evaluation step, compiled for each architecture."""
    triton = require_triton()
    with (
        tempfile.TemporaryDirectory(prefix="bnnc-") as tmp,
        triton.knobs.runtime.scope(),
        triton.knobs.compilation.scope(),
    ):
        triton.knobs.compilation.disable_line_info = True
        module = load_module(text, Path(tmp), interpret=False)
        if module.PERSISTENT:
            train, evaluate = ([e] for e in emit.PERSISTENT)
        else:
            train, evaluate = ([emit.Entry(*e) for e in side] for side in (module.TRAIN, module.EVAL))
        made = {
            (e.name, arch): compile_one(triton, module, e, arch, Path(tmp))
            for e in (*train, *evaluate)
            for arch in archs
        }
    return train, evaluate, made
