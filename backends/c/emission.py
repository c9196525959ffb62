"""What is emitted, and what all parts of its text ask for, made once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bnnc.ir.dtype import NUMPY, ONE_BIT
from bnnc.ir.interp import constant_array
from bnnc.ir.ref import Ref
from bnnc.model import Model
from bnnc.plan.codec import encode
from bnnc.plan.place import Placed

from .bodies import Call, calls, identifiers
from .names import literal
from .words import CTYPE


def elements(dtype: str, raw: bytes) -> list[str]:
    """What a storage's bytes are in C: words of bits, halves by their bits, other numbers."""
    if dtype == "f32":
        return [literal(float(x)) for x in np.frombuffer(raw, "<f4")]
    if dtype in ONE_BIT:
        return [f"0x{w:08x}u" for w in np.frombuffer(raw, "<u4")]
    return [str(x) for x in np.frombuffer(raw, "<u2" if dtype == "f16" else np.dtype(NUMPY[dtype]).newbyteorder("<"))]


@dataclass(frozen=True)
class Emission:
    """A planned network whose text is being written."""

    model: Model
    placed: Placed

    @cached_property
    def idents(self) -> Mapping[Ref, str]:
        """The identifier of each buffer and constant."""
        return identifiers(self.placed)

    @cached_property
    def calls(self) -> list[Call]:
        """The kernels of both steps."""
        return calls(self.placed)

    @cached_property
    def constants(self) -> dict[Ref, dict[str, Any]]:
        """Embedded matrices: bits as words, in each packing that is read, numbers as they are."""
        out: dict[Ref, dict[str, Any]] = {}
        for ps in self.placed.packed:
            for s in ps.constants:
                value = ps.program.value[s.ref.value]
                array = constant_array(value, next(c for c in ps.program.constants if c.name == value.name))
                words = elements(s.dtype, encode(s, array))
                out[s.ref] = {
                    "ident": self.idents[s.ref],
                    "type": CTYPE[s.dtype],
                    "what": str(s),
                    "lines": [", ".join(words[i : i + 10]) for i in range(0, len(words), 10)],
                    "n": len(words),
                }
        return out

    @cached_property
    def hash(self) -> str:
        """The Model's, and with embedded constants theirs too: weights that were trained with others mean nothing."""
        if not self.constants:
            return self.model.hash
        lines = [k["lines"] for k in self.constants.values()]
        return hashlib.sha256(repr((self.model.hash, lines)).encode()).hexdigest()[:16]
