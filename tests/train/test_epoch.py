"""An epoch as one program: every example once, in an order of its own, padding masked; which convolutions are foreign."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote import layers
from cenote.train.epoch import epoch_order, has_foreign_convolution, padded_order, take


@pytest.mark.parametrize(("count", "batch"), [(10, 3), (9, 3), (2, 2), (7, 1)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_example_comes_once(count, batch, shuffle):
    full, tail = epoch_order(count, batch, seed=1, epoch=2, shuffle=shuffle)
    assert full.shape == (count // batch, batch) and len(tail) == count % batch
    rows = [*full.ravel(), *tail]
    assert sorted(rows) == list(range(count)) and (shuffle or rows == list(range(count)))


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        return epoch_order(50, 7, seed=seed, epoch=epoch, shuffle=True)[0].tolist()

    assert order(1, 2) == order(1, 2)
    assert len({str(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_evaluation_fills_the_last_batch_up():
    assert padded_order(5, 3).tolist() == [[0, 1, 2], [3, 4, -1]] and padded_order(4, 2).tolist() == [[0, 1], [2, 3]]


def test_rows_are_taken_from_every_array():
    taken = take({"x": jnp.arange(6).reshape(3, 2), "y": None, "w": (jnp.arange(3),)}, jnp.array([2, 0]))
    assert taken["x"].tolist() == [[4, 5], [0, 1]] and taken["y"] is None and taken["w"][0].tolist() == [2, 0]


def conv(numbers, **options):
    return lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=numbers, **options)


OURS, THEIRS = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")
X, K = jnp.zeros((2, 4, 4, 3)), jnp.zeros((3, 3, 3, 5))


def test_foreign_convolutions_are_found_wherever_they_are():
    foreign, x, k = conv(THEIRS), jnp.moveaxis(X, -1, 1), jnp.moveaxis(K, (3, 2), (0, 1))
    assert not has_foreign_convolution(conv(OURS), X, K)
    assert has_foreign_convolution(foreign, x, k)
    assert has_foreign_convolution(conv(("NHWC", "OIHW", "NHWC")), X, k)
    for hidden in (
        jax.jit(foreign),
        jax.checkpoint(foreign),
        lambda x, k: jax.lax.scan(lambda c, _: (c, foreign(x, k)), 0, length=2),
        lambda x, k: jax.lax.cond(x.sum() > 0, foreign, lambda x, k: foreign(x, k) * 2, x, k),
        lambda x, k: jax.lax.while_loop(lambda v: v < 3, lambda v: v + foreign(x, k).sum(), 0.0),
        lambda x, k: jax.vmap(lambda row: foreign(row[None], k))(x),
    ):
        assert has_foreign_convolution(hidden, x, k)


def test_our_layers_state_no_foreign_convolution_forward_or_backward():
    for layer in (layers.Conv2D(5, 3), layers.Conv2D(5, 3, strides=2, padding="same"), layers.Conv2D(6, 3, groups=3)):
        params, state = layer.init(0, X)

        def loss(p, x, layer=layer, state=state):
            return (layer.apply(p, state, x, train=True)[0] ** 2).sum()

        assert not has_foreign_convolution(jax.grad(loss, argnums=(0, 1)), params, X)


def test_orders_are_small_numbers():
    assert epoch_order(10, 3, seed=0, epoch=0, shuffle=True)[0].dtype == padded_order(5, 3).dtype == np.int32
