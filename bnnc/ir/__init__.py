"""The IR: values, ops, Programs and their interpreter."""

from . import image, sequence  # noqa: F401  (their ops)
