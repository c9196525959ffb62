"""How large programs become with a compiler, measured on the networks below, and the constants of backends/c/size.py
that follow.

    python benchmarks/fit_code_sizes.py measure --target host --cc gcc    compiles every network, and keeps what it
    measured
    python benchmarks/fit_code_sizes.py fit --target host --cc gcc        prints the constants, and how loose the bounds
    are

A kernel's bytes are a least-squares fit to what its expressions hold; the margin is ``RESERVE`` times what the worst
network needs when the others alone are fitted; the part beside kernels is the largest that was met.  Run it again where
templates or the runtime have changed much, or for a new version of a compiler: some ten seconds a network.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

import bnnc
from bnnc import driver
from bnnc.backends.c import bodies, build, size, stack
from bnnc.backends.c.fits import CLANG, Fit
from bnnc.backends.c.targets import TARGETS, Target
from bnnc.data import Dataset, write_bnnd
from bnnc.inputs.encode import of_model
from bnnc.plan.contract import WORKER

FOLDER = Path(__file__).parents[1] / "build" / "code-sizes"

BLOCK = """
block unit(channels) { residual { sign clip = 1.25; conv channels padding = same; batchnorm; } }
block mean(channels) { residual { sign quadratic; conv channels padding = same scale = mean; batchnorm; } }
block halve(channels) {
  residual { shortcut { avgpool 2; conv channels kernel = 1 weights = real; batchnorm; }
             sign clip = 1.25; conv channels stride = 2 padding = same; batchnorm; }
}
"""


def net(body: str, rule: str, train: str, blocks: str = "") -> str:
    return (
        f'{blocks}network net {{ {body} loss; }}\nrule {rule};\ntrain {{ {train} }}\ndata {{ train = bnnd("net.bnnd");'
        " }\n"
    )


# name -> the spec, and the shape and type of its samples
NETWORKS: dict[str, tuple[str, tuple[int, ...], str]] = {
    "mlp": (
        net(
            "input u8[28, 28] sign(threshold = 128); flatten; repeat 2 { dense 256; batchnorm; sign; } dense 10;"
            " batchnorm;",
            "edge",
            "batch = 100;",
        ),
        (28, 28),
        "u8",
    ),
    "ragged": (
        net(
            "input f32[33]; dropout; dense 17; batchnorm l1; sign; dense 10; batchnorm;",
            "standard",
            "batch = 20; optimizer = sgd;",
        ),
        (33,),
        "f32",
    ),
    "bop": (
        net(
            "input u8[64] thermometer(3); dense 33; batchnorm; sign; dense 7; batchnorm;",
            "edge(state = f32)",
            "batch = 50; microbatch = 2; optimizer = bop;",
        ),
        (64,),
        "u8",
    ),
    "bytes": (
        net(
            "input u8[40]; dense 50; batchnorm bnn; sign ste; dense 31; batchnorm l2; relu; dense 3 weights = real bias"
            " = on;",
            "standard",
            "batch = 9; optimizer = adam(v = elide);",
        ),
        (40,),
        "u8",
    ),
    "images": (
        net(
            "input u8[8, 8, 3]; conv 20 padding = same; maxpool; batchnorm; sign; conv 33; batchnorm; sign; maxpool;"
            " flatten; dense 10; batchnorm;",
            "edge",
            "batch = 6;",
        ),
        (8, 8, 3),
        "u8",
    ),
    "cnv": (
        net(
            "input u8[20, 20, 3]; conv 32; batchnorm; sign; conv 32; batchnorm; sign; maxpool 2; conv 64; batchnorm;"
            " sign; conv 64; batchnorm; sign; flatten; dense 256; batchnorm; sign; dense 10; batchnorm;",
            "standard",
            "batch = 32;",
        ),
        (20, 20, 3),
        "u8",
    ),
    "real": (
        net(
            "input u8[32, 32, 3]; conv 16 kernel = 7 stride = 2 padding = same weights = real; batchnorm; maxpool 3"
            " stride = 2 padding = same; mean 16; halve 32; sign; conv 32 groups = 4; batchnorm; relu; globalavgpool;"
            " flatten; dense 20 weights = real bias = on;",
            "standard",
            "batch = 8;",
            BLOCK,
        ),
        (32, 32, 3),
        "u8",
    ),
    "residual": (
        net(
            "input u8[16, 16, 3]; conv 32 padding = same weights = real; batchnorm; relu; maxpool 2; batchnorm; "
            "repeat 2 { unit 32; } halve 64; unit 64; relu; globalavgpool; flatten; dense 10 weights = real bias = on;",
            "edge(clip_at = 1.25)",
            "batch = 100;",
            BLOCK,
        ),
        (16, 16, 3),
        "u8",
    ),
    "strips": (
        net(
            "input u8[16, 16, 3]; conv 64 padding = same; maxpool; batchnorm; sign; conv 64 padding = same; batchnorm;"
            " sign; maxpool; flatten; dense 64; batchnorm; sign; dense 10; batchnorm;",
            "edge",
            "batch = 100; recompute = on; microbatch = 2;",
        ),
        (16, 16, 3),
        "u8",
    ),
    "series": (
        net(
            "input f32[6, 4] thermometer(8); rnn 135, expand = 135; dense 135; sign; dense 2;",
            "bep(reinforce = 0.36)",
            "batch = 73;",
        ),
        (6, 4),
        "f32",
    ),
    "lengths": (
        net(
            "input f32[5, 4] thermometer(3, lengths = on); rnn 35, expand = 33, horizon = 2; dense 15; sign; dense 3;",
            "bep",
            "batch = 20;",
        ),
        (5, 4),
        "f32",
    ),
    "bep": (
        net(
            "input u8[64] thermometer(4, kind = uniform, per = global, pad_odd = on); repeat 2 { dense 255; sign; }"
            " dense 10;",
            "bep(nu = 0.1, group = 51)",
            "batch = 100;",
        ),
        (64,),
        "u8",
    ),
    "local": (
        net(
            "input u8[64] thermometer(4, kind = uniform, per = global, pad_odd = on); repeat 3 { dense 135; sign; }"
            " dense 10;",
            "local(group = 45)",
            "batch = 100;",
        ),
        (64,),
        "u8",
    ),
    "small": (
        net(
            "input u8[64] sign(threshold = 8); dense 64; batchnorm; sign; dense 10; batchnorm;",
            "edge",
            "batch = 226; optimizer = bop(tau = 1e-7, gamma = 1e-3);",
        ),
        (64,),
        "u8",
    ),
}


def plan(name: str, target: str, folder: Path) -> driver.Planned:
    """The plan of a network, whose samples (few, without meaning) are beside its spec."""
    text, shape, kind = NETWORKS[name]
    x = np.random.default_rng(0).integers(0, 256, (12, *shape)).astype({"u8": np.uint8, "f32": np.float32}[kind])
    write_bnnd(folder / "net.bnnd", Dataset(x, (np.arange(12) % 2).astype(np.uint8), classes=2))
    (folder / "net.bnn").write_text(text)
    options = replace(bnnc.load(folder / "net.bnn").options(target), region=1 << 29)
    return driver.plan_text(options)


def measure(name: str, target: Target, cc: str) -> dict[str, Any]:
    """What is in a program: bytes of its functions by symbol, sections, stacks."""
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        planned = plan(name, target.name, folder)
        source = driver.emit_source(planned)
        build.prepare(folder, source, target, cc)
        program = build.link(folder, source, target, cc)
        facts, calls = build.read_elf(program), stack.read(program)
        assert calls is not None
        first, each = stack.bounds(calls, target.bare)
        with program.open("rb") as f:
            elf = ELFFile(f)
            table = elf.get_section_by_name(".symtab")
            assert isinstance(table, SymbolTableSection)
            functions = {s.name: s["st_size"] for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC"}
            sections = {s.name: [s["sh_size"], s["sh_flags"]] for s in elf.iter_sections()}
        return {
            "functions": functions,
            "sections": sections,
            "loaded": facts.loaded,
            "ram": facts.ram,
            "flash": facts.flash,
            "arena": facts.arena,
            "first": first,
            "each": each,
            "main": calls.main,
            "worker": calls.depth(WORKER),
        }


UNWIND = 48  # what the tables of exceptions, which clang writes, hold of a function


def kernels(planned: driver.Planned, measured: dict[str, Any]) -> list[tuple[str, dict[str, int], int, int, int]]:
    """Of each function that kernels run its kind, counts, copies, and its bytes: a copy's on average, and the largest
    copy's.
    """
    levels = "|".join(x.name for x in planned.target.levels)
    found: dict[str, dict[str, int]] = {}
    for f, n in measured["functions"].items():
        if m := re.match(rf"(\w+_\d+(?:x\d+)+(?:_\d+)?)_({levels})(\..*)?$", f):
            of = found.setdefault(m[1], {})
            of[m[2]] = of.get(m[2], 0) + -(-n // 16) * 16 + UNWIND
    out = []
    for body, (first, *_) in bodies.distinct(bodies.calls(planned.placed)).items():
        sizes, n = found[body.name].values(), size.copies(first.kernel, planned.target)
        out.append((*size.features(first.kernel, first.schedule), n, sum(sizes) // n, max(sizes)))
    return out


def least_squares(rows: list[tuple[str, dict[str, int], int, int, int]], which: int) -> dict[str, int]:
    """Constants, none negative, by coordinate descent."""
    names = [*sorted({r[0] for r in rows}), *rows[0][1]]
    a = np.array([[r[1].get(n, r[0] == n) for n in names] for r in rows], float)
    y, x = np.array([r[which] for r in rows], float), np.zeros(len(names))
    g, b = a.T @ a, a.T @ y
    for _ in range(2000):
        for j in range(len(x)):
            x[j] = max(0.0, x[j] - (g[j] @ x - b[j]) / g[j, j]) if g[j, j] else 0.0
    return {n: round(v) for n, v in zip(names, x, strict=True)}


def total(rows: list[tuple[str, dict[str, int], int, int, int]], code: dict[str, int], largest: bool = False) -> int:
    """What a fit says of kernels."""
    return sum(size.one_bytes(code, kind, counts) * (1 if largest else copies) for kind, counts, copies, *_ in rows)


def stack_needed(measured: dict[str, Any], target: Target, planned: driver.Planned) -> int:
    """What a stack needs beyond the target's and its kernels' arrays."""
    arrays = size.deepest_arrays(target, bodies.calls(planned.placed))
    first = measured["main"] - target.stack - arrays
    return first if target.bare else max(first, measured["worker"] - target.thread_stack - arrays)


def fit_inlined(cc: str, target: Target, like: Target) -> None:
    """Print how much of the fit of another target the code of one is whose kernels are part of the functions that call
    them.
    """
    ratio, stacks = 0.0, 0
    for name, m in json.loads((FOLDER / f"{cc}-{target.name}.json").read_text()).items():
        with tempfile.TemporaryDirectory() as tmp:
            planned = plan(name, target.name, Path(tmp))
        of, none = CLANG[like.name], Fit(f"{cc} 0", {"node": 0}, rates=0)
        held = m["flash"] - size.beside(target, planned.placed, bodies.calls(planned.placed), None, none)
        said = size.bodies_bytes(bodies.calls(planned.placed), target, of, False)
        needed = stack_needed(m, target, planned)
        ratio, stacks = max(ratio, held / said), max(stacks, needed)
        print(f"    # {name:9} kernels {held:7} of {said}: {held / said:.2f}; stack {needed:+}")
    print(f'    "{target.name}": replace({like.name}, margin={RESERVE * ratio:.2f}, fixed=0, stack={stacks + SPILLS})')


def beside_kernels(m: dict[str, Any], planned: driver.Planned, target: Target, none: Fit) -> int:
    """What a program holds of code and constants beside its tables."""
    e, made = of_model(planned.model), bodies.calls(planned.placed)
    if target.bare:
        return m["flash"] - size.beside(target, planned.placed, made, None, none) + 1
    variables = planned.report.threads + size.variable_bytes(target, planned.placed, e)
    sections = sum(n for n, flags in m["sections"].values() if flags & 2)
    return sections - m["arena"] - variables - size.beside(target, planned.placed, made, e, none) + 1


def fit(cc: str, target: Target) -> None:
    """Print a Fit, and for each network how many bytes of code and of stack there are, and how far above them the bound
    is.
    """
    found = json.loads((FOLDER / f"{cc}-{target.name}.json").read_text())
    plans, rows = {}, {}
    with tempfile.TemporaryDirectory() as tmp:
        for name in found:
            plans[name] = plan(name, target.name, Path(tmp))
            rows[name] = kernels(plans[name], found[name])
    for largest in (False, True) if target.name == "host" else (False,):
        code = least_squares([r for n in found for r in rows[n]], 4 if largest else 3)
        true = {n: sum(r[4] if largest else r[2] * r[3] for r in rows[n]) for n in found}
        left = {
            n: (
                true[n]
                / total(
                    rows[n], least_squares([r for m in found if m != n for r in rows[m]], 4 if largest else 3), largest
                )
            )
            for n in found
        }
        margin = round(RESERVE * max(left.values()) + 0.005, 2)
        fixed, stacks = 0, 0
        none = Fit(f"{cc} 0", dict.fromkeys(code, 0), rates=0, fixed=1)
        for name, m in found.items():
            held = beside_kernels(m, plans[name], target, none)
            fixed = max(fixed, held - sum(r[2] * r[3] for r in rows[name]))
            stacks = max(stacks, stack_needed(m, target, plans[name]))
        print(f'    "{"native" if largest else target.name}": Fit("{VERSION[cc]}", {{')
        items = [f'"{n}": {v}' for n, v in code.items()]
        print("\n".join("        " + ", ".join(items[i : i + 5]) + "," for i in range(0, len(items), 5)))
        print(f"    }}, margin={margin}, fixed={-(-fixed // 1024)} * 1024, rates=0, stack={max(0, stacks + SPILLS)}),")
        for n in found:
            bound = margin * total(rows[n], code, largest)
            print(
                f"    # {n:9} kernels {true[n]:7} bound {bound:8.0f} ({bound / true[n]:.2f})  left out: {left[n]:.2f}"
                " of the fit"
            )


VERSION = {"zig": "clang 22", "gcc": "gcc 12"}
RESERVE, SPILLS = 1.1, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="host")
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--only", help="names of networks, with commas between")
    parser.add_argument("what", choices=("measure", "fit"))
    a = parser.parse_args()
    target = TARGETS[a.target]
    if a.what == "fit":
        if target.bare:
            fit_inlined(a.cc, target, TARGETS["rpi-zero"])
        else:
            fit(a.cc, target)
        return
    cc = build.find_compiler(target, next(c for c in target.compilers if a.cc in c.split()[0]))
    FOLDER.mkdir(parents=True, exist_ok=True)
    out = FOLDER / f"{a.cc}-{a.target}.json"
    found = json.loads(out.read_text()) if out.exists() else {}
    for name in NETWORKS if not a.only else a.only.split(","):
        if name not in found:
            print(name, flush=True)
            found[name] = measure(name, target, cc)
            out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
