"""bnnc: a compiler from a declarative text to programs that train binary neural networks in exactly the memory they predict."""

__version__ = "0.1.0"
