"""Every loss of Keras by name, arguments and reduction; PyTorch's stored answers; slopes by finite differences in float64."""

import functools
import inspect
import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from cenote import losses
from cenote.core.notes import annotate, collecting

RNG = np.random.default_rng(3)
STORED = json.loads((Path(__file__).parents[1] / "parity" / "losses.json").read_text())


def values_slopes_and_quotients(cases):
    """Of all cases, in one program and float64: values, the slope of their sum weighed 1, 2, 3, ..., and along one random
    direction that slope and its difference quotient."""
    directions = [RNG.normal(size=np.shape(y_pred)) for _, y_pred in cases]

    @jax.jit
    def run(points):
        found = []
        for (loss, _), x, d in zip(cases, points, directions, strict=True):

            def total(x, loss=loss):
                values = loss(x)
                return jnp.vdot(values, jnp.arange(1.0, values.size + 1).reshape(values.shape)), values

            slope, values = jax.grad(total, has_aux=True)(x)
            quotient = (total(x + 1e-6 * d)[0] - total(x - 1e-6 * d)[0]) / 2e-6
            found.append((values, slope, jnp.vdot(slope, d), quotient))
        return found

    with jax.enable_x64(True):
        return run([np.asarray(y_pred, "float64") for _, y_pred in cases])


def keras_classes():
    return [n for n in dir(keras.losses) if isinstance(getattr(keras.losses, n), type) and n != "Loss"]


def test_every_name_of_keras_is_here_with_its_arguments_in_order():
    for name in dir(keras.losses):
        if name[0] != "_":
            assert hasattr(losses, name), name
    for name in keras_classes():
        theirs = inspect.signature(getattr(keras.losses, name)).parameters
        ours = inspect.signature(getattr(losses, name)).parameters
        assert list(ours)[: len(theirs)] == list(theirs), name
        for p in set(theirs) - {"name"}:
            assert ours[p].default == theirs[p].default, f"{name}({p})"


def data_for(name):
    """Targets and predictions of 5 examples that fit a loss of Keras."""
    scores = RNG.normal(size=(5, 4)).astype("float32")
    shares = np.asarray(jax.nn.softmax(scores))
    labels = RNG.integers(0, 4, 5)
    if name == "CTC":
        return np.array([[1, 2], [3, 0], [1, 1], [2, 3], [3, 3]]), RNG.normal(size=(5, 6, 4)).astype("float32")
    if name.startswith("Sparse") or name == "CategoricalGeneralizedCrossEntropy":
        return labels, shares
    if name == "Circle":
        return np.array([0, 0, 1, 1, 2]), scores / np.linalg.norm(scores, axis=1, keepdims=True)
    return np.eye(4, dtype="float32")[labels], shares


def test_every_class_of_keras_reduces_and_weighs_as_keras():
    weights = np.array([1.0, 0.5, 2.0, 0.0, 1.5], "float32")
    cases = {name: data_for(name) for name in keras_classes()}
    grid = [("sum_over_batch_size", weights), ("sum", None), ("mean_with_sample_weight", weights), ("none", weights)]

    @functools.partial(jax.jit, static_argnums=0)
    def all_of(module, y_pred):
        return {
            f"{name} {r} {w is not None}": getattr(module, name)(reduction=r)(y_true, y_pred[name], sample_weight=w)
            for name, (y_true, _) in cases.items()
            for r, w in grid
            if not (name == "Circle" and r == "mean_with_sample_weight")
        }

    predictions = {name: y_pred for name, (_, y_pred) in cases.items()}
    ours, theirs = all_of(losses, predictions), all_of(keras.losses, predictions)
    for case in ours:
        np.testing.assert_allclose(ours[case], theirs[case], rtol=2e-5, atol=1e-6, err_msg=case)


@functools.cache
def our_answers():
    def loss_of(case):
        loss, options = getattr(losses, case["loss"]), case["options"]
        y_true = np.array(case["y_true"])
        if isinstance(loss, type):
            return functools.partial(loss(**options), y_true)
        return functools.partial(loss, y_true, **options)

    return values_slopes_and_quotients([(loss_of(case), case["y_pred"]) for case in STORED])


@pytest.mark.parametrize("case", range(len(STORED)), ids=[f"{c['loss']}-{'-'.join(c['options'])}" for c in STORED])
def test_values_and_slopes_are_those_of_pytorch(case):
    values, slope, along, quotient = our_answers()[case]
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, STORED[case]["values"], rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(np.ravel(slope), STORED[case]["slope"], rtol=2e-6, atol=1e-6)
    # Of variances below eps the slope is, as in PyTorch, that of a variance which was not clipped.
    if STORED[case]["loss"] != "gaussian_nll":
        np.testing.assert_allclose(quotient, along, rtol=1e-5, atol=1e-6)


EMBEDDED = RNG.normal(size=(6, 2, 4))
CLASSES = np.array([0, 1, 0, 2, 1, 1])
OWN = [
    ("nt_xent", CLASSES, EMBEDDED, {}),
    ("info_nce", CLASSES, EMBEDDED, {"symmetric": True}),
    ("supervised_contrastive", CLASSES, EMBEDDED[:, 0], {"temperature": 0.4}),
    ("contrastive", CLASSES[:, None] > 0, np.abs(EMBEDDED[:, 0, :1]), {"margin": 1.2}),
    ("gaussian_nll", EMBEDDED[:, 0], np.exp(EMBEDDED).reshape(6, 8), {"full": True}),
    ("ctc", np.array([[1, 1], [2, 3], [1, 0], [0, 0], [3, 2], [2, 2]]), RNG.normal(size=(6, 5, 4)), {}),
]


def test_slopes_against_finite_differences():
    cases = [(functools.partial(getattr(losses, name), y, **options), x) for name, y, x, options in OWN]
    for (name, *_), (values, _, along, quotient) in zip(OWN, values_slopes_and_quotients(cases), strict=True):
        assert np.isfinite(values).all(), name
        np.testing.assert_allclose(quotient, along, rtol=1e-5, atol=1e-6, err_msg=name)


def reference_nt_xent(x, temperature):
    z = np.concatenate([x[:, 0], x[:, 1]])
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    s = np.exp(z @ z.T / temperature)
    n = len(x)
    values = [-np.log(s[i, (i + n) % (2 * n)] / (s[i].sum() - s[i, i])) for i in range(2 * n)]
    return (np.array(values[:n]) + np.array(values[n:])) / 2


def reference_supervised(labels, x, temperature):
    z = x / np.linalg.norm(x, axis=1, keepdims=True)
    s = np.exp(z @ z.T / temperature)
    values = []
    for i in range(len(x)):
        partners = [j for j in range(len(x)) if j != i and labels[j] == labels[i]]
        values.append(np.mean([-np.log(s[i, j] / (s[i].sum() - s[i, i])) for j in partners]) if partners else 0.0)
    return np.array(values)


def test_losses_of_a_batch_are_what_their_papers_say():
    found = jax.jit(
        lambda x: (
            losses.nt_xent(None, x),
            losses.supervised_contrastive(CLASSES, x[:, 0]),
            losses.SupervisedContrastive()(CLASSES, x[:, 0]),
            losses.info_nce(None, x, symmetric=True),
            losses.info_nce(None, x) + losses.info_nce(None, x[:, ::-1]),
        )
    )(EMBEDDED)
    np.testing.assert_allclose(found[0], reference_nt_xent(EMBEDDED, 0.5), rtol=1e-5)
    expected = reference_supervised(CLASSES, EMBEDDED[:, 0], 0.1)
    np.testing.assert_allclose(found[1], expected, rtol=1e-4)
    # The example that is alone in its class counts nowhere.
    np.testing.assert_allclose(found[2], expected.sum() / 5, rtol=1e-5)
    np.testing.assert_allclose(found[3], found[4] / 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "y_true", "y_pred"),
    [
        (losses.Circle(gamma=4.0), CLASSES, EMBEDDED[:, 0] / np.linalg.norm(EMBEDDED[:, 0], axis=1, keepdims=True)),
        (losses.InfoNCE(symmetric=True), CLASSES, EMBEDDED),
        (losses.NTXent(), CLASSES, EMBEDDED),
        (losses.SupervisedContrastive(), CLASSES, EMBEDDED[:, 0]),
        (losses.Dice(), EMBEDDED > 0, np.abs(EMBEDDED)),
        (losses.Tversky(alpha=0.2, axis=(0, 1)), EMBEDDED > 0, np.abs(EMBEDDED)),
        (losses.Dice(axis=(1, 2)), EMBEDDED > 0, np.abs(EMBEDDED)),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, losses.Loss) else "",
)
def test_padding_is_nobodys_neighbour(loss, y_true, y_pred):
    whole = jax.jit(loss)(y_true, y_pred)
    padded_true = np.concatenate([y_true, y_true[:2]])
    padded_pred = np.concatenate([y_pred, np.full_like(y_pred[:2], 7.0)]).astype("float32")

    @jax.jit
    @jax.value_and_grad
    def mean(p):
        total, count = loss.totals(padded_true, p, None, jnp.arange(8) < 6)
        return total / count

    value, slope = mean(padded_pred)
    np.testing.assert_allclose(value, whole, rtol=1e-5)
    assert np.isfinite(slope).all()
    assert not slope[6:].any()
    if not isinstance(loss, losses.Dice | losses.Tversky) or loss.axis is None:
        weights = np.array([1.0, 2.0, 0.5, 1.0, 0.0, 3.0, 9.0, 9.0], "float32")
        total, count = jax.jit(lambda p: loss.totals(padded_true, p, weights, jnp.arange(8) < 6))(padded_pred)
        np.testing.assert_allclose(total / count, loss(y_true, y_pred, weights[:6]), rtol=1e-5)


def test_several_vectors_may_be_given_as_a_tuple_or_stacked():
    pair = tuple(EMBEDDED[:, i] for i in range(2))
    np.testing.assert_allclose(losses.NTXent()(None, pair), losses.NTXent()(None, EMBEDDED), rtol=1e-6)
    np.testing.assert_allclose(losses.CosineEmbedding()(CLASSES, pair), losses.CosineEmbedding()(CLASSES, EMBEDDED), rtol=1e-6)
    far = losses.TripletMargin(distance=lambda a, b: jnp.sum(jnp.abs(a - b), axis=-1), margin=0.5)
    triple = RNG.normal(size=(6, 3, 4)).astype("float32")
    plain = losses.TripletMargin(p=1.0, eps=0.0, margin=0.5)
    np.testing.assert_allclose(far(None, triple), plain(None, triple), rtol=1e-6)


# -- CTC -------------------------------------------------------------------------------------------------------------------


def enumerated(x, labels, blank=0):
    """Minus the logarithm of the sum over all paths, one by one."""
    p = np.exp(x - np.log(np.exp(x).sum(-1, keepdims=True)))
    total = 0.0
    for path in np.ndindex(*[x.shape[1]] * len(x)):
        kept = [c for i, c in enumerate(path) if c != blank and (i == 0 or path[i - 1] != c)]
        if kept == list(labels):
            total += np.prod([p[t, c] for t, c in enumerate(path)])
    return -np.log(total) if total else np.inf


@jax.jit
def ctc_and_slope(labels, x, lengths):
    values, back = jax.vjp(lambda x: losses.ctc(labels, x, logit_length=lengths), x)
    return values, back(jnp.ones_like(values))[0]


def test_ctc_is_the_sum_over_all_paths():
    x = RNG.normal(size=(5, 4, 3)).astype("float32")
    labels = np.array([[1, 1], [1, 2], [2, 0], [0, 0], [1, 1]])
    lengths = np.array([4, 3, 4, 2, 2])
    values, slope = ctc_and_slope(labels, x, lengths)
    expected = [enumerated(x[i, : lengths[i]], [c for c in labels[i] if c]) for i in range(5)]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    # Two equal labels need a blank between them, and two frames hold none: infinite, but nothing that spoils the step.
    assert np.isinf(values[4]) and not slope[4].any() and np.isfinite(slope).all() and slope[0].any()
    assert not slope[1, 3].any(), "frames after the end say nothing"
    loss = losses.CTC(zero_infinity=True, reduction="sum")
    np.testing.assert_allclose(jax.jit(loss)(labels, x), np.sum(ctc_and_slope(labels, x, np.full(5, 4))[0]), rtol=1e-6)
    # A class that the model rules out (a logit of minus infinity) gives no NaN, nor does a model sure of itself.
    closed = x.copy()
    closed[1, :, 2] = -np.inf
    values, slope = ctc_and_slope(labels, closed, lengths)
    assert np.isinf(values[1]) and np.isfinite(values[2]) and np.isfinite(slope).all()
    values, slope = ctc_and_slope(labels, 1e4 * x, np.full(5, 4))
    assert np.isfinite(values).all() and np.isfinite(slope).all()


def test_ctc_takes_masks_and_other_blanks():
    x = RNG.normal(size=(2, 4, 3)).astype("float32")
    labels = np.array([[1, 2], [2, 0]])

    @jax.jit
    def masked(x):
        with collecting():
            return losses.CTC(reduction="none")(labels, annotate(x, "mask", jnp.arange(4) < jnp.array([[3], [4]])))

    @jax.jit
    def turned(x):
        return losses.ctc(np.array([[0, 1], [1, -1]]), jnp.roll(x, -1, axis=-1), blank=2)

    np.testing.assert_allclose(masked(x), [enumerated(x[0, :3], [1, 2]), enumerated(x[1], [2])], rtol=1e-5)
    np.testing.assert_allclose(turned(x), [enumerated(x[0], [1, 2]), enumerated(x[1], [2])], rtol=1e-5)


# -- what is ours beyond Keras ---------------------------------------------------------------------------------------------


def test_focal_losses_of_far_logits_have_finite_slopes():
    x = jnp.array([[1000.0, -1000.0], [30.0, -30.0]])
    y = np.array([[0.0, 1.0], [1.0, 0.0]])
    for loss in (losses.BinaryFocalCrossentropy(gamma=0.5), losses.CategoricalFocalCrossentropy(gamma=0.5)):
        strict = type(loss)(gamma=0.5, from_logits=True)
        assert np.isfinite(jax.grad(lambda x, loss=strict: loss(y, x))(x)).all()
        p = jnp.array([[1.0, 0.0], [1.0, 0.0]])
        assert np.isfinite(jax.grad(lambda p, loss=loss: loss(y, p))(p)).all()


def test_class_weights_multiply_the_values():
    y, x, w = np.array([0, 2, 1]), RNG.normal(size=(3, 3)).astype("float32"), np.array([1.0, 2.0, 0.5])
    plain = losses.sparse_categorical_crossentropy(y, x, from_logits=True)
    weighted = losses.SparseCategoricalCrossentropy(from_logits=True, class_weights=w)
    np.testing.assert_allclose(weighted(y, x), np.mean(plain * w[y]), rtol=1e-6)
    own = losses.CategoricalCrossentropy(from_logits=True, class_weights=w, reduction="mean_with_sample_weight")
    sample = np.array([1.0, 0.0, 2.0])
    expected = np.sum(plain * w[y] * sample) / np.sum(w[y] * sample)
    np.testing.assert_allclose(own(np.eye(3)[y], x, sample), expected, rtol=1e-6)


@pytest.mark.parametrize("name", sorted({cls.__name__ for cls in losses.CLASSES}))
def test_losses_travel_as_plain_values(name):
    loss = getattr(losses, name)()
    again = losses.deserialize(json.loads(json.dumps(losses.serialize(loss))))
    assert type(again) is type(loss) and again.options == loss.options and again.name == loss.name
    assert type(losses.get(name)) is type(losses.get(losses.NAMES and loss.function)) is type(loss)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: losses.NTXent()(None, np.zeros((4, 3, 2))), r"nt_xent.*\(4, 3, 2\) are not 2 parts.*jnp\.stack"),
        (lambda: losses.TripletMargin()(None, (np.zeros((4, 2)), np.zeros((4, 3)), np.zeros((4, 2)))), "are not 3 parts"),
        (lambda: losses.CTC()(np.zeros((4, 2)), np.zeros((4, 3))), r"needs labels \(batch, labels\) and logits"),
        (lambda: losses.CTC(blank=3)(np.zeros((4, 2)), np.zeros((4, 5, 3))), "blank=3 is no class of 3"),
        (lambda: losses.GaussianNLL()(np.zeros((4, 2)), np.zeros((4, 3))), "first the means and then the variances"),
        (lambda: losses.MultiMargin()(np.array([5]), np.zeros((1, 3))), "multi_margin: label 5 is outside the classes 0 to 2"),
        (
            lambda: losses.MultiMargin(class_weights=[1.0])(np.array([1]), np.zeros((1, 3))),
            r"shape \(1,\), but there are 3 classes",
        ),
        (lambda: losses.Circle()(np.zeros(3), np.zeros((4, 2))), r"needs labels \(batch,\) and vectors"),
        (lambda: losses.CategoricalGeneralizedCrossEntropy(q=1.5), "q must lie between 0 and 1"),
        (lambda: losses.MeanSquaredError(dtype="float16"), r"MeanSquaredError\(dtype='float16'\).*mixed_bfloat16"),
        (lambda: losses.get("tripplet_margin"), "did you mean 'triplet_margin'"),
    ],
)
def test_messages(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_half_precision_is_computed_in_full():
    x = jnp.asarray(EMBEDDED[:, 0] / np.linalg.norm(EMBEDDED[:, 0], axis=1, keepdims=True), jnp.bfloat16)
    for name in ("circle", "supervised_contrastive", "multi_margin"):
        values = getattr(losses, name)(CLASSES, x)
        assert values.dtype == jnp.float32
        np.testing.assert_allclose(values, getattr(losses, name)(CLASSES, x.astype(jnp.float32)), rtol=1e-6)


def test_a_model_learns_with_a_loss_of_labels_without_alignment():
    import cenote as cn

    rng = np.random.default_rng(0)
    y = rng.integers(1, 4, (16, 3))
    x = np.repeat(np.eye(4, dtype="float32")[y], 3, axis=1)
    model = cn.Sequential([cn.layers.Dense(4)])
    model.compile(optimizer=cn.optimizers.Adam(0.1), loss="ctc")
    history = model.fit(x, y, epochs=8, batch_size=8, verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
