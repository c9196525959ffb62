"""A binary neural network as a scikit-learn classifier.  Needs scikit-learn: ``pip install "bnnc[sklearn]"``."""

from .classifier import BNNClassifier

__all__ = ["BNNClassifier"]
