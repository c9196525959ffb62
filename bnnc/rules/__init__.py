"""Built-in learning rules: one file a rule."""

from . import edge, standard  # noqa: F401
