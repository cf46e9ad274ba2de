"""Steps for sequences against formulas in numpy, steps that move numbers against jax.numpy, whole models against predict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import cenote as cn
from cenote import layers
from cenote.kernels import native
from cenote.serving.plan import Unsupported
from cenote.serving.program import Program

SOURCES = "program", "dense", "moving", "recurrence", "attention", "normalization", "elementwise"
pytestmark = pytest.mark.skipif(native.library(*SOURCES) is None, reason=f"no native kernels: {native.status()}")
RNG = np.random.default_rng(0)
NONE = np.zeros((0, 0), "float32")


def draw(*shape):
    return RNG.normal(size=shape).astype("float32")


def answers(function, *inputs):
    return Program(function, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs])(*inputs)


def close(found, wanted, rtol=2e-5, atol=2e-6):
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol)


# -- recurrent layers ------------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, h, c, recurrent, mask):
    found = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] + h @ recurrent, 4, axis=-1)
        new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        new_h = sigmoid(o) * np.tanh(new_c)
        goes = mask[:, t, None] != 0
        h, c = np.where(goes, new_h, h), np.where(goes, new_c, c)
        found.append(h)
    return np.stack(found, 1), c


def gru(x, h, recurrent, after, mask):
    found = []
    for t in range(x.shape[1]):
        (xz, xr, xg), (uz, ur, ug) = np.split(x[:, t], 3, axis=-1), np.split(h @ recurrent + after, 3, axis=-1)
        z = sigmoid(xz + uz)
        h = np.where(mask[:, t, None] != 0, z * h + (1 - z) * np.tanh(xg + sigmoid(xr + ur) * ug), h)
        found.append(h)
    return np.stack(found, 1)


def check_lstm(x, kernel, bias, h, c, recurrent, mask, last):
    def function(x, h, c, *given):
        seen = given[0] if given else None
        return native.lstm_forward(x, kernel, bias, h, c, recurrent, seen, keep=False, last=last)[:2]

    found, last_c = answers(function, x, h, c, *([] if mask is None else [mask]))
    whole = x if kernel is None else x @ kernel + (0 if bias is None else bias)
    wanted, wanted_c = lstm(whole, h, c, recurrent, np.ones(x.shape[:2]) if mask is None else mask)
    close(found, wanted[:, -1:] if last else wanted)
    close(last_c[:, 0], wanted_c)


def check_gru(x, kernel, bias, h, recurrent, after, mask, last):
    def function(x, h, *given):
        seen = given[0] if given else None
        return native.gru_forward(x, kernel, bias, h, recurrent, after, seen, keep=False, last=last)[:1]

    (found,) = answers(function, x, h, *([] if mask is None else [mask]))
    whole = x if kernel is None else x @ kernel + (0 if bias is None else bias)
    wanted = gru(whole, h, recurrent, after, np.ones(x.shape[:2]) if mask is None else mask)
    close(found, wanted[:, -1:] if last else wanted)


@pytest.mark.parametrize("rows", [1, 2, 7, 33, 150])
@pytest.mark.parametrize(("time", "features", "units"), [(1, 1, 1), (5, 3, 17), (4, 40, 70), (3, 0, 20)])
def test_recurrent_layers(rows, time, features, units):
    """With inputs and their kernel, or what inputs give to all gates (0 features); with and without masks and biases."""
    masks = np.asarray(np.arange(rows * time).reshape(rows, time) % 3 > 0, "float32")
    for mask, last in ((masks, False), (None, True)):
        h, c, x = draw(rows, units), draw(rows, units), draw(rows, time, features or 4 * units)
        recurrent, after = draw(units, 4 * units) / np.sqrt(units), draw(3 * units)
        kernel = draw(features, 4 * units) / np.sqrt(features) if features else None
        bias = draw(4 * units) if features and last else None
        check_lstm(x, kernel, bias, h, c, recurrent, mask, last)
        kernel, bias = (None if a is None else a[..., : 3 * units] for a in (kernel, bias))
        check_gru(x if features else x[..., : 3 * units], kernel, bias, h, recurrent[:, : 3 * units], after, mask, last)


def test_what_is_no_number_stays_in_its_sequence():
    x, w, h = draw(40, 6, 3), draw(3, 32), draw(8, 32)
    x[4, 2, 1], x[9, 0, 0] = np.nan, np.inf
    zeros = np.zeros((40, 8), "float32")
    (y,) = answers(lambda x: native.lstm_forward(x, w, None, zeros, zeros, h, keep=False)[:1], x)
    assert np.isfinite(y[4, :2]).all() and np.isnan(y[4, 2:]).all() and np.isfinite(np.delete(y, [4, 9], 0)).all()


# -- attention -------------------------------------------------------------------------------------------------------------


def attention(q, k, v, shown, causal, scale):
    logits = np.einsum("bqhw,bkhw->bhqk", q * np.float32(scale), k)
    allowed = np.broadcast_to((shown != 0)[:, None, None], logits.shape)
    if causal:
        allowed = allowed & np.tri(*logits.shape[2:], dtype=bool)
    logits = np.where(allowed, logits, np.float32(-1e9))
    e = np.exp(logits - logits.max(-1, keepdims=True))
    weights = e / e.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhw->bqhw", weights, v), weights


def attended(q, k, v, shown=None, causal=False, both=False):
    def function(q, k, v, *shown):
        hides = shown[0] if shown else NONE
        call = native.attention_forward(q, k, v, hides, np.zeros(0, "uint32"), scale=0.4, rate=0.0, causal=causal)
        return call if both else call[:1]

    return answers(function, q, k, v, *([] if shown is None else [shown]))


@pytest.mark.parametrize(
    ("rows", "queries", "keys", "heads", "width", "wide"),
    [
        (1, 2, 2, 1, 1, 1),
        (1, 70, 70, 1, 16, 16),
        (3, 33, 33, 2, 8, 8),
        (1, 50, 17, 3, 20, 33),
        (2, 15, 48, 1, 5, 50),
        (40, 16, 16, 2, 16, 16),
    ],
)
def test_attention(rows, queries, keys, heads, width, wide):
    q, k, v = draw(rows, queries, heads, width), draw(rows, keys, heads, width), draw(rows, keys, heads, wide)
    shown = np.asarray(RNG.uniform(size=(rows, keys)) < 0.7, "float32")
    shown[0, 0] = 0  # with a causal mask the first query may see nothing: it attends evenly
    for mask in (None, shown):
        for causal in (False, True):
            wanted, weights = attention(q, k, v, np.ones_like(shown) if mask is None else mask, causal, 0.4)
            close(attended(q, k, v, mask, causal)[0], wanted)
            found = attended(q, k, v, mask, causal, both=True)
            close(found[0], wanted)
            close(found[1], weights)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_to_what_is_no_number(causal):
    """As in the formula: a hidden key may be anything, but zero times a value that is no number is no number."""
    shown = np.ones((2, 40), "float32")
    shown[0, 7] = 0
    q, k, v = (draw(2, 40, 2, 8) for _ in range(3))
    k[0, 7], k[1, 30], q[1, 3, 1, 0], v[1, 20, 0, 5] = np.nan, np.nan, np.inf, np.inf
    with np.errstate(invalid="ignore"):
        wanted = attention(q, k, v, shown, causal, 0.4)[0]
    assert np.isnan(wanted).any() and np.isfinite(wanted).any()
    close(attended(q, k, v, shown, causal)[0], wanted)


# -- normalised rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (300, 130)])
def test_normalised_rows(shape):
    x, scale, bias = draw(*shape) + 3, draw(shape[1]), draw(shape[1])
    for centre in (True, False):
        (y,) = answers(lambda x, c=centre: native.rows_forward(x, scale, bias, epsilon=1e-3, centre=c)[:1], x)
        d = x - x.mean(1, keepdims=True) if centre else x
        close(y, d / np.sqrt((d * d).mean(1, keepdims=True) + 1e-3) * scale + bias, rtol=1e-4, atol=1e-5)


# -- moving ----------------------------------------------------------------------------------------------------------------

X = draw(5, 6, 7, 4)
MOVES = {
    "transpose": lambda x: (x.transpose(0, 3, 2, 1), x.transpose(0, 2, 1, 3)),
    "rev": lambda x: (x[:, ::-1], x[:, :, ::-1, ::-1]),
    "slice": lambda x: (x[:, 1:5], x[:, ::2, 3:], x[:, 2], x[..., -1:]),
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (0, 1, 2, 3), (len(x), 5, 2, 3)),
    "split": lambda x: jnp.split(x, 3, axis=1),
    "concatenate": lambda x: (
        jnp.concatenate([x, X[: len(x), :2].astype(x.dtype), x[:, ::-1]], 1),
        jnp.concatenate([x, x], -1),
    ),
    "pad": lambda x: (
        lax.pad(x, np.asarray(2, x.dtype), ((0, 0, 0), (1, 2, 0), (-1, -3, 0), (0, 0, 0))),
        lax.pad(x, np.asarray(-1, x.dtype), ((0, 0, 0), (-1, 2, 1), (3, -2, 2), (-3, 1, 1))),
    ),
    "broadcast": lambda x: jnp.broadcast_to(x[:, :, None], (len(x), 6, 3, 7, 4)),
    "repeat": lambda x: jnp.repeat(x, 3, axis=2),
    "nothing": lambda x: (x, x),
}


@pytest.mark.parametrize("kind", ["float32", "int32", "bool"])
@pytest.mark.parametrize("name", MOVES)
def test_moving(name, kind):
    x = X.astype(kind) if kind != "bool" else X > 0
    for given in (x, x[:1]):
        found = answers(lambda x: jax.tree.leaves(MOVES[name](x)), given)
        for a, b in zip(found, jax.tree.leaves(MOVES[name](jnp.asarray(given))), strict=True):
            np.testing.assert_array_equal(a, b)


def test_large_arrays_are_turned_by_all_threads():
    x = draw(1, 70, 1003)
    np.testing.assert_array_equal(answers(lambda x: [x.transpose(0, 2, 1), x[:, :, ::-1]], x)[0], x.transpose(0, 2, 1))


@pytest.mark.parametrize("mode", ["clip", "fill", "promise_in_bounds"])
def test_rows_of_a_table(mode):
    table, index = draw(9, 2, 3), np.array([[0, 8, 3], [1, -1, 2], [7, 2, -9], [3, 9, 100]], "int32")
    if mode == "promise_in_bounds":
        index = np.clip(index, 0, 8)
    take = lambda i: [jnp.asarray(table).at[i].get(mode=mode)]  # noqa: E731
    np.testing.assert_array_equal(answers(take, index)[0], take(jnp.asarray(index))[0])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: [x.transpose(1, 0, 2, 3)], "no step does transpose over the batch"),
        (lambda x: [x[::-1]], "no step does rev over the batch"),
        (lambda x: [x[1:]], "no step does slice over the batch"),
        (lambda x: [jnp.concatenate([x, x])], "no step does concatenate over the batch"),
        (lambda x: [jnp.pad(x, ((1, 0), (0, 0), (0, 0), (0, 0)))], "no step does pad over the batch"),
        (lambda x: [jnp.take(x, np.array([2, 1]), axis=1)], "no step takes anything but rows of a table"),
        (lambda x: [lax.dynamic_slice_in_dim(x, x[0, 0, 0, 0].astype(int), 2, axis=1)], "no step"),
    ],
)
def test_what_would_mix_rows_is_refused(function, words):
    with pytest.raises(Unsupported, match=words):
        answers(function, X)


# -- whole models ----------------------------------------------------------------------------------------------------------


def words():
    return cn.Sequential(
        [
            layers.Embedding(30, 12, mask_zero=True),
            layers.Bidirectional(layers.LSTM(9, return_sequences=True)),
            layers.GRU(10, return_sequences=True, go_backwards=True),
            layers.Bidirectional(layers.GRU(11)),
            layers.Dense(3, "softmax"),
        ]
    )


def transformer():
    x = tokens = cn.Input((12,), dtype="int32")
    x = layers.Embedding(30, 16)(x)
    for causal in (True, False):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(2, 8)(y, y, use_causal_mask=causal)
        x = x + layers.Dense(16)(layers.Dense(40, "gelu")(layers.RMSNormalization()(x)))
    return cn.Model(tokens, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize("network", [words, transformer])
def test_models(network):
    tokens = RNG.integers(0, 30, (33, 12)).astype("int32")
    tokens[:, 8:] *= RNG.integers(0, 2, (33, 4)).astype("int32")
    model = network()
    model.build(tokens)
    wanted = model.predict(tokens)
    for rows in (1, 2, 33):
        serve = model.compiled((rows, 12))
        assert serve.engine == "C++"
        close(serve(tokens[:rows]), wanted[:rows], rtol=1e-4, atol=1e-5)
