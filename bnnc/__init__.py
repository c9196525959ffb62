"""bnnc: from a declarative text to a program that trains a binary neural network in the memory that was predicted."""

from .api import Epoch, Evaluation, History, Network, Plan, Predictor, Program, load, parse
from .diag import BnncError, Diagnostic
from .plugins import plugin
from .study.experiment import compare, sweep
from .study.results import Interval, Result, Row, Run
from .version import __version__

__all__ = [
    "BnncError",
    "Diagnostic",
    "Epoch",
    "Evaluation",
    "History",
    "Interval",
    "Network",
    "Plan",
    "Predictor",
    "Program",
    "Result",
    "Row",
    "Run",
    "__version__",
    "compare",
    "load",
    "parse",
    "plugin",
    "sweep",
]
