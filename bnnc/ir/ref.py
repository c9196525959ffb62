"""Names of values and of what holds them: the one place where they are read and written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from .dtype import Packing


@dataclass(frozen=True)
class Ref:
    """What ``eval:dense1.wb@0~2`` names: the ``value`` dense1.wb, its bits in another ``packing`` too, made the second
    time (``copy``), on the evaluation ``side``.
    """

    value: str
    packing: Packing | None = None
    copy: int = 1
    side: str = ""

    @staticmethod
    @lru_cache(1 << 16)
    def parse(text: str) -> Ref:
        """What ``str`` wrote."""
        side, colon, rest = text.rpartition(":")
        rest, _, copy = rest.partition("~")
        value, at, packing = rest.partition("@")
        return Ref(value, Packing(int(packing)) if at else None, int(copy or 1), side + colon)

    @property
    def layer(self) -> str:
        """What made the value."""
        return self.value.partition(".")[0]

    @property
    def role(self) -> str:
        """What the value is to its layer; of a value without one, all of its name."""
        return self.value.partition(".")[2] or self.value

    @property
    def first(self) -> Ref:
        """The same, made the first time."""
        return replace(self, copy=1)

    def __str__(self) -> str:
        packing = "" if self.packing is None else f"@{self.packing.value}"
        return f"{self.side}{self.value}{packing}{'' if self.copy == 1 else f'~{self.copy}'}"
