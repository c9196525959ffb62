"""Weights of a network, from wherever training left them: arrays by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .. import driver
from ..backends.c.emission import Emission
from ..backends.triton.checkpoint import Store
from ..data import tensors
from ..data.bnnd import names_in, wrong_names
from ..diag import error
from ..ir.ref import Ref
from ..plan.codec import decode

Weights = Mapping[str, np.ndarray] | str | os.PathLike[str]


def spec_hash(trains: driver.Planned) -> str:
    """What checkpoints and logs are named by: the Model's hash, and that of what a rule draws once."""
    return Emission(trains.model, trains.placed).hash


def store_of(trains: driver.Planned, folder: Path) -> Store:
    """A folder's checkpoints of a program that trains."""
    placed = trains.placed
    return Store(folder, spec_hash(trains), placed.plan.state_bytes, len(placed.program.counters))


def names_beside(weights: Weights, classes: int) -> tuple[str, ...]:
    """What the classes of a run's folder, or of a checkpoint in it, are called: the lines of ``classes.txt``, which the
    trainer leaves there where its data have names; or none.  Raises BnncError B0803 for names of other classes."""
    if isinstance(weights, Mapping) or (path := Path(weights)).suffix == ".safetensors":
        return ()
    file = (path if path.is_dir() else path.parent) / "classes.txt"
    if not file.is_file():
        return ()
    names = names_in(file.read_text(encoding="utf-8", errors="replace"))[0]
    if wrong := wrong_names(names, classes):
        raise error("B0803", f"{file}: {wrong}", exit_code=5, help="a name a line; or remove the file")
    return names


def read_weights(weights: Weights, trains: driver.Planned) -> Mapping[str, np.ndarray]:
    """The arrays themselves, or those of a ``.safetensors`` file, of a checkpoint (``.bnnck``), or of a run's folder:
    the network that was best on held-out samples, or else the last.  ``trains``: the plan of the program that trained.

    Raises
    ------
    BnncError
        B0801, B0802 for a file that cannot be read, B0807 for a checkpoint that is damaged or another network's.
    """
    if isinstance(weights, Mapping):
        return weights
    path = Path(weights)
    if path.suffix == ".safetensors":
        return tensors.read(path)
    plan, program = trains.placed.plan, trains.placed.program
    store = store_of(trains, path if path.is_dir() else path.parent)
    found = store.load_best() or store.load() if path.is_dir() else store.one(path)
    if found is None:
        reason = f"{path}: no checkpoint there"
        raise error("B0807", reason, exit_code=6, help="a run's folder, a .bnnck in it, or a .safetensors file")
    at = {s.name: plan.buffer[Ref(s.name)] for s in program.states if s.exported}
    return {n: decode(b.storage, found[1][b.offset : b.end]) for n, b in at.items()}
