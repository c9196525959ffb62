"""Callbacks of ``fit``: what looks at each epoch, and may end training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .program import Epoch


@dataclass
class EarlyStop:
    """Ends training when ``watch``, a field of :class:`Epoch`, has not got better for ``patience`` epochs: a loss
    smaller, all else larger, by more than ``least``.

    The weights are then those of the last epoch, or where the spec holds samples out of its best one on them
    (``stop = early`` in the spec is the same without Python, and never looks at test samples).  One object serves one
    ``fit``; ``best`` and ``best_epoch`` say what it found.
    """

    patience: int = 5
    watch: str = "test_acc"
    least: float = 0.0
    best: float | None = None
    best_epoch: int = 0

    def __call__(self, epoch: Epoch) -> bool:
        """True: stop.  Raises ValueError where ``watch`` is not measured."""
        found = getattr(epoch, self.watch, None)
        if found is None:
            raise ValueError(f"`{self.watch}` is not measured: give x_test and y_test, or watch another field of Epoch")
        gain = 0.0 if self.best is None else (self.best - found if self.watch == "loss" else found - self.best)
        if self.best is None or gain > self.least:
            self.best, self.best_epoch = found, epoch.epoch
        return epoch.epoch - self.best_epoch >= self.patience


Callback = Callable[["Epoch"], bool | None]


def each(callbacks: Callback | Iterable[Callback]) -> Callback:
    """One callback of several: all are asked, and one that says stop is enough."""
    known = [callbacks] if callable(callbacks) else list(callbacks)
    return lambda epoch: any([isinstance(s, bool | np.bool_) and bool(s) for s in [c(epoch) for c in known]])
