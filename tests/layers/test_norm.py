"""Normalisation: Keras's layers beside ours, PyTorch's stored answers for the rest, and what wrappers of weights promise."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from parity import compare, draw, keras

import cenote as cn
from cenote import layers
from cenote.core import annotate, weights_of

K = keras.layers
STORED = json.loads((Path(__file__).parents[1] / "parity" / "norm.json").read_text())["cases"]


def both(name, *args, **options):
    return getattr(layers, name)(*args, **options), getattr(K, name)(*args, **options)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"renorm_clipping": {"rmin": 0.8, "rmax": 1.2, "dmax": 0.3}, "renorm_momentum": 0.7, "momentum": 0.9, "scale": False},
    ],
    ids=["free", "clipped"],
)
def test_batch_renormalization(options, train):
    names = {"moving_stddev": "std", "renorm_mean": "renorm_mean", "renorm_stddev": "renorm_std"}
    compare(*both("BatchNormalization", renorm=True, **options), draw(6, 4) * 2 + 1, train=train, names=names)


def test_renorm_starts_as_the_options_say():
    layer = layers.BatchNormalization(renorm=True, moving_variance_initializer=cn.initializers.Constant(4.0))
    state = weights_of(layer.build(np.ones((2, 3), "float32")))[1]
    assert {k: float(v[0]) for k, v in state.items()} == {"mean": 0, "var": 4, "std": 2, "renorm_mean": 0, "renorm_std": 2}


MASK = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]], bool)


class Masked(layers.BatchNormalization):
    def forward(self, x):
        return super().forward(annotate(x, "mask", jnp.asarray(MASK)))


@pytest.mark.parametrize(("shape", "axis"), [((4, 3, 5), -1), ((4, 3, 5), 1)], ids=str)
def test_what_a_mask_hides_does_not_count(shape, axis):
    compare(Masked(axis=axis), K.BatchNormalization(axis=axis), draw(*shape), train=True, call={"mask": jnp.asarray(MASK)})


def test_masks_cover_later_axes_and_keep_nan_out():
    x = np.ones((4, 3, 2, 2), "float32") * np.arange(4)[:, None, None, None]
    x[~MASK] = np.nan
    layer = Masked(momentum=0.0).build(x)
    _, state = layer.apply(*weights_of(layer), x, train=True)
    seen = np.repeat([0, 1, 3], [2, 1, 3])
    np.testing.assert_allclose(state["mean"], [seen.mean()] * 2, rtol=1e-6)
    np.testing.assert_allclose(state["var"], [seen.var()] * 2, rtol=1e-6)
    with pytest.raises(ValueError, match=r"mask of shape \(4, 3\) with an input of shape \(4, 5\)"):
        Masked().build(np.ones((4, 5), "float32"))


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling")  # Keras calls it deprecated
@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("GroupNormalization", (2, 3, 4, 6), {"groups": 3}),
        ("GroupNormalization", (1, 6), {"groups": 2, "epsilon": 0.1, "center": False}),
        ("GroupNormalization", (3, 4, 5), {"groups": 2, "axis": 1, "scale": False}),
        ("RMSNormalization", (4, 5), {}),
        ("RMSNormalization", (2, 3, 5), {"axis": (1, 2), "epsilon": 0.1}),
        ("UnitNormalization", (4, 5), {}),
        ("UnitNormalization", (2, 3, 5), {"axis": (1, 2)}),
        ("LayerNormalization", (2, 3, 5), {"rms_scaling": True}),
    ],
    ids=str,
)
def test_like_keras(name, shape, options):
    compare(*both(name, **options), draw(*shape) * 2 + 1)


@pytest.mark.parametrize("case", STORED, ids=lambda c: c["name"])
def test_like_pytorch(case):
    x, mark = (np.array(case[k], "float32") for k in ("x", "mark"))
    params, grads = ({k: np.array(v, "float32") for k, v in case[part].items()} for part in ("params", "grads"))
    turned = {"weight": "scale", "bias": "bias"}
    if case["name"] == "instance":
        layer = layers.InstanceNormalization(center=case["affine"], scale=case["affine"])
    elif case["name"] == "local":
        layer = layers.LocalResponseNormalization(**case["options"])
    else:
        inner = layers.Dense(4) if x.ndim == 2 else layers.Conv2D(3, 2)
        layer = layers.WeightNormalization(inner, axis={0: -1, 1: -2, None: None}[case["dim"]])
        turned = {k: f"layer.{n}" for k, n in [*((k, "bias") for k in params if k.endswith("bias"))]}
        turned |= {k: "g" for k in params if k.endswith("original0")} | {
            k: "layer.kernel" for k in params if k.endswith("original1")
        }

        def ours(k, v):
            """PyTorch keeps (out, in, height, width), and lengths with their axes."""
            if k.endswith("original0"):
                return v.reshape(() if case["dim"] is None else -1)
            return v.transpose(*range(2, v.ndim), 1, 0) if v.ndim > 1 else v

        params, grads = ({k: ours(k, v) for k, v in part.items()} for part in (params, grads))
    layer.build(x)
    given = {turned[k]: jnp.asarray(v) for k, v in params.items()}
    assert given.keys() == weights_of(layer)[0].keys()
    run = jax.jit(lambda p, x: layer.apply(p, {}, x)[0])
    np.testing.assert_allclose(run(given, x), case["y"], atol=2e-5, rtol=1e-5)
    by_params, by_x = jax.jit(jax.grad(lambda p, x: jnp.vdot(run(p, x), mark), (0, 1)))(given, x)
    np.testing.assert_allclose(by_x, case["dx"], atol=5e-5, rtol=1e-4)
    for k, v in grads.items():
        np.testing.assert_allclose(by_params[turned[k]], v, atol=5e-5, rtol=1e-4, err_msg=k)


@pytest.mark.parametrize(
    ("name", "args", "shape", "steps"), [("Dense", (4,), (2, 3), 1), ("Conv2D", (3, 2), (1, 3, 3, 2), 3)], ids=str
)
def test_spectral_normalization_like_keras(name, args, shape, steps):
    theirs = K.SpectralNormalization(getattr(K, name)(*args), steps)
    ours = layers.SpectralNormalization(getattr(layers, name)(*args), steps)
    x = draw(*shape)
    theirs(x), ours.build(x)
    kernel, bias, u = (draw(*w.shape) for w in (theirs.layer.kernel, theirs.layer.bias, theirs.vector_u))
    for variable, value in zip((theirs.layer.kernel, theirs.layer.bias, theirs.vector_u), (kernel, bias, u), strict=True):
        variable.assign(value)
    params = {"layer.kernel": jnp.asarray(kernel), "layer.bias": jnp.asarray(bias)}
    state = {"u": jnp.asarray(u), "sigma": jnp.ones(())}
    predict, learn = (jax.jit(lambda p, s, train=train: ours.apply(p, s, x, train=train)) for train in (False, True))
    np.testing.assert_allclose(predict(params, state)[0], theirs(x), atol=1e-5)

    # Keras on JAX loses the divided kernel at the end of a compiled step: its gradient comes from there, the rest eagerly.
    trained, fixed = ([v.value for v in vs] for vs in (theirs.trainable_variables, theirs.non_trainable_variables))
    expected = jax.jit(jax.grad(lambda t: (theirs.stateless_call(t, fixed, x, training=True)[0] ** 2).sum()))(trained)
    found = jax.jit(jax.grad(lambda p: (learn(p, state)[0] ** 2).sum()))(params)
    np.testing.assert_allclose(found["layer.kernel"], expected[0], atol=1e-4, rtol=1e-3)
    np.testing.assert_allclose(found["layer.bias"], expected[1], atol=1e-4, rtol=1e-3)

    for _ in range(2):
        y, state = learn(params, state)
        np.testing.assert_allclose(y, theirs(x, training=True), atol=1e-5)
        np.testing.assert_allclose(state["u"], theirs.vector_u.value, atol=1e-5)
    np.testing.assert_allclose(predict(params, state)[0], theirs(x), atol=1e-5)


def test_spectral_normalization_finds_the_singular_value_and_leaves_zeros():
    x = np.eye(5, dtype="float32")
    layer = layers.SpectralNormalization(layers.Dense(4, use_bias=False), power_iterations=20).build(x)
    params, state = weights_of(layer)
    learn = jax.jit(lambda p, s: layer.apply(p, s, x, train=True))
    y, state = learn(params, state)
    assert np.linalg.norm(y, 2) == pytest.approx(1, rel=1e-3)
    assert float(state["sigma"]) == pytest.approx(np.linalg.norm(params["layer.kernel"], 2), rel=1e-3)
    zeros = {k: jnp.zeros_like(v) for k, v in params.items()}
    y, after = learn(zeros, state)
    assert not np.any(y) and float(after["sigma"]) == 1 and np.array_equal(after["u"], state["u"])
    grads = jax.jit(jax.grad(lambda p: learn(p, state)[0].sum()))(zeros)
    assert np.isfinite(grads["layer.kernel"]).all()


def test_wrappers_take_the_weight_of_an_embedding_or_the_one_that_is_named():
    words = np.array([[1, 2, 0]], "int32")
    table = layers.Embedding(5, 4, mask_zero=True)
    layer = layers.SpectralNormalization(table, 2).build(words)
    y, _ = layer.apply(*weights_of(layer), words, train=True)
    assert y.shape == (1, 3, 4) and y.dtype == np.float32
    named = layers.WeightNormalization(layers.LSTM(3), weight="recurrent_kernel").build(np.ones((1, 2, 2), "float32"))
    assert weights_of(named)[0]["g"].shape == (12,)
    # The mask of the embedding goes on through the wrapper.
    model = cn.Sequential([layers.SpectralNormalization(layers.Embedding(5, 4, mask_zero=True)), layers.SimpleRNN(3)])
    model.build(words)
    other = np.array([[3, 3, 4]], "int32")
    zero = {k: v.at[0].add(5.0) if k.endswith("table") else v for k, v in model.arrays()[0].items()}
    assert np.array_equal(model.apply(zero, model.arrays()[1], words)[0], model(words))
    assert not np.array_equal(model(other), model(words))


def test_weight_normalization_starts_as_the_layer_does():
    x = draw(8, 50)
    trained = layers.Dense(40).build(x, key=3)
    before = trained(x)
    wrapped = layers.WeightNormalization(trained).build(x)
    np.testing.assert_allclose(wrapped(x), before, atol=1e-5)
    fresh = layers.WeightNormalization(layers.Dense(400, kernel_initializer="he_normal")).build(x, key=1)
    params = weights_of(fresh)[0]
    kernel = fresh.apply({**params, "layer.bias": 0 * params["layer.bias"]}, {}, np.eye(50, dtype="float32"))[0]
    assert np.asarray(kernel).var() == pytest.approx(2 / 50, rel=0.05)
    again = weights_of(fresh.build(x, key=1))[0]
    assert all(np.array_equal(params[k], again[k]) for k in params)


def test_wrapped_layers_train_freeze_and_repeat():
    x, y = draw(32, 3), draw(32, 3)
    inner = layers.Dense(3)
    model = cn.Sequential([layers.WeightNormalization(inner), layers.SpectralNormalization(layers.Dense(3))])
    model.compile(optimizer=cn.optimizers.SGD(0.1), loss="mse")
    inner.trainable = False
    model.build(x)
    first = {k: np.asarray(v) for k, v in model.arrays()[0].items()}
    model.fit(x, y, epochs=2, verbose=0)
    moved = {k for k, v in model.arrays()[0].items() if not np.array_equal(v, first[k])}
    assert moved == {"layers.0.g", "layers.1.layer.kernel", "layers.1.layer.bias"}
    assert float(model.arrays()[1]["layers.1.sigma"]) != 1
    deep = cn.core.Repeat(layers.SpectralNormalization(layers.Dense(3)), 2).build(x)
    _, state = deep.apply(*weights_of(deep), x, train=True, key=0)
    assert state["block.sigma"].shape == (2,) and not np.any(state["block.sigma"] == 1)


def test_values_that_keras_states():
    x = np.array([[[-1.0, 1.0, 0, 2.0], [1.0, 3.0, -4, -2.0]]])
    expected = [[[-1.0, -1.0, 1.0, 1.0], [1.0, 1.0, -1.0, -1.0]]]
    np.testing.assert_allclose(layers.GroupNormalization(4, scale=False, center=False)(x), expected, atol=1e-3)
    np.testing.assert_allclose(layers.InstanceNormalization()(x), expected, atol=1e-3)
    ramp = np.arange(10, dtype="float32")[None]
    np.testing.assert_allclose(layers.RMSNormalization().build(ramp)(ramp), ramp * 0.18731716, rtol=1e-5)
    images = np.ones((1, 2, 2, 1), "float32")
    ones = layers.SpectralNormalization(layers.Conv2D(1, 2, kernel_initializer="ones"), power_iterations=8).build(images)
    assert ones(images).item() == 4
    assert ones(images, train=True).item() == pytest.approx(2)  # the matrix of ones, 4 by 1, has the length 2
    padded = np.array([[[1, 5], [2, 5], [0, 0], [0, 0]]] * 10, "float32")
    norm = layers.BatchNormalization(momentum=0.0).build(padded)
    _, state = norm.apply(*weights_of(norm), padded, mask=np.any(padded != 0, -1), train=True)
    np.testing.assert_allclose(np.stack([state["mean"], state["var"]]), [[1.5, 5], [0.25, 0]], atol=1e-6)
    masked = layers.BatchNormalization(scale=False, center=False).build(np.zeros((4, 5)))
    assert not np.any(masked(np.zeros((4, 5)), mask=np.zeros(4), train=True))
    wide = np.ones((1, 2, 3, 4))
    assert not np.any(np.round(norm.build(wide, key=0)(wide, mask=np.ones((1, 2, 1)), train=True), 6))


ALL = {
    "batch": (lambda: layers.BatchNormalization(renorm=True), (4, 3)),
    "layer": (lambda: layers.LayerNormalization(rms_scaling=True), (4, 3)),
    "group": (lambda: layers.GroupNormalization(2), (2, 3, 4)),
    "rms": (lambda: layers.RMSNormalization(), (3, 4)),
    "unit": (lambda: layers.UnitNormalization(), (3, 4)),
    "instance": (lambda: layers.InstanceNormalization(scale=True), (2, 3, 2)),
    "local": (lambda: layers.LocalResponseNormalization(3, alpha=0.5), (2, 3, 4)),
    "spectral": (lambda: layers.SpectralNormalization(layers.Dense(3)), (2, 4)),
    "weight": (lambda: layers.WeightNormalization(layers.Conv2D(2, 2)), (1, 3, 3, 2)),
}


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_the_slopes(name):
    make, shape = ALL[name]
    layer, rng = make(), np.random.default_rng(0)
    with jax.enable_x64(True):
        x = rng.normal(size=shape) * 2
        params, state = jax.jit(lambda: layer.init(0, x))()
        params, state = ({k: np.asarray(v, "float64") + 0.1 for k, v in d.items()} for d in (params, state))
        # The vectors u and v of a power iteration are held fixed, so only its prediction has exact slopes.
        train = name not in ("spectral", "batch")

        @jax.jit
        def both(params, x):
            def value(params, x):
                y = layer.apply(params, state, x, train=train, key=0)[0]
                return jnp.vdot(y, np.cos(np.arange(y.size)).reshape(y.shape))

            return jax.value_and_grad(value, (0, 1))(params, x)

        direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), (params, x))
        grads = jax.tree.leaves(both(params, x)[1])
        ahead, behind = (jax.tree.map(lambda p, d, s=s: p + s * 1e-6 * d, (params, x), direction) for s in (1, -1))
        slope = (float(both(*ahead)[0]) - float(both(*behind)[0])) / 2e-6
        claimed = sum(np.vdot(g, d) for g, d in zip(grads, jax.tree.leaves(direction), strict=True))
        assert all(g.dtype == np.float64 for g in grads)
        np.testing.assert_allclose(claimed, slope, rtol=1e-6, atol=1e-8)


def test_dtypes_stay():
    for name, (make, shape) in ALL.items():
        layer, x = make(), jnp.ones(shape)
        params, state = layer.init(0, x)
        run = lambda x, layer=layer, p=params, s=state, **o: layer.apply(p, s, x, train=True, key=0, **o)[0]  # noqa: E731
        assert jax.eval_shape(lambda x, run=run: run(x, dtype=jnp.bfloat16), x).dtype == jnp.float32  # as the policy has it
        if name not in ("spectral", "weight"):  # their inner layers answer for themselves
            assert jax.eval_shape(run, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded(name, tmp_path):
    make, shape = ALL[name]
    x = draw(*shape)
    model = cn.Sequential([make()]).build(x)
    model.set_weights([np.abs(draw(*w.shape)) + 0.5 for w in model.get_weights()])
    model.save(tmp_path / "m.cenote")
    assert np.array_equal(cn.load(tmp_path / "m.cenote")(x), model(x))


def test_zeros_and_one_example_stay_finite():
    x = jnp.zeros((1, 2, 4))
    made = [ALL[k][0]() for k in ("batch", "layer", "group", "rms", "unit", "instance", "local")]
    starts = [layer.init(0, x) for layer in made]

    @jax.jit
    def results(x):
        return [layer.apply(p, s, x, train=True)[0] for layer, (p, s) in zip(made, starts, strict=True)]

    assert all(np.isfinite(y).all() for y in results(x))
    assert np.isfinite(jax.jit(jax.jacrev(lambda x: jnp.stack([y.sum() for y in results(x)])))(x)).all()


WRONG = [
    (lambda: layers.BatchNormalization(renorm=True, renorm_clipping={"rmx": 2}), "did you mean 'rmax'"),
    (lambda: layers.BatchNormalization(renorm_clipping={"rmin": 2, "rmax": 1}), "rmin up to rmax"),
    (lambda: layers.GroupNormalization(0), "GroupNormalization needs groups"),
    (lambda: layers.GroupNormalization(axis=(1, 2)), "one axis"),
    (lambda: layers.RMSNormalization(epsilon=0), "epsilon above 0"),
    (lambda: layers.LocalResponseNormalization(0), "size"),
    (lambda: layers.SpectralNormalization("dense"), "SpectralNormalization wraps a layer"),
    (lambda: layers.SpectralNormalization(layers.Dense(2), 0), "power_iterations"),
    (lambda: layers.GroupNormalization(3).build(np.ones((1, 4))), "choose groups that divide 4"),
    (lambda: layers.GroupNormalization(1, axis=0).build(np.ones((1, 4))), "after the batch"),
    (lambda: layers.UnitNormalization(axis=3)(np.ones((1, 4))), "lacks"),
    (lambda: layers.WeightNormalization(layers.Flatten()).build(np.ones((1, 4))), "finds no kernel or table in Flatten"),
    (lambda: layers.SpectralNormalization(layers.Dense(2), weight="w").build(np.ones((1, 4))), "are kernel, bias"),
    (lambda: layers.SpectralNormalization(layers.Dense(2))(np.ones((1, 4))), "no weights yet"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[m for _, m in WRONG])
def test_refused(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)
