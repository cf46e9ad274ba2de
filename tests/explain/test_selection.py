"""Feature selection: Friedman's function, duplicated columns, noise beside its null, real data, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_friedman1

import cenote as cn
from cenote import explain, layers


def network(outputs=1, loss="mse", units=24):
    last = layers.Dense(outputs, "softmax" if outputs > 1 else None)
    model = cn.Sequential([layers.Dense(units, "relu"), last])
    model.compile(cn.optimizers.Adam(0.01), loss)
    return model


@pytest.fixture(scope="module")
def friedman():
    """``10 sin(pi x0 x1) + 20 (x2 - 0.5)^2 + 10 x3 + 5 x4``; columns 5 to 9 are noise."""
    x, y = make_friedman1(n_samples=400, n_features=10, noise=0.5, random_state=0)
    return x.astype(np.float32), ((y - y.mean()) / y.std()).astype(np.float32)


@pytest.fixture(scope="module")
def by_permutation(friedman):
    return explain.select_features(network(), *friedman, null=19, epochs=40)


@pytest.mark.parametrize("method", ["permutation", "shapley", "elimination", "gates"])
def test_what_counts_ranks_above_noise(method, friedman, by_permutation):
    options = {"shapley": {"null": 4, "epochs": 40}, "gates": {"epochs": 100}, "elimination": {"epochs": 40}}
    found = by_permutation
    if method != "permutation":
        found = explain.select_features(network(), *friedman, method=method, **options[method])
    assert set(found.order[:5].tolist()) == {0, 1, 2, 3, 4}
    assert set(found.chosen) <= {0, 1, 2, 3, 4} and {0, 1, 3, 4} <= set(found.chosen)
    assert "features chosen: " in repr(found)


def test_noise_lies_within_its_null(friedman, by_permutation):
    found = by_permutation
    assert found.null.shape == (19, 10)
    assert np.all(found.values[5:] <= found.threshold) and np.all(found.values[:5] > found.threshold)
    assert np.all(found.p_values[:5] == 0.05) and np.all(found.p_values[5:] > 0.1)
    assert f"by chance up to {found.threshold:.3g} (19 trainings with shuffled targets)" in repr(found)


def test_duplicated_columns_share_what_they_bring(friedman):
    x, y = friedman
    twice = np.concatenate([x, x[:, 3:4]], axis=1)
    found = explain.select_features(network(), twice, y, method="shapley", null=0, epochs=40)
    alone = explain.select_features(network(), x, y, method="shapley", null=0, epochs=40)
    assert 0.3 < found.values[3] / (found.values[3] + found.values[10]) < 0.7
    assert found.values[3] + found.values[10] == pytest.approx(alone.values[3], rel=0.25)


def test_elimination_keeps_the_score(friedman):
    x, y = friedman
    frame = pd.DataFrame(x, columns=list("abcdefghij"))
    found = explain.select_features(network(), frame, y, method="elimination", epochs=40)
    left, scores = zip(*found.details["scores"], strict=True)
    assert left == tuple(range(10, 0, -1))
    assert sorted(found.names[i] for i in found.chosen) == list("abcde")
    assert scores[5] > scores[0] - 0.05 and scores[8] < 0.7  # five suffice, two do not
    assert found.take(frame).columns.tolist() == [found.names[i] for i in found.chosen]


def test_real_data_and_the_model_is_left_alone():
    (x, y), (x_test, y_test) = cn.datasets.breast_cancer.load_data()
    middle, scale = x.mean(0), x.std(0)
    x, x_test = ((a - middle) / scale for a in (x, x_test))
    x = np.concatenate([x, np.random.default_rng(0).normal(size=(len(x), 5))], axis=1).astype(np.float32)  # and five of noise
    model = network(2, "sparse_categorical_crossentropy", 8)
    model.build(x)
    before = model.get_weights()
    found = explain.select_features(model, x, y, method="gates", epochs=60)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert 1 <= len(found.chosen) < 20 and max(found.chosen) < 30  # most are dispensable, noise first
    small = network(2, "sparse_categorical_crossentropy", 8)
    small.fit(found.take(x), y, epochs=20, verbose=0)
    accuracy = (small.predict(x_test[:, found.chosen], verbose=0).argmax(1) == y_test).mean()
    assert accuracy > 0.9


def test_what_is_refused(friedman):
    x, y = friedman
    with pytest.raises(ValueError, match="unknown method of feature selection 'gate': did you mean 'gates'"):
        explain.select_features(network(), x, y, method="gate")
    with pytest.raises(TypeError, match="trains a compiled model again and again"):
        explain.select_features(lambda x: x[:, 0], x, y)
    with pytest.raises(ValueError, match="x has 400 examples, but y has"):
        explain.select_features(network(), x, y[:10])
    with pytest.raises(ValueError, match="keep must be 1 to 10"):
        explain.select_features(network(), x, y, keep=11)
    with pytest.raises(ValueError, match="held_out is the share"):
        explain.select_features(network(), x, y, held_out=1.0)
    with pytest.raises(ValueError, match="x holds no examples"):
        explain.select_features(network(), x[:0], y[:0])
    with pytest.raises(ValueError, match="x holds NaN"):
        explain.select_features(network(), x * np.nan, y)
