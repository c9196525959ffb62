"""bnnc: from a declarative text to a program that trains a binary neural network in the memory that was predicted."""

from .api import EarlyStop, Epoch, Evaluation, History, Network, Plan, Predictor, Program, build, load, parse
from .diag import BnncError, Diagnostic
from .plugins import plugin
from .study.experiment import compare, sweep
from .study.results import Interval, Result, Row, Run
from .version import __version__

__all__ = [
    "BnncError",
    "Diagnostic",
    "EarlyStop",
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
    "build",
    "compare",
    "load",
    "parse",
    "plugin",
    "sweep",
]
