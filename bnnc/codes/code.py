"""What is told of an error code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """``failing`` and ``fixed`` are whole specs; both are empty where a spec alone cannot show the mistake."""

    code: str
    title: str
    text: str
    failing: str = ""
    fixed: str = ""
    warning: bool = False
