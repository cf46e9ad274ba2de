"""The ten rules of the module system, each shown at work on layers written here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote.core import Module, apply, declared, find, gradients, members, outputs, weights_of

GLOROT, ZEROS = jax.nn.initializers.glorot_uniform(), jax.nn.initializers.zeros
X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")


class Affine(Module):
    def __init__(self, units):
        self.units = units

    def forward(self, x):
        return x @ self.param("kernel", (x.shape[-1], self.units), GLOROT) + self.param("bias", (self.units,), ZEROS)


class Center(Module):
    def forward(self, x):
        mean = self.state("mean", (x.shape[-1],), ZEROS)
        if self.train:
            self.set_state("mean", mean + x.mean(0))
        return x - mean


class Noise(Module):
    def forward(self, x):
        return x + jax.random.normal(self.next_key(), x.shape) if self.train else x


class Chain(Module):
    def __init__(self, *layers):
        self.layers = list(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda p, q: bool(jnp.array_equal(p, q)), a, b))


def test_sizes_are_inferred_and_names_are_dotted_paths():
    params, state = Chain(Affine(4), Center(), Affine(2)).init(jax.random.key(0), X)
    assert {k: v.shape for k, v in params.items()} == {
        "layers.0.kernel": (3, 4),
        "layers.0.bias": (4,),
        "layers.2.kernel": (4, 2),
        "layers.2.bias": (2,),
    }
    assert list(state) == ["layers.1.mean"]


def test_adding_a_layer_does_not_change_the_start_of_the_others():
    short, _ = Chain(Affine(4), Affine(2)).init(5, X)
    long, _ = Chain(Affine(4), Affine(2), Affine(7)).init(5, X)
    assert all(np.array_equal(short[k], long[k]) for k in short)
    assert not np.array_equal(short["layers.0.kernel"], Chain(Affine(4), Affine(2)).init(6, X)[0]["layers.0.kernel"])


def test_the_same_object_means_the_same_weights_and_its_gradients_add_up():
    shared = Affine(3)
    tied = Chain(shared, shared)
    params, _ = tied.init(0, X)
    assert list(params) == ["layers.0.kernel", "layers.0.bias"]
    apart = Chain(Affine(3), Affine(3))
    both = {**params, **{k.replace("0", "1"): v for k, v in params.items()}}

    def loss(model):
        return lambda p: (model.apply(p, {}, X)[0] ** 2).sum()

    one, two = jax.grad(loss(tied))(params), jax.grad(loss(apart))(both)
    assert np.allclose(one["layers.0.kernel"], two["layers.0.kernel"] + two["layers.1.kernel"], rtol=1e-5)


def test_lists_tuples_and_dicts_of_modules():
    class Many(Module):
        def __init__(self):
            self.by_name = {"a": Affine(3), "b": [Affine(3), (Affine(3),)]}

        def forward(self, x):
            return self.by_name["b"][1][0](self.by_name["b"][0](self.by_name["a"](x)))

    params, _ = Many().init(0, X)
    assert [k for k in params if "kernel" in k] == ["by_name.a.kernel", "by_name.b.0.kernel", "by_name.b.1.0.kernel"]


def test_forward_never_changes_the_object_and_a_closed_over_jit_leaks_nothing():
    model = Chain(Affine(3), Center()).build(X)
    before = weights_of(model)
    step = jax.jit(lambda x: model(x, train=True))
    step(X)
    step(X * 2)
    assert same(before, weights_of(model))
    _, state = model.apply(*before, X, train=True)
    assert not np.allclose(state["layers.1.mean"], 0)


def test_train_and_key_are_said_once_outside():
    model = Chain(Noise(), Center()).build(X)
    assert np.array_equal(model(X), X)
    one, same_key, other = (model(X, train=True, key=k) for k in (1, 1, 2))
    assert np.array_equal(one, same_key) and not np.array_equal(one, other)
    with pytest.raises(ValueError, match=r"layer 'layers.0' draws random numbers.*pass key="):
        model(X, train=True)

    class Insists(Module):
        def __init__(self):
            self.inner = Noise()

        def forward(self, x):
            return self.inner(x, train=True)

    with pytest.raises(TypeError, match="belong to the outermost call"):
        Insists()(X)


def test_layers_and_uses_draw_different_numbers():
    class Twice(Module):
        def __init__(self):
            self.a, self.b = Noise(), Noise()

        def forward(self, x):
            return self.a(x) - x, self.a(x) - x, self.b(x) - x

    first, again, other = Twice()(X, train=True, key=0)
    assert not np.allclose(first, again) and not np.allclose(first, other)


def test_errors_name_the_layer_its_arguments_and_shapes():
    model = Chain(Affine(4), Chain(Affine(2))).build(X)
    with pytest.raises(ValueError, match=r"'layers\.0\.kernel' was built with shape \(3, 4\).*needs \(5, 4\)") as error:
        model(X[:, [0, 0, 0, 0, 0]])
    assert error.value.__notes__[0] == "in layer 'layers.0': Affine(4) called with float32[6, 5]"


def test_a_layer_made_in_forward_or_left_out_has_no_home():
    class Careless(Module):
        def forward(self, x):
            return Affine(2)(x)

    with pytest.raises(RuntimeError, match=r"is called inside another module but is not part of it.*__init__"):
        Careless().init(0, X)
    with pytest.raises(RuntimeError, match=r"Affine\.param works only inside forward"):
        Affine(2).param("kernel", (1,), ZEROS)
    with pytest.raises(NotImplementedError, match="has no forward"):
        Module()(X)


@pytest.mark.parametrize(
    "transform",
    [
        jax.checkpoint,
        jax.vmap,
        jax.jit,
        lambda f: lambda x: jax.lax.scan(lambda carry, row: (carry, f(row)), 0, x)[1],
        lambda f: jax.grad(lambda x: f(x).sum()),
    ],
    ids=["remat", "vmap", "jit", "scan", "grad"],
)
def test_state_written_inside_a_transformation_of_ones_own_is_refused_at_once(transform):
    class Wrapped(Module):
        def __init__(self):
            self.center = Center()

        def forward(self, x):
            return transform(lambda row: self.center(row.reshape(-1, 3)))(x)

    with pytest.raises(
        RuntimeError, match=r"writing the state 'center.mean' inside a jax.checkpoint.*Remat, Repeat or Ensemble"
    ):
        Wrapped().init(0, X)


def test_outputs_by_path():
    shared = Affine(3)
    model = Chain(Chain(Affine(4), Affine(3)), shared, shared).build(X)
    found = outputs(model, X)
    assert set(found) == {"layers.0.layers.0", "layers.0.layers.1", "layers.0", "layers.1", "layers.1:1", ""}
    assert np.array_equal(found["layers.0"], found["layers.0.layers.1"]) and np.array_equal(found[""], found["layers.1:1"])
    assert set(outputs(model, X, paths="layers.0")) == {"layers.0"}
    with pytest.raises(ValueError, match=r"unknown path of a layer 'layers.9'"):
        outputs(model, X, paths=["layers.9"])


def test_gradients_at_a_path_are_the_slopes_there():
    model = Chain(Affine(4), Affine(2)).build(X)

    def function(y):
        return (y**2).sum()

    values, grads = gradients(model, function, X, paths=["layers.0"])
    nudge = np.random.default_rng(1).normal(size=(6, 4)).astype("float32")
    params, state = weights_of(model)
    ahead, behind = (function(apply(model, params, state, X, nudge={"layers.0": s * 1e-2 * nudge})[0]) for s in (1, -1))
    assert np.isclose((grads["layers.0"] * nudge).sum(), (ahead - behind) / 2e-2, rtol=1e-3)
    assert values["layers.0"].shape == (6, 4)


def test_gradients_are_taken_where_there_are_any():
    class Largest(Module):
        def forward(self, x):
            return jnp.argmax(x, -1)

    class Both(Module):
        def __init__(self):
            self.affine, self.largest = Affine(4), Largest()

        def forward(self, x):
            h = self.affine(x)
            return h * self.largest(h)[:, None]

    model = Both().build(X)
    values, grads = gradients(model, jnp.sum, X, paths="*")
    assert set(values) == {"", "affine", "largest"} and set(grads) == {"", "affine"}
    with pytest.raises(ValueError, match=r"the output of 'largest' is int32\[6\]: whole numbers have no gradient"):
        gradients(model, jnp.sum, X, paths="largest")


def test_a_layer_in_a_loop_of_ones_own_has_no_single_output():
    class Loop(Module):
        def __init__(self):
            self.inner = Affine(3)

        def forward(self, x):
            return jax.lax.scan(lambda carry, _: (self.inner(carry), None), x, length=2)[0]

    model = Loop().build(X)
    assert set(outputs(model, X)) == {""}  # every layer's that has one
    with pytest.raises(RuntimeError, match=r"keeping the output of 'inner' inside a jax.checkpoint, scan"):
        outputs(model, X, paths=["inner"])


def test_a_module_is_a_pytree():
    model = Chain(Affine(4), Center(), Affine(2)).build(X)
    assert len(jax.tree.leaves(model)) == 5
    assert np.allclose(jax.jit(lambda m, x: m(x))(model, X), model(X), atol=1e-6)
    grads = jax.grad(lambda m: (m(X) ** 2).sum())(model)
    expected = jax.grad(lambda p: (model.apply(p, weights_of(model)[1], X)[0] ** 2).sum())(weights_of(model)[0])
    assert isinstance(grads, Chain) and np.allclose(find(grads, "layers.2")._arrays["kernel"], expected["layers.2.kernel"])
    stacked = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), model)
    y = jax.vmap(lambda m: m(X))(stacked)
    assert y.shape == (2, 6, 2) and np.allclose(y[0], model(X), atol=1e-6)
    traces = []
    jitted = jax.jit(lambda m: traces.append(1) or m(X))
    jitted(model)
    jitted(jax.tree.map(lambda a: a + 1, model))
    assert len(traces) == 1


def test_jit_tells_modules_apart_by_all_that_forward_reads():
    class Power(Module):
        def __init__(self, exponent):
            self._exponent = exponent

        def forward(self, x):
            return (x * self.param("scale", (), jax.nn.initializers.ones)) ** self._exponent

    jitted = jax.jit(lambda m, x: m(x))
    for exponent in (2, 3, 2):
        np.testing.assert_allclose(jitted(Power(exponent).build(X), X), X**exponent, rtol=1e-5)
    assert jitted._cache_size() == 2


def test_shared_members_stay_shared_in_a_copy():
    shared = Affine(3)
    model = Chain(shared, shared).build(X)
    copy = jax.tree.map(lambda a: a, model)
    assert copy.layers[0] is copy.layers[1] and copy.layers[0] is not shared


def test_building_keeps_what_is_there_unless_a_key_is_given():
    trunk = Affine(4)
    Chain(trunk).build(X, key=3)
    kernel = trunk._arrays["kernel"]
    model = Chain(trunk, Affine(2)).build(X)
    assert np.array_equal(trunk._arrays["kernel"], kernel)
    model.build(X, key=4)
    assert not np.array_equal(trunk._arrays["kernel"], kernel)


def test_freezing_reaches_what_is_inside():
    model = Chain(Chain(Affine(4), Affine(3)), Affine(2)).build(X)
    model.layers[0].trainable = False
    assert {k for k, w in declared(model).items() if w.trainable} == {"layers.1.kernel", "layers.1.bias"}


def test_mixed_precision_casts_in_and_out():
    model = Chain(Affine(4)).build(X)
    y, _ = apply(model, *weights_of(model), X, dtype=jnp.bfloat16)
    inner = apply(model, *weights_of(model), X, dtype=jnp.bfloat16, capture="layers.0")[2]["layers.0"]
    assert y.dtype == jnp.float32 and inner.dtype == jnp.bfloat16 and np.allclose(y, model(X), atol=0.05)


def test_members_and_unknown_paths():
    model = Chain(Affine(4), Chain(Affine(2)))
    assert list(members(model)) == ["", "layers.0", "layers.1", "layers.1.layers.0"]
    with pytest.raises(ValueError, match=r"unknown path 'layers.1.layer.0': did you mean 'layers.1.layers.0'"):
        find(model, "layers.1.layer.0")


def test_a_weight_declared_only_sometimes_is_named():
    class Fickle(Module):
        def forward(self, x):
            return x * self.param("scale", (3,), ZEROS) if not self.train else x + self.param("shift", (3,), ZEROS)

    with pytest.raises(ValueError, match=r"param 'scale' was not built.*declare every weight unconditionally"):
        Fickle().build(X)(X)


def test_a_state_is_declared_before_it_is_written():
    class Hasty(Module):
        def forward(self, x):
            self.set_state("mean", x.mean(0))
            return x

    with pytest.raises(ValueError, match=r"state 'mean' is written but not declared: say self\.state\('mean', shape, init\)"):
        Hasty().build(X)

    class Wrong(Module):
        def forward(self, x):
            self.state("mean", (2,), ZEROS)
            self.set_state("mean", x.mean(0))
            return x

    with pytest.raises(ValueError, match=r"state 'mean' has shape \(2,\), but \(3,\) was written to it"):
        Wrong().build(X)


def test_a_key_of_features_is_no_key_of_random_numbers():
    class Lookup(Module):
        def forward(self, query, key=None):
            key = query if key is None else key
            noise = jax.random.normal(self.next_key(), key.shape) if self.train else 0
            return query @ (key + noise).T

    class Outer(Module):
        def __init__(self):
            self.lookup = Lookup()

        def forward(self, x):
            return self.lookup(x, key=2 * x)

    lookup = Lookup()
    assert np.allclose(lookup(X, key=2 * X), X @ (2 * X).T, atol=1e-5) and np.allclose(Outer()(X), X @ (2 * X).T, atol=1e-5)
    drawn = [lookup(X, X, train=True, key=key) for key in (1, np.int64(1), jax.random.key(1), jax.random.PRNGKey(1))]
    assert all(np.array_equal(drawn[0], other) for other in drawn) and not np.allclose(drawn[0], lookup(X))
