"""What ``import bnnc`` gives: networks, their plans, and the programs that train them."""

from . import build
from .callbacks import EarlyStop
from .network import Network, PathLike, load, parse, read_text
from .plan import Plan
from .predictor import Predictor
from .program import Epoch, Evaluation, History, Program

__all__ = [
    "EarlyStop",
    "Epoch",
    "Evaluation",
    "History",
    "Network",
    "PathLike",
    "Plan",
    "Predictor",
    "Program",
    "build",
    "load",
    "parse",
    "read_text",
]
