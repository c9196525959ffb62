"""The IR: values, ops, Programs and their interpreter."""

from . import fixed, image, sequence  # noqa: F401  (their ops)
