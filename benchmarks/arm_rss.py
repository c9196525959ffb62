"""Peak memory of Raspberry Pi programs in the books of a Linux kernel for ARM, against the plan: MLP at four batch
sizes.

    python benchmarks/arm_rss.py          # writes results/arm_rss.json and .md; needs qemu-system-aarch64 and apt

Debian's arm64 kernel boots under QEMU with an initial RAM disk that holds the trainer, its data and arm_init.c as first
process; the kernel is fetched by apt, as a file (nothing is installed).  Under QEMU's user mode the memory would be
that of QEMU.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import bnnc
from bnnc.backends.c import build
from bnnc.backends.c.targets import TARGETS
from bnnc.data import Dataset, read_bnnd, write_bnnd

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
RUNTIME = HERE.parent / "templates" / "c" / "runtime"
CACHE = HERE.parent / "build" / "arm64-kernel"
BATCHES = (100, 200, 400, 1000)
WITHIN = 128 * 1024
GAP = 128 * 1024  # addresses that Linux keeps free below a stack, which are no memory


def fetch_kernel(folder: Path = CACHE) -> Path:
    """Debian's arm64 kernel image, downloaded and unpacked once.  Raises RuntimeError with the reason where it cannot
    be had.
    """
    found = sorted(folder.glob("unpacked/boot/vmlinuz-*"))
    if found:
        return found[-1]
    for name in ("apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(name):
            raise RuntimeError(f"no {name}: the kernel comes from Debian")
    for name in ("lists/partial", "cache/archives/partial", "deb"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    apt = [
        f"-oDir::State::lists={folder}/lists",
        f"-oDir::Cache={folder}/cache",
        "-oAPT::Architecture=arm64",
        "-oAPT::Architectures::=arm64",
        "-oDir::State::status=/dev/null",
        *(["-oAPT::Sandbox::User=root"] if os.getuid() == 0 else []),
    ]

    def run(*argv: str) -> str:
        done = subprocess.run(argv, cwd=folder / "deb", capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{argv[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
        return done.stdout

    run("apt-get", *apt, "update")
    image = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", *apt, "depends", "linux-image-cloud-arm64"))
    if image is None:
        raise RuntimeError("apt knows no linux-image-cloud-arm64")
    run("apt-get", *apt, "download", image[1])
    run("dpkg-deb", "-x", str(next((folder / "deb").glob("*.deb"))), str(folder / "unpacked"))
    return next(folder.glob("unpacked/boot/vmlinuz-*"))


def archive(files: dict[str, tuple[Path | None, int]]) -> bytes:
    """A cpio archive (newc) of files by name, with their mode; None: a folder."""
    out = bytearray()
    for number, (name, (path, mode)) in enumerate([*files.items(), ("TRAILER!!!", (None, 0))]):
        content = path.read_bytes() if path else b""
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + "".join(f"{f:08x}" for f in fields).encode() + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)


def boot(
    kernel: Path, folder: Path, program: Path, data: Path, *flags: object, memory: int = 96, limit: int = 0
) -> str:
    """What the guest prints while ``program`` trains on ``data``, with ``limit`` bytes of addresses (0: any number)."""
    target = TARGETS["rpi"]
    argv = build.command(
        build.find_compiler(target), target, str(HERE / "arm_init.c"), str(folder / "init"), (f"-I{RUNTIME}",)
    )
    build.run_compiler(argv, folder)
    disk = folder / "disk.cpio"
    disk.write_bytes(
        archive(
            {
                "dev": (None, 0o40755),
                "init": (folder / "init", 0o100755),
                "net": (program, 0o100755),
                "data.bnnd": (data, 0o100644),
            }
        )
    )
    line = f"limit={limit} console=ttyAMA0 quiet panic=-1 -- train --train /data.bnnd --out /run --quiet"
    machine = f"-M virt -cpu cortex-a53 -smp 4 -m {memory} -nic none -nographic -no-reboot".split()
    started = ["-kernel", str(kernel), "-initrd", str(disk), "-append", " ".join([line, *map(str, flags)])]
    done = subprocess.run(
        ["qemu-system-aarch64", *machine, *started],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout


def measure(
    kernel: Path, net: bnnc.Network, data: Path, batch: int, steps: int = 3, memory: int = 96, less: int = 0
) -> dict[str, Any]:
    """Bytes planned, resident at the peak in the kernel's books, and in the program's own.  The program may map what
    was planned, and GAP, ``less`` some bytes."""
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        p = net.compile("rpi", folder / "net", batch=batch)
        text = boot(
            kernel, folder, folder / "net", data, "--steps", steps, memory=memory, limit=p.plan.total_bytes + GAP - less
        )
    peak, own = re.search(r"peak (\d+) KiB, status 0", text), re.search(r"measured peak (\d+) bytes", text)
    if not peak or not own:
        raise RuntimeError(f"the guest did not train:\n{text[-1500:]}")
    return {
        "network": net.model.name,
        "rule": net.model.rule.name,
        "batch": batch,
        "arena": p.plan.arena_bytes,
        "planned": p.plan.total_bytes,
        "peak": 1024 * int(peak[1]),
        "own": int(own[1]),
    }


def mnist(folder: Path) -> Path:
    """Some of MNIST, so that a RAM disk holds it."""
    whole = read_bnnd(EXAMPLES / "mnist_mlp" / "mnist_1bit.bnnd")
    at = [*range(5000), *range(whole.n - 1000, whole.n)]
    write_bnnd(folder / "mnist.bnnd", Dataset(whole.x[at], whole.y[at], whole.encoder, whole.threshold, 10, 1000))
    return folder / "mnist.bnnd"


def images(folder: Path) -> Path:
    """Noise in the shape of CIFAR-10."""
    rng = np.random.default_rng(0)
    write_bnnd(
        folder / "images.bnnd",
        Dataset(
            rng.integers(0, 256, (240, 32, 32, 3), dtype=np.uint8),
            np.arange(240, dtype=np.uint8) % 10,
            classes=10,
            n_test=100,
        ),
    )
    return folder / "images.bnnd"


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--images", action="store_true", help="cnv_cifar10 at batch 40 and 100 too: minutes")
    asked, kernel, rows = cli.parse_args(), fetch_kernel(), []
    with tempfile.TemporaryDirectory() as tmp:
        net, data = bnnc.load(EXAMPLES / "mnist_mlp" / "mnist_mlp.bnn"), mnist(Path(tmp))
        for rule in ("edge", "standard"):
            for batch in BATCHES:
                rows.append(measure(kernel, net.with_(rule=rule), data, batch))
                print(rows[-1], flush=True)
        if asked.images:
            net, data = bnnc.load(EXAMPLES / "cnv_cifar10" / "cnv_cifar10.bnn"), images(Path(tmp))
            for batch in (40, 100):
                rows.append(measure(kernel, net, data, batch, steps=1, memory=192))
                print(rows[-1], flush=True)
    version = subprocess.run(
        ["qemu-system-aarch64", "--version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]
    text = [
        f"# {__doc__.splitlines()[0]}",
        "",
        "| network | rule | batch | arena, MiB | planned, MiB | peak, MiB | planned - peak, KiB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        mib = [f"{r[k] / 2**20:.3f}" for k in ("arena", "planned", "peak")]
        text.append(
            f"| {r['network']} | {r['rule']} | {r['batch']} | {' | '.join(mib)} |"
            f" {(r['planned'] - r['peak']) / 1024:.0f} |"
        )
    text += [
        "",
        (
            "Target rpi, four threads on four Cortex-A53; the peak is what the kernel counts for the process (VmHWM),"
            f" which may map no more than was planned and 128 KiB below its stack (RLIMIT_AS).  {version};"
            f" {kernel.name}; `python benchmarks/arm_rss.py{' --images' if asked.images else ''}`."
        ),
    ]
    (HERE / "results" / "arm_rss.json").write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "results" / "arm_rss.md").write_text("\n".join(text) + "\n")
    if bad := [r for r in rows if not 0 <= r["planned"] - r["peak"] <= WITHIN]:
        raise SystemExit(f"not within {WITHIN // 1024} KiB: {bad}")


if __name__ == "__main__":
    main()
