"""Pooling against Keras's, and what only PyTorch has against its stored answers; ties, masks, saving, bad arguments."""

import inspect
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from parity import draw, keras

import cenote as cn
from cenote import layers
from cenote.kernels import pooling
from cenote.layers import pool

STORED = json.loads((Path(__file__).parents[1] / "parity" / "pool.json").read_text())
SHAPES = {1: (2, 7, 2), 2: (1, 7, 5, 2), 3: (1, 5, 4, 6, 2)}


def rank(name):
    return next(n for n in (1, 2, 3) if f"{n}D" in name)


GRID = [
    ("MaxPooling1D", (), {}),
    ("MaxPooling1D", (3,), {"strides": 2, "padding": "same"}),
    ("MaxPooling2D", (5,), {"strides": (3, 1), "padding": "same"}),
    ("MaxPooling3D", (), {}),
    ("MaxPooling3D", ((1, 3, 2),), {"strides": 2, "padding": "same"}),
    ("AveragePooling1D", (2,), {"padding": "same"}),
    ("AveragePooling1D", (5,), {"strides": 1}),
    ("AveragePooling2D", (3,), {}),
    ("AveragePooling3D", (3,), {"strides": (2, 1, 3), "padding": "same"}),
    ("AveragePooling3D", ((2, 1, 2),), {}),
    ("GlobalMaxPooling1D", (), {}),
    ("GlobalMaxPooling2D", (), {"keepdims": True}),
    ("GlobalMaxPooling3D", (), {}),
    ("GlobalAveragePooling1D", (), {"keepdims": True}),
    ("GlobalAveragePooling3D", (), {"keepdims": True}),
    ("AdaptiveMaxPooling1D", (3,), {}),
    ("AdaptiveMaxPooling2D", ((3, 1),), {}),
    ("AdaptiveMaxPooling3D", (2,), {}),
    ("AdaptiveAveragePooling1D", (1,), {}),
    ("AdaptiveAveragePooling1D", (5,), {}),
    ("AdaptiveAveragePooling2D", ((4, 3),), {}),
    ("AdaptiveAveragePooling3D", ((5, 2, 3),), {}),
]


def test_outputs_and_gradients_like_keras():
    inputs = [draw(*SHAPES[rank(name)]) for name, *_ in GRID]
    ours, theirs = (
        [getattr(family, name)(*args, **options) for name, args, options in GRID] for family in (pool, keras.layers)
    )
    rng = np.random.default_rng(0)
    marks = [
        jnp.asarray(rng.normal(size=layer.compute_output_shape(x.shape)), "float32")
        for layer, x in zip(theirs, inputs, strict=True)
    ]

    def both(layers):
        def ends(inputs):
            ys = [layer(x) for layer, x in zip(layers, inputs, strict=True)]
            return sum(jnp.vdot(y, m) for y, m in zip(ys, marks, strict=True)), ys

        return lambda inputs: jax.grad(ends, has_aux=True)(inputs)

    (dx, y), (their_dx, their_y) = jax.jit(lambda inputs: (both(ours)(inputs), both(theirs)(inputs)))(inputs)
    for i, case in enumerate(GRID):
        assert y[i].shape == their_y[i].shape
        np.testing.assert_allclose(y[i], their_y[i], atol=1e-5, err_msg=str(case))
        np.testing.assert_allclose(dx[i], their_dx[i], atol=1e-5, err_msg=str(case))


def test_names_and_arguments_are_those_of_keras():
    for name in pool.__all__:
        theirs = getattr(keras.layers, name, None)
        if theirs is None:
            assert name.startswith(("LPPool", "MaxUnpool"))
            continue
        ours = getattr(pool, name)
        assert theirs.__name__ == ours.__name__
        extra = {"return_indices"}
        assert [p for p in inspect.signature(ours).parameters if p not in extra | {"options"}] == [
            p for p in inspect.signature(theirs).parameters if p not in {"name", "kwargs"}
        ]


def test_the_mean_over_time_leaves_masked_steps_out():
    words = np.array([[3, 1, 2, 0, 0], [1, 0, 0, 0, 0]], "int32")
    for keepdims in (False, True):
        ours = cn.Sequential([layers.Embedding(4, 3, mask_zero=True), pool.GlobalAveragePooling1D(keepdims=keepdims)])
        theirs = keras.Sequential(
            [keras.layers.Embedding(4, 3, mask_zero=True), keras.layers.GlobalAveragePooling1D(keepdims=keepdims)]
        )
        ours.build(words)
        theirs.build(words.shape)
        ours.set_weights(theirs.get_weights())
        np.testing.assert_allclose(ours(words), theirs(words), atol=1e-6)


def test_large_windows():
    """Windows so large that their values are gathered, not sliced; of equal values the first gets the gradient."""
    x = jnp.asarray(np.random.default_rng(0).integers(0, 5, (2, 45, 2)), "float32")
    window, strides = (pooling._MANY + 4,), (3,)

    def run(f):
        y = f(x)
        return y, jax.grad(lambda x: (f(x) * jnp.arange(1.0, y.size + 1).reshape(y.shape)).sum())(x)

    def both(padding):
        def obvious(x):
            return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, *window, 1), (1, *strides, 1), padding.upper())

        return run(lambda x: pooling.max_pool(x, window, strides, padding)), run(obvious)

    for ours, theirs in jax.jit(lambda: [both("valid"), both("same")])():
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_adaptive_pooling_to_the_same_size_changes_nothing():
    x = draw(1, 7, 2)  # 7 to 7 places: Keras 3.15 on JAX rounds the ends of these windows wrongly, and gives nan
    assert np.array_equal(pool.AdaptiveMaxPooling1D(7)(x), x)
    assert np.array_equal(pool.AdaptiveAveragePooling1D(7)(x), x)


def test_against_pytorch():
    inputs = [jnp.asarray(case["x"], jnp.float32) for case in STORED]

    def answers(inputs):
        for case, x in zip(STORED, inputs, strict=True):
            layer, how = getattr(pool, case["layer"]), case["arguments"]
            if "places" not in case:
                y, back = jax.vjp(layer(**how), x)
                yield {"y": y, "dx": back(3 * y**2)[0]}
                continue
            n = rank(case["layer"])
            y, places = getattr(pool, f"MaxPooling{n}D")(**how, return_indices=True)(x)
            yield {"y": y, "places": places, "back": layer(**how)(y, places, case["output_size"])}

    for case, found in zip(STORED, jax.jit(lambda inputs: list(answers(inputs)))(inputs), strict=True):
        for what, value in found.items():
            np.testing.assert_allclose(value, case[what], atol=1e-4, err_msg=f"{what} of {case['layer']} {case['arguments']}")


def test_places_in_padded_windows_and_the_way_back():
    x = jnp.asarray(np.random.default_rng(0).permutation(2 * 5 * 7 * 2).reshape(2, 5, 7, 2) - 200.0)  # all below the padding
    how = {"pool_size": 3, "strides": 2, "padding": "same"}
    back = pool.MaxUnpool2D(**how)

    @jax.jit
    def run(x):
        y, places = pool.MaxPooling2D(**how, return_indices=True)(x)
        slope = jax.grad(lambda y: (back(y, places, (5, 7)) * x).sum())(y)
        return y, places, slope, back(y, places), back(y, places, output_size=(5, 7))

    y, places, slope, small, whole = run(x)
    assert np.array_equal(np.take_along_axis(np.asarray(x).reshape(2, 35, 2), places.reshape(2, 12, 2), 1).reshape(y.shape), y)
    assert small.shape == (2, 6, 8, 2)
    assert np.array_equal(whole, np.where(np.isin(x, y), x, 0)) and np.array_equal(slope, y)


def test_gradients_are_the_slopes():
    rng = np.random.default_rng(0)
    make = {
        "max": pool.MaxPooling3D(2, 1),
        "mean": pool.AveragePooling1D(3, 2, "same"),
        "norm": pool.LPPool2D(3, 2),
        "adaptive_max": pool.AdaptiveMaxPooling1D(4),
        "adaptive_mean": pool.AdaptiveAveragePooling2D(3),
        "global": pool.GlobalMaxPooling1D(),
    }
    shapes = {"max": (1, 3, 3, 3, 2), "norm": (1, 4, 4, 2), "adaptive_mean": (1, 5, 4, 2)}
    with jax.enable_x64(True):
        points = {k: jnp.asarray(rng.uniform(1, 2, size=shapes.get(k, (2, 7, 2)))) for k in make}
        direction = {k: jnp.asarray(rng.normal(size=x.shape)) for k, x in points.items()}

        def values(points):
            return {k: jnp.sin(3 * make[k](x)).sum() for k, x in points.items()}

        ahead, behind = ({k: x + s * 1e-6 * direction[k] for k, x in points.items()} for s in (1, -1))
        run = jax.jit(lambda *at: (jax.grad(lambda p: sum(values(p).values()))(at[0]), values(at[1]), values(at[2])))
        grads, ahead, behind = run(points, ahead, behind)
        for k in make:
            assert grads[k].dtype == jnp.float64
            slope = (ahead[k] - behind[k]) / 2e-6
            np.testing.assert_allclose(np.vdot(grads[k], direction[k]), slope, rtol=1e-6, err_msg=k)


CHAINS = {
    (2, 31, 2): [
        ("MaxPooling1D", 2, {}),
        ("AveragePooling1D", 3, {"strides": 1, "padding": "same"}),
        ("LPPool1D", 1.5, 2, {"strides": 1}),
        ("AdaptiveMaxPooling1D", 5, {}),
        ("AdaptiveAveragePooling1D", (3,), {}),
        ("GlobalMaxPooling1D", {"keepdims": True}),
        ("GlobalAveragePooling1D", {}),
    ],
    (2, 15, 12, 2): [
        ("MaxPooling2D", (2, 1), {"padding": "same"}),
        ("AveragePooling2D", 2, {"strides": 1}),
        ("LPPool2D", 2, 2, {}),
        ("AdaptiveMaxPooling2D", (3, 4), {}),
        ("AdaptiveAveragePooling2D", 2, {}),
        ("GlobalMaxPooling2D", {"keepdims": True}),
        ("GlobalAveragePooling2D", {}),
    ],
    (1, 7, 8, 9, 2): [
        ("MaxPooling3D", 2, {"strides": 1}),
        ("AveragePooling3D", 2, {}),
        ("LPPool3D", 2, 2, {"strides": 1, "padding": "same"}),
        ("AdaptiveMaxPooling3D", 2, {}),
        ("AdaptiveAveragePooling3D", (2, 1, 2), {}),
        ("GlobalMaxPooling3D", {"keepdims": True}),
        ("GlobalAveragePooling3D", {}),
    ],
}


@pytest.mark.parametrize("shape", CHAINS, ids=str)
def test_saving_and_types(shape, tmp_path):
    model = cn.Sequential([getattr(pool, name)(*args, **options) for name, *args, options in CHAINS[shape]])
    x = np.abs(draw(*shape))
    model.build(x)
    y = model.predict(x)
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote")
    assert np.array_equal(again.predict(x), y)
    assert [one.arguments() for one in again.layers] == [one.arguments() for one in model.layers]
    np.testing.assert_allclose(jax.jit(jax.vmap(model))(x[None, :1])[0], y[:1], atol=1e-6)
    for dtype in ("float64", "bfloat16"):
        with jax.enable_x64(True):
            assert jax.eval_shape(model, jax.ShapeDtypeStruct(x.shape, dtype)).dtype == dtype


def test_a_graph_that_pools_and_unpools(tmp_path):
    x = cn.Input((6, 4, 2))
    values, places = pool.MaxPooling2D(return_indices=True)(x)
    model = cn.Model(x, pool.MaxUnpool2D()(values, places))
    model.build()
    given = draw(2, 6, 4, 2)
    y = model.predict(given)
    assert y.shape == given.shape and set(y[y != 0]) <= set(given.ravel()) and (y != 0).sum() == 24
    model.save(tmp_path / "m.cenote")
    assert np.array_equal(cn.load(tmp_path / "m.cenote").predict(given), y)


WRONG = [
    ("MaxPooling1D", ((2, 2),), {}, "MaxPooling1D needs pool_size to be a whole number, got (2, 2)"),
    ("AveragePooling3D", ((2, 2),), {}, "a whole number or three of them"),
    ("MaxPooling3D", (2, 0), {}, "strides"),
    ("AveragePooling1D", (2,), {"padding": "causal"}, "Known: same, valid"),
    ("GlobalMaxPooling3D", ("channels_first",), {}, "moveaxis"),
    ("AdaptiveMaxPooling2D", (0,), {}, "AdaptiveMaxPooling2D needs output_size"),
    ("LPPool1D", (-1, 2), {}, "norm_type to be a number above 0, got -1"),
    ("MaxUnpool2D", (0,), {}, "pool_size"),
]
UNFIT = [
    ("MaxPooling1D", (5,), ((1, 4, 2),), "no room in a sequence of (4,)"),
    ("AveragePooling3D", (2,), ((1, 4, 1, 4, 2),), "no room in a volume of (4, 1, 4)"),
    ("GlobalAveragePooling1D", (), ((4, 2),), "takes (batch, time, channel)"),
    ("MaxUnpool1D", (2,), ((1, 4, 2), (1, 3, 2)), "MaxPooling1D(return_indices=True)"),
]


@pytest.mark.parametrize(("name", "args", "options", "message"), WRONG, ids=lambda v: str(v))
def test_arguments_that_cannot_work(name, args, options, message):
    with pytest.raises(ValueError) as caught:
        getattr(pool, name)(*args, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(("name", "args", "shapes", "message"), UNFIT, ids=lambda v: str(v))
def test_inputs_that_do_not_fit(name, args, shapes, message):
    with pytest.raises(ValueError) as caught:
        getattr(pool, name)(*args)(*(np.ones(s, "float32") for s in shapes))
    assert message in str(caught.value)
