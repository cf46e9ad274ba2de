"""The workloads of `explain.py` in scikit-learn."""

import sklearn
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import permutation_importance

from . import work

VERSION = sklearn.__version__


class Network(RegressorMixin, BaseEstimator):
    """The MLP in numpy, in the form that scikit-learn asks for."""

    def fit(self, x, y):
        self.run_ = work.network(work.dense(work.SMALL))
        return self

    def predict(self, x):
        return self.run_(x)


def prepare(workload: str, tuned: bool):
    x, y = work.rows(4000, 10, 7), work.targets()
    model = Network().fit(x, y)
    return lambda: permutation_importance(model, x, y, scoring="r2", n_repeats=5, random_state=0).importances_mean
