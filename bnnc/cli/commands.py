"""The command line: a thin shell over :mod:`bnnc.api`.

Results go to standard output, prose and errors to standard error; with ``--json`` standard output holds JSON only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import click

from .. import api, budget, codes, driver, knobs
from ..backends import select
from ..data import padding
from ..data.files import training_samples
from ..diag import BnncError, InternalError, did_you_mean, error, nearest, render, to_json
from ..front import fmt
from ..front.parse import parse
from ..papers.published import Published
from ..version import __version__
from . import show
from .about import describe_command, passes, targets, version
from .bug import report_bug
from .data import data_group
from .deploy import deploy
from .pipe import Piped, quiet
from .study import compare, sweep

EXIT_CODES = """\b
Exit codes: 0 done, 1 the spec is wrong, 2 usage, 3 over the memory budget, 4 no compiler or it failed,
5 data; `run` passes on the trainer's (6 checkpoint, 7 CPU, 8 memory); 70 a bug in bnnc."""


def note(text: str) -> None:
    """One line of prose, on standard error."""
    click.echo(text, err=True)


def following(text: str) -> None:
    """What to do next; the last line of every success."""
    note(f"Next: {text}")


def shell(*words: str) -> str:
    """A command as a shell reads it."""
    return shlex.join(words)


def program(path: str) -> str:
    """The command that runs a program built here; a Python program finds bnnc with the Python that runs bnnc now."""
    shown = shlex.quote(path if "/" in path else f"./{path}")
    return f"{shlex.quote(sys.executable)} {shown}" if path.endswith(".py") else shown


def wants_colour(stream: Any = None) -> bool:
    """Is the stream a terminal, and NO_COLOR not set?"""
    return not os.environ.get("NO_COLOR") and (stream or sys.stderr).isatty()


def fail(e: BnncError, as_json: bool) -> NoReturn:
    """Print what is wrong and end with the error's exit code."""
    with quiet():
        if as_json:
            click.echo(
                json.dumps({"diagnostics": to_json(e.diagnostics, e.sources), "exit_code": e.exit_code}, indent=1)
            )
        note(render(e.diagnostics, e.sources, wants_colour()))
        coded = [d.code for d in e.diagnostics if d.code in codes.CODES]
        if coded and not as_json:
            note(f"\nbnnc explain {coded[0]} says more")
    sys.exit(e.exit_code)


class Group(Piped):
    """Unknown commands get a suggestion; errors get their exit code and never a traceback."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            near = nearest(name, self.list_commands(ctx))
            hint = f"did you mean `{near}`?" if near else f"commands: {', '.join(self.list_commands(ctx))}"
            raise click.UsageError(f"there is no command `{name}`; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["bnnc.json"], ctx.meta["bnnc.args"] = "--json" in args, tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BnncError as e:
            fail(e, ctx.meta["bnnc.json"])
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)
        except OSError as e:
            fail(error("B0903", f"{e.filename or 'a file'}: {e.strerror or e}", exit_code=2), ctx.meta["bnnc.json"])
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as e:
            with quiet():
                raise SystemExit(report_bug(e, ctx.meta["bnnc.args"], ctx.meta["bnnc.json"])) from e


@click.group(cls=Group, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bnnc")
def cli() -> None:
    """Compile a binary neural network, described in a .bnn text, to a C program that trains it in known memory.

    \b
    Start:  bnnc check net.bnn
            bnnc plan net.bnn
            bnnc run net.bnn
    """


def network(file: str, rule: str | None = None, batch: int | None = None) -> api.Network:
    """The spec in ``file`` (``-``: standard input) with what replaces its settings; all warnings, its training data's
    too, shown.
    """
    text = sys.stdin.read() if file == "-" else api.read_text(file)
    net = api.parse(text, "<stdin>" if file == "-" else file)
    given = {key: value for key, value in (("rule", rule), ("batch", batch)) if value is not None}
    if given:
        net = net.with_(**given)
    if found := padding.warnings_of(net.model, net.file):
        note(
            render(
                found, {net.file: net.text, **{f"--{key}": str(value) for key, value in given.items()}}, wants_colour()
            )
            + "\n"
        )
    return net


def options(*names: str) -> Callable[[Any], Any]:
    """The options that several commands share."""
    known = {
        "target": click.option("--target", default="host", metavar="NAME", help="see `bnnc targets` (default host)"),
        "ram": click.option("--ram", metavar="SIZE", help="the memory there is, e.g. 2MiB"),
        "batch": click.option("--batch", type=click.IntRange(1, 65536), metavar="N", help="instead of the spec's"),
        "threads": click.option("--threads", type=click.IntRange(1, 64), metavar="N", help="most that can be used"),
        "rule": click.option("--rule", metavar="RULE", help='instead of the spec\'s rule, e.g. "edge(state = f32)"'),
        "json": click.option("--json", "as_json", is_flag=True, help="JSON on standard output"),
    }

    def add(f: Any) -> Any:
        for n in reversed(names):
            f = known[n](f)
        return f

    return add


@cli.command()
@click.argument("file")
@options("batch", "rule", "json")
def check(file: str, batch: int | None, rule: str | None, as_json: bool) -> None:
    """Find every mistake in a spec, without compiling it.

    Example: bnnc check net.bnn
    """
    net = network(file, rule, batch)
    m = net.model
    if as_json:
        click.echo(
            json.dumps(
                {
                    "name": m.name,
                    "hash": m.hash,
                    "rule": m.rule.name,
                    "optimizer": m.optimizer.name,
                    "batch": m.batch,
                    "chosen": m.chosen,
                    "diagnostics": to_json(padding.warnings_of(net.model, file), {net.file: net.text}),
                },
                indent=1,
            )
        )
    else:
        click.echo(
            f"{m.name}: no mistakes; {sum(1 for _ in m.walk())} layers, {m.layers[0].args['tensor']} to "
            f"{m.classes} classes, rule {m.rule.name}, {m.optimizer.name}, batch {m.batch}"
        )
        for line in m.chosen:
            click.echo(f"  chosen: {line}")
    following(shell("bnnc", "plan", file))


@cli.command("fmt")
@click.argument("file")
@click.option("--check", "only_check", is_flag=True, help="write nothing; exit code 1 if the text would change")
@click.option("--explicit", is_flag=True, help="write out every default")
@click.option("--write", "-w", is_flag=True, help="change the file itself")
@options("json")
def fmt_command(file: str, only_check: bool, explicit: bool, write: bool, as_json: bool) -> None:
    """Print a spec in its canonical form.

    Example: bnnc fmt -w net.bnn
    """
    text = sys.stdin.read() if file == "-" else api.read_text(file)
    name = "<stdin>" if file == "-" else file
    try:
        new = fmt.explicit(text, name) if explicit else fmt.format(parse(text, name))
    except BnncError as e:
        e.sources.setdefault(name, text)
        raise
    if as_json:
        click.echo(json.dumps({"file": name, "canonical": new == text, "text": new}, indent=1))
    if only_check:
        if new != text:
            note(f"{name}: not in canonical form")
            following(shell("bnnc", "fmt", "-w", file))
            sys.exit(1)
        note(f"{name}: in canonical form")
    elif write and file != "-":
        if new != text:
            part = Path(file + ".part")
            part.write_text(new, encoding="utf-8")
            part.replace(file)
        note(f"{name}: {'written' if new != text else 'unchanged'}")
    else:
        if not as_json:
            click.echo(new, nl=False)
        return
    following(shell("bnnc", "check", file))


@cli.command()
@click.argument("file")
@options("target", "ram", "batch", "threads", "rule", "json")
@click.option("--csv", is_flag=True, help="the buffers as CSV: id, first and last time, bytes, offset")
@click.option("--literature", is_flag=True, help="the published accounting of this network beside what bnnc allocates")
@click.option("--samples", type=click.IntRange(1), metavar="N", help="training samples, if the data cannot be read")
@click.option("--data", metavar="DIR", help="where the data is (default: beside the spec)")
@click.option("--all", "everything", is_flag=True, help="list small buffers one by one too")
def plan(
    file: str,
    target: str,
    ram: str | None,
    batch: int | None,
    threads: int | None,
    rule: str | None,
    as_json: bool,
    csv: bool,
    literature: bool,
    samples: int | None,
    data: str | None,
    everything: bool,
) -> None:
    """Show what training will need, to the byte.

    Example: bnnc plan net.bnn --ram 2MiB --batch 50
    """
    net = network(file, rule, batch)
    p = net.plan(target, batch, threads, ram)
    published = _published(p, samples, Path(data or Path(file).parent)) if literature else None
    other = None if csv or literature else _standard(net, p, target, batch, threads)
    counts = [(q.planned.model.rule.name, g) for q in (p, other) if q is not None and (g := q.gates) is not None]
    if as_json:
        extra: dict[str, Any] = {"checkpoint_bytes": p.planned.report.checkpoint}
        extra |= {"gates": {name: {**asdict(g), "total": g.total} for name, g in counts}}
        if published:
            extra[f"literature_{published.unit.lower()}"] = {
                **{key: figure for key, _, figure in published.figures},
                "allocated": published.allocated,
                **({"printed": {k: float(v) for k, (v, _) in published.printed.items()}} if published.printed else {}),
            }
        click.echo(json.dumps({**p.to_json(), **extra}, indent=1, sort_keys=True))
    elif csv:
        click.echo(str(p.planned.placed), nl=False)
    elif literature:
        if published is None:
            raise error(
                "B0603",
                "the published accountings cover networks of dense layers and convolutions trained with "
                "adam, sgd or bop, with real layers or residuals adam only",
                help="leave out `--literature`",
            )
        out = show.console()
        out.print(show.title(p))
        out.print(show.published_table(published, p.planned.model.rule.name))
        for line in show.published_notes(published):
            out.print(line, style="dim")
    else:
        out = show.console()
        out.print(show.title(p), "", show.plan_table(p, everything, out.width), "", show.totals_table(p), sep="\n")
        for part in show.changes(p):
            out.print(part)
        out.print(show.not_counted(p), show.card(p), show.cost(p), sep="\n", style="dim")
        if other is not None:
            out.print(
                f"rule standard would need {budget.spaced(other.total_bytes)} B "
                f"({other.total_bytes / p.total_bytes:.2f}x)"
            )
        if counts:
            out.print("", show.gates_table(counts), sep="\n")
    following(f"{shell('bnnc', 'run', file)}   or   {shell('bnnc', 'compile', file)}")


def _standard(net: api.Network, p: api.Plan, target: str, batch: int | None, threads: int | None) -> api.Plan | None:
    """The plan under rule standard, where that is another rule and takes this network."""
    if p.planned.model.rule.name == "standard":
        return None
    options = net.options(target, batch, threads)
    options = replace(options, overrides={**options.overrides, "rule": "standard"})
    try:
        return api.Plan.of(driver.plan_text(options, knobs.read().quiet))
    except BnncError:
        return None
    except InternalError as e:
        note(f"no plan under rule standard: {e} (a bug in bnnc: please report it)")
        return None


def _published(p: api.Plan, samples: int | None, folder: Path) -> Published | None:
    """The published accounting; the number of samples from the spec's data, where that can be read."""
    if samples is None:
        with contextlib.suppress(BnncError):
            samples = training_samples(p.planned.model, folder)
    return p.literature(samples)


@cli.command()
@click.argument("file")
@options("target", "ram", "batch", "threads", "rule", "json")
@click.option("-o", "--output", metavar="PATH", help="the executable (default: the network's name)")
@click.option("--source", metavar="DIR", help="write the C there too")
@click.option("--emit-only", is_flag=True, help="write the C (to --source, or NAME-c) and compile nothing")
def compile(
    file: str,
    target: str,
    ram: str | None,
    batch: int | None,
    threads: int | None,
    rule: str | None,  # noqa: A001
    as_json: bool,
    output: str | None,
    source: str | None,
    emit_only: bool,
) -> None:
    """Compile a spec to one program that trains the network.

    Example: bnnc compile net.bnn -o net --source net-c
    """
    net = network(file, rule, batch)
    name = net.model.name
    if emit_only:
        opts = net.options(target, batch, threads, ram)
        planned = driver.plan_text(opts)
        opts, planned, _ = budget.fit(opts, planned, budget.parse_size(ram) if ram else None)
        folder = source or f"{name}-c"
        driver.emit_source(planned).write(Path(folder))
        if as_json:
            click.echo(json.dumps({"executable": None, "source": folder, **planned.report.summary()}, indent=1))
        note(f"{folder}: C for {name}, needs {show.kib(planned.report.total)}")
        following(
            shell("bnnc", "build", folder)
            if not planned.report.flash
            else f"call what {folder}/runtime/bnnc_firmware.h declares"
        )
        return
    at = select.find_target(target)
    out = output or select.backend_of(at).program(name, at)
    driver.free(Path(out))
    prog = net.compile(target, out, threads, batch, ram)
    if source:
        for path, text in prog.source.items():
            at = Path(source) / path
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_text(text, encoding="utf-8")
    if as_json:
        click.echo(json.dumps({"executable": out, "source": source, **prog.plan.planned.report.summary()}, indent=1))
    if taken := budget.taken(prog.plan.choices, prog.plan.planned):
        note(f"to fit: {taken}")
    note(
        f"{out}: {name}, rule {prog.model.rule.name}, needs {show.kib(prog.plan.total_bytes)}, of it the arena "
        f"{budget.spaced(prog.plan.arena_bytes)} B"
    )
    if prog.plan.planned.report.flash:
        following(f"{qemu(out)}   or   --emit-only, for a firmware of your own")
        return
    following(f"{program(out)} train{_data_flag(file)}   or   {program(out)} --help")


def qemu(program: str) -> str:
    """A command that runs a program without an operating system here."""
    return (
        "qemu-system-arm -M mps2-an386 -nographic -monitor none -serial none -semihosting -kernel"
        f" {shlex.quote(program)}"
    )


def _data_flag(file: str) -> str:
    folder = str(Path(file).parent) if file != "-" else "."
    return f" --data {shlex.quote(folder)}" if folder != "." else ""


@cli.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
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

    Flags after the file (or after --) are the trainer's, and so is the exit code.  Data is looked for beside the spec,
    checkpoints are kept in run/NAME.  --json (before the file) prints how training ended, or what eval, predict, info
    or bench found.

    Example: bnnc run net.bnn -- --epochs 3 --threads 2
    """
    net = network(file, rule, batch)
    args = [a for i, a in enumerate(trainer_args) if not (i == 0 and a == "--")]
    wanted = _flag_value(args, "--threads")
    if threads is None and wanted.isdecimal() and 1 <= int(wanted) <= 64:
        threads = int(wanted)
    prog = net.compile("host", None, threads, batch, ram)
    note(f"{net.model.name}: compiled, needs {show.kib(prog.plan.total_bytes)}")
    verb = [] if args and not args[0].startswith("-") else ["train"]
    given = [*verb, *args]
    if given[0] in ("train", "eval", "predict"):
        beside = str(Path(file).parent) if file != "-" else "."
        for flag, value in (("--data", beside), ("--out", f"run/{net.model.name}")):
            if not any(a == flag or a.startswith(flag + "=") for a in given):
                given += [flag, value]
    log = _flag_value(given, "--log") or str(Path(prog.folder.name) / "log.jsonl")
    if as_json:
        given += ["--json"] if given[0] != "train" else [] if _flag_value(given, "--log") else ["--log", log]
    code = _foreground([str(prog.binary), *given], 2 if as_json and given[0] == "train" else None)
    if as_json and code == 0 and given[0] == "train":
        click.echo(json.dumps(json.loads(Path(log).read_text(encoding="utf-8").splitlines()[-1]), indent=1))
    if code == 0 and given[0] == "train":
        following(
            f"{shell('bnnc', 'run', file, 'eval')}   or   {shell('bnnc', 'compile', file)}   has the program as a file"
        )
    prog.folder.cleanup()
    sys.exit(code)


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


def _foreground(argv: list[str], stdout: int | None = None) -> int:
    """Run a program with this terminal; signals are its business (it writes a checkpoint), its exit code is ours."""
    previous = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        process = subprocess.Popen(argv, stdout=stdout, preexec_fn=lambda: _default_signals(*previous))
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)
    return code if code >= 0 else 128 - code


@cli.command()
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
    out = Path(output or backend.program(source.name, target))
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


@cli.command()
@click.argument("code", required=False)
@click.option("--peak", metavar="FILE", help="what is alive when a network needs most memory, and what would need less")
@options("target", "batch", "threads", "rule", "json")
def explain(
    code: str | None,
    peak: str | None,
    target: str,
    batch: int | None,
    threads: int | None,
    rule: str | None,
    as_json: bool,
) -> None:
    """Say what an error code means, with an example, or (--peak) where a network's memory goes.

    Example: bnnc explain B0301
    """
    if (code is None) == (peak is None):
        raise error(
            "B0904", "what shall be explained?", exit_code=2, help="give a code, such as B0301, or `--peak FILE`"
        )
    if peak is not None:
        net = network(peak, rule, batch)
        p = net.plan(target, batch, threads)
        left = budget.Left(p.planned.model)
        show.peak(p, budget.what_if(net.options(target, batch, threads), p.planned, left), as_json)
        for _, line in left.notes:
            note(line)
        return
    assert code is not None
    text = codes.explain(code)
    if text is None:
        known = sorted(codes.CODES)
        raise error(
            "B0904",
            f"there is no code `{code}`",
            exit_code=2,
            help=did_you_mean(code.upper(), known) or f"codes: {known[0]} to {known[-1]}",
        )
    click.echo(json.dumps(asdict(codes.CODES[code.upper()]), indent=1) if as_json else text, nl=as_json)


for command in (describe_command, targets, passes, version, compare, sweep, data_group, deploy):
    cli.add_command(command)


def main() -> None:
    """The entry point of the ``bnnc`` command.  SIGTERM ends it in an orderly way, with no temporary file left."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cli(prog_name="bnnc")
