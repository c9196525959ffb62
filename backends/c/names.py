"""What things are called in C: buffers, operands, and the words that no variable may be."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from bnnc.ir.dtype import Packing
from bnnc.ir.ref import Ref
from bnnc.model import Model
from bnnc.sched.expr import role

from ..render import identifiers, template_texts

KEYWORDS = re.findall(
    r"\w+",
    "auto break case char const continue default do double else enum extern float for goto if inline int long register"
    " restrict return short signed sizeof static struct switch typedef union unsigned void volatile while"
    " linux unix",  # macros of compilers
)

SUFFIX = {None: "", Packing.ROWS: "_t", Packing.COLUMNS_ACROSS: "_w"}  # of a value whose bits lie in another way too


@cache
def reserved() -> frozenset[str]:
    """What a variable may not be called: what the language, the runtime and the skeletons call theirs."""
    called = (re.findall(r"\b(v\w+)\(", text) for text in template_texts("c/runtime", ".h"))
    return frozenset((*KEYWORDS, "n", *identifiers("c/kernels", r"/\*.*?\*/"), *(x for xs in called for x in xs)))


def ident(ref: Ref) -> str:
    """As a C identifier: ``eval:dense1.wb@0`` is ``eval_dense1_wb_t``.  Two may have one (``bodies.identifiers``)."""
    made = f"_{ref.copy}" if ref.copy > 1 else ""
    return f"{ref.side.prefix}{ref.value.replace('.', '_')}{SUFFIX[ref.packing]}{made}"


def operand(ref: Ref) -> str:
    """What a storage is to its layer: ``eval:dense1.wb@0`` is ``wb_t``."""
    return f"{role(ref)}{SUFFIX[ref.packing]}"


def name_room(model: Model) -> int:
    """Bytes of a row of the table of classes' names: of the longest one, and a 0; 0 where there is no table."""
    return max((len(name.encode()) + 1 for name in model.class_names), default=0)


def string(text: str) -> str:
    """A string literal of its UTF-8, in ASCII, without trigraphs."""
    return '"' + "".join(f"\\{b:03o}" if b > 126 or chr(b) in '"\\?' else chr(b) for b in text.encode()) + '"'


def literal(x: float) -> str:
    """The shortest f32 literal that reads back as the same f32."""
    if np.isinf(x):
        return "__builtin_inff()" if x > 0 else "-__builtin_inff()"
    text = repr(float(str(np.float32(x))))
    return (text if any(ch in text for ch in ".en") else text + ".0") + "f"
