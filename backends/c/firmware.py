"""What stands beside the C: CMake's file, a linker script, and without an operating system the samples in flash."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bnnc import data
from bnnc.data import Dataset
from bnnc.diag import BnncError, error
from bnnc.inputs.encode import Encoding, of_model
from bnnc.model import Call, Model, TensorType
from bnnc.plan.contract import SEGMENT
from bnnc.plan.report import Report
from bnnc.version import __version__

from ..render import render
from .targets import Target

HEADERS = ("net", "rng", "cpu", "pool", "num")
BARE_HEADERS = ("net", "rng", "num")
BESIDE = """runtime/ the data loader, the
 * checkpoints, the thread pool and the command line"""


def linker_script(name: str, report: Report, target: Target) -> str:
    """A GNU linker script; its RAM is ``report.region`` bytes, or exactly what the plan needs."""
    return render(
        "c/link.ld.j2",
        name=name,
        version=__version__,
        total=report.total,
        stack=report.stack,
        arena=report.arena,
        variables=report.code,
        flash=target.flash,
        ram=report.region or report.total,
    )


def apart_script(name: str, target: Target) -> str:
    """A GNU linker script for a program with kernels for several instruction sets; without it all of them are
    loaded.
    """
    return render(
        "c/apart.ld.j2", name=name, version=__version__, levels=[x.name for x in target.levels], segment=SEGMENT
    )


def cmake(name: str, target: Target, library: bool) -> tuple[str, str]:
    """The file that builds a library, or a program, by CMake, and its name; which machine it is for is its toolchain
    file's matter.
    """
    flags = [f for f in target.flags if not f.startswith("-std=")]
    machine = [f for f in flags if f.startswith("-m")] if target.bare else []
    text = render(
        "c/cmake.j2",
        name=name,
        version=__version__,
        library=library,
        flags=[*(f for f in flags if f not in machine), *(["-ffreestanding"] if target.bare else [])],
        bare=bool(machine),
        machine=machine,
    )
    return "CMakeLists.txt", text


def samples(model: Model, target: Target, raw: bool = False) -> str:
    """The samples that the spec's data names, beside the spec, encoded, as C; empty where the spec names none or a file
    is missing.

    Training samples first; ``raw``: the test samples alone, as they are.  Raises BnncError: data that cannot be read or
    is not the network's, B0715 for more than the flash holds.
    """
    folder, e = Path(model.file).parent, of_model(model)
    calls = [c for c in (model.data.train, model.data.test) if c is not None]
    if model.data.train is None or not all((folder / str(v)).exists() for c in calls for _, v in c.args):
        return ""
    sets = [_read(c, folder) for c in calls]
    n_test = sets[1].n if len(sets) > 1 else sets[0].n_test
    x = np.concatenate([s.x.reshape(s.n, -1) for s in sets])
    y = np.concatenate([s.y for s in sets])
    first, table = model.layers[0].output, None
    if raw:
        x, y, e, first = x[len(x) - n_test :], y[len(y) - n_test :], None, model.layers[0]["tensor"]
        n_test = len(x)
    if e is not None and not (x.dtype == np.bool_ and x.shape[1] == first.elements):
        try:
            table = e.fit(x[: len(x) - n_test]) if e.fitted else None
            x = e.encode(x, table).reshape(len(x), -1)
        except ValueError as problem:
            raise _unfit(model, str(problem)) from problem
    rows = _rows(model, x, y, first)
    if rows.size + y.size > target.flash:
        raise error(
            "B0715",
            f"the samples take {rows.size + y.size} bytes, target {target.name} has {target.flash} bytes of flash",
            exit_code=3,
            help="fewer samples; or `--emit-only`, and a firmware that reads them from elsewhere",
        )
    return _text(rows, y, len(x) - n_test, n_test, table, e)


def _unfit(model: Model, why: str) -> BnncError:
    return error(
        "B0804",
        why,
        model.layers[0].span,
        exit_code=5,
        help="the `input` line of the spec gives the shape and the type",
    )


def _rows(model: Model, x: np.ndarray, y: np.ndarray, first: TensorType) -> np.ndarray:
    """Samples as bytes, a row each.  Raises BnncError where they, or their labels, are not the network's."""
    wanted = {"u8": "uint8", "bit": "bool"}.get(first.kind, "float32")
    if x.shape[1] != first.elements or x.dtype.name != wanted:
        raise _unfit(model, f"samples of {x.shape[1]} values ({x.dtype}), the network takes {first}")
    if int(y.max(initial=0)) >= model.classes:
        raise error(
            "B0803",
            f"label {int(y.max())} in a network of {model.classes} classes",
            exit_code=5,
            help="number the classes from 0",
        )
    if wanted == "bool":
        return np.packbits(x, axis=1, bitorder="little")
    return np.ascontiguousarray(x).view(np.uint8).reshape(len(x), -1)


def _read(call: Call, folder: Path) -> Dataset:
    names = [folder / str(v) for _, v in call.args]
    if len(names) == 1:
        return data.read_bnnd(names[0])
    read = data.read_npy if names[0].suffix == ".npy" else data.read_idx
    return Dataset(read(names[0]), read(names[1]).astype(np.uint8))


def _text(
    rows: np.ndarray, y: np.ndarray, n_train: int, n_test: int, table: np.ndarray | None, e: Encoding | None
) -> str:
    def lines(values: np.ndarray) -> str:
        return "\n".join(
            "    " + "".join(f"{v}," for v in values[i : i + 32].tolist()) for i in range(0, len(values), 32)
        )

    thresholds = "#define BNNC_THRESHOLDS NULL\n"
    if table is not None:
        numbers = ", ".join("__builtin_inff()" if v == np.inf else f"{float(v).hex()}f" for v in table.ravel())
        thresholds = (
            f"/* fitted to the training samples */\nstatic const float BNNC_THRESHOLDS[{table.size}] = {{{numbers}}};\n"
        )
    return (
        f"/* The samples, as the network takes them{f' ({e.how})' if e else ''}: {n_train} to train, {n_test} to test."
        f" */\n#include <stddef.h>\n#include <stdint.h>\nenum {{ BNNC_TRAIN_SAMPLES = {n_train}, BNNC_TEST_SAMPLES ="
        f" {n_test} }};\n{thresholds}static const uint8_t BNNC_LABEL[{len(y)}] = {{\n{lines(y)}\n}};\nstatic const"
        f" _Alignas(4) uint8_t BNNC_SAMPLE[{len(y)}][{rows.shape[1]}] = {{\n"
        + "".join(f"    {{{','.join(map(str, r))}}},\n" for r in rows.tolist())
        + "};\n"
    )
