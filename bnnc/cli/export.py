"""``bnnc export``: what a run has learnt, in others' formats."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .common import following, network, note, options, shell


@click.command()
@click.argument("file")
@click.option("--weights", metavar="CKPT", required=True, help="a run's folder, .bnnck, .safetensors")
@click.option("-o", "--output", metavar="PATH", required=True, help="NAME.onnx, NAME.npz or NAME.safetensors")
@options("batch", "rule", "json")
def export(file: str, weights: str, output: str, batch: int | None, rule: str | None, as_json: bool) -> None:
    """Write what a run has learnt in a format of others.

    .onnx: the network that predicts, one sample in, its class and scores out, with the bits of `predict`.
    .npz, .safetensors: the arrays.  For C: `bnnc compile --mode infer`.

    Example: bnnc export net.bnn --weights run/net -o net.onnx
    """
    net = network(file, rule, batch)
    net.export(weights, output, batch)
    size = Path(output).stat().st_size
    if as_json:
        click.echo(json.dumps({"file": output, "bytes": size}, indent=1))
    note(f"{output}: {net.model.name}, {size} bytes")
    following(shell("bnnc", "compile", file, "--mode", "infer", "--weights", weights))
