"""``python -m bnnc``."""

from .cli import main

main()
