"""``bnnc deploy``: a program on another machine, by scp and ssh."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import click

from .. import api, driver
from ..backends.c.targets import find_target
from ..diag import error
from .common import place


def commands(net: api.Network, spec: Path, target: str, host: str, folder: str) -> list[list[str]]:
    """What to run, in order: compile, make the folder, copy program and data, train.

    Raises BnncError B0709 for a ``host`` or ``folder`` that the other side's shell or scp would read otherwise.
    """
    for word in (host.replace("@", "", 1), folder):
        if not word or word.startswith("-") or shlex.quote(word) != word or ":" in word:
            raise error(
                "B0709", f"`{word}` cannot be a host or a folder there", exit_code=2, help="letters, digits and . _ - /"
            )
    name, at = net.model.name, place(net.model.name)
    sources = [s for s in (net.model.data.train, net.model.data.test) if s is not None]
    data = dict.fromkeys(str(spec.parent / value) for s in sources for _, value in s.args if isinstance(value, str))
    train = f"cd {folder} && exec ./{name} train --data . --out run"
    return [
        ["bnnc", "compile", str(spec), "--target", target, "-o", at],
        ["ssh", host, f"mkdir -p {folder}"],
        ["scp", "--", at, *data, f"{host}:{folder}/"],
        ["ssh", "-t", host, train],
    ]


@click.command()
@click.argument("file")
@click.argument("host", metavar="USER@HOST")
@click.option("--target", default="rpi", metavar="NAME", help="see `bnnc targets` (default rpi)")
@click.option("--folder", default="bnnc", metavar="DIR", help="where to, on the other machine (default bnnc)")
@click.option("--run", "now", is_flag=True, help="run the commands; they are only printed otherwise")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output")
def deploy(file: str, host: str, target: str, folder: str, now: bool, as_json: bool) -> None:
    """Print the commands that train on another machine.

    They compile the program here, bring it there with its data, and start it.

    Example: bnnc deploy net.bnn pi@raspberrypi --target rpi
    """
    net = api.parse(api.read_text(file), file)
    if find_target(target).bare:
        raise error(
            "B0709",
            f"there is no scp to target `{target}`",
            exit_code=2,
            help="`bnnc compile`, and your way of flashing",
        )
    todo = commands(net, Path(file), target, host, folder)
    driver.free(Path(place(net.model.name)))
    if as_json:
        click.echo(json.dumps({"commands": todo, "run": now}, indent=1))
    if now:
        net.compile(target, place(net.model.name))
        todo = todo[1:]
    for argv in todo:
        if not as_json:
            click.echo(shlex.join(argv))
        if now and (code := subprocess.run(argv, check=False).returncode):
            raise error(
                "B0709",
                f"`{shlex.join(argv)}` failed with exit code {code}",
                exit_code=4,
                help="try that command by hand: the host must be up and let you in",
            )
    if now:
        click.echo("Next: the same command goes on where training stopped", err=True)
    else:
        again = ["bnnc", "deploy", file, host, "--target", target, "--folder", folder, "--run"]
        click.echo(f"Next: {shlex.join(again)}", err=True)
