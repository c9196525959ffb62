"""What ``import bnnc`` gives: networks, their plans, and the programs that train them."""

from .network import Epoch, Evaluation, History, Network, PathLike, Plan, Program, load, parse, read_text

__all__ = [
    "Epoch",
    "Evaluation",
    "History",
    "Network",
    "PathLike",
    "Plan",
    "Program",
    "load",
    "parse",
    "read_text",
]
