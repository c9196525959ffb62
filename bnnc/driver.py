"""The pipeline, on one screen.  Nothing else calls a pass.

text -parse-> Ast -check-> Model -expand-> Module -differentiate-> Module -simplify-> Module
     -fuse-> Scheduled -sink-> Scheduled -order-> Scheduled -pack-> Packed -strip-> Packed -place-> Placed
     -emit-> Source -build-> program
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import knobs
from .backends import select
from .backends.c.build import OtherSizes
from .diag import BnncError, error
from .front import fmt
from .front.check import check
from .front.parse import parse
from .inputs.encode import of_model
from .ir.program import Module
from .ir.text import print_program
from .ir.verify import verify_program
from .lower.differentiate import differentiate
from .lower.expand import expand, expand_one_step
from .lower.freeze import freeze
from .lower.simplify import simplify
from .model import Model, verify_model
from .passes import Pass, Trace, run_passes, stage
from .plan.check import check_plan
from .plan.pack import Packed, pack
from .plan.place import Placed, place
from .plan.report import Needs, Report
from .plan.spare import spare
from .plan.strip import strip
from .plan.text import print_packed
from .sched.fuse import fuse
from .sched.kernel import Scheduled
from .sched.order import order
from .sched.sink import sink
from .sched.text import print_schedule
from .source import Source


@dataclass(frozen=True)
class Options:
    """What a command asks for.  ``overrides`` replace settings of the spec (batch, rule, seed ...), ``widths`` the
    units of layers by their names."""

    text: str
    file: str = "<text>"
    target: str = "host"
    threads: int | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    region: int = 0  # bytes of RAM that a linker script says there are
    scores: bool = False  # a program whose `predict` can say how sure it is
    called: str = ""  # what its files and C functions are named by, if not by the network's name
    weights: Mapping[str, Any] | None = None  # arrays by name: a program that predicts with them, and does not train
    class_names: tuple[str, ...] = ()  # of such a program, where they are known


def _verify_module(m: Module) -> None:
    for p in m:
        verify_program(p)


def _programs(m: Module) -> str:
    return "\n".join(map(print_program, m))


def _schedules(s: Scheduled) -> str:
    return "\n".join(map(print_schedule, s))


def _packed(p: Packed) -> str:
    return "\n".join(map(print_packed, p))


def _rest(p: Packed, o: Options) -> int:
    """How many kernels run before what is dead may be overwritten."""
    target = select.find_target(o.target)
    return select.backend_of(target).rest(p)


# fmt: off
FRONT: tuple[Pass, ...] = (
    Pass("parse", "text", "Ast", "every node has a source span; no names resolved; several syntax errors in one run",
         lambda text, o: parse(text, o.file), show=fmt.format),
    Pass("check", "Ast", "Model", "every name, shape and dtype concrete; rule, layers and target compatible",
         lambda ast, o: check(ast, o.text, o.file, o.overrides, widths=o.widths), verify_model),
)
MIDDLE: tuple[Pass, ...] = (
    Pass("expand", "Model", "Module", "forward tensor ops only, SSA, each with the span of its layer",
         lambda m, o: expand(m, o.scores), _verify_module, show=_programs),
    Pass("differentiate", "Module", "Module", "backward and update ops added; what the rule keeps is checked",
         lambda m, o: differentiate(m), _verify_module, "bits", show=_programs),
    Pass("simplify", "Module", "Module", "no dead, duplicate or neutral ops",
         lambda m, o: simplify(m), _verify_module, "bits", True, show=_programs),
    Pass("fuse", "Module", "Scheduled", "each kernel is one anchor, with expressions on its loads and stores",
         lambda m, o: fuse(m), None, "bits", True, off=lambda m, o: fuse(m, on=False),
         show=_schedules),
    Pass("sink", "Scheduled", "Scheduled", "updates moved into the kernels that make their gradients, where legal",
         lambda s, o: sink(s), None, "bits", True, show=_schedules),
    Pass("order", "Scheduled", "Scheduled", "topological; a state is overwritten after its last read",
         lambda s, o: order(s), None, "bits", show=_schedules),
    Pass("pack", "Scheduled", "Packed", "each value has a storage format", lambda s, o: pack(s), None, "bits",
         show=_packed),
    Pass("strip", "Packed", "Packed", "kernels in loops over samples; `recompute = on`: over all strips, made again",
         lambda p, o: strip(p) if p.model.recompute else spare(p), None, "bits", True,
         show=_packed),
    Pass("place", "Packed", "Placed", "every value has an offset in one arena; checked by independent code",
         lambda p, o: place(p, rest=_rest(p, o)), lambda p: check_plan(p.plan), "bits", True,
         off=lambda p, o: place(p, reuse=False)),
)
# fmt: on
KEPT = MIDDLE[:2]  # what `check` runs of these: a rule's `keep` is a promise about the Programs
PIPELINE: tuple[Pass, ...] = (*FRONT, *MIDDLE)
# a network that only predicts: one step, with its weights in it
PREDICTS: tuple[Pass, ...] = (
    replace(MIDDLE[0], run=lambda m, o: expand_one_step(m)),
    Pass(
        "freeze",
        "Module",
        "Module",
        "no states, no loss; what is constant is computed, signs are thresholds",
        lambda m, o: freeze(m, o.weights),
        _verify_module,
        show=_programs,
    ),
    *MIDDLE[2:],
)


@dataclass(frozen=True)
class Planned:
    """Everything known before code is written."""

    model: Model
    placed: Placed
    report: Report
    target: Any
    threads: int
    trace: Trace


def check_text(options: Options, k: knobs.Knobs | None = None) -> Model:
    """parse and check; then what only the Programs show, that the rule keeps what it promises.  Raises BnncError with
    every mistake found."""
    k = k or knobs.read()
    model = _front(options, k)
    _run(KEPT, model, options, k)
    return model


def _front(options: Options, k: knobs.Knobs) -> Model:
    model: Model = _run(FRONT, options.text, options, k).results["check"]
    return replace(model, called=options.called, class_names=options.class_names)


def _run(passes: tuple[Pass, ...], ir: Any, options: Options, k: knobs.Knobs) -> Trace:
    try:
        return run_passes(passes, ir, options, k, len(FRONT) * (passes is not FRONT))
    except BnncError as e:
        e.sources.setdefault(options.file, options.text)
        raise


def plan_text(options: Options, k: knobs.Knobs | None = None) -> Planned:
    """All passes up to the Plan, with the report for a target.  Raises BnncError."""
    k = k or knobs.read()
    target = select.find_target(options.target)
    if options.scores:
        select.refuse(target, "scores")
    if options.weights is not None:
        select.refuse(target, "program that only predicts")
        options = replace(options, threads=1)
    return plan_model(_front(options, k), options, target, k)


def plan_model(model: Model, options: Options, target: Any, k: knobs.Knobs) -> Planned:
    """The middle passes for an already checked Model, and the report for a target."""
    if options.weights is None:
        for what, asked in ((select.AUGMENT, model.augment), (select.BALANCE, model.sampling == "balanced")):
            if asked:
                select.refuse(target, what)
    trace = _run(MIDDLE if options.weights is None else PREDICTS, model, options, k)
    placed: Placed = trace.results["place"]
    threads = target.threads if options.threads is None else options.threads
    with stage("report", k):
        report = report_of(placed.model, placed, target, threads, options.region, k)
    return Planned(model, placed, report, target, threads, trace)


def report_of(model: Model, placed: Placed, target: Any, threads: int, region: int, k: knobs.Knobs) -> Report:
    """What a program needs beside the arena too, as the compiler that would be used makes it.  Raises BnncError
    B0704.
    """
    backend, encoding = select.backend_of(target), of_model(model)
    compiler = backend.foresee(target, k.cc)
    need: Needs = backend.needs(target, placed, encoding, compiler)
    if not 1 <= threads <= (1 if need.flash else 64):
        told = f"target {target.name} has one" if need.flash else "1 to 64"
        raise error("B0704", f"{threads} threads", exit_code=2, help=told)
    return Report(
        name=model.name,
        rule=model.rule.name,
        optimizer=model.optimizer.name,
        batch=model.batch,
        target=target.name,
        placed=placed,
        code=need.code,
        stack=need.stack,
        threads=need.thread_stack * (threads - 1),
        workers=threads - 1,
        system=target.kernel_pages,
        device=backend.launches(placed),
        workspace=need.workspace,
        flash=need.flash,
        region=region if need.flash else 0,
        compiler=str(compiler or ""),
        largest=backend.largest,
    )


def emit_source(planned: Planned, k: knobs.Knobs | None = None) -> Source:
    """The program's text.  Also for hand-made Models (tests)."""
    k = k or knobs.read()
    with stage("emit", k):
        source = select.backend_of(planned.target).emit(
            planned.model, planned.placed, planned.report, planned.target, planned.threads, k.poison
        )
    if k.dump:
        source.write(Path(k.dump) / "source")
    return source


def free(out: Path) -> Path:
    """``out``, where an executable can be.  Raises BnncError B0903 (usage) for a folder of that name."""
    if out.is_dir():
        raise error("B0903", f"{out} is a folder", exit_code=2, help="name the executable with -o PATH")
    return out


def build_source(source: Source, planned: Planned, out: Path, k: knobs.Knobs | None = None) -> Path:
    """Compile and check the program against the Plan; returns the executable."""
    k = k or knobs.read()
    with stage("build", k):
        return select.backend_of(planned.target).build(source, planned.report, planned.target, free(out), k.cc)


SIZES = ("code", "stack", "threads", "flash")  # of a Report: what a compiler may need other bytes for


def build_planned(
    planned: Planned, out: Path, k: knobs.Knobs | None = None, accept: Callable[[Planned], None] = lambda planned: None
) -> tuple[Planned, Source]:
    """Emit and build.  Returns the plan that holds: corrected, and the program built again, where this compiler needs
    other bytes than was foreseen; ``accept`` may refuse them before there is a program."""
    for last in (False, False, True):  # the figures are in the program too, and may need other instructions
        source = emit_source(planned, k)
        try:
            build_source(source, planned, out, k)
            break
        except OtherSizes as e:
            if last:
                raise
            planned = replace(planned, report=replace(planned.report, **e.sizes))
            accept(planned)
    return planned, source
