"""Cells, RNN(cell) and stacks of cells: Keras's answers, cells of one's own, what they may hold, what is refused."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from over_time import MASK, alike, draw, keras, made, names, quick

import cenote as cn
from cenote import layers

K = keras.layers
X = draw(3, 5, 2)
KINDS = ("SimpleRNN", "LSTM", "GRU")


class Elman(layers.Layer):
    """The cell of Keras's own documentation."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = self.state_size = units

    def forward(self, x, states):
        kernel = self.param("kernel", (x.shape[-1], self.units))
        y = x @ kernel + states[0] @ self.param("recurrent_kernel", (self.units, self.units))
        return y, [y]


class KerasElman(K.Layer):
    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.units, self.units), name="recurrent_kernel")

    def call(self, x, states):
        y = keras.ops.matmul(x, self.kernel) + keras.ops.matmul(states[0], self.recurrent_kernel)
        return y, [y]


def rnn(kind, options, **more):
    mine, other = (Elman, KerasElman) if kind == "Elman" else (getattr(m, f"{kind}Cell") for m in (layers, K))
    return layers.RNN(mine(4, **more), **options), K.RNN(other(4, name="c", **more), **options), names(c="cell.")


def test_cells_over_time_as_in_keras():
    both, masked = {"return_sequences": True, "return_state": True}, {"mask": MASK}
    alike(
        X,
        (*rnn("Elman", {**both, "go_backwards": True}), masked),
        (*rnn("Elman", {"return_sequences": True, "zero_output_for_mask": True}), masked),
        (*rnn("Elman", both), {"initial_state": [draw(3, 4)]}),
        (*rnn("SimpleRNN", {"return_state": True, "unroll": True}), {}),
        (*rnn("GRU", {**both, "go_backwards": True}, reset_after=False, activation="relu"), masked),
        (*rnn("LSTM", {"zero_output_for_mask": True}, use_bias=False, recurrent_activation="hard_sigmoid"), masked),
    )


def test_stacks_as_in_keras():
    options = {"return_sequences": True, "return_state": True}

    def stack(home):
        return home.RNN([home.LSTMCell(4, name="a"), home.SimpleRNNCell(3, name="b")], **options)

    table = names(a="cell.cells.0.", b="cell.cells.1.")
    y = alike(X, (stack(layers), stack(K), table, {"mask": MASK}))[0]
    assert [len(s) for s in y[1:]] == [2, 1]  # states: an entry for each cell


class OwnStep(layers.SimpleRNNCell):
    """What the layer knows nothing of, so that it goes step by step."""

    def forward(self, x, states):
        return super().forward(x, states)


def test_cells_of_the_house_run_faster_but_not_otherwise():
    options = {"return_sequences": True, "return_state": True, "go_backwards": True}
    fast, slow = (layers.RNN([layers.GRUCell(4), cell(3)], **options) for cell in (layers.SimpleRNNCell, OwnStep))
    params = cn.core.weights_of(made(fast, X))[0]

    def run(layer):
        def value(params, x):
            y = layer.apply(params, {}, x, mask=MASK)[0]
            return sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(y)), y

        return quick(jax.grad(value, (0, 1), has_aux=True))(params, X)

    for a, b in zip(*map(jax.tree.leaves, (run(fast), run(slow))), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_one_step_is_a_step_of_the_layer():
    for kind in KINDS:
        layer, cell = made(getattr(layers, kind)(4), X[:, :2]), getattr(layers, f"{kind}Cell")(4)
        params = cn.core.weights_of(layer)[0]

        @quick
        def by_hand(params, cell=cell):
            states = cell.get_initial_state(3)
            for t in range(2):
                y, states = cell.apply(params, {}, X[:, t], states)[0]
            return y

        np.testing.assert_allclose(by_hand(params), layer(X[:, :2]), atol=1e-6)
    cell = layers.GRUCell(4)
    bare = jnp.zeros((3, 4))
    y, new = made(cell, X[:, 0], bare)(X[:, 0], bare)  # a bare state comes back bare
    assert y.shape == new.shape == (3, 4) and layers.LSTMCell(4).state_size == [4, 4] and cell.output_size == 4
    assert layers.StackedRNNCells([cell, layers.LSTMCell(2)]).state_size == [4, [2, 2]]


def test_start_states_may_be_those_of_the_cell_or_given():
    class Started(Elman):
        def get_initial_state(self, batch_size):
            return [jnp.ones((batch_size, self.units))]

    plain, started = made(layers.RNN(Elman(4)), X), made(layers.RNN(Started(4)), X)
    weights = cn.core.weights_of(plain)[0]
    given = plain.apply(weights, {}, X, [np.ones((3, 4), "float32")])[0]
    np.testing.assert_allclose(started.apply(weights, {}, X)[0], given, atol=1e-6)
    assert not np.allclose(plain(X), given, atol=1e-3)


class Rich(layers.Layer):
    """A cell that holds layers which draw, keep statistics and add to the loss."""

    state_size = (2, 1)

    def __init__(self):
        super().__init__()
        self.norm, self.drop = layers.BatchNormalization(momentum=0.5), layers.Dropout(0.5)
        self.dense = layers.Dense(2, activity_regularizer="l2")

    def forward(self, x, states):
        h, count = states
        y = self.drop(self.norm(self.dense(x))) + h
        return y * 2, (y, count + 1)


def test_a_cell_may_hold_any_layers():
    layer = made(layers.RNN(Rich(), return_sequences=True, return_state=True), X)
    assert sorted(cn.core.members(layer)) == ["", "cell", "cell.dense", "cell.drop", "cell.norm"]
    params, state = cn.core.weights_of(layer)
    (y, h, count), after = layer.apply(params, state, X, train=True, key=1)
    np.testing.assert_allclose(y[:, -1], 2 * h, atol=1e-6)
    assert np.array_equal(count, np.full((3, 1), 5.0))
    # The running mean moves at each step, from the batch of that step.
    mean, seen = np.zeros(2), X @ np.asarray(params["cell.dense.kernel"]) + params["cell.dense.bias"]
    for t in range(5):
        mean = 0.5 * mean + 0.5 * seen[:, t].mean(0)
    np.testing.assert_allclose(after["cell.norm.mean"], mean, atol=1e-5)
    steps = np.diff(np.concatenate([np.zeros((3, 1, 2)), np.asarray(y) / 2], 1), axis=1)
    assert ((steps == 0) == (steps == 0)[:, :1]).all() and (steps == 0).any() and (steps != 0).any()  # one draw for all steps
    with cn.core.collecting() as table:
        layer.apply(params, state, X)
    np.testing.assert_allclose(sum(table.losses), 0.01 * (seen**2).sum() / 3, rtol=1e-4)
    inside, slopes = cn.core.gradients(layer, lambda y: y[0].sum(), X, paths=["cell.drop"])
    assert inside["cell.drop"].shape == (5, 3, 2)  # (time, batch, ...)
    np.testing.assert_allclose(inside["cell.drop"].sum(0), layer(X)[1], atol=1e-5)
    np.testing.assert_allclose(slopes["cell.drop"][:, 0, 0], [10, 8, 6, 4, 2])  # each step is in all later outputs, twice


def test_dropout_of_cells():
    cell = layers.SimpleRNNCell(50, activation="linear", use_bias=False, dropout=0.5)
    layer, ones = layers.RNN(cell, return_sequences=True), np.ones((1, 4, 30), "float32")
    params = cn.core.weights_of(made(layer, ones))[0]
    params["cell.recurrent_kernel"] = np.zeros((50, 50), "float32")
    run = quick(lambda key: layer.apply(params, {}, ones, train=True, key=key)[0][0])
    steps, other = run(jax.random.key(1)), run(jax.random.key(2))
    assert np.allclose(steps, steps[:1], atol=1e-6) and not np.allclose(steps, other, atol=1e-3)
    assert not np.allclose(steps[0], params["cell.kernel"].sum(0), atol=1e-2)


def test_stateful_stacks_go_on_and_can_start_anew():
    whole = made(layers.RNN([layers.SimpleRNNCell(4), layers.LSTMCell(2)]), X)
    parts = made(layers.RNN([layers.SimpleRNNCell(4), layers.LSTMCell(2)], stateful=True), X[:, :3])
    params, state = cn.core.weights_of(whole)[0], cn.core.weights_of(parts)[1]
    assert [v.shape for v in state.values()] == [(3, 4), (3, 2), (3, 2)]
    _, state = parts.apply(params, state, X[:, :3])
    y, state = parts.apply(params, state, X[:, 3:])
    np.testing.assert_allclose(y, whole(X), atol=1e-6)
    cn.core.bind(parts, state)
    parts.reset_state()
    assert not any(np.any(v) for v in cn.core.weights_of(parts)[1].values())


def test_save_and_load(tmp_path):
    shared = Elman(3)
    model = cn.Sequential(
        [
            layers.RNN(layers.StackedRNNCells([layers.SimpleRNNCell(3), layers.GRUCell(4, reset_after=False)]), True),
            layers.RNN([layers.LSTMCell(3, unit_forget_bias=False), shared], return_sequences=True),
            layers.RNN(shared, zero_output_for_mask=True, go_backwards=True),
        ]
    ).build(X)
    assert "layers.1.cell.cells.1.kernel" in cn.core.weights_of(model)[0]
    model.save(tmp_path / "model.cenote")
    loaded = cn.load(tmp_path / "model.cenote", custom_objects={"Elman": Elman})
    assert loaded.layers[2].cell is loaded.layers[1].cell.cells[1]
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_a_cell_that_is_used_outside_its_loop_has_the_same_weights_there():
    class Both(cn.Model):
        def __init__(self):
            super().__init__()
            self.cell = layers.GRUCell(4)
            self.loop = layers.RNN(self.cell)

        def forward(self, x):
            return self.loop(x) - self.cell(x[:, 1], self.cell(x[:, 0], [jnp.zeros((3, 4))])[1])[0]

    model = made(Both(), X[:, :2])
    assert sorted(cn.core.weights_of(model)[0]) == ["cell.bias", "cell.kernel", "cell.recurrent_kernel"]
    np.testing.assert_allclose(model(X[:, :2]), np.zeros((3, 4)), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_dtypes(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(X, dtype)
        layer = layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], return_state=True)
        params = {k: jnp.ones(w.shape, w.dtype) for k, w in cn.core.declare(layer, x)[0].items()}
        out = jax.eval_shape(lambda x: layer.apply(params, {}, x, mask=MASK)[0], x)
        assert {leaf.dtype for leaf in jax.tree.leaves(out)} == {x.dtype}


class Short(Elman):
    def forward(self, x, states):
        return x, [states[0][:, :1]]


class Alone(Elman):
    def forward(self, x, states):
        return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.RNN(layers.Dense(3)), r"RNN needs cells: layers with forward\(x, states\).*got Dense\(3\)"),
        (lambda: layers.RNN(layers.LSTM(3)), "RNN needs a cell, but LSTM runs over time itself: use LSTMCell"),
        (lambda: layers.RNN([]), r"StackedRNNCells needs a list of cells, got \[\]"),
        (lambda: layers.StackedRNNCells([layers.GRUCell(2), 3]), "StackedRNNCells needs cells.*got 3"),
        (lambda: layers.RNN(layers.GRUCell(2)).build(X[0]), r"RNN takes \(batch, time, feature\)"),
        (lambda: layers.RNN(Short(2)).build(X), r"Short was given states of shapes \[\(3, 2\)\] and returned \[\(3, 1\)\]"),
        (lambda: layers.RNN(Alone(2)).build(X), r"Alone.forward\(x, states\) must return \(y, states\)"),
        (
            lambda: made(layers.RNN(layers.GRUCell(2)), X)(X, [np.ones((3, 3))]),
            r"initial states of shape \(3, 2\), got \(3, 3\)",
        ),
        (lambda: made(layers.GRUCell(2), X, [X[:, 0]]), r"GRUCell takes one step, \(batch, feature\)"),
        (lambda: made(layers.LSTMCell(2), X[:, 0], [X[:, 0]]), r"LSTMCell takes 2 states of shape \(3, 2\), got \[\(3, 2\)\]"),
        (lambda: made(layers.StackedRNNCells([layers.GRUCell(2)]), X[:, 0], X[:, 0]), "one entry of states for each"),
        (lambda: layers.GRUCell(0), "GRUCell needs units to be a whole number"),
        (lambda: layers.LSTMCell(2, kernel_initialiser="zeros"), "did you mean 'kernel_initializer'"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
