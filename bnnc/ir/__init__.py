"""The IR: values, ops, Programs and their interpreter."""

from . import sequence  # noqa: F401  (its ops)
