"""The functional graph: several inputs and outputs, shared layers, nested models, feeding and fetching any node."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers, losses
from cenote.core import Graph, Input, Module, weights_of

RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=(5, 3)).astype("float32") for _ in range(2))


@pytest.fixture(scope="module")
def two():
    a, b = Input((3,), name="a"), Input((3,), name="b")
    shared = layers.Dense(4, "tanh", name="shared")
    h, g = shared(a), shared(b)
    total = layers.Dense(2, name="out")(h + 2 * g)
    return Graph({"a": a, "b": b}, {"total": total, "inner": h}), h, g, total


def test_shared_layers_have_one_set_of_weights(two):
    graph, *_ = two
    graph.build()
    params, _state = weights_of(graph)
    assert list(params) == ["layers.shared.kernel", "layers.shared.bias", "layers.out.kernel", "layers.out.bias"]
    y = graph({"a": A, "b": B})
    k, b, ok, ob = params.values()
    expected = (np.tanh(A @ k + b) + 2 * np.tanh(B @ k + b)) @ ok + ob
    assert np.allclose(y["total"], expected, atol=1e-5) and y["inner"].shape == (5, 4)


def test_arrays_meet_nodes_from_both_sides():
    a = Input((3,), name="a")
    for function in (
        lambda a: np.float32(2) * a,
        lambda a: np.arange(3, dtype="float32") + a,
        lambda a: jnp.arange(3.0) - a,
        lambda a: a / jnp.full(3, 2.0),
        lambda a: np.eye(3, dtype="float32") @ a[0],
    ):
        np.testing.assert_allclose(Graph(a, function(a)).run(function(a), {a: A}), function(A), rtol=1e-6)


def test_attention_takes_its_key_by_name():
    x, y = Input((4, 6), name="x"), Input((4, 6), name="y")
    attention = layers.MultiHeadAttention(2, 3)
    graph = Graph([x, y], attention(x, x, key=y)).build()
    data = RNG.normal(size=(2, 5, 4, 6)).astype("float32")
    np.testing.assert_allclose(graph(list(data)), attention(data[0], data[0], data[1]), atol=1e-5)
    assert not np.allclose(graph(list(data)), attention(data[0], data[0]), atol=1e-3)
    with pytest.raises(TypeError, match=r"called on a node with train= or key=: a graph gets both when it is run"):
        layers.Dropout(0.5)(x, train=True)


def test_any_node_is_fed_and_fetched_by_object_or_name(two):
    graph, h, g, total = two
    both = graph.run([total, "shared"], {"a": A, "b": B})
    inner = graph.run({"h": h, "g": g}, {"a": A, "b": B})
    assert np.allclose(graph.run("out", {h: inner["h"], g: inner["g"]}), both[0], atol=1e-6)
    assert np.allclose(both[1], inner["h"]) and isinstance(both[0], np.ndarray)


def test_mistakes_are_named(two):
    graph, *_ = two
    with pytest.raises(ValueError, match=r"node 'b' must be fed"):
        graph.run("out", {"a": A})
    with pytest.raises(ValueError, match=r"node 'a' takes shape \(None, 3\), but an array of shape \(5, 2\)"):
        graph.run("out", {"a": A[:, :2], "b": B})
    with pytest.raises(ValueError, match=r"unknown node of the graph 'outt': did you mean 'out'"):
        graph.run("outt", {"a": A})
    with pytest.raises(ValueError, match="has an input 'b' that was not given"):
        graph({"a": A})
    stranger = layers.Dense(2, name="stranger")(graph.node("out"))
    with pytest.raises(ValueError, match=r"node 'stranger' is not in this graph.*also=\[node\]"):
        graph.run(stranger, {"a": A, "b": B})
    a, b = Input((3,), name="a"), Input((3,), name="lost")
    with pytest.raises(ValueError, match="depend on input 'lost'"):
        Graph(a, a + b)
    with pytest.raises(TypeError, match=r"begin with cenote.Input"):
        Graph(A, A)
    with pytest.raises(TypeError, match="has no value while the graph is being built"):
        bool(a)
    with pytest.raises(ValueError, match="needs the shape of one example"):
        Input()
    with pytest.raises(ValueError, match="Dense takes"):
        layers.Dense(2)(Input(()))


def test_operators_and_indexing():
    a, b = Input((3,), name="a"), Input((3,), name="b")
    results = {
        "sum": a + b,
        "less": 1 - a,
        "scaled": a * 2 / (b**2 + 1),
        "negative": -abs(a),
        "column": a[:, 0],
        "part": a[..., 1:],
        "product": a @ b[0],
        "larger": a > b,
    }
    got = Graph([a, b], results).run(results, {a: A, b: B})
    expected = {
        "sum": A + B,
        "less": 1 - A,
        "scaled": A * 2 / (B**2 + 1),
        "negative": -abs(A),
        "column": A[:, 0],
        "part": A[..., 1:],
        "product": A @ B[0],
        "larger": A > B,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_free_sizes_are_none():
    words = Input((None, 4), name="words")
    node = layers.LSTM(3, return_sequences=True)(words)
    assert node.shape == (None, None, 3)
    pair = layers.LSTM(3, return_state=True)(words)
    assert [n.shape for n in pair] == [(None, 3)] * 3
    graph = Graph(words, node).build()
    assert [graph(np.zeros((2, time, 4), "float32")).shape for time in (1, 5)] == [(2, 1, 3), (2, 5, 3)]


def test_pictures_and_texts_of_any_size():
    picture = Input((None, None, 3), name="picture")
    h = layers.Conv2D(4, 3)(picture)
    pooled = layers.MaxPooling2D(4)(h)
    assert h.shape == (None, None, None, 4) and pooled.shape == (None, None, None, 4)
    model = cn.Model(picture, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 5)(pooled))))
    assert [model.predict(np.zeros((2, *size, 3), "float32")).shape for size in ((22, 40), (64, 25))] == [(2, 2), (2, 2)]
    assert Graph(picture, pooled).run(pooled, {h: np.ones((1, 8, 12, 4))}).shape == (1, 2, 3, 4)

    class Places(Module):  # has room for 50 words and no more
        def forward(self, x):
            return x + self.param("places", (50, x.shape[-1]), jax.nn.initializers.ones)[: x.shape[1]]

    words = Input((None, 4), name="words")
    graph = Graph(words, Places()(words)).build()
    assert graph(np.zeros((2, 7, 4), "float32")).shape == (2, 7, 4)


def test_a_weight_cannot_depend_on_a_size_that_is_not_known():
    words = Input((None, 4), name="words")
    with pytest.raises(ValueError, match=r"Dense\(2\) cannot be built on \(None, None\): its weight 'kernel' would depend"):
        layers.Dense(2)(layers.Flatten()(words))


def test_models_nest():
    inner = cn.Sequential([layers.Dense(4, "relu"), layers.Dense(3)])
    a = Input((3,))
    model = cn.Model(a, inner(inner(a)))
    assert list(model.params) == [f"layers.sequential.layers.{i}.{w}" for i in (0, 1) for w in ("kernel", "bias")]
    assert np.allclose(model.predict(A), inner.predict(inner.predict(A)), atol=1e-5)
    outer = cn.Model(b := Input((3,)), layers.Dense(1)(model(b)))
    assert outer.predict(A).shape == (5, 1)


def test_a_graph_passes_through_jit_with_its_own_weights(two):
    graph, *_ = two
    graph.build()
    x = {"a": A, "b": B}
    doubled = jax.tree.map(lambda w: 2 * w, graph)
    assert np.allclose(jax.jit(lambda g: g(x)["total"])(graph), graph(x)["total"], atol=1e-6)
    assert not np.allclose(doubled(x)["total"], graph(x)["total"])


def test_training_by_feeding_and_fetching_is_training():
    x, y = Input((3,), name="x"), Input((), name="y", dtype="int32")
    logits = layers.Dense(4, name="dense")(x)
    loss = losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    train = cn.optimizers.Adam(0.05).minimize(loss)
    graph = Graph([x, y], logits, also=[loss, train]).build()
    model = cn.Sequential([layers.Dense(4)])
    model.compile(cn.optimizers.Adam(0.05), losses.SparseCategoricalCrossentropy(from_logits=True))
    model.build(A)
    model.set_weights(list(weights_of(graph)[0].values()))
    labels = np.array([0, 1, 2, 3, 1], "int32")
    for step in range(1, 6):
        number, values = graph.run([train, loss], {"x": A, "y": labels})
        assert number == step
        assert np.isclose(values.mean(), model.train_on_batch(A, labels), rtol=1e-5)
    for ours, theirs in zip(weights_of(graph)[0].values(), model.params.values(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    other = cn.optimizers.SGD(0.1).minimize(loss)
    with pytest.raises(ValueError, match="one training node at a time"):
        Graph([x, y], logits, also=[train, other]).run([train, other], {"x": A, "y": labels})


def test_minimize_keeps_to_freezing_regularizers_and_constraints():
    x, y = Input((3,), name="x"), Input((1,), name="y")
    first, second = layers.Dense(4, "tanh", kernel_regularizer="l2"), layers.Dense(1, kernel_constraint="non_neg")
    out = second(first(x))
    loss = losses.mean_squared_error(y, out)
    train = cn.optimizers.SGD(0.1).minimize(loss)
    graph = Graph([x, y], out, also=[train]).build()
    model = cn.Sequential([first, second])
    model.compile(cn.optimizers.SGD(0.1), "mse")
    start = [np.array(w) for w in weights_of(graph)[0].values()]
    feeds, ends = {"x": A, "y": B[:, :1]}, []
    for step in (lambda: graph.run(train, feeds), lambda: model.train_on_batch(A, B[:, :1])):
        model.set_weights(start)
        for frozen in (False, True):
            first.trainable = not frozen
            before = np.array(first._arrays["kernel"])
            step()
            step()
            assert np.array_equal(before, first._arrays["kernel"]) == frozen
        ends.append(model.get_weights())
        assert ends[-1][2].min() >= 0
    first.trainable = True
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_two_training_nodes_have_memories_of_their_own():
    x = Input((3,), name="x")
    out = layers.Dense(1)(x)
    one, two = (cn.optimizers.Adam(rate).minimize((out**2)[:, 0]) for rate in (0.1, 0.2))
    graph = Graph(x, out, also=[one, two])
    assert [int(graph.run(node, {"x": A})) for node in (one, two, one, one, two)] == [1, 1, 2, 3, 2]


def test_layers_that_come_with_weights_keep_them_and_the_others_are_drawn():
    a = Input((3,), name="a")
    trunk = layers.Dense(4)
    h = trunk(a)
    before = Graph(a, h).run(h, {"a": A})
    longer = layers.Dense(2)(h)
    graph = Graph(a, longer)
    after, end = graph.run([h, longer], {"a": A})
    assert np.array_equal(before, after) and end.shape == (5, 2)


def test_one_of_several_outputs_of_a_layer_is_fed():
    words = Input((4, 3), name="words")
    y, h, _ = layers.LSTM(2, return_state=True)(words)
    both = y + h
    data = RNG.normal(size=(5, 4, 3)).astype("float32")
    both, last = Graph(words, both).run([both, y], {words: data, h: np.zeros((5, 2))})
    np.testing.assert_array_equal(both, last)


def test_graphs_of_the_same_layers_are_told_apart_by_jit():
    a, dense = Input((3,)), layers.Dense(2)
    h = dense(a)
    jitted = jax.jit(lambda g, x: g(x))
    plus, times = Graph(a, h + 1.0).build(), Graph(a, h * 2.0).build()
    np.testing.assert_allclose(jitted(plus, A), dense(A) + 1, atol=1e-6)
    np.testing.assert_allclose(jitted(times, A), dense(A) * 2, atol=1e-6)
    np.testing.assert_allclose(jitted(jax.tree.map(lambda w: 3 * w, times), A), dense(A) * 6, atol=1e-5)


def test_functions_become_nodes():
    from cenote.core import graph_function

    @graph_function
    def squash(a, *, by):
        return jnp.tanh(a) * by

    a = Input((3,))
    assert np.allclose(Graph(a, squash(a, by=2.0)).run(squash(a, by=2.0), {a: A}), np.tanh(A) * 2, atol=1e-6)


def test_inputs_in_dicts_of_dicts():
    a, b, c = (cn.Input((2,), name=name) for name in "abc")
    model = cn.Model({"z": a, "pair": {"y": b, "x": c}}, a + 2 * b + 3 * c)
    one, two, three = (np.full((4, 2), v, "float32") for v in (1, 10, 100))
    assert (model({"pair": {"x": three, "y": two}, "z": one}) == 321).all()
    assert (model.predict({"pair": {"x": three, "y": two}, "z": one}) == 321).all()
