"""What Keras 3.15 on TensorFlow answers for the layers of texts and categories: writes preprocessing.json beside this file.

Run with an interpreter that has keras and tensorflow: KERAS_BACKEND=tensorflow python tests/parity/make_preprocessing.py
"""

import itertools
import json
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

WORDS = [["a", "c", "zz", "d"], ["d", "z", "b", "a"], ["", "d", "é", "中文"]]
VOCABULARY = ["a", "b", "c", "d"]
NUMBERS = [[12, 1138, 42, 42], [42, 7, -3, 0], [9, 36, 5000000000, 12]]
TEXTS = [
    "The quick brown fox, the lazy dog.",
    "A dog; a DOG! (the dog's life) ",
    "",
    "Ärger über ÉTUDES\tund\u3000Tee\u00a0pur",
    "我爱自然语言处理，我爱你。",
    "well-known e-mail: x@y.z  #tag 100% $5",
]
LONG = ["x" * n for n in (1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 200)]


def lookups():
    for options in (
        {},
        {"mask_token": ""},
        {"num_oov_indices": 3},
        {"num_oov_indices": 3, "mask_token": "", "salt": [7, 11]},
        {"num_oov_indices": 2, "salt": 5, "output_mode": "count"},
        *({"output_mode": mode, "mask_token": ""} for mode in ("one_hot", "multi_hot", "count")),
        {"output_mode": "multi_hot", "max_tokens": 8, "pad_to_max_tokens": True},
        {"output_mode": "tf_idf", "idf_weights": [0.25, 0.75, 0.6, 0.4]},
        {
            "output_mode": "tf_idf",
            "idf_weights": [0.25, 0.75, 0.6, 0.4],
            "max_tokens": 7,
            "pad_to_max_tokens": True,
            "mask_token": "",
        },
    ):
        yield "StringLookup", {"vocabulary": VOCABULARY, **options}, None, WORDS
    yield "StringLookup", {"vocabulary": ["", "[UNK]", *VOCABULARY], "mask_token": ""}, None, WORDS
    yield "StringLookup", {"vocabulary": VOCABULARY, "invert": True}, None, [[0, 1, 2, 3, 4, 5, 9, -1]]
    yield "StringLookup", {"vocabulary": VOCABULARY, "invert": True, "mask_token": ""}, None, [[0, 1, 2, 3, 4, 5, 9]]
    for options in ({}, {"max_tokens": 4}, {"output_mode": "tf_idf"}, {"mask_token": "d"}, {"output_mode": "count"}):
        yield "StringLookup", options, WORDS, WORDS
    numbers = [12, 36, 1138, 42]
    for options in (
        {},
        {"mask_token": 0},
        {"num_oov_indices": 3},
        {"num_oov_indices": 3, "oov_method": "farmhash"},
        {"num_oov_indices": 3, "oov_method": "farmhash", "salt": 9, "mask_token": 0},
        *({"output_mode": mode, "mask_token": 0} for mode in ("one_hot", "multi_hot", "count")),
        {"output_mode": "tf_idf", "idf_weights": [0.25, 0.75, 0.6, 0.4]},
    ):
        yield "IntegerLookup", {"vocabulary": numbers, **options}, None, NUMBERS
    yield "IntegerLookup", {"vocabulary": numbers, "invert": True}, None, [[0, 1, 2, 3, 4, 5, 99]]
    for options in ({}, {"max_tokens": 3}, {"output_mode": "tf_idf"}, {"mask_token": 42, "output_mode": "count"}):
        yield "IntegerLookup", options, NUMBERS, NUMBERS


def hashes():
    for options in (
        {"num_bins": 1000003},
        {"num_bins": 1000003, "salt": 133},
        {"num_bins": 1000003, "salt": [133, 137]},
        {"num_bins": 3, "mask_value": "x"},
    ):
        yield "Hashing", options, None, LONG
    for data in (WORDS, NUMBERS):
        for mode in ("int", "one_hot", "multi_hot", "count"):
            yield "Hashing", {"num_bins": 4, "output_mode": mode}, None, data
    yield "Hashing", {"num_bins": 5, "mask_value": 42}, None, NUMBERS
    yield "Hashing", {"num_bins": 5}, None, [[1.9, -3.2, 7.0]]
    yield "Hashing", {"num_bins": 3, "output_mode": "one_hot"}, None, [["A"], ["B"], ["C"]]


def texts():
    for options in (
        {},
        {"output_sequence_length": 3},
        {"output_sequence_length": 9, "max_tokens": 8},
        {"standardize": "lower"},
        {"standardize": "strip_punctuation"},
        {"standardize": None},
        {"split": "character"},
        {"split": "character", "standardize": None, "ngrams": 2},
        {"ngrams": 2},
        {"ngrams": [1, 3]},
        {"split": None},
        {"output_mode": "multi_hot"},
        {"output_mode": "count", "ngrams": 2},
        {"output_mode": "tf_idf"},
        {"output_mode": "tf_idf", "max_tokens": 40, "pad_to_max_tokens": True},
        {"output_mode": "count", "max_tokens": 6},
    ):
        yield "TextVectorization", options, TEXTS, TEXTS
    yield "TextVectorization", {"vocabulary": ["dog", "the"]}, None, [[t] for t in TEXTS]
    yield "TextVectorization", {"split": None, "standardize": None, "ngrams": 2}, WORDS, WORDS
    yield "TextVectorization", {"split": None, "output_mode": "multi_hot"}, WORDS, WORDS
    yield "TextVectorization", {"split": None, "output_sequence_length": 6}, WORDS, WORDS


def plain(value):
    value = value.numpy() if hasattr(value, "numpy") else value
    if value.dtype == object:
        return [[t.decode() for t in row] for row in value]
    return np.round(value.astype("float64"), 6).tolist() if value.dtype.kind == "f" else value.tolist()


def answer(name, options, data, x):
    arguments = {k: tuple(v) if k == "ngrams" and isinstance(v, list) else v for k, v in options.items()}
    layer = getattr(keras.layers, name)(**arguments)
    if data is not None:
        layer.adapt(tf.constant(data))
    y = layer(
        tf.constant(x, tf.int64)
        if name == "IntegerLookup" or (layer.name.startswith("hash") and x is NUMBERS)
        else tf.constant(x)
    )
    found = {"layer": name, "arguments": options, "data": data, "x": x, "y": plain(y)}
    if data is not None:
        found["vocabulary"] = [v if isinstance(v, str) else int(v) for v in layer.get_vocabulary()]
    return found


def crossings():
    features = [["A", "B", "A", "B", "long " * 20], [101, 101, -5, 102, 5000000000], ["x", "", "y", "x", "x"]]
    for bins in (5, 1000003):
        layer = keras.layers.HashedCrossing(bins)
        yield {
            "num_bins": bins,
            "x": features,
            "y": plain(layer([tf.constant(f) if i != 1 else tf.constant(f, tf.int64) for i, f in enumerate(features)])),
        }


def boundaries():
    rng = np.random.default_rng(0)
    values = np.round(rng.gamma(2.0, size=300), 3).tolist()
    for bins, epsilon, sizes in (
        (4, 0.01, [300]),
        (4, 0.1, [300]),
        (10, 0.01, [7, 150, 143]),
        (3, 0.05, [60] * 5),
        (49, 0.01, [300]),
        (5, 0.01, [3]),
    ):
        starts = np.cumsum([0, *sizes])
        batches = [values[a:b] for a, b in itertools.pairwise(starts)]
        layer = keras.layers.Discretization(num_bins=bins, epsilon=epsilon)
        layer.adapt(np.array(batches[0]) if len(batches) == 1 else [np.array(b) for b in batches])
        yield {"num_bins": bins, "epsilon": epsilon, "batches": sizes, "boundaries": np.round(layer.bin_boundaries, 6).tolist()}
    yield {"values": values}


cases = [answer(*case) for case in (*lookups(), *hashes(), *texts())]
found = {
    "made_with": f"keras {keras.__version__}, tensorflow {tf.__version__}",
    "cases": cases,
    "crossings": list(crossings()),
    "boundaries": list(boundaries()),
}
lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
rest = {k: v for k, v in found.items() if k != "cases"}
text = json.dumps(rest, ensure_ascii=False)[:-1] + ', "cases": [\n' + lines + "\n]}\n"
Path(__file__).with_suffix("").with_name("preprocessing.json").write_text(text, encoding="utf-8")
