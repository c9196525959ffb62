"""BNNClassifier among scikit-learn's own: a pipeline, folds, a grid, and what scikit-learn asks of an estimator."""

from __future__ import annotations

import pickle
from dataclasses import replace

import compile_cache
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from bnnc.backends.c.targets import TARGETS
from bnnc.sklearn import BNNClassifier

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]


def small(**more: object) -> BNNClassifier:
    return BNNClassifier(hidden_layer_sizes=(32,), max_iter=20, random_state=0, **more)


def test_folds_of_a_pipeline() -> None:
    """Well above the third that chance gets, on all folds, with labels that are texts."""
    found = cross_val_score(make_pipeline(StandardScaler(), small()), X, NAMES, cv=2)
    assert len(found) == 2 and found.min() > 0.85


@pytest.mark.slow
def test_a_grid() -> None:
    search = GridSearchCV(small(), {"batch_size": [10, 25], "rule": ["standard", "edge"]}, cv=2).fit(X, NAMES)
    best = search.best_estimator_
    assert search.best_score_ > 0.85 and best.score(X, NAMES) > 0.9
    p, z = best.predict_proba(X), best.decision_function(X)
    assert p.shape == z.shape == (150, 3) and np.allclose(p.sum(1), 1)
    assert (best.classes_[z.argmax(1)] == best.predict(X)).all() and (p.argmax(1) == z.argmax(1)).all()
    again = pickle.loads(pickle.dumps(best))
    assert (again.predict_proba(X) == p).all()


@pytest.mark.slow
def test_a_network_of_ones_own() -> None:
    own = BNNClassifier(network="dense 24; batchnorm; sign; dense 16; batchnorm; sign;", random_state=1).fit(X, Y)
    assert "dense 24" in own.spec_ and own.score(X, Y) > 0.9 and own.n_iter_ == 50
    with pytest.raises(ValueError, match="only one class"):
        own.fit(X, np.zeros(150))


@pytest.mark.slow
def test_what_scikit_learn_asks_of_an_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it: nothing is expected to fail.  It compiles some thirty programs: for one instruction set, and fast."""
    host = TARGETS["host"]
    monkeypatch.setitem(TARGETS, "host", replace(host, levels=host.levels[:1]))
    monkeypatch.setenv(compile_cache.OPTIMIZE, "-Og")
    done = check_estimator(BNNClassifier(hidden_layer_sizes=(32,), max_iter=20), on_fail=None)
    assert {r["status"] for r in done} <= {"passed", "skipped"}, [r for r in done if r["status"] == "failed"]
    assert {r["check_name"] for r in done if r["status"] == "skipped"} <= {"check_array_api_input"}
