"""BNNClassifier: a spec that fits the data, compiled and trained behind scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import api

MOST_CLASSES = 256  # a label is a byte


class BNNClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A multi-layer perceptron with binary weights and activations.

    ``fit`` writes a spec for the data, compiles it to a C program (Linux, a C compiler; a spec that was compiled before
    comes from the cache) and trains with it; ``program_`` is that :class:`bnnc.Program`, ``spec_`` its text.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int
        Units of each hidden layer: dense, batch norm, sign.
    encoder : str
        How the input's numbers become bits, as the spec writes it.  The thresholds are fitted to the training samples.
    rule, optimizer, schedule : str
        As the spec writes them (``bnnc describe``), ``"edge"`` or ``"adam(lr = 0.01)"`` say.
    batch_size : int
        Samples a step, or as many as there are.
    max_iter : int
        Epochs.
    random_state : int, RandomState or None
        What the first weights and the order of the samples follow from: the same bits on every machine.
    network : str or None
        The layers of a network of one's own, between the input and the last layer of as many units as there are
        classes (``"dense 64; batchnorm; sign;"``); ``hidden_layer_sizes`` says nothing then.

    Attributes
    ----------
    classes_ : array of the labels, sorted
    n_features_in_, n_iter_ : int
    history_ : bnnc.History
    program_ : bnnc.Program
    spec_ : str
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (128,),
        encoder: str = "thermometer(8)",
        rule: str = "standard",
        optimizer: str = "adam(lr = 0.01)",
        schedule: str = "cosine",
        batch_size: int = 32,
        max_iter: int = 50,
        random_state: Any = None,
        network: str | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.encoder = encoder
        self.rule = rule
        self.optimizer = optimizer
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.random_state = random_state
        self.network = network

    def fit(self, X: Any, y: Any) -> BNNClassifier:
        """Train on X, numbers [n, features], and labels y [n] of at most 256 classes.

        Raises
        ------
        ValueError
            Data that scikit-learn refuses, one class, or more than 256.
        BnncError
            Parameters that a spec cannot have; no C compiler.
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if not 2 <= len(self.classes_) <= MOST_CLASSES:
            told = "only one class" if len(self.classes_) == 1 else f"{len(self.classes_)} classes"
            raise ValueError(f"the labels are of {told}; a BNNClassifier tells 2 to {MOST_CLASSES} apart")
        self.spec_ = self._spec(*X.shape)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.program_ = api.parse(self.spec_).compile(cache=True, scores=True)
        self.history_ = self.program_.fit(X, labels, epochs=self.max_iter, seed=seed)
        self.n_iter_ = len(self.history_.epochs)
        return self

    def _spec(self, n: int, features: int) -> str:
        hidden = "".join(f"  dense {units}; batchnorm; sign;\n" for units in self.hidden_layer_sizes)
        return (
            f"network classifier {{\n  input f32[{features}] {self.encoder};\n{self.network or hidden}"
            f"  dense {len(self.classes_)}; batchnorm; loss;\n}}\nrule {self.rule};\ntrain {{\n"
            f"  optimizer = {self.optimizer};\n  schedule = {self.schedule};\n"
            f"  batch = {min(self.batch_size, n)};\n  epochs = {self.max_iter};\n}}\n"
        )

    def predict(self, X: Any) -> np.ndarray:
        """The label of each sample, [n]."""
        X = self._checked(X)
        return np.asarray(self.classes_[self.program_.predict(X)])

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, f64 [n, classes]."""
        X = self._checked(X)
        return self.program_.predict_proba(X)

    def decision_function(self, X: Any) -> np.ndarray:
        """The logit of each class, f32 [n, classes]; of two classes the second's less the first's, [n]."""
        X = self._checked(X)
        z = self.program_.scores(X)
        return z[:, 1] - z[:, 0] if len(self.classes_) == 2 else z

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, reset=False, dtype=np.float32))
