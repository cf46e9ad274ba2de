"""One file for a model: everything comes back, and a hostile file can do nothing."""

import json
import struct

import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.files import BadFile, load_tensors, save_tensors

X = np.random.default_rng(0).normal(size=(30, 6)).astype("float32")
Y = (np.arange(30) % 3).astype("int32")


def double(x):
    return x * 2


class Net(cn.Model):
    def __init__(self, width, activation="relu"):
        super().__init__()
        self.blocks = [layers.Dense(width, activation) for _ in range(2)]
        self.norm = layers.BatchNormalization()
        self.out = layers.Dense(3, "softmax")

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


def sequential():
    normalise = layers.Normalization()
    normalise.adapt(X)
    return cn.Sequential(
        [normalise, layers.Dense(8, "relu", kernel_regularizer=cn.regularizers.L2(0.1)), layers.Dense(3, "softmax")]
    )


def functional():
    a, b = cn.Input((6,), name="a"), cn.Input((6,), name="b")
    shared = layers.Dense(5, activation="tanh", name="shared")
    h = shared(a) * 2 + shared(b)[:, ::-1]
    return cn.Model({"a": a, "b": b}, layers.Dense(3, "softmax", name="out")(h))


@pytest.mark.parametrize("make", [sequential, functional, lambda: Net(7)], ids=["sequential", "functional", "subclass"])
def test_a_loaded_model_answers_the_same_and_trains_on(make, tmp_path):
    model = make()
    x = {"a": X, "b": X[::-1]} if isinstance(model, cn.core.Graph) else X
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, Y, epochs=2, verbose=0)
    model.info = {"classes": ["一", "b", "c"]}
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote", custom_objects={"Net": Net})
    assert type(again) is type(model) and again.info == model.info
    assert np.array_equal(again.predict(x), model.predict(x))
    assert again.evaluate(x, Y, verbose=0) == model.evaluate(x, Y, verbose=0)
    assert list(again.params) == list(model.params)
    again.fit(x, Y, verbose=0)


def test_frozen_layers_and_popped_layers_come_back(tmp_path):
    model = sequential()
    model.layers[1].trainable = False
    model.pop()
    model.add(layers.Dense(2, name="head"))
    model.build(X)
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote")
    assert not again.layers[1].trainable and again.layers[-1].units == 2
    assert np.array_equal(again.predict(X), model.predict(X))


def test_the_file_is_plain_safetensors(tmp_path):
    from safetensors.numpy import load_file

    model = sequential()
    model.build(X)
    model.save(tmp_path / "m.cenote")
    tensors = load_file(tmp_path / "m.cenote")
    assert np.array_equal(tensors["weights/layers.1.kernel"], model.params["layers.1.kernel"])


def test_a_missing_custom_class_is_named(tmp_path):
    model = Net(4)
    model.build(X)
    model.save(tmp_path / "m.cenote")
    with pytest.raises(ValueError, match=r"needs the class 'Net'.*custom_objects=\{'Net': Net\}"):
        cn.load(tmp_path / "m.cenote")


def test_functions_travel_by_name_or_not_at_all(tmp_path):
    model = cn.Sequential([layers.Dense(3, activation=double)])
    model.build(X)
    model.save(tmp_path / "m.cenote")
    with pytest.raises(ValueError, match="needs the function 'double'"):
        cn.load(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote", custom_objects={"double": double})
    assert np.array_equal(again.predict(X), model.predict(X))
    nameless = cn.Sequential([layers.Dense(3, activation=lambda x: x * 2)])
    nameless.build(X)
    with pytest.raises(ValueError, match=r"a function without a name.*define it with def"):
        nameless.save(tmp_path / "n.cenote")


def saved(tmp_path):
    model = sequential()
    model.build(X)
    model.save(tmp_path / "m.cenote")
    return tmp_path / "m.cenote"


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    path = saved(tmp_path)
    data = path.read_bytes()
    bad = tmp_path / "bad.cenote"
    for content, why in [
        (data[:100], "truncated"),
        (data[:-10], "damaged"),
        (data[:-2] + bytes([data[-2] ^ 1]) + data[-1:], "checksum"),
        (b"", "not a Cenote file"),
        (b"\x80\x04\x95cos\nsystem\n", "not a Cenote file"),
        (struct.pack("<Q", 2**62) + b"{}", "truncated or not"),
        (b"PK\x03\x04" + bytes(100), "not a Cenote file"),
    ]:
        bad.write_bytes(content)
        with pytest.raises(BadFile, match=why):
            cn.load(bad)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        cn.load(tmp_path / "none.cenote")


def rewritten(tmp_path, change):
    """A file with a right checksum and a description that somebody changed."""
    tensors, info = load_tensors(saved(tmp_path), kind="model")
    text = json.loads(json.dumps(info))
    change(text, tensors)
    path = tmp_path / "hostile.cenote"
    save_tensors(path, tensors, text, kind="model")
    return path


@pytest.mark.parametrize(
    "name", ["os.system", "subprocess.Popen", "builtins.eval", "Popen", "Module.__subclasses__", "__import__", "_Fixed", "eval"]
)
def test_a_hostile_file_names_no_code_but_layers(tmp_path, name):
    def as_class(info, _):
        info["model"]["class"] = name

    def as_function(info, _):
        info["model"]["arguments"]["layers"][1]["arguments"]["activation"] = {"function": name}

    for change in (as_class, as_function):
        with pytest.raises(ValueError):
            cn.load(rewritten(tmp_path, change))


def test_a_hostile_file_exhausts_no_memory(tmp_path):
    def wide(info, _):
        info["model"]["arguments"]["layers"][1]["arguments"]["units"] = 10**12

    def deep(info, _):
        value = 0
        for _ in range(500):
            value = [value]
        info["spec"] = value

    def shared(info, _):
        info["model"]["arguments"]["layers"][1] = {"same": 99}

    for change in (wide, deep, shared):
        with pytest.raises(BadFile):
            cn.load(rewritten(tmp_path, change))


def test_lacking_and_surplus_weights_are_named(tmp_path):
    with pytest.raises(BadFile, match=r"lacks the weight 'layers\.1\.bias'"):
        cn.load(rewritten(tmp_path, lambda info, tensors: tensors.pop("weights/layers.1.bias")))
    with pytest.raises(BadFile, match="does not declare: intruder"):
        cn.load(rewritten(tmp_path, lambda info, tensors: tensors.update({"weights/intruder": np.zeros(3)})))


def test_a_model_file_cannot_make_a_layer_read_another_file(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("one\ntwo\n")
    for layer in (layers.StringLookup(vocabulary=["a", "b"]), layers.TextVectorization(vocabulary=["a", "b"])):
        model = cn.Sequential([layer])
        arguments = dict(layer.arguments())
        layer._constructor = ((), {**arguments, "vocabulary": str(secret)})
        path = tmp_path / "evil.cenote"
        model.save(path)
        with pytest.raises(ValueError, match=r"would have .* read .*secret\.txt"):
            cn.load(path)


def test_lists_that_could_not_be_read_back_are_not_written(tmp_path):
    class Long(layers.Layer):
        def __init__(self, numbers):
            super().__init__()

        def forward(self, x):
            return x

    with pytest.raises(ValueError, match=r"layers\[0\].numbers.*give long lists to constructors as arrays"):
        cn.Sequential([Long(list(range(1_000_001)))]).save(tmp_path / "m.cenote")
    assert not list(tmp_path.iterdir())
