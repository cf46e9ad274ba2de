"""Occlusion and ablation: Captum's answers, functions whose answer is known, and what is refused."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from cenote import explain

ANSWERS = json.loads((Path(__file__).parents[1] / "parity" / "explain_dependence.json").read_text())


def case(name):
    """Captum's case: the function, the examples, the baseline, the outputs asked about, and its values."""
    found = ANSWERS[name]
    (a, b), (c, d) = ([jnp.asarray(w, jnp.float32) for w in found[k]] for k in ("weights", "biases"))
    x = np.array(found["x"], np.float32)
    shared = {"baseline": found["baseline"], "target": found["target"]}
    return lambda x: jnp.tanh(x.reshape(len(x), -1) @ a + c) @ b + d, x, shared, np.array(found["values"])


@pytest.mark.parametrize(
    ("name", "window", "stride"),
    [("picture", (3, 2), (2, 1)), ("sequence", 4, 3), ("signal", 3, 2), ("picture", (3, 2, 2), (2, 1, 2))],
)
def test_occlusion_is_captums(name, window, stride):
    function, x, shared, values = case(name)
    found = explain.occlusion(function, x, window=window, stride=stride, **shared)
    np.testing.assert_allclose(found.values, values, atol=2e-6)


def test_ablation_is_captums():
    function, x, shared, values = case("features")
    np.testing.assert_allclose(explain.ablation(function, x, **shared).values, values, atol=2e-6)


def test_ablation_of_groups_is_captums():
    function, x, shared, values = case("groups")
    found = explain.ablation(function, x, groups=np.array([0, 0, 1, 2, 2, 2]), **shared)
    # Captum gives each member what the whole group does; here the members share it.
    np.testing.assert_allclose(found.values * np.array([2, 2, 1, 3, 3, 3]), values, atol=2e-6)
    by_name = explain.ablation(function, x, groups={"a": [0, 1], "b": [2], "c": [3, 4, 5]}, **shared)
    assert by_name.names == ["a", "b", "c"]
    np.testing.assert_allclose(by_name.values, values[:, [0, 2, 3]], atol=2e-6)


def test_a_python_function_gets_the_same_answers():
    function, x, shared, values = case("picture")
    asked = []

    def python(x):
        asked.append(len(x))
        return np.asarray(function(np.asarray(x)))

    found = explain.occlusion(python, x, window=(3, 2), stride=(2, 1), **shared)
    np.testing.assert_allclose(found.values, values, atol=2e-6)
    assert max(asked) <= 256  # in batches, not all windows at once


def test_sensitivity_a_feature_alone_and_a_feature_that_is_not_read():
    x = np.array([[2.0, 3.0, 5.0]], np.float32)
    found = explain.ablation(lambda x: x[:, 0] ** 2 + 4 * x[:, 1], x, baseline=np.array([1.0, 1.0, 1.0]))
    assert found.values.tolist() == [[3.0, 8.0, 0.0]]


def test_ablation_against_a_background_is_the_mean_over_its_rows():
    x, rows = np.array([[2.0, 3.0]], np.float32), np.array([[0.0, 0.0], [4.0, 1.0]], np.float32)
    found = explain.ablation(lambda x: x[:, 0] * x[:, 1], x, background=rows)
    np.testing.assert_allclose(found.values, [[6 - 6.0, 6 - 1.0]])


def test_sound_and_inputs_of_several_arrays():
    sound = np.zeros((1, 64, 1), np.float32)
    sound[0, 40:48] = 1.0
    found = explain.occlusion(lambda x: (x**2).sum((1, 2)), sound, baseline=0.0)
    assert found.values.shape == sound.shape
    assert 38 <= int(found.values[0, :, 0].argmax()) < 50  # the default window finds the place
    both = {"a": np.ones((2, 3), np.float32), "b": np.ones((2, 4, 1), np.float32)}
    found = explain.occlusion(lambda x: x["a"].sum(1) + 2 * x["b"].sum((1, 2)), both, baseline=0.0, window=1)
    np.testing.assert_allclose(found.values["a"], 1.0)
    np.testing.assert_allclose(found.values["b"], 2.0)


def test_what_is_refused():
    x = np.ones((2, 8, 8, 1), np.float32)

    def total(x):
        return x.sum((1, 2, 3))

    with pytest.raises(ValueError, match=r"window of \(9, 9, 1\) does not fit into an example of shape \(8, 8, 1\)"):
        explain.occlusion(total, x, baseline=0.0, window=9)
    with pytest.raises(ValueError, match="whole number from 1, or one for each axis"):
        explain.occlusion(total, x, baseline=0.0, window=(2, 2, 2, 2))
    with pytest.raises(ValueError, match="longer than the window"):
        explain.occlusion(total, x, baseline=0.0, window=2, stride=3)
    with pytest.raises(ValueError, match="too many to switch off one by one: give groups"):
        explain.ablation(total, np.ones((1, 100, 100, 1), np.float32), baseline=0.0)
    with pytest.raises(ValueError, match="there is nothing to compare with"):
        explain.occlusion(total, x)
