"""emit: Placed -> Source, the C backend's half: one program file, one file of kernels, the runtime verbatim."""

from __future__ import annotations

import hashlib
import json
import textwrap
from dataclasses import astuple
from importlib import resources
from typing import Any

import numpy as np

from bnnc.diag import error
from bnnc.inputs.encode import Encoding, of_model
from bnnc.ir.interp import constant_array
from bnnc.model import Model
from bnnc.plan.codec import encode
from bnnc.plan.cost import kernel_costs
from bnnc.plan.pack import PackedSchedule, base_name
from bnnc.plan.place import EVAL, Placed
from bnnc.plan.report import Report, table_lines
from bnnc.sched.anchor import Accumulation
from bnnc.sched.kernel import Kernel
from bnnc.source import Source
from bnnc.version import __version__

from ..render import render, template_text
from .bodies import Call, calls, distinct, identifiers
from .expr import literal
from .firmware import BARE_BESIDE, BARE_HEADERS, BESIDE, HEADERS, apart_script, linker_script, samples
from .fits import Compiler, fits
from .size import sample_bytes
from .stack import PAGE, arrays
from .targets import Target

DTYPE = {
    "f32": "BNNC_F32",
    "f16": "BNNC_F16",
    "bit": "BNNC_BIT",
    "u8": "BNNC_U8",
    "i32": "BNNC_I32",
    "i16": "BNNC_I16",
    "i8": "BNNC_I8",
}
INIT = {
    "const": "BNNC_INIT_CONST",
    "uniform": "BNNC_INIT_UNIFORM",
    "sign": "BNNC_INIT_SIGN",
    "normal": "BNNC_INIT_NORMAL",
}
NOWHERE = "BNNC_NOWHERE"
MAX_ARENA = 2**31 - 2**24  # static memory that code can reach, with room for the code; so every index fits an int
THRESHOLDS = "input.thresholds"
SCHEDULES = {
    "constant": ("BNNC_SCHED_CONSTANT", ()),
    "step": ("BNNC_SCHED_STEP", ("every", "factor")),
    "cosine": ("BNNC_SCHED_COSINE", ("final",)),
    "plateau": ("BNNC_SCHED_PLATEAU", ("patience", "factor")),
}


def c_string(text: str) -> str:
    """A C string literal; long or multi-line text continues on new lines."""
    out = []
    for line in text.splitlines(keepends=True) or [""]:
        for i in range(0, max(1, len(line)), 110):
            piece = line[i : i + 110].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("?", "\\?")
            out.append(f'"{piece}"')
    return out[0] if len(out) == 1 else "\n        " + "\n        ".join(out)


def kernel_doc(k: Kernel) -> list[str]:
    """What a kernel computes, one line an output, shortened: the full text is in the code."""

    def short(e: object) -> str:
        text = str(e)
        return text if len(text) <= 100 else text[:97] + "..."

    results = k.anchor.describe(short, sizes=True)
    many = isinstance(k.anchor, Accumulation)
    head = [f"acc{i if many else ''} = {text}" for i, text in enumerate(results)]
    return [x.replace("*/", "* /") for x in (*head, *(f"{o.value} = {short(o.expr)}" for o in k.outputs))]


def body_doc(users: list[Call]) -> list[str]:
    """The comment above a function: the kernels that run it, and what the first of them computes."""
    by_line: dict[tuple[str, int], list[str]] = {}
    for x in users:
        by_line.setdefault((x.kernel.where.phase, x.line), []).append(x.name)
    whose = "; ".join(
        f"{', '.join(names)} ({phase}{f', line {line}' if line else ''})" for (phase, line), names in by_line.items()
    )
    return [*textwrap.wrap(whose, 116), *(f"  {x}" for x in kernel_doc(users[0].kernel))]


def stack_bytes(target: Target, placed: Placed, compiler: Compiler | None = None) -> tuple[int, int]:
    """What the first stack, and each other thread's, may grow to with this network's kernels; the build checks it."""
    return _stacks(target, calls(placed), max(f.stack for f in fits(target, compiler)))


def deepest_arrays(target: Target, placed: Placed) -> int:
    """The most bytes of local arrays in a kernel, or in an inner loop for `bench`."""
    return _deepest(target, calls(placed))


def _deepest(target: Target, kernels: list[Call]) -> int:
    texts = [b.text for b in distinct(kernels)]
    texts += [] if target.bare else template_text("c/runtime/bnnc_rate.h").split("\nBNNC_RATE(")
    return max((arrays(t, target.lanes) for t in texts), default=0)


def _stacks(target: Target, kernels: list[Call], more: int = 0) -> tuple[int, int]:
    deepest, unit = _deepest(target, kernels) + more, 64 if target.bare else PAGE
    return -(-(target.stack + deepest) // unit) * unit, -(-(target.thread_stack + deepest) // unit) * unit


def _poison(placed: Placed, n_train: int) -> list[dict[str, Any]]:
    """For each kernel, temporaries that die with it.  Times: 0 load, then kernels, done; evaluation again."""
    out = []
    for b in placed.plan.buffers:
        if b.region != "temp":
            continue
        t = b.last - 1 if b.last <= n_train else b.last - 3
        out.append({"after": t, "offset": b.offset, "nbytes": b.nbytes, "name": b.name})
    return sorted(out, key=lambda d: (d["after"], d["offset"]))


def constants(placed: Placed) -> dict[str, dict[str, Any]]:
    """Embedded bit matrices by storage, as words in each packing that is read."""
    out: dict[str, dict[str, Any]] = {}
    idents = identifiers(placed)
    for ps in placed.packed:
        for s in ps.constants:
            program = ps.schedule.program
            name = base_name(s.name)
            array = constant_array(program.value[name], next(c for c in program.constants if c.name == name))
            words = [f"0x{w:08x}" for w in np.frombuffer(encode(s, array), "<u4")]
            out[s.name] = {
                "ident": idents[s.name],
                "what": str(s),
                "lines": [", ".join(words[i : i + 10]) for i in range(0, len(words), 10)],
                "n": len(words),
            }
    return out


def spec_hash(model: Model, constants: list[dict[str, Any]]) -> str:
    """The Model's hash, and with embedded constants theirs too: weights that were trained with others mean nothing."""
    if not constants:
        return model.hash
    return hashlib.sha256(repr((model.hash, [k["lines"] for k in constants])).encode()).hexdigest()[:16]


def counters(placed: Placed) -> list[tuple[str, str, int, int, bool]]:
    """What the trainer sums over an epoch: (name, layer, offset, numbers, reported per sample); those of one name are
    neighbours.
    """
    p = placed.packed.train.schedule.program
    at = {b.name: b.offset for b in placed.plan.buffers}
    return [(c.name, c.layer, at[v], p.value[v].shape[0] * p.value[v].shape[1], c.share) for c, v in p.counters]


def defines(model: Model, placed: Placed) -> list[tuple[str, int]]:
    """What bnnc_net.h must know before NET, without the prefix."""
    e, kept = of_model(model), next((b for b in placed.plan.buffers if b.name == THRESHOLDS), None)
    loops = [("STRIPS", sum(len(ps.loops) for ps in placed.packed))] if any(ps.loops for ps in placed.packed) else []
    return [
        ("COUNTERS", len(counters(placed))),
        *loops,
        *([("KEPT_AT", kept.offset), ("KEPT_BYTES", kept.nbytes)] if kept else []),
        *([("SAMPLE_BYTES", sample_bytes(e))] if e else []),
    ]


def _encoding(e: Encoding | None, at: dict[str, int]) -> str:
    """The record ``bnnc_encoding``."""
    if e is None:
        return "{BNNC_NUMBERS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL}"
    rows, cols = e.table if e.fitted else (0, 0)
    pairs = ", ".join(f"{c}, {n}" for c, n in zip(e.onehot, e.categories, strict=True))
    numbers = (e.steps, e.channels, e.bits, literal(e.threshold), rows, cols, at.get(THRESHOLDS, 0), len(e.onehot))
    return (
        f"{{BNNC_{e.how.upper()}, BNNC_{e.per.upper()}, {int(e.pad_odd)}, {int(e.lengths)}, {DTYPE[e.data]}, "
        f"{', '.join(map(str, numbers))},\n                 {f'(const uint32_t[]){{{pairs}}}' if pairs else 'NULL'}, "
        + (f"(const double[]){{{', '.join(map(repr, e.normal_quantiles))}}}}}" if e.how == "gauss" else "NULL}")
    )


def net_table(model: Model, placed: Placed, report: Report, target: Any) -> list[tuple[str, str]]:
    at = {b.name: b.offset for b in placed.plan.buffers}
    train = dict(placed.packed.train.schedule.program.results)
    evaluate = dict(placed.packed.evaluate.schedule.program.results)
    first = model.layers[0]
    given = (
        f"input {first['tensor']} {first['encoder'].text} -> {first.output}\n"
        if first["tensor"] != first.output
        else ""
    )
    counted = [
        f"{{{c_string(name)}, {c_string(layer)}, {offset}, {n}, {int(share)}}}"
        for name, layer, offset, n, share in counters(placed)
    ]
    schedule, names = SCHEDULES[model.schedule.name]
    args = [literal(float(model.schedule[n])) for n in names] + ["0.0f", "0.0f"]
    files = {"train": ("", ""), "test": ("", "")}
    for which, source in (("train", model.data.train), ("test", model.data.test)):
        if source is not None:
            values = [v for _, v in source.args]
            files[which] = (values[0], values[1] if len(values) > 1 else "")
    return [
        ("name", c_string(model.name)),
        ("hash", "SPEC_HASH"),
        ("version", c_string(__version__)),
        ("target", c_string(target.name)),
        ("rule", c_string(model.rule.name)),
        ("optimizer", c_string(model.optimizer.name)),
        ("summary", c_string(given + "\n".join(table_lines(report)) + "\n")),
        ("plan_json", c_string(json.dumps(report.summary(), sort_keys=True))),
        ("batch", str(model.part)),
        ("parts", str(model.microbatch)),
        ("elems", str(first.output.elements)),
        ("classes", str(model.classes)),
        ("in_kind", DTYPE[{"u8": "u8", "bit": "bit"}.get(first.output.kind, "f32")]),
        ("encoding", _encoding(of_model(model), at)),
        *(
            (f"train_{k}", str(at[n]))
            for k, n in (("x", "x"), ("labels", "labels"), ("loss", train["loss"]), ("pred", train["pred"]))
        ),
        *(
            (f"eval_{k}", str(at[EVAL + n]))
            for k, n in (("x", "x"), ("labels", "labels"), ("loss", evaluate["loss"]), ("pred", evaluate["pred"]))
            if EVAL + n in at
        ),
        *((n, str(at.get(n, NOWHERE))) for n in ("lr", "step", "part", "tick", "errors", "samples", "level")),
        ("seed_at", str(at.get("seed", NOWHERE))),
        *([("counter", f"(const bnnc_counter[]){{{', '.join(counted)}}}")] if counted else []),
        ("loss_is_int", str(int(placed.packed.train.schedule.program.value[train["loss"]].dtype == "i32"))),
        ("state_begin", "0"),
        ("state_bytes", str(placed.plan.state_bytes)),
        ("state", "STATE"),
        ("n_state", "sizeof STATE / sizeof STATE[0]"),
        ("schedule", schedule),
        ("lr0", literal(model.optimizer["lr"])),
        ("sched_a", args[0]),
        ("sched_b", args[1]),
        ("epochs", str(model.epochs)),
        ("seed", f"{model.seed}u"),
        ("holdout", literal(model.holdout)),
        ("train_images", c_string(files["train"][0])),
        ("train_labels_file", c_string(files["train"][1])),
        ("test_images", c_string(files["test"][0])),
        ("test_labels_file", c_string(files["test"][1])),
        ("source_kind", "0"),
        ("step_operations", str(report.cost.operations)),
        ("step_moved", str(report.cost.moved)),
        ("arena_bytes", "ARENA_BYTES"),
        ("total_bytes", str(report.total)),
        ("max_threads", "BNNC_MAX_THREADS"),
    ]


def state_table(placed: Placed) -> list[dict[str, Any]]:
    """The rows of STATE: everything that outlives a step."""
    at = {b.name: b for b in placed.plan.buffers}
    program = placed.packed.train.schedule.program
    return [
        {
            "name": c_string(s.name),
            "dtype": DTYPE[program.value[s.name].dtype],
            "init": INIT[s.init],
            "exported": int(s.role != "moment"),
            "value": literal(s.init_value),
            "limit": s.limit,
            "stream": s.stream,
            "rows": program.value[s.name].shape[0],
            "cols": program.value[s.name].shape[1],
            "offset": at[s.name].offset,
            "nbytes": at[s.name].nbytes,
        }
        for s in program.states
    ]


def costs(ps: PackedSchedule) -> list[dict[str, Any]]:
    """The rows of COSTS: what the plan counts of each kernel of a training step."""
    rows = zip(ps.kernels, kernel_costs(ps), strict=True)
    return [
        {
            "name": c_string(k.name),
            "line": k.where.line,
            "counts": [literal(float(n)) for n in astuple(cost)],
        }
        for k, cost in rows
    ]


def how(name: str, target: Target) -> str:
    """The command that compiles the text."""
    if not target.bare:
        return f"cc -O2 -std=gnu11 -ffp-contract=off -fno-math-errno {name}.c -lm -lpthread -o {name}"
    return f"{target.compilers[0]} {' '.join(target.flags)} -ffreestanding -c {name}.c"


def _operands(kernels: list[Call], idents: dict[str, str]) -> list[tuple[Call, list[str]]]:
    """Each kernel with its row of PLACES; of a function's only kernel, none."""
    return [(k, [f"AT_{idents[n]}" for n in k.operands] if k.body.shared else []) for k in kernels]


def kernels_text(name: str, kernels: list[Call], target: Target) -> str:
    """The file of all functions."""
    partial = [x for x in target.levels if x.only]
    return render(
        "c/kernels.h.j2",
        name=name,
        file=name,
        bodies=distinct(kernels),
        doc=body_doc,
        only="".join(x.only for x in partial),
        partial="".join(x.name for x in partial),
        base=target.levels[0].name,
    )


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
    train, evaluate = placed.packed.train, placed.packed.evaluate
    kernels, idents = calls(placed), identifiers(placed)
    name = model.name
    embedded = list(constants(placed).values())
    flash = samples(model, target) if target.bare else ""
    each = max(_stacks(target, kernels)[1], report.threads // max(1, report.workers))
    partial = [x for x in target.levels if x.only]
    system = [
        *((f"HAS_{x.name.upper()}", 1) for x in partial),
        ("MAX_THREADS", threads),
        ("BARE", 1) if target.bare else ("THREAD_STACK", each),
    ]
    context = {
        "name": name,
        "file": name,
        "version": __version__,
        "hash": spec_hash(model, embedded),
        "rule": model.rule.name,
        "optimizer": model.optimizer.name,
        "batch": model.batch,
        "target": target.name,
        "table": table_lines(report),
        "bare": target.bare,
        "how": how(name, target),
        "headers": BARE_HEADERS if target.bare else HEADERS,
        "beside": BARE_BESIDE if target.bare else BESIDE,
        "samples": bool(flash),
        "arena": placed.plan.arena_bytes,
        "buffers": [{"ident": idents[b.name], "offset": b.offset} for b in placed.plan.buffers],
        "levels": target.levels,
        "n_train": len(train.kernels),
        "n_eval": len(evaluate.kernels),
        "kernels": _operands(kernels, idents),
        "poison": _poison(placed, len(train.kernels)) if poison else [],
        "loops": [
            (n + loop.first, n + loop.last, loop.parts, ("rows", "columns")[loop.axis])
            for n, ps in ((0, train), (len(train.kernels), evaluate))
            for loop in ps.loops
        ],
        "defines": [*system, *defines(model, placed)],
        "constants": embedded,
        "states": state_table(placed),
        "costs": costs(train),
        "net": net_table(model, placed, report, target),
    }
    files = [
        (f"{name}.c", render("c/net.c.j2", **context)),
        (f"{name}_kernels.h", kernels_text(name, kernels, target)),
        (f"{name}.plan.json", json.dumps(report.to_json(), indent=1, sort_keys=True) + "\n"),
    ]
    files += [(f"{name}.ld", linker_script(name, report, target))] if target.bare else []
    files += [(f"{name}.ld", apart_script(name, target))] if target.apart else []
    files += [(f"{name}_samples.h", flash)] if flash else []
    runtime = resources.files("bnnc.templates") / "c/runtime"
    files += [
        (f"runtime/{f}", template_text(f"c/runtime/{f}"))
        for f in sorted(p.name for p in runtime.iterdir() if p.name.endswith(".h"))
    ]
    return Source(name, f"{name}.c", tuple(files))
