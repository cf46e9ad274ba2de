"""Class activation maps: Captum's answers, the exact solution for averaged features, the layer that is chosen."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from captum_nets import answers, network

import cenote as cn
from cenote import explain, layers
from cenote.explain import features, grad_cam, grad_cam_plus_plus

STORED = answers("pictures")


def test_grad_cam_is_captums():
    model, x, target = network("pictures"), STORED["x"], STORED["target"]
    found = grad_cam(model, x, target=target)
    assert (
        found.details["layer"] == "layers.2" and "the map of layers.2, the last layer whose output has places" in found.reason
    )
    np.testing.assert_allclose(found.details["map"], STORED["cam_second"], atol=1e-7)
    found = grad_cam(model, x, target=target, layer="layers.0", relu=False)
    np.testing.assert_allclose(found.details["map"], STORED["cam_first"], atol=1e-7)


def test_with_averaged_features_and_a_linear_end_it_is_the_class_activation_map():
    model, x, target = network("pictures"), STORED["x"], STORED["target"]
    found = grad_cam(model, x, target=target, relu=False)
    last = features(model, x, "layers.2")  # (rows, 4, 4, 5)
    kernel = np.asarray(model.params["layers.4.kernel"])
    exact = np.einsum("rhwc,cr->rhw", last, kernel[:, target]) / 16
    np.testing.assert_allclose(found.details["map"], exact, rtol=1e-5, atol=1e-8)


def test_grad_cam_plus_plus_by_its_formula():
    model, x, target = network("pictures"), STORED["x"], STORED["target"]
    found = grad_cam_plus_plus(model, x, target=target)
    a = features(model, x, "layers.2").astype(np.float64)
    g = np.broadcast_to(np.asarray(model.params["layers.4.kernel"])[:, target].T[:, None, None] / 16, a.shape)
    share = g**2 / (2 * g**2 + a.sum((1, 2), keepdims=True) * g**3)
    w = (share * np.maximum(g, 0)).sum((1, 2), keepdims=True)
    np.testing.assert_allclose(found.details["map"], np.maximum((w * a).sum(-1), 0), rtol=1e-3, atol=1e-6)


def test_the_map_lies_over_what_speaks_for_the_class():
    """A model that adds up what is bright: the map is where that is, as large as the picture."""
    x = np.zeros((2, 12, 12, 1), "float32")
    x[0, 1:4, 1:4], x[1, 8:11, 7:10] = 1, 1
    i = cn.Input((12, 12, 1))
    model = cn.Model(i, layers.Dense(1)(layers.GlobalAveragePooling2D()(layers.AveragePooling2D()(layers.Conv2D(1, 3)(i)))))
    model.set_weights([np.ones((3, 3, 1, 1)), np.zeros(1), np.ones((1, 1)), np.zeros(1)])
    found = model.explain(x, "grad_cam")
    assert found.values.shape == (2, 12, 12) and found.details["layer"] == "layers.average_pooling2d"
    first, second = (np.unravel_index(v.argmax(), v.shape) for v in found.values)
    assert max(first) < 5 and min(second) >= 6


def test_nested_models_and_blocks_with_a_way_round():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv2D(2, 3, padding="same")

        def forward(self, x):
            return x + self.conv(x)

    x = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype("float32")
    inner = cn.Sequential([layers.Conv2D(2, 3), Block()])
    model = cn.Sequential([layers.Rescaling(1.0), inner, layers.Flatten(), layers.Dense(2, activation="softmax")]).build(x)
    found = grad_cam(model, x)
    assert found.details["layer"] == "layers.1.layers.1" and found.details["map"].shape == (2, 4, 4)


def test_signals_have_maps_along_time():
    x = np.random.default_rng(0).normal(size=(2, 20, 3)).astype("float32")
    model = cn.Sequential([layers.Conv1D(4, 5), layers.GlobalMaxPooling1D(), layers.Dense(2)]).build(x)
    assert grad_cam(model, x).values.shape == (2, 20)


def test_bad_input_is_said():
    x = np.ones((2, 6, 6, 1), "float32")
    model = cn.Sequential([layers.Rescaling(1.0), layers.Flatten(), layers.Dense(2)]).build(x)
    with pytest.raises(ValueError, match=r"no layer whose output has places.*use integrated_gradients or occlusion"):
        grad_cam(model, x)
    x = np.ones((1, 5, 8), "float32")
    model = cn.Sequential([layers.TransformerEncoder(8, 2), layers.GlobalAveragePooling1D(), layers.Dense(2)]).build(x)
    with pytest.raises(ValueError, match="no layer whose output has places"):
        grad_cam(model, x)
    with pytest.raises(ValueError, match=r"unknown path of a layer 'layers\.9'"):
        grad_cam(network("pictures"), STORED["x"], layer="layers.9")
    with pytest.raises(ValueError, match=r"has shape \(5,\) for an example, not \(height, width, channel\)"):
        grad_cam(network("pictures"), STORED["x"], layer="layers.3")
    with pytest.raises(TypeError, match="a class activation map needs a model made of layers"):
        explain.grad_cam(lambda x: x.sum((1, 2)), x)
