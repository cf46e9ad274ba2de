"""Positions against their formulas, written out with NumPy; where they begin; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers

X = np.random.default_rng(0).normal(size=(2, 5, 6)).astype("float32")


def test_waves_are_those_of_the_paper():
    found = np.asarray(layers.SinePositionEncoding(max_wavelength=50.0)(X, start_index=3))
    for place in range(5):
        for feature in range(6):
            wave = np.sin if feature % 2 == 0 else np.cos
            expected = wave((place + 3) / 50.0 ** (feature // 2 * 2 / 6))
            assert np.allclose(found[:, place, feature], expected, atol=1e-5)
    own = np.asarray(
        layers.SinePositionEncoding(max_wavelength=50.0)(X, positions=np.array([[3, 4, 5, 6, 7], [0, 0, 1, 2, 3]]))
    )
    assert np.allclose(own[0], found[0], atol=1e-6) and np.allclose(own[1, 4], own[0, 0], atol=1e-6)


def rotated(x, places, wavelength):
    """(time, feature) as complex numbers times ``e^(i t)``."""
    half = x.shape[-1] // 2
    pairs = x[:, :half] + 1j * x[:, half:]
    pairs = pairs * np.exp(1j * places[:, None] * wavelength ** (-np.arange(half) / half))
    return np.concatenate([pairs.real, pairs.imag], -1)


def test_rotations_are_those_of_complex_numbers():
    found = layers.RotaryEmbedding(100.0, scaling_factor=2.0)(X, start_index=4)
    for a, b in zip(found, X, strict=True):
        np.testing.assert_allclose(a, rotated(b, (np.arange(5) + 4) / 2, 100.0), atol=1e-5)
    heads = np.moveaxis(np.stack([X, X[::-1]], 2), 1, -1)  # (batch, head, feature, time)
    other = layers.RotaryEmbedding(100.0, 2.0, sequence_axis=3, feature_axis=2)(heads, start_index=4)
    np.testing.assert_allclose(np.moveaxis(np.asarray(other), -1, 1)[:, :, 0], found, atol=1e-5)
    own = layers.RotaryEmbedding(100.0)(X, positions=np.stack([np.arange(5), np.arange(5) + 7]))
    np.testing.assert_allclose(own[1], rotated(X[1], np.arange(5) + 7, 100.0), atol=1e-5)


def test_products_of_rotated_vectors_know_their_distance_alone():
    layer = layers.RotaryEmbedding()
    near, far = (np.asarray(layer(X, start_index=start)) for start in (0, 40))
    assert np.allclose(near @ near.swapaxes(1, 2), far @ far.swapaxes(1, 2), atol=1e-4)
    assert np.allclose(np.linalg.norm(near, axis=-1), np.linalg.norm(X, axis=-1), atol=1e-5)


def test_far_positions_are_exact_in_half_precision_too():
    half = layers.RotaryEmbedding()(X.astype(jnp.bfloat16), start_index=3001)
    assert half.dtype == jnp.bfloat16
    assert np.abs(np.asarray(half, "float32") - layers.RotaryEmbedding()(X, start_index=3001)).max() < 0.05
    waves = layers.SinePositionEncoding()(X.astype(jnp.bfloat16), start_index=3001)
    assert np.abs(np.asarray(waves, "float32") - layers.SinePositionEncoding()(X, start_index=3001)).max() < 0.01


def test_a_position_learns_where_it_stands():
    layer = layers.PositionEmbedding(9, initializer="normal").build(X)
    params, _ = cn.core.weights_of(layer)
    table = np.asarray(params["table"])
    assert np.array_equal(layer(X), np.broadcast_to(table[:5], X.shape))
    assert np.array_equal(layer(X, start_index=4), np.broadcast_to(table[4:], X.shape))
    places = np.array([[8, 1, 1, 0, 2], [0, 1, 2, 3, 4]])
    assert np.array_equal(layer(X, positions=places), table[places])
    run = jax.jit(jax.grad(lambda p, start: layer.apply(p, {}, X, start_index=start)[0].sum()))
    assert np.array_equal(run(params, 3)["table"].sum(1) / 6, [0, 0, 0, 2, 2, 2, 2, 2, 0])


def test_tokens_with_their_positions():
    words = np.array([[3, 1, 0], [2, 0, 0]], "int32")
    layer = layers.TokenAndPositionEmbedding(5, 4, 6, mask_zero=True, embeddings_initializer="normal").build(words)
    params, _ = cn.core.weights_of(layer)
    token, place = (np.asarray(params[f"{part}_embedding.table"]) for part in ("token", "position"))
    assert np.allclose(layer(words), token[words] + place[:3], atol=1e-6)
    assert np.allclose(layer(words, start_index=1), token[words] + place[1:], atol=1e-6)
    model = cn.Sequential([layer, layers.LSTM(2)]).build(words)  # the LSTM passes over the padding
    other = np.array([[3, 1, 0], [2, 0, 0]], "int32")
    assert np.allclose(model.predict(words)[1], model.predict(other[:, :2])[1], atol=1e-6)


def test_saved_models_answer_as_before(tmp_path):
    x = cn.Input((5, 6))
    h = x + layers.SinePositionEncoding(50.0)(x) + layers.PositionEmbedding(7, "normal")(x)
    model = cn.Model(x, layers.RotaryEmbedding(20.0)(h)).build()
    model.save(tmp_path / "positions.cenote")
    assert np.allclose(cn.load(tmp_path / "positions.cenote").predict(X), model.predict(X), atol=1e-6)
    words = np.array([[3, 1, 0]], "int32")
    model = cn.Sequential([layers.TokenAndPositionEmbedding(5, 4, 6, tie_weights=False)]).build(words)
    model.save(tmp_path / "tokens.cenote")
    assert np.allclose(cn.load(tmp_path / "tokens.cenote").predict(words), model.predict(words), atol=1e-6)


def test_gradients_are_the_slopes():
    with jax.enable_x64(True):
        x, direction = (jnp.asarray(np.random.default_rng(seed).normal(size=(1, 3, 4))) for seed in (1, 2))
        turn, waves = layers.RotaryEmbedding(), layers.SinePositionEncoding()
        run = jax.jit(jax.value_and_grad(lambda x: (turn(x * waves(x), start_index=1) ** 3).sum()))
        slope = (run(x + 1e-6 * direction)[0] - run(x - 1e-6 * direction)[0]) / 2e-6
        np.testing.assert_allclose(jnp.vdot(run(x)[1], direction), slope, rtol=1e-7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.RotaryEmbedding()(X[..., :5]), "the input has 5: give each head an even number"),
        (lambda: layers.RotaryEmbedding(scaling_factor=0), "scaling_factor above 0"),
        (lambda: layers.SinePositionEncoding(0), "max_wavelength above 0, got 0"),
        (lambda: layers.SinePositionEncoding()(X[0, 0]), r"takes \(batch, time, feature\), but the input has shape \(6,\)"),
        (lambda: layers.PositionEmbedding(None), "needs sequence_length to be a whole number"),
        (lambda: layers.PositionEmbedding(4).build(X), "is asked for position 4: cut the input of shape"),
        (lambda: layers.PositionEmbedding(6).build(X)(X, start_index=2), "is asked for position 6"),
        (lambda: layers.PositionEmbedding(6).build(X)(X, positions=np.arange(5) + 2), "is asked for position 6"),
        (lambda: layers.TokenAndPositionEmbedding(5, 4, 0), "needs embedding_dim"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
