"""Attention layers: Keras's numbers over its arguments, masks of every kind, the cache, what is refused."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.core.notes import collecting
from cenote.kernels import attention

K = keras.layers
RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape).astype("float32")


QUERY, VALUE = draw(2, 4, 6), draw(2, 5, 6)
LAYER = layers.MultiHeadAttention(2, 3, dropout=0.5).build(QUERY, VALUE)
FULL = np.array([[1, 1, 1, 1, 0], [1, 0, 1, 1, 1]], bool)


def quickly(function, *args):
    """The values of a function, compiled without the passes that small arrays do not need."""
    return jax.jit(function).lower(*args).compile(compiler_options={"xla_backend_optimization_level": 0})(*args)


def compare(name, arguments, options, inputs, call, listed=False):
    """Assert that our layer and Keras's give the same outputs and gradients, with the same weights in the same order."""
    ours, theirs = getattr(layers, name)(*arguments, **options), getattr(K, name)(*arguments, **options)
    given = (list(inputs),) if listed else tuple(inputs)
    theirs.build([x.shape for x in inputs]) if listed else theirs.build(*[x.shape for x in inputs])
    params = [jnp.asarray(draw(*w.shape) * 0.5) for w in theirs.trainable_variables]
    paths = list(ours.init(0, *given, **call)[0])
    fixed = [v.value for v in theirs.non_trainable_variables]

    def values(run):
        def scalar(params, given):
            y = run(params, given)
            return sum((leaf**2).sum() for leaf in jax.tree.leaves(y)), y

        return jax.value_and_grad(scalar, (0, 1), has_aux=True)

    mine = values(lambda p, given: ours.apply(dict(zip(paths, p, strict=True)), {}, *given, **call)[0])
    other = values(lambda p, given: theirs.stateless_call(p, fixed, *given, training=False, **call)[0])
    found, expected = quickly(lambda *a: (mine(*a), other(*a)), params, given)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3)


def test_weights_read_well():
    params, _ = cn.core.weights_of(LAYER)
    assert list(params) == [f"{part}.{name}" for part in ("query", "key", "value", "output") for name in ("kernel", "bias")]
    assert params["query.kernel"].shape == (6, 2, 3) and params["output.kernel"].shape == (2, 3, 6)


# -- many heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "options", "call"),
    [
        ([(2, 4, 6), (2, 5, 6)], {"use_gate": True, "sliding_window": 2}, {"use_causal_mask": True}),
        ([(1, 4, 6), (1, 5, 3), (1, 5, 2)], {"value_dim": 5, "output_shape": (2, 3)}, {"return_attention_scores": True}),
        ([(2, 3, 4, 5), (2, 3, 4, 5)], {"use_bias": False}, {"return_attention_scores": True}),
        ([(2, 3, 4, 5), (2, 3, 2, 5)], {"attention_axes": 2, "use_gate": True}, {"return_attention_scores": True}),
        ([(2, 3, 4, 5), (2, 2, 4, 5)], {"attention_axes": (-3,), "use_bias": False}, {"use_causal_mask": True}),
    ],
    ids=["gate and window", "widths", "two axes", "second axis", "first axis"],
)
def test_many_heads(shapes, options, call):
    compare("MultiHeadAttention", (2, 3), options, [draw(*s) for s in shapes], call)


def test_masks_of_sequences_and_of_pairs():
    call = {"value_mask": FULL, "key_mask": FULL[::-1], "attention_mask": np.tril(np.ones((4, 5), bool), 1)}
    compare("MultiHeadAttention", (2, 3), {}, [QUERY, VALUE, VALUE[::-1]], call)
    spaces = RNG.random((2, 3, 2, 3, 2)) < 0.6
    spaces[..., 0, 0] = True  # Keras gives zeros to a row without any place when it makes the scores, and else the mean
    call = {"attention_mask": spaces, "return_attention_scores": True}
    compare("MultiHeadAttention", (2, 3), {"use_bias": False}, [draw(2, 3, 2, 6)] * 2, call)


def test_masks_of_any_rank_as_in_keras():
    theirs = K.MultiHeadAttention(2, 3)
    theirs(QUERY, VALUE)
    theirs.set_weights(list(cn.core.weights_of(LAYER)[0].values()))
    table = np.tril(np.ones((4, 5), bool), 1)
    masks = (table, np.stack([table, table[:, ::-1]]), RNG.random((2, 2, 4, 5)) < 0.7)
    found, expected = quickly(
        lambda: [[layer(QUERY, VALUE, attention_mask=mask) for mask in masks] for layer in (LAYER, theirs)]
    )
    for a, b in zip(found, expected, strict=True):
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


def test_weights_block_by_block_give_the_same_numbers(monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", 2)
    blocks = layers.MultiHeadAttention(2, 3, flash_attention=True)
    cn.core.bind(blocks.build(QUERY, VALUE), cn.core.weights_of(LAYER)[0])
    call = {"value_mask": FULL, "use_causal_mask": True}
    assert np.allclose(quickly(lambda m: m(QUERY, VALUE, **call), blocks), LAYER(QUERY, VALUE, **call), atol=1e-5)


def test_an_activity_regularizer_acts_on_the_projections_as_in_keras():
    theirs = K.MultiHeadAttention(2, 3, activity_regularizer="l2")
    theirs(QUERY, VALUE)
    ours = layers.MultiHeadAttention(2, 3, activity_regularizer="l2").build(QUERY, VALUE)
    weights = [jnp.asarray(w.value) for w in theirs.trainable_variables]
    cn.core.bind(ours, dict(zip(cn.core.weights_of(ours)[0], weights, strict=True)))
    with collecting() as table:
        ours(QUERY, VALUE)
    assert np.allclose(sum(table.losses), sum(theirs.losses), rtol=1e-5)


@pytest.mark.parametrize(
    ("heads", "options", "call"),
    [
        ((4, 1), {"use_gate": True}, {"use_causal_mask": True}),
        ((4, 2), {"sliding_window": 2}, {"value_mask": FULL, "query_mask": FULL[:, 1:]}),
        ((6, 3), {"use_bias": False}, {"return_attention_scores": True, "attention_mask": np.tril(np.ones((2, 4, 5), bool))}),
    ],
    ids=["one", "two", "three"],
)
def test_grouped_heads(heads, options, call):
    compare("GroupQueryAttention", (3, *heads), options, [QUERY, VALUE], call)


def test_half_precision_keeps_its_softmax_exact():
    x = jnp.asarray(draw(1, 40, 8) * 3, jnp.bfloat16)
    layer = layers.MultiHeadAttention(2, 4).build(x, x)
    params = {k: v.astype(jnp.bfloat16) for k, v in cn.core.weights_of(layer)[0].items()}
    run = lambda p, x: layer.apply(p, {}, x, x, return_attention_scores=True)[0]  # noqa: E731
    (y, scores), (_, exact) = quickly(run, params, x), quickly(run, *jax.tree.map(lambda a: a.astype("float32"), (params, x)))
    assert y.dtype == scores.dtype == jnp.bfloat16
    assert abs(np.asarray(scores, "float32").sum(-1) - 1).max() < 0.01  # sums in bfloat16 would be off by several per cent
    assert np.abs(np.asarray(scores, "float32") - exact).max() < 0.05


# -- one head, no projections ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "call"),
    [
        ("Attention", {}, {"use_causal_mask": True}),
        ("Attention", {"use_scale": True}, {"mask": [FULL[:, 1:], FULL]}),
        ("Attention", {"use_scale": True, "score_mode": "concat"}, {"mask": [None, FULL], "return_attention_scores": True}),
        ("AdditiveAttention", {}, {"mask": [FULL[:, 1:], FULL], "use_causal_mask": True}),
        ("AdditiveAttention", {"use_scale": False}, {"return_attention_scores": True}),
    ],
    ids=["dot", "scaled", "concat", "additive", "unscaled"],
)
def test_attention_without_projections(name, options, call):
    compare(name, (), options, [QUERY, VALUE, draw(2, 5, 6)], call, listed=True)


def test_attention_without_projections_on_more_axes():
    grid = draw(2, 3, 4, 6), draw(2, 3, 2, 6)
    run = lambda: [lib.Attention()(list(grid), return_attention_scores=True) for lib in (layers, K)]  # noqa: E731
    for a, b in zip(*quickly(run), strict=True):
        assert a.shape == b.shape and np.allclose(a, b, atol=1e-5)


def test_attention_without_projections_takes_the_masks_of_its_inputs_and_drops_in_training():
    words = np.array([[3, 1, 2, 0], [4, 0, 0, 0]], "int32")
    a, b = cn.Input((4,), dtype="int32"), K.Input((4,), dtype="int32")
    h, g = layers.Embedding(5, 6, mask_zero=True)(a), K.Embedding(5, 6, mask_zero=True)(b)
    ours = cn.Model(a, layers.Attention()([h, h]))
    theirs = keras.Model(b, K.Attention()([g, g]))
    ours.build()
    ours.set_weights([w for w in theirs.get_weights() if w.dtype == np.float32])
    assert np.allclose(ours.predict(words), theirs.predict(words, verbose=0), atol=1e-5)
    layer = layers.AdditiveAttention(dropout=0.5).build([QUERY, VALUE])
    one, same, other = (np.asarray(layer([QUERY, VALUE], train=True, key=k)) for k in (1, 1, 2))
    assert np.array_equal(one, same) and not np.allclose(one, other)


# -- generation ------------------------------------------------------------------------------------------------------------

DECODERS = {
    "heads": lambda: layers.MultiHeadAttention(2, 4, value_dim=3, rotary=True),
    "grouped": lambda: layers.GroupQueryAttention(
        4, 4, 2, rotary=layers.RotaryEmbedding(100.0), sliding_window=3, use_gate=True
    ),
}


@pytest.mark.parametrize("name", DECODERS)
def test_one_token_at_a_time_gives_the_numbers_of_the_whole(name):
    x = jnp.asarray(draw(2, 7, 6))
    padding = jnp.asarray([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]], bool)  # texts that begin with padding
    layer = DECODERS[name]().build(x, x)

    @jax.jit
    def whole(x):
        return layer(x, x, value_mask=padding, use_causal_mask=True)

    @jax.jit
    def stepwise(x):
        def step(cache, token):
            token, keep = token
            y, cache = layer(token[:, None], token[:, None], value_mask=keep[:, None], use_causal_mask=True, cache=cache)
            return cache, y[:, 0]

        # Three tokens at once, as a prompt is read, and the others one by one; two places of the cache stay empty.
        head = {"value_mask": padding[:, :3], "use_causal_mask": True}
        y, cache = layer(x[:, :3], x[:, :3], cache=layer.new_cache(2, 9), **head)
        cache, more = jax.lax.scan(step, cache, (x[:, 3:].swapaxes(0, 1), padding[:, 3:].T))
        return jnp.concatenate([y, more.swapaxes(0, 1)], 1), cache

    y, cache = stepwise(x)
    counts = np.asarray(padding)
    np.testing.assert_allclose(np.asarray(y)[counts], np.asarray(whole(x))[counts], atol=1e-5)
    assert int(cache["index"]) == 7 and np.array_equal(np.asarray(cache["mask"]).sum(1), [5, 7])


def test_a_filled_cache_can_be_read_alone():
    y, cache = LAYER(QUERY, VALUE, value_mask=FULL, cache=LAYER.new_cache(2, 5))
    assert np.allclose(y, LAYER(QUERY, VALUE, value_mask=FULL), atol=1e-6)
    again, same = LAYER(QUERY, cache=cache)
    assert np.allclose(again, y, atol=1e-6) and int(same["index"]) == 5
    y, scores, _ = LAYER(QUERY, cache=cache, return_attention_scores=True)
    assert scores.shape == (2, 2, 4, 5) and np.allclose(y, again, atol=1e-6)


def test_rotary_attention_knows_distances_alone():
    x = draw(1, 5, 6)
    layer = layers.MultiHeadAttention(2, 4, rotary=True).build(x, x)
    scores = lambda layer, **call: quickly(lambda: layer(x, x, return_attention_scores=True, **call)[1])  # noqa: E731
    near = scores(layer)
    turned = layers.MultiHeadAttention(2, 4).build(x, x)
    cn.core.bind(turned, cn.core.weights_of(layer)[0])
    assert not np.allclose(near, scores(turned), atol=1e-3)
    # The same tokens three places later: behind three that do not count.
    cache = layer.new_cache(1, 8) | {"index": jnp.asarray(3)}
    later = scores(layer, cache=cache)
    assert np.allclose(later[..., 3:], near, atol=1e-5) and not later[..., :3].any()


# -- everything else -------------------------------------------------------------------------------------------------------

SLOPES = {
    "heads": (lambda: layers.MultiHeadAttention(2, 2, rotary=True, use_gate=True), False),
    "grouped": (lambda: layers.GroupQueryAttention(2, 4, 2, sliding_window=2), False),
    "additive": (lambda: layers.AdditiveAttention(), True),
    "concat": (lambda: layers.Attention(use_scale=True, score_mode="concat"), True),
}


@pytest.mark.parametrize("name", SLOPES)
def test_gradients_are_the_slopes(name):
    make, listed = SLOPES[name]
    layer, rng = make(), np.random.default_rng(0)
    with jax.enable_x64(True):
        x = rng.normal(size=(2, 3, 4))
        arguments = (lambda x: ([x, x],)) if listed else (lambda x: (x, x))
        params, _ = jax.jit(lambda: layer.init(0, *arguments(x)))()
        point = ({k: np.asarray(v, "float64") + 0.1 for k, v in params.items()}, x)
        mark = rng.normal(size=x.shape)

        @jax.jit
        def both(params, x):
            value = lambda p, x: jnp.vdot(layer.apply(p, {}, *arguments(x), use_causal_mask=True)[0], mark)  # noqa: E731
            return jax.value_and_grad(value, (0, 1))(params, x)

        direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), point)
        ahead, behind = (jax.tree.map(lambda p, d, s=s: p + s * 1e-6 * d, point, direction) for s in (1, -1))
        slope = (float(both(*ahead)[0]) - float(both(*behind)[0])) / 2e-6
        grads = jax.tree.leaves(both(*point)[1])
        claimed = sum(np.vdot(g, d) for g, d in zip(grads, jax.tree.leaves(direction), strict=True))
        assert all(g.dtype == np.float64 for g in grads)
        np.testing.assert_allclose(claimed, slope, rtol=1e-6, atol=1e-8)


def test_saved_models_answer_as_before(tmp_path):
    x = cn.Input((4, 6))
    h = layers.MultiHeadAttention(2, 2, use_gate=True, rotary=layers.RotaryEmbedding(50.0), attention_axes=[1])(x, x)
    h = layers.GroupQueryAttention(2, 4, 2, rotary=True)(h, h, use_causal_mask=True)
    h = layers.Attention(use_scale=True, score_mode="concat")([h, h])
    model = cn.Model(x, layers.AdditiveAttention()([h, x])).build()
    model.save(tmp_path / "attention.cenote")
    assert np.allclose(cn.load(tmp_path / "attention.cenote").predict(QUERY), model.predict(QUERY), atol=1e-6)


def test_each_example_alone_is_the_batch():
    layer = layers.GroupQueryAttention(3, 4, 2).build(QUERY, VALUE)
    params, _ = cn.core.weights_of(layer)
    alone = quickly(jax.vmap(lambda q, v: layer.apply(params, {}, q[None], v[None])[0][0]), QUERY, VALUE)
    assert np.allclose(alone, layer(QUERY, VALUE), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: LAYER(QUERY, VALUE, attention_mask=np.ones((2, 5))),
            r"\(2, 4, 5\), but has shape \(2, 5\).*mask\[:, None, :\]",
        ),
        (lambda: LAYER(QUERY, VALUE, value_mask=FULL[:, 1:]), r"a mask \(batch, time\) of shape \(2, 5\).*got \(2, 4\)"),
        (lambda: LAYER(QUERY, VALUE, VALUE[:, :3]), "a key for every value"),
        (lambda: LAYER(QUERY, VALUE[:1]), "the same batch in all"),
        (lambda: LAYER(QUERY), r"for self-attention, say layer\(x, x\)"),
        (lambda: LAYER(QUERY[0], VALUE), r"takes \(batch, time, feature\), 3 axes"),
        (
            lambda: LAYER(QUERY, VALUE, cache=LAYER.new_cache(2, 4)),
            "2 sequences of 4 tokens and holds 0.*ask new_cache for more",
        ),
        (
            lambda: LAYER(QUERY, VALUE, cache=LAYER.new_cache(2, 6) | {"index": jnp.asarray(2)}),
            "holds 2, but 2 sequences of 5 more",
        ),
        (lambda: LAYER(QUERY[:1], VALUE[:1], cache=LAYER.new_cache(2, 9)), "1 sequences of 5 more"),
        (lambda: layers.MultiHeadAttention(0, 3), "needs num_heads to be a whole number of at least 1"),
        (lambda: layers.MultiHeadAttention(2, 3, sliding_window=0), "needs sliding_window to be a whole number of at least 1"),
        (lambda: layers.MultiHeadAttention(2, 3, attention_axes=(0, 1)), "names the batch, 0, or the features"),
        (lambda: layers.MultiHeadAttention(2, 3, attention_axes=2).build(QUERY, QUERY), "does not name axes between the first"),
        (
            lambda: layers.MultiHeadAttention(2, 3).init(0, QUERY[None], QUERY[None], use_causal_mask=True),
            "name one of them by attention_axes=",
        ),
        (lambda: layers.MultiHeadAttention(2, 3, rotary=True).build(QUERY, VALUE), "even number of them"),
        (lambda: layers.MultiHeadAttention(2, 3, rotary="yes"), "True, None or a RotaryEmbedding, got 'yes'"),
        (lambda: layers.MultiHeadAttention(2, 3, kernel_regulariser="l2"), "did you mean 'kernel_regularizer'"),
        (lambda: layers.GroupQueryAttention(2, 4, 3), "num_query_heads, 4, to be a multiple of num_key_value_heads, 3"),
        (lambda: layers.Attention(score_mode="dots"), "did you mean 'dot'"),
        (lambda: layers.Attention()(QUERY), r"takes a list, \[query, value\] or"),
        (lambda: layers.Attention()([QUERY, VALUE, VALUE[:, 1:]]), "a key for every value"),
        (lambda: layers.Attention()([QUERY, VALUE[:1]]), "the same batch in all"),
        (lambda: layers.Attention()([QUERY, VALUE], mask=FULL), r"a list of masks, \[query_mask, value_mask\]"),
        (lambda: layers.Attention()([QUERY, VALUE], mask=[FULL, FULL]), r"got \(2, 5\) for an input of \(2, 4, 6\)"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
