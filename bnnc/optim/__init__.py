"""Built-in optimisers: update expressions and the state they need."""

from . import adam, bop, schedules, sgd  # noqa: F401
