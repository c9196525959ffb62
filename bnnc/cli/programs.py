"""Commands that make a program of a spec, and run it: compile, run, build."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from .. import budget, driver, knobs
from ..api import Network
from ..backends import select
from ..model import Model
from ..report.run import LOG, write_record
from ..source import write
from . import live, show
from .asked import packed
from .common import busy, following, network, note, options, place, predicting, program, shell


@click.command()
@click.argument("file")
@options("target", "ram", "batch", "threads", "rule", "mode", "weights", "json")
@click.option("-o", "--output", metavar="PATH", help="the executable (default: the network's name)")
@click.option("--source", metavar="DIR", help="write the C there too")
@click.option(
    "--name", metavar="NAME", help="what its files and C functions are named by (default: the network's name)"
)
@click.option("--scores", is_flag=True, help="its `predict --proba` says how sure it is")
@click.option("--emit-only", is_flag=True, help="write the C (to --source, or NAME-c) and compile nothing")
def compile(
    file: str,
    target: str,
    ram: str | None,
    batch: int | None,
    threads: int | None,
    rule: str | None,  # noqa: A001
    mode: str,
    weights: str | None,
    as_json: bool,
    output: str | None,
    source: str | None,
    name: str | None,
    scores: bool,
    emit_only: bool,
) -> None:
    """Compile a spec to one program that trains the network.

    Example: bnnc compile net.bnn -o net --source net-c
    """
    net = _named(network(file, rule, batch), name)
    if (given := predicting(mode, weights, ram=ram, threads=threads)) is not None:
        _predictor(net, target, given, batch, output, source, emit_only, as_json)
        return
    name = net.model.prefix
    if emit_only:
        wanted = replace(net.options(target, batch, threads, ram), scores=scores)
        _emit(net, wanted, ram, source or f"{name}-c", as_json)
        return
    at = select.find_target(target)
    out = output or place(select.backend_of(at).program(name, at))
    driver.free(Path(out))
    with busy(f"{net.model.name}: compiling"):
        prog = net.compile(target, out, threads, batch, ram, scores=scores)
    if source:
        write(prog.source.items(), Path(source))
    if as_json:
        click.echo(json.dumps({"executable": out, "source": source, **prog.plan.planned.report.summary()}, indent=1))
    if taken := budget.taken(prog.plan.choices, prog.plan.planned):
        note(f"to fit: {taken}")
    note(
        f"{out}: {net.model.name}, rule {prog.model.rule.name}, needs {show.kib(prog.plan.total_bytes)}, "
        f"of it the arena {budget.spaced(prog.plan.arena_bytes)} B"
    )
    if prog.plan.planned.report.flash:
        following(f"{qemu(out)}   or   --emit-only, for a firmware of your own")
        return
    following(f"{program(out)} train{_data_flag(file)}   or   {program(out)} --help")


def _named(net: Network, name: str | None) -> Network:
    """The network under a name for its files and C functions.  Raises UsageError for what C cannot name so."""
    if name and not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise click.UsageError(f"--name {name}: letters, digits and _, and no digit first")
    return net.called(name) if name else net


def _predictor(
    net: Network,
    target: str,
    weights: str,
    batch: int | None,
    output: str | None,
    source: str | None,
    emit_only: bool,
    as_json: bool,
) -> None:
    """A program that only predicts: compile it or, with ``emit_only``, write its C."""
    name, at = net.model.prefix, select.find_target(target)
    source = source or (f"{name}-c" if emit_only else None)
    out = None if emit_only else output or place(select.backend_of(at).program(name, at))
    if out is None:
        planned = net.planned_predictor(weights, target, batch)
        files = driver.emit_source(planned).text
    else:
        driver.free(Path(out))
        made = net.predictor(weights, target, out, batch)
        planned, files = made.plan.planned, made.source
    if source:
        write(files.items(), Path(source))
    r = planned.report
    if as_json:
        click.echo(json.dumps({"executable": out, "source": source, **r.summary()}, indent=1))
    arena = budget.spaced(r.arena)
    note(f"{out or source}: {net.model.name} predicts, needs {show.kib(r.total)}, of it the arena {arena} B")
    if out is None:
        following(f"call what {source}/{name}.h declares; {name}.c is compiled with -DBNNC_LIBRARY")
    else:
        following(qemu(out) if r.flash else f"{program(out)} predict --test FILE   or   {program(out)} --help")


def _emit(net: Network, options: driver.Options, ram: str | None, folder: str, as_json: bool) -> None:
    """Write the C of a network and compile nothing."""
    options, planned, _ = budget.fit(options, driver.plan_text(options), budget.parse_size(ram) if ram else None)
    driver.emit_source(planned).write(Path(folder))
    if as_json:
        click.echo(json.dumps({"executable": None, "source": folder, **planned.report.summary()}, indent=1))
    note(f"{folder}: C for {net.model.name}, needs {show.kib(planned.report.total)}")
    mine = f"call what {folder}/{net.model.prefix}.h declares; {net.model.prefix}.c is compiled with -DBNNC_LIBRARY"
    following(mine if planned.report.flash else shell("bnnc", "build", folder))


def qemu(program: str) -> str:
    """A command that runs a program without an operating system here."""
    return (
        "qemu-system-arm -M mps2-an386 -nographic -monitor none -serial none -semihosting -kernel"
        f" {shlex.quote(program)}"
    )


def _data_flag(file: str) -> str:
    folder = str(Path(file).parent) if file != "-" else "."
    return f" --data {shlex.quote(folder)}" if folder != "." else ""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@options("ram", "batch", "threads", "rule", "json")
@click.argument("file")
@click.argument("trainer_args", nargs=-1, type=click.UNPROCESSED)
def run(
    file: str,
    ram: str | None,
    batch: int | None,
    threads: int | None,
    rule: str | None,
    as_json: bool,
    trainer_args: tuple[str, ...],
) -> None:
    """Compile a spec for this machine and train it.

    Flags after the file (or after --) are the trainer's, and so is the exit code.  Data is looked for beside the spec;
    checkpoints, a log and how it was started are kept in run/NAME.  --json (before the file) prints how training
    ended, or what eval, predict, info or bench found.

    Example: bnnc run net.bnn -- --epochs 3 --threads 2
    """
    net = network(file, rule, batch)
    args = list(trainer_args[1:] if trainer_args[:1] == ("--",) else trainer_args)
    threads = threads or _threads(args)
    with busy(f"{net.model.name}: compiling"):
        prog = net.compile("host", None, threads, batch, ram, cache=True, scores="--proba" in args)
    note(f"{net.model.name}: compiled, needs {show.kib(prog.plan.total_bytes)}")
    given = _trainer_arguments(args, file, net.model.name)
    given, names = _asked(given, net.model, Path(prog.folder.name) / "samples.bnnd")
    training = given[0] == "train"
    log = _flag_value(given, "--log") or str(Path(_flag_value(given, "--out")) / LOG)
    if training:
        facts = {"rule": rule, "batch": batch, "ram": ram, "threads": threads, "data": _flag_value(given, "--data")}
        write_record(Path(_flag_value(given, "--out")), net, _command(), given, **facts)
        given += [] if _flag_value(given, "--log") else ["--log", log]
    elif as_json:
        given += ["--json"]
    view = live.View(net.model.name, prog.plan.total_bytes, Path(log))
    argv = [str(prog.binary), *given]
    code = _named_lines(argv, names) if names else _foreground(argv, 2 if as_json and training else None, view)
    if code == 0 and training:
        if as_json:
            click.echo(json.dumps(json.loads(Path(log).read_text(encoding="utf-8").splitlines()[-1]), indent=1))
        following(_next(file, f"run/{net.model.name}", _flag_value(given, "--out"), ram=ram, batch=batch, rule=rule))
    prog.folder.cleanup()
    sys.exit(code)


def _next(file: str, usual: str, out: str, **flags: object) -> str:
    """What one does after training into the folder ``out``; checkpoints are those of the same ``flags``."""
    same = [word for name, value in flags.items() if value for word in (f"--{name}", str(value))]
    elsewhere = ["--out", out] if out != usual else []
    todo = ("report", out), ("run", *same, file, "eval", *elsewhere), ("compile", *same, file)
    return "   or   ".join(shell("bnnc", *words) for words in todo)


def _command() -> str:
    """This command as a shell reads it."""
    return shlex.join(("bnnc", *click.get_current_context().find_root().meta["bnnc.args"]))


def _trainer_arguments(args: list[str], file: str, name: str) -> list[str]:
    """The verb, `train` unless another is given, and flags; data beside the spec and results in run/NAME."""
    given = [*([] if args and not args[0].startswith("-") else ["train"]), *args]
    if given[0] in ("train", "eval", "predict"):
        beside = str(Path(file).parent) if file != "-" else "."
        for flag, value in (("--data", beside), ("--out", f"run/{name}")):
            if not any(a == flag or a.startswith(flag + "=") for a in given):
                given += [flag, value]
    return given


def _threads(args: list[str]) -> int | None:
    """As many as the trainer's own flag says, which another program would not have room for."""
    wanted = _flag_value(args, "--threads")
    return int(wanted) if wanted.isdecimal() and 1 <= int(wanted) <= 64 else None


def _asked(given: list[str], model: Model, samples: Path) -> tuple[list[str], tuple[str, ...]]:
    """Flags whose ``predict --test`` names a file that a program reads, if need be ``samples``, which is written; and
    what each sample is called, () where its place tells."""
    test, names = _flag_value(given, "--test"), None
    if given[0] == "predict" and test:
        names = packed(Path(test), Path(_flag_value(given, "--out")), model, samples)
    return given if names is None else [*given, "--test", str(samples)], names or ()  # the last one counts


def _named_lines(argv: list[str], names: Sequence[str]) -> int:
    """Run a program that says a line of each sample, and say it behind the sample's name; its exit code."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=False)
    for name, line in zip(names, done.stdout.splitlines(), strict=False):
        click.echo(json.dumps({"file": name, **json.loads(line)}) if line.startswith("{") else f"{name}\t{line}")
    return done.returncode


def _flag_value(args: list[str], flag: str) -> str:
    for i, a in enumerate(args):
        if a == flag and i + 1 < len(args):
            return args[i + 1]
        if a.startswith(flag + "="):
            return a[len(flag) + 1 :]
    return ""


def _default_signals(*signals: signal.Signals) -> None:
    for s in signals:
        signal.signal(s, signal.SIG_DFL)


def _foreground(argv: list[str], stdout: int | None, view: live.View) -> int:
    """Run a program with this terminal, on which training has a view; signals are its business (it writes a
    checkpoint), its exit code is ours."""
    previous = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)}
    console = Console()
    try:
        if argv[1] == "train" and stdout is None and "--quiet" not in argv and live.wanted(console):
            code = live.watched(argv, view, console).returncode
        else:
            process = subprocess.Popen(argv, stdout=stdout, preexec_fn=lambda: _default_signals(*previous))
            signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            code = process.wait()
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)
    return code if code >= 0 else 128 - code


@click.command()
@click.argument("folder")
@click.option("-o", "--output", metavar="PATH", help="the executable (default: the network's name)")
@options("json")
def build(folder: str, output: str | None, as_json: bool) -> None:
    """Compile C that `compile --source` wrote.

    It may have been edited by hand; it is checked against its plan all the same.

    Example: bnnc build net-c -o net
    """
    source, sizes, target = select.read_source(Path(folder))
    backend = select.backend_of(target)
    out = Path(output or place(backend.program(source.name, target)))
    driver.free(out)
    backend.build(source, sizes, target, out, knobs.read().cc)
    if as_json:
        click.echo(
            json.dumps(
                {"executable": str(out), "source": folder, "target": target.name, "arena_bytes": sizes.arena}, indent=1
            )
        )
    note(f"{out}: built from {folder}; the arena has {budget.spaced(sizes.arena)} bytes, as planned")
    following(qemu(str(out)) if getattr(target, "flash", 0) else f"{program(str(out))} --help")
