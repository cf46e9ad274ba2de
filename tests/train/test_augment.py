"""Augmentation inside the compiled step: inputs and labels change in training, by the seed of the run, and only there."""

import jax
import numpy as np

import cenote as cn
from cenote import layers


class Shift(layers.Layer):
    """Adds to images, and tells labels the same: the net must learn y = x whatever the shift."""

    def forward(self, x):
        if not self.train:
            return x
        images = x["images"]
        by = jax.random.normal(self.next_key(), (images.shape[0], 1)) * 10
        return {**x, "images": images + by, "labels": x["labels"] + by}


X = np.zeros((64, 1), "float32")


def linear():
    model = cn.Sequential([layers.Dense(1, kernel_initializer="zeros")])
    model.compile(cn.optimizers.SGD(0.005), "mse")
    return model


def test_inputs_and_labels_change_together_in_training_only():
    model = linear()
    first = model.fit(X, X, epochs=1, verbose=0, augment=Shift()).history["loss"][0]
    assert first > 1  # without the shift it would be nought
    model.fit(X, X, epochs=20, verbose=0, augment=model._augment)
    assert abs(float(model.params["layers.0.kernel"][0, 0]) - 1) < 0.05  # learned from what was shifted alone
    assert model.evaluate(X, X, verbose=0) < 1e-3
    assert linear().fit(X, X, verbose=0).history["loss"] == [0.0]


def test_it_is_a_function_of_the_seed_and_of_the_step():
    one, two = linear(), linear()
    shift = Shift()
    for model in (one, two):
        model.fit(X, X, epochs=3, verbose=0, augment=shift)
    assert np.array_equal(one.get_weights()[0], two.get_weights()[0])
    losses = linear().fit(X, X, epochs=3, verbose=0, augment=shift).history["loss"]
    assert len(set(losses)) == 3


def test_it_resumes_to_the_bit(tmp_path):
    shift = Shift()
    whole = linear()
    whole.fit(X, X, epochs=4, verbose=0, augment=shift)
    part = linear()
    part.fit(X, X, epochs=2, verbose=0, augment=shift, checkpoint=tmp_path)
    rest = linear()
    rest.fit(X, X, epochs=4, verbose=0, augment=shift, checkpoint=tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), rest.get_weights(), strict=True))


def test_a_dict_of_inputs():
    class Both(cn.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1, kernel_initializer="zeros")

        def forward(self, x):
            return self.dense(x["images"]) + 0 * x["other"]

    model = Both()
    model.compile("sgd", "mse")
    x = {"images": X, "other": X}
    assert model.fit(x, X, verbose=0, augment=Shift()).history["loss"][0] > 1
