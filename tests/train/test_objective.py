"""Losses and metrics of one or several outputs, added up as they should be: padding, weights, what layers add."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote import losses, metrics
from cenote.core import Weight
from cenote.core.notes import add_loss
from cenote.train import Objective, Output
from cenote.train.objective import output_names, reduce_loss, split, split_weights

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 2)).astype("float32"), RNG.normal(size=(6, 2)).astype("float32")
W = np.array([0, 1, 2, 0.5, 1, 0], "float32")


def identity(params, state, x, *, train, key=None):
    return x, state


def value(objective, x, y, w=None, valid=None, totals=None, params=None):
    totals = objective.totals() if totals is None else totals
    total, (_, totals) = objective.loss(params or {}, {}, totals, {"x": x, "y": y, "w": w}, train=False, valid=valid)
    return float(total), totals


def test_the_loss_is_the_mean_over_examples_and_totals_weigh_batches_by_size():
    objective = Objective(identity, [Output("", losses.get("mse"), 1.0, (metrics.get("mae"),))], {})
    first, totals = value(objective, X[:4], Y[:4])
    assert first == pytest.approx(((X[:4] - Y[:4]) ** 2).mean(), rel=1e-6)
    _, totals = value(objective, X[4:], Y[4:], totals=totals)
    found = {k: float(v) for k, v in objective.compute(totals).items()}
    assert found == pytest.approx({"loss": ((X - Y) ** 2).mean(), "mae": abs(X - Y).mean()}, rel=1e-6)


@pytest.mark.parametrize("w", [None, W], ids=["plain", "weighted"])
def test_padding_counts_for_nothing(w):
    outputs = [Output("", losses.get("mse"), 1.0, (metrics.get("mae"),), (metrics.get("mse"),))]
    objective = Objective(identity, outputs, {})
    padded = [None if a is None else np.concatenate([a, np.full_like(a[:2], 1e3)]) for a in (X, Y, w)]
    valid = jnp.arange(8) < 6
    loss, totals = value(objective, *padded, valid=valid)
    expected, plain = value(objective, X, Y, w)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert jax.tree.map(float, objective.compute(totals)) == pytest.approx(jax.tree.map(float, objective.compute(plain)))


def test_sample_weights_count_for_the_loss_and_weighted_metrics_only():
    outputs = [Output("", losses.get("mse"), 1.0, (metrics.get("mae"),), (metrics.MeanAbsoluteError(name="weighted"),))]
    objective = Objective(identity, outputs, {})
    loss, totals = value(objective, X, Y, W)
    assert loss == pytest.approx((((X - Y) ** 2).mean(1) * W).sum() / 6, rel=1e-6)
    found = objective.compute(totals)
    each = abs(X - Y).mean(1)
    assert float(found["mae"]) == pytest.approx(each.mean(), rel=1e-6)
    assert float(found["weighted"]) == pytest.approx((each * W).sum() / W.sum(), rel=1e-6)


def test_several_outputs_add_up_with_their_weights():
    def two(params, state, x, *, train, key=None):
        return {"a": x, "b": x * 2}, state

    outputs = [Output("a", losses.get("mse"), 1.0, ()), Output("b", losses.get("mae"), 0.25, (metrics.get("mse"),))]
    objective = Objective(two, outputs, {})
    loss, totals = value(objective, X, {"a": Y, "b": Y}, {"b": W})
    a, b = ((X - Y) ** 2).mean(), (abs(2 * X - Y).mean(1) * W).sum() / 6
    found = {k: float(v) for k, v in objective.compute(totals).items()}
    expected = {"loss": a + 0.25 * b, "a_loss": a, "b_loss": b, "b_mse": ((2 * X - Y) ** 2).mean()}
    assert found == pytest.approx(expected, rel=1e-5) and loss == pytest.approx(expected["loss"], rel=1e-5)


def test_an_output_without_a_loss_needs_no_target():
    def two(params, state, x, *, train, key=None):
        return (x, x), state

    objective = Objective(two, [Output("a", losses.get("mse"), 1.0, ()), Output("b", None, 1.0, ())], {})
    assert value(objective, X, (Y, None))[0] == pytest.approx(((X - Y) ** 2).mean(), rel=1e-6)
    assert set(objective.totals()) == {"loss", "a_loss"}


def test_losses_of_layers_and_regularizers_of_trained_weights_count():
    def adds(params, state, x, *, train, key=None):
        add_loss(jnp.float32(10.0))
        return x, state

    def weight(trainable):
        return Weight((2,), jnp.float32, None, trainable=trainable, regularizer=lambda w: w.sum())

    objective = Objective(adds, [Output("", losses.get("mse"), 1.0, ())], {"a": weight(True), "frozen": weight(False)})
    assert not objective.adds_losses
    params = {"a": jnp.ones(2), "frozen": jnp.ones(2)}
    assert value(objective, X, X, params=params)[0] == 12 and objective.adds_losses


def test_no_gradient_flows_into_the_totals():
    objective = Objective(lambda p, s, x, **_: (x * p["w"], s), [Output("", losses.get("mse"), 1.0, (metrics.get("mae"),))], {})
    batch = {"x": X, "y": Y, "w": None}

    def total(p):
        return objective.loss(p, {}, objective.totals(), batch, train=True)[1][1]["mae"]

    assert all(not np.any(g) for g in jax.tree.leaves(jax.jacobian(total)({"w": jnp.float32(2.0)})))


def test_reductions():
    each = ((X - Y) ** 2).mean(1)
    for reduction, expected in (("sum_over_batch_size", each.mean()), ("sum", each.sum())):
        loss = losses.MeanSquaredError(reduction=reduction)
        assert float(reduce_loss(loss, Y, X, None, None)) == pytest.approx(expected, rel=1e-6)


def test_parts_by_name():
    assert split(X, [""])[""] is X and split({"only": X}, [""])[""] is X and split(None, [""]) == {"": None}
    assert list(split({"b": 1, "a": 2}, ["a", "b"]).values()) == [2, 1] and split((1, 2), ["a", "b"]) == {"a": 1, "b": 2}
    with pytest.raises(
        ValueError, match=r"no target or output called 'b': the model's outputs are \['a', 'b'\], given \['a'\]"
    ):
        split({"a": X}, ["a", "b"])
    with pytest.raises(ValueError, match=r"has one output, but the targets are \(float32\[6, 2\], float32\[6, 2\]\)"):
        split((X, Y), [""])
    with pytest.raises(ValueError, match=r"has the outputs \['a', 'b'\], so it needs one target for each.*float32\[6, 2\]"):
        split(X, ["a", "b"])


def test_weights_by_name():
    assert all(part is W for part in split_weights(W, ["a", "b"]).values())
    assert split_weights({"b": W}, ["a", "b"])["a"] is None and split_weights({"only": W}, [""])[""] is W
    assert split_weights(None, ["a"]) == {"a": None}
    with pytest.raises(ValueError, match=r"sample weights are given for output 'c', but the outputs are \['a', 'b'\]"):
        split_weights({"c": W}, ["a", "b"])


def test_names_of_outputs():
    assert output_names(X) == [""] == output_names({"only": X}) == output_names([X])
    assert output_names({"z": X, "a": Y}) == ["z", "a"] and output_names((X, Y)) == ["output_0", "output_1"]
    assert output_names((X, Y), ["left", "right"]) == ["left", "right"]
