"""Published memory accountings beside what bnnc allocates (``bnnc plan --literature``); a rule's record names its own.

The formulas are ``papers/memory.py``'s.  An accounting raises ValueError for a network that it does not cover.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..diag import error
from ..model import Model
from . import memory

BYTES = {"MiB": memory.MIB, "GiB": memory.GIB, "MB": 10**6}


@dataclass(frozen=True)
class Published:
    """Figures of a published accounting: (key, what it is, in ``unit``), and why bnnc's arena, ``allocated``, differs.

    ``printed``: by key, the figure that stands in the paper, and why its accounting gives another one ("" where it does
    not).
    """

    source: str
    unit: str
    figures: tuple[tuple[str, str, float], ...]
    differs: tuple[str, ...] = ()
    allocated: float = 0.0
    printed: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __getitem__(self, key: str) -> float:
        return {"allocated": self.allocated, **{k: v for k, _, v in self.figures}}[key]

    def beside(self, arena_bytes: int) -> Published:
        """The same with what bnnc allocates beside it."""
        return replace(self, allocated=arena_bytes / BYTES[self.unit])


def low_memory(model: Model, samples: int | None = None) -> Published:
    """arXiv 2102.04270: each step of Table 5 by the rows of Table 2, or of Table 6 for a network with real layers or
    branches.
    ``samples`` plays no part.
    """
    if any(y.body or dict(y.args.args).get("weights", "binary") != "binary" for y in model.layers):
        return _mixed(model)
    chain = memory.chain_from_model(model)
    sizes = sum(s.weights for s in chain.stages), sum(s.channels for s in chain.stages)
    names = {
        "standard": "standard (Algorithm 1, 32 bit)",
        "fp16": "16 bit",
        "bool_dw": "and weight gradients of 1 bit",
        "proposed": "proposed (Algorithm 2)",
    }
    return Published(
        "arXiv 2102.04270",
        "MiB",
        tuple((v, text, memory.account(chain, model.batch, model.optimizer.name, v).mib) for v, text in names.items()),
        (PAPER_LEAVES_OUT,),
        printed=memory.printed(*sizes, model.batch, model.optimizer.name),
    )


PAPER_LEAVES_OUT = (
    "the paper counts no mask of the sign's derivative, no running statistics, no packed copy of the weights, no"
    " labels, and an image of the activations' width; the arena has all of them"
)


def _mixed(model: Model) -> Published:
    if model.optimizer.name != "adam":
        raise ValueError("Table 6 is for Adam")
    units, pools = memory.units_from_model(model)
    unit = "GiB" if memory.account_mixed(units, pools, model.batch).bytes >= memory.GIB else "MiB"
    names = {
        "standard": "none of its changes (32 bit)",
        "fp16": "16 bit alone",
        "bool_dw": "weight gradients of 1 bit alone",
        "bits": "its batch norm alone",
        "proposed": "all changes",
    }
    return Published(
        "arXiv 2102.04270",
        unit,
        tuple(
            (v, text, memory.account_mixed(units, pools, model.batch, v).bytes / BYTES[unit])
            for v, text in names.items()
        ),
        (
            PAPER_LEAVES_OUT,
            (
                "the paper keeps what real layers read and make; bnnc makes the stem's output again small: bits of it"
                " cross"
            ),
            "the paper's proposed figure leaves out where the max-pool's maxima were, 4 bits a window here",
        ),
        printed=memory.printed(sum(u.weights for u in units), sum(u.channels for u in units), model.batch, "adam"),
    )


def local_errors(model: Model, samples: int | None = None) -> Published:
    """arXiv 2412.00119: data, 8-bit weights, classifier, activations.  Raises BnncError B0604 without ``samples``."""
    chain = memory.chain_from_model(model)
    if samples is None:
        raise error(
            "B0604",
            "this accounting counts the training data, and how many samples there are is not known",
            exit_code=2,
            help="give `--samples N`, or the folder of the spec's data files with `--data DIR`",
        )
    account = memory.local_errors(chain, model.batch, samples)
    texts = {
        "data": f"all {samples} samples at 1 bit a value",
        "weights": "all layers, 8 bits a weight",
        "classifier": "the largest but the last, 1 bit a weight",
        "activations": "every neuron, 8 bits",
    }
    return Published(
        "arXiv 2412.00119",
        "MB",
        (
            *((r.name, f"{r.name}: {texts[r.name]}", r.bytes / 10**6) for r in account.rows),
            ("total", "total", account.bytes / 10**6),
        ),
        (
            "data: a batch at a time is read from disk, the rest is never resident",
            (
                f"weights: {model.rule['bits']} bits each, stored in {8 if model.rule['bits'] <= 8 else 16}; the last"
                " layer is a fixed classifier among the program's constants"
            ),
            "activations: 1 bit each; sums of a layer have 16 or 32 bits, and room only while they are needed",
        ),
    )
