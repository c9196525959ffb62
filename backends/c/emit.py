"""emit: Placed -> Source, the C backend's half: one program file, one file of kernels, the runtime verbatim."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import astuple
from importlib import resources
from itertools import groupby
from typing import Any

from bnnc.diag import error
from bnnc.model import Model
from bnnc.plan.cost import kernel_costs
from bnnc.plan.place import Placed
from bnnc.plan.report import Report, totals
from bnnc.source import Source
from bnnc.version import __version__

from ..render import render, template_text
from .bodies import distinct
from .contract import all_ranges, contract
from .emission import Emission
from .firmware import BARE_HEADERS, BESIDE, HEADERS, apart_script, cmake, linker_script, samples
from .names import literal
from .net import buffer_rows, defines, net, numbered, state_rows
from .size import stacks
from .targets import Target

MAX_ARENA = 2**31 - 2**24  # static memory that code can reach, with room for the code; so every index fits an int


def _poison(placed: Placed, n_train: int) -> list[dict[str, Any]]:
    """For each kernel, temporaries that die with it.  Times: 0 load, then kernels, done; evaluation again."""
    out = []
    for b in placed.plan.buffers:
        if b.region != "temp":
            continue
        t = b.last - 1 if b.last <= n_train else b.last - 3
        out.append({"after": t, "offset": b.offset, "nbytes": b.nbytes, "name": b.name})
    return sorted(out, key=lambda d: (d["after"], d["offset"]))


def how(name: str, target: Target) -> str:
    """The command that compiles the text."""
    if not target.bare:
        return f"cc -O2 -std=gnu11 -ffp-contract=off -fno-math-errno {name}.c -lm -lpthread -o {name}"
    return f"{target.compilers[0]} {' '.join(target.flags)} -ffreestanding -c {name}.c"


def kernel_rows(x: Emission) -> tuple[list[str], list[str]]:
    """Of TRAIN and of EVAL: each kernel's name, function and line, what the plan counts, and where its operands lie;
    NULL where the function knows.
    """
    rows = []
    for call, cost in zip(x.calls, (c for ps in x.placed.packed for c in kernel_costs(ps)), strict=True):
        counts = [str(n) if n <= 1 << 24 else literal(float(n)) for n in astuple(cost)]  # as a float, exactly
        at = f"AT({', '.join(f'AT_{x.idents[n]}' for n in call.operands)})" if call.body.shared else "NULL"
        rows.append(", ".join((call.name, call.body.name, str(call.line), *counts, at)))
    n = len(x.placed.train.kernels)
    return rows[:n], rows[n:]


def loops(placed: Placed) -> list[tuple[int, int, int, str]]:
    """Ranges of kernels that run strip by strip: the first, the last, how many strips, of what; an evaluation's are
    counted on from the training step's."""
    firsts = (0, len(placed.train.kernels))
    return [
        (n + loop.first, n + loop.last, loop.parts, loop.axis.text)
        for n, ps in zip(firsts, placed.packed, strict=True)
        for loop in ps.loops
    ]


def kernels_text(x: Emission, target: Target) -> str:
    """The file of all functions."""
    partial, found = [level for level in target.levels if level.only], all_ranges(x.placed)
    return render(
        "c/kernels.h.j2",
        name=x.model.name,
        file=x.model.prefix,
        bodies=[(body, contract(body, users, found)) for body, users in distinct(x.calls).items()],
        only="".join(level.only for level in partial),
        partial="".join(level.name for level in partial),
        base=target.levels[0].name,
    )


def _banner(x: Emission, report: Report, target: Target) -> dict[str, Any]:
    """What a program is, how it is built, what it needs, and the spec."""
    model = x.model
    return {
        "name": model.name,
        "file": model.prefix,
        "version": __version__,
        "hash": x.hash,
        "rule": model.rule.name,
        "optimizer": model.optimizer.name,
        "batch": model.batch,
        "target": target.name,
        "how": how(model.prefix, target),
        "beside": f"{model.prefix}.h says\n * what to call" if target.bare else BESIDE,
        "totals": totals(report),
        "spec": numbered(model.source),
    }


def _memory(x: Emission, report: Report, target: Target, threads: int, each: int) -> dict[str, Any]:
    """Sizes, the arena and its buffers, and embedded matrices.  ``each``: bytes of a further thread's stack."""
    system = [
        *((f"HAS_{level.name.upper()}", 1) for level in target.levels if level.only),
        ("MAX_THREADS", threads),
        *((("BARE", 1), ("NAMED(what)", f"{x.model.prefix}_##what")) if target.bare else (("THREAD_STACK", each),)),
    ]
    return {
        "bare": target.bare,
        "headers": BARE_HEADERS if target.bare else HEADERS,
        "defines": [*system, *defines(x.model, x.placed)],
        "arena": x.placed.plan.arena_bytes,
        "states": state_rows(x),
        "temporaries": buffer_rows(x, report),
        "constants": list(x.constants.values()),
    }


def _step(x: Emission, target: Target, poison: bool) -> dict[str, Any]:
    """The kernels of a step, for each instruction set, and the order in which they run."""
    train = x.placed.train
    rows = kernel_rows(x)
    return {
        "levels": [(guard, list(same)) for guard, same in groupby(target.levels, key=lambda level: level.guard)],
        "train": rows[0],
        "evaluate": rows[1],
        "poison": _poison(x.placed, len(train.kernels)) if poison else [],
        "loops": loops(x.placed),
    }


def emit(model: Model, placed: Placed, report: Report, target: Target, threads: int, poison: bool = False) -> Source:
    """Deterministic text: the same Model, Plan and target give the same bytes.  Raises BnncError B0710 for an arena
    beyond 2 GiB.
    """
    if report.too_large:
        raise error(
            "B0710",
            f"a C program has at most 2 GiB of memory, and this one needs {placed.plan.arena_bytes / 2**30:.2f} GiB",
            help="use a smaller `batch`; `bnnc plan` says how large a network of any size is",
        )
    name, x = model.prefix, Emission(model, placed)
    flash = samples(model, target) if target.bare else ""
    each = max(stacks(target, x.calls)[1], report.threads // max(1, report.workers))
    main = render(
        "c/net.c.j2",
        **_banner(x, report, target),
        **_memory(x, report, target, threads, each),
        **_step(x, target, poison),
        net=net(x, report, target.name).lines,
        samples=bool(flash),
    )
    files = [
        (f"{name}.c", main),
        (f"{name}_kernels.h", kernels_text(x, target)),
        (f"{name}.plan.json", json.dumps(report.to_json(), indent=1, sort_keys=True) + "\n"),
    ]
    if target.bare:
        header = render("c/train.h.j2", name=model.name, file=name, version=__version__)
        files += [(f"{name}.h", header), (f"{name}.ld", linker_script(name, report, target))]
    files += [(f"{name}.ld", apart_script(name, target))] if target.apart else []
    files += [(f"{name}_samples.h", flash)] if flash else []
    beside = (cmake(name, target, target.bare), *runtime([text for _, text in files], target.bare))
    return Source(name, f"{name}.c", (*files, *beside))


def runtime(texts: list[str], bare: bool = False) -> list[tuple[str, str]]:
    """The runtime's headers that texts include, and those that these include, verbatim: with an operating system none
    of those for programs without one, and the other way round.
    """
    other = ("bnnc_sys_raw.h", "bnnc_sys_posix.h") if bare else ("bnnc_sys_bare.h", "bnnc_bare_data.h")
    found, todo = dict[str, str](), _included(r"runtime/(bnnc_\w+\.h)", texts)
    while todo:
        header = todo.pop()
        if header not in found and header not in other:
            found[header] = _header(header)
            todo += _included(r"(bnnc_\w+\.h)", [found[header]])
    return [(f"runtime/{header}", found[header]) for header in sorted(found)]


def _included(which: str, texts: Iterable[str]) -> list[str]:
    """Names in the include directives of texts, as a pattern finds them; a network's own files may be named alike."""
    return [name for text in texts for name in re.findall(rf'^ *#include "{which}"', text, re.M)]


def _header(name: str) -> str:
    gpu = resources.files("bnnc.templates") / "triton" / "runtime" / name
    return gpu.read_text(encoding="utf-8") if gpu.is_file() else template_text(f"c/runtime/{name}")
