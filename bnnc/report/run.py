"""What a training run left: its log, and how it was started."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..api import Network, parse, read_text
from ..diag import error
from ..source import whole

LOG, RECORD = "log.jsonl", "run.json"  # in a run's folder, beside its checkpoints
DATA_FLAGS = ("--train", "--test")  # of a trainer: other data than the spec's


@dataclass(frozen=True)
class Run:
    """``folder``: the trainer's ``--out``.  ``start`` and ``end``: those records of the log, {} where it has none yet;
    ``epochs``: its records by number.  ``record``: how ``bnnc run`` started it, {} of other programs.
    """

    folder: Path
    start: dict[str, Any]
    epochs: tuple[dict[str, Any], ...]
    end: dict[str, Any]
    record: dict[str, Any]

    def series(self, key: str) -> list[tuple[int, float]]:
        """(epoch, value) wherever it was measured."""
        return [(e["epoch"], float(e[key])) for e in self.epochs if isinstance(e.get(key), int | float)]

    @cached_property
    def layers(self) -> dict[str, tuple[str, ...]]:
        """What the epochs tell of layers, ``flips`` say, and of which."""
        return {k: tuple(v) for e in self.epochs[:1] for k, v in e.items() if isinstance(v, dict) and v}

    @property
    def data(self) -> Path:
        """Where the data is, as the run was told."""
        return Path(self.record.get("folder", "."), self.record.get("data", "."))

    @property
    def given(self) -> list[str]:
        """The flags that name other data than the spec's, and their files."""
        args, out = self.record.get("args", []), []
        for i, a in enumerate(args):
            flag, equals, value = a.partition("=")
            if flag in DATA_FLAGS and (equals or i + 1 < len(args)):
                out += [flag, value if equals else args[i + 1]]
        return out


def read_log(path: Path) -> tuple[dict[str, Any], tuple[dict[str, Any], ...], dict[str, Any]]:
    """(start, epochs by number, end) of a log: the last start's, and every epoch's last record.

    A line that is not whole yet is left out.  Raises BnncError B0910 for what is no log.
    """
    start: dict[str, Any] = {}
    end: dict[str, Any] = {}
    epochs: dict[int, dict[str, Any]] = {}
    text = path.read_text(encoding="utf-8")
    for n, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            r = json.loads(line)
            if r["event"] == "epoch":
                epochs[r["epoch"]] = r
            elif r["event"] == "start":
                start, end = r, {}
            elif r["event"] == "end":
                end = r
        except (ValueError, TypeError, KeyError):
            reason = f"{path}: line {n} is not one of a trainer's log"
            raise error("B0910", reason, exit_code=2, help="give the file that `--log` named") from None
    return start, tuple(epochs[k] for k in sorted(epochs)), end


def read(folder: Path, log: Path | None = None) -> Run:
    """The run in a trainer's ``--out``.  Raises BnncError B0910 where there is none."""
    at, record = log or folder / LOG, folder / RECORD
    if not folder.is_dir() or (log and not log.exists()):
        missing = log if log and folder.is_dir() else folder
        raise error("B0910", f"{missing}: there is no such run", exit_code=2, help=_others(folder.parent))
    parts = read_log(at) if at.exists() else ({}, (), {})
    try:
        return Run(folder, *parts, json.loads(record.read_text(encoding="utf-8")) if record.exists() else {})
    except ValueError:
        raise error("B0910", f"{record} is not what `bnnc run` wrote", exit_code=2, help="remove it") from None


def _others(folder: Path) -> str:
    """Runs that a folder holds, or what a run is."""
    found = sorted(str(p.parent) for p in folder.glob(f"*/{RECORD}"))
    return f"runs: {', '.join(found[:8])}" if found else "a run is the folder that training has as --out: run/NAME"


def network(run: Run, spec: str | None = None) -> Network:
    """The network of a run: as ``bnnc run`` kept it, or of a file ``spec``.

    Raises BnncError: B0910 where neither is there, or where the log tells of another network; and the spec's mistakes.
    """
    if spec is None and "text" not in run.record:
        reason = f"{run.folder} does not hold the spec of its run: another program than `bnnc run` has trained"
        if not run.start:
            raise error("B0910", f"{run.folder} is no run", exit_code=2, help=_others(run.folder))
        raise error("B0910", reason, exit_code=2, help="give it with `--spec FILE.bnn`")
    net = parse(read_text(spec), spec) if spec else parse(run.record["text"], run.record["spec"])
    given = {k: run.record[k] for k in ("rule", "batch") if run.record.get(k) is not None}
    return net.with_(**given) if given else net


def write_record(folder: Path, net: Network, command: str, args: Sequence[str], **facts: Any) -> None:
    """Keep in a run's folder how it was started: ``command`` as a shell reads it, the trainer's ``args``, the spec's
    text, and ``facts``.  Raises OSError.
    """
    kept = {"command": command, "spec": net.file, "text": net.text, "args": list(args), "folder": str(Path.cwd())}
    with whole(folder / RECORD) as part:
        part.write_text(json.dumps({**kept, **facts}, indent=1) + "\n", encoding="utf-8")
