"""Embeddings: which rows learn, what becomes the mask, low ranks, bags, and the way back. Keras's table: test_parity.py."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.core import Module, annotation

K = keras.layers
WORDS = np.array([[1, 2, 0], [4, 2, 3]], "int32")
ANSWERS = json.loads((Path(__file__).parents[1] / "parity" / "attention.json").read_text())["bags"]
RNG = np.random.default_rng(0)


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


def test_a_table_that_is_given():
    table = RNG.normal(size=(5, 3)).astype("float32")
    for weights in (table, [table]):
        assert np.array_equal(layers.Embedding(5, 3, weights=weights).build(WORDS)(WORDS), table[WORDS])


def test_low_ranks_train_in_place_of_the_table():
    theirs = K.Embedding(5, 4)
    theirs.build()
    theirs.enable_lora(2, lora_alpha=3)  # Keras's constructor loses lora_alpha
    ours = layers.Embedding(5, 4, lora_rank=2, lora_alpha=3).build(WORDS)
    params, _ = cn.core.weights_of(ours)
    assert [n for n, w in cn.core.declared(ours).items() if w.trainable] == ["lora_a", "lora_b"]
    assert np.array_equal(ours(WORDS), np.asarray(params["table"])[WORDS])  # at first, nothing is added
    drawn = {k: jnp.asarray(RNG.normal(size=v.shape), jnp.float32) for k, v in params.items()}
    order = {"embeddings": "table", "lora_embeddings_a": "lora_a", "lora_embeddings_b": "lora_b"}
    for weight in theirs.weights:
        weight.assign(drawn[order[weight.path.rpartition("/")[2]]])
    np.testing.assert_allclose(ours.apply(drawn, {}, WORDS)[0], theirs(WORDS), rtol=1e-5, atol=1e-5)
    back = layers.ReversibleEmbedding(5, 4, lora_rank=2, lora_alpha=3)
    x = RNG.normal(size=(2, 4)).astype("float32")
    np.testing.assert_allclose(back.apply(drawn, {}, x, reverse=True)[0], x @ np.asarray(theirs.embeddings).T, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"tie_weights": False}, {"logit_soft_cap": 0.5, "reverse_dtype": "float32"}], ids=str)
def test_the_way_back(options):
    ours, theirs = layers.ReversibleEmbedding(5, 4, mask_zero=True, **options), K.ReversibleEmbedding(5, 4, **options)
    theirs.build()
    ours.build(WORDS)
    x = RNG.normal(size=(2, 3, 4)).astype("float32")
    weights = [RNG.normal(size=w.shape).astype("float32") for w in theirs.weights]
    theirs.set_weights(weights)
    order = ["table"] if options.get("tie_weights", True) else ["table", "kernel"]
    params = dict(zip(order, map(jnp.asarray, weights), strict=True))
    np.testing.assert_allclose(ours.apply(params, {}, WORDS)[0], theirs(WORDS), atol=1e-6)
    np.testing.assert_allclose(ours.apply(params, {}, x, reverse=True)[0], theirs(x, reverse=True), rtol=1e-4, atol=1e-5)
    # A tied table learns from both ways.
    both = jax.grad(lambda p: ours.apply(p, {}, x, reverse=True)[0].sum())(params)["table"]
    assert bool(np.asarray(both).any()) == options.get("tie_weights", True)


BAGS = np.array([[1, 2, 0, 5], [4, 0, 0, 0], [0, 0, 0, 0], [5, 5, 3, 1]])


def test_bags_answer_as_those_of_pytorch():
    rng = np.random.default_rng(2)
    table, weights, mark = (rng.normal(size=s).astype("float32") for s in ((6, 3), (4, 4), (4, 3)))

    def run(table):
        found = {}
        for case in ANSWERS:
            if case == "offsets":
                continue
            mode, padding, weighted = case.split(",")
            layer = layers.EmbeddingBag(6, 3, mode, padding_idx=None if padding == "None" else int(padding))
            call = {"per_sample_weights": weights} if weighted == "True" else {}

            def value(table, layer=layer, call=call):
                y = layer.apply({"table": table}, {}, BAGS, **call)[0]
                return (y * mark).sum(), y

            gradient, y = jax.grad(value, has_aux=True)(table)
            found[case] = (y, gradient)
        return found

    for case, (y, gradient) in jax.jit(run)(table).items():
        np.testing.assert_allclose(y, ANSWERS[case][0], atol=1e-5, err_msg=case)
        np.testing.assert_allclose(gradient, ANSWERS[case][1], atol=1e-5, err_msg=case)
    long, offsets = np.array([1, 2, 4, 5, 4, 3, 2, 0]), np.array([0, 4, 4])
    y = layers.EmbeddingBag(6, 3).apply({"table": table}, {}, long, offsets=offsets)[0]
    np.testing.assert_allclose(y, ANSWERS["offsets"], atol=1e-6)
    most = layers.EmbeddingBag(6, 3, "max").apply({"table": table}, {}, long, offsets=offsets)[0]
    np.testing.assert_array_equal(most, [table[long[:4]].max(0), np.zeros(3), table[long[4:]].max(0)])


def test_saved_models_answer_as_before(tmp_path):
    x = cn.Input((4,), dtype="int32")
    back = layers.ReversibleEmbedding(6, 3, lora_rank=2, logit_soft_cap=2.0)
    table = RNG.normal(size=(6, 3)).astype("float32")
    h = layers.Embedding(6, 3, weights=[table])(x) + back(x)
    model = cn.Model(x, [back(h, reverse=True), layers.EmbeddingBag(6, 3, "max", padding_idx=0)(x)]).build()
    model.save(tmp_path / "embeddings.cenote")
    for a, b in zip(cn.load(tmp_path / "embeddings.cenote").predict(BAGS), model.predict(BAGS), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


BAG = layers.EmbeddingBag(6, 3).build(WORDS)
BACK = layers.ReversibleEmbedding(6, 3).build(WORDS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.Embedding(0, 3), "needs input_dim to be a whole number of at least 1, got 0"),
        (lambda: layers.Embedding(6, 3, embedding_initializer="zeros"), "did you mean 'embeddings_initializer'"),
        (lambda: layers.Embedding(6, 3, weights=np.zeros((3, 6))), r"weights of shape \(3, 6\): give \[array\]"),
        (lambda: layers.Embedding(6, 3, lora_rank=0), "needs lora_rank"),
        (
            lambda: BACK(WORDS + 2),
            "numbers from 0 to 5, but the input holds 6: mend the input, or give the layer an input_dim of 7",
        ),
        (lambda: BACK(-WORDS), "from 0 to 5, but the input holds -4: mend the input\n"),
        (lambda: BACK(np.zeros((2, 4)), reverse=True), r"goes back from \(batch, ..., 3\), but the input has shape \(2, 4\)"),
        (lambda: layers.ReversibleEmbedding(6, 3, logit_soft_cap=-1), "logit_soft_cap above 0, or None, got -1"),
        (lambda: layers.EmbeddingBag(6, 3, "avg"), "unknown mode of EmbeddingBag 'avg'"),
        (lambda: layers.EmbeddingBag(6, 3, padding_idx=6), "is not a row of a table of 6"),
        (lambda: BAG(WORDS + 2), "the input holds 6"),
        (lambda: BAG(WORDS[0]), r"takes \(batch, bag\), 2 axes"),
        (lambda: BAG(WORDS, offsets=np.array([0])), "one long row of numbers with offsets="),
        (lambda: BAG(WORDS, per_sample_weights=np.ones((2, 3))), "multiply the rows of mode='sum'"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_compiled_code_takes_the_nearest_row():
    table = np.asarray(BACK._arrays["table"])
    assert np.array_equal(jax.jit(BACK)(WORDS + 4), table[np.minimum(WORDS + 4, 5)])
    with pytest.raises(TypeError):  # Keras's third argument is an initializer, which must not become mask_zero
        layers.Embedding(6, 3, "uniform")
