"""Influence functions and TracIn: beside training again without a row, dense linear algebra, and real steps of SGD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import explain, layers, regularizers
from cenote.core.tree import apply


@pytest.fixture
def random():
    """Numbers of each test's own."""
    return np.random.default_rng(0)


@pytest.fixture
def double():
    """Computing in 64 bits."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def squared(w, x, y):
    return (x @ w - y) ** 2 / 2


def logistic(w, x, y):
    return jnp.logaddexp(0, x @ w) - y * (x @ w)


def test_leaving_a_row_out_of_ridge_is_influence_over_one_minus_leverage(double, random):
    x, price = random.normal(size=(30, 5)), 0.7
    y = x @ random.normal(size=5) + 0.3 * random.normal(size=30)
    curved = x.T @ x + price * np.eye(5)
    w = np.linalg.solve(curved, x.T @ y)
    x_test, y_test = random.normal(size=(4, 5)), np.zeros(4)
    found = explain.influence(
        squared, x, y, x_test, y_test, weights=jnp.asarray(w), penalty=lambda w: price / 60 * w @ w, damping=0.0, tol=1e-7
    )
    leverage = np.sum(x * np.linalg.solve(curved, x.T).T, axis=1)
    for i in range(30):
        keep = np.arange(30) != i
        without = np.linalg.solve(x[keep].T @ x[keep] + price * np.eye(5), x[keep].T @ y[keep])
        exact = x_test @ (without - w)
        first_order = found.values[:, i] / (x_test @ w)  # of the output: the loss's change over its slope, w.x - 0
        np.testing.assert_allclose(first_order / (1 - leverage[i]), exact, rtol=1e-6, atol=1e-9)
    assert found.details["residual"].max() < 1e-7 and found.details["curvature"] == "hessian"


def test_a_fitted_model_is_as_good_as_the_formula(random):
    x = random.normal(size=(40, 3)).astype(np.float32)
    y = (x @ [1.0, -2.0, 0.5] + 0.3 * random.normal(size=40)).astype(np.float32)
    model = cn.Sequential([layers.Dense(1, use_bias=False, kernel_regularizer=regularizers.L2(0.01))])
    model.compile("sgd", "mse")
    model.build(x)
    curved = x.T @ x + 0.4 * np.eye(3)
    model.set_weights([np.linalg.solve(curved, x.T @ y)[:, None]])
    found = explain.influence(model, x, y, x[:3], damping=0.0)  # of the output, since there are no targets
    assert found.of == "output"
    leverage = np.sum(x * np.linalg.solve(curved, x.T).T, axis=1)
    for i in (0, 7):
        keep = np.arange(40) != i
        without = np.linalg.solve(x[keep].T @ x[keep] + 0.4 * np.eye(3), x[keep].T @ y[keep])
        exact = model.predict(x[:3], verbose=0)[:, 0] - x[:3] @ without  # what the row had raised the output by
        np.testing.assert_allclose(found.values[:, i] / (1 - leverage[i]), exact, rtol=2e-3, atol=1e-5)


def newton(x, y, price):
    w = np.zeros(x.shape[1])
    for _ in range(15):
        p = 1 / (1 + np.exp(-x @ w))
        w -= np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + price * np.eye(len(w)), x.T @ (p - y) + price * w)
    return w


def test_leaving_a_row_out_of_logistic_regression_goes_with_influence(random):
    x = random.normal(size=(60, 4))
    y = (x @ [2.0, -1.0, 0.5, 0.0] + random.normal(size=60) > 0).astype(float)
    x_test, y_test = random.normal(size=(3, 4)), np.array([0.0, 1.0, 1.0])
    w = newton(x, y, 1.0)
    found = explain.influence(
        logistic, x, y, x_test, y_test, weights=jnp.asarray(w, jnp.float32), penalty=lambda w: w @ w / 120, damping=0.0
    )
    exact = np.zeros((3, 60))
    for i in range(60):
        keep = np.arange(60) != i
        without = newton(x[keep], y[keep], 1.0)
        exact[:, i] = np.asarray(logistic(without, x_test, y_test)) - np.asarray(logistic(w, x_test, y_test))
    for test in range(3):
        assert np.corrcoef(found.values[test], exact[test])[0, 1] >= 0.99
    assert found.helpful(1, 0)[0][0] == int(np.argmax(exact[0]))
    assert "helped most by rows" in repr(found)


@pytest.fixture(scope="module")
def network():
    """A small network with everything in it that might disturb: dropout, batch statistics, probabilities at the end."""
    random = np.random.default_rng(1)
    x = random.normal(size=(50, 3)).astype(np.float32)
    y = (x[:, 0] + 0.5 * random.normal(size=50) > 0).astype(np.int32) + (x[:, 1] > 1)
    model = cn.Sequential(
        [
            layers.Reshape((3, 1)),
            layers.Conv1D(4, 2, activation="tanh"),  # a kernel with a derivative of its own
            layers.Flatten(),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(3, "softmax"),
        ]
    )
    model.compile(cn.optimizers.SGD(0.05), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=5, verbose=0)
    return model, x, y


def dense(model, x, y, chosen):
    """Losses' gradients and the Gauss-Newton matrix of the logits, written out."""
    params, state = model.arrays()
    flat, back = jax.flatten_util.ravel_pytree({k: params[k] for k in chosen})

    def probabilities(w):
        return apply(model, {**params, **back(w)}, state, x)[0]

    p, jacobian = (np.asarray(a) for a in jax.jit(lambda w: (probabilities(w), jax.jacrev(probabilities)(w)))(flat))
    # Of probabilities p by logits: diag(p) - p p', so the logits' jacobian is d log p, up to a constant in each row.
    log = jacobian / p[..., None]
    gradients = -log[np.arange(len(y)), y]
    matrix = np.einsum("nc,ncw,ncv->wv", p, log, log) / len(y)
    return gradients, matrix


@pytest.mark.parametrize("which", [None, -1])
def test_influence_is_dense_linear_algebra(network, which):
    model, x, y = network
    trained = [k for k in model.params if k.startswith("layers.5" if which == -1 else "layers.")]
    gradients, matrix = dense(model, x, y, trained)
    solved = np.linalg.solve(matrix + 0.01 * np.eye(len(matrix)), gradients[:20].T)
    found = explain.influence(model, x, y, x[:20], y[:20], damping=0.01, layers=which, tol=1e-6, iterations=200)
    np.testing.assert_allclose(found.values, solved.T @ gradients.T / 50, rtol=1e-3, atol=1e-4)
    assert found.details["weights"] == len(matrix) and found.details["solved"].all()


def test_a_curvature_that_is_negative_is_said(random):
    x, y = random.normal(size=(7, 3)).astype(np.float32), np.zeros(7, np.float32)
    found = explain.influence(lambda *given: -squared(*given), x, y, x[:2], y[:2] + 1, weights=jnp.ones(3), damping=0.0)
    assert not found.details["solved"].all() and "raise damping or iterations" in repr(found)


# -- TracIn ----------------------------------------------------------------------------------------------------------------


def test_tracin_is_what_a_step_of_sgd_does(network):
    model, x, y = network
    before = model.get_weights()
    rate = 1e-3
    alone = cn.Sequential([layers.Dense(4, "tanh"), layers.Dense(3, "softmax")])
    alone.compile(cn.optimizers.SGD(rate), "sparse_categorical_crossentropy")
    alone.build(x)
    start = alone.get_weights()
    found = explain.tracin(alone, x[:6], y[:6], x[6:8], y[6:8])
    for j in range(3):
        alone.set_weights(start)
        losses = [alone.test_on_batch(x[i : i + 1], y[i : i + 1]) for i in (6, 7)]
        alone.train_on_batch(x[j : j + 1], y[j : j + 1])
        after = [alone.test_on_batch(x[i : i + 1], y[i : i + 1]) for i in (6, 7)]
        np.testing.assert_allclose(np.subtract(losses, after), found.values[:, j], rtol=0.02, atol=2e-6)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_tracin_adds_up_rate_times_dot_product_over_checkpoints(random):
    x, y = random.normal(size=(7, 3)).astype(np.float32), random.normal(size=7).astype(np.float32)
    snapshots = [jnp.asarray(w, jnp.float32) for w in random.normal(size=(2, 3))]
    found = explain.tracin(squared, x, y, x[:2], y[:2], weights=snapshots[0], checkpoints=snapshots, learning_rates=[0.1, 0.01])
    exact = np.zeros((2, 7))
    for w, rate in zip(snapshots, (0.1, 0.01), strict=True):
        slopes = (x @ w - y)[:, None] * x
        exact += rate * slopes[:2] @ slopes.T
    np.testing.assert_allclose(found.values, exact, rtol=1e-4, atol=1e-6)
    alone = explain.tracin(squared, x, y, weights=snapshots[0], learning_rates=1.0)
    np.testing.assert_allclose(alone.values[0], (((x @ snapshots[0] - y)[:, None] * x) ** 2).sum(1), rtol=1e-4)


def test_several_inputs_may_come_in_a_list():
    a, b = cn.Input((2,)), cn.Input((3,))
    model = cn.Model([a, b], layers.Dense(1)(layers.Concatenate()([a, b])))
    model.compile("sgd", "mse")
    rows = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    x, y = [rows[:, :2], rows[:, 2:]], np.ones(6, np.float32)
    missed = np.asarray(model(tuple(x)))[:, 0] - y
    found = explain.tracin(model, x, y, learning_rates=1.0).values[0]
    assert np.allclose(found, 4 * missed**2 * ((rows**2).sum(1) + 1), rtol=1e-4)  # |2 miss (x, 1)|^2


def test_wrong_labels_are_learnt_by_heart():
    (x, y), _ = cn.datasets.digits.load_data()
    count = len(x) // 10
    x, noisy, random = x.reshape(len(x), -1).astype(np.float32) / 16, y.astype(np.int32).copy(), np.random.default_rng(0)
    wrong = random.permutation(len(x))[:count]
    noisy[wrong] = (noisy[wrong] + random.integers(1, 10, size=count)) % 10
    model = cn.Sequential([layers.Dense(10, "softmax")])
    model.compile(cn.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    snapshots = []
    for _ in range(3):
        model.fit(x, noisy, epochs=8, verbose=0)
        snapshots.append(dict(model.params))
    found = explain.tracin(model, x, noisy, checkpoints=snapshots, learning_rates=0.01)
    suspects = {row for row, _ in found.helpful(count)}
    assert len(suspects & set(wrong.tolist())) / count >= 0.9
    assert "learnt by heart" in repr(found)


# -- what is refused -------------------------------------------------------------------------------------------------------


def test_what_is_refused(network):
    model, x, y = network
    with pytest.raises(ValueError, match="x has 50 examples, but y has 40"):
        explain.influence(model, x, y[:40], x[:2], y[:2])
    with pytest.raises(ValueError, match="the data set is empty"):
        explain.influence(model, x, y, x[:0], y[:0])
    with pytest.raises(ValueError, match=r"x_test holds NaN"):
        explain.influence(model, x, y, x[:2] * np.nan, y[:2])
    with pytest.raises(ValueError, match=r"the examples differ: x_train has \(3,\), but x_test has \(2,\)"):
        explain.influence(model, x, y, x[:2, :2], y[:2])
    with pytest.raises(ValueError, match=r"unknown layer with weights .layers\.9."):
        explain.influence(model, x, y, x[:2], y[:2], layers="layers.9")
    with pytest.raises(ValueError, match="unknown curvature 'newton'"):
        explain.influence(model, x, y, x[:2], y[:2], curvature="newton")
    with pytest.raises(ValueError, match="the model's loss is not known: call compile"):
        bare = cn.Sequential([layers.Dense(1)])
        bare.build(x)
        explain.influence(bare, x, y, x[:2], y[:2])
    with pytest.raises(ValueError, match="give its weights, too"):
        explain.influence(squared, x, y, x[:2], y[:2])
    with pytest.raises(ValueError, match="a checkpoint has 2 arrays, but the model has 8"):
        explain.tracin(model, x, y, x[:2], y[:2], checkpoints=[model.get_weights()[:2]])
    with pytest.raises(ValueError, match="there are 1 checkpoints, but 2 learning rates"):
        explain.tracin(model, x, y, x[:2], y[:2], checkpoints=[model.get_weights()], learning_rates=[0.1, 0.2])
