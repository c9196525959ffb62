"""bnnc: from a declarative text to a program that trains a binary neural network in the memory that was predicted."""

__version__ = "0.1.0"

from .api import Epoch, Evaluation, History, Network, Plan, Program, load, parse  # noqa: E402  (emit reads the version)
from .diag import BnncError, Diagnostic  # noqa: E402
from .experiment import compare, sweep  # noqa: E402
from .results import Interval, Result, Row, Run  # noqa: E402

__all__ = [
    "BnncError",
    "Diagnostic",
    "Epoch",
    "Evaluation",
    "History",
    "Interval",
    "Network",
    "Plan",
    "Program",
    "Result",
    "Row",
    "Run",
    "compare",
    "load",
    "parse",
    "sweep",
]
