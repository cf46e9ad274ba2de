"""Numbers to scales and bins: against Keras live, and against what it answers with TensorFlow (parity/preprocessing.json)."""

import itertools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from parity import keras

import cenote as cn
from cenote import layers

STORED = json.loads((Path(__file__).parents[1] / "parity" / "preprocessing.json").read_text(encoding="utf-8"))
X = np.array([[-1.0, 0.0, 0.1, 0.8, 1.2], [np.nan, 0.5, np.inf, -np.inf, 0.49999]], "float32")


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
def test_discretization_is_that_of_keras(mode):
    ours = layers.Discretization([0.0, 0.5, 1.0], output_mode=mode)
    theirs = keras.layers.Discretization([0.0, 0.5, 1.0], output_mode=mode)
    for x in (X, X[:, :1], X[0]):
        y, expected = ours(x), theirs(x)
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(y, expected)


def test_discretization_finds_the_boundaries_of_keras():
    *cases, values = STORED["boundaries"]
    for case in cases:
        starts = np.cumsum([0, *case["batches"]])
        batches = [np.array(values["values"][a:b]) for a, b in itertools.pairwise(starts)]
        layer = layers.Discretization(num_bins=case["num_bins"], epsilon=case["epsilon"])
        layer.adapt(batches[0] if len(batches) == 1 else iter(batches))
        np.testing.assert_allclose(layer.bin_boundaries, case["boundaries"], rtol=1e-5)


def test_discretization_takes_steps_of_an_endless_source():
    layer = layers.Discretization(num_bins=2)
    layer.adapt((np.arange(4.0) + 4 * i for i in itertools.count()), steps=2)
    assert layer.bin_boundaries == [3.0]


def test_discretization_in_a_model_follows_a_new_adapt_and_is_saved(tmp_path):
    layer = layers.Discretization(num_bins=4, output_mode="one_hot")
    layer.adapt(np.arange(8.0))
    model = cn.Sequential([layer, layers.Dense(2)])
    x = np.array([[0.5], [7.5]], "float32")
    before = model.build(x).predict(x)
    layer.adapt(np.arange(8.0) - 100)
    after = model.predict(x)
    assert not np.allclose(before[0], before[1])
    assert np.array_equal(after[0], after[1])  # both beyond the last boundary now
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote")
    np.testing.assert_array_equal(again.predict(x), after)
    assert again.layers[0].bin_boundaries == layer.bin_boundaries


def test_learned_layers_work_by_themselves_under_jit_and_in_float64():
    data = np.array([[1.0], [3.0]])
    scale, bins = layers.Normalization(), layers.Discretization([0.0, 2.0])
    scale.adapt(data)
    assert np.allclose(scale(np.array([[5.0]])), 3)
    assert bins(data).tolist() == [[1], [2]]
    assert jax.jit(lambda layer, x: layer(x))(bins, data).tolist() == [[1], [2]]
    assert jax.vmap(bins)(data).tolist() == [[1], [2]]
    with jax.enable_x64(True):
        assert scale(jnp.array([[5.0]])).dtype == jnp.float64
    assert scale(jnp.array([[5.0]], jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: layers.Discretization(), "got neither"),
        (lambda: layers.Discretization([1.0], num_bins=2), "got both"),
        (lambda: layers.Discretization([1.0, 0.0]), "in order"),
        (lambda: layers.Discretization([1.0], output_mode="tf_idf"), "unknown output_mode"),
        (lambda: layers.Discretization([1.0], output_mode="count", sparse=True), "sparse=True"),
        (lambda: layers.Discretization(num_bins=0), "num_bins"),
        (lambda: layers.Discretization(num_bins=4)(np.zeros((1, 1))), r"adapt\(data\) first"),
        (lambda: layers.Discretization([1.0]).adapt(np.zeros(3)), "say num_bins instead"),
        (lambda: layers.Discretization(num_bins=2).adapt(np.array([1.0, np.nan])), "found nan at position 1"),
        (lambda: layers.Discretization(num_bins=2).adapt(np.array(["a"])), "StringLookup"),
        (lambda: layers.Discretization(num_bins=2).adapt([]), "no data"),
    ],
)
def test_what_is_wrong_with_discretization_is_said(make, said):
    with pytest.raises(ValueError, match=said):
        make()
