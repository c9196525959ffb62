"""What the runtime must know of a network, as C: ``NET``, and the rows of its buffers, states and counters.

``templates/c/runtime/bnnc_net.h`` is the contract: :class:`Net` has its groups, in its order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import prod

from bnnc.inputs import augment
from bnnc.inputs.encode import Encoding, of_model
from bnnc.ir.ref import Ref, Side
from bnnc.model import Call, Model
from bnnc.plan.pack import PackedSchedule
from bnnc.plan.place import Placed
from bnnc.plan.report import Report, buffers_by_size, totals
from bnnc.version import __version__

from .emission import Emission
from .names import literal
from .size import THRESHOLDS, sample_bytes

DTYPE = {"f32": "F32", "f16": "F16", "bit": "BIT", "bool": "BIT", "u8": "U8", "i32": "I32", "i16": "I16", "i8": "I8"}
NOWHERE = "BNNC_NOWHERE"
SCHEDULES = {  # the parameters that are NET's sched_a and sched_b
    "constant": (),
    "step": ("every", "factor"),
    "cosine": ("final",),
    "plateau": ("patience", "factor"),
}
WIDTH = 112

Group = dict[str, str]  # members of bnnc_net and their initialisers; what is left out is 0


@dataclass(frozen=True)
class Net:
    """The initialiser of a ``bnnc_net``, group by group."""

    identity: Group
    batch: Group
    training: Group
    evaluation: Group
    scalars: Group
    counters: Group
    memory: Group
    schedule: Group
    data: Group
    cost: Group

    @property
    def lines(self) -> list[str]:
        """Of C, a group after the other."""
        return [line for f in fields(self) for line in _wrapped(getattr(self, f.name))]


def _wrapped(group: Group) -> list[str]:
    """As few lines as hold it; a value of several lines has its own."""
    out, line = [], ""
    for text in (f".{name} = {value},".replace("= \n", "=\n") for name, value in group.items()):
        if line and ("\n" in text or len(line) + len(text) >= WIDTH):
            out.append(line)
            line = ""
        if "\n" in text:
            out.append(text)
        else:
            line = f"{line} {text}" if line else text
    return [*out, line] if line else out


def c_string(text: str) -> str:
    """A C string literal; long or multi-line text continues on new lines."""
    out = []
    for line in text.splitlines(keepends=True) or [""]:
        for i in range(0, max(1, len(line)), 110):
            piece = line[i : i + 110].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("?", "\\?")
            out.append(f'"{piece}"')
    return out[0] if len(out) == 1 else "\n        " + "\n        ".join(out)


def counters(placed: Placed) -> list[tuple[str, str, int, int, bool]]:
    """What the trainer sums over an epoch: (name, layer, offset, numbers, reported per sample); those of one name are
    neighbours.
    """
    p, buffer = placed.program, placed.plan.buffer
    return [(c.name, c.layer, buffer[Ref(v)].offset, prod(p.value[v].shape), c.share) for c, v in p.counters]


def scores(placed: Placed) -> list[tuple[str, int]]:
    """How many scores a sample has, where they lie, and whether a softmax makes probabilities of them; nothing where
    an evaluation gives none back."""
    ps, side = placed.packed.sides[-1]
    found = next(((role, v) for role, v in ps.program.results if role in ("logits", "scores")), None)
    if found is None:
        return []
    role, name = found
    at = placed.plan.buffer[ps.place(Ref(name), side)].offset
    shape = ps.program.value[name].shape
    return [("SCORES", shape[1]), ("SCORES_AT", at), ("LOGITS", int(role == "logits"))]


def defines(model: Model, placed: Placed) -> list[tuple[str, int | str]]:
    """What bnnc_net.h must know before NET, without the prefix."""
    e, kept = of_model(model), placed.plan.buffer.get(THRESHOLDS)
    loops = [("STRIPS", sum(len(ps.loops) for ps in placed.packed))] if any(ps.loops for ps in placed.packed) else []
    return [
        ("COUNTERS", len(counters(placed))),
        *loops,
        *([("KEPT_AT", kept.offset), ("KEPT_BYTES", kept.nbytes)] if kept else []),
        *([("SAMPLE_BYTES", sample_bytes(e))] if e else []),
        *[("STEP", literal(s.step)) for s in placed.program.states if s.step][:1],  # one rule's: equal
        *scores(placed),
        *augmented(model),
        *([("CLASSES", model.classes)] if model.sampling == "balanced" else []),
    ]


def augmented(model: Model) -> list[tuple[str, int | str]]:
    """What bnnc_augment.h must know; nothing where training samples are taken as they are."""
    a = augment.of_model(model)
    if a is None:
        return []
    found: dict[str, int | str] = dict(zip(("ROWS", "COLUMNS", "CHANNELS"), a.shape, strict=True))
    found |= {"UP": a.rows, "ACROSS": a.columns, "CLAMP": int(a.clamp), "FLIP": int(a.mirror)}
    found |= {"TYPE": "float" if a.data == "f32" else "uint8_t"}
    found |= {"JITTER": literal(a.noise)} if a.noise else {}
    late = [("LATE", 1)] if of_model(model) is not None else []
    return [*((f"AUGMENT_{name}", n) for name, n in found.items()), *late]


def state_rows(x: Emission) -> list[str]:
    """Of STATES: everything that outlives a step, in the order in which it was declared."""
    row = _rows(x)
    return [
        f"{row[n]}, {s.init.upper()}, {literal(s.init_value)}, {s.limit}, {s.stream}, {s.exported + bool(s.step)}"
        for n, s in ((Ref(s.name), s) for s in x.placed.program.states)
    ]


def buffer_rows(x: Emission, report: Report) -> list[str]:
    """Of TEMPORARIES: all other buffers, with the times between which they are alive."""
    row = _rows(x)
    return [f"{row[b.ref]}, {b.first}, {b.last}" for b in buffers_by_size(report) if b.region != "state"]


def _rows(x: Emission) -> dict[Ref, str]:
    """What a row begins with: identifier, name, type, shape, offset, bytes, and the line of the spec."""
    return {
        b.ref: ", ".join(
            (
                x.idents[b.ref],
                c_string(b.name),
                DTYPE[b.storage.dtype],
                *map(str, (*b.storage.shape, b.offset, b.nbytes, b.span.line if b.span.file != "<builtin>" else 0)),
            )
        )
        for b in x.placed.plan.buffers
    }


def _encoding(e: Encoding | None, place: str) -> str:
    """The record ``bnnc_encoding``."""
    if e is None:
        return ""
    rows, cols = e.table if e.fitted else (0, 0)
    pairs = ", ".join(f"{c}, {n}" for c, n in zip(e.onehot, e.categories, strict=True))
    numbers = (e.steps, e.channels, e.bits, literal(e.threshold), rows, cols, place, len(e.onehot))
    return (
        f"{{BNNC_{e.how.upper()}, BNNC_{e.per.upper()}, {int(e.pad_odd)}, {int(e.lengths)}, BNNC_{DTYPE[e.data]}, "
        f"{', '.join(map(str, numbers))},\n                 {f'(const uint32_t[]){{{pairs}}}' if pairs else 'NULL'}, "
        + (f"(const double[]){{{', '.join(map(repr, e.normal_quantiles))}}}}}" if e.how == "gauss" else "NULL}")
    )


def _given(model: Model) -> str:
    """How the file's values become the network's, for `info`."""
    first = model.layers[0]
    if first["tensor"] == first.output:
        return ""
    return f"input {first['tensor']} {first['encoder'].text} -> {first.output}\n"


def _step(ps: PackedSchedule, side: Side, kind: str, idents: Mapping[Ref, str]) -> Group:
    """Where a step's batch and its results lie."""
    results = dict(ps.program.results)
    roles = [k for k in ("loss", "pred") if k in results]
    found = {"x": "x", "labels": "labels"} | {k: results[k] for k in roles}
    at = {k: Ref(n, side=side) for k, n in found.items()}
    return {f"{kind}_{k}": f"AT_{idents[n]}" for k, n in at.items() if n in idents}


def _counters(placed: Placed) -> Group:
    rows = [
        f"{{{c_string(name)}, {c_string(layer)}, {offset}, {n}, {int(share)}}}"
        for name, layer, offset, n, share in counters(placed)
    ]
    program = placed.program
    whole = program.value[dict(program.results)["loss"]].dtype == "i32"
    found = {"counter": f"(const bnnc_counter[]){{{', '.join(rows)}}}"} if rows else {}
    return found | ({"loss_is_int": "1"} if whole else {})


def _schedule(model: Model) -> Group:
    args = zip(("sched_a", "sched_b"), SCHEDULES[model.schedule.name], strict=False)
    return {
        "schedule": f"BNNC_SCHED_{model.schedule.name.upper()}",
        "lr0": literal(model.optimizer["lr"]),
        **{member: literal(float(model.schedule[name])) for member, name in args},
        "epochs": str(model.epochs),
        "seed": f"{model.seed}u",
        **({"holdout": literal(model.holdout)} if model.holdout else {}),
        **({"patience": str(model.patience)} if model.patience else {}),
    }


def _files(which: str, source: Call | None) -> Group:
    values = [c_string(str(v)) for _, v in source.args][:2] if source else []
    empty = ['""'] * (2 - len(values))
    return dict(zip((f"{which}_images", f"{which}_labels_file"), [*values, *empty], strict=True))


def _identity(model: Model, report: Report, target: str) -> Group:
    return {
        "name": c_string(model.name),
        "hash": "SPEC_HASH",
        "version": c_string(__version__),
        "target": c_string(target),
        "rule": c_string(model.rule.name),
        "optimizer": c_string(model.optimizer.name),
        "summary": c_string(_given(model) + "\n".join(totals(report)) + "\n"),
        "plan_json": c_string(json.dumps(report.summary(), sort_keys=True)),
    }


def _batch(model: Model, idents: Mapping[Ref, str]) -> Group:
    first, encoding = model.layers[0].output, of_model(model)
    thresholds = f"AT_{idents[THRESHOLDS]}" if THRESHOLDS in idents else "0"
    return {
        "batch": str(model.part),
        "parts": str(model.microbatch),
        "elems": str(first.elements),
        "classes": str(model.classes),
        "in_kind": f"BNNC_{DTYPE.get(first.kind, 'F32')}",
        **({"encoding": _encoding(encoding, thresholds)} if encoding else {}),
    }


def _scalars(idents: Mapping[Ref, str]) -> Group:
    """Where what a step reads besides its batch lies."""
    names = {"seed_at": "seed"} | {n: n for n in ("lr", "step", "part", "tick", "errors", "samples", "stage")}
    at = {member: Ref(n) for member, n in names.items()}
    return {member: f"AT_{idents[n]}" if n in idents else NOWHERE for member, n in at.items()}


def net(x: Emission, report: Report, target: str) -> Net:
    """The record of a network."""
    model, placed, idents = x.model, x.placed, x.idents
    return Net(
        identity=_identity(model, report, target),
        batch=_batch(model, idents),
        training=_step(placed.train, Side.TRAIN, "train", idents),
        evaluation=_step(placed.evaluate, Side.EVALUATION, "eval", idents),
        scalars=_scalars(idents),
        counters=_counters(placed),
        memory={
            "state_bytes": str(placed.plan.state_bytes),
            "state": "STATE",
            "n_state": "sizeof STATE / sizeof STATE[0]",
            "buffer": "BUFFER",
            "n_buffer": "sizeof BUFFER / sizeof BUFFER[0]",
        },
        schedule=_schedule(model),
        data=_files("train", model.data.train) | _files("test", model.data.test),
        cost={
            "step_operations": str(report.cost.operations),
            "step_moved": str(report.cost.moved),
            "arena_bytes": "ARENA_BYTES",
            "total_bytes": str(report.total),
            "max_threads": "BNNC_MAX_THREADS",
        },
    )


def numbered(text: str) -> list[str]:
    """A spec's lines with their numbers, as they may stand in a comment of C."""
    lines = text.rstrip().replace("*/", "* /").replace("/*", "/ *").splitlines()
    return [f"{i:3}  {line}".rstrip().rstrip("\\") for i, line in enumerate(lines, 1)]
