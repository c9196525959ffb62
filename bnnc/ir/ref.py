"""Names of values and of what holds them, as data; ``str`` alone makes text of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from .dtype import Packing


class Side(Enum):
    """Of the two steps that share an arena, by what their names begin with; states are called as on the first."""

    TRAIN = ""
    EVALUATION = "eval:"

    @property
    def prefix(self) -> str:
        """Of its kernels' names, which are identifiers."""
        return self.value.replace(":", "_")


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Ref:
    """What is called ``eval:dense1.wb@0~2``: the ``value`` dense1.wb, its bits in another ``packing`` too, made the
    second time (``copy``), on the evaluation ``side``; ``new``: what replaces the state ``value`` at the end of a step.

    Equal ones are one object, so they compare and hash as fast as objects do.  They sort as their texts.
    """

    value: str
    packing: Packing | None
    copy: int
    side: Side
    new: bool
    _text: str

    _known: ClassVar[dict[tuple[str, Packing | None, int, Side, bool], Ref]] = {}

    def __new__(
        cls, value: str, packing: Packing | None = None, copy: int = 1, side: Side = Side.TRAIN, new: bool = False
    ) -> Ref:
        key = value, packing, copy, side, new
        if found := cls._known.get(key):
            return found
        made = super().__new__(cls)
        for name, x in zip(("value", "packing", "copy", "side", "new"), key, strict=True):
            object.__setattr__(made, name, x)
        bits = "" if packing is None else f"@{packing.value}"
        text = f"{side.value}{value}{'.new' if new else ''}{bits}{'' if copy == 1 else f'~{copy}'}"
        object.__setattr__(made, "_text", text)
        return cls._known.setdefault(key, made)

    def __reduce__(self) -> tuple[type[Ref], tuple[str, Packing | None, int, Side, bool]]:
        return Ref, (self.value, self.packing, self.copy, self.side, self.new)

    @classmethod
    def parse(cls, text: str, states: Collection[str] = ()) -> Ref:
        """What ``str`` wrote of a value of the training step, of which these are the states."""
        text, _, copy = text.partition("~")
        value, _, packing = text.partition("@")
        new = value.endswith(".new") and value.removesuffix(".new") in states
        value = value.removesuffix(".new") if new else value
        return cls(value, Packing(int(packing)) if packing else None, int(copy or 1), new=new)

    def packed(self, packing: Packing) -> Ref:
        """Its bits in another packing."""
        return Ref(self.value, packing, self.copy, self.side, self.new)

    def again(self, copy: int) -> Ref:
        """The same, made another time."""
        return Ref(self.value, self.packing, copy, self.side, self.new)

    def on(self, side: Side) -> Ref:
        """The same of a step."""
        return self if side is self.side else Ref(self.value, self.packing, self.copy, side, self.new)

    @property
    def first(self) -> Ref:
        """The same, made the first time."""
        return self if self.copy == 1 else self.again(1)

    @property
    def layer(self) -> str:
        """What made the value."""
        return self.value.partition(".")[0]

    @property
    def role(self) -> str:
        """What the value is to its layer; of a value without one, all of its name."""
        return self.value.partition(".")[2] or self.value

    def __lt__(self, other: Ref) -> bool:
        return self._text < other._text

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Ref({self._text})"
