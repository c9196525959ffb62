"""Plan: what a program will need, as Python sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import budget, driver, registry
from ..backends import select
from ..backends.triton.predict import Prediction
from ..papers.gates import Gates
from ..papers.published import Published
from ..plan.types import Buffer
from ..rules.base import Rule
from .notebook import table


@dataclass(frozen=True)
class Plan:
    """What a program will need.  All sizes are bytes and known before anything is built."""

    planned: driver.Planned = field(repr=False)
    arena_bytes: int = 0
    total_bytes: int = 0
    choices: tuple[budget.Choice, ...] = field(default=(), repr=False)  # with a limit: every plan that the spec allows

    @classmethod
    def of(cls, planned: driver.Planned, choices: Sequence[budget.Choice] = ()) -> Plan:
        """The Plan of what the passes made."""
        return cls(planned, planned.report.arena, planned.report.total, tuple(choices))

    def _repr_html_(self) -> str:
        """What the total is made of, for notebooks."""
        r = self.planned.report
        parts = {k: getattr(r, k) for k in ("arena", "code", "workspace", "stack", "threads", "system")}
        rows = [(k, f"{n:,}") for k, n in parts.items() if n]
        return table(("memory", "bytes"), [*rows, ("total", f"{r.total:,}")])

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """Every buffer of the arena: name, storage (type and shape), offset, lifetime and the line of the spec."""
        return self.planned.placed.plan.buffers

    @property
    def gates(self) -> Gates | None:
        """Boolean gates of a training step as the papers count them, or None where nobody has for such a network."""
        count = self._rule.gates
        try:
            return count(self.planned.model) if count else None
        except ValueError:
            return None

    def literature(self, samples: int | None = None) -> Published | None:
        """The published accounting of this network, for so many training samples, or None where nobody covers it.

        Raises BnncError B0604 (usage) where the number of samples is needed and not given.
        """
        count = self._rule.published
        try:
            return count(self.planned.model, samples).beside(self.arena_bytes) if count else None
        except ValueError:
            return None

    def predicted(self) -> Prediction:
        """A training step's time on a GPU, kernel by kernel, from its compiled code.

        Raises BnncError: B0716 (usage) for a target on a CPU, B0711 where Triton is missing, B0712.
        """
        p = self.planned
        return select.predict(p.model, p.placed, p.report, p.target)

    @property
    def _rule(self) -> Rule:
        return registry.rule_of(self.planned.model.rule)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data, as ``bnnc plan --json`` prints it."""
        return {
            **self.planned.report.to_json(),
            "compiler": self.planned.report.compiler,
            "threads": self.planned.threads,
        }
