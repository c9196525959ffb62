"""Built-in learning rules: one file a rule, or a family."""

from . import bep, dependence, edge, feedback, local, loop, standard, target  # noqa: F401
