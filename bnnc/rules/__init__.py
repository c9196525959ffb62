"""Built-in learning rules: one file a rule, or a family."""

from . import bep, edge, feedback, local, loop, standard, target  # noqa: F401
