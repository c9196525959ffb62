"""Built-in learning rules: one file a rule."""

from . import bep, edge, local, standard  # noqa: F401
