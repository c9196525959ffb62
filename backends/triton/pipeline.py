"""Triton's pipeline for a step of one launch: each kernel stays a function of its own until its accesses have layouts.

For each access of memory, Triton's pass ``coalesce`` walks through all that is connected with it; as one function, all
kernels of a step are, by constants and the number of programs.  That took 94 % of a compilation, and let accesses of
one kernel decide the layouts of another one's.

Triton keeps what it compiled by its source, and does not look at the pipeline: so the source names this one (`KEY`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEY = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]  # of this text


def one_launch(backend: Any, stages: dict[str, Callable[..., Any]], options: Any, _: Any, capability: int) -> None:
    """Triton's ``add_stages_inspection_hook``: accesses get layouts kernel by kernel, then the ``noinline`` functions
    are inlined, and what the backend does goes on.
    """
    from triton._C.libtriton import ir, passes  # noqa: PLC0415

    def stage(module: Any, metadata: dict[str, Any]) -> Any:
        first = ir.pass_manager(module.context)
        passes.ttir.add_convert_to_ttgpuir(first, f"cuda:{capability}", options.num_warps, 32, options.num_ctas)
        passes.ttgpuir.add_coalesce(first)
        first.run(module, "coalesce")
        names: list[str] = []
        module.walk(lambda op: names.append(op.get_str_attr("sym_name")) if op.get_name() == "tt.func" else None)
        for name in names:
            module.get_function(name).set_attr("noinline", ir.builder(module.context).get_bool_attr(False))
        second = ir.pass_manager(module.context)
        passes.common.add_inliner(second)
        passes.common.add_cse(second)
        passes.common.add_symbol_dce(second)
        second.run(module, "inline")
        with _without(passes.ttir, "add_convert_to_ttgpuir"), _without(passes.ttgpuir, "add_coalesce"):
            return backend.make_ttgir(module, metadata, options, capability)

    stages["ttgir"] = stage


@contextmanager
def _without(some: Any, name: str) -> Iterator[None]:
    """A pass is left out: it has run."""
    kept = getattr(some, name)
    setattr(some, name, lambda *_: None)
    try:
        yield
    finally:
        setattr(some, name, kept)
