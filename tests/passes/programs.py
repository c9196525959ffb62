"""Small Programs written by hand, one pass at a time over them."""

from __future__ import annotations

import textwrap

from bnnc.driver import Options, check_text
from bnnc.ir.program import Module, Program
from bnnc.ir.text import parse_program
from bnnc.ir.verify import verify_program
from bnnc.sched.fuse import fuse
from bnnc.sched.kernel import Schedule, Scheduled

# the Model of Programs that are written by hand: no pass over them asks more of it than `recompute = off`
HAND = check_text(Options("network hand { input u8[1]; dense 2; batchnorm; loss; }"))
EMPTY = parse_program("program evaluate keep=None\n")


def program(text: str) -> Program:
    """A verified Program; ``W`` lines declare the shapes most tests use."""
    p = parse_program("program train keep=None\n" + textwrap.dedent(text))
    verify_program(p)
    return p


def module(text: str) -> Module:
    return Module(HAND, program(text), EMPTY)


def fused(text: str, on: bool = True) -> Scheduled:
    return fuse(module(text), on)


def shown(s: Schedule) -> list[str]:
    """Kernels as a dump says them, one string each: kind, and what it computes and stores."""
    return [f"{k.anchor.title.split()[0]}: {'; '.join(k.equations())}" for k in s.kernels]
