"""Flat dicts of named arrays from modules and back: walking, drawing, building, the places of arrays, copies."""

import collections
import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote.core import Module, apply, bind, children, clone, declare, declared, init, members, weights_of
from cenote.core.tree import Places, spec_of

GLOROT, ONES = jax.nn.initializers.glorot_uniform(), jax.nn.initializers.ones
X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


class Affine(Module):
    def __init__(self, units):
        self.units = units

    def forward(self, x):
        return x @ self.param("kernel", (x.shape[-1], self.units), GLOROT) + self.param("bias", (self.units,), ONES)


class Pair(Module):
    def __init__(self, first, second):
        self.first, self.second = first, second

    def forward(self, x):
        return self.second(self.first(x))


def test_children_are_looked_for_in_public_attributes_only():
    class Holder(Module):
        def __init__(self):
            self.a, self._hidden = Affine(1), Affine(2)
            self.many = {"list": [Affine(3)], 7: (Affine(4),), "number": 5}

    assert [(path, m.units) for path, m in children(Holder())] == [("a", 1), ("many.list.0", 3), ("many.7.0", 4)]


def test_an_object_met_twice_counts_once_under_its_first_path():
    shared = Affine(3)
    assert list(members(Pair(shared, Pair(shared, Affine(2))))) == ["", "first", "second", "second.second"]


def test_a_ring_of_modules_ends():
    a, b = Pair(None, None), Pair(None, None)
    a.first, b.first = b, a
    assert list(members(a)) == ["", "first"]


def test_declaring_computes_nothing_and_tells_the_output():
    weights, out = declare(Pair(Affine(5), Affine(2)), jax.ShapeDtypeStruct((10**9, 3), jnp.float32))
    assert out.shape == (10**9, 2) and {k: w.shape for k, w in weights.items()}["first.kernel"] == (3, 5)
    assert all(w.kind == "param" and w.trainable and w.dtype == jnp.float32 for w in weights.values())


def test_the_start_of_a_weight_depends_on_the_seed_and_its_path_alone():
    alone, within = init(Affine(5), 3, X)[0], init(Pair(Affine(5), Affine(2)), 3, X)[0]
    assert not np.array_equal(alone["kernel"], within["first.kernel"])  # another path
    assert np.array_equal(within["first.kernel"], init(Pair(Affine(5), Affine(7)), 3, X[:1])[0]["first.kernel"])
    typed, old = jax.random.key(3), jax.random.PRNGKey(3)
    assert all(np.array_equal(init(Affine(5), key, X)[0]["kernel"], alone["kernel"]) for key in (typed, old))


def test_init_is_pure_and_can_be_jitted_and_vmapped():
    module = Affine(2)
    drawn = init(module, 0, X)[0]["kernel"]
    assert not module.built
    many = jax.vmap(lambda key: init(module, key, X)[0]["kernel"])(jax.random.split(jax.random.key(1), 3))
    assert many.shape == (3, 3, 2) and not np.allclose(many[0], many[1])
    np.testing.assert_array_equal(jax.jit(lambda: init(module, 0, X)[0]["kernel"])(), drawn)


def test_inputs_may_be_trees_and_options_stay_as_they_are():
    class Chosen(Module):
        def forward(self, x, *, which):
            return x[which] * self.param("scale", (x[which].shape[-1],), ONES)

    module, x = Chosen(), {"a": X, "b": X[:, :2]}
    assert declare(module, spec_of(x), which="a")[1].shape == (4, 3)
    params, state = module.init(0, x, which="b")
    np.testing.assert_array_equal(module.apply(params, state, x, which="b")[0], X[:, :2])


def test_an_initializer_that_gives_another_shape_is_named():
    class Odd(Module):
        def forward(self, x):
            return x + self.param("shift", (3,), lambda key, shape, dtype: jnp.zeros((2,), dtype))

    with pytest.raises(ValueError, match=r"the initializer of 'shift' returned shape \(2,\), expected \(3,\)"):
        Odd().init(0, X)


def test_a_weight_of_unknown_size_is_named():
    class Odd(Module):
        def forward(self, x):
            return x + self.param("shift", (None,), ONES)

    with pytest.raises(ValueError, match=r"weight 'shift' needs a shape of known sizes, got \(None,\)"):
        Odd().init(0, X)


def test_reading_and_writing_by_path():
    model = Pair(Affine(5), Affine(2)).build(X)
    bind(model, {"second.bias": jnp.full((2,), 7.0), "unknown": 0})
    assert np.array_equal(weights_of(model)[0]["second.bias"], [7, 7]) and np.array_equal(model.second._arrays["bias"], [7, 7])
    places = Places(model)
    assert list(places.read()[0]) == list(declared(model)) and places.same_members(Places(model))
    model.second = Affine(2)
    assert not places.same_members(Places(model))


def test_a_building_that_needs_other_sizes_draws_only_those_anew():
    model = Pair(Affine(5), Affine(2)).build(X)
    before = weights_of(model)[0]
    model.build(X[:, :2])
    after = weights_of(model)[0]
    assert after["first.kernel"].shape == (2, 5) and np.array_equal(before["second.kernel"], after["second.kernel"])


def test_copies_are_independent():
    model = Pair(Affine(5), Affine(2)).build(X)
    for other in (clone(model), copy.deepcopy(model), jax.tree.map(jnp.array, model)):
        np.testing.assert_array_equal(other(X), model(X))
        bind(other, {"second.bias": jnp.zeros(2)})
        assert np.array_equal(model.second._arrays["bias"], [1, 1]) and other.first is not model.first


def test_the_text_input_is_refused_before_any_layer():
    model = Affine(2).build(X)
    with pytest.raises(TypeError, match=r"the input holds <U1 values \(first: .*'a'"):
        model(np.array([["a", "b"]]))


def test_mixed_precision_leaves_whole_numbers_alone():
    class Mixed(Module):
        def forward(self, x, ids):
            return x * self.param("scale", (3,), ONES), ids, jnp.ones(2, jnp.float32)

    y, ids, own = apply(Mixed(), {"scale": jnp.ones(3)}, {}, X, np.arange(3), dtype=jnp.bfloat16)[0]
    assert (y.dtype, ids.dtype, own.dtype) == (jnp.float32, jnp.int32, jnp.float32)
    assert np.abs(y - X).max() > 0  # it was rounded on the way


def test_leaves_are_named_by_path():
    model = Pair(Affine(5), Affine(2)).build(X)
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(model)]
    assert names == ["['first.kernel']", "['first.bias']", "['second.kernel']", "['second.bias']"]


def test_modules_of_other_structure_do_not_mix():
    with pytest.raises(ValueError, match=r"Pair\(Affine\(5\), Affine\(2\)\)"):
        jax.tree.map(jnp.add, Pair(Affine(5), Affine(2)).build(X), Pair(Affine(4), Affine(2)).build(X))


def test_containers_of_other_classes_are_copied_with_the_layers_in_them():
    Two = collections.namedtuple("Two", "left right")

    class Holder(Module):
        def __init__(self):
            self.named = collections.OrderedDict(a=Affine(3))
            self.two = Two(Affine(3), Affine(3))

        def forward(self, x):
            return self.two.right(self.two.left(self.named["a"](x)))

    model = Holder().build(X)
    expected = model(X)
    np.testing.assert_allclose(jax.jit(lambda m, x: m(x))(model, X), expected, atol=1e-6)
    np.testing.assert_array_equal(model(X), expected)  # the copy that was traced took nothing of the original
    other = jax.tree.map(lambda a: 2 * a, model)
    assert type(other.named) is collections.OrderedDict and type(other.two) is Two and other.two.left is not model.two.left


def test_jit_notices_what_was_changed_in_a_module_since():
    class Power(Module):
        def __init__(self, exponent):
            self.exponent, self.table = exponent, jnp.ones(3)

        def forward(self, x):
            return (x * self.param("scale", (), ONES)) ** self.exponent + self.table

    jitted, model = jax.jit(lambda m, x: m(x)), Power(2).build(X)
    np.testing.assert_allclose(jitted(model, X), X**2 + 1, rtol=1e-5)
    model.exponent = 3
    np.testing.assert_allclose(jitted(model, X), X**3 + 1, rtol=1e-5)
    model.table = 2 * jnp.ones(3)
    np.testing.assert_allclose(jitted(model, X), X**3 + 2, rtol=1e-5)
    model.table = 2 * jnp.ones(3)  # another array that holds the same
    jitted(model, X)
    assert jitted._cache_size() == 3


def test_nothing_that_was_traced_outlives_its_trace():
    model = Pair(Affine(5), Affine(2)).build(X)
    with jax.checking_leaks():
        doubled = jax.jit(lambda m: jax.tree.map(lambda a: 2 * a, m))(model)
    np.testing.assert_array_equal(doubled.second._arrays["kernel"], 2 * model.second._arrays["kernel"])


def test_two_layers_cannot_have_one_path():
    class Holder(Module):
        def __init__(self):
            self.a = {"b.c": Affine(3), "b": {"c": Affine(3)}}

        def forward(self, x):
            return self.a["b"]["c"](self.a["b.c"](x))

    with pytest.raises(ValueError, match=r"two layers have the path 'a\.b\.c': name the keys of a dict"):
        Holder().init(0, X)


def test_an_initializer_that_fails_leaves_the_module_as_it_was():
    class Moody(Module):
        def __init__(self):
            self.mood = "good"

        def forward(self, x):
            def init(key, shape, dtype):
                if self.mood == "bad":
                    raise ArithmeticError
                return jnp.ones(shape, dtype)

            return x * self.param("scale", (x.shape[-1],), init)

    model = Moody().build(X)
    model.mood = "bad"
    with pytest.raises(ArithmeticError):
        model.build(X, key=1)
    np.testing.assert_array_equal(model(X), X)


def test_numbers_among_the_arguments_stay_numbers():
    class Often(Module):
        def forward(self, x, times):
            for _ in range(times):
                x = x * self.param("scale", (), lambda key, shape, dtype: jnp.full(shape, 2, dtype))
            return x

    model = Often().build(X, 3)
    np.testing.assert_allclose(jax.jit(lambda x: model(x, 3))(X), 8 * X)
