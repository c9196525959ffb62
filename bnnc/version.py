"""The version, alone in its file: whoever prints it need not import the rest."""

__version__ = "0.1.0"
