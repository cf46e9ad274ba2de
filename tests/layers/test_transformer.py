"""Blocks of transformers against the same composition of Keras's layers, PyTorch's stored answers, and themselves by steps."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cenote as cn
from cenote import layers

K = keras.layers
ANSWERS = json.loads((Path(__file__).parents[1] / "parity" / "attention.json").read_text())
RNG = np.random.default_rng(0)
X, MEMORY = (RNG.normal(size=shape).astype("float32") for shape in ((2, 5, 4), (2, 3, 6)))
PADDING = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
HEADS = [f"{part}.{name}" for part in ("query", "key", "value", "output") for name in ("kernel", "bias")]
NAMES = {"norm": ["scale", "bias"], "inner": ["kernel", "bias"], "outer": ["kernel", "bias"]}


def compiled(function, *args):
    """A program, made without the passes that small arrays do not need."""
    return jax.jit(function).lower(*args).compile(compiler_options={"xla_backend_optimization_level": 0})


def quickly(function, *args):
    return compiled(function, *args)(*args)


class Composed:
    """A block of Keras's layers, put together as keras_hub does it."""

    def __init__(self, first, crosses=False):
        self.first = first
        self.parts = {"attention": K.MultiHeadAttention(2, 2), "attention_norm": K.LayerNormalization(epsilon=1e-5)}
        self.parts["attention"].build(X.shape, X.shape)
        if crosses:
            self.parts |= {"cross_attention": K.MultiHeadAttention(2, 2)}
            self.parts["cross_attention"].build(X.shape, MEMORY.shape)
            self.parts |= {"cross_attention_norm": K.LayerNormalization(epsilon=1e-5)}
        self.parts |= {"inner": K.Dense(7, "gelu"), "outer": K.Dense(4), "feedforward_norm": K.LayerNormalization(epsilon=1e-5)}
        for name, part in self.parts.items():
            if not part.built:
                part.build((2, 5, 7) if name == "outer" else X.shape)

    def draw(self):
        params = {}
        for name, part in self.parts.items():
            names = NAMES.get(name.rpartition("_")[2], HEADS)
            for inner, weight in zip(names, part.trainable_variables, strict=True):
                params[f"{name}.{inner}"] = jnp.asarray(RNG.normal(size=weight.shape), jnp.float32)
        return params

    def __call__(self, params, x, memory=None, causal=None, encoder=None):
        def run(name, *inputs, **call):
            weights = [params[f"{name}.{inner}"] for inner in NAMES.get(name.rpartition("_")[2], HEADS)]
            fixed = [v.value for v in self.parts[name].non_trainable_variables]
            return self.parts[name].stateless_call(weights, fixed, *inputs, **call)[0]

        def around(x, norm, part):
            return x + part(run(norm, x)) if self.first else run(norm, x + part(x))

        x = around(x, "attention_norm", lambda h: run("attention", h, h, attention_mask=causal))
        if memory is not None:
            x = around(x, "cross_attention_norm", lambda h: run("cross_attention", h, memory, attention_mask=encoder))
        return around(x, "feedforward_norm", lambda h: run("outer", run("inner", h)))


def agree(ours, theirs, params, x):
    """The same outputs and gradients, in one program."""
    values = lambda run: jax.value_and_grad(lambda *a: ((y := run(*a)) ** 2).sum() + y.sum(), (0, 1))  # noqa: E731
    found, expected = quickly(lambda *a: (values(ours)(*a), values(theirs)(*a)), params, x)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("first", [False, True])
def test_encoder_is_the_composition_of_keras_layers(first):
    theirs = Composed(first)
    ours = layers.TransformerEncoder(7, 2, activation="gelu", normalize_first=first)
    table = np.tril(np.ones((5, 5), bool), 2)
    call = {"padding_mask": PADDING, "attention_mask": table}
    agree(
        lambda p, x: ours.apply(p, {}, x, **call)[0],
        lambda p, x: theirs(p, x, causal=PADDING[:, None, :] & table),
        theirs.draw(),
        X,
    )


@pytest.mark.parametrize("first", [False, True])
def test_decoder_is_the_composition_of_keras_layers(first):
    theirs = Composed(first, crosses=True)
    ours = layers.TransformerDecoder(7, 2, activation="gelu", normalize_first=first)
    call = {"decoder_padding_mask": PADDING, "encoder_padding_mask": PADDING[:, 1:4]}
    causal, encoder = PADDING[:, None, :] & np.tril(np.ones((5, 5), bool)), PADDING[:, None, 1:4]
    agree(
        lambda p, x: ours.apply(p, {}, x, MEMORY, **call)[0],
        lambda p, x: theirs(p, x, MEMORY, causal=causal, encoder=encoder),
        theirs.draw(),
        X,
    )


def from_torch(draw, crosses):
    """PyTorch's weights in the order in which make_attention.py drew them, by our names."""
    d, params = 4, {}
    for name in ["attention", "cross_attention"] if crosses else ["attention"]:
        kernels, biases = draw(3 * d, d).reshape(3, d, d), draw(3 * d).reshape(3, d)
        for part, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            params[f"{name}.{part}.kernel"], params[f"{name}.{part}.bias"] = kernel.T.reshape(d, 2, 2), bias.reshape(2, 2)
        params[f"{name}.output.kernel"], params[f"{name}.output.bias"] = draw(d, d).T.reshape(2, 2, d), draw(d)
    for name, (rows, columns) in {"inner": (6, d), "outer": (d, 6)}.items():
        params[f"{name}.kernel"], params[f"{name}.bias"] = draw(rows, columns).T, draw(rows)
    for name in ["attention", "cross_attention", "feedforward"] if crosses else ["attention", "feedforward"]:
        params[f"{name}_norm.scale"], params[f"{name}_norm.bias"] = draw(d), draw(d)
    return params


def numbers(seed):
    rng = np.random.default_rng(seed)
    return lambda *shape: rng.normal(size=shape).astype("float32")


ENCODERS = {
    "plain": ({}, {}),
    "first_gelu": ({"normalize_first": True, "activation": "gelu"}, {}),
    "padded": ({}, {"padding_mask": PADDING}),
    "causal": ({}, {"attention_mask": np.tril(np.ones((5, 5), bool))}),
}
DECODERS = {
    "plain": ({}, {}),
    "first": ({"normalize_first": True}, {}),
    "padded": ({}, {"encoder_padding_mask": np.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool)}),
}


def test_blocks_answer_as_those_of_pytorch():
    found, expected = {}, {}
    for name, (options, call) in ENCODERS.items():
        draw = numbers(0)
        params, x = from_torch(draw, False), draw(2, 5, 4)
        found[name] = (layers.TransformerEncoder(6, 2, **options), params, (x,), call)
        expected[name] = ANSWERS["encoder"][name]
    for name, (options, call) in DECODERS.items():
        draw = numbers(1)
        params, x = from_torch(draw, True), (draw(2, 3, 4), draw(2, 4, 4))
        found["decoder " + name] = (layers.TransformerDecoder(6, 2, **options), params, x, call)
        expected["decoder " + name] = ANSWERS["decoder"][name]
    y = quickly(lambda: {name: layer.apply(params, {}, *x, **call)[0] for name, (layer, params, x, call) in found.items()})
    for name, value in y.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


# -- generation ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crosses", [False, True])
def test_one_token_at_a_time_gives_the_numbers_of_the_whole(crosses):
    layer = layers.TransformerDecoder(7, 2, normalize_first=True, rotary=not crosses)
    memory = (MEMORY,) if crosses else ()
    layer.build(X, *memory)

    def whole(x):
        return layer(x, *memory)

    def stepwise(x):
        def step(cache, token):
            y, cache = layer(token[:, None], cache=cache)
            return cache, y[:, 0]

        # The encoder's sequence comes with the first tokens and is kept, as keys and values.
        y, cache = layer(x[:, :2], *memory, cache=layer.new_cache(2, 5, 3 if crosses else None))
        _, more = jax.lax.scan(step, cache, x[:, 2:].swapaxes(0, 1))
        return jnp.concatenate([y, more.swapaxes(0, 1)], 1)

    y, expected = quickly(lambda x: (stepwise(x), whole(x)), jnp.asarray(X))
    np.testing.assert_allclose(y, expected, atol=2e-5)


class Writer(cn.Model):
    """A small language model with a cache for each block."""

    def __init__(self, count=2):
        self.embed = layers.TokenAndPositionEmbedding(7, 6, 4)
        self.blocks = [layers.TransformerDecoder(8, 2, normalize_first=True) for _ in range(count)]

    def new_cache(self, batch, length):
        return {"at": jnp.zeros((), jnp.int32), "blocks": [block.new_cache(batch, length) for block in self.blocks]}

    def forward(self, tokens, cache=None):
        h = self.embed(tokens, start_index=0 if cache is None else cache["at"])
        kept = []
        for i, block in enumerate(self.blocks):
            h = block(h, cache=None if cache is None else cache["blocks"][i])
            if cache is not None:
                h, more = h
                kept.append(more)
        logits = self.embed.token_embedding(h, reverse=True)
        return logits if cache is None else (logits, {"at": cache["at"] + tokens.shape[1], "blocks": kept})


def test_a_model_writes_the_same_text_with_its_cache_and_without():
    tokens = np.array([[1], [4]], "int32")
    model = Writer().build(np.zeros((2, 6), "int32"), key=3)

    @jax.jit
    def write(model, token, cache):
        def step(carry, _):
            token, cache = carry
            logits, cache = model(token, cache=cache)
            token = logits[:, -1].argmax(-1)[:, None].astype("int32")
            return (token, cache), token[:, 0]

        return jax.lax.scan(step, (token, cache), None, length=5)[1].T

    text = np.concatenate([tokens, write(model, tokens, model.new_cache(2, 6))], 1)
    whole = np.asarray(jax.jit(lambda m, x: m(x))(model, text)).argmax(-1)
    assert np.array_equal(text[:, 1:], whole[:, :-1])  # each token is the one that the whole text before it asks for


# -- everything else -------------------------------------------------------------------------------------------------------


def test_padding_changes_nothing_that_counts_and_travels_on():
    words = np.array([[3, 1, 2, 0, 0], [4, 4, 3, 2, 1]], "int32")
    model = cn.Sequential([layers.Embedding(5, 4, mask_zero=True), layers.TransformerEncoder(8, 2), layers.LSTM(3)])
    model.build(words)
    assert np.allclose(model.predict(words)[0], model.predict(words[:1, :3])[0], atol=1e-5)


def test_dropout_acts_in_training_only():
    layer = layers.TransformerEncoder(8, 2, dropout=0.5).build(X)
    trained = jax.jit(lambda key: layer(X, train=True, key=key))
    one, same, other = (np.asarray(trained(jax.random.key(k))) for k in (1, 1, 2))
    assert np.array_equal(one, same) and not np.allclose(one, other)
    (y, scores), plain = quickly(lambda m: (m(X, return_attention_scores=True), m(X)), layer)
    assert np.allclose(y, plain, atol=1e-5)
    assert scores.shape == (2, 2, 5, 5) and np.allclose(scores.sum(-1), 1, atol=1e-5)


def test_saved_models_answer_as_before(tmp_path):
    x, memory = cn.Input((5, 4)), cn.Input((3, 6))
    h = layers.TransformerEncoder(8, 2, activation="gelu", kernel_initializer="he_normal", rotary=True)(x)
    model = cn.Model([x, memory], layers.TransformerDecoder(8, 2, normalize_first=True)(h, memory)).build()
    model.save(tmp_path / "blocks.cenote")
    again = cn.load(tmp_path / "blocks.cenote")
    assert np.allclose(again.predict([X, MEMORY]), model.predict([X, MEMORY]), atol=1e-6)


def test_gradients_are_the_slopes():
    layer = layers.TransformerDecoder(5, 2, activation="tanh")
    with jax.enable_x64(True):
        x, memory, mark = (jnp.asarray(RNG.normal(size=s)) for s in ((1, 3, 4), (1, 2, 4), (1, 3, 4)))
        params = {k: jnp.asarray(v, jnp.float64) + 0.1 for k, v in layer.init(0, x, memory)[0].items()}
        point = (params, x, memory)
        direction = jax.tree.map(lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape)), point)

        def values(point):
            return jax.value_and_grad(lambda p: jnp.vdot(layer.apply(p[0], {}, *p[1:])[0], mark))(point)

        values = compiled(values, point)
        moved = [jax.tree.map(lambda p, d, s=s: p + s * d, point, direction) for s in (1e-6, -1e-6, 0)]
        (ahead, _), (behind, _), (_, grads) = map(values, moved)
        claimed = sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(grads), jax.tree.leaves(direction), strict=True))
        np.testing.assert_allclose(claimed, (ahead - behind) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.TransformerEncoder(0, 2), "needs intermediate_dim to be a whole number"),
        (lambda: layers.TransformerDecoder(4, 2, dropout=1.5), "dropout from 0 up and below 1, got 1.5"),
        (lambda: layers.TransformerEncoder(4, 2, activation="rely"), "did you mean 'relu'"),
        (lambda: layers.TransformerEncoder(4, 8).build(X), "8 heads cannot share 4 features"),
        (lambda: layers.TransformerEncoder(4, 2).build(X[0]), r"takes \(batch, time, feature\), 3 axes"),
        (lambda: layers.TransformerEncoder(4, 2).build(X)(X, padding_mask=PADDING[:, :3]), r"shape \(2, 5\).*got \(2, 3\)"),
        (lambda: layers.TransformerDecoder(4, 2).new_cache(2, 5), "has no weights yet: build it first, or say"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
