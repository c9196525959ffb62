"""The built-in names.  Importing this module registers them all; nothing below it knows which there are."""

from __future__ import annotations

from . import (
    layers,  # noqa: F401  (each module registers its own)
    optim,  # noqa: F401
    plugins,
    rules,  # noqa: F401
)
from . import registry as known
from .inputs import augment, records  # noqa: F401


def tables() -> known.Tables:
    """What ``check`` looks names up in, unless a test brings its own: built-in names, and those of plug-ins."""
    plugins.installed()
    return known.Tables(
        known.layers,
        known.rules,
        known.optimizers,
        known.schedules,
        known.stops,
        known.surrogates,
        known.augments,
        known.encoders,
        known.sources,
        known.classifiers,
    )
