"""Judges many seeds and says what they covered:  python tests/fuzz/run.py 0:2000 [--jobs 2] [--trials plan,kernels]
[--keep]

Each seed gets the trials that are cheap, and of the dear ones those that :func:`share` picks, unless ``--trials`` names
them. A failing seed is blamed on a pass or an option, shrunk to a few lines, and with ``--keep`` written to
``corpus/``.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.generate import Drawn, draw  # noqa: E402
from fuzz.judge import ALL, QUICK, TRIALS, Failure, blame, judge, shrink  # noqa: E402

from bnnc import builtin  # noqa: E402

CORPUS = Path(__file__).parent / "corpus"


@dataclass
class Verdict:
    """What came of a seed: pairs of names that its spec has, codes of texts that ``check`` refused on the way, and the
    failure.
    """

    seed: int
    covered: Counter[tuple[str, str]]
    refused: Counter[str]
    failure: Failure | None = None
    blamed: str = ""
    small: str = ""
    seconds: float = 0.0
    trials: tuple[str, ...] = field(default=())


def options(d: Drawn) -> list[str]:
    """What else is on in a spec: options of the training, of the input and of layers that are not at their defaults."""
    m, tables = d.model, builtin.tables()
    first, found = m.layers[0], [f"input {m.layers[0]['tensor'].kind}", f"encoder {m.layers[0]['encoder'].name}"]
    found += [f"encoder {k}" for k, v in first["encoder"].args if v is True or k == "per" or (k == "onehot" and v)]
    found += [k for k in ("recompute", "allow", "holdout") if getattr(m, k)] + (
        ["microbatch"] if m.microbatch > 1 else []
    )
    found += [
        f"schedule {m.schedule.name}",
        f"stop {m.stop.name}",
        *(["block or repeat"] if d.spec.blocks or "repeat" in d.spec.text() else []),
    ]
    for what, call, table in (("rule", m.rule, tables.rules), ("optimizer", m.optimizer, tables.optimizers)):
        default = {p.name: p.default for p in table[call.name].params}
        found += [f"{call.name} {k}" for k, v in call.args if what and v != default.get(k)]
    for y in m.walk():
        for p in tables.layers[y.kind].params:
            if p.type in ("name", "bool") and y[p.name] not in (p.default, None):
                found.append(f"{y.kind} {p.name} = {str(y[p.name]).lower() if isinstance(y[p.name], str) else 'on'}")
            elif p.name in ("groups", "stride", "pad", "clip", "horizon") and y[p.name] != p.default:
                found.append(f"{y.kind} {p.name}")
        if y.name not in (f"{y.kind}{i}" for i in range(1, 200)):
            found.append("name")
    return found


def pairs(d: Drawn) -> Counter[tuple[str, str]]:
    rule, optimizer = d.model.rule.name, d.model.optimizer.name
    rows = [*{y.kind for y in d.model.walk()}, *set(options(d)), "every spec"]
    return Counter({(r, c): 1 for r in rows for c in (rule, optimizer)})


def share(seed: int) -> tuple[str, ...]:
    """Trials of a seed: the quick ones always; kernels of the default pipeline, or with passes off, by turns; of every
    sixteenth the whole program, and of another one Triton's interpreter."""
    dear = {
        "kernels": seed % 2 == 0,
        "kernels_off": seed % 2 == 1,
        "program": seed % 16 == 4,
        "triton": seed % 16 == 10,
    }
    return tuple(t.__name__ for t in ALL if dear.get(t.__name__, True))


def one(seed: int, names: tuple[str, ...] = ()) -> Verdict:
    """Draw and judge one seed; blame and shrink where it fails."""
    start = time.time()
    names = names or share(seed)
    try:
        d = draw(seed)
    except Exception as e:  # a text that must be refused with a code was not
        return Verdict(
            seed,
            Counter(),
            Counter(),
            Failure("draw", type(e).__name__, str(e)[:300]),
            "check",
            "",
            time.time() - start,
        )
    v = Verdict(seed, pairs(d), d.refused, trials=names)
    v.failure = judge(d.spec.text(), seed, [TRIALS[n] for n in names])
    if v.failure:
        v.blamed = blame(v.failure, d.spec, seed)
        v.small = shrink(v.failure, d.spec, seed, 120 if v.failure.trial in ("program", "triton") else 300).text()
    v.seconds = time.time() - start
    return v


def table(covered: Counter[tuple[str, str]]) -> str:
    """Layers and options by rule and optimiser; a hole is a `.`."""
    tables = builtin.tables()
    columns = [*sorted(tables.rules), *sorted(tables.optimizers)]
    rows = sorted(
        {r for r, _ in covered} | set(tables.layers), key=lambda r: (r != "every spec", r not in tables.layers, r)
    )
    width = max(map(len, rows), default=0)
    lines = ["".join((" " * width, *(f"{c:>12}" for c in columns)))]
    lines += ["".join((f"{r:<{width}}", *(f"{covered[r, c] or '.':>12}" for c in columns))) for r in rows]
    return "\n".join(lines)


def keep(v: Verdict) -> Path:
    """Write a shrunk spec to the corpus, for good."""
    assert v.failure is not None
    path = CORPUS / f"seed{v.seed}_{v.failure.trial}.bnn"
    head = (
        f"# seed {v.seed}, {v.failure.trial}: {v.failure.error}: {v.failure.message.splitlines()[0][:110]}\n#"
        f" {v.blamed}\n"
    )
    path.write_text(head + (v.small or ""), encoding="utf-8")
    return path


def many(seeds: Iterable[int], jobs: int, names: tuple[str, ...] = (), keeps: bool = False) -> list[Verdict]:
    """Verdicts of all seeds, or of those that were done when it was interrupted."""
    found = []
    with (
        multiprocessing.Pool(jobs, ignore_interrupts, maxtasksperchild=50) as pool,
        contextlib.suppress(KeyboardInterrupt),
    ):
        for v in pool.imap_unordered(_one, [(s, names) for s in seeds]):
            found.append(v)
            if v.failure:
                print(
                    f"seed {v.seed}: {v.failure.trial}: {v.failure.error}: {v.failure.message}\n  {v.blamed}",
                    flush=True,
                )
                print("  " + v.small.replace("\n", "\n  "), flush=True)
                if keeps:
                    print(f"  kept as {keep(v)}", flush=True)
    return found


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _one(given: tuple[int, tuple[str, ...]]) -> Verdict:
    return one(*given)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seeds", help="first:end, or numbers")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument(
        "--trials", default="", help=f"of {', '.join(TRIALS)}; quick: {', '.join(t.__name__ for t in QUICK)}"
    )
    parser.add_argument("--keep", action="store_true", help="write what fails to corpus/")
    args = parser.parse_args()
    first, colon, end = args.seeds.partition(":")
    seeds = range(int(first), int(end)) if colon else [int(x) for x in args.seeds.split(",")]
    start = time.time()
    names = tuple(args.trials.replace("quick", ",".join(t.__name__ for t in QUICK)).split(",")) if args.trials else ()
    found = many(seeds, args.jobs, names, args.keep)
    failed = [v for v in found if v.failure]
    refused = sum((v.refused for v in found), Counter())
    print(table(sum((v.covered for v in found), Counter())))
    print(
        f"\nseeds {args.seeds}: {len(found)} specs, {len(failed)} failed; {time.time() - start:.0f} s; trials: "
        + ", ".join(f"{n} {c}" for n, c in sum((Counter(v.trials) for v in found), Counter()).items())
    )
    print(
        f"texts that `check` refused on the way: {sum(refused.values())}: "
        + ", ".join(f"{c} {n}" for c, n in refused.most_common())
    )
    if failed:
        print("failing seeds: " + ", ".join(str(v.seed) for v in sorted(failed, key=lambda v: v.seed)))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
