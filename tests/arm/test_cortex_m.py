"""Programs without an operating system, under QEMU: the bits of the host, and memory that is the plan's to the byte."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import cross
import numpy as np
import pytest

import bnnc
from bnnc.backends import select
from bnnc.backends.c import build
from bnnc.backends.c.targets import TARGETS
from bnnc.data import Dataset, write_bnnd
from bnnc.diag import BnncError

pytestmark = pytest.mark.arm
TARGET = TARGETS["cortex-m"]
EXAMPLE = Path(__file__).parents[2] / "examples" / "digits_cortex_m"
EDGE = (EXAMPLE / "digits_cortex_m.bnn").read_text().replace("epochs = 20", "epochs = 3")
HEAD = """network n {{ input u8[64] {0}; dense 63; {1}sign; dense 10; {1}loss; }}
rule {2};
train {{ batch = {3}; epochs = 2; {4} }}
data {{ train = bnnd("digits.bnnd"); }}
"""
SPECS = {
    "edge": EDGE,
    "bep": HEAD.format("sign(threshold = 8, pad_odd = on)", "", "bep(group = 9)", 100, ""),
    "local": HEAD.format(
        "thermometer(2, kind = uniform, per = global, pad_odd = on)",
        "",
        "local(group = 9)",
        100,
        "holdout = 0.1; schedule = plateau(1, 0.5);",
    ),
    "standard": HEAD.format("thermometer(2)", "batchnorm; ", "standard", 20, "holdout = 0.1; schedule = cosine(0.1);"),
    "u8": HEAD.format("scale", "batchnorm; ", "edge(state = f32)", 50, ""),
}
QEMU = (
    "qemu-system-arm",
    "-nographic",
    "-monitor",
    "none",
    "-serial",
    "none",
    "-semihosting-config",
    "enable=on,target=native",
)


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    cross.need(TARGET)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scikit-learn's digits, as the examples have them."""
    from sklearn.datasets import load_digits  # noqa: PLC0415

    d, folder = load_digits(), tmp_path_factory.mktemp("digits")
    order = np.random.default_rng(0).permutation(len(d.target))
    write_bnnd(
        folder / "digits.bnnd",
        Dataset(d.images[order].astype(np.uint8), d.target[order].astype(np.uint8), classes=10, n_test=360),
    )
    return folder


def network(digits: Path, name: str) -> bnnc.Network:
    path = digits / f"{name}.bnn"
    path.write_text(SPECS[name])
    return bnnc.load(path)


def qemu(program: Path, machine: str = "mps2-an386") -> str:
    done = subprocess.run(
        [*QEMU, "-M", machine, "-kernel", str(program)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def on_host(digits: Path, name: str, folder: Path) -> str:
    """The state that the host's program ends with."""
    p = network(digits, name).compile(threads=1)
    return (
        p.run(["train", "--data", str(digits), "--out", str(folder / "run"), "--quiet"])
        .stdout.rsplit("state ", 1)[1]
        .strip()
    )


@pytest.mark.parametrize("name", SPECS)
def test_trains_to_the_bits_of_the_host_in_the_memory_of_the_plan(digits: Path, tmp_path: Path, name: str) -> None:
    """Equal: weights; the plan, the ELF file and the program's own figure; and the painted stack is within its
    bound.
    """
    net = network(digits, name)
    p = net.compile("cortex-m", tmp_path / "net.elf")
    report, facts = p.plan.planned.report, build.read_elf(tmp_path / "net.elf")
    planned = net.plan("cortex-m").planned.report
    assert facts.ram == report.total == report.arena + report.stack + report.code and facts.arena == report.arena
    assert (
        (planned.code, planned.stack) == (report.code, report.stack)
        and facts.flash <= report.flash
        and not facts.allocators
    )
    text = qemu(tmp_path / "net.elf")
    assert text.rsplit("state ", 1)[1].strip() == on_host(digits, name, tmp_path)
    total, used, bound = map(int, re.findall(r"memory: predicted (\d+) bytes; stack: (\d+) of (\d+)", text)[0])
    assert total == report.total and bound == report.stack and 256 < used < bound


def test_sixty_four_kibibytes_and_not_one_byte_less(digits: Path, tmp_path: Path) -> None:
    """The linker's map is the plan's total; a region of just that links, and of one byte less does not."""
    net = network(digits, "edge")
    p = net.compile("cortex-m", tmp_path / "net.elf", ram="64KiB")
    total = p.plan.total_bytes
    assert 60 * 1024 < total <= 64 * 1024 and "LENGTH = 65536" in p.source["digits_cortex_m.ld"]
    for path, text in p.source.items():
        (tmp_path / "c" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "c" / path).write_text(text)
    argv = build.command(
        build.find_compiler(TARGET), TARGET, "digits_cortex_m.c", "../again.elf", ("-Wl,-Map,net.map",)
    )
    build.run_compiler(argv, tmp_path / "c")
    rows = re.findall(r"^\.(data|bss|stack)\s+0x\w+\s+(0x\w+)", (tmp_path / "c" / "net.map").read_text(), re.M)
    sections = {name: int(size, 16) for name, size in rows}
    assert set(sections) == {"data", "bss", "stack"} and sum(sections.values()) == total
    script = tmp_path / "c" / "digits_cortex_m.ld"
    for size in (total, total - 1):
        script.write_text(p.source[script.name].replace("LENGTH = 65536", f"LENGTH = {size}"))
        source, sizes, target = select.read_source(tmp_path / "c")
        if size == total:
            build.build(source, sizes, target, tmp_path / "exact.elf")
            continue
        with pytest.raises(BnncError) as e:
            build.build(source, sizes, target, tmp_path / "short.elf")
        assert e.value.diagnostics[0].code == "B0707" and "overflowed by 1 byte" in e.value.diagnostics[0].message
    with pytest.raises(BnncError) as e:
        net.compile("cortex-m", tmp_path / "short.elf", ram=total - 1)
    assert e.value.diagnostics[0].code == "B0601" and e.value.exit_code == 3 and not (tmp_path / "short.elf").exists()
    assert (
        qemu(tmp_path / "exact.elf", "mps2-an500").rsplit("state ", 1)[1]
        == qemu(tmp_path / "net.elf").rsplit("state ", 1)[1]
    )


def test_a_firmware_is_interrupted_and_goes_on(digits: Path, tmp_path: Path) -> None:
    """The example's: its own startup, text through a UART, checkpoints in flash; the README's commands and figures."""
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder)
    shutil.copy(digits / "digits.bnnd", folder)
    readme = (EXAMPLE / "README.md").read_text()
    commands = [line.strip() for line in readme.splitlines() if line.startswith("    ") and "prepare.py" not in line]
    shell = "\n".join(
        [
            "set -e",
            f'bnnc() {{ {sys.executable} -m bnnc "$@"; }}',
            *(c for c in commands if c.split()[0] in ("bnnc", "sh", "qemu-system-arm")),
        ]
    )
    done = subprocess.run(["sh", "-c", shell], cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = [c for c in commands if c.startswith(("epoch", "memory", "state"))]
    used = re.compile(r"stack: \d+ of")  # by this compiler
    assert len(figures) == 3 and all(used.sub("", f) in used.sub("", done.stdout) for f in figures)
    states = re.findall(r"^state (\w+)$", done.stdout, re.M)
    assert (
        len(states) == 3
        and states[0] == states[2] != states[1]
        and "resumed" in done.stdout
        and "stopped, code 1" in done.stdout
    )
    assert "ended, code 0" in done.stdout
    weights_from_a_computer(folder)


def weights_from_a_computer(folder: Path) -> None:
    """The commands of docs/cortex-m.md print what stands there."""
    page = (
        (EXAMPLE.parents[1] / "docs/cortex-m.md").read_text().split("## Weights from a computer")[1].split("\n## ")[0]
    )
    told = [line[4:] for line in page.splitlines() if line.startswith("    ")]
    n = next(i for i, line in enumerate(told) if line.startswith("digits_cortex_m "))
    shell = "\n".join(["set -e", f'bnnc() {{ {sys.executable} -m bnnc "$@"; }}', f"{told[0]} > /dev/null", *told[1:n]])
    done = subprocess.run(["sh", "-c", shell], cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.split("\n") == [*told[n:], ""], done.stderr


def test_zig_makes_the_same_bits(digits: Path, tmp_path: Path) -> None:
    cross.need(TARGET, compiler=False)
    planned = cross.by_zig(TARGET, tmp_path / "net.elf", network(digits, "edge").plan("cortex-m").planned)
    assert build.read_elf(tmp_path / "net.elf").ram == planned.report.total
    assert qemu(tmp_path / "net.elf").rsplit("state ", 1)[1].strip() == on_host(digits, "edge", tmp_path)


def test_what_is_refused(digits: Path, tmp_path: Path) -> None:
    alone = tmp_path / "net.bnn"
    alone.write_text(EDGE)
    with pytest.raises(BnncError) as e:
        bnnc.load(alone).compile("cortex-m", tmp_path / "net.elf")
    assert e.value.diagnostics[0].code == "B0715" and "--emit-only" in e.value.diagnostics[0].help
    with pytest.raises(BnncError) as e:
        bnnc.load(alone).plan("cortex-m", threads=2)
    assert e.value.diagnostics[0].code == "B0704"
    write_bnnd(tmp_path / "digits.bnnd", Dataset(np.zeros((500, 65), np.uint8), np.zeros(500, np.uint8)))
    with pytest.raises(BnncError) as e:
        bnnc.load(alone).compile("cortex-m", tmp_path / "net.elf")
    assert e.value.diagnostics[0].code == "B0804"
