"""Categories as indices and vectors: against Keras live, and against what it answers with TensorFlow (preprocessing.json)."""

import itertools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from parity import keras

import cenote as cn
from cenote import layers

STORED = json.loads((Path(__file__).parents[1] / "parity" / "preprocessing.json").read_text(encoding="utf-8"))


def check(case):
    options = {k: tuple(v) if k == "ngrams" and isinstance(v, list) else v for k, v in case["arguments"].items()}
    layer = getattr(layers, case["layer"])(**options)
    if case["data"] is not None:
        layer.adapt(case["data"])
        assert layer.get_vocabulary() == case["vocabulary"]
    y = layer(case["x"])
    assert y.shape == np.shape(case["y"])
    if y.dtype.kind == "f":
        np.testing.assert_allclose(y, case["y"], atol=2e-6)
    else:
        assert y.tolist() == case["y"]


def cases(name):
    found = [c for c in STORED["cases"] if c["layer"] == name]
    return pytest.mark.parametrize(
        "case", found, ids=lambda c: str({k: v for k, v in c["arguments"].items() if k != "vocabulary"})
    )


@cases("StringLookup")
def test_string_lookup_is_that_of_keras(case):
    check(case)


@cases("IntegerLookup")
def test_integer_lookup_is_that_of_keras(case):
    check(case)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask_token": 0, "num_oov_indices": 3},
        {"output_mode": "count", "mask_token": 7},
        {"output_mode": "tf_idf", "idf_weights": [0.5, 2.0, 3.0]},
        {"output_mode": "one_hot", "max_tokens": 9, "pad_to_max_tokens": True},
        {"invert": True},
    ],
    ids=str,
)
def test_integer_lookup_inside_a_compiled_model_answers_as_before_it(options):
    layer = layers.IntegerLookup(vocabulary=[12, 36, -5], **options)
    x = np.array([[12, 7, 0], [-5, 36, 100], [-8, 2, 3]], "int32")
    y = layer(x)
    np.testing.assert_allclose(jax.jit(lambda x: layer(x))(x), y, atol=1e-6)
    assert layer.on_host(jax.ShapeDtypeStruct(x.shape, x.dtype)).shape == y.shape


@cases("Hashing")
def test_hashing_is_that_of_keras(case):
    check(case)


def test_hashed_crossing_is_that_of_keras():
    for case in STORED["crossings"]:
        assert layers.HashedCrossing(case["num_bins"])(case["x"]).tolist() == case["y"]
    pairs = (np.array(["A", "B"]), np.array([101, 101]))
    assert layers.HashedCrossing(5, output_mode="one_hot")(pairs).tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]
    column = tuple(a[:, None] for a in pairs)
    assert layers.HashedCrossing(5)(column).tolist() == [[1], [4]]
    assert layers.HashedCrossing(5, output_mode="one_hot")(column).shape == (2, 5)


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
def test_category_encoding_is_that_of_keras(mode):
    ours, theirs = layers.CategoryEncoding(4, mode), keras.layers.CategoryEncoding(4, mode)
    x = np.array([[0, 1, 3], [3, 3, 9]])  # 9 has no place
    for data in (x, x[:, :1], x[0]):
        y, expected = ours(data), theirs(data)
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(ours(np.array([[-1, 0]])), theirs(np.array([[-1, 0]])))
    # As documented, and other than Keras does: all axes but the last are kept.
    deep = ours(np.zeros((2, 3, 5), int))
    assert deep.shape == ((2, 3, 5, 4) if mode == "one_hot" else (2, 3, 4))


def test_counts_are_weighted_as_in_keras_with_their_gradient():
    x, weights = np.array([[0, 1, 1], [3, 3, 9]]), np.array([[0.1, 0.2, 0.3], [1.0, -2.0, 5.0]], "float32")
    ours, theirs = layers.CategoryEncoding(4, "count"), keras.layers.CategoryEncoding(4, "count")
    np.testing.assert_allclose(ours(x, count_weights=weights), theirs(x, count_weights=weights), atol=1e-6)
    with jax.enable_x64(True):
        mark = jnp.arange(8.0).reshape(2, 4)
        slope = jax.grad(lambda w: jnp.vdot(ours(x, count_weights=w), mark))(jnp.asarray(weights, jnp.float64))
        assert slope.dtype == jnp.float64
        assert slope.tolist() == [[0, 1, 1], [7, 7, 0]]


def test_any_number_and_any_text_finds_its_way():
    big = 2**62 + 1
    layer = layers.IntegerLookup(vocabulary=[big, 3])
    assert layer(np.array([big, big - 1, 3])).tolist() == [1, 0, 2]
    with pytest.raises(ValueError, match="put it first in the model"):
        jax.jit(lambda x: layer(x))(jnp.array([3]))
    words = layers.StringLookup(vocabulary=["é", "中文"])
    for x in (["é", "中文"], np.array(["é", "中文"]), np.array(["é".encode(), "中文".encode()]), [b"\xc3\xa9", "中文"]):
        assert words(x).tolist() == [1, 2]
    assert words("中文").tolist() == 2
    assert words(np.zeros((0, 3), "U1")).shape == (0, 3)
    pandas = pytest.importorskip("pandas")
    assert words(pandas.Series(["中文", "x"])).tolist() == [2, 0]


def test_there_and_back_again():
    for kind, tokens in ((layers.StringLookup, ["b", "a"]), (layers.IntegerLookup, [70, 9])):
        there = kind(vocabulary=tokens)
        back = kind(vocabulary=there.get_vocabulary(), invert=True)
        assert back(there(tokens)).tolist() == tokens
        assert there.get_vocabulary(include_special_tokens=False) == tokens
        assert there.vocabulary_size() == 3


def test_adapt_reads_batches_once_and_takes_as_many_as_it_is_told():
    layer = layers.StringLookup()
    layer.adapt((np.array([["x", f"w{i % 3}"]]) for i in itertools.count()), steps=7)
    assert layer.get_vocabulary() == ["[UNK]", "x", "w0", "w2", "w1"]
    layer.adapt(["new"])  # replaces
    assert layer.get_vocabulary() == ["[UNK]", "new"]
    numbers = layers.IntegerLookup(output_mode="tf_idf")
    whole = layers.IntegerLookup(output_mode="tf_idf")
    data = np.random.default_rng(0).integers(0, 9, (40_000, 3))
    numbers.adapt(iter([data[:7], data[7:]]))
    whole.adapt(data)
    assert numbers.get_vocabulary() == whole.get_vocabulary()
    np.testing.assert_array_equal(numbers(data[:5]), whole(data[:5]))


def test_a_vocabulary_in_a_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("b\na a\n\u3000\n", encoding="utf-8")
    layer = layers.StringLookup(vocabulary=str(path))
    assert layer.get_vocabulary() == ["[UNK]", "b", "a a", "\u3000"]
    model = cn.Sequential([layer, layers.CategoryEncoding(4, "one_hot"), layers.Dense(1)])
    x = np.array([["b"], ["q"]])
    y = model.build(x).predict(x)
    model.save(tmp_path / "m.cenote")
    path.unlink()  # its words travel with the model
    np.testing.assert_array_equal(cn.load(tmp_path / "m.cenote").predict(x), y)
    with pytest.raises(ValueError, match=r"words.txt' does not exist"):
        layers.StringLookup(vocabulary=str(path))
    path.write_text("12\nx3\n")
    with pytest.raises(ValueError, match="line 2: 'x3' is not a whole number"):
        layers.IntegerLookup(vocabulary=path)


def test_a_vocabulary_of_any_size_is_saved(tmp_path):
    tokens = [f"wörd {i}" for i in range(60_000)]
    model = cn.Sequential([layers.StringLookup(vocabulary=tokens), layers.Embedding(60_001, 1)])
    model.build(np.array([["wörd 7"]]))
    model.save(tmp_path / "m.cenote")
    assert cn.load(tmp_path / "m.cenote").layers[0].get_vocabulary() == ["[UNK]", *tokens]


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.StringLookup(output_mode="tf_idf"),
        lambda: layers.StringLookup(num_oov_indices=2, mask_token="", output_mode="multi_hot"),
        lambda: layers.IntegerLookup(output_mode="count"),
        lambda: layers.Hashing(7, salt=[3, 4], output_mode="count"),
    ],
    ids=["string_tf_idf", "string", "integer", "hashing"],
)
def test_learned_layers_are_saved_with_the_model(layer, tmp_path):
    layer = layer()
    x = np.array([[3, 1, 4], [1, 5, 9]])
    x = x if isinstance(layer, layers.IntegerLookup) else x.astype(str)
    if hasattr(layer, "adapt"):
        layer.adapt(x)
    model = cn.Sequential([layer, layers.Dense(2)])
    y = model.build(x).predict(x)
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote")
    np.testing.assert_array_equal(again.predict(x), y)
    np.testing.assert_array_equal(again.layers[0](x[:1]), layer(x[:1]))


def test_columns_of_a_table_in_a_graph(tmp_path):
    town, age = cn.Input((1,), dtype="string", name="town"), cn.Input((1,), dtype="int32", name="age")
    code = layers.StringLookup(vocabulary=["Ulm", "Bonn"], output_mode="one_hot")(town)
    both = layers.HashedCrossing(8, output_mode="one_hot")([town, age])
    model = cn.Model([town, age], layers.Dense(1)(layers.Concatenate()([code, both])))
    data = [np.array([["Ulm"], ["Rom"]]), np.array([[3], [4]])]
    model.compile("sgd", "mse")
    model.fit(data, np.array([[1.0], [0.0]]), epochs=2, verbose=0)
    y = model.predict(data)
    model.save(tmp_path / "m.cenote")
    np.testing.assert_array_equal(cn.load(tmp_path / "m.cenote").predict(data), y)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: layers.StringLookup()(["a"]), r"no vocabulary yet: call adapt\(data\) first"),
        (lambda: layers.StringLookup(vocabulary=["a", "b", "a"]), r"repeated tokens, \['a'\]"),
        (lambda: layers.StringLookup(vocabulary=[]), "empty vocabulary"),
        (lambda: layers.StringLookup(vocabulary=["a", "b"], mask_token="b"), "mask token 'b' at position 1"),
        (lambda: layers.StringLookup(vocabulary=["a", "[UNK]"], invert=True), "unknown token"),
        (lambda: layers.StringLookup(vocabulary=["a", "b"], max_tokens=2), "max_tokens is 2"),
        (lambda: layers.StringLookup(vocabulary=[1, 2]), "takes texts"),
        (lambda: layers.StringLookup(vocabulary=["a"])(np.array([[1, 2]])), "use IntegerLookup"),
        (lambda: layers.StringLookup(vocabulary=["a"])(["a", None]), "found no text at position 1, but None"),
        (lambda: layers.StringLookup(vocabulary=["a"])([["a"], ["a", "b"]]), "differ in length"),
        (lambda: layers.StringLookup(vocabulary=["a"], num_oov_indices=0)(["a", "b"]), r"not in its vocabulary, \['b'\]"),
        (lambda: layers.StringLookup(num_oov_indices=-1), "num_oov_indices"),
        (lambda: layers.StringLookup(max_tokens=1), "max_tokens above 1"),
        (lambda: layers.StringLookup(pad_to_max_tokens=True), "needs max_tokens"),
        (lambda: layers.StringLookup(invert=True, output_mode="count"), "must be 'int'"),
        (lambda: layers.StringLookup(output_mode="tf_idf", vocabulary=["a"]), "needs idf_weights"),
        (lambda: layers.StringLookup(vocabulary=["a"], idf_weights=[1.0]), "takes no idf_weights"),
        (lambda: layers.StringLookup(output_mode="tf_idf", vocabulary=["a"], idf_weights=[1.0, 2.0]), "one idf weight"),
        (lambda: layers.StringLookup(output_mode="counts"), "did you mean 'count'"),
        (lambda: layers.StringLookup(sparse=True, output_mode="count"), "sparse=True"),
        (lambda: layers.StringLookup().adapt([]), "found no tokens"),
        (lambda: layers.IntegerLookup(vocabulary=[1])(["a"]), "texts need StringLookup"),
        (lambda: layers.IntegerLookup(vocabulary=[1])([0.5]), "fractions"),
        (lambda: layers.IntegerLookup(salt=3), "oov_method='farmhash'"),
        (lambda: layers.IntegerLookup(vocabulary=[1], num_oov_indices=0)([1, 2]), r"\[2\]"),
        (lambda: layers.Hashing(0), "num_bins"),
        (lambda: layers.Hashing(3, salt="x"), "salt"),
        (lambda: layers.Hashing(3)([np.nan]), "NaN"),
        (lambda: layers.HashedCrossing(3)(np.array([1])), "at least two features"),
        (lambda: layers.HashedCrossing(3)((np.zeros((2, 2), int),) * 2), "equal shape"),
        (lambda: layers.HashedCrossing(3)((np.zeros(2), np.zeros(2))), "texts or whole numbers"),
        (lambda: layers.CategoryEncoding(), "needs num_tokens"),
        (lambda: layers.CategoryEncoding(4)(np.array([[1]]), count_weights=np.ones((1, 1))), "output_mode='count'"),
        (lambda: layers.CategoryEncoding(4, "count")(np.array([[1]]), count_weights=np.ones(3)), "a weight for each"),
    ],
)
def test_what_is_wrong_is_said(make, said):
    with pytest.raises(ValueError, match=said):
        make()
