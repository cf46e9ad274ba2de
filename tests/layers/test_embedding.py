"""The embedding: which rows learn, what becomes the mask. Parity itself: test_parity.py."""

import jax
import numpy as np
import pytest

from cenote import layers
from cenote.core import Module, annotation

WORDS = np.array([[1, 2, 0], [4, 2, 3]], "int32")


def test_a_row_learns_from_every_place_where_its_word_stands():
    layer = layers.Embedding(6, 3)
    params, state = layer.init(0, WORDS)
    grads = jax.grad(lambda p: layer.apply(p, state, WORDS)[0].sum())(params)["table"]
    assert np.array_equal(grads, np.bincount(WORDS.ravel(), minlength=6)[:, None] * np.ones(3))


@pytest.mark.parametrize("words", [WORDS, WORDS.astype("float32"), WORDS.astype("uint8")], ids=lambda w: str(w.dtype))
def test_numbers_of_any_type_and_their_mask(words):
    class Seen(Module):
        def __init__(self, **options):
            self.embedding = layers.Embedding(6, 3, **options)

        def forward(self, x):
            y = self.embedding(x)
            mask = annotation(y, "mask")
            return y if mask is None else (y, mask)

    model = Seen(mask_zero=True).build(words)
    y, mask = model(words)
    assert np.array_equal(y, np.asarray(model.embedding._arrays["table"])[WORDS]) and np.array_equal(mask, WORDS != 0)
    assert Seen().build(words)(words).shape == (2, 3, 3)  # no note without mask_zero


def test_what_is_refused():
    with pytest.raises(ValueError, match="needs input_dim to be a whole number of at least 1, got 0"):
        layers.Embedding(0, 3)
    with pytest.raises(ValueError, match="did you mean 'embeddings_initializer'"):
        layers.Embedding(6, 3, embedding_initializer="zeros")
    with pytest.raises(TypeError):  # Keras's third argument is an initializer, which must not become mask_zero
        layers.Embedding(6, 3, "uniform")
