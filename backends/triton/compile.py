"""Ahead-of-time compilation of a network's kernels: cubins and PTX, with no GPU, no driver and no torch.

Line information is left out, so the same Plan gives the same bytes wherever it is compiled.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from bnnc.diag import InternalError, error

from . import emit
from .fit import SHARED, Image, fitting

TRITON = "3.6.0"


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


def compile_one(triton: Any, module: ModuleType, entry: emit.Entry, arch: int) -> Image:
    """One kernel for one architecture (80, 90).  Raises BnncError B0712."""
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.compiler import ASTSource  # noqa: PLC0415

    function = getattr(module, entry.name)
    kinds = {"arena": "*u8", "strip": "i32"}
    signature = {name: kinds.get(name, "constexpr") for name in function.arg_names}  # of which 0 is the default
    constants = {(i,): 0 for i, name in enumerate(signature) if name not in kinds}
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs={(0,): [["tt.divisibility", 16]]})

    def make(options: dict[str, Any]) -> Any:
        return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)

    return fitting(triton, entry.name, entry.warps, entry.tiles, arch, SHARED[arch], make)


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
        made = {(e.name, arch): compile_one(triton, module, e, arch) for e in (*train, *evaluate) for arch in archs}
    return train, evaluate, made
