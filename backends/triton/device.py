"""Where kernels run: a GPU by way of torch, or Triton's interpreter on NumPy memory (``TRITON_INTERPRET=1``: slow, for
tests).

Both give the same four operations on one block of device memory: write, read, step, wait.  On the GPU everything is
queued on one stream; a step is one cooperative launch, or a CUDA graph of one launch a kernel.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bnnc.diag import error, render

from .fit import fitting

WARPS = 8  # of a persistent step, as it is compiled ahead of time
OLDEST = (8, 0)


class Interpreted:
    """NumPy memory; programs run one after another."""

    name, launches = "interpreter", "one launch a kernel"

    def __init__(self, module: Mapping[str, Any]) -> None:
        self.module = module
        self.memory = np.zeros(module["NET"]["device_bytes"], np.uint8)
        self.nbytes, self.extra = self.memory.nbytes, 0
        self.persistent = module["PERSISTENT"]

    def write(self, at: int, raw: np.ndarray) -> None:
        """Copy bytes into the memory, from ``at`` on."""
        self.memory[at : at + raw.size] = raw

    def read(self, at: int, n: int) -> np.ndarray:
        """A copy of ``n`` bytes from ``at`` on."""
        return self.memory[at : at + n].copy()

    def step(self, side: str) -> None:
        """Run a step (``side``: train or eval) on what is in the memory."""
        with np.errstate(all="ignore"):
            for (name, tiles, *_), strip in in_order(self.module[side.upper()]):
                self.module[name][(tiles,)](Pointer(self.memory), *strip)

    def keep(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """Samples for :meth:`steps`."""
        self.samples, self.extra = (rows.reshape(-1), labels), rows.nbytes + labels.nbytes

    def steps(self, order: np.ndarray, scalars: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Training steps in one launch: i32[steps, batch], u32[steps, scalars] -> words of losses and predictions
        [steps, batch], and of what was counted."""
        loss, pred = (np.zeros(order.shape, np.int32) for _ in range(2))
        counts = np.zeros((len(order), counted(self.module)), np.int32)
        arrays = (
            self.memory,
            *self.samples,
            *(x.reshape(-1) for x in (order, scalars.view(np.int32), loss, pred, counts)),
        )
        with np.errstate(all="ignore"):
            self.module["train_steps"][(1,)](*map(Pointer, arrays), len(order))
        return loss, pred, counts

    def wait(self) -> None:
        """Nothing is queued."""


class Pointer:
    """A NumPy array as a kernel argument: what Triton's interpreter asks of a tensor."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.dtype = array, array.dtype.name

    def data_ptr(self) -> int:
        return int(self.array.ctypes.data)

    def untyped_storage(self) -> Pointer:
        return self

    def cpu(self) -> Pointer:
        return self

    def new_empty(self, *_: Any, **__: Any) -> Pointer:
        return Pointer(self.array)

    def set_(self, *_: Any) -> None:
        """The memory is shared."""

    def storage_offset(self) -> int:
        return 0

    def size(self) -> tuple[int, ...]:
        return self.array.shape

    def stride(self) -> tuple[int, ...]:
        return self.array.strides

    def copy_(self, _: Any) -> None:
        """The memory is shared."""


class Fitted:
    """With which options each kernel of a module fits the GPU: found when it is first launched, by way of Triton's own
    cache, and kept.  ``most``: bytes of shared memory that a program may have there.
    """

    def __init__(self, module: Mapping[str, Any], arch: int, most: int) -> None:
        self.module, self.arch, self.most = module, arch, most
        self.found: dict[str, dict[str, Any]] = {}

    def options(self, name: str, tiles: int, warps: int, args: Sequence[Any]) -> dict[str, Any]:
        """For a launch of a function on ``args``; ``tiles``: 0 where all programs run at once.  Raises BnncError
        B0712.
        """
        import triton  # noqa: PLC0415

        if name not in self.found:
            launch = {} if tiles else {"launch_cooperative_grid": True}

            def make(options: dict[str, Any]) -> Any:
                return self.module[name].warmup(*args, grid=(1,), **options, **launch)

            image = fitting(triton, name, warps, tiles, self.arch, self.most, make)
            self.found[name] = image.options | launch
        return self.found[name]


def _most_shared() -> int:
    """Bytes of shared memory that a program may have on the current device."""
    from triton.runtime.driver import driver  # noqa: PLC0415

    device = driver.active.get_current_device()
    return int(driver.active.utils.get_device_properties(device)["max_shared_mem"])


class Gpu:
    """One allocation on the current CUDA device; ``persistent``: None as the plan says, else one launch a step or a
    graph.
    """

    def __init__(self, module: Mapping[str, Any], persistent: bool | None = None) -> None:
        try:
            import torch  # noqa: PLC0415
        except ImportError as e:
            raise error(
                "B0714", "this program needs torch, which is not installed", exit_code=7, help="pip install 'bnnc[gpu]'"
            ) from e
        if not torch.cuda.is_available():
            raise error(
                "B0714",
                "there is no CUDA device, or torch was built without CUDA",
                exit_code=7,
                help="run it on a machine with an NVIDIA GPU, or compile for `--target host`",
            )
        about = torch.cuda.get_device_properties(0)
        if (about.major, about.minor) < OLDEST:
            raise error(
                "B0714", f"{about.name} has compute capability {about.major}.{about.minor}; 8.0 is needed", exit_code=7
            )
        self.torch, self.module, self.name = torch, module, about.name
        self.fitted = Fitted(module, 10 * about.major + about.minor, _most_shared())
        self.nbytes, self.extra = module["NET"]["device_bytes"], 0
        self.memory = torch.zeros(self.nbytes, dtype=torch.uint8, device="cuda")
        self.programs = about.multi_processor_count
        self.persistent = module["PERSISTENT"] if persistent is None else persistent
        self.graphs: dict[str, Callable[[], Any]] = {}
        self.launches = "one launch a step" if self.persistent else "a graph of one launch a kernel"

    def write(self, at: int, raw: np.ndarray) -> None:
        """As :meth:`Interpreted.write`."""
        self.memory[at : at + raw.size].copy_(self.torch.from_numpy(raw if raw.flags.writeable else raw.copy()))

    def read(self, at: int, n: int) -> np.ndarray:
        """As :meth:`Interpreted.read`, after what is queued."""
        return np.asarray(self.memory[at : at + n].cpu().numpy())

    def kernels(self, side: str) -> None:
        """One launch a kernel."""
        for (name, tiles, warps, *_), strip in in_order(self.module[side.upper()]):
            self.launch(name, tiles, warps, *strip)

    def launch(self, name: str, tiles: int, warps: int, *strip: int) -> None:
        """One kernel, of one strip in a loop."""
        args = (self.memory, *strip)
        self.module[name][(tiles,)](*args, **self.fitted.options(name, tiles, warps, args))

    def one_launch(self, side: str) -> None:
        """A whole step as one cooperative launch."""
        self.cooperative(f"{side}_step", self.memory)

    def cooperative(self, name: str, *args: Any) -> None:
        """A launch of as many programs as the device runs at once."""
        self.module[name][(self.programs,)](*args, **self.fitted.options(name, 0, WARPS, args))

    def keep(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """As :meth:`Interpreted.keep`: all samples lie in device memory, beside the plan's block."""
        self.samples = tuple(self.torch.from_numpy(x.reshape(-1).copy()).cuda() for x in (rows, labels))
        self.extra = rows.nbytes + labels.nbytes

    def steps(self, order: np.ndarray, scalars: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As :meth:`Interpreted.steps`."""
        given = [self.torch.from_numpy(x.reshape(-1).copy()).cuda() for x in (order, scalars.view(np.int32))]
        loss, pred, counts = (
            self.torch.zeros((len(order), n), dtype=self.torch.int32, device="cuda")
            for n in (order.shape[1], order.shape[1], counted(self.module))
        )
        self.cooperative("train_steps", self.memory, *self.samples, *given, loss, pred, counts, len(order))
        return loss.cpu().numpy(), pred.cpu().numpy(), counts.cpu().numpy()

    def step(self, side: str) -> None:
        """As :meth:`Interpreted.step`, without waiting for its end."""
        if side not in self.graphs:
            self.graphs[side] = self.prepare(side)
        self.graphs[side]()

    def prepare(self, side: str) -> Callable[[], Any]:
        """How a step is launched; compiles what it needs, and leaves the memory as it is."""
        if self.persistent:
            return lambda: self.one_launch(side)
        kept = self.memory.cpu()  # on the host: the plan has no room for a copy
        self.kernels(side)
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            self.kernels(side)
        self.memory.copy_(kept)
        return graph.replay  # type: ignore[no-any-return]

    def wait(self) -> None:
        """Until what was queued is done."""
        self.torch.cuda.synchronize()


def need_triton() -> None:
    """Ends the program where Triton is missing."""
    if importlib.util.find_spec("triton") is None:
        e = error(
            "B0714", "this program needs Triton, which is not installed", exit_code=7, help="pip install 'bnnc[gpu]'"
        )
        print(render(e.diagnostics, e.sources, False), file=sys.stderr)
        sys.exit(e.exit_code)


def in_order(kernels: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], tuple[int, ...]]]:
    """Launches of a step: each kernel, and in a loop over strips (its fourth field), or chunks of the batch (its fifth
    one), the number of both, chunks first.
    """
    for loop, some in itertools.groupby(kernels, lambda k: k[3] if len(k) > 3 else None):
        group = list(some)
        for strip in range(loop[1] if loop else 1):
            for chunks, few in itertools.groupby(group, lambda k: k[4] if len(k) > 4 else None):
                n, turn = chunks[1] if chunks else 1, list(few)
                yield from ((k, (strip * n + i,) if loop or chunks else ()) for i in range(n) for k in turn)


def counted(module: Mapping[str, Any]) -> int:
    """How many numbers a step counts."""
    return sum(n for _, _, _, n, _ in module["NET"]["counters"])


def open_device(module: Mapping[str, Any]) -> Interpreted | Gpu:
    """As Triton's own switch says.  Raises BnncError B0714, exit code 7: no GPU, or too old a one."""
    import triton  # noqa: PLC0415

    device: Interpreted | Gpu = Interpreted(module) if triton.knobs.runtime.interpret else Gpu(module)
    for at, raw in module["NET"]["constants"]:
        device.write(at, np.frombuffer(bytes.fromhex(raw), np.uint8))
    return device
