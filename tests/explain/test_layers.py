"""Inside a model: Captum's answers for layers and units, features of layers, paths that are not there."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from captum_nets import answers, network

import cenote as cn
from cenote import explain, layers
from cenote.explain import features, layer_attribution, layer_conductance, up_to

STORED, PICTURES = answers("mlp"), answers("pictures")
SHARED = {"target": STORED["target"], "baseline": STORED["baseline"][0]}


def test_attribution_to_a_layer_is_captums():
    model, x = network("mlp"), STORED["x"]
    found = layer_attribution(model, x, "layers.1", **SHARED, nodes=50)
    np.testing.assert_allclose(found.values, STORED["layer_integrated"], atol=1e-6)
    np.testing.assert_allclose(found.x, features(model, x, "layers.1"), rtol=1e-6)
    assert found.gap.max() < 1e-5 and found.details["layer"] == "layers.1"
    found = layer_attribution(model, x, "layers.1", "input_x_gradient", target=STORED["target"])
    np.testing.assert_allclose(found.values, STORED["layer_x_gradient"], atol=1e-6)


def test_attribution_to_a_layer_of_pictures_is_captums():
    model, stored = network("pictures"), PICTURES
    found = layer_attribution(model, stored["x"], "layers.0", target=stored["target"], baseline=0, nodes=50, batch_size=2)
    np.testing.assert_allclose(found.values, stored["layer_integrated"], atol=1e-6)
    found = explain.saliency(up_to(model, "layers.1"), stored["x"], target=(1, 2, 3), absolute=False)
    np.testing.assert_allclose(found.values, stored["unit_gradient"], atol=1e-6)
    assert np.abs(explain.saliency(model, stored["x"], target=stored["target"]).values - stored["saliency"]).max() < 1e-6


def test_conductance_is_captums():
    model, x = network("mlp"), STORED["x"]
    found = layer_conductance(model, x, "layers.1", **SHARED, nodes=200)
    np.testing.assert_allclose(found.values, STORED["conductance"], atol=1e-3)
    assert found.gap.max() < 1e-3
    found = layer_conductance(model, x, "layers.1", unit=2, **SHARED, nodes=200)
    np.testing.assert_allclose(found.values, STORED["unit_conductance"], atol=1e-3)


def test_conductances_through_all_units_are_integrated_gradients():
    model, x = network("smooth"), STORED["x"]
    found = sum(layer_conductance(model, x, "layers.1", unit=u, **SHARED).values for u in range(5))
    whole = explain.integrated_gradients(model, x, **SHARED, tol=1e-5)
    np.testing.assert_allclose(found, whole.values, atol=1e-4)


def test_attribution_of_a_unit_is_captums():
    model, x = network("mlp"), STORED["x"]
    unit = up_to(model, "layers.1")
    np.testing.assert_allclose(explain.saliency(unit, x, target=2, absolute=False).values, STORED["unit_gradient"], atol=1e-6)
    found = explain.integrated_gradients(unit, x, target=2, baseline=STORED["baseline"][0], nodes=50)
    np.testing.assert_allclose(found.values, STORED["unit_integrated"], atol=1e-6)


def test_features_of_any_layer_by_batches():
    x = np.random.default_rng(0).normal(size=(7, 4)).astype("float32")
    inner = cn.Sequential([layers.Dense(3, activation="relu")], name="inner")
    shared = layers.Dense(4)
    i = cn.Input((4,))
    model = cn.Model(i, layers.Dense(2)(inner(shared(shared(i)))))
    found = features(model, x, ["layers.inner.layers.0", "layers.dense:1", "layers.dense"], batch_size=3)
    assert [found[k].shape for k in found] == [(7, 3), (7, 4), (7, 4)]
    kernel, bias = model.params["layers.dense.kernel"], model.params["layers.dense.bias"]
    np.testing.assert_allclose(found["layers.dense"], x @ kernel + bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["layers.dense:1"], (x @ kernel + bias) @ kernel + bias, rtol=1e-4, atol=1e-5)
    both = layer_attribution(model, x, "layers.dense:1", baseline=0)
    assert both.values.shape == (7, 4) and both.completeness.max() < 1e-3


def test_features_of_a_model_with_several_outputs():
    i = cn.Input((4,))
    h = layers.Dense(3, name="h")(i)
    model = cn.Model(i, [layers.Dense(2)(h), layers.Dense(1)(h)])
    assert features(model, np.ones((2, 4), "float32"), "layers.h").shape == (2, 3)


@pytest.mark.parametrize(
    "problem, call",
    [
        ("unknown path of a layer 'layers.7'.*Known: layers.0", lambda m, x: features(m, x, "layers.7")),
        ("did you mean 'layers.1'", lambda m, x: layer_attribution(m, x, "layer.1", baseline=0)),
        ("unknown path", lambda m, x: up_to(m, "dense")),
        ("unknown method 'kernel_shap'", lambda m, x: layer_attribution(m, x, "layers.1", "kernel_shap")),
        (r"there is no unit \(9,\)", lambda m, x: layer_conductance(m, x, "layers.1", unit=9, baseline=0)),
        ("nodes is a whole number", lambda m, x: layer_conductance(m, x, "layers.1", nodes=0, baseline=0)),
        ("NaN", lambda m, x: features(m, x * np.nan, "layers.1")),
        ("no examples", lambda m, x: features(m, x[:0], "layers.1")),
    ],
)
def test_bad_input_is_said(problem, call):
    with pytest.raises(ValueError, match=problem):
        call(network("mlp"), STORED["x"])


def test_words_and_functions_have_no_conductance_and_no_layers():
    with pytest.raises(ValueError, match="between two words there is no way"):
        layer_conductance(network("words"), np.array(answers("words")["x"], "int32"), "layers.2", baseline=0)
    with pytest.raises(TypeError, match="a model made of layers, which have paths, got function"):
        features(lambda x: jnp.sum(x, 1), STORED["x"], "layers.0")
