"""Attention layers beyond parity: names of weights, masks, dropout, what is refused. Parity itself: test_parity.py."""

import keras
import numpy as np
import pytest

import cenote as cn
from cenote import layers

RNG = np.random.default_rng(0)
QUERY, VALUE = (RNG.normal(size=(2, n, 6)).astype("float32") for n in (4, 5))
LAYER = layers.MultiHeadAttention(2, 3, dropout=0.5).build(QUERY, VALUE)


def test_weights_read_well():
    params, _ = cn.core.weights_of(LAYER)
    assert list(params) == [f"{part}.{name}" for part in ("query", "key", "value", "output") for name in ("kernel", "bias")]
    assert params["query.kernel"].shape == (6, 2, 3) and params["output.kernel"].shape == (2, 3, 6)


def test_masks_of_any_rank_as_in_keras():
    theirs = keras.layers.MultiHeadAttention(2, 3)
    theirs(QUERY, VALUE)
    theirs.set_weights(list(cn.core.weights_of(LAYER)[0].values()))
    table = np.tril(np.ones((4, 5), bool), 1)
    for mask in (table, np.stack([table, table[:, ::-1]]), RNG.random((2, 2, 4, 5)) < 0.7):
        assert np.allclose(LAYER(QUERY, VALUE, attention_mask=mask), theirs(QUERY, VALUE, attention_mask=mask), atol=1e-5)
    ours = LAYER(QUERY, VALUE, attention_mask=table, use_causal_mask=True, return_attention_scores=True)
    expected = theirs(QUERY, VALUE, attention_mask=table, use_causal_mask=True, return_attention_scores=True)
    for a, b in zip(ours, expected, strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_asking_for_the_scores_changes_nothing_else():
    y, scores = LAYER(QUERY, VALUE, return_attention_scores=True)
    assert np.allclose(y, LAYER(QUERY, VALUE), atol=1e-6) and np.allclose(scores.sum(-1), 1, atol=1e-6)
    trained, _ = LAYER(QUERY, VALUE, return_attention_scores=True, train=True, key=1)
    assert np.allclose(trained, LAYER(QUERY, VALUE, train=True, key=1), atol=1e-6)  # the same weights are dropped
    assert not np.allclose(trained, y, atol=1e-3) and not np.allclose(
        trained, LAYER(QUERY, VALUE, train=True, key=2), atol=1e-3
    )


def test_a_row_that_may_attend_to_nothing_is_finite():
    assert np.isfinite(LAYER(QUERY, VALUE, attention_mask=np.zeros((2, 4, 5), bool))).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: LAYER(QUERY, VALUE, attention_mask=np.ones((2, 5))),
            r"\(2, 4, 5\), but has shape \(2, 5\).*mask\[:, None, :\]",
        ),
        (lambda: LAYER(QUERY, VALUE, VALUE[:, :3]), "a key for every value"),
        (lambda: LAYER(QUERY, VALUE[:1]), "the same batch in all"),
        (lambda: LAYER(QUERY[0], VALUE), r"takes \(batch, time, feature\), 3 axes"),
        (lambda: layers.MultiHeadAttention(0, 3), "needs num_heads to be a whole number of at least 1"),
        (lambda: layers.MultiHeadAttention(2, 3, attention_axes=(1, 2)), "attends over time"),
        (lambda: layers.MultiHeadAttention(2, 3, kernel_regulariser="l2"), "did you mean 'kernel_regularizer'"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
