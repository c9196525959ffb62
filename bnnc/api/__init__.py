"""What ``import bnnc`` gives: networks, their plans, and the programs that train them."""

from .network import Network, PathLike, load, parse, read_text
from .plan import Plan
from .predictor import Predictor
from .program import Epoch, Evaluation, History, Program

__all__ = [
    "Epoch",
    "Evaluation",
    "History",
    "Network",
    "PathLike",
    "Plan",
    "Predictor",
    "Program",
    "load",
    "parse",
    "read_text",
]
