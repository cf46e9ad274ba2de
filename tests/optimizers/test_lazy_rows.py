"""LazyAdam: held against Adam and PyTorch's SparseAdam row by row; what is not looked up keeps its bits."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.optimizers import Adam, LazyAdam
from cenote.optimizers.lazy import Rows

TORCH = json.loads((Path(__file__).parents[1] / "parity" / "lazy_rows.json").read_text())


def test_the_rule_is_that_of_pytorchs_sparse_adam():
    table = jnp.asarray(TORCH["start"], jnp.float32)
    lazy = LazyAdam(TORCH["rate"], epsilon=1e-8)
    state = lazy.init({"table": table})
    step = jax.jit(lazy.update)
    for numbers, values, wanted in TORCH["steps"]:  # a number comes several times in a step, and not at all in the next
        rows = Rows(jnp.asarray(numbers, jnp.int32), jnp.asarray(values, jnp.float32))
        changes, state = step({"table": rows}, state, {"table": table})
        table = changes["table"].added_to(table)
        np.testing.assert_allclose(table, wanted, rtol=2e-6, atol=1e-7)


class Words(cn.Model):
    """One table looked up twice, another one that is also read backwards."""

    def __init__(self, **options):
        super().__init__()
        self.table, self.tied = layers.Embedding(30, 3, **options), layers.ReversibleEmbedding(10, 3)

    def forward(self, x):
        y = self.table(x[:, :2]).sum(1) + self.table(x[:, 2:]).mean(1) + self.tied(x[:, 0] % 10)
        return cn.activations.softmax(self.tied(y, reverse=True))


X = np.random.default_rng(0).integers(0, 8, (32, 5))
Y = X[:, 0] % 10


def trained(optimizer, steps=3, **options):
    model = Words(**options)
    model.compile(optimizer, "sparse_categorical_crossentropy", seed=3)
    model.build(X)
    start = dict(model.params)
    for i in range(steps):
        model.train_on_batch(X[8 * i : 8 * i + 8], Y[8 * i : 8 * i + 8])
    return {k: np.asarray(v) for k, v in start.items()}, {k: np.asarray(v) for k, v in model.params.items()}


def test_rows_that_are_not_looked_up_stay_and_the_others_move_as_by_adam():
    start, lazy = trained(LazyAdam(0.01), steps=1)
    _, dense = trained(Adam(0.01), steps=1)
    assert np.array_equal(lazy["table.table"][8:], start["table.table"][8:])
    assert not np.any(lazy["table.table"][X[:8].min()] == start["table.table"][X[:8].min()])
    for path in lazy:  # in the first step no row has a past: both calls of the table, and the tied one, count in full
        np.testing.assert_allclose(lazy[path], dense[path], rtol=1e-5, atol=1e-7, err_msg=path)
    assert np.any(lazy["tied.table"] != start["tied.table"], axis=1).all()  # read backwards: every row has a gradient


def test_rows_rest_while_adam_moves_them_on():
    model = {}
    for optimizer in (LazyAdam(0.01), Adam(0.01)):
        net = cn.Sequential([layers.Embedding(6, 2), layers.Flatten(), layers.Dense(1)])
        net.compile(optimizer, "mse")
        net.build(np.zeros((4, 1), "int32"))
        net.train_on_batch(np.full((4, 1), 5), np.ones((4, 1)))
        before = np.asarray(net.params["layers.0.table"])
        net.train_on_batch(np.full((4, 1), 2), np.ones((4, 1)))
        model[type(optimizer)] = before, np.asarray(net.params["layers.0.table"])
    before, after = model[LazyAdam]
    assert np.array_equal(before[[0, 1, 3, 4, 5]], after[[0, 1, 3, 4, 5]]) and np.any(before[2] != after[2])
    before, after = model[Adam]
    assert np.any(before[5] != after[5])


@pytest.mark.parametrize(
    "options", [{"embeddings_regularizer": "l2"}, {"embeddings_constraint": "non_neg"}], ids=lambda o: next(iter(o))
)
def test_tables_that_are_read_as_a_whole_are_moved_as_a_whole(options):
    _, lazy = trained(LazyAdam(0.01), **options)
    _, dense = trained(Adam(0.01), **options)
    for path in lazy:
        np.testing.assert_allclose(lazy[path], dense[path], rtol=1e-6, atol=1e-8, err_msg=path)


def test_it_trains_in_fit_by_name_and_in_bfloat16():
    model = cn.Sequential(
        [layers.Embedding(20, 4, mask_zero=True), layers.GlobalAveragePooling1D(), layers.Dense(10, "softmax")]
    )
    model.compile("lazy_adam", "sparse_categorical_crossentropy", precision="mixed_bfloat16")
    model.optimizer.learning_rate = 0.1
    history = model.fit(X, Y, epochs=4, batch_size=10, verbose=0)
    losses = [record["loss"] for record in history.records]
    assert losses[-1] < losses[0] and model.params["layers.0.table"].dtype == jnp.float32


def test_what_would_read_the_whole_table_is_no_option():
    with pytest.raises(TypeError, match="weight_decay"):
        LazyAdam(weight_decay=0.1)  # pyright: ignore[reportCallIssue]
