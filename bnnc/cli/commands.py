"""The command line: a thin shell over :mod:`bnnc.api`; here its commands are put together."""

from __future__ import annotations

import signal
import sys

import click

from ..plugins import plugin
from ..version import __version__
from .about import completion, describe_command, passes, targets, version
from .common import Group
from .data import data_group
from .deploy import deploy
from .examples import examples, new
from .export import export
from .init import init
from .man import man
from .programs import build, compile, run
from .report import report
from .spec import check, explain, fmt_command, plan
from .study import compare, sweep

EXIT_CODES = """\b
Exit codes: 0 done, 1 the spec is wrong, 2 usage, 3 over the memory budget, 4 no compiler or it failed,
5 data; `run` passes on the trainer's (6 checkpoint, 7 CPU, 8 memory); 70 a bug in bnnc."""


@click.group(cls=Group, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bnnc")
@click.option(
    "--plugin", "files", multiple=True, metavar="FILE", help="Python that registers rules, layers, ... of its own"
)
def cli(files: tuple[str, ...]) -> None:
    """Compile a binary neural network, described in a .bnn text, to a C program that trains it in known memory.

    \b
    Start:  bnnc init pets --data photos/
            bnnc check net.bnn
            bnnc plan net.bnn
            bnnc run net.bnn
    """
    for file in files:
        plugin(file)


SECTIONS = {
    "Begin": (init, new, examples, data_group),
    "A spec": (check, plan, fmt_command, describe_command, explain),
    "A network": (run, compile, build, deploy, report, export),
    "Experiments": (compare, sweep),
    "bnnc itself": (targets, passes, version, completion, man),
}
for section, commands in SECTIONS.items():
    cli.add_section(section, commands)


def main() -> None:
    """The entry point of the ``bnnc`` command.  SIGTERM ends it in an orderly way, with no temporary file left."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cli(prog_name="bnnc")
