"""Kernels as C functions: picks the skeleton for each anchor and gives it loads, stores and extents as text.

In: one packed kernel and its storages.  Out: the text of a function ``(const uint32_t *at, int tid, int nt)``, where
``at`` holds the arena offsets of its operands, and the names of their places: kernels that differ by places alone have
one text.
Skeletons own the loops (``templates/c/kernels``); what is computed on load and on store comes from ``expr.py``.  One
function for each anchor makes the context of its skeleton; products choose among several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bnnc.sched.anchor import Anchor, Contract, Convolve, Fold, Group, Map, Recur, Reduce, Window
from bnnc.sched.kernel import Kernel

from .base import POINTER, KernelText, Memory, Skeleton
from .contract import contract
from .convolve import convolve
from .maps import elements, group
from .recur import recur
from .reduce import fold, reduce
from .window import window

__all__ = ["POINTER", "SKELETONS", "KernelText", "Memory", "kernel_text"]

SKELETONS: dict[type[Anchor], Callable[[Skeleton, Any], KernelText]] = {
    Map: elements,
    Reduce: reduce,
    Fold: fold,
    Window: window,
    Group: group,
    Contract: contract,
    Convolve: convolve,
    Recur: recur,
}


def kernel_text(k: Kernel, mem: Memory) -> tuple[KernelText, Skeleton]:
    """The skeleton with its context; and the kernel's pointers: declarations, ``places`` in the arena, and which of
    them a storage has.
    """
    s = Skeleton(k, mem)
    return SKELETONS[type(k.anchor)](s, k.anchor), s
