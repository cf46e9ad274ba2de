"""Texts to numbers, against what Keras answers with TensorFlow (parity/preprocessing.json)."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_discrete import cases, check

import cenote as cn
from cenote import layers

TEXTS = np.array(["the film was good", "a BAD film!", "good, good", "bad"])


def without_digits(texts):
    return np.array(["".join(c for c in t if not c.isdigit()) for t in texts.ravel().tolist()]).reshape(texts.shape)


def at_commas(texts):
    return [t.split(",") for t in texts.tolist()]


@cases("TextVectorization")
def test_text_vectorization_is_that_of_keras(case):
    check(case)


def test_functions_of_ones_own_standardise_and_split():
    layer = layers.TextVectorization(standardize=without_digits, split=at_commas)
    layer.adapt(["a b,c1", "c,a b2"])
    assert layer.get_vocabulary() == ["", "[UNK]", "c", "a b"]
    assert layer([["c9,x"], ["a b"]]).tolist() == [[2, 1], [3, 0]]
    with pytest.raises(ValueError, match="returned 1 lists of words for 2 texts"):
        layers.TextVectorization(vocabulary=["a"], split=lambda texts: [["a"]])(["a", "b"])
    with pytest.raises(ValueError, match="one text for each"):
        layers.TextVectorization(vocabulary=["a"], standardize=lambda texts: texts[:1])(["a", "b"])


def test_chinese_by_characters():
    layer = layers.TextVectorization(split="character", output_sequence_length=4)
    layer.adapt(["我爱你", "你爱我们"])
    assert layer.get_vocabulary() == ["", "[UNK]", "爱", "我", "你", "们"]
    assert layer(["你们好", "爱"]).tolist() == [[4, 5, 1, 0], [2, 0, 0, 0]]


@pytest.mark.parametrize("options", [{}, {"output_mode": "tf_idf", "ngrams": 2}, {"split": "character"}], ids=str)
def test_batches_give_the_vocabulary_of_the_whole(options):
    texts = [f"word{i % 7} word{i % 3} and {i}" for i in range(3000)]
    whole, parts, column = (layers.TextVectorization(**options) for _ in range(3))
    whole.adapt(texts)
    parts.adapt(texts[i : i + 100] for i in range(0, 3000, 100))
    column.adapt(np.array(texts)[:, None])
    assert whole.get_vocabulary() == parts.get_vocabulary() == column.get_vocabulary()
    np.testing.assert_array_equal(whole(texts[:3]), parts(texts[:3]))
    endless = layers.TextVectorization()
    endless.adapt((["x y", "y"] for _ in itertools.count()), steps=3)
    assert endless.get_vocabulary() == ["", "[UNK]", "y", "x"]


def test_shapes_of_texts():
    layer = layers.TextVectorization(vocabulary=["good", "film"])
    assert layer(np.str_("good film")).tolist() == [2, 3]
    assert layer([]).shape == (0, 0)
    assert layer([[b"good"], ["no film"]]).tolist() == [[2, 0], [1, 3]]
    assert layers.TextVectorization(vocabulary=["good"], output_mode="count")("good good x").tolist() == [1, 2]


@pytest.mark.parametrize("mode", ["int", "multi_hot"])
def test_a_model_learns_from_texts_and_is_saved_with_its_words(mode, tmp_path):
    words = layers.TextVectorization(output_mode=mode, standardize="lower_and_strip_punctuation")
    words.adapt(TEXTS)
    body = [layers.Embedding(9, 4), layers.GlobalAveragePooling1D()] if mode == "int" else []
    model = cn.Sequential([words, *body, layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy")
    model.fit(TEXTS, np.array([[1.0], [0.0], [1.0], [0.0]]), epochs=1, verbose=0)
    y = model.predict(TEXTS)
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote")
    np.testing.assert_array_equal(again.predict(TEXTS), y)
    assert again.layers[0].get_vocabulary() == words.get_vocabulary()


def test_a_graph_from_texts_to_answers_keeps_functions_by_name(tmp_path):
    words = layers.TextVectorization(split=at_commas, output_sequence_length=2, vocabulary=["a", "b"])
    text = cn.Input((1,), dtype="string")
    model = cn.Model(text, layers.Flatten()(layers.Embedding(4, 3)(words(text))))
    x = np.array([["a,b"], ["q"]])
    y = model.predict(x)
    assert y.shape == (2, 6)
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote", custom_objects={"at_commas": at_commas})
    np.testing.assert_array_equal(again.predict(x), y)


def test_an_unadapted_layer_of_known_length_already_has_a_shape():
    node = layers.TextVectorization(output_sequence_length=5)(cn.Input((1,), dtype="string"))
    assert node.shape == (None, 5)
    assert layers.TextVectorization()(cn.Input((1,), dtype="string")).shape == (None, None)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: layers.TextVectorization()(["a"]), "no vocabulary yet"),
        (lambda: layers.TextVectorization(standardize="lowr"), "did you mean 'lower'"),
        (lambda: layers.TextVectorization(split="words"), "unknown split"),
        (lambda: layers.TextVectorization(ngrams=0), "ngrams"),
        (lambda: layers.TextVectorization(ragged=True), "ragged=True"),
        (lambda: layers.TextVectorization(output_mode="count", output_sequence_length=3), "only with output_mode='int'"),
        (lambda: layers.TextVectorization(output_sequence_length=0), "at least 1"),
        (lambda: layers.TextVectorization(output_mode="one_hot"), "needs split=None"),
        (lambda: layers.TextVectorization(vocabulary=["a"])(np.zeros((2, 1))), "takes texts"),
        (lambda: layers.TextVectorization(vocabulary=["a"])(np.array([["a", "b"]])), "one column at a time"),
        (lambda: layers.TextVectorization(vocabulary=["a", "a"]), "repeated"),
        (lambda: layers.TextVectorization().adapt(["", "..."]), "found no tokens"),
        (lambda: layers.TextVectorization().adapt(["a", float("nan")]), "position 1, but nan"),
    ],
)
def test_what_is_wrong_is_said(make, said):
    with pytest.raises(ValueError, match=said):
        make()
